/* avx.c - the level avx: registers its families of kernels. Empty where the compiler has no such target.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"

void gal_avx_fill(gal_kernel_table *t) {
#ifdef GAL_CPU_X86
    gal__avx_gemm_fill(t);
    gal__avx_i8_fill(t);
    gal__avx_rows_fill(t);
    gal__avx_peaks_fill(t);
#else
    (void)t;
#endif
}
