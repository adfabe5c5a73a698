/* gemm_avx2.c - matrix products of the level avx2 (with FMA and F16C); bf16 products are rounded and multiplied in
 * f32. SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

#include "kernels/cpu/blocks_x86.h"

typedef __m256 F;
enum { VW = 8, NR = 16 }; /* 12 sums, 2 words of B and 1 of A in 16 registers */
#define MR 6
#define UNIT 1
#define mac(acc, a, b) f_fma(a, b, acc)

GAL__INLINE F f_zero(void) { return _mm256_setzero_ps(); }
GAL__INLINE F f_load(const float *p) { return _mm256_loadu_ps(p); }
GAL__INLINE void f_store(float *p, F x) { _mm256_storeu_ps(p, x); }
GAL__INLINE F f_add(F a, F b) { return _mm256_add_ps(a, b); }
GAL__INLINE F f_fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
GAL__INLINE F f_set1(float x) { return _mm256_set1_ps(x); }
GAL__INLINE float f_sum(F x) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* The sums of the numbers of four vectors. */
GAL__INLINE void f_sums(float sums[4], const F v[4]) {
    const F x = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
}

GAL__INLINE __m256i lanes(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
GAL__INLINE __m128i half_load(const void *p, int64_t n) {
    if (n == VW) return _mm_loadu_si128((const __m128i *)p);
    uint16_t tmp[VW] = { 0 }; /* no masked loads of 16-bit numbers */
    memcpy(tmp, p, (size_t)n * sizeof *tmp);
    return _mm_loadu_si128((const __m128i *)(const void *)tmp);
}
/* n <= VW numbers as floats, zero beyond; reads nothing beyond. */
GAL__INLINE F ld(const void *p, gal_dtype dt, int64_t n) {
    if (dt == GAL_BF16) return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half_load(p, n)), 16));
    if (dt == GAL_F16) return _mm256_cvtph_ps(half_load(p, n));
    return n == VW ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, lanes(n));
}
/* To nearest even; a NaN keeps its sign and gets the quiet bit. */
GAL__INLINE __m256i bf16_bits(F x) {
    __m256i u = _mm256_castps_si256(x), odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    F nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q), quiet = _mm256_castsi256_ps(_mm256_set1_epi32(0x400000));
    r = _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(r), _mm256_or_ps(x, quiet), nan));
    return _mm256_srli_epi32(r, 16);
}
GAL__INLINE F f_round(F x) { return _mm256_castsi256_ps(_mm256_slli_epi32(bf16_bits(x), 16)); }
GAL__INLINE void st(void *p, gal_dtype dt, F x, int64_t n) {
    if (dt == GAL_BF16) {
        __m256i b = bf16_bits(x);
        __m128i h = _mm_packus_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));
        uint16_t tmp[VW];
        _mm_storeu_si128((__m128i *)(void *)tmp, h);
        memcpy(p, tmp, (size_t)n * sizeof *tmp);
    } else if (n == VW) {
        _mm256_storeu_ps(p, x);
    } else {
        _mm256_maskstore_ps(p, lanes(n), x);
    }
}

GAL__INLINE void transpose(F r[VW]) {
    F t[VW];
    GAL__UNROLL
    for (int i = 0; i < 8; i += 4) { /* 4 x 4 blocks within the halves of four rows */
        F a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
        F c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm256_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    GAL__UNROLL
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

#include "kernels/cpu/gemm_f32_words.h"

#include "kernels/cpu/gemm_body.h"
#include "kernels/cpu/gemm_dots.h"
#include "kernels/cpu/gemm_rows.h"

static const gal__gemm_level level = { NR, NT, 4, 4, 3, GAL__GEMM_SOME, tile, few_rows, some_rows };

#include "kernels/cpu/gemm_fill.h"

void gal__avx2_gemm_fill(gal_kernel_table *t) { gemm_fill(t); }
