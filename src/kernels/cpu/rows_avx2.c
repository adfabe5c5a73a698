/* rows_avx2.c - kernels over rows and elements of the level avx2: the shared bodies over its vector.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/rows.h"

#include "base/pool.h"
/* In this order: each builds on the one before. */
/* clang-format off */
#include "kernels/cpu/vec_avx2.h"
#include "kernels/cpu/vmath.h"
#include "kernels/cpu/map_body.h"
#include "kernels/cpu/optim_body.h"
#include "kernels/cpu/rows_body.h"
#include "kernels/cpu/sinkhorn_body.h"
#include "kernels/cpu/combine_body.h"
/* clang-format on */

void gal__avx2_rows_fill(gal_kernel_table *t) {
    gal__avx2_attend_fill(t);
    map_fill(t);
    optim_fill(t);
    rows_fill(t);
    sinkhorn_fill(t);
    combine_fill(t);
}
