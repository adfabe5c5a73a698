/* test_hf.c - tokenizer.json: the ids of the tokenizers package, what lies beside the file, what is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "support/check.h"
#include "text/internal.h"
#include "text/vectors.h"

#include <string.h>

#define GOLDEN "tests/golden/text/hf-"

static gal_tokenizer *open_ok(const char *path) {
    gal_tokenizer *t = NULL;
    gal_diag diag = { 0 };
    if (gal_tokenizer_open(&t, path, &diag)) fail_msg("%s", diag.text);
    return t;
}

static void golden_ids(void **state) {
    (void)state;
    static const struct {
        const char *name, *kind;
        bool long_way;
    } FILES[] = { { "bytes", "byte-level BPE", false },          { "prefix", "byte-level BPE", true },
                  { "legacy", "BPE with byte fallback", false }, { "metaspace", "BPE with byte fallback", true },
                  { "nounk", "BPE with byte fallback", true },   { "vanish", "BPE with byte fallback", true } };
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        char path[80];
        (void)snprintf(path, sizeof path, GOLDEN "%s.json", FILES[i].name);
        gal_tokenizer *t = open_ok(path);
        (void)snprintf(path, sizeof path, GOLDEN "%s.jsonl", FILES[i].name);
        assert_int_equal(check_vectors(t, path), i < 4 ? 109 : 124);
        assert_string_equal(gal_tokenizer_kind(t), FILES[i].kind);
        assert_int_equal(t->hf != NULL, FILES[i].long_way);
        assert_int_equal(gal_tokenizer_bos(t), 1);
        assert_int_equal(gal_tokenizer_eos(t), 2);
        assert_true(gal_tokenizer_begins(t)); /* the template says so */
        assert_int_equal(gal_tokenizer_version(t), 2);
        assert_true(gal_tokenizer_same(t, t, NULL));
        gal_tokenizer_free(t);
    }
}

/* A text that goes on after another: nothing is put before its first word. */
static void continues(void **state) {
    (void)state;
    static const char *const NAMES[] = { "prefix", "legacy", "metaspace" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        char path[80];
        gal_ids whole = { 0 }, rest = { 0 };
        gal_buf back = { 0 };
        (void)snprintf(path, sizeof path, GOLDEN "%s.json", NAMES[i]);
        gal_tokenizer *t = open_ok(path);
        assert_int_equal(gal_encode(t, NULL, "tokens", 6, 0, &whole, NULL), GAL_OK);
        assert_int_equal(gal_encode(t, NULL, "tokens", 6, GAL_ENCODE_CONTINUES, &rest, NULL), GAL_OK);
        assert_true(whole.data[0] != rest.data[0]);
        gal_ids_free(&rest);
        assert_int_equal(gal_encode(t, NULL, " tokens", 7, GAL_ENCODE_CONTINUES, &rest, NULL), GAL_OK);
        assert_true(whole.len == rest.len && memcmp(whole.data, rest.data, rest.len * sizeof *rest.data) == 0);
        gal_ids_free(&whole);
        gal_ids_free(&rest);
        gal_buf_free(&back);
        gal_tokenizer_free(t);
    }
}

static void write_text(const char *folder, const char *name, const char *text) {
    gal_buf path = { 0 };
    assert_true(gal_path_join(&path, folder, name));
    assert_int_equal(gal_write_file(path.data, text, strlen(text), NULL), GAL_OK);
    gal_buf_free(&path);
}

/* Names of the first and last piece, and more added tokens, from the files beside it. */
static void beside(void **state) {
    (void)state;
    char folder[256];
    gal_buf file = { 0 };
    gal_ids ids = { 0 };
    make_folder(folder);
    assert_int_equal(gal_read_file(&file, GOLDEN "bytes.json", 1 << 20, NULL), GAL_OK);
    write_text(folder, "tokenizer.json", file.data);
    write_text(folder, "tokenizer_config.json",
               "{\"bos_token\": {\"content\": \"[INST]\"}, \"add_bos_token\": false, \"eos_token\": null, "
               "\"added_tokens_decoder\": {\"905\": {\"content\": \"<more>\", \"special\": false}}}");
    write_text(folder, "special_tokens_map.json", "{\"bos_token\": \"<s>\", \"eos_token\": \"[/INST]\"}");
    gal_tokenizer *t = open_ok(folder);
    assert_int_equal(gal_tokenizer_bos(t), 3);
    assert_int_equal(gal_tokenizer_eos(t), 4);
    assert_false(gal_tokenizer_begins(t));
    assert_int_equal(gal_tokenizer_size(t), 906);
    assert_int_equal(gal_tokenizer_type(t, 905), GAL_PIECE_USER);
    assert_int_equal(gal_tokenizer_type(t, 904), GAL_PIECE_CONTROL); /* between: a name that no text has */
    assert_int_equal(gal_encode(t, NULL, "<more>", 6, 0, &ids, NULL), GAL_OK);
    assert_true(ids.len == 1 && ids.data[0] == 905);
    gal_tokenizer *plain = open_ok(GOLDEN "bytes.json");
    gal_diag what = { 0 };
    assert_false(gal_tokenizer_same(t, plain, &what));
    gal_tokenizer_free(plain);
    gal_tokenizer_free(t);
    what = (gal_diag){ 0 };
    write_text(folder, "tokenizer_config.json", "[]");
    assert_int_equal(gal_tokenizer_open(&t, folder, &what), GAL_EINPUT);
    assert_non_null(strstr(what.text, "tokenizer_config.json: expected an object, found an array"));
    gal_ids_free(&ids);
    gal_buf_free(&file);
    remove_folder(folder);
}

/* A BOS or EOS that the files beside it name is any piece or added token, whatever its type and the kind. */
static void named_ends(void **state) {
    (void)state;
    static const struct {
        const char *kind, *name, *piece;
    } NAMES[] = { { "bytes", "<unk>", "<unk>" },   { "bytes", "NOTE", "NOTE" },
                  { "bytes", "a", "a" },           { "bytes", "\xc4\xa0the", " the" },
                  { "bytes", "[INST]", "[INST]" }, { "metaspace", "<unk>", "<unk>" },
                  { "metaspace", "a", "a" },       { "metaspace", "NOTE", "NOTE" },
                  { "metaspace", "b c", "b c" },   { "metaspace", "[INST]", "[INST]" },
                  { "legacy", "a", "a" },          { "legacy", "\xe2\x96\x81the", "\xe2\x96\x81the" } };
    static const char *const NONE[] = { "null", "\"\"", "{\"content\": \"\"}", "{\"content\": null}" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        char folder[256], path[80], config[300], say[120];
        gal_buf file = { 0 }, again = { 0 };
        gal_ids ids = { 0 };
        gal_tokenizer *t = NULL, *twin = NULL;
        make_folder(folder);
        (void)snprintf(path, sizeof path, GOLDEN "%s.json", NAMES[i].kind);
        assert_int_equal(gal_read_file(&file, path, 1 << 20, NULL), GAL_OK);
        write_text(folder, "tokenizer.json", file.data);
        for (size_t k = 0; k < GAL_LEN(NONE); k++) { /* null and "" are none; where nothing is said, the usual name */
            const bool empty = k < 3;
            (void)snprintf(config, sizeof config, "{\"bos_token\": %s, \"eos_token\": %s}", NONE[k], NONE[k]);
            write_text(folder, "tokenizer_config.json", config);
            t = open_ok(folder);
            if (k)
                assert_int_equal(gal_tokenizer_bos(t), empty ? -1 : 1); /* null: unless a post_processor names it */
            assert_int_equal(gal_tokenizer_eos(t), empty ? -1 : 2);
            gal_tokenizer_free(t);
        }
        (void)snprintf(config, sizeof config, "{\"bos_token\": \"%s\", \"eos_token\": {\"content\": \"%s\"}}",
                       NAMES[i].name, NAMES[i].name);
        write_text(folder, "tokenizer_config.json", config);
        t = open_ok(folder);
        const int32_t id = gal_tokenizer_find(t, NAMES[i].piece, strlen(NAMES[i].piece));
        assert_true(id >= 0 && gal_tokenizer_begins(t));
        assert_int_equal(gal_tokenizer_bos(t), id);
        assert_int_equal(gal_tokenizer_eos(t), id);
        assert_int_equal(gal_encode(t, NULL, "so", 2, GAL_ENCODE_BOS | GAL_ENCODE_EOS, &ids, NULL), GAL_OK);
        assert_true(ids.len > 2 && ids.data[0] == id && ids.data[ids.len - 1] == id);
        if (gal_tokenizer_of_bytes(t)) { /* what is written of it begins texts as it does */
            assert_int_equal(gal_tokenizer_print_hf(t, &again, NULL), GAL_OK);
            assert_int_equal(gal_tokenizer_open_bytes(&twin, again.data, again.len, "twin", NULL), GAL_OK);
            assert_int_equal(gal_tokenizer_bos(twin), id);
            gal_tokenizer_free(twin);
        }
        gal_tokenizer_free(t);
        for (int k = 0; k < 4; k++) {
            static const char *const FILES[] = { "tokenizer_config.json", "special_tokens_map.json" },
                                     *const KEYS[] = { "bos_token", "eos_token" };
            gal_diag why = { 0 };
            t = NULL;
            (void)snprintf(config, sizeof config, "{\"%s\": \"<gone>\"}", KEYS[k % 2]);
            (void)snprintf(say, sizeof say,
                           "/tokenizer.json: %s: %s: expected a piece of the vocabulary, found \"<gone>\"",
                           FILES[k / 2], KEYS[k % 2]);
            write_text(folder, FILES[0], "{}");
            write_text(folder, FILES[k / 2], config);
            assert_int_equal(gal_tokenizer_open(&t, folder, &why), GAL_EINPUT);
            if (!strstr(why.text, say)) fail_msg("%s\nexpected: %s", why.text, say);
            assert_null(t);
        }
        gal_ids_free(&ids);
        gal_buf_free(&file);
        gal_buf_free(&again);
        remove_folder(folder);
    }
}

#define HEAD "{\"truncation\": null, "
#define BPE "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}}"
#define SPACED                                                                                                       \
    "\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"\xe2\x96\x81\"}, "

static const struct {
    const char *text, *why;
} REFUSED[] = {
    { HEAD "\"x\": 1}", "model is missing" },
    { HEAD "\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}}}",
      "model.type: expected \"BPE\", found \"WordPiece\"" },
    { HEAD "\"model\": {\"vocab\": [[\"a\", 0.5]]}}", "found \"Unigram\"" },
    { HEAD "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}, " SPACED "\"x\": 0}",
      "two pieces have id 0" },
    { HEAD "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}}}", "expected ids from 0 to" },
    { HEAD "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 4000000}}, " SPACED "\"x\": 0}",
      "1 pieces with ids up to 4000000" },
    { HEAD "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"dropout\": 0.1}}", "model.dropout" },
    { HEAD "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"end_of_word_suffix\": \"</w>\"}}",
      "end_of_word_suffix" },
    { HEAD "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a\"]}}",
      "line 1: model.merges: merge 0: expected two pieces" },
    { HEAD "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [[\"a\", \"b\", \"c\"]]}}",
      "merge 0: expected two pieces, found more" },
    { HEAD BPE, "pre_tokenizer: expected ByteLevel, or U+2581 for spaces" },
    { HEAD "\"normalizer\": {\"type\": \"Lowercase\"}, " BPE,
      "normalizer.type: expected Sequence, Prepend or Replace, found \"Lowercase\"" },
    { HEAD "\"normalizer\": {\"type\": \"NFC\"}, " BPE, "found \"NFC\"" },
    { HEAD "\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"\"}, " BPE,
      "found \"Precompiled\"" },
    { HEAD "\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"a+\"}, \"content\": \"b\"}, " BPE,
      "normalizer.pattern: the Regex 'a+' is not supported" },
    { HEAD "\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \"\"}, \"content\": \"b\"}, " BPE,
      "a string that is not empty" },
    { HEAD "\"pre_tokenizer\": {\"type\": \"Whitespace\"}, " BPE,
      "pre_tokenizer.type: expected Sequence, ByteLevel, Split, Digits or Metaspace, found \"Whitespace\"" },
    { HEAD "\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\"}, " BPE,
      "expected U+2581, found \"_\"" },
    { HEAD "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \"a\"}, \"behavior\": \"x\"}, " BPE,
      "pre_tokenizer.behavior: expected Isolated" },
    { HEAD "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"ByteLevel\"}, "
           "{\"type\": \"Digits\"}]}, " BPE,
      "expected nothing after ByteLevel, found \"Digits\"" },
    { HEAD "\"pre_tokenizer\": 3, " BPE, "pre_tokenizer.type: expected a name, found nothing" },
    { HEAD "\"decoder\": {\"type\": \"WordPiece\"}, " BPE, "decoder.type: expected Sequence, Replace" },
    { HEAD "\"post_processor\": {\"type\": \"BertProcessing\"}, " BPE,
      "post_processor.type: expected Sequence, TemplateProcessing or ByteLevel, found \"BertProcessing\"" },
    { HEAD "\"added_tokens\": 3, " SPACED BPE, "added_tokens: expected an array" },
    { HEAD "\"added_tokens\": [{\"content\": \"x\"}], " SPACED BPE, "added_tokens: id: expected a whole number" },
    { HEAD "\"added_tokens\": [{\"id\": 1}], " SPACED BPE, "token 1: content: expected a string, found nothing" },
    { HEAD SPACED "\"model\": {\"unk_token\": \"\", \"vocab\": {\"a\": 0}}}",
      "model.unk_token: expected null or a piece, found \"\"" },
    { HEAD "\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, " BPE, "1 pieces and 0 merges; 256 to" },
    { HEAD "\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", \"byte_fallback\": true, "
           "\"vocab\": {\"a\": 0}}}",
      "ByteLevel together with model.byte_fallback" },
    { HEAD SPACED "\"model\": {\"unk_token\": \"a\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": [\"b c\"]}}",
      "model.merges: merge 0, 'b c': expected two pieces that join to a piece" },
    { HEAD SPACED
      "\"added_tokens\": [{\"id\": 2, \"content\": \"b\"}], \"model\": {\"vocab\": {\"a\": 0, \"b\": 1}}}",
      "pieces 1 and 2 are both 'b'" },
    { HEAD "\"model\": {\"type\": \"BPE\", ", "line 1: " },
};

/* A post_processor may have names of its own for what it puts first: they are none of the vocabulary's. */
static void named_by_itself(void **state) {
    (void)state;
    static const char TEXT[] = HEAD
        "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": "
        "\"[BOS]\"}}, {\"Sequence\": {\"id\": \"A\"}}]}, " SPACED BPE;
    gal_tokenizer *t = NULL;
    assert_int_equal(gal_tokenizer_open_bytes(&t, TEXT, sizeof TEXT - 1, "x.json", NULL), GAL_OK);
    assert_int_equal(gal_tokenizer_bos(t), -1);
    gal_tokenizer_free(t);
}

static void refused(void **state) {
    (void)state;
    for (size_t i = 0; i < GAL_LEN(REFUSED); i++) {
        gal_tokenizer *t = NULL;
        gal_diag why = { 0 };
        const char *text = REFUSED[i].text;
        if (gal_tokenizer_open_bytes(&t, text, strlen(text), "x.json", &why) != GAL_EINPUT)
            fail_msg("opened: %s", text);
        if (!strstr(why.text, REFUSED[i].why) || strncmp(why.text, "x.json: ", 8) != 0)
            fail_msg("'%s' for %s", why.text, text);
        assert_null(t);
    }
}

/* The longest beginning of a character is one U+FFFD in pieces of bytes, as in the reference library; where bytes are
 * what the vocabulary falls back to, each is one. */
static void bad_bytes(void **state) {
    (void)state;
    static const char BYTES[] = "\xe2\x82g\xff\xf0\x9f\x98 \xe2\x82";
    static const struct {
        const char *name, *want;
    } FILES[] = { { "bytes", "\xef\xbf\xbdg\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd" },
                  { "legacy", "\xef\xbf\xbd\xef\xbf\xbdg\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd "
                              "\xef\xbf\xbd\xef\xbf\xbd" } };
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        char path[80];
        gal_ids ids = { 0 };
        gal_buf out = { 0 };
        (void)snprintf(path, sizeof path, GOLDEN "%s.json", FILES[i].name);
        gal_tokenizer *t = open_ok(path);
        for (size_t k = 0; k + 1 < sizeof BYTES; k++)
            assert_int_equal(gal_ids_add(&ids, t->byte_ids[(uint8_t)BYTES[k]], NULL), GAL_OK);
        assert_int_equal(gal_decode(t, ids.data, ids.len, &out, NULL), GAL_OK);
        assert_string_equal(out.data, FILES[i].want);
        gal_ids_free(&ids);
        gal_buf_free(&out);
        gal_tokenizer_free(t);
    }
}

#define SPACES "{\"type\": \"Replace\", \"pattern\": {\"String\": \"\xe2\x96\x81\"}, \"content\": \" \"}"
#define STRIP(start, stop) "{\"type\": \"Strip\", \"content\": \" \", \"start\": " start ", \"stop\": " stop "}"
#define META "{\"type\": \"Metaspace\", \"replacement\": \"\xe2\x96\x81\", \"prepend_scheme\": "
#define FUSE "{\"type\": \"Fuse\"}"
#define BYTES "{\"type\": \"ByteFallback\"}"
#define SEQUENCE(list) "{\"type\": \"Sequence\", \"decoders\": [" list "]}"

static void print_small(gal_buf *b, const char *decoder) {
    gal_buf_printf(b,
                   "{" SPACED
                   "\"decoder\": %s, \"model\": {\"unk_token\": \"<unk>\", \"vocab\": {\"\xe2\x96\x81\": 0, "
                   "\"\xe2\x96\x81"
                   "a\": 1, \"b\": 2, \"\xe2\x96\x81\xe2\x96\x81\": 3, \"<unk>\": 4}}}",
                   decoder);
}

/* What the tokenizers package makes of the ids 0 1 2 3 4 1, and of 3 1. */
static void decodes(void **state) {
    (void)state;
    static const int32_t IDS[] = { 0, 1, 2, 3, 4, 1, 3, 1 };
    static const struct {
        const char *decoder, *all, *two;
    } FILES[] = {
        { SEQUENCE(SPACES "," BYTES "," FUSE "," STRIP("1", "0")), " ab  <unk> a", "  a" },
        { SEQUENCE(SPACES "," BYTES "," FUSE "," STRIP("2", "0")), "ab  <unk> a", " a" },
        { SEQUENCE(SPACES "," FUSE "," STRIP("9", "0")), "ab  <unk> a", "a" },
        { SEQUENCE(SPACES "," BYTES "," FUSE), "  ab  <unk> a", "   a" },
        { META "\"always\"}", " ab  <unk> a", " a" },
        { META "\"never\"}", "  ab  <unk> a", "   a" },
        { FUSE,
          "\xe2\x96\x81\xe2\x96\x81"
          "ab\xe2\x96\x81\xe2\x96\x81<unk>\xe2\x96\x81"
          "a",
          "\xe2\x96\x81\xe2\x96\x81\xe2\x96\x81"
          "a" },
    };
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        gal_tokenizer *t = NULL;
        gal_stream *stream = NULL;
        gal_diag diag = { 0 };
        gal_buf file = { 0 }, out = { 0 }, streamed = { 0 };
        const char *text;
        size_t n;
        print_small(&file, FILES[i].decoder);
        if (gal_tokenizer_open_bytes(&t, file.data, file.len, "x", &diag)) fail_msg("%s", diag.text);
        assert_int_equal(gal_decode(t, IDS, 6, &out, NULL), GAL_OK);
        assert_string_equal(out.data, FILES[i].all);
        gal_buf_clear(&out);
        assert_int_equal(gal_decode(t, IDS + 6, 2, &out, NULL), GAL_OK);
        assert_string_equal(out.data, FILES[i].two);
        assert_int_equal(gal_stream_new(&stream, t, NULL, NULL), GAL_OK);
        for (size_t k = 6; k < 8; k++) {
            assert_int_equal(gal_stream_feed(stream, IDS[k], &text, &n, NULL), GAL_OK);
            gal_buf_add(&streamed, text, n);
        }
        assert_int_equal(gal_stream_end(stream, &text, &n, NULL), GAL_OK);
        gal_buf_add(&streamed, text, n);
        assert_string_equal(streamed.data, FILES[i].two);
        gal_stream_free(stream);
        gal_tokenizer_free(t);
        gal_buf_free(&file);
        gal_buf_free(&out);
        gal_buf_free(&streamed);
    }
}

static void decoders_refused(void **state) {
    (void)state;
    static const char *const FILES[][2] = {
        { SEQUENCE(SPACES "," FUSE "," STRIP("1", "1")), "decoder.stop: expected 0, found \"1\"" },
        { SEQUENCE(SPACES "," FUSE "," STRIP("256", "0")), "decoder.start: expected 0 to 255" },
        { SEQUENCE(SPACES "," STRIP("1", "0")), "decoder.type: expected Strip once, after Fuse" },
        { SEQUENCE(FUSE "," SPACES), "expected U+2581 to become spaces once, and first, found \"Replace\"" },
        { SEQUENCE(FUSE "," BYTES), "expected ByteFallback before Fuse" },
        { "{\"type\": \"ByteLevel\"}", "decoder.type: expected Sequence, Replace" },
        { "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \" \"}", "the String U+2581" },
    };
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        gal_tokenizer *t = NULL;
        gal_diag why = { 0 };
        gal_buf file = { 0 };
        print_small(&file, FILES[i][0]);
        assert_int_equal(gal_tokenizer_open_bytes(&t, file.data, file.len, "x", &why), GAL_EINPUT);
        if (!strstr(why.text, FILES[i][1])) fail_msg("'%s' for %s", why.text, FILES[i][1]);
        gal_buf_free(&file);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_ids), cmocka_unit_test(continues),       cmocka_unit_test(beside),
        cmocka_unit_test(named_ends), cmocka_unit_test(named_by_itself), cmocka_unit_test(refused),
        cmocka_unit_test(bad_bytes),  cmocka_unit_test(decodes),         cmocka_unit_test(decoders_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
