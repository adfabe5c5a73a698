/* act.c - what is done number by number: SwiGLU (arXiv:2002.05202), SiLU, sums, products, copies.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/ref/ref.h"

#include <math.h>

static double sigmoid(double x) {
    if (x >= 0) return 1.0 / (1.0 + exp(-x));
    double e = exp(x); /* exp(-x) would overflow */
    return e / (1.0 + e);
}
static double silu(double x) { return x * sigmoid(x); }
static double silu_slope(double x) {
    double s = sigmoid(x);
    return s * (1.0 + x * (1.0 - s));
}

static int64_t swiglu_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_swiglu *)args)->count, GAL_REF_ITEMS);
}

static void swiglu_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_swiglu *a = args;
    gal__range r = gal__ref_piece(a->count, GAL_REF_ITEMS, chunk);
    int64_t n = r.to - r.from;
    double *g = scratch, *u = g + GAL_REF_ITEMS;
    gal__ref_load(g, a->g, a->dt, r.from, n);
    gal__ref_load(u, a->u, a->dt, r.from, n);
    for (int64_t i = 0; i < n; i++) g[i] = silu(g[i]) * u[i];
    gal__ref_store(a->y, a->dt, r.from, g, n);
}

static int64_t swiglu_grad_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_swiglu_grad *)args)->count, GAL_REF_ITEMS);
}

static void swiglu_grad_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_swiglu_grad *a = args;
    gal__range r = gal__ref_piece(a->count, GAL_REF_ITEMS, chunk);
    int64_t n = r.to - r.from;
    double *g = scratch, *u = g + GAL_REF_ITEMS, *dy = u + GAL_REF_ITEMS;
    gal__ref_load(g, a->g, a->dt, r.from, n);
    gal__ref_load(u, a->u, a->dt, r.from, n);
    gal__ref_load(dy, a->dy, a->dt, r.from, n);
    for (int64_t i = 0; i < n; i++) {
        double s = silu(g[i]);
        g[i] = dy[i] * u[i] * silu_slope(g[i]);
        u[i] = dy[i] * s;
    }
    gal__ref_store(a->dg, a->dt, r.from, g, n);
    gal__ref_store(a->du, a->dt, r.from, u, n);
}

static int64_t map_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_map *)args)->count, GAL_REF_ITEMS);
}

static void add_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_map *m = args;
    gal__range r = gal__ref_piece(m->count, GAL_REF_ITEMS, chunk);
    int64_t n = r.to - r.from;
    double *a = scratch;
    gal__ref_load(a, m->a, m->dt, r.from, n);
    gal__ref_axpy(a, 1.0, m->b, m->dt, r.from, n);
    gal__ref_store(m->y, m->dt, r.from, a, n);
}

static void mul_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_map *m = args;
    gal__range r = gal__ref_piece(m->count, GAL_REF_ITEMS, chunk);
    int64_t n = r.to - r.from;
    double *a = scratch, *b = a + GAL_REF_ITEMS;
    gal__ref_load(a, m->a, m->dt, r.from, n);
    gal__ref_load(b, m->b, m->dt, r.from, n);
    for (int64_t i = 0; i < n; i++) a[i] *= b[i];
    gal__ref_store_or_add(m->y, m->dt, r.from, a, n, m->accumulate);
}

static void silu_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_map *m = args;
    gal__range r = gal__ref_piece(m->count, GAL_REF_ITEMS, chunk);
    int64_t n = r.to - r.from;
    double *a = scratch;
    gal__ref_load(a, m->a, m->dt, r.from, n);
    for (int64_t i = 0; i < n; i++) a[i] = silu(a[i]);
    gal__ref_store(m->y, m->dt, r.from, a, n);
}

static void silu_grad_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_map *m = args;
    gal__range r = gal__ref_piece(m->count, GAL_REF_ITEMS, chunk);
    int64_t n = r.to - r.from;
    double *a = scratch, *b = a + GAL_REF_ITEMS;
    gal__ref_load(a, m->a, m->dt, r.from, n);
    gal__ref_load(b, m->b, m->dt, r.from, n);
    for (int64_t i = 0; i < n; i++) a[i] = b[i] * silu_slope(a[i]);
    gal__ref_store_or_add(m->y, m->dt, r.from, a, n, m->accumulate);
}

static void copy_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_map *m = args;
    gal__range r = gal__ref_piece(m->count, GAL_REF_ITEMS, chunk);
    (void)scratch;
    gal_convert((char *)m->y + r.from * (int64_t)gal_dtype_bytes(m->dt), m->dt,
                (const char *)m->a + r.from * (int64_t)gal_dtype_bytes(m->adt), m->adt, r.to - r.from);
}

static void fill_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_map *m = args;
    gal__range r = gal__ref_piece(m->count, GAL_REF_ITEMS, chunk);
    (void)scratch;
    for (int64_t i = r.from; i < r.to; i++) gal__ref_put(m->y, m->dt, i, m->value);
}

void gal__ref_fill_act(gal_kernel_table *t) {
    t->k[GAL_K_SWIGLU] = (gal_kernel){ swiglu_chunks, swiglu_run };
    t->k[GAL_K_SWIGLU_GRAD] = (gal_kernel){ swiglu_grad_chunks, swiglu_grad_run };
    t->k[GAL_K_ADD] = (gal_kernel){ map_chunks, add_run };
    t->k[GAL_K_MUL] = (gal_kernel){ map_chunks, mul_run };
    t->k[GAL_K_SILU] = (gal_kernel){ map_chunks, silu_run };
    t->k[GAL_K_SILU_GRAD] = (gal_kernel){ map_chunks, silu_grad_run };
    t->k[GAL_K_COPY] = (gal_kernel){ map_chunks, copy_run };
    t->k[GAL_K_FILL] = (gal_kernel){ map_chunks, fill_run };
}
