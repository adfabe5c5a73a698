/* peaks_neon_i8.h - the peak of int8 on NEON by i8_mac(sum, a, b), which the including file defines before.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_PEAKS_NEON_I8_H
#define GAL_KERNELS_CPU_PEAKS_NEON_I8_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/peaks.h"

#include <arm_neon.h>

enum { SUMS = 16 };

static void dot_i8(const void *x, int64_t rounds, void *sink) {
    const int8_t *in = x;
    const int8x16_t a = vdupq_n_s8(in[0]), b = vdupq_n_s8(in[1]);
    int32x4_t sum[SUMS];
    GAL__UNROLL
    for (int j = 0; j < SUMS; j++) {
        sum[j] = vdupq_n_s32(0);
        GAL__HIDE(sum[j]); /* equal sums would be made one */
    }
    do {
        GAL__UNROLL
        for (int j = 0; j < SUMS; j++) sum[j] = i8_mac(sum[j], a, b);
    } while (--rounds > 0);
    GAL__UNROLL
    for (int j = 1; j < SUMS; j++) sum[0] = vaddq_s32(sum[0], sum[j]);
    vst1q_s32(sink, sum[0]);
}

#endif
