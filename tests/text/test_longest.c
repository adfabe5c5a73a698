/* test_longest.c - words by longest pieces beside words by joining, in invented vocabularies: pieces that joining
 * never makes, ranks that do not grow with what is made, runs, and words longer than what is kept in place.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/rng.h"
#include "base/util.h"
#include "support/test.h"
#include "text/internal.h"

#include <string.h>

enum { PIECES = 90, WORDS = 60, SEEDS = 600 };

typedef struct invented {
    gal_buf bytes;
    size_t offsets[256 + PIECES + 1];
    uint8_t types[256 + PIECES];
    size_t count;
} invented;

static bool has(const invented *v, const char *s, size_t n) {
    for (size_t i = 0; i < v->count; i++)
        if (v->offsets[i + 1] - v->offsets[i] == n && memcmp(v->bytes.data + v->offsets[i], s, n) == 0) return true;
    return false;
}

static void add(invented *v, const char *s, size_t n) {
    if (has(v, s, n)) return;
    gal_buf_add(&v->bytes, s, n);
    v->types[v->count] = GAL_PIECE_NORMAL;
    v->offsets[++v->count] = v->bytes.len;
}

static size_t letters(char *out, uint64_t seed, uint64_t *draw, size_t n, uint64_t kinds) {
    for (size_t i = 0; i < n; i++) out[i] = (char)('a' + gal_rng_below(seed, 0, (*draw)++, kinds));
    return n;
}

/* joined: each piece is made of two that came before, as training makes them; else any letters in any order. */
static void invent(invented *v, uint64_t seed, bool joined, uint64_t kinds) {
    uint64_t draw = 0;
    gal_buf_clear(&v->bytes);
    v->count = 0;
    for (int b = 0; b < 256; b++) {
        const char c = (char)b;
        add(v, &c, 1);
    }
    const int pieces = 1 + (int)gal_rng_below(seed, 3, 0, joined ? PIECES : PIECES / 4);
    for (int i = 0; i < pieces; i++) {
        char s[64];
        size_t n = 0;
        for (int part = 0; part < 2 && joined; part++) {
            const uint64_t made = v->count - 256;
            const size_t k = (size_t)gal_rng_below(seed, 0, draw++, made + kinds);
            const size_t id = k < kinds ? 'a' + k : 256 + k - kinds, m = v->offsets[id + 1] - v->offsets[id];
            if (n + m > 30) break;
            memcpy(s + n, v->bytes.data + v->offsets[id], m);
            n += m;
        }
        if (!joined) n = letters(s, seed, &draw, 2 + (size_t)gal_rng_below(seed, 0, draw++, 4), kinds);
        add(v, s, n);
    }
}

static gal_tokenizer *make(const invented *v, bool whole_words) {
    gal_tokenizer *t = NULL;
    gal_diag diag = { 0 };
    const gal__byte_vocab vocab = { .kind = "invented",
                                    .count = v->count,
                                    .bytes = v->bytes.data,
                                    .offsets = v->offsets,
                                    .types = v->types,
                                    .pattern = "[a-z]+|[^a-z]",
                                    .pattern_bytes = 13,
                                    .whole_words = whole_words,
                                    .unk = -1,
                                    .bos = -1,
                                    .eos = -1,
                                    .pad = -1 };
    if (gal__tokenizer_from_bytes(&t, &vocab, "invented", &diag)) fail_msg("%s", diag.text);
    return t;
}

static bool compare(uint64_t seed, bool joined) {
    invented v = { 0 };
    const uint64_t kinds = 1 + gal_rng_below(seed, 1, 0, 4);
    invent(&v, seed, joined, kinds);
    gal_tokenizer *t = make(&v, seed % 2);
    gal__longest *l = t->longest;
    gal_token_scratch *fast = NULL, *slow = NULL;
    assert_int_equal(gal_token_scratch_new(&fast, t, NULL), GAL_OK);
    t->longest = NULL;
    assert_int_equal(gal_token_scratch_new(&slow, t, NULL), GAL_OK);
    t->longest = l;
    uint64_t draw = 0;
    for (int i = 0; i < WORDS && l; i++) {
        char text[700];
        const size_t n = letters(text, seed, &draw, (size_t)gal_rng_below(seed, 2, draw++, i % 10 ? 40 : 700), kinds);
        gal_ids a = { 0 }, b = { 0 };
        assert_int_equal(gal_encode(t, fast, text, n, 0, &a, NULL), GAL_OK);
        t->longest = NULL;
        assert_int_equal(gal_encode(t, slow, text, n, 0, &b, NULL), GAL_OK);
        t->longest = l;
        const bool same = a.len == b.len && (!a.len || memcmp(a.data, b.data, a.len * sizeof *a.data) == 0);
        if (!same && n) fail_msg("seed %llu: other ids for '%.*s'", (unsigned long long)seed, (int)n, text);
        gal_ids_free(&a);
        gal_ids_free(&b);
    }
    gal_token_scratch_free(fast);
    gal_token_scratch_free(slow);
    gal_tokenizer_free(t);
    gal_buf_free(&v.bytes);
    return l != NULL;
}

static void beside_joining(void **state) {
    (void)state;
    int used[2] = { 0 };
    for (uint64_t seed = 0; seed < SEEDS; seed++) used[seed % 3 == 0] += compare(seed, seed % 3 != 0);
    print_message("%d vocabularies made by joins and %d others of %d were encoded so\n", used[0], used[1], SEEDS);
    assert_true(used[0] > SEEDS / 6 && used[1] > SEEDS / 30);
}

/* Pieces too long for it. */
static void too_long(void **state) {
    (void)state;
    invented v = { 0 };
    char s[200];
    invent(&v, 1, true, 2);
    memset(s, 'a', sizeof s);
    v.count--;
    v.bytes.len = v.offsets[v.count];
    add(&v, s, sizeof s);
    gal_tokenizer *t = make(&v, false);
    assert_null(t->longest);
    gal_tokenizer_free(t);
    gal_buf_free(&v.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(beside_joining), cmocka_unit_test(too_long) };
    return cmocka_run_group_tests_name("longest", tests, NULL, NULL);
}
