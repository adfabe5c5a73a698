/* hf_make.c - a tokenizer of a tokenizer.json that was read. SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "base/mem.h"
#include "base/util.h"
#include "text/hf.h"

#include <stdio.h>
#include <string.h>

void gal__hf_free(gal__hf *h) {
    if (!h) return;
    for (size_t i = 0; i < h->n_steps; i++) gal__split_free(h->steps[i].pattern);
    gal_free(h->raw.by_text);
    gal_free(h->raw.lengths);
    gal_free(h->prepared.by_text);
    gal_free(h->prepared.lengths);
    gal_free(h->changed);
    gal_free(h->added);
    gal__pool_free(&h->pool);
    gal_free(h);
}

void gal__hf_describe(const gal__hf *h, gal_buf *out) {
    for (size_t i = 0; i < h->n_rules; i++) {
        const gal__rule *r = &h->rules[i];
        gal_buf_printf(out, "rule %d ", (int)r->kind);
        gal_buf_json(out, r->from.s ? r->from.s : "", r->from.n);
        gal_buf_json(out, r->to.s ? r->to.s : "", r->to.n);
        gal_buf_putc(out, '\n');
    }
    for (size_t i = 0; i < h->n_steps; i++) {
        const gal__step *s = &h->steps[i];
        const char *what = s->pattern ? gal__split_pattern(s->pattern) : s->literal.s ? s->literal.s : "";
        gal_buf_printf(out, "step %d %d %d %d %d %d ", (int)s->kind, s->pattern != NULL, (int)s->how, s->invert,
                       (int)s->scheme, s->cut);
        gal_buf_json(out, what, strlen(what));
        gal_buf_putc(out, '\n');
    }
    for (size_t i = 0; i < h->n_added; i++) {
        const gal__added *a = &h->added[i];
        if (a->special) continue;
        gal_buf_printf(out, "token %d %d %d %d %d ", (int)a->id, a->single_word, a->lstrip, a->rstrip, a->normalized);
        gal_buf_json(out, a->content.s, a->content.n);
        gal_buf_putc(out, '\n');
    }
}

/* ---- pieces by id ------------------------------------------------------------------------------------------------
 */

typedef struct table {
    size_t count;
    const char **pieces;
    size_t *lengths;
    uint8_t *types; /* 0: no piece has this id */
    float *scores;
    const char **merges;
    size_t *merge_lengths;
    gal_buf names; /* of ids without a piece */
} table;

static void table_free(table *t) {
    gal_free(t->pieces);
    gal_free(t->lengths);
    gal_free(t->types);
    gal_free(t->scores);
    gal_free(t->merges);
    gal_free(t->merge_lengths);
    gal_buf_free(&t->names);
}

static gal_err table_size(table *t, const gal__hf *h, const gal__hf_file *f) {
    int32_t last = 0;
    for (size_t i = 0; i < f->n_vocab; i++) last = GAL_MAX(last, f->vocab[i].id);
    for (size_t i = 0; i < h->n_added; i++) last = GAL_MAX(last, h->added[i].id);
    t->count = (size_t)last + 1;
    if (t->count > 2 * (f->n_vocab + h->n_added) + 65536)
        return gal_fail(f->diag, GAL_EINPUT, "%s: model.vocab: %zu pieces with ids up to %d", f->name,
                        f->n_vocab + h->n_added, (int)last);
    t->pieces = gal_alloc_array(t->count, sizeof *t->pieces);
    t->lengths = gal_alloc_array(t->count, sizeof *t->lengths);
    t->types = gal_alloc(t->count);
    t->scores = gal_alloc_array(t->count, sizeof *t->scores);
    t->merges = gal_alloc_array(f->n_merges + 1, sizeof *t->merges);
    t->merge_lengths = gal_alloc_array(f->n_merges + 1, sizeof *t->merge_lengths);
    if (t->pieces && t->lengths && t->types && t->scores && t->merges && t->merge_lengths) return GAL_OK;
    return gal_fail(f->diag, GAL_ENOMEM, "%s: no memory for %zu pieces", f->name, t->count);
}

static void put(table *t, int32_t id, const char *s, size_t n, gal_piece_type type) {
    t->pieces[id] = s;
    t->lengths[id] = n;
    t->types[id] = (uint8_t)type;
}

/* Ids between others that have no piece get the names that fill rows elsewhere, too. */
static gal_err fill_holes(table *t, const gal__hf_file *f) {
    for (int pass = 0; pass < 2; pass++) {
        size_t at = 0;
        for (size_t i = 0; i < t->count; i++) {
            char name[32];
            if (t->types[i]) continue;
            const size_t n = (size_t)snprintf(name, sizeof name, "[PAD%zu]", i);
            if (pass == 0) gal_buf_add(&t->names, name, n);
            if (t->names.oom) return gal_fail(f->diag, GAL_ENOMEM, "%s: no memory for %zu pieces", f->name, t->count);
            if (pass == 1) {
                t->pieces[i] = t->names.data + at;
                t->lengths[i] = n;
            }
            at += n;
        }
    }
    for (size_t i = 0; i < t->count; i++)
        if (!t->types[i]) t->types[i] = GAL_PIECE_CONTROL;
    return GAL_OK;
}

/* Whether it could be one of the pieces, and not only a name. */
static bool spelled(const gal__added *a) { return gal__unspell(NULL, a->content.s, a->content.n); }

static gal_err make_table(table *t, const gal__hf *h, const gal__hf_file *f) {
    gal_err err = table_size(t, h, f);
    const char *text = f->text.data;
    for (size_t i = 0; i < f->n_vocab && !err; i++) {
        const gal__hf_piece *p = &f->vocab[i];
        if (t->types[p->id])
            err = gal_fail(f->diag, GAL_EINPUT, "%s: model.vocab: two pieces have id %d", f->name, (int)p->id);
        else
            put(t, p->id, text + p->at, p->bytes,
                f->byte_fallback && gal__byte_of_piece(text + p->at, p->bytes) >= 0 ? GAL_PIECE_BYTE
                                                                                    : GAL_PIECE_NORMAL);
    }
    for (size_t i = 0; i < h->n_added && !err; i++) {
        const gal__added *a = &h->added[i];
        if (a->special || !t->types[a->id] || (f->byte_level && !spelled(a)))
            put(t, a->id, a->content.s, a->content.n, a->special ? GAL_PIECE_CONTROL : GAL_PIECE_USER);
    }
    for (size_t i = 0; i < f->n_merges && !err; i++) {
        t->merges[i] = text + f->merges[i].at;
        t->merge_lengths[i] = f->merges[i].bytes;
    }
    return err ? err : fill_holes(t, f);
}

static int32_t id_of(const table *t, gal__string name) {
    for (size_t i = 0; name.s && i < t->count; i++)
        if (t->lengths[i] == name.n && memcmp(t->pieces[i], name.s, name.n) == 0) return (int32_t)i;
    return -1;
}

/* By what the files say, or else by the usual name. */
static int32_t named(const table *t, gal__string name, const char *usual) {
    if (!name.s) name = (gal__string){ usual, strlen(usual) };
    return id_of(t, name);
}

/* What begins and ends a text. */
typedef struct ends {
    int32_t bos, eos;
} ends;

/* Any piece or added token, of whatever type; "" is none. in: the file that names it; NULL: a post_processor, whose
 * names need not be pieces. */
static gal_err end_of(int32_t *id, const gal__hf *h, const gal__hf_file *f, const table *t, gal__string name,
                      const char *in, const char *key) {
    *id = -1;
    if (!name.s || !name.n) return GAL_OK;
    for (size_t i = 0; i < h->n_added && *id < 0; i++)
        if (h->added[i].content.n == name.n && memcmp(h->added[i].content.s, name.s, name.n) == 0)
            *id = h->added[i].id;
    if (*id < 0) *id = id_of(t, name);
    if (*id >= 0 || !in) return GAL_OK;
    return gal_fail(f->diag, GAL_EINPUT, "%s: %s: %s: expected a piece of the vocabulary, found \"%.*s\"", f->name,
                    in, key, (int)GAL_MIN(name.n, (size_t)60), name.s);
}

/* ---- tokenizers --------------------------------------------------------------------------------------------------
 */

/* One pattern and nothing else, which needs no steps. */
static bool plain_bytes(const gal__hf *h) {
    return h->n_rules == 0 && h->n_steps == 1 && h->steps[0].pattern && h->steps[0].how == GAL__ISOLATED &&
           !gal__hf_matches(h);
}

static gal_err make_bytes(gal_tokenizer **out, const gal__hf *h, const gal__hf_file *f, const table *t, ends e) {
    const char *pattern = "[\\s\\S]+"; /* where steps cut, this one does not */
    for (size_t i = h->n_steps; i-- > 0;)
        if (h->steps[i].pattern) pattern = gal__split_pattern(h->steps[i].pattern);
    const gal_byte_vocab v = { .count = t->count,
                               .pieces = t->pieces,
                               .lengths = t->lengths,
                               .types = t->types,
                               .n_merges = f->n_merges,
                               .merges = t->merges,
                               .merge_lengths = t->merge_lengths,
                               .pattern = pattern,
                               .whole_words = f->ignore_merges,
                               .no_bos = !f->begins,
                               .unk = id_of(t, (gal__string){ f->unk.data, f->unk.len }),
                               .bos = f->bos.s || f->no_bos ? e.bos : named(t, f->bos, "<s>"),
                               .eos = f->eos.s || f->no_eos ? e.eos : named(t, f->eos, "</s>"),
                               .pad = named(t, f->pad, "<pad>") };
    return gal_tokenizer_from_bytes(out, &v, f->name, f->diag);
}

/* The dummy prefix of SentencePiece's vocabularies, as three converters write it, or none. */
static bool plain_pieces(const gal__hf *h, const gal__hf_file *f, bool *prefix) {
    const gal__rule *r = h->rules;
    const bool metaspace = h->n_steps == 1 && h->steps[0].kind == GAL__STEP_SPACES && !h->steps[0].cut;
    *prefix = false;
    if (gal__hf_matches(h) || f->ignore_merges) return false;
    if (h->n_steps == 0 && h->n_rules == 2 && r[0].kind == GAL__RULE_PREPEND && gal__is(r[0].to, GAL__SPACE) &&
        r[1].kind == GAL__RULE_REPLACE) {
        *prefix = true;
        return true;
    }
    if (metaspace && h->n_rules == 2 && r[0].kind == GAL__RULE_REPLACE && r[1].kind == GAL__RULE_DOUBLE &&
        h->steps[0].scheme != GAL__NEVER) {
        *prefix = true;
        return true;
    }
    return (h->n_steps == 0 && h->n_rules == 1) || (metaspace && h->n_rules == 0 && h->steps[0].scheme == GAL__NEVER);
}

static bool has_prefix(const gal__hf *h) {
    for (size_t i = 0; i < h->n_rules; i++)
        if (h->rules[i].kind == GAL__RULE_PREPEND) return true;
    for (size_t i = 0; i < h->n_steps; i++)
        if (h->steps[i].kind == GAL__STEP_SPACES && h->steps[i].scheme != GAL__NEVER) return true;
    return false;
}

/* Whether a space stands after something else. */
static bool goes_on(const char *s, size_t n) {
    bool word = false;
    for (size_t i = 0; i < n; i++) {
        const bool space = n - i >= GAL__SPACE_BYTES && memcmp(s + i, GAL__SPACE, GAL__SPACE_BYTES) == 0;
        if (space && word) return true;
        if (space) i += GAL__SPACE_BYTES - 1;
        word = word || !space;
    }
    return false;
}

/* Merges by the ids of their pieces; those with a piece that no text becomes are none. */
static gal_err add_merges(gal_tokenizer *t, const gal__hf_file *f) {
    size_t slots = 16, kept = 0;
    while (slots < 2 * f->n_merges) slots *= 2;
    t->pairs.slots = gal_alloc_array(slots, sizeof *t->pairs.slots);
    gal_buf joined = { 0 };
    if (!t->pairs.slots) return gal_fail(f->diag, GAL_ENOMEM, "%s: no memory for %zu merges", f->name, f->n_merges);
    t->pairs.mask = slots - 1;
    t->pairs.ranks = (uint32_t)f->n_merges + 1;
    /* Added tokens are found before words are joined: merges alone cross spaces, or what a character that vanished
     * leaves side by side. */
    t->splits = t->unk >= 0 || t->byte_fallback;
    for (size_t i = 0; i < slots; i++) t->pairs.slots[i].left = -1;
    for (size_t i = 0; i < f->n_merges && !joined.oom; i++) {
        const gal__hf_merge *m = &f->merges[i];
        const char *s = f->text.data + m->at, *right = s + m->left + 1;
        const size_t n = m->bytes - m->left - 1;
        gal_buf_clear(&joined);
        gal_buf_add(&joined, s, m->left);
        gal_buf_add(&joined, right, n);
        if (joined.oom) break;
        const gal__merge_pair p = { gal_tokenizer_find(t, s, m->left), gal_tokenizer_find(t, right, n),
                                    gal_tokenizer_find(t, joined.data, joined.len) };
        if (p.left < 0 || p.right < 0 || p.id < 0) {
            gal_buf_free(&joined);
            return gal_fail(f->diag, GAL_EINPUT,
                            "%s: model.merges: merge %zu, '%.*s': expected two pieces that join to a piece", f->name,
                            i, (int)GAL_MIN(m->bytes, 60U), s);
        }
        if (t->types[p.left] != GAL_PIECE_NORMAL || t->types[p.right] != GAL_PIECE_NORMAL ||
            t->types[p.id] != GAL_PIECE_NORMAL)
            continue;
        t->splits = t->splits && !goes_on(joined.data, joined.len);
        if (t->scores[p.id] == 0.0F) t->scores[p.id] = -(float)++kept;
        gal__pair_add(&t->pairs, &p, (uint32_t)i);
    }
    const bool oom = joined.oom;
    gal_buf_free(&joined);
    return oom ? gal_fail(f->diag, GAL_ENOMEM, "%s: no memory for its merges", f->name) : GAL_OK;
}

static gal_err make_pieces(gal_tokenizer **out, const gal__hf *h, const gal__hf_file *f, table *t, ends e) {
    gal_buf pad = { 0 };
    int32_t unk = id_of(t, (gal__string){ f->unk.data, f->unk.len });
    bool prefix = false;
    if (f->has_unk && unk < 0)
        return gal_fail(f->diag, GAL_EINPUT, "%s: model.unk_token: expected null or a piece, found \"%.40s\"",
                        f->name, f->unk.len ? f->unk.data : "");
    if (!f->has_unk && f->byte_fallback) unk = named(t, f->unknown, "<unk>"); /* no text becomes it */
    if (!f->has_unk && unk >= 0 && t->types[unk] != GAL_PIECE_CONTROL) unk = -1;
    const bool shown = f->has_unk && t->types[unk] != GAL_PIECE_CONTROL;
    if (unk >= 0) t->types[unk] = GAL_PIECE_UNKNOWN;
    if (f->pad.s) gal_buf_add(&pad, f->pad.s, f->pad.n);
    gal_err err = GAL_OK;
    const bool plain = plain_pieces(h, f, &prefix);
    const gal_vocab v = { .count = t->count,
                          .pieces = t->pieces,
                          .lengths = t->lengths,
                          .scores = t->scores,
                          .types = t->types,
                          .byte_fallback = f->byte_fallback,
                          .add_dummy_prefix = plain ? prefix : has_prefix(h),
                          .no_bos = !f->begins,
                          .no_unknown = unk < 0,
                          .users_apart = true,
                          .pad = pad.data,
                          .unk_surface = shown ? f->unk.data : "" };
    if (pad.oom) err = gal_fail(f->diag, GAL_ENOMEM, "%s: no memory for its pieces", f->name);
    gal_tokenizer *made = NULL;
    if (!err) err = gal_tokenizer_from_vocab(&made, &v, f->name, f->diag);
    gal_buf_free(&pad);
    if (!err) err = add_merges(made, f);
    if (err) {
        gal_tokenizer_free(made);
        return err;
    }
    /* A vocabulary from arrays takes control pieces alone, as SentencePiece does. */
    if (f->bos.s || f->no_bos) made->bos = e.bos;
    if (f->eos.s || f->no_eos) made->eos = e.eos;
    made->kind = "BPE with byte fallback";
    made->whole_words = f->ignore_merges;
    made->each_unknown = !f->fuse_unk;
    made->decoding = f->decoding;
    *out = made;
    return GAL_OK;
}

/* Mistral's version of templates, as far as the names of special tokens tell it. */
int gal__version_by_names(const gal_tokenizer *t) {
    static const struct {
        const char *piece;
        int version;
    } NAMES[] = { { "[MODEL_SETTINGS]", 15 }, { "[THINK]", 13 }, { "[ARGS]", 11 },
                  { "[SYSTEM_PROMPT]", 7 },   { "[PREFIX]", 3 }, { "[INST]", 2 } };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        const int32_t id = gal_tokenizer_find(t, NAMES[i].piece, strlen(NAMES[i].piece));
        if (id >= 0 && t->types[id] == GAL_PIECE_CONTROL) return NAMES[i].version;
    }
    return 1;
}

/* What pieces do not tell; merges of bytes are in the hash already. */
static gal_err rehash(gal_tokenizer *t, const gal__hf *h, const gal__hf_file *f) {
    gal_buf rules = { 0 };
    gal_merges m = { 0 };
    gal_sha256 hash;
    gal__hf_describe(h, &rules);
    gal_buf_printf(&rules, "%d %d", t->whole_words, t->each_unknown);
    gal_err err = rules.oom           ? gal_fail(f->diag, GAL_ENOMEM, "%s: no memory for its rules", f->name)
                  : t->bytes_are_text ? GAL_OK
                                      : gal_tokenizer_merges(t, &m, f->diag);
    if (!err) {
        gal_sha256_init(&hash);
        gal_sha256_add(&hash, t->sha256, sizeof t->sha256);
        gal_sha256_add(&hash, rules.data ? rules.data : "", rules.len);
        if (m.len) gal_sha256_add(&hash, m.at, m.len * sizeof *m.at);
        gal_sha256_end(&hash, t->sha256);
    }
    gal_buf_free(&rules);
    gal_merges_free(&m);
    return err;
}

gal_err gal__hf_match_users(gal_tokenizer *t, const char *name, gal_diag *diag) {
    size_t count = 0, n;
    for (int32_t id = 0; id < t->size; id++) count += t->types[id] == GAL_PIECE_USER;
    if (!count) return GAL_OK;
    gal__hf *h = gal_alloc(sizeof *h);
    if (!h) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for its added tokens", name);
    gal__pool_init(&h->pool);
    h->added = gal_alloc_array(count, sizeof *h->added);
    bool ok = h->added != NULL;
    for (int32_t id = 0; id < t->size && ok; id++) {
        if (t->types[id] != GAL_PIECE_USER) continue;
        const char *s = gal__piece(t, id, &n);
        gal__added *a = &h->added[h->n_added++];
        a->id = id;
        ok = gal__pool_string(&h->pool, &a->content, s, n);
    }
    const char *pattern = gal_tokenizer_pattern(t);
    gal_err err = ok ? gal__split_new(&h->steps[0].pattern, pattern, strlen(pattern), name, diag)
                     : gal_fail(diag, GAL_ENOMEM, "%s: no memory for its added tokens", name);
    h->n_steps = 1;
    if (!err) err = gal__hf_prepare(h, name, diag);
    if (err) {
        gal__hf_free(h);
        return err;
    }
    t->hf = h;
    t->cuts = false;
    return GAL_OK;
}

static gal_err tell(gal_tokenizer *t, const gal__hf_file *f) {
    gal_buf name = { 0 };
    gal_buf_printf(&name, "%s: tokenizer_config.json: galerne_chat_version", f->name);
    gal_err err = name.oom ? gal_fail(f->diag, GAL_ENOMEM, "%s: no memory", f->name)
                           : gal_tokenizer_tell(t, f->told, NULL, 0, name.data, f->diag);
    gal_buf_clear(&name);
    gal_buf_printf(&name, "%s: tokenizer_config.json: galerne_chat_tekken", f->name);
    if (!err && name.oom) err = gal_fail(f->diag, GAL_ENOMEM, "%s: no memory", f->name);
    if (!err && f->sections.s) err = gal_tokenizer_tell(t, 0, f->sections.s, f->sections.n, name.data, f->diag);
    gal_buf_free(&name);
    return err;
}

static gal_err make(gal_tokenizer **out, gal__hf **h, gal__hf_file *f) {
    table t = { 0 };
    gal_tokenizer *made = NULL;
    ends e = { -1, -1 };
    bool prefix;
    gal_err err = gal__hf_prepare(*h, f->name, f->diag);
    if (!err) err = make_table(&t, *h, f);
    if (!err) err = end_of(&e.bos, *h, f, &t, f->bos, f->bos_in, "bos_token");
    if (!err) err = end_of(&e.eos, *h, f, &t, f->eos, f->eos_in, "eos_token");
    if (!err) err = f->byte_level ? make_bytes(&made, *h, f, &t, e) : make_pieces(&made, *h, f, &t, e);
    table_free(&t);
    if (!err && (!f->byte_level || !plain_bytes(*h))) err = rehash(made, *h, f);
    if (err) {
        gal_tokenizer_free(made);
        return err;
    }
    made->version = gal__version_by_names(made);
    err = tell(made, f);
    if (err) {
        gal_tokenizer_free(made);
        return err;
    }
    if (!(f->byte_level ? plain_bytes(*h) : plain_pieces(*h, f, &prefix))) {
        made->hf = *h;
        made->cuts = false;
        *h = NULL;
    }
    *out = made;
    return GAL_OK;
}

gal_err gal__hf_open(gal_tokenizer **out, const char *bytes, size_t n, const gal__hf_beside *beside, const char *name,
                     gal_diag *diag) {
    gal__hf_file f = { .name = name, .diag = diag };
    gal__hf *h = gal_alloc(sizeof *h);
    if (!h) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for a tokenizer", name);
    gal__pool_init(&h->pool);
    h->ascending = true;
    gal_err err = gal__hf_read(&f, bytes, n);
    if (!err) err = gal__hf_steps(h, &f);
    if (!err) err = gal__hf_added(h, &f);
    if (!err) err = gal__hf_config(h, &f, beside);
    if (!err) err = make(out, &h, &f);
    gal__hf_file_free(&f);
    gal__hf_free(h);
    return err;
}
