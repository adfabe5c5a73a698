/* gemm_rows.h - products with few rows of A (decoding): C[m, n] = A B with B's columns contiguous along k, as weights
 * [out, in] are. Bound by reading B once: nothing of it is packed. A is widened to f32 into the scratch; then the
 * columns of B stream one after the other, as they lie in memory (several at once would be several streams, each
 * found anew by the processor at every page), against up to four rows of A. Compiled once a level, after
 * gemm_body.h. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_GEMM_ROWS_H
#define GAL_KERNELS_CPU_GEMM_ROWS_H

enum { SUMS = 4 }; /* of a number of C, for one after the other */

/* Numbers [i, i + SUMS VW) of the rows and of a column, or those of them that are below k. */
GAL__INLINE void column_step(const int R, F s[4][SUMS], const float *a, int64_t lda, const char *p,
                             const gal_dtype dt, int64_t i, int64_t k, const bool whole, const bool round) {
    const size_t size = dt == GAL_F32 ? 4 : 2;
    GAL__UNROLL
    for (int c = 0; c < SUMS; c++) {
        const int64_t at = i + c * VW, left = whole ? VW : k - at;
        if (left <= 0) break;
        F w = left >= VW ? ld(p + (size_t)at * size, dt, VW) : ld(p + (size_t)at * size, dt, left);
        if (round) w = f_round(w);
        GAL__UNROLL
        for (int r = 0; r < R; r++) /* rows are padded with zeros */
            s[r][c] = f_fma(f_load(a + r * lda + at), w, s[r][c]);
    }
}

/* sums[r]: rows r < R of A (lda apart) with a column of B, k numbers from p of type dt. */
GAL__INLINE void column(const int R, float sums[4], const float *a, int64_t lda, const char *p, const gal_dtype dt,
                        int64_t k, const bool round) {
    enum { STEP = SUMS * VW };
    const size_t size = dt == GAL_F32 ? 4 : 2;
    F s[4][SUMS];
    GAL__UNROLL
    for (int r = 0; r < R; r++) {
        GAL__UNROLL
        for (int c = 0; c < SUMS; c++) s[r][c] = f_zero();
    }
    int64_t i = 0;
    for (; i + STEP <= k; i += STEP) {
        GAL__UNROLL
        for (size_t b = 0; b < STEP * size; b += 64)
            __builtin_prefetch(p + (size_t)i * size + GAL__GEMM_AHEAD + b, 0, 3);
        column_step(R, s, a, lda, p, dt, i, k, true, round);
    }
    column_step(R, s, a, lda, p, dt, i, k, false, round);
    GAL__UNROLL
    for (int r = 0; r < R; r++) sums[r] = f_sum(f_add(f_add(s[r][0], s[r][1]), f_add(s[r][2], s[r][3])));
}

#define GAL__COLUMN(R)                                                                                               \
    do {                                                                                                             \
        if (dt == GAL_BF16)                                                                                          \
            column(R, sums, a, lda, p, GAL_BF16, k, false);                                                          \
        else if (dt == GAL_F16 && round)                                                                             \
            column(R, sums, a, lda, p, GAL_F16, k, true);                                                            \
        else if (dt == GAL_F16)                                                                                      \
            column(R, sums, a, lda, p, GAL_F16, k, false);                                                           \
        else if (round)                                                                                              \
            column(R, sums, a, lda, p, GAL_F32, k, true);                                                            \
        else                                                                                                         \
            column(R, sums, a, lda, p, GAL_F32, k, false);                                                           \
    } while (0)

static void column_any(int64_t rows, float sums[4], const float *a, int64_t lda, const char *p, gal_dtype dt,
                       int64_t k, bool round) {
    if (rows == 4)
        GAL__COLUMN(4);
    else if (rows == 3)
        GAL__COLUMN(3);
    else if (rows == 2)
        GAL__COLUMN(2);
    else
        GAL__COLUMN(1);
}

static void few_rows(const gal_gemm *g, const gal__tile *t, void *scratch) {
    float *a = scratch;
    const int64_t lda = (g->k + VW - 1) / VW * VW;
    const bool round = g->compute == GAL_BF16;
    rows_as_words(a, lda, g, 0, g->k);
    const bool blocks = g->b.dt == GAL_BLOCKS;
    float *wide = a + g->m * lda; /* a column of B out of blocks */
    for (int64_t j = t->j0; j < t->j1; j++) {
        if (blocks) unpack(g->b.code, g->b.p, g->k, j, 0, g->k, wide);
        const char *p = blocks ? (const char *)wide : at(&g->b, 0, j);
        for (int64_t i = 0; i < g->m; i += 4) {
            float sums[4];
            const int64_t rows = g->m - i < 4 ? g->m - i : 4;
            column_any(rows, sums, a + i * lda, lda, p, blocks ? GAL_F32 : g->b.dt, g->k, round);
            finish(g, sums, 1, i, rows, j, 1);
        }
    }
}

#endif
