/* rows_avx512.c - kernels over rows and elements of the level avx512: the shared bodies over its vector.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/rows.h"

void gal__avx512_rows_fill(gal_kernel_table *t) { gal__avx512_attend_fill(t); }
