/* peaks_sse42.c - the peaks of SSE4.2: a multiply-add is two instructions. bf16 is widened as in peaks_avx2.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/peaks.h"

#include <nmmintrin.h>
#include <string.h>

typedef __m128 F;
typedef __m128i I;
enum { BYTES = 16, F32_SUMS = 12, I8_SUMS = 6, ROWS = 6 };

GAL__INLINE F f_zero(void) { return _mm_setzero_ps(); }
GAL__INLINE F f_set1(float x) { return _mm_set1_ps(x); }
GAL__INLINE F f_add(F a, F b) { return _mm_add_ps(a, b); }
GAL__INLINE F f_fma(F a, F b, F c) {
    F product = _mm_mul_ps(a, b);
    GAL__HIDE(product); /* otherwise multiplied once, before the loop */
    return _mm_add_ps(product, c);
}
GAL__INLINE void f_store(void *p, F x) { _mm_storeu_ps(p, x); }
GAL__INLINE F low_halves(I x) { return _mm_castsi128_ps(_mm_slli_epi32(x, 16)); }
GAL__INLINE F high_halves(I x) { return _mm_castsi128_ps(_mm_and_si128(x, _mm_set1_epi32(-65536))); }
GAL__INLINE I i_zero(void) { return _mm_setzero_si128(); }
GAL__INLINE I i_load(const void *p) { return _mm_loadu_si128(p); }
GAL__INLINE void i_store(void *p, I x) { _mm_storeu_si128(p, x); }
GAL__INLINE I i_add(I a, I b) { return _mm_add_epi32(a, b); }
GAL__INLINE I i_set1(signed char x) { return _mm_set1_epi8(x); }
/* c + the sums of four products of bytes each, a without sign. */
GAL__INLINE I i8_dot(I c, I a, I b, I ones) { return i_add(c, _mm_madd_epi16(_mm_maddubs_epi16(a, b), ones)); }
GAL__INLINE I i_ones16(void) { return _mm_set1_epi16(1); }

#include "kernels/cpu/peaks_body.h"

void gal__sse42_peaks_fill(gal_kernel_table *t) {
    t->peak[GAL_PEAK_READ] = (gal_peak){ read_bytes, READ_BYTES, "128-bit loads" };
    t->peak[GAL_PEAK_F32] = (gal_peak){ dot_f32, F32_OPS, "128-bit products and sums" };
    t->peak[GAL_PEAK_BF16] = (gal_peak){ dot_bf16_widened, BF16_OPS, "no bf16 instruction: widened, 128 bits" };
    t->peak[GAL_PEAK_I8] = (gal_peak){ dot_i8, I8_OPS, "pmaddubsw, pmaddwd" };
}
