/* i8_neon_dot.c - products of small integers with dot products of bytes (sdot), on top of the level neon.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/i8_neon.h"

#define ROWS 3
enum { COLS = 4 }; /* 12 sums of integers, 12 of floats, 4 words of weights and 1 of A in 32 registers */

GAL__INLINE S i8_dot(S sum, U w, S a, const bool wide) {
    (void)wide;
    return (S)vdotq_s32((int32x4_t)sum, (int8x16_t)w, (int8x16_t)a);
}

#include "kernels/cpu/i8_body.h"

void gal__neon_dot_i8_fill(gal_kernel_table *t) { i8_fill(t); }
