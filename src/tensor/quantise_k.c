/* quantise_k.c - quantisers of the formats whose blocks hold 256 numbers: Q2_K to Q6_K and IQ4_XS (formats.md 4.4). A
 * block has 8 or 16 parts with whole scales (and minimums) of their own, and one or two scales of these in f16.
 *
 * Each part tries some scales beside the one that its range suggests, keeps the best, and the block's scales then
 * follow by least squares. Decided on what will stand in the file: scales are tried as the whole numbers that they
 * become. Numbers that are not finite give blocks that mean nothing, and nothing else.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quantise.h"
#include "tensor/search.h"
#include "tensor/tensor.h"

#include <math.h>

enum { BLOCK = 256, VECTORS = BLOCK / LANES };

/* One block of 256, its parts side by side: x[g n + i] holds number i of LANES parts. */
typedef struct wide {
    vf x[VECTORS], w[VECTORS];
} wide;

INLINE void wide_load(wide *t, int n, const float *x, const gal__weights *w, int64_t at) {
    for (int g = 0; g < VECTORS / n; g++)
        for (int i = 0; i < n; i++)
            for (int l = 0; l < LANES; l++) {
                int k = (g * LANES + l) * n + i;
                t->x[g * n + i][l] = x[at + k];
                if (w) t->w[g * n + i][l] = gal__weight(w, at + k);
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

/* --- a scale alone ---------------------------------------------------------------------------------------------- */

/* Q6_K, Q3_K, IQ4_XS: y = d S q. */
typedef struct scaled {
    int n; /* numbers a part */
    levels l;
    int top;          /* S is from -top to top - 1 */
    int tries;        /* scales tried about the first */
    float from, step; /* of the multiples of the first */
} scaled;

typedef struct parts {
    float s[16], qx[16], qq[16];
} parts;

/* The scale of each part before there are whole ones; the largest element lies on the level of largest size. */
INLINE void first_scales(const wide *t, scaled f, bool weighted, parts *p) {
    float far = f.l.least == f.l.most ? -127.0f : (float)f.l.least;
    for (int g = 0; g < VECTORS / f.n; g++) {
        group part = wide_group(t, f.n, weighted, g);
        vf min, max;
        peaks(part, &min, &max);
        vf_store(p->s + g * LANES, vf_pick(max > -min, max, min) * (1 / far));
    }
}

/* Tries whole scales about s / d, and leaves the best, with its sums. */
INLINE void whole_scales(const wide *t, scaled f, bool weighted, float d, parts *p) {
    float per_d = d != 0 ? 1 / d : 0;
    for (int g = 0; g < VECTORS / f.n; g++) {
        group part = wide_group(t, f.n, weighted, g);
        vf s = vf_load(p->s + g * LANES) * per_d, best = { 0 }, best_error = vf_of(INFINITY);
        fit best_fit = { { 0 }, { 0 } };
        for (int k = 0; k < f.tries; k++) {
            vf whole = vf_clamp(vf_round(s * (f.from + (float)k * f.step)), (float)-f.top, (float)(f.top - 1));
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

/* d by least squares, in f16; S and the numbers' places among the levels (q - least, or an index) for it. */
INLINE void scaled_block(const wide *t, scaled f, bool weighted, uint8_t *d_at, int *whole, uint8_t *q) {
    parts p;
    first_scales(t, f, weighted, &p);
    float largest = 0;
    for (int j = 0; j < BLOCK / f.n; j++)
        if (fabsf(p.s[j]) > fabsf(largest)) largest = p.s[j];
    float d = largest * 1.08f / (float)-f.top;
    whole_scales(t, f, weighted, d, &p);
    double up = 0, down = 0;
    for (int j = 0; j < BLOCK / f.n; j++) {
        up += (double)p.s[j] * (double)p.qx[j];
        down += (double)p.s[j] * (double)p.s[j] * (double)p.qq[j];
    }
    d = f16_of(down > 0 ? (float)(up / down) : 0, d_at);
    for (int g = 0; g < VECTORS / f.n; g++) {
        vf s = vf_load(p.s + g * LANES), per_step = vf_inverse(s * d);
        for (int l = 0; l < LANES; l++) whole[g * LANES + l] = (int)s[l];
        for (int i = 0; i < f.n; i++) {
            vf v = t->x[g * f.n + i] * per_step;
            vi k = f.l.least == f.l.most ? iq4_index(v) : vf_int(nearest(f.l, v)) - f.l.least;
            for (int l = 0; l < LANES; l++) q[(g * LANES + l) * f.n + i] = (uint8_t)k[l];
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
    memset(b, 0, 108);
    for (int i = 0; i < 16; i++) {
        int s = whole[i] + 32;
        b[96 + i % 8] |= (uint8_t)((s & 15) << 4 * (i / 8));
        b[104 + i % 4] |= (uint8_t)(s >> 4 << 2 * (i / 4));
    }
    for (int k = 0; k < BLOCK; k++) {
        b[k % 32] |= (uint8_t)(q[k] >> 2 << k / 32);
        b[32 + k / 128 * 32 + k % 32] |= (uint8_t)((q[k] & 3) << 2 * (k % 128 / 32));
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

/* The loops below become code twice, with weights and without. */
#define SCALED(name, bytes, d_at, ...)                                                                               \
    void gal__quantise_##name(const float *x, const gal__weights *weights, uint8_t *blocks, int64_t count) {         \
        static const scaled F = __VA_ARGS__;                                                                         \
        for (int64_t b = 0; b < count; b++) {                                                                        \
            wide t;                                                                                                  \
            int whole[16];                                                                                           \
            uint8_t q[BLOCK], *block = blocks + b * bytes;                                                           \
            if (weights) {                                                                                           \
                wide_load(&t, F.n, x, weights, b *BLOCK);                                                            \
                scaled_block(&t, F, true, block + (d_at), whole, q);                                                 \
            } else {                                                                                                 \
                wide_load(&t, F.n, x, NULL, b *BLOCK);                                                               \
                scaled_block(&t, F, false, block + (d_at), whole, q);                                                \
            }                                                                                                        \
            put_##name(block, whole, q);                                                                             \
        }                                                                                                            \
    }

SCALED(q6_k, 210, 208, { 16, { -32, 31 }, 128, 16, 0.94f, 0.01f })
SCALED(q3_k, 110, 108, { 16, { -4, 3 }, 32, 16, 0.6f, 0.04f })
SCALED(iq4_xs, 136, 0, { 32, { 0, 0 }, 32, 12, 0.8f, 0.03f })

/* --- a scale and a minimum -------------------------------------------------------------------------------------- */

/* Q2_K, Q4_K, Q5_K: y = d S q - dmin M. */
typedef struct lined {
    int n, most, top; /* numbers a part; q and S, M go from 0 to here */
    int tries;
    float from, step;
} lined;

typedef struct lines {
    float s[16], m[16], q[16], qx[16], qq[16], one[16], x[16], middle[16];
} lines;

INLINE void first_lines(const wide *t, lined f, bool weighted, lines *p) {
    for (int g = 0; g < VECTORS / f.n; g++) {
        group part = wide_group(t, f.n, weighted, g);
        vf min, max, one, x;
        peaks(part, &min, &max);
        min = vf_min(min, vf_of(0));
        max = vf_max(max, vf_of(0));
        moments(part, &one, &x);
        vf_store(p->s + g * LANES, (max - min) * (1 / (float)f.most));
        vf_store(p->m + g * LANES, -min);
        vf_store(p->middle + g * LANES, (max + min) * 0.5f);
        vf_store(p->one + g * LANES, one);
        vf_store(p->x + g * LANES, x);
    }
}

INLINE void whole_lines(const wide *t, lined f, bool weighted, float d, float dmin, lines *p) {
    float per_d = d != 0 ? 1 / d : 0, per_dmin = dmin != 0 ? 1 / dmin : 0;
    for (int g = 0; g < VECTORS / f.n; g++) {
        group part = wide_group(t, f.n, weighted, g);
        vf first = vf_load(p->s + g * LANES) * per_d, middle = vf_load(p->middle + g * LANES);
        vf one = vf_load(p->one + g * LANES), x = vf_load(p->x + g * LANES), per_one = 1.0f / one;
        vf best_s = { 0 }, best_m = { 0 }, best_error = vf_of(INFINITY);
        line best = { { 0 }, { 0 }, { 0 } };
        for (int k = 0; k < f.tries; k++) {
            vf whole_s = vf_clamp(vf_round(first * (f.from + (float)k * f.step)), 0, (float)f.top);
            vf s = whole_s * d, per_step = vf_inverse(s);
            vf m = vf_clamp(vf_round((s * (0.5f * (float)f.most) - middle) * per_dmin), 0, (float)f.top) * dmin;
            line now = fit_line(part, f.most, per_step, m * per_step);
            vf whole_m = vf_clamp(vf_round((s * now.q - x) * per_one * per_dmin), 0, (float)f.top);
            vf error = line_error(now, one, x, s, whole_m * dmin);
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

/* d and dmin by least squares over all parts. */
INLINE void refit_lines(const lines *p, int count, float *d, float *dmin) {
    double ss = 0, sm = 0, mm = 0, sx = 0, mx = 0;
    for (int j = 0; j < count; j++) {
        double s = (double)p->s[j], m = (double)p->m[j];
        ss += s * s * (double)p->qq[j];
        sm += s * m * (double)p->q[j];
        mm += m * m * (double)p->one[j];
        sx += s * (double)p->qx[j];
        mx += m * (double)p->x[j];
    }
    double det = ss * mm - sm * sm;
    if (det > 1e-6 * ss * mm) {
        *d = (float)((sx * mm - sm * mx) / det);
        *dmin = (float)((sx * sm - mx * ss) / det);
    } else if (ss > 0) {
        *d = (float)((sx + (double)*dmin * sm) / ss);
    }
}

INLINE void lined_block(const wide *t, lined f, bool weighted, uint8_t *d_at, int *whole, uint8_t *q) {
    lines p;
    float d = 0, dmin = 0;
    first_lines(t, f, weighted, &p);
    for (int j = 0; j < BLOCK / f.n; j++) {
        d = p.s[j] > d ? p.s[j] : d;
        dmin = p.m[j] > dmin ? p.m[j] : dmin;
    }
    d /= (float)f.top;
    dmin /= (float)f.top;
    whole_lines(t, f, weighted, d, dmin, &p);
    refit_lines(&p, BLOCK / f.n, &d, &dmin);
    d = f16_of(d, d_at);
    dmin = f16_of(dmin, d_at + 2);
    for (int g = 0; g < VECTORS / f.n; g++) {
        vf whole_s = vf_load(p.s + g * LANES), whole_m = vf_load(p.m + g * LANES);
        vf per_step = vf_inverse(whole_s * d), plus = whole_m * dmin * per_step;
        for (int l = 0; l < LANES; l++) {
            whole[g * LANES + l] = (int)whole_s[l];
            whole[16 + g * LANES + l] = (int)whole_m[l];
        }
        for (int i = 0; i < f.n; i++) {
            vi k = vf_int(vf_clamp(vf_round(t->x[g * f.n + i] * per_step + plus), 0, (float)f.most));
            for (int l = 0; l < LANES; l++) q[(g * LANES + l) * f.n + i] = (uint8_t)k[l];
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

#define LINED(name, bytes, d_at, ...)                                                                                \
    void gal__quantise_##name(const float *x, const gal__weights *weights, uint8_t *blocks, int64_t count) {         \
        static const lined F = __VA_ARGS__;                                                                          \
        for (int64_t b = 0; b < count; b++) {                                                                        \
            wide t;                                                                                                  \
            int whole[32];                                                                                           \
            uint8_t q[BLOCK], *block = blocks + b * bytes;                                                           \
            if (weights) {                                                                                           \
                wide_load(&t, F.n, x, weights, b *BLOCK);                                                            \
                lined_block(&t, F, true, block + (d_at), whole, q);                                                  \
            } else {                                                                                                 \
                wide_load(&t, F.n, x, NULL, b *BLOCK);                                                               \
                lined_block(&t, F, false, block + (d_at), whole, q);                                                 \
            }                                                                                                        \
            put_##name(block, whole, q);                                                                             \
        }                                                                                                            \
    }

LINED(q2_k, 84, 80, { 16, 3, 15, 12, 0.6f, 0.05f })
LINED(q4_k, 144, 0, { 32, 15, 63, 16, 0.85f, 0.015f })
LINED(q5_k, 176, 0, { 32, 31, 63, 16, 0.88f, 0.012f })
