/* relative.c - see relative.h. SPDX-License-Identifier: Apache-2.0 */
#include "infer/relative.h"

#include "base/mem.h"

enum { ROWS_AT_ONCE = 512 };

void gal_relative_free(gal_relative *rel) {
    for (int64_t l = 0; rel->r && l < rel->layers; l++) gal_dev_give(rel->dev, rel->r[l]);
    gal_free(rel->r);
    *rel = (gal_relative){ 0 };
}

/* All distances of a layer, some rows at a time. */
static gal_err fill(gal_ctx *cx, const gal_model *m, int l, void *to, int64_t rows, gal_diag *diag) {
    const int64_t width = m->config.H * m->config.K;
    const gal_dtype dt = gal_ctx_compute(cx);
    gal_err err = GAL_OK;
    for (int64_t at = 0; !err && at < rows; at += ROWS_AT_ONCE) {
        const int64_t n = GAL_MIN(rows - at, (int64_t)ROWS_AT_ONCE);
        gal_step_begin(cx);
        /* A distance's keys are the same numbers whenever they are made, and with however many others. */
        gal_set_alike(cx, GAL_ALIKE_MANY);
        gal_set_bf16(cx, false);
        const gal_t *r = m->family->relative(cx, m, l, at, n);
        if (r) {
            gal_k_map copy = { .y = (char *)to + (size_t)(at * width) * gal_dtype_bytes(dt),
                               .a = r->data,
                               .dt = dt,
                               .adt = dt,
                               .count = n * width };
            gal_launch(cx, GAL_K_COPY, &copy, sizeof copy);
        }
        err = gal_step_end(cx, diag);
    }
    return err;
}

gal_err gal_relative_grow(gal_relative *rel, gal_ctx *cx, const gal_model *m, gal_cache *cache, gal_diag *diag) {
    if (!m->family->relative) return GAL_OK;
    const gal_config *c = &m->config;
    const int64_t rows = gal_relative_rows(c, gal_cache_room(cache));
    if (rel->distances >= rows) return GAL_OK;
    gal_relative grown = { .layers = c->L, .distances = rows, .dev = gal_ctx_dev(cx) };
    grown.r = gal_alloc_array((size_t)c->L, sizeof *grown.r);
    gal_err err = grown.r ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for relative keys");
    for (int64_t l = 0; !err && l < c->L; l++) {
        const size_t row = (size_t)(c->H * c->K) * gal_dtype_bytes(gal_ctx_compute(cx));
        grown.r[l] = gal_dev_take_array(grown.dev, (size_t)rows, row);
        err = grown.r[l] ? fill(cx, m, (int)l, grown.r[l], rows, diag)
                         : gal_fail(diag, GAL_ENOMEM, "no memory for the relative keys of %lld distances (%zu bytes)",
                                    (long long)rows, (size_t)rows * row);
    }
    if (err) {
        gal_relative_free(&grown);
        return err;
    }
    gal_relative_free(rel);
    *rel = grown;
    for (int64_t l = 0; l < c->L; l++) gal_cache_set_relative(cache, l, rel->r[l], rows);
    return GAL_OK;
}
