/* hf_config.c - added tokens, and what lies beside a tokenizer.json: tokenizer_config.json and
 * special_tokens_map.json name the first and last piece of a text. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/hf.h"

#include <string.h>

enum { MOST_ADDED = 1 << 16 };

static gal_err no_memory(const gal__hf_file *f) {
    return gal_fail(f->diag, GAL_ENOMEM, "%s: no memory for its added tokens", f->name);
}

static bool truth(const gal__value *v, const char *key, bool usual) {
    const gal__value *m = gal__member(v, key);
    return m && (m->type == GAL__TRUE || m->type == GAL__FALSE) ? m->type == GAL__TRUE : usual;
}

/* Takes the place of one with its id. */
static gal_err add(gal__hf *h, const gal__hf_file *f, const gal__value *v, int64_t id, const char *part) {
    const gal__value *content = gal__member(v, "content");
    void *p = h->added;
    size_t i = 0;
    if (!content || content->type != GAL__STRING || content->text.n == 0)
        return gal_fail(f->diag, GAL_EINPUT, "%s: %s: token %lld: content: expected a string, found %s", f->name,
                        part, (long long)id, content ? gal__type_name(content) : "nothing");
    if (id < 0 || id >= GAL__MAX_PIECES)
        return gal_fail(f->diag, GAL_EINPUT, "%s: %s: id: expected 0 to %d, found %lld", f->name, part,
                        GAL__MAX_PIECES - 1, (long long)id);
    if (h->n_added && h->added[h->n_added - 1].id < id && h->ascending) i = h->n_added; /* as files have them */
    while (i < h->n_added && h->added[i].id != id) i++;
    h->ascending = h->n_added == 0 || (h->ascending && h->added[h->n_added - 1].id <= id) ||
                   (h->ascending && i < h->n_added);
    if (i == MOST_ADDED)
        return gal_fail(f->diag, GAL_EINPUT, "%s: %s: more than %d tokens", f->name, part, MOST_ADDED);
    if (i == h->added_cap && gal_grow(&p, &h->added_cap, i + 1, sizeof *h->added) != 0) return no_memory(f);
    h->added = p;
    const bool special = truth(v, "special", false);
    h->added[i] = (gal__added){ .id = (int32_t)id,
                                .special = special,
                                .single_word = truth(v, "single_word", false),
                                .lstrip = truth(v, "lstrip", false),
                                .rstrip = truth(v, "rstrip", false),
                                .normalized = truth(v, "normalized", !special) };
    if (i == h->n_added) h->n_added++;
    return gal__pool_string(&h->pool, &h->added[i].content, content->text.s, content->text.n) ? GAL_OK : no_memory(f);
}

static bool whole(const gal__string *s, int64_t *out) {
    return s->s && strlen(s->s) == s->n && gal_parse_i64(s->s, out);
}

gal_err gal__hf_added(gal__hf *h, const gal__hf_file *f) {
    gal_err err = GAL_OK;
    if (!f->added) return GAL_OK;
    if (f->added->type != GAL__ARRAY)
        return gal_fail(f->diag, GAL_EINPUT, "%s: added_tokens: expected an array, found %s", f->name,
                        gal__type_name(f->added));
    for (const gal__value *v = f->added->first; v && !err; v = v->next) {
        const gal__value *id = gal__member(v, "id");
        int64_t n;
        if (!id || id->type != GAL__WHOLE || !whole(&id->text, &n))
            err = gal_fail(f->diag, GAL_EINPUT, "%s: added_tokens: id: expected a whole number, found %s", f->name,
                           id ? gal__type_name(id) : "nothing");
        else
            err = add(h, f, v, n, "added_tokens");
    }
    return err;
}

/* A string, or an object with its content; absent and null leave out as it is: another file may name it. */
static gal_err name_of(gal__string *out, gal__hf *h, const gal__hf_file *f, const gal__value *config,
                       const char *key) {
    const gal__value *v = gal__member(config, key);
    if (v && v->type == GAL__OBJECT) v = gal__member(v, "content");
    if (out->s || !v || v->type != GAL__STRING) return GAL_OK;
    return gal__pool_string(&h->pool, out, v->text.s, v->text.n) ? GAL_OK : no_memory(f);
}

static gal_err read_names(gal__hf *h, gal__hf_file *f, const gal__value *config, const char *file) {
    gal_err err = name_of(&f->bos, h, f, config, "bos_token");
    if (!err && f->bos.s && !f->bos_in) f->bos_in = file;
    if (!err) err = name_of(&f->eos, h, f, config, "eos_token");
    if (!err && f->eos.s && !f->eos_in) f->eos_in = file;
    if (!err) err = name_of(&f->pad, h, f, config, "pad_token");
    if (!err) err = name_of(&f->unknown, h, f, config, "unk_token");
    return err;
}

/* What convert writes where it makes a tokenizer.json of a vocabulary that says more of its templates. */
static gal_err read_told(gal__hf_file *f, const gal__value *config) {
    const gal__value *version = gal__member(config, "galerne_chat_version"),
                     *sections = gal__member(config, "galerne_chat_tekken");
    int64_t v = 0;
    if (version && (version->type != GAL__WHOLE || !whole(&version->text, &v) || v < 1 || v > 99))
        return gal_fail(f->diag, GAL_EINPUT,
                        "%s: tokenizer_config.json: galerne_chat_version: expected a whole number from 1 to 15",
                        f->name);
    if (sections && sections->type != GAL__STRING)
        return gal_fail(f->diag, GAL_EINPUT,
                        "%s: tokenizer_config.json: galerne_chat_tekken: expected a string, found %s", f->name,
                        gal__type_name(sections));
    f->told = (int)v;
    if (sections) f->sections = sections->text;
    return GAL_OK;
}

static gal_err read_config(gal__hf *h, gal__hf_file *f, const gal__value *config) {
    const gal__value *more = gal__member(config, "added_tokens_decoder"),
                     *begin = gal__member(config, "add_bos_token");
    const gal__value *class = gal__member(config, "tokenizer_class");
    const gal__value *bos = gal__member(config, "bos_token"), *eos = gal__member(config, "eos_token");
    gal_err err = read_names(h, f, config, "tokenizer_config.json");
    f->no_bos = bos && bos->type == GAL__NULL;
    f->no_eos = eos && eos->type == GAL__NULL;
    if (!err) err = read_told(f, config);
    for (const gal__value *v = more && more->type == GAL__OBJECT ? more->first : NULL; v && !err; v = v->next) {
        int64_t id;
        if (whole(&v->key, &id))
            err = add(h, f, v, id, "added_tokens_decoder");
        else
            err = gal_fail(f->diag, GAL_EINPUT, "%s: added_tokens_decoder: expected ids, found '%.40s'", f->name,
                           v->key.s);
    }
    if (begin && (begin->type == GAL__TRUE || begin->type == GAL__FALSE)) {
        f->begins = begin->type == GAL__TRUE;
        f->says_begin = true;
    } else if (!f->says_begin && class &&
               (gal__is(class->text, "LlamaTokenizer") || gal__is(class->text, "LlamaTokenizerFast"))) {
        f->begins = f->says_begin = true; /* what the class does unless told otherwise */
    }
    return err;
}

static gal_err read_tree(const gal__value **out, gal__hf_file *f, const char *bytes, size_t n, const char *what) {
    gal_buf name = { 0 };
    gal__value *v = NULL;
    gal_buf_printf(&name, "%s: %s", f->name, what);
    gal_err err = name.oom ? gal_fail(f->diag, GAL_ENOMEM, "%s: no memory for its name", f->name)
                           : gal__tree_read(&v, &f->pool, bytes, n, true, name.data, f->diag);
    if (!err && v->type != GAL__OBJECT)
        err = gal_fail(f->diag, GAL_EINPUT, "%s: expected an object, found %s", name.data, gal__type_name(v));
    gal_buf_free(&name);
    *out = v;
    return err;
}

gal_err gal__hf_config(gal__hf *h, gal__hf_file *f, const gal__hf_beside *beside) {
    const gal__value *v = NULL;
    gal_err err = GAL_OK;
    if (beside && beside->config) {
        err = read_tree(&v, f, beside->config, beside->config_bytes, "tokenizer_config.json");
        if (!err) err = read_config(h, f, v);
    }
    if (!err && beside && beside->map) {
        err = read_tree(&v, f, beside->map, beside->map_bytes, "special_tokens_map.json");
        if (!err) err = read_names(h, f, v, "special_tokens_map.json");
    }
    if (!err && !f->bos.s && f->first.s && !gal__pool_string(&h->pool, &f->bos, f->first.s, f->first.n))
        err = no_memory(f);
    return err;
}
