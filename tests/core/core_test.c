/* core_test.c - the heart on a toy network: addresses repeat, errors stick, blocks keep or recompute to the same
 * bytes, a recorded step equals an eager one, one tape may be walked twice; all of it on the CPU and on a device
 * whose memory is closed to the host. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/rng.h"
#include "ops/ops.h"
#include "support/far.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

enum { N = 12, D = 24, F = 40, V = 50, BLOCKS = 3 };

static bool far_device; /* what toys are opened on */

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
    w->data = gal_dev_take_array(t->dev, (size_t)n, sizeof *p);
    w->grad = gal_dev_take_array(t->dev, (size_t)n, sizeof *p);
    assert_non_null(w->data);
    assert_non_null(w->grad);
    assert_int_equal(gal_dev_upload(t->dev, w->data, p, gal_wbytes(w), NULL), GAL_OK);
    gal_free(p);
    t->all[t->count++] = w;
}

static void toy_open(toy *t, int threads) {
    *t = (toy){ 0 };
    far_use();
    gal_device_options o = { .cpu = "ref", .threads = threads, .device = far_device ? "far" : "cpu" };
    assert_int_equal(gal_dev_open(&t->dev, &o, NULL), GAL_OK);
    assert_int_equal(gal_ctx_new(&t->cx, t->dev, GAL_F32, NULL), GAL_OK);
    assert_int_equal(gal_step_init(&t->st, t->dev, N, NULL), GAL_OK);
    t->st.n = N;
    for (int i = 0; i < N; i++) {
        t->st.ids[i] = (int32_t)gal_rng_below(3, 0, (uint64_t)i, V);
        t->st.target[i] = (int32_t)gal_rng_below(3, 1, (uint64_t)i, V);
        t->st.weight[i] = 1.0f / N;
    }
    assert_int_equal(gal_step_commit(&t->st, NULL), GAL_OK);
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
        gal_dev_give(t->dev, t->all[i]->data);
        gal_dev_give(t->dev, t->all[i]->grad);
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

static void read_floats(toy *t, float *out, const void *from, int64_t n) {
    assert_int_equal(gal_dev_download(t->dev, out, from, (size_t)n * sizeof *out, NULL), GAL_OK);
}

static void zero_gradients(toy *t) {
    for (int i = 0; i < t->count; i++) {
        gal_k_map fill = { .y = t->all[i]->grad, .dt = GAL_F32, .count = gal_wcount(t->all[i]) };
        assert_int_equal(gal_dev_launch(t->dev, GAL_K_FILL, &fill, sizeof fill, NULL), GAL_OK);
    }
}

/* Loss and all gradients of one step, as one run of bytes. */
static float *train_step(toy *t, bool recompute, size_t *bytes) {
    zero_gradients(t);
    gal_step_begin(t->cx);
    gal_tape_on(t->cx, recompute);
    gal_t *loss = gal_weighted_sum(t->cx, gal_cross_entropy(t->cx, forward(t), &t->head, &t->st), &t->st);
    gal_backward(t->cx, loss, 1);
    assert_int_equal(gal_step_end(t->cx, NULL), GAL_OK);
    size_t n = 1;
    for (int i = 0; i < t->count; i++) n += (size_t)gal_wcount(t->all[i]);
    float *out = malloc(n * sizeof *out), *p = out;
    assert_non_null(out);
    read_floats(t, p++, loss->data, 1);
    for (int i = 0; i < t->count; i++) {
        read_floats(t, p, t->all[i]->grad, gal_wcount(t->all[i]));
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
    assert_int_equal(gal_step_commit(&t.st, NULL), GAL_OK);
    gal_replay(t.cx, plan);
    float replayed[N * D];
    read_floats(&t, replayed, out, N * D);
    gal_step_begin(t.cx);
    x = forward(&t);
    read_floats(&t, eager, x->data, N * D);
    assert_memory_equal(eager, replayed, sizeof eager);
    gal_plan_free(plan);
    toy_close(&t);
}

/* Who is told of launches: how many, and where they were. */
typedef struct told {
    int64_t count, layer[BLOCKS + 1], backward;
    double until_s;
} told;

static void hear(void *user, const gal_span *s) {
    told *t = user;
    t->count++;
    t->layer[s->place.layer]++;
    t->backward += s->place.backward;
    assert_true(t->until_s <= s->begin_s && s->begin_s <= s->end_s);
    t->until_s = s->end_s;
    int64_t chunks = 0;
    for (int i = 0; i < s->threads; i++) {
        chunks += s->busy[i].chunks;
        if (s->busy[i].chunks) assert_true(s->busy[i].begin_s >= s->begin_s && s->busy[i].end_s <= s->end_s);
    }
    if (s->threads) assert_true(chunks > 0);
}

/* A watch hears of each launch, eager or replayed, and changes no byte. */
static void test_watched_same_bytes(void **state) {
    (void)state;
    toy plain, watched;
    told heard = { 0 };
    static gal_busy busy[GAL_MAX_THREADS];
    const gal_watch watch = { hear, &heard, busy };
    toy_open(&plain, 2);
    toy_open(&watched, 2);
    watched.dev->watch = &watch;
    for (int again = 0; again < 2; again++) {
        size_t n;
        float *a = train_step(&plain, again, &n), *b = train_step(&watched, again, &n);
        assert_memory_equal(a, b, n);
        free(a);
        free(b);
    }
    assert_true(heard.backward > 0 && heard.backward < heard.count);
    for (int l = 0; l <= BLOCKS; l++) assert_true(heard.layer[l] > 0);
    assert_int_equal(heard.layer[1], heard.layer[BLOCKS]);

    gal_plan *plan = NULL;
    heard = (told){ 0 };
    gal_step_begin(watched.cx);
    gal_record_begin(watched.cx);
    const gal_t *x = forward(&watched);
    assert_int_equal(gal_record_end(watched.cx, &plan, NULL), GAL_OK);
    told once = heard;
    assert_int_equal(once.count, gal_plan_launches(plan));
    gal_replay(watched.cx, plan);
    assert_int_equal(heard.count, 2 * once.count);
    for (int l = 0; l <= BLOCKS; l++) assert_int_equal(heard.layer[l], 2 * once.layer[l]);
    float a[N * D], b[N * D];
    read_floats(&watched, a, x->data, N * D);
    gal_step_begin(plain.cx);
    read_floats(&plain, b, forward(&plain)->data, N * D);
    assert_memory_equal(a, b, sizeof a);
    gal_plan_free(plan);
    toy_close(&watched);
    toy_close(&plain);
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
    read_floats(&t, apart, t.down[0].grad, D * F);
    zero_gradients(&t);
    gal_step_begin(t.cx);
    gal_tape_on(t.cx, false);
    x = forward(&t);
    l1 = gal_weighted_sum(t.cx, gal_cross_entropy(t.cx, x, &t.head, &t.st), &t.st);
    l2 = gal_weighted_sum(t.cx, gal_cross_entropy(t.cx, x, &t.embed, &t.st), &t.st);
    both = gal_add(t.cx, l1, l2);
    gal_backward(t.cx, both, 1);
    assert_int_equal(gal_step_end(t.cx, NULL), GAL_OK);
    float together[D * F];
    read_floats(&t, together, t.down[0].grad, D * F);
    for (int i = 0; i < D * F; i++) assert_float_equal(apart[i], together[i], 1e-5f);
    toy_close(&t);
}

/* The far device computes the CPU's bytes, in one launch once recorded. */
static void test_far_is_cpu(void **state) {
    (void)state;
    toy near, far;
    far_device = false;
    toy_open(&near, 1);
    far_device = true;
    toy_open(&far, 2);
    for (int again = 0; again < 2; again++) {
        size_t n;
        float *a = train_step(&near, again, &n), *b = train_step(&far, again, &n);
        assert_memory_equal(a, b, n);
        free(a);
        free(b);
    }
    gal_plan *plan = NULL;
    int64_t before = far_counted(far.dev).launches;
    gal_step_begin(far.cx);
    gal_record_begin(far.cx);
    const gal_t *x = forward(&far);
    assert_int_equal(gal_record_end(far.cx, &plan, NULL), GAL_OK);
    gal_replay(far.cx, plan);
    far_counts c = far_counted(far.dev);
    assert_int_equal(c.launches, before);
    assert_int_equal(c.captures, 1);
    assert_int_equal(c.graph_launches, 2);
    float got[N * D];
    read_floats(&far, got, x->data, N * D);
    gal_step_begin(near.cx);
    assert_memory_equal(got, forward(&near)->data, sizeof got);
    gal_plan_free(plan);
    toy_close(&near);
    toy_close(&far);
    far_device = false;
}

/* No memory of the device's: an error that sticks, and the context goes on when there is some again. */
static void test_far_without_memory(void **state) {
    (void)state;
    toy t;
    far_device = true;
    toy_open(&t, 1);
    far_limit(t.dev, 1);
    gal_diag d = { 0 };
    gal_step_begin(t.cx);
    assert_null(forward(&t));
    assert_int_equal(gal_step_end(t.cx, &d), GAL_ENOMEM);
    far_limit(t.dev, 0);
    gal_step_begin(t.cx);
    assert_non_null(forward(&t));
    assert_int_equal(gal_step_end(t.cx, NULL), GAL_OK);
    toy_close(&t);
    far_device = false;
}

static void test_kinds_of_device(void **state) {
    (void)state;
    gal_dev *dev = NULL;
    gal_diag d = { 0 };
    static const char *const WRONG[] = { "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:100", "" };
    for (size_t i = 0; i < GAL_LEN(WRONG); i++)
        assert_int_equal(gal_dev_open(&dev, &(gal_device_options){ .device = WRONG[i] }, &d), GAL_EUSAGE);
    assert_non_null(strstr(d.text, "cpu, cuda or cuda:N"));
    d = (gal_diag){ 0 };
    assert_int_equal(gal_dev_open(&dev, &(gal_device_options){ .numa = "two" }, &d), GAL_EUSAGE);
    assert_string_equal(d.text, "numa: expected auto, one or mirror, found 'two'");
    assert_int_equal(gal_dev_open(&dev, &(gal_device_options){ .numa = "one", .threads = 2 }, NULL), GAL_OK);
    gal_dev_close(dev);
    assert_int_equal(gal_dev_open(&dev, &(gal_device_options){ .numa = "mirror", .threads = 2 }, NULL), GAL_OK);
    assert_true(gal_pool_mirrors(dev->pool) >= 1);
    gal_dev_close(dev);
    dev = NULL;
    gal_err err = gal_dev_open(&dev, &(gal_device_options){ .device = "cuda:99" }, &(gal_diag){ 0 });
    assert_int_equal(err, GAL_EDEVICE);
    assert_int_equal(gal_dev_open(&dev, &(gal_device_options){ .device = "cpu", .threads = 1 }, NULL), GAL_OK);
    gal_dev_close(dev);
}

static int on_cpu(void **state) {
    (void)state;
    far_device = false;
    return 0;
}

static int on_far(void **state) {
    (void)state;
    far_device = true;
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_repeat),
        cmocka_unit_test(test_error_sticks_and_clears),
        cmocka_unit_test(test_recompute_same_bytes_less_memory),
        cmocka_unit_test(test_threads_same_bytes),
        cmocka_unit_test(test_replay_equals_eager),
        cmocka_unit_test(test_watched_same_bytes),
        cmocka_unit_test(test_two_walks),
    };
    static const struct CMUnitTest devices[] = {
        cmocka_unit_test(test_far_is_cpu),
        cmocka_unit_test(test_far_without_memory),
        cmocka_unit_test(test_kinds_of_device),
    };
    int bad = cmocka_run_group_tests_name("the CPU", tests, on_cpu, NULL);
    bad += cmocka_run_group_tests_name("a device with closed memory", tests, on_far, NULL);
    return bad + cmocka_run_group_tests_name("devices", devices, NULL, NULL);
}
