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

/* gal_f32_to_f16() and gal_f32_to_bf16(), by lanes. */
INLINE vi f16_of_lanes(vf x) {
    vi a = (vi)x & 0x7fffffff, sign = (vi)x >> 16 & 0x8000;
    vi h = (vi)(((vu)a + 0xfff + ((vu)a >> 13 & 1)) >> 13) - (112 << 10);
    vi small = (vi)(vf_abs(x) + 0.5f) - 0x3f000000; /* the sum rounds to units of 2^-24 */
    h = vi_pick(a < 0x38800000, small, h);
    h = vi_pick(a >= 0x477ff000, vi_of(0x7c00), h);
    return sign | vi_pick(a > 0x7f800000, 0x7e00 | (a >> 13 & 0x3ff), h);
}

INLINE vi bf16_of_lanes(vf x) {
    vu u = (vu)x;
    vi h = (vi)((u + 0x7fff + (u >> 16 & 1)) >> 16);
    return vi_pick(((vi)x & 0x7fffffff) > 0x7f800000, (vi)(u >> 16 | 0x40), h);
}

/* A tail of fewer than two vectors goes through the stack. */
#define WRITE_HALVES(name, of_lanes)                                                                                 \
    static void name(const float *x, uint8_t *b, int64_t count) {                                                    \
        for (int64_t i = 0; i < count; i += 2 * LANES) {                                                             \
            float padded[2 * LANES] = { 0 };                                                                         \
            uint8_t made[4 * LANES];                                                                                 \
            size_t some = count - i < 2 * LANES ? (size_t)(count - i) : 2 * LANES;                                   \
            bool part = some < 2 * LANES;                                                                            \
            if (part) memcpy(padded, x + i, some * sizeof *x);                                                       \
            const float *from = part ? padded : x + i;                                                               \
            vi_halves(part ? made : b + 2 * i, of_lanes(vf_load(from)), of_lanes(vf_load(from + LANES)));            \
            if (part) memcpy(b + 2 * i, made, 2 * some);                                                             \
        }                                                                                                            \
    }

WRITE_HALVES(write_f16, f16_of_lanes)
WRITE_HALVES(write_bf16, bf16_of_lanes)

INLINE void put_f16(uint8_t *p, float f) {
    uint16_t h = (uint16_t)f16_of_lanes(vf_of(f))[0];
    memcpy(p, &h, sizeof h);
}

INLINE void put_two_f16(uint8_t *p, float first, float second) {
    vf two = vf_of(first);
    two[1] = second;
    vi h = f16_of_lanes(two);
    uint16_t halves[2] = { (uint16_t)h[0], (uint16_t)h[1] };
    memcpy(p, halves, sizeof halves);
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
        put_two_f16(b, d, min);
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
        put_two_f16(b, d, min);
        put_five_bits(b + 4, q);
    }
}

#endif
