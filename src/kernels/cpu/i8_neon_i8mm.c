/* i8_neon_i8mm.c - products of small integers with products of int8 matrices (smmla: 2 x 8 by 8 x 2), on top of dot
 * products. Two neighbouring quads of two rows of a weight are one operand, zipped out of the slab; eight numbers of
 * two rows of A are the other. A row that has no neighbour goes through dot products.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/i8_neon.h"

#define ROWS 6
enum { COLS = 2 }; /* 12 sums of integers, 12 of floats, 4 words of weights and 1 of A in 32 registers */

GAL__INLINE U i8_quad(const uint8_t *q, int t, int c) {
    U x;
    memcpy(&x, q + (t * COLS + c) * (int)sizeof x, sizeof x);
    return x;
}
/* Eight numbers of two rows of A. */
GAL__INLINE int8x16_t i8_pair(const char *a, size_t stride) {
    return vcombine_s8(vld1_s8((const int8_t *)a), vld1_s8((const int8_t *)a + stride));
}
GAL__INLINE S i8_halves(int64x2_t x) { return (S)vreinterpretq_s32_s64(x); }

GAL__INLINE S i8_dot(S sum, U w, S a, const bool wide) {
    (void)wide;
    return (S)vdotq_s32((int32x4_t)sum, (int8x16_t)w, (int8x16_t)a);
}

#define I8_PRODUCTS
GAL__INLINE void i8_products(const int R, const int quads, const bool wide, const char *a, size_t stride,
                             const uint8_t *q, S s[ROWS][COLS]) {
    int32x4_t p[ROWS / 2][COLS][2]; /* [two rows of A][two rows of the weight] each */
    (void)wide;
    GAL__UNROLL
    for (int r = 0; r < R / 2; r++) {
        GAL__UNROLL
        for (int c = 0; c < COLS; c++) p[r][c][0] = p[r][c][1] = vdupq_n_s32(0);
    }
    GAL__UNROLL
    for (int t = 0; t < quads; t += 2) {
        GAL__UNROLL
        for (int c = 0; c < COLS; c++) {
            const uint32x4_t x = (uint32x4_t)i8_quad(q, t, c), y = (uint32x4_t)i8_quad(q, t + 1, c);
            const int8x16_t low = vreinterpretq_s8_u32(vzip1q_u32(x, y)),
                            high = vreinterpretq_s8_u32(vzip2q_u32(x, y));
            GAL__UNROLL
            for (int r = 0; r < R / 2; r++) {
                const int8x16_t pair = i8_pair(a + (size_t)(2 * r) * stride + 4 * t, stride);
                p[r][c][0] = vmmlaq_s32(p[r][c][0], pair, low);
                p[r][c][1] = vmmlaq_s32(p[r][c][1], pair, high);
            }
            if (R % 2) {
                const int8x8_t last = vld1_s8((const int8_t *)a + (size_t)(R - 1) * stride + 4 * t);
                const int32x4_t sum = vdotq_lane_s32((int32x4_t)s[R - 1][c], vreinterpretq_s8_u32(x), last, 0);
                s[R - 1][c] = (S)vdotq_lane_s32(sum, vreinterpretq_s8_u32(y), last, 1);
            }
        }
    }
    GAL__UNROLL
    for (int r = 0; r < R / 2; r++) {
        GAL__UNROLL
        for (int c = 0; c < COLS; c++) {
            const int64x2_t x = vreinterpretq_s64_s32(p[r][c][0]), y = vreinterpretq_s64_s32(p[r][c][1]);
            s[2 * r][c] += i8_halves(vtrn1q_s64(x, y));
            s[2 * r + 1][c] += i8_halves(vtrn2q_s64(x, y));
        }
    }
}

#include "kernels/cpu/i8_body.h"

void gal__neon_i8mm_i8_fill(gal_kernel_table *t) { i8_fill(t); }
