/* gemm_avx.c - matrix products of the level avx. 12 sums, 2 words of B, 1 of A and a product in 16 registers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vec_avx.h"

#define MR 6
#include "kernels/cpu/gemm_vec.h"

#include "kernels/cpu/gemm_f32_words.h"

#include "kernels/cpu/gemm_body.h"
#include "kernels/cpu/gemm_rows.h"

static const gal__gemm_level level = {
    .nr = NR, .nt = NT, .f32 = 8, .bf16 = 8, .few = GAL__GEMM_FEW, .run_tile = tile, .run_few = few_rows
};

#include "kernels/cpu/gemm_fill.h"

void gal__avx_gemm_fill(gal_kernel_table *t) { gemm_fill(t); }
