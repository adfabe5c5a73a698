/* kinds_test.c - two updates of each optimiser beside the papers' formulas in double; what precisions do with an
 * update; rounding by chance keeps the mean; states have names and shapes. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include "base/buf.h"
#include "base/mem.h"
#include "optim/optim.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 3, COLS = 4, COUNT = ROWS * COLS, UPDATES = 2 };

/* A matrix and a scale of a norm, with the device and the context to update them in. */
typedef struct bench {
    char names[2][8];
    gal_w w[2];
    gal_dev *dev;
    gal_ctx *cx;
    gal_optim *opt;
    double x[2][COUNT]; /* what the formulas make of them */
} bench;

static int64_t count_of(int k) { return k ? COLS : COUNT; }
static double gradient(int update, int k, int64_t i) { return 0.3 * (double)(i - 4) + 0.7 * update - 0.4 * k; }

static void begin(bench *b, const char *level, const gal_optim_options *o) {
    *b = (bench){ .names = { "matrix", "scale" } };
    b->w[0] = (gal_w){ .name = b->names[0], .role = GAL_W_LINEAR, .ndim = 2, .dim = { ROWS, COLS }, .owned = true };
    b->w[1] = (gal_w){ .name = b->names[1], .role = GAL_W_NORM, .ndim = 1, .dim = { COLS }, .owned = true };
    for (int k = 0; k < 2; k++) {
        float *p = gal_alloc((size_t)count_of(k) * sizeof *p);
        assert_non_null(p);
        for (int64_t i = 0; i < count_of(k); i++) p[i] = 0.25f * (float)(i + 1) - (float)k;
        for (int64_t i = 0; i < count_of(k); i++) b->x[k][i] = (double)p[i];
        b->w[k].data = p;
    }
    CHECK_OK(gal_dev_open(&b->dev, &(gal_device_options){ .cpu = level, .threads = 1 }, diag));
    CHECK_OK(gal_optim_new(&b->opt, b->dev, b->w, 2, 1u, o, diag));
    CHECK_OK(gal_ctx_new(&b->cx, b->dev, GAL_F32, diag));
}

static void end(bench *b) {
    gal_ctx_free(b->cx);
    gal_optim_free(b->opt);
    gal_dev_close(b->dev);
    for (int k = 0; k < 2; k++) gal_free(b->w[k].data);
}

static void update(bench *b, double lr, bool measure) {
    CHECK_OK(gal_optim_prepare(b->opt, lr, diag));
    gal_step_begin(b->cx);
    gal_optim_norm(b->cx, b->opt);
    gal_optim_update(b->cx, b->opt, measure);
    CHECK_OK(gal_step_end(b->cx, diag));
    b->opt->t++;
}

static void set_gradients(const bench *b, int n) {
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < count_of(k); i++) ((float *)b->w[k].grad)[i] = (float)gradient(n, k, i);
}

/* ---- formulas ----------------------------------------------------------------------------------------------------
 */

typedef void (*formula)(bench *b, const gal_optim_options *o, int k, const double *g, int t, double lr);
static double m[2][COUNT], v[2][COUNT], r[2][COUNT], c[2][COUNT];

static void adam(bench *b, const gal_optim_options *o, int k, const double *g, int t, double lr) {
    double decay = k ? 0 : o->weight_decay;
    bool coupled = o->kind == &gal__optim_adam;
    for (int64_t i = 0; i < count_of(k); i++) {
        double x = g[i] + (coupled ? decay * b->x[k][i] : 0);
        m[k][i] = o->beta1 * m[k][i] + (1 - o->beta1) * x;
        v[k][i] = o->beta2 * v[k][i] + (1 - o->beta2) * x * x;
        double step = m[k][i] / (1 - pow(o->beta1, t)) / (sqrt(v[k][i] / (1 - pow(o->beta2, t))) + o->eps);
        b->x[k][i] -= lr * step + (coupled ? 0 : lr * decay * b->x[k][i]);
    }
}

static void sgd(bench *b, const gal_optim_options *o, int k, const double *g, int t, double lr) {
    (void)t;
    for (int64_t i = 0; i < count_of(k); i++) {
        double x = g[i] + (k ? 0 : o->weight_decay * b->x[k][i]);
        m[k][i] = o->momentum * m[k][i] + x;
        b->x[k][i] -= lr * (o->nesterov ? x + o->momentum * m[k][i] : m[k][i]);
    }
}

/* Algorithms 4 and 5 of the paper; a vector keeps its whole estimate. */
static void adafactor(bench *b, const gal_optim_options *o, int k, const double *g, int t, double lr) {
    int64_t rows = k ? COLS : ROWS, cols = k ? 1 : COLS, n = count_of(k);
    double beta2 = 1 - pow(t, -0.8), mean = 0, rms = 0, size = 0, u[COUNT], row[COUNT] = { 0 }, col[COUNT] = { 0 };
    for (int64_t i = 0; i < n; i++) {
        row[i / cols] += (g[i] * g[i] + 1e-30) / (double)cols;
        col[i % cols] += (g[i] * g[i] + 1e-30) / (double)rows;
        size += b->x[k][i] * b->x[k][i] / (double)n;
    }
    for (int64_t i = 0; i < rows; i++) mean += (r[k][i] = beta2 * r[k][i] + (1 - beta2) * row[i]) / (double)rows;
    for (int64_t i = 0; i < cols; i++) c[k][i] = beta2 * c[k][i] + (1 - beta2) * col[i];
    for (int64_t i = 0; i < n; i++) {
        u[i] = g[i] / sqrt(k ? r[k][i] : r[k][i / cols] * c[k][i % cols] / mean);
        rms += u[i] * u[i] / (double)n;
    }
    double alpha = lr * (o->relative ? fmax(1e-3, sqrt(size)) : 1);
    for (int64_t i = 0; i < n; i++) {
        double step = u[i] / fmax(1, sqrt(rms));
        if (o->momentum > 0) step = m[k][i] = o->momentum * m[k][i] + (1 - o->momentum) * step;
        b->x[k][i] -= alpha * step + (k ? 0 : lr * o->weight_decay * b->x[k][i]);
    }
}

static const struct {
    gal_optim_options o;
    formula expect;
} KINDS[] = {
    { { .kind = &gal__optim_adamw, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1 }, adam },
    { { .kind = &gal__optim_adam, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip = 1 }, adam },
    { { .kind = &gal__optim_sgd, .weight_decay = 0.1 }, sgd },
    { { .kind = &gal__optim_sgd, .momentum = 0.9, .clip = 1 }, sgd },
    { { .kind = &gal__optim_sgd, .momentum = 0.9, .nesterov = true, .weight_decay = 0.1 }, sgd },
    { { .kind = &gal__optim_adafactor, .weight_decay = 0.1 }, adafactor },
    { { .kind = &gal__optim_adafactor, .momentum = 0.5, .clip = 1 }, adafactor },
    { { .kind = &gal__optim_adafactor, .relative = true, .weight_decay = 0.1 }, adafactor },
};

static void formulas(void **state) {
    (void)state;
    static const char *const LEVELS[] = { "ref", NULL };
    const double lr = 0.01;
    for (size_t n = 0; n < 2 * GAL_LEN(KINDS); n++) {
        const gal_optim_options *o = &KINDS[n / 2].o;
        bench b;
        begin(&b, LEVELS[n % 2], o);
        memset(m, 0, sizeof m);
        memset(v, 0, sizeof v);
        memset(r, 0, sizeof r);
        memset(c, 0, sizeof c);
        for (int t = 1; t <= UPDATES; t++) {
            double g[2][COUNT], squares = 0, moved[2], grad[2], old[2][COUNT];
            set_gradients(&b, t);
            for (int k = 0; k < 2; k++)
                for (int64_t i = 0; i < count_of(k); i++) {
                    g[k][i] = (double)((float *)b.w[k].grad)[i];
                    squares += g[k][i] * g[k][i];
                    old[k][i] = (double)((float *)b.w[k].data)[i];
                }
            double scale = o->clip > 0 ? fmin(1, o->clip / sqrt(squares)) : 1;
            for (int k = 0; k < 2; k++) {
                for (int64_t i = 0; i < count_of(k); i++) g[k][i] *= scale;
                KINDS[n / 2].expect(&b, o, k, g[k], t, lr);
            }
            update(&b, lr, true);
            CHECK_OK(gal_optim_squares(b.opt, grad, moved, diag));
            assert_true(fabs(grad[0] + grad[1] - squares) <= 1e-12 * squares);
            for (int k = 0; k < 2; k++) {
                double sum = 0;
                for (int64_t i = 0; i < count_of(k); i++) {
                    double x = (double)((float *)b.w[k].data)[i];
                    sum += (x - old[k][i]) * (x - old[k][i]);
                    /* A weight is rounded once an update; the step of about lr has a dozen roundings. */
                    double allowed = (double)FLT_EPSILON * t * (fabs(b.x[k][i]) + 16 * lr);
                    if (!(fabs(x - b.x[k][i]) <= allowed))
                        fail_msg("%s, case %zu, update %d, %s[%d]: %.9g, expected %.9g", o->kind->name, n, t,
                                 b.w[k].name, (int)i, x, b.x[k][i]);
                }
                /* Each difference may be rounded to f32. */
                assert_true(fabs(sum - moved[k]) <= 2 * (double)FLT_EPSILON * sum);
            }
        }
        end(&b);
    }
}

/* ---- precisions --------------------------------------------------------------------------------------------------
 */

/* A constant gradient, SGD, and an lr that moves each weight by a twentieth of the distance to its neighbour. Rounded
 * to nearest nothing moves; by chance one of twenty does, each to a neighbour, and their mean is right. */
static void small_updates(void **state) {
    (void)state;
    enum { MANY = 40000, TIMES = 5 };
    for (int way = 0; way < 4; way++) {
        gal_precision p = way < 2 ? GAL_PRECISION_BF16_PURE : GAL_PRECISION_BF16_STOCHASTIC;
        const char *level = way % 2 ? NULL : "ref";
        gal_optim_options o = { .kind = &gal__optim_sgd, .precision = p, .seed = 3 };
        char name[] = "w";
        gal_w w = { .name = name, .role = GAL_W_LINEAR, .ndim = 2, .dim = { 1, MANY }, .owned = true };
        float *x = gal_alloc_array(MANY, sizeof *x);
        assert_non_null(x);
        for (int i = 0; i < MANY; i++) x[i] = 1.0f + (float)(i % 64) * 0x1p-7f; /* bf16 numbers in [1, 1.5) */
        w.data = x;
        bench b = { 0 };
        CHECK_OK(gal_dev_open(&b.dev, &(gal_device_options){ .cpu = level, .threads = 1 }, diag));
        CHECK_OK(gal_optim_new(&b.opt, b.dev, &w, 1, 1u, &o, diag));
        CHECK_OK(gal_ctx_new(&b.cx, b.dev, GAL_BF16, diag));
        assert_int_equal(w.dtype, GAL_BF16);
        double sum = 0, step = 0x1p-7 / 20;
        for (int t = 0; t < TIMES; t++) {
            static uint16_t old[MANY];
            memcpy(old, w.data, sizeof old);
            for (int i = 0; i < MANY; i++) ((float *)w.grad)[i] = i % 5 ? -1.0f : 0.0f; /* up, or not at all */
            update(&b, step, false);
            for (int i = 0; i < MANY; i++) {
                int up = ((uint16_t *)w.data)[i] - old[i];
                if (up < 0 || up > (i % 5 && way >= 2)) fail_msg("weight %d moves by %d", i, up);
                sum += up * 0x1p-7;
            }
        }
        double n = 0.8 * MANY * TIMES, expected = way < 2 ? 0 : n * step;
        /* Of n independent moves with probability 1/20. Five sigmas: once in two million. */
        double allowed = way < 2 ? 0 : 5 * sqrt(n * 0.05 * 0.95) * 0x1p-7;
        if (!(fabs(sum - expected) <= allowed))
            fail_msg("way %d: moved by %g, expected %g +- %g", way, sum, expected, allowed);
        gal_ctx_free(b.cx);
        gal_optim_free(b.opt);
        gal_dev_close(b.dev);
        gal_free(w.data);
    }
}

/* All chances of one number: exactly the part of them that it lies above its lower neighbour goes up. */
static void rounding_by_chance(void **state) {
    (void)state;
    static const float X[] = { 1.0f, 1.00001f, -3.14159f, 0x1.ffp0f, 0x1.fffffep0f, 1e-39f, 0.0f, 0x1.fep127f };
    for (size_t i = 0; i < GAL_LEN(X); i++) {
        uint32_t bits;
        memcpy(&bits, &X[i], sizeof bits);
        uint32_t up = 0, low = bits & 0xffffu;
        for (uint32_t by = 0; by < 0x10000u; by++) {
            uint16_t y = gal_f32_to_bf16_by(X[i], (uint16_t)by);
            assert_true(y == bits >> 16 || y == (bits >> 16) + 1);
            up += y != bits >> 16;
        }
        assert_int_equal(up, low); /* none where the number is one of bf16's */
    }
    assert_int_equal(gal_f32_to_bf16_by(INFINITY, 0xffff), 0x7f80);
    assert_int_equal(gal_f32_to_bf16_by(-INFINITY, 0xffff), 0xff80);
    assert_true((gal_f32_to_bf16_by(NAN, 0xffff) & 0x7fff) > 0x7f80);
}

/* The same bytes for any number of threads, other ones for another seed or update. */
static void chance_repeats(void **state) {
    (void)state;
    enum { MANY = 50001 };
    static uint16_t result[5][MANY];
    for (int way = 0; way < 5; way++) {
        gal_optim_options o = { .kind = &gal__optim_sgd, .precision = GAL_PRECISION_BF16_STOCHASTIC };
        o.seed = way == 3 ? 8 : 7;
        char name[] = "w";
        gal_w w = { .name = name, .role = GAL_W_LINEAR, .ndim = 2, .dim = { 1, MANY }, .owned = true };
        float *x = gal_alloc_array(MANY, sizeof *x);
        assert_non_null(x);
        for (int i = 0; i < MANY; i++) x[i] = 1.0f;
        w.data = x;
        bench b = { 0 };
        gal_device_options d = { .cpu = way == 2 ? "ref" : NULL, .threads = way == 1 ? 3 : 1 };
        CHECK_OK(gal_dev_open(&b.dev, &d, diag));
        CHECK_OK(gal_optim_new(&b.opt, b.dev, &w, 1, 1u, &o, diag));
        CHECK_OK(gal_ctx_new(&b.cx, b.dev, GAL_BF16, diag));
        b.opt->t = way == 4 ? 1 : 0;
        for (int i = 0; i < MANY; i++) ((float *)w.grad)[i] = -1.0f;
        update(&b, 0x1p-9, false); /* exact in f32, so that levels cannot differ */
        memcpy(result[way], w.data, sizeof result[way]);
        gal_ctx_free(b.cx);
        gal_optim_free(b.opt);
        gal_dev_close(b.dev);
        gal_free(w.data);
    }
    assert_memory_equal(result[0], result[1], sizeof result[0]);
    assert_memory_equal(result[0], result[2], sizeof result[0]);
    assert_true(memcmp(result[0], result[3], sizeof result[0]) != 0);
    assert_true(memcmp(result[0], result[4], sizeof result[0]) != 0);
}

/* ---- averages, states, bytes -------------------------------------------------------------------------------------
 */

static void averages(void **state) {
    (void)state;
    gal_optim_options o = { .kind = &gal__optim_sgd, .ema = 0.75 };
    bench b;
    double want[COUNT];
    begin(&b, NULL, &o);
    for (int i = 0; i < COUNT; i++) want[i] = b.x[0][i];
    for (int t = 1; t <= 3; t++) {
        set_gradients(&b, t);
        update(&b, 0.1, false);
        for (int i = 0; i < COUNT; i++) want[i] += 0.25 * ((double)((float *)b.w[0].data)[i] - want[i]);
    }
    gal_optim_show(b.opt, GAL_VIEW_EMA);
    for (int i = 0; i < COUNT; i++)
        assert_true(fabs((double)((float *)b.w[0].data)[i] - want[i]) <=
                    4 * (double)FLT_EPSILON * (1 + fabs(want[i])));
    gal_optim_show(b.opt, GAL_VIEW_WORK);
    end(&b);
}

static void states(void **state) {
    (void)state;
    static const struct {
        gal_optim_options o;
        const char *list; /* pools in the order of checkpoints */
        double each;      /* bytes a parameter of a large matrix, weights and gradients included */
    } WANT[] = {
        { { .kind = &gal__optim_adamw }, "m.matrix[3,4] v.matrix[3,4] m.scale[4] v.scale[4] ", 16 },
        { { .kind = &gal__optim_adamw, .precision = GAL_PRECISION_BF16 },
          "m.matrix[3,4] v.matrix[3,4] m.scale[4] v.scale[4] ",
          16 },
        { { .kind = &gal__optim_adam, .precision = GAL_PRECISION_BF16_STOCHASTIC },
          "m.matrix[3,4] v.matrix[3,4] m.scale[4] v.scale[4] ",
          14 },
        { { .kind = &gal__optim_sgd }, "", 8 },
        { { .kind = &gal__optim_sgd, .momentum = 0.9, .ema = 0.9 },
          "m.matrix[3,4] m.scale[4] ema.matrix[3,4] ema.scale[4] ",
          16 },
        { { .kind = &gal__optim_adafactor, .precision = GAL_PRECISION_BF16_PURE },
          "r.matrix[3] c.matrix[4] r.scale[4] c.scale[1] ",
          6 },
        { { .kind = &gal__optim_adafactor, .momentum = 0.9 },
          "r.matrix[3] c.matrix[4] m.matrix[3,4] r.scale[4] c.scale[1] m.scale[4] ",
          12 },
    };
    for (size_t i = 0; i < GAL_LEN(WANT); i++) {
        bench b;
        gal_buf list = { 0 };
        begin(&b, NULL, &WANT[i].o);
        for (size_t k = 0; k < b.opt->n_pools; k++) {
            const gal_optim_pool *p = &b.opt->pool[k];
            gal_buf_printf(&list, "%s.%s[%d", p->state, p->w->name, (int)p->dim[0]);
            for (int d = 1; d < p->ndim; d++) gal_buf_printf(&list, ",%d", (int)p->dim[d]);
            gal_buf_puts(&list, "] ");
        }
        gal_buf_putc(&list, 0);
        assert_string_equal(list.data, WANT[i].list);
        gal_buf_free(&list);
        gal_w large = { .role = GAL_W_LINEAR, .ndim = 2, .dim = { 4096, 4096 } };
        double each = gal_optim_bytes_a_parameter(b.dev, &large, 1, &WANT[i].o);
        assert_true(each >= WANT[i].each && each < WANT[i].each + 0.01); /* sums, factors of rows and columns */
        end(&b);
    }
}

/* The choices of the setting are the table, in its order. */
static void names(void **state) {
    (void)state;
    gal_buf all = { 0 };
    for (int i = 0; gal_optim_kind_at(i); i++) gal_buf_printf(&all, "%s%s", i ? " " : "", gal_optim_kind_at(i)->name);
    gal_buf_putc(&all, 0);
    assert_string_equal(all.data, GAL_OPTIM_NAMES);
    gal_buf_free(&all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formulas),       cmocka_unit_test(small_updates), cmocka_unit_test(rounding_by_chance),
        cmocka_unit_test(chance_repeats), cmocka_unit_test(averages),      cmocka_unit_test(states),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests_name("optim_kinds", tests, NULL, NULL);
}
