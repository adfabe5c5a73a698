/* sse42.c - the level sse42: registers its families of kernels. Empty where the compiler has no such target.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"

void gal_sse42_fill(gal_kernel_table *t) {
#ifdef GAL_CPU_X86
    gal__sse42_gemm_fill(t);
    gal__sse42_i8_fill(t);
    gal__sse42_rows_fill(t);
    gal__sse42_peaks_fill(t);
#else
    (void)t;
#endif
}
