/* compare_test.c - divergences of two models against sums in long double, padding, worst places, and a model beside
 * itself. SPDX-License-Identifier: Apache-2.0 */
#include "../infer/tiny.h"
#include "base/mem.h"
#include "eval/compare.h"
#include "naive.h"
#include "support/check.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 40, PAD = 6 };

static gal_dev *dev;
static gal_model *model[2]; /* the second has PAD more rows */
static int32_t ids[N];

#define BOUND ((double)FLT_EPSILON * TINY_L * TINY_D * 10 * 4)

/* A copy of m with other values in its head and embedding, and more rows. */
static gal_model *changed(const gal_model *m) {
    gal_config c;
    gal_config_defaults(&c);
    c = m->config;
    c.V += PAD;
    c.layer_full = NULL;
    gal_model *out = NULL;
    CHECK_OK(gal_model_build(&out, &c, diag));
    CHECK_OK(gal_model_init(out, GAL_F32, 99, diag));
    for (size_t i = 0; i < m->n_weights; i++) {
        float *x = out->weights[i].data;
        int64_t n = gal_wcount(&m->weights[i]);
        memcpy(x, m->weights[i].data, (size_t)n * sizeof *x);
        for (int64_t k = 0; k < n; k += 7) x[k] *= 1.0F + 0.2F * (float)(k % 5);
    }
    return out;
}

static int open_all(void **state) {
    (void)state;
    dev = tiny_dev("ref", 2);
    model[0] = tiny_model(0, false);
    model[0]->config.bos = 3;
    model[1] = changed(model[0]);
    tiny_ids(ids, N, 8);
    return dev ? 0 : -1;
}

static int close_all(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) gal_model_free(model[i]);
    gal_dev_close(dev);
    return 0;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double naive_kl(const float *a, const float *b, int64_t V) {
    long double za = 0, zb = 0, kl = 0;
    for (int64_t i = 0; i < V; i++) za += expl((long double)a[i]);
    for (int64_t i = 0; i < V; i++) zb += expl((long double)b[i]);
    for (int64_t i = 0; i < V; i++) {
        long double p = expl((long double)a[i]) / za;
        kl += p * (logl(p) - logl(expl((long double)b[i]) / zb));
    }
    return (double)kl;
}

static int most_likely(const float *x, int V) {
    int at = 0;
    for (int i = 1; i < V; i++) at = x[i] > x[at] ? i : at;
    return at;
}

static void near(const char *what, double x, double want, double bound) {
    if (!(fabs(x - want) <= bound)) fail_msg("%s: %.9g, expected %.9g within %.3g", what, x, want, bound);
}

static void against_sums(void **state) {
    (void)state;
    gal_comparison *c = gal_alloc(sizeof *c);
    assert_non_null(c);
    gal_eval_text text = { .ids = ids, .n_ids = N };
    gal_eval_options o = { .context = 16, .stride = 4 };
    const gal_model *const models[2] = { model[0], model[1] };
    CHECK_OK(gal_compare(c, dev, models, NULL, &text, &o, 3, diag));
    assert_int_equal(c->vocab, TINY_V);
    assert_int_equal(c->walk.tokens, N);
    double kl[N], loss[2][N], sum = 0, mean[2] = { 0 }, agree = 0, dp2 = 0, spread = 0;
    int64_t worst = 0;
    int tops[2][N];
    for (int64_t at = 0; at < N; at++) {
        float row[2][TINY_V + PAD];
        int64_t from = naive_from(&c->how, at, N);
        for (int m = 0; m < 2; m++) {
            naive_row(dev, model[m], ids, from, at, 3, false, row[m]);
            loss[m][at] = naive_loss(row[m], TINY_V, ids[at]);
            mean[m] += loss[m][at] / N;
            tops[m][at] = most_likely(row[m], TINY_V);
        }
        kl[at] = naive_kl(row[0], row[1], TINY_V);
        sum += kl[at];
        agree += tops[0][at] == tops[1][at];
        double dp = exp(-loss[1][at]) - exp(-loss[0][at]);
        dp2 += dp * dp;
        if (kl[at] > kl[worst]) worst = at;
    }
    assert_true(sum / N > 100 * BOUND); /* the two do differ */
    double d = mean[1] - mean[0];
    for (int64_t i = 0; i < N; i++) spread += pow(loss[1][i] - loss[0][i] - d, 2);
    near("KL", c->kl, sum / N, BOUND);
    near("perplexity A", c->model[0].nats, mean[0], BOUND);
    near("perplexity B", c->model[1].nats, mean[1], BOUND);
    near("ratio", c->ratio, exp(d), 2 * BOUND);
    near("its error", c->ratio_error, exp(d) * sqrt(spread / (N - 1) / N), 2 * BOUND);
    near("agreement", c->agree, agree / N, 1e-12);
    near("rms", c->rms_dp, sqrt(dp2 / N), BOUND);
    assert_int_equal(c->n_worst, 3);
    assert_true(c->worst[0].at == worst && c->worst[0].id == ids[worst]);
    assert_true(c->worst[0].top[0] == tops[0][worst] && c->worst[0].top[1] == tops[1][worst]);
    near("its KL", c->worst[0].kl, kl[worst], BOUND);
    near("its probability", c->worst[0].p[1], exp(-loss[1][worst]), BOUND);
    assert_true(c->worst[0].kl >= c->worst[1].kl && c->worst[1].kl >= c->worst[2].kl);
    for (int32_t i = 0; i < c->worst[0].n_before; i++)
        assert_int_equal(c->worst[0].before[i], ids[worst - c->worst[0].n_before + i]);
    qsort(kl, N, sizeof *kl, by_size);
    near("median", c->median, (kl[N / 2 - 1] + kl[N / 2]) / 2, BOUND);
    near("90 %", c->p90, kl[35] + 0.1 * (kl[36] - kl[35]), BOUND);
    near("largest", c->most, kl[N - 1], BOUND);
    gal_free(c);
}

static void beside_itself(void **state) {
    (void)state;
    gal_comparison *c = gal_alloc(sizeof *c);
    assert_non_null(c);
    gal_eval_text text = { .ids = ids, .n_ids = N };
    gal_eval_options o = { .context = 16 };
    const gal_model *const models[2] = { model[0], model[0] };
    CHECK_OK(gal_compare(c, dev, models, NULL, &text, &o, 5, diag));
    assert_true(c->kl == 0.0 && c->most == 0.0 && c->agree == 1.0 && c->ratio == 1.0 && c->n_worst == 0);
    /* the same numbers as perplexity's own */
    gal_perplexity p;
    CHECK_OK(gal_perplexity_of(&p, dev, model[0], NULL, &text, &o, diag));
    assert_memory_equal(&p.nats, &c->model[1].nats, sizeof p.nats);
    gal_free(c);
}

static int stop_second(void *user, double share, int64_t tokens, double kl) {
    (void)share;
    (void)kl;
    *(int64_t *)user = tokens;
    return tokens > 0;
}

static void edges(void **state) {
    (void)state;
    gal_comparison *c = gal_alloc(sizeof *c);
    assert_non_null(c);
    int64_t seen = 0;
    gal_eval_text text = { .ids = ids, .n_ids = N };
    gal_eval_options o = { .context = 8, .progress = stop_second, .user = &seen };
    const gal_model *const models[2] = { model[0], model[1] };
    CHECK_OK(gal_compare(c, dev, models, NULL, &text, &o, 0, diag));
    assert_true(c->walk.stopped && c->walk.tokens == seen && c->kl > 0.0 && c->n_worst == 0);
    text.n_ids = 1;
    o.progress = NULL;
    CHECK_OK(gal_compare(c, dev, models, NULL, &text, &o, GAL_COMPARE_WORST, diag));
    assert_true(c->walk.tokens == 1 && isnan(c->kl_error) && c->n_worst == 1 && c->worst[0].n_before == 0);
    gal_diag why = { 0 };
    int32_t out = TINY_V + 2; /* of the second model only */
    text = (gal_eval_text){ .ids = &out, .n_ids = 1 };
    assert_int_equal(gal_compare(c, dev, models, NULL, &text, &o, 0, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "ids 0 to 52"));
    float *w = model[1]->weights[model[1]->n_weights - 1].data, kept = w[0];
    w[0] = INFINITY;
    text = (gal_eval_text){ .ids = ids, .n_ids = N };
    why = (gal_diag){ 0 };
    assert_int_equal(gal_compare(c, dev, models, NULL, &text, &o, 0, &why), GAL_EFAIL);
    assert_non_null(strstr(why.text, "second model"));
    w[0] = kept;
    gal_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_sums),
        cmocka_unit_test(beside_itself),
        cmocka_unit_test(edges),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
