/* attend_avx512_bf16.c - the gradient of attention in bf16, with the processor's dot products of bf16 pairs; relative
 * positions and other types are avx512's. SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"
#include "kernels/cpu/rows.h"

#include <float.h>

/* In this order: each builds on the one before. */
/* clang-format off */
#include "kernels/cpu/vec_avx512.h"
#define GRAD_PAIRS
#define TILE_MAC(a, b, sum) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
/* Words of (a, b): a in the lower half. */
VINLINE V v_pairs(V16 a, V16 b) {
    const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16);
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_cvtepu16_epi32(a), high));
}
VINLINE V16 v_round16(V x) { return (V16)_mm512_cvtneps_pbh(x); }
#include "kernels/cpu/vmath.h"
#include "kernels/cpu/tile.h"

static gal_kernel other(void) {
    gal_kernel_table t = { 0 };
    gal__avx512_attend_fill(&t);
    return t.k[GAL_K_ATTEND_GRAD];
}
static int64_t grad_other_chunks(const void *args) { return other().chunks(args); }
static void grad_other_run(const void *args, int64_t chunk, void *scratch) { other().run(args, chunk, scratch); }

#include "kernels/cpu/relative_body.h"
#include "kernels/cpu/attend_grad_body.h"
/* clang-format on */

void gal__avx512_bf16_attend_fill(gal_kernel_table *t) {
    t->k[GAL_K_ATTEND_GRAD] = (gal_kernel){ grad_chunks, grad_chunk };
}
