/* encode.c - SentencePiece BPE: repeatedly join the adjacent pair whose concatenation is the piece of highest score,
 * the leftmost of equals (merge.c).
 *
 *   text -> segments (cut before a space that follows no space) -> symbols -> queue of joins -> ids
 *
 * A cut is allowed because no piece holds a space after another character (gal_tokenizer.splits): joins of two
 * segments never touch. Short segments repeat, so their ids are kept in a small table, keyed by their bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/internal.h"
#include "text/joins.h"

#include <string.h>

gal_err gal_ids_add(gal_ids *ids, int32_t id, gal_diag *diag) {
    void *p = ids->data;
    if (ids->len == ids->cap && gal_grow(&p, &ids->cap, ids->len + 1, sizeof *ids->data) != 0)
        return gal_fail(diag, GAL_ENOMEM, "no memory for %zu ids", ids->len + 1);
    ids->data = p;
    ids->data[ids->len++] = id;
    return GAL_OK;
}

void gal_ids_free(gal_ids *ids) {
    gal_free(ids->data);
    *ids = (gal_ids){ 0 };
}

/* Space to U+2581, each bad byte to U+FFFD: at most three bytes for one. */
static gal_err normalise(gal_token_scratch *s, const char *text, size_t n, size_t *out, gal_diag *diag) {
    void *p = s->norm;
    if (n > (size_t)INT32_MAX / 3)
        return gal_fail(diag, GAL_ENOMEM, "one word of %zu bytes; at most %d are possible", n, INT32_MAX / 3);
    if (s->norm_cap < 3 * n && gal_grow(&p, &s->norm_cap, 3 * n, 1) != 0) return gal__no_memory(diag);
    s->norm = p;
    char *w = s->norm;
    for (size_t i = 0; i < n;) {
        uint8_t c = (uint8_t)text[i];
        if (c == ' ') {
            memcpy(w, GAL__SPACE, GAL__SPACE_BYTES);
            w += GAL__SPACE_BYTES;
            i++;
        } else if (c < 0x80) {
            *w++ = text[i++];
        } else {
            uint32_t cp;
            int len = gal_utf8_next(text + i, n - i, &cp);
            memcpy(w, len ? text + i : "\xef\xbf\xbd", (size_t)(len ? len : 3));
            w += len ? len : 3;
            i += (size_t)(len ? len : 1);
        }
    }
    *out = (size_t)(w - s->norm);
    return GAL_OK;
}

static size_t char_bytes(char lead) { /* norm is valid UTF-8 */
    uint8_t c = (uint8_t)lead;
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

size_t gal__match_user(const gal_tokenizer *t, const char *p, size_t n, int32_t *id) {
    if (!t->user_first[(uint8_t)*p]) return 0;
    for (size_t m = GAL_MIN(n, t->user_max); m > 0; m--) {
        *id = gal__table_find(t, &t->text, p, m);
        if (*id >= 0 && t->types[*id] == GAL_PIECE_USER) return m;
    }
    return 0;
}

/* Leaves out characters without a piece, where no id stands for such. */
static size_t drop_unknown(const gal_tokenizer *t, char *norm, size_t n) {
    size_t kept = 0;
    for (size_t i = 0, m; i < n; i += m) {
        m = char_bytes(norm[i]);
        if (gal__table_find(t, &t->text, norm + i, m) < 0) continue;
        memmove(norm + kept, norm + i, m);
        kept += m;
    }
    return kept;
}

static gal_err cut_symbols(const gal_tokenizer *t, gal_token_scratch *s, size_t n, int32_t *count, gal_diag *diag) {
    gal_err err = gal__symbols(s, n, diag);
    if (err) return err;
    int32_t k = 0;
    for (size_t i = 0; i < n; k++) {
        int32_t id = -2;
        size_t m = t->user_max ? gal__match_user(t, s->norm + i, n - i, &id) : 0;
        bool user = m > 0;
        if (!user) m = char_bytes(s->norm[i]);
        s->symbols[k] = (gal__part){ k - 1, k + 1, (uint32_t)i, (uint32_t)m, user ? id : -2, user };
        i += m;
    }
    if (k) s->symbols[k - 1].next = -1;
    *count = k;
    return GAL_OK;
}

/* A symbol that is no piece: its bytes, or one unknown id for a run of such symbols. */
static gal_err emit_unknown(const gal_tokenizer *t, const char *p, size_t n, bool *unknown, gal_ids *ids,
                            gal_diag *diag) {
    gal_err err = GAL_OK;
    if (t->byte_fallback) {
        for (size_t i = 0; i < n && !err; i++) err = gal_ids_add(ids, t->byte_ids[(uint8_t)p[i]], diag);
        return err;
    }
    if (!*unknown || t->each_unknown) err = gal_ids_add(ids, t->unk, diag);
    *unknown = true;
    return err;
}

/* UNUSED pieces are for joining only: take them apart again, as they were last put together. */
static gal_err emit_unused(const gal_tokenizer *t, gal_token_scratch *s, uint32_t at, uint32_t bytes, bool *unknown,
                           gal_ids *ids, gal_diag *diag) {
    size_t depth = 1;
    void *p = s->stack;
    if (s->stack_cap < 2 && gal_grow(&p, &s->stack_cap, 64, sizeof *s->stack) != 0) return gal__no_memory(diag);
    s->stack = p;
    s->stack[0] = at;
    s->stack[1] = bytes;
    gal_err err = GAL_OK;
    while (depth > 0 && !err) {
        depth--;
        at = s->stack[2 * depth];
        bytes = s->stack[2 * depth + 1];
        int32_t id = gal__table_find(t, &t->text, s->norm + at, bytes);
        uint32_t left = id >= 0 && t->types[id] == GAL_PIECE_UNUSED ? s->unused_left[id] : 0;
        if (left == 0) {
            if (id < 0 || t->types[id] == GAL_PIECE_UNUSED) { /* one character: nothing to take apart */
                err = emit_unknown(t, s->norm + at, bytes, unknown, ids, diag);
            } else {
                err = gal_ids_add(ids, id, diag);
                *unknown = false;
            }
            continue;
        }
        p = s->stack;
        if (s->stack_cap < 2 * depth + 4 && gal_grow(&p, &s->stack_cap, 2 * depth + 4, sizeof *s->stack) != 0)
            return gal__no_memory(diag);
        s->stack = p;
        s->stack[2 * depth] = at + left;
        s->stack[2 * depth + 1] = bytes - left;
        s->stack[2 * depth + 2] = at;
        s->stack[2 * depth + 3] = left;
        depth += 2;
    }
    return err;
}

static gal_err encode_segment(const gal_tokenizer *t, gal_token_scratch *s, const char *text, size_t n, bool *unknown,
                              gal_ids *ids, gal_diag *diag) {
    size_t norm = 0;
    int32_t count = 0;
    gal_err err = normalise(s, text, n, &norm, diag);
    if (!err && t->unk < 0 && !t->byte_fallback) norm = drop_unknown(t, s->norm, norm);
    if (!err) err = cut_symbols(t, s, norm, &count, diag);
    if (err || count == 0) return err;
    if (t->has_unused) memset(s->unused_left, 0, (size_t)t->size * sizeof *s->unused_left);
    s->base = s->norm;
    err = gal__merge(t, s, count, diag);
    for (int32_t i = 0; i >= 0 && !err; i = s->symbols[i].next) {
        const gal__part *a = &s->symbols[i];
        int32_t id = a->id != -2 ? a->id : gal__table_find(t, &t->text, s->norm + a->at, a->bytes);
        if (id >= 0 && t->types[id] == GAL_PIECE_UNUSED) {
            err = emit_unused(t, s, a->at, a->bytes, unknown, ids, diag);
        } else if (id >= 0) {
            err = gal_ids_add(ids, id, diag);
            *unknown = false;
        } else {
            err = emit_unknown(t, s->norm + a->at, a->bytes, unknown, ids, diag);
        }
    }
    return err;
}

/* The same through the table of short segments. Without byte_fallback a run of unknown symbols may cross segments, so
 * the ids of one depend on the one before it. */
static gal_err encode_word(const gal_tokenizer *t, gal_token_scratch *s, const char *text, size_t n, bool *unknown,
                           gal_ids *ids, gal_diag *diag) {
    if (n > GAL__CACHE_KEY || !t->byte_fallback || !t->splits)
        return encode_segment(t, s, text, n, unknown, ids, diag);
    bool hit = false;
    size_t before = ids->len;
    gal_err err = GAL_OK;
    gal__cached *c = gal__cache_find(s, text, n, &hit, ids, &err, diag);
    if (hit) return err;
    err = encode_segment(t, s, text, n, unknown, ids, diag);
    if (!err) gal__cache_keep(c, text, n, ids, before);
    return err;
}

bool gal__ends_in_space(const char *p, size_t n) {
    return p[n - 1] == ' ' ||
           (n >= GAL__SPACE_BYTES && memcmp(p + n - GAL__SPACE_BYTES, GAL__SPACE, GAL__SPACE_BYTES) == 0);
}

/* Bytes of the first segment: up to a space that follows something else. */
static size_t segment(const gal_tokenizer *t, const char *text, size_t n) {
    if (!t->splits) return n;
    size_t i = 0;
    while (i < n && text[i] == ' ') i++;
    while (i < n) {
        while (i < n && text[i] != ' ') i++;
        if (i == n || !gal__ends_in_space(text, i)) return i;
        while (i < n && text[i] == ' ') i++;
    }
    return n;
}

static gal_err remove_spaces(gal_buf *b, const char **text, size_t *n, gal_diag *diag) {
    const char *p = *text, *end = p + *n;
    gal_buf_clear(b);
    for (bool space = true; p < end; p++) {
        if (*p != ' ' || !space) gal_buf_putc(b, *p);
        space = *p == ' ';
    }
    if (b->oom) return gal__no_memory(diag);
    while (b->len && gal__ends_in_space(b->data, b->len)) b->len -= b->data[b->len - 1] == ' ' ? 1 : GAL__SPACE_BYTES;
    *text = b->data;
    *n = b->len;
    return GAL_OK;
}

/* Where a run of unknown symbols, or of spaces to be removed, may go on across a cut, nothing is cut. A cut lies
 * between two segments: before a space that follows something else. */
size_t gal_encode_cut(const gal_tokenizer *t, const char *text, size_t n) {
    if (t->hf) return 0;
    if (t->bytes_are_text) return gal__cut_bytes(t, text, n);
    if (!t->splits || !t->byte_fallback || t->remove_extra_whitespaces) return 0;
    if (t->charsmap) return gal__charsmap_cut(t->charsmap, t, text, n);
    for (size_t i = n; i-- > 1;)
        if (text[i] == ' ' && !gal__ends_in_space(text, i)) return i;
    return 0;
}

/* begins: the text is not the continuation of another. */
static gal_err encode_text(const gal_tokenizer *t, gal_token_scratch *s, const char *text, size_t n, bool begins,
                           gal_ids *ids, gal_diag *diag) {
    gal_err err = GAL_OK;
    bool unknown = false;
    gal_buf clean = { 0 };
    if (t->charsmap) {
        err = gal__charsmap_apply(t->charsmap, t, text, n, &s->mapped, diag);
        text = s->mapped.len ? s->mapped.data : "";
        n = s->mapped.len;
        if (err) gal_buf_free(&s->mapped);
    }
    if (!err && t->remove_extra_whitespaces) err = remove_spaces(&clean, &text, &n, diag);
    /* A text that rules made nothing of still has its space. */
    if (!err && (n || !t->remove_extra_whitespaces) && begins && t->add_dummy_prefix) {
        /* The first segment with a space before it. Where the text begins with a literal U+2581 or a space, that
         * belongs to the same run of spaces, and the segment is the same. */
        size_t m = segment(t, text, n);
        gal_buf_clear(&s->text);
        gal_buf_putc(&s->text, ' ');
        gal_buf_add(&s->text, text, m);
        err = s->text.oom ? gal__no_memory(diag) : encode_word(t, s, s->text.data, m + 1, &unknown, ids, diag);
        if (s->text.oom) gal_buf_free(&s->text);
        text += m;
        n -= m;
    }
    while (!err && n) {
        size_t m = segment(t, text, n);
        err = encode_word(t, s, text, m, &unknown, ids, diag);
        text += m;
        n -= m;
    }
    gal_buf_free(&clean);
    return err;
}

/* The same where U+2581 stands for spaces already. */
static size_t spelled_segment(const gal_tokenizer *t, const char *text, size_t n) {
    size_t i = 0;
    if (!t->splits) return n;
    while (n - i >= GAL__SPACE_BYTES && memcmp(text + i, GAL__SPACE, GAL__SPACE_BYTES) == 0) i += GAL__SPACE_BYTES;
    while (i < n) {
        const char *at = memchr(text + i, (uint8_t)GAL__SPACE[0], n - i);
        if (!at) return n;
        i = (size_t)(at - text);
        if (n - i >= GAL__SPACE_BYTES && memcmp(at, GAL__SPACE, GAL__SPACE_BYTES) == 0) return i;
        i++;
    }
    return n;
}

gal_err gal__encode_pieces(const gal_tokenizer *t, gal_token_scratch *s, const char *word, size_t n, gal_ids *ids,
                           gal_diag *diag) {
    bool unknown = false;
    gal_err err = GAL_OK;
    const int32_t id = t->whole_words && n <= t->text_max ? gal__table_find(t, &t->text, word, n) : -1;
    if (id >= 0) return gal_ids_add(ids, id, diag);
    while (!err && n) {
        const size_t m = spelled_segment(t, word, n);
        err = encode_word(t, s, word, m, &unknown, ids, diag);
        word += m;
        n -= m;
    }
    return err;
}

gal_err gal_encode(const gal_tokenizer *t, gal_token_scratch *s, const char *text, size_t n, unsigned flags,
                   gal_ids *ids, gal_diag *diag) {
    GAL_ASSERT(!s || s->owner == t);
    gal_token_scratch *own = NULL;
    size_t before = ids->len;
    gal_err err = GAL_OK;
    if ((flags & GAL_ENCODE_BOS) && t->bos < 0) err = gal_fail(diag, GAL_EINPUT, "the vocabulary has no BOS piece");
    if ((flags & GAL_ENCODE_EOS) && t->eos < 0) err = gal_fail(diag, GAL_EINPUT, "the vocabulary has no EOS piece");
    if (!err && !s && n) {
        err = gal_token_scratch_new(&own, t, diag);
        s = own;
    }
    if (!err && (flags & GAL_ENCODE_BOS)) err = gal_ids_add(ids, t->bos, diag);
    if (!err && n && t->hf)
        err = gal__encode_hf(t, s, text, n, flags, ids, diag);
    else if (!err && n && t->bytes_are_text)
        err = gal__encode_bytes(t, s, text, n, ids, diag);
    else if (!err && n)
        err = encode_text(t, s, text, n, !(flags & GAL_ENCODE_CONTINUES), ids, diag);
    if (!err && (flags & GAL_ENCODE_EOS)) err = gal_ids_add(ids, t->eos, diag);
    if (err) ids->len = before;
    gal_token_scratch_free(own);
    return err;
}
