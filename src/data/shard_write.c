/* shard_write.c - the writing half of shard.h. Invariant: sums and hashes are of exactly the bytes that the sink
 * took. SPDX-License-Identifier: Apache-2.0 */
#include "data/shard.h"

#include "base/mem.h"

#include <string.h>

enum { U16_LIMIT = 65536, PIECE = 4096 };

static void put(uint8_t *p, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) p[i] = (uint8_t)(v >> (8 * i));
}

uint64_t gal__shard_sum(const uint8_t *bytes, size_t n) { return gal_hash_bulk(bytes, n, 0); }

static gal_err no_memory(const gal_shard_maker *m, gal_diag *diag) {
    return gal_fail(diag, GAL_ENOMEM, "no memory for the index of %zu documents", m->n_docs);
}

static gal_err close_chunk(gal_shard_maker *m, gal_diag *diag) {
    if (gal_grow((void **)&m->sums, &m->cap_sums, m->n_sums + 1, sizeof *m->sums)) return no_memory(m, diag);
    m->sums[m->n_sums++] = gal__shard_sum(m->chunk, m->used);
    gal_sha256_add(&m->contents, m->chunk, m->used);
    gal_err err = gal_sink_write(m->sink, m->chunk, m->used);
    m->used = 0;
    return err;
}

/* n: a part of a number never goes into a chunk, whose size is a multiple of 8. */
static gal_err give_numbers(gal_shard_maker *m, const uint8_t *bytes, size_t n, gal_diag *diag) {
    gal_err err = GAL_OK;
    while (!err && n) {
        size_t part = GAL_MIN(n, GAL_SHARD_CHUNK - m->used);
        memcpy(m->chunk + m->used, bytes, part);
        m->used += part;
        bytes += part;
        n -= part;
        if (m->used == GAL_SHARD_CHUNK) err = close_chunk(m, diag);
    }
    return err;
}

gal_err gal_shard_maker_begin(gal_shard_maker *m, const gal_tokenizer *t, gal_sink *sink, gal_diag *diag) {
    static const uint8_t HEADER[GAL_SHARD_HEADER];
    m->tok = t;
    m->sink = sink;
    m->elem = gal_tokenizer_size(t) <= U16_LIMIT ? 2 : 4;
    m->n_docs = m->used = m->n_sums = 0;
    m->tokens = m->text_bytes = m->document_bytes = 0;
    m->largest = 0;
    m->row = 0;
    m->targets = 0;
    if (m->marks) memset(m->marks, 0, m->cap_marks);
    gal_sha256_init(&m->contents);
    gal_sha256_init(&m->source);
    if (!m->chunk) m->chunk = gal_alloc(GAL_SHARD_CHUNK);
    if (!m->chunk) return no_memory(m, diag);
    return gal_sink_write(sink, HEADER, sizeof HEADER); /* its place; what it says is known at the end */
}

gal_err gal_shard_maker_document(gal_shard_maker *m, gal_diag *diag) {
    if (gal_grow((void **)&m->docs, &m->cap_docs, m->n_docs + 2, sizeof *m->docs)) return no_memory(m, diag);
    m->docs[m->n_docs++] = m->tokens;
    return GAL_OK;
}

void gal_shard_maker_text(gal_shard_maker *m, const char *text, size_t n) {
    gal_sha256_add(&m->source, text, n);
    m->document_bytes += n;
}

void gal_shard_maker_document_ends(gal_shard_maker *m) {
    uint8_t size[8];
    put(size, m->document_bytes, 8);
    gal_sha256_add(&m->source, size, sizeof size);
    m->text_bytes += m->document_bytes;
    m->document_bytes = 0;
}

gal_err gal_shard_maker_ids(gal_shard_maker *m, const int32_t *ids, size_t n, gal_diag *diag) {
    uint8_t piece[PIECE];
    gal_err err = GAL_OK;
    m->tokens += n;
    while (!err && n) {
        size_t part = GAL_MIN(n, (size_t)(PIECE / m->elem));
        int32_t largest = 0;
        for (size_t i = 0; i < part; i++) largest = GAL_MAX(largest, ids[i]);
        if (m->elem == 2)
            for (size_t i = 0; i < part; i++) put(piece + 2 * i, (uint64_t)ids[i], 2);
        else
            for (size_t i = 0; i < part; i++) put(piece + 4 * i, (uint64_t)ids[i], 4);
        m->largest = GAL_MAX(m->largest, (int64_t)largest);
        err = give_numbers(m, piece, part * (size_t)m->elem, diag);
        ids += part;
        n -= part;
    }
    return err;
}

void gal_shard_maker_rows(gal_shard_maker *m, int64_t row) { m->row = row; }

gal_err gal_shard_maker_marked(gal_shard_maker *m, const int32_t *ids, const uint8_t *learned, size_t n,
                               gal_diag *diag) {
    const size_t old = m->cap_marks, at = (size_t)m->tokens, bytes = (at + n + 63) / 64 * 8;
    void *p = m->marks;
    if (gal_grow(&p, &m->cap_marks, bytes, 1))
        return gal_fail(diag, GAL_ENOMEM, "no memory for marks of %zu tokens", at + n);
    m->marks = p;
    memset(m->marks + old, 0, m->cap_marks - old);
    for (size_t i = 0; i < n; i++) {
        if (!learned[i]) continue;
        m->marks[(at + i) / 8] |= (uint8_t)(1u << ((at + i) % 8));
        m->targets++;
    }
    return gal_shard_maker_ids(m, ids, n, diag);
}

static void fill_header(gal_shard_maker *m, uint8_t h[GAL_SHARD_HEADER]) {
    memset(h, 0, GAL_SHARD_HEADER);
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): eight bytes of a file, not a string */
    memcpy(h + GAL__AT_MAGIC, GAL__SHARD_MAGIC, 8);
    put(h + GAL__AT_VERSION, m->row ? GAL__SHARD_VERSION : GAL__SHARD_VERSION - 1, 4);
    put(h + GAL__AT_ROW, (uint64_t)m->row, 8);
    put(h + GAL__AT_TARGETS, m->targets, 8);
    put(h + GAL__AT_ELEM, (uint64_t)m->elem, 4);
    put(h + GAL__AT_TOKENS, m->tokens, 8);
    put(h + GAL__AT_DOCS, m->n_docs, 8);
    put(h + GAL__AT_TEXT_BYTES, m->text_bytes, 8);
    put(h + GAL__AT_LARGEST, (uint64_t)m->largest, 8);
    put(h + GAL__AT_VOCAB, (uint64_t)gal_tokenizer_size(m->tok), 8);
    put(h + GAL__AT_CHUNK, GAL_SHARD_CHUNK, 8);
    gal_tokenizer_sha256(m->tok, h + GAL__AT_TOKENIZER);
    gal_sha256_end(&m->source, h + GAL__AT_SOURCE);
}

gal_err gal_shard_maker_end(gal_shard_maker *m, gal_diag *diag) {
    uint8_t h[GAL_SHARD_HEADER], number[8] = { 0 };
    const size_t pad = (size_t)((8 - m->tokens * (uint64_t)m->elem % 8) % 8);
    gal_err err = gal_shard_maker_document(m, diag); /* the index ends with the number of tokens */
    if (err) return err;
    m->n_docs--;
    fill_header(m, h);
    err = give_numbers(m, number, pad, diag);
    if (!err && m->row && m->tokens) err = give_numbers(m, m->marks, (size_t)((m->tokens + 63) / 64 * 8), diag);
    for (size_t i = 0; !err && i <= m->n_docs; i++) {
        put(number, m->docs[i], 8);
        err = give_numbers(m, number, 8, diag);
    }
    if (!err && m->used) err = close_chunk(m, diag);
    gal_sha256 sums;
    gal_sha256_init(&sums);
    for (size_t i = 0; !err && i < m->n_sums; i++) {
        put(number, m->sums[i], 8);
        gal_sha256_add(&sums, number, 8);
        gal_sha256_add(&m->contents, number, 8);
        err = gal_sink_write(m->sink, number, 8);
    }
    gal_sha256_end(&sums, h + GAL__AT_SUMS);
    gal_sha256_end(&m->contents, h + GAL__AT_CONTENTS);
    gal_sha256_of(h, GAL__AT_SELF, h + GAL__AT_SELF);
    return err ? err : gal_sink_patch(m->sink, 0, h, sizeof h);
}

void gal_shard_maker_free(gal_shard_maker *m) {
    gal_free(m->docs);
    gal_free(m->chunk);
    gal_free(m->sums);
    gal_free(m->marks);
    *m = (gal_shard_maker){ 0 };
}

/* ---- of a corpus in memory ---------------------------------------------------------------------------------------
 */

typedef struct building {
    const gal_corpus *c;
    size_t first, n;
    const gal_tokenizer *t;
    gal_token_scratch *scratch;
    gal_ids ids;
    gal_shard_maker maker;
} building;

static gal_err emit(gal_sink *s, void *user, gal_diag *diag) {
    building *b = user;
    const size_t all = gal_corpus_bytes(b->c, b->first, b->n);
    gal_err err = gal_shard_maker_begin(&b->maker, b->t, s, diag);
    unsigned flags = (gal_tokenizer_bos(b->t) >= 0 ? GAL_ENCODE_BOS : 0u) |
                     (gal_tokenizer_eos(b->t) >= 0 ? GAL_ENCODE_EOS : 0u);
    for (size_t i = 0; !err && i < b->n; i++) {
        const gal_document *d = &b->c->docs[b->first + i];
        const char *text = b->c->text.data + d->at;
        b->ids.len = 0;
        err = gal_shard_maker_document(&b->maker, diag);
        if (!err) err = gal_encode(b->t, b->scratch, text, d->bytes, flags, &b->ids, diag);
        if (err) break;
        gal_shard_maker_text(&b->maker, text, d->bytes);
        err = gal_shard_maker_ids(&b->maker, b->ids.data, b->ids.len, diag);
        gal_shard_maker_document_ends(&b->maker);
        /* For the message when the disk is full. */
        gal_sink_expect(
            s, (uint64_t)((double)(gal_sink_offset(s) + b->maker.used) / (double)b->maker.text_bytes * (double)all));
    }
    return err ? err : gal_shard_maker_end(&b->maker, diag);
}

gal_err gal_shard_write(const char *path, const gal_corpus *c, size_t first, size_t n, const gal_tokenizer *t,
                        gal_diag *diag) {
    building b = { .c = c, .first = first, .n = n, .t = t };
    gal_err err = gal_token_scratch_new(&b.scratch, t, diag);
    if (!err) err = gal_write_atomic(path, emit, &b, diag);
    gal_token_scratch_free(b.scratch);
    gal_ids_free(&b.ids);
    gal_shard_maker_free(&b.maker);
    return err;
}
