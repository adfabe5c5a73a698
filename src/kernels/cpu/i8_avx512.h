/* i8_avx512.h - vectors of sixteen floats for i8_body.h. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_I8_AVX512_H
#define GAL_KERNELS_CPU_I8_AVX512_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vec_avx512.h"

/* 12 sums of integers, 12 of floats, 2 words of weights, 1 of A in 32 registers */
#define ROWS 6
enum { VW = 16, COLS = 2, FUSED = true };
typedef float F __attribute__((vector_size(64)));
typedef int32_t S __attribute__((vector_size(64)));
typedef uint32_t U __attribute__((vector_size(64)));
typedef uint8_t B __attribute__((vector_size(64)));

GAL__INLINE F f_set1(float x) { return (F)_mm512_set1_ps(x); }
GAL__INLINE F f_fma(F a, F b, F c) { return (F)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
GAL__INLINE F f_half(const void *p) { return (F)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
GAL__INLINE S s_set1(int32_t x) { return (S)_mm512_set1_epi32(x); }
GAL__INLINE U i8_pairs(const void *p) { return (U)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)); }
GAL__INLINE U i8_look_up(U q, const int8_t table[16]) {
    const __m512i t = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)table));
    return (U)_mm512_shuffle_epi8(t, (__m512i)q);
}

#define I8_LOADED(x) "+v"(x)
GAL__INLINE void i8_turn(U x[VW]) {
    V t[VW]; /* bits of floats that nothing computes with */
    GAL__UNROLL
    for (int i = 0; i < VW; i++) t[i] = (V)x[i];
    v_turn(t);
    GAL__UNROLL
    for (int i = 0; i < VW; i++) x[i] = (U)t[i];
}

#endif
