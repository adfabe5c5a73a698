/* test_nfkc.c - normalisers: their rules, vocabularies that carry them, damaged tables.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "support/starve.h"
#include "text/bpe_train.h"
#include "text/internal.h"
#include "text/vectors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/text/"

static gal__charsmap *map_of(gal_normalizer n) {
    gal_buf table = { 0 };
    gal__charsmap *m = NULL;
    gal_diag diag = { 0 };
    if (gal_normalizer_table(&table, n, &diag) ||
        gal__charsmap_new(&m, GAL_NORMALIZERS[n], table.data, table.len, "table", &diag))
        fail_msg("%s", diag.text);
    gal_buf_free(&table);
    return m;
}

static void check_form(const gal__charsmap *m, const char *text, size_t n, const char *want, size_t bytes) {
    gal_buf out = { 0 };
    assert_int_equal(gal__charsmap_apply(m, NULL, text, n, &out, NULL), GAL_OK);
    if (out.len != bytes || memcmp(out.len ? out.data : "", want, bytes) != 0)
        fail_msg("'%.*s' became '%.*s', expected '%s'", (int)n, text, (int)out.len, out.len ? out.data : "", want);
    gal_buf_free(&out);
}

/* What Unicode says of single characters and compositions, by hand. */
static void by_hand(void **state) {
    (void)state;
    static const char *const CASES[][2] = {
        { "plain text\n\t", "plain text\n\t" },
        { "\xef\xac\x81ne", "fine" },                               /* the ligature fi */
        { "\xef\xbc\xa1\xef\xbd\x82\xef\xbc\x91", "Ab1" },          /* full width A, b, 1 */
        { "x\xc2\xb2", "x2" },                                      /* superscript two */
        { "\xe2\x91\xa0\xe2\x85\xa3", "1IV" },                      /* circled one, Roman four */
        { "e\xcc\x81t", "\xc3\xa9t" },                              /* e and an acute accent */
        { "e\xcc\x81\xcc\xa7", "\xc3\xa9\xcc\xa7" },                /* marks in another order stay as they are */
        { "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "\xed\x95\x9c" }, /* jamo of a syllable */
        { "\xe3\x84\xb1\xe3\x85\x8f", "\xea\xb0\x80" },             /* the same of the compatibility block */
        { "\xef\xbe\xa1\xef\xbf\x82", "\xea\xb0\x80" },             /* and of half width */
        { "\xea\xb0\x80\xe1\x86\xa8", "\xea\xb0\x80\xe1\x86\xa8" }, /* no whole decomposition: no rule */
        { "a\xc2\xa0"
          "b\xe3\x80\x80",
          "a b " },                                     /* spaces that are not U+0020 */
        { "\xef\xbd\xb6\xef\xbe\x9e", "\xe3\x82\xac" }, /* half width ka and its mark */
        { "\xf0\x9d\x94\xb8", "A" },                    /* a mathematical capital */
        { "\xe2\x84\xab", "\xc3\x85" },                 /* Angstrom */
        { "\xff\xc3", "\xef\xbf\xbd\xef\xbf\xbd" },
    };
    gal__charsmap *m = map_of(GAL_NORMALIZER_NFKC);
    for (size_t i = 0; i < GAL_LEN(CASES); i++)
        check_form(m, CASES[i][0], strlen(CASES[i][0]), CASES[i][1], strlen(CASES[i][1]));
    check_form(m, "a\0b", 3, "a\0b", 3);
    gal__charsmap_free(m);
    m = map_of(GAL_NORMALIZER_NMT_NFKC);
    check_form(m, "a\tb\nc\x01\x7f.\xef\xbd\x9e\xef\xac\x81", 14,
               "a b c.\xef\xbd\x9e"
               "fi",
               11);
    gal__charsmap_free(m);
}

/* What the reference library makes of texts by its own tables (make_nfkc.py). */
static void golden_forms(void **state) {
    (void)state;
    gal__charsmap *nfkc = map_of(GAL_NORMALIZER_NFKC), *nmt = map_of(GAL_NORMALIZER_NMT_NFKC);
    FILE *f = fopen(GOLDEN "nfkc-forms.jsonl", "r");
    static char line[1 << 16];
    size_t lines = 0;
    assert_non_null(f);
    for (; fgets(line, sizeof line, f); lines++) {
        json_t *j = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_non_null(j);
        const json_t *text = json_object_get(j, "text"), *a = json_object_get(j, "nfkc"),
                     *b = json_object_get(j, "nmt_nfkc");
        const char *s = json_string_value(text);
        const size_t n = json_string_length(text);
        check_form(nfkc, s, n, json_string_value(a), json_string_length(a));
        check_form(nmt, s, n, json_string_value(b), json_string_length(b));
        json_decref(j);
    }
    fclose(f);
    assert_int_equal(lines, 400);
    gal__charsmap_free(nfkc);
    gal__charsmap_free(nmt);
}

static void train(gal_buf *model, gal_normalizer n) {
    gal_buf corpus = { 0 };
    gal_bpe_options o;
    gal_diag diag = { 0 };
    gal_bpe_options_init(&o);
    o.vocab_size = 480;
    o.character_coverage = 0.999;
    o.normalizer = n;
    assert_int_equal(gal_read_file(&corpus, GOLDEN "corpus.txt", 1 << 20, NULL), GAL_OK);
    if (gal_bpe_train(model, corpus.data, corpus.len, &o, &diag)) fail_msg("%s", diag.text);
    gal_buf_free(&corpus);
}

/* The vocabulary that comes of a corpus gives the ids that the reference library gives by its file. */
static void golden_ids(void **state) {
    (void)state;
    static const char *const FILES[] = { NULL, GOLDEN "nfkc.jsonl", GOLDEN "nmt-nfkc.jsonl" };
    for (int n = GAL_NORMALIZER_NFKC; n <= GAL_NORMALIZER_NMT_NFKC; n++) {
        gal_buf model = { 0 }, again = { 0 };
        gal_tokenizer *t = NULL, *u = NULL;
        gal_diag diag = { 0 };
        train(&model, (gal_normalizer)n);
        if (gal_tokenizer_open_bytes(&t, model.data, model.len, "trained", &diag) ||
            gal_tokenizer_print_spm(t, &again, &diag) ||
            gal_tokenizer_open_bytes(&u, again.data, again.len, "printed", &diag))
            fail_msg("%s", diag.text);
        assert_string_equal(gal_tokenizer_normalizer(t), GAL_NORMALIZERS[n]);
        assert_string_equal(gal_tokenizer_normalizer(u), GAL_NORMALIZERS[n]);
        assert_true(gal_tokenizer_same(t, u, NULL));
        assert_int_equal(check_vectors(t, FILES[n]), 200);
        assert_int_equal(check_vectors(u, FILES[n]), 200);
        gal_buf_free(&model);
        gal_buf_free(&again);
        gal_tokenizer_free(t);
        gal_tokenizer_free(u);
    }
}

/* Models of the reference library's own making, with rules of ours. */
static void others_rules(void **state) {
    (void)state;
    static const char *const NAMES[] = { "rules-map", "rules-map-spaces" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        gal_buf path = { 0 }, again = { 0 };
        gal_tokenizer *t = NULL, *u = NULL;
        gal_diag diag = { 0 };
        gal_buf_printf(&path, GOLDEN "%s.model", NAMES[i]);
        if (gal_tokenizer_open(&t, path.data, &diag) || gal_tokenizer_print_spm(t, &again, &diag) ||
            gal_tokenizer_open_bytes(&u, again.data, again.len, "printed", &diag))
            fail_msg("%s", diag.text);
        gal_buf_clear(&path);
        gal_buf_printf(&path, GOLDEN "%s.jsonl", NAMES[i]);
        assert_int_equal(check_vectors(t, path.data), 200);
        assert_int_equal(check_vectors(u, path.data), 200);
        gal_buf_free(&path);
        gal_buf_free(&again);
        gal_tokenizer_free(t);
        gal_tokenizer_free(u);
    }
}

/* Rules are part of what a vocabulary is. */
static void told_apart(void **state) {
    (void)state;
    gal_buf with = { 0 }, without = { 0 };
    gal_tokenizer *t = NULL, *u = NULL;
    gal_diag what = { 0 };
    gal_ids a = { 0 }, b = { 0 };
    train(&with, GAL_NORMALIZER_NFKC);
    assert_int_equal(gal_tokenizer_open_bytes(&t, with.data, with.len, "with", NULL), GAL_OK);
    const size_t size = (size_t)t->size;
    const char **pieces = malloc(size * sizeof *pieces);
    size_t *lengths = malloc(size * sizeof *lengths);
    assert_true(pieces && lengths);
    for (size_t i = 0; i < size; i++) pieces[i] = gal_tokenizer_piece(t, (int32_t)i, &lengths[i]);
    const gal_vocab v = { .count = size,
                          .pieces = pieces,
                          .lengths = lengths,
                          .scores = t->scores,
                          .types = t->types,
                          .byte_fallback = true,
                          .add_dummy_prefix = true };
    assert_int_equal(gal_tokenizer_from_vocab(&u, &v, "without", NULL), GAL_OK);
    assert_string_equal(gal_tokenizer_normalizer(u), "identity");
    assert_false(gal_tokenizer_same(t, u, &what));
    assert_non_null(strstr(what.text, "'nfkc' in the first and by 'identity'"));
    static const char TEXT[] = "\xef\xac\x81ve";
    assert_int_equal(gal_encode(t, NULL, TEXT, 5, 0, &a, NULL), GAL_OK);
    assert_int_equal(gal_encode(t, NULL, "five", 4, 0, &b, NULL), GAL_OK);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len * sizeof *a.data);
    b.len = 0;
    assert_int_equal(gal_encode(u, NULL, TEXT, 5, 0, &b, NULL), GAL_OK);
    assert_true(a.len != b.len || memcmp(a.data, b.data, a.len * sizeof *a.data) != 0);
    free(pieces);
    free(lengths);
    gal_ids_free(&a);
    gal_ids_free(&b);
    gal_buf_free(&with);
    gal_buf_free(&without);
    gal_tokenizer_free(t);
    gal_tokenizer_free(u);
}

/* Cut where gal_encode_cut() says, the ids are those of the whole. How often it could be cut. */
static size_t cut_often(const gal_tokenizer *t) {
    static const char *const PARTS[] = { " ",
                                         "the",
                                         "a",
                                         "\xcc\x81",
                                         "\xe3\x80\x80",
                                         "\xc2\xa0",
                                         "\n",
                                         "\xef\xac\x81",
                                         "\xe1\x84\x80",
                                         "\xe1\x85\xa1",
                                         "\xff",
                                         " sea",
                                         "\x01",
                                         "\xe2\x96\x81",
                                         "\xe2\x84",
                                         "AB",
                                         "x y",
                                         "<XY>" };
    size_t cut = 0;
    for (uint64_t i = 0; i < 3000; i++) {
        gal_buf text = { 0 };
        gal_ids whole = { 0 }, parts = { 0 };
        for (uint64_t k = gal_rng_below(7, 0, i, 30) + 1; k > 0; k--)
            gal_buf_puts(&text, PARTS[gal_rng_below(7, i, k, GAL_LEN(PARTS))]);
        const size_t seen = (size_t)gal_rng_below(7, 1, i, text.len) + 1, m = gal_encode_cut(t, text.data, seen);
        assert_true(m < seen);
        cut += m > 0;
        assert_int_equal(gal_encode(t, NULL, text.data, text.len, 0, &whole, NULL), GAL_OK);
        if (m) assert_int_equal(gal_encode(t, NULL, text.data, m, 0, &parts, NULL), GAL_OK);
        const unsigned flags = m ? GAL_ENCODE_CONTINUES : 0;
        assert_int_equal(gal_encode(t, NULL, text.data + m, text.len - m, flags, &parts, NULL), GAL_OK);
        assert_int_equal(whole.len, parts.len);
        assert_memory_equal(whole.data, parts.data, whole.len * sizeof *whole.data);
        gal_buf_free(&text);
        gal_ids_free(&whole);
        gal_ids_free(&parts);
    }
    return cut;
}

static void cuts(void **state) {
    (void)state;
    for (int n = GAL_NORMALIZER_NFKC; n <= GAL_NORMALIZER_NMT_NFKC; n++) {
        gal_buf model = { 0 };
        gal_tokenizer *t = NULL;
        train(&model, (gal_normalizer)n);
        assert_int_equal(gal_tokenizer_open_bytes(&t, model.data, model.len, "trained", NULL), GAL_OK);
        assert_true(cut_often(t) > 1000);
        gal_buf_free(&model);
        gal_tokenizer_free(t);
    }
    /* A rule across a space, and one that begins with it. */
    gal_tokenizer *t = NULL;
    assert_int_equal(gal_tokenizer_open(&t, GOLDEN "rules-map.model", NULL), GAL_OK);
    assert_true(cut_often(t) > 1000);
    gal_tokenizer_free(t);
    assert_int_equal(gal_tokenizer_open(&t, GOLDEN "rules-map-spaces.model", NULL), GAL_OK);
    assert_int_equal(gal__charsmap_cut(t->charsmap, t, "a b c ", 6), 0);
    gal_tokenizer_free(t);
}

/* A table that is changed anywhere is refused or leads to some text; none leads out of it. */
static void damaged(void **state) {
    (void)state;
    gal_buf table = { 0 };
    gal_diag diag = { 0 };
    gal__charsmap *m = NULL;
    static const char TEXT[] =
        "e\xcc\x81 \xef\xac\x81\xe1\x84\x80\xe1\x85\xa1\xff\xea\xb0\x80\xe1\x86\xa8 \xf0\x9d\x94\xb8";
    assert_int_equal(gal_normalizer_table(&table, GAL_NORMALIZER_NFKC, NULL), GAL_OK);
    static const size_t SHORT[] = { 1, 4, 5, 1000 };
    for (size_t i = 0; i < GAL_LEN(SHORT); i++) {
        uint8_t *copy = malloc(SHORT[i]); /* exact, so that a sanitizer sees a read beyond it */
        assert_non_null(copy);
        memcpy(copy, table.data, SHORT[i]);
        assert_int_equal(gal__charsmap_new(&m, "nfkc", copy, SHORT[i], "cut", &diag), GAL_EINPUT);
        assert_non_null(strstr(diag.text, "cut: the table of its normaliser 'nfkc' is damaged"));
        free(copy);
    }
    diag = (gal_diag){ 0 };
    assert_int_equal(gal__charsmap_new(&m, "nfkc", table.data, table.len - 1, "cut", &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "has no end"));
    for (uint64_t i = 0; i < 4000; i++) {
        const size_t at = (size_t)gal_rng_below(8, 0, i, table.len);
        const char old = table.data[at];
        table.data[at] = (char)gal_rng_below(8, 1, i, 256);
        const gal_err err = gal__charsmap_new(&m, NULL, table.data, table.len, "changed", NULL);
        assert_true(err == GAL_OK || err == GAL_EINPUT);
        if (!err) {
            gal_buf out = { 0 };
            assert_int_equal(gal__charsmap_apply(m, NULL, TEXT, sizeof TEXT, &out, NULL), GAL_OK);
            gal_buf_free(&out);
            gal__charsmap_free(m);
        }
        table.data[at] = old;
    }
    gal_buf_free(&table);
}

/* An allocation fails: no memory is what is said, and nothing is held. */
static void starved(void **state) {
    (void)state;
    gal_err err = GAL_ENOMEM;
    for (size_t at = 1; err; at += at < 40 ? 1 : 7) { /* the later ones double arrays */
        counted c = { .fail_at = at };
        gal_buf table = { 0 }, out = { 0 };
        gal__charsmap *m = NULL;
        gal_diag diag = { 0 };
        gal_set_alloc_hook(fail_one, &c);
        err = gal_normalizer_table(&table, GAL_NORMALIZER_NMT_NFKC, &diag);
        if (!err) err = gal__charsmap_new(&m, "nmt_nfkc", table.data, table.len, "table", &diag);
        if (!err) err = gal__charsmap_apply(m, NULL, "e\xcc\x81 x", 5, &out, &diag);
        gal_buf_free(&table);
        gal_buf_free(&out);
        gal__charsmap_free(m);
        gal_set_alloc_hook(NULL, NULL);
        assert_int_equal(c.held, 0);
        if (err && (err != GAL_ENOMEM || !strstr(diag.text, "no memory")))
            fail_msg("allocation %zu: %s: %s", at, gal_err_name(err), diag.text);
        assert_true(at < 1000);
        if (!err) assert_true(at > 50);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),      cmocka_unit_test(golden_forms), cmocka_unit_test(golden_ids),
        cmocka_unit_test(others_rules), cmocka_unit_test(told_apart),   cmocka_unit_test(cuts),
        cmocka_unit_test(damaged),      cmocka_unit_test(starved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
