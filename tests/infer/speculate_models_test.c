/* speculate_models_test.c - guessing ahead on models of every shape: the tokens that come without it, whoever guesses
 * and however wrong; where a text ends within a run of guesses; what the cache holds then; drafts that do not fit a
 * model; memory that fails. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "infer/lm.h"
#include "support/check.h"
#include "support/far.h"
#include "support/starve.h"
#include "support/thin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEW = 70, MOST = 160 };
#define GOLDEN "tests/golden/"

typedef struct taken {
    int32_t ids[MOST];
    int64_t n, stop_at; /* 0: never */
} taken;

static int take(void *user, int32_t id, const char *text, size_t bytes) {
    taken *t = user;
    (void)text;
    (void)bytes;
    if (id < 0) return 0;
    assert_true(t->n < MOST);
    t->ids[t->n++] = id;
    return t->n == t->stop_at;
}

static const int32_t PROMPT[] = { 1, 5, 9, 30, 31, 32, 7, 8, 30, 31 };

/* What a model says to PROMPT. */
static gal_generate_result say(gal_lm *lm, const gal_generate_options *o, taken *t) {
    gal_generate_result r = { 0 };
    t->n = 0;
    CHECK_OK(gal_lm_generate_ids(lm, PROMPT, GAL_LEN(PROMPT), o, take, t, &r, diag));
    return r;
}

static gal_generate_options options(double temperature, int64_t tokens) {
    gal_generate_options o;
    gal_generate_options_init(&o, NULL);
    o.sampling.temperature = temperature;
    o.sampling.seed = 5;
    o.max_tokens = tokens;
    o.ignore_eos = 1;
    return o;
}

static gal_lm *open_lm(const char *path, gal_lm_options o) {
    gal_lm *lm = NULL;
    CHECK_OK(gal_lm_open(&lm, path, &o, diag));
    return lm;
}

static void same(const taken *a, const taken *b, const char *what) {
    int64_t i = 0;
    while (i < a->n && i < b->n && a->ids[i] == b->ids[i]) i++;
    if (a->n != b->n || i < a->n)
        fail_msg("%s: token %lld of %lld and %lld differs", what, (long long)i, (long long)a->n, (long long)b->n);
}

/* ---- the same tokens ---------------------------------------------------------------------------------------------
 */

typedef struct shape {
    const char *model, *draft;
    gal_dtype cache, compute;
    int exact, eager;
    int64_t tokens; /* guessed at once */
} shape;

static const shape SHAPES[] = {
    { "mistral-base", "mistral-window", GAL_F16, GAL_F32, 0, 0, 15 },
    { "mistral-base", "mistral-base", GAL_F32, GAL_BF16, 0, 0, 4 },
    { "mistral-window", "mistral-window", GAL_F16, GAL_F32, 0, 0, 7 }, /* a ring of 5 */
    { "mistral-window", "mistral-yarn", GAL_BF16, GAL_F32, 0, 1, 3 },
    { "mistral-layers", "mistral-layers", GAL_F16, GAL_F32, 0, 0, 5 }, /* rings in some layers */
    { "mistral-yarn", "mistral-base", GAL_F16, GAL_F32, 1, 0, 1 },
    { "mistral-tied", "mistral-tied", GAL_F16, GAL_F32, 0, 0, 7 },
    { "mixtral-base", "mixtral-base", GAL_F16, GAL_F32, 0, 0, 15 }, /* experts */
    { "mixtral-base", "mixtral-base", GAL_F32, GAL_F32, 1, 1, 2 },
    { "own-fp8", "own-fp8", GAL_F16, GAL_F32, 0, 0, 15 },
    { "mixtral-fp8", "mixtral-fp8", GAL_F16, GAL_F32, 0, 0, 13 },
    { "gguf-mistral3-q", "gguf-mistral3", GAL_Q8_0, GAL_F32, 0, 0, 15 }, /* blocks, and a cache of blocks */
    { "gguf-mistral3-q", "gguf-mistral3-q", GAL_Q4_0, GAL_F32, 0, 0, 15 },
    { "gguf-mixed", "gguf-mixed", GAL_Q8_0, GAL_F32, 0, 0, 15 }, /* a ring of 11 */
    { "gguf-mixed", "gguf-mixed", GAL_F16, GAL_BF16, 0, 0, 7 },
};

static gal_lm_options options_of(const shape *s, const char *level, int threads) {
    gal_lm_options o;
    gal_lm_options_init(&o);
    o.cache = s->cache;
    o.compute = s->compute;
    o.exact = s->exact;
    o.eager = s->eager;
    o.draft_tokens = s->tokens;
    o.device.cpu = level;
    o.device.threads = threads;
    return o;
}

static void same_tokens(const shape *s, const char *level) {
    char model[200], draft[200];
    (void)snprintf(model, sizeof model, GOLDEN "%s", s->model);
    (void)snprintf(draft, sizeof draft, GOLDEN "%s", s->draft);
    gal_lm_options o = options_of(s, level, 1);
    gal_lm *plain = open_lm(model, o);
    o = options_of(s, level, 2);
    o.speculate = GAL_SPECULATE_LOOKUP;
    gal_lm *lookup = open_lm(model, o);
    o.speculate = GAL_SPECULATE_DRAFT;
    o.draft = draft;
    gal_lm *with = open_lm(model, o);
    taken want, got;
    want.stop_at = got.stop_at = 0;
    const int64_t n = GAL_MIN((int64_t)NEW, gal_engine_context(plain->engine) - (int64_t)GAL_LEN(PROMPT));
    gal_generate_options g = options(0.0, n);
    gal_generate_result r = say(plain, &g, &want);
    assert_int_equal(r.passes, n - 1);
    assert_int_equal(r.proposed, 0);
    for (int again = 0; again < 2; again++) { /* the second time the draft holds the end of the first */
        r = say(with, &g, &got);
        same(&got, &want, draft);
        assert_int_equal(r.tokens, n);
        assert_int_equal(r.passes, n - 1 - r.accepted);
        assert_true(r.proposed > 0);
        if (strcmp(model, draft) == 0)
            assert_true(r.accepted > r.proposed / 2); /* it knows what it will say itself */
        if (strcmp(model, draft) == 0 && s->tokens >= 7) assert_true(r.passes < n / 3);
    }
    r = say(lookup, &g, &got);
    same(&got, &want, "look-up");
    assert_int_equal(r.passes, n - 1 - r.accepted);
    g = options(0.4, n); /* of guesses that were not drawn also what is left to chance is the same */
    (void)say(plain, &g, &want);
    r = say(lookup, &g, &got);
    same(&got, &want, "look-up at a temperature");
    assert_int_equal(r.passes, n - 1 - r.accepted);
    r = say(with, &g, &got);
    assert_int_equal(r.tokens, n);
    assert_int_equal(r.passes, n - 1 - r.accepted);
    gal_lm_close(plain);
    gal_lm_close(lookup);
    gal_lm_close(with);
}

static void test_same_tokens(void **state) {
    (void)state;
    /* All shapes on the best one. */
    static const char *const LEVELS[] = { NULL, "ref", "sse42", "avx", "avx2", "avx512", "neon" };
    int seen = 0;
    for (size_t v = 0; v < GAL_LEN(LEVELS); v++) {
        gal_dev *dev = NULL;
        if (gal_dev_open(&dev, &(gal_device_options){ .cpu = LEVELS[v], .threads = 1 }, NULL)) continue;
        gal_dev_close(dev);
        seen++;
        for (size_t i = 0; i < GAL_LEN(SHAPES); i++)
            if ((!v || (i + v) % 4 == 0) && !thin_skip(i + v, 4)) same_tokens(&SHAPES[i], LEVELS[v]);
    }
    assert_true(seen > 0);
}

/* A device whose memory is its own. */
static void test_far(void **state) {
    (void)state;
    far_use();
    gal_lm_options o = options_of(&SHAPES[4], NULL, 1);
    o.device.device = "far";
    gal_lm *plain = open_lm(GOLDEN "mistral-layers", o);
    o.speculate = GAL_SPECULATE_DRAFT;
    o.draft = GOLDEN "mistral-layers";
    gal_lm *with = open_lm(GOLDEN "mistral-layers", o);
    taken want, got;
    want.stop_at = got.stop_at = 0;
    const gal_generate_options g = options(0.0, NEW);
    (void)say(plain, &g, &want);
    const gal_generate_result r = say(with, &g, &got);
    same(&got, &want, "far");
    assert_true(r.passes < NEW / 3);
    gal_lm_close(plain);
    gal_lm_close(with);
}

/* ---- guesses that are right up to a place ------------------------------------------------------------------------
 */

/* Knows the text; guesses of every `period`-th place are wrong, by one. */
typedef struct oracle {
    gal_proposer base;
    const int32_t *text; /* after PROMPT */
    int64_t n, period;
    int32_t vocab;
} oracle;

static gal_err foretell(gal_proposer *self, const int32_t *text, int64_t n, int64_t most, gal_guess *out,
                        gal_diag *diag) {
    oracle *o = (oracle *)self;
    const int64_t at = n - (int64_t)GAL_LEN(PROMPT); /* tokens so far */
    (void)diag;
    assert_memory_equal(text, PROMPT, sizeof PROMPT);
    assert_memory_equal(text + GAL_LEN(PROMPT), o->text, (size_t)at * sizeof *text);
    out->n = GAL_MIN(most, o->n - at);
    for (int64_t i = 0; i < out->n; i++) {
        out->ids[i] = (o->text[at + i] + ((at + i + 1) % o->period == 0)) % o->vocab;
        out->q[i] = NULL;
    }
    return GAL_OK;
}
static void keep(gal_proposer *self) { (void)self; }

typedef struct told {
    gal_lm *lm;
    oracle o;
    int64_t tokens; /* at once */
    gal_ids held;
} told;

static gal_generate_result foretold(told *f, const gal_generate_options *o, const int32_t *eos, taken *t) {
    gal_speculation s;
    f->o.base = (gal_proposer){ .guess = foretell, .free = keep };
    t->n = 0;
    CHECK_OK(gal_speculation_init(&s, &f->o.base, f->tokens, f->lm->model->config.V, diag));
    s.length = f->tokens;
    const gal_generator g = { .engine = f->lm->engine,
                              .vocab = f->lm->model->config.V,
                              .eos = eos,
                              .n_eos = eos ? 1 : 0,
                              .held = &f->held,
                              .ahead = &s };
    gal_generate_result r;
    CHECK_OK(gal_generate(&g, PROMPT, GAL_LEN(PROMPT), true, o, take, t, &r, diag));
    gal_speculation_free(&s);
    return r;
}

/* What is held is the prompt and the text without its last token, and the cache has as much. */
static void check_held(const told *f, const taken *t, int64_t of_text) {
    assert_int_equal(f->held.len, GAL_LEN(PROMPT) + (size_t)of_text);
    assert_int_equal(gal_cache_length(gal_engine_cache(f->lm->engine), 0), f->held.len);
    assert_memory_equal(f->held.data, PROMPT, sizeof PROMPT);
    assert_memory_equal(f->held.data + GAL_LEN(PROMPT), t->ids, (size_t)of_text * sizeof *t->ids);
}

static void open_told(told *f, const char *model, taken *text) {
    gal_lm_options o;
    gal_lm_options_init(&o);
    o.context = 120;
    *f = (told){ .lm = open_lm(model, o) };
    const gal_generate_options g = options(0.0, 100);
    text->stop_at = 0;
    (void)say(f->lm, &g, text);
    assert_int_equal(text->n, 100);
    f->o.text = text->ids;
    f->o.n = text->n;
    f->o.vocab = (int32_t)f->lm->model->config.V;
    f->o.period = 1000;
    f->tokens = 7;
}

static void close_told(told *f) {
    gal_ids_free(&f->held);
    gal_lm_close(f->lm);
}

/* Every place of the first wrong guess within runs of every length, over rings and experts. */
static void test_wrong_guesses(void **state) {
    (void)state;
    static const char *const MODELS[] = { GOLDEN "mistral-window", GOLDEN "mistral-layers", GOLDEN "mixtral-base" };
    for (size_t i = 0; i < GAL_LEN(MODELS); i++) {
        told f;
        taken text, got;
        open_told(&f, MODELS[i], &text);
        got.stop_at = 0;
        const gal_generate_options g = options(0.0, 100);
        for (f.o.period = 1; f.o.period <= 11; f.o.period++) {
            for (f.tokens = 1; f.tokens <= 7; f.tokens += 3) {
                const gal_generate_result r = foretold(&f, &g, NULL, &got);
                same(&got, &text, MODELS[i]);
                assert_int_equal(r.passes, 99 - r.accepted);
                if (f.o.period == 1) assert_int_equal(r.accepted, 0);
                if (f.o.period == 11) assert_true(r.accepted > 60 - 30 * (f.tokens == 1));
                check_held(&f, &got, 99);
            }
        }
        f.o.period = 1000;
        f.tokens = 7;
        const gal_generate_result r = foretold(&f, &g, NULL, &got); /* 99 after the first: 12 eights and a three */
        assert_int_equal(r.passes, 13);
        assert_int_equal(r.proposed, 12 * 7 + 2);
        assert_int_equal(r.accepted, r.proposed);
        close_told(&f);
    }
}

/* Ends at every place within a run of guesses: an end of sequence, a limit, a callback, the context. */
static void test_ends(void **state) {
    (void)state;
    told f;
    taken text, got;
    open_told(&f, GOLDEN "mistral-window", &text);
    got.stop_at = 0;
    for (int64_t n = 1; n <= 20; n++) {
        gal_generate_options g = options(0.0, 100);
        int64_t first = 0; /* where the text first has the id that ends it */
        while (text.ids[first] != text.ids[n]) first++;
        g.ignore_eos = 0;
        gal_generate_result r = foretold(&f, &g, &text.ids[n], &got);
        assert_int_equal(r.stop, GAL_STOP_EOS);
        assert_int_equal(r.tokens, first);
        check_held(&f, &got, first);

        g = options(0.0, n);
        r = foretold(&f, &g, NULL, &got);
        assert_int_equal(r.stop, GAL_STOP_TOKENS);
        assert_int_equal(r.tokens, n);
        assert_int_equal(r.proposed, r.accepted); /* none of them was in vain */
        check_held(&f, &got, n - 1);

        g = options(0.0, 100);
        got.stop_at = n;
        r = foretold(&f, &g, NULL, &got);
        got.stop_at = 0;
        assert_int_equal(r.stop, GAL_STOP_CALLER);
        assert_int_equal(r.tokens, n);
        check_held(&f, &got, n - 1);
        assert_memory_equal(got.ids, text.ids, (size_t)n * sizeof *got.ids);
    }
    close_told(&f);
    for (int64_t context = GAL_LEN(PROMPT); context < 30; context++) {
        gal_lm_options o;
        gal_lm_options_init(&o);
        o.context = context;
        f.lm = open_lm(GOLDEN "mistral-window", o);
        f.held = (gal_ids){ 0 };
        const gal_generate_options g = options(0.0, 100);
        const gal_generate_result r = foretold(&f, &g, NULL, &got);
        assert_int_equal(r.stop, GAL_STOP_CONTEXT);
        assert_int_equal(r.tokens, context - (int64_t)GAL_LEN(PROMPT) + 1); /* the last one needs no place */
        assert_int_equal(r.proposed, r.accepted);
        check_held(&f, &got, r.tokens - 1);
        close_told(&f);
    }
}

/* A conversation goes on from what the cache holds after a run of guesses, as it does without. */
static void test_goes_on(void **state) {
    (void)state;
    gal_lm_options o;
    gal_lm_options_init(&o);
    gal_lm *plain = open_lm(GOLDEN "mistral-layers", o);
    o.speculate = GAL_SPECULATE_DRAFT;
    o.draft = GOLDEN "mistral-layers";
    gal_lm *with = open_lm(GOLDEN "mistral-layers", o);
    taken a = { .n = 0 }, b = { .n = 0 };
    const gal_generate_options g = options(0.0, 30);
    gal_generate_result r;
    plain->keeps = with->keeps = true;
    (void)say(plain, &g, &a);
    (void)say(with, &g, &b);
    same(&b, &a, "first");
    int32_t ids[GAL_LEN(PROMPT) + 32];
    memcpy(ids, PROMPT, sizeof PROMPT);
    memcpy(ids + GAL_LEN(PROMPT), a.ids, 30 * sizeof *ids);
    ids[GAL_LEN(PROMPT) + 30] = 2;
    ids[GAL_LEN(PROMPT) + 31] = 3;
    a.n = b.n = 0;
    CHECK_OK(gal_lm_generate_ids(plain, ids, GAL_LEN(ids), &g, take, &a, &r, diag));
    assert_int_equal(plain->kept, GAL_LEN(PROMPT) + 29);
    CHECK_OK(gal_lm_generate_ids(with, ids, GAL_LEN(ids), &g, take, &b, &r, diag));
    assert_int_equal(with->kept, GAL_LEN(PROMPT) + 29);
    same(&b, &a, "second");
    gal_lm_close(plain);
    gal_lm_close(with);
}

/* ---- what does not fit -------------------------------------------------------------------------------------------
 */

static void refused(const char *model, const char *draft, const char *why) {
    gal_lm_options o;
    gal_lm *lm = NULL;
    gal_diag diag = { 0 };
    gal_lm_options_init(&o);
    o.speculate = GAL_SPECULATE_DRAFT;
    o.draft = draft;
    assert_int_equal(gal_lm_open(&lm, model, &o, &diag), GAL_EINPUT);
    assert_null(lm);
    if (!strstr(diag.text, why)) fail_msg("%s", diag.text);
}

static void test_vocabularies(void **state) {
    (void)state;
    refused(GOLDEN "mistral-base", GOLDEN "mixtral-base", "expected its vocabulary of 131, found 97");
    refused(GOLDEN "mistral-base", GOLDEN "chatter", "mistral-base has no tokenizer to tell");
    refused(GOLDEN "chatter", GOLDEN "mistral-base", "mistral-base has no tokenizer to tell");
    refused(GOLDEN "chatter", GOLDEN "gguf-mixed", "its vocabulary is another one: ");
    refused(GOLDEN "mistral-base", GOLDEN "nowhere", "nowhere");
    gal_lm_options o;
    gal_lm *lm = NULL;
    gal_lm_options_init(&o);
    o.speculate = GAL_SPECULATE_DRAFT;
    assert_int_equal(gal_lm_open(&lm, GOLDEN "mistral-base", &o, NULL), GAL_EUSAGE);
    o.speculate = GAL_SPECULATE_LOOKUP;
    o.draft_tokens = 16;
    assert_int_equal(gal_lm_open(&lm, GOLDEN "mistral-base", &o, NULL), GAL_EUSAGE);
    o.draft_tokens = 3;
    o.draft = GOLDEN "mistral-base";
    assert_int_equal(gal_lm_open(&lm, GOLDEN "mistral-base", &o, NULL), GAL_EUSAGE);
}

/* ---- memory ------------------------------------------------------------------------------------------------------
 */

/* Each allocation of a generation fails in turn: that is what is said, and the next one is as ever. */
static void test_starved(void **state) {
    (void)state;
    for (int how = GAL_SPECULATE_LOOKUP; how <= GAL_SPECULATE_DRAFT; how++) {
        taken want, got;
        want.stop_at = got.stop_at = 0;
        const gal_generate_options g = options(0.4, 30);
        gal_err err = GAL_ENOMEM;
        size_t failed = 0;
        for (size_t at = 1; err; at++) {
            counted c = { 0 };
            gal_set_alloc_hook(fail_one, &c);
            gal_lm_options o;
            gal_lm_options_init(&o);
            o.device.threads = 1;
            o.speculate = (gal_speculate)how;
            if (how == GAL_SPECULATE_DRAFT) o.draft = GOLDEN "mistral-layers";
            gal_lm *lm = open_lm(GOLDEN "mistral-layers", o);
            gal_diag why = { 0 };
            gal_generate_result r;
            c.calls = 0;
            c.fail_at = at;
            got.n = 0;
            err = gal_lm_generate_ids(lm, PROMPT, GAL_LEN(PROMPT), &g, take, &got, &r, &why);
            if (err && err != GAL_ENOMEM) fail_msg("allocation %zu: %s", at, why.text);
            failed += err != GAL_OK;
            c.fail_at = 0;
            (void)say(lm, &g, at == 1 ? &want : &got);
            if (at > 1) same(&got, &want, "after a failure");
            gal_lm_close(lm);
            assert_int_equal(c.held, 0);
            gal_set_alloc_hook(NULL, NULL);
            assert_true(at < 2000);
        }
        assert_true(failed > 10);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_same_tokens),   cmocka_unit_test(test_far),
                                        cmocka_unit_test(test_wrong_guesses), cmocka_unit_test(test_ends),
                                        cmocka_unit_test(test_goes_on),       cmocka_unit_test(test_vocabularies),
                                        cmocka_unit_test(test_starved) };
    return cmocka_run_group_tests_name("infer/speculate_models", tests, NULL, NULL);
}
