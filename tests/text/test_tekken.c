/* test_tekken.c - Tekken vocabularies: the reference's ids, what is refused, JSON read front to back, words,
 * categories. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "text/internal.h"
#include "text/json_pull.h"
#include "text/unicode.h"
#include "text/vectors.h"

#include <jansson.h>
#include <string.h>

#define GOLDEN "tests/golden/text/tiny-tekken"
#define SHARED "../shared/data/tokenizers/"

static gal_tokenizer *open_ok(const char *path) {
    gal_tokenizer *t = NULL;
    gal_diag diag = { 0 };
    if (gal_tokenizer_open(&t, path, &diag)) fail_msg("%s", diag.text);
    return t;
}

static void golden_ids(void **state) {
    (void)state;
    gal_tokenizer *t = open_ok(GOLDEN ".json");
    assert_int_equal(check_vectors(t, GOLDEN ".jsonl"), 103);
    assert_string_equal(gal_tokenizer_kind(t), "Tekken");
    assert_int_equal(gal_tokenizer_version(t), 13);
    assert_int_equal(gal_tokenizer_bos(t), 1);
    assert_int_equal(gal_tokenizer_eos(t), 2);
    assert_int_equal(gal_tokenizer_pad(t), 11);
    assert_int_equal(gal_tokenizer_find(t, "[TOOL_CALLS]", 12), 9);
    assert_int_equal(gal_tokenizer_find(t, "<SPECIAL_25>", 12), 25);
    size_t n;
    for (int32_t id = 0; id < gal_tokenizer_size(t); id++) {
        const char *p = gal_tokenizer_piece(t, id, &n);
        assert_int_equal(gal_tokenizer_find(t, p, n), id);
        assert_int_equal(gal_tokenizer_text_bytes(t, id), id < 30 ? 0 : n);
    }
    gal_tokenizer_free(t);
}

/* What its file does not list, and what a SentencePiece model cannot say. */
static void merges_of_ranks(void **state) {
    (void)state;
    gal_tokenizer *t = open_ok(GOLDEN ".json");
    gal_merges m;
    assert_int_equal(gal_tokenizer_merges(t, &m, NULL), GAL_OK);
    assert_true(gal_tokenizer_of_bytes(t) && m.len > 0);
    for (size_t i = 0; i < m.len; i++) {
        size_t a, b, n;
        const char *l = gal_tokenizer_piece(t, m.at[i].left, &a), *r = gal_tokenizer_piece(t, m.at[i].right, &b);
        const char *all = gal_tokenizer_piece(t, m.at[i].id, &n);
        assert_true(n == a + b && memcmp(all, l, a) == 0 && memcmp(all + a, r, b) == 0);
        assert_true(i == 0 || m.at[i].id >= m.at[i - 1].id);
    }
    gal_merges_free(&m);
    gal_buf out = { 0 };
    gal_diag why = { 0 };
    assert_int_equal(gal_tokenizer_print_spm(t, &out, &why), GAL_EINPUT);
    assert_string_equal(why.text, "a vocabulary of the kind \"Tekken\" cannot be written as a SentencePiece model");
    assert_int_equal(out.len, 0);
    assert_true(gal_tokenizer_same(t, t, NULL));
    gal_buf_free(&out);
    gal_tokenizer_free(t);
}

static void official_ids(void **state) {
    (void)state;
    static const char *const NAMES[] = { "240718", "240911" };
    if (!gal_is_file(SHARED "tekken_240911.json")) {
        print_message("skipped: no " SHARED "\n");
        skip(); /* the golden vocabulary was checked above */
    }
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        char path[120];
        gal_buf file = { 0 };
        int lines = 0;
        (void)snprintf(path, sizeof path, SHARED "tekken_%s.json", NAMES[i]);
        gal_tokenizer *t = open_ok(path);
        assert_int_equal(gal_tokenizer_size(t), 131072);
        (void)snprintf(path, sizeof path, SHARED "vectors/tekken-%s.jsonl", NAMES[i]);
        assert_int_equal(gal_read_file(&file, path, 1 << 24, NULL), GAL_OK);
        gal_buf_putc(&file, 0);
        for (char *line = file.data, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, lines++) {
            json_t *j = json_loadb(line, (size_t)(end - line), JSON_ALLOW_NUL, NULL);
            const json_t *text = json_object_get(j, "text"), *want = json_object_get(j, "ids");
            gal_ids got = { 0 };
            assert_int_equal(gal_encode(t, NULL, json_string_value(text), json_string_length(text), 0, &got, NULL),
                             GAL_OK);
            bool same = got.len == json_array_size(want);
            for (size_t k = 0; k < got.len && same; k++)
                same = got.data[k] == json_integer_value(json_array_get(want, k));
            if (!same) fail_msg("other ids for %.*s", (int)(end - line), line);
            gal_ids_free(&got);
            json_decref(j);
        }
        assert_int_equal(lines, 247);
        gal_buf_free(&file);
        gal_tokenizer_free(t);
    }
}

/* A small file: the 256 bytes, `more` in vocab, `rest` after it. */
static void write_small(gal_buf *b, const char *config, const char *more, const char *rest) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    gal_buf_clear(b);
    gal_buf_printf(b, "{\"config\": {%s}, \"vocab\": [", config);
    for (int i = 0; i < 256; i++)
        gal_buf_printf(b, "%s{\"rank\": %d, \"token_bytes\": \"%c%c==\", \"token_str\": null}", i ? ", " : "", i,
                       DIGITS[i >> 2], DIGITS[(i & 3) << 4]);
    gal_buf_printf(b, "%s]%s}", more, rest);
}

#define CONFIG(version)                                                                                              \
    "\"pattern\": \"\\\\s+|\\\\S+\", \"default_vocab_size\": 276, \"default_num_special_tokens\": 20, \"version\": " \
    "\"" version "\""

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *config, *more, *rest, *message;
    } BAD[] = {
        { CONFIG("v4"), "", "", "config.version: expected v1, v2, v3, v7, v11, v13 or v15, found \"v4\"" },
        { "\"default_vocab_size\": 276, \"default_num_special_tokens\": 20, \"version\": \"v3\"", "", "",
          "config.pattern is missing" },
        { CONFIG("v11"), "", "", "special_tokens is missing, which only files up to version 7 may do" },
        { CONFIG("v3"), ", {\"rank\": 257, \"token_bytes\": \"QQ==\"}", "", "vocab: expected rank 256, found 257" },
        { CONFIG("v3"), ", {\"rank\": 256, \"token_bytes\": \"Q\"}", "",
          "vocab: rank 256: expected token_bytes in base64" },
        { CONFIG("v3"), ", {\"rank\": 256}", "", "vocab: rank 256: expected token_bytes in base64" },
        { CONFIG("v3"), ", 7", "", "line 1: expected an object, found '7]}'" },
        { CONFIG("v3"), "", ", \"special_tokens\": [{\"rank\": 20, \"token_str\": \"x\"}]",
          "special_tokens: rank 20: expected 0 to 19" },
        { CONFIG("v3"), "", ", \"special_tokens\": [{\"rank\": -1, \"token_str\": \"x\"}]",
          "special_tokens: token 0: expected a rank from 0 to" },
        { CONFIG("v3"), "",
          ", \"special_tokens\": [{\"rank\": 1, \"token_str\": \"x\"}, {\"rank\": 1, \"token_str\": \"y\"}]",
          "special_tokens: two of rank 1" },
        { CONFIG("v3"), "",
          ", \"special_tokens\": [{\"rank\": 1, \"token_str\": \"x\"}, {\"rank\": 2, \"token_str\": \"x\"}]",
          "pieces 1 and 2 are the same bytes" },
        { "\"pattern\": \"\\\\s\", \"default_vocab_size\": 275, \"default_num_special_tokens\": 19, \"version\": "
          "\"v3\"",
          "", "", "default_num_special_tokens: expected 20 or more, as special_tokens is missing, found 19" },
        { CONFIG("v3"), "", ", \"special_tokens\": [{\"rank\": 0}]", "special_tokens: rank 0: expected token_str" },
        { "\"pattern\": \"(\", \"default_vocab_size\": 276, \"default_num_special_tokens\": 20, \"version\": \"v3\"",
          "", "", "pattern: a pattern without its end" },
        { "\"pattern\": \"a*\", \"default_vocab_size\": 276, \"default_num_special_tokens\": 20, \"version\": \"v3\"",
          "", "", "pattern: it matches an empty text" },
        { "\"pattern\": \"\\\\w\", \"default_vocab_size\": 276, \"default_num_special_tokens\": 20, \"version\": "
          "\"v3\"",
          "", "", "pattern: this escape is not supported, at '\\w'" },
        { "\"pattern\": \"\\\\s\", \"default_vocab_size\": 9, \"default_num_special_tokens\": 20, \"version\": "
          "\"v3\"",
          "", "", "config.default_vocab_size: expected 276 to" },
        { "\"pattern\": \"\\\\s\", \"default_vocab_size\": 999, \"default_num_special_tokens\": 20, \"version\": "
          "\"v3\"",
          "", "", "vocab: 256 pieces; default_vocab_size and default_num_special_tokens need 979" },
        { CONFIG("v3"), "", ", \"x\": [[", "line 1: expected a value, found '}'" },
    };
    gal_buf b = { 0 };
    gal_tokenizer *t = NULL;
    gal_diag diag = { 0 };
    write_small(&b, CONFIG("v3"), "", "");
    if (gal_tokenizer_open_bytes(&t, b.data, b.len, "small", &diag)) fail_msg("%s", diag.text);
    assert_int_equal(gal_tokenizer_find(t, "[INST]", 6), 3); /* named though the file does not list it */
    gal_tokenizer_free(t);
    for (size_t i = 0; i < GAL_LEN(BAD); i++) {
        write_small(&b, BAD[i].config, BAD[i].more, BAD[i].rest);
        t = NULL;
        diag = (gal_diag){ 0 };
        assert_int_equal(gal_tokenizer_open_bytes(&t, b.data, b.len, "small", &diag), GAL_EINPUT);
        assert_null(t);
        if (!strstr(diag.text, BAD[i].message)) fail_msg("case %zu: %s", i, diag.text);
    }
    gal_buf_free(&b);
}

/* The list's order tells nothing, and ranks that it leaves out have names that fill. */
static void special_by_rank(void **state) {
    (void)state;
    gal_buf b = { 0 };
    gal_tokenizer *t = NULL;
    gal_diag diag = { 0 };
    size_t n;
    write_small(
        &b, CONFIG("v13"), "",
        ", \"special_tokens\": [{\"rank\": 7, \"token_str\": \"</s>\"}, {\"rank\": 0, \"token_str\": \"<unk>\"}, "
        "{\"rank\": 19, \"token_str\": \"<s>\"}, {\"rank\": 1, \"token_str\": \"[INST]\"}]");
    if (gal_tokenizer_open_bytes(&t, b.data, b.len, "small", &diag)) fail_msg("%s", diag.text);
    assert_int_equal(gal_tokenizer_bos(t), 19);
    assert_int_equal(gal_tokenizer_eos(t), 7);
    assert_int_equal(gal_tokenizer_unk(t), 0);
    assert_int_equal(gal_tokenizer_find(t, "[INST]", 6), 1);
    assert_string_equal(gal_tokenizer_piece(t, 2, &n), "<SPECIAL_2>");
    assert_string_equal(gal_tokenizer_piece(t, 18, &n), "<SPECIAL_18>");
    gal_tokenizer_free(t);
    gal_buf_free(&b);
}

static void check_small_ids(const gal_tokenizer *t, const char *text, const char *want) {
    gal_ids ids = { 0 };
    assert_int_equal(gal_encode(t, NULL, text, strlen(text), 0, &ids, NULL), GAL_OK);
    assert_int_equal(ids.len, strlen(want));
    for (size_t i = 0; i < ids.len; i++) assert_int_equal(ids.data[i], 20 + (uint8_t)want[i]);
    assert_int_equal(gal_encode_cut(t, text, strlen(text)), 0);
    gal_ids_free(&ids);
}

/* What the pattern does not match vanishes, as in the reference library; a tokenizer.json made of it says so, too. */
static void only_words(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *text, *want;
    } CASES[] = {
        { ".", "a\nb", "ab" },
        { ".", "\n\n", "" },
        { ".", "\n0123456789abcdefghij\n\nklmno\n", "0123456789abcdefghijklmno" },
        { "\\\\p{L}+|\\\\d", "I am, 42!  x", "Iam42x" },
        { "\\\\p{L}+|\\\\d", "\xc3\xa9-\xe2\x82\xac-e",
          "\xc3\xa9"
          "e" },
        { "\\\\p{L}+|\\\\d", " , ", "" },
    };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        gal_buf b = { 0 }, config = { 0 }, hf = { 0 };
        gal_tokenizer *t = NULL, *other = NULL;
        gal_diag diag = { 0 };
        gal_buf_printf(&config,
                       "\"pattern\": \"%s\", \"default_vocab_size\": 276, \"default_num_special_tokens\": 20, "
                       "\"version\": \"v3\"",
                       CASES[i].pattern);
        write_small(&b, config.data, "", "");
        if (gal_tokenizer_open_bytes(&t, b.data, b.len, "small", &diag)) fail_msg("%s", diag.text);
        check_small_ids(t, CASES[i].text, CASES[i].want);
        assert_int_equal(gal_tokenizer_print_hf(t, &hf, &diag), GAL_OK);
        if (gal_tokenizer_open_bytes(&other, hf.data, hf.len, "hf", &diag)) fail_msg("%s", diag.text);
        check_small_ids(other, CASES[i].text, CASES[i].want);
        gal_tokenizer_free(t);
        gal_tokenizer_free(other);
        gal_buf_free(&b);
        gal_buf_free(&config);
        gal_buf_free(&hf);
    }
}

/* A file that ends anywhere is refused, and nothing is read beyond its end. */
static void cut_anywhere(void **state) {
    (void)state;
    gal_buf b = { 0 };
    write_small(&b, CONFIG("v3"), "",
                ", \"special_tokens\": [{\"rank\": 0, \"token_str\": \"\\u00e9\\ud83d\\ude00\"}]");
    for (size_t n = 200; n < b.len; n += n < b.len - 120 ? 37 : 1) {
        gal_tokenizer *t = NULL;
        char *copy = gal_alloc(n); /* so that the sanitizer sees its end */
        assert_non_null(copy);
        memcpy(copy, b.data, n);
        assert_int_equal(gal__tekken_open(&t, copy, n, "cut", NULL), GAL_EINPUT);
        gal_free(copy);
    }
    gal_buf_free(&b);
}

/* Bytes that are no text read as U+FFFD, one for each. */
static void bad_utf8(void **state) {
    (void)state;
    gal_tokenizer *t = open_ok(GOLDEN ".json");
    gal_ids a = { 0 }, b = { 0 };
    static const char BAD[] = "x\xff\xe2\x82 y\xc3", GOOD[] = "x\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd y\xef\xbf\xbd";
    assert_int_equal(gal_encode(t, NULL, BAD, sizeof BAD - 1, 0, &a, NULL), GAL_OK);
    assert_int_equal(gal_encode(t, NULL, GOOD, sizeof GOOD - 1, 0, &b, NULL), GAL_OK);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len * sizeof *a.data);
    gal_ids_free(&a);
    gal_ids_free(&b);
    gal_tokenizer_free(t);
}

/* Cut where gal_encode_cut() says, the ids are those of the whole. */
static void cuts(void **state) {
    (void)state;
    gal_tokenizer *t = open_ok(GOLDEN ".json");
    gal_buf text = { 0 };
    gal_ids whole = { 0 }, parts = { 0 };
    assert_int_equal(gal_read_file(&text, "examples/text/wuthering-heights.txt", 1 << 22, NULL), GAL_OK);
    const size_t n = 20000;
    assert_int_equal(gal_encode(t, NULL, text.data, n, 0, &whole, NULL), GAL_OK);
    for (size_t at = 0; at < n;) {
        size_t m = gal_encode_cut(t, text.data + at, GAL_MIN(n - at, (size_t)700));
        if (at + 700 >= n || m == 0) m = n - at;
        assert_int_equal(gal_encode(t, NULL, text.data + at, m, at ? GAL_ENCODE_CONTINUES : 0, &parts, NULL), GAL_OK);
        at += m;
    }
    assert_int_equal(whole.len, parts.len);
    assert_memory_equal(whole.data, parts.data, whole.len * sizeof *whole.data);
    gal_ids_free(&whole);
    gal_ids_free(&parts);
    gal_buf_free(&text);
    gal_tokenizer_free(t);
}

static void categories(void **state) {
    (void)state;
    static const struct {
        uint32_t cp;
        gal_category c;
    } KNOWN[] = { { 'A', GAL_LU },    { 'z', GAL_LL },     { '7', GAL_ND },     { 0x1c5, GAL_LT },
                  { 0x2b0, GAL_LM },  { 0x4e00, GAL_LO },  { 0x301, GAL_MN },   { 0x903, GAL_MC },
                  { 0x20dd, GAL_ME }, { 0x2167, GAL_NL },  { 0xb2, GAL_NO },    { '_', GAL_PC },
                  { 0x2003, GAL_ZS }, { 0x2028, GAL_ZL },  { 0x85, GAL_CC },    { 0x200d, GAL_CF },
                  { 0xd800, GAL_CS }, { 0xe000, GAL_CO },  { 0x378, GAL_CN },   { 0x1f600, GAL_SO },
                  { 0xa7da, GAL_LU }, { 0x31350, GAL_LO }, { 0x2ebf0, GAL_LO }, { 0x10ffff, GAL_CN } };
    for (size_t i = 0; i < GAL_LEN(KNOWN); i++)
        if (gal_category_of(KNOWN[i].cp) != KNOWN[i].c)
            fail_msg("U+%04X: %d", KNOWN[i].cp, (int)gal_category_of(KNOWN[i].cp));
    int count[GAL_CATEGORIES] = { 0 }, whites = 0;
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        count[gal_category_of(cp)]++;
        whites += gal_is_white(cp);
    }
    assert_int_equal(count[GAL_LU], 1858); /* of Unicode 16.0 */
    assert_int_equal(count[GAL_LO], 136477);
    assert_int_equal(count[GAL_MN] + count[GAL_MC] + count[GAL_ME], 2501);
    assert_int_equal(whites, 25);
}

static void json(void **state) {
    (void)state;
    static const char TEXT[] =
        "{\"a\": [1, -20, {\"b\": null}, \"x\\n\\u00e9\\ud83d\\ude00\\ud800\"], \"c\": true , \"d\":{}}";
    gal_diag diag = { 0 };
    gal__json j = gal__json_begin(TEXT, sizeof TEXT - 1, "t", &diag);
    const char *s;
    size_t n = 0;
    int64_t v;
    bool first = true, inner = true, truth = false;
    assert_true(gal__json_enter(&j, '{') && gal__json_member(&j, &first, &s, &n));
    assert_string_equal(s, "a");
    assert_true(gal__json_enter(&j, '[') && gal__json_element(&j, &inner) && gal__json_whole(&j, &v) && v == 1);
    assert_true(gal__json_element(&j, &inner) && gal__json_whole(&j, &v) && v == -20);
    assert_true(gal__json_element(&j, &inner));
    gal__json_skip(&j);
    assert_true(gal__json_element(&j, &inner) && gal__json_string(&j, &s, &n));
    assert_int_equal(n, 2 + 2 + 4 + 3);
    assert_string_equal(s, "x\n\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbd");
    assert_false(gal__json_element(&j, &inner));
    assert_true(gal__json_member(&j, &first, &s, &n) && gal__json_truth(&j, &truth) && truth);
    assert_true(gal__json_member(&j, &first, &s, &n));
    gal__json_skip(&j);
    assert_false(gal__json_member(&j, &first, &s, &n));
    assert_true(gal__json_end(&j));
    gal__json_free(&j);
    char deep[200];
    memset(deep, '[', sizeof deep);
    j = gal__json_begin(deep, sizeof deep, "t", &diag);
    gal__json_skip(&j);
    assert_int_equal(j.err, GAL_EINPUT);
    assert_non_null(strstr(diag.text, "more than 64"));
    gal__json_free(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(golden_ids),
                                        cmocka_unit_test(merges_of_ranks),
                                        cmocka_unit_test(official_ids),
                                        cmocka_unit_test(refused),
                                        cmocka_unit_test(special_by_rank),
                                        cmocka_unit_test(only_words),
                                        cmocka_unit_test(cut_anywhere),
                                        cmocka_unit_test(bad_utf8),
                                        cmocka_unit_test(cuts),
                                        cmocka_unit_test(categories),
                                        cmocka_unit_test(json) };
    return cmocka_run_group_tests_name("tekken", tests, NULL, NULL);
}
