/* imatrix_write.c - both kinds of importance matrices written. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "formats/gguf.h"
#include "formats/imatrix.h"
#include "tensor/blocks.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void put_gguf(gal_gguf_writer *w, const gal_imatrix *m) {
    gal_gguf_put_string(w, "general.type", "imatrix", 7);
    gal_gguf_put_strings(w, "imatrix.datasets", (const char *const *)m->datasets, NULL, m->n_datasets);
    gal_gguf_put_u32(w, "imatrix.chunk_count", m->chunks);
    gal_gguf_put_u32(w, "imatrix.chunk_size", m->chunk_size);
    for (size_t i = 0; i < m->n; i++) {
        const gal_imatrix_entry *e = &m->entries[i];
        char name[GAL_GGUF_NAME + 32];
        int64_t k = (int64_t)e->n_counts, sums[] = { k, (int64_t)e->n_sums / k }, counts[] = { k, 1 };
        (void)snprintf(name, sizeof name, "%s.in_sum2", e->name);
        gal_gguf_put_tensor(
            w, &(gal_gguf_item){ .name = name, .type = GAL_BLOCK_F32, .ndim = 2, .dim = sums, .data = e->sums });
        (void)snprintf(name, sizeof name, "%s.counts", e->name);
        gal_gguf_put_tensor(
            w, &(gal_gguf_item){ .name = name, .type = GAL_BLOCK_F32, .ndim = 2, .dim = counts, .data = e->counts });
    }
}

static gal_err write_gguf(const gal_imatrix *m, gal_buf *out, const char *path, gal_diag *diag) {
    gal_gguf_writer *w = NULL;
    gal_err err = gal_gguf_writer_new(&w, diag);
    if (err) return err;
    put_gguf(w, m);
    err = out ? gal_gguf_print(w, out, path, diag) : gal_gguf_write(w, path, diag);
    gal_gguf_writer_free(w);
    return err;
}

/* ---- the older kind ---------------------------------------------------------------------------------------------
 */

static float most_rows(const gal_imatrix_entry *e) {
    float most = 0.0f;
    for (size_t i = 0; i < e->n_counts; i++) most = fmaxf(most, e->counts[i]);
    return most;
}

static void put_i32(gal_sink *s, int64_t x) {
    int32_t narrow = (int32_t)GAL_MIN(x, (int64_t)INT32_MAX);
    (void)gal_sink_write(s, &narrow, sizeof narrow);
}

/* Calls are chunks of text, at least one: rows where nobody knows the size of a chunk. */
static int64_t calls_of(const gal_imatrix *m, const gal_imatrix_entry *e) {
    double rows = (double)most_rows(e), size = m->chunk_size ? (double)m->chunk_size : 1.0;
    return (int64_t)fmin(ceil(rows / size), INT32_MAX);
}

static gal_err emit_older(gal_sink *s, void *user, gal_diag *diag) {
    const gal_imatrix *m = *(const gal_imatrix *const *)user;
    int64_t n = 0;
    (void)diag;
    for (size_t i = 0; i < m->n; i++) n += most_rows(&m->entries[i]) > 0.0f;
    put_i32(s, n);
    for (size_t i = 0; i < m->n; i++) {
        const gal_imatrix_entry *e = &m->entries[i];
        if (!(most_rows(e) > 0.0f)) continue;
        int64_t calls = calls_of(m, e);
        put_i32(s, (int64_t)strlen(e->name));
        (void)gal_sink_write(s, e->name, strlen(e->name));
        put_i32(s, calls);
        put_i32(s, (int64_t)e->n_sums);
        for (size_t j = 0; j < e->n_sums; j++) {
            float count = e->counts[j / (e->n_sums / e->n_counts)];
            float x = fminf((count > 0.0f ? e->sums[j] / count : 1.0f) * (float)calls, FLT_MAX);
            (void)gal_sink_write(s, &x, sizeof x);
        }
    }
    const char *name = m->n_datasets ? m->datasets[m->n_datasets - 1] : "";
    put_i32(s, m->chunks);
    put_i32(s, (int64_t)strlen(name));
    return gal_sink_write(s, name, strlen(name));
}

static gal_err write_older(const gal_imatrix *m, gal_buf *out, const char *path, gal_diag *diag) {
    float most = 0.0f;
    for (size_t i = 0; i < m->n; i++) most = fmaxf(most, most_rows(&m->entries[i]));
    if (!(most > 0.0f)) return gal_fail(diag, GAL_EINPUT, "%s: no text reached any weight", path);
    return out ? gal_write_memory(out, path, emit_older, &m, diag) : gal_write_atomic(path, emit_older, &m, diag);
}

gal_err gal_imatrix_write(const gal_imatrix *m, gal_imatrix_kind kind, const char *path, gal_diag *diag) {
    return kind == GAL_IMATRIX_OLDER ? write_older(m, NULL, path, diag) : write_gguf(m, NULL, path, diag);
}

gal_err gal_imatrix_print(const gal_imatrix *m, gal_imatrix_kind kind, gal_buf *out, const char *path,
                          gal_diag *diag) {
    return kind == GAL_IMATRIX_OLDER ? write_older(m, out, path, diag) : write_gguf(m, out, path, diag);
}
