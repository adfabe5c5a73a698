/* gemm_avx512_bf16.c - bf16 products with the processor's dot products of bf16 pairs; the rest is avx512's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

#include "kernels/cpu/blocks_x86.h"
#include "kernels/cpu/gemm_vec512.h"

#define UNIT 2
#define mac(acc, a, b) _mm512_dpbf16_ps(acc, (__m512bh)(a), (__m512bh)(b))

GAL__INLINE __m256i to_bf16(const void *p, gal_dtype dt, int64_t n) {
    return dt == GAL_BF16 ? half_load(p, n) : (__m256i)_mm512_cvtneps_pbh(ld(p, dt, n));
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

static void any_tile(const gal_gemm *g, const gal__tile *t, void *scratch) {
    (g->compute == GAL_BF16 ? tile : gal__gemm_avx512.tile)(g, t, scratch);
}
static void any_rows(const gal_gemm *g, const gal__tile *t, void *scratch) { gal__gemm_avx512.rows(g, t, scratch); }

static const gal__gemm_level level = { NR, NT, 2, 1, any_tile, any_rows };

#include "kernels/cpu/gemm_fill.h"

void gal__avx512_bf16_gemm_fill(gal_kernel_table *t) { gemm_fill(t); }
