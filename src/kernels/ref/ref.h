/* ref.h - inside ref/ only: numbers of any float format as doubles, one by one and in rows; sizes of chunks.
 * The reference computes in double and rounds once, when it stores; with dt f64 nothing is rounded at all, and the
 * same code serves to check gradients. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_REF_REF_H
#define GAL_KERNELS_REF_REF_H

#include "base/pool.h"
#include "kernels/kernels.h"

#include <math.h>

/* Chunks are cut by these alone. */
enum {
    GAL_REF_ROWS = 16,    /* rows of a chunk */
    GAL_REF_COLS = 64,    /* columns of a chunk, where columns are cut */
    GAL_REF_ITEMS = 4096, /* elements of a chunk, where there are no rows */
    GAL_REF_PART = 512    /* elements that are held as doubles at a time */
};

static inline int64_t gal__ref_pieces(int64_t n, int64_t piece) { return (n + piece - 1) / piece; }

/* Part `chunk` of [0, n) in pieces. */
typedef struct gal__range {
    int64_t from, to;
} gal__range;
static inline gal__range gal__ref_piece(int64_t n, int64_t piece, int64_t chunk) {
    int64_t from = chunk * piece;
    return (gal__range){ from, GAL_MIN(n, from + piece) };
}

static inline double gal__ref_get(const void *p, gal_dtype dt, int64_t i) {
    switch (dt) {
    case GAL_F32:
        return (double)((const float *)p)[i];
    case GAL_BF16:
        return (double)gal_bf16_to_f32(((const uint16_t *)p)[i]);
    case GAL_F16:
        return (double)gal_f16_to_f32(((const uint16_t *)p)[i]);
    case GAL_F64:
        return ((const double *)p)[i];
    case GAL_Q8_0:
    case GAL_Q4_0: /* only in rows (row.c) */
    case GAL_I32:
    case GAL_BLOCKS:
    case GAL_DTYPES:
    default:
        GAL_ASSERT(dt < GAL_I32);
        return 0;
    }
}

static inline void gal__ref_put(void *p, gal_dtype dt, int64_t i, double x) {
    switch (dt) {
    case GAL_F32:
        ((float *)p)[i] = (float)x;
        return;
    case GAL_BF16:
        ((uint16_t *)p)[i] = gal_f64_to_bf16(x);
        return;
    case GAL_F16:
        ((uint16_t *)p)[i] = gal_f64_to_f16(x);
        return;
    case GAL_F64:
        ((double *)p)[i] = x;
        return;
    case GAL_I32:
    case GAL_BLOCKS:
    case GAL_Q8_0:
    case GAL_Q4_0:
    case GAL_DTYPES:
    default:
        GAL_ASSERT(dt < GAL_I32);
    }
}

static inline double gal__ref_sigmoid(double x) {
    if (x >= 0) return 1.0 / (1.0 + exp(-x));
    double e = exp(x); /* exp(-x) would overflow */
    return e / (1.0 + e);
}

/* out[i * step] = p[at + i * stride] for i < n. */
void gal__ref_load_line(double *out, int64_t step, const void *p, gal_dtype dt, int64_t at, int64_t stride,
                        int64_t n);
/* The same with both strides 1; and back, rounding once. */
void gal__ref_load(double *out, const void *p, gal_dtype dt, int64_t at, int64_t n);
void gal__ref_store(void *p, gal_dtype dt, int64_t at, const double *x, int64_t n);
/* Stores x, or x + what is there in one rounding. x is overwritten. */
void gal__ref_store_or_add(void *p, gal_dtype dt, int64_t at, double *x, int64_t n, bool accumulate);
/* Each x rounded to dt. */
void gal__ref_round(double *x, gal_dtype dt, int64_t n);
/* sum_i a[i] p[at + i], in order; y[i] += a p[at + i]. p may lie in blocks (gal_dtype_in_blocks), at beginning one.
 */
double gal__ref_dot(const double *a, const void *p, gal_dtype dt, int64_t at, int64_t n);
void gal__ref_axpy(double *y, double a, const void *p, gal_dtype dt, int64_t at, int64_t n);

/* Each file fills its family. */
void gal__ref_fill_gemm(gal_kernel_table *t);
void gal__ref_fill_i8(gal_kernel_table *t);
void gal__ref_fill_embed(gal_kernel_table *t);
void gal__ref_fill_norm(gal_kernel_table *t);
void gal__ref_fill_rope(gal_kernel_table *t);
void gal__ref_fill_attend(gal_kernel_table *t);
void gal__ref_fill_act(gal_kernel_table *t);
void gal__ref_fill_softmax(gal_kernel_table *t);
void gal__ref_fill_moe(gal_kernel_table *t);
void gal__ref_fill_loss(gal_kernel_table *t);
void gal__ref_fill_peaks(gal_kernel_table *t);
void gal__ref_fill_optim(gal_kernel_table *t);

#endif
