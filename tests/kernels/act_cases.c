/* act_cases.c - what is done number by number, and softmax. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel_test.h"

#include <float.h>
#include <math.h>

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* p: count, numbers in place of random ones come from the far ends of the range. */
static void extremes(void *p, gal_dtype dt, int64_t n) {
    static const double FAR[] = { -1e4, 1e4, -90, 90, -17, 17, 0, -0.0, 1e-30, -1e-30, -1.278 };
    for (int64_t i = 0; i < n && i < (int64_t)GAL_LEN(FAR); i++) kt_put(p, dt, i * 2 % n, FAR[i]);
}

static void setup_swiglu(kt *t, const int64_t *p) {
    kt_out *y = kt_result(t, t->dt, p[0], 1);
    void *g = kt_in(t, t->dt, p[0], t->scale), *u = kt_in(t, t->dt, p[0], 1);
    extremes(g, t->dt, p[0]);
    for (int64_t i = 0; i < p[0]; i++) {
        double x = kt_get(g, t->dt, i), w = kt_get(u, t->dt, i);
        y->abs[i] = 12 * KT_U * fabs(x * sigmoid(x) * w) + 4 * (double)FLT_MIN * (fabs(x * w) + 1);
    }
    KT_ARGS(t, gal_k_swiglu, y->p, g, u, t->dt, p[0]);
    t->bytes = 3.0 * (double)p[0] * (double)gal_dtype_bytes(t->dt);
}

/* Error of s (1 + x (1 - s)): terms may cancel, so it is relative to them. */
static double slope_error(double x) {
    double s = sigmoid(x);
    return 14 * KT_U * s * (1 + fabs(x) * (1 - s)) + 4 * (double)FLT_MIN * (fabs(x) + 1);
}

static void setup_swiglu_grad(kt *t, const int64_t *p) {
    kt_out *dg = kt_result(t, t->dt, p[0], 1), *du = kt_result(t, t->dt, p[0], 1);
    void *g = kt_in(t, t->dt, p[0], t->scale), *u = kt_in(t, t->dt, p[0], 1), *dy = kt_in(t, t->dt, p[0], 1);
    extremes(g, t->dt, p[0]);
    for (int64_t i = 0; i < p[0]; i++) {
        double x = kt_get(g, t->dt, i), w = kt_get(u, t->dt, i), d = kt_get(dy, t->dt, i);
        dg->abs[i] = fabs(d * w) * slope_error(x) + (double)FLT_MIN;
        du->abs[i] = 12 * KT_U * fabs(d * x * sigmoid(x)) + 4 * (double)FLT_MIN * (fabs(d * x) + 1);
    }
    KT_ARGS(t, gal_k_swiglu_grad, dg->p, du->p, dy, g, u, t->dt, p[0]);
    t->bytes = 5.0 * (double)p[0] * (double)gal_dtype_bytes(t->dt);
}

/* p: count, in place (1: y is a). */
static void setup_map(kt *t, const int64_t *p) {
    int64_t n = p[0];
    kt_out *y = kt_result(t, t->dt, n, t->scale);
    bool copy = t->c->id == GAL_K_COPY;
    gal_dtype adt = copy ? t->wdt : t->dt;
    void *a = p[1] ? y->p : kt_in(t, adt, n, t->scale), *b = kt_in(t, t->dt, n, 1);
    y->exact = copy || t->c->id == GAL_K_FILL;
    for (int64_t i = 0; i < n; i++) {
        double x = kt_get(a, adt, i), w = kt_get(b, t->dt, i), old = t->accumulate ? kt_get(y->p, t->dt, i) : 0;
        if (t->c->id == GAL_K_ADD) y->abs[i] = KT_U * (fabs(x) + fabs(w));
        if (t->c->id == GAL_K_MUL) y->abs[i] = 2 * KT_U * (fabs(x * w) + fabs(old));
        if (t->c->id == GAL_K_SILU)
            y->abs[i] = 12 * KT_U * fabs(x * sigmoid(x)) + 4 * (double)FLT_MIN * (fabs(x) + 1);
        if (t->c->id == GAL_K_SILU_GRAD)
            y->abs[i] = fabs(w) * slope_error(x) + 2 * KT_U * fabs(old) + (double)FLT_MIN;
    }
    KT_ARGS(t, gal_k_map, y->p, a, b, t->dt, adt, n, 1.6180339887, t->accumulate);
    t->bytes = 3.0 * (double)n * (double)gal_dtype_bytes(t->dt);
}

/* p: rows, columns. The sigmoid's argument is off by a few units, which counts where it is steep. */
static void setup_gelu(kt *t, const int64_t *p) {
    int64_t n = p[0], d = p[1];
    bool grad = t->c->id == GAL_K_GELU_GRAD;
    kt_out *y = kt_result(t, t->dt, n * d, 1);
    void *x = kt_in(t, t->dt, n * d, t->scale), *b = kt_in(t, t->wdt, d, 1), *dy = kt_in(t, t->dt, n * d, 1);
    extremes(x, t->dt, n * d);
    for (int64_t i = 0; i < n * d; i++) {
        double add = kt_get(b, t->wdt, i % d), h = kt_get(x, t->dt, i) + add, g = fabs(kt_get(dy, t->dt, i));
        double lost = KT_U * (fabs(kt_get(x, t->dt, i)) + fabs(add)); /* of the sum */
        double cube = 0.044715 * h * h, outer = 2 * sqrt(2 / 3.14159265358979323846), z = outer * h * (1 + cube);
        double s = sigmoid(z), steep = s * (1 - s), inner = outer * (1 + 3 * cube);
        double off = 6 * KT_U * fabs(z) + lost * inner; /* of z */
        double value = fabs(h) * (12 * KT_U * s + off * steep) + lost * s;
        double slope = 14 * KT_U * (s + fabs(h) * steep * inner) + off * steep * (1 + fabs(h) * inner) +
                       lost * steep * inner * (1 + 2 * cube / (1 + cube) * 4);
        /* A sigmoid below the least normal number may be 0. */
        double flushed = 4 * (double)FLT_MIN * (1 + fabs(h) * (1 + inner));
        y->abs[i] = grad ? g * (slope + flushed) + (double)FLT_MIN : value + flushed;
    }
    KT_ARGS(t, gal_k_gelu, y->p, x, b, dy, t->dt, t->wdt, n, d);
    t->bytes = (grad ? 3.0 : 2.0) * (double)(n * d) * (double)gal_dtype_bytes(t->dt);
}

/* p: rows, columns, groups. */
static void spans(kt *t, const int64_t *p, int32_t **lo, int32_t **hi) {
    int64_t share = p[0] / p[2];
    *lo = kt_ints(t, share);
    *hi = kt_ints(t, share);
    for (int64_t i = 0; i < share; i++) {
        (*lo)[i] = (int32_t)kt_below(t, p[1]);
        (*hi)[i] = (int32_t)((*lo)[i] + kt_below(t, p[1] - (*lo)[i] + 1)); /* may be empty */
        if (i == 0) {                                                      /* one whole row at least */
            (*lo)[i] = 0;
            (*hi)[i] = (int32_t)p[1];
        }
    }
}

static void setup_softmax(kt *t, const int64_t *p) {
    int64_t n = p[0], m = p[1], share = n / p[2];
    const double scale = 0.3;
    kt_out *y = kt_result(t, t->dt, n * m, 1);
    void *x = kt_in(t, t->dt, n * m, t->scale);
    int32_t *lo, *hi;
    spans(t, p, &lo, &hi);
    for (int64_t r = 0; r < n; r++) {
        double worst = 0, sum = 0;
        for (int64_t i = lo[r % share]; i < hi[r % share]; i++) {
            worst = fmax(worst, fabs(scale * kt_get(x, t->dt, r * m + i)));
            sum += exp(scale * kt_get(x, t->dt, r * m + i));
        }
        for (int64_t i = lo[r % share]; i < hi[r % share]; i++)
            y->abs[r * m + i] = ((double)m + 16 + 4 * worst) * KT_U * exp(scale * kt_get(x, t->dt, r * m + i)) / sum +
                                (double)FLT_MIN;
    }
    KT_ARGS(t, gal_k_softmax, y->p, x, NULL, t->dt, n, m, p[2], lo, hi, scale, false);
    t->bytes = 2.0 * (double)(n * m) * (double)gal_dtype_bytes(t->dt);
}

static void setup_softmax_grad(kt *t, const int64_t *p) {
    int64_t n = p[0], m = p[1], share = n / p[2];
    const double scale = 0.3;
    kt_out *dx = kt_result(t, t->dt, n * m, 1);
    void *y = kt_in(t, t->dt, n * m, 1), *dy = kt_in(t, t->dt, n * m, t->scale);
    int32_t *lo, *hi;
    spans(t, p, &lo, &hi);
    for (int64_t r = 0; r < n; r++) {
        double sum = 0;
        for (int64_t i = 0; i < m; i++) {
            bool in = i >= lo[r % share] && i < hi[r % share];
            kt_put(y, t->dt, r * m + i, in ? fabs(kt_get(y, t->dt, r * m + i)) / (double)m : 0);
            sum += fabs(kt_get(y, t->dt, r * m + i) * kt_get(dy, t->dt, r * m + i));
        }
        for (int64_t i = 0; i < m; i++) {
            double size = scale * kt_get(y, t->dt, r * m + i) * (fabs(kt_get(dy, t->dt, r * m + i)) + sum);
            if (t->accumulate) size += fabs(kt_get(dx->p, t->dt, r * m + i));
            dx->abs[r * m + i] = ((double)m + 6) * KT_U * size;
        }
    }
    KT_ARGS(t, gal_k_softmax, dx->p, y, dy, t->dt, n, m, p[2], lo, hi, scale, t->accumulate);
}

static const kt_case CASES[] = {
    { "swiglu 1", GAL_K_SWIGLU, setup_swiglu, { 1 }, 0, false },
    { "swiglu 4099", GAL_K_SWIGLU, setup_swiglu, { 4099 }, KT_SCALE, false },
    { "swiglu_grad 37", GAL_K_SWIGLU_GRAD, setup_swiglu_grad, { 37 }, KT_SCALE, false },
    { "swiglu_grad 8200", GAL_K_SWIGLU_GRAD, setup_swiglu_grad, { 8200 }, KT_SCALE, false },
    { "add 4117", GAL_K_ADD, setup_map, { 4117, 0 }, KT_SCALE, false },
    { "add 33 in place", GAL_K_ADD, setup_map, { 33, 1 }, 0, false },
    { "mul 4117", GAL_K_MUL, setup_map, { 4117, 0 }, KT_SCALE | KT_ACC, false },
    { "mul 29 in place", GAL_K_MUL, setup_map, { 29, 1 }, 0, false },
    { "silu 4117", GAL_K_SILU, setup_map, { 4117, 0 }, KT_SCALE, false },
    { "silu_grad 4117", GAL_K_SILU_GRAD, setup_map, { 4117, 0 }, KT_SCALE | KT_ACC, false },
    { "gelu 21x67", GAL_K_GELU, setup_gelu, { 21, 67 }, KT_SCALE | KT_WDT, false },
    { "gelu 3x1030", GAL_K_GELU, setup_gelu, { 3, 1030 }, 0, false },
    { "gelu_grad 21x67", GAL_K_GELU_GRAD, setup_gelu, { 21, 67 }, KT_SCALE | KT_WDT, false },
    { "copy 9001", GAL_K_COPY, setup_map, { 9001, 0 }, KT_SCALE | KT_WDT, false },
    { "fill 4101", GAL_K_FILL, setup_map, { 4101, 0 }, 0, false },
    { "fill 0", GAL_K_FILL, setup_map, { 0, 0 }, 0, false },
    { "softmax 1x1", GAL_K_SOFTMAX, setup_softmax, { 1, 1, 1 }, 0, false },
    { "softmax 36x67", GAL_K_SOFTMAX, setup_softmax, { 36, 67, 4 }, KT_SCALE, false },
    { "softmax_grad 36x67", GAL_K_SOFTMAX_GRAD, setup_softmax_grad, { 36, 67, 4 }, KT_SCALE | KT_ACC, false },
    { "swiglu 1M", GAL_K_SWIGLU, setup_swiglu, { 1 << 20 }, 0, true },
    { "swiglu_grad 1M", GAL_K_SWIGLU_GRAD, setup_swiglu_grad, { 1 << 20 }, 0, true },
    { "gelu 512x2048", GAL_K_GELU, setup_gelu, { 512, 2048 }, 0, true },
    { "gelu_grad 512x2048", GAL_K_GELU_GRAD, setup_gelu, { 512, 2048 }, 0, true },
    { "add 1M", GAL_K_ADD, setup_map, { 1 << 20, 0 }, 0, true },
    { "softmax 1024x512", GAL_K_SOFTMAX, setup_softmax, { 1024, 512, 1 }, 0, true },
    { "swiglu 8M", GAL_K_SWIGLU, setup_swiglu, { 1 << 23 }, KT_GPU, true },
    { "add 8M", GAL_K_ADD, setup_map, { 1 << 23, 0 }, KT_GPU, true },
};
const kt_family KT_ACT = { "act", CASES, GAL_LEN(CASES) };
