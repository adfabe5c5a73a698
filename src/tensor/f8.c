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
