/* peaks_neon_i8mm.c - the peak of int8 with products of int8 matrices. SPDX-License-Identifier: Apache-2.0 */
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
        for (int j = 0; j < SUMS; j++) sum[j] = vmmlaq_s32(sum[j], a, b);
    } while (--rounds > 0);
    GAL__UNROLL
    for (int j = 1; j < SUMS; j++) sum[0] = vaddq_s32(sum[0], sum[j]);
    vst1q_s32(sink, sum[0]);
}

void gal__neon_i8mm_peaks_fill(gal_kernel_table *t) {
    t->peak[GAL_PEAK_I8] = (gal_peak){ dot_i8, 2 * SUMS * 32, "smmla" };
}
