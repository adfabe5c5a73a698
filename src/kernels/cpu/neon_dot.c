/* neon_dot.c - the level neon with dot products of bytes: registers its families of kernels. Empty where the compiler
 * has no such target. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"

void gal_neon_dot_fill(gal_kernel_table *t) {
#ifdef GAL_CPU_NEON
    gal__neon_dot_i8_fill(t);
    gal__neon_dot_peaks_fill(t);
#else
    (void)t;
#endif
}
