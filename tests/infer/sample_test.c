/* sample_test.c - each rule of sampling alone, their order, and the distribution of many draws.
 * SPDX-License-Identifier: Apache-2.0 */
#include "infer/sample.h"
#include "support/test.h"

#include <math.h>
#include <string.h>

enum { V = 6, DRAWS = 20000 };

static const float LOGITS[V] = { 0.5f, 2.0f, -1.0f, 2.0f, 1.0f, -3.0f };

static gal_sampler *sampler(gal_sampling how, int64_t allowed) {
    gal_sampler *s = NULL;
    gal_diag diag = { 0 };
    if (gal_sampler_new(&s, V, allowed, &how, &diag)) fail_msg("%s", diag.text);
    return s;
}

static gal_sampling plain(void) {
    gal_sampling how;
    gal_sampling_defaults(&how);
    how.temperature = 1.0;
    how.seed = 99;
    return how;
}

static void count(gal_sampling how, const int32_t *seen, int n_seen, int64_t hits[V]) {
    gal_sampler *s = sampler(how, V);
    for (int i = 0; i < n_seen; i++) gal_sampler_saw(s, seen[i]);
    memset(hits, 0, V * sizeof *hits);
    for (int64_t i = 0; i < DRAWS; i++) {
        int32_t id = -1;
        assert_int_equal(gal_sample(s, LOGITS, i, &id, NULL), GAL_OK);
        assert_in_range(id, 0, V - 1);
        hits[id]++;
    }
    gal_sampler_free(s);
}

/* Pearson's chi-square of the draws against weights (not normalised). 30.9 is exceeded by chance once in 10^5 at 5
 * degrees of freedom, less often at fewer; the seed is fixed, so the outcome is, too. */
static void expect(const int64_t hits[V], const double weight[V]) {
    double total = 0.0, chi = 0.0;
    for (int i = 0; i < V; i++) total += weight[i];
    for (int i = 0; i < V; i++) {
        double e = weight[i] / total * DRAWS;
        if (weight[i] > 0.0) {
            chi += ((double)hits[i] - e) * ((double)hits[i] - e) / e;
        } else {
            assert_int_equal(hits[i], 0);
        }
    }
    assert_true(chi < 30.9);
}

static void test_plain(void **state) {
    (void)state;
    int64_t hits[V];
    double w[V];
    for (int i = 0; i < V; i++) w[i] = exp((double)LOGITS[i]);
    count(plain(), NULL, 0, hits);
    expect(hits, w);
    gal_sampling hot = plain();
    hot.temperature = 2.5;
    for (int i = 0; i < V; i++) w[i] = exp((double)LOGITS[i] / 2.5);
    count(hot, NULL, 0, hits);
    expect(hits, w);
    for (int i = 0; i < V; i++) w[i] = exp((double)LOGITS[i]);
    double chi = 0.0, total = 0.0; /* and the test can tell the two apart */
    for (int i = 0; i < V; i++) total += w[i];
    for (int i = 0; i < V; i++) chi += pow((double)hits[i] - w[i] / total * DRAWS, 2) / (w[i] / total * DRAWS);
    assert_true(chi > 30.9);
}

static void test_top_k(void **state) {
    (void)state;
    int64_t hits[V];
    gal_sampling how = plain();
    how.top_k = 3;
    count(how, NULL, 0, hits);
    expect(hits, (const double[V]){ 0, exp(2.0), 0, exp(2.0), exp(1.0), 0 });
    how.top_k = 1; /* of two equal logits the lower id */
    count(how, NULL, 0, hits);
    assert_int_equal(hits[1], DRAWS);
    how.top_k = 100;
    count(how, NULL, 0, hits);
    assert_true(hits[5] > 0);
}

static void test_top_p(void **state) {
    (void)state;
    int64_t hits[V];
    gal_sampling how = plain();
    double w[V], total = 0.0;
    for (int i = 0; i < V; i++) total += w[i] = exp((double)LOGITS[i]);
    how.top_p = (w[1] + w[3]) / total + 1e-9; /* two are not quite enough: the third comes in */
    count(how, NULL, 0, hits);
    expect(hits, (const double[V]){ 0, w[1], 0, w[3], w[4], 0 });
    how.top_p = (w[1] + w[3]) / total - 1e-9;
    count(how, NULL, 0, hits);
    expect(hits, (const double[V]){ 0, w[1], 0, w[3], 0, 0 });
    how.top_p = 1e-9;
    count(how, NULL, 0, hits);
    assert_int_equal(hits[1], DRAWS);
    /* top_k first: of three tokens, probabilities are those of the three */
    how.top_k = 3;
    how.top_p = (w[1] + w[3]) / (w[1] + w[3] + w[4]) - 1e-9;
    count(how, NULL, 0, hits);
    expect(hits, (const double[V]){ 0, w[1], 0, w[3], 0, 0 });
    how.top_p += 2e-9;
    count(how, NULL, 0, hits);
    expect(hits, (const double[V]){ 0, w[1], 0, w[3], w[4], 0 });
}

static void test_min_p(void **state) {
    (void)state;
    int64_t hits[V];
    gal_sampling how = plain();
    how.min_p = exp(-1.0) - 1e-6; /* e^1 is e^-1 times as likely as e^2 */
    count(how, NULL, 0, hits);
    expect(hits, (const double[V]){ 0, exp(2.0), 0, exp(2.0), exp(1.0), 0 });
    how.min_p = exp(-1.0) + 1e-6;
    count(how, NULL, 0, hits);
    expect(hits, (const double[V]){ 0, exp(2.0), 0, exp(2.0), 0, 0 });
}

static void test_penalty(void **state) {
    (void)state;
    int64_t hits[V];
    gal_sampling how = plain();
    how.repetition_penalty = 2.0;
    count(how, (const int32_t[]){ 1, 2, 1 }, 3, hits);
    expect(hits, (const double[V]){ exp(0.5), exp(1.0), exp(-2.0), exp(2.0), exp(1.0), exp(-3.0) });
}

static void test_greedy(void **state) {
    (void)state;
    gal_sampling how = plain();
    how.temperature = 0.0;
    gal_sampler *s = sampler(how, V);
    int32_t id = -1;
    assert_int_equal(gal_sample(s, LOGITS, 0, &id, NULL), GAL_OK);
    assert_int_equal(id, 1); /* the lower of two equal ones */
    gal_sampler_free(s);
    how.repetition_penalty = 4.0;
    s = sampler(how, V);
    gal_sampler_saw(s, 1);
    gal_sampler_saw(s, 3);
    assert_int_equal(gal_sample(s, LOGITS, 0, &id, NULL), GAL_OK);
    assert_int_equal(id, 4);
    gal_sampler_forget(s);
    assert_int_equal(gal_sample(s, LOGITS, 0, &id, NULL), GAL_OK);
    assert_int_equal(id, 1);
    gal_sampler_free(s);
}

/* Rows of the head that no token has are never drawn, however large their logits. */
static void test_allowed(void **state) {
    (void)state;
    gal_sampler *s = sampler(plain(), 3);
    const float logits[V] = { 0, 0, 0, 90.0f, NAN, 90.0f };
    for (int64_t i = 0; i < 200; i++) {
        int32_t id = -1;
        assert_int_equal(gal_sample(s, logits, i, &id, NULL), GAL_OK);
        assert_in_range(id, 0, 2);
    }
    gal_sampler_free(s);
}

static void test_bad_numbers(void **state) {
    (void)state;
    gal_sampler *s = sampler(plain(), V);
    float logits[V] = { 0 };
    int32_t id = -1;
    logits[2] = NAN;
    assert_int_equal(gal_sample(s, logits, 0, &id, NULL), GAL_EFAIL);
    logits[2] = INFINITY;
    assert_int_equal(gal_sample(s, logits, 0, &id, NULL), GAL_EFAIL);
    logits[2] = -INFINITY; /* a token ruled out is no mistake */
    for (int64_t i = 0; i < 100; i++) {
        assert_int_equal(gal_sample(s, logits, i, &id, NULL), GAL_OK);
        assert_int_not_equal(id, 2);
    }
    gal_sampler_free(s);
    static const gal_sampling BAD[] = { { -1, 0, 1, 0, 1, 0 },  { (double)NAN, 0, 1, 0, 1, 0 },
                                        { 1, -1, 1, 0, 1, 0 },  { 1, 0, 0, 0, 1, 0 },
                                        { 1, 0, 1.1, 0, 1, 0 }, { 1, 0, 1, -0.1, 1, 0 },
                                        { 1, 0, 1, 1.1, 1, 0 }, { 1, 0, 1, 0, 0, 0 } };
    for (size_t i = 0; i < GAL_LEN(BAD); i++) assert_int_equal(gal_sampling_check(&BAD[i], NULL), GAL_EUSAGE);
}

/* A draw depends on seed and position, on nothing else. */
static void test_repeats(void **state) {
    (void)state;
    gal_sampler *a = sampler(plain(), V), *b = sampler(plain(), V);
    int different = 0;
    for (int64_t i = 0; i < 100; i++) {
        int32_t x = -1, y = -1, z = -1;
        assert_int_equal(gal_sample(a, LOGITS, i, &x, NULL), GAL_OK);
        assert_int_equal(gal_sample(b, LOGITS, 99 - i, &y, NULL), GAL_OK);
        assert_int_equal(gal_sample(b, LOGITS, i, &z, NULL), GAL_OK);
        assert_int_equal(x, z);
        different += x != y;
    }
    assert_true(different > 10);
    gal_sampler_free(a);
    gal_sampler_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_plain),   cmocka_unit_test(test_top_k),
                                        cmocka_unit_test(test_top_p),   cmocka_unit_test(test_min_p),
                                        cmocka_unit_test(test_penalty), cmocka_unit_test(test_greedy),
                                        cmocka_unit_test(test_allowed), cmocka_unit_test(test_bad_numbers),
                                        cmocka_unit_test(test_repeats) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
