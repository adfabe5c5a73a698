/* runs.c - see runs.h. A run is named as it was found, and a request gets only what is in the list of that moment, so
 * that no name from outside is ever made into a path. SPDX-License-Identifier: Apache-2.0 */
#include "serve/runs.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/util.h"
#include "train/config.h"
#include "train/runs.h"
#include "train/series.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATIENCE_MS = 300, POINTS = 1000, LABELLED_POINTS = 400, SAMPLE_BYTES = 1 << 20 };

extern const char GAL_RUNS_PAGE[]; /* runs_page.html */

struct gal_runs_server {
    gal_http *http;
    const char *const *places;
    size_t n_places, page_bytes;
    gal_buf policy, tag;
};

/* ---- JSON --------------------------------------------------------------------------------------------------------
 */

static void put_text(gal_buf *b, const char *s) { gal_buf_json(b, s, strlen(s)); }

static void put_number(gal_buf *b, double x) {
    if (isfinite(x))
        gal_buf_printf(b, "%.10g", x);
    else
        gal_buf_puts(b, "null");
}

static void put_texts(gal_buf *b, char *const *list, size_t n) {
    gal_buf_putc(b, '[');
    for (size_t i = 0; i < n; i++) {
        if (i) gal_buf_putc(b, ',');
        if (list[i])
            put_text(b, list[i]);
        else
            gal_buf_puts(b, "null");
    }
    gal_buf_putc(b, ']');
}

static void refuse(gal_http_response *rs, gal_err err, const gal_diag *why) {
    int status = err == GAL_EINPUT ? 422 : err == GAL_EBUSY ? 503 : 500;
    gal_http_refuse(rs, status, "%s", why->text[0] ? why->text : gal_err_name(err));
}

/* ---- runs --------------------------------------------------------------------------------------------------------
 */

/* A run that has only just begun has none; that is no complaint about it. */
static bool has_metrics(const char *run) {
    gal_buf path = { 0 };
    const bool found = gal_path_join(&path, run, "metrics.sqlite") && gal_is_file(path.data);
    gal_buf_free(&path);
    return found;
}

static gal_err open_run(gal_metrics **m, const char *run, gal_diag *diag) {
    gal_err err = gal_run_metrics(m, run, diag);
    return err ? err : gal_series_guard(*m, PATIENCE_MS, diag);
}

/* A place that is gone since is empty. */
static gal_err find_runs(const gal_runs_server *s, gal_run_list *list, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < s->n_places; i++) {
        gal_diag why = { 0 };
        err = gal_runs_find(list, s->places[i], &why);
        if (err == GAL_EINPUT) err = GAL_OK;
        if (err) (void)gal_fail(diag, err, "%s", why.text);
    }
    return err;
}

/* The run that a request names. False: it was refused. */
static bool asked_run(const gal_runs_server *s, const gal_http_request *rq, gal_http_response *rs, gal_buf *path) {
    const char *name = gal_http_query(rq, "run");
    gal_run_list list = { 0 };
    gal_diag why = { 0 };
    bool found = false;
    if (!name) {
        gal_http_refuse(rs, 400, "expected ?run=, a run of /api/runs");
        return false;
    }
    gal_err err = find_runs(s, &list, &why);
    for (size_t i = 0; !err && i < list.n; i++) found = found || strcmp(list.paths[i], name) == 0;
    if (found) gal_buf_puts(path, name);
    if (err || path->oom)
        refuse(rs, err ? err : GAL_ENOMEM, &why);
    else if (!found)
        gal_http_refuse(rs, 404, "there is no such run here");
    gal_run_list_free(&list);
    return found && path->data;
}

typedef struct facts {
    gal_buf *out;
    size_t n;
} facts;

static void put_fact(void *user, const char *key, const char *value) {
    facts *f = user;
    if (f->n++) gal_buf_putc(f->out, ',');
    put_text(f->out, key);
    gal_buf_putc(f->out, ':');
    put_text(f->out, value);
}

static gal_err put_best(gal_metrics *m, gal_buf *b, gal_diag *diag) {
    gal_metric_eval *rows = NULL;
    size_t n = 0;
    gal_err err = gal_metrics_evals(m, &rows, &n, diag);
    if (err) return err;
    const gal_metric_eval *best = gal_metrics_best(rows, n, NULL);
    gal_buf_puts(b, ",\"best\":");
    if (best) {
        gal_buf_printf(b, "{\"step\":%lld,\"nats_per_token\":", (long long)best->step);
        put_number(b, best->nats);
        gal_buf_puts(b, ",\"bits_per_byte\":");
        put_number(b, best->bits_per_byte);
        gal_buf_putc(b, '}');
    } else {
        gal_buf_puts(b, "null");
    }
    gal_free(rows);
    return GAL_OK;
}

static gal_err put_tables(gal_metrics *m, gal_buf *b, gal_diag *diag) {
    gal_series_tables tables;
    gal_err err = gal_series_describe(m, &tables, diag);
    if (err) return err;
    gal_buf_puts(b, ",\"tables\":[");
    for (size_t i = 0; i < tables.n; i++) {
        const gal_series_table *t = &tables.v[i];
        gal_buf_puts(b, i ? ",{\"table\":" : "{\"table\":");
        put_text(b, t->name);
        gal_buf_puts(b, ",\"labels\":");
        put_texts(b, t->labels, t->n_labels);
        gal_buf_puts(b, ",\"columns\":");
        put_texts(b, t->columns, t->n_columns);
        if (t->events) gal_buf_puts(b, ",\"events\":true");
        if (!t->empty) gal_buf_printf(b, ",\"first\":%lld,\"last\":%lld", (long long)t->first, (long long)t->last);
        gal_buf_putc(b, '}');
    }
    gal_buf_putc(b, ']');
    gal_series_tables_free(&tables);
    return GAL_OK;
}

static gal_err put_last(gal_metrics *m, gal_buf *b, gal_diag *diag) {
    gal_metric_step last;
    bool any = false;
    gal_err err = gal_metrics_last(m, &last, &any, diag);
    if (err || !any) return err;
    gal_buf_printf(b, ",\"step\":%lld,\"tokens\":%lld,\"loss_nats\":", (long long)last.step, (long long)last.tokens);
    put_number(b, last.loss);
    gal_buf_puts(b, ",\"tokens_per_s\":");
    put_number(b, last.tokens_per_s);
    return GAL_OK;
}

/* An object of the list. What is wrong with the run stands in it, and stops nobody. */
static void put_run(gal_buf *b, const char *run) {
    gal_metrics *m = NULL;
    gal_diag why = { 0 };
    char state[32] = "";
    size_t begin;
    gal_buf_puts(b, "{\"run\":");
    put_text(b, run);
    begin = b->len;
    gal_err err = has_metrics(run) ? open_run(&m, run, &why)
                                   : gal_fail(&why, GAL_EINPUT, "no metrics.sqlite in it yet");
    if (!err) err = gal_run_state(m, run, state, sizeof state, &why);
    if (!err) {
        gal_buf_puts(b, ",\"state\":");
        put_text(b, state);
        gal_buf_puts(b, ",\"facts\":{");
        err = gal_series_facts(m, put_fact, &(facts){ b, 0 }, &why);
        gal_buf_puts(b, "}");
    }
    if (!err) err = put_last(m, b, &why);
    if (!err) err = put_best(m, b, &why);
    if (!err) err = put_tables(m, b, &why);
    if (err && !b->oom) { /* nothing of it, but for what is wrong */
        b->len = begin;
        gal_buf_puts(b, ",\"message\":");
        put_text(b, why.text[0] ? why.text : gal_err_name(err));
    }
    gal_buf_putc(b, '}');
    gal_metrics_close(m);
}

static void answer_runs(void *user, const gal_http_request *rq, gal_http_response *rs) {
    const gal_runs_server *s = user;
    gal_run_list list = { 0 };
    gal_diag why = { 0 };
    gal_buf *b = &rs->body;
    (void)rq;
    gal_err err = find_runs(s, &list, &why);
    if (err) {
        refuse(rs, err, &why);
    } else {
        gal_buf_puts(b, "{\"version\":");
        put_text(b, gal_version());
        gal_buf_puts(b, ",\"places\":[");
        for (size_t i = 0; i < s->n_places; i++) {
            if (i) gal_buf_putc(b, ',');
            put_text(b, s->places[i]);
        }
        gal_buf_printf(b, "],\"left_out\":%zu,\"runs\":[", list.left_out);
        for (size_t i = 0; i < list.n; i++) {
            if (i) gal_buf_putc(b, ',');
            put_run(b, list.paths[i]);
        }
        gal_buf_puts(b, "]}\n");
    }
    gal_run_list_free(&list);
}

/* ---- series ------------------------------------------------------------------------------------------------------
 */

/* Of a column, what is asked of its values: 0 mean, 1 least, 2 largest. */
static void put_values(gal_buf *b, const gal_thin *t, size_t column, int which) {
    gal_buf_putc(b, '[');
    for (size_t i = 0; i < t->n; i++) {
        const gal_thin_value *v = &t->values[i * t->columns + column];
        if (i) gal_buf_putc(b, ',');
        put_number(b, !v->rows ? (double)NAN : which == 0 ? v->sum / (double)v->rows : which == 1 ? v->low : v->high);
    }
    gal_buf_putc(b, ']');
}

static void put_span(gal_buf *b, const char *name, const gal_thin *t, int which) {
    gal_buf_printf(b, ",\"%s\":[", name);
    for (size_t i = 0; i < t->n; i++) {
        const gal_thin_span *p = &t->spans[i];
        gal_buf_printf(b, i ? ",%lld" : "%lld", (long long)(which == 0 ? p->first : which == 1 ? p->last : p->rows));
    }
    gal_buf_putc(b, ']');
}

static void put_series(gal_buf *b, const gal_series_table *t, const gal_series_set *set, const gal_series *s) {
    bool thinned = s->thin.width > 1;
    gal_buf_puts(b, "{\"labels\":");
    put_texts(b, s->labels, t->n_labels);
    put_span(b, "last", &s->thin, 1);
    if (thinned) put_span(b, "first", &s->thin, 0);
    if (thinned) put_span(b, "rows", &s->thin, 2);
    gal_buf_puts(b, ",\"values\":{");
    for (size_t c = 0; c < t->n_columns + set->has_seconds; c++) {
        if (c) gal_buf_putc(b, ',');
        put_text(b, c < t->n_columns ? t->columns[c] : "seconds");
        gal_buf_puts(b, ":{\"mean\":");
        put_values(b, &s->thin, c, 0);
        if (thinned) {
            gal_buf_puts(b, ",\"low\":");
            put_values(b, &s->thin, c, 1);
            gal_buf_puts(b, ",\"high\":");
            put_values(b, &s->thin, c, 2);
        }
        gal_buf_putc(b, '}');
    }
    gal_buf_puts(b, "}}");
}

static void put_set(gal_buf *b, const gal_series_table *t, const gal_series_set *set, const char *resumed) {
    gal_buf_puts(b, "{\"table\":");
    put_text(b, t->name);
    gal_buf_printf(b, ",\"last\":%lld,\"rows\":%lld,\"left_out\":%zu,\"resumed\":", (long long)set->last,
                   (long long)set->rows, set->left_out);
    put_text(b, resumed);
    if (set->has_seconds) {
        gal_buf_puts(b, ",\"seconds\":");
        put_number(b, set->seconds);
    }
    gal_buf_puts(b, ",\"labels\":");
    put_texts(b, t->labels, t->n_labels);
    gal_buf_puts(b, ",\"series\":[");
    for (size_t i = 0; i < set->n; i++) {
        if (i) gal_buf_putc(b, ',');
        put_series(b, t, set, &set->v[i]);
    }
    gal_buf_puts(b, "]}\n");
}

static bool asked_range(const gal_http_request *rq, gal_http_response *rs, gal_series_range *range) {
    int64_t points = POINTS;
    *range = (gal_series_range){ .after = -1, .until = INT64_MAX };
    const bool ok = gal_http_query_int(rq, "after", -1, INT64_MAX, &range->after) &&
                    gal_http_query_int(rq, "until", -1, INT64_MAX, &range->until);
    if (!ok) gal_http_refuse(rs, 400, "after and until: expected a step, a whole number from -1 on");
    const bool few = ok && gal_http_query_int(rq, "points", GAL_THIN_LEAST, GAL_THIN_MOST, &points);
    if (ok && !few)
        gal_http_refuse(rs, 400, "points: expected a whole number from %d to %d", GAL_THIN_LEAST, GAL_THIN_MOST);
    range->points = (size_t)points;
    return few;
}

static void answer_series(void *user, const gal_http_request *rq, gal_http_response *rs) {
    const char *name = gal_http_query(rq, "table");
    gal_buf run = { 0 };
    gal_metrics *m = NULL;
    gal_series_tables tables = { 0 };
    gal_series_range range;
    gal_diag why = { 0 };
    if (!name)
        gal_http_refuse(rs, 400, "expected &table=, a table of the run");
    else if (asked_range(rq, rs, &range) && asked_run(user, rq, rs, &run)) {
        gal_err err = open_run(&m, run.data, &why);
        if (!err) err = gal_series_describe(m, &tables, &why);
        const gal_series_table *t = err ? NULL : gal_series_find(&tables, name);
        char resumed[32] = "";
        if (t) {
            gal_series_set set;
            if (t->n_labels) range.points = GAL_MIN(range.points, (size_t)LABELLED_POINTS);
            /* Before the rows: were the run taken up again in between, the next answer would tell. */
            gal_metrics_get_fact(m, "resumed_unix_time_s", resumed, sizeof resumed);
            err = gal_series_read(m, t, &range, &set, &why);
            if (!err) put_set(&rs->body, t, &set, resumed);
            if (!err) gal_series_set_free(&set, t);
        }
        if (err)
            refuse(rs, err, &why);
        else if (!t)
            gal_http_refuse(rs, 404, "%s: the run has no such table", name);
    }
    gal_series_tables_free(&tables);
    gal_metrics_close(m);
    gal_buf_free(&run);
}

/* ---- settings and samples ----------------------------------------------------------------------------------------
 */

static gal_err put_settings(gal_buf *b, const char *run, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_train_config c;
    gal_err err = gal_path_join(&path, run, "config.yaml") ? gal_train_config_defaults(&c, diag)
                                                           : gal_fail(diag, GAL_ENOMEM, "no memory");
    if (!err) {
        err = gal_settings_read(&GAL_TRAIN_SETTINGS, &c, path.data, diag);
        for (size_t i = 0; !err && i < GAL_TRAIN_SETTINGS.count; i++) {
            gal_buf value = { 0 };
            if (!gal_settings_applies(&GAL_TRAIN_SETTINGS, &c, &GAL_TRAIN_SETTINGS.rows[i])) continue;
            gal_settings_print(&GAL_TRAIN_SETTINGS.rows[i], &c, &value);
            gal_buf_puts(b, i ? ",[" : "[");
            put_text(b, GAL_TRAIN_SETTINGS.rows[i].key);
            gal_buf_putc(b, ',');
            put_text(b, value.data ? value.data : "");
            gal_buf_putc(b, ']');
            b->oom = b->oom || value.oom;
            gal_buf_free(&value);
        }
        gal_train_config_free(&c);
    }
    gal_buf_free(&path);
    return err;
}

/* N of step-N.txt; -1: another name. */
static int64_t sample_step(const char *name) {
    static const char BEFORE[] = "step-", AFTER[] = ".txt";
    char digits[24];
    int64_t step = -1;
    size_t n = strlen(name), around = sizeof BEFORE + sizeof AFTER - 2;
    if (n <= around || n - around >= sizeof digits || strncmp(name, BEFORE, sizeof BEFORE - 1) != 0 ||
        strcmp(name + n - (sizeof AFTER - 1), AFTER) != 0)
        return -1;
    memcpy(digits, name + sizeof BEFORE - 1, n - around);
    digits[n - around] = 0;
    return gal_parse_i64(digits, &step) && step >= 0 ? step : -1;
}

static int by_step(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void put_samples(gal_buf *b, const char *run) {
    char **names = NULL;
    size_t n = 0, known = 0;
    int64_t *steps = NULL;
    gal_buf path = { 0 };
    if (gal_path_join(&path, run, "samples") && gal_is_dir(path.data) && !gal_list_dir(path.data, &names, &n, NULL)) {
        steps = gal_alloc_array(n, sizeof *steps);
        for (size_t i = 0; steps && i < n; i++)
            if ((steps[known] = sample_step(names[i])) >= 0) known++;
        if (known) qsort(steps, known, sizeof *steps, by_step);
        for (size_t i = 0; i < known; i++) gal_buf_printf(b, i ? ",%lld" : "%lld", (long long)steps[i]);
        b->oom = b->oom || !steps;
        gal_free(steps);
        gal_free_names(names, n);
    }
    gal_buf_free(&path);
}

static void answer_run(void *user, const gal_http_request *rq, gal_http_response *rs) {
    gal_buf run = { 0 }, *b = &rs->body;
    gal_diag why = { 0 };
    if (!asked_run(user, rq, rs, &run)) return;
    gal_buf_puts(b, "{\"run\":");
    put_text(b, run.data);
    gal_buf_puts(b, ",\"settings\":[");
    size_t begin = b->len;
    gal_err err = put_settings(b, run.data, &why);
    if (err && !b->oom) b->len = begin;
    gal_buf_puts(b, "]");
    if (err) {
        gal_buf_puts(b, ",\"message\":");
        put_text(b, why.text);
    }
    gal_buf_puts(b, ",\"samples\":[");
    put_samples(b, run.data);
    gal_buf_puts(b, "]}\n");
    gal_buf_free(&run);
}

static void answer_sample(void *user, const gal_http_request *rq, gal_http_response *rs) {
    gal_buf path = { 0 }, text = { 0 };
    gal_diag why = { 0 };
    int64_t step = -1;
    if (!gal_http_query_int(rq, "step", 0, INT64_MAX, &step) || step < 0)
        gal_http_refuse(rs, 400, "expected &step=, one of the run's samples");
    else if (asked_run(user, rq, rs, &path)) {
        gal_buf_printf(&path, "/samples/step-%lld.txt", (long long)step);
        gal_err err = path.oom ? GAL_ENOMEM : gal_read_file(&text, path.data, SAMPLE_BYTES, &why);
        if (err) {
            gal_http_refuse(rs, err == GAL_EINPUT ? 404 : 500, "%s", why.text);
        } else {
            gal_buf_printf(&rs->body, "{\"step\":%lld,\"text\":", (long long)step);
            gal_buf_json(&rs->body, text.data, text.len);
            gal_buf_puts(&rs->body, "}\n");
        }
    }
    gal_buf_free(&path);
    gal_buf_free(&text);
}

/* ---- the page ----------------------------------------------------------------------------------------------------
 */

static void answer_page(void *user, const gal_http_request *rq, gal_http_response *rs) {
    const gal_runs_server *s = user;
    (void)rq;
    rs->type = "text/html; charset=utf-8";
    rs->policy = s->policy.data;
    rs->tag = s->tag.data;
    rs->fixed = GAL_RUNS_PAGE;
    rs->fixed_bytes = s->page_bytes;
}

static void answer_icon(void *user, const gal_http_request *rq, gal_http_response *rs) {
    (void)user;
    (void)rq;
    rs->status = 204; /* browsers ask for it whatever the page says */
}

static void put_base64(gal_buf *b, const uint8_t *bytes, size_t n) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t three = 0;
        for (size_t k = 0; k < 3; k++) three = three << 8 | (i + k < n ? bytes[i + k] : 0);
        for (size_t k = 0; k < 4; k++) gal_buf_putc(b, i + k > n ? '=' : DIGITS[three >> (18 - 6 * k) & 63]);
    }
}

/* " 'sha256-...'" of what stands in the page between <tag> and </tag>: these bytes may run, and no others. */
static void put_hash(gal_buf *b, const char *begin, const char *end) {
    uint8_t hash[32];
    const char *from = strstr(GAL_RUNS_PAGE, begin), *to = from ? strstr(from, end) : NULL;
    GAL_ASSERT(from && to);
    from += strlen(begin);
    gal_sha256_of(from, (size_t)(to - from), hash);
    gal_buf_puts(b, " 'sha256-");
    put_base64(b, hash, sizeof hash);
    gal_buf_puts(b, "'");
}

static void prepare_page(gal_runs_server *s) {
    uint8_t hash[32];
    char hex[2 * sizeof hash + 1];
    s->page_bytes = strlen(GAL_RUNS_PAGE);
    gal_sha256_of(GAL_RUNS_PAGE, s->page_bytes, hash);
    gal_hex(hex, hash, sizeof hash);
    gal_buf_printf(&s->tag, "\"%s\"", hex);
    gal_buf_puts(&s->policy, "default-src 'none'; connect-src 'self'; img-src blob: data:; script-src");
    put_hash(&s->policy, "<script>", "</script>");
    gal_buf_puts(&s->policy, "; style-src");
    put_hash(&s->policy, "<style>", "</style>");
    gal_buf_puts(&s->policy, "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
}

static const gal_http_route ROUTES[] = {
    { "/", answer_page },
    { "/favicon.ico", answer_icon },
    { "/api/runs", answer_runs },
    { "/api/series", answer_series },
    { "/api/run", answer_run },
    { "/api/sample", answer_sample },
    { NULL, NULL },
};

gal_err gal_runs_serve(gal_runs_server **out, const char *const *places, size_t n, const char *host, int port,
                       gal_diag *diag) {
    gal_runs_server *s = gal_alloc(sizeof *s);
    if (!s) return gal_fail(diag, GAL_ENOMEM, "no memory for a server");
    s->places = places;
    s->n_places = n;
    prepare_page(s);
    gal_err err = s->policy.oom || s->tag.oom ? gal_fail(diag, GAL_ENOMEM, "no memory for a server") : GAL_OK;
    if (!err)
        err = gal_http_start(&s->http, &(gal_http_options){ .host = host, .port = port, .routes = ROUTES, .user = s },
                             diag);
    if (err) {
        gal_runs_stop(s);
        return err;
    }
    *out = s;
    return GAL_OK;
}

const char *gal_runs_url(const gal_runs_server *s) { return gal_http_url(s->http); }

void gal_runs_stop(gal_runs_server *s) {
    if (!s) return;
    gal_http_stop(s->http);
    gal_buf_free(&s->policy);
    gal_buf_free(&s->tag);
    gal_free(s);
}
