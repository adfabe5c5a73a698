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

enum { N = 6 };

/* Two weights with known gradients, one update; the answer is computed here in double. */
static void update(gal_precision precision) {
    const gal_dtype work = gal_precision_compute(precision);
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
    CHECK_OK(gal_ctx_new(&cx, dev, work, diag));
    assert_int_equal(w[0].dtype, work);
    assert_int_equal(w[1].dtype, GAL_F32); /* norm scales keep f32 */
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
            if (k == 0 && work == GAL_BF16)
                assert_int_equal(((uint16_t *)w[0].data)[i], gal_f32_to_bf16(((float *)opt->slot[0].master)[i]));
        }
    const void *copy = w[0].data;
    gal_optim_show(opt, GAL_VIEW_MASTER);
    assert_int_equal(w[0].dtype, GAL_F32);
    gal_optim_show(opt, GAL_VIEW_WORK);
    assert_ptr_equal(w[0].data, copy); /* the address that recorded steps hold */
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
    const struct CMUnitTest tests[] = { cmocka_unit_test(schedule), cmocka_unit_test(update_f32),
                                        cmocka_unit_test(update_bf16) };
    return cmocka_run_group_tests_name("optim", tests, NULL, NULL);
}
