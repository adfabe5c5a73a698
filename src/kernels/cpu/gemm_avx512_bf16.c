/* gemm_avx512_bf16.c - matrix products of the level avx512_bf16. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"

void gal__avx512_bf16_gemm_fill(gal_kernel_table *t) { (void)t; }
