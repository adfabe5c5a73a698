/* avx2.c - the level avx2: registers its families of kernels. Empty where the compiler has no such target.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"

void gal_avx2_fill(gal_kernel_table *t) {
#ifdef GAL_CPU_X86
    gal__avx2_gemm_fill(t);
    gal__avx2_i8_fill(t);
    gal__avx2_rows_fill(t);
    gal__avx2_peaks_fill(t);
#else
    (void)t;
#endif
}
