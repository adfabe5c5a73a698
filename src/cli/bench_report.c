/* bench_report.c - what was measured, as a table or as one JSON object. SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench.h"
#include "cli/commands.h"
#include "cli/sampling.h"
#include "cli/screen.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define UNSTEADY 0.25 /* more than that is said */
#define CACHED 1.1    /* above what memory allows, beyond noise */
enum { WIDE = 336 };  /* any double in %.3f */

static const struct {
    const char *name, *unit;
} KIND[] = {
    [GAL_BENCH_PREFILL] = { "prefill", "tokens/s" }, [GAL_BENCH_DECODE] = { "decode", "tokens/s" },
    [GAL_BENCH_TEXT] = { "text", "tokens/s" },       [GAL_BENCH_START] = { "start", "s" },
    [GAL_BENCH_MEMORY] = { "memory", "bytes" },
};

const char *gal_bench_kind_name(gal_bench_kind kind) { return KIND[kind].name; }

typedef struct summary {
    double median, low, high; /* in the unit that is shown: tokens a second, seconds, bytes */
    double spread;            /* half of what lies between the two, as a part of the median */
} summary;

static double shown(const gal_bench_cell *c, double value) {
    return gal_bench_is_rate(c) ? (double)(c->n * c->batch) / value : value;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
/* Puts them in order. n > 0. */
static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, by_size);
    return n % 2 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
}

static bool summarise(const gal_bench_cell *c, const gal_bench_run *run, summary *s) {
    double x[GAL_BENCH_REPEATS] = { 0 };
    const int n = run->turns;
    if (n <= 0) return false;
    for (int i = 0; i < n; i++) x[i] = shown(c, run->value[i]);
    s->median = median(x, n);
    s->low = x[0];
    s->high = x[n - 1];
    s->spread = 0.5 * (s->high - s->low) / s->median;
    return true;
}

/* What part an engine reached of what the machine allowed at the time of each turn, the median; 0: not known. */
static double part_of_limit(const gal_bench_run *run) {
    double x[GAL_BENCH_REPEATS] = { 0 };
    for (int i = 0; i < run->turns; i++) x[i] = run->limit_s[i] / run->value[i];
    return run->turns > 0 ? median(x, run->turns) : 0;
}

/* The same of the best that the machine did in the whole run. */
static double part_of_best(const gal_bench_report *r, size_t cell, const summary *s) {
    const gal_bench_cell *c = &r->job->cell[cell];
    const double limit_s = gal_bench_is_rate(c) ? gal_bench_limit_s(r->job->model, c, r->best) : 0;
    return limit_s > 0 ? s->median / shown(c, limit_s) : 0;
}

/* How much better the first is: above 1 it is faster, or needs less; 0: one of them is not known. */
static double ratio(const gal_bench_cell *c, double ours, double theirs) {
    if (!(ours > 0 && theirs > 0)) return 0;
    return gal_bench_is_rate(c) ? ours / theirs : theirs / ours;
}

/* ---- a table ----------------------------------------------------------------------------------------------------
 */

static void name_cell(const gal_bench_cell *c, char *text, size_t room) {
    const long long n = (long long)c->n, depth = (long long)c->depth, batch = (long long)c->batch;
    if (c->kind == GAL_BENCH_PREFILL)
        (void)snprintf(text, room, "prefill %lld", n);
    else if (c->kind == GAL_BENCH_TEXT)
        (void)snprintf(text, room, "text of %lld, guessing", n);
    else if (c->kind == GAL_BENCH_START)
        (void)snprintf(text, room, "to the first token");
    else if (c->kind == GAL_BENCH_MEMORY)
        (void)snprintf(text, room, "memory, context %lld", n);
    else if (batch > 1)
        (void)snprintf(text, room, "decode, %lld sequences", batch);
    else
        (void)snprintf(text, room, "decode at depth %lld", depth);
}

static void number(const gal_bench_cell *c, double x, char *text, size_t room) {
    if (c->kind == GAL_BENCH_MEMORY)
        (void)gal_cli_bytes_text(text, room, (uint64_t)x);
    else if (c->kind == GAL_BENCH_START)
        (void)snprintf(text, room, "%.3f s", x);
    else
        (void)snprintf(text, room, x < 9.995 ? "%.2f" : x < 9999.5 ? "%.1f" : "%.0f", x);
}

static void print_part(double part, int width) {
    char text[WIDE] = "";
    if (part > 0) (void)snprintf(text, sizeof text, "%.0f %%", 100.0 * part);
    printf(" %*s", width, text);
}

/* Whether weights were met faster than memory is read: they stay in a cache. */
static bool any_cached(const gal_bench_report *r) {
    for (size_t i = 0; i < r->n_done; i++)
        if (part_of_limit(&r->run[i][0]) > CACHED) return true;
    return false;
}

static void print_row(const gal_bench_report *r, size_t i) {
    const gal_bench_cell *c = &r->job->cell[i];
    char name[64], text[WIDE];
    summary ours, theirs;
    const bool have = summarise(c, &r->run[i][0], &ours);
    name_cell(c, name, sizeof name);
    if (!have) return;
    number(c, ours.median, text, sizeof text);
    printf("%-24s %10s", name, text);
    if (r->run[i][0].turns > 1)
        printf(" %6.1f %%", 100.0 * ours.spread);
    else
        printf(" %8s", "");
    print_part(part_of_limit(&r->run[i][0]), 9);
    print_part(part_of_best(r, i, &ours), 8);
    for (size_t e = 1; e < r->n_engines; e++) {
        if (!summarise(c, &r->run[i][e], &theirs)) {
            printf(" %14s %7s", "-", "-");
            continue;
        }
        number(c, theirs.median, text, sizeof text);
        printf(" %14s %7.2f", text, ratio(c, ours.median, theirs.median));
    }
    putchar('\n');
}

/* What others say of themselves, on a terminal. */
static void print_safe(const char *s) { gal_cli_print_safe(stdout, GAL_SAFE_LINE, s, strlen(s)); }

void gal_bench_print(const gal_bench_report *r) {
    const gal_bench_model *m = r->job->model;
    const gal_generate_result *guesses = gal_bench_guesses(r->engine[0]);
    char count[40], file[40], token[40];
    printf("model    %s: %s parameters, %s, %s; %s read a token\n", m->path.data,
           gal_cli_count_text(count, sizeof count, m->params), m->format,
           gal_cli_bytes_text(file, sizeof file, m->file_bytes),
           gal_cli_bytes_text(token, sizeof token, (uint64_t)gal_bench_token_bytes(m, 1)));
    printf("machine  %s, %d thread%s", r->level, r->job->threads, r->job->threads == 1 ? "" : "s");
    if (r->best[GAL_PEAK_READ] > 0)
        printf("; reads %.1f GB/s, f32 %.0f GFLOP/s, bf16 %.0f GFLOP/s, int8 %.0f Gop/s",
               r->best[GAL_PEAK_READ] * 1e-9, r->best[GAL_PEAK_F32] * 1e-9, r->best[GAL_PEAK_BF16] * 1e-9,
               r->best[GAL_PEAK_I8] * 1e-9);
    putchar('\n');
    for (size_t e = 1; e < r->n_engines; e++) {
        fputs("against  ", stdout);
        print_safe(r->engine[e]->name);
        fputs(": ", stdout);
        print_safe(r->engine[e]->about);
        putchar('\n');
    }
    if (r->unsteady > UNSTEADY)
        printf("unsteady the machine's own figures lie up to %.0f %% apart: it did other things too\n",
               100.0 * r->unsteady);
    if (guesses->tokens) {
        gal_buf b = { 0 };
        gal_cli_print_guesses(&b, guesses);
        printf("guesses  %s\n", b.data ? b.data : "");
        gal_buf_free(&b);
    }
    if (r->stopped) puts("partial  it did not come to its end: of what was measured so far");
    if (any_cached(r)) puts("cached   more than 100 %: weights in a cache are read faster than memory is");
    printf("\n%-24s %10s %8s %9s %8s", "tokens/s", "galerne", "spread", "of limit", "of best");
    for (size_t e = 1; e < r->n_engines; e++) printf(" %14.14s %7s", r->engine[e]->name, "ratio");
    putchar('\n');
    for (size_t i = 0; i < r->n_done; i++) print_row(r, i);
}

/* ---- JSON --------------------------------------------------------------------------------------------------------
 */

static void json_text(gal_buf *b, const char *key, const char *text) {
    gal_buf_printf(b, "\"%s\": ", key);
    gal_buf_json(b, text, strlen(text));
}

static void json_machine(gal_buf *b, const gal_bench_report *r) {
    static const char *const names[] = { "read_bytes_per_s", "f32_flops", "bf16_flops", "int8_ops" };
    gal_buf_puts(b, "\"machine\": {");
    json_text(b, "level", r->level);
    gal_buf_printf(b, ", \"threads\": %d", r->job->threads);
    for (int t = 0; t < GAL_PEAK_COUNT; t++) {
        if (r->best[t] > 0)
            gal_buf_printf(b, ", \"%s\": %.6g", names[t], r->best[t]);
        else
            gal_buf_printf(b, ", \"%s\": null", names[t]);
    }
    gal_buf_printf(b, ", \"unsteady\": %.3g}", r->unsteady);
}

/* ours: NULL for those of the first engine itself. */
static void json_run(gal_buf *b, const gal_bench_report *r, size_t cell, size_t engine, const summary *ours) {
    const gal_bench_cell *c = &r->job->cell[cell];
    const gal_bench_run *run = &r->run[cell][engine];
    const double of_limit = part_of_limit(run);
    summary s;
    if (!summarise(c, run, &s)) {
        gal_buf_puts(b, "null");
        return;
    }
    gal_buf_printf(b, "{\"median\": %.6g, \"min\": %.6g, \"max\": %.6g, \"samples\": [", s.median, s.low, s.high);
    for (int i = 0; i < run->turns; i++) gal_buf_printf(b, "%s%.6g", i ? ", " : "", shown(c, run->value[i]));
    gal_buf_puts(b, "]");
    if (of_limit > 0)
        gal_buf_printf(b, ", \"of_limit\": %.4g, \"of_best\": %.4g", of_limit, part_of_best(r, cell, &s));
    const double times = ours ? ratio(c, ours->median, s.median) : 0;
    if (times > 0) gal_buf_printf(b, ", \"ratio\": %.4g", times);
    gal_buf_puts(b, "}");
}

static void json_cell(gal_buf *b, const gal_bench_report *r, size_t i) {
    const gal_bench_cell *c = &r->job->cell[i];
    double limits[GAL_BENCH_REPEATS] = { 0 };
    const int turns = GAL_MAX(r->run[i][0].turns, 1);
    memcpy(limits, r->run[i][0].limit_s, sizeof limits);
    const double limit_s = median(limits, turns), limit = limit_s > 0 ? shown(c, limit_s) : 0;
    summary ours;
    gal_buf_printf(b,
                   "%s{\"what\": \"%s\", \"tokens\": %" PRId64 ", \"depth\": %" PRId64 ", \"batch\": %" PRId64
                   ", \"unit\": \"%s\", \"limit\": ",
                   i ? ", " : "", KIND[c->kind].name, c->n, c->depth, c->batch, KIND[c->kind].unit);
    if (limit > 0)
        gal_buf_printf(b, "%.6g", limit);
    else
        gal_buf_puts(b, "null");
    gal_buf_puts(b, ", \"results\": [");
    const bool have = summarise(c, &r->run[i][0], &ours);
    for (size_t e = 0; e < r->n_engines; e++) {
        if (e) gal_buf_puts(b, ", ");
        json_run(b, r, i, e, e && have ? &ours : NULL);
    }
    gal_buf_puts(b, "]}");
}

gal_err gal_bench_print_json(const gal_bench_report *r, gal_diag *diag) {
    const gal_bench_model *m = r->job->model;
    const gal_generate_result *guesses = gal_bench_guesses(r->engine[0]);
    gal_buf b = { 0 };
    gal_buf_puts(&b, "{");
    json_text(&b, "model", m->path.data);
    gal_buf_printf(&b, ", \"params\": %" PRId64 ", ", m->params);
    json_text(&b, "format", m->format);
    gal_buf_printf(&b, ", \"file_bytes\": %" PRIu64 ", \"bytes_per_token\": %.0f, \"repeats\": %d, \"partial\": %s, ",
                   m->file_bytes, gal_bench_token_bytes(m, 1), r->repeats, r->stopped ? "true" : "false");
    json_machine(&b, r);
    gal_buf_puts(&b, ", \"engines\": [");
    for (size_t e = 0; e < r->n_engines; e++) {
        gal_buf_puts(&b, e ? ", {" : "{");
        json_text(&b, "name", r->engine[e]->name);
        gal_buf_puts(&b, ", ");
        json_text(&b, "about", r->engine[e]->about);
        gal_buf_puts(&b, "}");
    }
    gal_buf_puts(&b, "]");
    if (guesses->tokens)
        gal_buf_printf(&b, ", \"guesses\": {\"passes\": %lld, \"proposed\": %lld, \"accepted\": %lld}",
                       (long long)guesses->passes, (long long)guesses->proposed, (long long)guesses->accepted);
    gal_buf_puts(&b, ", \"cells\": [");
    for (size_t i = 0; i < r->n_done; i++) json_cell(&b, r, i);
    gal_buf_puts(&b, "]}\n");
    gal_err err = b.oom ? gal_fail(diag, GAL_ENOMEM, "no memory for the report") : GAL_OK;
    if (!err) (void)fwrite(b.data, 1, b.len, stdout);
    gal_buf_free(&b);
    return err;
}
