/* quantise_body.h - quantisers of the formats whose blocks hold 32 numbers, where they search: Q4_0, Q4_1, Q5_0 and
 * Q5_1 with weights, IQ4_NL and MXFP4 (formats.md 4.4); without weights write_body.h does the former. Included by
 * quantise_levels.h. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TENSOR_QUANTISE_BODY_H
#define GAL_TENSOR_QUANTISE_BODY_H

#include "tensor/search.h"

enum { ROW = 32 };

/* LANES blocks side by side; those beyond the last are zero. */
typedef struct narrow {
    vf x[ROW], w[ROW];
} narrow;

INLINE void narrow_rows(vf *out, const float *x) {
    for (int i = 0; i < ROW; i += LANES) vf_rows(out + i, x + i, ROW);
}

INLINE void narrow_load(narrow *t, const float *x, const gal__weights *w, int64_t block, int64_t count) {
    const float *from = x + block * ROW, *counts = w ? w->importance + block * ROW : NULL;
    float padded[LANES * ROW] = { 0 }, padded_counts[LANES * ROW] = { 0 };
    if (count - block < LANES) {
        memcpy(padded, from, (size_t)(count - block) * ROW * sizeof *x);
        if (w) memcpy(padded_counts, counts, (size_t)(count - block) * ROW * sizeof *x);
        from = padded;
        counts = padded_counts;
    }
    narrow_rows(t->x, from);
    if (w) {
        narrow_rows(t->w, counts);
        to_weights(t->w, ROW, w->scale);
    }
}

INLINE group narrow_group(const narrow *t, bool weighted) { return (group){ t->x, weighted ? t->w : NULL, ROW }; }

enum { MADE = 24 }; /* bytes of the largest block */

/* As f16 has it, which is also put into the blocks. */
INLINE vf put_rounded(vf v, uint8_t *p) {
    for (int l = 0; l < LANES; l++) {
        uint16_t h = gal_f32_to_f16(v[l]);
        memcpy(p + l * MADE, &h, sizeof h);
        v[l] = gal_f16_to_f32(h);
    }
    return v;
}

INLINE void put_fours(uint8_t *p, const vi *q) {
    vi both[ROW / 2];
    for (int i = 0; i < ROW / 2; i++) both[i] = (q[i] & 15) | (q[i + ROW / 2] & 15) << 4;
    for (int i = 0; i < ROW / 2; i += 4) vi_rows(p + i, MADE, both[i], both[i + 1], both[i + 2], both[i + 3]);
}

INLINE void put_fives(uint8_t *p, const vi *q) {
    vu fifth = { 0 };
    for (int i = 0; i < ROW; i++) fifth |= (vu)(q[i] >> 4) << i;
    for (int l = 0; l < LANES; l++) {
        uint32_t bits = fifth[l];
        memcpy(p + l * MADE, &bits, sizeof bits);
    }
    put_fours(p + 4, q);
}

/* --- a scale alone ---------------------------------------------------------------------------------------------- */

/* With the 11 digits of an f16, so that scales are judged as they will be. */
INLINE vf near_f16(vf s) {
    vf large = s * 0x1.0008p13f, small = (s + 0x1.8p-1f) - 0x1.8p-1f; /* f16's last digit is 2^-24 at least */
    return vf_pick(vf_abs(s) < 0x1p-14f, small, large - (large - s));
}

/* The best of several scales, the first of which brings the number of largest size to the level of largest size. */
INLINE vf best_scale(group g, levels l, tries t) {
    float far = l.least == l.most ? -127.0f : (float)l.least;
    vf min, max, best = { 0 }, best_gain = { 0 };
    extremes(g, &min, &max);
    vf per_step = far * vf_inverse(vf_pick(max > -min, max, min));
    for (int k = 0; k < t.count + t.turned; k++) {
        fit f = fit_scale(g, l, per_step * multiple(t, k));
        vf s = near_f16(f.qx * vf_inverse(f.qq)), gain = -fit_error(f, s);
        vi better = gain > best_gain;
        best_gain = vf_pick(better, gain, best_gain);
        best = vf_pick(better, s, best);
    }
    return best;
}

INLINE void scaled_blocks(const narrow *t, bool weighted, levels l, tries c, bool fives, uint8_t *made) {
    vi q[ROW];
    vf s = put_rounded(best_scale(narrow_group(t, weighted), l, c), made), per_step = vf_inverse(s);
    for (int i = 0; i < ROW; i++) {
        vf v = t->x[i] * per_step;
        q[i] = l.least == l.most ? iq4_index(v) : vf_int(nearest(l, v)) - l.least;
    }
    if (fives)
        put_fives(made + 2, q);
    else
        put_fours(made + 2, q);
}

/* --- a scale and a minimum -------------------------------------------------------------------------------------- */

INLINE void lined_blocks(const narrow *t, int most, int scales, float from, float step, bool fives, uint8_t *made) {
    group g = narrow_group(t, true);
    vf min, max, one, x, best_s = { 0 }, best_gain = { 0 }, best_q = { 0 };
    vi q[ROW];
    extremes(g, &min, &max);
    moments(g, &one, &x);
    vf mean = x / one, per_step = (float)most * vf_inverse(max - min), middle = (max + min) * 0.5f;
    for (int k = 0; k < 3 * scales; k++) { /* each with three minimums, a third of a step apart */
        const int scale = k / 3;
        vf inverse = per_step * (from + (float)scale * step);
        line f = fit_line(g, most, inverse, 0.5f * (float)most + 0.3f * (float)(k % 3 - 1) - middle * inverse);
        /* about the means of q and x */
        vf qx = f.qx - mean * f.q, qq = f.qq - f.q * f.q / one;
        vf s = qx * vf_inverse(qq), gain = s * qx;
        vi better = gain > best_gain;
        best_gain = vf_pick(better, gain, best_gain);
        best_s = vf_pick(better, s, best_s);
        best_q = vf_pick(better, f.q, best_q);
    }
    /* Where all are the same, sums of differences are noise; what f16 leaves of the minimum becomes a step. */
    best_s = vf_pick(max > min, best_s, min - near_f16(min));
    vf s = put_rounded(best_s, made), inverse = vf_inverse(s);
    vf least = put_rounded(vf_pick(max > min, mean - s * best_q / one, min), made + 2);
    for (int i = 0; i < ROW; i++) q[i] = vf_int(vf_clamp(vf_round((t->x[i] - least) * inverse), 0, (float)most));
    if (fives)
        put_fives(made + 4, q);
    else
        put_fours(made + 4, q);
}

/* --- MXFP4: the scale is a power of two ------------------------------------------------------------------------- */

/* The nearest of 0, 1, 2, 3, 4, 6, 8, 12 to v >= 0: multiples of 1 up to 4, of 2 to 8, of 4 beyond. */
INLINE vf fp4_near(vf v) {
    vf step = vf_max((vf)((vi)v & 0x7f800000) * 0.5f, vf_of(1)), shift = step * 0x1.8p23f;
    return vf_min((v + shift) - shift, vf_of(12));
}

/* Its place: from 2 on exponent and one bit of the fraction count on. */
INLINE vi fp4_index(vf level) {
    vi high = ((vi)level >> 22) - 254, low = vf_int(level), two = level >= 2;
    return (two & high) | (~two & low);
}

/* x 2^e, in two steps, so that neither factor leaves the range of f32. */
INLINE vf times_two_to(vf x, vi e) {
    vi half = e >> 1, rest = e - half;
    return x * (vf)((half + 127) << 23) * (vf)((rest + 127) << 23);
}

INLINE void mxfp4_blocks(narrow *t, bool weighted, uint8_t *made) {
    group g = narrow_group(t, weighted);
    vf min, max, best_error = vf_of(INFINITY), best_scale = { 0 };
    vi best = { 0 }, q[ROW];
    extremes(g, &min, &max);
    vi top = ((vi)vf_max(max, -min) >> 23) - 127; /* the largest size is in [2^top, 2^(top + 1)) */
    for (int i = 0; i < ROW; i++) t->x[i] = times_two_to(t->x[i], -top);
    for (int k = 2; k < 5; k++) { /* brings the largest between 2^k and 2^(k + 1), for 12 */
        vi e = top - k, low = e < -128;
        e = (low & -128) | (~low & e);
        vf scale = (vf)((127 + top - e) << 23), per_scale = (vf)((127 - top + e) << 23), error = { 0 };
        for (int i = 0; i < ROW; i++) {
            vf v = vf_abs(t->x[i]) * scale, off = v - fp4_near(v);
            error += weight_of(g, i) * off * off;
        }
        error *= per_scale * per_scale;
        vi better = error < best_error;
        best_error = vf_pick(better, error, best_error);
        best_scale = vf_pick(better, scale, best_scale);
        best = (better & e) | (~better & best);
    }
    for (int l = 0; l < LANES; l++) made[l * MADE] = (uint8_t)(best[l] + 128);
    for (int i = 0; i < ROW; i++) {
        vf v = t->x[i] * best_scale;
        q[i] = (fp4_index(fp4_near(vf_abs(v))) & 7) | ((v < 0) & 8);
    }
    put_fours(made + 1, q);
}

/* The loops become code twice, with weights and without. */
#define SEARCH_NARROW(name, bytes, plain, weighted)                                                                  \
    static void search_##name(const float *x, const gal__weights *weights, uint8_t *blocks, int64_t count) {         \
        for (int64_t b = 0; b < count; b += LANES) {                                                                 \
            narrow t;                                                                                                \
            uint8_t made[LANES * MADE];                                                                              \
            narrow_load(&t, x, weights, b, count);                                                                   \
            if (weights)                                                                                             \
                (weighted);                                                                                          \
            else                                                                                                     \
                (plain);                                                                                             \
            for (int64_t l = 0; l < LANES && b + l < count; l++)                                                     \
                memcpy(blocks + (b + l) * (bytes), made + l * MADE, bytes);                                          \
        }                                                                                                            \
    }

static const levels FOUR = { -8, 7 }, FIVE = { -16, 15 }, IQ4 = { 0, 0 };

#define ONLY_WEIGHTED GAL_ASSERT(weights)
SEARCH_NARROW(q4_0, 18, ONLY_WEIGHTED,
              scaled_blocks(&t, true, FOUR, (tries){ 12, 0.76f, 0.04f, 6, 0.85f, 0.05f, false }, false, made))
SEARCH_NARROW(q5_0, 22, ONLY_WEIGHTED,
              scaled_blocks(&t, true, FIVE, (tries){ 12, 0.88f, 0.02f, 8, 0.92f, 0.02f, false }, true, made))
SEARCH_NARROW(q4_1, 20, ONLY_WEIGHTED, lined_blocks(&t, 15, 10, 0.85f, 0.03f, false, made))
SEARCH_NARROW(q5_1, 24, ONLY_WEIGHTED, lined_blocks(&t, 31, 10, 0.9f, 0.02f, true, made))
#define NEAR_IQ4 ((tries){ 10, 0.8f, 0.04f, 8, 0.8f, 0.05f, false })
SEARCH_NARROW(iq4_nl, 18, scaled_blocks(&t, false, IQ4, NEAR_IQ4, false, made),
              scaled_blocks(&t, true, IQ4, NEAR_IQ4, false, made))
SEARCH_NARROW(mxfp4, 17, mxfp4_blocks(&t, false, made), mxfp4_blocks(&t, true, made))

#endif
