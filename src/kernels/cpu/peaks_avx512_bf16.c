/* peaks_avx512_bf16.c - the peak of the processor's dot products of bf16 pairs. SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/peaks.h"

#include <immintrin.h>

enum { SUMS = 16 };

static void dot_bf16(const void *x, int64_t rounds, void *sink) {
    __m512i a = _mm512_loadu_si512(x), b = a;
    __m512 sum[SUMS];
    GAL__HIDE(b);
    GAL__UNROLL
    for (int j = 0; j < SUMS; j++) {
        sum[j] = _mm512_setzero_ps();
        GAL__HIDE(sum[j]); /* equal sums would be made one */
    }
    do {
        GAL__UNROLL
        for (int j = 0; j < SUMS; j++) sum[j] = _mm512_dpbf16_ps(sum[j], (__m512bh)a, (__m512bh)b);
    } while (--rounds > 0);
    GAL__UNROLL
    for (int j = 1; j < SUMS; j++) sum[0] = _mm512_add_ps(sum[0], sum[j]);
    _mm512_storeu_ps(sink, sum[0]);
}

void gal__avx512_bf16_peaks_fill(gal_kernel_table *t) {
    t->peak[GAL_PEAK_BF16] = (gal_peak){ dot_bf16, 2 * 32 * SUMS, "vdpbf16ps" };
}
