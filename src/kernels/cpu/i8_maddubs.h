/* i8_maddubs.h - what i8_body.h asks of levels that multiply bytes without a sign by bytes with one, and add pairs of
 * products with saturation to 16 bits. Numbers that take fewer than eight bits stand as the file has them and never
 * saturate; of those that take all eight the sizes are multiplied, with the sign given to the other side: at most
 * 2 * 128 * 127. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_I8_MADDUBS_H
#define GAL_KERNELS_CPU_I8_MADDUBS_H

#define i8_offset(natural) 0
#define i8_start(bias, natural) i8_start_natural(bias, natural)

#endif
