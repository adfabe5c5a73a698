/* optim_cases.c - the updates of the optimisers: every type of weight, rounding, kind of decay and what is left out;
 * the factors of Adafactor; moving averages. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel_test.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

enum { BF16 = 1, CHANCE = 2, COUPLED = 4, NESTEROV = 8, PLAIN = 16 /* no m */, WORK = 32, HALF_WORK = 64, RMS = 128 };

static const gal_opt_step STEP = { .lr = 3e-4f,
                                   .beta1 = 0.9f,
                                   .beta2 = 0.95f,
                                   .eps = 1e-8f,
                                   .bias1 = 0.271f,
                                   .bias2 = 0.1426f,
                                   .clip = 1,
                                   .grad_norm = 2,
                                   .grad_scale = 0.5f,
                                   .momentum = 0.8f,
                                   .seed = 7,
                                   .t = 3 };
static const double DECAY = 0.1;

static gal_opt_step *step_of(kt *t) {
    gal_opt_step *st = (void *)kt_doubles(t, sizeof STEP / sizeof(double));
    *st = STEP;
    return st;
}

/* One rounding of a weight of the type. */
static double place(gal_dtype dt, double x) { return fabs(x) * (dt == GAL_BF16 ? 0x1p-7 : 0x1p-23); }

/* The weight, its copy and what moved, as outputs 0, 1, 2; the update's arguments but gradient and states. */
static gal_k_update shared(kt *t, int64_t n, int64_t how) {
    gal_dtype wdt = how & BF16 ? GAL_BF16 : t->dt, work = how & HALF_WORK ? GAL_F16 : GAL_BF16;
    bool copy = how & (WORK | HALF_WORK);
    kt_out *w = kt_result(t, wdt, n, 1), *o = kt_result(t, work, copy ? n : 0, 1);
    kt_out *moved = kt_result(t, GAL_F64, (n + GAL_MOVED_CHUNK - 1) / GAL_MOVED_CHUNK, 1);
    return (gal_k_update){ .w = w->p,
                           .work = copy ? o->p : NULL,
                           .moved = moved->p,
                           .dt = t->dt,
                           .wdt = wdt,
                           .work_dt = work,
                           .st = step_of(t),
                           .count = n,
                           .decay = (float)DECAY,
                           .coupled = how & COUPLED,
                           .chance = how & CHANCE,
                           .nesterov = how & NESTEROV,
                           .index = 5 };
}

/* Element i moves by `step` (times lr), which is known within err. */
static void expect(kt *t, const gal_k_update *u, int64_t i, double step, double err) {
    kt_out *w = &t->out[0];
    double old = kt_get(w->p, u->wdt, i);
    w->abs[i] = 3 * KT_U * fabs(old) + err;
    if (u->work) t->out[1].abs[i] = w->abs[i] + 0x1p-23 * fabs(old);
    /* Another rounding of w changes the square of its movement d by 2 d e + e^2. */
    double d = fabs(step) + DECAY * 3e-4 * fabs(old) + place(u->wdt, old) * (u->wdt == GAL_BF16),
           e = w->abs[i] + place(u->wdt, fabs(old) + d);
    t->out[2].abs[i / GAL_MOVED_CHUNK] += 2 * d * e + e * e;
}

/* p: count, how. */
static void setup_adamw(kt *t, const int64_t *p) {
    int64_t n = p[0];
    gal_k_update u = shared(t, n, p[1]);
    kt_out *m = kt_result(t, t->dt, n, 1), *v = kt_result(t, t->dt, n, 1);
    void *grad = kt_in(t, t->dt, n, t->scale);
    for (int64_t i = 0; i < n; i++) { /* v is a mean of squares */
        kt_put(v->initial, t->dt, i, kt_get(v->p, t->dt, i) * kt_get(v->p, t->dt, i) * t->scale * t->scale);
        double g = kt_get(grad, t->dt, i) * 0.5, mi = kt_get(m->p, t->dt, i), vi = kt_get(v->initial, t->dt, i);
        double more = u.coupled ? DECAY * fabs(kt_get(u.w, u.wdt, i)) : 0, g_size = fabs(g) + more;
        double m_size = fabs(0.9 * mi) + 0.1 * g_size, v_new = 0.95 * vi + 0.05 * g_size * g_size;
        m->abs[i] = 5 * KT_U * m_size;
        v->abs[i] = 8 * KT_U * v_new;
        if (u.coupled) g += DECAY * kt_get(u.w, u.wdt, i);
        /* Where gradient and decay cancel, v is known within the roundings of both. */
        double least = fmax(0.95 * vi + 0.05 * g * g - v->abs[i], 0.95 * vi * 0.5);
        double root = sqrt(least / (double)STEP.bias2) + 1e-8;
        double size = 3e-4 * m_size / (double)STEP.bias1 / root;
        expect(t, &u, i, size, (20 + (u.coupled ? 8 * v_new / fmax(least, 1e-30) : 0)) * KT_U * size);
    }
    memcpy(v->p, v->initial, (size_t)n * gal_dtype_bytes(t->dt));
    u.m = m->p;
    u.v = v->p;
    u.grad = grad;
    kt_args(t, &u, sizeof u);
    t->bytes = 28.0 * (double)n;
}

static void setup_sgd(kt *t, const int64_t *p) {
    int64_t n = p[0];
    gal_k_update u = shared(t, n, p[1]);
    kt_out *m = p[1] & PLAIN ? NULL : kt_result(t, t->dt, n, 1);
    void *grad = kt_in(t, t->dt, n, t->scale);
    for (int64_t i = 0; i < n; i++) {
        double g = fabs(kt_get(grad, t->dt, i)) * 0.5 + (u.coupled ? DECAY * fabs(kt_get(u.w, u.wdt, i)) : 0);
        double size = g + (m ? 0.8 * fabs(kt_get(m->p, t->dt, i)) : 0);
        if (m) m->abs[i] = 4 * KT_U * size;
        if (u.nesterov) size = g + 0.8 * size;
        expect(t, &u, i, 3e-4 * size, 8 * KT_U * 3e-4 * size);
    }
    u.m = m ? m->p : NULL;
    u.grad = grad;
    kt_args(t, &u, sizeof u);
    t->bytes = (m ? 20.0 : 12.0) * (double)n;
}

/* ---- Adafactor ---------------------------------------------------------------------------------------------------
 */

/* p: rows, columns, how. The factors as they would be in the middle of a training; outputs follow those of shared().
 */
typedef struct factors {
    gal_k_factor a;
    kt_out *r, *c, *ri, *ci, *partial, *number, *m;
} factors;

static double *sums(const factors *f, const void *grad, bool of_rows) {
    static double sum[4096];
    memset(sum, 0, sizeof sum);
    for (int64_t i = 0; i < f->a.u.count; i++) {
        double g = kt_get(grad, GAL_F32, i) * 0.5;
        sum[of_rows ? i / f->a.cols : i % f->a.cols] += g * g;
    }
    return sum;
}

static void begin_factors(kt *t, const int64_t *p, factors *f) {
    int64_t rows = p[0], cols = p[1], n = rows * cols, parts = (n + GAL_SUM_CHUNK - 1) / GAL_SUM_CHUNK;
    *f = (factors){ .a = { .u = shared(t, n, p[2]), .rows = rows, .cols = cols } };
    void *grad = kt_in(t, GAL_F32, n, t->scale);
    float *r = kt_in(t, GAL_F32, rows, 1), *c = kt_in(t, GAL_F32, cols, 1), *ri = kt_in(t, GAL_F32, rows, 1),
          *ci = kt_in(t, GAL_F32, cols, 1);
    double *partial = kt_in(t, GAL_F64, parts, 1), *w = kt_in(t, GAL_F64, parts, 1),
           *number = kt_in(t, GAL_F64, 2, 1);
    for (int64_t i = 0; i < rows; i++) r[i] = (0.2f + r[i] * r[i]) * (float)(t->scale * t->scale);
    for (int64_t i = 0; i < cols; i++) c[i] = (0.2f + c[i] * c[i]) * (float)(t->scale * t->scale);
    for (int64_t i = 0; i < rows; i++) ri[i] = 1.0f / sqrtf(r[i]);
    for (int64_t i = 0; i < cols; i++) ci[i] = 1.0f / sqrtf(c[i]);
    for (int64_t i = 0; i < parts; i++) {
        partial[i] = (1 + fabs(partial[i])) * 9e4;
        w[i] = (1 + fabs(w[i])) * 4e3;
    }
    number[0] = 0.7 * t->scale;
    number[1] = 0.3;
    f->a.u.grad = grad;
    f->a.r = r;
    f->a.c = c;
    f->a.ri = ri;
    f->a.ci = ci;
    f->a.partial = partial;
    f->a.wpartial = p[2] & RMS ? w : NULL;
    f->a.number = number;
    t->bytes = 4.0 * (double)n;
}

/* A line of factors as outputs, with the results worked out here. */
static void expect_line(kt *t, float **line, float **inverse, int64_t n, const double *sum, int64_t of) {
    kt_out *f = kt_result(t, GAL_F32, n, 1), *fi = kt_result(t, GAL_F32, n, 1);
    f->want = kt_doubles(t, n);
    fi->want = kt_doubles(t, n);
    for (int64_t i = 0; i < n; i++) {
        kt_put(f->initial, GAL_F32, i, (double)(*line)[i]);
        f->want[i] = (double)STEP.beta2 * (double)(*line)[i] +
                     (1 - (double)STEP.beta2) * (sum[i] / (double)of + 1e-30);
        f->abs[i] = (double)of * 0x1p-52 * f->want[i];
        fi->want[i] = 1 / sqrt(f->want[i]);
        fi->abs[i] = 2 * KT_U * fi->want[i];
    }
    memcpy(f->p, f->initial, (size_t)n * sizeof(float));
    *line = f->p;
    *inverse = fi->p;
}

static void setup_factor_rows(kt *t, const int64_t *p) {
    factors f;
    begin_factors(t, p, &f);
    expect_line(t, &f.a.r, &f.a.ri, f.a.rows, sums(&f, f.a.u.grad, true), f.a.cols);
    kt_args(t, &f.a, sizeof f.a);
}

static void setup_factor_cols(kt *t, const int64_t *p) {
    factors f;
    begin_factors(t, p, &f);
    expect_line(t, &f.a.c, &f.a.ci, f.a.cols, sums(&f, f.a.u.grad, false), f.a.rows);
    kt_args(t, &f.a, sizeof f.a);
}

static double direction(const factors *f, int64_t i) {
    return kt_get(f->a.u.grad, GAL_F32, i) * (double)f->a.ri[i / f->a.cols] * (double)f->a.ci[i % f->a.cols];
}

static void setup_factor_squares(kt *t, const int64_t *p) {
    factors f;
    begin_factors(t, p, &f);
    int64_t parts = (f.a.u.count + GAL_SUM_CHUNK - 1) / GAL_SUM_CHUNK;
    kt_out *o = kt_result(t, GAL_F64, parts, 1);
    o->want = kt_doubles(t, parts);
    for (int64_t i = 0; i < f.a.u.count; i++) o->want[i / GAL_SUM_CHUNK] += direction(&f, i) * direction(&f, i);
    for (int64_t i = 0; i < parts; i++) o->abs[i] = (GAL_SUM_CHUNK * 0x1p-52 + 6 * KT_U) * o->want[i];
    f.a.partial = o->p;
    kt_args(t, &f.a, sizeof f.a);
}

static void setup_factor_scale(kt *t, const int64_t *p) {
    factors f;
    begin_factors(t, p, &f);
    kt_out *o = kt_result(t, GAL_F64, 2, 1);
    o->want = kt_doubles(t, 2);
    double mean = 0, u = 0, w = 0, n = (double)f.a.u.count;
    for (int64_t i = 0; i < f.a.rows; i++) mean += (double)f.a.r[i];
    mean /= (double)f.a.rows;
    for (int64_t i = 0; i < (f.a.u.count + GAL_SUM_CHUNK - 1) / GAL_SUM_CHUNK; i++) {
        u += f.a.partial[i];
        w += f.a.wpartial ? f.a.wpartial[i] : 0;
    }
    o->want[0] = sqrt(mean) / fmax(1, 0.5 * sqrt(mean) * sqrt(u / n));
    o->want[1] = f.a.wpartial ? fmax(1e-3, sqrt(w / n)) : 1;
    for (int k = 0; k < 2; k++) o->abs[k] = (double)f.a.rows * 0x1p-50 * o->want[k];
    f.a.number = o->p;
    kt_args(t, &f.a, sizeof f.a);
}

static void setup_factor_update(kt *t, const int64_t *p) {
    factors f;
    begin_factors(t, p, &f);
    kt_out *m = p[2] & PLAIN ? NULL : kt_result(t, GAL_F32, f.a.u.count, 1);
    for (int64_t i = 0; i < f.a.u.count; i++) {
        double size = fabs(direction(&f, i)) * 0.5 * f.a.number[0];
        if (m) size = 0.8 * fabs(kt_get(m->p, GAL_F32, i)) + 0.2 * size;
        if (m) m->abs[i] = 8 * KT_U * size;
        expect(t, &f.a.u, i, 3e-4 * 0.3 * size, 12 * KT_U * 3e-4 * size);
    }
    f.a.u.m = m ? m->p : NULL;
    kt_args(t, &f.a, sizeof f.a);
    t->bytes *= m ? 5 : 3;
}

static void setup_ema(kt *t, const int64_t *p) {
    int64_t n = p[0];
    kt_out *o = kt_result(t, GAL_F32, n, 1);
    void *w = kt_in(t, t->wdt, n, t->scale);
    const double decay = 0.999;
    o->want = kt_doubles(t, n);
    for (int64_t i = 0; i < n; i++) {
        double old = kt_get(o->p, GAL_F32, i), x = kt_get(w, t->wdt, i);
        o->want[i] = decay * old + (1 - decay) * x;
        o->abs[i] = 3 * KT_U * (fabs(old) + (1 - decay) * fabs(x));
    }
    KT_ARGS(t, gal_k_ema, o->p, w, t->wdt, n, decay);
    t->bytes = (double)n * (8 + (double)gal_dtype_bytes(t->wdt));
}

static const kt_case CASES[] = {
    { "adamw 37", GAL_K_ADAMW, setup_adamw, { 37, 0 }, KT_F32 | KT_SCALE, false },
    { "adamw 4133 and bf16", GAL_K_ADAMW, setup_adamw, { 4133, WORK }, KT_F32 | KT_SCALE, false },
    { "adamw 100 and f16", GAL_K_ADAMW, setup_adamw, { 100, HALF_WORK }, KT_F32, false },
    { "adamw 17001", GAL_K_ADAMW, setup_adamw, { 17001, 0 }, KT_F32, false },
    { "adamw of bf16, 2053", GAL_K_ADAMW, setup_adamw, { 2053, BF16 }, KT_F32, false },
    { "adamw of bf16 by chance, 6151", GAL_K_ADAMW, setup_adamw, { 6151, BF16 | CHANCE }, KT_F32, false },
    { "adam 2049", GAL_K_ADAMW, setup_adamw, { 2049, COUPLED }, KT_F32 | KT_SCALE, false },
    { "sgd 37", GAL_K_SGD, setup_sgd, { 37, 0 }, KT_F32 | KT_SCALE, false },
    { "sgd without momentum, 4133", GAL_K_SGD, setup_sgd, { 4133, PLAIN }, KT_F32, false },
    { "sgd, nesterov, 4133", GAL_K_SGD, setup_sgd, { 4133, NESTEROV | COUPLED | WORK }, KT_F32 | KT_SCALE, false },
    { "sgd of bf16, 301", GAL_K_SGD, setup_sgd, { 301, BF16 }, KT_F32, false },
    { "sgd of bf16 by chance, 2051", GAL_K_SGD, setup_sgd, { 2051, BF16 | CHANCE }, KT_F32, false },
    { "factor_rows 37 x 19", GAL_K_FACTOR_ROWS, setup_factor_rows, { 37, 19, 0 }, KT_F32 | KT_SCALE, false },
    { "factor_rows 131 x 1", GAL_K_FACTOR_ROWS, setup_factor_rows, { 131, 1, 0 }, KT_F32, false },
    { "factor_cols 37 x 19", GAL_K_FACTOR_COLS, setup_factor_cols, { 37, 19, 0 }, KT_F32 | KT_SCALE, false },
    { "factor_cols 5 x 200", GAL_K_FACTOR_COLS, setup_factor_cols, { 5, 200, 0 }, KT_F32, false },
    { "factor_cols 131 x 1", GAL_K_FACTOR_COLS, setup_factor_cols, { 131, 1, 0 }, KT_F32, false },
    { "factor_squares 137 x 301",
      GAL_K_FACTOR_SQUARES,
      setup_factor_squares,
      { 137, 301, 0 },
      KT_F32 | KT_SCALE,
      false },
    { "factor_scale 137 x 301", GAL_K_FACTOR_SCALE, setup_factor_scale, { 137, 301, 0 }, KT_F32 | KT_SCALE, false },
    { "factor_scale 37 x 9, rms", GAL_K_FACTOR_SCALE, setup_factor_scale, { 37, 9, RMS }, KT_F32, false },
    { "factor_update 37 x 19",
      GAL_K_FACTOR_UPDATE,
      setup_factor_update,
      { 37, 19, PLAIN },
      KT_F32 | KT_SCALE,
      false },
    { "factor_update 67 x 71", GAL_K_FACTOR_UPDATE, setup_factor_update, { 67, 71, WORK }, KT_F32, false },
    { "factor_update of bf16", GAL_K_FACTOR_UPDATE, setup_factor_update, { 67, 71, BF16 | PLAIN }, KT_F32, false },
    { "factor_update by chance",
      GAL_K_FACTOR_UPDATE,
      setup_factor_update,
      { 67, 71, BF16 | CHANCE | PLAIN },
      KT_F32,
      false },
    { "factor_update 131 x 1", GAL_K_FACTOR_UPDATE, setup_factor_update, { 131, 1, PLAIN }, KT_F32, false },
    { "ema 4133", GAL_K_EMA, setup_ema, { 4133 }, KT_F32 | KT_WDT | KT_SCALE, false },
    { "adamw 1M", GAL_K_ADAMW, setup_adamw, { 1 << 20, 0 }, KT_F32, true },
    { "adamw of bf16 by chance, 1M", GAL_K_ADAMW, setup_adamw, { 1 << 20, BF16 | CHANCE }, KT_F32, true },
    { "sgd 1M", GAL_K_SGD, setup_sgd, { 1 << 20, 0 }, KT_F32, true },
    { "factor_cols 1024 x 1024", GAL_K_FACTOR_COLS, setup_factor_cols, { 1024, 1024, 0 }, KT_F32, true },
    { "factor_update 1024 x 1024", GAL_K_FACTOR_UPDATE, setup_factor_update, { 1024, 1024, PLAIN }, KT_F32, true },
    { "adamw 8M", GAL_K_ADAMW, setup_adamw, { 1 << 23, WORK }, KT_F32 | KT_GPU, true },
};
const kt_family KT_OPTIM = { "optim", CASES, GAL_LEN(CASES) };
