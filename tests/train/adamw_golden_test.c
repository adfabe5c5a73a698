/* adamw_golden_test.c - twenty AdamW steps against the reference implementation's losses, to 1e-4 relative: model,
 * gradients, clipping, decay groups and update at once. SPDX-License-Identifier: Apache-2.0 */
#include "../models/golden.h"
#include "base/file.h"
#include "base/mem.h"
#include "optim/adamw.h"
#include "support/check.h"

#include <math.h>
#include <string.h>

enum { STEPS = 20 };

static void own_weights(gal_model *m) {
    for (size_t i = 0; i < m->n_weights; i++) {
        gal_w *w = &m->weights[i];
        assert_int_equal(w->dtype, GAL_F32);
        void *copy = gal_alloc(gal_wbytes(w));
        assert_non_null(copy);
        memcpy(copy, w->data, gal_wbytes(w));
        w->data = copy;
        w->owned = true;
    }
}

static void twenty_steps(void **state) {
    const char *folder = *state;
    if (!gal_is_dir(folder)) {
        print_message("skipped: %s is not here\n", folder);
        skip();
    }
    golden g;
    golden_open(&g, folder);
    const float *want = golden_floats(&g, "adamw_loss", 1, (const int64_t[]){ STEPS });
    assert_non_null(want);
    own_weights(g.m);
    gal_dev *dev = NULL;
    gal_ctx *cx = NULL;
    gal_adamw *opt = NULL;
    gal_step st = { 0 };
    gal_device_options d = { NULL, 2 };
    gal_adamw_options o = { .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip = 1.0 };
    CHECK_OK(gal_dev_open(&dev, &d, diag));
    CHECK_OK(gal_ctx_new(&cx, dev, GAL_F32, diag));
    CHECK_OK(gal_adamw_new(&opt, g.m->weights, g.m->n_weights, GAL_F32, 1u, &o, diag));
    CHECK_OK(gal_step_init(&st, g.B * g.T, diag));
    st.row_len = g.T;
    for (int64_t s = 0; s < g.B; s++) golden_rows(&st, g.ids + s * g.T, g.T, 0, (int32_t)s);
    for (int64_t i = 0; i < st.n; i++) {
        bool last = i % g.T == g.T - 1;
        st.target[i] = last ? -1 : st.ids[i + 1];
        st.weight[i] = last ? 0.0f : (float)(1.0 / (double)(g.B * (g.T - 1)));
    }
    for (int step = 0; step < STEPS; step++) {
        gal_step_begin(cx);
        gal_adamw_zero(cx, opt);
        gal_tape_on(cx, false);
        gal_t *loss = gal_weighted_sum(cx, g.m->family->loss(cx, g.m, &st), &st);
        gal_backward(cx, loss, 1u);
        gal_adamw_prepare(opt, 1e-3);
        gal_adamw_update(cx, opt);
        opt->t++;
        double got = loss ? (double)*(const float *)loss->data : -1.0;
        CHECK_OK(gal_step_end(cx, diag));
        if (!(fabs(got - (double)want[step]) <= 1e-4 * (double)want[step]))
            fail_msg("step %d: loss %.7f, expected %.7f", step, got, (double)want[step]);
    }
    gal_step_free(&st);
    gal_adamw_free(opt);
    gal_ctx_free(cx);
    gal_dev_close(dev);
    golden_close(&g);
}

int main(void) {
    static char base[] = "tests/golden/mistral-base";
    static char base2[] = "../shared/fixtures/mistral-base", tied2[] = "../shared/fixtures/mistral-tied";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(twenty_steps, base),
        cmocka_unit_test_prestate(twenty_steps, base2),
        cmocka_unit_test_prestate(twenty_steps, tied2),
    };
    return cmocka_run_group_tests_name("train_adamw_golden", tests, NULL, NULL);
}
