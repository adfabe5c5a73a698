/* f8.h - numbers of eight bits as published weights have them, E4M3 without infinities (arXiv:2209.05433, section 3):
 * a sign, four bits of exponent with bias 7, three of fraction; 0x7f and 0xff are NaN, the largest number is 448, an
 * exponent of 0 gives multiples of 2^-9. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TENSOR_F8_H
#define GAL_TENSOR_F8_H

#include "tensor/tensor.h"

float gal_e4m3_to_f32(uint8_t x);

#endif
