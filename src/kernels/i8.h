/* i8.h - inside kernels/: a row of activations as small integers (kernels.h, GAL_K_QUANTISE). One source for all
 * levels, so that all make the same bytes: whole operations of f32 and nothing that a compiler may contract.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_I8_H
#define GAL_KERNELS_I8_H

#include "base/pool.h"
#include "kernels/kernels.h"
#include "tensor/pack.h"

#include <math.h>
#include <string.h>

/* Of the copies of a packed matrix, one a node, that of the thread whose scratch it is. */
static inline const void *gal__packed_near(const gal_mat *m, const void *scratch) {
    const size_t mirror = m->code->mirror;
    return mirror ? (const char *)m->packed + mirror * (size_t)gal_scratch_mirror(scratch) : m->packed;
}

/* Where the parts of a row of c columns begin, in bytes. */
static inline int64_t gal__i8_scale_at(int64_t c) { return c; }
static inline int64_t gal__i8_sum_at(int64_t c) { return c + c / GAL_I8_BLOCK * 4; }
static inline int64_t gal__i8_bias_at(int64_t c) { return c + 2 * (c / GAL_I8_BLOCK * 4); }
static inline int64_t gal__i8_sum16_at(int64_t c) { return c + 3 * (c / GAL_I8_BLOCK * 4); }
static inline int64_t gal__i8_bias16_at(int64_t c) { return gal__i8_sum16_at(c) + c / GAL_I8_HALF * 4; }

/* Columns of unit u, and row n of it, of `rows` rows with d columns. */
static inline int64_t gal__i8_cols(int64_t d, int64_t u) {
    const int64_t left = d - u * GAL_I8_UNIT;
    return left < GAL_I8_UNIT ? left : GAL_I8_UNIT;
}
static inline char *gal__i8_at(const void *base, int64_t rows, int64_t d, int64_t u, int64_t n) {
    return (char *)(uintptr_t)base + (size_t)(u * rows) * gal_i8_row_bytes(GAL_I8_UNIT) +
           (size_t)n * gal_i8_row_bytes(gal__i8_cols(d, u));
}

/* The parts of one row of a unit. */
typedef struct gal__i8_row {
    int8_t *q;
    float *scale, *sum, *sum16;
    int32_t *bias, *bias16;
} gal__i8_row;
static inline gal__i8_row gal__i8_row_at(const void *base, int64_t rows, int64_t d, int64_t u, int64_t n) {
    char *p = gal__i8_at(base, rows, d, u, n);
    const int64_t c = gal__i8_cols(d, u);
    return (gal__i8_row){ .q = (int8_t *)p,
                          .scale = (float *)(void *)(p + gal__i8_scale_at(c)),
                          .sum = (float *)(void *)(p + gal__i8_sum_at(c)),
                          .sum16 = (float *)(void *)(p + gal__i8_sum16_at(c)),
                          .bias = (int32_t *)(void *)(p + gal__i8_bias_at(c)),
                          .bias16 = (int32_t *)(void *)(p + gal__i8_bias16_at(c)) };
}

/* x[GAL_I8_BLOCK] -> block b of a row. */
static inline void gal__i8_block(const float *x, const gal__i8_row *row, int64_t b) {
    int8_t *q = row->q + b * GAL_I8_BLOCK;
    enum { INFINITE = 0x7f800000, SIGN = 0x7fffffff };
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
    int32_t total[2] = { 0 };
    for (int i = 0; i < GAL_I8_BLOCK; i++) {
        float v = (finite ? x[i] : 0.0f) * per_step + 12582912.0f; /* rounds to whole numbers */
        memcpy(&bits[i], &v, sizeof v);
        bits[i] -= GAL_I8_START;
    }
    for (int i = 0; i < GAL_I8_BLOCK; i++) q[i] = (int8_t)bits[i];
    for (int i = 0; i < GAL_I8_HALF; i++) total[0] += bits[i];
    for (int i = GAL_I8_HALF; i < GAL_I8_BLOCK; i++) total[1] += bits[i];
    const float scale = finite ? d : NAN;
    row->scale[b] = scale;
    row->sum[b] = scale * (float)(total[0] + total[1]);
    row->bias[b] = GAL_I8_START - GAL_I8_OFFSET * (total[0] + total[1]);
    for (int h = 0; h < 2; h++) {
        row->sum16[2 * b + h] = scale * (float)total[h];
        row->bias16[2 * b + h] = GAL_I8_START - GAL_I8_OFFSET * total[h];
    }
}

/* Row n of x, into the one or two rows that it becomes. */
static inline void gal__i8_quantise_row(const gal_k_quantise *a, int64_t n) {
    const int64_t rows = a->twice ? 2 : 1;
    float wide[GAL_I8_UNIT], left[GAL_I8_BLOCK];
    for (int64_t u = 0; u * GAL_I8_UNIT < a->d; u++) {
        const int64_t c = gal__i8_cols(a->d, u), at = n * a->d + u * GAL_I8_UNIT;
        const gal__i8_row row = gal__i8_row_at(a->q, rows * a->n, a->d, u, rows * n),
                          more = gal__i8_row_at(a->q, rows * a->n, a->d, u, rows * n + rows - 1);
        const float *x = wide;
        if (a->dt == GAL_F32)
            x = (const float *)a->x + at;
        else
            gal_convert(wide, GAL_F32, (const char *)a->x + (size_t)at * gal_dtype_bytes(a->dt), a->dt, c);
        for (int64_t b = 0; b < c / GAL_I8_BLOCK; b++) {
            const float *from = x + b * GAL_I8_BLOCK;
            gal__i8_block(from, &row, b);
            if (!a->twice) continue;
            for (int i = 0; i < GAL_I8_BLOCK; i++)
                left[i] = from[i] - row.scale[b] * (float)row.q[b * GAL_I8_BLOCK + i];
            gal__i8_block(left, &more, b);
        }
    }
}

/* Chunks of PACK: some groups of rows, enough of them to be worth a thread. */
static inline int64_t gal__pack_groups(const gal_k_pack *a) {
    const int64_t groups = (1 << 20) / ((int64_t)gal_pack_group_bytes(a->block, a->cols) + 1);
    return groups > 1 ? groups : 1;
}
static inline int64_t gal__pack_chunks(const gal_k_pack *a) {
    const int64_t each = gal__pack_groups(a), all = (a->rows + GAL_PACK_ROWS - 1) / GAL_PACK_ROWS;
    return (all + each - 1) / each;
}

/* Chunks of QUANTISE: some rows, none too short to be worth a thread. */
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
