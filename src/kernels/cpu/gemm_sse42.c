/* gemm_sse42.c - matrix products of the level sse42, over vectors of 4 floats: of the other kernels' pairs a block of
 * C would not fit the registers. bf16 products are rounded and multiplied in f32. SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/half128.h"

typedef __m128 F;
enum { VW = 4, NR = 8 }; /* 8 sums, 2 words of B, 1 of A and a product in 16 registers */
#define MR 4

GAL__INLINE F f_zero(void) { return _mm_setzero_ps(); }
GAL__INLINE F f_load(const float *p) { return _mm_loadu_ps(p); }
GAL__INLINE void f_store(float *p, F x) { _mm_storeu_ps(p, x); }
GAL__INLINE F f_add(F a, F b) { return _mm_add_ps(a, b); }
GAL__INLINE F f_fma(F a, F b, F c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
GAL__INLINE F f_set1(float x) { return _mm_set1_ps(x); }
GAL__INLINE float f_sum(F x) {
    const F s = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
GAL__INLINE F f_round(F x) { return h_bf16(h_to_bf16(x)); }

/* n <= VW numbers as floats, zero beyond; reads nothing beyond. */
GAL__INLINE F ld(const void *p, gal_dtype dt, int64_t n) {
    float t[VW] = { 0 };
    const void *q = p;
    if (n < VW) q = memcpy(t, p, (size_t)n * (dt == GAL_F32 ? 4 : 2));
    if (dt == GAL_F32) return _mm_loadu_ps(q);
    return dt == GAL_BF16 ? h_bf16(h_words(q)) : h_f16(h_words(q));
}
GAL__INLINE void st(void *p, gal_dtype dt, F x, int64_t n) {
    float t[VW];
    if (dt == GAL_BF16)
        _mm_storel_epi64((__m128i_u *)(void *)t, _mm_packus_epi32(h_to_bf16(x), _mm_setzero_si128()));
    else
        f_store(t, x);
    memcpy(p, t, (size_t)n * (dt == GAL_F32 ? 4 : 2));
}
GAL__INLINE void transpose(F r[VW]) { _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]); }

#include "kernels/cpu/gemm_f32_words.h"

#include "kernels/cpu/gemm_body.h"
#include "kernels/cpu/gemm_rows.h"

static const gal__gemm_level level = {
    .nr = NR, .nt = NT, .f32 = 16, .bf16 = 16, .few = GAL__GEMM_FEW, .run_tile = tile, .run_few = few_rows
};

#include "kernels/cpu/gemm_fill.h"

void gal__sse42_gemm_fill(gal_kernel_table *t) { gemm_fill(t); }
