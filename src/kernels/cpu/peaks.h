/* peaks.h - private to the levels' peaks: small things that all of them need. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_PEAKS_H
#define GAL_KERNELS_CPU_PEAKS_H

#include "kernels/cpu/gemm.h"

/* From here on the compiler does not know what v holds, so it computes with it as with a number from memory. */
#if defined(__aarch64__)
#define GAL__HIDE(v) __asm__ volatile("" : "+w"(v))
#else
#define GAL__HIDE(v) __asm__ volatile("" : "+x"(v))
#endif

#endif
