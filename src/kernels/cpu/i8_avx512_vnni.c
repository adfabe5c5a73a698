/* i8_avx512_vnni.c - products of small integers with dot products of bytes in vectors of 512 bits (AVX-512 VNNI), on
 * top of the level avx512. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/i8_avx512.h"
#include "kernels/cpu/i8_vnni.h"

GAL__INLINE S i8_dot(S sum, U w, S a, const bool wide) {
    (void)wide;
    return (S)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)a);
}

#include "kernels/cpu/i8_body.h"

void gal__avx512_vnni_i8_fill(gal_kernel_table *t) { i8_fill(t); }
