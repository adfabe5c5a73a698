/* vec_sse42.h - the vector of 8 floats for the shared kernel bodies with SSE4.2: a pair of registers; see vec_avx2.h,
 * which defines the same names with the same meaning. No FMA: products are rounded before they are added.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_VEC_SSE42_H
#define GAL_KERNELS_CPU_VEC_SSE42_H

#include <nmmintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define VINLINE static inline __attribute__((always_inline))

typedef struct V {
    __m128 l, h;
} V;
enum { VL = 8, TILE_COLS = 1 /* 4 x 2 sums, 2 + 1 operands and a product of 16 registers */ };

VINLINE V v_of(__m128 l, __m128 h) { return (V){ l, h }; }
VINLINE __m128 v_low(V a) { return a.l; }
VINLINE __m128 v_high(V a) { return a.h; }

/* The same of both halves. */
#define V_EACH2(f, a, b) ((V){ f((a).l, (b).l), f((a).h, (b).h) })

VINLINE V v_set1(float x) { return v_of(_mm_set1_ps(x), _mm_set1_ps(x)); }
VINLINE V v_zero(void) { return v_of(_mm_setzero_ps(), _mm_setzero_ps()); }
VINLINE V v_add(V a, V b) { return V_EACH2(_mm_add_ps, a, b); }
VINLINE V v_sub(V a, V b) { return V_EACH2(_mm_sub_ps, a, b); }
VINLINE V v_mul(V a, V b) { return V_EACH2(_mm_mul_ps, a, b); }
VINLINE V v_div(V a, V b) { return V_EACH2(_mm_div_ps, a, b); }
VINLINE V v_max(V a, V b) { return V_EACH2(_mm_max_ps, a, b); }
VINLINE V v_min(V a, V b) { return V_EACH2(_mm_min_ps, a, b); }
VINLINE V v_sqrt(V a) { return v_of(_mm_sqrt_ps(a.l), _mm_sqrt_ps(a.h)); }
VINLINE __m128 v4_round(__m128 a) { return _mm_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VINLINE V v_round(V a) { return v_of(v4_round(a.l), v4_round(a.h)); }
VINLINE V v_abs(V a) { return V_EACH2(_mm_andnot_ps, v_set1(-0.0F), a); }
VINLINE V v_by_sign(V x, V pos, V neg) {
    return v_of(_mm_blendv_ps(pos.l, neg.l, x.l), _mm_blendv_ps(pos.h, neg.h, x.h));
}
VINLINE V v_swap_pairs(V a) { return v_of(_mm_shuffle_ps(a.l, a.l, 0xB1), _mm_shuffle_ps(a.h, a.h, 0xB1)); }
VINLINE V v_load(const float *p) { return v_of(_mm_loadu_ps(p), _mm_loadu_ps(p + 4)); }
VINLINE void v_store(float *p, V x) {
    _mm_storeu_ps(p, x.l);
    _mm_storeu_ps(p + 4, x.h);
}

#include "kernels/cpu/vec_halves.h"

#endif
