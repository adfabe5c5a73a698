/* rows_avx2.c - kernels over rows and elements of the level avx2: the shared bodies over its vector.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/rows.h"

void gal__avx2_rows_fill(gal_kernel_table *t) { gal__avx2_attend_fill(t); }
