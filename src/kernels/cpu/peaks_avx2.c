/* peaks_avx2.c - the peaks of AVX2 with FMA. No bf16 instruction there: bf16 is widened as a matrix product would do
 * it, one word of B in two vectors, each used for six rows of A. int8 goes through vpmaddubsw and vpmaddwd.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/peaks.h"

#include <immintrin.h>
#include <string.h>

typedef __m256 F;
typedef __m256i I;
enum { BYTES = 32, F32_SUMS = 12, I8_SUMS = 6, ROWS = 6 };

GAL__INLINE F f_zero(void) { return _mm256_setzero_ps(); }
GAL__INLINE F f_set1(float x) { return _mm256_set1_ps(x); }
GAL__INLINE F f_fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
GAL__INLINE F f_add(F a, F b) { return _mm256_add_ps(a, b); }
GAL__INLINE void f_store(void *p, F x) { _mm256_storeu_ps(p, x); }
GAL__INLINE F low_halves(I x) { return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)); }
GAL__INLINE F high_halves(I x) { return _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(-65536))); }
GAL__INLINE I i_zero(void) { return _mm256_setzero_si256(); }
GAL__INLINE I i_load(const void *p) { return _mm256_loadu_si256(p); }
GAL__INLINE void i_store(void *p, I x) { _mm256_storeu_si256(p, x); }
GAL__INLINE I i_add(I a, I b) { return _mm256_add_epi32(a, b); }
GAL__INLINE I i_set1(signed char x) { return _mm256_set1_epi8(x); }
/* c + the sums of four products of bytes each, a without sign. */
GAL__INLINE I i8_dot(I c, I a, I b, I ones) { return i_add(c, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones)); }
GAL__INLINE I i_ones16(void) { return _mm256_set1_epi16(1); }

#include "kernels/cpu/peaks_body.h"

void gal__avx2_peaks_fill(gal_kernel_table *t) {
    t->peak[GAL_PEAK_READ] = (gal_peak){ read_bytes, READ_BYTES, "256-bit loads" };
    t->peak[GAL_PEAK_F32] = (gal_peak){ dot_f32, F32_OPS, "256-bit FMA" };
    t->peak[GAL_PEAK_BF16] = (gal_peak){ dot_bf16_widened, BF16_OPS, "no bf16 instruction: widened, 256-bit FMA" };
    t->peak[GAL_PEAK_I8] = (gal_peak){ dot_i8, I8_OPS, "vpmaddubsw, vpmaddwd" };
}
