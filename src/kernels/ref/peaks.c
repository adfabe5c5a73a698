/* peaks.c - the peaks of plain C, which the compiler may turn into whatever vectors the target always has. The levels
 * replace them; a processor without a level is measured with these. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/ref/ref.h"

#include <string.h>

enum { LANES = 64, SINK = GAL_PEAK_SINK_BYTES / 4 };

static void read_bytes(const void *x, int64_t rounds, void *sink) {
    uint64_t sum[8] = { 0 };
    const unsigned char *p = x;
    for (int64_t i = 0; i < rounds; i++, p += sizeof sum) {
        uint64_t line[8];
        memcpy(line, p, sizeof line);
        for (int j = 0; j < 8; j++) sum[j] += line[j];
    }
    memcpy(sink, sum, sizeof sum);
}

static void fold(float *sum, void *sink) {
    for (int j = SINK; j < LANES; j++) sum[j % SINK] += sum[j];
    memcpy(sink, sum, GAL_PEAK_SINK_BYTES);
}

static void dot_f32(const void *x, int64_t rounds, void *sink) {
    const float *a = x;
    float sum[LANES] = { 0 };
    for (int64_t i = 0; i < rounds; i++)
        for (int j = 0; j < LANES; j++) sum[j] += a[j] * a[j + LANES];
    fold(sum, sink);
}

static void dot_bf16(const void *x, int64_t rounds, void *sink) {
    const uint16_t *a = x;
    float sum[LANES] = { 0 };
    for (int64_t i = 0; i < rounds; i++)
        for (int j = 0; j < LANES; j++) {
            uint32_t l = (uint32_t)a[j] << 16, r = (uint32_t)a[j + LANES] << 16;
            float lf, rf;
            memcpy(&lf, &l, sizeof lf);
            memcpy(&rf, &r, sizeof rf);
            sum[j] += lf * rf;
        }
    fold(sum, sink);
}

static void dot_i8(const void *x, int64_t rounds, void *sink) {
    const int8_t *a = x;
    int32_t sum[LANES] = { 0 };
    for (int64_t i = 0; i < rounds; i++)
        for (int j = 0; j < LANES; j++) sum[j] += a[j] * a[j + LANES];
    for (int j = SINK; j < LANES; j++) sum[j % SINK] += sum[j];
    memcpy(sink, sum, GAL_PEAK_SINK_BYTES);
}

void gal__ref_fill_peaks(gal_kernel_table *t) {
    t->peak[GAL_PEAK_READ] = (gal_peak){ read_bytes, 64, "plain C" };
    t->peak[GAL_PEAK_F32] = (gal_peak){ dot_f32, 2 * LANES, "plain C" };
    t->peak[GAL_PEAK_BF16] = (gal_peak){ dot_bf16, 2 * LANES, "plain C, widened" };
    t->peak[GAL_PEAK_I8] = (gal_peak){ dot_i8, 2 * LANES, "plain C" };
}
