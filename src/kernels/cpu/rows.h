/* rows.h - parts of the families that rows_*.c registers (cpu.h). SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_ROWS_H
#define GAL_KERNELS_CPU_ROWS_H

#include "kernels/cpu/cpu.h"

/* attend_*.c: ATTEND and its gradient. */
void gal__sse42_attend_fill(gal_kernel_table *t);
void gal__avx_attend_fill(gal_kernel_table *t);
void gal__avx2_attend_fill(gal_kernel_table *t);
void gal__avx512_attend_fill(gal_kernel_table *t);
void gal__avx512_bf16_attend_fill(gal_kernel_table *t);
void gal__neon_attend_fill(gal_kernel_table *t);

#endif
