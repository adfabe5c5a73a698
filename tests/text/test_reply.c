/* test_reply.c - answers by their tokens: every template's, cut anywhere, and those that no model should give.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "support/test.h"
#include "text/chat.h"
#include "text/chat_reply.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/text/"

typedef struct seen {
    gal_buf text, thinking, call;
} seen;

static void on_text(void *user, gal_reply_kind kind, const char *text, size_t n) {
    seen *s = user;
    assert_true(n > 0 && (size_t)gal_utf8_complete(text, n) == n);
    gal_buf_add(kind == GAL_REPLY_TEXT ? &s->text : kind == GAL_REPLY_THINKING ? &s->thinking : &s->call, text, n);
}

static void free_seen(seen *s) {
    gal_buf_free(&s->text);
    gal_buf_free(&s->thinking);
    gal_buf_free(&s->call);
}

static gal_tokenizer *open_golden(const char *name) {
    gal_tokenizer *t = NULL;
    gal_diag diag = { 0 };
    gal_buf path = { 0 };
    gal_buf_printf(&path, GOLDEN "%s", name);
    if (gal_tokenizer_open(&t, path.data, &diag)) fail_msg("%s", diag.text);
    gal_buf_free(&path);
    return t;
}

static void encode(const gal_tokenizer *t, int version, const char *body, gal_ids *ids) {
    gal_diag diag = { 0 };
    if (gal_chat_encode(t, version, body, strlen(body), ids, NULL, &diag))
        fail_msg("V%d: %s: %s", version, diag.text, body);
}

/* The ids of an answer, and what they are read as. */
static gal_reply *read_ids(const gal_tokenizer *t, int version, const int32_t *ids, size_t n, seen *s) {
    gal_reply *r = NULL;
    const gal_reply_options o = { .version = version, .seed = 3 };
    assert_int_equal(gal_reply_new(&r, t, &o, NULL), GAL_OK);
    for (size_t i = 0; i < n; i++) assert_int_equal(gal_reply_feed(r, ids[i], on_text, s, NULL), GAL_OK);
    assert_int_equal(gal_reply_end(r, on_text, s, NULL), GAL_OK);
    return r;
}

#define QUESTION "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}"

/* A message, encoded as an answer, read and encoded again: the same ids. */
static void round_trip(const gal_tokenizer *t, int version, const char *message) {
    gal_ids before = { 0 }, with = { 0 }, again = { 0 };
    gal_buf body = { 0 }, said = { 0 };
    seen s = { 0 };
    encode(t, version, QUESTION "]}", &before);
    gal_buf_printf(&body, QUESTION ", %s, {\"role\": \"user\", \"content\": \"b\"}]}", message);
    if (strstr(message, "tool_calls")) { /* results, so that it is a conversation */
        gal_buf_clear(&body);
        gal_buf_printf(
            &body,
            QUESTION
            ", %s, {\"role\": \"tool\", \"tool_call_id\": \"abcdefghi\", \"name\": \"f\", \"content\": \"1\"}]}",
            message);
    }
    encode(t, version, body.data, &with);
    size_t end = before.len;
    assert_memory_equal(before.data, with.data, before.len * sizeof *before.data);
    while (end < with.len && with.data[end] != gal_tokenizer_eos(t)) end++;
    assert_true(end < with.len && end > before.len);
    gal_reply *r = read_ids(t, version, with.data + before.len, end - before.len, &s);
    assert_null(gal_reply_bad_call(r));
    assert_int_equal(gal_reply_message(r, &said, NULL), GAL_OK);
    gal_buf_clear(&body);
    gal_buf_printf(&body, QUESTION ", %s, {\"role\": \"user\", \"content\": \"b\"}]}", said.data);
    if (gal_reply_calls(r)) {
        const gal_reply_call c = gal_reply_call_at(r, 0);
        assert_string_equal(c.name, "f");
        assert_int_equal(strlen(c.id), 9);
        gal_buf_clear(&body);
        gal_buf_printf(&body,
                       QUESTION
                       ", %s, {\"role\": \"tool\", \"tool_call_id\": \"%s\", \"name\": \"f\", \"content\": \"1\"}]}",
                       said.data, c.id);
    }
    encode(t, version, body.data, &again);
    if (version != 2 || !gal_reply_calls(r)) { /* V2 has no ids: all the same */
        if (again.len != with.len || memcmp(again.data, with.data, with.len * sizeof *with.data) != 0)
            fail_msg("V%d: %s became %s", version, message, said.data);
    }
    gal_reply_free(r);
    free_seen(&s);
    gal_ids_free(&before);
    gal_ids_free(&with);
    gal_ids_free(&again);
    gal_buf_free(&body);
    gal_buf_free(&said);
}

static void round_trips(void **state) {
    (void)state;
    gal_tokenizer *spm = open_golden("chat.model"), *tekken = open_golden("chat.json");
    const char *text = "{\"role\": \"assistant\", \"content\": \"h\\u00e9 \\ud83d\\ude00\\n [TOOL_CALLS] </s>\"}";
    const char *call = "{\"role\": \"assistant\", \"tool_calls\": [{\"id\": \"abcdefghi\", \"type\": \"function\", "
                       "\"function\": {\"name\": \"f\", \"arguments\": \"{\\\"x\\\": [1, \\\"\\u00e9\\\"]}\"}}]}";
    const char *both =
        "{\"role\": \"assistant\", \"content\": \"so\", \"tool_calls\": [{\"id\": \"abcdefghi\", \"type\": "
        "\"function\", \"function\": {\"name\": \"f\", \"arguments\": \"{}\"}}]}";
    const char *thinks =
        "{\"role\": \"assistant\", \"content\": [{\"type\": \"thinking\", \"thinking\": \"hm\", \"closed\": "
        "true}, {\"type\": \"text\", \"text\": \"so\"}]}";
    const int SPM[] = { 1, 2, 3, 7 }, TEKKEN[] = { 3, 7, 11, 13, 15 };
    for (size_t i = 0; i < GAL_LEN(SPM); i++) {
        round_trip(spm, SPM[i], text);
        if (SPM[i] > 1) round_trip(spm, SPM[i], call);
        if (SPM[i] >= 7) round_trip(spm, SPM[i], both);
    }
    for (size_t i = 0; i < GAL_LEN(TEKKEN); i++) {
        round_trip(tekken, TEKKEN[i], text);
        round_trip(tekken, TEKKEN[i], call);
        if (TEKKEN[i] >= 7) round_trip(tekken, TEKKEN[i], both);
        if (TEKKEN[i] >= 13) round_trip(tekken, TEKKEN[i], thinks);
    }
    gal_tokenizer_free(spm);
    gal_tokenizer_free(tekken);
}

static int32_t id_of(const gal_tokenizer *t, const char *name) { return gal_tokenizer_find(t, name, strlen(name)); }

static void add(const gal_tokenizer *t, gal_ids *ids, const char *text) {
    if (text[0] == '[' && id_of(t, text) >= 0)
        assert_int_equal(gal_ids_add(ids, id_of(t, text), NULL), GAL_OK);
    else
        assert_int_equal(gal_encode(t, NULL, text, strlen(text), 0, ids, NULL), GAL_OK);
}

/* What no model should say becomes text, and a stopped call is none. */
static void bad_calls(void **state) {
    (void)state;
    gal_tokenizer *t = open_golden("chat.json");
    static const char *const ANSWERS[][7] = {
        { "[TOOL_CALLS]", "f", "[ARGS]", "{\"x\": " },
        { "[TOOL_CALLS]", "f" },
        { "[TOOL_CALLS]", "", "[ARGS]", "{}" },
        { "[TOOL_CALLS]", "a b", "[ARGS]", "{}" },
        { "so", "[TOOL_CALLS]", "f", "[ARGS]", "{} {}" },
        { "[TOOL_CALLS]" },
        { "[TOOL_CALLS]", "f", "[ARGS]", "{}", "[TOOL_CALLS]" },
    };
    for (size_t i = 0; i < GAL_LEN(ANSWERS); i++) {
        gal_ids ids = { 0 };
        seen s = { 0 };
        gal_buf said = { 0 };
        for (size_t k = 0; k < 7 && ANSWERS[i][k]; k++) add(t, &ids, ANSWERS[i][k]);
        gal_reply *r = read_ids(t, 13, ids.data, ids.len, &s);
        assert_int_equal(gal_reply_calls(r), 0);
        assert_int_equal(gal_reply_message(r, &said, NULL), GAL_OK);
        assert_non_null(strstr(said.data, "\"content\": \""));
        gal_reply_free(r);
        free_seen(&s);
        gal_ids_free(&ids);
        gal_buf_free(&said);
    }
    gal_tokenizer_free(t);
}

/* Marks in odd places never fail, and thinking that nobody closed is thinking. */
static void odd_marks(void **state) {
    (void)state;
    gal_tokenizer *t = open_golden("chat.json");
    static const char *const MARKS[] = { "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[THINK]",
                                         "[/THINK]",     "[INST]", "x",         "\xc3" };
    for (uint32_t seed = 0; seed < 2000; seed++) {
        gal_ids ids = { 0 };
        seen s = { 0 };
        gal_buf said = { 0 };
        uint32_t x = seed * 2654435761U + 1;
        for (int k = 0; k < 8; k++, x = x * 1664525U + 1013904223U) {
            const uint32_t which = (x >> 16) % GAL_LEN(MARKS);
            if (which == GAL_LEN(MARKS) - 1)
                assert_int_equal(gal_ids_add(&ids, 26 + 0xc3, NULL), GAL_OK); /* half a character */
            else
                add(t, &ids, MARKS[which]);
        }
        gal_reply *r = read_ids(t, seed % 2 ? 13 : 11, ids.data, ids.len, &s);
        assert_int_equal(gal_reply_message(r, &said, NULL), GAL_OK);
        json_t *j = json_loads(said.data, 0, NULL);
        if (!j) fail_msg("no JSON: %s", said.data);
        json_decref(j);
        gal_reply_free(r);
        free_seen(&s);
        gal_ids_free(&ids);
        gal_buf_free(&said);
    }
    gal_ids ids = { 0 };
    seen s = { 0 };
    add(t, &ids, "[THINK]");
    add(t, &ids, "hm");
    gal_reply *r = read_ids(t, 15, ids.data, ids.len, &s);
    assert_string_equal(s.thinking.data, "hm");
    assert_int_equal(s.text.len, 0);
    gal_reply_free(r);
    free_seen(&s);
    gal_ids_free(&ids);
    gal_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(bad_calls),
        cmocka_unit_test(odd_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
