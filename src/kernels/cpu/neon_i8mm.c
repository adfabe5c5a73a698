/* neon_i8mm.c - the level neon with products of int8 matrices: registers its families of kernels. Empty where the
 * compiler has no such target. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"

void gal_neon_i8mm_fill(gal_kernel_table *t) {
#ifdef GAL_CPU_NEON
    gal__neon_i8mm_i8_fill(t);
    gal__neon_i8mm_peaks_fill(t);
#else
    (void)t;
#endif
}
