/* ids.c - see ids.h. SPDX-License-Identifier: Apache-2.0 */
#include "eval/ids.h"

#include "base/mem.h"
#include "base/util.h"

#include <string.h>

struct gal_id_source {
    const gal_tokenizer *t; /* NULL: all ids are given */
    gal_token_scratch *scratch;
    const char *text;
    size_t bytes, at; /* of the text; of what is encoded */
    size_t piece;     /* bytes to encode at a time */
    gal_ids ids;      /* from id number `first` on */
    int64_t first;
    const int32_t *given;
    int64_t n_given;
    size_t bad, first_bad;
};

gal_err gal_id_source_of_text(gal_id_source **out, const gal_tokenizer *t, const char *text, size_t bytes, bool bos,
                              size_t piece_bytes, gal_diag *diag) {
    gal_id_source *s = gal_alloc(sizeof *s);
    if (!s) return gal_fail(diag, GAL_ENOMEM, "no memory for the ids of a text");
    s->t = t;
    s->text = text;
    s->bytes = bytes;
    s->piece = piece_bytes ? piece_bytes : GAL_ID_PIECE_BYTES;
    gal_err err = gal_token_scratch_new(&s->scratch, t, diag);
    if (!err && bos) err = gal_encode(t, s->scratch, "", 0, GAL_ENCODE_BOS, &s->ids, diag);
    if (err) {
        gal_id_source_free(s);
        return err;
    }
    *out = s;
    return GAL_OK;
}

gal_err gal_id_source_of_ids(gal_id_source **out, const int32_t *ids, size_t n, gal_diag *diag) {
    gal_id_source *s = gal_alloc(sizeof *s);
    if (!s) return gal_fail(diag, GAL_ENOMEM, "no memory for ids");
    s->given = ids;
    s->n_given = (int64_t)n;
    *out = s;
    return GAL_OK;
}

void gal_id_source_free(gal_id_source *s) {
    if (!s) return;
    gal_token_scratch_free(s->scratch);
    gal_ids_free(&s->ids);
    gal_free(s);
}

static void count_bad(gal_id_source *s, size_t end) {
    uint32_t cp;
    for (size_t i = s->at; i < end;) {
        if ((uint8_t)s->text[i] < 0x80) {
            i++;
            continue;
        }
        int len = gal_utf8_next(s->text + i, end - i, &cp);
        if (len == 0 && s->bad++ == 0) s->first_bad = i;
        i += (size_t)(len ? len : 1);
    }
}

/* A piece that holds no place for a cut is doubled until it does or the text ends. */
static gal_err encode_piece(gal_id_source *s, gal_diag *diag) {
    const char *text = s->text + s->at;
    size_t left = s->bytes - s->at, n = 0;
    for (size_t piece = s->piece; n == 0; piece *= 2) {
        if (piece >= left)
            n = left;
        else
            n = gal_encode_cut(s->t, text, piece);
        if (piece > SIZE_MAX / 2) n = left;
    }
    gal_err err = gal_encode(s->t, s->scratch, text, n, s->at ? GAL_ENCODE_CONTINUES : 0u, &s->ids, diag);
    if (err) return err;
    count_bad(s, s->at + n);
    s->at += n;
    return GAL_OK;
}

static void forget(gal_id_source *s, int64_t from) {
    size_t n = (size_t)GAL_MIN(GAL_MAX(from - s->first, (int64_t)0), (int64_t)s->ids.len);
    if (n < s->ids.len / 2) return; /* moving the rest pays only now and then */
    if (n) memmove(s->ids.data, s->ids.data + n, (s->ids.len - n) * sizeof *s->ids.data);
    s->ids.len -= n;
    s->first += (int64_t)n;
}

gal_err gal_id_source_read(gal_id_source *s, int64_t from, int64_t end, const int32_t **ids, int64_t *n,
                           gal_diag *diag) {
    GAL_ASSERT(from >= s->first && end >= from);
    if (!s->t) {
        from = GAL_MIN(from, s->n_given);
        *ids = s->given + from;
        *n = GAL_MIN(end, s->n_given) - from;
        return GAL_OK;
    }
    while (s->first + (int64_t)s->ids.len < end && s->at < s->bytes) {
        forget(s, from);
        gal_err err = encode_piece(s, diag);
        if (err) return err;
    }
    int64_t known = s->first + (int64_t)s->ids.len;
    from = GAL_MIN(from, known);
    *ids = s->ids.data + (from - s->first);
    *n = GAL_MIN(end, known) - from;
    return GAL_OK;
}

double gal_id_source_share(const gal_id_source *s, int64_t at) {
    if (!s->t) return s->n_given ? (double)at / (double)s->n_given : 1.0;
    int64_t known = s->first + (int64_t)s->ids.len;
    if (known == 0 || s->bytes == 0) return 1.0;
    return (double)s->at / (double)s->bytes * ((double)at / (double)known);
}

size_t gal_id_source_bad_bytes(const gal_id_source *s, size_t *first) {
    *first = s->first_bad;
    return s->bad;
}
