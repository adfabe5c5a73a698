/* gemm_avx2.c - matrix products of the level avx2. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"

void gal__avx2_gemm_fill(gal_kernel_table *t) { (void)t; }
