/* routers_test.c - trainings of routed models: policies that draw from all experts or from a nucleus give the same
 * bytes however they are computed, killed and resumed; what the metrics say of choices and baselines is what the
 * step's own arrays say. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"
#include "support/far.h"
#include "train/tiny.h"

#include "base/mem.h"
#include "train/loop.h"
#include "train/metrics.h"
#include "train/replay.h"

#include <float.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum { LAYERS = 2, EXPERTS = 4, USED = 2, BATCHES = 2 };
#define ROUTED                                                                                                       \
    "model.family=gopher model.kv_heads=0 model.window=0 model.experts=4 model.routed_every=1 router.capacity=1.2 "
#define POLICY ROUTED "model.experts_used=2 model.router=rlr batch.rows=1 batch.accumulate=2 "

/* All numbers of a table, row by row in order; their count. */
static size_t table(const char *run, const char *name, double *out, size_t room) {
    char path[500], sql[100];
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    size_t n = 0;
    (void)snprintf(path, sizeof path, "%s/%s/metrics.sqlite", folder, run);
    (void)snprintf(sql, sizeof sql, "SELECT * FROM %s ORDER BY step, layer", name);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    while (sqlite3_step(s) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(s); i++) {
            assert_true(n < room);
            out[n++] = sqlite3_column_double(s, i);
        }
    (void)sqlite3_finalize(s);
    (void)sqlite3_close(db);
    return n;
}

enum { LOAD_COLUMNS = 6, CHOICE_COLUMNS = 4, BASELINE_COLUMNS = 3, ROOM = STEPS * LAYERS * LOAD_COLUMNS };

/* The bytes of what is trained, and all that is said of the routers. */
static void same_run(const char *a, const char *b) {
    static const char *const TABLES[] = { "loads", "choices", "baselines" };
    same_end(a, b);
    for (size_t i = 0; i < GAL_LEN(TABLES); i++) {
        double x[ROOM], y[ROOM];
        const size_t n = table(a, TABLES[i], x, ROOM);
        assert_int_equal(n, table(b, TABLES[i], y, ROOM));
        assert_true(n > 0);
        assert_memory_equal(x, y, n * sizeof *x);
    }
}

static void policies(void **state) {
    (void)state;
    static const char *const OTHERS[][2] = {
        { "eager", "eager=true" },    { "one", "device.threads=1" },    { "seven", "device.threads=7" },
        { "far", "device.name=far" }, { "blocks", "recompute=blocks" },
    };
    far_use();
    for (int limited = 0; limited < 2; limited++) {
        char name[20], other[40], set[400];
        const char *what = limited ? POLICY "router.top_p=0.6 " : POLICY;
        (void)snprintf(name, sizeof name, "policy-%d", limited);
        CHECK_OK(train(name, what, false, false, NULL, diag));
        for (size_t i = 0; i < GAL_LEN(OTHERS); i++) {
            (void)snprintf(other, sizeof other, "%s-%s", name, OTHERS[i][0]);
            (void)snprintf(set, sizeof set, "%s%s", what, OTHERS[i][1]);
            CHECK_OK(train(other, set, false, false, NULL, diag));
            same_run(name, other);
        }
        (void)snprintf(other, sizeof other, "%s-stopped", name);
        listener l = { .stop_at = 5 };
        gal_diag why = { 0 };
        assert_int_equal(train(other, what, false, false, &l, &why), GAL_EINTERRUPTED);
        gal_buf_free(&l.notes);
        CHECK_OK(train(other, "", true, false, NULL, diag));
        same_run(name, other);
    }
    /* The nucleus draws what is likelier: at first, where weights are the same, and therefore others. */
    double all[ROOM], some[ROOM];
    table("policy-0", "choices", all, ROOM);
    table("policy-1", "choices", some, ROOM);
    for (int l = 0; l < LAYERS; l++) assert_true(some[l * CHOICE_COLUMNS + 2] > all[l * CHOICE_COLUMNS + 2]);
    char dir[400], path[500];
    gal_train_config c;
    gal_replayed r;
    (void)snprintf(dir, sizeof dir, "%s/policy-1", folder);
    (void)snprintf(path, sizeof path, "%s/config.yaml", dir);
    CHECK_OK(gal_train_config_load(&c, path, NULL, 0, diag));
    CHECK_OK(gal_train_replay(&c, &(gal_train_options){ .run = dir }, 6, &r, diag));
    assert_true(r.recorded && r.same);
    gal_replayed_free(&r);
    gal_train_config_free(&c);
}

/* ---- what the metrics say ----------------------------------------------------------------------------------------
 */

typedef struct figures {
    double rows, chosen[EXPERTS], dropped, taken, entropy, error;
} figures;
static struct { figures now[LAYERS], last[BATCHES][LAYERS]; /* the batch at hand, and those before it */ } seen;

static void hear_sums(figures *f, const gal_k_route_sums *a) {
    const float *p = a->prob;
    *f = (figures){ 0 };
    for (int64_t n = 0; n < a->n; n++) {
        if (a->target[n] < 0) continue;
        f->rows++;
        for (int64_t e = 0; e < EXPERTS; e++)
            f->entropy -= (double)p[n * EXPERTS + e] * log((double)p[n * EXPERTS + e]);
        for (int64_t j = n * USED; j < (n + 1) * USED; j++) {
            f->chosen[a->choice[j]]++;
            f->dropped += a->place[j] < 0;
            f->taken += (double)p[n * EXPERTS + a->choice[j]];
        }
    }
}

static void hear_policy(figures *f, const gal_k_route_policy *a) {
    for (int64_t n = 0; n < a->n; n++)
        if (a->target[n] >= 0)
            f->error += pow((double)((const float *)a->value)[n] + (double)((const float *)a->loss)[n], 2);
}

static void hear(void *user, const gal_span *span) {
    (void)user;
    figures *f = &seen.now[span->place.layer > 0 ? span->place.layer - 1 : 0];
    if (span->id == GAL_K_ROUTE_SUMS) hear_sums(f, span->args);
    if (span->id == GAL_K_ROUTE_POLICY) hear_policy(f, span->args);
    if (span->id != GAL_K_ROUTE_LOSS) return; /* the end of a batch */
    memmove(seen.last, seen.last + 1, sizeof seen.last - sizeof seen.last[0]);
    memcpy(seen.last[BATCHES - 1], seen.now, sizeof seen.now);
}

static void is(double said, double computed) {
    if (fabs(said - computed) > 200 * DBL_EPSILON * fabs(computed)) fail_msg("%.17g, computed %.17g", said, computed);
}

/* Of the last step, by the arrays that its kernels were given. */
static void figures_of_a_step(void **state) {
    (void)state;
    static gal_busy busy[GAL_MAX_THREADS];
    const gal_watch watch = { hear, NULL, busy };
    char path[500], dir[400];
    gal_train_config c;
    double load[ROOM], choice[ROOM], baseline[ROOM];
    (void)snprintf(path, sizeof path, "%s/policy-1/config.yaml", folder);
    (void)snprintf(dir, sizeof dir, "%s/watched", folder);
    CHECK_OK(gal_train_config_load(&c, path, NULL, 0, diag));
    CHECK_OK(gal_train_run(&c, &(gal_train_options){ .run = dir }, &watch, diag));
    gal_train_config_free(&c);
    same_run("policy-1", "watched");
    assert_int_equal(table("watched", "loads", load, ROOM), STEPS * LAYERS * LOAD_COLUMNS);
    assert_int_equal(table("watched", "choices", choice, ROOM), STEPS * LAYERS * CHOICE_COLUMNS);
    assert_int_equal(table("watched", "baselines", baseline, ROOM), STEPS * LAYERS * BASELINE_COLUMNS);
    for (int l = 0; l < LAYERS; l++) {
        figures f = { 0 };
        double most = 0, least = (double)INFINITY;
        for (int b = 0; b < BATCHES; b++) {
            const figures *g = &seen.last[b][l];
            f.rows += g->rows;
            f.dropped += g->dropped;
            f.taken += g->taken;
            f.entropy += g->entropy;
            f.error += g->error;
            for (int e = 0; e < EXPERTS; e++) f.chosen[e] += g->chosen[e];
        }
        for (int e = 0; e < EXPERTS; e++) {
            most = fmax(most, f.chosen[e]);
            least = fmin(least, f.chosen[e]);
        }
        const int at = (STEPS - 1) * LAYERS + l;
        const double choices = f.rows * USED;
        assert_true(f.rows > 40 && f.error > 0 && f.dropped > 0);
        is(load[at * LOAD_COLUMNS], STEPS);
        is(load[at * LOAD_COLUMNS + 1], l);
        is(load[at * LOAD_COLUMNS + 2], f.dropped / choices);
        is(load[at * LOAD_COLUMNS + 3], most / choices * EXPERTS);
        is(load[at * LOAD_COLUMNS + 4], least / choices * EXPERTS);
        is(choice[at * CHOICE_COLUMNS + 2], f.taken / choices);
        is(choice[at * CHOICE_COLUMNS + 3], f.entropy / f.rows);
        is(baseline[at * BASELINE_COLUMNS + 2], f.error / f.rows);
    }
}

/* Other routers have no baseline, and what follows from ids no probabilities either. A run from before there were
 * such tables gets them when it goes on. */
static void other_routers(void **state) {
    (void)state;
    double x[ROOM];
    CHECK_OK(train("sbase", ROUTED, false, false, NULL, diag));
    CHECK_OK(train("hash", ROUTED "model.router=hash", false, false, NULL, diag));
    CHECK_OK(train("sbase-far", ROUTED "device.name=far", false, false, NULL, diag));
    CHECK_OK(train("hash-far", ROUTED "model.router=hash device.name=far", false, false, NULL, diag));
    same_end("sbase", "sbase-far");
    same_end("hash", "hash-far");
    assert_int_equal(table("sbase", "choices", x, ROOM), STEPS * LAYERS * CHOICE_COLUMNS);
    assert_int_equal(table("sbase", "baselines", x, ROOM), 0);
    assert_int_equal(table("hash", "choices", x, ROOM), 0);
    assert_int_equal(table("hash", "loads", x, ROOM), STEPS * LAYERS * LOAD_COLUMNS);

    listener l = { .stop_at = 6 };
    gal_diag why = { 0 };
    char path[500];
    sqlite3 *db = NULL;
    assert_int_equal(train("older", POLICY, false, false, &l, &why), GAL_EINTERRUPTED);
    gal_buf_free(&l.notes);
    (void)snprintf(path, sizeof path, "%s/older/metrics.sqlite", folder);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "DROP TABLE choices; DROP TABLE baselines", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    CHECK_OK(train("older", "", true, false, NULL, diag));
    same_end("older", "policy-0");
    assert_int_equal(table("older", "baselines", x, ROOM), (STEPS - 6) * LAYERS * BASELINE_COLUMNS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies),
        cmocka_unit_test(figures_of_a_step),
        cmocka_unit_test(other_routers),
    };
    return cmocka_run_group_tests(tests, tiny_setup, tiny_teardown);
}
