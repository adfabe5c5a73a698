/* tune_test.c - which numbers of threads are tried, what is remembered of them, and of what. SPDX-License-Identifier:
 * Apache-2.0 */
#include "tiny.h"

#include "base/buf.h"
#include "base/file.h"
#include "infer/tune.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "galerne-test-tune.XXXXXX";
static char file[64];
static gal_diag diag;

static int set_up(void **state) {
    (void)state;
    diag = (gal_diag){ 0 };
    memcpy(dir + sizeof dir - 7, "XXXXXX", 6);
    if (!mkdtemp(dir)) return -1;
    (void)snprintf(file, sizeof file, "%s/threads", dir);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return gal_remove_tree(dir, NULL) == GAL_OK ? 0 : -1;
}

static gal_topology made;

static void expect_counts(int processors, int cores, int quota, const char *want) {
    int counts[GAL_TUNE_TRIES];
    gal_buf b = { 0 };
    made.processors = processors;
    made.cores = cores;
    made.quota = quota;
    made.threads = GAL_MIN(cores, quota);
    size_t n = gal_tune_counts(counts, &made);
    assert_true(n <= GAL_TUNE_TRIES);
    for (size_t i = 0; i < n; i++) gal_buf_printf(&b, "%s%d", i ? " " : "", counts[i]);
    assert_string_equal(b.data, want);
    gal_buf_free(&b);
}

static void what_is_tried(void **state) {
    (void)state;
    expect_counts(1, 1, INT_MAX, "1");
    expect_counts(2, 2, INT_MAX, "1 2");
    expect_counts(8, 4, INT_MAX, "1 2 4 8"); /* siblings at last */
    expect_counts(12, 6, INT_MAX, "1 2 4 6 12");
    expect_counts(12, 6, 3, "1 2 3");
    expect_counts(2048, 2048, INT_MAX, "1 2 4 8 16 32 64 128 256 512 1024");
}

static void keys_tell_machines_and_models_apart(void **state) {
    (void)state;
    char key[6][GAL_TUNE_KEY], path[96];
    gal_model *a = tiny_model(0, false), *b = tiny_model(0, false);
    gal_tune_key(key[0], a, "avx2", dir);
    gal_tune_key(key[5], b, "avx2", dir);
    assert_string_equal(key[0], key[5]);
    gal_tune_key(key[1], a, "avx512", dir);
    b->config.F++;
    gal_tune_key(key[2], b, "avx2", dir);
    (void)snprintf(path, sizeof path, "%s/proc", dir);
    assert_int_equal(gal_make_dirs(path, NULL), GAL_OK);
    (void)snprintf(path, sizeof path, "%s/proc/cpuinfo", dir);
    static const char ONE[] = "processor : 0\nmodel name : Fast 9000\nflags : x\n",
                      TWO[] = "model name : Fast 9001\n";
    assert_int_equal(gal_write_file(path, ONE, sizeof ONE - 1, NULL), GAL_OK);
    gal_tune_key(key[3], a, "avx2", dir);
    assert_int_equal(gal_write_file(path, TWO, sizeof TWO - 1, NULL), GAL_OK);
    gal_tune_key(key[4], a, "avx2", dir);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(strlen(key[i]), GAL_TUNE_KEY - 1);
        for (int j = 0; j < i; j++) assert_string_not_equal(key[i], key[j]);
    }
    gal_model_free(a);
    gal_model_free(b);
}

static const char A[] = "0123456789abcdef", B[] = "fedcba9876543210";

static void what_was_remembered_is_recalled(void **state) {
    (void)state;
    assert_int_equal(gal_tune_recall(file, A), 0); /* no such file */
    assert_int_equal(gal_tune_remember(file, A, 4, &diag), GAL_OK);
    assert_int_equal(gal_tune_remember(file, B, 2, &diag), GAL_OK);
    assert_int_equal(gal_tune_recall(file, A), 4);
    assert_int_equal(gal_tune_recall(file, B), 2);
    assert_int_equal(gal_tune_remember(file, A, 8, &diag), GAL_OK);
    assert_int_equal(gal_tune_recall(file, A), 8);
    assert_int_equal(gal_tune_recall(file, B), 2);
    assert_int_equal(gal_tune_recall(file, "0000000000000000"), 0);
    gal_buf b = { 0 };
    assert_int_equal(gal_read_file(&b, file, 1000, &diag), GAL_OK);
    assert_string_equal(b.data, "0123456789abcdef 8\nfedcba9876543210 2\n");
    gal_buf_free(&b);
    for (int i = 0; i < 300; i++) { /* the file stays small; what is oldest goes */
        char key[GAL_TUNE_KEY];
        (void)snprintf(key, sizeof key, "%016d", i);
        assert_int_equal(gal_tune_remember(file, key, 1 + i, &diag), GAL_OK);
        assert_int_equal(gal_tune_recall(file, key), 1 + i);
    }
    assert_int_equal(gal_tune_recall(file, A), 0);
    assert_int_equal(gal_tune_recall(file, "0000000000000299"), 300);
    assert_int_equal(gal_tune_recall(file, "0000000000000200"), 201);
    assert_int_equal(gal_tune_remember("no/such/folder/threads", A, 1, &diag), GAL_EIO);
}

static void odd_lines_are_passed_over(void **state) {
    (void)state;
    static const char *const LINES[] = { "",
                                         "\n",
                                         "0123456789abcdef\n",
                                         "0123456789abcdef \n",
                                         "0123456789abcdef 0\n",
                                         "0123456789abcdef -4\n",
                                         "0123456789abcdef 1025\n",
                                         "0123456789abcdef 4 \n",
                                         "0123456789abcdef 99999999999999999999\n",
                                         "0123456789abcdef:4\n",
                                         "0123456789ABCDEF 4\n",
                                         "x0123456789abcdef 4\n",
                                         "0123456789abcde 4\n",
                                         "0123456789abcdef 4" /* cut off */ };
    for (size_t i = 0; i < GAL_LEN(LINES); i++) {
        assert_int_equal(gal_write_file(file, LINES[i], strlen(LINES[i]), &diag), GAL_OK);
        if (gal_tune_recall(file, A)) fail_msg("line %zu was taken", i);
        assert_int_equal(gal_tune_remember(file, B, 3, &diag), GAL_OK);
        gal_buf b = { 0 };
        assert_int_equal(gal_read_file(&b, file, 1000, &diag), GAL_OK);
        assert_string_equal(b.data, "fedcba9876543210 3\n");
        gal_buf_free(&b);
    }
    static const char ZEROS[] = "0123456789abcdef\0 4\n\0\0";
    assert_int_equal(gal_write_file(file, ZEROS, sizeof ZEROS, &diag), GAL_OK);
    assert_int_equal(gal_tune_recall(file, A), 0);
}

typedef struct seen {
    int n, last, stop_after;
    double least;
    int best;
} seen;
static void tried(void *user, int threads, double seconds) {
    seen *s = user;
    assert_true(threads > s->last && seconds > 0);
    if (!s->n || seconds <= 0.98 * s->least) {
        s->least = seconds;
        s->best = threads;
    }
    s->last = threads;
    s->n++;
}
static bool stop(void *user) {
    const seen *s = user;
    return s->n == s->stop_after;
}

static void the_fastest_wins(void **state) {
    (void)state;
    gal_lm_options lo;
    gal_lm_options_init(&lo);
    made = (gal_topology){ .processors = 3, .cores = 2, .threads = 2, .quota = INT_MAX };
    seen s = { .stop_after = 99 };
    const gal_tune_watch watch = { tried, stop, &s };
    int best = 0;
    if (gal_tune_model(&best, "tests/golden/mistral-base", &lo, &made, &watch, &diag)) fail_msg("%s", diag.text);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.last, 3);
    assert_int_equal(best, s.best);
    s = (seen){ .stop_after = 1 };
    best = -5;
    assert_int_equal(gal_tune_model(&best, "tests/golden/mistral-base", &lo, &made, &watch, &diag), GAL_EINTERRUPTED);
    assert_int_equal(best, -5);
    assert_int_equal(s.n, 1);
    assert_int_equal(gal_tune_model(&best, dir, &lo, &made, NULL, &diag), GAL_EINPUT);
}

int main(void) {
#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_tried),
        WITH_DIR(keys_tell_machines_and_models_apart),
        WITH_DIR(what_was_remembered_is_recalled),
        WITH_DIR(odd_lines_are_passed_over),
        WITH_DIR(the_fastest_wins),
    };
    return cmocka_run_group_tests_name("infer/tune", tests, NULL, NULL);
}
