/* vec_avx.h - the vector of 8 floats for the shared kernel bodies with AVX alone (Sandy Bridge): floats in one
 * register, integers in halves of it; see vec_avx2.h, which defines the same names with the same meaning. No FMA:
 * products are rounded before they are added. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_VEC_AVX_H
#define GAL_KERNELS_CPU_VEC_AVX_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define VINLINE static inline __attribute__((always_inline))

typedef __m256 V;
enum { VL = 8, TILE_COLS = 2 /* 4 x 2 sums, 2 + 1 operands and a product of 16 registers */ };

VINLINE V v_of(__m128 l, __m128 h) { return _mm256_insertf128_ps(_mm256_castps128_ps256(l), h, 1); }
VINLINE __m128 v_low(V a) { return _mm256_castps256_ps128(a); }
VINLINE __m128 v_high(V a) { return _mm256_extractf128_ps(a, 1); }

VINLINE V v_set1(float x) { return _mm256_set1_ps(x); }
VINLINE V v_zero(void) { return _mm256_setzero_ps(); }
VINLINE V v_add(V a, V b) { return _mm256_add_ps(a, b); }
VINLINE V v_sub(V a, V b) { return _mm256_sub_ps(a, b); }
VINLINE V v_mul(V a, V b) { return _mm256_mul_ps(a, b); }
VINLINE V v_div(V a, V b) { return _mm256_div_ps(a, b); }
VINLINE V v_max(V a, V b) { return _mm256_max_ps(a, b); }
VINLINE V v_min(V a, V b) { return _mm256_min_ps(a, b); }
VINLINE V v_sqrt(V a) { return _mm256_sqrt_ps(a); }
VINLINE V v_round(V a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VINLINE V v_abs(V a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a); }
VINLINE V v_by_sign(V x, V pos, V neg) { return _mm256_blendv_ps(pos, neg, x); }
VINLINE V v_swap_pairs(V a) { return _mm256_permute_ps(a, 0xB1); }
VINLINE V v_load(const float *p) { return _mm256_loadu_ps(p); }
VINLINE void v_store(float *p, V x) { _mm256_storeu_ps(p, x); }

#include "kernels/cpu/vec_halves.h"

#endif
