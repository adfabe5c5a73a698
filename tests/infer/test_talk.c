/* test_talk.c - conversations with a small model that knows a few by heart (tests/golden/chatter): what is remembered
 * between answers, what happens when the context is full, conversations and memories in files.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "infer/talk.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHATTER "tests/golden/chatter"

static gal_lm *open_lm(int64_t context) {
    gal_lm *lm = NULL;
    gal_diag diag = { 0 };
    gal_lm_options o;
    gal_lm_options_init(&o);
    o.context = context;
    if (gal_lm_open(&lm, CHATTER, &o, &diag)) fail_msg("%s", diag.text);
    return lm;
}

static gal_talk *begin(gal_lm *lm) {
    gal_talk *t = NULL;
    gal_diag diag = { 0 };
    if (gal_talk_new(&t, lm, CHATTER, NULL, &diag)) fail_msg("%s", diag.text);
    return t;
}

static gal_talk_how greedy(void) {
    gal_talk_how how = { .reserve = 1 };
    gal_generate_options_init(&how.generate, NULL);
    how.generate.sampling.temperature = 0.0;
    how.generate.max_tokens = 120;
    return how;
}

static void collect(void *user, gal_reply_kind kind, const char *text, size_t n) {
    if (kind == GAL_REPLY_TEXT) gal_buf_add(user, text, n);
}

static gal_err ask(gal_talk *t, const char *question, const gal_talk_how *how, gal_buf *text, gal_talk_answer *a,
                   gal_diag *diag) {
    const gal_talk_view view = { .text = collect, .user = text };
    gal_buf_clear(text);
    gal_err err = question ? gal_talk_say(t, "user", question, strlen(question), diag) : GAL_OK;
    return err ? err : gal_talk_ask(t, how, &view, a, diag);
}

static void must_say(gal_talk *t, const char *question, const char *answer, gal_talk_answer *a) {
    gal_diag diag = { 0 };
    gal_buf text = { 0 };
    const gal_talk_how how = greedy();
    if (ask(t, question, &how, &text, a, &diag)) fail_msg("%s: %s", question, diag.text);
    assert_true(a->said);
    assert_string_equal(text.data, answer);
    gal_buf_free(&text);
}

static void conversation(void **state) {
    (void)state;
    gal_lm *lm = open_lm(2000);
    gal_talk *t = begin(lm);
    gal_talk_answer a;
    gal_diag diag = { 0 };
    gal_buf text = { 0 };
    assert_string_equal(gal_talk_template_name(t), "V15");
    assert_true(gal_talk_thinks(t));
    assert_int_equal(gal_talk_system(t, "Be brief.", 9, &diag), GAL_OK);
    must_say(t, "Hello", "Good day to you.", &a);
    assert_int_equal(a.cached, 0);
    const int64_t before = gal_talk_used(t);
    must_say(t, "What is 2 + 2?", "It is 4.", &a);
    assert_true(a.cached >= before - 1 && a.cached < a.result.prompt_tokens);
    assert_int_equal(gal_talk_count(t), 5);
    assert_int_equal(gal_talk_text(t, 4, &text, &diag), GAL_OK);
    assert_string_equal(text.data, "It is 4.");
    /* What was said is taken back, and what both conversations have in common is not read again. */
    assert_true(gal_talk_undo(t));
    assert_int_equal(gal_talk_count(t), 3);
    must_say(t, "Who are you?", "A very small model.", &a);
    assert_true(a.cached > before - 4);
    /* Another system message: nothing but the beginning is common. */
    assert_int_equal(gal_talk_system(t, "Answer in French.", 17, &diag), GAL_OK);
    assert_int_equal(gal_talk_count(t), 5);
    gal_talk_cut(t, 1);
    must_say(t, "Hello", "Bonjour.", &a);
    assert_true(a.cached < 6);
    assert_int_equal(gal_talk_system(t, NULL, 0, &diag), GAL_OK);
    assert_string_equal(gal_talk_role(t, 0), "user");
    gal_talk_cut(t, 0);
    assert_false(gal_talk_undo(t));
    gal_buf_free(&text);
    gal_talk_free(t);
    gal_lm_close(lm);
}

/* A full context refuses, or drops the oldest question and says so; never the system message. */
static void full(void **state) {
    (void)state;
    gal_lm *lm = open_lm(170);
    gal_talk *t = begin(lm);
    gal_talk_answer a;
    gal_diag diag = { 0 };
    gal_buf text = { 0 };
    gal_talk_how how = greedy();
    how.reserve = 20;
    assert_int_equal(gal_talk_system(t, "Be brief.", 9, &diag), GAL_OK);
    int asked = 0;
    gal_err err = GAL_OK;
    while (asked < 20 && (err = ask(t, "Hello", &how, &text, &a, &diag)) == GAL_OK) asked++;
    assert_int_equal(err, GAL_ENOMEM);
    assert_true(asked >= 2 && strstr(diag.text, "the context is full") != NULL);
    const size_t messages = gal_talk_count(t);
    assert_int_equal(messages, 1 + 2 * (size_t)asked + 1);
    how.when_full = GAL_FULL_DROP;
    assert_int_equal(ask(t, NULL, &how, &text, &a, &diag), GAL_OK);
    assert_int_equal(a.dropped, 2);
    assert_string_equal(text.data, "Good day to you.");
    assert_int_equal(gal_talk_count(t), messages + 1 - 2);
    assert_string_equal(gal_talk_role(t, 0), "system");
    /* One question alone that is too long is refused all the same. */
    char long_one[400];
    memset(long_one, 'a', sizeof long_one);
    assert_int_equal(gal_talk_say(t, "user", long_one, sizeof long_one, &diag), GAL_OK);
    const size_t before = gal_talk_count(t);
    assert_int_equal(ask(t, NULL, &how, &text, &a, &diag), GAL_ENOMEM);
    assert_true(a.dropped == 0 && gal_talk_count(t) == before); /* nothing goes for nothing */
    /* An answer ends where the context does. */
    gal_talk_cut(t, 0);
    how.generate.max_tokens = 0;
    assert_int_equal(ask(t, "Tell me of the sea.", &how, &text, &a, &diag), GAL_OK);
    assert_true(a.result.stop == GAL_STOP_CONTEXT && a.incomplete && a.said);
    gal_buf_free(&text);
    gal_talk_free(t);
    gal_lm_close(lm);
}

static void files(void **state) {
    (void)state;
    char dir[] = "/tmp/galerne-talk-XXXXXX";
    assert_non_null(mkdtemp(dir));
    gal_buf path = { 0 }, body = { 0 }, bytes = { 0 };
    assert_non_null(gal_path_join(&path, dir, "cache"));
    gal_lm *lm = open_lm(2000), *other = open_lm(2000);
    gal_talk *t = begin(lm), *u = begin(other);
    gal_talk_answer a, b;
    gal_diag diag = { 0 };
    uint64_t size = 0;
    assert_int_equal(gal_lm_save_cache(lm, path.data, &size, &diag), GAL_EUSAGE);
    must_say(t, "Hello", "Good day to you.", &a);
    must_say(t, "What is 2 + 2?", "It is 4.", &a);
    assert_int_equal(gal_lm_save_cache(lm, path.data, &size, &diag), GAL_OK);
    assert_int_equal(gal_talk_print(t, &body, &diag), GAL_OK);
    assert_int_equal(gal_talk_read(u, body.data, body.len, "body", &diag), GAL_OK);
    assert_int_equal(gal_talk_count(u), 4);
    if (gal_lm_load_cache(other, path.data, &diag)) fail_msg("%s", diag.text);
    must_say(u, "Who are you?", "A very small model.", &b);
    must_say(t, "Who are you?", "A very small model.", &a);
    assert_int_equal(a.cached, b.cached);
    assert_true(b.cached > 60 && b.result.prompt_tokens == a.result.prompt_tokens);
    assert_int_equal(other->held.len, lm->held.len);
    /* Any damage is seen, and then nothing is held. */
    assert_int_equal(gal_read_file(&bytes, path.data, size, &diag), GAL_OK);
    assert_int_equal(bytes.len, size);
    for (size_t i = 0; i < bytes.len; i += 1 + i * 7 / 5) {
        bytes.data[i] ^= 4;
        assert_int_equal(gal_write_file(path.data, bytes.data, bytes.len, &diag), GAL_OK);
        bytes.data[i] ^= 4;
        assert_int_equal(gal_lm_load_cache(other, path.data, &diag), GAL_EINPUT);
        assert_int_equal(other->held.len, 0);
        assert_int_equal(gal_cache_length(gal_engine_cache(other->engine), 0), 0);
    }
    for (size_t n = 0; n < bytes.len; n += 1 + n) {
        assert_int_equal(gal_write_file(path.data, bytes.data, n, &diag), GAL_OK);
        assert_int_equal(gal_lm_load_cache(other, path.data, &diag), GAL_EINPUT);
    }
    assert_int_equal(gal_write_file(path.data, bytes.data, bytes.len, &diag), GAL_OK);
    gal_lm *small = open_lm(20);
    assert_int_equal(gal_lm_load_cache(small, path.data, &diag), GAL_EINPUT);
    gal_lm_close(small);
    /* Other options are another model. */
    other->options.cache = GAL_BF16;
    diag = (gal_diag){ 0 };
    assert_int_equal(gal_lm_load_cache(other, path.data, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "another model"));
    assert_int_equal(gal_remove_tree(dir, &diag), GAL_OK);
    gal_buf_free(&path);
    gal_buf_free(&body);
    gal_buf_free(&bytes);
    gal_talk_free(t);
    gal_talk_free(u);
    gal_lm_close(lm);
    gal_lm_close(other);
}

/* What is no conversation leaves the one that there is as it was. */
static void bodies(void **state) {
    (void)state;
    static const char *const BAD[] = {
        "",
        "{",
        "3",
        "{}",
        "{\"messages\": 3}",
        "[3]",
        "[{\"role\": 3}]",
        "[{\"content\": \"a\"}]",
        "[{\"role\": \"nobody\", \"content\": \"a\"}]",
        "{\"messages\": [{\"role\": \"tool\", \"content\": \"a\"}]}",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"tools\": [{\"x\": 1}]}",
    };
    gal_lm *lm = open_lm(500);
    gal_talk *t = begin(lm);
    gal_diag diag = { 0 };
    assert_int_equal(gal_talk_read(t, "[{\"role\": \"user\", \"content\": \"Hello\"}]", 38, "body", &diag), GAL_OK);
    for (size_t i = 0; i < GAL_LEN(BAD); i++) {
        diag = (gal_diag){ 0 };
        assert_int_equal(gal_talk_read(t, BAD[i], strlen(BAD[i]), "body", &diag), GAL_EINPUT);
        if (!strstr(diag.text, "body")) fail_msg("%s: %s", BAD[i], diag.text);
        assert_int_equal(gal_talk_count(t), 1);
    }
    gal_talk_answer a;
    must_say(t, NULL, "Good day to you.", &a);
    diag = (gal_diag){ 0 };
    assert_int_equal(gal_talk_effort(t, "often", &diag), GAL_EINPUT);
    assert_int_equal(gal_talk_effort(t, "high", &diag), GAL_OK);
    assert_int_equal(gal_talk_tools(t, "[{\"x\": 1}]", &diag), GAL_EINPUT);
    assert_int_equal(gal_talk_tools(t, "[]", &diag), GAL_OK);
    assert_null(strstr(gal_talk_get_tools(t), "x"));
    gal_talk_free(t);
    gal_lm_close(lm);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversation),
        cmocka_unit_test(full),
        cmocka_unit_test(files),
        cmocka_unit_test(bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
