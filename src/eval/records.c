/* records.c - see records.h. SPDX-License-Identifier: Apache-2.0 */
#include "eval/records.h"

#include "base/hash.h"
#include "base/mem.h"
#include "text/template.h"

#include <stdio.h>
#include <string.h>

const char *gal_record_where(const gal_records *r, size_t i, char where[GAL_RECORD_WHERE]) {
    (void)snprintf(where, GAL_RECORD_WHERE, "%.280s: %s %lld", r->path, r->lines ? "line" : "text",
                   (long long)r->v[i].line);
    return where;
}

static gal_err add(gal_records *r, gal_record one, gal_diag *diag) {
    void *v = r->v;
    if (gal_grow(&v, &r->cap, r->n + 1, sizeof one))
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for its records", r->path);
    r->v = v;
    r->v[r->n++] = one;
    return GAL_OK;
}

static bool blank(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\r", s[i]) || !s[i]) return false;
    return true;
}

static gal_err cut_lines(gal_records *r, gal_diag *diag) {
    const char *s = r->corpus.text.data, *end = s + r->corpus.text.len;
    int64_t line = 0;
    while (s < end) {
        const char *stop = memchr(s, '\n', (size_t)(end - s));
        const size_t n = (size_t)((stop ? stop : end) - s);
        line++;
        if (!blank(s, n)) {
            char where[GAL_RECORD_WHERE];
            gal_err err = add(r, (gal_record){ .json = s, .bytes = n, .line = line }, diag);
            if (!err) err = gal_record_check(s, n, gal_record_where(r, r->n - 1, where), diag);
            if (err) return err;
        }
        s += n + (stop ? 1 : 0);
    }
    return r->n ? GAL_OK : gal_fail(diag, GAL_EINPUT, "%s: no records", r->path);
}

/* As lines of a file of their own: what is made of a record needs not know. */
static gal_err wrap_texts(gal_records *r, gal_diag *diag) {
    const gal_corpus *c = &r->corpus;
    for (size_t i = 0; i < c->n_docs; i++) {
        const size_t at = r->json.len;
        gal_buf_puts(&r->json, "{\"text\": ");
        gal_buf_json(&r->json, c->text.data + c->docs[i].at, c->docs[i].bytes);
        gal_buf_putc(&r->json, '}');
        const gal_record one = { .bytes = r->json.len - at,
                                 .text = c->text.data + c->docs[i].at,
                                 .text_bytes = c->docs[i].bytes,
                                 .line = (int64_t)i + 1 };
        gal_err err = r->json.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory for its texts", r->path)
                                  : add(r, one, diag);
        if (err) return err;
    }
    const char *s = r->json.data;
    for (size_t i = 0; i < r->n; s += r->v[i++].bytes) r->v[i].json = s;
    return GAL_OK;
}

gal_err gal_records_read(gal_records *r, char *path, bool lines, const char *separator, gal_diag *diag) {
    *r = (gal_records){ .path = path, .lines = lines };
    const gal_reader_options o = { .format = GAL_TEXT_PLAIN, .separator = lines ? "" : separator };
    gal_err err = gal_corpus_read(&r->corpus, &path, 1, &o, diag);
    if (!err) gal_corpus_sha256(&r->corpus, 0, r->corpus.n_docs, false, r->sha256);
    if (!err) err = lines ? cut_lines(r, diag) : wrap_texts(r, diag);
    return err;
}

void gal_records_free(gal_records *r) {
    gal_corpus_free(&r->corpus);
    gal_buf_free(&r->json);
    gal_free(r->v);
    *r = (gal_records){ 0 };
}
