/* i8_avx2.c - products of small integers of the level avx2. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/i8_avx2.h"
#include "kernels/cpu/i8_maddubs.h"

GAL__INLINE S i8_dot(S sum, U w, S a, const bool wide) {
    const __m256i x = wide ? _mm256_abs_epi8((__m256i)w) : (__m256i)w,
                  y = wide ? _mm256_sign_epi8((__m256i)a, (__m256i)w) : (__m256i)a;
    return sum + (S)_mm256_madd_epi16(_mm256_maddubs_epi16(x, y), _mm256_set1_epi16(1));
}

#include "kernels/cpu/i8_body.h"

void gal__avx2_i8_fill(gal_kernel_table *t) { i8_fill(t); }
