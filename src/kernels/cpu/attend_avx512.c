/* attend_avx512.c - attention and its gradient of the level avx512: the shared bodies over its vector.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"
#include "kernels/cpu/rows.h"

#include <float.h>

/* In this order: each builds on the one before. */
/* clang-format off */
#include "kernels/cpu/vec_avx512.h"
#include "kernels/cpu/vmath.h"
#include "kernels/cpu/tile.h"
#include "kernels/cpu/turn.h"
#define other_chunks v_ref_chunks /* what the bodies do not take */
#define other_run v_ref_run
#include "kernels/cpu/attend_body.h"
#include "kernels/cpu/attend_grad_body.h"
/* clang-format on */

void gal__avx512_attend_fill(gal_kernel_table *t) {
    t->k[GAL_K_ATTEND] = (gal_kernel){ attend_chunks, attend_chunk };
    t->k[GAL_K_ATTEND_JOIN] = (gal_kernel){ join_chunks, join_chunk };
    t->k[GAL_K_ATTEND_GRAD] = (gal_kernel){ grad_chunks, grad_chunk };
}
