/* peaks_avx512.c - the peaks of AVX-512 without its later instructions for bf16 and int8 (peaks_avx512_bf16.c,
 * peaks_avx512_vnni.c): those types as in peaks_avx2.c. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/peaks.h"

#include <immintrin.h>
#include <string.h>

typedef __m512 F;
typedef __m512i I;
enum { BYTES = 64, F32_SUMS = 16, I8_SUMS = 8, ROWS = 8 };

GAL__INLINE F f_zero(void) { return _mm512_setzero_ps(); }
GAL__INLINE F f_set1(float x) { return _mm512_set1_ps(x); }
GAL__INLINE F f_fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
GAL__INLINE F f_add(F a, F b) { return _mm512_add_ps(a, b); }
GAL__INLINE void f_store(void *p, F x) { _mm512_storeu_ps(p, x); }
GAL__INLINE F low_halves(I x) { return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16)); }
GAL__INLINE F high_halves(I x) { return _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(-65536))); }
GAL__INLINE I i_zero(void) { return _mm512_setzero_si512(); }
GAL__INLINE I i_load(const void *p) { return _mm512_loadu_si512(p); }
GAL__INLINE void i_store(void *p, I x) { _mm512_storeu_si512(p, x); }
GAL__INLINE I i_add(I a, I b) { return _mm512_add_epi32(a, b); }
GAL__INLINE I i_set1(signed char x) { return _mm512_set1_epi8(x); }
GAL__INLINE I i_ones16(void) { return _mm512_set1_epi16(1); }
GAL__INLINE I i8_dot(I c, I a, I b, I ones) { return i_add(c, _mm512_madd_epi16(_mm512_maddubs_epi16(a, b), ones)); }

#include "kernels/cpu/peaks_body.h"

void gal__avx512_peaks_fill(gal_kernel_table *t) {
    t->peak[GAL_PEAK_READ] = (gal_peak){ read_bytes, READ_BYTES, "512-bit loads" };
    t->peak[GAL_PEAK_F32] = (gal_peak){ dot_f32, F32_OPS, "512-bit FMA" };
    t->peak[GAL_PEAK_BF16] = (gal_peak){ dot_bf16_widened, BF16_OPS, "no bf16 instruction: widened, 512-bit FMA" };
    t->peak[GAL_PEAK_I8] = (gal_peak){ dot_i8, I8_OPS, "vpmaddubsw, vpmaddwd" };
}
