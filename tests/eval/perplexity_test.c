/* perplexity_test.c - perplexity of given ids and of texts against losses computed one token at a time, and against
 * the reference logits of the golden models; all edges: one token, none, a stop, numbers that are not finite.
 * SPDX-License-Identifier: Apache-2.0 */
#include "../infer/tiny.h"
#include "base/mem.h"
#include "models/golden.h"
#include "naive.h"
#include "support/check.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { N = 61 };

static gal_dev *dev;
static gal_model *model;
static int32_t ids[N];
static float row[TINY_V];

/* What another order of summation may change of a loss, see tiny_close(): the logits are below 10 here. */
#define BOUND ((double)FLT_EPSILON * TINY_L * TINY_D * 10 * 2)

static int open_all(void **state) {
    (void)state;
    dev = tiny_dev("ref", 2);
    model = tiny_model(0, false);
    model->config.bos = 3;
    tiny_ids(ids, N, 5);
    return dev ? 0 : -1;
}

static int close_all(void **state) {
    (void)state;
    gal_model_free(model);
    gal_dev_close(dev);
    return 0;
}

static gal_err measure(gal_perplexity *p, const gal_eval_options *o, int64_t n, gal_diag *diag) {
    gal_eval_text text = { .ids = ids, .n_ids = (size_t)n };
    return gal_perplexity_of(p, dev, model, NULL, &text, o, diag);
}

static void check_against_naive(gal_eval_options o, int64_t n) {
    gal_perplexity p;
    o.compute = GAL_F32;
    CHECK_OK(measure(&p, &o, n, diag));
    double loss[N], mean = 0, rest = 0;
    int64_t count = 0;
    for (int64_t at = 0; at < n; at++) {
        int64_t from = naive_from(&p.how, at, n);
        if (from < 0 || (o.max_tokens && count == o.max_tokens)) continue;
        naive_row(dev, model, ids, from, at, p.how.bos, o.convention == GAL_AS_LLAMA_CPP, row);
        loss[count] = naive_loss(row, TINY_V, ids[at]);
        mean += loss[count++];
    }
    assert_int_equal(p.walk.tokens, count);
    assert_true(count > 0 && !p.walk.stopped);
    mean /= (double)count;
    for (int64_t i = 0; i < count; i++) rest += (loss[i] - mean) * (loss[i] - mean);
    double error = sqrt(rest / (double)count / (double)(count - 1));
    if (!(fabs(p.nats - mean) <= BOUND))
        fail_msg("context %lld stride %lld n %lld: %.9g, expected %.9g", (long long)o.context, (long long)o.stride,
                 (long long)n, p.nats, mean);
    assert_true(fabs(p.perplexity - exp(mean)) <= 2 * BOUND * exp(mean));
    if (count > 1)
        assert_true(fabs(p.perplexity_error - exp(mean) * error) <= 4 * BOUND * exp(mean));
    else
        assert_true(isnan(p.perplexity_error));
    assert_true(isnan(p.bits) && p.bytes == 0);
}

static void every_window(void **state) {
    (void)state;
    for (int no_bos = 0; no_bos < 2; no_bos++) {
        static const int64_t SHAPES[][2] = {
            { 8, 8 }, { 8, 4 }, { 8, 1 }, { 8, 3 }, { 2, 1 }, { 61, 7 }, { 200, 100 }
        };
        for (size_t i = 0; i < GAL_LEN(SHAPES); i++)
            check_against_naive(
                (gal_eval_options){ .context = SHAPES[i][0], .stride = SHAPES[i][1], .no_bos = no_bos }, N);
        check_against_naive((gal_eval_options){ .no_bos = no_bos }, N); /* defaults */
        for (int64_t n = 2; n < 20; n += 3)
            check_against_naive((gal_eval_options){ .context = 8, .no_bos = no_bos }, n);
    }
    check_against_naive((gal_eval_options){ .context = 8 }, 1);
    check_against_naive((gal_eval_options){ .context = 8, .stride = 8, .max_tokens = 32 }, N);
}

static void as_llama_cpp(void **state) {
    (void)state;
    for (int no_bos = 0; no_bos < 2; no_bos++)
        for (int64_t context = 4; context <= 30; context += 13)
            check_against_naive(
                (gal_eval_options){ .convention = GAL_AS_LLAMA_CPP, .context = context, .no_bos = no_bos }, N);
    gal_perplexity p;
    gal_diag why = { 0 };
    gal_eval_options o = { .convention = GAL_AS_LLAMA_CPP, .context = 31 };
    assert_int_equal(measure(&p, &o, N, &why), GAL_EINPUT); /* 61 tokens are no two windows of 31 */
    assert_non_null(strstr(why.text, "61 tokens"));
}

/* Chunks of a wide vocabulary and threads do not change a bit. */
static void threads_do_not_matter(void **state) {
    (void)state;
    gal_dev *one = tiny_dev("ref", 1);
    assert_non_null(one);
    gal_perplexity a, b;
    gal_eval_options o = { .context = 16, .stride = 5 };
    gal_eval_text text = { .ids = ids, .n_ids = N };
    CHECK_OK(measure(&a, &o, N, diag));
    CHECK_OK(gal_perplexity_of(&b, one, model, NULL, &text, &o, diag));
    assert_memory_equal(&a.nats, &b.nats, sizeof a.nats);
    assert_memory_equal(&a.nats_error, &b.nats_error, sizeof a.nats_error);
    gal_dev_close(one);
}

/* An id in front that is the BOS is the window's own. */
static void ids_with_a_bos(void **state) {
    (void)state;
    int32_t with[N + 1] = { 3 };
    memcpy(with + 1, ids, sizeof ids);
    gal_perplexity a, b;
    gal_eval_options o = { .context = 16 };
    gal_eval_text text = { .ids = with, .n_ids = N + 1 };
    CHECK_OK(measure(&a, &o, N, diag));
    CHECK_OK(gal_perplexity_of(&b, dev, model, NULL, &text, &o, diag));
    assert_memory_equal(&a.nats, &b.nats, sizeof a.nats);
    assert_int_equal(b.walk.tokens, N);
}

static void expect(const gal_eval_options *o, int64_t n, gal_err want, const char *say) {
    gal_perplexity p;
    gal_diag why = { 0 };
    assert_int_equal(measure(&p, o, n, &why), want);
    if (!strstr(why.text, say)) fail_msg("'%s' lacks '%s'", why.text, say);
}

static void what_cannot_be(void **state) {
    (void)state;
    expect(&(gal_eval_options){ .context = 8 }, 0, GAL_EINPUT, "empty");
    expect(&(gal_eval_options){ .context = 8, .no_bos = true }, 1, GAL_EINPUT, "nothing predicts it");
    expect(&(gal_eval_options){ .context = 8, .stride = 9 }, N, GAL_EUSAGE, "1 to 8");
    expect(&(gal_eval_options){ .convention = GAL_AS_LLAMA_CPP, .stride = 9 }, N, GAL_EUSAGE, "side by side");
    expect(&(gal_eval_options){ .convention = GAL_AS_LLAMA_CPP, .context = 3 }, N, GAL_EUSAGE, "at least 4");
    expect(&(gal_eval_options){ .context = 301 }, N, GAL_ENOMEM, "positions end at 300");
    int32_t kept = ids[40];
    ids[40] = TINY_V;
    expect(&(gal_eval_options){ .context = 8 }, N, GAL_EINPUT, "token 40 of the text is 53");
    ids[40] = kept;
}

static void not_finite(void **state) {
    (void)state;
    float *w = model->weights[0].data, kept = w[(int64_t)ids[20] * TINY_D];
    w[(int64_t)ids[20] * TINY_D] = NAN; /* a row of the embedding: only what comes after that id is hurt */
    int64_t at = 0;
    while (ids[at] != ids[20]) at++;
    char want[80];
    (void)snprintf(want, sizeof want, "before token %lld of the text (id %d)", (long long)(at + 1), (int)ids[at + 1]);
    expect(&(gal_eval_options){ .context = 8 }, N, GAL_EFAIL, want);
    w[(int64_t)ids[20] * TINY_D] = kept;
}

/* ---- stopping ----------------------------------------------------------------------------------------------------
 */

typedef struct stops {
    int calls;
    int64_t at; /* tokens, from 0 on */
    double last;
} stops;

static int stop_at(void *user, double share, int64_t tokens, double nats) {
    stops *s = user;
    assert_true(share >= 0.0 && share <= 1.0 && share >= s->last);
    assert_true(tokens == 0 || nats > 0.0);
    s->last = share;
    s->calls++;
    return tokens >= s->at;
}

static void a_stop_leaves_what_was_done(void **state) {
    (void)state;
    gal_perplexity all, part, first;
    stops s = { .at = 13 };
    gal_eval_options o = { .context = 8, .stride = 4, .progress = stop_at, .user = &s };
    CHECK_OK(measure(&part, &o, N, diag));
    assert_true(part.walk.stopped && part.walk.tokens > 0 && part.walk.tokens < N);
    o.progress = NULL;
    CHECK_OK(measure(&all, &o, N, diag));
    assert_false(all.walk.stopped);
    assert_true(all.walk.tokens == N && all.walk.whole && !part.walk.whole);
    o.max_tokens = part.walk.tokens; /* whole windows: the same tokens with the same context */
    CHECK_OK(measure(&first, &o, N, diag));
    assert_memory_equal(&first.nats, &part.nats, sizeof part.nats);
    assert_true(s.calls > 30); /* within steps, too */
    s = (stops){ .at = 0 };
    o.progress = stop_at;
    CHECK_OK(measure(&part, &o, N, diag));
    assert_true(part.walk.stopped && part.walk.tokens == 0);
}

/* ---- with a vocabulary -------------------------------------------------------------------------------------------
 */

static void bits_per_byte(void **state) {
    (void)state;
    const char *pieces[TINY_V], *text = "abba abba a b zz";
    char names[TINY_V][8];
    float scores[TINY_V] = { 0 };
    uint8_t types[TINY_V];
    for (int i = 0; i < TINY_V; i++) {
        (void)snprintf(names[i], sizeof names[i], "q%d", i);
        pieces[i] = names[i];
        types[i] = GAL_PIECE_NORMAL;
    }
    static const char *const FIRST[] = {
        "<unk>", "<s>", "</s>", "\xe2\x96\x81",         "a",
        "b",     "z",   "ab",   "\xe2\x96\x81\x61\x62", /* an escape would take "ab" for more of itself */
        "ba"
    };
    for (int i = 0; i < 10; i++) pieces[i] = FIRST[i];
    types[0] = GAL_PIECE_UNKNOWN;
    types[1] = types[2] = GAL_PIECE_CONTROL;
    gal_vocab v = { .count = TINY_V, .pieces = pieces, .scores = scores, .types = types, .add_dummy_prefix = true };
    gal_tokenizer *t = NULL;
    CHECK_OK(gal_tokenizer_from_vocab(&t, &v, "made", diag));
    gal_ids list = { 0 };
    CHECK_OK(gal_encode(t, NULL, text, strlen(text), 0, &list, diag));
    double sum = 0, x[32], y[32], rest = 0;
    size_t n = list.len;
    assert_true(n > 4 && n <= 32);
    for (size_t i = 0; i < n; i++) {
        naive_row(dev, model, list.data, 0, (int64_t)i, 1, false, row);
        x[i] = naive_loss(row, TINY_V, list.data[i]);
        y[i] = (double)gal_tokenizer_text_bytes(t, list.data[i]) - (i == 0);
        sum += x[i];
    }
    double bytes = (double)strlen(text), nats = sum / bytes; /* per byte */
    for (size_t i = 0; i < n; i++) rest += (x[i] - nats * y[i]) * (x[i] - nats * y[i]);
    double error = sqrt(rest * (double)n / (double)(n - 1)) / bytes;
    gal_perplexity p;
    gal_eval_text in = { .text = text, .bytes = strlen(text) };
    gal_eval_options o = { .context = 64 };
    CHECK_OK(gal_perplexity_of(&p, dev, model, t, &in, &o, diag));
    assert_true(p.how.bos == 1 && p.walk.tokens == (int64_t)n && p.bytes == (int64_t)strlen(text));
    assert_true(fabs(p.bits - nats / log(2.0)) <= BOUND * (double)n);
    assert_true(fabs(p.bits_error - error / log(2.0)) <= BOUND * (double)n);
    gal_ids_free(&list);
    gal_tokenizer_free(t);
}

/* Golden models: logits that the reference computed, so nothing of ours is on the other side. No BOS; one window. */
static void against_the_reference(void **state) {
    (void)state;
    static const char *const NAMES[] = { "mistral-base", "mistral-window", "mistral-nemo", "mistral-tied" };
    for (size_t k = 0; k < GAL_LEN(NAMES); k++) {
        golden g;
        char path[80];
        (void)snprintf(path, sizeof path, "tests/golden/%s", NAMES[k]);
        golden_open(&g, path);
        double sum = 0;
        int32_t *narrow = gal_alloc_array((size_t)g.T, sizeof *narrow);
        assert_non_null(narrow);
        for (int64_t i = 0; i < g.T; i++) narrow[i] = (int32_t)g.ids[i];
        for (int64_t i = 0; i + 1 < g.T; i++) sum += naive_loss(g.logits + i * g.V, g.V, narrow[i + 1]);
        gal_perplexity p;
        gal_eval_text text = { .ids = narrow, .n_ids = (size_t)g.T };
        gal_eval_options o = { .no_bos = true, .context = g.T };
        CHECK_OK(gal_perplexity_of(&p, dev, g.m, NULL, &text, &o, diag));
        assert_int_equal(p.walk.tokens, g.T - 1);
        double want = sum / (double)(g.T - 1);
        if (!(fabs(p.nats - want) <= 2 * 2e-4)) /* twice what a logit may differ by */
            fail_msg("%s: %.9g, expected %.9g", NAMES[k], p.nats, want);
        gal_free(narrow);
        golden_close(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_window),
        cmocka_unit_test(as_llama_cpp),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(ids_with_a_bos),
        cmocka_unit_test(what_cannot_be),
        cmocka_unit_test(not_finite),
        cmocka_unit_test(a_stop_leaves_what_was_done),
        cmocka_unit_test(bits_per_byte),
        cmocka_unit_test(against_the_reference),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
