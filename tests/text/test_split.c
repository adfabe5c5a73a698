/* test_split.c - the scanners of known patterns beside the matcher, on characters of every kind that a pattern tells
 * apart, in runs and mixed. SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "base/util.h"
#include "support/test.h"
#include "text/internal.h"
#include "text/scan.h"

#include <stdlib.h>
#include <string.h>

/* Every category, what folds to ASCII, and what contractions are made of (often, so that they come together). */
static const uint32_t KINDS[] = {
    'A',    'Z',    'a',    's',     't',     'l',     'r',   'e',    'v',     'm',     'd',     'S',
    'L',    'T',    'E',    '\'',    '\'',    '\'',    '/',   '.',    '!',     '-',     '_',     '(',
    '+',    '$',    '^',    '0',     '7',     ' ',     ' ',   ' ',    '\t',    '\n',    '\n',    '\r',
    '\f',   0x0b,   0,      1,       0x7f,    0x85,    0xa0,  0xad,   0xb2,    0x17f,   0x1c5,   0x212a,
    0x2b0,  0x4e00, 0x3042, 0x301,   0x903,   0x20dd,  0x661, 0x2167, 0x2014,  0xab,    0xbb,    0x2028,
    0x2029, 0x2003, 0x3000, 0x200d,  0xe000,  0x378,   0x430, 0x416,  0x1f600, 0x1f1eb, 0xfe0f,  0x627,
    0x915,  0x94d,  0xac00, 0x10400, 0x10428, 0x1d7ce, 0x5d0, 0xe01,  0x20000, 0xe0100, 0x10fffd
};

typedef struct words {
    gal__split *split;
    gal__splitting *at;
    size_t bytes[GAL__WORDS];
    int count, next;
} words;

static void make(words *w, const char *pattern) {
    gal_diag diag = { 0 };
    *w = (words){ 0 };
    if (gal__split_new(&w->split, pattern, strlen(pattern), "test", &diag)) fail_msg("%s", diag.text);
    assert_int_equal(gal__splitting_new(&w->at, w->split, &diag), GAL_OK);
}

/* The pattern as it is, and spelled so that no scanner knows it. */
static void make_both(words *a, words *b, const char *pattern) {
    char other[1000];
    assert_true(snprintf(other, sizeof other, "(?:%s)", pattern) < (int)sizeof other);
    assert_non_null(gal__scanner_of(pattern, strlen(pattern)));
    assert_null(gal__scanner_of(other, strlen(other)));
    make(a, pattern);
    make(b, other);
}

/* 0: the end. */
static size_t next(words *w) {
    if (w->next == w->count) {
        w->next = 0;
        assert_int_equal(gal__splitting_next(w->at, w->bytes, &w->count, NULL), GAL_OK);
        if (!w->count) return 0;
    }
    return w->bytes[w->next++];
}

static void drop(words *w) {
    gal__splitting_free(w->at);
    gal__split_free(w->split);
}

/* Stretches of few kinds (so that runs and their ends occur) between stretches of all. */
static void invent(gal_buf *b, uint64_t seed, int chars) {
    uint64_t draw = 0;
    gal_buf_clear(b);
    while (chars > 0) {
        uint32_t some[4];
        const uint64_t kinds = 1 + gal_rng_below(seed, 0, draw++, 4);
        const uint64_t all = gal_rng_below(seed, 0, draw++, 3), length = 1 + gal_rng_below(seed, 0, draw++, 30);
        for (size_t i = 0; i < 4; i++) some[i] = KINDS[gal_rng_below(seed, 0, draw++, GAL_LEN(KINDS))];
        for (uint64_t i = 0; i < length && chars > 0; i++, chars--) {
            char utf8[4];
            const uint64_t k = gal_rng_below(seed, 0, draw++, all ? kinds : GAL_LEN(KINDS));
            const int n = gal_utf8_put(utf8, all ? some[k] : KINDS[k]);
            assert_true(n > 0);
            gal_buf_add(b, utf8, (size_t)n);
        }
    }
}

static void same_words(words *a, words *b, const gal_buf *text, const char *what) {
    assert_int_equal(gal__splitting_begin(a->at, text->data, text->len, NULL), GAL_OK);
    assert_int_equal(gal__splitting_begin(b->at, text->data, text->len, NULL), GAL_OK);
    a->count = a->next = b->count = b->next = 0;
    for (size_t at = 0, n = 1; n; at += n) {
        n = next(a);
        const size_t m = next(b);
        if (n != m) fail_msg("%s: at %zu of '%.100s': %zu and %zu bytes", what, at, text->data, n, m);
        if (!n) assert_int_equal(at, text->len);
    }
}

static const char *const PATTERNS[] = { GAL__PATTERN_TEKKEN, GAL__PATTERN_LLAMA3, GAL__PATTERN_GPT2 };

static void beside_the_matcher(void **state) {
    (void)state;
    gal_buf text = { 0 };
    const char *many = getenv("GAL_SPLIT_TEXTS");
    const uint64_t texts = many ? strtoull(many, NULL, 10) : 4000;
    for (size_t i = 0; i < GAL_LEN(PATTERNS); i++) {
        words a, b;
        make_both(&a, &b, PATTERNS[i]);
        for (uint64_t seed = 0; seed < texts; seed++) {
            char what[60];
            (void)snprintf(what, sizeof what, "pattern %zu, seed %llu", i, (unsigned long long)seed);
            invent(&text, seed * 3 + i, seed % 40 ? 40 : 3000);
            same_words(&a, &b, &text, what);
        }
        drop(&a);
        drop(&b);
    }
    gal_buf_free(&text);
}

/* Each character after a letter, a space, a number and a line break: the two tables of classes are the same. */
static void every_character(void **state) {
    (void)state;
    gal_buf text = { 0 };
    for (uint32_t cp = 0; cp < 0x110000; cp += cp < 0x3000 ? 1 : 23) {
        char utf8[4];
        const int n = gal_utf8_put(utf8, cp);
        for (int i = 0; i < 4 && n; i++) {
            static const char *const BEFORE[] = { "a", " ", "1", "\n" };
            gal_buf_puts(&text, BEFORE[i]);
            gal_buf_add(&text, utf8, (size_t)n);
            gal_buf_puts(&text, i % 2 ? "B" : "'");
        }
    }
    for (size_t i = 0; i < GAL_LEN(PATTERNS); i++) {
        words a, b;
        make_both(&a, &b, PATTERNS[i]);
        same_words(&a, &b, &text, "every character");
        drop(&a);
        drop(&b);
    }
    gal_buf_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(beside_the_matcher), cmocka_unit_test(every_character) };
    return cmocka_run_group_tests_name("split", tests, NULL, NULL);
}
