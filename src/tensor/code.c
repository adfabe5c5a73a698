/* code.c - weights in blocks: their sizes, and their numbers one row at a time. SPDX-License-Identifier: Apache-2.0
 */
#include "tensor/blocks.h"
#include "tensor/f8.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { LARGEST_BLOCK = 256, PART = 64 };

const char *gal_code_name(const gal_code *code) {
    return code->block == GAL_BLOCK_F8_E4M3 ? "F8_E4M3" : gal_block_info_of(code->block)->name;
}

size_t gal_code_bytes(const gal_code *code, int64_t n) {
    if (code->block == GAL_BLOCK_F8_E4M3) return (size_t)n;
    const gal_block_info *info = gal_block_info_of(code->block);
    return (size_t)(n / info->elements) * info->bytes;
}

static void read_f8(const gal_code *c, const uint8_t *row, int64_t r, int64_t from, int64_t n, float *out) {
    const float *scales = c->scales + r / c->scale_rows * c->across;
    for (int64_t i = 0; i < n; i++) out[i] = gal_e4m3_to_f32(row[from + i]) * scales[(from + i) / c->scale_cols];
}

void gal_code_read(const gal_code *code, const void *data, int64_t cols, int64_t row, int64_t from, int64_t n,
                   float *out) {
    const uint8_t *p = (const uint8_t *)data + (size_t)row * gal_code_bytes(code, cols);
    if (code->block == GAL_BLOCK_F8_E4M3) {
        read_f8(code, p, row, from, n, out);
        return;
    }
    const gal_block_info *info = gal_block_info_of(code->block);
    const int64_t e = info->elements;
    float whole[LARGEST_BLOCK];
    GAL_ASSERT(e <= LARGEST_BLOCK);
    for (const int64_t end = from + n; from < end;) {
        const int64_t in = from % e, some = GAL_MIN(e - in, end - from);
        const uint8_t *block = p + (size_t)(from / e) * info->bytes;
        if (some == e) {
            gal_block_dequantise(code->block, block, out, e);
        } else {
            gal_block_dequantise(code->block, block, whole, e);
            memcpy(out, whole + in, (size_t)some * sizeof *out);
        }
        from += some;
        out += some;
    }
}

/* The largest number is 448: scales that could make it infinite are looked at. */
static bool f8_finite(const gal_code *c, const uint8_t *row, int64_t cols, int64_t r) {
    const float *scales = c->scales + r / c->scale_rows * c->across;
    int64_t at = 0;
    int nan = 0;
    for (int64_t j = 0; j < c->across; j++) nan |= !(fabsf(scales[j]) <= FLT_MAX / 512);
    for (; at + PART <= cols && !nan; at += PART) {
        uint8_t any = 0;
        for (int i = 0; i < PART; i++) any |= (row[at + i] & 0x7f) == 0x7f;
        nan = any;
    }
    for (; at < cols && !nan; at++) nan = (row[at] & 0x7f) == 0x7f;
    return !nan;
}

bool gal_code_row_finite(const gal_code *code, const void *data, int64_t cols, int64_t row) {
    const uint8_t *p = (const uint8_t *)data + (size_t)row * gal_code_bytes(code, cols);
    if (code->block == GAL_BLOCK_F8_E4M3) return f8_finite(code, p, cols, row);
    return gal_block_scales_finite(code->block, p, cols);
}
