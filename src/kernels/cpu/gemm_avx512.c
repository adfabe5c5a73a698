/* gemm_avx512.c - matrix products of the level avx512. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"

void gal__avx512_gemm_fill(gal_kernel_table *t) { (void)t; }
