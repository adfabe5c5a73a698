/* test_chat.c - conversations: the reference's ids on vocabularies of our own, on the shared ones where they are, and
 * what is refused. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "support/starve.h"
#include "support/test.h"
#include "text/chat.h"
#include "text/json_tree.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/text/"
#define SHARED "../shared/data/tokenizers/"

static gal_tokenizer *open_at(const char *folder, const char *name) {
    gal_tokenizer *t = NULL;
    gal_diag diag = { 0 };
    gal_buf path = { 0 };
    gal_buf_printf(&path, "%s%s", folder, name);
    if (gal_tokenizer_open(&t, path.data, &diag)) fail_msg("%s", diag.text);
    gal_buf_free(&path);
    return t;
}

/* Ids, or with want NULL a refusal that says why. */
static void check(const gal_tokenizer *t, int version, const char *body, size_t n, const json_t *want) {
    gal_ids ids = { 0 };
    gal_chat_spans spans = { 0 };
    gal_diag why = { 0 };
    gal_err err = gal_chat_encode(t, version, body, n, &ids, &spans, &why);
    if (!want) {
        if (err != GAL_EINPUT || !why.text[0]) fail_msg("V%d takes %.*s", version, (int)n, body);
        assert_int_equal(ids.len + spans.len, 0);
    } else {
        if (err) fail_msg("V%d: %s: %.*s", version, why.text, (int)n, body);
        bool same = ids.len == json_array_size(want);
        for (size_t i = 0; i < ids.len && same; i++)
            same = ids.data[i] == json_integer_value(json_array_get(want, i));
        if (!same) fail_msg("V%d: other ids for %.*s", version, (int)n, body);
        size_t bos = 0;
        for (size_t i = 0; i < ids.len; i++) bos += ids.data[i] == gal_tokenizer_bos(t);
        assert_int_equal(bos, 1);
        assert_int_equal(spans.data[0].begin, 0);
        for (size_t i = 1; i < spans.len; i++) {
            assert_true(spans.data[i].begin > spans.data[i - 1].begin && spans.data[i].begin < ids.len);
            assert_true(spans.data[i].kind != spans.data[i - 1].kind);
        }
    }
    gal_ids_free(&ids);
    gal_chat_spans_free(&spans);
}

static void golden(void **state) {
    (void)state;
    static const char *const NAMES[] = { "chat.model", "chat.json", "chat-audio.json" };
    gal_tokenizer *t[GAL_LEN(NAMES)];
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) t[i] = open_at(GOLDEN, NAMES[i]);
    FILE *f = fopen(GOLDEN "chat.jsonl", "r");
    assert_non_null(f);
    static char line[1 << 16];
    size_t lines = 0;
    while (fgets(line, sizeof line, f)) {
        json_t *j = json_loads(line, 0, NULL);
        assert_non_null(j);
        size_t i = 0;
        while (strcmp(json_string_value(json_object_get(j, "vocabulary")), NAMES[i]) != 0) i++;
        const json_t *body = json_object_get(j, "body");
        check(t[i], (int)json_integer_value(json_object_get(j, "version")), json_string_value(body),
              json_string_length(body), json_object_get(j, "ids"));
        json_decref(j);
        lines++;
    }
    fclose(f);
    assert_int_equal(lines, 243 + 9 * 10 + 4 * 22);
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) gal_tokenizer_free(t[i]);
}

static void shared_templates(void **state) {
    (void)state;
    FILE *f = fopen(SHARED "vectors/templates/templates.jsonl", "r");
    if (!f) {
        print_message("skipped: no " SHARED "vectors/templates\n");
        skip();
    }
    static char line[1 << 18];
    gal_buf open = { 0 };
    gal_tokenizer *t = NULL;
    size_t lines = 0;
    while (fgets(line, sizeof line, f)) {
        json_t *j = json_loads(line, 0, NULL);
        assert_non_null(j);
        const char *name = json_string_value(json_object_get(j, "tokenizer"));
        if (!t || strcmp(open.data, name) != 0) {
            gal_tokenizer_free(t);
            t = open_at(strncmp(name, "toy", 3) == 0 ? SHARED "vectors/templates/" : SHARED, name);
            gal_buf_clear(&open);
            gal_buf_puts(&open, name);
        }
        const int version = gal_chat_version(t, name);
        assert_int_equal(version, gal_chat_template(json_string_value(json_object_get(j, "version"))));
        char *body = json_dumps(json_object_get(j, "request"), 0);
        check(t, version, body, strlen(body), json_object_get(j, "ids"));
        free(body);
        json_decref(j);
        lines++;
    }
    assert_int_equal(lines, 113);
    gal_tokenizer_free(t);
    gal_buf_free(&open);
    fclose(f);
}

/* Public samples: the same conversation for several versions. */
static void shared_samples(void **state) {
    (void)state;
    static const char *const MODEL[] = { "tokenizer.model.v1", "mistral_instruct_tokenizer_240216.model.v2",
                                         "mistral_instruct_tokenizer_240323.model.v3" };
    static const char *const NAMES[] = { "get_weather_full", "get_weather_no_history", "get_weather_no_system_prompt",
                                         "no_tools",         "parallel_calls",         "several_calls" };
    if (!gal_is_dir(SHARED "vectors/mistral-common-samples")) {
        print_message("skipped: no " SHARED "vectors/mistral-common-samples\n");
        skip();
    }
    size_t checked = 0;
    for (int v = 1; v <= 3; v++) {
        gal_tokenizer *t = open_at(SHARED, MODEL[v - 1]);
        for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
            gal_buf path = { 0 }, body = { 0 };
            gal_buf_printf(&path, SHARED "vectors/mistral-common-samples/%s/tokens_v%d.json", NAMES[i], v);
            json_t *want = json_load_file(path.data, 0, NULL);
            gal_buf_clear(&path);
            gal_buf_printf(&path, SHARED "vectors/mistral-common-samples/%s/sample.json", NAMES[i]);
            if (want && !gal_read_file(&body, path.data, 1 << 20, NULL)) {
                check(t, v, body.data, body.len, json_object_get(want, "tokens"));
                checked++;
            }
            json_decref(want);
            gal_buf_free(&path);
            gal_buf_free(&body);
        }
        gal_tokenizer_free(t);
    }
    assert_int_equal(checked, 12);
}

/* ---- JSON as Python has it ----------------------------------------------------------------------------------------
 */

static void printed(void **state) {
    (void)state;
    static const char *const CASES[][2] = {
        { "{\"b\":1,\"a\":2,\"b\":[3]}", "{\"b\": [3], \"a\": 2}" },
        { " [ 1.0 , 1e5,1E-7,-0,-0.0,1e400,-1e400,NaN,0.1,123456789012345678901234567890] ",
          "[1.0, 100000.0, 1e-07, 0, -0.0, Infinity, -Infinity, NaN, 0.1, 123456789012345678901234567890]" },
        { "[1e15, 1e16, 9007199254740993.0, 0.0001, 0.00001, 5e-324, 1.7976931348623157e308, 2e22]",
          "[1000000000000000.0, 1e+16, 9007199254740992.0, 0.0001, 1e-05, 5e-324, 1.7976931348623157e+308, 2e+22]" },
        { "[7.120236347223045e-307, 0.30000000000000004, 100.125]",
          "[7.120236347223045e-307, 0.30000000000000004, 100.125]" },
        { "\"\\u00e9\\/\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u007f\\ud83d\\ude42\"",
          "\"é/\\\"\\\\\\b\\f\\n\\r\\t\\u0001\x7f🙂\"" },
        { "[true,false,null,{},[]]", "[true, false, null, {}, []]" },
    };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        gal__pool p;
        gal__value *v;
        gal_diag diag = { 0 };
        gal_buf out = { 0 };
        gal__pool_init(&p);
        if (gal__tree_read(&v, &p, CASES[i][0], strlen(CASES[i][0]), true, "text", &diag)) fail_msg("%s", diag.text);
        gal__tree_print(&out, v);
        assert_string_equal(out.data, CASES[i][1]);
        gal_buf_free(&out);
        gal__pool_free(&p);
    }
}

/* Not JSON, or JSON that is refused; the first stays a string where a string may hold anything. */
static void refused(void **state) {
    (void)state;
    static const char *const NONE[] = {
        "",      "{",   "[1,]",    "{\"a\" 1}", "01", "1.",  "\"\n\"", "\xef\xbb\xbf{}", "'a'",
        "[1] 2", "nul", "\"\\x\"", "-",         "+1", "Inf", "{1: 2}", "\"\xff\""
    };
    gal_buf deep = { 0 }, digits = { 0 };
    for (int i = 0; i < 5000; i++) {
        gal_buf_putc(&deep, '[');
        gal_buf_putc(&digits, '7');
    }
    const char *const HARD[] = { deep.data, digits.data, "\"\\ud800\"", "[\"\\udc00\"]" };
    for (size_t i = 0; i < GAL_LEN(NONE) + GAL_LEN(HARD); i++) {
        const bool hard = i >= GAL_LEN(NONE);
        const char *s = hard ? HARD[i - GAL_LEN(NONE)] : NONE[i];
        gal__pool p;
        gal__value *v;
        gal_diag diag = { 0 };
        gal__pool_init(&p);
        assert_int_equal(gal__tree_read(&v, &p, s, strlen(s), true, "text", &diag), GAL_EINPUT);
        assert_non_null(strstr(diag.text, "text: "));
        assert_int_equal(gal__tree_read(&v, &p, s, strlen(s), false, "text", NULL), hard ? GAL_EINPUT : GAL_OK);
        assert_null(v);
        gal__pool_free(&p);
    }
    gal_buf_free(&deep);
    gal_buf_free(&digits);
}

/* Messages name the place. */
#define SOUND(url)                                                                                                   \
    "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": "          \
    "\"audio_url\", "                                                                                                \
    "\"audio_url\": \"" url "\"}]}]}"

static void reasons(void **state) {
    (void)state;
    static const struct {
        int version;
        const char *body, *says;
    } CASES[] = {
        { 7, "[]", "body: expected an object, found an array" },
        { 7, "{\"messages\": 3}", "messages: expected an array, found 3" },
        { 7, "{\"messages\": [{\"role\": \"robot\"}]}",
          "messages[0].role: expected system, user, assistant or tool" },
        { 7, "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": 1}]}]}",
          "messages[0].content[0].text: expected a string, found 1" },
        { 3, "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"reasoning_effort\": \"high\"}",
          "reasoning_effort: template V3 has none" },
        { 15, "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"reasoning_effort\": \"low\"}",
          "reasoning_effort: this model knows none, high; found low" },
        { 7, "{\"messages\": [{\"role\": \"user\", \"content\": \"a\", \"name\": \"b\"}]}",
          "messages[0]: unknown field 'name'" },
        { 7,
          "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"tools\": [{\"function\": {\"name\": \"f\", "
          "\"parameters\": {\"properties\": {\"p\": {\"type\": \"strin\"}}}}}]}",
          "tools[0].function.parameters: no JSON schema (draft 7): 'type': expected the name of a type, found "
          "\"strin\"" },
        { 7, SOUND("http://x/y.wav"),
          "messages[0].content[1]: expected data:...;base64,..., found \"http://x/y.wav\"" },
        { 13, SOUND("file:///etc/passwd"), "nothing is fetched, no file opened" },
        { 13, SOUND("data:audio/wav,abc"), "messages[0].content[1]: expected data:...;base64,..." },
        { 13, SOUND("abcde"), "messages[0].content[1]: its data are not base64" },
        { 13, SOUND("/etc/passwd"), "messages[0].content[1]: its data are not base64" },
        { 13, SOUND("SUQzBAAAAAAAAAAA"),
          "messages[0].content[1]: audio: expected WAV, FLAC or AU, whole and not packed; "
          "found an MP3 file" },
        { 13, SOUND("T2dnUwACAAAAAAAA"), "found an Ogg file" },
        { 13, SOUND("UklGRioAAABXQVZFZm10IBAAAAABAAIA6AMAANAHAAACABAAZGF0YQYAAAAAAAAAAAA="),
          "messages[0].content[1]: audio: expected one channel, found 2" },
        { 13, SOUND("UklGRioAAABXQVZFZm10IBAAAAABAAEAAQAAANAHAAABAAgAZGF0YQYAAAAAAAAAAAA="), NULL },
        { 11, "{\"prompt\": \"a\", \"suffix\": 1}", "suffix: expected a string, found 1" },
        { 1, "{\"prompt\": \"a\"}", "prompt: template V1 has no filling in" },
    };
    gal_tokenizer *t = open_at(GOLDEN, "chat-audio.json");
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        gal_ids ids = { 0 };
        gal_diag why = { 0 };
        const gal_err err = gal_chat_encode(t, CASES[i].version, CASES[i].body, strlen(CASES[i].body), &ids, NULL,
                                            &why);
        assert_int_equal(err, CASES[i].says ? GAL_EINPUT : GAL_OK);
        gal_ids_free(&ids);
        if (CASES[i].says && !strstr(why.text, CASES[i].says))
            fail_msg("'%s' is not in '%s'", CASES[i].says, why.text);
    }
    gal_tokenizer_free(t);
}

/* ---- no memory ----------------------------------------------------------------------------------------------------
 */

/* Each allocation fails in turn: no memory is what is said, nothing is held, and ids are as they were. */
static void starved(void **state) {
    (void)state;
    static const char BODY[] =
        "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": \"a\"}, "
        "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"abcdefghi\", \"function\": "
        "{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}}]}, {\"role\": \"tool\", \"tool_call_id\": "
        "\"abcdefghi\", "
        "\"content\": [{\"type\": \"text\", \"text\": \"[1, 2]\"}]}], \"tools\": [{\"function\": {\"name\": \"f\", "
        "\"parameters\": {\"required\": [\"a\", \"b\"]}}}]}";
    static const char HEARD[] = SOUND("UklGRioAAABXQVZFZm10IBAAAAABAAEA6AMAANAHAAACABAAZGF0YQYAAAAAAAAAAAA=");
    static const char FILL[] = "{\"prompt\": \"a\", \"suffix\": \"b\"}";
    static const int VERSIONS[] = { 2, 3, 15, 13, 7 };
    for (size_t v = 0; v < GAL_LEN(VERSIONS); v++) {
        gal_err err = GAL_ENOMEM;
        for (size_t at = 1; err; at++) {
            counted c = { 0 };
            gal_set_alloc_hook(fail_one, &c);
            gal_tokenizer *t = open_at(GOLDEN, "chat-audio.json");
            const char *body = VERSIONS[v] == 13 ? HEARD : VERSIONS[v] == 7 ? FILL : BODY;
            const size_t held = c.held;
            c.calls = 0;
            c.fail_at = at;
            gal_ids ids = { 0 };
            gal_chat_spans spans = { 0 };
            gal_diag why = { 0 };
            err = gal_chat_encode(t, VERSIONS[v], body, strlen(body), &ids, &spans, &why);
            if (err && (err != GAL_ENOMEM || ids.len))
                fail_msg("allocation %zu of V%d: %s", at, VERSIONS[v], why.text);
            gal_ids_free(&ids);
            gal_chat_spans_free(&spans);
            assert_int_equal(c.held, held);
            c.fail_at = 0;
            gal_tokenizer_free(t);
            assert_int_equal(c.held, 0);
            gal_set_alloc_hook(NULL, NULL);
            assert_true(at < 1000);
        }
    }
}

/* What a vocabulary may say about audio. */
static void sections(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *says; /* NULL: it is taken */
        int tokens;                   /* of three samples */
    } CASES[] = {
        { "\"hop_length\":5", "\"hop_length\":0", "audio_encoding_config: expected whole hop_length", 0 },
        { "\"sampling_rate\":1000", "\"sampling_rate\":1000.5", "sampling_rate: expected a whole number", 0 },
        { "\"sampling_rate\":1000", "\"sampling_rate\":\"x\"", "expected a value", 0 },
        { "\"frame_rate\":50.0", "\"frame_rate\":1001", "frame_rate: expected more than 0", 0 },
        { "\"frame_rate\":50.0", "\"frame_rate\":250.1", "a token is less than a hop_length", 0 },
        { "\"chunk_length_s\":0.1", "\"chunk_length_s\":0.0001", "chunk_length_s: expected seconds", 0 },
        { "\"chunk_length_s\":0.1", "\"chunk_length_s\":1e300", "chunk_length_s: expected seconds", 0 },
        { "\"chunk_length_s\":0.1", "\"transcription_delay_ms\":20", "settings for streaming", 0 },
        { "\"chunk_length_s\":0.1", "\"transcription_format\":\"streaming\"", "expected streaming_look_ahead_ms", 0 },
        { "\"chunk_length_s\":0.1", "\"chunk_length_s\":null", NULL, 1 },
        { "\"chunk_length_s\":0.1", "\"chunk_length_s\":0.2", NULL, 10 },
    };
    gal_buf file = { 0 };
    assert_int_equal(gal_read_file(&file, GOLDEN "chat-audio.json", 1 << 20, NULL), GAL_OK);
    gal_buf_putc(&file, 0);
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        gal_buf other = { 0 };
        gal_tokenizer *t = NULL;
        gal_diag why = { 0 };
        gal_ids ids = { 0 };
        const char *at = strstr(file.data, CASES[i].from);
        assert_non_null(at);
        gal_buf_add(&other, file.data, (size_t)(at - file.data));
        gal_buf_puts(&other, CASES[i].to);
        gal_buf_puts(&other, at + strlen(CASES[i].from));
        gal_err err = gal_tokenizer_open_bytes(&t, other.data, other.len, "x.json", &why);
        assert_int_equal(err, CASES[i].says ? GAL_EINPUT : GAL_OK);
        if (CASES[i].says && !strstr(why.text, CASES[i].says))
            fail_msg("'%s' is not in '%s'", CASES[i].says, why.text);
        static const char BODY[] = SOUND("UklGRioAAABXQVZFZm10IBAAAAABAAEA6AMAANAHAAACABAAZGF0YQYAAAAAAAAAAAA=");
        if (!err) assert_int_equal(gal_chat_encode(t, 13, BODY, sizeof BODY - 1, &ids, NULL, NULL), GAL_OK);
        if (!err) assert_int_equal(ids.len, 5 + CASES[i].tokens);
        gal_ids_free(&ids);
        gal_tokenizer_free(t);
        gal_buf_free(&other);
    }
    gal_buf_free(&file);
}

static void filled(void **state) {
    (void)state;
    gal_tokenizer *t = open_at(GOLDEN, "chat.json");
    static const char BODY[] = "{\"prompt\": \"a b\", \"suffix\": \"c\"}";
    for (int suffix = 0; suffix < 2; suffix++) {
        gal_ids a = { 0 }, b = { 0 };
        assert_int_equal(gal_chat_fill(t, 7, "a b", 3, "c", (size_t)suffix, &a, NULL), GAL_OK);
        assert_int_equal(gal_chat_encode(t, 7, suffix ? BODY : "{\"prompt\": \"a b\"}", suffix ? sizeof BODY - 1 : 17,
                                         &b, NULL, NULL),
                         GAL_OK);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len * sizeof *a.data);
        gal_ids_free(&a);
        gal_ids_free(&b);
    }
    gal_ids none = { 0 };
    assert_int_equal(gal_chat_fill(t, 1, "a", 1, "", 0, &none, NULL), GAL_EINPUT);
    assert_int_equal(gal_chat_fill(t, 4, "a", 1, "", 0, &none, NULL), GAL_EINPUT);
    assert_int_equal(none.len, 0);
    gal_tokenizer_free(t);
}

/* A vocabulary as the makers' SentencePiece ones are: some control pieces, the rest filled up. */
static gal_tokenizer *listed(size_t n_names, const char *odd, size_t count) {
    static const char *const NAMES[] = { "<unk>",
                                         "<s>",
                                         "</s>",
                                         "[INST]",
                                         "[/INST]",
                                         "[TOOL_CALLS]",
                                         "[AVAILABLE_TOOLS]",
                                         "[/AVAILABLE_TOOLS]",
                                         "[TOOL_RESULTS]",
                                         "[/TOOL_RESULTS]",
                                         "[IMG]",
                                         "[PREFIX]",
                                         "[MIDDLE]",
                                         "[SUFFIX]",
                                         "[IMG_BREAK]",
                                         "[IMG_END]",
                                         "[SYSTEM_PROMPT]",
                                         "[/SYSTEM_PROMPT]",
                                         "[TOOL_CONTENT]" };
    const char **pieces = gal_alloc_array(count, sizeof *pieces);
    float *scores = gal_alloc_array(count, sizeof *scores);
    uint8_t *types = gal_alloc(count);
    char *text = gal_alloc(count * 32);
    assert_true(pieces && scores && types && text);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(text + 32 * i, 32, i < 40 ? "[control_%zu]" : "p%zu", i);
        pieces[i] = i < n_names ? NAMES[i] : i == 50 && odd ? odd : text + 32 * i;
        types[i] = i == 0 ? GAL_PIECE_UNKNOWN : i < 40 || (i == 50 && odd) ? GAL_PIECE_CONTROL : GAL_PIECE_NORMAL;
        scores[i] = -(float)i;
    }
    const gal_vocab v = { .count = count, .pieces = pieces, .scores = scores, .types = types };
    gal_tokenizer *t = NULL;
    gal_diag diag = { 0 };
    if (gal_tokenizer_from_vocab(&t, &v, "listed", &diag)) fail_msg("%s", diag.text);
    gal_free(pieces);
    gal_free(scores);
    gal_free(types);
    gal_free(text);
    return t;
}

static void lists(void **state) {
    (void)state;
    static const struct {
        size_t names, count;
        const char *odd;
        int version;
        bool certain;
    } CASES[] = { { 10, 32768, NULL, 2, true },
                  { 14, 32768, NULL, 3, true },
                  { 19, 32768, NULL, 7, true },
                  { 14, 32769, NULL, 3, false },
                  { 14, 32768, "[REFERENCE_DOC_1]", 3, true },
                  { 11, 32768, NULL, 2, false },
                  { 14, 32768, "<|im_start|>", 3, false },
                  { 3, 32768, NULL, 1, false },
                  { 14, 32768, "[THINK]", 13, false },
                  { 19, 32768, "[MODEL_SETTINGS]", 7, false } };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        gal_tokenizer *t = listed(CASES[i].names, CASES[i].odd, CASES[i].count);
        bool certain = false;
        const int version = gal_chat_guess(t, "tests", &certain);
        if (version != CASES[i].version || certain != CASES[i].certain) fail_msg("%zu: V%d, %d", i, version, certain);
        assert_int_equal(gal_chat_guess(t, "model", &certain), version); /* a container of any name */
        gal_tokenizer_free(t);
    }
}

/* The makers' own are known by their pieces alone, as in a container that says nothing. */
static void makers(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int version;
    } FILES[] = { { "mistral_instruct_tokenizer_240216.model.v2", 2 },
                  { "mistral_instruct_tokenizer_240323.model.v3", 3 },
                  { "mistral_instruct_tokenizer_241114.model.v7", 7 } };
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        gal_buf path = { 0 }, bytes = { 0 };
        gal_buf_printf(&path, SHARED "%s", FILES[i].name);
        if (!gal_is_file(path.data)) {
            gal_buf_free(&path);
            print_message("skipped: no " SHARED "\n");
            skip();
        }
        gal_tokenizer *t = NULL;
        bool certain = false;
        assert_int_equal(gal_read_file(&bytes, path.data, 1 << 24, NULL), GAL_OK);
        assert_int_equal(gal_tokenizer_open_bytes(&t, bytes.data, bytes.len, "x", NULL), GAL_OK);
        assert_int_equal(gal_chat_guess(t, "model.gguf", &certain), FILES[i].version);
        assert_true(certain);
        gal_tokenizer_free(t);
        gal_buf_free(&path);
        gal_buf_free(&bytes);
    }
}

/* What a container says is as good as what Tekken's file does; what it says wrongly leaves all as it was. */
static void told(void **state) {
    (void)state;
    static const char GOOD[] = "{\"image\": {\"image_patch_size\": 16, \"max_image_size\": 1024}, \"x\": [1]}";
    static const struct {
        int version;
        const char *sections, *says;
    } BAD[] = { { 4, NULL, "expected a template's version, 1, 2, 3, 7, 11, 13 or 15, found 4" },
                { 1000000, NULL, "found 1000000" },
                { -3, NULL, "found -3" },
                { 3, "", "expected an object" },
                { 3, "[]", "expected an object" },
                { 3, "{\"image\": {}}", "image_patch_size 0" },
                { 3, "{\"audio\": 7}", "expected an object" },
                { 3, "{\"model_settings_builder\": {\"reasoning_effort\": {\"values\": [\"x\"]}}}", "no effort" },
                { 3, "{\"x\": 1} 2", "expected" },
                { 3, "{\"image\": {\"x\": \"\xff\", \"image_patch_size\": 1, \"max_image_size\": 1}}", "UTF-8" } };
    gal_tokenizer *t = listed(19, "[MODEL_SETTINGS]", 32768);
    bool certain;
    for (size_t i = 0; i < GAL_LEN(BAD); i++) {
        gal_diag why = { 0 };
        const size_t n = BAD[i].sections ? strlen(BAD[i].sections) : 0;
        assert_int_equal(gal_tokenizer_tell(t, BAD[i].version, BAD[i].sections, n, "x: key", &why), GAL_EINPUT);
        if (!strstr(why.text, BAD[i].says) || strncmp(why.text, "x: key: ", 8) != 0) fail_msg("%zu: %s", i, why.text);
        assert_int_equal(gal_tokenizer_told(t), 0);
        assert_null(gal_tokenizer_sections(t));
    }
    char suffix[16];
    assert_int_equal(gal_tokenizer_tell(t, 7, GOOD, sizeof GOOD - 1, "x", NULL), GAL_OK);
    assert_string_equal(gal_tokenizer_sections(t),
                        "{\"image\": {\"image_patch_size\": 16, \"max_image_size\": 1024}}");
    assert_true(gal_tokenizer_suffix(t, suffix));
    assert_string_equal(suffix, ".v7m1");
    assert_int_equal(gal_chat_guess(t, "tests", &certain), 7);
    assert_true(certain);
    static const char MORE[] = "{\"model_settings_builder\": {\"json_schema\": {}}}";
    assert_int_equal(gal_tokenizer_tell(t, 0, MORE, sizeof MORE - 1, "x", NULL), GAL_OK);
    assert_string_equal(gal_tokenizer_sections(t), MORE); /* in place of what was said before */
    assert_false(gal_tokenizer_suffix(t, suffix));
    assert_int_equal(gal_tokenizer_told(t), 7);
    gal_tokenizer_free(t);
    t = open_at(GOLDEN, "chat-audio.json"); /* what it says, another vocabulary takes */
    gal_tokenizer *other = open_at(GOLDEN, "chat.model");
    const char *says = gal_tokenizer_sections(t);
    assert_int_equal(gal_tokenizer_told(t), 15);
    assert_int_equal(gal_tokenizer_tell(other, 15, says, strlen(says), "x", NULL), GAL_OK);
    assert_string_equal(gal_tokenizer_sections(other), says);
    gal_tokenizer_free(t);
    gal_tokenizer_free(other);
}

/* Without memory nothing is told and nothing held. */
static void told_starved(void **state) {
    (void)state;
    gal_err err = GAL_ENOMEM;
    for (size_t at = 1; err; at++) {
        counted c = { 0 };
        gal_set_alloc_hook(fail_one, &c);
        gal_tokenizer *t = open_at(GOLDEN, "chat-audio.json"), *other = NULL;
        const char *says = gal_tokenizer_sections(t);
        gal_buf bytes = { 0 };
        assert_int_equal(gal_read_file(&bytes, GOLDEN "chat-audio.json", 1 << 20, NULL), GAL_OK);
        const size_t held = c.held;
        c.calls = 0;
        c.fail_at = at;
        err = gal_tokenizer_tell(t, 13, says, strlen(says), "x", NULL);
        if (err) assert_int_equal(gal_tokenizer_told(t), 15);
        if (!err) err = gal_tokenizer_open_bytes(&other, bytes.data, bytes.len, "y", NULL);
        if (err) assert_int_equal(err, GAL_ENOMEM);
        if (err) assert_int_equal(c.held, held);
        c.fail_at = 0;
        gal_buf_free(&bytes);
        gal_tokenizer_free(other);
        gal_tokenizer_free(t);
        assert_int_equal(c.held, 0);
        gal_set_alloc_hook(NULL, NULL);
        assert_true(at < 2000);
    }
}

static void versions(void **state) {
    (void)state;
    gal_tokenizer *spm = open_at(GOLDEN, "chat.model"), *tekken = open_at(GOLDEN, "chat.json");
    assert_int_equal(gal_chat_template("V7"), 7);
    assert_int_equal(gal_chat_template("v15"), 15);
    assert_int_equal(gal_chat_template("7") + gal_chat_template("V4") + gal_chat_template("V7m1"), 0);
    assert_int_equal(gal_chat_version(tekken, "tekken.json"), 15);
    assert_int_equal(gal_chat_version(spm, "a.v7/tokenizer.model"), 1);
    assert_int_equal(gal_chat_version(spm, "x/tokenizer.model.v3"), 3);
    assert_int_equal(gal_chat_version(spm, "tokenizer.model.v7m1"), 7);
    assert_int_equal(gal_chat_version(spm, "model.gguf"), 7);
    assert_int_equal(gal_chat_version(spm, "tests"), 7); /* a folder */
    gal_tokenizer_free(spm);
    gal_tokenizer_free(tekken);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),       cmocka_unit_test(shared_templates), cmocka_unit_test(shared_samples),
        cmocka_unit_test(printed),      cmocka_unit_test(refused),          cmocka_unit_test(reasons),
        cmocka_unit_test(lists),        cmocka_unit_test(makers),           cmocka_unit_test(told),
        cmocka_unit_test(told_starved), cmocka_unit_test(versions),         cmocka_unit_test(starved),
        cmocka_unit_test(sections),     cmocka_unit_test(filled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
