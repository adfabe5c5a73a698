/* core_test.c - the heart on a toy network: addresses repeat, errors stick, blocks keep or recompute to the same
 * bytes, a recorded step equals an eager one, one tape may be walked twice. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/rng.h"
#include "ops/ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 12, D = 24, F = 40, V = 50, BLOCKS = 3 };

typedef struct toy {
    gal_dev *dev;
    gal_ctx *cx;
    gal_step st;
    gal_w embed, norm[BLOCKS], gate[BLOCKS], up[BLOCKS], down[BLOCKS], head;
    gal_w *all[2 + 4 * BLOCKS];
    int count;
} toy;

static void add_weight(toy *t, gal_w *w, gal_role role, int64_t rows, int64_t cols) {
    *w = (gal_w){ .role = role, .dtype = GAL_F32, .ndim = cols ? 2 : 1, .dim = { rows, cols }, .group = 1 };
    int64_t n = gal_wcount(w);
    float *p = gal_alloc_array((size_t)n, sizeof *p);
    assert_non_null(p);
    for (int64_t i = 0; i < n; i++)
        p[i] = role == GAL_W_NORM ? 1.0f : (float)gal_rng_normal(7, (uint64_t)t->count, (uint64_t)i) * 0.3f;
    w->data = p;
    w->grad = gal_alloc_array((size_t)n, sizeof(float));
    assert_non_null(w->grad);
    t->all[t->count++] = w;
}

static void toy_open(toy *t, int threads) {
    *t = (toy){ 0 };
    assert_int_equal(gal_dev_open(&t->dev, &(gal_device_options){ .cpu = "ref", .threads = threads }, NULL), GAL_OK);
    assert_int_equal(gal_ctx_new(&t->cx, t->dev, GAL_F32, NULL), GAL_OK);
    assert_int_equal(gal_step_init(&t->st, N, NULL), GAL_OK);
    t->st.n = N;
    for (int i = 0; i < N; i++) {
        t->st.ids[i] = (int32_t)gal_rng_below(3, 0, (uint64_t)i, V);
        t->st.target[i] = (int32_t)gal_rng_below(3, 1, (uint64_t)i, V);
        t->st.weight[i] = 1.0f / N;
    }
    add_weight(t, &t->embed, GAL_W_EMBED, V, D);
    for (int l = 0; l < BLOCKS; l++) {
        add_weight(t, &t->norm[l], GAL_W_NORM, D, 0);
        add_weight(t, &t->gate[l], GAL_W_LINEAR, F, D);
        add_weight(t, &t->up[l], GAL_W_LINEAR, F, D);
        add_weight(t, &t->down[l], GAL_W_RESIDUAL, D, F);
    }
    add_weight(t, &t->head, GAL_W_LINEAR, V, D);
}

static void toy_close(toy *t) {
    for (int i = 0; i < t->count; i++) {
        gal_free(t->all[i]->data);
        gal_free(t->all[i]->grad);
    }
    gal_step_free(&t->st);
    gal_ctx_free(t->cx);
    gal_dev_close(t->dev);
}

static gal_t *block(gal_ctx *cx, const void *model, int l, gal_t *x, const gal_step *st) {
    const toy *t = model;
    (void)st;
    gal_t *n = gal_rms_norm(cx, x, &t->norm[l], 1e-5);
    return gal_linear_add(cx, gal_swiglu(cx, n, &t->gate[l], &t->up[l]), &t->down[l], x);
}

static gal_t *forward(toy *t) {
    gal_t *x = gal_embed(t->cx, &t->embed, &t->st);
    for (int l = 0; l < BLOCKS; l++) x = gal_block(t->cx, block, t, l, x, &t->st);
    return x;
}

/* Loss and all gradients of one step, as one run of bytes. */
static float *train_step(toy *t, bool recompute, size_t *bytes) {
    for (int i = 0; i < t->count; i++) memset(t->all[i]->grad, 0, (size_t)gal_wcount(t->all[i]) * sizeof(float));
    gal_step_begin(t->cx);
    gal_tape_on(t->cx, recompute);
    gal_t *loss = gal_weighted_sum(t->cx, gal_cross_entropy(t->cx, forward(t), &t->head, &t->st), &t->st);
    gal_backward(t->cx, loss, 1);
    assert_int_equal(gal_step_end(t->cx, NULL), GAL_OK);
    size_t n = 1;
    for (int i = 0; i < t->count; i++) n += (size_t)gal_wcount(t->all[i]);
    float *out = malloc(n * sizeof *out), *p = out;
    assert_non_null(out);
    *p++ = *(float *)loss->data;
    for (int i = 0; i < t->count; i++) {
        memcpy(p, t->all[i]->grad, (size_t)gal_wcount(t->all[i]) * sizeof(float));
        p += gal_wcount(t->all[i]);
    }
    *bytes = n * sizeof *out;
    return out;
}

static void test_addresses_repeat(void **state) {
    (void)state;
    toy t;
    toy_open(&t, 1);
    void *first = NULL;
    for (int i = 0; i < 3; i++) {
        gal_step_begin(t.cx);
        gal_t *x = forward(&t);
        assert_non_null(x);
        if (i == 0) first = x->data;
        assert_ptr_equal(x->data, first);
        assert_int_equal(gal_step_end(t.cx, NULL), GAL_OK);
    }
    toy_close(&t);
}

static void test_error_sticks_and_clears(void **state) {
    (void)state;
    toy t;
    toy_open(&t, 1);
    gal_step_begin(t.cx);
    gal_ctx_fail(t.cx, GAL_ENOMEM, "first %d", 1);
    gal_ctx_fail(t.cx, GAL_EFAIL, "second");
    assert_null(forward(&t));
    gal_diag d = { 0 };
    assert_int_equal(gal_step_end(t.cx, &d), GAL_ENOMEM);
    assert_string_equal(d.text, "first 1");
    gal_step_begin(t.cx);
    assert_non_null(forward(&t));
    assert_int_equal(gal_step_end(t.cx, NULL), GAL_OK);
    toy_close(&t);
}

static void test_recompute_same_bytes_less_memory(void **state) {
    (void)state;
    toy keep, again;
    toy_open(&keep, 1);
    toy_open(&again, 1);
    size_t n;
    float *a = train_step(&keep, false, &n), *b = train_step(&again, true, &n);
    assert_memory_equal(a, b, n);
    assert_true(gal_ctx_peak_bytes(again.cx) < gal_ctx_peak_bytes(keep.cx));
    double sum = 0;
    for (size_t i = 1; i < n / sizeof *a; i++) sum += (double)(a[i] * a[i]);
    assert_true(sum > 1e-6); /* gradients did flow */
    free(a);
    free(b);
    toy_close(&keep);
    toy_close(&again);
}

static void test_threads_same_bytes(void **state) {
    (void)state;
    float *first = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        toy t;
        toy_open(&t, threads);
        size_t n;
        float *a = train_step(&t, false, &n);
        if (!first)
            first = a;
        else {
            assert_memory_equal(first, a, n);
            free(a);
        }
        toy_close(&t);
    }
    free(first);
}

static void test_replay_equals_eager(void **state) {
    (void)state;
    toy t;
    toy_open(&t, 2);
    gal_step_begin(t.cx);
    gal_record_begin(t.cx);
    gal_t *x = forward(&t);
    gal_plan *plan = NULL;
    assert_int_equal(gal_record_end(t.cx, &plan, NULL), GAL_OK);
    assert_true(gal_plan_launches(plan) > BLOCKS * 3);
    const float *out = x->data;
    float eager[N * D];
    for (int i = 0; i < N; i++) t.st.ids[i] = (int32_t)gal_rng_below(5, 0, (uint64_t)i, V);
    gal_replay(t.cx, plan);
    float replayed[N * D];
    memcpy(replayed, out, sizeof replayed);
    gal_step_begin(t.cx);
    x = forward(&t);
    memcpy(eager, x->data, sizeof eager);
    assert_memory_equal(eager, replayed, sizeof eager);
    gal_plan_free(plan);
    toy_close(&t);
}

/* Two losses of one tape: the sum of their gradients is the gradient of their sum. */
static void test_two_walks(void **state) {
    (void)state;
    toy t;
    toy_open(&t, 1);
    gal_step_begin(t.cx);
    gal_tape_on(t.cx, false);
    gal_t *x = forward(&t);
    gal_t *l1 = gal_weighted_sum(t.cx, gal_cross_entropy(t.cx, x, &t.head, &t.st), &t.st);
    gal_t *l2 = gal_weighted_sum(t.cx, gal_cross_entropy(t.cx, x, &t.embed, &t.st), &t.st);
    gal_t *both = gal_add(t.cx, l1, l2);
    gal_backward(t.cx, l1, 1);
    gal_backward(t.cx, l2, 1);
    assert_int_equal(gal_step_end(t.cx, NULL), GAL_OK);
    float apart[D * F];
    memcpy(apart, t.down[0].grad, sizeof apart);
    for (int i = 0; i < t.count; i++) memset(t.all[i]->grad, 0, (size_t)gal_wcount(t.all[i]) * sizeof(float));
    gal_step_begin(t.cx);
    gal_tape_on(t.cx, false);
    x = forward(&t);
    l1 = gal_weighted_sum(t.cx, gal_cross_entropy(t.cx, x, &t.head, &t.st), &t.st);
    l2 = gal_weighted_sum(t.cx, gal_cross_entropy(t.cx, x, &t.embed, &t.st), &t.st);
    both = gal_add(t.cx, l1, l2);
    gal_backward(t.cx, both, 1);
    assert_int_equal(gal_step_end(t.cx, NULL), GAL_OK);
    const float *together = t.down[0].grad;
    for (int i = 0; i < D * F; i++) assert_float_equal(apart[i], together[i], 1e-5f);
    toy_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_repeat),
        cmocka_unit_test(test_error_sticks_and_clears),
        cmocka_unit_test(test_recompute_same_bytes_less_memory),
        cmocka_unit_test(test_threads_same_bytes),
        cmocka_unit_test(test_replay_equals_eager),
        cmocka_unit_test(test_two_walks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
