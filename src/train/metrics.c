/* metrics.c - see metrics.h. SPDX-License-Identifier: Apache-2.0 */
#include "train/metrics.h"

#include "base/mem.h"
#include "base/util.h"

#include <sqlite3.h>
#include <string.h>

#define FLUSH_S 1.0

struct gal_metrics {
    sqlite3 *db;
    char *path;
    bool open; /* a transaction holds rows back */
    double since;
};

static gal_err refuse(gal_metrics *m, gal_err err, gal_diag *diag) {
    return gal_fail(diag, err, "%s: %s", m->path, m->db ? sqlite3_errmsg(m->db) : "no memory");
}

static gal_err run_sql(gal_metrics *m, const char *sql, gal_diag *diag) {
    return sqlite3_exec(m->db, sql, NULL, NULL, NULL) == SQLITE_OK ? GAL_OK : refuse(m, GAL_EIO, diag);
}

gal_err gal_metrics_open(gal_metrics **out, const char *path, bool write, gal_diag *diag) {
    gal_metrics *m = gal_alloc(sizeof *m);
    if (!m) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    m->path = gal_strdup(path);
    if (!m->path) {
        gal_free(m);
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    }
    int flags = write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    gal_err err = GAL_OK;
    if (sqlite3_open_v2(path, &m->db, flags, NULL) != SQLITE_OK) err = refuse(m, write ? GAL_EIO : GAL_EINPUT, diag);
    if (!err) (void)sqlite3_busy_timeout(m->db, 5000);
    /* Losing the last second of metrics in a power cut is fine; a checkpoint flushes. */
    if (!err && write)
        err = run_sql(
            m,
            "PRAGMA synchronous = NORMAL;"
            "CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);"
            "CREATE TABLE IF NOT EXISTS steps (step INTEGER PRIMARY KEY, tokens INTEGER NOT NULL,"
            " loss_nats REAL NOT NULL, lr REAL NOT NULL, grad_norm REAL NOT NULL, tokens_per_s REAL NOT NULL,"
            " unix_time_s REAL NOT NULL);"
            "CREATE TABLE IF NOT EXISTS evaluations (step INTEGER PRIMARY KEY, tokens INTEGER NOT NULL,"
            " bytes INTEGER NOT NULL, nats_per_token REAL NOT NULL, bits_per_byte REAL NOT NULL,"
            " unix_time_s REAL NOT NULL);",
            diag);
    if (err) {
        gal_metrics_close(m);
        return err;
    }
    *out = m;
    return GAL_OK;
}

void gal_metrics_close(gal_metrics *m) {
    if (!m) return;
    if (m->db && m->open) (void)gal_metrics_flush(m, NULL);
    (void)sqlite3_close(m->db);
    gal_free(m->path);
    gal_free(m);
}

gal_err gal_metrics_flush(gal_metrics *m, gal_diag *diag) {
    if (!m->open) return GAL_OK;
    m->open = false;
    return run_sql(m, "COMMIT", diag);
}

/* Runs a statement with `n` numbers and perhaps two texts before them. */
static gal_err insert(gal_metrics *m, const char *sql, const char *const *texts, int n_texts, const double *numbers,
                      int n, gal_diag *diag) {
    if (!m->open) {
        gal_err err = run_sql(m, "BEGIN", diag);
        if (err) return err;
        m->open = true;
        m->since = gal_now_s();
    }
    sqlite3_stmt *s = NULL;
    bool ok = sqlite3_prepare_v2(m->db, sql, -1, &s, NULL) == SQLITE_OK;
    for (int i = 0; ok && i < n_texts; i++)
        ok = sqlite3_bind_text(s, i + 1, texts[i], -1, SQLITE_TRANSIENT) == SQLITE_OK;
    for (int i = 0; ok && i < n; i++) ok = sqlite3_bind_double(s, n_texts + i + 1, numbers[i]) == SQLITE_OK;
    ok = ok && sqlite3_step(s) == SQLITE_DONE;
    gal_err err = ok ? GAL_OK : refuse(m, GAL_EIO, diag);
    (void)sqlite3_finalize(s);
    if (!err && gal_now_s() - m->since > FLUSH_S) err = gal_metrics_flush(m, diag);
    return err;
}

gal_err gal_metrics_fact(gal_metrics *m, const char *key, const char *value, gal_diag *diag) {
    const char *texts[] = { key, value };
    return insert(m, "INSERT OR REPLACE INTO facts VALUES (?, ?)", texts, 2, NULL, 0, diag);
}

/* Whole numbers up to 2^53 pass through a double unharmed, and the columns' INTEGER affinity makes them integers
 * again. */
gal_err gal_metrics_step(gal_metrics *m, const gal_metric_step *r, gal_diag *diag) {
    double v[] = { (double)r->step, (double)r->tokens, r->loss, r->lr, r->grad_norm, r->tokens_per_s, r->time_s };
    return insert(m, "INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?, ?, ?, ?)", NULL, 0, v, (int)GAL_LEN(v), diag);
}

gal_err gal_metrics_eval(gal_metrics *m, const gal_metric_eval *r, gal_diag *diag) {
    double v[] = { (double)r->step, (double)r->tokens, (double)r->bytes, r->nats, r->bits_per_byte, r->time_s };
    return insert(m, "INSERT OR REPLACE INTO evaluations VALUES (?, ?, ?, ?, ?, ?)", NULL, 0, v, (int)GAL_LEN(v),
                  diag);
}

gal_err gal_metrics_cut(gal_metrics *m, int64_t step, gal_diag *diag) {
    double v[] = { (double)step };
    gal_err err = insert(m, "DELETE FROM steps WHERE step > ?", NULL, 0, v, 1, diag);
    if (!err) err = insert(m, "DELETE FROM evaluations WHERE step > ?", NULL, 0, v, 1, diag);
    return err ? err : gal_metrics_flush(m, diag);
}

void gal_metrics_get_fact(gal_metrics *m, const char *key, char *value, size_t bytes) {
    sqlite3_stmt *s = NULL;
    value[0] = 0;
    if (sqlite3_prepare_v2(m->db, "SELECT value FROM facts WHERE key = ?", -1, &s, NULL) == SQLITE_OK &&
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
} table;

/* Reads every row through `take`. */
static gal_err select_rows(gal_metrics *m, const char *sql, table *t, void (*take)(void *row, sqlite3_stmt *s),
                           gal_diag *diag) {
    sqlite3_stmt *s = NULL;
    gal_err err = sqlite3_prepare_v2(m->db, sql, -1, &s, NULL) == SQLITE_OK ? GAL_OK : refuse(m, GAL_EINPUT, diag);
    while (!err) {
        int rc = sqlite3_step(s);
        if (rc == SQLITE_DONE) break;
        if (rc != SQLITE_ROW) {
            err = refuse(m, GAL_EINPUT, diag);
        } else if (gal_grow(&t->rows, &t->cap, t->count + 1, t->size)) {
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for its rows", m->path);
        } else {
            take((char *)t->rows + t->count++ * t->size, s);
        }
    }
    (void)sqlite3_finalize(s);
    if (err) gal_free(t->rows);
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
}

gal_err gal_metrics_steps(gal_metrics *m, gal_metric_step **rows, size_t *count, gal_diag *diag) {
    table t = { .size = sizeof **rows };
    gal_err err = select_rows(m, "SELECT * FROM steps ORDER BY step", &t, take_step, diag);
    if (err) return err;
    *rows = t.rows;
    *count = t.count;
    return GAL_OK;
}

gal_err gal_metrics_evals(gal_metrics *m, gal_metric_eval **rows, size_t *count, gal_diag *diag) {
    table t = { .size = sizeof **rows };
    gal_err err = select_rows(m, "SELECT * FROM evaluations ORDER BY step", &t, take_eval, diag);
    if (err) return err;
    *rows = t.rows;
    *count = t.count;
    return GAL_OK;
}
