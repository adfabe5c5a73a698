/* generate_test.c - the loop around a model whose next token is known: stop strings across tokens, ends of sequence,
 * limits, callbacks, and who adds the beginning of sequence. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "infer/generate.h"
#include "text/bpe_train.h"
#include "tiny.h"

#include <string.h>

/* A family whose logits name the script's token of each position. Only one row at a time is ever wanted. */
enum { SCRIPT = 64 };
static int32_t script[SCRIPT];
static int script_vocab;

static gal_t *scripted(gal_ctx *cx, const gal_model *m, const gal_step *st) {
    gal_t *t = gal_new2(cx, GAL_F32, 1, m->config.V);
    if (!t) return NULL;
    int32_t next = script[(st->pos[st->n - 1] + 1) % SCRIPT];
    for (int64_t i = 0; i < m->config.V; i++) ((float *)t->data)[i] = i == next ? 5.0f : 0.0f;
    return t;
}

typedef struct fixture {
    gal_tokenizer *t;
    gal_dev *dev;
    gal_model *m;
    gal_family family;
    gal_engine *e;
    int32_t eos;
    gal_generator g;
    gal_generate_options o;
    gal_buf text;
    int tokens, stop_after;
} fixture;

static int collect(void *user, int32_t id, const char *text, size_t bytes) {
    fixture *f = user;
    f->tokens += id >= 0;
    gal_buf_add(&f->text, text, bytes);
    return f->stop_after && f->tokens >= f->stop_after;
}

static void open_fixture(fixture *f, int64_t context) {
    static const char CORPUS[] = "the end of the river is the sea. the sea is wide. END and STOP are words. "
                                 "the river meets the sea at the end of the land.\n";
    *f = (fixture){ 0 };
    gal_bpe_options bo;
    gal_bpe_options_init(&bo);
    bo.vocab_size = 310;
    bo.take_possible = true;
    gal_buf model = { 0 };
    gal_diag diag = { 0 };
    if (gal_bpe_train(&model, CORPUS, sizeof CORPUS - 1, &bo, &diag)) fail_msg("%s", diag.text);
    assert_int_equal(gal_tokenizer_open_bytes(&f->t, model.data, model.len, "test", NULL), GAL_OK);
    gal_buf_free(&model);
    f->dev = tiny_dev("ref", 1);
    f->m = tiny_model(0, false);
    script_vocab = gal_tokenizer_size(f->t) + 7; /* rows of the head beyond the tokenizer */
    f->m->config.V = script_vocab;
    f->family = *f->m->family;
    f->family.logits = scripted;
    f->m->family = &f->family;
    f->e = tiny_engine(f->dev, f->m, (gal_engine_options){ .eager = true, .context = context });
    f->eos = gal_tokenizer_eos(f->t);
    f->g = (gal_generator){ .engine = f->e, .tokenizer = f->t, .vocab = script_vocab, .eos = &f->eos, .n_eos = 1 };
    f->o = (gal_generate_options){ .max_tokens = 1000 };
    gal_generate_options_init(&f->o, NULL);
    f->o.sampling.temperature = 0.0;
}

static void close_fixture(fixture *f) {
    gal_engine_free(f->e);
    f->m->family = &gal_mistral;
    f->m->config.V = TINY_V;
    gal_model_free(f->m);
    gal_dev_close(f->dev);
    gal_tokenizer_free(f->t);
    gal_buf_free(&f->text);
}

/* The script after a prompt of `at` tokens: text, then an end of sequence. Returns the tokens of the text. */
static int set_script(fixture *f, int at, const char *text) {
    gal_ids ids = { 0 };
    assert_int_equal(gal_encode(f->t, NULL, text, strlen(text), 0, &ids, NULL), GAL_OK);
    assert_true(at + (int)ids.len < SCRIPT);
    for (int i = 0; i < SCRIPT; i++) script[i] = f->eos;
    for (size_t i = 0; i < ids.len; i++) script[at + (int)i] = ids.data[i];
    int n = (int)ids.len;
    gal_ids_free(&ids);
    return n;
}

static gal_generate_result go(fixture *f) {
    gal_generate_result r = { 0 };
    gal_diag diag = { 0 };
    f->tokens = 0;
    gal_buf_clear(&f->text);
    gal_buf_puts(&f->text, "");
    const int32_t prompt[] = { 1, 5 };
    if (gal_generate(&f->g, prompt, 2, true, &f->o, collect, f, &r, &diag)) fail_msg("%s", diag.text);
    return r;
}

static void test_eos(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, 60);
    int n = set_script(&f, 2, "the river meets the sea");
    gal_generate_result r = go(&f);
    assert_int_equal(r.stop, GAL_STOP_EOS);
    assert_int_equal(r.tokens, n);
    assert_int_equal(r.prompt_tokens, 2);
    assert_string_equal(f.text.data, " the river meets the sea"); /* goes on from a prompt: the space stays */
    f.o.ignore_eos = 1;
    f.o.max_tokens = n + 3;
    r = go(&f);
    assert_int_equal(r.stop, GAL_STOP_TOKENS);
    assert_int_equal(r.tokens, n + 3);
    close_fixture(&f);
}

static void test_stop_strings(void **state) {
    (void)state;
    static const struct {
        const char *stop, *want;
    } CASES[] = {
        { " the sea", " the river meets" },
        { "meets the", " the river " },
        { "r m", " the rive" },
        { "sea", " the river meets the " },
        { " ", "" },
        { "t", " " },
        { "the sea and", " the river meets the sea" }, /* never completed: comes out in the end */
    };
    fixture f;
    open_fixture(&f, 60);
    int n = set_script(&f, 2, "the river meets the sea");
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        const char *stops[] = { "nowhere", CASES[i].stop };
        f.o.stops = stops;
        f.o.n_stops = 2;
        gal_generate_result r = go(&f);
        assert_string_equal(f.text.data, CASES[i].want);
        bool whole = i == GAL_LEN(CASES) - 1;
        assert_int_equal(r.stop, whole ? GAL_STOP_EOS : GAL_STOP_STRING);
        assert_true(whole || r.tokens <= n);
    }
    close_fixture(&f);
}

static void test_limits(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, 6);
    (void)set_script(&f, 2, "the river meets the sea at the end of the land.");
    gal_generate_result r = go(&f); /* two of the prompt, four fed, and the last one drawn needs no place */
    assert_int_equal(r.stop, GAL_STOP_CONTEXT);
    assert_int_equal(r.tokens, 5);
    f.o.max_tokens = 3;
    assert_int_equal(go(&f).tokens, 3);
    f.o.max_tokens = 0;
    r = go(&f);
    assert_int_equal(r.tokens, 0);
    assert_int_equal(r.stop, GAL_STOP_TOKENS);
    f.o.max_tokens = 100;
    f.stop_after = 2;
    r = go(&f);
    assert_int_equal(r.stop, GAL_STOP_CALLER);
    assert_int_equal(r.tokens, 2);
    assert_int_equal(gal_generate(&f.g, NULL, 0, true, &f.o, collect, &f, NULL, NULL), GAL_EUSAGE);
    const int32_t outside[] = { 1, script_vocab };
    assert_int_equal(gal_generate(&f.g, outside, 2, true, &f.o, collect, &f, NULL, NULL), GAL_EINPUT);
    close_fixture(&f);
}

/* A head with more rows than the tokenizer has pieces: what has no text is never drawn. */
static void test_rows_without_text(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, 60);
    for (int i = 0; i < SCRIPT; i++) script[i] = script_vocab - 1;
    f.o.max_tokens = 10;
    gal_generate_result r = go(&f); /* all pieces are equally likely: the lowest id, 10 times */
    assert_int_equal(r.tokens, 10);
    close_fixture(&f);
}

static void test_prompt_begins_once(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, 60);
    gal_ids ids = { 0 };
    assert_int_equal(gal_prompt_encode(f.t, "the sea", 7, &ids, NULL), GAL_OK);
    int32_t bos = gal_tokenizer_bos(f.t);
    assert_int_equal(ids.data[0], bos);
    for (size_t i = 1; i < ids.len; i++) assert_int_not_equal(ids.data[i], bos);
    gal_ids_free(&ids);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_eos), cmocka_unit_test(test_stop_strings),
                                        cmocka_unit_test(test_limits), cmocka_unit_test(test_rows_without_text),
                                        cmocka_unit_test(test_prompt_begins_once) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
