/* mix_test.c - mixtures keep their proportions, in every stretch of rows; states go through JSON; rows that a thread
 * gathers are those that it would be without; files that are damaged, changed or gone are told.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/feed.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEQ = 16, SOURCES = 3 };

static char folder[256];
static gal_tokenizer *tok;

static char *in(const char *name) {
    static char text[8][600];
    static int turn;
    char *s = text[turn++ % 8];
    (void)snprintf(s, sizeof text[0], "%s/%s", folder, name);
    return s;
}

/* A shard of random ids; documents of 1 to 100. */
typedef struct made {
    uint64_t seed;
    size_t tokens;
} made;

static gal_err emit(gal_sink *s, void *user, gal_diag *diag) {
    const made *o = user;
    gal_shard_maker m = { 0 };
    int32_t ids[100];
    size_t n = 0;
    gal_err err = gal_shard_maker_begin(&m, tok, s, diag);
    for (uint64_t i = 0; !err && n < o->tokens; i++) {
        size_t len = GAL_MIN(1 + (size_t)gal_rng_below(o->seed, 1, i, 100), o->tokens - n);
        for (size_t k = 0; k < len; k++) ids[k] = (int32_t)gal_rng_below(o->seed, 2, n + k, 250);
        err = gal_shard_maker_document(&m, diag);
        gal_shard_maker_text(&m, "text", 4);
        if (!err) err = gal_shard_maker_ids(&m, ids, len, diag);
        gal_shard_maker_document_ends(&m);
        n += len;
    }
    if (!err) err = gal_shard_maker_end(&m, diag);
    gal_shard_maker_free(&m);
    return err;
}

static void make_shard(const char *name, uint64_t seed, size_t tokens) {
    made o = { seed, tokens };
    CHECK_OK(gal_write_atomic(in(name), emit, &o, diag));
}

static int setup(void **state) {
    (void)state;
    make_folder(folder);
    CHECK_OK(gal_tokenizer_open(&tok, "tests/golden/text/tiny.model", diag));
    make_shard("a.shard", 1, 5000);
    make_shard("b.shard", 2, 900);
    make_shard("c.shard", 3, 20000);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    gal_tokenizer_free(tok);
    remove_folder(folder);
    return 0;
}

static void open_mix(gal_mix *m, const double *weights, gal_packing packing) {
    static const char *const NAMES[SOURCES] = { "a.shard", "b.shard", "c.shard" };
    char *paths[SOURCES];
    gal_mix_part parts[SOURCES];
    for (size_t i = 0; i < SOURCES; i++) {
        paths[i] = in(NAMES[i]);
        parts[i] = (gal_mix_part){ .name = NAMES[i], .weight = weights[i], .paths = &paths[i], .n_paths = 1 };
    }
    CHECK_OK(gal_mix_open(m, parts, SOURCES, NULL, diag));
    CHECK_OK(gal_mix_order(m, 11, SEQ, packing, diag));
}

/* ---- proportions -------------------------------------------------------------------------------------------------
 */

/* How far a stretch of n points of a rotation by the golden ratio can be from its part of an interval: twice the
 * bound of Kuipers and Niederreiter (Uniform Distribution of Sequences, theorem 2.3.4) for partial quotients of 1,
 * because an interval is the difference of two that begin at 0. */
static double most_astray(double n) { return 2 * (3 + (1 / log((1 + sqrt(5)) / 2) + 1 / log(2)) * log(n)); }

static void proportions(void **state) {
    (void)state;
    static const double WEIGHTS[][SOURCES] = { { 48, 27, 25 }, { 1, 1, 1 }, { 1, 1000, 3 }, { 0.5, 0.25, 0.25 } };
    enum { ROWS = 300000 };
    double worst = 0;
    for (size_t w = 0; w < GAL_LEN(WEIGHTS); w++) {
        gal_mix m;
        open_mix(&m, WEIGHTS[w], GAL_PACKING_MASKED);
        for (uint64_t from = 0; from < 4; from++) {
            const uint64_t begin = from * from * from * UINT64_C(1000000007);
            double counts[SOURCES] = { 0 };
            for (uint64_t i = 0; i < ROWS; i++) {
                counts[gal_mix_source_of(&m, begin + i)]++;
                for (size_t k = 0; k < SOURCES; k++) {
                    double astray = fabs(counts[k] - m.sources[k].weight * (double)(i + 1));
                    worst = fmax(worst, astray);
                    if (astray > most_astray((double)(i + 1)))
                        fail_msg("row %llu: source %zu is %g rows astray", (unsigned long long)i, k, astray);
                }
            }
        }
        gal_mix_close(&m);
    }
    assert_true(worst < most_astray(ROWS) / 4); /* what mix.h says of "a few rows" */
    print_message("at most %.2f rows astray\n", worst);
}

static void presets(void **state) {
    (void)state;
    static const char *const SUBSETS[] = { "MassiveWeb", "Books", "C4", "News", "GitHub", "Wikipedia" };
    static const double GOPHER[] = { 48, 27, 10, 10, 3, 2 }, CHINCHILLA[] = { 45, 30, 10, 10, 4, 1 };
    double a = 0, b = 0;
    for (size_t i = 0; i < GAL_LEN(SUBSETS); i++) {
        assert_true(gal_massivetext_weight(SUBSETS[i], false, NULL) == GOPHER[i]);
        assert_true(gal_massivetext_weight(SUBSETS[i], true, NULL) == CHINCHILLA[i]);
        a += GOPHER[i];
        b += CHINCHILLA[i];
    }
    assert_true(a == 100 && b == 100);
    assert_true(gal_massivetext_weight("books", false, NULL) == 0);
}

static void bad_weights(void **state) {
    (void)state;
    static const double BAD[] = { 0, -1, (double)NAN, (double)INFINITY, 1e-300 };
    char *a = in("a.shard"), *none = in("none.shard"), *pattern = in("x*.shard"), *all = in("?.shard");
    for (size_t i = 0; i < GAL_LEN(BAD); i++) {
        const gal_mix_part parts[] = { { "one", 1, &a, 1 }, { "other", BAD[i], &a, 1 } };
        gal_mix m = { 0 };
        gal_diag why = { 0 };
        assert_int_equal(gal_mix_open(&m, parts, 2, NULL, &why), GAL_EINPUT);
        assert_non_null(strstr(why.text, "expected a weight above 0"));
    }
    char *const missing[] = { none, pattern };
    for (size_t i = 0; i < 2; i++) {
        const gal_mix_part part = { "one", 1, &missing[i], 1 };
        gal_mix m = { 0 };
        gal_diag why = { 0 };
        assert_int_equal(gal_mix_open(&m, &part, 1, NULL, &why), GAL_EINPUT);
        assert_non_null(strstr(why.text, i ? "no file like x*.shard" : "none.shard"));
    }
    char **paths = NULL;
    size_t n = 0;
    CHECK_OK(gal_shards_find(&all, 1, &paths, &n, diag));
    assert_int_equal(n, 3);
    gal_free_names(paths, n);
}

/* ---- states ------------------------------------------------------------------------------------------------------
 */

static void states(void **state) {
    (void)state;
    static const double WEIGHTS[SOURCES] = { 5, 3, 2 };
    gal_mix m;
    int32_t a[4][SEQ], b[4][SEQ];
    int64_t n = 0;
    open_mix(&m, WEIGHTS, GAL_PACKING_PLAIN);
    gal_mix_state s = { 0 }, passed = { 0 };
    for (int i = 0; i < 700; i++) {
        json_t *json = gal_mix_state_json(&m, &s);
        gal_mix_state again;
        assert_non_null(json);
        CHECK_OK(gal_mix_state_read(&again, &m, json, "trainer.json", diag));
        assert_memory_equal(&again, &s, sizeof s);
        json_decref(json);
        CHECK_OK(gal_mix_next(&m, &s, (gal_row){ a[0], a[1], a[2], a[3], 0 }, &n, diag));
        CHECK_OK(gal_mix_next(&m, &again, (gal_row){ b[0], b[1], b[2], b[3], 0 }, &n, diag));
        assert_memory_equal(a, b, sizeof a);
        gal_mix_pass(&m, &passed);
        assert_memory_equal(&passed, &s, sizeof s);
    }
    uint64_t rows = 0;
    for (size_t i = 0; i < SOURCES; i++) rows += gal_mix_rows_of(&m, &s, i);
    assert_int_equal(rows, 700);
    assert_true(s.at[1].epoch > 2 && s.at[2].epoch == 0); /* of 900 tokens, and of 20,000 */
    json_t *json = gal_mix_state_json(&m, &s);
    (void)json_array_remove(json_object_get(json, "sources"), 0);
    gal_diag why = { 0 };
    assert_int_equal(gal_mix_state_read(&s, &m, json, "trainer.json", &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "trainer.json: mixture: "));
    json_decref(json);
    gal_mix_close(&m);
}

/* One shard under two names: each has an order of its own, and the first that which it has alone. */
static void twice_the_same(void **state) {
    (void)state;
    char *path = in("c.shard");
    const gal_mix_part parts[] = { { "one", 1, &path, 1 }, { "other", 1, &path, 1 } };
    gal_mix two, alone;
    CHECK_OK(gal_mix_open(&two, parts, 2, NULL, diag));
    CHECK_OK(gal_mix_open(&alone, parts, 1, NULL, diag));
    CHECK_OK(gal_mix_order(&two, 11, SEQ, GAL_PACKING_PLAIN, diag));
    CHECK_OK(gal_mix_order(&alone, 11, SEQ, GAL_PACKING_PLAIN, diag));
    gal_mix_state s = { 0 }, t = { 0 };
    int32_t a[4][SEQ], b[4][SEQ];
    int64_t n = 0;
    int same = 0, others = 0;
    for (int i = 0; i < 400; i++) {
        const size_t source = gal_mix_source_of(&two, s.row);
        CHECK_OK(gal_mix_next(&two, &s, (gal_row){ a[0], a[1], a[2], a[3], 0 }, &n, diag));
        if (source == 1) {
            gal_order_state at = { 0, s.at[1].row - 1 };
            CHECK_OK(gal_order_next(&alone.sources[0].order, &at, (gal_row){ b[0], b[1], b[2], b[3], 0 }, &n, diag));
            same += memcmp(a[0], b[0], sizeof a[0]) == 0;
            others++;
        } else {
            CHECK_OK(gal_mix_next(&alone, &t, (gal_row){ b[0], b[1], b[2], b[3], 0 }, &n, diag));
            assert_memory_equal(a, b, sizeof a);
        }
    }
    assert_true(others > 190 && same < 10);
    gal_mix_close(&two);
    gal_mix_close(&alone);
}

static void read_ahead(void **state) {
    (void)state;
    static const double WEIGHTS[SOURCES] = { 5, 3, 2 };
    enum { ROWS = 3, BATCHES = 2, N = SEQ * ROWS * BATCHES };
    gal_mix m;
    open_mix(&m, WEIGHTS, GAL_PACKING_MASKED);
    gal_feed *feeds[2];
    gal_feed_rows rows[2];
    gal_mix_state at[2] = { 0 };
    /* One after the other: each has the mixture to itself. */
    static int32_t seen[2][200][4][N];
    for (int f = 0; f < 2; f++) {
        CHECK_OK(gal_feed_new(&feeds[f], &m, SEQ, ROWS, BATCHES, f == 1, diag));
        for (int i = 0; i < 200; i++) {
            gal_mix_state other = { 0 };
            if (i % 7 == 3)
                CHECK_OK(gal_feed_take(feeds[f], &other, BATCHES, BATCHES, &rows[f], diag)); /* somewhere else */
            CHECK_OK(gal_feed_take(feeds[f], &at[f], BATCHES, BATCHES, &rows[f], diag));
            memcpy(seen[f][i][0], rows[f].ids, sizeof seen[f][i][0]);
            memcpy(seen[f][i][1], rows[f].pos, sizeof seen[f][i][1]);
            memcpy(seen[f][i][2], rows[f].start, sizeof seen[f][i][2]);
            memcpy(seen[f][i][3], rows[f].target, sizeof seen[f][i][3]);
            int64_t targets = 0;
            for (int k = 0; k < N; k++) targets += rows[f].target[k] >= 0;
            assert_int_equal(targets, rows[f].targets);
        }
        gal_feed_free(feeds[f]);
    }
    assert_memory_equal(seen[0], seen[1], sizeof seen[0]);
    assert_memory_equal(&at[0], &at[1], sizeof at[0]);
    gal_mix_close(&m);
}

/* ---- files -------------------------------------------------------------------------------------------------------
 */

static void flip(const char *name, long at) {
    FILE *f = fopen(in(name), "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    int c = fgetc(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fputc(c ^ 1, f), c ^ 1);
    assert_int_equal(fclose(f), 0);
}

/* A file too large to be looked at when it is opened: damage is told where it is read, and nothing of it is used. */
static void damage_in_a_large_file(void **state) {
    (void)state;
    enum { TOKENS = 36000000, MIB = 1 << 20 };
    make_shard("large.shard", 9, TOKENS);
    flip("large.shard", 40L * MIB + GAL_SHARD_HEADER + 17);
    gal_shards s;
    int32_t a[4][SEQ];
    const gal_row row = { a[0], a[1], a[2], a[3], 0 };
    char *path = in("large.shard");
    int64_t n = 0;
    CHECK_OK(gal_shards_open(&s, &path, 1, NULL, diag));
    CHECK_OK(gal_shards_row(&s, 10 * MIB, SEQ, GAL_PACKING_PLAIN, row, &n, diag));
    CHECK_OK(gal_shards_row(&s, 41 * MIB / 2 + 100, SEQ, GAL_PACKING_PLAIN, row, &n, diag));
    gal_diag why = { 0 };
    assert_int_equal(gal_shards_row(&s, 20 * MIB, SEQ, GAL_PACKING_PLAIN, row, &n, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "large.shard: the contents are damaged: bytes "));
    /* A row that ends where the damage begins, too; its last target lies there. */
    assert_int_equal(gal_shards_row(&s, 20 * MIB - SEQ, SEQ, GAL_PACKING_PLAIN, row, &n, NULL), GAL_EINPUT);
    why = (gal_diag){ 0 };
    assert_int_equal(gal_shard_check_all(&s.shards[0], NULL, NULL, &why), GAL_EINPUT);
    gal_shards_close(&s);
    CHECK_OK(gal_remove_tree(path, diag));
}

static gal_err unchanged(gal_shards *s, const char *note, gal_diag *diag) {
    gal_buf notes = { 0 };
    gal_err err = gal_shards_unchanged(s, &notes, diag);
    if (!err && note) assert_true(notes.len && strstr(notes.data, note));
    if (!err && !note) assert_int_equal(notes.len, 0);
    gal_buf_free(&notes);
    return err;
}

static void changing_files(void **state) {
    (void)state;
    gal_shards s;
    char *path = in("changing.shard"), elsewhere[600];
    (void)snprintf(elsewhere, sizeof elsewhere, "%s", in("elsewhere.shard"));
    make_shard("changing.shard", 4, 3000);
    CHECK_OK(gal_shards_open(&s, &path, 1, NULL, diag));
    CHECK_OK(unchanged(&s, NULL, diag));
    /* Touched: looked at again, and the same. */
    const struct timespec times[2] = { { .tv_sec = 12345 }, { .tv_sec = 12345 } };
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    CHECK_OK(unchanged(&s, NULL, diag));
    /* Gone: said once, and back again. */
    CHECK_OK(gal_rename(path, elsewhere, diag));
    CHECK_OK(unchanged(&s, "changing.shard is not there any more", diag));
    CHECK_OK(unchanged(&s, NULL, diag));
    CHECK_OK(gal_rename(elsewhere, path, diag));
    CHECK_OK(unchanged(&s, NULL, diag));
    /* Another byte in the same place. */
    flip("changing.shard", 300);
    gal_diag why = { 0 };
    assert_int_equal(unchanged(&s, NULL, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "changing.shard: the file was changed while it was being trained on"));
    flip("changing.shard", 300);
    CHECK_OK(unchanged(&s, NULL, diag));
    /* Shorter within its last page: no signal, but what is gone reads as 0. */
    int32_t a[4][SEQ];
    int64_t n = 0;
    CHECK_OK(gal_shards_row(&s, 0, SEQ, GAL_PACKING_PLAIN, (gal_row){ a[0], a[1], a[2], a[3], 0 }, &n, diag));
    CHECK_OK(gal_shards_whole(&s, diag));
    assert_int_equal(truncate(path, (off_t)s.shards[0].map.bytes - 8), 0);
    CHECK_OK(gal_shards_whole(&s, diag)); /* nothing was read since */
    CHECK_OK(gal_shards_row(&s, 0, SEQ, GAL_PACKING_PLAIN, (gal_row){ a[0], a[1], a[2], a[3], 0 }, &n, diag));
    why = (gal_diag){ 0 };
    assert_int_equal(gal_shards_whole(&s, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "changing.shard: expected the "));
    why = (gal_diag){ 0 };
    assert_int_equal(unchanged(&s, NULL, &why), GAL_EINPUT);
    gal_shards_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proportions),
        cmocka_unit_test(presets),
        cmocka_unit_test(bad_weights),
        cmocka_unit_test(states),
        cmocka_unit_test(twice_the_same),
        cmocka_unit_test(read_ahead),
        cmocka_unit_test(damage_in_a_large_file),
        cmocka_unit_test(changing_files),
    };
    return cmocka_run_group_tests_name("mix", tests, setup, teardown);
}
