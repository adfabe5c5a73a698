/* avx512_vnni.c - the level avx512_vnni: registers its families of kernels. Empty where the compiler has no such
 * target. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"

void gal_avx512_vnni_fill(gal_kernel_table *t) {
#ifdef GAL_CPU_X86
    gal__avx512_vnni_i8_fill(t);
    gal__avx512_vnni_peaks_fill(t);
#else
    (void)t;
#endif
}
