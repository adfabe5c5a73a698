/* test_bpe.c - training vocabularies. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "support/test.h"
#include "text/bpe_train.h"
#include "text/tokenizer.h"

#include <stdlib.h>
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

/* Memory in use, counted by a hook. */
static size_t live, peak;
static void *counting(void *user, void *ptr, size_t old_bytes, size_t bytes) {
    (void)user;
    live = live - old_bytes + bytes;
    peak = GAL_MAX(peak, live);
    if (bytes) return realloc(ptr, bytes);
    free(ptr);
    return NULL;
}

/* Lines of words that hardly ever repeat: the worst text for a table of words. */
static void random_lines(gal_buf *b, size_t bytes) {
    for (uint64_t i = 0; b->len < bytes; i++) {
        int letters = (int)gal_rng_below(5, 1, 3 * i, 12) + 3;
        for (int k = 0; k < letters; k++)
            gal_buf_putc(b, (char)('a' + gal_rng_below(5, 2, 16 * i + (uint64_t)k, 26)));
        gal_buf_putc(b, gal_rng_below(5, 3, i, 10) ? ' ' : '\n');
    }
    assert_false(b->oom);
}

static gal_bpe_lines train_within(uint64_t memory, uint64_t seed, const gal_buf *text, gal_buf *model) {
    gal_bpe_options o;
    gal_bpe_trainer *t = NULL;
    gal_bpe_options_init(&o);
    o.vocab_size = 2000;
    o.memory_bytes = memory;
    o.sample_seed = seed;
    peak = live;
    size_t before = live;
    gal_buf_clear(model);
    assert_int_equal(gal_bpe_trainer_new(&t, &o, NULL), GAL_OK);
    do {
        assert_int_equal(gal_bpe_trainer_add(t, text->data, text->len, NULL), GAL_OK);
        assert_int_equal(gal_bpe_trainer_run(t, model, NULL), GAL_OK);
    } while (gal_bpe_trainer_again(t));
    gal_bpe_lines lines = gal_bpe_trainer_lines(t);
    gal_bpe_trainer_free(t);
    if (peak - before > memory) fail_msg("%zu bytes held, %llu allowed", peak - before, (unsigned long long)memory);
    return lines;
}

/* More words than memory holds: a part of the lines, as many as are said, the same ones for the same seed, and never
 * more memory than allowed. */
static void memory_is_kept(void **state) {
    (void)state;
    gal_buf text = { 0 }, all = { 0 }, part = { 0 }, again = { 0 }, other = { 0 };
    gal_set_alloc_hook(counting, NULL);
    random_lines(&text, (size_t)1 << 20);
    gal_bpe_lines whole = train_within((uint64_t)1 << 30, 0, &text, &all);
    assert_int_equal(whole.all, whole.counted);
    gal_bpe_lines some = train_within((uint64_t)40 << 20, 0, &text, &part);
    assert_int_equal(some.all, whole.all);
    assert_in_range(some.counted, whole.all / 20, whole.all * 3 / 4);
    gal_bpe_lines same = train_within((uint64_t)40 << 20, 0, &text, &again);
    assert_int_equal(same.counted, some.counted);
    assert_int_equal(again.len, part.len);
    assert_memory_equal(again.data, part.data, part.len);
    (void)train_within((uint64_t)40 << 20, 1, &text, &other);
    assert_false(other.len == part.len && memcmp(other.data, part.data, part.len) == 0);
    gal_buf_free(&text);
    gal_buf_free(&all);
    gal_buf_free(&part);
    gal_buf_free(&again);
    gal_buf_free(&other);
    gal_set_alloc_hook(NULL, NULL);
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
        cmocka_unit_test(memory_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
