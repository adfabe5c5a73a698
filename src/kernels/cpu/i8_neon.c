/* i8_neon.c - products of small integers of the level neon. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/i8_neon.h"

#define ROWS 3
enum { COLS = 4 }; /* 12 sums of integers, 12 of floats, 4 words of weights and 1 of A in 32 registers */

GAL__INLINE S i8_dot(S sum, U w, S a, const bool wide) {
    const int8x16_t x = (int8x16_t)w, y = (int8x16_t)a;
    (void)wide;
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(y))),
                    high = vpaddlq_s16(vmull_s8(vget_high_s8(x), vget_high_s8(y)));
    return sum + (S)vpaddq_s32(low, high);
}

#include "kernels/cpu/i8_body.h"

void gal__neon_i8_fill(gal_kernel_table *t) { i8_fill(t); }
