/* series.h - whatever metrics.sqlite holds by step, without knowing its tables: any table with a column `step`.
 *
 * Of its other columns, texts and what is in the primary key beside the step are labels (a layer, a source): rows
 * with the same labels are one series. The rest are quantities. Where the primary key is without the step, it only
 * numbers the rows: they are events, and the number is passed over. A file is read in short pieces, so that a
 * training that writes to it meanwhile is never held up for longer than a piece takes. SPDX-License-Identifier:
 * Apache-2.0 */
#ifndef GAL_TRAIN_SERIES_H
#define GAL_TRAIN_SERIES_H

#include "train/metrics.h"
#include "train/thin.h"

enum { GAL_SERIES_TABLES = 64, GAL_SERIES_COLUMNS = 64, GAL_SERIES_LABELS = 4, GAL_SERIES_MOST = 64 };

/* A table. Names are owned. Tables, columns and labels beyond the numbers above are passed over. */
typedef struct gal_series_table {
    char *name;
    char *columns[GAL_SERIES_COLUMNS], *labels[GAL_SERIES_LABELS];
    size_t n_columns, n_labels;
    bool empty, events;
    int64_t first, last; /* steps, unless it is empty */
} gal_series_table;

typedef struct gal_series_tables {
    gal_series_table *v;
    size_t n;
} gal_series_tables;

/* For a file that strangers may have made and that somebody may be writing: nothing in it is run, nothing is changed,
 * and a writer is waited for at most so many milliseconds (GAL_EBUSY). */
gal_err gal_series_guard(gal_metrics *m, int patience_ms, gal_diag *diag);
/* All tables that have steps, in the order of their names. GAL_EINPUT: damaged. */
gal_err gal_series_describe(gal_metrics *m, gal_series_tables *out, gal_diag *diag);
void gal_series_tables_free(gal_series_tables *t);
const gal_series_table *gal_series_find(const gal_series_tables *t, const char *name); /* NULL: none */

/* Which rows. */
typedef struct gal_series_range {
    int64_t after, until; /* steps: after < step <= until */
    size_t points;        /* of each series, at most; see gal_thin_init() */
} gal_series_range;

typedef struct gal_series {
    char *labels[GAL_SERIES_LABELS]; /* owned; NULL where the row has none */
    gal_thin thin;                   /* its columns are the table's, then the time where there is one */
} gal_series;

typedef struct gal_series_set {
    gal_series *v;
    size_t n, left_out; /* left_out: rows of more than GAL_SERIES_MOST series */
    /* A table that has `tokens` and `tokens_per_s` gets one column more: seconds of computing, from the beginning of
     * the run or, if range.after is in it, from there. That is the time without evaluations and pauses, and finer
     * than clocks of whole seconds. seconds: at the last row. */
    bool has_seconds;
    double seconds;
    int64_t last; /* step of the last row, or range.after if there is none */
    int64_t rows;
} gal_series_set;

gal_err gal_series_read(gal_metrics *m, const gal_series_table *t, const gal_series_range *range, gal_series_set *out,
                        gal_diag *diag);
void gal_series_set_free(gal_series_set *s, const gal_series_table *t);

/* Tells of every fact, in the order of their keys. */
gal_err gal_series_facts(gal_metrics *m, void (*tell)(void *user, const char *key, const char *value), void *user,
                         gal_diag *diag);

#endif
