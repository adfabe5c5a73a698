/* cpu.h - private to kernels/cpu: the families of kernels that each level registers.
 *
 * A level's fill function (sse42.c, avx2.c, neon.c, ...) calls one function a family; what no family
 * registers stays as the table had it, which is ref. A file of a level is compiled with that level's flags
 * (kernels/CMakeLists.txt); where the compiler has no such target GAL_CPU_X86 or GAL_CPU_NEON is not defined, the
 * fill functions are empty and the families' files are left out. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_CPU_H
#define GAL_KERNELS_CPU_CPU_H

#include "kernels/kernels.h"

/* gemm_*.c: GAL_K_GEMM, GAL_K_EXPERTS. */
void gal__sse42_gemm_fill(gal_kernel_table *t);
void gal__avx_gemm_fill(gal_kernel_table *t);
void gal__avx2_gemm_fill(gal_kernel_table *t);
void gal__avx512_gemm_fill(gal_kernel_table *t);
void gal__avx512_bf16_gemm_fill(gal_kernel_table *t);
void gal__neon_gemm_fill(gal_kernel_table *t);

/* i8_*.c: GAL_K_QUANTISE, GAL_K_GEMM_I8, GAL_K_EXPERTS_I8. */
void gal__sse42_i8_fill(gal_kernel_table *t);
void gal__avx_i8_fill(gal_kernel_table *t);
void gal__avx2_i8_fill(gal_kernel_table *t);
void gal__avx_vnni_i8_fill(gal_kernel_table *t);
void gal__avx512_i8_fill(gal_kernel_table *t);
void gal__avx512_vnni_i8_fill(gal_kernel_table *t);
void gal__neon_i8_fill(gal_kernel_table *t);
void gal__neon_dot_i8_fill(gal_kernel_table *t);
void gal__neon_i8mm_i8_fill(gal_kernel_table *t);

/* rows_*.c: all kernels that walk rows or elements (norm, rope, embed, maps, attend, loss, optimiser). */
void gal__sse42_rows_fill(gal_kernel_table *t);
void gal__avx_rows_fill(gal_kernel_table *t);
void gal__avx2_rows_fill(gal_kernel_table *t);
void gal__avx512_rows_fill(gal_kernel_table *t);
void gal__neon_rows_fill(gal_kernel_table *t);

/* peaks_*.c: what the processor can do at best. */
void gal__sse42_peaks_fill(gal_kernel_table *t);
void gal__avx_peaks_fill(gal_kernel_table *t);
void gal__neon_peaks_fill(gal_kernel_table *t);
void gal__neon_dot_peaks_fill(gal_kernel_table *t);
void gal__neon_i8mm_peaks_fill(gal_kernel_table *t);
void gal__avx2_peaks_fill(gal_kernel_table *t);
void gal__avx512_peaks_fill(gal_kernel_table *t);
void gal__avx512_vnni_peaks_fill(gal_kernel_table *t);
void gal__avx512_bf16_peaks_fill(gal_kernel_table *t);

#endif
