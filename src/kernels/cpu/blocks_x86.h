/* blocks_x86.h - what blocks_body.h asks of a level, for x86 with F16C. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_BLOCKS_X86_H
#define GAL_KERNELS_CPU_BLOCKS_X86_H

#include <immintrin.h>
#include <string.h>

GAL__INLINE float half_at(const void *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _cvtsh_ss(h);
}
GAL__INLINE void look_up(int8_t *q, const int8_t table[16], const uint8_t *p) {
    const __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p), low = _mm_set1_epi8(15);
    _mm_storeu_si128((__m128i *)(void *)q, _mm_shuffle_epi8(t, _mm_and_si128(x, low)));
    _mm_storeu_si128((__m128i *)(void *)(q + 16), _mm_shuffle_epi8(t, _mm_and_si128(_mm_srli_epi16(x, 4), low)));
}

#endif
