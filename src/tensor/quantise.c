/* quantise.c - quantisers of the formats whose blocks hold 32 numbers, where they search: Q4_0, Q4_1, Q5_0 and Q5_1
 * with weights, IQ4_NL and MXFP4 (formats.md 4.4); without weights blocks.c writes the former as the reference does.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quantise.h"

#include "tensor/search.h"
#include "tensor/tensor.h"

#include <float.h>
#include <math.h>

enum { N = 32 };

static bool counts(float importance) { return importance > 0 && importance <= FLT_MAX; }

gal__weights gal__weights_of(const float *importance, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += counts(importance[i]) ? (double)importance[i] : 0;
    return (gal__weights){ importance, sum > 0 ? (float)((double)n / sum) : 0 };
}

float gal__weight(const gal__weights *w, int64_t i) {
    float v = w->importance[i];
    return (counts(v) ? v * w->scale : 0) + 0x1p-12f;
}

/* LANES blocks side by side; those beyond `count` are zero. */
typedef struct narrow {
    vf x[N], w[N];
} narrow;

INLINE void narrow_load(narrow *t, const float *x, const gal__weights *w, int64_t block, int64_t count) {
    for (int i = 0; i < N; i++)
        for (int l = 0; l < LANES; l++) {
            int64_t k = (block + l) * N + i;
            t->x[i][l] = block + l < count ? x[k] : 0;
            if (w) t->w[i][l] = block + l < count ? gal__weight(w, k) : 1;
        }
}

INLINE group narrow_group(const narrow *t, bool weighted) { return (group){ t->x, weighted ? t->w : NULL, N }; }

/* As f16 has it. */
INLINE vf rounded(vf v, uint16_t *h) {
    for (int l = 0; l < LANES; l++) {
        h[l] = gal_f32_to_f16(v[l]);
        v[l] = gal_f16_to_f32(h[l]);
    }
    return v;
}

static void put_four_bits(uint8_t *p, const uint8_t *q) {
    for (int i = 0; i < 16; i++) p[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

static void put_five_bits(uint8_t *p, const uint8_t *q) {
    uint32_t fifth = 0;
    for (int i = 0; i < N; i++) fifth |= (uint32_t)(q[i] >> 4) << i;
    memcpy(p, &fifth, sizeof fifth);
    put_four_bits(p + 4, q);
}

/* --- a scale alone ---------------------------------------------------------------------------------------------- */

/* The best of several scales, the first of which brings the number of largest size to the level of largest size. */
INLINE vf best_scale(group g, levels l, int tries, float from, float step) {
    float far = l.least == l.most ? -127.0f : (float)l.least;
    vf min, max, best = { 0 }, best_gain = { 0 };
    peaks(g, &min, &max);
    vf per_step = far * vf_inverse(vf_pick(max > -min, max, min));
    for (int k = 0; k < tries; k++) {
        fit f = fit_scale(g, l, per_step * (from + (float)k * step));
        vf s = f.qx * vf_inverse(f.qq), gain = s * f.qx;
        vi better = gain > best_gain;
        best_gain = vf_pick(better, gain, best_gain);
        best = vf_pick(better, s, best);
    }
    return best;
}

INLINE void scaled_blocks(const narrow *t, bool weighted, levels l, int tries, float from, float step, uint16_t *d,
                          uint8_t (*q)[N]) {
    vf s = rounded(best_scale(narrow_group(t, weighted), l, tries, from, step), d), per_step = vf_inverse(s);
    for (int i = 0; i < N; i++) {
        vf v = t->x[i] * per_step;
        vi k = l.least == l.most ? iq4_index(v) : vf_int(nearest(l, v)) - l.least;
        for (int j = 0; j < LANES; j++) q[j][i] = (uint8_t)k[j];
    }
}

#define SCALED(name, bytes, put, tries, from, step, ...)                                                             \
    void gal__quantise_##name(const float *x, const gal__weights *weights, uint8_t *blocks, int64_t count) {         \
        static const levels L = __VA_ARGS__;                                                                         \
        for (int64_t b = 0; b < count; b += LANES) {                                                                 \
            narrow t;                                                                                                \
            uint16_t d[LANES];                                                                                       \
            uint8_t q[LANES][N];                                                                                     \
            if (weights) {                                                                                           \
                narrow_load(&t, x, weights, b, count);                                                               \
                scaled_blocks(&t, true, L, tries, from, step, d, q);                                                 \
            } else {                                                                                                 \
                narrow_load(&t, x, NULL, b, count);                                                                  \
                scaled_blocks(&t, false, L, tries, from, step, d, q);                                                \
            }                                                                                                        \
            for (int l = 0; l < LANES && b + l < count; l++) {                                                       \
                memcpy(blocks + (b + l) * bytes, d + l, sizeof *d);                                                  \
                put(blocks + (b + l) * bytes + 2, q[l]);                                                             \
            }                                                                                                        \
        }                                                                                                            \
    }

SCALED(q4_0, 18, put_four_bits, 16, 0.75f, 0.03f, { -8, 7 })
SCALED(q5_0, 22, put_five_bits, 16, 0.85f, 0.015f, { -16, 15 })
SCALED(iq4_nl, 18, put_four_bits, 14, 0.8f, 0.03f, { 0, 0 })

/* --- a scale and a minimum -------------------------------------------------------------------------------------- */

INLINE void lined_blocks(const narrow *t, int most, int tries, float from, float step, uint16_t *d, uint16_t *m,
                         uint8_t (*q)[N]) {
    group g = narrow_group(t, true);
    vf min, max, one, x, best_s = { 0 }, best_gain = { 0 }, best_q = { 0 };
    peaks(g, &min, &max);
    moments(g, &one, &x);
    vf mean = x / one, per_step = (float)most * vf_inverse(max - min), middle = (max + min) * 0.5f;
    for (int k = 0; k < tries; k++) {
        vf inverse = per_step * (from + (float)k * step);
        line f = fit_line(g, most, inverse, 0.5f * (float)most - middle * inverse);
        /* about the means of q and x */
        vf qx = f.qx - mean * f.q, qq = f.qq - f.q * f.q / one;
        vf s = qx * vf_inverse(qq), gain = s * qx;
        vi better = gain > best_gain;
        best_gain = vf_pick(better, gain, best_gain);
        best_s = vf_pick(better, s, best_s);
        best_q = vf_pick(better, f.q, best_q);
    }
    vf s = rounded(best_s, d), least = rounded(mean - s * best_q / one, m), inverse = vf_inverse(s);
    for (int i = 0; i < N; i++) {
        vi k = vf_int(vf_clamp(vf_round((t->x[i] - least) * inverse), 0, (float)most));
        for (int j = 0; j < LANES; j++) q[j][i] = (uint8_t)k[j];
    }
}

#define LINED(name, bytes, put, most, tries, from, step)                                                             \
    void gal__quantise_##name(const float *x, const gal__weights *weights, uint8_t *blocks, int64_t count) {         \
        for (int64_t b = 0; b < count; b += LANES) {                                                                 \
            narrow t;                                                                                                \
            uint16_t d[LANES], m[LANES];                                                                             \
            uint8_t q[LANES][N];                                                                                     \
            narrow_load(&t, x, weights, b, count);                                                                   \
            lined_blocks(&t, most, tries, from, step, d, m, q);                                                      \
            for (int l = 0; l < LANES && b + l < count; l++) {                                                       \
                memcpy(blocks + (b + l) * bytes, d + l, sizeof *d);                                                  \
                memcpy(blocks + (b + l) * bytes + 2, m + l, sizeof *m);                                              \
                put(blocks + (b + l) * bytes + 4, q[l]);                                                             \
            }                                                                                                        \
        }                                                                                                            \
    }

LINED(q4_1, 20, put_four_bits, 15, 16, 0.9f, 0.02f)
LINED(q5_1, 24, put_five_bits, 31, 16, 0.94f, 0.01f)

/* --- MXFP4: the scale is a power of two ------------------------------------------------------------------------- */

/* The place among 0, 1, 2, 3, 4, 6, 8, 12 nearest to v >= 0, and that level. */
INLINE vf fp4_near(vf v, vi *index) {
    static const float EDGE[7] = { 0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10 }, RISE[7] = { 1, 1, 1, 1, 2, 2, 4 };
    vf level = { 0 };
    *index = (vi){ 0 };
    for (int i = 0; i < 7; i++) {
        vi above = v > EDGE[i];
        *index -= above;
        level += (vf)(above & (vi)vf_of(RISE[i]));
    }
    return level;
}

/* The scale 2^e, in two steps, so that none of them leaves the range of f32. */
INLINE vf times_two_to(vf x, vi e) {
    vi half = e >> 1, rest = e - half;
    return x * (vf)((half + 127) << 23) * (vf)((rest + 127) << 23);
}

INLINE void mxfp4_blocks(const narrow *t, bool weighted, uint8_t *e_out, uint8_t (*q)[N]) {
    group g = narrow_group(t, weighted);
    vf min, max, best_error = vf_of(INFINITY);
    vi best = { 0 };
    peaks(g, &min, &max);
    vi top = ((vi)vf_max(max, -min) >> 23) - 127; /* the largest size is in [2^top, 2^(top + 1)) */
    for (int k = 0; k < 3; k++) {
        vi e = top - (4 - k); /* 12 2^e is about the largest size; the byte is e + 128 */
        e = (vi)((e < -128) & -128) | ((e >= -128) & e);
        vf error = { 0 };
        for (int i = 0; i < N; i++) {
            vi index;
            vf v = vf_abs(times_two_to(t->x[i], -e)), off = v - fp4_near(v, &index);
            error += weight_of(g, i) * off * off;
        }
        error = times_two_to(error, 2 * (e - top)); /* relative to the largest size */
        vi better = error < best_error;
        best_error = vf_pick(better, error, best_error);
        best = (better & e) | (~better & best);
    }
    for (int l = 0; l < LANES; l++) e_out[l] = (uint8_t)(best[l] + 128);
    for (int i = 0; i < N; i++) {
        vi index;
        vf v = times_two_to(t->x[i], -best);
        fp4_near(vf_abs(v), &index);
        index |= (v < 0) & 8;
        for (int j = 0; j < LANES; j++) q[j][i] = (uint8_t)index[j];
    }
}

void gal__quantise_mxfp4(const float *x, const gal__weights *weights, uint8_t *blocks, int64_t count) {
    for (int64_t b = 0; b < count; b += LANES) {
        narrow t;
        uint8_t e[LANES], q[LANES][N];
        narrow_load(&t, x, weights, b, count);
        if (weights)
            mxfp4_blocks(&t, true, e, q);
        else
            mxfp4_blocks(&t, false, e, q);
        for (int l = 0; l < LANES && b + l < count; l++) {
            blocks[(b + l) * 17] = e[l];
            put_four_bits(blocks + (b + l) * 17 + 1, q[l]);
        }
    }
}
