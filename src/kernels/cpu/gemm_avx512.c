/* gemm_avx512.c - matrix products in f32 of the level avx512; bf16 products are rounded and multiplied in f32.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vec_avx512.h"

#include "kernels/cpu/blocks_x86.h"
#define MR 14 /* 28 sums, 2 words of B and 1 of A in 32 registers */
#include "kernels/cpu/gemm_vec.h"

#include "kernels/cpu/gemm_f32_words.h"

#include "kernels/cpu/gemm_body.h"
#include "kernels/cpu/gemm_dots.h"
#include "kernels/cpu/gemm_rows.h"

/* Also what gemm_avx512_bf16.c does not do itself. */
const gal__gemm_level gal__gemm_avx512 = { .nr = NR,
                                           .nt = NT,
                                           .f32 = 2,
                                           .bf16 = 2,
                                           .few = 3,
                                           .some = GAL__GEMM_SOME,
                                           .run_tile = tile,
                                           .run_few = few_rows,
                                           .run_some = some_rows };
#define level gal__gemm_avx512

#include "kernels/cpu/gemm_fill.h"

void gal__avx512_gemm_fill(gal_kernel_table *t) { gemm_fill(t); }
