/* gemm_fill.h - the end of a level's file of products: its entries in the table. Before it stands `level`, a
 * gal__gemm_level. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_GEMM_FILL_H
#define GAL_KERNELS_CPU_GEMM_FILL_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

static int64_t gemm_chunks(const void *args) { return gal__gemm_chunks(args, &level); }
static void gemm_run(const void *args, int64_t chunk, void *scratch) { gal__gemm_run(args, chunk, scratch, &level); }

static const gal_kernel gemm = { gemm_chunks, gemm_run };
GAL__EXPERTS_OF(experts, gemm)

GAL__INLINE void gemm_fill(gal_kernel_table *t) {
    t->k[GAL_K_GEMM] = gemm;
    t->k[GAL_K_EXPERTS] = (gal_kernel){ experts_chunks, experts_run };
}

#endif
