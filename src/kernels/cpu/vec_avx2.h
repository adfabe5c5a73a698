/* vec_avx2.h - the vector of 8 floats that the shared kernel bodies are written over (AVX2, FMA, F16C).
 * vec_avx512.h defines the same names for 16 floats, vec_sse42.h, vec_avx.h and vec_neon.h for 8 in two halves or
 * without FMA; a body includes none of them, the .c file around it includes one. Functions with a count m touch only
 * the first m lanes' memory (0 <= m <= VL); lanes beyond it load as 0. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_VEC_AVX2_H
#define GAL_KERNELS_CPU_VEC_AVX2_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define VINLINE static inline __attribute__((always_inline))

typedef __m256 V;
enum { VL = 8, TILE_COLS = 2 /* vectors a row of a register tile: 4 x 2 sums, 2 + 1 operands */ };

VINLINE V v_zero(void) { return _mm256_setzero_ps(); }
VINLINE V v_set1(float x) { return _mm256_set1_ps(x); }
VINLINE V v_add(V a, V b) { return _mm256_add_ps(a, b); }
VINLINE V v_sub(V a, V b) { return _mm256_sub_ps(a, b); }
VINLINE V v_mul(V a, V b) { return _mm256_mul_ps(a, b); }
VINLINE V v_div(V a, V b) { return _mm256_div_ps(a, b); }
VINLINE V v_sqrt(V a) { return _mm256_sqrt_ps(a); }
VINLINE V v_max(V a, V b) { return _mm256_max_ps(a, b); }             /* b where either is NaN */
VINLINE V v_min(V a, V b) { return _mm256_min_ps(a, b); }             /* b where either is NaN */
VINLINE V v_fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }   /* a b + c */
VINLINE V v_fnma(V a, V b, V c) { return _mm256_fnmadd_ps(a, b, c); } /* c - a b */
VINLINE V v_round(V a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VINLINE V v_abs(V a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a); }
/* neg in the lanes where x has the sign bit, else pos. */
VINLINE V v_by_sign(V x, V pos, V neg) { return _mm256_blendv_ps(pos, neg, x); }
VINLINE V v_swap_pairs(V a) { return _mm256_permute_ps(a, 0xB1); }

/* x 2^n for whole n in [-152, 130]. In two factors, since 2^n itself may lie outside the normal range. */
VINLINE V v_scale2(V x, V n) {
    __m256i i = _mm256_cvtps_epi32(n), h = _mm256_srai_epi32(i, 1), b = _mm256_set1_epi32(127);
    __m256i s = _mm256_slli_epi32(_mm256_add_epi32(h, b), 23);
    __m256i t = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, h), b), 23);
    return _mm256_mul_ps(_mm256_mul_ps(x, _mm256_castsi256_ps(s)), _mm256_castsi256_ps(t));
}

VINLINE __m256i v_lanes(int64_t m) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)m), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
VINLINE V v_load(const float *p) { return _mm256_loadu_ps(p); }
VINLINE void v_store(float *p, V x) { _mm256_storeu_ps(p, x); }
VINLINE V v_loadm(const float *p, int64_t m) { return _mm256_maskload_ps(p, v_lanes(m)); }
VINLINE void v_storem(float *p, V x, int64_t m) { _mm256_maskstore_ps(p, v_lanes(m), x); }

/* x in the lanes lo <= lane < hi, fill in the others; lo and hi may lie outside of 0..VL. */
VINLINE V v_range(V x, int64_t lo, int64_t hi, V fill) {
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i in = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)lo), lane),
                                     _mm256_cmpgt_epi32(_mm256_set1_epi32((int)hi), lane));
    return _mm256_blendv_ps(fill, x, _mm256_castsi256_ps(in));
}

VINLINE float v_hsum(V a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
VINLINE float v_hmax(V a) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
/* Sums of squares in double, where each square is exact. */
typedef struct DV {
    __m256d l, h;
} DV;
VINLINE DV dv_zero(void) { return (DV){ _mm256_setzero_pd(), _mm256_setzero_pd() }; }
VINLINE void dv_add_squares(DV *s, V a) {
    __m256d l = _mm256_cvtps_pd(_mm256_castps256_ps128(a)), h = _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
    s->l = _mm256_fmadd_pd(l, l, s->l);
    s->h = _mm256_fmadd_pd(h, h, s->h);
}
VINLINE double dv_sum(DV s) {
    __m256d x = _mm256_add_pd(s.l, s.h);
    __m128d t = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_add_sd(t, _mm_unpackhi_pd(t, t)));
}
VINLINE __m256 v_fold8(V a) { return a; } /* 8 partial sums */

VINLINE V v_bf16(__m128i h) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16)); }
VINLINE __m128i v_to_bf16(V x) {
    __m256i u = _mm256_castps_si256(x), hi = _mm256_srli_epi32(u, 16);
    __m256i odd = _mm256_and_si256(hi, _mm256_set1_epi32(1));
    __m256i r = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    __m256i quiet = _mm256_or_si256(hi, _mm256_set1_epi32(0x40));
    r = _mm256_blendv_epi8(r, quiet, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
    return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}
VINLINE V v_f16(__m128i h) { return _mm256_cvtph_ps(h); }
VINLINE __m128i v_to_f16(V x) { return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

/* VL numbers of blocks of integers: int8, and the lower or upper halves of bytes less 8. */
VINLINE V v_i8(const void *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i_u *)p)));
}
VINLINE V v_u4(const void *p, bool upper) {
    __m256i x = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i_u *)p));
    x = upper ? _mm256_srli_epi32(x, 4) : _mm256_and_si256(x, _mm256_set1_epi32(15));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(x, _mm256_set1_epi32(8)));
}

typedef __m128i V16; /* VL numbers of 16 bits */
VINLINE V16 v_load16(const void *p, int64_t m) {
    if (m >= VL) return _mm_loadu_si128((const __m128i_u *)p);
    uint16_t t[VL] = { 0 };
    memcpy(t, p, (size_t)m * sizeof t[0]);
    return _mm_loadu_si128((const __m128i_u *)(const void *)t);
}
VINLINE void v_store16(void *p, V16 x, int64_t m) {
    if (m >= VL) {
        _mm_storeu_si128((__m128i_u *)p, x);
    } else {
        uint16_t t[VL];
        _mm_storeu_si128((__m128i_u *)(void *)t, x);
        memcpy(p, t, (size_t)m * sizeof t[0]);
    }
}

/* For turning (turn.h): two lanes of 16 bytes, and pairs of them zipped within each lane. */
typedef __m256i Z;
VINLINE Z z_load(const void *p) { return _mm256_loadu_si256((const __m256i_u *)p); }
VINLINE void z_store(void *p, Z x) { _mm256_storeu_si256((__m256i_u *)p, x); }
VINLINE Z z_lo8(Z a, Z b) { return _mm256_unpacklo_epi8(a, b); }
VINLINE Z z_hi8(Z a, Z b) { return _mm256_unpackhi_epi8(a, b); }
VINLINE Z z_lo16(Z a, Z b) { return _mm256_unpacklo_epi16(a, b); }
VINLINE Z z_hi16(Z a, Z b) { return _mm256_unpackhi_epi16(a, b); }
VINLINE Z z_lo32(Z a, Z b) { return _mm256_unpacklo_epi32(a, b); }
VINLINE Z z_hi32(Z a, Z b) { return _mm256_unpackhi_epi32(a, b); }
VINLINE Z z_lo64(Z a, Z b) { return _mm256_unpacklo_epi64(a, b); }
VINLINE Z z_hi64(Z a, Z b) { return _mm256_unpackhi_epi64(a, b); }
VINLINE __m128i z_lane(const void *p) { return _mm_loadu_si128((const __m128i_u *)p); }
/* Of VL rows the columns at `at`: a lane of two rows; two lanes of one. */
VINLINE Z z_floats(const char *const row[VL], int i, int64_t at) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(z_lane(row[i] + at)), z_lane(row[i + 4] + at), 1);
}
VINLINE Z z_halves(const char *const row[VL], int i, int64_t at) { return z_load(row[i] + at); }
VINLINE Z z_by_columns(Z x) { return x; }

#include "kernels/cpu/vec_x86.h"
#define v_turn v8_turn

#endif
