/* gemm_vec512.h - vectors of 16 floats for gemm_body.h, gemm_rows.h and gemm_dots.h (AVX-512 F, BW, DQ, VL).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_GEMM_VEC512_H
#define GAL_KERNELS_CPU_GEMM_VEC512_H

#include <immintrin.h>

#include "kernels/cpu/gemm.h"

#define MR 14
typedef __m512 F;
enum { VW = 16, NR = 32 }; /* 28 sums, 2 words of B and 1 of A in 32 registers */

GAL__INLINE F f_zero(void) { return _mm512_setzero_ps(); }
GAL__INLINE F f_load(const float *p) { return _mm512_loadu_ps(p); }
GAL__INLINE void f_store(float *p, F x) { _mm512_storeu_ps(p, x); }
GAL__INLINE F f_add(F a, F b) { return _mm512_add_ps(a, b); }
GAL__INLINE F f_fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
GAL__INLINE F f_set1(float x) { return _mm512_set1_ps(x); }
GAL__INLINE float f_sum(F x) { return _mm512_reduce_add_ps(x); }

/* The sums of the numbers of four vectors. */
GAL__INLINE void f_sums(float sums[4], const F v[4]) {
    const F a = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    const F b = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    const F c = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
    const __m256 d = _mm256_add_ps(_mm512_castps512_ps256(c), _mm512_extractf32x8_ps(c, 1));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(d), _mm256_extractf128_ps(d, 1)));
}

GAL__INLINE __mmask16 lanes(int64_t n) { return (__mmask16)((1U << (unsigned)n) - 1U); }
GAL__INLINE __m256i half_load(const void *p, int64_t n) {
    return n == VW ? _mm256_loadu_si256((const __m256i *)p) : _mm256_maskz_loadu_epi16(lanes(n), p);
}
GAL__INLINE F f_from_bf16(__m256i h) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)); }
/* n <= VW numbers as floats, zero beyond; reads nothing beyond. */
GAL__INLINE F ld(const void *p, gal_dtype dt, int64_t n) {
    if (dt == GAL_BF16) return f_from_bf16(half_load(p, n));
    if (dt == GAL_F16) return _mm512_cvtph_ps(half_load(p, n));
    return n == VW ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(lanes(n), p);
}
/* To nearest even; a NaN keeps its sign and gets the quiet bit. */
GAL__INLINE __m512i bf16_bits(F x) {
    __m512i u = _mm512_castps_si512(x), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    r = _mm512_mask_or_epi32(r, nan, u, _mm512_set1_epi32(0x400000));
    return _mm512_srli_epi32(r, 16);
}
GAL__INLINE F f_round(F x) { return _mm512_castsi512_ps(_mm512_slli_epi32(bf16_bits(x), 16)); }
GAL__INLINE void st(void *p, gal_dtype dt, F x, int64_t n) {
    if (dt == GAL_BF16)
        _mm256_mask_storeu_epi16(p, lanes(n), _mm512_cvtepi32_epi16(bf16_bits(x)));
    else if (n == VW)
        _mm512_storeu_ps(p, x);
    else
        _mm512_mask_storeu_ps(p, lanes(n), x);
}

GAL__INLINE void transpose(F r[VW]) {
    F t[VW];
    GAL__UNROLL
    for (int i = 0; i < 16; i += 4) { /* 4 x 4 blocks within the quarters of four rows */
        F a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
        F c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm512_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
    }
    GAL__UNROLL
    for (int i = 0; i < 4; i++) { /* quarters q of t[i], t[4 + i], .. make row 4 q + i */
        F a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x44), b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xee);
        F c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x44), d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xee);
        r[i] = _mm512_shuffle_f32x4(a, c, 0x88);
        r[i + 4] = _mm512_shuffle_f32x4(a, c, 0xdd);
        r[i + 8] = _mm512_shuffle_f32x4(b, d, 0x88);
        r[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
}

#endif
