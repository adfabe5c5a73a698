/* attend_avx512_bf16.c - attention without a cache and its gradient in bf16, with the processor's dot products of
 * bf16 pairs; caches, relative positions and other types are avx512's. SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"
#include "kernels/cpu/rows.h"

#include <float.h>

static gal_kernel other(gal_kernel_id id) {
    gal_kernel_table t = { 0 };
    gal__avx512_attend_fill(&t);
    return t.k[id];
}
static int64_t other_chunks(gal_kernel_id id, const void *args) { return other(id).chunks(args); }
static void other_run(gal_kernel_id id, const void *args, int64_t chunk, void *scratch) {
    other(id).run(args, chunk, scratch);
}

/* In this order: each builds on the one before. */
/* clang-format off */
#define TILE_PAIRS
#include "kernels/cpu/vec_avx512.h"
#include "kernels/cpu/vmath.h"
#include "kernels/cpu/tile.h"
#include "kernels/cpu/turn.h"
#include "kernels/cpu/attend_body.h"
#include "kernels/cpu/attend_grad_body.h"
/* clang-format on */

void gal__avx512_bf16_attend_fill(gal_kernel_table *t) {
    t->k[GAL_K_ATTEND] = (gal_kernel){ attend_chunks, attend_chunk };
    t->k[GAL_K_ATTEND_GRAD] = (gal_kernel){ grad_chunks, grad_chunk };
}
