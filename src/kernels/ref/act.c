/* act.c - what is done number by number: SwiGLU (arXiv:2002.05202), SiLU, GELU, sums, products, copies; vectors that
 * are added to every row. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/ref/ref.h"

#include <math.h>

#define PI 3.14159265358979323846

static double silu(double x) { return x * gal__ref_sigmoid(x); }
static double silu_slope(double x) {
    double s = gal__ref_sigmoid(x);
    return s * (1.0 + x * (1.0 - s));
}

/* 1 + tanh(z) = 2 sigmoid(2 z) */
static double gelu_inner(double x) { return 2.0 * sqrt(2.0 / PI) * (x + 0.044715 * x * x * x); }
static double gelu(double x) { return x * gal__ref_sigmoid(gelu_inner(x)); }
static double gelu_slope(double x) {
    double s = gal__ref_sigmoid(gelu_inner(x));
    return s + x * s * (1.0 - s) * 2.0 * sqrt(2.0 / PI) * (1.0 + 3.0 * 0.044715 * x * x);
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

/* Part [at, at + n) of row r of x, plus b's. */
static void load_row(double *out, const void *x, gal_dtype dt, const void *b, gal_dtype wdt, int64_t row, int64_t d,
                     gal__range part) {
    gal__ref_load(out, x, dt, row * d + part.from, part.to - part.from);
    gal__ref_axpy(out, 1.0, b, wdt, part.from, part.to - part.from);
}

static int64_t gelu_chunks(const void *args) { return gal__ref_pieces(((const gal_k_gelu *)args)->n, GAL_REF_ROWS); }

static void gelu_rows(const gal_k_gelu *a, int64_t chunk, bool slope) {
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    double x[GAL_REF_PART], dy[GAL_REF_PART];
    for (int64_t row = r.from; row < r.to; row++)
        for (int64_t at = 0; at < a->d; at += GAL_REF_PART) {
            gal__range part = { at, GAL_MIN(a->d, at + GAL_REF_PART) };
            int64_t n = part.to - part.from;
            load_row(x, a->x, a->dt, a->b, a->wdt, row, a->d, part);
            if (slope) gal__ref_load(dy, a->dy, a->dt, row * a->d + at, n);
            for (int64_t i = 0; i < n; i++) x[i] = slope ? dy[i] * gelu_slope(x[i]) : gelu(x[i]);
            gal__ref_store(a->y, a->dt, row * a->d + at, x, n);
        }
}

static void gelu_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    gelu_rows(args, chunk, false);
}

static void gelu_grad_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    gelu_rows(args, chunk, true);
}

static int64_t add_row_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_add_row *)args)->n, GAL_REF_ROWS);
}

static void add_row_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_add_row *a = args;
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    double x[GAL_REF_PART];
    for (int64_t row = r.from; row < r.to; row++)
        for (int64_t at = 0; at < a->d; at += GAL_REF_PART) {
            gal__range part = { at, GAL_MIN(a->d, at + GAL_REF_PART) };
            load_row(x, a->x, a->dt, a->b, a->wdt, row, a->d, part);
            gal__ref_store(a->y, a->dt, row * a->d + at, x, part.to - part.from);
        }
}

static int64_t sum_rows_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_sum_rows *)args)->d, GAL_REF_COLS);
}

static void sum_rows_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_sum_rows *a = args;
    gal__range c = gal__ref_piece(a->d, GAL_REF_COLS, chunk);
    double sum[GAL_REF_COLS] = { 0 };
    for (int64_t n = 0; n < a->n; n++) gal__ref_axpy(sum, 1.0, a->x, a->xdt, n * a->d + c.from, c.to - c.from);
    gal__ref_store_or_add(a->y, a->dt, c.from, sum, c.to - c.from, a->accumulate);
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
    t->k[GAL_K_GELU] = (gal_kernel){ gelu_chunks, gelu_run };
    t->k[GAL_K_GELU_GRAD] = (gal_kernel){ gelu_chunks, gelu_grad_run };
    t->k[GAL_K_ADD_ROW] = (gal_kernel){ add_row_chunks, add_row_run };
    t->k[GAL_K_SUM_ROWS] = (gal_kernel){ sum_rows_chunks, sum_rows_run };
    t->k[GAL_K_COPY] = (gal_kernel){ map_chunks, copy_run };
    t->k[GAL_K_FILL] = (gal_kernel){ map_chunks, fill_run };
}
