/* i8_maddubs.h - what i8_body.h asks of levels that multiply bytes without a sign by bytes with one, and add pairs of
 * products with saturation to 16 bits. Numbers that take fewer than eight bits stand as the file has them and never
 * saturate; of those that take all eight the sizes are multiplied, with the sign given to the other side: at most
 * 2 * 128 * 127. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_I8_MADDUBS_H
#define GAL_KERNELS_CPU_I8_MADDUBS_H

#define i8_offset(natural) 0
/* -natural (q[0] + ..), from -128 times that; natural is a power of two or 0. */
GAL__INLINE S i8_start(const char *bias, int natural) {
    int32_t x;
    if (natural == 0) return s_set1(GAL_I8_START);
    memcpy(&x, bias, sizeof x);
    return s_set1(GAL_I8_START + (x - GAL_I8_START) / (GAL_I8_OFFSET / natural));
}

#endif
