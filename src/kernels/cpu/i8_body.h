/* i8_body.h - products of small integers with weights in blocks (kernels.h, GAL_K_GEMM_I8), compiled once a level
 * after gemm_body.h and blocks_body.h. A chunk is a strip of C's columns. Four rows of weights are taken apart into
 * the scratch; then the rows of A pass, R of them at a time, and every 32 products are summed exactly before they are
 * scaled:
 *     C[i, j] = sum_b (scale_a[i, b] scale_w[j, b]) (sum of 32 products) - sum_h sum_a[i, h] min_w[j, h]
 * Before, the including file defines
 *   I, i_load(p)                 32 integers
 *   i_mac(acc, w, a, s, d, halves)  acc + d (s[0] w a  of the first 16, s[halves] w a of the others), F lanes
 *   ROWS_A, COLS_W               sums in registers
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_I8_BODY_H
#define GAL_KERNELS_CPU_I8_BODY_H

#include "kernels/i8.h"

enum { WEIGHTS = 4, LONG_ROW = 1 << 17 }; /* rows taken apart at a time: one, if they are long */
_Static_assert(WEIGHTS % COLS_W == 0, "whole groups");
_Static_assert((size_t)WEIGHTS *LONG_ROW * 3 / 2 + 4096 <= GAL_SCRATCH_BYTES, "rows must fit the scratch");
_Static_assert((size_t)GAL_SCRATCH_BYTES >= (3u << 20) / 2 + 4096, "a row of 2^20 must fit the scratch");

/* One row of weights, taken apart. */
typedef struct parts {
    int8_t *q;
    float *scale, *min;
} parts;

static parts parts_at(void *scratch, int64_t n, int64_t k) {
    char *p = (char *)scratch + (size_t)n * (size_t)(k + k / 2);
    return (parts){ (int8_t *)p, (float *)(void *)(p + k), (float *)(void *)(p + k + k / 4) };
}

GAL__INLINE void i8_block(const int R, const int C, float *sums, const gal__i8_row *a, const parts *w, int64_t k,
                          const bool halves, const bool mins) {
    F s[ROWS_A][COLS_W];
    GAL__UNROLL
    for (int r = 0; r < R; r++) {
        GAL__UNROLL
        for (int c = 0; c < C; c++) s[r][c] = f_zero();
    }
    for (int64_t b = 0; b < k / SUB; b++) {
        I x[COLS_W];
        GAL__UNROLL
        for (int c = 0; c < C; c++) x[c] = i_load(w[c].q + b * SUB);
        GAL__UNROLL
        for (int r = 0; r < R; r++) {
            const I y = i_load(a[r].q + b * SUB);
            const F d = f_set1(a[r].scale[b]);
            GAL__UNROLL
            for (int c = 0; c < C; c++) s[r][c] = i_mac(s[r][c], x[c], y, w[c].scale + 2 * b, d, halves);
        }
    }
    for (int64_t h = 0; mins && h < k / 16; h += VW) {
        const int64_t n = min64(k / 16 - h, VW);
        GAL__UNROLL
        for (int r = 0; r < R; r++) {
            const F y = ld(a[r].sum + h, GAL_F32, n);
            GAL__UNROLL
            for (int c = 0; c < C; c++) s[r][c] = f_fma(f_neg(y), ld(w[c].min + h, GAL_F32, n), s[r][c]);
        }
    }
    GAL__UNROLL
    for (int r = 0; r < R; r++) {
        GAL__UNROLL
        for (int c = 0; c < C; c++) sums[r * WEIGHTS + c] = f_sum(s[r][c]);
    }
}

#define GAL__I8(R, C)                                                                                                \
    do {                                                                                                             \
        if (code->halves && code->mins)                                                                              \
            i8_block(R, C, sums, a, w, k, true, true);                                                               \
        else if (code->halves)                                                                                       \
            i8_block(R, C, sums, a, w, k, true, false);                                                              \
        else if (code->mins)                                                                                         \
            i8_block(R, C, sums, a, w, k, false, true);                                                              \
        else                                                                                                         \
            i8_block(R, C, sums, a, w, k, false, false);                                                             \
    } while (0)

/* Every number is summed in the same order in all of these. */
static void i8_any(int64_t rows, int64_t cols, float *sums, const gal__i8_row *a, const parts *w, int64_t k,
                   const coder *code) {
    if (rows == ROWS_A && cols == COLS_W) {
        GAL__I8(ROWS_A, COLS_W);
        return;
    }
    for (; rows > 0; rows--, a++, sums += WEIGHTS) {
        if (cols == COLS_W)
            GAL__I8(1, COLS_W);
        else
            for (int64_t c = 0; c < cols; c++, w++, sums++) GAL__I8(1, 1);
        if (cols != COLS_W) {
            w -= cols;
            sums -= cols;
        }
    }
}

/* Columns [j, j + n) of C, n <= WEIGHTS. Each row of C has `each` rows of A. */
static void i8_columns(const gal_gemm *g, int64_t each, int64_t j, int64_t n, const coder *code, void *scratch) {
    parts w[WEIGHTS];
    const size_t row = gal_code_bytes(g->b.code, g->k);
    for (int64_t c = 0; c < n; c++) {
        w[c] = parts_at(scratch, c, g->k);
        code->row((const uint8_t *)g->b.p + (size_t)(j + c) * row, 0, g->k / SUB, w[c].q, w[c].scale, w[c].min);
    }
    for (int64_t i = 0; i < g->m; i += ROWS_A / each) {
        const int64_t rows = min64(g->m - i, ROWS_A / each);
        float sums[ROWS_A * WEIGHTS];
        gal__i8_row a[ROWS_A];
        for (int64_t r = 0; r < each * rows; r++) a[r] = gal__i8_row_at(g->a.p, each * i + r, g->k);
        for (int64_t c = 0; c < n; c += COLS_W)
            i8_any(each * rows, min64(n - c, COLS_W), sums + c, a, w + c, g->k, code);
        for (int64_t r = 0; each == 2 && r < rows; r++)
            for (int64_t c = 0; c < n; c++)
                sums[r * WEIGHTS + c] = sums[2 * r * WEIGHTS + c] + sums[(2 * r + 1) * WEIGHTS + c];
        finish(g, sums, WEIGHTS, i, rows, j, n);
    }
}

static int64_t i8_strip(const gal_gemm *g) {
    int64_t cols = (1 << 17) / (g->k > 0 ? g->k : 1);
    cols = cols < 8 ? 8 : cols > 256 ? 256 : cols;
    cols = min64(cols, g->n > 128 ? g->n / 16 : 8);
    return (cols + WEIGHTS - 1) / WEIGHTS * WEIGHTS;
}
static int64_t i8_strips(const gal_gemm *g) {
    const int64_t cols = i8_strip(g);
    return g->m > 0 ? (g->n + cols - 1) / cols : 0;
}

static bool i8_ours(const gal_k_gemm *args) {
    for (int i = 0; i < args->count; i++) {
        const gal_gemm *g = &args->p[i];
        if (!coder_of(g->b.code->block).row || (g->c.dt != GAL_F32 && g->c.dt != GAL_BF16)) return false;
    }
    return true;
}

static gal_kernel i8_ref(void) {
    gal_kernel_table t = { 0 };
    gal_ref_fill(&t);
    return t.k[GAL_K_GEMM_I8];
}

static int64_t i8_chunks(const void *args) {
    const gal_k_gemm *a = args;
    if (!i8_ours(a)) return i8_ref().chunks(args);
    int64_t chunks = 0;
    for (int i = 0; i < a->count; i++) chunks += i8_strips(&a->p[i]);
    return chunks;
}

static void i8_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_gemm *a = args;
    if (!i8_ours(a)) {
        i8_ref().run(args, chunk, scratch);
        return;
    }
    const gal_gemm *g = a->p;
    for (; chunk >= i8_strips(g); g++) chunk -= i8_strips(g);
    const coder code = coder_of(g->b.code->block);
    const int64_t each = a->twice ? 2 : 1, cols = i8_strip(g), end = min64(g->n, (chunk + 1) * cols),
                  step = g->k <= LONG_ROW ? WEIGHTS : 1;
    for (int64_t j = chunk * cols; j < end; j += step) i8_columns(g, each, j, min64(end - j, step), &code, scratch);
}

/* ---- activations --------------------------------------------------------------------------------------------------
 */

static void quantise_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_quantise *a = args;
    const int64_t rows = gal__i8_rows(a), end = min64(a->n, (chunk + 1) * rows);
    for (int64_t n = chunk * rows; n < end; n++) {
        const char *x = (const char *)a->x + (size_t)(n * a->d) * bytes_of(a->dt);
        for (int64_t b = 0; b < a->d / GAL_I8_BLOCK; b++) {
            float y[GAL_I8_BLOCK];
            for (int64_t i = 0; i < GAL_I8_BLOCK; i += VW)
                f_store(y + i, ld(x + (size_t)(b * GAL_I8_BLOCK + i) * bytes_of(a->dt), a->dt, VW));
            gal__i8_put(a, n, b, y);
        }
    }
}

static const gal_kernel i8_gemm = { i8_chunks, i8_run };
GAL__EXPERTS_OF(i8_experts, i8_gemm)

static void i8_fill(gal_kernel_table *t) {
    t->k[GAL_K_QUANTISE] = (gal_kernel){ gal__i8_chunks, quantise_run };
    t->k[GAL_K_GEMM_I8] = i8_gemm;
    t->k[GAL_K_EXPERTS_I8] = (gal_kernel){ i8_experts_chunks, i8_experts_run };
}

#endif
