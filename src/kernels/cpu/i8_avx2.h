/* i8_avx2.h - vectors of eight floats for i8_body.h. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_I8_AVX2_H
#define GAL_KERNELS_CPU_I8_AVX2_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vec_avx2.h"

/* 6 sums of integers, 6 of floats, 2 words of weights, 1 of A in 16 registers */
#define ROWS 3
enum { VW = 8, COLS = 2, FUSED = true };
typedef float F __attribute__((vector_size(32)));
typedef int32_t S __attribute__((vector_size(32)));
typedef uint32_t U __attribute__((vector_size(32)));
typedef uint8_t B __attribute__((vector_size(32)));

GAL__INLINE F f_set1(float x) { return (F)_mm256_set1_ps(x); }
GAL__INLINE F f_fma(F a, F b, F c) { return (F)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
GAL__INLINE F f_half(const void *p) { return (F)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
GAL__INLINE S s_set1(int32_t x) { return (S)_mm256_set1_epi32(x); }
GAL__INLINE U i8_pairs(const void *p) { return (U)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)); }
GAL__INLINE U i8_look_up(U q, const int8_t table[16]) {
    const __m256i t = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table));
    return (U)_mm256_shuffle_epi8(t, (__m256i)q);
}

#define I8_LOADED(x) "+x"(x)
GAL__INLINE void i8_turn(U x[VW]) {
    V t[VW]; /* bits of floats that nothing computes with */
    GAL__UNROLL
    for (int i = 0; i < VW; i++) t[i] = (V)x[i];
    v_turn(t);
    GAL__UNROLL
    for (int i = 0; i < VW; i++) x[i] = (U)t[i];
}

#endif
