/* series_test.c - long series as a few points, and tables that nobody knew of. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/runs.h"
#include "train/series.h"

#include <float.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char folder[256];

static int setup(void **state) {
    (void)state;
    make_folder(folder);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    remove_folder(folder);
    return 0;
}

/* ---- thinning ----------------------------------------------------------------------------------------------------
 */

static double value(int64_t i) {
    return i % 7 == 3 ? (double)NAN : (double)gal_rng_below(5, 6, (uint64_t)i, 2000) - 1000;
}

/* All that a point says is what its rows say. */
static void check_point(const gal_thin *t, size_t i, int64_t *row) {
    const gal_thin_span *p = &t->spans[i];
    double sum = 0, low = (double)INFINITY, high = -(double)INFINITY;
    int64_t n = 0;
    assert_int_equal(p->first, 10 + 2 * *row);
    for (int64_t k = 0; k < p->rows; k++, ++*row) {
        const double x = value(*row);
        if (!isfinite(x)) continue;
        sum += x;
        low = fmin(low, x);
        high = fmax(high, x);
        n++;
    }
    assert_int_equal(p->last, 10 + 2 * (*row - 1));
    const gal_thin_value *v = &t->values[i * t->columns];
    assert_int_equal(v->rows, n);
    assert_true(!n || (v->sum == sum && v->low == low && v->high == high)); /* whole numbers: exact */
    assert_int_equal(v[1].rows, p->rows);
    assert_true(v[1].sum == (double)p->rows);
}

static void points_say_what_rows_say(void **state) {
    (void)state;
    static const int64_t COUNTS[] = { 0, 1, 2, 7, 8, 9, 15, 16, 17, 100, 1000, 4097 };
    static const size_t MOST[] = { GAL_THIN_LEAST, 3, 8, 100 };
    for (size_t c = 0; c < GAL_LEN(COUNTS); c++) {
        for (size_t m = 0; m < GAL_LEN(MOST); m++) {
            gal_thin t;
            int64_t row = 0;
            gal_thin_init(&t, 2, MOST[m]);
            for (int64_t i = 0; i < COUNTS[c]; i++)
                assert_true(gal_thin_add(&t, 10 + 2 * i, (double[]){ value(i), 1 }));
            assert_int_equal(t.rows, COUNTS[c]);
            assert_true(t.n <= MOST[m]);
            assert_true(COUNTS[c] > (int64_t)t.most || t.width == 1); /* what fits is not touched */
            assert_true(COUNTS[c] <= (int64_t)t.most || t.n > t.most / 2);
            for (size_t i = 0; i < t.n; i++) {
                assert_true(i + 1 == t.n || t.spans[i].rows == t.width);
                check_point(&t, i, &row);
            }
            assert_int_equal(row, COUNTS[c]);
            gal_thin_free(&t);
        }
    }
}

/* ---- tables ------------------------------------------------------------------------------------------------------
 */

static const char *database(const char *run, const char *sql) {
    static gal_buf path;
    sqlite3 *db = NULL;
    char *why = NULL;
    gal_buf_clear(&path);
    gal_buf_printf(&path, "%s/%s", folder, run);
    (void)mkdir(path.data, 0777);
    gal_buf_printf(&path, "/metrics.sqlite");
    assert_int_equal(sqlite3_open(path.data, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK) fail_msg("%s", why);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return path.data;
}

static gal_metrics *reading(const char *path) {
    gal_metrics *m = NULL;
    CHECK_OK(gal_metrics_open(&m, path, false, diag));
    CHECK_OK(gal_series_guard(m, 100, diag));
    return m;
}

static void any_table_by_step(void **state) {
    (void)state;
    gal_metrics *m = reading(database(
        "any",
        "CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT);"
        "INSERT INTO facts VALUES ('b', '2'), ('a', 'one');"
        "CREATE TABLE \"odd \"\"name\" (step INTEGER, layer INTEGER, source TEXT, x REAL, raw BLOB, \"y,\"\"z\" REAL,"
        " PRIMARY KEY (step, layer));"
        "INSERT INTO \"odd \"\"name\" VALUES (1, 0, 'a', 1.5, x'00', 7), (1, 1, 'a', 2.5, x'00', NULL),"
        " (2, 0, 'a', 3.5, x'00', 'word'), (2, 1, 'b', 9e999, x'00', -2), (3, 0, NULL, 5, x'00', 1);"
        "INSERT INTO \"odd \"\"name\" VALUES ('late', 0, 'a', 1, x'00', 1), (NULL, 7, 'a', 1, x'00', 1);"
        "CREATE TABLE stepless (x REAL); CREATE TABLE only (step INTEGER); CREATE TABLE none (step INTEGER, x "
        "REAL);"
        "CREATE TABLE jolts (number INTEGER PRIMARY KEY, why TEXT, step INTEGER, x REAL);"
        "INSERT INTO jolts VALUES (1, 'a', 5, 1.0), (2, 'b', 5, 2.0), (3, 'a', 5, 3.0)"));
    gal_series_tables tables;
    gal_series_set set;
    CHECK_OK(gal_series_describe(m, &tables, diag));
    assert_int_equal(tables.n, 3);
    const gal_series_table *jolts = gal_series_find(&tables, "jolts");
    assert_true(jolts->events && jolts->n_labels == 1 && jolts->n_columns == 1); /* not by number */
    assert_true(gal_series_find(&tables, "none")->empty);
    assert_null(gal_series_find(&tables, "stepless"));
    const gal_series_table *t = gal_series_find(&tables, "odd \"name");
    assert_non_null(t);
    assert_false(t->events);
    assert_int_equal(t->n_labels, 2);
    assert_string_equal(t->labels[0], "layer");
    assert_string_equal(t->labels[1], "source");
    assert_int_equal(t->n_columns, 2);
    assert_string_equal(t->columns[1], "y,\"z");
    const gal_series_range all = { .after = -1, .until = INT64_MAX, .points = 100 };
    CHECK_OK(gal_series_read(m, t, &all, &set, diag));
    assert_int_equal(set.rows, 5); /* steps that are none are passed over */
    assert_int_equal(set.last, 3);
    assert_int_equal(set.n, 4);
    assert_false(set.has_seconds);
    assert_string_equal(set.v[0].labels[0], "0");
    assert_string_equal(set.v[2].labels[1], "b");
    assert_null(set.v[3].labels[1]);
    assert_int_equal(set.v[0].thin.n, 2);
    assert_true(set.v[0].thin.values[2].sum == 3.5);
    assert_int_equal(set.v[0].thin.values[3].rows, 0); /* a word */
    assert_int_equal(set.v[1].thin.values[1].rows, 0); /* nothing */
    assert_int_equal(set.v[2].thin.values[0].rows, 0); /* infinite */
    gal_series_set_free(&set, t);
    const gal_series_range some = { .after = 1, .until = 2, .points = 100 };
    CHECK_OK(gal_series_read(m, t, &some, &set, diag));
    assert_int_equal(set.rows, 2);
    gal_series_set_free(&set, t);
    gal_series_tables_free(&tables);
    gal_metrics_close(m);
}

static void keep_fact(void *user, const char *key, const char *value) { gal_buf_printf(user, "%s=%s;", key, value); }

static void facts_in_order(void **state) {
    (void)state;
    gal_buf told = { 0 };
    gal_metrics *m = reading(database("any", ""));
    CHECK_OK(gal_series_facts(m, keep_fact, &told, diag));
    assert_string_equal(told.data, "a=one;b=2;");
    gal_buf_free(&told);
    gal_metrics_close(m);
}

/* More series than there is room for, and more rows than are read under one lock. */
static void bounds(void **state) {
    (void)state;
    gal_series_tables tables;
    gal_series_set set;
    gal_metrics *m = reading(
        database("many", "CREATE TABLE wide (step INTEGER, k INTEGER, x REAL, PRIMARY KEY (step, k));"
                         "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 199)"
                         " INSERT INTO wide SELECT 1 + i / 100, i % 100, i FROM n;"
                         "CREATE TABLE deep (step INTEGER, k INTEGER, x REAL, PRIMARY KEY (step, k));"
                         "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 25199)"
                         " INSERT INTO deep SELECT 1 + i / 63, i % 63, i FROM n;"
                         "CREATE TABLE steps (step INTEGER PRIMARY KEY, tokens INTEGER, tokens_per_s REAL, x REAL);"
                         "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50001)"
                         " INSERT INTO steps SELECT i, i * 10, 20, i FROM n"));
    CHECK_OK(gal_series_describe(m, &tables, diag));
    const gal_series_range all = { .after = -1, .until = INT64_MAX, .points = 1000 };
    const gal_series_table *t = gal_series_find(&tables, "wide");
    CHECK_OK(gal_series_read(m, t, &all, &set, diag));
    assert_int_equal(set.n, GAL_SERIES_MOST);
    assert_int_equal(set.left_out, 2 * (100 - GAL_SERIES_MOST));
    gal_series_set_free(&set, t);

    t = gal_series_find(&tables, "deep"); /* a piece ends in the middle of a step */
    CHECK_OK(gal_series_read(m, t, &all, &set, diag));
    assert_int_equal(set.rows, 25200);
    for (size_t i = 0; i < set.n; i++) assert_int_equal(set.v[i].thin.rows, 400);
    gal_series_set_free(&set, t);

    t = gal_series_find(&tables, "steps");
    assert_int_equal(t->last, 50001);
    CHECK_OK(gal_series_read(m, t, &all, &set, diag));
    assert_int_equal(set.rows, 50001);
    assert_int_equal(set.v[0].thin.width, 64);
    /* Ten tokens a step at twenty a second. The sum of n halves is exact. */
    assert_true(set.has_seconds && set.seconds == 50001 * 0.5);
    gal_series_set_free(&set, t);
    const gal_series_range rest = { .after = 49999, .until = INT64_MAX, .points = 1000 };
    CHECK_OK(gal_series_read(m, t, &rest, &set, diag));
    assert_int_equal(set.rows, 2);
    assert_true(set.seconds == 1.0 && set.last == 50001);
    gal_series_set_free(&set, t);
    gal_series_tables_free(&tables);
    gal_metrics_close(m);
}

/* What strangers may put into a database is not run, and nothing is changed. */
static void guarded(void **state) {
    (void)state;
    gal_diag why = { 0 };
    gal_metrics *m = reading(database("guarded", "CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT)"));
    assert_int_equal(gal_metrics_fact(m, "a", "b", &why), GAL_OK);
    assert_int_not_equal(gal_metrics_flush(m, &why), GAL_OK);
    gal_metrics_close(m);
}

static void damaged(void **state) {
    (void)state;
    char name[300], bytes[4096];
    gal_metrics *m = NULL;
    gal_series_tables tables;
    gal_diag diag_ = { 0 };
    memset(bytes, 'x', sizeof bytes);
    put_file(folder, "none.sqlite", bytes, sizeof bytes);
    (void)snprintf(name, sizeof name, "%s/none.sqlite", folder);
    gal_err err = gal_metrics_open(&m, name, false, &diag_);
    if (!err) err = gal_series_describe(m, &tables, &diag_);
    assert_int_equal(err, GAL_EINPUT);
    assert_non_null(strstr(diag_.text, name));
    gal_metrics_close(m);
}

/* ---- memory ------------------------------------------------------------------------------------------------------
 */

/* What is held, and after how many more requests there is no memory. */
static size_t held;
static int64_t left;
static void *failing(void *user, void *ptr, size_t old_bytes, size_t bytes) {
    (void)user;
    if (bytes && left-- <= 0) return NULL;
    held = held - old_bytes + bytes;
    if (bytes) return realloc(ptr, bytes);
    free(ptr);
    return NULL;
}

static gal_err read_all(const char *run, gal_diag *diag) {
    const gal_series_range all = { .after = -1, .until = INT64_MAX, .points = 16 };
    gal_metrics *m = NULL;
    gal_series_tables tables = { 0 };
    gal_run_list list = { 0 };
    gal_err err = gal_runs_find(&list, run, diag);
    if (!err) err = gal_run_metrics(&m, run, diag);
    if (!err) err = gal_series_guard(m, 100, diag);
    if (!err) err = gal_series_describe(m, &tables, diag);
    for (size_t i = 0; !err && i < tables.n; i++) {
        gal_series_set set;
        err = gal_series_read(m, &tables.v[i], &all, &set, diag);
        if (!err) gal_series_set_free(&set, &tables.v[i]);
    }
    gal_series_tables_free(&tables);
    gal_metrics_close(m);
    gal_run_list_free(&list);
    return err;
}

static void no_memory(void **state) {
    (void)state;
    char run[300];
    gal_err err = GAL_ENOMEM;
    int64_t n = 0;
    (void)snprintf(run, sizeof run, "%s/any", folder);
    gal_set_alloc_hook(failing, NULL);
    for (; err == GAL_ENOMEM; n++) {
        gal_diag why = { 0 };
        left = n;
        err = read_all(run, &why);
        assert_int_equal(held, 0);
        assert_true(!err || strstr(why.text, "no memory"));
    }
    gal_set_alloc_hook(NULL, NULL);
    assert_int_equal(err, GAL_OK);
    assert_true(n > 20);
}

/* ---- where runs are ----------------------------------------------------------------------------------------------
 */

static void find_them(void **state) {
    (void)state;
    char at[300], sweep[320];
    gal_run_list list = { 0 };
    gal_diag why = { 0 };
    (void)snprintf(at, sizeof at, "%s/places", folder);
    (void)snprintf(sweep, sizeof sweep, "%s/sweep", at);
    (void)mkdir(at, 0777);
    (void)mkdir(sweep, 0777);
    (void)database("places/b", "");
    (void)database("places/sweep/a", "");
    (void)database("places/.hidden", "");
    (void)database("places/b/inside", ""); /* of a run's own folders none is looked into */
    CHECK_OK(gal_runs_find(&list, at, diag));
    assert_int_equal(list.n, 2);
    assert_non_null(strstr(list.paths[0], "/places/b"));
    assert_non_null(strstr(list.paths[1], "/places/sweep/a"));
    CHECK_OK(gal_runs_find(&list, list.paths[1], diag)); /* known already */
    assert_int_equal(list.n, 2);
    assert_int_equal(gal_runs_find(&list, "nowhere", &why), GAL_EINPUT);
    gal_run_list_free(&list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_say_what_rows_say),
        cmocka_unit_test(any_table_by_step),
        cmocka_unit_test(facts_in_order),
        cmocka_unit_test(bounds),
        cmocka_unit_test(guarded),
        cmocka_unit_test(damaged),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(find_them),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
