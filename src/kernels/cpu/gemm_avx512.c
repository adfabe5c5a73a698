/* gemm_avx512.c - matrix products in f32 of the level avx512; bf16 products are rounded and multiplied in f32.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

#include "kernels/cpu/blocks_x86.h"
#include "kernels/cpu/gemm_vec512.h"

#define UNIT 1
#define mac(acc, a, b) f_fma(a, b, acc)

#include "kernels/cpu/gemm_f32_words.h"

#include "kernels/cpu/gemm_body.h"
#include "kernels/cpu/gemm_rows.h"

const gal__gemm_level gal__gemm_avx512 = { NR, NT, 2, 2, tile, few_rows };

static int64_t chunks(const void *args) { return gal__gemm_chunks(args, &gal__gemm_avx512); }
static void run(const void *args, int64_t chunk, void *scratch) {
    gal__gemm_run(args, chunk, scratch, &gal__gemm_avx512);
}

static const gal_kernel gemm = { chunks, run };
GAL__EXPERTS_OF(experts, gemm)
void gal__avx512_gemm_fill(gal_kernel_table *t) {
    t->k[GAL_K_GEMM] = gemm;
    t->k[GAL_K_EXPERTS] = (gal_kernel){ experts_chunks, experts_run };
}
