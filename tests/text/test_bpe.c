/* test_bpe.c - training vocabularies. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/rng.h"
#include "support/test.h"
#include "text/bpe_train.h"
#include "text/tokenizer.h"

#include <string.h>

#define GOLDEN "tests/golden/text/"

/* The corpus gives the stored model, whose ids the reference library confirmed (golden_ids in test_tokenizer.c). */
static void same_bytes(void **state) {
    (void)state;
    gal_buf corpus = { 0 }, want = { 0 }, got = { 0 };
    assert_int_equal(gal_read_file(&corpus, GOLDEN "corpus.txt", 1 << 20, NULL), GAL_OK);
    assert_int_equal(gal_read_file(&want, GOLDEN "tiny.model", 1 << 20, NULL), GAL_OK);
    gal_bpe_options o;
    gal_bpe_options_init(&o);
    o.vocab_size = 480;
    o.character_coverage = 0.999;
    assert_int_equal(gal_bpe_train(&got, corpus.data, corpus.len, &o, NULL), GAL_OK);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.data, want.data, want.len);
    gal_buf_free(&corpus);
    gal_buf_free(&want);
    gal_buf_free(&got);
}

static gal_tokenizer *train(const char *text, size_t n, const gal_bpe_options *o) {
    gal_buf model = { 0 };
    gal_tokenizer *t = NULL;
    gal_diag diag = { 0 };
    if (gal_bpe_train(&model, text, n, o, &diag)) fail_msg("%s", diag.text);
    if (gal_tokenizer_open_bytes(&t, model.data, model.len, "trained", &diag)) fail_msg("%s", diag.text);
    gal_buf_free(&model);
    return t;
}

/* Merges of a small text worked out by hand. The words are _ab, 3 times, and _abc, twice: the pairs _a and ab both
 * have 5 places, and _ (symbol 2, after the more frequent... all three have 5 places: order of code points a, b, _)
 * makes the pair (a, b) = (0, 1) the older one. Then _ + ab (5), then _ab + c (2). */
static void merges_by_hand(void **state) {
    (void)state;
    gal_bpe_options o;
    gal_bpe_options_init(&o);
    o.vocab_size = 3 + 256 + 3 + 4;
    o.character_coverage = 1.0;
    gal_tokenizer *t = train("ab ab ab abc abc", 16, &o);
    static const char *const WANT[] = { "ab",
                                        "\xe2\x96\x81"
                                        "ab",
                                        "\xe2\x96\x81"
                                        "abc",
                                        "a",
                                        "b",
                                        "\xe2\x96\x81",
                                        "c" };
    for (size_t i = 0; i < GAL_LEN(WANT); i++) {
        size_t n;
        assert_string_equal(gal_tokenizer_piece(t, 259 + (int32_t)i, &n), WANT[i]);
        assert_true(gal_tokenizer_score(t, 259 + (int32_t)i) == -(float)i);
    }
    gal_tokenizer_free(t);
}

static void too_small_a_text(void **state) {
    (void)state;
    gal_bpe_options o;
    gal_bpe_options_init(&o);
    o.vocab_size = 5000;
    o.character_coverage = 1.0;
    gal_buf model = { 0 };
    gal_diag diag = { 0 };
    assert_int_equal(gal_bpe_train(&model, "ab ab ab abc abc", 16, &o, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "the largest possible is 266"));
    o.take_possible = true;
    gal_tokenizer *t = train("ab ab ab abc abc", 16, &o);
    assert_int_equal(gal_tokenizer_size(t), 266);
    gal_tokenizer_free(t);
    diag = (gal_diag){ 0 };
    assert_int_equal(gal_bpe_train(&model, "", 0, &o, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "no words"));
    o.vocab_size = 262;
    diag = (gal_diag){ 0 };
    assert_int_equal(gal_bpe_train(&model, "abcd", 4, &o, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "at least 264"));
    o.vocab_size = 259;
    assert_int_equal(gal_bpe_train(&model, "abcd", 4, &o, NULL), GAL_EUSAGE);
    o.vocab_size = 300;
    o.character_coverage = 0.0;
    assert_int_equal(gal_bpe_train(&model, "abcd", 4, &o, NULL), GAL_EUSAGE);
    assert_int_equal(model.len, 0);
    gal_buf_free(&model);
}

static bool holds_any(const char *piece, const char *chars) {
    return strpbrk(piece, chars) != NULL && strlen(piece) > 1;
}

static void words_and_digits(void **state) {
    (void)state;
    gal_buf corpus = { 0 };
    assert_int_equal(gal_read_file(&corpus, GOLDEN "corpus.txt", 1 << 20, NULL), GAL_OK);
    gal_bpe_options o;
    gal_bpe_options_init(&o);
    o.vocab_size = 5000;
    o.take_possible = true;
    o.max_piece_chars = 5;
    const char *const control[] = { "[INST]", "[/INST]" };
    o.control = control;
    o.control_count = 2;
    gal_tokenizer *t = train(corpus.data, corpus.len, &o);
    assert_int_equal(gal_tokenizer_find(t, "[INST]", 6), 3);
    assert_int_equal(gal_tokenizer_find(t, "[/INST]", 7), 4);
    assert_int_equal(gal_tokenizer_version(t), 2);
    for (int32_t id = 3 + 2 + 256; id < gal_tokenizer_size(t); id++) {
        size_t n, chars = 0;
        const char *p = gal_tokenizer_piece(t, id, &n);
        for (size_t i = 0; i < n; i++) chars += (p[i] & 0xc0) != 0x80;
        assert_true(chars <= 5);
        assert_false(holds_any(p, "0123456789"));
        assert_null(strpbrk(p, " \n\t"));
        assert_null(strstr(p + 1, "\xe2\x96\x81")); /* a space only begins a piece */
    }
    gal_tokenizer_free(t);
    gal_buf_free(&corpus);
}

/* Chunks in another order give the same model; random bytes do no harm. */
static void order_and_bytes(void **state) {
    (void)state;
    static const char *const CHUNKS[] = { "the cat sat", "on the mat that the cat saw", "\xff\xfe the \xc3 mat\x80",
                                          "a\0b" };
    gal_bpe_options o;
    gal_bpe_options_init(&o);
    o.vocab_size = 300;
    o.take_possible = true;
    gal_buf models[2] = { { 0 }, { 0 } };
    for (size_t k = 0; k < 2; k++) {
        gal_bpe_trainer *t = NULL;
        assert_int_equal(gal_bpe_trainer_new(&t, &o, NULL), GAL_OK);
        for (size_t i = 0; i < GAL_LEN(CHUNKS); i++) {
            const char *c = CHUNKS[k ? GAL_LEN(CHUNKS) - 1 - i : i];
            assert_int_equal(gal_bpe_trainer_add(t, c, strlen(c), NULL), GAL_OK);
        }
        assert_int_equal(gal_bpe_trainer_run(t, &models[k], NULL), GAL_OK);
        gal_bpe_trainer_free(t);
    }
    assert_int_equal(models[0].len, models[1].len);
    assert_memory_equal(models[0].data, models[1].data, models[0].len);
    gal_buf_free(&models[0]);
    gal_buf_free(&models[1]);
    o.vocab_size = 1000;
    for (uint64_t i = 0; i < 50; i++) {
        char noise[2000];
        for (size_t k = 0; k < sizeof noise; k++)
            noise[k] = (char)(gal_rng_below(9, i, k, i % 2 ? 256 : 4) + (i % 2 ? 0 : 'a'));
        gal_tokenizer_free(train(noise, sizeof noise, &o));
    }
}

static bool stop_at_once(void *user, double fraction) {
    int *calls = user;
    ++*calls;
    assert_true(fraction >= 0.0 && fraction <= 1.0);
    return false;
}

static void cancel(void **state) {
    (void)state;
    gal_buf corpus = { 0 }, model = { 0 };
    assert_int_equal(gal_read_file(&corpus, GOLDEN "corpus.txt", 1 << 20, NULL), GAL_OK);
    int calls = 0;
    gal_bpe_options o;
    gal_bpe_options_init(&o);
    o.vocab_size = 480;
    o.progress = stop_at_once;
    o.user = &calls;
    assert_int_equal(gal_bpe_train(&model, corpus.data, corpus.len, &o, NULL), GAL_EINTERRUPTED);
    assert_int_equal(calls, 1);
    assert_int_equal(model.len, 0);
    gal_buf_free(&model);
    gal_buf_free(&corpus);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes),       cmocka_unit_test(merges_by_hand),  cmocka_unit_test(too_small_a_text),
        cmocka_unit_test(words_and_digits), cmocka_unit_test(order_and_bytes), cmocka_unit_test(cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
