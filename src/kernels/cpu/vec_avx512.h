/* vec_avx512.h - the vector of 16 floats for the shared kernel bodies (AVX-512 F, BW, DQ, VL); see vec_avx2.h, which
 * defines the same names with the same meaning. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_VEC_AVX512_H
#define GAL_KERNELS_CPU_VEC_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cpu/unroll.h"

#define VINLINE static inline __attribute__((always_inline))

typedef __m512 V;
enum { VL = 16, TILE_COLS = 4 /* 4 x 4 sums, 4 + 1 operands of 32 registers */ };

VINLINE V v_zero(void) { return _mm512_setzero_ps(); }
VINLINE V v_set1(float x) { return _mm512_set1_ps(x); }
VINLINE V v_add(V a, V b) { return _mm512_add_ps(a, b); }
VINLINE V v_sub(V a, V b) { return _mm512_sub_ps(a, b); }
VINLINE V v_mul(V a, V b) { return _mm512_mul_ps(a, b); }
VINLINE V v_div(V a, V b) { return _mm512_div_ps(a, b); }
VINLINE V v_sqrt(V a) { return _mm512_sqrt_ps(a); }
VINLINE V v_max(V a, V b) { return _mm512_max_ps(a, b); }
VINLINE V v_min(V a, V b) { return _mm512_min_ps(a, b); }
VINLINE V v_fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
VINLINE V v_fnma(V a, V b, V c) { return _mm512_fnmadd_ps(a, b, c); }
VINLINE V v_round(V a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VINLINE V v_abs(V a) { return _mm512_abs_ps(a); }
VINLINE V v_by_sign(V x, V pos, V neg) {
    return _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(x)), pos, neg);
}
VINLINE V v_swap_pairs(V a) { return _mm512_permute_ps(a, 0xB1); }
VINLINE V v_scale2(V x, V n) { return _mm512_scalef_ps(x, n); }

/* The first m lanes (all from m = VL on, none from 0 down). */
VINLINE __mmask16 v_lanes(int64_t m) {
    unsigned bits = m >= VL ? 0xffffU : m <= 0 ? 0U : (1U << (unsigned)m) - 1U;
    return (__mmask16)bits;
}
VINLINE V v_load(const float *p) { return _mm512_loadu_ps(p); }
VINLINE void v_store(float *p, V x) { _mm512_storeu_ps(p, x); }
VINLINE V v_loadm(const float *p, int64_t m) { return _mm512_maskz_loadu_ps(v_lanes(m), p); }
VINLINE void v_storem(float *p, V x, int64_t m) { _mm512_mask_storeu_ps(p, v_lanes(m), x); }
VINLINE V v_range(V x, int64_t lo, int64_t hi, V fill) {
    return _mm512_mask_blend_ps(_kandn_mask16(v_lanes(lo), v_lanes(hi)), fill, x);
}

VINLINE __m256 v_fold8(V a) { return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)); }
VINLINE float v_hsum(V a) {
    __m256 f = v_fold8(a);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(f), _mm256_extractf128_ps(f, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
VINLINE float v_hmax(V a) {
    __m256 f = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(f), _mm256_extractf128_ps(f, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
typedef struct DV {
    __m512d l, h;
} DV;
VINLINE DV dv_zero(void) { return (DV){ _mm512_setzero_pd(), _mm512_setzero_pd() }; }
VINLINE void dv_add_squares(DV *s, V a) {
    __m512d l = _mm512_cvtps_pd(_mm512_castps512_ps256(a)), h = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
    s->l = _mm512_fmadd_pd(l, l, s->l);
    s->h = _mm512_fmadd_pd(h, h, s->h);
}
VINLINE double dv_sum(DV s) { return _mm512_reduce_add_pd(_mm512_add_pd(s.l, s.h)); }

VINLINE V v_bf16(__m256i h) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)); }
VINLINE __m256i v_to_bf16(V x) {
    __m512i u = _mm512_castps_si512(x), hi = _mm512_srli_epi32(u, 16);
    __m512i odd = _mm512_and_si512(hi, _mm512_set1_epi32(1));
    __m512i r = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    r = _mm512_mask_or_epi32(r, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), hi, _mm512_set1_epi32(0x40));
    return _mm512_cvtepi32_epi16(r);
}
VINLINE V v_f16(__m256i h) { return _mm512_cvtph_ps(h); }
VINLINE __m256i v_to_f16(V x) { return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

VINLINE V v_i8(const void *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i_u *)p)));
}
VINLINE V v_u4(const void *p, bool upper) {
    __m512i x = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i_u *)p));
    x = upper ? _mm512_srli_epi32(x, 4) : _mm512_and_si512(x, _mm512_set1_epi32(15));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(x, _mm512_set1_epi32(8)));
}

typedef __m256i V16;
VINLINE V16 v_load16(const void *p, int64_t m) {
    if (m >= VL) return _mm256_loadu_si256((const __m256i_u *)p); /* what uses it may read the memory itself */
    return _mm256_maskz_loadu_epi16(v_lanes(m), p);
}
VINLINE void v_store16(void *p, V16 x, int64_t m) { _mm256_mask_storeu_epi16(p, v_lanes(m), x); }

#ifdef __AVX512BF16__
/* Words of two numbers of bf16: those of a are the lower halves. */
VINLINE V v_pairs(V16 a, V16 b) {
    const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16);
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_cvtepu16_epi32(a), high));
}
VINLINE V16 v_round16(V x) { return (V16)_mm512_cvtneps_pbh(x); }
VINLINE V v_mac_pairs(V a, V b, V sum) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
#endif

/* For turning (turn.h): four lanes of 16 bytes, and pairs of them zipped within each lane. */
typedef __m512i Z;
VINLINE Z z_load(const void *p) { return _mm512_loadu_si512(p); }
VINLINE void z_store(void *p, Z x) { _mm512_storeu_si512(p, x); }
VINLINE Z z_lo8(Z a, Z b) { return _mm512_unpacklo_epi8(a, b); }
VINLINE Z z_hi8(Z a, Z b) { return _mm512_unpackhi_epi8(a, b); }
VINLINE Z z_lo16(Z a, Z b) { return _mm512_unpacklo_epi16(a, b); }
VINLINE Z z_hi16(Z a, Z b) { return _mm512_unpackhi_epi16(a, b); }
VINLINE Z z_lo32(Z a, Z b) { return _mm512_unpacklo_epi32(a, b); }
VINLINE Z z_hi32(Z a, Z b) { return _mm512_unpackhi_epi32(a, b); }
VINLINE Z z_lo64(Z a, Z b) { return _mm512_unpacklo_epi64(a, b); }
VINLINE Z z_hi64(Z a, Z b) { return _mm512_unpackhi_epi64(a, b); }
VINLINE __m128i z_lane(const void *p) { return _mm_loadu_si128((const __m128i_u *)p); }
/* VL rows' columns: four of them in a lane each; eight of two of them. */
VINLINE Z z_floats(const char *const row[VL], int i, int64_t at) {
    Z x = _mm512_castsi128_si512(z_lane(row[i] + at));
    x = _mm512_inserti32x4(x, z_lane(row[i + 4] + at), 1);
    x = _mm512_inserti32x4(x, z_lane(row[i + 8] + at), 2);
    return _mm512_inserti32x4(x, z_lane(row[i + 12] + at), 3);
}
VINLINE Z z_halves(const char *const row[VL], int i, int64_t at) {
    Z x = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i_u *)(const void *)(row[i] + at)));
    return _mm512_inserti64x4(x, _mm256_loadu_si256((const __m256i_u *)(const void *)(row[i + 8] + at)), 1);
}
/* Rows [0, 8) of both lanes, then rows [8, 16): what z_halves() began, by columns. */
VINLINE Z z_by_columns(Z x) { return _mm512_shuffle_i64x2(x, x, 0xD8); }

/* r[c][l] = r[l][c] of 16 x 16. */
VINLINE void v_turn(V r[VL]) {
    V t[VL];
    GAL__UNROLL
    for (int i = 0; i < 16; i += 4) { /* 4 x 4 blocks within the quarters of four rows */
        V a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
        V c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm512_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
    }
    GAL__UNROLL
    for (int i = 0; i < 4; i++) { /* quarters q of t[i], t[4 + i], .. make row 4 q + i */
        V a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x44), b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xee);
        V c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x44), d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xee);
        r[i] = _mm512_shuffle_f32x4(a, c, 0x88);
        r[i + 4] = _mm512_shuffle_f32x4(a, c, 0xdd);
        r[i + 8] = _mm512_shuffle_f32x4(b, d, 0x88);
        r[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
}

#include "kernels/cpu/vec_x86.h"

#endif
