/* series.c - see series.h. Owns nothing between calls. Names of tables and columns come from the file and stand
 * quoted in what is asked. SPDX-License-Identifier: Apache-2.0 */
#include "train/series.h"

#include "base/buf.h"
#include "base/mem.h"
#include "train/metrics_db.h"

#include <math.h>
#include <string.h>

enum { PIECE = 20000 }; /* rows that are read under one lock: some 20 ms */

static gal_err no_memory(gal_diag *diag) { return gal_fail(diag, GAL_ENOMEM, "no memory for a run's numbers"); }

static gal_err prepare(gal_metrics *m, const gal_buf *sql, sqlite3_stmt **s, gal_diag *diag) {
    if (sql->oom) return no_memory(diag);
    if (sqlite3_prepare_v2(gal__metrics_db(m), sql->data, -1, s, NULL) == SQLITE_OK) return GAL_OK;
    return gal__metrics_refuse(m, GAL_EINPUT, diag);
}

/* name as SQL takes it. */
static void put_name(gal_buf *b, const char *name) {
    gal_buf_putc(b, '"');
    for (; *name; name++) {
        if (*name == '"') gal_buf_putc(b, '"');
        gal_buf_putc(b, *name);
    }
    gal_buf_putc(b, '"');
}

static const char *text_at(sqlite3_stmt *s, int i) {
    const char *text = (const char *)sqlite3_column_text(s, i);
    return text ? text : "";
}

gal_err gal_series_guard(gal_metrics *m, int patience_ms, gal_diag *diag) {
    sqlite3 *db = gal__metrics_db(m);
    (void)sqlite3_busy_timeout(db, patience_ms);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (sqlite3_exec(db, "PRAGMA query_only = 1", NULL, NULL, NULL) == SQLITE_OK) return GAL_OK;
    return gal__metrics_refuse(m, GAL_EINPUT, diag);
}

/* ---- tables ------------------------------------------------------------------------------------------------------
 */

static void free_table(gal_series_table *t) {
    gal_free(t->name);
    for (size_t i = 0; i < t->n_columns; i++) gal_free(t->columns[i]);
    for (size_t i = 0; i < t->n_labels; i++) gal_free(t->labels[i]);
    *t = (gal_series_table){ 0 };
}

void gal_series_tables_free(gal_series_tables *t) {
    for (size_t i = 0; i < t->n; i++) free_table(&t->v[i]);
    gal_free(t->v);
    *t = (gal_series_tables){ 0 };
}

const gal_series_table *gal_series_find(const gal_series_tables *t, const char *name) {
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->v[i].name, name) == 0) return &t->v[i];
    return NULL;
}

static bool keep_name(char **list, size_t *n, size_t most, const char *name) {
    if (*n == most) return true;
    list[*n] = gal_strdup(name);
    return list[*n] && ++*n;
}

/* What a row of PRAGMA table_info says: cid, name, type, notnull, default, place in the primary key. keyed: the step
 * is in the primary key, too. */
static bool keep_column(gal_series_table *t, sqlite3_stmt *s, bool keyed) {
    const char *name = text_at(s, 1), *type = text_at(s, 2);
    bool key = sqlite3_column_int(s, 5) > 0;
    if (strcmp(name, "step") == 0 || strstr(type, "BLOB") || (key && !keyed)) return true;
    if (key || strstr(type, "TEXT") || strstr(type, "CHAR"))
        return keep_name(t->labels, &t->n_labels, GAL_SERIES_LABELS, name);
    return keep_name(t->columns, &t->n_columns, GAL_SERIES_COLUMNS, name);
}

static gal_err first_and_last(gal_metrics *m, gal_series_table *t, gal_diag *diag) {
    gal_buf sql = { 0 };
    sqlite3_stmt *s = NULL;
    /* Apart, each is one look at the index; together they would be a walk through the table. */
    gal_buf_puts(&sql, "SELECT (SELECT min(step) FROM ");
    put_name(&sql, t->name);
    gal_buf_puts(&sql, "), (SELECT max(step) FROM ");
    put_name(&sql, t->name);
    gal_buf_puts(&sql, ")");
    gal_err err = prepare(m, &sql, &s, diag);
    if (!err && sqlite3_step(s) != SQLITE_ROW) err = gal__metrics_refuse(m, GAL_EINPUT, diag);
    if (!err) {
        t->empty = sqlite3_column_type(s, 0) == SQLITE_NULL;
        t->first = sqlite3_column_int64(s, 0);
        t->last = sqlite3_column_int64(s, 1);
    }
    (void)sqlite3_finalize(s);
    gal_buf_free(&sql);
    return err;
}

/* Walks through the columns: first for the step, then to keep the others. */
static gal_err look_for_step(gal_metrics *m, sqlite3_stmt *s, bool *found, bool *keyed, bool *any_key,
                             gal_diag *diag) {
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        bool key = sqlite3_column_int(s, 5) > 0, step = strcmp(text_at(s, 1), "step") == 0;
        *found = *found || step;
        *keyed = *keyed || (step && key);
        *any_key = *any_key || key;
    }
    return rc == SQLITE_DONE ? GAL_OK : gal__metrics_refuse(m, GAL_EINPUT, diag);
}

/* *keep: it has steps and quantities. */
static gal_err describe(gal_metrics *m, gal_series_table *t, bool *keep, gal_diag *diag) {
    gal_buf sql = { 0 };
    sqlite3_stmt *s = NULL;
    bool has_step = false, keyed = false, any_key = false;
    gal_buf_puts(&sql, "PRAGMA table_info(");
    put_name(&sql, t->name);
    gal_buf_puts(&sql, ")");
    gal_err err = prepare(m, &sql, &s, diag);
    if (!err) err = look_for_step(m, s, &has_step, &keyed, &any_key, diag);
    if (!err) (void)sqlite3_reset(s);
    int rc = SQLITE_DONE;
    while (!err && (rc = sqlite3_step(s)) == SQLITE_ROW)
        if (!keep_column(t, s, keyed)) err = no_memory(diag);
    if (!err && rc != SQLITE_DONE) err = gal__metrics_refuse(m, GAL_EINPUT, diag);
    (void)sqlite3_finalize(s);
    gal_buf_free(&sql);
    t->events = any_key && !keyed;
    *keep = has_step && t->n_columns;
    return err || !*keep ? err : first_and_last(m, t, diag);
}

gal_err gal_series_describe(gal_metrics *m, gal_series_tables *out, gal_diag *diag) {
    static const char SQL[] =
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    sqlite3_stmt *s = NULL;
    int rc = SQLITE_ROW;
    *out = (gal_series_tables){ .v = gal_alloc_array(GAL_SERIES_TABLES, sizeof *out->v) };
    if (!out->v) return no_memory(diag);
    gal_err err = sqlite3_prepare_v2(gal__metrics_db(m), SQL, -1, &s, NULL) == SQLITE_OK
                      ? GAL_OK
                      : gal__metrics_refuse(m, GAL_EINPUT, diag);
    while (!err && out->n < GAL_SERIES_TABLES && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        gal_series_table *t = &out->v[out->n];
        bool keep = false;
        t->name = gal_strdup(text_at(s, 0));
        err = t->name ? describe(m, t, &keep, diag) : no_memory(diag);
        if (err || !keep)
            free_table(t);
        else
            out->n++;
    }
    if (!err && rc != SQLITE_DONE && rc != SQLITE_ROW) err = gal__metrics_refuse(m, GAL_EINPUT, diag);
    (void)sqlite3_finalize(s);
    if (err) gal_series_tables_free(out);
    return err;
}

/* ---- rows --------------------------------------------------------------------------------------------------------
 */

static int column_of(const gal_series_table *t, const char *name) {
    for (size_t i = 0; i < t->n_columns; i++)
        if (strcmp(t->columns[i], name) == 0) return (int)i;
    return -1;
}

typedef struct reader {
    const gal_series_table *table;
    gal_series_set *set;
    size_t points, at; /* at: the series of the row before, for rows come in turns */
    int tokens, speed; /* columns; -1: none */
    double read;       /* tokens at the row before; < 0: not known */
} reader;

static bool labelled(const gal_series *s, size_t n, sqlite3_stmt *row) {
    for (size_t i = 0; i < n; i++) {
        const char *text = (const char *)sqlite3_column_text(row, 1 + (int)i);
        if (!text != !s->labels[i] || (text && strcmp(text, s->labels[i]) != 0)) return false;
    }
    return true;
}

/* The series of a row, a new one if need be. NULL: no memory, or (*full) too many. */
static gal_series *series_of(reader *r, sqlite3_stmt *row, bool *full) {
    gal_series_set *set = r->set;
    size_t labels = r->table->n_labels;
    for (size_t k = 1; k <= set->n; k++) {
        size_t i = (r->at + k) % set->n;
        if (!labelled(&set->v[i], labels, row)) continue;
        r->at = i;
        return &set->v[i];
    }
    *full = set->n == GAL_SERIES_MOST;
    if (*full) return NULL;
    gal_series *s = &set->v[set->n];
    for (size_t i = 0; i < labels; i++) {
        const char *text = (const char *)sqlite3_column_text(row, 1 + (int)i);
        if (text && !(s->labels[i] = gal_strdup(text))) {
            while (i) gal_free(s->labels[--i]);
            return NULL;
        }
    }
    gal_thin_init(&s->thin, r->table->n_columns + set->has_seconds, r->points);
    r->at = set->n++;
    return s;
}

static gal_err take(reader *r, sqlite3_stmt *row, int64_t step, gal_diag *diag) {
    double values[GAL_SERIES_COLUMNS + 1];
    const gal_series_table *t = r->table;
    bool full = false;
    gal_series *s = series_of(r, row, &full);
    if (full) {
        r->set->left_out++;
        return GAL_OK;
    }
    if (!s) return no_memory(diag);
    for (size_t i = 0; i < t->n_columns; i++) {
        int at = 1 + (int)(t->n_labels + i), type = sqlite3_column_type(row, at);
        values[i] = type == SQLITE_INTEGER || type == SQLITE_FLOAT ? sqlite3_column_double(row, at) : (double)NAN;
    }
    if (r->set->has_seconds) {
        double now = values[r->tokens], speed = values[r->speed];
        /* Of the first row, the part that belongs to one step. */
        double more = r->read >= 0 ? now - r->read : now / (double)GAL_MAX(step, (int64_t)1);
        if (speed > 0 && more > 0) r->set->seconds += more / speed;
        if (isfinite(now)) r->read = now;
        values[t->n_columns] = r->set->seconds;
    }
    r->set->rows++;
    return gal_thin_add(&s->thin, step, values) ? GAL_OK : no_memory(diag);
}

static void put_question(gal_buf *sql, const gal_series_table *t) {
    gal_buf_puts(sql, "SELECT step");
    for (size_t i = 0; i < t->n_labels; i++) {
        gal_buf_putc(sql, ',');
        put_name(sql, t->labels[i]);
    }
    for (size_t i = 0; i < t->n_columns; i++) {
        gal_buf_putc(sql, ',');
        put_name(sql, t->columns[i]);
    }
    gal_buf_puts(sql, " FROM ");
    put_name(sql, t->name);
    gal_buf_puts(sql, " WHERE step > ?1 AND step <= ?2 ORDER BY step");
}

/* Tokens up to the step after which is read. */
static gal_err tokens_before(reader *r, gal_metrics *m, int64_t after, gal_diag *diag) {
    gal_buf sql = { 0 };
    sqlite3_stmt *s = NULL;
    gal_buf_puts(&sql, "SELECT tokens FROM ");
    put_name(&sql, r->table->name);
    gal_buf_puts(&sql, " WHERE step <= ?1 ORDER BY step DESC LIMIT 1");
    gal_err err = prepare(m, &sql, &s, diag);
    int rc = SQLITE_DONE;
    if (!err) {
        (void)sqlite3_bind_int64(s, 1, after);
        rc = sqlite3_step(s);
    }
    if (!err && rc == SQLITE_ROW) r->read = sqlite3_column_double(s, 0);
    if (!err && rc != SQLITE_ROW && rc != SQLITE_DONE) err = gal__metrics_refuse(m, GAL_EINPUT, diag);
    (void)sqlite3_finalize(s);
    gal_buf_free(&sql);
    return err;
}

/* One piece: whole steps only, so that the next one goes on after the last. *more: there may be more. */
static gal_err read_piece(reader *r, gal_metrics *m, sqlite3_stmt *s, int64_t until, bool *more, gal_diag *diag) {
    gal_err err = GAL_OK;
    int rc = SQLITE_DONE;
    *more = false;
    (void)sqlite3_bind_int64(s, 1, r->set->last);
    (void)sqlite3_bind_int64(s, 2, until);
    for (int64_t n = 0; !err && (rc = sqlite3_step(s)) == SQLITE_ROW; n++) {
        if (sqlite3_column_type(s, 0) != SQLITE_INTEGER) continue; /* such steps are nobody's */
        int64_t step = sqlite3_column_int64(s, 0);
        *more = n >= PIECE && step > r->set->last;
        if (*more) break;
        r->set->last = step;
        err = take(r, s, step, diag);
    }
    if (!err && rc != SQLITE_ROW && rc != SQLITE_DONE) err = gal__metrics_refuse(m, GAL_EINPUT, diag);
    (void)sqlite3_reset(s); /* gives the lock back */
    return err;
}

gal_err gal_series_read(gal_metrics *m, const gal_series_table *t, const gal_series_range *range, gal_series_set *out,
                        gal_diag *diag) {
    gal_buf sql = { 0 };
    sqlite3_stmt *s = NULL;
    reader r = { .table = t,
                 .set = out,
                 .points = range->points,
                 .tokens = column_of(t, "tokens"),
                 .speed = column_of(t, "tokens_per_s"),
                 .read = -1 };
    *out = (gal_series_set){ .v = gal_alloc_array(GAL_SERIES_MOST, sizeof *out->v), .last = range->after };
    if (!out->v) return no_memory(diag);
    out->has_seconds = r.tokens >= 0 && r.speed >= 0 && !t->n_labels;
    put_question(&sql, t);
    gal_err err = prepare(m, &sql, &s, diag);
    if (!err && out->has_seconds) err = tokens_before(&r, m, range->after, diag);
    bool more = !err;
    while (!err && more) err = read_piece(&r, m, s, range->until, &more, diag);
    (void)sqlite3_finalize(s);
    gal_buf_free(&sql);
    if (err) gal_series_set_free(out, t);
    return err;
}

void gal_series_set_free(gal_series_set *s, const gal_series_table *t) {
    for (size_t i = 0; s->v && i < s->n; i++) {
        for (size_t k = 0; k < t->n_labels; k++) gal_free(s->v[i].labels[k]);
        gal_thin_free(&s->v[i].thin);
    }
    gal_free(s->v);
    *s = (gal_series_set){ 0 };
}

/* ---- facts -------------------------------------------------------------------------------------------------------
 */

gal_err gal_series_facts(gal_metrics *m, void (*tell)(void *user, const char *key, const char *value), void *user,
                         gal_diag *diag) {
    sqlite3_stmt *s = NULL;
    int rc = SQLITE_DONE;
    gal_err err = sqlite3_prepare_v2(gal__metrics_db(m), "SELECT key, value FROM facts ORDER BY key", -1, &s, NULL) ==
                          SQLITE_OK
                      ? GAL_OK
                      : gal__metrics_refuse(m, GAL_EINPUT, diag);
    while (!err && (rc = sqlite3_step(s)) == SQLITE_ROW) tell(user, text_at(s, 0), text_at(s, 1));
    if (!err && rc != SQLITE_DONE) err = gal__metrics_refuse(m, GAL_EINPUT, diag);
    (void)sqlite3_finalize(s);
    return err;
}
