/* bench_model.c - see bench.h: which cells there are, and the turns that engines take at them. Refuses cells that the
 * model's context has no room for. What must begin from nothing comes first, before this process opens the model.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "cli/bench.h"
#include "cli/commands.h"
#include "cli/sampling.h"
#include "cli/screen.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { REPEATS = 5, PAUSE_MS = 50, PEAK_REPEATS = 3 };

/* ---- cells ------------------------------------------------------------------------------------------------------
 */

typedef struct list {
    int64_t x[GAL_BENCH_LIST];
    size_t n;
} list;

/* Whole numbers with commas between them, each from min on. */
static gal_err read_list(gal_cli *cli, const char *option, const char *text, int64_t min, list *out) {
    char word[24];
    for (const char *at = text;; at++) {
        const size_t n = strcspn(at, ",");
        int64_t x = -1;
        (void)snprintf(word, sizeof word, "%.*s", (int)GAL_MIN(n, sizeof word - 1), at);
        if (n >= sizeof word || !gal_parse_i64(word, &x) || x < min || x > GAL_MAX_POSITIONS)
            return gal_cli_usage(cli,
                                 "--%s: expected whole numbers from %" PRId64 " on with commas between them, "
                                 "found '%.80s'",
                                 option, min, text);
        if (out->n == GAL_BENCH_LIST) return gal_cli_usage(cli, "--%s: at most %d numbers", option, GAL_BENCH_LIST);
        out->x[out->n++] = x;
        at += n;
        if (!*at) return GAL_OK;
    }
}

/* A list that was given, or the usual one where nothing was asked for. */
static gal_err list_of(gal_cli *cli, const char *option, bool usual, const char *fallback, int64_t min, list *out) {
    const char *text = gal_cli_string(cli, option);
    if (!text && !usual) return GAL_OK;
    return read_list(cli, option, text ? text : fallback, min, out);
}

/* Most tokens of a sequence. */
static int64_t room_of(const gal_bench_job *j) {
    const int64_t positions = j->model->config.max_positions, context = j->lo->context;
    return context > 0 ? GAL_MIN(context, positions) : positions;
}

/* asked: by its number; one that is only usual is left out where it does not fit. */
static gal_err add_cell(gal_bench_job *j, bool asked, gal_bench_cell c) {
    const int64_t room = room_of(j), need = c.depth + c.n;
    for (size_t i = 0; i < j->n_cells; i++) {
        const gal_bench_cell *o = &j->cell[i];
        if (o->kind == c.kind && o->n == c.n && o->depth == c.depth && o->batch == c.batch) return GAL_OK;
    }
    if (need > room && asked)
        return gal_fail(&j->cli->diag, GAL_ENOMEM,
                        "bench: %" PRId64 " tokens in one sequence do not fit: %s at %" PRId64, need,
                        room < j->model->config.max_positions ? "--context ends" : "the model's positions end", room);
    if (need > room) return GAL_OK;
    if (c.batch == 1 && c.kind <= GAL_BENCH_DECODE) j->longest = GAL_MAX(j->longest, need);
    j->cell[j->n_cells++] = c;
    return GAL_OK;
}

static gal_err plan(gal_bench_job *j) {
    gal_cli *cli = j->cli;
    list prefill = { .n = 0 }, decode = { .n = 0 }, batch = { .n = 0 };
    const bool start = gal_cli_given(cli, "start"),
               given[] = { gal_cli_given(cli, "prefill"), gal_cli_given(cli, "decode"), gal_cli_given(cli, "batch") };
    const bool text = gal_cli_given(cli, "prompt");
    const bool usual = !start && !text && !given[0] && !given[1] && !given[2];
    const int64_t n = gal_cli_int(cli, "tokens"), room = room_of(j);
    gal_err err = list_of(cli, "prefill", usual, "32,128,512,2048", 1, &prefill);
    if (!err) err = list_of(cli, "decode", usual, "0,2048,8192", 0, &decode);
    if (!err) err = list_of(cli, "batch", usual, "1,4,16", 1, &batch);
    for (size_t i = 0; !err && i < batch.n; i++)
        if (batch.x[i] > GAL_BENCH_CHUNK)
            err = gal_cli_usage(cli, "--batch: at most %d sequences, found %" PRId64, GAL_BENCH_CHUNK, batch.x[i]);
    if (err) return err;
    if (usual || start) {
        err = add_cell(j, false, (gal_bench_cell){ GAL_BENCH_START, GAL_BENCH_FIRST, 0, 1 });
        const int64_t full = GAL_MIN(room, (int64_t)GAL_BENCH_CONTEXT);
        if (!err && full >= 4) err = add_cell(j, false, (gal_bench_cell){ GAL_BENCH_MEMORY, full, 0, 1 });
    }
    if (!err && text && n < 2) err = gal_cli_usage(cli, "--tokens: expected at least 2 of a text, found %" PRId64, n);
    if (!err && text) err = add_cell(j, true, (gal_bench_cell){ GAL_BENCH_TEXT, n, 0, 1 });
    for (size_t i = 0; !err && i < prefill.n; i++)
        err = add_cell(j, given[0], (gal_bench_cell){ GAL_BENCH_PREFILL, prefill.x[i], 0, 1 });
    for (size_t i = 0; !err && i < decode.n; i++)
        err = add_cell(j, given[1], (gal_bench_cell){ GAL_BENCH_DECODE, n, decode.x[i], 1 });
    for (size_t i = 0; !err && i < batch.n; i++)
        err = add_cell(j, given[2], (gal_bench_cell){ GAL_BENCH_DECODE, n, 0, batch.x[i] });
    if (!err && !j->n_cells)
        err = gal_fail(&cli->diag, GAL_ENOMEM, "bench: the model's %" PRId64 " positions have no room for anything",
                       room);
    return err;
}

/* ---- turns ------------------------------------------------------------------------------------------------------
 */

static void tell(const gal_bench_report *r, const gal_bench_cell *c, const char *who, int turn) {
    if (r->job->cli->quiet || !gal_cli_is_terminal(stderr)) return;
    fprintf(stderr, "\r%zu of %zu: %s %" PRId64, r->n_done + 1, r->job->n_cells, gal_bench_kind_name(c->kind), c->n);
    if (c->depth) fprintf(stderr, " at %" PRId64, c->depth);
    if (c->batch > 1) fprintf(stderr, " x %" PRId64, c->batch);
    if (turn)
        fprintf(stderr, ", turn %d, ", turn);
    else
        fputs(", getting ready: ", stderr);
    gal_cli_print_safe(stderr, GAL_SAFE_LINE, who, strlen(who));
    fputs("\x1b[K", stderr);
    fflush(stderr);
}

static void told(const gal_bench_report *r) {
    if (!r->job->cli->quiet && gal_cli_is_terminal(stderr)) fputs("\r\x1b[K", stderr);
}

/* Threads of others may go on spinning for a while after they have answered. */
static void let_rest(const gal_bench_report *r) {
    const struct timespec t = { .tv_nsec = PAUSE_MS * 1000000L };
    if (r->n_engines > 1) (void)nanosleep(&t, NULL);
}

static bool goes_on(const gal_bench_report *r, const gal_bench_cell *c, const gal_bench_run *run, double limit_s) {
    const int most = c->kind == GAL_BENCH_MEMORY ? 1 : r->repeats;
    return run->can && run->turns < most && (!run->turns || run->spent_s < limit_s);
}

static gal_err one_turn(gal_bench_report *r, const gal_bench_cell *c, size_t engine, gal_bench_run *run) {
    gal_bench_engine *e = r->engine[engine];
    tell(r, c, e->name, run->turns + 1);
    let_rest(r);
    const double begin = gal_now_s();
    gal_err err = e->measure(e, c, &run->value[run->turns], &r->job->cli->diag);
    run->spent_s += gal_now_s() - begin;
    if (!err) run->turns++;
    return err;
}

static bool on_cpu(const gal_cli *cli) { return !cli->device.device || strcmp(cli->device.device, "cpu") == 0; }

/* Keeps the larger of the medians: what else the machine did meanwhile made it slower, never faster. */
static void take_figure(gal_bench_report *r, const gal_machine_figure *f) {
    double *best = &r->best[f->id], *least = &r->least[f->id];
    *least = *least > 0 ? GAL_MIN(*least, f->median) : f->median;
    if (*least > 0) r->unsteady = GAL_MAX(r->unsteady, GAL_MAX(*best, f->best) / *least - 1.0);
    *best = GAL_MAX(*best, f->median);
}

/* What the machine does now. It changes within minutes where others share it, so each turn has its own limit. */
static gal_err measure_peaks(gal_bench_report *r, const gal_bench_cell *c, double now[GAL_PEAK_COUNT]) {
    gal_machine_figure f[GAL_MACHINE_ROOM];
    gal_dev *dev = NULL;
    gal_cli *cli = r->job->cli;
    size_t n = 0;
    memset(now, 0, GAL_PEAK_COUNT * sizeof *now);
    if (!gal_bench_is_rate(c) || !on_cpu(cli)) return GAL_OK; /* a GPU's limits are others */
    gal_err err = gal_dev_open(&dev, &cli->device, &cli->diag);
    const int threads = gal_machine_at_once(r->job->threads);
    if (!err) err = gal_machine_measure(f, &n, &dev->table, threads, PEAK_REPEATS, false, &cli->diag);
    for (size_t i = 0; i < n; i++) {
        take_figure(r, &f[i]);
        now[f[i].id] = f[i].median;
    }
    gal_dev_close(dev);
    return err;
}

static bool any_goes_on(const gal_bench_report *r, size_t i, double limit_s) {
    for (size_t e = 0; e < r->n_engines; e++)
        if (goes_on(r, &r->job->cell[i], &r->run[i][e], limit_s)) return true;
    return false;
}

/* That of the last turn: the mean of what the machine did before and after it. */
static void set_limit(const gal_bench_report *r, const gal_bench_cell *c, const double before[GAL_PEAK_COUNT],
                      const double after[GAL_PEAK_COUNT], gal_bench_run *run) {
    double mean[GAL_PEAK_COUNT];
    for (int i = 0; i < GAL_PEAK_COUNT; i++) mean[i] = 0.5 * (before[i] + after[i]);
    run->limit_s[run->turns - 1] = gal_bench_limit_s(r->job->model, c, mean);
}

static gal_err measure_cell(gal_bench_report *r, size_t i, double limit_s) {
    const gal_bench_cell *c = &r->job->cell[i];
    gal_bench_run *run = r->run[i];
    gal_err err = GAL_OK;
    for (size_t e = 0; !err && e < r->n_engines; e++) {
        tell(r, c, r->engine[e]->name, 0);
        let_rest(r);
        err = r->engine[e]->prepare(r->engine[e], c, &run[e].can, &r->job->cli->diag);
    }
    for (int turn = 0; !err && any_goes_on(r, i, limit_s); turn++) {
        double before[GAL_PEAK_COUNT], after[GAL_PEAK_COUNT];
        err = measure_peaks(r, c, before);
        for (size_t k = 0; !err && k < r->n_engines; k++) {
            const size_t e = turn % 2 ? r->n_engines - 1 - k : k; /* nobody always follows the same one */
            if (!goes_on(r, c, &run[e], limit_s)) continue;
            err = one_turn(r, c, e, &run[e]);
            if (!err) err = measure_peaks(r, c, after);
            if (err) break;
            set_limit(r, c, before, after, &run[e]);
            memcpy(before, after, sizeof before);
        }
    }
    told(r);
    if (!err || run->turns) r->n_done++; /* what was measured before an end in the middle counts */
    return err;
}

static gal_err measure_all(gal_bench_report *r) {
    const double limit_s = gal_cli_float(r->job->cli, "limit");
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < r->job->n_cells; i++) {
        if (gal_cli_interrupted()) err = gal_fail(&r->job->cli->diag, GAL_EINTERRUPTED, "interrupted");
        if (!err) err = measure_cell(r, i, limit_s);
    }
    return err;
}

/* ---- the command --------------------------------------------------------------------------------------------------
 */

static gal_err open_engines(gal_bench_report *r) {
    gal_cli *cli = r->job->cli;
    const size_t n = gal_cli_count(cli, "vs");
    gal_err err = gal_bench_ours(&r->engine[0], r->job, r->level, &cli->diag);
    r->n_engines = err ? 0 : 1;
    if (!err && gal_cli_given(cli, "prompt")) {
        err = gal_bench_one_by_one(&r->engine[1], r->engine[0], &cli->diag);
        r->n_engines += err ? 0 : 1;
    }
    for (size_t i = 0; !err && i < n; i++) {
        const char *vs = gal_cli_nth(cli, "vs", i);
        err = strcmp(vs, "llama.cpp") == 0 ? gal_bench_llama_cpp(&r->engine[r->n_engines], r->job, &cli->diag)
                                           : gal_bench_program(&r->engine[r->n_engines], r->job, vs, &cli->diag);
        if (!err) r->n_engines++;
    }
    return err;
}

static gal_err check(gal_cli *cli, const gal_lm_options *lo, const gal_bench_model *m) {
    const size_t n = gal_cli_count(cli, "vs");
    if (n > GAL_BENCH_OTHERS) return gal_cli_usage(cli, "--vs: at most %d others", GAL_BENCH_OTHERS);
    if (gal_cli_given(cli, "prompt") != (lo->speculate != GAL_SPECULATE_OFF))
        return gal_cli_usage(cli, "--prompt and --speculate lookup or --draft MODEL belong together");
    if (n && !m->gguf)
        return gal_cli_usage(cli, "--vs: others read GGUF files only, and %s is none; galerne convert makes one",
                             m->path.data);
    if (n && gal_cli_count(cli, "lora")) return gal_cli_usage(cli, "--vs and --lora exclude each other");
    return GAL_OK;
}

/* The level and how many threads; the threads themselves end again, for what begins in a new process. A GPU is not
 * opened here: a forked process could not use it any more. */
static gal_err ask_device(gal_cli *cli, char level[80], int *threads) {
    gal_dev *dev = NULL;
    gal_device_options o = cli->device;
    o.device = NULL;
    gal_err err = gal_dev_open(&dev, &o, &cli->diag);
    if (err) return err;
    (void)snprintf(level, 80, "%s", on_cpu(cli) ? dev->name : cli->device.device);
    *threads = gal_pool_threads(dev->pool);
    gal_dev_close(dev);
    return GAL_OK;
}

static gal_err with_model(gal_bench_report *r, const gal_bench_job *j, const char *level) {
    gal_cli *cli = j->cli;
    r->job = j;
    r->level = level;
    r->repeats = gal_cli_given(cli, "repeats") ? (int)gal_cli_int(cli, "repeats") : REPEATS;
    gal_err err = open_engines(r);
    if (!err) err = measure_all(r);
    const gal_err why = err;
    r->stopped = err != GAL_OK;
    if (r->n_done) { /* also where a peer failed later on */
        if (cli->json)
            err = gal_bench_print_json(r, &cli->diag);
        else
            gal_bench_print(r);
    }
    for (size_t i = r->n_engines; i-- > 0;) r->engine[i]->free(r->engine[i]);
    return why ? why : err;
}

gal_err gal_bench_run_model(gal_cli *cli) {
    gal_lm_options lo;
    gal_reading reading = { .cli = cli };
    gal_loras loras = { 0 };
    gal_bench_model m = { 0 };
    gal_bench_job j = { .cli = cli, .lo = &lo, .model = &m };
    char level[80];
    gal_cli_catch_interrupts();
    gal_err err = gal_cli_lm_options(cli, &lo, &reading, &loras);
    if (!err) err = gal_cli_speculation(cli, &lo);
    if (!err) err = gal_bench_look(&m, cli->operands[0], gal_cli_layout(cli), &lo, &cli->diag);
    if (!err) err = check(cli, &lo, &m);
    if (!err) err = plan(&j);
    if (!err) err = ask_device(cli, level, &j.threads);
    j.python = gal_cli_string(cli, "python");
    j.flash = gal_cli_string(cli, "vs-flash");
    gal_bench_report *r = NULL;
    if (!err) {
        r = gal_alloc(sizeof *r);
        err = r ? with_model(r, &j, level) : gal_fail(&cli->diag, GAL_ENOMEM, "no memory for a benchmark");
    }
    gal_free(r);
    gal_bench_model_free(&m);
    gal_cli_loras_free(&loras);
    return err;
}
