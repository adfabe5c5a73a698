/* shard.c - see shard.h. Invariant: after gal_shard_open() every id is below vocab and every document lies inside.
 * SPDX-License-Identifier: Apache-2.0 */
#include "data/shard.h"

#include "base/hash.h"
#include "base/mem.h"

#include <string.h>

#define SHARD_MAGIC "GALSHARD"
enum { SHARD_VERSION = 1, U16_LIMIT = 65536 };

/* Offsets in the header. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_ELEM = 12,
    AT_TOKENS = 16,
    AT_DOCS = 24,
    AT_TEXT_BYTES = 32,
    AT_LARGEST = 40,
    AT_VOCAB = 48,
    AT_TOKENIZER = 64,
    AT_SOURCE = 96,
    AT_CONTENTS = 128,
    AT_SELF = 224
};
_Static_assert(AT_SELF + 32 == GAL_SHARD_HEADER, "the header's own hash is its last field");

static void put(uint8_t *p, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/* ---- writing -----------------------------------------------------------------------------------------------------
 */

typedef struct building {
    gal_ids ids;
    uint64_t *docs;
    size_t n_docs;
    int elem;
    uint8_t header[GAL_SHARD_HEADER];
    gal_sha256 *hash; /* where bytes go: the hash in the first pass, the sink in the second */
    gal_sink *sink;
} building;

static gal_err give(building *b, const void *bytes, size_t n) {
    if (b->hash) {
        gal_sha256_add(b->hash, bytes, n);
        return GAL_OK;
    }
    return gal_sink_write(b->sink, bytes, n);
}

static gal_err give_contents(building *b) {
    uint8_t piece[4096];
    size_t used = 0;
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < b->ids.len; i++) {
        put(piece + used, (uint64_t)b->ids.data[i], b->elem);
        used += (size_t)b->elem;
        if (used == sizeof piece) {
            err = give(b, piece, used);
            used = 0;
        }
    }
    while (used % 8 != 0) piece[used++] = 0;
    if (!err) err = give(b, piece, used);
    for (size_t i = 0; !err && i <= b->n_docs; i++) {
        put(piece, b->docs[i], 8);
        err = give(b, piece, 8);
    }
    return err;
}

static gal_err emit(gal_sink *s, void *user, gal_diag *diag) {
    (void)diag;
    building *b = user;
    b->sink = s;
    uint64_t tokens = ((uint64_t)b->ids.len * (uint64_t)b->elem + 7) / 8 * 8;
    gal_sink_expect(s, sizeof b->header + tokens + ((uint64_t)b->n_docs + 1) * 8);
    gal_err err = gal_sink_write(s, b->header, sizeof b->header);
    return err ? err : give_contents(b);
}

static gal_err encode_all(building *b, const gal_corpus *c, size_t first, size_t n, const gal_tokenizer *t,
                          gal_diag *diag) {
    gal_token_scratch *scratch = NULL;
    gal_err err = gal_token_scratch_new(&scratch, t, diag);
    unsigned flags = (gal_tokenizer_bos(t) >= 0 ? GAL_ENCODE_BOS : 0u) |
                     (gal_tokenizer_eos(t) >= 0 ? GAL_ENCODE_EOS : 0u);
    for (size_t i = 0; !err && i < n; i++) {
        const gal_document *d = &c->docs[first + i];
        b->docs[i] = b->ids.len;
        err = gal_encode(t, scratch, c->text.data + d->at, d->bytes, flags, &b->ids, diag);
    }
    gal_token_scratch_free(scratch);
    b->docs[n] = b->ids.len;
    b->n_docs = n;
    return err;
}

gal_err gal_shard_write(const char *path, const gal_corpus *c, size_t first, size_t n, const gal_tokenizer *t,
                        gal_diag *diag) {
    building b = { .docs = gal_alloc_array(n + 1, sizeof *b.docs) };
    if (!b.docs) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %zu documents", path, n);
    gal_err err = encode_all(&b, c, first, n, t, diag);
    if (!err) {
        int32_t largest = 0, vocab = gal_tokenizer_size(t);
        for (size_t i = 0; i < b.ids.len; i++) largest = GAL_MAX(largest, b.ids.data[i]);
        b.elem = vocab <= U16_LIMIT ? 2 : 4;
        uint8_t *h = b.header;
        /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): eight bytes of a file, not a string */
        memcpy(h + AT_MAGIC, SHARD_MAGIC, 8);
        put(h + AT_VERSION, SHARD_VERSION, 4);
        put(h + AT_ELEM, (uint64_t)b.elem, 4);
        put(h + AT_TOKENS, b.ids.len, 8);
        put(h + AT_DOCS, n, 8);
        put(h + AT_TEXT_BYTES, gal_corpus_bytes(c, first, n), 8);
        put(h + AT_LARGEST, (uint64_t)largest, 8);
        put(h + AT_VOCAB, (uint64_t)vocab, 8);
        gal_tokenizer_sha256(t, h + AT_TOKENIZER);
        gal_corpus_sha256(c, first, n, h + AT_SOURCE);
        gal_sha256 hash;
        gal_sha256_init(&hash);
        b.hash = &hash;
        err = give_contents(&b);
        gal_sha256_end(&hash, h + AT_CONTENTS);
        gal_sha256_of(h, AT_SELF, h + AT_SELF);
        b.hash = NULL;
    }
    if (!err) err = gal_write_atomic(path, emit, &b, diag);
    gal_ids_free(&b.ids);
    gal_free(b.docs);
    return err;
}

/* ---- reading -----------------------------------------------------------------------------------------------------
 */

static gal_err refuse_hash(const char *path, const char *what, const uint8_t want[32], const uint8_t found[32],
                           gal_diag *diag) {
    char a[65], b[65];
    gal_hex(a, want, 32);
    gal_hex(b, found, 32);
    return gal_fail(diag, GAL_EINPUT,
                    "%s: made from another %s: expected SHA-256 %.16s..., found %.16s...; remove the file "
                    "to make it anew",
                    path, what, a, b);
}

static gal_err check_layout(gal_shard *s, const char *path, gal_diag *diag) {
    const uint8_t *h = s->map.data;
    size_t bytes = s->map.bytes;
    if (bytes < GAL_SHARD_HEADER || memcmp(h + AT_MAGIC, SHARD_MAGIC, 8) != 0)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: no token shard: expected a header of %d bytes that begins with %s, found "
                        "%zu bytes",
                        path, GAL_SHARD_HEADER, SHARD_MAGIC, bytes);
    uint8_t own[32];
    gal_sha256_of(h, AT_SELF, own);
    if (memcmp(own, h + AT_SELF, 32) != 0) return gal_fail(diag, GAL_EINPUT, "%s: the header is damaged", path);
    if (get(h + AT_VERSION, 4) != SHARD_VERSION)
        return gal_fail(diag, GAL_EINPUT, "%s: expected shard version %d, found %llu", path, SHARD_VERSION,
                        (unsigned long long)get(h + AT_VERSION, 4));
    uint64_t elem = get(h + AT_ELEM, 4), n = get(h + AT_TOKENS, 8), docs = get(h + AT_DOCS, 8);
    /* Both counts are bounded by the file's size before they are multiplied. */
    bool sane = (elem == 2 || elem == 4) && n <= bytes && docs <= bytes;
    uint64_t padded = sane ? (n * elem + 7) / 8 * 8 : 0;
    uint64_t want = GAL_SHARD_HEADER + padded + (docs + 1) * 8;
    if (!sane || want != bytes)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: expected %llu bytes for %llu tokens of %llu bytes in %llu documents, found "
                        "%zu",
                        path, (unsigned long long)want, (unsigned long long)n, (unsigned long long)elem,
                        (unsigned long long)docs, bytes);
    s->elem = (int)elem;
    s->n_tokens = (int64_t)n;
    s->n_docs = (int64_t)docs;
    s->text_bytes = (int64_t)(get(h + AT_TEXT_BYTES, 8) & INT64_MAX);
    s->largest_id = (int64_t)(get(h + AT_LARGEST, 8) & INT64_MAX);
    s->vocab = (int64_t)(get(h + AT_VOCAB, 8) & INT64_MAX);
    s->tokens = h + GAL_SHARD_HEADER;
    s->docs = h + GAL_SHARD_HEADER + padded;
    memcpy(s->tokenizer, h + AT_TOKENIZER, 32);
    memcpy(s->source, h + AT_SOURCE, 32);
    memcpy(s->contents, h + AT_CONTENTS, 32);
    return GAL_OK;
}

static gal_err check_contents(const gal_shard *s, const char *path, gal_diag *diag) {
    uint8_t found[32];
    gal_sha256_of(s->map.data + GAL_SHARD_HEADER, s->map.bytes - GAL_SHARD_HEADER, found);
    if (memcmp(found, s->contents, 32) != 0)
        return gal_fail(diag, GAL_EINPUT, "%s: the contents are damaged: their checksum is not the header's", path);
    for (int64_t i = 0; i < s->n_tokens; i++) {
        int32_t id = gal_shard_token(s, i);
        if (id < 0 || id > s->largest_id || id >= s->vocab)
            return gal_fail(diag, GAL_EINPUT, "%s: token %lld: expected an id of at most %lld, found %lld", path,
                            (long long)i, (long long)s->largest_id, (long long)id);
    }
    int64_t last = 0;
    for (int64_t i = 0; i <= s->n_docs; i++) {
        int64_t at = gal_shard_doc(s, i);
        if (at < last || at > s->n_tokens || (i == 0 && at != 0) || (i == s->n_docs && at != s->n_tokens))
            return gal_fail(diag, GAL_EINPUT, "%s: document %lld begins at token %lld", path, (long long)i,
                            (long long)at);
        last = at;
    }
    return GAL_OK;
}

gal_err gal_shard_open(gal_shard *out, const char *path, const uint8_t tokenizer[32], const uint8_t source[32],
                       gal_diag *diag) {
    gal_shard s = { 0 };
    gal_err err = gal_map_open(&s.map, path, diag);
    if (err) return err;
    err = check_layout(&s, path, diag);
    if (!err && tokenizer && memcmp(tokenizer, s.tokenizer, 32) != 0)
        err = refuse_hash(path, "tokenizer", tokenizer, s.tokenizer, diag);
    if (!err && source && memcmp(source, s.source, 32) != 0) err = refuse_hash(path, "text", source, s.source, diag);
    if (!err) err = check_contents(&s, path, diag);
    if (err) {
        gal_map_close(&s.map);
        return err;
    }
    *out = s;
    return GAL_OK;
}

void gal_shard_close(gal_shard *s) {
    gal_map_close(&s->map);
    *s = (gal_shard){ 0 };
}

int32_t gal_shard_token(const gal_shard *s, int64_t at) {
    const uint8_t *p = (const uint8_t *)s->tokens + at * s->elem;
    return (int32_t)get(p, s->elem);
}

int64_t gal_shard_doc(const gal_shard *s, int64_t i) { return (int64_t)get(s->docs + 8 * i, 8); }

int64_t gal_shard_doc_of(const gal_shard *s, int64_t at) {
    int64_t low = 0, high = s->n_docs; /* the document begins in [low, high) */
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (gal_shard_doc(s, middle) <= at) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}
