/* loss_cases.c - cross entropy, weighted sums, the optimiser. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel_test.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

static double log_sum_exp(const void *x, gal_dtype dt, int64_t at, int64_t n, double *worst) {
    double max = (double)-INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) max = fmax(max, kt_get(x, dt, at + i));
    *worst = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += exp(kt_get(x, dt, at + i) - max);
        *worst = fmax(*worst, fabs(kt_get(x, dt, at + i)));
    }
    return max + log(sum);
}

/* p: rows, vocabulary. Both kernels: the gradient works in place on the logits. */
static void setup_xent(kt *t, const int64_t *p) {
    int64_t r = p[0], v = p[1];
    bool grad = t->c->id == GAL_K_XENT_GRAD;
    kt_out *out = grad ? kt_result(t, t->dt, r * v, t->scale) : NULL;
    void *logits = grad ? out->p : kt_in(t, t->dt, r * v, t->scale);
    kt_out *loss = grad ? NULL : kt_result(t, t->dt, r, 1), *lse = grad ? NULL : kt_result(t, t->dt, r, 1);
    void *lse_in = grad ? kt_in(t, t->dt, r, 1) : lse->p, *dloss = kt_in(t, t->dt, r, 1);
    int32_t *target = kt_ints(t, r);
    for (int64_t i = 0; i < r; i++) {
        target[i] = i % 3 == 1 ? -1 : (int32_t)kt_below(t, v);
        double worst, exact = log_sum_exp(logits, t->dt, i * v, v, &worst), d = kt_get(dloss, t->dt, i);
        double rel = ((double)v + 16 + 4 * worst) * KT_U;
        if (grad) {
            kt_put(lse_in, t->dt, i, exact);
            for (int64_t k = 0; k < v; k++)
                out->abs[i * v + k] = target[i] < 0
                                          ? 0
                                          : fabs(d) * (2 * rel * exp(kt_get(logits, t->dt, i * v + k) - exact) +
                                                       (k == target[i] ? 4 * KT_U : 0)) +
                                                2 * (double)FLT_MIN; /* subnormal numbers may be 0 */
        } else {
            lse->abs[i] = rel + 2 * KT_U * fabs(exact);
            loss->abs[i] = target[i] < 0 ? 0 : lse->abs[i] + 2 * KT_U * (fabs(exact) + worst);
        }
    }
    KT_ARGS(t, gal_k_xent, logits, grad ? NULL : loss->p, lse_in, dloss, t->dt, target, r, v);
    t->bytes = (grad ? 8.0 : 4.0) * (double)(r * v);
}

static void setup_wsum(kt *t, const int64_t *p) {
    int64_t n = p[0];
    bool grad = t->c->id == GAL_K_WSUM_GRAD;
    kt_out *y = kt_result(t, t->dt, grad ? n : 1, 1);
    void *x = kt_in(t, t->dt, n, t->scale), *dy = kt_in(t, t->dt, 1, 1), *weight = kt_in(t, GAL_F32, n, 1);
    double size = 0;
    for (int64_t i = 0; i < n; i++) {
        double part = fabs(kt_get(weight, GAL_F32, i) * kt_get(grad ? dy : x, t->dt, grad ? 0 : i));
        size += part;
        if (grad) y->abs[i] = 2 * KT_U * (part + (t->accumulate ? fabs(kt_get(y->p, t->dt, i)) : 0));
    }
    if (!grad) y->abs[0] = (double)n * 0x1p-52 * size;
    KT_ARGS(t, gal_k_wsum, y->p, x, dy, weight, t->dt, n, t->accumulate);
}

static void setup_squares(kt *t, const int64_t *p) {
    int64_t n = p[0], parts = (n + GAL_SUM_CHUNK - 1) / GAL_SUM_CHUNK;
    void *x = kt_in(t, t->dt, n, t->scale);
    kt_out *o = kt_result(t, GAL_F64, parts, 1);
    o->want = kt_doubles(t, parts);
    for (int64_t i = 0; i < n; i++) o->want[i / GAL_SUM_CHUNK] += kt_get(x, t->dt, i) * kt_get(x, t->dt, i);
    for (int64_t i = 0; i < parts; i++) o->abs[i] = GAL_SUM_CHUNK * 0x1p-52 * o->want[i];
    KT_ARGS(t, gal_k_sum_squares, o->p, x, t->dt, n);
    t->bytes = (double)n * (double)gal_dtype_bytes(t->dt);
}

enum { STEP_FLOATS = sizeof(gal_opt_step) / sizeof(float) };

/* p: partials, clip in hundredths of the norm. */
static void setup_clip(kt *t, const int64_t *p) {
    t->shift -= t->shift % 2; /* a structure lies at 8 bytes */
    kt_out *st = kt_result(t, GAL_F32, STEP_FLOATS, 1);
    double *partial = kt_in(t, GAL_F64, p[0], t->scale), sum = 0;
    for (int64_t i = 0; i < p[0]; i++) {
        partial[i] = fabs(partial[i]);
        sum += partial[i];
    }
    double clip = (double)(float)(sqrt(sum) * (double)p[1] / 100);
    kt_put(st->initial, GAL_F32, offsetof(gal_opt_step, clip) / sizeof(float), clip);
    memcpy(st->p, st->initial, sizeof(gal_opt_step));
    st->want = kt_doubles(t, STEP_FLOATS);
    for (int64_t i = 0; i < STEP_FLOATS; i++) st->want[i] = kt_get(st->initial, GAL_F32, i);
    st->want[offsetof(gal_opt_step, grad_norm) / sizeof(float)] = sqrt(sum);
    st->want[offsetof(gal_opt_step, grad_scale) / sizeof(float)] = clip > 0 && clip < sqrt(sum) ? clip / sqrt(sum)
                                                                                                : 1;
    KT_ARGS(t, gal_k_clip, st->p, partial, p[0]);
}

static const kt_case CASES[] = {
    { "xent 1x1", GAL_K_XENT, setup_xent, { 1, 1 }, KT_F32, false },
    { "xent 17x67", GAL_K_XENT, setup_xent, { 17, 67 }, KT_F32 | KT_SCALE, false },
    { "xent 5x2051", GAL_K_XENT, setup_xent, { 5, 2051 }, KT_F32 | KT_SCALE, false },
    { "xent_grad 17x67", GAL_K_XENT_GRAD, setup_xent, { 17, 67 }, KT_F32 | KT_SCALE, false },
    { "xent_grad 5x2051", GAL_K_XENT_GRAD, setup_xent, { 5, 2051 }, KT_F32 | KT_SCALE, false },
    { "wsum 1", GAL_K_WSUM, setup_wsum, { 1 }, KT_F32, false },
    { "wsum 131", GAL_K_WSUM, setup_wsum, { 131 }, KT_F32 | KT_SCALE, false },
    { "wsum_grad 131", GAL_K_WSUM_GRAD, setup_wsum, { 131 }, KT_F32 | KT_SCALE | KT_ACC, false },
    { "sum_squares 5", GAL_K_SUM_SQUARES, setup_squares, { 5 }, KT_F32 | KT_SCALE, false },
    { "sum_squares 40001", GAL_K_SUM_SQUARES, setup_squares, { 40001 }, KT_F32 | KT_SCALE, false },
    { "clip, above", GAL_K_CLIP, setup_clip, { 7, 50 }, KT_F32 | KT_SCALE, false },
    { "clip, below", GAL_K_CLIP, setup_clip, { 7, 150 }, KT_F32, false },
    { "clip, no limit", GAL_K_CLIP, setup_clip, { 1, 0 }, KT_F32, false },
    { "xent 64x32000", GAL_K_XENT, setup_xent, { 64, 32000 }, KT_F32, true },
    { "xent_grad 64x32000", GAL_K_XENT_GRAD, setup_xent, { 64, 32000 }, KT_F32, true },
    { "xent 256x32000", GAL_K_XENT, setup_xent, { 256, 32000 }, KT_F32 | KT_GPU, true },
    { "xent_grad 256x32000", GAL_K_XENT_GRAD, setup_xent, { 256, 32000 }, KT_F32 | KT_GPU, true },
};
const kt_family KT_LOSS = { "loss", CASES, GAL_LEN(CASES) };
