/* ids_test.c - a text encoded in pieces has the ids of the whole text, wherever the pieces end; bytes of tokens; two
 * vocabularies. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "eval/ids.h"
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#define GOLDEN "tests/golden/text/"

static gal_tokenizer *open_golden(const char *name) {
    gal_tokenizer *t = NULL;
    char path[128];
    (void)snprintf(path, sizeof path, GOLDEN "%s", name);
    CHECK_OK(gal_tokenizer_open(&t, path, diag));
    return t;
}

/* Reads in steps of `ahead`, forgetting all but `behind`, and compares. */
static void check_pieces(const gal_tokenizer *t, const char *text, size_t n, size_t piece, int64_t ahead,
                         int64_t behind) {
    gal_ids whole = { 0 };
    gal_id_source *s = NULL;
    bool bos = gal_tokenizer_bos(t) >= 0;
    CHECK_OK(gal_encode(t, NULL, text, n, bos ? GAL_ENCODE_BOS : 0u, &whole, diag));
    CHECK_OK(gal_id_source_of_text(&s, t, text, n, bos, piece, diag));
    for (int64_t at = 0;; at += ahead) {
        const int32_t *ids = NULL;
        int64_t from = GAL_MAX(at - behind, 0), got = 0;
        CHECK_OK(gal_id_source_read(s, from, at + ahead, &ids, &got, diag));
        int64_t want = GAL_MIN(at + ahead, (int64_t)whole.len) - GAL_MIN(from, (int64_t)whole.len);
        assert_int_equal(got, want);
        for (int64_t i = 0; i < got; i++) assert_int_equal(ids[i], whole.data[from + i]);
        double share = gal_id_source_share(s, GAL_MIN(at, (int64_t)whole.len));
        assert_true(share >= 0.0 && share <= 1.0);
        if (at >= (int64_t)whole.len) break;
    }
    gal_id_source_free(s);
    gal_ids_free(&whole);
}

static void pieces_of_a_text(void **state) {
    (void)state;
    static const char *const MODELS[] = { "tiny.model", "rules-bytes.model", "rules-unknown.model" };
    static const size_t PIECES[] = { 1, 2, 7, 100, 4096, 0 };
    static const char ODD[] = "  two  spaces \xe2\x96\x81 after\xff\xe2\x82 bad \n \n\n x\xc3\xa9\xe2\x96\x81 y";
    gal_buf text = { 0 };
    CHECK_OK(gal_read_file(&text, GOLDEN "corpus.txt", 1 << 24, diag));
    for (size_t i = 0; i < GAL_LEN(MODELS); i++) {
        gal_tokenizer *t = open_golden(MODELS[i]);
        for (size_t k = 0; k < GAL_LEN(PIECES); k++) {
            check_pieces(t, text.data, GAL_MIN(text.len, 20000), PIECES[k], 500, 300);
            check_pieces(t, ODD, sizeof ODD - 1, PIECES[k], 3, 1);
            check_pieces(t, "", 0, PIECES[k], 3, 1);
            check_pieces(t, "x", 1, PIECES[k], 3, 1);
        }
        gal_tokenizer_free(t);
    }
    gal_buf_free(&text);
}

/* Ids of a large text are forgotten as one goes on. */
static void bad_bytes_are_counted(void **state) {
    (void)state;
    gal_tokenizer *t = open_golden("tiny.model");
    static const char TEXT[] = "good \xc3\xa9 bad \xff\xfe and \xe2\x82 cut";
    gal_id_source *s = NULL;
    const int32_t *ids = NULL;
    int64_t n = 0;
    size_t first = 0;
    CHECK_OK(gal_id_source_of_text(&s, t, TEXT, sizeof TEXT - 1, false, 3, diag));
    CHECK_OK(gal_id_source_read(s, 0, 1000, &ids, &n, diag));
    assert_int_equal(gal_id_source_bad_bytes(s, &first), 4);
    assert_int_equal(first, 12);
    gal_id_source_free(s);
    gal_tokenizer_free(t);
}

static void given_ids(void **state) {
    (void)state;
    static const int32_t IDS[] = { 5, 6, 7 };
    gal_id_source *s = NULL;
    const int32_t *ids = NULL;
    int64_t n = 0;
    CHECK_OK(gal_id_source_of_ids(&s, IDS, 3, diag));
    CHECK_OK(gal_id_source_read(s, 1, 9, &ids, &n, diag));
    assert_true(n == 2 && ids[0] == 6);
    CHECK_OK(gal_id_source_read(s, 4, 9, &ids, &n, diag));
    assert_int_equal(n, 0);
    gal_id_source_free(s);
}

/* Of text that is UTF-8 every byte belongs to one token, the space that encoding puts before it aside. */
static void bytes_of_tokens(void **state) {
    (void)state;
    gal_buf text = { 0 };
    CHECK_OK(gal_read_file(&text, GOLDEN "corpus.txt", 1 << 24, diag));
    gal_tokenizer *t = open_golden("tiny.model");
    gal_ids ids = { 0 };
    CHECK_OK(gal_encode(t, NULL, text.data, text.len, GAL_ENCODE_BOS, &ids, diag));
    size_t sum = 0;
    for (size_t i = 0; i < ids.len; i++) sum += gal_tokenizer_text_bytes(t, ids.data[i]);
    assert_int_equal(sum, text.len + (gal_tokenizer_adds_space(t) ? 1 : 0));
    gal_ids_free(&ids);
    gal_tokenizer_free(t);
    gal_buf_free(&text);
}

/* ---- two vocabularies --------------------------------------------------------------------------------------------
 */

static gal_tokenizer *make(const char *third, float score, uint8_t type, size_t count, bool fallback) {
    const char *pieces[] = { "<unk>", "<s>", "</s>", third, "b", "[PAD5]" };
    float scores[] = { 0, 0, 0, score, -2, 0 };
    uint8_t types[] = { GAL_PIECE_UNKNOWN, GAL_PIECE_CONTROL, GAL_PIECE_CONTROL, type,
                        GAL_PIECE_NORMAL,  GAL_PIECE_UNUSED };
    gal_vocab v = {
        .count = count, .pieces = pieces, .scores = scores, .types = types, .add_dummy_prefix = fallback
    };
    gal_tokenizer *t = NULL;
    CHECK_OK(gal_tokenizer_from_vocab(&t, &v, "made", diag));
    return t;
}

static void check_same(const gal_tokenizer *a, gal_tokenizer *b, const char *want) {
    gal_diag what = { 0 };
    bool same = gal_tokenizer_same(a, b, &what);
    assert_int_equal(same, want == NULL);
    if (want && !strstr(what.text, want)) fail_msg("'%s' lacks '%s'", what.text, want);
    assert_int_equal(gal_tokenizer_same(b, a, NULL), same);
    gal_tokenizer_free(b);
}

static void two_vocabularies(void **state) {
    (void)state;
    gal_tokenizer *a = make("a", -1, GAL_PIECE_NORMAL, 5, true);
    check_same(a, make("a", -1, GAL_PIECE_NORMAL, 5, true), NULL);
    check_same(a, make("a", -1.5F, GAL_PIECE_NORMAL, 5, true), NULL); /* other scores, same order */
    check_same(a, make("a", -1, GAL_PIECE_NORMAL, 6, true), NULL);    /* padded */
    check_same(a, make("c", -1, GAL_PIECE_NORMAL, 5, true), "id 3 is 'a' in the first and 'c' in the second");
    check_same(a, make("a", -3, GAL_PIECE_NORMAL, 5, true), "score");
    check_same(a, make("a", -1, GAL_PIECE_USER, 5, true), "type");
    check_same(a, make("a", -1, GAL_PIECE_NORMAL, 5, false), "a space before the text");
    check_same(a, make("a", -1, GAL_PIECE_NORMAL, 4, true), "id 4, 'b', is in the first only");
    gal_tokenizer_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_a_text), cmocka_unit_test(bad_bytes_are_counted), cmocka_unit_test(given_ids),
        cmocka_unit_test(bytes_of_tokens),  cmocka_unit_test(two_vocabularies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
