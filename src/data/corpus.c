/* corpus.c - see corpus.h. SPDX-License-Identifier: Apache-2.0 */
#include "data/corpus.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"

#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

/* Appends the decompressed frames of a file. */
static gal_err add_zstd(gal_buf *text, const gal_map *m, const char *path, gal_diag *diag) {
    ZSTD_DCtx *d = ZSTD_createDCtx();
    size_t room = ZSTD_DStreamOutSize();
    char *piece = gal_alloc(room);
    gal_err err = d && piece ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "%s: no memory to decompress", path);
    ZSTD_inBuffer in = { m->data, m->bytes, 0 };
    size_t left = 1;
    while (!err && (in.pos < in.size || left != 0)) {
        ZSTD_outBuffer out = { piece, room, 0 };
        size_t before = in.pos;
        left = ZSTD_decompressStream(d, &out, &in);
        if (ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation) {
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory to decompress", path);
        } else if (ZSTD_isError(left)) {
            err = gal_fail(diag, GAL_EINPUT, "%s: damaged Zstandard data near byte %zu: %s", path, before,
                           ZSTD_getErrorName(left));
        } else if (out.pos == 0 && in.pos == before && left != 0) {
            err = gal_fail(diag, GAL_EINPUT, "%s: Zstandard data ends in the middle, at byte %zu", path, in.size);
        } else {
            gal_buf_add(text, piece, out.pos);
            if (text->oom)
                err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for more than %zu bytes of text", path, text->len);
        }
    }
    gal_free(piece);
    ZSTD_freeDCtx(d);
    return err;
}

static gal_err add_document(gal_corpus *c, size_t at, size_t end, gal_diag *diag) {
    if (end <= at) return GAL_OK;
    if (gal_grow((void **)&c->docs, &c->cap_docs, c->n_docs + 1, sizeof *c->docs))
        return gal_fail(diag, GAL_ENOMEM, "no memory for a list of %zu documents", c->n_docs + 1);
    c->docs[c->n_docs++] = (gal_document){ at, end - at };
    return GAL_OK;
}

/* Splits text [at, end) into documents. */
static gal_err add_documents(gal_corpus *c, size_t at, const char *separator, gal_diag *diag) {
    size_t n = strlen(separator), end = c->text.len, begin = at;
    const char *text = c->text.data;
    while (n && at < end) {
        const char *nl = memchr(text + at, '\n', end - at);
        size_t line_end = nl ? (size_t)(nl - text) + 1 : end;
        if (line_end - at >= n && memcmp(text + at, separator, n) == 0) {
            gal_err err = add_document(c, begin, at, diag);
            if (err) return err;
            begin = line_end;
        }
        at = line_end;
    }
    return add_document(c, begin, end, diag);
}

gal_err gal_corpus_read(gal_corpus *out, char *const *paths, size_t n_paths, const char *separator, gal_diag *diag) {
    static const uint8_t ZSTD_FRAME[4] = { 0x28, 0xb5, 0x2f, 0xfd };
    gal_corpus c = { 0 };
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < n_paths; i++) {
        gal_map m = { 0 };
        err = gal_map_open(&m, paths[i], diag);
        if (err) break;
        size_t at = c.text.len;
        if (m.bytes >= sizeof ZSTD_FRAME && memcmp(m.data, ZSTD_FRAME, sizeof ZSTD_FRAME) == 0) {
            err = add_zstd(&c.text, &m, paths[i], diag);
        } else if (m.bytes) {
            gal_buf_add(&c.text, m.data, m.bytes);
            if (c.text.oom)
                err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for %zu bytes of text", paths[i], m.bytes);
        }
        gal_map_close(&m);
        if (!err) err = add_documents(&c, at, separator, diag);
    }
    if (!err && c.n_docs == 0)
        err = gal_fail(diag, GAL_EINPUT, "%s%s: expected text, found none (%zu bytes in %zu files)",
                       n_paths ? paths[0] : "corpus", n_paths > 1 ? " and others" : "", c.text.len, n_paths);
    if (err) {
        gal_corpus_free(&c);
        return err;
    }
    *out = c;
    return GAL_OK;
}

void gal_corpus_free(gal_corpus *c) {
    gal_buf_free(&c->text);
    gal_free(c->docs);
    *c = (gal_corpus){ 0 };
}

size_t gal_corpus_bytes(const gal_corpus *c, size_t first, size_t n) {
    size_t sum = 0;
    for (size_t i = first; i < first + n; i++) sum += c->docs[i].bytes;
    return sum;
}

gal_err gal_corpus_split(gal_corpus *c, double fraction, size_t *first, gal_diag *diag) {
    size_t total = gal_corpus_bytes(c, 0, c->n_docs);
    size_t want = (size_t)((1.0 - fraction) * (double)total), before = 0, i = 0;
    while (i < c->n_docs && before + c->docs[i].bytes <= want) before += c->docs[i++].bytes;
    size_t cut = want - before;
    if (i == c->n_docs || cut == 0) {
        *first = i;
        return GAL_OK;
    }
    gal_document d = c->docs[i];
    const char *text = c->text.data + d.at;
    const char *nl = memchr(text + cut, '\n', d.bytes - cut);
    /* A line longer than a tenth of the rest would eat the validation text. */
    if (nl && (size_t)(nl - text) - cut <= (d.bytes - cut) / 10) {
        cut = (size_t)(nl - text) + 1;
    } else {
        while (cut < d.bytes && ((uint8_t)text[cut] & 0xc0) == 0x80) cut++;
    }
    if (cut < d.bytes) {
        gal_err err = add_document(c, d.at, d.at + 1, diag); /* makes room; overwritten below */
        if (err) return err;
        memmove(&c->docs[i + 1], &c->docs[i], (c->n_docs - 1 - i) * sizeof *c->docs);
        c->docs[i].bytes = cut;
        c->docs[i + 1].at = d.at + cut;
        c->docs[i + 1].bytes = d.bytes - cut;
    }
    *first = i + 1;
    return GAL_OK;
}

void gal_corpus_sha256(const gal_corpus *c, size_t first, size_t n, uint8_t out[32]) {
    gal_sha256 h;
    gal_sha256_init(&h);
    for (size_t i = first; i < first + n; i++) {
        uint8_t size[8];
        for (size_t k = 0; k < 8; k++) size[k] = (uint8_t)((uint64_t)c->docs[i].bytes >> (8 * k));
        gal_sha256_add(&h, size, sizeof size);
        gal_sha256_add(&h, c->text.data + c->docs[i].at, c->docs[i].bytes);
    }
    gal_sha256_end(&h, out);
}
