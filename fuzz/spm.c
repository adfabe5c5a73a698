/* spm.c - a SentencePiece model: what opens has sound pieces, encodes any bytes to ids of its own and decodes them,
 * in one go and as a stream, to the same text; and the same vocabulary given as arrays encodes alike.
 * SPDX-License-Identifier: Apache-2.0 */
#include "text/internal.h"

#include "fuzz.h"

static const char NAME[] = "fuzz.model";
enum { TEXT_BYTES = 200 };

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

static void try_text(const gal_tokenizer *t, const gal_tokenizer *twin, const char *text, size_t n) {
    gal_ids ids = { 0 }, other = { 0 };
    gal_buf whole = { 0 }, streamed = { 0 };
    unsigned flags = (t->bos >= 0 ? GAL_ENCODE_BOS : 0u) | (t->eos >= 0 ? GAL_ENCODE_EOS : 0u);
    gal_err err = gal_encode(t, NULL, text, n, flags, &ids, NULL);
    if (!err) err = gal_encode(twin, NULL, text, n, flags, &other, NULL);
    GAL_ASSERT(!err && ids.len == other.len);
    for (size_t i = 0; i < ids.len; i++) GAL_ASSERT(ids.data[i] >= 0 && ids.data[i] < gal_tokenizer_size(t));
    GAL_ASSERT(!ids.len || memcmp(ids.data, other.data, ids.len * sizeof *ids.data) == 0);
    err = gal_decode(t, ids.data, ids.len, &whole, NULL);
    stream_text(t, &ids, &streamed);
    GAL_ASSERT(!err && whole.len == streamed.len);
    GAL_ASSERT(!whole.len || memcmp(whole.data, streamed.data, whole.len) == 0);
    gal_ids_free(&ids);
    gal_ids_free(&other);
    gal_buf_free(&whole);
    gal_buf_free(&streamed);
}

/* Every id once, in order: pieces that no text gives are decoded too. */
static void decode_all(const gal_tokenizer *t) {
    gal_buf out = { 0 };
    for (int32_t id = 0; id < gal_tokenizer_size(t); id++) {
        gal_err err = gal_decode(t, &id, 1, &out, NULL);
        size_t n = 0;
        const char *piece = gal_tokenizer_piece(t, id, &n);
        GAL_ASSERT(!err && n > 0 && gal_tokenizer_find(t, piece, n) >= 0);
    }
    gal_buf_free(&out);
}

static void from_arrays(gal_tokenizer **out, const gal_tokenizer *t) {
    size_t n = (size_t)t->size;
    const char **pieces = gal_alloc_array(n, sizeof *pieces);
    size_t *lengths = gal_alloc_array(n, sizeof *lengths);
    GAL_ASSERT(pieces && lengths);
    for (size_t i = 0; i < n; i++) pieces[i] = gal_tokenizer_piece(t, (int32_t)i, &lengths[i]);
    gal_vocab v = { .count = n,
                    .pieces = pieces,
                    .lengths = lengths,
                    .scores = t->scores,
                    .types = t->types,
                    .byte_fallback = t->byte_fallback,
                    .add_dummy_prefix = t->add_dummy_prefix,
                    .remove_extra_whitespaces = t->remove_extra_whitespaces,
                    .bos = t->bos < 0 ? "" : pieces[t->bos],
                    .eos = t->eos < 0 ? "" : pieces[t->eos],
                    .unk_surface = t->unk_surface };
    v.charsmap = gal_tokenizer_charsmap(t, &v.charsmap_bytes);
    gal_diag diag = { 0 };
    if (gal_tokenizer_from_vocab(out, &v, NAME, &diag)) gal__abort("%s", diag.text);
    gal_free(pieces);
    gal_free(lengths);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    gal_diag diag = { 0 };
    gal_tokenizer *t = NULL, *twin = NULL;
    gal_err err = gal_tokenizer_open_bytes(&t, data, n, NAME, &diag);
    if (err) {
        FUZZ_REFUSED(err, diag, NAME);
        return 0;
    }
    from_arrays(&twin, t);
    static const char TEXT[] = " the  sea\n\xe2\x96\x81x \xc2\xbd\xff\xe2\x82 <s><0x41>";
    try_text(t, twin, TEXT, sizeof TEXT); /* the NUL too */
    try_text(t, twin, (const char *)data + n - GAL_MIN(n, (size_t)TEXT_BYTES), GAL_MIN(n, (size_t)TEXT_BYTES));
    decode_all(t);
    gal_tokenizer_free(t);
    gal_tokenizer_free(twin);
    return 0;
}
