/* parity_test.c [DEVICE] - the whole model against the reference implementation's answers: logits and every block's
 * input in f32, logits in bf16, greedy continuations, chunked prefill and decoding with the cache, gradients of every
 * weight, losses of twenty updates. On every level that this processor has and, for one folder, on a device whose
 * memory is closed to the host; with an argument on that device alone. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "golden.h"
#include "infer/relative.h"
#include "optim/optim.h"
#include "support/check.h"
#include "support/far.h"
#include "support/thin.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* f32 against the reference's own f32: what the project promises (mistral.md 2, point 1). */
#define LOGITS_TOLERANCE 2e-4
/* bf16 keeps 8 bits: root mean square of the difference, as a part of the logits' standard deviation. */
#define BF16_TOLERANCE 0.04
/* Losses of the first optimiser steps, relative. */
#define ADAMW_TOLERANCE 1e-4

static const char *const FOLDERS[] = {
    "tests/golden/mistral-base",
    "tests/golden/mistral-window",
    "tests/golden/mistral-tied",
    "tests/golden/mistral-nemo",
    "tests/golden/mistral-layers",
    "tests/golden/mistral-yarn",
    "tests/golden/mixtral-base",
    "tests/golden/own-yarn",
    "tests/golden/own-fp8",
    "tests/golden/gguf-mistral3",
    "tests/golden/gguf-mixed",
    "tests/golden/gguf-mistral3-q",
    "tests/golden/ministral-fp8",
    "tests/golden/mixtral-fp8",
    "tests/golden/gopher-base",
    "tests/golden/gopher-clamp",
    "tests/golden/routed-sbase",
    "tests/golden/routed-rlr",
    "tests/golden/routed-hash",
    "../shared/fixtures/routed-sbase",
    "../shared/fixtures/routed-sbase2",
    "../shared/fixtures/routed-hash",
    "../shared/fixtures/gopher-base",
    "../shared/fixtures/gopher-wide",
    "../shared/fixtures/gopher-clamp",
    "../shared/fixtures/mistral-base",
    "../shared/fixtures/mistral-window",
    "../shared/fixtures/mistral-nemo",
    "../shared/fixtures/mistral-tied",
    "../shared/fixtures/mistral-bf16",
    "../shared/fixtures/mistral-f16",
    "../shared/fixtures/mistral-sharded",
    "../shared/fixtures/ministral3-yarn",
    "../shared/fixtures/mixtral-base",
    "../shared/fixtures/mixtral-window",
};
static const char *const LEVELS[] = { "ref", "sse42", "avx", "avx2", "avx512", "neon" };

typedef struct place {
    const char *folder, *level, *device;
} place;

typedef struct bench {
    golden g;
    gal_dev *dev;
    gal_ctx *cx;
    gal_step st;
    gal_relative relative; /* of the cache at hand */
} bench;

/* Room for so many tokens. */
static void reserve(bench *b, gal_cache *cache, int64_t tokens) {
    CHECK_OK(gal_cache_reserve(cache, tokens, NULL, diag));
    CHECK_OK(gal_relative_grow(&b->relative, b->cx, b->g.m, cache, diag));
}

static void drop(bench *b, gal_cache *cache) {
    gal_relative_free(&b->relative);
    gal_cache_free(cache);
}

/* Skips the test where the folder, the level or the device is absent. own: f32 weights that may be trained. */
/* Of the shared folders those of Gopher have neither continuations nor trainings; all others have what is asked for.
 */
static bool may_lack(const place *p) {
    return strncmp(p->folder, "../shared/fixtures/gopher-", 26) == 0 ||
           strncmp(p->folder, "../shared/fixtures/routed-", 26) == 0;
}

static void begin(bench *b, const place *p, gal_dtype compute, bool own) {
    if (!gal_is_dir(p->folder)) {
        print_message("skipped: %s is not here\n", p->folder);
        skip();
    }
    *b = (bench){ 0 };
    gal_device_options options = { .cpu = p->level, .threads = 2, .device = p->device };
    gal_diag why = { 0 };
    gal_err err = gal_dev_open(&b->dev, &options, &why);
    if (err == GAL_EDEVICE) {
        print_message("skipped: %s\n", why.text);
        skip();
    }
    if (err) fail_msg("%s", why.text);
    golden_open(&b->g, p->folder);
    if (own) CHECK_OK(gal_model_own(&b->g.m, 1, diag));
    CHECK_OK(gal_model_to_device(b->g.m, b->dev, diag));
    CHECK_OK(gal_ctx_new(&b->cx, b->dev, compute, diag));
    CHECK_OK(gal_step_init(&b->st, b->dev, b->g.B * b->g.T, diag));
}

static void end(bench *b) {
    gal_step_free(&b->st);
    gal_ctx_free(b->cx);
    golden_close(&b->g);
    gal_dev_close(b->dev);
}

/* Both sequences, packed. */
static void whole_batch(bench *b) {
    b->st.n = 0;
    b->st.row_len = b->g.T;
    for (int64_t s = 0; s < b->g.B; s++) golden_rows(&b->st, b->g.ids + s * b->g.T, b->g.T, 0, (int32_t)s);
}

static float *floats(int64_t n) {
    float *p = gal_alloc_array((size_t)n, sizeof *p);
    assert_non_null(p);
    return p;
}

typedef struct watcher {
    const bench *b;
    double worst;
    int64_t block, seen;
} watcher;

/* Differences are measured in units of the largest value, at least 1: hidden states have no fixed scale. */
static void watch(void *user, const char *name, int index, const gal_t *t) {
    watcher *w = user;
    if (strcmp(name, "hidden") != 0) return;
    const golden *g = &w->b->g;
    char key[32];
    (void)snprintf(key, sizeof key, "hidden_%d", index);
    const int64_t dim[] = { g->B, g->T, g->D };
    const float *want = golden_floats(g, key, 3, dim);
    w->seen++;
    if (!want) return; /* some folders have the logits alone */
    assert_int_equal(gal_count(t), g->B * g->T * g->D);
    double largest = 1;
    for (int64_t i = 0; i < gal_count(t); i++) largest = fmax(largest, fabs((double)want[i]));
    int64_t at;
    float *got = floats(gal_count(t));
    CHECK_OK(gal_dev_download(w->b->dev, got, t->data, (size_t)gal_count(t) * sizeof *got, diag));
    double d = largest_difference(got, want, gal_count(t), &at) / largest;
    gal_free(got);
    if (!(d <= w->worst)) {
        w->worst = d;
        w->block = index;
    }
}

static void test_f32(void **state) {
    bench b;
    begin(&b, *state, GAL_F32, false);
    int64_t n = b.g.B * b.g.T * b.g.V, at;
    float *got = floats(n);
    watcher w = { .b = &b };
    gal_set_tap(b.cx, watch, &w);
    whole_batch(&b);
    golden_logits(b.cx, &b.g, &b.st, got);
    assert_int_equal(w.seen, b.g.L + 1);
    if (!(w.worst <= LOGITS_TOLERANCE)) fail_msg("input of block %d: relative difference %g", (int)w.block, w.worst);
    double d = largest_difference(got, b.g.logits, n, &at);
    if (!(d <= LOGITS_TOLERANCE)) fail_msg("logits: largest difference %g at %lld", d, (long long)at);
    print_message("largest difference %.2e\n", d);
    gal_free(got);
    end(&b);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void test_bf16(void **state) {
    bench b;
    begin(&b, *state, GAL_BF16, false);
    int64_t n = b.g.B * b.g.T * b.g.V;
    float *got = floats(n);
    whole_batch(&b);
    golden_logits(b.cx, &b.g, &b.st, got);
    double mean = 0, square = 0, off = 0, *row = gal_alloc_array((size_t)(n / b.g.V), sizeof *row);
    assert_non_null(row);
    for (int64_t i = 0; i < n; i++) {
        double x = (double)b.g.logits[i], d = (double)got[i] - x;
        mean += x;
        square += x * x;
        off += d * d;
        row[i / b.g.V] += d * d / (double)b.g.V;
    }
    mean /= (double)n;
    double deviation = sqrt(square / (double)n - mean * mean), part = sqrt(off / (double)n) / deviation;
    /* A router near a tie gives a token another expert and moves its logits by whole units: of models with experts
     * the median token is looked at. */
    qsort(row, (size_t)(n / b.g.V), sizeof *row, by_size);
    if (b.g.m->config.experts) part = sqrt(row[n / b.g.V / 2]) / deviation;
    if (!(part <= BF16_TOLERANCE))
        fail_msg("root mean square difference is %.2f %% of the standard deviation", 100 * part);
    print_message("%.2f %% of the standard deviation\n", 100 * part);
    gal_free(row);
    gal_free(got);
    end(&b);
}

/* Feeds positions from..to-1 of every sequence to the cache, `chunk` at a time; logits land in out [B, T, V]. */
static void feed(bench *b, gal_cache *cache, int64_t from, int64_t to, int64_t chunk, float *out) {
    const golden *g = &b->g;
    float *rows = floats(g->B * chunk * g->V);
    for (int64_t p = from; p < to; p += chunk) {
        int64_t n = GAL_MIN(chunk, to - p);
        reserve(b, cache, p + n);
        b->st.n = 0;
        for (int64_t s = 0; s < g->B; s++) golden_rows(&b->st, g->ids + s * g->T + p, n, p, (int32_t)s);
        b->st.row_len = b->st.n;
        b->st.kv = gal_cache_layers(cache);
        golden_logits(b->cx, g, &b->st, rows);
        for (int64_t s = 0; s < g->B; s++) {
            gal_cache_advance(cache, s, n);
            memcpy(out + (s * g->T + p) * g->V, rows + s * n * g->V, (size_t)(n * g->V) * sizeof *rows);
        }
    }
    b->st.kv = NULL;
    gal_free(rows);
}

/* Prefill in chunks, then token by token: the same logits at every position. */
static void test_chunks(void **state) {
    bench b;
    begin(&b, *state, GAL_F32, false);
    const golden *g = &b.g;
    int64_t W = g->m->config.window ? g->m->config.window : 16, at;
    const int64_t chunks[] = { 1, 3, 7, W, W + 1, g->T };
    int64_t n = g->B * g->T * g->V;
    float *got = floats(n);
    for (size_t i = 0; i < GAL_LEN(chunks); i++) {
        gal_cache *cache = NULL;
        CHECK_OK(gal_cache_new(&cache, b.dev, &g->m->config, GAL_F32, g->B, g->T, diag));
        int64_t decode = chunks[i] == g->T ? g->T : g->T - 5; /* the last five one by one */
        feed(&b, cache, 0, decode, chunks[i], got);
        feed(&b, cache, decode, g->T, 1, got);
        double d = largest_difference(got, g->logits, n, &at);
        if (!(d <= LOGITS_TOLERANCE))
            fail_msg("chunks of %d: largest difference %g at position %d", (int)chunks[i], d,
                     (int)(at / g->V % g->T));
        drop(&b, cache);
    }
    gal_free(got);
    end(&b);
}

static int64_t argmax(const float *x, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static void test_greedy(void **state) {
    enum { PROMPT = 12, NEW = 24 };
    bench b;
    begin(&b, *state, GAL_F32, false);
    const golden *g = &b.g;
    const gal_npy *want = npz_find(&g->z, "greedy");
    if (!want && may_lack(*state)) {
        end(&b);
        print_message("skipped: no continuation in golden.npz\n");
        skip();
    }
    assert_true(want && want->type == GAL_NPY_I64 && want->count == g->B * NEW);
    float *got = floats(PROMPT * g->V);
    for (int64_t s = 0; s < g->B; s++) {
        gal_cache *cache = NULL;
        CHECK_OK(gal_cache_new(&cache, b.dev, &g->m->config, GAL_F32, 1, PROMPT + NEW, diag));
        int64_t n = PROMPT, pos = 0, token = -1;
        for (int i = 0; i < NEW; i++) {
            reserve(&b, cache, pos + n);
            b.st.n = 0;
            golden_rows(&b.st, i ? &token : g->ids + s * g->T, n, pos, 0);
            b.st.row_len = n;
            b.st.kv = gal_cache_layers(cache);
            golden_logits(b.cx, g, &b.st, got);
            gal_cache_advance(cache, 0, n);
            token = argmax(got + (n - 1) * g->V, g->V);
            assert_int_equal(token, ((const int64_t *)want->data)[s * NEW + i]);
            pos += n;
            n = 1;
        }
        drop(&b, cache);
    }
    gal_free(got);
    end(&b);
}

/* Relative to the largest element. A value has passed at most 24 sums a layer (12 products and norms, forward and
 * backward). Over terms of either sign a sum's rounding errors grow with the root of their number, as the sum itself
 * does: each adds about one epsilon. */
static double gradient_tolerance(const golden *g) { return (double)FLT_EPSILON * 24 * (double)g->L; }

/* Every token but a sequence's last predicts the next; the mean is the loss. */
static void training_batch(bench *b) {
    const golden *g = &b->g;
    whole_batch(b);
    for (int64_t i = 0; i < g->B * g->T; i++) {
        bool last = i % g->T == g->T - 1;
        b->st.target[i] = last ? -1 : (int32_t)g->ids[i + 1];
        b->st.weight[i] = last ? 0.0f : (float)(1.0 / (double)(g->B * (g->T - 1)));
    }
}

static void check_gradients(bench *b, bool recompute) {
    const golden *g = &b->g;
    training_batch(b);
    CHECK_OK(gal_step_commit(&b->st, diag));
    gal_step_begin(b->cx);
    gal_tape_on(b->cx, recompute);
    gal_t *loss = gal_weighted_sum(b->cx, g->m->family->loss(b->cx, g->m, &b->st), &b->st);
    gal_backward(b->cx, loss, 1);
    CHECK_OK(gal_step_end(b->cx, diag));
    float value = 0;
    CHECK_OK(gal_dev_download(b->dev, &value, loss->data, sizeof value, diag));
    const float *want = golden_floats(g, "loss", 0, NULL);
    assert_true(fabs((double)value - (double)want[0]) <=
                8 * (double)g->L * (double)FLT_EPSILON * fabs((double)want[0]));
    double tolerance = gradient_tolerance(g), worst = 0, keys = 0;
    for (size_t i = 0; i < g->m->n_weights; i++) {
        const gal_w *w = &g->m->weights[i];
        char key[160];
        (void)snprintf(key, sizeof key, "grad/%s", w->name);
        const float *grad = golden_floats(g, key, w->ndim, w->dim);
        if (!grad) fail_msg("golden.npz has no %s", key);
        double largest = 0;
        for (int64_t k = 0; k < gal_wcount(w); k++) largest = fmax(largest, fabs((double)grad[k]));
        assert_true(largest > 0);
        /* What is added to all keys alike changes no probability: its gradient is the rounding of a sum that is
         * zero, and is held to the numbers of that sum, as its matrix's is. */
        if (strstr(w->name, "k_proj.bias")) largest = keys;
        if (strstr(w->name, "k_proj.weight")) keys = largest;
        int64_t at;
        float *got = floats(gal_wcount(w));
        CHECK_OK(gal_dev_download(b->dev, got, w->grad, (size_t)gal_wcount(w) * sizeof *got, diag));
        double d = largest_difference(got, grad, gal_wcount(w), &at) / largest;
        gal_free(got);
        if (!(d <= tolerance))
            fail_msg("%s: relative difference %g at %lld, expected %g", w->name, d, (long long)at, tolerance);
        worst = fmax(worst, d);
        gal_k_map fill = { .y = w->grad, .dt = GAL_F32, .count = gal_wcount(w) };
        CHECK_OK(gal_dev_launch(b->dev, GAL_K_FILL, &fill, sizeof fill, diag));
    }
    print_message("largest relative difference %.2e of %.2e\n", worst, tolerance);
}

static void test_gradients(void **state) {
    bench b;
    begin(&b, *state, GAL_F32, false);
    for (size_t i = 0; i < b.g.m->n_weights; i++) {
        gal_w *w = &b.g.m->weights[i];
        w->grad = gal_dev_take_array(b.dev, (size_t)gal_wcount(w), sizeof(float));
        assert_non_null(w->grad);
        w->group = 1;
    }
    check_gradients(&b, false);
    check_gradients(&b, true);
    for (size_t i = 0; i < b.g.m->n_weights; i++) {
        gal_dev_give(b.dev, b.g.m->weights[i].grad);
        b.g.m->weights[i].grad = NULL;
    }
    end(&b);
}

/* Twenty steps of AdamW on the same batch, as the script that made the folders took them. */
static void test_adamw(void **state) {
    enum { STEPS = 20 };
    bench b;
    begin(&b, *state, GAL_F32, true);
    const float *want = golden_floats(&b.g, "adamw_loss", 1, (int64_t[]){ STEPS });
    if (!want && may_lack(*state)) {
        end(&b);
        print_message("skipped: no losses in golden.npz\n");
        skip();
    }
    assert_non_null(want);
    gal_optim *opt = NULL;
    const gal_optim_options options = {
        .kind = &gal__optim_adamw, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip = 1.0
    };
    CHECK_OK(gal_optim_new(&opt, b.dev, b.g.m->weights, b.g.m->n_weights, 1, &options, diag));
    training_batch(&b);
    CHECK_OK(gal_step_commit(&b.st, diag));
    double worst = 0;
    for (int i = 0; i < STEPS; i++) {
        CHECK_OK(gal_optim_prepare(opt, 1e-3, diag));
        gal_step_begin(b.cx);
        gal_optim_zero(b.cx, opt);
        gal_tape_on(b.cx, false);
        gal_t *loss = gal_weighted_sum(b.cx, b.g.m->family->loss(b.cx, b.g.m, &b.st), &b.st);
        gal_backward(b.cx, loss, 1);
        gal_optim_norm(b.cx, opt);
        gal_optim_update(b.cx, opt, false);
        CHECK_OK(gal_step_end(b.cx, diag));
        opt->t++;
        float got = 0;
        CHECK_OK(gal_dev_download(b.dev, &got, loss->data, sizeof got, diag));
        double d = fabs((double)got - (double)want[i]) / (double)want[i];
        if (!(d <= ADAMW_TOLERANCE)) fail_msg("loss %d: %g, expected %g", i, (double)got, (double)want[i]);
        worst = fmax(worst, d);
    }
    print_message("largest relative difference %.2e\n", worst);
    gal_optim_free(opt);
    end(&b);
}

/* Only some folders hold gradients. */
static bool has_gradients(const char *folder) {
    static const char *const WITH[] = { "tests/golden/mistral-base",       "tests/golden/mixtral-base",
                                        "../shared/fixtures/mistral-base", "../shared/fixtures/mistral-tied",
                                        "../shared/fixtures/mixtral-base", "tests/golden/gopher-base",
                                        "tests/golden/routed-hash",        "../shared/fixtures/gopher-base",
                                        "../shared/fixtures/gopher-wide" };
    for (size_t i = 0; i < GAL_LEN(WITH); i++)
        if (!strcmp(folder, WITH[i])) return true;
    return false;
}

enum { KINDS = 6, MOST = KINDS * (int)GAL_LEN(FOLDERS) * ((int)GAL_LEN(LEVELS) + 1) };

static place places[MOST];
static char names[MOST][96];
static struct CMUnitTest tests[MOST];
static size_t n_tests, combination;

static void add(const char *folder, const char *level, const char *device) {
    static const struct {
        const char *name;
        CMUnitTestFunction run;
    } kinds[KINDS] = {
        { "f32", test_f32 },       { "bf16", test_bf16 },           { "chunks", test_chunks },
        { "greedy", test_greedy }, { "gradients", test_gradients }, { "adamw", test_adamw },
    };
    for (size_t k = 0; k < KINDS; k++) {
        if (k >= 4 && !has_gradients(folder)) continue;
        if (k > 0 && thin_skip(combination++, 3)) continue;
        (void)snprintf(names[n_tests], sizeof names[0], "%s %s %s", folder, level ? level : device, kinds[k].name);
        places[n_tests] = (place){ folder, level, device };
        tests[n_tests] = (struct CMUnitTest){ names[n_tests], kinds[k].run, NULL, NULL, &places[n_tests] };
        n_tests++;
    }
}

int main(int argc, char **argv) {
    far_use();
    for (size_t f = 0; f < GAL_LEN(FOLDERS); f++) {
        for (size_t l = 0; l < GAL_LEN(LEVELS) && argc < 2; l++) add(FOLDERS[f], LEVELS[l], "cpu");
        if (argc < 2 && (f == 0 || strstr(FOLDERS[f], "mixtral-base"))) add(FOLDERS[f], NULL, "far");
        if (argc > 1) add(FOLDERS[f], NULL, argv[1]);
    }
    if (argc > 1) { /* one skipped test says as much as all of them */
        gal_dev *dev = NULL;
        gal_err err = gal_dev_open(&dev, &(gal_device_options){ .device = argv[1] }, NULL);
        gal_dev_close(dev);
        if (err) n_tests = 1;
    }
    return _cmocka_run_group_tests("parity", tests, n_tests, NULL, NULL);
}
