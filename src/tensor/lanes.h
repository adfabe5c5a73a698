/* lanes.h - private to the quantisers: vectors of floats of which every lane works on a block of its own. No
 * operation here mixes lanes, and none is fused, so what a block becomes depends neither on how many lanes there are
 * nor on its neighbours. Plain C with the vectors of gcc and clang; only minimum and maximum are an instruction's
 * name on x86, because compilers make four of them. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TENSOR_LANES_H
#define GAL_TENSOR_LANES_H

#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

#ifdef __AVX2__
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float vf __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));

INLINE vf vf_of(float f) { return f - (vf){ 0 }; }
INLINE vi vi_of(int32_t i) { return i - (vi){ 0 }; }
INLINE vf vf_load(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE void vf_store(float *p, vf v) { memcpy(p, &v, sizeof v); }

/* where ? a : b, by lanes; a comparison of vectors is -1 or 0. */
INLINE vf vf_pick(vi where, vf a, vf b) { return (vf)((where & (vi)a) | (~where & (vi)b)); }
INLINE vi vi_pick(vi where, vi a, vi b) { return (where & a) | (~where & b); }
INLINE vf vf_abs(vf a) { return (vf)((vi)a & 0x7fffffff); }

/* The second where one is NaN. */
INLINE vf vf_min(vf a, vf b) {
#if defined __AVX2__
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined __SSE2__
    return (vf)_mm_min_ps((__m128)a, (__m128)b);
#else
    return vf_pick(a < b, a, b);
#endif
}
INLINE vf vf_max(vf a, vf b) {
#if defined __AVX2__
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined __SSE2__
    return (vf)_mm_max_ps((__m128)a, (__m128)b);
#else
    return vf_pick(a > b, a, b);
#endif
}
INLINE vf vf_clamp(vf a, float least, float most) { return vf_min(vf_max(a, vf_of(least)), vf_of(most)); }

/* To the nearest whole number, ties to even, for sizes up to 2^22; beyond, to something as large. */
INLINE vf vf_round(vf a) { return (a + 0x1.8p23f) - 0x1.8p23f; }

/* 1 / a, and 0 for 0. */
INLINE vf vf_inverse(vf a) { return (vf)((a != 0) & (vi)(1.0f / a)); }

/* Whole numbers within int32 (clamped before), as such. */
INLINE vi vf_int(vf a) { return __builtin_convertvector(a, vi); }

/* out[i] holds number i of LANES rows, for i < LANES. */
INLINE void vf_rows(vf *out, const float *x, int64_t stride) {
#if defined __AVX2__
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i++) a[i] = _mm256_loadu_ps(x + i * stride);
    for (int i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        out[i] = (vf)_mm256_permute2f128_ps(a[i], a[i + 4], 0x20);
        out[i + 4] = (vf)_mm256_permute2f128_ps(a[i], a[i + 4], 0x31);
    }
#elif defined __SSE2__
    __m128 a[4], b[4];
    for (int i = 0; i < 4; i++) a[i] = _mm_loadu_ps(x + i * stride);
    for (int i = 0; i < 4; i += 2) {
        b[i] = _mm_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm_unpackhi_ps(a[i], a[i + 1]);
    }
    out[0] = (vf)_mm_movelh_ps(b[0], b[2]);
    out[1] = (vf)_mm_movehl_ps(b[2], b[0]);
    out[2] = (vf)_mm_movelh_ps(b[1], b[3]);
    out[3] = (vf)_mm_movehl_ps(b[3], b[1]);
#else
    for (int i = 0; i < LANES; i++)
        for (int l = 0; l < LANES; l++) out[i][l] = x[l * stride + i];
#endif
}

/* Four numbers of each lane, within a byte, as four neighbouring bytes; lane l's at p + l stride. */
INLINE void vi_rows(uint8_t *p, int64_t stride, vi a, vi b, vi c, vi d) {
    vi four = a | b << 8 | c << 16 | (vi)((vu)d << 24);
    for (int l = 0; l < LANES; l++) {
        int32_t bytes = four[l];
        memcpy(p + l * stride, &bytes, sizeof bytes);
    }
}

/* 16 numbers, each within a byte, as bytes. */
INLINE void vi_bytes(uint8_t *p, const vi v[16 / LANES]) {
#if defined __AVX2__
    __m256i pairs = _mm256_packs_epi32((__m256i)v[0], (__m256i)v[1]); /* by halves: 0-3 8-11, 4-7 12-15 */
    __m128i halves = _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    _mm_storeu_si128((__m128i_u *)p, _mm_shuffle_epi32(halves, 0xd8));
#elif defined __SSE2__
    _mm_storeu_si128((__m128i_u *)p, _mm_packus_epi16(_mm_packs_epi32((__m128i)v[0], (__m128i)v[1]),
                                                      _mm_packs_epi32((__m128i)v[2], (__m128i)v[3])));
#else
    for (int i = 0; i < 16; i++) p[i] = (uint8_t)v[i / LANES][i % LANES];
#endif
}

/* The sign bit of each lane, the first lowest. */
INLINE uint32_t vi_signs(vi v) {
#if defined __AVX2__
    return (uint32_t)_mm256_movemask_ps((__m256)v);
#elif defined __SSE2__
    return (uint32_t)_mm_movemask_ps((__m128)v);
#else
    uint32_t bits = 0;
    for (int l = 0; l < LANES; l++) bits |= ((uint32_t)v[l] >> 31) << l;
    return bits;
#endif
}

/* The lower 16 bits of each lane of a and of b. */
INLINE void vi_halves(uint8_t *p, vi a, vi b) {
    a = (vi)((vu)a << 16) >> 16; /* so that none is cut */
    b = (vi)((vu)b << 16) >> 16;
#if defined __AVX2__
    __m256i mixed = _mm256_packs_epi32((__m256i)a, (__m256i)b);
    _mm256_storeu_si256((__m256i_u *)p, _mm256_permute4x64_epi64(mixed, 0xd8));
#elif defined __SSE2__
    _mm_storeu_si128((__m128i_u *)p, _mm_packs_epi32((__m128i)a, (__m128i)b));
#else
    for (int i = 0; i < 2 * LANES; i++) {
        int16_t half = (int16_t)(i < LANES ? a[i] : b[i - LANES]);
        memcpy(p + 2 * i, &half, sizeof half);
    }
#endif
}

#endif
