/* route_test.c - routers: plans of S-BASE against what defines them and against converged ones of another
 * implementation, the ids of HASH, and what REINFORCE makes of RL-R. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/rng.h"
#include "core/dev.h"
#include "support/check.h"
#include "support/npz.h"
#include "support/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64, EXPERTS = 8 };

static gal_dev *dev;

static int open_dev(void **state) {
    (void)state;
    return (int)gal_dev_open(&dev, &(gal_device_options){ .cpu = "ref", .threads = 1 }, NULL);
}
static int close_dev(void **state) {
    (void)state;
    gal_dev_close(dev);
    return 0;
}

static void run(gal_kernel_id id, const void *args, size_t bytes) {
    CHECK_OK(gal_dev_launch(dev, id, args, bytes, diag));
}

typedef struct plan {
    int64_t n, experts;
    double f[MOST], g[MOST];
    int32_t made;
} plan;

static plan plan_of(const double *logits, int64_t n, int64_t experts, double tolerance, int64_t iterations) {
    plan p = { .n = n, .experts = experts };
    gal_k_sinkhorn a = { p.f, p.g, &p.made, logits, GAL_F64, n, experts, tolerance, iterations, NULL };
    run(GAL_K_SINKHORN, &a, sizeof a);
    return p;
}

static double mass(const plan *p, const double *logits, int64_t n, int64_t e) {
    return exp(p->f[n] + logits[n * p->experts + e] + p->g[e]);
}

static void some_logits(double *l, int64_t count, uint64_t stream, double scale) {
    for (int64_t i = 0; i < count; i++) l[i] = scale * gal_rng_normal(3, stream, (uint64_t)i);
}

/* Rows add up to 1 / N exactly, columns to 1 / E within the tolerance. */
static void plans_are_even(void **state) {
    (void)state;
    double l[MOST * EXPERTS];
    for (uint64_t s = 0; s < 20; s++) {
        const double tolerance = s % 2 ? 1e-2 : 1e-8;
        some_logits(l, MOST * EXPERTS, s, 3);
        plan p = plan_of(l, MOST, EXPERTS, tolerance, 100000);
        for (int64_t n = 0; n < MOST; n++) {
            double sum = 0;
            for (int64_t e = 0; e < EXPERTS; e++) sum += mass(&p, l, n, e);
            assert_true(fabs(MOST * sum - 1) <= 1e-12);
        }
        for (int64_t e = 0; e < EXPERTS; e++) {
            double sum = 0;
            for (int64_t n = 0; n < MOST; n++) sum += mass(&p, l, n, e);
            assert_true(fabs(EXPERTS * sum - 1) <= tolerance * (1 + 1e-9) + 1e-12);
        }
    }
    plan p = plan_of(l, MOST, EXPERTS, 0, 5);
    assert_int_equal(p.made, 5); /* the most that are asked for */
}

/* What is added to a row or a column of the logits leaves the plan as it is; equal logits give an even one. */
static void plans_forget_sums(void **state) {
    (void)state;
    double l[MOST * EXPERTS], moved[MOST * EXPERTS];
    some_logits(l, MOST * EXPERTS, 50, 2);
    for (int64_t i = 0; i < MOST * EXPERTS; i++)
        moved[i] = l[i] + 5 * gal_rng_normal(3, 51, (uint64_t)(i / EXPERTS)) +
                   4 * gal_rng_normal(3, 52, (uint64_t)(i % EXPERTS));
    plan a = plan_of(l, MOST, EXPERTS, 1e-13, 100000), b = plan_of(moved, MOST, EXPERTS, 1e-13, 100000);
    for (int64_t i = 0; i < MOST * EXPERTS; i++) {
        double x = mass(&a, l, i / EXPERTS, i % EXPERTS), y = mass(&b, moved, i / EXPERTS, i % EXPERTS);
        assert_true(fabs(x - y) * MOST * EXPERTS <= 1e-6);
    }
    memset(l, 0, sizeof l);
    a = plan_of(l, MOST, EXPERTS, 1e-13, 1000);
    for (int64_t i = 0; i < MOST * EXPERTS; i++)
        assert_true(fabs(mass(&a, l, i / EXPERTS, i % EXPERTS) * MOST * EXPERTS - 1) <= 1e-12);
}

static int64_t best_of(const plan *p, const double *l, int64_t n) {
    int64_t best = 0;
    for (int64_t e = 1; e < p->experts; e++)
        if (mass(p, l, n, e) > mass(p, l, n, best)) best = e;
    return best;
}

/* The largest sum over permutations of the rows from n on; free: columns not taken yet. */
static double best_sum(const double *l, int64_t size, int64_t n, unsigned free, int64_t *to) {
    if (n == size) return 0;
    double best = (double)-INFINITY;
    int64_t rest[EXPERTS];
    for (int64_t e = 0; e < size; e++) {
        if (!(free >> e & 1)) continue;
        double sum = l[n * size + e] + best_sum(l, size, n + 1, free & ~(1u << e), rest);
        if (sum <= best) continue;
        best = sum;
        to[n] = e;
        memcpy(to + n + 1, rest + n + 1, (size_t)(size - n - 1) * sizeof *to);
    }
    return best;
}

/* As many rows as experts: steep logits make the plan the best assignment, a strong diagonal the identity. */
static void steep_plans_assign(void **state) {
    (void)state;
    enum { SIZE = 6 };
    double l[SIZE * SIZE];
    for (uint64_t s = 0; s < 10; s++) {
        int64_t want[EXPERTS] = { 0 };
        some_logits(l, SIZE * SIZE, 100 + s, 1);
        (void)best_sum(l, SIZE, 0, (1u << SIZE) - 1, want);
        for (int i = 0; i < SIZE * SIZE; i++) l[i] *= 200;
        plan p = plan_of(l, SIZE, SIZE, 1e-4, 200000);
        for (int64_t n = 0; n < SIZE; n++) assert_int_equal(best_of(&p, l, n), want[n]);
    }
    for (int i = 0; i < SIZE * SIZE; i++) l[i] = i % (SIZE + 1) == 0 ? 12 : gal_rng_normal(3, 200, (uint64_t)i);
    plan p = plan_of(l, SIZE, SIZE, 1e-6, 10000);
    for (int64_t n = 0; n < SIZE; n++) assert_int_equal(best_of(&p, l, n), n);
}

static const double *doubles(const npz *z, const char *name, int64_t *rows, int64_t *cols) {
    const gal_npy *a = npz_find(z, name);
    assert_true(a && a->type == GAL_NPY_F64 && a->ndim == 2 && a->dim[0] <= MOST);
    *rows = a->dim[0];
    *cols = a->dim[1];
    return a->data;
}

static void plans_of_the_fixtures(void **state) {
    (void)state;
    static const char *const FILES[] = { "../shared/fixtures/routed-sbase/golden.npz",
                                         "../shared/fixtures/routed-sbase2/golden.npz" };
    int seen = 0;
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        if (!gal_is_file(FILES[i])) continue;
        npz z;
        int64_t n, experts;
        CHECK_OK(npz_open(&z, FILES[i], diag));
        const double *want = doubles(&z, "sinkhorn_plan", &n, &experts),
                     *l = doubles(&z, "sinkhorn_logits", &n, &experts);
        plan p = plan_of(l, n, experts, 1e-12, 100000);
        for (int64_t k = 0; k < n * experts; k++)
            assert_true(fabs(mass(&p, l, k / experts, k % experts) - want[k]) <= 1e-9 * want[k] + 1e-15);
        npz_close(&z);
        seen++;
    }
    if (!seen) {
        print_message("skipped: ../shared/fixtures is not here\n");
        skip();
    }
}

/* More rows than the scratch holds numbers, one of which has a logit that is none: a bad step, not the end of all. */
static void plans_of_what_is_no_number(void **state) {
    (void)state;
    enum { ROWS = 600000, E = 2, PADDED = ROWS + GAL_SINKHORN_PAD };
    float *l = calloc(ROWS * E, sizeof *l), *work = calloc((E + 1) * (size_t)PADDED, sizeof *work), g[E];
    int32_t made = 0;
    assert_non_null(l);
    assert_non_null(work);
    for (int64_t i = 0; i < ROWS * E; i++) l[i] = (float)(i % 7);
    gal_k_sinkhorn a = { NULL, g, &made, l, GAL_F32, ROWS, E, 1e-2, 3, work };
    run(GAL_K_SINKHORN, &a, sizeof a);
    assert_true(isfinite(g[0]) && isfinite(g[1]));
    l[ROWS] = NAN;
    run(GAL_K_SINKHORN, &a, sizeof a);
    free(l);
    free(work);
}

/* An expert has places for `capacity` choices, first come, first served; a number beyond 32 bits is as good as none.
 */
static void places_end(void **state) {
    (void)state;
    static const int64_t CAPACITY[] = { 0, 3, (1LL << 31) + 3, (1LL << 32) + 3 };
    enum { ROWS = 10, E = 2 };
    for (size_t c = 0; c < GAL_LEN(CAPACITY); c++) {
        int32_t choice[ROWS], offset[E + 1], row[ROWS], place[ROWS], dropped = 0;
        for (int n = 0; n < ROWS; n++) choice[n] = n % 3 == 0; /* 4 rows of expert 1, 6 of expert 0 */
        gal_k_route_sort a = { offset, row, place, choice, ROWS, E, 1, CAPACITY[c] };
        run(GAL_K_ROUTE_SORT, &a, sizeof a);
        for (int n = 0; n < ROWS; n++) dropped += place[n] < 0;
        assert_int_equal(dropped, CAPACITY[c] == 3 ? 4 : 0);
        assert_int_equal(offset[E], ROWS - dropped);
        if (CAPACITY[c] == 3) assert_true(place[0] == 3 && place[9] == -1 && place[1] == 0);
    }
}

static void hash_counts_ids(void **state) {
    (void)state;
    enum { N = 500, E = 7 };
    int32_t ids[N], choice[N], count[E] = { 0 };
    for (int i = 0; i < N; i++) {
        ids[i] = (int32_t)gal_rng_below(4, 4, (uint64_t)i, 97);
        count[ids[i] % E]++;
    }
    gal_k_hash a = { choice, ids, N, E };
    run(GAL_K_HASH, &a, sizeof a);
    for (int i = 0; i < N; i++) {
        count[choice[i]]--;
        for (int j = 0; j < i; j++)
            if (ids[j] == ids[i]) assert_int_equal(choice[i], choice[j]);
    }
    for (int e = 0; e < E; e++) assert_int_equal(count[e], 0);
}

/* ---- policies ----------------------------------------------------------------------------------------------------
 */

static void softmax(double *p, const double *l, int n) {
    double sum = 0;
    for (int e = 0; e < n; e++) sum += exp(l[e]);
    for (int e = 0; e < n; e++) p[e] = exp(l[e]) / sum;
}

typedef struct learner {
    double value, loss, entropy, top_p;
} learner;

/* dlogits and dvalue of one row that chose `choice`. */
static void policy_row(double *dl, double *dvalue, const double *l, int n, int32_t choice, const learner *s) {
    double p[EXPERTS], sums[GAL_ROUTE_HEAD] = { [GAL_ROUTE_ROWS] = 1 };
    int32_t target = 0;
    softmax(p, l, n);
    memset(dl, 0, (size_t)n * sizeof *dl);
    gal_k_route_policy a = { dl, dvalue, p,    &s->value, &s->loss, &choice, &target,    GAL_F64, 1,
                             n,  1,      sums, 1,         1,        1,       s->entropy, s->top_p };
    run(GAL_K_ROUTE_POLICY, &a, sizeof a);
    assert_true(fabs(sums[GAL_ROUTE_ERROR] - (s->value + s->loss) * (s->value + s->loss)) <= 1e-12);
}

static void nothing_to_learn(void **state) {
    (void)state;
    const double l[3] = { 0.3, -1, 0.5 };
    double dl[3], dvalue;
    policy_row(dl, &dvalue, l, 3, 1, &(learner){ -2.5, 2.5, 0, 1 });
    for (int e = 0; e < 3; e++) assert_true(fabs(dl[e]) <= 0);
    assert_true(fabs(dvalue) <= 0);
}

enum { SIDES = 4 };
static const double SIDE[SIDES] = { 0.2, -0.7, 1.1, 0.4 }; /* softmax: 0.197, 0.080, 0.483, 0.240 */

/* top_p, and the experts of SIDE's nucleus. */
static const struct {
    double top_p;
    bool in[SIDES];
} NUCLEI[] = { { 1, { true, true, true, true } },      { 0.93, { true, true, true, true } },
               { 0.8, { true, false, true, true } },   { 0.5, { false, false, true, true } },
               { 0.4, { false, false, true, false } }, { 0, { false, false, true, false } } };

/* What is drawn from: p, the softmax of l, over its sum in a set. */
static void within(double *q, double *p, const double *l, const bool *in) {
    double sum = 0;
    softmax(p, l, SIDES);
    for (int e = 0; e < SIDES; e++) sum += in[e] ? p[e] : 0;
    for (int e = 0; e < SIDES; e++) q[e] = in[e] ? p[e] / sum : 0;
}

/* The estimator's mean over choices is the gradient of the mean loss over what is drawn from, whatever the baseline;
 * that of the entropy's part is the gradient of minus the entropy of the whole policy. */
static void estimator_has_no_bias(void **state) {
    (void)state;
    const double loss[SIDES] = { 3, 1, 2.5, 0.2 }, step = 1e-4, entropy = 0.3;
    for (size_t k = 0; k < GAL_LEN(NUCLEI); k++) {
        double p[SIDES], q[SIDES], mean[SIDES] = { 0 };
        within(q, p, SIDE, NUCLEI[k].in);
        for (int c = 0; c < SIDES; c++) {
            double dl[SIDES], dvalue;
            policy_row(dl, &dvalue, SIDE, SIDES, c, &(learner){ -1.3, loss[c], entropy, NUCLEI[k].top_p });
            for (int e = 0; e < SIDES; e++) mean[e] += q[c] * dl[e];
            assert_true(fabs(dvalue - 2 * (-1.3 + loss[c])) <= 1e-12);
        }
        for (int e = 0; e < SIDES; e++) {
            double sides[2];
            for (int s = 0; s < 2; s++) {
                double moved[SIDES];
                memcpy(moved, SIDE, sizeof moved);
                moved[e] += s ? step : -step;
                within(q, p, moved, NUCLEI[k].in);
                sides[s] = 0;
                for (int c = 0; c < SIDES; c++) sides[s] += q[c] * loss[c] + entropy * p[c] * log(p[c]);
            }
            assert_true(fabs(mean[e] - (sides[1] - sides[0]) / (2 * step)) <= 1e-7);
        }
    }
}

static gal_k_route draws_of(const double *l, int64_t n, int64_t experts, int64_t used, const gal_noise *noise,
                            double top_p, int32_t *choice, double *weight) {
    return (gal_k_route){ .choice = choice,
                          .weight = weight,
                          .logits = l,
                          .dt = GAL_F64,
                          .n = n,
                          .experts = experts,
                          .used = used,
                          .noise = noise,
                          .top_p = top_p,
                          .gate = GAL_GATE_ONE };
}

/* Choices are drawn by their probabilities, the second one by what the first has left, and depend on a row's number
 * alone; without noise they are the largest. */
static void draws(void **state) {
    (void)state;
    enum { N = 20000, E = 3 };
    static double l[N * E], weight[N * 2];
    static int32_t choice[N * 2], again[N * 2];
    const double row[E] = { 1.2, 0.1, -0.6 };
    double p[E], both[E][E] = { { 0 } };
    softmax(p, row, E);
    for (int i = 0; i < N * E; i++) l[i] = row[i % E];
    gal_noise noise = { 9, 0, 1000 };
    gal_k_route a = draws_of(l, N, E, 2, &noise, 1, choice, weight);
    run(GAL_K_ROUTE, &a, sizeof a);
    for (int i = 0; i < N; i++) {
        both[choice[2 * i]][choice[2 * i + 1]]++;
        assert_true(weight[2 * i] >= 1 && weight[2 * i] <= 1);
    }
    for (int i = 0; i < E; i++)
        for (int j = 0; j < E; j++) {
            double want = i == j ? 0 : p[i] * p[j] / (1 - p[i]);
            assert_true(fabs(both[i][j] / N - want) <= 4 * sqrt(want * (1 - want) / N));
        }
    noise.first += 7; /* the same rows, seven further on */
    a = draws_of(l, N - 7, E, 2, &noise, 1, again, weight);
    run(GAL_K_ROUTE, &a, sizeof a);
    assert_memory_equal(again, choice + 14, (N - 7) * 2 * sizeof *again);
    a = draws_of(l, 1, E, 2, NULL, 1, choice, weight);
    run(GAL_K_ROUTE, &a, sizeof a);
    assert_int_equal(choice[0], 0);
    assert_int_equal(choice[1], 1);
}

/* Drawn from the nucleus alone, in proportion, the second one by what the first has left; of as many experts as are
 * wanted at least. Probabilities are the whole softmax. */
static void draws_from_the_nucleus(void **state) {
    (void)state;
    enum { N = 20000 };
    static double l[N * SIDES], weight[N * 2], prob[N * SIDES], lse[N];
    static int32_t choice[N * 2];
    for (int i = 0; i < N * SIDES; i++) l[i] = SIDE[i % SIDES];
    for (size_t k = 0; k < GAL_LEN(NUCLEI); k++)
        for (int used = 1; used <= 2; used++) {
            double p[SIDES], q[SIDES], both[SIDES][SIDES] = { { 0 } };
            bool in[SIDES];
            memcpy(in, NUCLEI[k].in, sizeof in);
            if (used == 2) in[3] = true; /* the second largest */
            within(q, p, SIDE, in);
            const gal_noise noise = { 9, 0, 1000 * k };
            gal_k_route a = draws_of(l, N, SIDES, used, &noise, NUCLEI[k].top_p, choice, weight);
            a.prob = prob;
            a.lse = lse;
            run(GAL_K_ROUTE, &a, sizeof a);
            for (int i = 0; i < N; i++) both[choice[used * i]][used == 2 ? choice[2 * i + 1] : 0]++;
            for (int i = 0; i < SIDES; i++)
                for (int j = 0; j < (used == 2 ? SIDES : 1); j++) {
                    double want = used == 1 ? q[i] : i == j || q[i] >= 1 ? 0 : q[i] * q[j] / (1 - q[i]);
                    assert_true(fabs(both[i][j] / N - want) <= 4 * sqrt(want * (1 - want) / N));
                    assert_true(fabs(prob[i] - p[i]) <= 1e-15);
                }
        }
    /* Of equals those with the lowest numbers. */
    memset(l, 0, sizeof l);
    gal_k_route a = draws_of(l, N, SIDES, 1, &(gal_noise){ 9, 0, 0 }, 0.5, choice, weight);
    run(GAL_K_ROUTE, &a, sizeof a);
    for (int i = 0; i < N; i++) assert_true(choice[i] < 2);
    /* A logit that is no number: no nucleus, and no weight either. */
    l[1] = (double)NAN;
    run(GAL_K_ROUTE, &a, sizeof a);
    assert_true(choice[0] >= 0 && choice[0] < SIDES && isnan(weight[0]) && !isnan(weight[1]));
}

/* Rewards 1 and 0: the better one is found. */
static void bandit(void **state) {
    (void)state;
    enum { STEPS = 500, ROWS = 16 };
    double l[2] = { 0, 0.5 }, value = 0;
    for (int s = 0; s < STEPS; s++) {
        double all[ROWS * 2], weight[ROWS], sum[2] = { 0 }, off = 0;
        int32_t choice[ROWS];
        for (int i = 0; i < ROWS * 2; i++) all[i] = l[i % 2];
        gal_noise noise = { 5, 0, (uint64_t)(s * ROWS) };
        gal_k_route a = draws_of(all, ROWS, 2, 1, &noise, 1, choice, weight);
        run(GAL_K_ROUTE, &a, sizeof a);
        for (int i = 0; i < ROWS; i++) {
            double dl[2], dvalue;
            policy_row(dl, &dvalue, l, 2, choice[i], &(learner){ value, choice[i] == 0 ? -1 : 0, 0, 1 });
            for (int e = 0; e < 2; e++) sum[e] += dl[e] / ROWS;
            off += dvalue / ROWS;
        }
        for (int e = 0; e < 2; e++) l[e] -= 0.5 * sum[e];
        value -= 0.1 * off;
    }
    double p[2];
    softmax(p, l, 2);
    assert_true(p[0] > 0.95);
}

/* The loss of balance is the number of choices a row where experts are even, and more elsewhere. */
static void balance_is_least_even(void **state) {
    (void)state;
    enum { E = 4, WIDTH = GAL_ROUTE_HEAD + GAL_ROUTE_PARTS * E };
    for (int i = 0; i < 10; i++) {
        const int shift = i % 5, used = 1 + i / 5;
        double sums[WIDTH] = { [GAL_ROUTE_ROWS] = 100 }, loss[2] = { 0 };
        for (int e = 0; e < E; e++) {
            double share = 25 + (e == 0 ? 3 * shift : -shift);
            sums[gal_route_at(E, GAL_ROUTE_PROB, e)] = share;
            sums[gal_route_at(E, GAL_ROUTE_CHOICES, e)] = used * share;
        }
        gal_k_route_loss a = { loss, sums, 1, E, 1, false };
        run(GAL_K_ROUTE_LOSS, &a, sizeof a);
        assert_true(shift ? loss[0] > used + 1e-6 : fabs(loss[0] - used) <= 1e-12);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_are_even),
        cmocka_unit_test(plans_forget_sums),
        cmocka_unit_test(steep_plans_assign),
        cmocka_unit_test(plans_of_the_fixtures),
        cmocka_unit_test(plans_of_what_is_no_number),
        cmocka_unit_test(places_end),
        cmocka_unit_test(hash_counts_ids),
        cmocka_unit_test(nothing_to_learn),
        cmocka_unit_test(estimator_has_no_bias),
        cmocka_unit_test(draws),
        cmocka_unit_test(draws_from_the_nucleus),
        cmocka_unit_test(bandit),
        cmocka_unit_test(balance_is_least_even),
    };
    return cmocka_run_group_tests(tests, open_dev, close_dev);
}
