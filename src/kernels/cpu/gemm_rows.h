/* gemm_rows.h - products with few rows of A (decoding): C[m, n] = A B with B's columns contiguous along k, as weights
 * [out, in] are. Bound by reading B once: nothing of it is packed. A is widened to f32 into the scratch; then R
 * columns of B stream against up to four rows of A. Compiled once a level, after gemm_body.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_GEMM_ROWS_H
#define GAL_KERNELS_CPU_GEMM_ROWS_H

enum { COLS = 4, AHEAD = 1024 }; /* AHEAD: bytes of B to fetch ahead of each column */

/* sums[r][c]: rows r < R of A (lda apart) with columns c of B, p[c] of type dt. */
GAL__INLINE void dots(const int R, float sums[4][COLS], const float *a, int64_t lda, const char *const p[COLS],
                      const gal_dtype dt, int64_t k, const bool round) {
    const size_t size = dt == GAL_F32 ? 4 : 2;
    F s[4][COLS];
    GAL__UNROLL
    for (int r = 0; r < R; r++) {
        GAL__UNROLL
        for (int c = 0; c < COLS; c++) s[r][c] = f_zero();
    }
    for (int64_t i = 0; i < k; i += VW) {
        const int64_t n = k - i < VW ? k - i : VW;
        F x[4];
        GAL__UNROLL
        for (int r = 0; r < R; r++) x[r] = f_load(a + r * lda + i); /* rows are padded with zeros */
        GAL__UNROLL
        for (int c = 0; c < COLS; c++) {
            const char *q = p[c] + (size_t)i * size;
            __builtin_prefetch(q + AHEAD);
            F w = n == VW ? ld(q, dt, VW) : ld(q, dt, n);
            if (round) w = f_round(w);
            GAL__UNROLL
            for (int r = 0; r < R; r++) s[r][c] = f_fma(x[r], w, s[r][c]);
        }
    }
    GAL__UNROLL
    for (int r = 0; r < R; r++) {
        GAL__UNROLL
        for (int c = 0; c < COLS; c++) sums[r][c] = f_sum(s[r][c]);
    }
}

#define GAL__DOTS(R)                                                                                                 \
    do {                                                                                                             \
        if (dt == GAL_BF16)                                                                                          \
            dots(R, sums, a, lda, p, GAL_BF16, k, false);                                                            \
        else if (dt == GAL_F16 && round)                                                                             \
            dots(R, sums, a, lda, p, GAL_F16, k, true);                                                              \
        else if (dt == GAL_F16)                                                                                      \
            dots(R, sums, a, lda, p, GAL_F16, k, false);                                                             \
        else if (round)                                                                                              \
            dots(R, sums, a, lda, p, GAL_F32, k, true);                                                              \
        else                                                                                                         \
            dots(R, sums, a, lda, p, GAL_F32, k, false);                                                             \
    } while (0)

static void dots_any(int64_t rows, float sums[4][COLS], const float *a, int64_t lda, const char *const p[COLS],
                     gal_dtype dt, int64_t k, bool round) {
    if (rows == 4)
        GAL__DOTS(4);
    else if (rows == 3)
        GAL__DOTS(3);
    else if (rows == 2)
        GAL__DOTS(2);
    else
        GAL__DOTS(1);
}

static void few_rows(const gal_gemm *g, const gal__tile *t, void *scratch) {
    float *a = scratch;
    const int64_t lda = (g->k + VW - 1) / VW * VW;
    const bool round = g->compute == GAL_BF16;
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t k = 0; k < g->k; k += VW) {
            F x = ld(at(&g->a, i, k), g->a.dt, g->k - k < VW ? g->k - k : VW);
            f_store(a + i * lda + k, round ? f_round(x) : x);
        }
    const bool blocks = g->b.dt == GAL_BLOCKS;
    float *wide = a + g->m * lda; /* COLS columns of B out of blocks */
    for (int64_t j = t->j0; j < t->j1; j += COLS) {
        const int64_t cols = t->j1 - j < COLS ? t->j1 - j : COLS;
        const char *p[COLS];
        for (int c = 0; c < COLS; c++) {
            const int64_t col = c < cols ? j + c : j;
            if (blocks) unpack(g->b.code, g->b.p, g->k, col, 0, g->k, wide + c * g->k);
            p[c] = blocks ? (const char *)(wide + c * g->k) : at(&g->b, 0, col);
        }
        for (int64_t i = 0; i < g->m; i += 4) {
            float sums[4][COLS];
            const int64_t rows = g->m - i < 4 ? g->m - i : 4;
            dots_any(rows, sums, a + i * lda, lda, p, blocks ? GAL_F32 : g->b.dt, g->k, round);
            finish(g, sums[0], COLS, i, rows, j, cols);
        }
    }
}

#endif
