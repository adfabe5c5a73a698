/* peaks_avx.c - the peaks of AVX alone: floats in 256 bits, where a multiply-add is two instructions; all else goes
 * through 128 bits, as at the level sse42 below. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/peaks.h"

#include <immintrin.h>

enum { SUMS = 12 };

static void dot_f32(const void *x, int64_t rounds, void *sink) {
    const float *in = x;
    __m256 sum[SUMS], a = _mm256_set1_ps(in[0]), b = _mm256_set1_ps(in[1]);
    GAL__UNROLL
    for (int j = 0; j < SUMS; j++) {
        sum[j] = _mm256_setzero_ps();
        GAL__HIDE(sum[j]); /* equal sums would be made one */
    }
    do {
        GAL__UNROLL
        for (int j = 0; j < SUMS; j++) {
            __m256 product = _mm256_mul_ps(a, b);
            GAL__HIDE(product); /* otherwise multiplied once, before the loop */
            sum[j] = _mm256_add_ps(sum[j], product);
        }
    } while (--rounds > 0);
    GAL__UNROLL
    for (int j = 1; j < SUMS; j++) sum[0] = _mm256_add_ps(sum[0], sum[j]);
    _mm256_storeu_ps(sink, sum[0]);
}

void gal__avx_peaks_fill(gal_kernel_table *t) {
    t->peak[GAL_PEAK_F32] = (gal_peak){ dot_f32, 2 * SUMS * 8, "256-bit products and sums" };
}
