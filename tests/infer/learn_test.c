/* learn_test.c - what is learned of a conversation, written by hand for each template: braces stand around the tokens
 * of an assistant. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include "base/buf.h"
#include "infer/chat_template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char folder[256];

static int setup(void **state) {
    (void)state;
    make_folder(folder);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    remove_folder(folder);
    return 0;
}

/* Pieces as they are spelled, learned ones in braces. */
static void spell(gal_buf *out, const gal_tokenizer *t, const gal_ids *ids, const gal_buf *learned) {
    for (size_t i = 0; i < ids->len; i++) {
        size_t n;
        const bool now = learned->data[i] != 0, before = i && learned->data[i - 1];
        const char *s = gal_tokenizer_piece(t, ids->data[i], &n);
        if (now != before) gal_buf_putc(out, now ? '{' : '}');
        if (gal_tokenizer_type(t, ids->data[i]) == GAL_PIECE_BYTE && n == 6)
            gal_buf_putc(out, (char)strtol(s + 3, NULL, 16));
        else
            gal_buf_add(out, s, n);
    }
    if (ids->len && learned->data[ids->len - 1]) gal_buf_putc(out, '}');
    gal_buf_putc(out, 0);
    assert_false(out->oom);
}

/* want NULL: refused, for a reason that has `why` in it. */
static void check(const char *vocabulary, const char *template, const char *body, const char *want, const char *why) {
    gal_tokenizer *t = NULL;
    gal_chat_format *f = NULL;
    gal_ids ids = { 0 };
    gal_buf learned = { 0 }, text = { 0 };
    gal_diag said = { 0 };
    CHECK_OK(gal_tokenizer_open(&t, vocabulary, diag));
    CHECK_OK(gal_chat_format_open(&f, t, vocabulary, template, diag));
    gal_err err = gal_chat_format_learn(f, t, NULL, body, strlen(body), &ids, &learned, &said);
    if (!want) {
        assert_int_equal(err, GAL_EINPUT);
        if (!strstr(said.text, why)) fail_msg("%s", said.text);
    } else {
        if (err) fail_msg("%s: %s", template, said.text);
        assert_int_equal(ids.len, learned.len);
        spell(&text, t, &ids, &learned);
        assert_string_equal(text.data, want);
    }
    gal_buf_free(&text);
    gal_buf_free(&learned);
    gal_ids_free(&ids);
    gal_chat_format_free(f);
    gal_tokenizer_free(t);
}

#define SPM "tests/golden/text/chat.model"
#define BYTES "tests/golden/text/chat.json"
#define U(text) "{\"role\": \"user\", \"content\": \"" text "\"}"
#define A(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"
#define S(text) "{\"role\": \"system\", \"content\": \"" text "\"}"
#define BODY(list) "{\"messages\": [" list "]}"
#define SPACE "\xe2\x96\x81"

static void mistral(void **state) {
    (void)state;
    const char *two = BODY(S("s") ", " U("x") ", " A("y") ", " U("z") ", " A("w"));
    check(SPM, "V1", BODY(U("x") ", " A("y")), "<s>" SPACE "[INST]" SPACE "x" SPACE "[/INST]{" SPACE "y</s>}", NULL);
    check(SPM, "V1", two,
          "<s>" SPACE "[INST]" SPACE "s\n\nx" SPACE "[/INST]{" SPACE "y</s>}" SPACE "[INST]" SPACE "z" SPACE
          "[/INST]{" SPACE "w</s>}",
          NULL);
    check(BYTES, "V3", two, "<s>[INST]x[/INST]{y</s>}[INST]s\n\nz[/INST]{w</s>}", NULL);
    check(BYTES, "V7", two, "<s>[SYSTEM_PROMPT]s[/SYSTEM_PROMPT][INST]x[/INST]{y</s>}[INST]z[/INST]{w</s>}", NULL);
    /* A question at the end, and nobody who answers; nothing but a question. */
    check(BYTES, "V7", BODY(U("x") ", " A("y") ", " U("z")), "<s>[INST]x[/INST]{y</s>}[INST]z[/INST]", NULL);
    check(BYTES, "V7", BODY(U("x")), "<s>[INST]x[/INST]", NULL);
    /* Text that spells a control token is text, and said by whoever said it. */
    check(BYTES, "V7", BODY(U("</s>") ", " A("[INST]")), "<s>[INST]</s>[/INST]{[INST]</s>}", NULL);
    /* What is to be continued has no end. */
    check(BYTES, "V7", BODY(U("x") ", {\"role\": \"assistant\", \"content\": \"y\", \"prefix\": true}"),
          "<s>[INST]x[/INST]{y}", NULL);
    check(BYTES, "V7", BODY(U("x") ", {\"role\": \"nobody\", \"content\": \"y\"}"), NULL, "messages[1]");
}

static void calls(void **state) {
    (void)state;
    const char *body = BODY(
        U("x") ", {\"role\": \"assistant\", \"tool_calls\": [{\"id\": \"abcdefghi\", \"function\": {\"name\": \"f\", "
               "\"arguments\": \"{}\"}}]}, {\"role\": \"tool\", \"name\": \"f\", \"content\": \"1\", "
               "\"tool_call_id\": \"abcdefghi\"}, " A("y"));
    check(BYTES, "V7", body,
          "<s>[INST]x[/INST]{[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}, \"id\": \"abcdefghi\"}]</s>}"
          "[TOOL_RESULTS]abcdefghi[TOOL_CONTENT]1[/TOOL_RESULTS]{y</s>}",
          NULL);
    check(BYTES, "V13",
          BODY(U("x") ", {\"role\": \"assistant\", \"content\": [{\"type\": \"thinking\", \"thinking\": \"t\"}, "
                      "{\"type\": \"text\", \"text\": \"y\"}]}"),
          "<s>[INST]x[/INST]{[THINK]t[/THINK]y</s>}", NULL);
}

static const char *template(const char *name, const char *source) {
    static char path[400];
    put_file(folder, name, source, strlen(source));
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void jinja(void **state) {
    (void)state;
    const char *two = BODY(U("x") ", " A("y") ", " U("z") ", " A("w"));
    /* Behind the end of a message nobody says the template's newline. */
    check(BYTES,
          template("a.jinja", "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}"
                              "[/INST]{% else %}{{ m.content }}{{ eos_token }}{{ '\\n' }}{% endif %}{% endfor %}"),
          two, "<s>[INST]x[/INST]{y</s>}\n[INST]z[/INST]{w</s>}\n", NULL);
    /* The words that ask for an answer are the template's; {% generation %} changes nothing. */
    check(BYTES,
          template("b.jinja",
                   "{{ bos_token }}{% for m in messages %}[INST]{{ m.role }}:{% if m.role == 'assistant' %}"
                   "{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}"
                   "{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}[INST]assistant:{% endif %}"),
          two, "<s>[INST]user:x</s>[INST]assistant:{y</s>}[INST]user:z</s>[INST]assistant:{w</s>}", NULL);
    /* Without control tokens the end is whatever the template writes there. */
    check(BYTES, template("c.jinja", "{% for m in messages %}{{ m.role[0] }}={{ m.content }};{% endfor %}"), two,
          "<s>u=x;{a=y;}u=z;{a=w;}", NULL);
    /* Earlier answers vanish. */
    check(BYTES,
          template("d.jinja", "{% for m in messages %}{% if m.role == 'user' or loop.last %}[INST]{{ m.content }}"
                              "{% endif %}{% endfor %}"),
          two, NULL, "messages[1]: template jinja (");
    check(BYTES, "V7", BODY(A("y")), NULL, "messages: a conversation begins");
    check(BYTES, template("e.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}"), BODY(A("y")), NULL,
          "messages[0]: an assistant's");
    check(BYTES, template("f.jinja", "x"), "{\"messages\": 3}", NULL, "messages: expected a list");
    check(BYTES, template("g.jinja", "x"), "{\"messages\": []}", NULL, "messages: empty");
    check(BYTES, template("h.jinja", "x"), "[", NULL, "body");
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(mistral), cmocka_unit_test(calls), cmocka_unit_test(jinja) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
