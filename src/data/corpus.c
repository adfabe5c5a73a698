/* corpus.c - see corpus.h. SPDX-License-Identifier: Apache-2.0 */
#include "data/corpus.h"

#include "base/hash.h"
#include "base/mem.h"

#include <string.h>

static gal_err add_document(gal_corpus *c, size_t at, size_t end, gal_diag *diag) {
    if (end <= at) return GAL_OK;
    if (gal_grow((void **)&c->docs, &c->cap_docs, c->n_docs + 1, sizeof *c->docs))
        return gal_fail(diag, GAL_ENOMEM, "no memory for a list of %zu documents", c->n_docs + 1);
    c->docs[c->n_docs++] = (gal_document){ at, end - at };
    return GAL_OK;
}

gal_err gal_corpus_read(gal_corpus *out, char *const *paths, size_t n_paths, const gal_reader_options *options,
                        gal_diag *diag) {
    gal_corpus c = { 0 };
    gal_reader *r = NULL;
    gal_piece p;
    size_t begin = 0;
    bool more = true;
    gal_err err = gal_reader_open(&r, (const char *const *)paths, n_paths, options, diag);
    while (!err) {
        err = gal_reader_next(r, &p, &more, diag);
        if (err || !more) break;
        gal_buf_add(&c.text, p.text, p.bytes);
        if (c.text.oom)
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for more than %zu bytes of text", paths[0], c.text.len);
        if (err || !p.ends) continue;
        err = add_document(&c, begin, c.text.len, diag);
        begin = c.text.len;
    }
    if (r) c.invalid = gal_reader_so_far(r)->invalid;
    if (r) c.first_invalid = gal_reader_so_far(r)->first_invalid;
    gal_reader_close(r);
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

void gal_corpus_sha256(const gal_corpus *c, size_t first, size_t n, bool size_first, uint8_t out[32]) {
    gal_sha256 h;
    gal_sha256_init(&h);
    for (size_t i = first; i < first + n; i++) {
        uint8_t size[8];
        for (size_t k = 0; k < 8; k++) size[k] = (uint8_t)((uint64_t)c->docs[i].bytes >> (8 * k));
        if (size_first) gal_sha256_add(&h, size, sizeof size);
        gal_sha256_add(&h, c->text.data + c->docs[i].at, c->docs[i].bytes);
        if (!size_first) gal_sha256_add(&h, size, sizeof size);
    }
    gal_sha256_end(&h, out);
}
