/* rows_avx2.c - kernels over rows and elements of the level avx2. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"

void gal__avx2_rows_fill(gal_kernel_table *t) { (void)t; }
