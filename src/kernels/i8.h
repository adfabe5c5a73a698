/* i8.h - inside kernels/: a row of activations as small integers (kernels.h, GAL_K_QUANTISE). One source for all
 * levels, so that all make the same bytes: whole operations of f32 and nothing that a compiler may contract.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_I8_H
#define GAL_KERNELS_I8_H

#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

/* The parts of row n. */
typedef struct gal__i8_row {
    int8_t *q;
    float *scale, *sum;
} gal__i8_row;
static inline gal__i8_row gal__i8_row_at(const void *base, int64_t n, int64_t d) {
    char *p = (char *)(uintptr_t)base + (size_t)n * gal_i8_row_bytes(d);
    float *scale = (float *)(void *)(p + d);
    return (gal__i8_row){ (int8_t *)p, scale, scale + d / GAL_I8_BLOCK };
}

/* x[GAL_I8_BLOCK] -> q, scale, sum[2]. */
static inline void gal__i8_block(const float *x, int8_t *q, float *scale, float *sum) {
    enum { INFINITE = 0x7f800000, SIGN = 0x7fffffff, MAGIC = 0x4b400000 }; /* MAGIC: 1.5 * 2^23, where steps are 1 */
    int32_t bits[GAL_I8_BLOCK], most = 0;
    memcpy(bits, x, sizeof bits);
    for (int i = 0; i < GAL_I8_BLOCK; i++) { /* sizes order as their bits do */
        int32_t size = bits[i] & SIGN;
        most = size > most ? size : most;
    }
    float largest;
    memcpy(&largest, &most, sizeof largest);
    const bool finite = most < INFINITE, some = finite && largest >= GAL_I8_LEAST;
    const float d = some ? largest / 127.0f : 0.0f, per_step = some ? 127.0f / largest : 0.0f;
    for (int i = 0; i < GAL_I8_BLOCK; i++) {
        float v = (finite ? x[i] : 0.0f) * per_step + 12582912.0f; /* rounds to whole numbers */
        memcpy(&bits[i], &v, sizeof v);
        q[i] = (int8_t)(bits[i] - MAGIC);
    }
    *scale = finite ? d : NAN;
    for (int h = 0; h < 2; h++) {
        int32_t total = 0;
        for (int i = 0; i < GAL_I8_SUM; i++) total += q[GAL_I8_SUM * h + i];
        sum[h] = *scale * (float)total;
    }
}

/* Block b of row n of x, which is x[GAL_I8_BLOCK], into the one or two rows it becomes. */
static inline void gal__i8_put(const gal_k_quantise *a, int64_t n, int64_t b, float *x) {
    const int64_t rows = a->twice ? 2 : 1;
    for (int64_t r = 0; r < rows; r++) {
        const gal__i8_row row = gal__i8_row_at(a->q, rows * n + r, a->d);
        int8_t *q = row.q + b * GAL_I8_BLOCK;
        gal__i8_block(x, q, row.scale + b, row.sum + 2 * b);
        for (int i = 0; i < GAL_I8_BLOCK; i++) x[i] -= row.scale[b] * (float)q[i];
    }
}

/* Chunks of a launch: some rows, none too short to be worth a thread. */
static inline int64_t gal__i8_rows(const gal_k_quantise *a) {
    int64_t rows = 8192 / (a->d > 0 ? a->d : 1);
    return rows > 1 ? rows : 1;
}
static inline int64_t gal__i8_chunks(const void *args) {
    const gal_k_quantise *a = args;
    int64_t rows = gal__i8_rows(a);
    return (a->n + rows - 1) / rows;
}

#endif
