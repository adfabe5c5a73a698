/* i8_avx_vnni.c - products of small integers with dot products of bytes in vectors of 256 bits (AVX-VNNI), on top of
 * the level avx2. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/i8_avx2.h"
#include "kernels/cpu/i8_vnni.h"

GAL__INLINE S i8_dot(S sum, U w, S a, const bool wide) {
    (void)wide;
    return (S)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)w, (__m256i)a);
}

#include "kernels/cpu/i8_body.h"

void gal__avx_vnni_i8_fill(gal_kernel_table *t) { i8_fill(t); }
