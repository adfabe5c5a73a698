/* gemm_avx2.c - matrix products of the level avx2 (with FMA and F16C); bf16 products are rounded and multiplied in
 * f32. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vec_avx2.h"

#include "kernels/cpu/blocks_x86.h"
#define MR 6 /* 12 sums, 2 words of B and 1 of A in 16 registers */
#include "kernels/cpu/gemm_vec.h"

#include "kernels/cpu/gemm_f32_words.h"

#include "kernels/cpu/gemm_body.h"
#include "kernels/cpu/gemm_dots.h"
#include "kernels/cpu/gemm_rows.h"

static const gal__gemm_level level = { .nr = NR,
                                       .nt = NT,
                                       .f32 = 4,
                                       .bf16 = 4,
                                       .few = 3,
                                       .some = GAL__GEMM_SOME,
                                       .run_tile = tile,
                                       .run_few = few_rows,
                                       .run_some = some_rows };

#include "kernels/cpu/gemm_fill.h"

void gal__avx2_gemm_fill(gal_kernel_table *t) { gemm_fill(t); }
