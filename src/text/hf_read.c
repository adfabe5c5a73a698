/* hf_read.c - tokenizer.json front to back: pieces and merges into flat arrays, the rest, which is short, as trees.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/hf.h"
#include "text/json_pull.h"

#include <string.h>

enum { SHORT_PART = 1 << 24 }; /* bytes of what is read as a tree */

static bool is(const char *key, size_t n, const char *word) { return n == strlen(word) && memcmp(key, word, n) == 0; }

static void no_memory(gal__hf_file *f, gal__json *j) {
    if (!j->err) j->err = gal_fail(f->diag, GAL_ENOMEM, "%s: no memory for its pieces", f->name);
    j->p = j->end;
}

static void read_vocab(gal__hf_file *f, gal__json *j) {
    const char *key;
    size_t n;
    bool first = true;
    if (gal__json_peek(j) == '[') { /* not BPE's */
        f->listed = true;
        gal__json_skip(j);
        return;
    }
    if (!gal__json_enter(j, '{')) return;
    while (gal__json_member(j, &first, &key, &n)) {
        int64_t id;
        void *p = f->vocab;
        const size_t at = f->text.len;
        gal_buf_add(&f->text, key, n);
        if (!gal__json_whole(j, &id)) return;
        if (id < 0 || id >= GAL__MAX_PIECES) {
            (void)gal__json_fail(j, "model.vocab: expected ids from 0 to %d, found %lld", GAL__MAX_PIECES - 1,
                                 (long long)id);
            return;
        }
        if (f->text.oom || n > UINT32_MAX ||
            (f->n_vocab == f->vocab_cap && gal_grow(&p, &f->vocab_cap, f->n_vocab + 1, sizeof *f->vocab) != 0)) {
            no_memory(f, j);
            return;
        }
        f->vocab = p;
        f->vocab[f->n_vocab++] = (gal__hf_piece){ at, (uint32_t)n, (int32_t)id };
    }
}

/* "left right", or ["left", "right"]. */
static void read_merge(gal__hf_file *f, gal__json *j) {
    const char *s;
    size_t n, left = 0;
    bool first = true;
    void *p = f->merges;
    const size_t at = f->text.len;
    if (gal__json_peek(j) == '[') {
        if (!gal__json_enter(j, '[')) return;
        for (int i = 0; gal__json_element(j, &first); i++) {
            if (!gal__json_string(j, &s, &n)) return;
            if (i == 1) left = f->text.len - at;
            if (i == 1) gal_buf_putc(&f->text, ' ');
            gal_buf_add(&f->text, s, n);
            if (i == 2)
                (void)gal__json_fail(j, "model.merges: merge %zu: expected two pieces, found more", f->n_merges);
        }
    } else if (gal__json_string(j, &s, &n)) {
        const char *gap = memchr(s, ' ', n);
        left = gap ? (size_t)(gap - s) : 0;
        gal_buf_add(&f->text, s, n);
    }
    if (j->err) return;
    if (f->text.oom) {
        no_memory(f, j);
        return;
    }
    if (left == 0 || f->text.len - at < left + 2) {
        (void)gal__json_fail(j, "model.merges: merge %zu: expected two pieces", f->n_merges);
        return;
    }
    if (f->text.oom || f->text.len - at > UINT32_MAX || f->n_merges >= GAL__MAX_PIECES ||
        (f->n_merges == f->merges_cap && gal_grow(&p, &f->merges_cap, f->n_merges + 1, sizeof *f->merges) != 0)) {
        no_memory(f, j);
        return;
    }
    f->merges = p;
    f->merges[f->n_merges++] = (gal__hf_merge){ at, (uint32_t)left, (uint32_t)(f->text.len - at) };
}

static void read_text(gal__json *j, gal_buf *out) {
    const char *s;
    size_t n;
    gal_buf_clear(out);
    if (!gal__json_null(j) && gal__json_string(j, &s, &n)) gal_buf_add(out, s, n);
}

/* true: the value is there and says something. */
static void read_flag(gal__json *j, bool *out) {
    if (!gal__json_null(j)) (void)gal__json_truth(j, out);
}

static void read_model(gal__hf_file *f, gal__json *j) {
    const char *key, *s;
    size_t n;
    bool first = true, whole;
    if (!gal__json_enter(j, '{')) return;
    f->has_model = true;
    while (gal__json_member(j, &first, &key, &n)) {
        if (is(key, n, "type")) {
            read_text(j, &f->model);
        } else if (is(key, n, "unk_token")) {
            f->has_unk = !gal__json_null(j);
            if (f->has_unk) read_text(j, &f->unk);
        } else if (is(key, n, "vocab") && !f->n_vocab) {
            read_vocab(f, j);
        } else if (is(key, n, "merges") && !f->n_merges) {
            bool one = true;
            if (!gal__json_enter(j, '[')) return;
            while (gal__json_element(j, &one)) read_merge(f, j);
        } else if (is(key, n, "byte_fallback")) {
            read_flag(j, &f->byte_fallback);
        } else if (is(key, n, "ignore_merges")) {
            read_flag(j, &f->ignore_merges);
        } else if (is(key, n, "fuse_unk")) {
            read_flag(j, &f->fuse_unk);
        } else if (is(key, n, "dropout") && !gal__json_null(j)) {
            if (!gal__json_number(j, &s, &n, &whole)) return;
            for (size_t i = 0; i < n; i++) f->dropout = f->dropout || (s[i] != '0' && s[i] != '.');
        } else if ((is(key, n, "continuing_subword_prefix") || is(key, n, "end_of_word_suffix")) &&
                   !gal__json_null(j)) {
            if (gal__json_string(j, &s, &n)) f->affixes = f->affixes || n > 0;
        } else if (!is(key, n, "dropout") && !is(key, n, "continuing_subword_prefix") &&
                   !is(key, n, "end_of_word_suffix")) {
            gal__json_skip(j);
        }
    }
}

/* One short value as a tree; NULL for null. */
static const gal__value *read_tree(gal__hf_file *f, gal__json *j, const char *key) {
    gal__value *v = NULL;
    (void)gal__json_peek(j);
    const char *from = j->p;
    gal__json_skip(j);
    if (j->err) return NULL;
    if (j->p - from > SHORT_PART) {
        (void)gal__json_fail(j, "%s: %lld bytes; at most %d are possible", key, (long long)(j->p - from), SHORT_PART);
        return NULL;
    }
    gal_err err = gal__tree_read(&v, &f->pool, from, (size_t)(j->p - from), true, f->name, f->diag);
    if (err) {
        j->err = err;
        j->p = j->end;
    }
    return err || v->type == GAL__NULL ? NULL : v;
}

static gal_err check_model(const gal__hf_file *f) {
    const char *type = f->model.len ? f->model.data : f->listed ? "Unigram" : "BPE";
    if (!f->has_model) return gal_fail(f->diag, GAL_EINPUT, "%s: model is missing", f->name);
    if (strcmp(type, "BPE") != 0)
        return gal_fail(f->diag, GAL_EINPUT,
                        "%s: model.type: expected \"BPE\", found \"%.40s\", which is not supported", f->name, type);
    if (f->listed || !f->n_vocab)
        return gal_fail(f->diag, GAL_EINPUT, "%s: model.vocab: expected an object of pieces and their ids", f->name);
    if (f->dropout)
        return gal_fail(f->diag, GAL_EINPUT, "%s: model.dropout: expected null or 0: ids would be drawn by lot",
                        f->name);
    if (f->affixes)
        return gal_fail(f->diag, GAL_EINPUT,
                        "%s: model: continuing_subword_prefix and end_of_word_suffix are not supported", f->name);
    return GAL_OK;
}

gal_err gal__hf_read(gal__hf_file *f, const char *bytes, size_t n) {
    gal__json j = gal__json_begin(bytes, n, f->name, f->diag);
    const char *key;
    bool first = true;
    const struct {
        const char *key;
        const gal__value **out;
    } TREES[] = { { "added_tokens", &f->added },
                  { "normalizer", &f->normalizer },
                  { "pre_tokenizer", &f->pre_tokenizer },
                  { "post_processor", &f->post_processor },
                  { "decoder", &f->decoder } };
    gal__pool_init(&f->pool);
    if (gal__json_enter(&j, '{'))
        while (gal__json_member(&j, &first, &key, &n)) {
            size_t i = 0;
            while (i < GAL_LEN(TREES) && !is(key, n, TREES[i].key)) i++;
            if (i < GAL_LEN(TREES))
                *TREES[i].out = read_tree(f, &j, TREES[i].key);
            else if (is(key, n, "model") && !f->has_model)
                read_model(f, &j);
            else
                gal__json_skip(&j);
        }
    (void)gal__json_end(&j);
    if (!j.err && (f->model.oom || f->unk.oom)) no_memory(f, &j);
    gal_err err = j.err ? j.err : check_model(f);
    gal__json_free(&j);
    return err;
}

void gal__hf_file_free(gal__hf_file *f) {
    gal__pool_free(&f->pool);
    gal_buf_free(&f->text);
    gal_buf_free(&f->model);
    gal_buf_free(&f->unk);
    gal_free(f->vocab);
    gal_free(f->merges);
    *f = (gal__hf_file){ 0 };
}
