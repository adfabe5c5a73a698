/* f8.c - see f8.h. Owns no state. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/f8.h"

#include <math.h>

float gal_e4m3_to_f32(uint8_t x) {
    int exponent = x >> 3 & 15, fraction = x & 7;
    float sign = x & 0x80 ? -1.0f : 1.0f;
    if (exponent == 15 && fraction == 7) return NAN;
    if (exponent == 0) return sign * ldexpf((float)fraction, -9);
    return sign * ldexpf((float)(8 + fraction), exponent - 10);
}

void gal_e4m3_dequantise(const uint8_t *x, int64_t rows, int64_t cols, const float *scale, int64_t block_rows,
                         int64_t block_cols, float *out) {
    float number[256];
    int64_t across = (cols + block_cols - 1) / block_cols;
    for (int i = 0; i < 256; i++) number[i] = gal_e4m3_to_f32((uint8_t)i);
    for (int64_t r = 0; r < rows; r++) {
        const float *s = scale + r / block_rows * across;
        for (int64_t from = 0; from < cols; from += block_cols) {
            int64_t to = GAL_MIN(from + block_cols, cols);
            float factor = s[from / block_cols];
            for (int64_t c = from; c < to; c++) out[r * cols + c] = number[x[r * cols + c]] * factor;
        }
    }
}
