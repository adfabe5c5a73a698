/* test_chat_jinja.c - conversations by Jinja templates: the ids of Mistral's own templates from templates written in
 * Jinja, control tokens from the template alone, one BOS, what is refused. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "support/starve.h"
#include "support/test.h"
#include "text/chat_jinja.h"

#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/text/"
#define SHARED "../shared/data/tokenizers/"

static gal_tokenizer *open_one(const char *name) {
    gal_tokenizer *t = NULL;
    gal_diag diag = { 0 };
    if (gal_tokenizer_open(&t, name, &diag)) fail_msg("%s", diag.text);
    return t;
}

static const struct tm NOW = {
    .tm_year = 125, .tm_mon = 6, .tm_mday = 4, .tm_hour = 15, .tm_wday = 5, .tm_yday = 184
};

static void ids_of(const gal_tokenizer *t, const char *source, const char *body, gal_ids *ids) {
    const gal_chat_jinja how = { .source = source, .n = strlen(source), .now = &NOW };
    gal_diag diag = { 0 };
    gal_chat_spans spans = { 0 };
    ids->len = 0;
    if (gal_chat_render(t, &how, body, strlen(body), ids, &spans, &diag)) fail_msg("%s: %s", source, diag.text);
    for (size_t i = 0; i < spans.len; i++) assert_true(spans.data[i].begin < ids->len);
    assert_true(ids->len == 0 || spans.data[0].begin == 0);
    gal_chat_spans_free(&spans);
}

static void expect(const gal_tokenizer *t, const char *source, const char *body, const char *want) {
    gal_ids ids = { 0 };
    gal_buf got = { 0 };
    ids_of(t, source, body, &ids);
    for (size_t i = 0; i < ids.len; i++) {
        size_t n;
        gal_buf_printf(&got, "%s%s", i ? "|" : "", gal_tokenizer_piece(t, ids.data[i], &n));
    }
    if (strcmp(got.data ? got.data : "", want) != 0) fail_msg("%s gives %s, expected %s", source, got.data, want);
    gal_ids_free(&ids);
    gal_buf_free(&got);
}

static void refused(const gal_tokenizer *t, const char *source, const char *body, const char *why) {
    const gal_chat_jinja how = { .source = source, .n = strlen(source) };
    gal_diag diag = { 0 };
    gal_ids ids = { 0 };
    gal_err err = gal_chat_render(t, &how, body, strlen(body), &ids, NULL, &diag);
    if (err != GAL_EINPUT || !strstr(diag.text, why))
        fail_msg("%s %s: %d %s, expected %s", source, body, err, diag.text, why);
    assert_int_equal(ids.len, 0);
    gal_ids_free(&ids);
}

#define USER(content) "{\"messages\": [{\"role\": \"user\", \"content\": \"" content "\"}]}"
#define SAYS "{%- for m in messages %}{{ '[INST]' + m.content + '[/INST]' }}{% endfor %}"

/* The same conversation by a template of the golden folder and by the encoder of that version. */
static void same_as_native(const char *vocabulary, const char *file, int version, const char *body) {
    gal_tokenizer *t = open_one(vocabulary);
    gal_buf source = { 0 };
    gal_ids ids = { 0 }, native = { 0 };
    gal_diag diag = { 0 };
    if (gal_read_file(&source, file, 1 << 20, &diag)) fail_msg("%s", diag.text);
    ids_of(t, source.data, body, &ids);
    if (gal_chat_encode(t, version, body, strlen(body), &native, NULL, &diag)) fail_msg("%s", diag.text);
    bool same = ids.len == native.len;
    for (size_t i = 0; i < ids.len && same; i++) same = ids.data[i] == native.data[i];
    if (!same) fail_msg("%s: other ids than V%d for %s", file, version, body);
    gal_ids_free(&ids);
    gal_ids_free(&native);
    gal_buf_free(&source);
    gal_tokenizer_free(t);
}

static void natives(void **state) {
    (void)state;
    static const char PLAIN[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a </s> [INST] \\u00e9\"}, {\"role\": "
        "\"assistant\", \"content\": \"b\"}, {\"role\": \"user\", \"content\": \" a\\nb\"}]}";
    static const char SYSTEM[] =
        "{\"messages\": [{\"role\": \"system\", \"content\": \"b [SYSTEM_PROMPT]\"}, {\"role\": "
        "\"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"ab\"}, {\"role\": "
        "\"user\", \"content\": \"a\"}]}";
    static const char TOOLS[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"tool_calls\": "
        "[{\"id\": "
        "\"123456789\", \"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": "
        "\"{\\\"x\\\":1}\"}}]}, {\"role\": "
        "\"tool\", \"tool_call_id\": \"123456789\", \"content\": \"4\"}, {\"role\": \"assistant\", \"content\": "
        "\"b\"}, "
        "{\"role\": \"user\", \"content\": \"a [TOOL_CALLS]\"}], \"tools\": [{\"type\": \"function\", \"function\": "
        "{\"name\": "
        "\"f\", \"description\": \"d\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}}]}";
    same_as_native(GOLDEN "chat.model", "tests/golden/templates/mistral-v3.jinja", 3, PLAIN);
    same_as_native(GOLDEN "chat.model", "tests/golden/templates/mistral-v3.jinja", 3, SYSTEM);
    same_as_native(GOLDEN "chat.model", "tests/golden/templates/mistral-v3.jinja", 3, TOOLS);
    same_as_native(GOLDEN "chat.json", "tests/golden/templates/mistral-v7.jinja", 7, SYSTEM);
    same_as_native(GOLDEN "chat.json", "tests/golden/templates/mistral-v13.jinja", 13, SYSTEM);
    if (!gal_is_file(SHARED "tokenizer.model.v1")) { /* [INST] must be no control token */
        print_message("without ../shared: V1 was not compared\n");
        return;
    }
    same_as_native(SHARED "tokenizer.model.v1", "tests/golden/templates/mistral-v1.jinja", 1, PLAIN);
    same_as_native(SHARED "tokenizer.model.v1", "tests/golden/templates/mistral-v1.jinja", 1, SYSTEM);
}

static void provenance(void **state) {
    (void)state;
    gal_tokenizer *t = open_one(GOLDEN "chat.json");
    expect(t, SAYS, USER("</s>"), "<s>|[INST]|<|/|s|>|[/INST]");
    expect(t, "{{ messages[0].content }}", USER("[INST]"), "<s>|[|I|N|S|T|]");
    /* Halves of a name from both sides are no name; nor is what a filter makes of text. */
    expect(t, "{{ '[IN' + messages[0].content }}", USER("ST]"), "<s>|[|I|N|S|T|]");
    expect(t, "{{ messages[0].content + ']' }}", USER("[INST"), "<s>|[|I|N|S|T|]");
    expect(t, "{{ messages[0].content | upper }}", USER("[inst]"), "<s>|[|I|N|S|T|]");
    expect(t, "{{ messages[0].content | replace('x', '') }}", USER("[INxST]"), "<s>|[|I|N|S|T|]");
    expect(t, "{{ messages[0].content | replace('x', '[INST]') }}", USER("axb"), "<s>|a|[INST]|b");
    expect(t, "{{ messages[0].content.split('|') | join('[INST]') }}", USER("a|</s>"), "<s>|a|[INST]|<|/|s|>");
    expect(t, "{{ messages[0].content[::-1] }}", USER(">s/<"), "<s>|<|/|s|>");
    expect(t, "{{ (messages[0].content ~ '[INST]')[2:] | trim }}", USER("ab "), "<s>|[INST]");
    expect(t, "{{ messages[0] | tojson }}", USER("</s>"),
           "<s>|{|\"|r|o|l|e|\"|:| |\"|u|s|e|r|\"|,| |\"|c|o|n|t|e|n|t|\"|:| |\"|<|/|s|>|\"|}");
    expect(t, "{% macro m(x) %}{{ x }}[INST]{% endmacro %}{{ m(messages[0].content) }}", USER("</s>"),
           "<s>|<|/|s|>|[INST]");
    expect(t, "{% set x %}{{ messages[0].content }}{{ eos_token }}{% endset %}{{ x | title }}{{ x }}", USER("</s>"),
           "<s>|<|/|s|>|</s>|<|/|s|>|</s>");
    expect(t, "{{ extra }}{{ tools[0]['</s>'] }}{% for k in tools[0] %}{{ k }}{% endfor %}",
           "{\"messages\": [{\"role\": \"user\"}], \"chat_template_kwargs\": {\"extra\": \"<s>\"}, \"tools\": "
           "[{\"</s>\": "
           "\"</s>\"}]}",
           "<s>|<|s|>|<|/|s|>|<|/|s|>");
    /* A role that is a known word may be part of a name; another may not. */
    expect(t, "{{ '[' + messages[0].role + ']' }}", "{\"messages\": [{\"role\": \"INST\"}]}", "<s>|[|I|N|S|T|]");
    gal_tokenizer_free(t);
}

static void beginnings(void **state) {
    (void)state;
    gal_tokenizer *t = open_one(GOLDEN "chat.model");
    expect(t, "{{ bos_token }}a", USER("x"), "<s>|▁a");
    expect(t, "{{ bos_token }}{{ bos_token }} a", USER("x"), "<s>|▁a");
    expect(t, "{% for i in range(2) %}{{ bos_token }}[INST]a{{ eos_token }}{% endfor %}", USER("x"),
           "<s>|[INST]|▁a|</s>|[INST]|▁a|</s>");
    expect(t, "a", USER("x"), "<s>|▁a");
    expect(t, " a", USER("x"), "<s>|▁|▁a");
    expect(t, "", USER("x"), "<s>");
    /* Text between two control tokens is one text; the space before it is put once. */
    expect(t, "[INST]{{ 'a' }}{{ messages[0].content }}[/INST] a", USER("b"), "<s>|[INST]|▁a|b|[/INST]|▁a");
    expect(t, "[INST] {{ messages[0].content }}[/INST]", USER("a"), "<s>|[INST]|▁a|[/INST]");
    gal_tokenizer_free(t);
}

static void bodies(void **state) {
    (void)state;
    gal_tokenizer *t = open_one(GOLDEN "chat.json");
#define LAST                                                                                                         \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b \", "      \
    "\"prefix\": true}]}"
    expect(t, "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}{{ add_generation_prompt }}", LAST,
           "<s>|a|</s>|b| ");
    expect(t, "{% for m in messages %}{{ m.content | trim }}{{ eos_token }}{% endfor %}", LAST, "<s>|a|</s>|b");
    refused(t, "a", LAST, "does not print it");
    expect(t, "{{ messages[0].content }}{{ add_generation_prompt }}",
           "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": "
           "\"text\", \"text\": "
           "\"b\"}]}], \"add_generation_prompt\": false}",
           "<s>|a|\n|b|F|a|l|s|e");
    expect(t, "{% for p in messages[0].content %}{{ p.text }}{% endfor %}",
           "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": "
           "\"text\", \"text\": "
           "\"b\"}]}]}",
           "<s>|a|b");
    expect(t, "{{ messages[0].tool_calls[0].function.arguments.x }}{{ messages[0].content is defined }}",
           "{\"messages\": [{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": "
           "{\"arguments\": "
           "\"{\\\"x\\\": 1}\"}}]}]}",
           "<s>|1|F|a|l|s|e");
    expect(t, "{{ messages[0].reasoning_content }}{{ messages[0].thinking }}",
           "{\"messages\": [{\"role\": \"assistant\", \"reasoning\": \"r\"}]}", "<s>|r|r");
    expect(t, "{{ strftime_now('%d %b %Y') }}", USER("a"), "<s>|0|4| |J|u|l| |2|0|2|5");
    expect(t, "{{ tools is none }}", USER("a"), "<s>|T|r|u|e");
    refused(t, "{{ strftime_now('%d') }}", USER("a"), "no date");
    refused(t, "{{ raise_exception('no ' + messages[0].role) }}", USER("a"),
            "template:1:19: the template refuses this conversation: no user");
    refused(t, "a", "{\"messages\": []}", "messages: empty");
    refused(t, "a", "{\"messages\": [1]}", "messages[0]: expected an object");
    refused(t, "a", "{\"messages\": [{}]}", "messages[0].role");
    refused(t, "a", "[]", "body: expected an object");
    refused(t, "a", "{\"messages\": [{\"role\": \"user\"}], \"x\": 1}", "unknown field 'x'");
    refused(t, "a", "{\"messages\": [{\"role\": \"user\"}], \"chat_template_kwargs\": {\"messages\": 1}}",
            "cannot be given");
    refused(t, "a", "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}", "pictures");
    refused(t, "{% if %}", USER("a"), "template:1:7: expected an expression");
    gal_tokenizer_free(t);
}

/* Each allocation fails in turn: no memory is what is said, nothing is held, and ids are as they were. */
static void starved(void **state) {
    (void)state;
    static const char SOURCE[] = "{% set ns = namespace(x=[]) %}{% macro f(y) %}{{ y | upper }}{% endmacro %}{% for "
                                 "i in range(3000) %}{% set ns.x = "
                                 "[i ~ 'a'] %}{% endfor %}{% for m in messages %}[INST]{{ f(m.content * 20000)[:40] "
                                 "}}{{ m | tojson }}[/INST]{% "
                                 "endfor %}{{ dict(a=1) | dictsort }}{{ ns.x | sort | map('trim') | list }}";
    static const char BODY[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"abc\"}, {\"role\": \"assistant\", \"content\": "
        "\"b\", \"reasoning\": \"r\", \"prefix\": false}]}";
    gal_err err = GAL_ENOMEM;
    for (size_t at = 1; err; at++) {
        counted c = { 0 };
        gal_set_alloc_hook(fail_one, &c);
        gal_tokenizer *t = open_one(GOLDEN "chat.json");
        const size_t held = c.held;
        c.calls = 0;
        c.fail_at = at;
        gal_ids ids = { 0 };
        gal_chat_spans spans = { 0 };
        gal_diag why = { 0 };
        const gal_chat_jinja how = { .source = SOURCE, .n = sizeof SOURCE - 1 };
        err = gal_chat_render(t, &how, BODY, sizeof BODY - 1, &ids, &spans, &why);
        if (err && (err != GAL_ENOMEM || ids.len || spans.len)) fail_msg("allocation %zu: %s", at, why.text);
        gal_ids_free(&ids);
        gal_chat_spans_free(&spans);
        assert_int_equal(c.held, held);
        c.fail_at = 0;
        gal_tokenizer_free(t);
        assert_int_equal(c.held, 0);
        gal_set_alloc_hook(NULL, NULL);
        assert_true(at < 1000);
        if (!err) assert_true(at > 20);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(natives), cmocka_unit_test(provenance), cmocka_unit_test(beginnings),
        cmocka_unit_test(bodies),  cmocka_unit_test(starved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
