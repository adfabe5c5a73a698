/* score_test.c - log-likelihoods of parts against a forward pass for each, and the same bytes for any number side by
 * side, any order, any number of threads, whatever parts have in common; what is shared is computed once; what a
 * model says against the loop that `run` has. SPDX-License-Identifier: Apache-2.0 */
#include "../infer/tiny.h"
#include "base/mem.h"
#include "eval/score.h"
#include "infer/lm.h"
#include "naive.h"
#include "support/check.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { PARTS = 23, LONGEST = 60 };

/* What another order of summation may change of a loss, see tiny_close(): the logits are below 10 here. */
#define BOUND ((double)FLT_EPSILON * TINY_L * TINY_D * 10 * 2)

/* Parts as a task makes them: shots before all, questions with four choices each, and some that are alone. */
typedef struct set {
    int32_t ids[PARTS][LONGEST];
    gal_part part[PARTS];
    const gal_part *at[PARTS];
} set;

static void make_set(set *s, int32_t V, int64_t shots) {
    for (int64_t i = 0; i < PARTS; i++) {
        const int64_t question = i / 4, prompt = shots + 3 + question % 5, n = prompt + 1 + (i * 7) % 6;
        assert_true(n <= LONGEST);
        tiny_ids(s->ids[i], n, 1000 + (uint64_t)i);
        tiny_ids(s->ids[i], shots, 1);
        tiny_ids(s->ids[i] + shots, prompt - shots, 2 + (uint64_t)question);
        for (int64_t k = 0; k < n; k++) s->ids[i][k] %= V;
        s->part[i] = (gal_part){ .ids = s->ids[i], .n = n, .first = i == 9 ? 1 : prompt };
        s->at[i] = &s->part[i];
    }
}

static gal_scorer *scorer(gal_dev *dev, const gal_model *m, int64_t batch, bool exact) {
    gal_scorer *s = NULL;
    const gal_score_options o = { .compute = GAL_F32, .exact = exact, .batch = batch, .context = LONGEST };
    CHECK_OK(gal_scorer_new(&s, dev, m, &o, diag));
    assert_int_equal(gal_scorer_batch(s), batch);
    return s;
}

static void check_naive(gal_dev *dev, const gal_model *m, const set *s, const gal_scored *have) {
    float row[TINY_V];
    for (int i = 0; i < PARTS; i++) {
        double sum = 0.0;
        bool greedy = true;
        const gal_part *p = &s->part[i];
        for (int64_t at = p->first; at < p->n; at++) {
            naive_row(dev, m, p->ids, 0, at, -1, false, row);
            sum -= naive_loss(row, TINY_V, p->ids[at]);
            for (int k = 0; k < TINY_V; k++) greedy = greedy && row[k] <= row[p->ids[at]];
        }
        if (!(fabs(sum - have[i].loglikelihood) <= BOUND * (double)(p->n - p->first)))
            fail_msg("part %d: %.9g, expected %.9g", i, have[i].loglikelihood, sum);
        assert_int_equal(have[i].greedy, greedy);
    }
}

static void check_same(const gal_scored *a, const gal_scored *b, const char *what) {
    for (int i = 0; i < PARTS; i++)
        if (memcmp(&a[i].loglikelihood, &b[i].loglikelihood, sizeof a[i].loglikelihood) != 0 ||
            a[i].greedy != b[i].greedy)
            fail_msg("%s: part %d: %.17g and %.17g", what, i, a[i].loglikelihood, b[i].loglikelihood);
}

/* All ways of one model on one level: every number of parts side by side, backwards, and on other threads. */
static void every_way(gal_dev *dev, gal_dev *other, const gal_model *m, const gal_model *on_other, bool naive,
                      bool exact, int64_t shots) {
    static const int64_t BATCHES[] = { 1, 2, 3, 7, 16 };
    static set s;
    static gal_scored want[PARTS], have[PARTS];
    make_set(&s, (int32_t)m->config.V, shots);
    gal_scorer *one = scorer(dev, m, 1, exact);
    for (int i = 0; i < PARTS; i++) { /* each part by itself, with nothing held before it */
        gal_scorer *fresh = scorer(dev, m, 1, exact);
        CHECK_OK(gal_scorer_run(fresh, &s.at[i], 1, &want[i], diag));
        gal_scorer_free(fresh);
    }
    if (naive) check_naive(dev, m, &s, want);
    CHECK_OK(gal_scorer_run(one, s.at, PARTS, have, diag));
    check_same(have, want, "one at a time");
    CHECK_OK(gal_scorer_run(one, s.at, PARTS, have, diag));
    check_same(have, want, "again");
    gal_scorer_free(one);
    for (size_t b = 0; b < GAL_LEN(BATCHES); b++) {
        gal_scorer *x = scorer(dev, m, BATCHES[b], exact), *y = scorer(other, on_other, BATCHES[b], exact);
        CHECK_OK(gal_scorer_run(x, s.at, PARTS, have, diag));
        check_same(have, want, "side by side");
        for (int i = 0; i < PARTS; i++) s.at[i] = &s.part[PARTS - 1 - i];
        CHECK_OK(gal_scorer_run(y, s.at, PARTS, have, diag));
        for (int i = 0; i < PARTS; i++) s.at[i] = &s.part[i];
        for (int i = 0; i < PARTS / 2; i++) {
            const gal_scored t = have[i];
            have[i] = have[PARTS - 1 - i];
            have[PARTS - 1 - i] = t;
        }
        check_same(have, want, "backwards on other threads");
        gal_scorer_free(x);
        gal_scorer_free(y);
    }
}

static void any_company(void **state) {
    (void)state;
    static const char *const LEVELS[] = { "ref", NULL };
    for (size_t l = 0; l < GAL_LEN(LEVELS); l++) {
        gal_dev *dev = tiny_dev(LEVELS[l], 1), *other = tiny_dev(LEVELS[l], 3);
        for (int kind = 0; kind < 3; kind++) {
            gal_model *m = tiny_model(kind == 1 || kind == 2 ? 9 : 0, kind == 2), *n = NULL;
            n = tiny_model(kind == 1 || kind == 2 ? 9 : 0, kind == 2);
            every_way(dev, other, m, n, true, false, 31);
            every_way(dev, other, m, n, true, true, 0);
            gal_model_free(m);
            gal_model_free(n);
        }
        gal_dev_close(dev);
        gal_dev_close(other);
    }
}

/* Files as they are loaded: weights of blocks that are packed, experts. */
static void loaded_models(void **state) {
    (void)state;
    static const char *const MODELS[] = { "tests/golden/gguf-mixed/model.gguf", "tests/golden/mixtral-base",
                                          "tests/golden/mistral-window", "tests/golden/gopher-base" };
    for (size_t i = 0; i < GAL_LEN(MODELS); i++) {
        gal_dev *dev[2] = { tiny_dev(NULL, 1), tiny_dev(NULL, 3) };
        gal_model *m[2] = { NULL, NULL };
        const gal_lm_options lo = { 0 };
        for (int k = 0; k < 2; k++) {
            gal_buf dir = { 0 };
            CHECK_OK(gal_lm_load(&m[k], NULL, NULL, &dir, MODELS[i], diag));
            CHECK_OK(gal_lm_bring(m[k], dev[k], &lo, diag));
            gal_buf_free(&dir);
        }
        every_way(dev[0], dev[1], m[0], m[1], false, false, 31);
        for (int k = 0; k < 2; k++) {
            gal_model_free(m[k]);
            gal_dev_close(dev[k]);
        }
    }
}

/* Relative keys of more distances are made where a longer text asks for them: the shorter one's stay what they were.
 */
static void tables_that_grow(void **state) {
    (void)state;
    enum { SHORT = 40, LONG = 150 };
    static const char *const LEVELS[] = { "ref", NULL };
    int32_t ids[2][LONG];
    for (size_t l = 0; l < GAL_LEN(LEVELS); l++) {
        gal_dev *dev = tiny_dev(LEVELS[l], 1);
        gal_model *m = NULL;
        gal_buf dir = { 0 };
        const gal_lm_options lo = { 0 };
        CHECK_OK(gal_lm_load(&m, NULL, NULL, &dir, "tests/golden/gopher-base", diag));
        CHECK_OK(gal_lm_bring(m, dev, &lo, diag));
        gal_buf_free(&dir);
        for (uint64_t i = 0; i < 2; i++) {
            tiny_ids(ids[i], LONG, 70 + i);
            for (int k = 0; k < LONG; k++) ids[i][k] %= (int32_t)m->config.V;
        }
        const gal_part small = { .ids = ids[0], .n = SHORT, .first = 5 },
                       large = { .ids = ids[1], .n = LONG, .first = 5 };
        const gal_score_options o = { .compute = GAL_F32, .batch = 2, .context = LONG };
        gal_scorer *alone = NULL, *after = NULL;
        gal_scored want, have[2];
        CHECK_OK(gal_scorer_new(&alone, dev, m, &o, diag));
        CHECK_OK(gal_scorer_run(alone, (const gal_part *[]){ &small }, 1, &want, diag));
        gal_scorer_free(alone);
        CHECK_OK(gal_scorer_new(&after, dev, m, &o, diag));
        CHECK_OK(gal_scorer_run(after, (const gal_part *[]){ &large, &small }, 2, have, diag));
        gal_scorer_free(after);
        if (memcmp(&want.loglikelihood, &have[1].loglikelihood, sizeof want.loglikelihood) != 0)
            fail_msg("%.17g alone, %.17g beside a longer one", want.loglikelihood, have[1].loglikelihood);
        gal_model_free(m);
        gal_dev_close(dev);
    }
}

static void shared_once(void **state) {
    (void)state;
    static set s;
    static gal_scored r[PARTS];
    gal_dev *dev = tiny_dev("ref", 1);
    gal_model *m = tiny_model(0, false);
    make_set(&s, TINY_V, 31);
    s.part[9].first = s.part[8].first; /* none without its beginning */
    for (int64_t batch = 1; batch <= 16; batch += 15) {
        gal_scorer *one = scorer(dev, m, batch, false);
        CHECK_OK(gal_scorer_run(one, s.at, PARTS, r, diag));
        /* The shots once, each question's rest but its last token once, and each part's own rows. */
        int64_t want = 31;
        for (int i = 0; i < PARTS; i++) {
            if (i % 4 == 0) want += s.part[i].first - 1 - 31;
            want += s.part[i].n - s.part[i].first;
        }
        /* Questions that by chance go on alike save a row or two; a batch may end within a question. */
        assert_true(gal_scorer_rows(one) <= want + (batch > 1 ? 2 * 8 : 0));
        assert_true(gal_scorer_rows(one) >= want - 31);
        gal_scorer_free(one);
    }
    gal_model_free(m);
    gal_dev_close(dev);
}

static void what_is_refused(void **state) {
    (void)state;
    int32_t ids[4] = { 1, 2, TINY_V, 3 };
    gal_part p = { .ids = ids, .n = 4, .first = 2 };
    const gal_part *at = &p;
    gal_scored r;
    gal_diag diag = { 0 };
    gal_dev *dev = tiny_dev("ref", 1);
    gal_model *m = tiny_model(0, false);
    gal_scorer *s = scorer(dev, m, 2, false);
    assert_int_equal(gal_scorer_run(s, &at, 1, &r, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "token 2 is 53"));
    gal_scorer_free(s);
    /* A weight that is no number. */
    ((float *)(uintptr_t)m->weights[m->n_weights - 1].data)[0] = NAN;
    ids[2] = 5;
    diag = (gal_diag){ 0 };
    s = scorer(dev, m, 2, false);
    assert_int_equal(gal_scorer_run(s, &at, 1, &r, &diag), GAL_EFAIL);
    assert_non_null(strstr(diag.text, "not finite"));
    gal_scorer_free(s);
    gal_model_free(m);
    gal_dev_close(dev);
}

/* ---- saying -------------------------------------------------------------------------------------------------------
 */

static int collect(void *user, int32_t id, const char *text, size_t n) {
    (void)id;
    gal_buf_add(user, text, n);
    return 0;
}

static void as_run_says(void **state) {
    (void)state;
    enum { N = 9 };
    static const char *const PROMPTS[N] = { "The captain", "The captain stood",          "1 + 1 =",  "Hello",
                                            "x",           "Once upon a time there was", "The end.", " ",
                                            "The captain" };
    gal_lm *lm = NULL;
    gal_lm_options lo;
    gal_lm_options_init(&lo);
    lo.compute = lo.cache = GAL_F32;
    CHECK_OK(gal_lm_open(&lm, "tests/golden/gguf-mixed/model.gguf", &lo, diag));
    gal_lm_settle(lm);
    char *words[] = { (char *)(uintptr_t) "e", (char *)(uintptr_t) "\n" };
    gal_ids ids[N] = { { 0 } };
    gal_part parts[N];
    const gal_part *at[N];
    int32_t eos[GAL_MAX_EOS];
    const int32_t n_eos = gal_lm_eos(lm, eos);
    for (int stops = 0; stops < 3; stops++) {
        const gal_strings until = { .v = words, .n = (size_t)stops };
        const gal_say_options how = {
            .t = lm->tokenizer, .eos = eos, .n_eos = n_eos, .max_tokens = 20, .until = &until
        };
        gal_buf want[N] = { { 0 } };
        for (int i = 0; i < N; i++) {
            gal_generate_options go;
            ids[i].len = 0;
            CHECK_OK(gal_prompt_encode(lm->tokenizer, PROMPTS[i], strlen(PROMPTS[i]), &ids[i], diag));
            parts[i] = (gal_part){ .ids = ids[i].data, .n = (int64_t)ids[i].len, .first = (int64_t)ids[i].len };
            at[i] = &parts[i];
            gal_generate_options_init(&go, lm);
            go.max_tokens = 20;
            go.sampling.temperature = 0.0;
            go.stops = (const char *const *)words;
            go.n_stops = (size_t)stops;
            CHECK_OK(gal_lm_generate(lm, PROMPTS[i], strlen(PROMPTS[i]), &go, collect, &want[i], NULL, diag));
        }
        for (int64_t batch = 1; batch <= 16; batch += 5) {
            gal_scorer *s = scorer(lm->dev, lm->model, batch, false);
            gal_buf texts[N] = { { 0 } };
            int64_t tokens[N];
            CHECK_OK(gal_scorer_say(s, at, N, &how, texts, tokens, diag));
            for (int i = 0; i < N; i++) {
                /* A text of its own has no space at its beginning, one that goes on may have. */
                const char *w = want[i].data ? want[i].data : "", *h = texts[i].data ? texts[i].data : "";
                while (*w == ' ') w++;
                while (*h == ' ') h++;
                assert_string_equal(h, w);
                assert_true(tokens[i] <= 20);
                gal_buf_free(&texts[i]);
            }
            gal_scorer_free(s);
        }
        for (int i = 0; i < N; i++) gal_buf_free(&want[i]);
    }
    for (int i = 0; i < N; i++) gal_ids_free(&ids[i]);
    gal_lm_close(lm);
}

static bool at_once(void *user) {
    int *asked = user;
    return ++*asked > 40;
}

static void a_stop(void **state) {
    (void)state;
    static set s;
    static gal_scored r[PARTS];
    int asked = 0;
    gal_dev *dev = tiny_dev("ref", 1);
    gal_model *m = tiny_model(0, false);
    gal_scorer *one = NULL;
    const gal_score_options o = {
        .compute = GAL_F32, .batch = 4, .context = LONGEST, .stop = at_once, .user = &asked
    };
    make_set(&s, TINY_V, 31);
    CHECK_OK(gal_scorer_new(&one, dev, m, &o, diag));
    assert_int_equal(gal_scorer_run(one, s.at, PARTS, r, &(gal_diag){ 0 }), GAL_EINTERRUPTED);
    gal_scorer_free(one);
    gal_model_free(m);
    gal_dev_close(dev);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_company), cmocka_unit_test(loaded_models),   cmocka_unit_test(tables_that_grow),
        cmocka_unit_test(shared_once), cmocka_unit_test(what_is_refused), cmocka_unit_test(as_run_says),
        cmocka_unit_test(a_stop)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
