/* gemm_avx.c - matrix products of the level avx. 12 sums, 2 words of B, 1 of A and a product in 16 registers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vec_avx.h"

#include "kernels/cpu/gemm_vec8.h"

#include "kernels/cpu/gemm_body.h"
#include "kernels/cpu/gemm_rows.h"

static const gal__gemm_level level = { NR, NT, 8, 8, GAL__GEMM_ROWS, 0, tile, few_rows, NULL };

#include "kernels/cpu/gemm_fill.h"

void gal__avx_gemm_fill(gal_kernel_table *t) { gemm_fill(t); }
