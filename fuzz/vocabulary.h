/* vocabulary.h - what vocabularies in JSON must do, however they came. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_FUZZ_VOCABULARY_H
#define GAL_FUZZ_VOCABULARY_H

#include "text/internal.h"

#include "fuzz.h"

static const char NAME[] = "fuzz.json";
enum { TEXT_BYTES = 300 };

/* NULL: refused. */
static gal_tokenizer *vocabulary_of(const uint8_t *data, size_t n) {
    gal_diag diag = { 0 };
    gal_tokenizer *t = NULL;
    gal_err err = gal_tokenizer_open_bytes(&t, data, n, NAME, &diag);
    if (err) FUZZ_REFUSED(err, diag, NAME);
    return t;
}

static void stream_text(const gal_tokenizer *t, const gal_ids *ids, gal_buf *out) {
    gal_stream *s = NULL;
    const char *text = "";
    size_t n = 0;
    gal_err err = gal_stream_new(&s, t, NULL, NULL);
    for (size_t i = 0; !err && i < ids->len; i++) {
        err = gal_stream_feed(s, ids->data[i], &text, &n, NULL);
        if (!err) gal_buf_add(out, text, n);
    }
    if (!err) err = gal_stream_end(s, &text, &n, NULL);
    GAL_ASSERT(!err);
    gal_buf_add(out, text, n);
    gal_stream_free(s);
}

/* A pattern may take too long on a text, which is said, and nothing else may fail. */
static void try_text(const gal_tokenizer *t, const gal_tokenizer *twin, gal_token_scratch *s, const char *text,
                     size_t n) {
    gal_ids ids = { 0 }, other = { 0 };
    gal_buf whole = { 0 }, streamed = { 0 };
    gal_diag why = { 0 };
    const unsigned flags = t->bos >= 0 ? GAL_ENCODE_BOS : 0u;
    gal_err err = gal_encode(t, s, text, n, flags, &ids, &why);
    if (err) {
        GAL_ASSERT(err == GAL_EINPUT && strstr(why.text, "pattern") && ids.len == 0);
        return;
    }
    for (size_t i = 0; i < ids.len; i++) GAL_ASSERT(ids.data[i] >= 0 && ids.data[i] < gal_tokenizer_size(t));
    if (twin) err = gal_encode(twin, NULL, text, n, flags, &other, NULL);
    GAL_ASSERT(!err && (!twin || (ids.len == other.len &&
                                  (!ids.len || memcmp(ids.data, other.data, ids.len * sizeof *ids.data) == 0))));
    err = gal_decode(t, ids.data, ids.len, &whole, NULL);
    stream_text(t, &ids, &streamed);
    GAL_ASSERT(!err && whole.len == streamed.len);
    GAL_ASSERT(!whole.len || memcmp(whole.data, streamed.data, whole.len) == 0);
    gal_ids_free(&ids);
    gal_ids_free(&other);
    gal_buf_free(&whole);
    gal_buf_free(&streamed);
}

/* twin: a vocabulary of the same ids, or NULL. */
static void try_vocabulary(const gal_tokenizer *t, const gal_tokenizer *twin, const char *data, size_t n) {
    static const char TEXT[] =
        " the  sea\n\xe2\x96\x81x 12'S \xc2\xbd\xff\xe2\x82 <s><0x41>\xc5\xbf\xe6\xbc\xa2 NOTE";
    gal_token_scratch *s = NULL;
    GAL_ASSERT(!gal_token_scratch_new(&s, t, NULL));
    try_text(t, twin, s, TEXT, sizeof TEXT); /* the NUL too */
    try_text(t, twin, s, data + n - GAL_MIN(n, (size_t)TEXT_BYTES), GAL_MIN(n, (size_t)TEXT_BYTES));
    try_text(t, twin, s, TEXT, sizeof TEXT);
    gal_token_scratch_free(s);
    gal_buf out = { 0 };
    for (int32_t id = 0; id < gal_tokenizer_size(t); id++) {
        gal_err err = gal_decode(t, &id, 1, &out, NULL);
        size_t bytes = 0;
        const char *piece = gal_tokenizer_piece(t, id, &bytes);
        GAL_ASSERT(!err && bytes > 0 && gal_tokenizer_find(t, piece, bytes) >= 0);
    }
    gal_buf_free(&out);
    GAL_ASSERT(gal_tokenizer_same(t, t, NULL));
}

#endif
