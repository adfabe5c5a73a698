/* write_body.h - Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 as the reference writes them, to the byte (formats.md 4.4): scales
 * from the range alone, no search. Numbers are found with the scale as it is in f32, and the scale is rounded to f16
 * afterwards. Here the lanes of a vector are neighbours in a block. F16 and BF16 are here too. Products and sums must
 * not be fused (cmake/flags.cmake). SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TENSOR_WRITE_BODY_H
#define GAL_TENSOR_WRITE_BODY_H

#include "tensor/lanes.h"
#include "tensor/quantise.h"
#include "tensor/tensor.h"

#include <math.h>

enum { N = 32, VECTORS = N / LANES, HALF = VECTORS / 2 };

/* gal_f32_to_f16() and gal_f32_to_bf16() without branches: compilers make vectors of the loops. */
INLINE uint16_t half_of(float f) {
    uint32_t u, small;
    memcpy(&u, &f, sizeof u);
    uint32_t a = u & 0x7fffffffu, sign = u >> 16 & 0x8000u;
    float shifted = fabsf(f) + 0.5f; /* rounds to units of 2^-24 */
    memcpy(&small, &shifted, sizeof small);
    uint32_t h = ((a + 0xfffu + (a >> 13 & 1u)) >> 13) - (112u << 10);
    h = a < 0x38800000u ? small - 0x3f000000u : h;
    h = a >= 0x477ff000u ? 0x7c00u : h;
    h = a > 0x7f800000u ? 0x7e00u | (a >> 13 & 0x3ffu) : h;
    return (uint16_t)(sign | h);
}

static void write_f16(const float *x, uint8_t *b, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        uint16_t half = half_of(x[i]);
        memcpy(b + 2 * i, &half, sizeof half);
    }
}

static void write_bf16(const float *x, uint8_t *b, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        uint32_t u;
        memcpy(&u, x + i, sizeof u);
        uint32_t h = (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
        h = (u & 0x7fffffffu) > 0x7f800000u ? u >> 16 | 0x40u : h;
        uint16_t half = (uint16_t)h;
        memcpy(b + 2 * i, &half, sizeof half);
    }
}

static void put_f16(uint8_t *p, float f) {
    uint16_t h = half_of(f);
    memcpy(p, &h, sizeof h);
}

static float inverse(float d) { return d != 0 ? 1 / d : 0; }

/* Least and largest; which zero, where both -0 and 0 are there, is left open. */
INLINE void peaks(const vf *x, float *min, float *max) {
    float low[LANES], high[LANES];
    vf least = x[0], most = x[0];
    for (int i = 1; i < VECTORS; i++) {
        least = vf_min(x[i], least);
        most = vf_max(x[i], most);
    }
    vf_store(low, least);
    vf_store(high, most);
    *min = low[0];
    *max = high[0];
    for (int l = 1; l < LANES; l++) {
        *min = low[l] < *min ? low[l] : *min;
        *max = high[l] > *max ? high[l] : *max;
    }
}

/* The element of largest size, with its sign; the first of several. */
static float first_largest(const float *x) {
    float v = 0;
    for (int i = 0; i < N; i++)
        if (fabsf(x[i]) > fabsf(v)) v = x[i];
    return v;
}

INLINE float largest(const float *x, const vf *v) {
    float min, max;
    peaks(v, &min, &max);
    return max > -min ? max : max < -min ? min : first_largest(x);
}

/* Of several zeros the first, which may be -0. */
INLINE float first_zero(const vf *v) {
    float x[LANES];
    for (int i = 0; i < VECTORS; i++) {
        uint32_t zeros = vi_signs(v[i] == 0);
        if (!zeros) continue;
        vf_store(x, v[i]);
        return x[__builtin_ctz(zeros)];
    }
    return 0;
}

INLINE void range(const vf *v, float *min, float *max) {
    peaks(v, min, max);
    if (*min != 0) return;
    *min = first_zero(v);
    if (*max == 0) *max = *min;
}

INLINE void load(const float *x, vf *v) {
    for (int i = 0; i < VECTORS; i++) v[i] = vf_load(x + i * LANES);
}

/* q = 0 ... top: (x - zero) per_step + plus, cut to a whole number. */
INLINE void numbers(const vf *x, float zero, float per_step, float plus, float top, vi *q) {
    for (int i = 0; i < VECTORS; i++) q[i] = vf_int(vf_clamp((x[i] - zero) * per_step + plus, 0, top));
}

/* u8 p[16]: the lower four bits, the first 16 numbers' in the low halves. */
INLINE void put_four_bits(uint8_t *p, const vi *q) {
    vi both[HALF];
    for (int i = 0; i < HALF; i++) both[i] = (q[i] & 15) | (q[i + HALF] & 15) << 4;
    vi_bytes(p, both);
}

/* The fifth bits, then the others. */
INLINE void put_five_bits(uint8_t *p, const vi *q) {
    uint32_t fifth = 0;
    for (int i = 0; i < VECTORS; i++) fifth |= vi_signs((vi)((vu)q[i] << 27)) << (i * LANES);
    memcpy(p, &fifth, sizeof fifth);
    put_four_bits(p + 4, q);
}

/* d = max |x| / 127; q = x / d, halves away from zero. */
static void write_q8_0(const float *x, uint8_t *b, int64_t count) {
    for (int64_t k = 0; k < count; k++, x += N, b += 34) {
        vf v[VECTORS];
        vi q[VECTORS];
        load(x, v);
        float d = fabsf(largest(x, v)) / 127, per_step = inverse(d);
        put_f16(b, d);
        for (int i = 0; i < VECTORS; i++) {
            vf y = vf_clamp(v[i] * per_step, -127, 127);
            vi whole = vf_int(y);
            vf rest = y - __builtin_convertvector(whole, vf);
            q[i] = (whole - (rest >= 0.5f) + (rest <= -0.5f)) & 255;
        }
        vi_bytes(b + 2, q);
        vi_bytes(b + 18, q + HALF);
    }
}

/* d makes the largest element -8, which has no +8 beside it: the sign of d follows that element. */
static void write_q4_0(const float *x, uint8_t *b, int64_t count) {
    for (int64_t k = 0; k < count; k++, x += N, b += 18) {
        vf v[VECTORS];
        vi q[VECTORS];
        load(x, v);
        float d = largest(x, v) / -8;
        numbers(v, 0, inverse(d), 8.5f, 15, q);
        put_f16(b, d);
        put_four_bits(b + 2, q);
    }
}

/* As Q4_0, with -16. */
static void write_q5_0(const float *x, uint8_t *b, int64_t count) {
    for (int64_t k = 0; k < count; k++, x += N, b += 22) {
        vf v[VECTORS];
        vi q[VECTORS];
        load(x, v);
        float d = largest(x, v) / -16;
        numbers(v, 0, inverse(d), 16.5f, 31, q);
        put_f16(b, d);
        put_five_bits(b + 2, q);
    }
}

/* d = (max - min) / 15, m = min. */
static void write_q4_1(const float *x, uint8_t *b, int64_t count) {
    for (int64_t k = 0; k < count; k++, x += N, b += 20) {
        vf v[VECTORS];
        vi q[VECTORS];
        float min, max;
        load(x, v);
        range(v, &min, &max);
        float d = (max - min) / 15;
        numbers(v, min, inverse(d), 0.5f, 15, q);
        put_f16(b, d);
        put_f16(b + 2, min);
        put_four_bits(b + 4, q);
    }
}

/* d = (max - min) / 31, m = min. */
static void write_q5_1(const float *x, uint8_t *b, int64_t count) {
    for (int64_t k = 0; k < count; k++, x += N, b += 24) {
        vf v[VECTORS];
        vi q[VECTORS];
        float min, max;
        load(x, v);
        range(v, &min, &max);
        float d = (max - min) / 31;
        numbers(v, min, inverse(d), 0.5f, 31, q);
        put_f16(b, d);
        put_f16(b + 2, min);
        put_five_bits(b + 4, q);
    }
}

#endif
