/* avx512_bf16.c - the level avx512_bf16: registers its families of kernels. Empty where the compiler has no such
 * target. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/rows.h"

void gal_avx512_bf16_fill(gal_kernel_table *t) {
#ifdef GAL_CPU_X86
    gal__avx512_bf16_attend_fill(t);
    gal__avx512_bf16_gemm_fill(t);
    gal__avx512_bf16_peaks_fill(t);
#else
    (void)t;
#endif
}
