/* vec_x86.h - what vec_avx2.h and vec_avx512.h share: blocks of 8 x 8 floats, and four sums at once. Included by
 * them, after V and v_fold8. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_VEC_X86_H
#define GAL_KERNELS_CPU_VEC_X86_H

#include "kernels/cpu/unroll.h"

/* The f16 at p in all lanes. */
VINLINE V v_f16_all(const void *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return v_set1(_cvtsh_ss(h));
}
/* A hint, into the second cache: p may lie anywhere. */
VINLINE void v_fetch(const void *p) { _mm_prefetch((const char *)p, _MM_HINT_T1); }

typedef __m256 V8; /* 8 floats, whatever VL is */
VINLINE V8 v8_zero(void) { return _mm256_setzero_ps(); }
VINLINE V8 v8_load(const float *p) { return _mm256_loadu_ps(p); }
VINLINE V8 v8_load_bf16(const void *p) {
    __m128i h = _mm_loadu_si128((const __m128i_u *)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
VINLINE V8 v8_load_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)p)); }

/* r[c][l] = r[l][c] of 8 x 8. */
VINLINE void v8_turn(V8 r[8]) {
    V8 t[8];
    GAL__UNROLL
    for (int i = 0; i < 8; i += 4) { /* 4 x 4 blocks within the halves of four rows */
        const V8 a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
        const V8 c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm256_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    GAL__UNROLL
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}
/* out[c][r] = in[r][c] for 8 x 8. */
VINLINE void v8_transpose(float *out, int64_t ldo, const V8 in[8]) {
    V8 r[8];
    GAL__UNROLL
    for (int i = 0; i < 8; i++) r[i] = in[i];
    v8_turn(r);
    GAL__UNROLL
    for (int i = 0; i < 8; i++) _mm256_storeu_ps(out + i * ldo, r[i]);
}

/* The sums of four vectors' lanes, each in the same fixed order. */
VINLINE void v_hsum4(float out[4], V a, V b, V c, V d) {
    __m256 x = _mm256_hadd_ps(_mm256_hadd_ps(v_fold8(a), v_fold8(b)), _mm256_hadd_ps(v_fold8(c), v_fold8(d)));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
}

#endif
