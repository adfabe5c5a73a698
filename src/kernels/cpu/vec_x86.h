/* vec_x86.h - what vec_avx2.h and vec_avx512.h share: blocks of 8 x 8 floats, and four sums at once. Included by
 * them, after V and v_fold8. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_VEC_X86_H
#define GAL_KERNELS_CPU_VEC_X86_H

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

/* out[c][r] = in[r][c] for 8 x 8. */
VINLINE void v8_transpose(float *out, int64_t ldo, const V8 in[8]) {
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_ps(in[i], in[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(in[i], in[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xEE);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(out + i * ldo, _mm256_permute2f128_ps(b[i], b[i + 4], 0x20));
        _mm256_storeu_ps(out + (i + 4) * ldo, _mm256_permute2f128_ps(b[i], b[i + 4], 0x31));
    }
}

/* The sums of four vectors' lanes, each in the same fixed order. */
VINLINE void v_hsum4(float out[4], V a, V b, V c, V d) {
    __m256 x = _mm256_hadd_ps(_mm256_hadd_ps(v_fold8(a), v_fold8(b)), _mm256_hadd_ps(v_fold8(c), v_fold8(d)));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
}

#endif
