/* gemm_avx.c - matrix products of the level avx. 12 sums, 2 words of B, 1 of A and a product in 16 registers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vec_avx.h"

#include "kernels/cpu/gemm_vec8.h"

#include "kernels/cpu/gemm_body.h"
#include "kernels/cpu/gemm_rows.h"

static const gal__gemm_level level = { NR, NT, 8, 8, tile, few_rows };

static int64_t chunks(const void *args) { return gal__gemm_chunks(args, &level); }
static void run(const void *args, int64_t chunk, void *scratch) { gal__gemm_run(args, chunk, scratch, &level); }

static const gal_kernel gemm = { chunks, run };
GAL__EXPERTS_OF(experts, gemm)
void gal__avx_gemm_fill(gal_kernel_table *t) {
    t->k[GAL_K_GEMM] = gemm;
    t->k[GAL_K_EXPERTS] = (gal_kernel){ experts_chunks, experts_run };
}
