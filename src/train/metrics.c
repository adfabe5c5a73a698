/* metrics.c - see metrics.h. SPDX-License-Identifier: Apache-2.0 */
#include "train/metrics.h"

#include "base/mem.h"
#include "base/util.h"
#include "train/database.h"
#include "train/metrics_db.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FLUSH_S 1.0
enum { NUMBERS = 8 };

/* A row that is not written yet. */
typedef struct held {
    const char *sql;
    char *texts[2]; /* owned; NULL: none */
    double v[NUMBERS];
    int n;
} held;

struct gal_metrics {
    gal_db d;
    held *rows;
    size_t n, cap;
    double since; /* when rows was last empty */
};

static bool has_table(gal_metrics *m, const char *name) {
    sqlite3_stmt *s = NULL;
    bool found = sqlite3_prepare_v2(m->d.db, "SELECT 1 FROM sqlite_master WHERE name = ?", -1, &s, NULL) ==
                     SQLITE_OK &&
                 sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW;
    (void)sqlite3_finalize(s);
    return found;
}

static bool has_column(gal_metrics *m, const char *table, const char *name) {
    return sqlite3_table_column_metadata(m->d.db, NULL, table, name, NULL, NULL, NULL, NULL, NULL) == SQLITE_OK;
}

gal_err gal_metrics_open(gal_metrics **out, const char *path, bool write, gal_diag *diag) {
    gal_metrics *m = gal_alloc(sizeof *m);
    if (!m) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    gal_err err = gal_db_open(&m->d, path, write, diag);
    /* Rows are added at the ends of their tables: few pages are needed again, and a long run's memory stays flat. */
    if (!err && write) err = gal_db_run(&m->d, "PRAGMA cache_size = -256", diag);
    if (!err && write)
        err = gal_db_run(
            &m->d,
            "BEGIN;"
            "CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);"
            "CREATE TABLE IF NOT EXISTS steps (step INTEGER PRIMARY KEY, tokens INTEGER NOT NULL,"
            " loss_nats REAL NOT NULL, lr REAL NOT NULL, grad_norm REAL NOT NULL, tokens_per_s REAL NOT NULL,"
            " unix_time_s REAL NOT NULL);"
            "CREATE TABLE IF NOT EXISTS routers (step INTEGER PRIMARY KEY, balance REAL NOT NULL, z REAL NOT NULL);"
            "CREATE TABLE IF NOT EXISTS loads (step INTEGER NOT NULL, layer INTEGER NOT NULL, dropped REAL NOT NULL,"
            " most REAL NOT NULL, least REAL NOT NULL, iterations REAL NOT NULL, PRIMARY KEY (step, layer));"
            "CREATE TABLE IF NOT EXISTS choices (step INTEGER NOT NULL, layer INTEGER NOT NULL,"
            " probability REAL NOT NULL, entropy REAL NOT NULL, PRIMARY KEY (step, layer));"
            "CREATE TABLE IF NOT EXISTS baselines (step INTEGER NOT NULL, layer INTEGER NOT NULL,"
            " square_error REAL NOT NULL, PRIMARY KEY (step, layer));"
            "CREATE TABLE IF NOT EXISTS samples (step INTEGER PRIMARY KEY, epoch INTEGER NOT NULL,"
            " row INTEGER NOT NULL, rows INTEGER NOT NULL, returns INTEGER NOT NULL);"
            "CREATE TABLE IF NOT EXISTS spikes (reason TEXT NOT NULL, action TEXT NOT NULL,"
            " number INTEGER PRIMARY KEY, step INTEGER NOT NULL, epoch INTEGER NOT NULL, row INTEGER NOT NULL,"
            " rows INTEGER NOT NULL, loss_nats REAL, grad_norm REAL, limit_nats REAL);"
            "CREATE TABLE IF NOT EXISTS norms (part TEXT NOT NULL, step INTEGER NOT NULL, grad_norm REAL NOT NULL,"
            " update_norm REAL NOT NULL, PRIMARY KEY (step, part));"
            "CREATE TABLE IF NOT EXISTS settings (key TEXT NOT NULL, value TEXT NOT NULL, returns INTEGER NOT NULL,"
            " since INTEGER NOT NULL, PRIMARY KEY (returns, since, key));"
            "CREATE TABLE IF NOT EXISTS evaluations (step INTEGER PRIMARY KEY, tokens INTEGER NOT NULL,"
            " bytes INTEGER NOT NULL, nats_per_token REAL NOT NULL, bits_per_byte REAL NOT NULL,"
            " unix_time_s REAL NOT NULL, rows INTEGER NOT NULL DEFAULT 0, average INTEGER NOT NULL DEFAULT 0);"
            "COMMIT;",
            diag);
    if (!err && write && !has_column(m, "evaluations", "rows"))
        err = gal_db_run(&m->d,
                         "BEGIN; ALTER TABLE evaluations ADD COLUMN rows INTEGER NOT NULL DEFAULT 0;"
                         "ALTER TABLE evaluations ADD COLUMN average INTEGER NOT NULL DEFAULT 0; COMMIT;",
                         diag);
    /* Facts that cannot be read would look like none. */
    static const char FACTS[] = "SELECT max(length(value)) FROM facts; SELECT key FROM facts ORDER BY key";
    if (!err && !write && has_table(m, "facts") && sqlite3_exec(m->d.db, FACTS, NULL, NULL, NULL) != SQLITE_OK)
        err = gal_db_fail(&m->d, GAL_EINPUT, diag);
    if (err) {
        gal_metrics_close(m);
        return err;
    }
    *out = m;
    return GAL_OK;
}

static void forget(gal_metrics *m) {
    for (size_t i = 0; i < m->n; i++) {
        gal_free(m->rows[i].texts[0]);
        gal_free(m->rows[i].texts[1]);
    }
    m->n = 0;
}

void gal_metrics_close(gal_metrics *m) {
    if (!m) return;
    forget(m);
    gal_free(m->rows);
    gal_db_close(&m->d);
    gal_free(m);
}

static bool write_row(gal_metrics *m, const held *row) {
    sqlite3_stmt *s = NULL;
    int at = 0;
    bool ok = sqlite3_prepare_v2(m->d.db, row->sql, -1, &s, NULL) == SQLITE_OK;
    for (int i = 0; ok && i < 2; i++)
        if (row->texts[i]) ok = sqlite3_bind_text(s, ++at, row->texts[i], -1, SQLITE_STATIC) == SQLITE_OK;
    for (int i = 0; ok && i < row->n; i++) ok = sqlite3_bind_double(s, ++at, row->v[i]) == SQLITE_OK;
    ok = ok && sqlite3_step(s) == SQLITE_DONE;
    int code = sqlite3_finalize(s);
    return ok && code == SQLITE_OK;
}

static gal_err flush(gal_metrics *m, int patience_ms, gal_diag *diag) {
    if (!m->n) return GAL_OK;
    (void)sqlite3_busy_timeout(m->d.db, patience_ms);
    gal_err err = gal_db_run(&m->d, "BEGIN IMMEDIATE", diag);
    if (err) return err;
    for (size_t i = 0; !err && i < m->n; i++)
        if (!write_row(m, &m->rows[i])) err = gal_db_fail(&m->d, GAL_EIO, diag);
    if (!err) err = gal_db_run(&m->d, "COMMIT", diag);
    if (err)
        (void)sqlite3_exec(m->d.db, "ROLLBACK", NULL, NULL, NULL); /* no more than a no-op if SQLite did it already */
    else
        forget(m);
    return err;
}

gal_err gal_metrics_flush(gal_metrics *m, gal_diag *diag) { return flush(m, GAL_DB_PATIENCE_MS, diag); }

/* Takes copies of the texts. */
static gal_err hold(gal_metrics *m, const char *sql, const char *const texts[2], const double *v, int n,
                    gal_diag *diag) {
    if (!m->n) m->since = gal_now_s();
    void *rows = m->rows;
    held row = { .sql = sql, .n = n };
    bool ok = !gal_grow(&rows, &m->cap, m->n + 1, sizeof row);
    m->rows = rows;
    for (int i = 0; texts && i < 2 && texts[i]; i++) ok = (row.texts[i] = gal_strdup(texts[i])) && ok;
    if (!ok) {
        gal_free(row.texts[0]);
        gal_free(row.texts[1]);
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for a row", m->d.path);
    }
    for (int i = 0; i < n; i++) row.v[i] = v[i];
    m->rows[m->n++] = row;
    if (gal_now_s() - m->since <= FLUSH_S) return GAL_OK;
    gal_diag why = { 0 };
    gal_err err = flush(m, 0, &why);
    if (!err) return GAL_OK;
    m->since = gal_now_s(); /* a reader is at it: again in a second */
    return err == GAL_EBUSY ? GAL_OK : gal_fail(diag, err, "%s", why.text);
}

gal_err gal_metrics_fact(gal_metrics *m, const char *key, const char *value, gal_diag *diag) {
    const char *const texts[] = { key, value };
    return hold(m, "INSERT OR REPLACE INTO facts VALUES (?, ?)", texts, NULL, 0, diag);
}

/* Whole numbers up to 2^53 pass through a double unharmed, and the columns' INTEGER affinity makes them integers
 * again. */
gal_err gal_metrics_step(gal_metrics *m, const gal_metric_step *r, gal_diag *diag) {
    double v[] = { (double)r->step, (double)r->tokens, r->loss, r->lr, r->grad_norm, r->tokens_per_s, r->time_s };
    return hold(m, "INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?, ?, ?, ?)", NULL, v, (int)GAL_LEN(v), diag);
}

gal_err gal_metrics_routers(gal_metrics *m, int64_t step, double balance, double z, gal_diag *diag) {
    double v[] = { (double)step, balance, z };
    return hold(m, "INSERT OR REPLACE INTO routers VALUES (?, ?, ?)", NULL, v, (int)GAL_LEN(v), diag);
}

gal_err gal_metrics_load(gal_metrics *m, const gal_metric_load *r, gal_diag *diag) {
    double v[] = { (double)r->step, (double)r->layer, r->dropped, r->most, r->least, r->iterations };
    double choice[] = { v[0], v[1], r->probability, r->entropy }, error[] = { v[0], v[1], r->square_error };
    gal_err err = hold(m, "INSERT OR REPLACE INTO loads VALUES (?, ?, ?, ?, ?, ?)", NULL, v, (int)GAL_LEN(v), diag);
    if (!err && !isnan(r->probability))
        err = hold(m, "INSERT OR REPLACE INTO choices VALUES (?, ?, ?, ?)", NULL, choice, (int)GAL_LEN(choice), diag);
    if (!err && !isnan(r->square_error))
        err = hold(m, "INSERT OR REPLACE INTO baselines VALUES (?, ?, ?)", NULL, error, (int)GAL_LEN(error), diag);
    return err;
}

gal_err gal_metrics_sample(gal_metrics *m, const gal_metric_sample *r, gal_diag *diag) {
    double v[] = { (double)r->step, (double)r->epoch, (double)r->row, (double)r->rows, (double)r->returns };
    return hold(m, "INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?)", NULL, v, (int)GAL_LEN(v), diag);
}

/* SQLite stores what is no number as NULL. */
gal_err gal_metrics_spike(gal_metrics *m, const gal_metric_spike *r, gal_diag *diag) {
    const char *const texts[] = { r->reason, r->action };
    double v[] = { (double)r->number, (double)r->step, (double)r->epoch, (double)r->row,
                   (double)r->rows,   r->loss,         r->grad_norm,     r->limit };
    return hold(m, "INSERT OR REPLACE INTO spikes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", texts, v, (int)GAL_LEN(v),
                diag);
}

gal_err gal_metrics_norm(gal_metrics *m, int64_t step, const gal_metric_norm *r, gal_diag *diag) {
    const char *const texts[] = { r->part, NULL };
    double v[] = { (double)step, r->grad, r->update };
    return hold(m, "INSERT OR REPLACE INTO norms VALUES (?, ?, ?, ?)", texts, v, (int)GAL_LEN(v), diag);
}

gal_err gal_metrics_setting(gal_metrics *m, const gal_metric_setting *r, gal_diag *diag) {
    const char *const texts[] = { r->key, r->value };
    double v[] = { (double)r->returns, (double)r->since };
    return hold(m, "INSERT OR REPLACE INTO settings VALUES (?, ?, ?, ?)", texts, v, (int)GAL_LEN(v), diag);
}

gal_err gal_metrics_eval(gal_metrics *m, const gal_metric_eval *r, gal_diag *diag) {
    double v[] = { (double)r->step,  (double)r->tokens, (double)r->bytes, r->nats,
                   r->bits_per_byte, r->time_s,         (double)r->rows,  r->average };
    return hold(m, "INSERT OR REPLACE INTO evaluations VALUES (?, ?, ?, ?, ?, ?, ?, ?)", NULL, v, (int)GAL_LEN(v),
                diag);
}

gal_err gal_metrics_cut(gal_metrics *m, int64_t step, gal_diag *diag) {
    static const char *const CUT[] = {
        "DELETE FROM steps WHERE step > ?",     "DELETE FROM routers WHERE step > ?",
        "DELETE FROM loads WHERE step > ?",     "DELETE FROM choices WHERE step > ?",
        "DELETE FROM baselines WHERE step > ?", "DELETE FROM samples WHERE step > ?",
        "DELETE FROM norms WHERE step > ?",     "DELETE FROM evaluations WHERE step > ?"
    };
    double v[] = { (double)step };
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < GAL_LEN(CUT); i++) err = hold(m, CUT[i], NULL, v, 1, diag);
    return err ? err : gal_metrics_flush(m, diag);
}

gal_err gal_metrics_cut_spikes(gal_metrics *m, int64_t count, gal_diag *diag) {
    double v[] = { (double)count };
    gal_err err = hold(m, "DELETE FROM spikes WHERE number > ?", NULL, v, 1, diag);
    return err ? err : gal_metrics_flush(m, diag);
}

gal_err gal_metrics_cut_settings(gal_metrics *m, int64_t returns, int64_t since, gal_diag *diag) {
    double v[] = { (double)returns, (double)returns, (double)since };
    gal_err err = hold(m, "DELETE FROM settings WHERE returns > ? OR (returns = ? AND since > ?)", NULL, v,
                       (int)GAL_LEN(v), diag);
    return err ? err : gal_metrics_flush(m, diag);
}

void gal_metrics_get_fact(gal_metrics *m, const char *key, char *value, size_t bytes) {
    sqlite3_stmt *s = NULL;
    value[0] = 0;
    if (sqlite3_prepare_v2(m->d.db, "SELECT value FROM facts WHERE key = ?", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_bind_text(s, 1, key, -1, SQLITE_TRANSIENT) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(s, 0);
        size_t n = text ? GAL_MIN(strlen(text), bytes - 1) : 0;
        if (n) memcpy(value, text, n);
        value[n] = 0;
    }
    (void)sqlite3_finalize(s);
}

typedef struct table {
    void *rows;
    size_t count, cap, size;
    int64_t at[2];     /* for the query's places, if it has any */
    const char *young; /* its name, if files of before it was there may be without; else NULL */
} table;

/* Reads every row through `take`; none on failure. */
static gal_err select_rows(gal_metrics *m, const char *sql, table *t, void (*take)(void *row, sqlite3_stmt *s),
                           gal_diag *diag) {
    sqlite3_stmt *s = NULL;
    if (t->young && !has_table(m, t->young)) return GAL_OK;
    gal_err err = sqlite3_prepare_v2(m->d.db, sql, -1, &s, NULL) == SQLITE_OK ? GAL_OK
                                                                              : gal_db_fail(&m->d, GAL_EINPUT, diag);
    for (int i = 0; !err && i < sqlite3_bind_parameter_count(s); i++) (void)sqlite3_bind_int64(s, i + 1, t->at[i]);
    while (!err) {
        int rc = sqlite3_step(s);
        if (rc == SQLITE_DONE) break;
        if (rc != SQLITE_ROW) {
            err = gal_db_fail(&m->d, GAL_EINPUT, diag);
        } else if (gal_grow(&t->rows, &t->cap, t->count + 1, t->size)) {
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for its rows", m->d.path);
        } else {
            take((char *)t->rows + t->count++ * t->size, s);
        }
    }
    (void)sqlite3_finalize(s);
    if (!err) return GAL_OK;
    gal_free(t->rows);
    t->rows = NULL;
    t->count = 0;
    return err;
}

static void take_step(void *row, sqlite3_stmt *s) {
    gal_metric_step *r = row;
    *r = (gal_metric_step){ .step = sqlite3_column_int64(s, 0),
                            .tokens = sqlite3_column_int64(s, 1),
                            .loss = sqlite3_column_double(s, 2),
                            .lr = sqlite3_column_double(s, 3),
                            .grad_norm = sqlite3_column_double(s, 4),
                            .tokens_per_s = sqlite3_column_double(s, 5),
                            .time_s = sqlite3_column_double(s, 6) };
}

static void take_eval(void *row, sqlite3_stmt *s) {
    gal_metric_eval *r = row;
    *r = (gal_metric_eval){ .step = sqlite3_column_int64(s, 0),
                            .tokens = sqlite3_column_int64(s, 1),
                            .bytes = sqlite3_column_int64(s, 2),
                            .nats = sqlite3_column_double(s, 3),
                            .bits_per_byte = sqlite3_column_double(s, 4),
                            .time_s = sqlite3_column_double(s, 5) };
    if (sqlite3_column_count(s) < 8) return; /* a file of before they were kept */
    r->rows = sqlite3_column_int64(s, 6);
    r->average = sqlite3_column_int(s, 7);
}

gal_err gal_metrics_steps(gal_metrics *m, gal_metric_step **rows, size_t *count, gal_diag *diag) {
    table t = { .size = sizeof **rows };
    gal_err err = select_rows(m, "SELECT * FROM steps ORDER BY step", &t, take_step, diag);
    *rows = t.rows;
    *count = t.count;
    return err;
}

gal_err gal_metrics_evals(gal_metrics *m, gal_metric_eval **rows, size_t *count, gal_diag *diag) {
    table t = { .size = sizeof **rows };
    gal_err err = select_rows(m, "SELECT * FROM evaluations ORDER BY step", &t, take_eval, diag);
    *rows = t.rows;
    *count = t.count;
    return err;
}

const gal_metric_eval *gal_metrics_best(const gal_metric_eval *rows, size_t n, const gal_metric_eval *like) {
    const gal_metric_eval *best = NULL;
    if (!like && n) like = &rows[n - 1];
    for (size_t i = 0; i < n; i++)
        if (rows[i].rows == like->rows && rows[i].average == like->average && (!best || rows[i].nats < best->nats))
            best = &rows[i];
    return best;
}

gal_err gal_metrics_last(gal_metrics *m, gal_metric_step *row, bool *any, gal_diag *diag) {
    table t = { .size = sizeof *row };
    gal_err err = select_rows(m, "SELECT * FROM steps ORDER BY step DESC LIMIT 1", &t, take_step, diag);
    if (err) return err;
    *any = t.count > 0;
    if (*any) *row = *(gal_metric_step *)t.rows;
    gal_free(t.rows);
    return GAL_OK;
}

sqlite3 *gal__metrics_db(gal_metrics *m) { return m->d.db; }

gal_err gal__metrics_refuse(gal_metrics *m, gal_err err, gal_diag *diag) { return gal_db_fail(&m->d, err, diag); }

static void take_sample(void *row, sqlite3_stmt *s) {
    gal_metric_sample *r = row;
    *r = (gal_metric_sample){ .step = sqlite3_column_int64(s, 0),
                              .epoch = sqlite3_column_int64(s, 1),
                              .row = sqlite3_column_int64(s, 2),
                              .rows = sqlite3_column_int64(s, 3),
                              .returns = sqlite3_column_int64(s, 4) };
}

static void take_norm(void *row, sqlite3_stmt *s) {
    gal_metric_norm *r = row;
    const char *part = (const char *)sqlite3_column_text(s, 0);
    *r = (gal_metric_norm){ .grad = sqlite3_column_double(s, 2), .update = sqlite3_column_double(s, 3) };
    (void)snprintf(r->part, sizeof r->part, "%s", part ? part : "");
}

gal_err gal_metrics_samples(gal_metrics *m, int64_t first, int64_t last, gal_metric_sample **rows, size_t *count,
                            gal_diag *diag) {
    static const char SQL[] = "SELECT * FROM samples WHERE step BETWEEN ? AND ? ORDER BY step";
    table t = { .size = sizeof **rows, .at = { first, last }, .young = "samples" };
    gal_err err = select_rows(m, SQL, &t, take_sample, diag);
    *rows = t.rows;
    *count = t.count;
    return err;
}

static double number(sqlite3_stmt *s, int column) {
    return sqlite3_column_type(s, column) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(s, column);
}

static void take_spike(void *row, sqlite3_stmt *s) {
    gal_metric_spike *r = row;
    const char *reason = (const char *)sqlite3_column_text(s, 0), *action = (const char *)sqlite3_column_text(s, 1);
    *r = (gal_metric_spike){ .number = sqlite3_column_int64(s, 2),
                             .step = sqlite3_column_int64(s, 3),
                             .epoch = sqlite3_column_int64(s, 4),
                             .row = sqlite3_column_int64(s, 5),
                             .rows = sqlite3_column_int64(s, 6),
                             .loss = number(s, 7),
                             .grad_norm = number(s, 8),
                             .limit = number(s, 9) };
    (void)snprintf(r->reason, sizeof r->reason, "%s", reason ? reason : "");
    (void)snprintf(r->action, sizeof r->action, "%s", action ? action : "");
}

gal_err gal_metrics_spikes(gal_metrics *m, gal_metric_spike **rows, size_t *count, gal_diag *diag) {
    table t = { .size = sizeof **rows, .young = "spikes" };
    gal_err err = select_rows(m, "SELECT * FROM spikes ORDER BY number", &t, take_spike, diag);
    *rows = t.rows;
    *count = t.count;
    return err;
}

gal_err gal_metrics_norms_of(gal_metrics *m, int64_t step, gal_metric_norm **rows, size_t *count, gal_diag *diag) {
    table t = { .size = sizeof **rows, .at = { step }, .young = "norms" };
    gal_err err = select_rows(m, "SELECT * FROM norms WHERE step = ? ORDER BY rowid", &t, take_norm, diag);
    *rows = t.rows;
    *count = t.count;
    return err;
}

static void take_setting(void *row, sqlite3_stmt *s) {
    gal_metric_setting *r = row;
    const char *key = (const char *)sqlite3_column_text(s, 0), *value = (const char *)sqlite3_column_text(s, 1);
    *r = (gal_metric_setting){ .returns = sqlite3_column_int64(s, 2), .since = sqlite3_column_int64(s, 3) };
    (void)snprintf(r->key, sizeof r->key, "%s", key ? key : "");
    (void)snprintf(r->value, sizeof r->value, "%s", value ? value : "");
}

gal_err gal_metrics_settings(gal_metrics *m, gal_metric_setting **rows, size_t *count, gal_diag *diag) {
    table t = { .size = sizeof **rows, .young = "settings" };
    gal_err err = select_rows(m, "SELECT * FROM settings ORDER BY returns, since", &t, take_setting, diag);
    *rows = t.rows;
    *count = t.count;
    return err;
}
