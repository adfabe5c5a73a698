/* shard.c - the reading half of shard.h. Invariants: after gal_shard_open() every document lies inside; after
 * gal_shard_check() the ids that it was asked for are below vocab. SPDX-License-Identifier: Apache-2.0 */
#include "data/shard.h"

#include "base/maps.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* Files up to this size are looked at as a whole when they are opened: that takes less time than anyone notices. */
enum { AT_ONCE = 64 << 20, LEAST_CHUNK = 4096, MOST_CHUNK = 1 << 30, HASHED_AT_A_TIME = 1 << 24 };

static uint64_t get(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

int32_t gal_shard_token(const gal_shard *s, int64_t at) {
    const uint8_t *p = (const uint8_t *)s->tokens + at * s->elem;
    return s->elem == 2 ? (int32_t)get(p, 2) : (int32_t)get(p, 4);
}

bool gal_shard_learned(const gal_shard *s, int64_t at) { return !s->marks || (s->marks[at / 8] >> (at % 8) & 1); }

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

/* ---- the layout --------------------------------------------------------------------------------------------------
 */

static gal_err refuse_hash(const char *path, const char *what, const uint8_t want[32], const uint8_t found[32],
                           gal_diag *diag) {
    char a[65], b[65];
    gal_hex(a, want, 32);
    gal_hex(b, found, 32);
    return gal_fail(diag, GAL_EINPUT,
                    "%s: made from another %s: expected SHA-256 %.16s..., found %.16s...; it has to be made anew",
                    path, what, a, b);
}

static gal_err check_header(const gal_shard *s, const char *path, gal_diag *diag) {
    const uint8_t *h = s->map.data;
    size_t bytes = s->map.bytes;
    if (bytes < GAL_SHARD_HEADER || memcmp(h + GAL__AT_MAGIC, GAL__SHARD_MAGIC, 8) != 0)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: no token shard: expected a header of %d bytes that begins with %s, found "
                        "%zu bytes",
                        path, GAL_SHARD_HEADER, GAL__SHARD_MAGIC, bytes);
    uint8_t own[32];
    gal_sha256_of(h, GAL__AT_SELF, own);
    if (memcmp(own, h + GAL__AT_SELF, 32) != 0) return gal_fail(diag, GAL_EINPUT, "%s: the header is damaged", path);
    uint64_t version = get(h + GAL__AT_VERSION, 4);
    if (version < 1 || version > GAL__SHARD_VERSION)
        return gal_fail(diag, GAL_EINPUT, "%s: expected shard version 1 to %d, found %llu", path, GAL__SHARD_VERSION,
                        (unsigned long long)version);
    return GAL_OK;
}

/* Of a shard of conversations. */
static gal_err check_rows(gal_shard *s, const char *path, gal_diag *diag) {
    const uint64_t row = get(s->map.data + GAL__AT_ROW, 8), targets = get(s->map.data + GAL__AT_TARGETS, 8);
    if (row < 1 || row > (uint64_t)GAL_MAX(s->n_tokens, (int64_t)1) || s->n_tokens % (int64_t)row ||
        targets > (uint64_t)s->n_tokens)
        return gal_fail(
            diag, GAL_EINPUT,
            "%s: expected rows that divide its %lld tokens, and no more targets than these, found rows of "
            "%llu and %llu targets",
            path, (long long)s->n_tokens, (unsigned long long)row, (unsigned long long)targets);
    s->row = (int64_t)row;
    s->n_targets = (int64_t)targets;
    return GAL_OK;
}

static gal_err check_layout(gal_shard *s, const char *path, gal_diag *diag) {
    const uint8_t *h = s->map.data;
    size_t bytes = s->map.bytes;
    s->version = (int)get(h + GAL__AT_VERSION, 4);
    uint64_t elem = get(h + GAL__AT_ELEM, 4), n = get(h + GAL__AT_TOKENS, 8), docs = get(h + GAL__AT_DOCS, 8);
    uint64_t chunk = s->version > 1 ? get(h + GAL__AT_CHUNK, 8) : MOST_CHUNK;
    if (chunk < LEAST_CHUNK || chunk > MOST_CHUNK || chunk % 8 != 0)
        return gal_fail(diag, GAL_EINPUT, "%s: expected checksums of %d to %d bytes each, found %llu", path,
                        LEAST_CHUNK, MOST_CHUNK, (unsigned long long)chunk);
    /* Both counts are bounded before they are multiplied; that the sum is the file's size bounds them further. */
    const uint64_t most = (uint64_t)1 << 56;
    bool sane = (elem == 2 || elem == 4) && n <= most && docs <= most;
    const bool marked = s->version > 2;
    uint64_t padded = sane ? (n * elem + 7) / 8 * 8 : 0, marks = sane && marked ? (n + 63) / 64 * 8 : 0;
    uint64_t data = padded + marks + (sane ? docs + 1 : 0) * 8;
    uint64_t sums = sane && s->version > 1 ? (data + chunk - 1) / chunk : 0;
    uint64_t want = GAL_SHARD_HEADER + data + sums * 8;
    if (!sane || want != bytes)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: expected %llu bytes for %llu tokens of %llu bytes in %llu documents, found "
                        "%zu",
                        path, (unsigned long long)want, (unsigned long long)n, (unsigned long long)elem,
                        (unsigned long long)docs, bytes);
    s->elem = (int)elem;
    s->n_tokens = (int64_t)n;
    s->n_docs = (int64_t)docs;
    s->text_bytes = (int64_t)(get(h + GAL__AT_TEXT_BYTES, 8) & INT64_MAX);
    s->largest_id = (int64_t)(get(h + GAL__AT_LARGEST, 8) & INT64_MAX);
    s->vocab = (int64_t)(get(h + GAL__AT_VOCAB, 8) & INT64_MAX);
    s->tokens = h + GAL_SHARD_HEADER;
    s->marks = marked ? h + GAL_SHARD_HEADER + padded : NULL;
    s->docs = h + GAL_SHARD_HEADER + padded + marks;
    s->sums = h + GAL_SHARD_HEADER + data;
    s->chunk_bytes = (size_t)chunk;
    s->n_chunks = (size_t)sums;
    memcpy(s->tokenizer, h + GAL__AT_TOKENIZER, 32);
    memcpy(s->source, h + GAL__AT_SOURCE, 32);
    memcpy(s->contents, h + GAL__AT_CONTENTS, 32);
    return marked ? check_rows(s, path, diag) : GAL_OK;
}

/* ---- the contents ------------------------------------------------------------------------------------------------
 */

static const char *path_of(const gal_shard *s, gal_map_place *place) {
    return gal_maps_find(s->map.data, place) ? place->path : "shard";
}

static gal_err check_ids(const gal_shard *s, int64_t from, int64_t end, const char *path, gal_diag *diag) {
    const uint8_t *p = s->tokens;
    uint32_t most = 0;
    if (s->elem == 2)
        for (int64_t i = from; i < end; i++) most = GAL_MAX(most, (uint32_t)get(p + 2 * i, 2));
    else
        for (int64_t i = from; i < end; i++) most = GAL_MAX(most, (uint32_t)get(p + 4 * i, 4));
    if (end <= from || (most <= s->largest_id && most < s->vocab && most <= INT32_MAX)) return GAL_OK;
    while ((uint32_t)gal_shard_token(s, from) != most) from++;
    return gal_fail(diag, GAL_EINPUT, "%s: token %lld: expected an id of at most %lld, found %lld", path,
                    (long long)from, (long long)GAL_MIN(s->largest_id, s->vocab - 1), (long long)most);
}

static gal_err check_chunk(gal_shard *s, size_t i, const char *path, gal_diag *diag) {
    const uint8_t *data = (const uint8_t *)s->tokens;
    size_t all = (size_t)(s->sums - data), at = i * s->chunk_bytes, n = GAL_MIN(s->chunk_bytes, all - at);
    if (s->seen[i]) return GAL_OK;
    if (gal__shard_sum(data + at, n) != get(s->sums + 8 * i, 8))
        return gal_fail(diag, GAL_EINPUT,
                        "%s: the contents are damaged: bytes %zu to %zu do not have their checksum; nothing of them "
                        "was used",
                        path, at + GAL_SHARD_HEADER, at + n - 1 + GAL_SHARD_HEADER);
    int64_t from = (int64_t)at / s->elem, end = GAL_MIN((int64_t)(at + n) / s->elem, s->n_tokens);
    gal_err err = check_ids(s, from, end, path, diag);
    if (err) return err;
    s->seen[i] = 1;
    s->unchecked--;
    return GAL_OK;
}

gal_err gal_shard_check(gal_shard *s, int64_t at, int64_t n, gal_diag *diag) {
    if (!s->unchecked || n <= 0) return GAL_OK;
    gal_map_place place;
    const size_t elem = (size_t)s->elem;
    size_t last = ((size_t)(at + n) * elem - 1) / s->chunk_bytes;
    gal_err err = GAL_OK;
    for (size_t i = (size_t)at * elem / s->chunk_bytes; !err && i <= last; i++)
        if (!s->seen[i]) err = check_chunk(s, i, path_of(s, &place), diag);
    if (err || !s->marks) return err;
    const size_t marks = (size_t)(s->marks - (const uint8_t *)s->tokens);
    last = (marks + (size_t)(at + n - 1) / 8) / s->chunk_bytes;
    for (size_t i = (marks + (size_t)at / 8) / s->chunk_bytes; !err && i <= last; i++)
        if (!s->seen[i]) err = check_chunk(s, i, path_of(s, &place), diag);
    return err;
}

/* progress may be NULL. */
static gal_err check_sha256(const gal_shard *s, const char *path,
                            bool (*progress)(void *user, uint64_t done, uint64_t total), void *user, gal_diag *diag) {
    gal_sha256 h;
    uint8_t found[32];
    gal_sha256_init(&h);
    for (size_t at = GAL_SHARD_HEADER; at < s->map.bytes;) {
        size_t n = GAL_MIN(s->map.bytes - at, (size_t)HASHED_AT_A_TIME);
        gal_sha256_add(&h, s->map.data + at, n);
        at += n;
        if (progress && progress(user, at, s->map.bytes)) return gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
    }
    gal_sha256_end(&h, found);
    if (memcmp(found, s->contents, 32) == 0) return GAL_OK;
    return gal_fail(diag, GAL_EINPUT, "%s: the contents are damaged: their checksum is not the header's", path);
}

gal_err gal_shard_check_all(gal_shard *s, bool (*progress)(void *user, uint64_t done, uint64_t total), void *user,
                            gal_diag *diag) {
    gal_map_place place;
    const char *path = path_of(s, &place);
    gal_err err = check_sha256(s, path, progress, user, diag);
    for (size_t i = 0; !err && i < s->n_chunks; i++) err = check_chunk(s, i, path, diag);
    return err;
}

static gal_err check_documents(const gal_shard *s, const char *path, gal_diag *diag) {
    int64_t last = 0;
    for (int64_t i = 0; i <= s->n_docs; i++) {
        int64_t at = gal_shard_doc(s, i);
        if (at < last || at > s->n_tokens || (i == 0 && at != 0) || (i == s->n_docs && at != s->n_tokens))
            return gal_fail(diag, GAL_EINPUT, "%s: document %lld begins at token %lld", path, (long long)i,
                            (long long)at);
        if (s->row && i && at > last && (at - 1) / s->row != last / s->row)
            return gal_fail(diag, GAL_EINPUT,
                            "%s: document %lld: expected it in one row of %lld tokens, found %lld to "
                            "%lld",
                            path, (long long)i - 1, (long long)s->row, (long long)last, (long long)at - 1);
        last = at;
    }
    return GAL_OK;
}

static gal_err check_contents(gal_shard *s, const char *path, gal_diag *diag) {
    gal_err err = GAL_OK;
    if (s->version == 1) {
        err = check_sha256(s, path, NULL, NULL, diag);
        if (!err) err = check_ids(s, 0, s->n_tokens, path, diag);
        return err ? err : check_documents(s, path, diag);
    }
    uint8_t found[32];
    gal_sha256_of(s->sums, 8 * s->n_chunks, found);
    if (memcmp(found, s->map.data + GAL__AT_SUMS, 32) != 0)
        return gal_fail(diag, GAL_EINPUT, "%s: the contents are damaged: the list of checksums is", path);
    s->seen = gal_alloc(s->n_chunks);
    if (!s->seen) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %zu marks", path, s->n_chunks);
    s->unchecked = s->n_chunks;
    size_t first = (size_t)(s->docs - (const uint8_t *)s->tokens) / s->chunk_bytes;
    for (size_t i = s->map.bytes <= AT_ONCE ? 0 : first; !err && i < s->n_chunks; i++)
        err = check_chunk(s, i, path, diag);
    return err ? err : check_documents(s, path, diag);
}

/* Of a map that is open; closes it on failure. */
static gal_err open_map(gal_shard *s, const char *path, const uint8_t tokenizer[32], gal_diag *diag) {
    gal_err err = check_header(s, path, diag);
    if (!err) err = check_layout(s, path, diag);
    if (!err && tokenizer && memcmp(tokenizer, s->tokenizer, 32) != 0)
        err = refuse_hash(path, "tokenizer", tokenizer, s->tokenizer, diag);
    if (!err) err = check_contents(s, path, diag);
    if (err) gal_shard_close(s);
    return err;
}

gal_err gal_shard_open(gal_shard *out, const char *path, const uint8_t tokenizer[32], gal_diag *diag) {
    gal_shard s = { 0 };
    gal_err err = gal_map_open(&s.map, path, diag);
    if (!err) err = open_map(&s, path, tokenizer, diag);
    if (!err) *out = s;
    return err;
}

gal_err gal_shard_open_bytes(gal_shard *out, const void *bytes, size_t n, const char *name,
                             const uint8_t tokenizer[32], gal_diag *diag) {
    gal_shard s = { .map = { bytes, n }, .borrowed = true };
    gal_err err = open_map(&s, name, tokenizer, diag);
    if (!err) *out = s;
    return err;
}

void gal_shard_close(gal_shard *s) {
    if (!s->borrowed) gal_map_close(&s->map);
    gal_free(s->seen);
    *s = (gal_shard){ 0 };
}

/* A control piece: one that stands for no text. */
static bool is_control(const gal_tokenizer *t, int32_t id) {
    return id != gal_tokenizer_unk(t) && gal_tokenizer_text_bytes(t, id) == 0;
}

static gal_err refuse_bound(const char *path, const char *place, const char *name, int32_t found, int32_t want,
                            gal_diag *diag) {
    char as[40] = "without";
    if (want >= 0) (void)snprintf(as, sizeof as, "with token %d,", (int)want);
    return gal_fail(
        diag, GAL_EINPUT,
        "%s: made with another %s: expected documents that %s %s the vocabulary's, found token %d; it has "
        "to be made anew",
        path, name, place, as, (int)found);
}

gal_err gal_shard_bounded_by(gal_shard *s, const char *path, const gal_tokenizer *t, gal_diag *diag) {
    const int64_t n = s->row || s->n_docs == 0 ? 0 : gal_shard_doc(s, 1), first = n ? gal_shard_doc(s, 0) : 0;
    if (n <= first) return GAL_OK;
    gal_err err = gal_shard_check(s, first, 1, diag);
    if (!err) err = gal_shard_check(s, n - 1, 1, diag);
    if (err) return err;
    const int32_t begin = gal_shard_token(s, first), end = gal_shard_token(s, n - 1);
    const int32_t bos = gal_tokenizer_bos(t), eos = gal_tokenizer_eos(t);
    const bool empty = n - first == 1; /* its one token is EOS, taken without BOS, or BOS where there is no EOS */
    if (begin != bos && !(empty && begin == eos) && is_control(t, begin))
        return refuse_bound(path, "begin", "BOS", begin, bos, diag);
    if (end != eos && (eos >= 0 || (is_control(t, end) && !(empty && end == bos))))
        return refuse_bound(path, "end", "EOS", end, eos, diag);
    return GAL_OK;
}

gal_err gal_shard_made_from(const gal_shard *s, const char *path, const gal_corpus *c, size_t first, size_t n,
                            gal_diag *diag) {
    uint8_t source[32];
    gal_corpus_sha256(c, first, n, s->version == 1, source);
    return memcmp(source, s->source, 32) == 0 ? GAL_OK : refuse_hash(path, "text", source, s->source, diag);
}
