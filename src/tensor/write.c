/* write.c - Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 as the reference writes them, to the byte (formats.md 4.4): scales from the
 * range alone, no search. Numbers are found with the scale as it is in f32, and the scale is rounded to f16 afterwards.
 * Here the lanes of a vector are neighbours in a block. Products and sums must not be fused (cmake/flags.cmake).
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/lanes.h"
#include "tensor/quantise.h"
#include "tensor/tensor.h"

#include <math.h>

enum { N = 32, VECTORS = N / LANES, HALF = VECTORS / 2 };

static void put_f16(uint8_t *p, float f) {
    uint16_t h = gal_f32_to_f16(f);
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

/* The first of several, which matters between -0 and 0. */
static void first_range(const float *x, float *min, float *max) {
    *min = *max = x[0];
    for (int i = 1; i < N; i++) {
        if (x[i] < *min) *min = x[i];
        if (x[i] > *max) *max = x[i];
    }
}

INLINE void range(const float *x, const vf *v, float *min, float *max) {
    peaks(v, min, max);
    if (*min == 0) first_range(x, min, max);
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
    for (int i = 0; i < VECTORS; i++) fifth |= vi_signs(q[i] << 27) << (i * LANES);
    memcpy(p, &fifth, sizeof fifth);
    put_four_bits(p + 4, q);
}

/* d = max |x| / 127; q = x / d, halves away from zero. */
void gal__write_q8_0(const float *x, uint8_t *b, int64_t count) {
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
void gal__write_q4_0(const float *x, uint8_t *b, int64_t count) {
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
void gal__write_q5_0(const float *x, uint8_t *b, int64_t count) {
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
void gal__write_q4_1(const float *x, uint8_t *b, int64_t count) {
    for (int64_t k = 0; k < count; k++, x += N, b += 20) {
        vf v[VECTORS];
        vi q[VECTORS];
        float min, max;
        load(x, v);
        range(x, v, &min, &max);
        float d = (max - min) / 15;
        numbers(v, min, inverse(d), 0.5f, 15, q);
        put_f16(b, d);
        put_f16(b + 2, min);
        put_four_bits(b + 4, q);
    }
}

/* d = (max - min) / 31, m = min. */
void gal__write_q5_1(const float *x, uint8_t *b, int64_t count) {
    for (int64_t k = 0; k < count; k++, x += N, b += 24) {
        vf v[VECTORS];
        vi q[VECTORS];
        float min, max;
        load(x, v);
        range(x, v, &min, &max);
        float d = (max - min) / 31;
        numbers(v, min, inverse(d), 0.5f, 31, q);
        put_f16(b, d);
        put_f16(b + 2, min);
        put_five_bits(b + 4, q);
    }
}
