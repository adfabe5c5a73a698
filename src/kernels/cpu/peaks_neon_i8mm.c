/* peaks_neon_i8mm.c - the peak of int8 with products of int8 matrices. SPDX-License-Identifier: Apache-2.0 */
#define i8_mac(sum, a, b) vmmlaq_s32(sum, a, b)
#include "kernels/cpu/peaks_neon_i8.h"

void gal__neon_i8mm_peaks_fill(gal_kernel_table *t) {
    t->peak[GAL_PEAK_I8] = (gal_peak){ dot_i8, 2 * SUMS * 32, "smmla" };
}
