/* spike_test.c - steps that went wrong: passed over, gone back from, bounded in number; killed and resumed in between
 * with the same bytes; steps made again; the search for a rate. Every tenth document or so of the text is noise,
 * whose loss is far above that of the others. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"
#include "support/thin.h"
#include "support/words.h"
#include "train/tiny.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/find_lr.h"
#include "train/loop.h"
#include "train/metrics.h"
#include "train/replay.h"
#include "train/trainer.h"

#include <jansson.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum { LAST = 120 };
#define NOISY                                                                                                        \
    "steps=120 schedule.warmup=5 batch.rows=1 save.every=10 save.keep=99 model.window=0 spike.window=10 "            \
    "spike.sigmas=6 "

static char noisy[600];

static int setup(void **state) {
    static const char *const WORDS[] = { "sea",  "wind",  "salt",   "gull", "the", "a",    "over",  "grey",
                                         "boat", "sails", "slowly", "home", "and", "rain", "falls", "on" };
    gal_buf text = { 0 };
    tiny_setup(state);
    for (uint64_t d = 0; d < 60; d++) {
        gal_buf_puts(&text, "\n#@ doc\n");
        bool noise = d % 12 == 7;
        for (uint64_t i = 0; i < (noise ? 60u : 150u); i++) {
            if (noise)
                gal_buf_putc(&text, "qxzjkvw "[gal_rng_below(3, d, i, 8)]);
            else
                gal_buf_printf(&text, "%s ", WORDS[gal_rng_below(4, d, i, GAL_LEN(WORDS))]);
        }
    }
    assert_false(text.oom);
    put_file(folder, "noise.txt", text.data, text.len);
    gal_buf_free(&text);
    (void)snprintf(noisy, sizeof noisy, NOISY "data.text=%s/noise.txt ", folder);
    return 0;
}

static const char *at(const char *name, const char *file) {
    static char path[4][600];
    static int turn;
    char *p = path[turn++ % 4];
    (void)snprintf(p, sizeof path[0], "%s/%s/%s", folder, name, file);
    return p;
}

static const char *with(const char *more) {
    static char set[1200];
    (void)snprintf(set, sizeof set, "%s%s", noisy, more);
    return set;
}

/* The first number that a query gives. */
static double ask(const char *run, const char *sql) {
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_open(at(run, "metrics.sqlite"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    double x = sqlite3_column_double(s, 0);
    (void)sqlite3_finalize(s);
    (void)sqlite3_close(db);
    return x;
}

/* What a run ends in, its spikes and its losses. */
static void same_runs(const char *a, const char *b) {
    static const char *const FILES[] = { "model.safetensors", "optimizer.safetensors", "trainer.json" };
    static const char *const SUMS[] = { "SELECT sum(loss_nats * step) FROM steps", "SELECT count(*) FROM steps",
                                        "SELECT sum(number * (step + 1000 * row)) FROM spikes",
                                        "SELECT sum(step * (1 + row + 7 * returns)) FROM samples" };
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        gal_buf x = { 0 }, y = { 0 };
        read_checkpoint(&x, a, LAST, FILES[i]);
        read_checkpoint(&y, b, LAST, FILES[i]);
        assert_int_equal(x.len, y.len);
        if (memcmp(x.data, y.data, x.len) != 0) fail_msg("%s of %s and %s differ", FILES[i], a, b);
        gal_buf_free(&x);
        gal_buf_free(&y);
    }
    for (size_t i = 0; i < GAL_LEN(SUMS); i++)
        if (memcmp(&(double){ ask(a, SUMS[i]) }, &(double){ ask(b, SUMS[i]) }, sizeof(double)) != 0)
            fail_msg("%s: %g of %s, %g of %s", SUMS[i], ask(a, SUMS[i]), a, ask(b, SUMS[i]), b);
}

/* Without the bounds there is no spike; with them some steps leave no row, and tokens and rows go on. */
static void passed_over(void **state) {
    (void)state;
    listener l = { 0 };
    CHECK_OK(train("plain", with("spike.sigmas=0"), false, false, NULL, diag));
    assert_true(ask("plain", "SELECT count(*) FROM spikes") < 0.5);
    CHECK_OK(train("skips", noisy, false, false, &l, diag));
    double spikes = ask("skips", "SELECT count(*) FROM spikes");
    assert_true(spikes > 0.5);
    assert_true(fabs(ask("skips", "SELECT count(*) FROM steps") + spikes - LAST) < 0.5);
    assert_true(fabs(ask("skips", "SELECT max(tokens) FROM steps") - 24.0 * LAST) < 0.5);
    assert_true(fabs(ask("skips", "SELECT count(*) FROM spikes WHERE loss_nats > limit_nats AND rows = 1 AND row = "
                                  "step - 1 AND action = 'passed over'") -
                     spikes) < 0.5);
    assert_non_null(strstr(l.notes.data, "the loss is far above those before"));
    gal_buf_free(&l.notes);
    /* The first spike of a run whose losses are the same until then. */
    int64_t step = (int64_t)ask("skips", "SELECT min(step) FROM spikes");
    char sql[200];
    (void)snprintf(sql, sizeof sql, "SELECT sum(loss_nats * step) FROM steps WHERE step < %lld", (long long)step);
    double before[2] = { ask("plain", sql), ask("skips", sql) };
    assert_memory_equal(&before[0], &before[1], sizeof(double));
}

/* Stopped at each of several steps around the spikes, and taken up. */
static void resumed(const char *whole, const char *set, const char *name) {
    int64_t first = (int64_t)ask(whole, "SELECT min(step) FROM spikes");
    char other[60];
    for (int64_t k = -1; k <= 3; k++) {
        listener l = { .stop_at = first + k }, rest = { 0 };
        gal_diag why = { 0 };
        (void)snprintf(other, sizeof other, "%s-%d", name, (int)(k + 1));
        assert_int_equal(train(other, set, false, false, &l, &why), GAL_EINTERRUPTED);
        CHECK_OK(train(other, "", true, false, &rest, diag));
        same_runs(whole, other);
        gal_buf_free(&l.notes);
        gal_buf_free(&rest.notes);
    }
}

static void passed_over_and_resumed(void **state) {
    (void)state;
    resumed("skips", noisy, "skips");
}

/* With no skips a spike leads back to the checkpoint before; the text behind the spike follows, later checkpoints of
 * the way that was left are gone, and steps have their rows once. */
static void returns(void **state) {
    (void)state;
    listener l = { 0 };
    char set[1200];
    (void)snprintf(set, sizeof set, "%s", with("spike.skips=0 spike.returns=50"));
    CHECK_OK(train("back", set, false, false, &l, diag));
    assert_non_null(strstr(l.notes.data, ": back to step-"));
    gal_buf_free(&l.notes);
    double n = ask("back", "SELECT count(*) FROM spikes");
    assert_true(n > 0.5);
    assert_true(fabs(ask("back", "SELECT count(*) FROM steps") - LAST) < 0.5);
    assert_true(fabs(ask("back", "SELECT max(returns) FROM samples") - n) < 0.5);
    /* The rows of the abandoned steps and of the spike were read besides those of all steps. */
    assert_true(ask("back", "SELECT max(row) FROM samples") > LAST - 1 + n - 0.5);
    CHECK_OK(train("back-again", set, false, false, NULL, diag));
    same_runs("back", "back-again");
}

/* A checkpoint that nothing was applied after is not trusted: the one before it is taken. */
static void returns_to_a_good_one(void **state) {
    (void)state;
    char sql[200];
    CHECK_OK(train("every", with("spike.skips=0 spike.returns=50 save.every=1"), false, false, NULL, diag));
    int64_t first = (int64_t)ask("every", "SELECT step FROM spikes WHERE number = 1");
    (void)snprintf(sql, sizeof sql, "SELECT action = 'back to step-%lld' FROM spikes WHERE number = 1",
                   (long long)first - 2);
    assert_true(ask("every", sql) > 0.5);
}

/* Checkpoints of a run that keeps one: that one, the newest that is known to be good, and the best. */
static void few_are_there(const char *run) {
    int64_t count = 0;
    CHECK_OK(gal__checkpoint_count(at(run, "checkpoints"), &count, diag));
    if (count < 2 || count > 3) fail_msg("%s: %d checkpoints", run, (int)count);
}

/* The same where one checkpoint is kept: the good one stays until the newer one is good, and is returned to again
 * where the text behind a spike is a spike, too. */
static void returns_with_one_kept(void **state) {
    (void)state;
    static const char ONE[] = "spike.skips=0 spike.sigmas=2 spike.returns=50 save.every=1 save.keep=1";
    char set[1200], sql[200];
    (void)snprintf(set, sizeof set, "%s", with(ONE));
    CHECK_OK(train("one", set, false, false, NULL, diag));
    few_are_there("one");
    int64_t first = (int64_t)ask("one", "SELECT step FROM spikes WHERE number = 1");
    (void)snprintf(sql, sizeof sql, "SELECT action = 'back to step-%lld' FROM spikes WHERE number = 1",
                   (long long)first - 2);
    assert_true(ask("one", sql) > 0.5);
    int64_t again = (int64_t)ask("one", "SELECT count(*) FROM spikes a JOIN spikes b ON b.number = a.number + 1 "
                                        "WHERE a.action = b.action AND b.step = substr(b.action, 14) + 1");
    assert_true(again > 0);
    /* Killed where the steps behind the return are made. */
    train_killed("one-killed", set, first - 1, 1);
    CHECK_OK(train("one-killed", "", true, false, NULL, diag));
    same_runs("one", "one-killed");
    few_are_there("one-killed");
}

/* The best checkpoint of the way that the run is on, be it the left one's that was better: it is there, it is the
 * model that was evaluated, and none that is there was better. */
static void best_of_the_way(const char *run) {
    json_t *best = json_load_file(at(run, "checkpoints/best.json"), 0, NULL);
    const int64_t step = json_integer_value(json_object_get(best, "step"));
    const double nats = json_number_value(json_object_get(best, "nats_per_token"));
    char path[60], sql[120];
    (void)snprintf(path, sizeof path, "checkpoints/step-%lld", (long long)step);
    if (!best || !gal_is_dir(at(run, path))) fail_msg("%s: there is no %s", run, path);
    json_decref(best);
    (void)snprintf(sql, sizeof sql, "SELECT nats_per_token FROM evaluations WHERE step = %lld", (long long)step);
    if (fabs(ask(run, sql) - nats) > 1e-9) fail_msg("%s: %.9g of step %lld", run, nats, (long long)step);
    for (int64_t s = 1; s <= LAST; s++) {
        (void)snprintf(path, sizeof path, "checkpoints/step-%lld", (long long)s);
        (void)snprintf(sql, sizeof sql, "SELECT min(nats_per_token) < %.17g FROM evaluations WHERE step = %lld", nats,
                       (long long)s);
        if (gal_is_dir(at(run, path)) && ask(run, sql) > 0.5) fail_msg("%s: step %lld is better", run, (long long)s);
    }
}

/* A rate that grows until nothing holds: what was best on the way that was left is not reached again. */
static void best_after_returns(void **state) {
    (void)state;
    double back = 0;
    for (int seed = 1; seed <= 3; seed++) {
        char run[40], set[1200], more[300];
        gal_diag why = { 0 };
        (void)snprintf(run, sizeof run, "best-%d", seed);
        (void)snprintf(more, sizeof more,
                       "seed=%d steps=60 schedule.warmup=60 optimizer.lr=1 optimizer.clip=0 save.keep=2 eval.every=1 "
                       "eval.rows=1 spike.skips=0 spike.window=4 spike.sigmas=1 spike.returns=60",
                       seed);
        (void)snprintf(set, sizeof set, "%s", with(more));
        gal_err err = train(run, set, false, false, NULL, &why);
        if (err && err != GAL_EFAIL) fail_msg("%s: %s", run, why.text); /* too many returns end it */
        best_of_the_way(run);
        back += ask(run, "SELECT count(*) FROM spikes WHERE action LIKE 'back %'");
    }
    assert_true(back > 8);
}

static void bounded(void **state) {
    (void)state;
    gal_diag why = { 0 };
    assert_int_equal(train("bounded", with("spike.skips=0 spike.returns=0"), false, false, NULL, &why), GAL_EFAIL);
    assert_non_null(strstr(why.text, "the loss is far above those before"));
    assert_non_null(strstr(why.text, "returned 0 times already (spike.returns)"));
    assert_true(ask("bounded", "SELECT count(*) FROM spikes WHERE action = 'the run ends'") > 0.5);
    /* The bound may be raised by whoever takes it up: spikes are met again, and gone back from. */
    CHECK_OK(train("bounded", "spike.returns=50", true, false, NULL, diag));
    same_runs("back", "bounded");
    /* A rate that no training survives: nothing is no number before there is a checkpoint. */
    why = (gal_diag){ 0 };
    assert_int_equal(train("hopeless",
                           "optimizer.name=sgd optimizer.clip=0 optimizer.lr=99 schedule.warmup=0 steps=60 "
                           "schedule.name=constant save.every=50 spike.skips=2",
                           false, false, NULL, &why),
                     GAL_EFAIL);
    assert_non_null(strstr(why.text, "is not a number"));
    assert_non_null(strstr(why.text, "no checkpoint yet"));
    assert_true(fabs(ask("hopeless", "SELECT count(*) FROM spikes") - 3) < 0.5);
    assert_true(fabs(ask("hopeless", "SELECT count(*) FROM spikes WHERE loss_nats IS NULL OR grad_norm > 1e30") - 3) <
                2.5);
}

/* Losses that hardly differ: what follows is a spike only if it is far above them, whatever the window. */
static void few_losses(void **state) {
    (void)state;
    static const struct {
        int64_t window;
        double spread, next;
        bool spike;
    } CASES[] = { { 2, 0, 2.0001, false },    { 3, 0, 2.001, false },   { 4, 1e-9, 2.01, false },
                  { 5, 1e-6, 2.05, false },   { 2, 0, 3.5, true },      { 3, 0, 2.5, true },
                  { 5, 0, 2.5, true },        { 100, 0, 2.001, false }, { 100, 0, 2.1, true },
                  { 100, 0.01, 2.03, false }, { 100, 0.01, 2.2, true } };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        gal_train_config c;
        const char *why = NULL;
        double limit = 0;
        CHECK_OK(gal_train_config_defaults(&c, diag));
        c.spike.window = CASES[i].window;
        c.spike.sigmas = 6;
        gal_trainer t = { .config = &c };
        CHECK_OK(gal__spikes_new(&t.spikes, c.spike.window, diag));
        for (int64_t k = 0; k < c.spike.window; k++)
            gal__spikes_add(&t.spikes, 2.0 + (k % 2 ? CASES[i].spread : -CASES[i].spread));
        const gal__train_numbers n = { .loss = CASES[i].next, .grad_norm = 1 };
        if (gal__spike_is(&t, &n, &limit, &why) != CASES[i].spike)
            fail_msg("window %d, %g: limit %g", (int)CASES[i].window, CASES[i].next, limit);
        /* As far as words say: the mean's part that a window of n losses leaves. */
        const double least = 2.0 * (1 + 6 / sqrt(1000.0 * (double)(c.spike.window - 1)));
        assert_true(limit >= least - 1e-6);
        gal__spikes_free(&t.spikes);
        gal_train_config_free(&c);
    }
}

/* The latest losses stay, in their order. */
static void another_window(void **state) {
    (void)state;
    gal__spikes s;
    CHECK_OK(gal__spikes_new(&s, 4, diag));
    for (int i = 1; i <= 6; i++) gal__spikes_add(&s, i);
    CHECK_OK(gal__spikes_resize(&s, 8, diag));
    gal__spikes_add(&s, 7);
    assert_int_equal(s.n, 5);
    for (int i = 0; i < 5; i++) assert_true(fabs(s.loss[i] - (3 + i)) < 1e-12);
    CHECK_OK(gal__spikes_resize(&s, 2, diag));
    assert_int_equal(s.n, 2);
    assert_true(fabs(s.loss[0] + s.loss[1] - 13) < 1e-12);
    gal__spikes_free(&s);
}

/* ---- steps again -------------------------------------------------------------------------------------------------
 */

static gal_err replay(const char *name, int64_t step, gal_replayed *out, gal_diag *diag) {
    gal_train_config c;
    gal_err err = gal_train_config_load(&c, at(name, "config.yaml"), NULL, 0, diag);
    if (err) return err;
    char dir[600];
    (void)snprintf(dir, sizeof dir, "%s/%s", folder, name);
    err = gal_train_replay(&c, &(gal_train_options){ .run = dir }, step, out, diag);
    gal_train_config_free(&c);
    return err;
}

static void steps_again(void **state) {
    (void)state;
    static const struct {
        const char *run;
        int64_t step;
    } STEPS_OF[] = { { "skips", 1 }, { "skips", 57 }, { "skips", LAST }, { "back", LAST }, { "back", 3 } };
    for (size_t i = 0; i < GAL_LEN(STEPS_OF); i++) {
        gal_replayed r;
        CHECK_OK(replay(STEPS_OF[i].run, STEPS_OF[i].step, &r, diag));
        if (!r.recorded || !r.same) fail_msg("step %d of %s: %s", (int)r.step, STEPS_OF[i].run, r.differs);
        assert_int_equal(r.from, (STEPS_OF[i].step - 1) / 10 * 10);
        assert_int_equal(r.n_norms, 5);
        gal_replayed_free(&r);
    }
    gal_replayed r;
    /* One that was made a second time, between the checkpoint that the run returned to and the spike. */
    const int64_t again = (int64_t)ask("back", "SELECT min(step) - 1 FROM spikes WHERE action LIKE 'back %'");
    CHECK_OK(replay("back", again, &r, diag));
    if (!r.recorded || !r.same) fail_msg("step %d of back: %s", (int)r.step, r.differs);
    gal_replayed_free(&r);
    int64_t spike = (int64_t)ask("skips", "SELECT min(step) FROM spikes");
    CHECK_OK(replay("skips", spike, &r, diag));
    assert_true(r.spike && r.recorded && r.same);
    gal_replayed_free(&r);
    /* Of a run that is changed behind its back, and of one that has no such step. */
    CHECK_OK(train("changed", "", false, false, NULL, diag));
    (void)ask("changed", "UPDATE steps SET loss_nats = loss_nats + 1e-12 WHERE step = 6 RETURNING 1.0");
    CHECK_OK(replay("changed", 6, &r, diag));
    assert_true(r.recorded && !r.same);
    assert_string_equal(r.differs, "the loss");
    gal_replayed_free(&r);
    gal_diag why = { 0 };
    assert_int_equal(replay("changed", 9, &r, &why), GAL_EUSAGE);
    assert_non_null(strstr(why.text, "from 1 to 8"));
    /* Nothing of the run is touched. */
    gal_buf before = { 0 }, after = { 0 };
    CHECK_OK(gal_read_file(&before, at("back", "log.txt"), 1 << 24, diag));
    CHECK_OK(replay("back", LAST, &r, diag));
    gal_replayed_free(&r);
    CHECK_OK(gal_read_file(&after, at("back", "log.txt"), 1 << 24, diag));
    assert_int_equal(before.len, after.len);
    gal_buf_free(&before);
    gal_buf_free(&after);
}

static void again(const char *run, int64_t step, int64_t from) {
    gal_replayed r;
    CHECK_OK(replay(run, step, &r, diag));
    if (!r.recorded || !r.same || r.unsure) fail_msg("step %d of %s: %s", (int)r.step, run, r.differs);
    assert_int_equal(r.from, from);
    gal_replayed_free(&r);
}

/* Steps of before and after --extend, each under what was in force then, also where the checkpoint between them is
 * gone; a run that does not say what it was. */
static void steps_before_a_change(void **state) {
    (void)state;
    CHECK_OK(train("longer", "save.every=4 save.keep=9 log.norms_every=1", false, false, NULL, diag));
    CHECK_OK(train("longer", "steps=12 optimizer.lr=2e-2 optimizer.weight_decay=0.3 optimizer.beta1=0.8", true, true,
                   NULL, diag));
    CHECK_OK(train("longer", "steps=16 schedule.name=linear optimizer.clip=0.1", true, true, NULL, diag));
    static const int64_t STEPS_OF[] = { 1, 4, 5, 8, 9, 12, 13, 16 };
    for (size_t i = 0; i < GAL_LEN(STEPS_OF); i++) again("longer", STEPS_OF[i], (STEPS_OF[i] - 1) / 4 * 4);
    assert_true(fabs(ask("longer", "SELECT count(DISTINCT since) FROM settings") - 3) < 0.5);
    assert_true(fabs(ask("longer", "SELECT count(*) FROM settings WHERE since > 1") - 7) < 0.5);
    CHECK_OK(gal_remove_tree(at("longer", "checkpoints/step-8"), diag));
    CHECK_OK(gal_remove_tree(at("longer", "checkpoints/step-12"), diag));
    again("longer", 11, 4);
    again("longer", 16, 4);
    /* Killed between: what was in force from the checkpoint on is what whoever goes on says. */
    CHECK_OK(train("longer", "steps=18 optimizer.lr=3e-2", true, true, NULL, diag));
    again("longer", 18, 16);
    /* From before such rows were kept. */
    gal_replayed r;
    (void)ask("longer", "DELETE FROM settings RETURNING 1.0");
    CHECK_OK(replay("longer", 3, &r, diag));
    assert_true(r.recorded && !r.same && r.unsure && r.differs[0]);
    gal_replayed_free(&r);
    CHECK_OK(replay("skips", LAST, &r, diag));
    assert_true(r.same && !r.unsure);
    gal_replayed_free(&r);
    /* A table that no run has written. */
    gal_diag why = { 0 };
    (void)ask("longer", "INSERT INTO settings VALUES ('optimizer.lr', 'many', 0, 1) RETURNING 1.0");
    assert_int_equal(replay("longer", 3, &r, &why), GAL_EINPUT);
    if (!strstr(why.text, "metrics.sqlite: settings: --set optimizer.lr=many: optimizer.lr: expected"))
        fail_msg("%s", why.text);
}

/* What spikes are judged by may change without --extend, and decides the way to a step. */
static void steps_before_other_bounds(void **state) {
    (void)state;
    listener l = { .stop_at = 65 };
    gal_diag why = { 0 };
    assert_int_equal(train("bounds", noisy, false, false, &l, &why), GAL_EINTERRUPTED);
    gal_buf_free(&l.notes);
    CHECK_OK(train("bounds", "spike.window=4 spike.sigmas=2", true, false, NULL, diag));
    assert_true(ask("bounds", "SELECT count(*) FROM spikes WHERE step > 65") >
                ask("skips", "SELECT count(*) FROM spikes WHERE step > 65") + 0.5);
    const int64_t early = (int64_t)ask("bounds", "SELECT max(step) FROM steps WHERE step <= 65");
    const int64_t later = (int64_t)ask("bounds", "SELECT min(step) FROM steps WHERE step > 66");
    const int64_t last = (int64_t)ask("bounds", "SELECT max(step) FROM steps");
    again("bounds", early, (early - 1) / 10 * 10);
    again("bounds", later, 65);
    again("bounds", last, (last - 1) / 10 * 10);
    CHECK_OK(gal_remove_tree(at("bounds", "checkpoints/step-65"), diag));
    again("bounds", later, 60);
}

/* ---- ways that a run returned from -------------------------------------------------------------------------------
 */

/* Every step of the run's way is as it was recorded, wherever the checkpoints are that it returned to. */
static void every_step(const char *run) {
    const int64_t last = (int64_t)ask(run, "SELECT max(step) FROM steps");
    int64_t spikes = 0;
    bool all = true;
    for (int64_t step = 1; step <= last; step++) {
        gal_replayed r;
        if (thin_skip((size_t)step, 9)) {
            all = false;
            continue;
        }
        CHECK_OK(replay(run, step, &r, diag));
        if (!r.recorded || !r.same || r.unsure)
            fail_msg("step %d of %s, from %d: %s%s", (int)step, run, (int)r.from, r.differs,
                     r.recorded ? "" : "none");
        spikes += r.spike;
        gal_replayed_free(&r);
    }
    if (all) assert_true(fabs(ask(run, "SELECT count(*) FROM steps") - (double)(last - spikes)) < 0.5);
}

static void a_return_is_gone(const char *run) {
    char name[60];
    (void)snprintf(
        name, sizeof name, "checkpoints/step-%d",
        (int)ask(run, "SELECT min(CAST(substr(action, 14) AS INT)) FROM spikes WHERE action LIKE 'back %'"));
    assert_true(ask(run, "SELECT max(returns) FROM samples") > 0.5);
    assert_false(gal_is_dir(at(run, name)));
}

#define RETURNS "spike.returns=50 save.keep=2 log.norms_every=3 "
static const struct {
    const char *name, *set;
} LEFT[] = {
    { "left", "spike.skips=0 spike.sigmas=3 " RETURNS },
    { "left-skips", "spike.skips=2 spike.sigmas=1 spike.window=6 batch.ramp=[40:2,70:3] " RETURNS "save.keep=3 " },
    { "left-epochs", "spike.skips=0 spike.sigmas=4 batch.rows=9 precision=bf16_stochastic " RETURNS "save.keep=3 " },
};

/* The checkpoints that these runs returned to are gone; some steps were passed over on the way that stayed and
 * applied on one that was left, or the other way round. */
static void steps_behind_returns(void **state) {
    (void)state;
    for (size_t i = 0; i < GAL_LEN(LEFT); i++) {
        CHECK_OK(train(LEFT[i].name, with(LEFT[i].set), false, false, NULL, diag));
        a_return_is_gone(LEFT[i].name);
    }
    assert_true(ask("left-skips", "SELECT count(*) FROM spikes WHERE action = 'passed over' AND step IN (SELECT step "
                                  "FROM steps)") > 0.5);
    assert_true(ask("left-epochs", "SELECT max(epoch) FROM samples") > 0.5);
    every_step("left");
    every_step("left-skips");
    /* Longer, under other bounds and rates. */
    CHECK_OK(
        train("left-epochs", "steps=140 optimizer.lr=2e-2 spike.sigmas=2 spike.window=6", true, true, NULL, diag));
    assert_true(ask("left-epochs", "SELECT count(*) FROM spikes WHERE step > 120") > 0.5);
    every_step("left-epochs");
}

/* The same of a mixture, whose places are counted otherwise. */
static void steps_of_a_mixture(void **state) {
    (void)state;
    char run[300], list[2000];
    const char *set[40];
    (void)snprintf(run, sizeof run, "%s/mixed", folder);
    (void)snprintf(list, sizeof list,
                   "data.mixture=[3:%s/left/data/train.shard,2:%s/left/data/train.shard] tokenizer.path=%s/left "
                   "model.width=24 model.layers=1 model.heads=3 model.kv_heads=1 batch.sequence=24 "
                   "optimizer.lr=1e-2 device.threads=2 " NOISY RETURNS "spike.skips=1 spike.sigmas=1.5 ",
                   folder, folder, folder);
    size_t n = split_words(list, set, 0, GAL_LEN(set));
    CHECK_OK(gal_train(NULL, set, n, &(gal_train_options){ .run = run }, diag));
    a_return_is_gone("mixed");
    every_step("mixed");
}

/* Killed behind a return: as it lies there, and taken up, when it goes the way that was left once more. */
static void steps_of_a_killed_run(void **state) {
    (void)state;
    const int64_t back = (int64_t)ask("left", "SELECT substr(action, 14) FROM spikes WHERE number = 1");
    train_killed("left-killed", with(LEFT[0].set), back + 1, 1);
    assert_true(ask("left-killed", "SELECT count(*) FROM spikes WHERE action LIKE 'back %'") > 0.5);
    every_step("left-killed");
    CHECK_OK(train("left-killed", "", true, false, NULL, diag));
    same_runs("left", "left-killed");
}

static void refused(const char *run, const char *change, int64_t step, const char *message) {
    gal_replayed r;
    gal_diag why = { 0 };
    (void)ask(run, change);
    assert_int_equal(replay(run, step, &r, &why), GAL_EINPUT);
    if (!strstr(why.text, message)) fail_msg("%s", why.text);
}

/* What is not recorded is made as the run would make it, but for a return; what is recorded and cannot be is refused.
 */
static void steps_that_are_not_recorded(void **state) {
    (void)state;
    gal_replayed r;
    const int64_t first = (int64_t)ask("left", "SELECT step FROM spikes WHERE number = 1");
    listener l = { .stop_at = first - 2 };
    gal_diag why = { 0 };
    assert_int_equal(train("left-off", with(LEFT[0].set), false, false, &l, &why), GAL_EINTERRUPTED);
    gal_buf_free(&l.notes);
    for (int64_t step = first - 1; step <= first; step++) {
        CHECK_OK(replay("left-off", step, &r, diag));
        assert_true(!r.recorded && !r.same && r.spike == (step == first));
        gal_replayed_free(&r);
    }
    refused("left-off", "SELECT 1.0", first + 1, "expected metrics.sqlite to say what the run did then");
    /* The spike that a run ended with, which is no number, and the step that never was. */
    const int64_t end = (int64_t)ask("hopeless", "SELECT max(step) FROM spikes");
    CHECK_OK(replay("hopeless", end, &r, diag));
    assert_true(r.recorded && r.same && r.spike);
    gal_replayed_free(&r);
    refused("hopeless", "SELECT 1.0", end + 1, "the run ended with it (the ");
    /* A spike that was another one. */
    const int64_t passed = (int64_t)ask("left-skips", "SELECT max(step) FROM spikes WHERE action = 'passed over'");
    (void)ask("left-skips", "UPDATE spikes SET grad_norm = grad_norm + 1e-9 RETURNING 1.0");
    CHECK_OK(replay("left-skips", passed, &r, diag));
    assert_true(r.spike && r.recorded && !r.same);
    assert_string_equal(r.differs, "the gradient's norm");
    gal_replayed_free(&r);
    /* Rows that no run comes to. */
    char change[200];
    const int64_t behind = (int64_t)ask("left", "SELECT min(step) FROM samples WHERE returns > 0");
    static const char *const CHANGES[] = { "row = 1000000", "returns = -1", "returns = -9223372036854775807",
                                           "returns = 9, row = 0" };
    for (size_t i = 0; i < GAL_LEN(CHANGES); i++) {
        (void)snprintf(change, sizeof change, "UPDATE samples SET %s WHERE step = %lld RETURNING 1.0", CHANGES[i],
                       (long long)behind);
        refused("left", change, behind, "expected rows of text behind those of the step before");
    }
    /* From before such rows were kept. */
    (void)ask("left", "DELETE FROM spikes RETURNING 1.0");
    refused("left", "DELETE FROM samples RETURNING 1.0", first + 1, "the loss is far above those before; expected");
    CHECK_OK(replay("left", first - 1, &r, diag));
    assert_true(r.recorded);
    gal_replayed_free(&r);
}

/* ---- the rate ----------------------------------------------------------------------------------------------------
 */

static void sweep(const char *name, double to, gal_lr_sweep *out) {
    gal_train_config c;
    CHECK_OK(gal_train_config_load(&c, at("plain", "config.yaml"), (const char *[]){ "batch.rows=4" }, 1, diag));
    CHECK_OK(gal_make_dirs(at(name, "work"), diag));
    CHECK_OK(gal_train_find_lr(&c, &(gal_train_options){ .run = at(name, "work") }, 1e-5, to, 40, out, diag));
    gal_train_config_free(&c);
}

static void rates(void **state) {
    (void)state;
    gal_lr_sweep a, b;
    sweep("rates", 50, &a);
    sweep("rates-again", 50, &b);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.points, b.points, a.n * sizeof *a.points);
    assert_true(a.diverged && a.n < 40);
    assert_true(a.best > 1e-3 && a.best < 10);
    assert_true(fabs(a.suggested - a.best / 10) < 1e-15);
    for (size_t i = 1; i < a.n; i++) /* the same factor each time */
        assert_true(fabs(a.points[i].lr / a.points[i - 1].lr - pow(50 / 1e-5, 1.0 / 39)) < 1e-9);
    gal_lr_sweep_free(&a);
    gal_lr_sweep_free(&b);
    sweep("rates-low", 1e-4, &a); /* too low to harm */
    assert_true(!a.diverged && a.n == 40);
    gal_lr_sweep_free(&a);
}

/* With an argument, only the tests whose names fit it. */
int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passed_over),
        cmocka_unit_test(passed_over_and_resumed),
        cmocka_unit_test(returns),
        cmocka_unit_test(returns_to_a_good_one),
        cmocka_unit_test(returns_with_one_kept),
        cmocka_unit_test(best_after_returns),
        cmocka_unit_test(bounded),
        cmocka_unit_test(steps_again),
        cmocka_unit_test(few_losses),
        cmocka_unit_test(another_window),
        cmocka_unit_test(steps_before_a_change),
        cmocka_unit_test(steps_before_other_bounds),
        cmocka_unit_test(steps_behind_returns),
        cmocka_unit_test(steps_of_a_mixture),
        cmocka_unit_test(steps_of_a_killed_run),
        cmocka_unit_test(steps_that_are_not_recorded),
        cmocka_unit_test(rates),
    };
    return cmocka_run_group_tests_name("train_spikes", tests, setup, tiny_teardown);
}
