/* avx512.c - the level avx512: registers its families of kernels. Empty where the compiler has no such target.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"

void gal_avx512_fill(gal_kernel_table *t) {
#ifdef GAL_CPU_X86
    gal__avx512_gemm_fill(t);
    gal__avx512_i8_fill(t);
    gal__avx512_rows_fill(t);
    gal__avx512_peaks_fill(t);
#else
    (void)t;
#endif
}
