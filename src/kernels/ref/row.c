/* row.c - rows of any float format to doubles and back: the choice of format is made once a row, not once a number.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/ref/ref.h"
#include "tensor/blocks.h"

enum { BLOCK = 32 }; /* numbers in one, of all types that lie in blocks */

/* Element `at` of an array; never written through. */
static const void *at_of(const void *p, gal_dtype dt, int64_t at) { return (const char *)p + gal_dtype_span(dt, at); }

/* Numbers [i, i + BLOCK) of a row in blocks. */
static void block_of(float out[BLOCK], const void *row, gal_dtype dt, int64_t i) {
    gal_block_dequantise(gal_dtype_block(dt), at_of(row, dt, i), out, BLOCK);
}

void gal__ref_load(double *out, const void *p, gal_dtype dt, int64_t at, int64_t n) {
    gal_convert(out, GAL_F64, at_of(p, dt, at), dt, n);
}

void gal__ref_store(void *p, gal_dtype dt, int64_t at, const double *x, int64_t n) {
    gal_convert((char *)p + at * (int64_t)gal_dtype_bytes(dt), dt, x, GAL_F64, n);
}

void gal__ref_load_line(double *out, int64_t step, const void *p, gal_dtype dt, int64_t at, int64_t stride,
                        int64_t n) {
    const uint16_t *h = p;
    if (dt == GAL_F32) {
        for (int64_t i = 0; i < n; i++) out[i * step] = (double)((const float *)p)[at + i * stride];
    } else if (dt == GAL_BF16) {
        for (int64_t i = 0; i < n; i++) out[i * step] = (double)gal_bf16_to_f32(h[at + i * stride]);
    } else {
        for (int64_t i = 0; i < n; i++) out[i * step] = gal__ref_get(p, dt, at + i * stride);
    }
}

void gal__ref_store_or_add(void *p, gal_dtype dt, int64_t at, double *x, int64_t n, bool accumulate) {
    if (accumulate) gal__ref_axpy(x, 1.0, p, dt, at, n);
    gal__ref_store(p, dt, at, x, n);
}

void gal__ref_round(double *x, gal_dtype dt, int64_t n) {
    if (dt == GAL_F64) return;
    if (dt == GAL_F32) {
        for (int64_t i = 0; i < n; i++) x[i] = (double)(float)x[i];
        return;
    }
    double one; /* room for any format */
    for (int64_t i = 0; i < n; i++) {
        gal__ref_put(&one, dt, 0, x[i]);
        x[i] = gal__ref_get(&one, dt, 0);
    }
}

double gal__ref_dot(const double *a, const void *p, gal_dtype dt, int64_t at, int64_t n) {
    double sum = 0.0;
    const void *row = at_of(p, dt, at);
    if (dt == GAL_F32) {
        for (int64_t i = 0; i < n; i++) sum += a[i] * (double)((const float *)row)[i];
    } else if (dt == GAL_BF16) {
        for (int64_t i = 0; i < n; i++) sum += a[i] * (double)gal_bf16_to_f32(((const uint16_t *)row)[i]);
    } else if (gal_dtype_in_blocks(dt)) {
        float x[BLOCK];
        for (int64_t i = 0; i < n; i++) {
            if (i % BLOCK == 0) block_of(x, row, dt, i);
            sum += a[i] * (double)x[i % BLOCK];
        }
    } else {
        for (int64_t i = 0; i < n; i++) sum += a[i] * gal__ref_get(row, dt, i);
    }
    return sum;
}

void gal__ref_axpy(double *y, double a, const void *p, gal_dtype dt, int64_t at, int64_t n) {
    const void *row = at_of(p, dt, at);
    if (dt == GAL_F32) {
        for (int64_t i = 0; i < n; i++) y[i] += a * (double)((const float *)row)[i];
    } else if (dt == GAL_BF16) {
        for (int64_t i = 0; i < n; i++) y[i] += a * (double)gal_bf16_to_f32(((const uint16_t *)row)[i]);
    } else if (gal_dtype_in_blocks(dt)) {
        float x[BLOCK];
        for (int64_t i = 0; i < n; i++) {
            if (i % BLOCK == 0) block_of(x, row, dt, i);
            y[i] += a * (double)x[i % BLOCK];
        }
    } else {
        for (int64_t i = 0; i < n; i++) y[i] += a * gal__ref_get(row, dt, i);
    }
}
