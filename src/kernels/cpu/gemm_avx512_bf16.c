/* gemm_avx512_bf16.c - bf16 products with the processor's dot products of bf16 pairs; the rest is avx512's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vec_avx512.h"

#include "kernels/cpu/blocks_x86.h"
#define MR 14
#include "kernels/cpu/gemm_vec.h"

#define UNIT 2
#define mac(acc, a, b) _mm512_dpbf16_ps(acc, (__m512bh)(a), (__m512bh)(b))

GAL__INLINE __m256i to_bf16(const void *p, gal_dtype dt, int64_t n) {
    return dt == GAL_BF16 ? v_load16(p, n) : (__m256i)_mm512_cvtneps_pbh(ld(p, dt, n));
}
GAL__INLINE F unit_k(const void *p, gal_dtype dt, int64_t n, bool round) {
    (void)round;
    if (dt == GAL_BF16 && n == 2 * VW) return _mm512_loadu_ps(p);
    const char *second = (const char *)p + VW * (dt == GAL_F32 ? 4 : 2);
    int64_t n1 = n - VW;
    __m256i lo = to_bf16(p, dt, n1 >= 0 ? VW : n);
    __m256i hi = n1 > 0 ? to_bf16(second, dt, n1) : _mm256_setzero_si256();
    return _mm512_castsi512_ps(_mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1));
}
GAL__INLINE F unit_n(const void *p0, const void *p1, gal_dtype dt, int64_t n, bool round) {
    (void)round;
    __m512i x = _mm512_cvtepu16_epi32(to_bf16(p0, dt, n));
    if (p1) x = _mm512_or_si512(x, _mm512_slli_epi32(_mm512_cvtepu16_epi32(to_bf16(p1, dt, n)), 16));
    return _mm512_castsi512_ps(x);
}

#include "kernels/cpu/gemm_body.h"
#include "kernels/cpu/gemm_dots.h"

static void any_tile(const gal_gemm *g, const gal__tile *t, void *scratch) {
    (g->compute == GAL_BF16 ? tile : gal__gemm_avx512.run_tile)(g, t, scratch);
}

/* ---- few rows of A ------------------------------------------------------------------------------------------------
 * As gemm_rows.h, with B as it is, or rounded from f32. A number of C is summed the same way whatever R, C and B's
 * type are. */

enum { SUMS = 2, STEP = SUMS * 2 * VW /* numbers of k */ };

/* sums[2 r + c]: rows r < R of A (lda apart, padded with zeros) with C <= 2 columns of B. */
GAL__INLINE void bf16_dots(const int R, const int C, float *sums, const uint16_t *a, int64_t lda,
                           const char *const *p, const gal_dtype dt, int64_t k) {
    const size_t size = dt == GAL_F32 ? 4 : 2;
    F s[4][2][SUMS];
    GAL__UNROLL
    for (int i = 0; i < R * C * SUMS; i++) s[i / (C * SUMS)][i / SUMS % C][i % SUMS] = f_zero();
    for (int64_t i = 0; i < k; i += STEP) {
        GAL__UNROLL
        for (int u = 0; u < SUMS; u++) {
            const int64_t at = i + u * 2 * VW, left = min64(k - at, 2 * VW);
            F b[2];
            if (left <= 0) break;
            GAL__UNROLL
            for (int c = 0; c < C; c++) {
                b[c] = unit_k(p[c] + (size_t)at * size, dt, left, false);
                GAL__UNROLL
                for (size_t byte = 0; byte < 2 * VW * size; byte += 64)
                    __builtin_prefetch(p[c] + (size_t)at * size + GAL__GEMM_AHEAD + byte);
            }
            GAL__UNROLL
            for (int r = 0; r < R; r++) {
                const F x = _mm512_loadu_ps(a + r * lda + at);
                GAL__UNROLL
                for (int c = 0; c < C; c++) s[r][c][u] = mac(s[r][c][u], x, b[c]);
            }
        }
    }
    GAL__UNROLL
    for (int r = 0; r < R; r++) {
        GAL__UNROLL
        for (int c = 0; c < C; c++) sums[2 * r + c] = f_sum(f_add(s[r][c][0], s[r][c][1]));
    }
}

#define GAL__BF16_DOTS(R)                                                                                            \
    case R:                                                                                                          \
        if (dt == GAL_F32 && cols == 2)                                                                              \
            bf16_dots(R, 2, sums, a, lda, p, GAL_F32, k);                                                            \
        else if (dt == GAL_F32)                                                                                      \
            bf16_dots(R, 1, sums, a, lda, p, GAL_F32, k);                                                            \
        else if (cols == 2)                                                                                          \
            bf16_dots(R, 2, sums, a, lda, p, GAL_BF16, k);                                                           \
        else                                                                                                         \
            bf16_dots(R, 1, sums, a, lda, p, GAL_BF16, k);                                                           \
        break;

static void bf16_dots_any(int64_t rows, int64_t cols, float *sums, const uint16_t *a, int64_t lda,
                          const char *const *p, gal_dtype dt, int64_t k) {
    switch (rows) {
        GAL__BF16_DOTS(1)
        GAL__BF16_DOTS(2)
        GAL__BF16_DOTS(3)
        GAL__BF16_DOTS(4)
    default:
        break;
    }
}

static void bf16_rows(const gal_gemm *g, const gal__tile *t, void *scratch) {
    const int64_t words = (g->k + 2 * VW - 1) / (2 * VW) * VW;
    const uint16_t *a = scratch;
    rows_as_words(scratch, words, g, 0, g->k);
    /* Of few rows columns stream one after the other, as they lie in memory; there are more than four only where they
     * are to be alike. */
    const int64_t wide = g->m > 4 ? 2 : 1;
    for (int64_t j = t->j0; j < t->j1; j += wide) {
        const int64_t cols = min64(t->j1 - j, wide);
        const char *const p[2] = { at(&g->b, 0, j), at(&g->b, 0, j + cols - 1) };
        for (int64_t i = 0; i < g->m; i += 4) {
            float sums[8];
            const int64_t rows = min64(g->m - i, 4);
            bf16_dots_any(rows, cols, sums, a + i * 2 * words, 2 * words, p, g->b.dt, g->k);
            finish(g, sums, 2, i, rows, j, cols);
        }
    }
}

static bool bf16_pairs(const gal_gemm *g) {
    return g->compute == GAL_BF16 && (g->b.dt == GAL_BF16 || g->b.dt == GAL_F32);
}

static void any_rows(const gal_gemm *g, const gal__tile *t, void *scratch) {
    (bf16_pairs(g) ? bf16_rows : gal__gemm_avx512.run_few)(g, t, scratch);
}

static void any_dots(const gal_gemm *g, const gal__tile *t, void *scratch) {
    (bf16_pairs(g) ? some_rows : gal__gemm_avx512.run_some)(g, t, scratch);
}

static const gal__gemm_level level = { .nr = NR,
                                       .nt = NT,
                                       .f32 = 2,
                                       .bf16 = 1,
                                       .few = 3,
                                       .some = GAL__GEMM_SOME,
                                       .run_tile = any_tile,
                                       .run_few = any_rows,
                                       .run_some = any_dots };

#include "kernels/cpu/gemm_fill.h"

void gal__avx512_bf16_gemm_fill(gal_kernel_table *t) { gemm_fill(t); }
