/* quantise_k_body.h - quantisers of the formats whose blocks hold 256 numbers: Q2_K to Q6_K and IQ4_XS
 * (formats.md 4.4). A block has 8 or 16 parts with whole scales (and minimums) of their own, and one or two scales of
 * these in f16.
 *
 * Each part tries some scales beside the one that its range suggests, keeps the best, and the block's scales then
 * follow by least squares. What is tried is what may stand in the file: whole
 * scales of a common one, not scales that are rounded afterwards.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TENSOR_QUANTISE_K_BODY_H
#define GAL_TENSOR_QUANTISE_K_BODY_H

#include "tensor/search.h"

enum { BLOCK = 256, WIDE = BLOCK / LANES };

/* One block of 256, its parts side by side: x[g n + i] holds number i of LANES parts. */
typedef struct wide {
    vf x[WIDE], w[WIDE];
} wide;

INLINE void wide_rows(vf *out, int n, const float *x) {
    for (int g = 0; g < WIDE / n; g++)
        for (int i = 0; i < n; i += LANES) vf_rows(out + g * n + i, x + g * LANES * n + i, n);
}

INLINE void wide_load(wide *t, int n, const float *x, const gal__weights *w, int64_t at) {
    wide_rows(t->x, n, x + at);
    if (w) {
        wide_rows(t->w, n, w->importance + at);
        to_weights(t->w, WIDE, w->scale);
    }
}

INLINE group wide_group(const wide *t, int n, bool weighted, int g) {
    return (group){ t->x + g * n, weighted ? t->w + g * n : NULL, n };
}

static float f16_of(float f, uint8_t *p) {
    uint16_t h = gal_f32_to_f16(f);
    memcpy(p, &h, sizeof h);
    return gal_f16_to_f32(h);
}

/* The next f16 that is as large, so that scales of what is tiny, for which f16 has few digits, are tried as they will
 * be; the largest if there is none, since the first scale may be larger than the last. */
static float f16_up(float f) {
    if (fabsf(f) > 65504) return copysignf(65504, f);
    uint16_t h = gal_f32_to_f16(f);
    float up = gal_f16_to_f32(h);
    return fabsf(up) < fabsf(f) ? gal_f16_to_f32((uint16_t)(h + 1)) : up;
}

/* --- a scale alone ---------------------------------------------------------------------------------------------- */

/* Q6_K, Q3_K, IQ4_XS: y = d S q. */
typedef struct scaled {
    int n; /* numbers a part */
    levels l;
    int top;    /* S is from -top to top - 1 */
    float room; /* between the largest first scale and the largest S */
    tries plain, weighted;
} scaled;

typedef struct parts {
    float s[16], qx[16], qq[16];
} parts;

/* The scale of each part before there are whole ones; the largest element lies on the level of largest size. */
INLINE void first_scales(const wide *t, scaled f, bool weighted, parts *p) {
    float far = f.l.least == f.l.most ? -127.0f : (float)f.l.least;
    for (int g = 0; g < WIDE / f.n; g++) {
        group part = wide_group(t, f.n, weighted, g);
        vf min, max;
        extremes(part, &min, &max);
        vf_store(p->s + g * LANES, vf_pick(max > -min, max, min) * (1 / far));
    }
}

/* Tries whole scales, multiples of s / d or, with `about`, so many next to it, and leaves the best, with its sums. */
INLINE void whole_scales(const wide *t, scaled f, bool weighted, float d, int about, parts *p) {
    float per_d = d != 0 ? 1 / d : 0;
    tries c = weighted ? f.weighted : f.plain;
    int count = about ? 2 * about + 1 : c.count + c.turned;
    for (int g = 0; g < WIDE / f.n; g++) {
        group part = wide_group(t, f.n, weighted, g);
        vf s = vf_load(p->s + g * LANES) * per_d, best = { 0 }, best_error = vf_of(INFINITY);
        fit best_fit = { { 0 }, { 0 } };
        for (int k = 0; k < count; k++) {
            vf wanted = about ? s + (float)(k - about) : s * multiple(c, k);
            vf whole = vf_clamp(vf_round(wanted), (float)-f.top, (float)(f.top - 1));
            fit now = fit_scale(part, f.l, vf_inverse(whole * d));
            vf error = fit_error(now, whole * d);
            vi better = error < best_error;
            best_error = vf_pick(better, error, best_error);
            best = vf_pick(better, whole, best);
            best_fit.qx = vf_pick(better, now.qx, best_fit.qx);
            best_fit.qq = vf_pick(better, now.qq, best_fit.qq);
        }
        vf_store(p->s + g * LANES, best);
        vf_store(p->qx + g * LANES, best_fit.qx);
        vf_store(p->qq + g * LANES, best_fit.qq);
    }
}

INLINE float largest_scale(const parts *p, int count) {
    float largest = 0;
    for (int j = 0; j < count; j++)
        if (fabsf(p->s[j]) > fabsf(largest)) largest = p->s[j];
    return largest;
}

INLINE float refit_scale(const parts *p, int count) {
    double up = 0, down = 0;
    for (int j = 0; j < count; j++) {
        up += (double)p->s[j] * (double)p->qx[j];
        down += (double)p->s[j] * (double)p->s[j] * (double)p->qq[j];
    }
    return down > 0 ? (float)(up / down) : 0;
}

/* d by least squares, in f16; S and the numbers' places among the levels (q - least, or an index) for it. */
INLINE void scaled_block(const wide *t, scaled f, bool weighted, uint8_t *d_at, int *whole, uint8_t *q) {
    parts p;
    first_scales(t, f, weighted, &p);
    float d = f16_up(largest_scale(&p, BLOCK / f.n) * f.room / (float)-f.top);
    whole_scales(t, f, weighted, d, 0, &p);
    if (weighted ? f.weighted.again : f.plain.again) {
        for (int j = 0; j < BLOCK / f.n; j++) p.s[j] *= d;
        d = f16_up(largest_scale(&p, BLOCK / f.n) / (float)-f.top);
        whole_scales(t, f, weighted, d, 2, &p);
    }
    d = f16_of(refit_scale(&p, BLOCK / f.n), d_at);
    for (int g = 0; g < WIDE / f.n; g++) {
        vf s = vf_load(p.s + g * LANES), per_step = vf_inverse(s * d);
        for (int l = 0; l < LANES; l++) whole[g * LANES + l] = (int)s[l];
        for (int i = 0; i < f.n; i += 4) {
            vi k[4];
            for (int c = 0; c < 4; c++) {
                vf v = t->x[g * f.n + i + c] * per_step;
                k[c] = f.l.least == f.l.most ? iq4_index(v) : vf_int(nearest(f.l, v)) - f.l.least;
            }
            vi_rows(q + g * LANES * f.n + i, f.n, k[0], k[1], k[2], k[3]);
        }
    }
}

static void put_q6_k(uint8_t *b, const int *whole, const uint8_t *q) {
    for (int j = 0; j < 16; j++) b[192 + j] = (uint8_t)(int8_t)whole[j];
    for (int n = 0; n < 2; n++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *v = q + 128 * n + l;
            b[64 * n + l] = (uint8_t)((v[0] & 15) | (v[64] & 15) << 4);
            b[64 * n + 32 + l] = (uint8_t)((v[32] & 15) | (v[96] & 15) << 4);
            b[128 + 32 * n + l] = (uint8_t)(v[0] >> 4 | v[32] >> 4 << 2 | v[64] >> 4 << 4 | v[96] >> 4 << 6);
        }
}

static void put_q3_k(uint8_t *b, const int *whole, const uint8_t *q) {
    memset(b + 96, 0, 12);
    for (int i = 0; i < 16; i++) {
        int s = whole[i] + 32;
        b[96 + i % 8] |= (uint8_t)((s & 15) << 4 * (i / 8));
        b[104 + i % 4] |= (uint8_t)(s >> 4 << 2 * (i / 4));
    }
    for (int l = 0; l < 32; l++) {
        int mask = 0;
        for (int j = 0; j < 8; j++) mask |= q[32 * j + l] >> 2 << j;
        b[l] = (uint8_t)mask;
    }
    for (int n = 0; n < 2; n++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *v = q + 128 * n + l;
            b[32 + 32 * n + l] = (uint8_t)((v[0] & 3) | (v[32] & 3) << 2 | (v[64] & 3) << 4 | (v[96] & 3) << 6);
        }
}

static void put_iq4_xs(uint8_t *b, const int *whole, const uint8_t *q) {
    memset(b + 2, 0, 6);
    for (int j = 0; j < 8; j++) {
        int s = whole[j] + 32;
        b[4 + j / 2] |= (uint8_t)((s & 15) << 4 * (j % 2));
        b[2 + j / 4] |= (uint8_t)(s >> 4 << 2 * (j % 4));
        for (int i = 0; i < 16; i++) b[8 + 16 * j + i] = (uint8_t)(q[32 * j + i] | q[32 * j + 16 + i] << 4);
    }
}

static const scaled Q6_K = { .n = 16,
                             .l = { -32, 31 },
                             .top = 128,
                             .room = 1.08f,
                             .plain = { .count = 16, .from = 0.934f, .step = 0.011f },
                             .weighted = { .count = 16, .from = 0.934f, .step = 0.011f } };
/* Few levels, at one end one more than at the other: the sign of the scale matters. */
static const scaled Q3_K = {
    .n = 16,
    .l = { -4, 3 },
    .top = 32,
    .room = 1.2f,
    .plain = { .count = 6, .from = 0.73f, .step = 0.09f, .turned = 4, .turned_from = 0.9f, .turned_step = 0.12f },
    .weighted = { 11, 0.44f, 0.07f, .turned = 7, .turned_from = 0.6f, .turned_step = 0.12f, .again = true }
};
static const scaled IQ4_XS = {
    .n = 32,
    .l = { 0, 0 },
    .top = 32,
    .room = 1.1f,
    .plain = { .count = 10, .from = 0.8f, .step = 0.04f, .turned = 8, .turned_from = 0.8f, .turned_step = 0.05f },
    .weighted = { .count = 10, .from = 0.8f, .step = 0.04f, .turned = 8, .turned_from = 0.8f, .turned_step = 0.05f }
};

/* The loops become code twice, with weights and without. */
#define SEARCH_WIDE(name, bytes, d_at, how, block_of)                                                                \
    static void search_##name(const float *x, const gal__weights *weights, uint8_t *blocks, int64_t count) {         \
        for (int64_t b = 0; b < count; b++) {                                                                        \
            wide t;                                                                                                  \
            int whole[32];                                                                                           \
            uint8_t q[BLOCK], *block = blocks + b * (bytes);                                                         \
            wide_load(&t, (how).n, x, weights, b *(int64_t)BLOCK);                                                   \
            if (weights)                                                                                             \
                block_of(&t, how, true, block + (d_at), whole, q);                                                   \
            else                                                                                                     \
                block_of(&t, how, false, block + (d_at), whole, q);                                                  \
            put_##name(block, whole, q);                                                                             \
        }                                                                                                            \
    }

SEARCH_WIDE(q6_k, 210, 208, Q6_K, scaled_block)
SEARCH_WIDE(q3_k, 110, 108, Q3_K, scaled_block)
SEARCH_WIDE(iq4_xs, 136, 0, IQ4_XS, scaled_block)

/* --- a scale and a minimum -------------------------------------------------------------------------------------- */

/* Q2_K, Q4_K, Q5_K: y = d S q - dmin M. */
typedef struct lined {
    int n, most, top; /* numbers a part; q and S, M go from 0 to here */
    int tries;        /* scales, multiples of the first, each with some */
    float from, step;
    int shifts; /* minimums tried with each scale, so many steps apart */
    float apart;
} lined;

typedef struct lines {
    float s[16], m[16], q[16], qx[16], qq[16], one[16], x[16], middle[16];
} lines;

/* The range of each part; numbers are then kept less its middle, so that sums of squares do not lose the errors. A
 * minimum M can only be of one sign: usually below zero, and above if nothing in the block is below. */
INLINE void first_lines(wide *t, lined f, bool weighted, lines *p) {
    bool above = true;
    for (int g = 0; g < WIDE / f.n; g++) {
        vf min, max;
        extremes(wide_group(t, f.n, weighted, g), &min, &max);
        vf_store(p->m + g * LANES, -min);
        vf_store(p->s + g * LANES, max);
    }
    for (int j = 0; j < BLOCK / f.n; j++) above = above && p->m[j] <= 0;
    for (int g = 0; g < WIDE / f.n; g++) {
        vf m = vf_load(p->m + g * LANES), max = vf_load(p->s + g * LANES), one, x;
        m = above ? m : vf_max(m, vf_of(0));
        vf middle = (max - m) * 0.5f;
        for (int i = 0; i < f.n; i++) t->x[g * f.n + i] -= middle;
        moments(wide_group(t, f.n, weighted, g), &one, &x);
        vf_store(p->s + g * LANES, (max + m) * (1 / (float)f.most));
        vf_store(p->m + g * LANES, m);
        vf_store(p->middle + g * LANES, middle);
        vf_store(p->one + g * LANES, one);
        vf_store(p->x + g * LANES, x);
    }
}

INLINE void whole_lines(const wide *t, lined f, bool weighted, float d, float dmin, lines *p) {
    float per_d = d != 0 ? 1 / d : 0, per_dmin = dmin != 0 ? 1 / dmin : 0;
    for (int g = 0; g < WIDE / f.n; g++) {
        group part = wide_group(t, f.n, weighted, g);
        vf first = vf_load(p->s + g * LANES) * per_d, middle = vf_load(p->middle + g * LANES);
        vf one = vf_load(p->one + g * LANES), x = vf_load(p->x + g * LANES), per_one = 1.0f / one;
        vf best_s = { 0 }, best_m = { 0 }, best_error = vf_of(INFINITY);
        line best = { { 0 }, { 0 }, { 0 } };
        for (int k = 0; k < f.tries * f.shifts; k++) {
            const int scale = k / f.shifts;
            vf whole_s = vf_clamp(vf_round(first * (f.from + (float)scale * f.step)), 0, (float)f.top);
            float shift = ((float)(k % f.shifts) - 0.5f * (float)(f.shifts - 1)) * f.apart;
            vf s = whole_s * d, per_step = vf_inverse(s);
            line now = fit_line(part, f.most, per_step, vf_of(0.5f * (float)f.most + shift));
            vf whole_m = vf_clamp(vf_round(((s * now.q - x) * per_one - middle) * per_dmin), 0, (float)f.top);
            vf error = line_error(now, one, x, s, whole_m * dmin + middle);
            vi better = error < best_error;
            best_error = vf_pick(better, error, best_error);
            best_s = vf_pick(better, whole_s, best_s);
            best_m = vf_pick(better, whole_m, best_m);
            best.q = vf_pick(better, now.q, best.q);
            best.qx = vf_pick(better, now.qx, best.qx);
            best.qq = vf_pick(better, now.qq, best.qq);
        }
        vf_store(p->s + g * LANES, best_s);
        vf_store(p->m + g * LANES, best_m);
        vf_store(p->q + g * LANES, best.q);
        vf_store(p->qx + g * LANES, best.qx);
        vf_store(p->qq + g * LANES, best.qq);
    }
}

/* d and dmin by least squares over all parts, as f16 has them: dmin for the d that has been rounded. */
INLINE void refit_lines(const lines *p, int count, float *d, float *dmin, uint8_t *at) {
    double ss = 0, sm = 0, mm = 0, sx = 0, mx = 0;
    for (int j = 0; j < count; j++) {
        double s = (double)p->s[j], m = (double)p->m[j];
        ss += s * s * (double)p->qq[j];
        sm += s * m * (double)p->q[j];
        mm += m * m * (double)p->one[j];
        sx += s * ((double)p->qx[j] + (double)p->middle[j] * (double)p->q[j]);
        mx += m * ((double)p->x[j] + (double)p->middle[j] * (double)p->one[j]);
    }
    double det = ss * mm - sm * sm;
    if (det > 1e-6 * ss * mm)
        *d = (float)((sx * mm - sm * mx) / det);
    else if (ss > 0)
        *d = (float)((sx + (double)*dmin * sm) / ss);
    *d = f16_of(*d, at);
    if (mm > 0) *dmin = (float)(((double)*d * sm - mx) / mm);
    *dmin = f16_of(*dmin, at + 2);
}

INLINE void lined_block(wide *t, lined f, bool weighted, uint8_t *d_at, int *whole, uint8_t *q) {
    lines p;
    float d = 0, dmin = 0;
    first_lines(t, f, weighted, &p);
    for (int j = 0; j < BLOCK / f.n; j++) {
        d = p.s[j] > d ? p.s[j] : d;
        dmin = fabsf(p.m[j]) > fabsf(dmin) ? p.m[j] : dmin;
    }
    d = f16_up(d / (float)f.top);
    dmin = f16_up(dmin / (float)f.top);
    whole_lines(t, f, weighted, d, dmin, &p);
    refit_lines(&p, BLOCK / f.n, &d, &dmin, d_at);
    for (int g = 0; g < WIDE / f.n; g++) {
        vf whole_s = vf_load(p.s + g * LANES), whole_m = vf_load(p.m + g * LANES);
        vf per_step = vf_inverse(whole_s * d), plus = (whole_m * dmin + vf_load(p.middle + g * LANES)) * per_step;
        for (int l = 0; l < LANES; l++) {
            whole[g * LANES + l] = (int)whole_s[l];
            whole[16 + g * LANES + l] = (int)whole_m[l];
        }
        for (int i = 0; i < f.n; i += 4) {
            vi k[4];
            for (int c = 0; c < 4; c++)
                k[c] = vf_int(vf_clamp(vf_round(t->x[g * f.n + i + c] * per_step + plus), 0, (float)f.most));
            vi_rows(q + g * LANES * f.n + i, f.n, k[0], k[1], k[2], k[3]);
        }
    }
}

static void put_q2_k(uint8_t *b, const int *whole, const uint8_t *q) {
    for (int j = 0; j < 16; j++) b[j] = (uint8_t)(whole[j] | whole[16 + j] << 4);
    for (int n = 0; n < 2; n++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *v = q + 128 * n + l;
            b[16 + 32 * n + l] = (uint8_t)(v[0] | v[32] << 2 | v[64] << 4 | v[96] << 6);
        }
}

/* What six_bits() in blocks.c reads. */
static void put_six_bits(uint8_t *b, const int *whole) {
    for (int j = 0; j < 4; j++) {
        int s = whole[j], m = whole[16 + j], s4 = whole[4 + j], m4 = whole[20 + j];
        b[j] = (uint8_t)(s | s4 >> 4 << 6);
        b[4 + j] = (uint8_t)(m | m4 >> 4 << 6);
        b[8 + j] = (uint8_t)((s4 & 15) | (m4 & 15) << 4);
    }
}

static void put_q4_k(uint8_t *b, const int *whole, const uint8_t *q) {
    put_six_bits(b + 4, whole);
    for (int k = 0; k < 128; k++) {
        const uint8_t *v = q + k / 32 * 64 + k % 32;
        b[16 + k] = (uint8_t)(v[0] | v[32] << 4);
    }
}

static void put_q5_k(uint8_t *b, const int *whole, const uint8_t *q) {
    put_six_bits(b + 4, whole);
    for (int l = 0; l < 32; l++) {
        int fifth = 0;
        for (int j = 0; j < 8; j++) fifth |= q[32 * j + l] >> 4 << j;
        b[16 + l] = (uint8_t)fifth;
    }
    for (int k = 0; k < 128; k++) {
        const uint8_t *v = q + k / 32 * 64 + k % 32;
        b[48 + k] = (uint8_t)((v[0] & 15) | (v[32] & 15) << 4);
    }
}

static const lined Q2_K = { .n = 16, .most = 3, .top = 15, 9, 0.58f, 0.07f, .shifts = 3, .apart = 0.3f };
static const lined Q4_K = { .n = 32, .most = 15, .top = 63, 12, 0.824f, 0.022f, .shifts = 4, .apart = 0.24f };
static const lined Q5_K = { .n = 32, .most = 31, .top = 63, 12, 0.86f, 0.02f, .shifts = 4, .apart = 0.24f };

SEARCH_WIDE(q2_k, 84, 80, Q2_K, lined_block)
SEARCH_WIDE(q4_k, 144, 0, Q4_K, lined_block)
SEARCH_WIDE(q5_k, 176, 0, Q5_K, lined_block)

#endif
