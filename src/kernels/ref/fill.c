/* fill.c - the reference's table, whole by construction. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/ref/ref.h"

void gal_ref_fill(gal_kernel_table *t) {
    *t = (gal_kernel_table){ .name = "ref" };
    gal__ref_fill_gemm(t);
    gal__ref_fill_i8(t);
    gal__ref_fill_embed(t);
    gal__ref_fill_norm(t);
    gal__ref_fill_rope(t);
    gal__ref_fill_attend(t);
    gal__ref_fill_act(t);
    gal__ref_fill_softmax(t);
    gal__ref_fill_moe(t);
    gal__ref_fill_loss(t);
    gal__ref_fill_peaks(t);
    gal__ref_fill_optim(t);
    for (int i = 0; i < GAL_K_COUNT; i++) GAL_ASSERT(t->k[i].chunks && t->k[i].run);
}
