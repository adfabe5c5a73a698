/* optim_test.c - the schedule as numbers worked out by hand, AdamW's groups, clipping, master weights.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include "base/mem.h"
#include "optim/optim.h"
#include "optim/schedule.h"

#include <float.h>
#include <math.h>
#include <string.h>

static void close_to(double got, double want, double eps) {
    if (!(fabs(got - want) <= eps * fmax(1.0, fabs(want)))) fail_msg("got %.17g, expected %.17g", got, want);
}

static void schedule(void **state) {
    (void)state;
    gal_schedule s = { .lr = 2.0, .warmup = 4, .steps = 12, .final_fraction = 0.25 };
    close_to(gal_schedule_lr(&s, 1), 0.5, DBL_EPSILON);
    close_to(gal_schedule_lr(&s, 4), 2.0, DBL_EPSILON);
    close_to(gal_schedule_lr(&s, 8), 2.0 * (0.25 + 0.75 * 0.5), 4 * DBL_EPSILON); /* half way: cos = 0 */
    close_to(gal_schedule_lr(&s, 12), 0.5, DBL_EPSILON);
    close_to(gal_schedule_lr(&s, 100), 0.5, DBL_EPSILON);
    for (int64_t i = 5; i <= 12; i++) assert_true(gal_schedule_lr(&s, i) < gal_schedule_lr(&s, i - 1));
    gal_schedule none = { .lr = 1.0, .warmup = 0, .steps = 1, .final_fraction = 0.1 };
    close_to(gal_schedule_lr(&none, 1), 0.1, DBL_EPSILON);
}

static void curves(void **state) {
    (void)state;
    const double eps = 4 * DBL_EPSILON;
    /* Gopher's (arXiv:2112.11446): from 1e-7, a tenth of the peak at the end. */
    gal_schedule s = { .lr = 2e-4, .warmup = 1500, .steps = 10000, .final_fraction = 0.1, .first_lr = 1e-7 };
    close_to(gal_schedule_lr(&s, 1), 1e-7 + (2e-4 - 1e-7) / 1500, eps);
    close_to(gal_schedule_lr(&s, 1500), 2e-4, eps);
    close_to(gal_schedule_lr(&s, 10000), 2e-5, eps);
    for (int64_t t = 1501; t < 10000; t += 77)
        close_to(gal_schedule_lr(&s, t),
                 2e-4 * (0.1 + 0.9 * (1 + cos(3.14159265358979323846 * (double)(t - 1500) / 8500)) / 2), eps);
    /* A cycle of its own: half of it is as far as half the way of a run as long. */
    gal_schedule cycle = s;
    cycle.steps = 5750;
    cycle.cycle = 10000;
    for (int64_t t = 1; t <= 5750; t += 111) close_to(gal_schedule_lr(&cycle, t), gal_schedule_lr(&s, t), eps);
    close_to(gal_schedule_lr(&cycle, 5750), 2e-4 * (0.1 + 0.9 * 0.5), eps);
    gal_schedule wsd = {
        .lr = 1, .warmup = 10, .steps = 100, .final_fraction = 0.2, .curve = GAL_CURVE_WSD, .decay = 40
    };
    close_to(gal_schedule_lr(&wsd, 5), 0.5, eps);
    close_to(gal_schedule_lr(&wsd, 60), 1, eps);
    close_to(gal_schedule_lr(&wsd, 70), 1 - 0.8 * 0.25, eps);
    close_to(gal_schedule_lr(&wsd, 100), 0.2, eps);
    wsd.root = true;
    close_to(gal_schedule_lr(&wsd, 70), 1 - 0.8 * 0.5, eps);
    wsd.decay = 0; /* a tenth */
    close_to(gal_schedule_lr(&wsd, 90), 1, eps);
    assert_true(gal_schedule_lr(&wsd, 91) < 1);
    gal_schedule line = { .lr = 1, .warmup = 20, .steps = 100, .final_fraction = 0, .curve = GAL_CURVE_LINEAR };
    close_to(gal_schedule_lr(&line, 60), 0.5, eps);
    close_to(gal_schedule_lr(&line, 100), 0, eps);
    line.curve = GAL_CURVE_CONSTANT;
    close_to(gal_schedule_lr(&line, 100), 1, eps);
}

/* Batches a step, their sum step by step, and a cosine that falls with them: after as many tokens it is as low. */
static void ramp(void **state) {
    (void)state;
    const gal_ramp r = { .first = 2, .n = 2, .at = { { 5, 4 }, { 9, 8 } } };
    int64_t sum = 0;
    for (int64_t t = 1; t <= 12; t++) {
        int64_t want = t < 5 ? 2 : t < 9 ? 4 : 8;
        assert_int_equal(gal_ramp_batches(&r, t), want);
        sum += want;
        assert_int_equal(gal_ramp_total(&r, t), sum);
    }
    assert_int_equal(gal_ramp_most(&r), 8);
    assert_int_equal(gal_ramp_total(&(gal_ramp){ 0 }, 7), 7);
    gal_schedule even = { .lr = 1, .steps = 28 }, grown = { .lr = 1, .steps = 12, .ramp = r };
    for (int64_t t = 1; t <= 12; t++)
        close_to(gal_schedule_lr(&grown, t), gal_schedule_lr(&even, gal_ramp_total(&r, t) / 2), 4 * DBL_EPSILON);
}

enum { N = 6 };

/* Two weights with known gradients, one update; the answer is computed here in double. */
static void update(gal_precision precision) {
    char names[2][8] = { "matrix", "norm" };
    gal_w w[2] = { { .name = names[0], .role = GAL_W_LINEAR, .ndim = 2, .dim = { 2, 3 }, .owned = true },
                   { .name = names[1], .role = GAL_W_NORM, .ndim = 1, .dim = { N }, .owned = true } };
    double want[2][N], norm = 0;
    for (int k = 0; k < 2; k++) {
        float *p = gal_alloc(N * sizeof *p);
        assert_non_null(p);
        for (int i = 0; i < N; i++) p[i] = 0.3f * (float)(i + 1) - (float)k;
        w[k].data = p;
    }
    gal_optim_options o = { .kind = &gal__optim_adamw,
                            .precision = precision,
                            .beta1 = 0.9,
                            .beta2 = 0.95,
                            .eps = 1e-8,
                            .weight_decay = 0.1,
                            .clip = 1.0 };
    gal_device_options d = { .cpu = "ref", .threads = 1 };
    gal_optim *opt = NULL;
    gal_dev *dev = NULL;
    gal_ctx *cx = NULL;
    CHECK_OK(gal_dev_open(&dev, &d, diag));
    CHECK_OK(gal_optim_new(&opt, dev, w, 2, 1u, &o, diag));
    CHECK_OK(gal_ctx_new(&cx, dev, gal_precision_compute(precision), diag));
    assert_int_equal(w[0].dtype, GAL_F32); /* no copy here: products round what they read */
    assert_int_equal(w[1].dtype, GAL_F32);
    const double lr = 0.01;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < N; i++) {
            float g = (float)(i - 2) + 0.5f * (float)k;
            ((float *)w[k].grad)[i] = g;
            norm += (double)g * (double)g;
        }
    norm = sqrt(norm);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < N; i++) {
            double p = (double)((float *)opt->slot[k].master)[i], g = (double)((float *)w[k].grad)[i] / norm;
            double m = 0.1 * g / (1 - 0.9), v = 0.05 * g * g / (1 - 0.95);
            want[k][i] = p * (1 - lr * (k == 0 ? 0.1 : 0.0)) - lr * m / (sqrt(v) + 1e-8);
        }
    CHECK_OK(gal_optim_prepare(opt, lr, diag));
    gal_step_begin(cx);
    gal_optim_norm(cx, opt);
    gal_optim_update(cx, opt, false);
    CHECK_OK(gal_step_end(cx, diag));
    close_to((double)opt->step.grad_norm, norm, 4 * (double)FLT_EPSILON);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < N; i++) {
            /* A handful of f32 roundings, each of the numbers' own size. */
            close_to((double)((float *)opt->slot[k].master)[i], want[k][i], 8 * (double)FLT_EPSILON);
        }
    const void *work = w[0].data;
    gal_optim_show(opt, GAL_VIEW_MASTER);
    assert_int_equal(w[0].dtype, GAL_F32);
    gal_optim_show(opt, GAL_VIEW_WORK);
    assert_ptr_equal(w[0].data, work); /* the address that recorded steps hold */
    gal_ctx_free(cx);
    gal_optim_free(opt);
    gal_dev_close(dev);
    assert_null(w[0].grad);
    assert_int_equal(w[0].dtype, GAL_F32);
    gal_free(w[0].data);
    gal_free(w[1].data);
}

static void update_f32(void **state) {
    (void)state;
    update(GAL_PRECISION_F32);
}

static void update_bf16(void **state) {
    (void)state;
    update(GAL_PRECISION_BF16);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(schedule), cmocka_unit_test(curves), cmocka_unit_test(ramp),
                                        cmocka_unit_test(update_f32), cmocka_unit_test(update_bf16) };
    return cmocka_run_group_tests_name("optim", tests, NULL, NULL);
}
