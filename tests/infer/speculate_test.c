/* speculate_test.c - guessing ahead, by itself: the rule gives every token its probability and wrong rules are told
 * apart from it; whole texts have the distribution of the model alone; what look-up finds; how much is guessed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/rng.h"
#include "infer/generate.h"
#include "support/thin.h"
#include "tiny.h"

#include <math.h>
#include <string.h>

/* ---- the rule ----------------------------------------------------------------------------------------------------
 */

enum { V = 7, DRAWS = 60000 };

typedef bool (*rule)(const double *p, const double *q, int64_t n, int32_t x, const double u[2], int32_t *id);

static int32_t pick(const double *w, int64_t n, double u) {
    double total = 0.0, sum = 0.0;
    for (int64_t i = 0; i < n; i++) total += w[i];
    for (int64_t i = 0; i < n; i++) {
        sum += w[i];
        if (u * total < sum) return (int32_t)i;
    }
    return (int32_t)(n - 1);
}

/* Wrong ones: every guess stays; what replaces a guess is drawn from p; from p without the guess. */
static bool always(const double *p, const double *q, int64_t n, int32_t x, const double u[2], int32_t *id) {
    (void)p;
    (void)q;
    (void)n;
    (void)u;
    *id = x;
    return true;
}
static bool again_from_p(const double *p, const double *q, int64_t n, int32_t x, const double u[2], int32_t *id) {
    const bool stays = u[0] * q[x] < p[x];
    *id = stays ? x : pick(p, n, u[1]);
    return stays;
}
static bool another_from_p(const double *p, const double *q, int64_t n, int32_t x, const double u[2], int32_t *id) {
    double w[V];
    const bool stays = u[0] * q[x] < p[x];
    memcpy(w, p, sizeof w);
    w[x] = 0.0;
    *id = stays ? x : pick(w, n, u[1]);
    return stays;
}

static void normalise(double *p) {
    double total = 0.0;
    for (int i = 0; i < V; i++) total += p[i];
    for (int i = 0; i < V; i++) p[i] /= total;
}

/* Pearson's chi-square of what a rule gives for guesses drawn from q, against p. *stayed: how many guesses did. */
static double chi_of(rule r, const double p[V], const double q[V], uint64_t seed, int64_t *stayed) {
    int64_t hits[V] = { 0 };
    double chi = 0.0;
    *stayed = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        const double u[2] = { gal_rng_uniform(seed, 2, i), gal_rng_uniform(seed, 3, i) };
        int32_t id = -1;
        *stayed += r(p, q, V, pick(q, V, gal_rng_uniform(seed, 1, i)), u, &id);
        assert_in_range(id, 0, V - 1);
        hits[id]++;
    }
    for (int i = 0; i < V; i++) {
        if (p[i] <= 0.0)
            chi += hits[i] ? 1e9 : 0.0;
        else
            chi += pow((double)hits[i] - p[i] * DRAWS, 2) / (p[i] * DRAWS);
    }
    return chi;
}

/* 33.1 is exceeded by chance once in 10^5 at 6 degrees of freedom; seeds are fixed. */
static void test_rule(void **state) {
    (void)state;
    static const double CASES[][2][V] = {
        { { 1, 2, 3, 4, 5, 6, 7 }, { 7, 6, 5, 4, 3, 2, 1 } },
        { { 8, 1, 1, 1, 1, 1, 1 }, { 1, 1, 1, 1, 1, 1, 8 } },
        { { 0, 0, 3, 1, 2, 0, 1 }, { 1, 5, 3, 0, 0, 1, 1 } }, /* what one side never says */
        { { 1, 2, 3, 4, 5, 6, 7 }, { 1, 2, 3, 4, 5, 6, 7.5 } },
        { { 2, 1, 1, 3, 1, 1, 1 }, { 0, 0, 0, 1, 0, 0, 0 } }, /* a guess that is sure of itself */
    };
    for (size_t c = 0; c < GAL_LEN(CASES); c++) {
        double p[V], q[V], overlap = 0.0;
        int64_t stayed = 0, ignored = 0;
        memcpy(p, CASES[c][0], sizeof p);
        memcpy(q, CASES[c][1], sizeof q);
        normalise(p);
        normalise(q);
        for (int i = 0; i < V; i++) overlap += fmin(p[i], q[i]);
        assert_true(chi_of(gal_guess_stays, p, q, 40 + c, &stayed) < 33.1);
        /* as many stay as possible: the sum of the smaller probabilities, within 5 standard deviations */
        assert_true(fabs((double)stayed / DRAWS - overlap) < 5.0 * sqrt(overlap * (1.0 - overlap) / DRAWS) + 1e-9);
        if (c == 3) continue; /* too near each other to be told apart */
        assert_true(chi_of(always, p, q, 40 + c, &ignored) > 100.0);
        assert_true(chi_of(again_from_p, p, q, 40 + c, &ignored) > 100.0);
        if (c != 4) assert_true(chi_of(another_from_p, p, q, 40 + c, &ignored) > 100.0); /* there it is the rule */
    }
}

static void test_rule_ends(void **state) {
    (void)state;
    const double p[3] = { 0.0, 1.0, 0.0 }, q[3] = { 0.0, 0.5, 0.5 }, high[2] = { 0.999999, 0.9999999999 };
    int32_t id = -1;
    assert_true(gal_guess_stays(p, q, 3, 1, high, &id));
    assert_int_equal(id, 1);
    assert_false(gal_guess_stays(p, q, 3, 2, (const double[2]){ 0.0, 0.0 }, &id)); /* p never says it */
    assert_int_equal(id, 1);
    const double r[3] = { 0.5, 0.1, 0.4 }, s[3] = { 0.1, 0.9, 0.0 };
    assert_false(gal_guess_stays(r, s, 3, 1, (const double[2]){ 0.12, 0.0 }, &id));
    assert_int_equal(id, 0);
    assert_false(gal_guess_stays(r, s, 3, 1, high, &id));
    assert_int_equal(id, 2);
}

/* ---- look-up -----------------------------------------------------------------------------------------------------
 */

static void test_lookup(void **state) {
    (void)state;
    static const struct {
        int32_t text[12];
        int64_t n, most, found;
        int32_t want[8];
    } CASES[] = {
        { { 1, 2, 3, 4, 1, 2 }, 6, 3, 3, { 3, 4, 1 } },
        { { 1, 2, 3, 4, 1, 2 }, 6, 8, 8, { 3, 4, 1, 2, 3, 4, 1, 2 } }, /* on and on */
        { { 5, 5, 5 }, 3, 4, 4, { 5, 5, 5, 5 } },
        { { 1, 2, 3, 4, 5, 2 }, 6, 8, 0, { 0 } },                    /* one token is no reason */
        { { 1, 2, 8, 1, 2, 9, 1, 2 }, 8, 1, 1, { 9 } },              /* the last of equal ones */
        { { 7, 1, 2, 8, 6, 1, 2, 9, 7, 1, 2 }, 11, 2, 2, { 8, 6 } }, /* the longer of two */
        { { 1 }, 1, 4, 0, { 0 } },
        { { 1, 1 }, 2, 4, 0, { 0 } },
    };
    gal_proposer *p = NULL;
    assert_int_equal(gal_lookup_new(&p, NULL), GAL_OK);
    assert_false(p->draws);
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        gal_guess g = { .n = -1 };
        assert_int_equal(p->guess(p, CASES[i].text, CASES[i].n, CASES[i].most, &g, NULL), GAL_OK);
        assert_int_equal(g.n, CASES[i].found);
        assert_memory_equal(g.ids, CASES[i].want, (size_t)g.n * sizeof *g.ids);
        for (int64_t j = 0; j < g.n; j++) assert_null(g.q[j]);
    }
    p->free(p);
}

/* ---- how much ----------------------------------------------------------------------------------------------------
 */

/* Guesses of which so many are right; counts what it was asked for. */
typedef struct counter {
    gal_proposer base;
    int64_t asked, guessed;
} counter;

static gal_err count_guess(gal_proposer *self, const int32_t *text, int64_t n, int64_t most, gal_guess *out,
                           gal_diag *diag) {
    counter *c = (counter *)self;
    (void)text;
    (void)n;
    (void)diag;
    assert_in_range(most, 1, GAL_GUESS_MOST);
    c->asked++;
    c->guessed += most;
    *out = (gal_guess){ .n = most };
    return GAL_OK;
}
static void free_nothing(gal_proposer *self) { (void)self; }

static void test_adapts(void **state) {
    (void)state;
    counter c = { .base = { .guess = count_guess, .free = free_nothing } };
    gal_speculation s;
    gal_guess g;
    assert_int_equal(gal_speculation_init(&s, &c.base, 7, V, NULL), GAL_OK);
    for (int i = 0; i < 1000; i++) { /* never right: next to nothing is guessed */
        assert_int_equal(gal_speculation_guess(&s, NULL, 0, 100, &g, NULL), GAL_OK);
        if (g.n) gal_speculation_learn(&s, g.n, 0);
    }
    assert_true(c.asked > 20 && c.asked < 60); /* it goes on trying */
    assert_true(c.guessed < 65);
    for (int i = 0; i < 100; i++) { /* from then on always right */
        assert_int_equal(gal_speculation_guess(&s, NULL, 0, 100, &g, NULL), GAL_OK);
        if (g.n) gal_speculation_learn(&s, g.n, g.n);
    }
    assert_int_equal(g.n, 7);
    assert_int_equal(s.proposed, c.guessed);
    assert_true(s.accepted > 300);
    gal_speculation_learn(&s, 7, 2); /* the third was wrong */
    assert_int_equal(gal_speculation_guess(&s, NULL, 0, 100, &g, NULL), GAL_OK);
    assert_int_equal(g.n, 3);
    assert_int_equal(gal_speculation_guess(&s, NULL, 0, 2, &g, NULL), GAL_OK); /* no more than there is room for */
    assert_int_equal(g.n, 2);
    c.asked = 0;
    assert_int_equal(gal_speculation_guess(&s, NULL, 0, 0, &g, NULL), GAL_OK);
    assert_int_equal(g.n, 0);
    assert_int_equal(c.asked, 0);
    gal_speculation_free(&s);
}

/* ---- whole texts -------------------------------------------------------------------------------------------------
 */

enum { NEW = 4, K = 3, CELLS = K * K * K * K, PROMPT = 6 };

typedef struct texts {
    gal_dev *dev;
    gal_model *m, *small; /* what is asked, and what guesses: the same weights under a window of six */
    gal_engine *e, *draft;
    gal_ids held;
    int32_t prompt[PROMPT];
    gal_sampling how;
} texts;

static void open_texts(texts *t) {
    *t = (texts){ .dev = tiny_dev(NULL, 1), .m = tiny_model(0, false), .small = tiny_model(6, false) };
    t->e = tiny_engine(t->dev, t->m, (gal_engine_options){ .context = 60 });
    t->draft = tiny_engine(t->dev, t->small, (gal_engine_options){ .context = 60 });
    tiny_ids(t->prompt, PROMPT, 77);
    gal_sampling_defaults(&t->how);
    t->how.temperature = 2.5;
    t->how.top_k = K;
    t->how.repetition_penalty = 1.3;
}

static void close_texts(texts *t) {
    gal_engine_free(t->e);
    gal_engine_free(t->draft);
    gal_model_free(t->m);
    gal_model_free(t->small);
    gal_dev_close(t->dev);
    gal_ids_free(&t->held);
}

/* Every text of NEW tokens that is possible, with its probability, by the model and the sampler alone. */
typedef struct tree {
    int32_t ids[CELLS][NEW];
    double p[CELLS];
    int64_t n;
} tree;

static void grow_tree(const texts *t, tree *all, int32_t *so_far, int64_t depth, double p) {
    if (depth == NEW) {
        memcpy(all->ids[all->n], so_far, sizeof all->ids[0]);
        all->p[all->n++] = p;
        return;
    }
    double spread[TINY_V];
    const float *logits = NULL;
    gal_sampler *s = NULL;
    assert_int_equal(gal_sampler_new(&s, TINY_V, TINY_V, &t->how, NULL), GAL_OK);
    assert_true(gal_engine_truncate(t->e, 0, 0));
    assert_int_equal(gal_engine_prefill(t->e, 0, t->prompt, PROMPT, &logits, NULL), GAL_OK);
    for (int64_t i = 0; i < PROMPT; i++) (void)gal_sampler_saw(s, t->prompt[i]);
    for (int64_t i = 0; i < depth; i++) {
        (void)gal_sampler_saw(s, so_far[i]);
        assert_int_equal(gal_engine_prefill(t->e, 0, &so_far[i], 1, &logits, NULL), GAL_OK);
    }
    assert_int_equal(gal_sampler_spread(s, logits, PROMPT + depth, spread, NULL, NULL), GAL_OK);
    gal_sampler_free(s);
    for (int32_t id = 0; id < TINY_V; id++) {
        if (spread[id] <= 0.0) continue;
        so_far[depth] = id;
        grow_tree(t, all, so_far, depth + 1, p * spread[id]);
    }
}

/* Passes another one's guesses on, with a lie about what they were drawn from: so little that each of them stays. */
typedef struct liar {
    gal_proposer base;
    gal_proposer *of;
    double tiny[TINY_V];
} liar;

static gal_err lie(gal_proposer *self, const int32_t *text, int64_t n, int64_t most, gal_guess *out, gal_diag *diag) {
    liar *l = (liar *)self;
    gal_err err = l->of->guess(l->of, text, n, most, out, diag);
    for (int64_t i = 0; i < out->n; i++) out->q[i] = l->tiny;
    return err;
}
static void free_liar(gal_proposer *self) {
    liar *l = (liar *)self;
    l->of->free(l->of);
    gal_free(l);
}

/* Whether a guess was drawn is not told: then it is as good as any that was made up, and the rule for those holds. */
static gal_err be_silent(gal_proposer *self, const int32_t *text, int64_t n, int64_t most, gal_guess *out,
                         gal_diag *diag) {
    liar *l = (liar *)self;
    gal_err err = l->of->guess(l->of, text, n, most, out, diag);
    for (int64_t i = 0; i < out->n; i++) out->q[i] = NULL;
    return err;
}

static int take(void *user, int32_t id, const char *text, size_t bytes) {
    gal_ids *ids = user;
    (void)text;
    (void)bytes;
    return id >= 0 && gal_ids_add(ids, id, NULL) != GAL_OK;
}

typedef enum guesser { PLAIN, DRAFT, SILENT, LIAR } guesser;

/* A text of the seed. */
static void one_text(texts *t, guesser who, uint64_t seed, gal_ids *ids, gal_generate_result *r) {
    gal_generate_options o;
    gal_generate_options_init(&o, NULL);
    o.sampling = t->how;
    o.sampling.seed = seed;
    o.max_tokens = NEW;
    gal_generator g = { .engine = t->e, .vocab = TINY_V };
    gal_speculation s = { 0 };
    if (who != PLAIN) {
        const gal_draft_parts parts = {
            .engine = t->draft, .vocab = TINY_V, .allowed = TINY_V, .how = &o.sampling, .held = &t->held
        };
        gal_proposer *p = NULL;
        assert_int_equal(gal_draft_new(&p, &parts, NULL), GAL_OK);
        assert_true(p->draws);
        if (who != DRAFT) {
            liar *l = gal_alloc(sizeof *l);
            assert_non_null(l);
            *l = (liar){ .base = { .draws = true, .guess = who == LIAR ? lie : be_silent, .free = free_liar },
                         .of = p };
            for (int i = 0; i < TINY_V; i++) l->tiny[i] = 1e-12;
            p = &l->base;
        }
        assert_int_equal(gal_speculation_init(&s, p, 7, TINY_V, NULL), GAL_OK);
        g.ahead = &s;
    }
    gal_diag diag = { 0 };
    ids->len = 0;
    if (gal_generate(&g, t->prompt, PROMPT, true, &o, take, ids, r, &diag)) fail_msg("%s", diag.text);
    gal_speculation_free(&s);
}

/* Chi-square of many texts against the tree, cells of which fewer than 5 are expected in one; *freedom: its degrees.
 */
static double chi_of_texts(texts *t, const tree *all, guesser who, int64_t n, int *freedom,
                           gal_generate_result *sum) {
    int64_t hits[CELLS] = { 0 };
    gal_ids ids = { 0 };
    *sum = (gal_generate_result){ 0 };
    for (int64_t i = 0; i < n; i++) {
        gal_generate_result r;
        one_text(t, who, 1000 + (uint64_t)i, &ids, &r);
        assert_int_equal(ids.len, NEW);
        int64_t c = 0;
        while (c < all->n && memcmp(all->ids[c], ids.data, sizeof all->ids[c]) != 0) c++;
        if (c < all->n) hits[c]++;
        sum->passes += r.passes;
        sum->proposed += r.proposed;
        sum->accepted += r.accepted;
        sum->tokens += c < all->n; /* those that are possible */
    }
    gal_ids_free(&ids);
    double chi = 0.0, rare = 0.0, rare_hits = 0.0;
    *freedom = -1;
    for (int64_t c = 0; c < all->n; c++) {
        const double want = all->p[c] * (double)n;
        if (want < 5.0) {
            rare += want;
            rare_hits += (double)hits[c];
            continue;
        }
        chi += pow((double)hits[c] - want, 2) / want;
        (*freedom)++;
    }
    if (rare > 0.0) {
        chi += pow(rare_hits - rare, 2) / rare;
        (*freedom)++;
    }
    return chi;
}

/* Texts of a draft and a check have the distribution of the model alone; where the rule is broken they do not, and
 * this test sees it. 5.5 standard deviations of a chi-square are exceeded by chance less than once in 10^5. */
static void test_texts(void **state) {
    (void)state;
    texts t;
    tree *all = gal_alloc(sizeof *all);
    int32_t so_far[NEW];
    const int64_t n = thin_skip(1, 2) ? 1500 : 4000; /* with far fewer the wrong rule is not seen */
    assert_non_null(all);
    open_texts(&t);
    grow_tree(&t, all, so_far, 0, 1.0);
    assert_int_equal(all->n, CELLS);
    for (guesser who = PLAIN; who <= LIAR; who++) {
        int freedom = 0;
        gal_generate_result sum;
        const double chi = chi_of_texts(&t, all, who, n, &freedom, &sum);
        const double bound = freedom + 5.5 * sqrt(2.0 * freedom);
        print_message("guesser %d: chi-square %.1f, %d degrees of freedom, %lld of %lld guesses accepted\n", who, chi,
                      freedom, (long long)sum.accepted, (long long)sum.proposed);
        assert_true(freedom >= 5);
        if (who == LIAR) {
            assert_true(chi > 2.0 * bound);
            continue;
        }
        assert_int_equal(sum.tokens, n);
        assert_true(chi < bound);
        if (who == PLAIN) {
            assert_int_equal(sum.passes, n * (NEW - 1));
            assert_int_equal(sum.proposed, 0);
            continue;
        }
        assert_true(sum.accepted > sum.proposed / (who == DRAFT ? 4 : 20) && sum.accepted < sum.proposed);
        assert_int_equal(sum.passes, n * (NEW - 1) - sum.accepted);
    }
    gal_free(all);
    close_texts(&t);
}

/* Guesses that were not drawn leave a seed its text, whatever they are. */
static void test_same_text(void **state) {
    (void)state;
    texts t;
    gal_ids a = { 0 }, b = { 0 };
    gal_generate_result r;
    int different = 0;
    open_texts(&t);
    for (uint64_t seed = 0; seed < 100; seed++) {
        one_text(&t, PLAIN, seed, &a, &r);
        one_text(&t, SILENT, seed, &b, &r);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len * sizeof *a.data);
        one_text(&t, DRAFT, seed, &b, &r);
        different += memcmp(a.data, b.data, a.len * sizeof *a.data) != 0;
        const gal_ids first = b;
        b = (gal_ids){ 0 };
        one_text(&t, DRAFT, seed, &b, &r); /* the cache of the draft holds another text by now: nothing changes */
        assert_memory_equal(first.data, b.data, b.len * sizeof *b.data);
        gal_free(first.data);
    }
    assert_true(different > 10); /* drawn ones use other numbers */
    gal_ids_free(&a);
    gal_ids_free(&b);
    close_texts(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_rule),   cmocka_unit_test(test_rule_ends),
                                        cmocka_unit_test(test_lookup), cmocka_unit_test(test_adapts),
                                        cmocka_unit_test(test_texts),  cmocka_unit_test(test_same_text) };
    return cmocka_run_group_tests_name("infer/speculate", tests, NULL, NULL);
}
