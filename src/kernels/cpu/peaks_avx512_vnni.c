/* peaks_avx512_vnni.c - the peak of int8 dot products in one instruction. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/peaks.h"

#include <immintrin.h>

enum { SUMS = 16 };

static void dot_i8(const void *x, int64_t rounds, void *sink) {
    __m512i sum[SUMS], a = _mm512_loadu_si512(x), b = a;
    GAL__HIDE(b);
    GAL__UNROLL
    for (int j = 0; j < SUMS; j++) {
        sum[j] = _mm512_setzero_si512();
        GAL__HIDE(sum[j]); /* equal sums would be made one */
    }
    do {
        GAL__UNROLL
        for (int j = 0; j < SUMS; j++) sum[j] = _mm512_dpbusd_epi32(sum[j], a, b);
    } while (--rounds > 0);
    GAL__UNROLL
    for (int j = 1; j < SUMS; j++) sum[0] = _mm512_add_epi32(sum[0], sum[j]);
    _mm512_storeu_si512(sink, sum[0]);
}

void gal__avx512_vnni_peaks_fill(gal_kernel_table *t) {
    t->peak[GAL_PEAK_I8] = (gal_peak){ dot_i8, 2 * 64 * SUMS, "vpdpbusd" };
}
