/* i8_avx512.c - products of small integers of the level avx512 without VNNI. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/i8_avx512.h"
#include "kernels/cpu/i8_maddubs.h"

GAL__INLINE S i8_dot(S sum, U w, S a, const bool wide) {
    const __m512i x = wide ? _mm512_abs_epi8((__m512i)w) : (__m512i)w;
    __m512i y = (__m512i)a;
    if (wide) y = _mm512_mask_sub_epi8(y, _mm512_movepi8_mask((__m512i)w), _mm512_setzero_si512(), y);
    return sum + (S)_mm512_madd_epi16(_mm512_maddubs_epi16(x, y), _mm512_set1_epi16(1));
}

#include "kernels/cpu/i8_body.h"

void gal__avx512_i8_fill(gal_kernel_table *t) { i8_fill(t); }
