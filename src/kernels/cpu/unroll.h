/* unroll.h - private to kernels/cpu: what is to be inlined and unrolled whatever the optimisation level's own limits
 * say. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_UNROLL_H
#define GAL_KERNELS_CPU_UNROLL_H

#define GAL__INLINE static inline __attribute__((always_inline))
/* Loops over registers must disappear whatever the optimisation level's own limits; one that goes through memory is
 * ROLLED where it is for the processor to see that its loads go on evenly. */
#if defined(__clang__)
#define GAL__UNROLL _Pragma("clang loop unroll(full)")
#define GAL__UNROLL_4 _Pragma("clang loop unroll_count(4)")
#define GAL__ROLLED _Pragma("clang loop unroll(disable)")
#else
#define GAL__UNROLL _Pragma("GCC unroll 16")
#define GAL__UNROLL_4 _Pragma("GCC unroll 4")
#define GAL__ROLLED _Pragma("GCC unroll 1")
#endif

#endif
