/* search.h - private to the quantisers: sums over blocks of N numbers, one block a lane, from which the best scale
 * for given whole numbers follows, and the error that it leaves (least squares).
 *
 * For numbers x with weights w and levels q, sum w (x - s q)^2 = xx - 2 s qx + s^2 qq: `qx` and `qq` say how good any
 * s is, and s = qx / qq is the best. With a minimum, sum w (x - s q + m)^2 needs the sums `q`, `x` and `1` too.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TENSOR_SEARCH_H
#define GAL_TENSOR_SEARCH_H

#include "tensor/lanes.h"
#include "tensor/quantise.h"
#include "tensor/tensor.h"

#include <float.h>
#include <math.h>

/* Levels are the whole numbers from `least` to `most`, or, if both are 0, those of IQ4. */
typedef struct levels {
    int least, most;
} levels;

/* The multiples of a first scale that are tried: `count` of one sign, `turned` of the other. */
typedef struct tries {
    int count;
    float from, step;
    int turned;
    float turned_from, turned_step;
    bool again; /* then those next to the best, with a common scale that is made for them */
} tries;

INLINE float multiple(tries t, int k) {
    return k < t.count ? t.from + (float)k * t.step : -(t.turned_from + (float)(k - t.count) * t.turned_step);
}

/* Of LANES blocks: x[i] and w[i] hold number i of each; w is NULL if all weights are 1. */
typedef struct group {
    const vf *x, *w;
    int n;
} group;

INLINE vf weight_of(group g, int i) { return g.w ? g.w[i] : vf_of(1); }

/* The nearest of IQ4's levels, which lie denser about zero. */
INLINE vf iq4_near(vf v) {
    static const float EDGE[15] = { -115.5f, -93.5f, -74,   -57,   -42, -28.5f, -16, -4.5f,
                                    7,       19,     31.5f, 45.5f, 61,  79,     101 };
    static const float RISE[15] = { 23, 21, 18, 16, 14, 13, 12, 11, 12, 12, 13, 15, 16, 20, 24 };
    vf level = vf_of(-127);
    for (int i = 0; i < 15; i++) level += (vf)((v > EDGE[i]) & (vi)vf_of(RISE[i]));
    return level;
}

/* The number of that level, 0 to 15. */
INLINE vi iq4_index(vf v) {
    static const float EDGE[15] = { -115.5f, -93.5f, -74,   -57,   -42, -28.5f, -16, -4.5f,
                                    7,       19,     31.5f, 45.5f, 61,  79,     101 };
    vi index = { 0 };
    for (int i = 0; i < 15; i++) index -= v > EDGE[i];
    return index;
}

INLINE vf nearest(levels l, vf v) {
    return l.least == l.most ? iq4_near(v) : vf_clamp(vf_round(v), (float)l.least, (float)l.most);
}

INLINE void extremes(group g, vf *min, vf *max) {
    *min = *max = g.x[0];
    for (int i = 1; i < g.n; i++) {
        *min = vf_min(g.x[i], *min);
        *max = vf_max(g.x[i], *max);
    }
}

/* Levels of a scale alone. */
typedef struct fit {
    vf qx, qq;
} fit;

INLINE fit fit_scale(group g, levels l, vf per_step) {
    fit f = { { 0 }, { 0 } };
    for (int i = 0; i < g.n; i++) {
        vf q = nearest(l, g.x[i] * per_step), wq = weight_of(g, i) * q;
        f.qx += wq * g.x[i];
        f.qq += wq * q;
    }
    return f;
}

/* The error, less what does not depend on s and q. */
INLINE vf fit_error(fit f, vf s) { return s * (s * f.qq - 2 * f.qx); }

/* Levels of a scale and a minimum. */
typedef struct line {
    vf q, qx, qq;
} line;

INLINE line fit_line(group g, int most, vf per_step, vf plus) {
    line f = { { 0 }, { 0 }, { 0 } };
    for (int i = 0; i < g.n; i++) {
        vf q = vf_clamp(vf_round(g.x[i] * per_step + plus), 0, (float)most), wq = weight_of(g, i) * q;
        f.q += wq;
        f.qx += wq * g.x[i];
        f.qq += wq * q;
    }
    return f;
}

/* sums of w and w x. */
INLINE void moments(group g, vf *one, vf *x) {
    *one = *x = vf_of(0);
    for (int i = 0; i < g.n; i++) {
        *one += weight_of(g, i);
        *x += weight_of(g, i) * g.x[i];
    }
}

INLINE vf line_error(line f, vf one, vf x, vf s, vf m) {
    return s * (s * f.qq - 2 * (f.qx + m * f.q)) + m * (m * one + 2 * x);
}

/* What errors count, from importances: the mean of a row becomes 1; what is no importance becomes 0. */
INLINE void to_weights(vf *w, int n, float scale) {
    for (int i = 0; i < n; i++) w[i] = (vf)((w[i] > 0) & (w[i] <= FLT_MAX) & (vi)(w[i] * scale)) + 0x1p-12f;
}

#endif
