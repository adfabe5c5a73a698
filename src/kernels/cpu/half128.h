/* half128.h - four numbers in an SSE register, for the levels of processors that have no AVX2: numbers of 16 bits to
 * and from floats as F16C and AVX-512 would give them, and tables of bytes. SSE4.1 and SSSE3.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_HALF128_H
#define GAL_KERNELS_CPU_HALF128_H

#include <nmmintrin.h>
#include <stdint.h>
#include <string.h>

#define HINLINE static inline __attribute__((always_inline))

/* Four numbers of 16 bits, each in the lower half of a word. */
HINLINE __m128i h_words(const void *p) { return _mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i_u *)p)); }

HINLINE __m128 h_bf16(__m128i h) { return _mm_castsi128_ps(_mm_slli_epi32(h, 16)); }
/* To nearest even; a NaN keeps its sign and gets the quiet bit. */
HINLINE __m128i h_to_bf16(__m128 x) {
    const __m128i u = _mm_castps_si128(x), odd = _mm_and_si128(_mm_srli_epi32(u, 16), _mm_set1_epi32(1));
    const __m128i r = _mm_add_epi32(u, _mm_add_epi32(odd, _mm_set1_epi32(0x7fff)));
    const __m128i quiet = _mm_or_si128(u, _mm_set1_epi32(0x400000));
    return _mm_srli_epi32(_mm_blendv_epi8(r, quiet, _mm_castps_si128(_mm_cmpunord_ps(x, x))), 16);
}

/* A subnormal number is what its bits add to 2^-14, less 2^-14: no operand is subnormal in f32, where processors are
 * a hundred times as slow. */
HINLINE __m128 h_f16(__m128i h) {
    const __m128i size = _mm_slli_epi32(_mm_and_si128(h, _mm_set1_epi32(0x7fff)), 13);
    const __m128i sign = _mm_slli_epi32(_mm_and_si128(h, _mm_set1_epi32(0x8000)), 16);
    const __m128i least = _mm_set1_epi32(113 << 23), inf = _mm_set1_epi32(0x0f800000);
    const __m128i above = _mm_cmpgt_epi32(size, _mm_set1_epi32(0x0f7fffff)); /* infinity and NaN, made quiet */
    const __m128i nan = _mm_and_si128(_mm_cmpgt_epi32(size, inf), _mm_set1_epi32(0x400000));
    const __m128i normal = _mm_add_epi32(size, _mm_set1_epi32(112 << 23));
    const __m128 tiny = _mm_sub_ps(_mm_castsi128_ps(_mm_or_si128(size, least)), _mm_castsi128_ps(least));
    __m128i x = _mm_blendv_epi8(normal, _mm_castps_si128(tiny), _mm_cmplt_epi32(size, _mm_set1_epi32(1 << 23)));
    x = _mm_or_si128(x, _mm_or_si128(nan, _mm_and_si128(above, _mm_set1_epi32(0x7f800000))));
    return _mm_castsi128_ps(_mm_or_si128(x, sign));
}
/* tensor.c, gal_f32_to_f16(), by lanes; beside 1/2 the steps of f32 are those of subnormal f16. */
HINLINE __m128i h_to_f16(__m128 v) {
    const __m128i u = _mm_castps_si128(v), a = _mm_and_si128(u, _mm_set1_epi32(0x7fffffff));
    const __m128i odd = _mm_and_si128(_mm_srli_epi32(a, 13), _mm_set1_epi32(1)), half = _mm_set1_epi32(0x3f000000);
    const __m128i normal = _mm_sub_epi32(
        _mm_srli_epi32(_mm_add_epi32(a, _mm_add_epi32(odd, _mm_set1_epi32(0xfff))), 13), _mm_set1_epi32(112 << 10));
    const __m128i tiny = _mm_sub_epi32(_mm_castps_si128(_mm_add_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(half))),
                                       half);
    const __m128i nan = _mm_or_si128(_mm_and_si128(_mm_srli_epi32(a, 13), _mm_set1_epi32(0x3ff)),
                                     _mm_set1_epi32(0x7e00));
    __m128i r = _mm_blendv_epi8(normal, tiny, _mm_cmplt_epi32(a, _mm_set1_epi32(0x38800000)));
    r = _mm_blendv_epi8(r, _mm_set1_epi32(0x7c00), _mm_cmpgt_epi32(a, _mm_set1_epi32(0x477fefff)));
    r = _mm_blendv_epi8(r, nan, _mm_cmpgt_epi32(a, _mm_set1_epi32(0x7f800000)));
    return _mm_or_si128(r, _mm_and_si128(_mm_srli_epi32(u, 16), _mm_set1_epi32(0x8000)));
}

/* What blocks_body.h asks of a level. */
HINLINE float half_at(const void *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _mm_cvtss_f32(h_f16(_mm_cvtsi32_si128(h)));
}
HINLINE void look_up(int8_t *q, const int8_t table[16], const uint8_t *p) {
    const __m128i t = _mm_loadu_si128((const __m128i_u *)(const void *)table);
    const __m128i x = _mm_loadu_si128((const __m128i_u *)(const void *)p), low = _mm_set1_epi8(15);
    _mm_storeu_si128((__m128i_u *)(void *)q, _mm_shuffle_epi8(t, _mm_and_si128(x, low)));
    _mm_storeu_si128((__m128i_u *)(void *)(q + 16), _mm_shuffle_epi8(t, _mm_and_si128(_mm_srli_epi16(x, 4), low)));
}

#endif
