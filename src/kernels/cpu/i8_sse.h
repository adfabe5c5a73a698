/* i8_sse.h - vectors of four floats for i8_body.h, for processors that have no AVX2: with AVX the same, in
 * instructions of three operands. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_I8_SSE_H
#define GAL_KERNELS_CPU_I8_SSE_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/half128.h"

/* 6 sums of integers, 6 of floats, 2 words of weights, 1 of A in 16 registers */
#define ROWS 3
enum { VW = 4, COLS = 2, FUSED = false };
typedef float F __attribute__((vector_size(16)));
typedef int32_t S __attribute__((vector_size(16)));
typedef uint32_t U __attribute__((vector_size(16)));
typedef uint8_t B __attribute__((vector_size(16)));

GAL__INLINE F f_set1(float x) { return (F)_mm_set1_ps(x); }
GAL__INLINE F f_fma(F a, F b, F c) { return a * b + c; }
GAL__INLINE F f_half(const void *p) { return (F)h_f16(h_words(p)); }
GAL__INLINE S s_set1(int32_t x) { return (S)_mm_set1_epi32(x); }
GAL__INLINE U i8_pairs(const void *p) { return (U)h_words(p); }
GAL__INLINE U i8_look_up(U q, const int8_t table[16]) {
    return (U)_mm_shuffle_epi8(_mm_loadu_si128((const __m128i_u *)(const void *)table), (__m128i)q);
}

#define I8_LOADED(x) "+x"(x)
GAL__INLINE void i8_turn(U x[VW]) {
    const __m128i a = _mm_unpacklo_epi32((__m128i)x[0], (__m128i)x[1]),
                  b = _mm_unpackhi_epi32((__m128i)x[0], (__m128i)x[1]),
                  c = _mm_unpacklo_epi32((__m128i)x[2], (__m128i)x[3]),
                  d = _mm_unpackhi_epi32((__m128i)x[2], (__m128i)x[3]);
    x[0] = (U)_mm_unpacklo_epi64(a, c);
    x[1] = (U)_mm_unpackhi_epi64(a, c);
    x[2] = (U)_mm_unpacklo_epi64(b, d);
    x[3] = (U)_mm_unpackhi_epi64(b, d);
}

#include "kernels/cpu/i8_maddubs.h"

GAL__INLINE S i8_dot(S sum, U w, S a, const bool wide) {
    const __m128i x = wide ? _mm_abs_epi8((__m128i)w) : (__m128i)w,
                  y = wide ? _mm_sign_epi8((__m128i)a, (__m128i)w) : (__m128i)a;
    return sum + (S)_mm_madd_epi16(_mm_maddubs_epi16(x, y), _mm_set1_epi16(1));
}

#include "kernels/cpu/i8_body.h"

#endif
