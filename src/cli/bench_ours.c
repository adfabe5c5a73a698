/* bench_ours.c - galerne as one of the engines of a benchmark. Owns the open model and one engine for as many
 * sequences as the cell at hand has. Invariant: sequence s of it holds gal_bench_id(s, 0), gal_bench_id(s, 1), ...
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "cli/bench.h"
#include "cli/sampling.h"
#include "infer/lm.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WARM_TOKENS = 512, WARM_STEPS = 3 };

typedef struct ours {
    gal_bench_engine base;
    const gal_bench_job *job;
    gal_lm *lm;
    gal_engine *engine;
    int64_t sequences;
    int32_t *ids; /* of sequence 0 */
    int64_t n_ids;
    gal_slice *slices; /* one for each sequence */
    int32_t *next;
    gal_generate_result guesses; /* of the last turn */
    gal_told told;
} ours;

/* The same model without guesses. */
typedef struct plain {
    gal_bench_engine base;
    ours *of;
} plain;

/* ---- in a new process --------------------------------------------------------------------------------------------
 */

/* What it says to the process that waits for it. */
typedef struct said {
    double value;
    gal_err err;
    gal_diag diag;
} said;

static const gal_sampling GREEDY = { .top_p = 1.0, .repetition_penalty = 1.0 };

static int one_token(void *user, int32_t id, const char *text, size_t bytes) {
    (void)user, (void)id, (void)text, (void)bytes;
    return 1;
}

static gal_err start(const gal_bench_job *job, const gal_lm_options *lo, double *value, gal_diag *diag) {
    int32_t ids[GAL_BENCH_FIRST];
    gal_lm *lm = NULL;
    gal_generate_options o;
    const double begin = gal_now_s();
    for (int i = 0; i < GAL_BENCH_FIRST; i++) ids[i] = gal_bench_id(0, i, job->model->config.V);
    gal_err err = gal_lm_open(&lm, job->model->path.data, lo, diag);
    if (!err) {
        gal_generate_options_init(&o, lm);
        o.sampling = GREEDY;
        o.max_tokens = 1;
        err = gal_lm_generate_ids(lm, ids, GAL_BENCH_FIRST, &o, one_token, NULL, NULL, diag);
        *value = gal_now_s() - begin;
    }
    gal_lm_close(lm);
    return err;
}

/* Gives sequence 0 so many positions that were not computed. Every byte of theirs is written, so that it counts. */
static gal_err hold(gal_engine *e, const gal_config *c, int64_t length, gal_diag *diag) {
    gal_cache *cache = NULL;
    gal_err err = gal_engine_restore(e, 0, length, &cache, diag);
    for (int64_t l = 0; !err && l < c->L; l++) {
        void *zeros = gal_alloc(gal_cache_run_bytes(cache, l, 0));
        if (!zeros) err = gal_fail(diag, GAL_ENOMEM, "no memory for keys");
        for (int64_t g = 0; !err && g < 2 * c->G; g++)
            err = gal_cache_copy_in(cache, (gal_cache_run){ l, 0, g / 2, g % 2 != 0 }, zeros, diag);
        gal_free(zeros);
    }
    return err;
}

/* A conversation that grew to its end: half of the context, then all of it, the last part of which is a prompt that
 * is computed. */
static gal_err memory(const gal_bench_job *job, const gal_lm_options *lo, const gal_bench_cell *cell, double *value,
                      gal_diag *diag) {
    const gal_config *c = &job->model->config;
    const int64_t rows = GAL_MIN((int64_t)GAL_BENCH_CHUNK, cell->n / 2);
    const uint64_t before = gal_memory_peak();
    int32_t ids[GAL_BENCH_CHUNK];
    const float *logits;
    gal_lm *lm = NULL;
    for (int64_t i = 0; i < rows; i++) ids[i] = gal_bench_id(0, i, c->V);
    gal_err err = gal_lm_open(&lm, job->model->path.data, lo, diag);
    if (!err) gal_lm_settle(lm);
    if (!err) err = hold(lm->engine, c, cell->n / 2, diag);
    if (!err) err = hold(lm->engine, c, cell->n - rows, diag);
    if (!err) err = gal_engine_prefill(lm->engine, 0, ids, rows, &logits, diag);
    *value = (double)(gal_memory_peak() - before);
    gal_lm_close(lm);
    return err;
}

static _Noreturn void be_new(const gal_bench_job *job, const gal_bench_cell *c, int out) {
    said s = { 0 };
    gal_lm_options lo = *job->lo;
    gal_child_follow();
    lo.progress = NULL;
    lo.speculate = GAL_SPECULATE_OFF; /* a draft is for texts alone */
    lo.draft = NULL;
    lo.context = c->kind == GAL_BENCH_MEMORY ? c->n : lo.context;
    s.err = c->kind == GAL_BENCH_MEMORY ? memory(job, &lo, c, &s.value, &s.diag) : start(job, &lo, &s.value, &s.diag);
    const ssize_t n = write(out, &s, sizeof s);
    _exit(n == (ssize_t)sizeof s ? 0 : 1);
}

/* This process has no other thread yet, and no model: what is measured begins from nothing. */
static gal_err in_new_process(const gal_bench_job *job, const gal_bench_cell *c, double *value, gal_diag *diag) {
    int ends[2];
    said s = { .err = GAL_EFAIL };
    if (pipe(ends)) return gal_fail(diag, GAL_EFAIL, "a new process: %s", strerror(errno));
    const pid_t pid = fork();
    if (pid == 0) be_new(job, c, ends[1]);
    const int why = errno;
    (void)close(ends[1]);
    gal_err err = pid < 0 ? gal_fail(diag, GAL_EFAIL, "a new process: %s", strerror(why)) : GAL_OK;
    while (!err) {
        struct pollfd p = { .fd = ends[0], .events = POLLIN };
        if (gal_cli_interrupted()) err = gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
        if (!err && poll(&p, 1, 100) > 0) break;
    }
    if (err && pid > 0) (void)kill(pid, SIGKILL);
    if (!err && read(ends[0], &s, sizeof s) != (ssize_t)sizeof s)
        err = gal_fail(diag, GAL_EFAIL, "a process that measured ended without a word");
    (void)close(ends[0]);
    if (pid > 0) (void)waitpid(pid, NULL, 0);
    if (!err && s.err) err = gal_fail(diag, s.err, "%s", s.diag.text);
    *value = s.value;
    return err;
}

/* ---- in this one ------------------------------------------------------------------------------------------------
 */

static gal_err open_model(ours *o, gal_diag *diag) {
    const gal_config *c = &o->job->model->config;
    gal_lm_options lo = *o->job->lo;
    if (lo.speculate == GAL_SPECULATE_OFF) /* else a text is made, too, by the handle's own engine */
        lo.context = GAL_MIN(c->max_positions, GAL_MAX(lo.context, (int64_t)WARM_STEPS));
    gal_err err = gal_lm_open(&o->lm, o->job->model->path.data, &lo, diag);
    if (err) return err;
    gal_lm_settle(o->lm);
    o->lm->stop = gal_cli_wants_stop;
    gal_cli_tell(o->job->cli, o->lm, &o->told);
    o->n_ids = GAL_MAX(o->job->longest, (int64_t)WARM_TOKENS);
    o->ids = gal_alloc_array((size_t)o->n_ids, sizeof *o->ids);
    if (!o->ids) return gal_fail(diag, GAL_ENOMEM, "no memory for %lld ids", (long long)o->n_ids);
    for (int64_t i = 0; i < o->n_ids; i++) o->ids[i] = gal_bench_id(0, i, c->V);
    return GAL_OK;
}

/* An engine for so many sequences of at most `context` tokens, whose cache does not grow any more. */
static gal_err open_engine(ours *o, int64_t sequences, int64_t context, gal_diag *diag) {
    const gal_lm_options *lo = &o->lm->options;
    const gal_engine_options eo = { .compute = lo->compute,
                                    .cache = lo->cache,
                                    .sequences = sequences,
                                    .context = context,
                                    .chunk = lo->chunk,
                                    .eager = lo->eager != 0,
                                    .exact = lo->exact != 0 };
    gal_engine_free(o->engine);
    gal_free(o->slices);
    gal_free(o->next);
    o->engine = NULL;
    o->sequences = sequences;
    o->slices = gal_alloc_array((size_t)sequences, sizeof *o->slices);
    o->next = gal_alloc_array((size_t)sequences, sizeof *o->next);
    if (!o->slices || !o->next) return gal_fail(diag, GAL_ENOMEM, "no memory for %lld ids", (long long)sequences);
    gal_err err = gal_engine_new(&o->engine, o->lm->dev, o->lm->model, &eo, diag);
    if (err) return err;
    gal_cache *cache;
    gal_engine_interrupt(o->engine, gal_cli_wants_stop, NULL);
    err = gal_engine_restore(o->engine, 0, context, &cache, diag);
    (void)gal_engine_truncate(o->engine, 0, 0);
    return err;
}

/* Sequence 0 holds `depth` tokens, the others none. */
static gal_err go_to(ours *o, int64_t depth, gal_diag *diag) {
    int64_t length = gal_cache_length(gal_engine_cache(o->engine), 0);
    const float *logits;
    for (int64_t s = 1; s < o->sequences; s++) (void)gal_engine_truncate(o->engine, s, 0);
    if (length > depth && !gal_engine_truncate(o->engine, 0, depth)) (void)gal_engine_truncate(o->engine, 0, 0);
    length = gal_cache_length(gal_engine_cache(o->engine), 0);
    if (length == depth) return GAL_OK;
    return gal_engine_prefill(o->engine, 0, o->ids + length, depth - length, &logits, diag);
}

static gal_err decode(ours *o, int64_t depth, int64_t n, gal_diag *diag) {
    const int64_t V = o->job->model->config.V;
    const float *logits;
    gal_err err = GAL_OK;
    for (int64_t i = 0; !err && i < n; i++) {
        if (gal_cli_interrupted()) return gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
        for (int64_t s = 0; s < o->sequences; s++) {
            o->next[s] = gal_bench_id(s, depth + i, V);
            o->slices[s] = (gal_slice){ s, &o->next[s], 1 };
        }
        err = gal_engine_step(o->engine, o->slices, (size_t)o->sequences, false, &logits, diag);
    }
    return err;
}

static int go_on(void *user, int32_t id, const char *text, size_t bytes) {
    (void)user, (void)id, (void)text, (void)bytes;
    return gal_cli_interrupted();
}

/* The n most likely tokens after the text of --prompt. Nothing is left of what was made before, of the draft's cache
 * neither: that a draft reads the prompt counts, as it does for a user. */
static gal_err make_text(ours *o, gal_speculate how, int64_t n, gal_generate_result *r, gal_diag *diag) {
    const char *prompt = gal_cli_string(o->job->cli, "prompt");
    gal_lm *lm = o->lm;
    const gal_speculate as_opened = lm->options.speculate;
    gal_generate_options g;
    gal_generate_options_init(&g, lm);
    g.sampling = GREEDY;
    g.max_tokens = n;
    g.ignore_eos = 1;
    if (lm->draft) {
        lm->draft->held.len = 0;
        (void)gal_engine_truncate(lm->draft->engine, 0, 0);
    }
    lm->options.speculate = how;
    gal_err err = gal_lm_generate(lm, prompt, strlen(prompt), &g, go_on, NULL, r, diag);
    lm->options.speculate = as_opened;
    if (!err && gal_cli_interrupted()) err = gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
    if (!err && r->tokens < n)
        err = gal_fail(diag, GAL_ENOMEM, "bench: the context of %lld tokens has no room for the prompt and %lld more",
                       (long long)gal_engine_context(lm->engine), (long long)n);
    return err;
}

/* Makes the whole text once, so that caches have their size; but first asks whether there is room for it. */
static gal_err prepare_text(ours *o, int64_t n, gal_diag *diag) {
    const char *prompt = gal_cli_string(o->job->cli, "prompt");
    gal_generate_result r;
    int32_t *ids = NULL;
    size_t count = 0;
    if (!o->lm->tokenizer)
        return gal_fail(diag, GAL_EINPUT, "bench: --prompt: %s has no tokenizer", o->job->model->path.data);
    gal_err err = gal_lm_encode(o->lm, prompt, strlen(prompt), &ids, &count, diag);
    gal_release(ids);
    if (!err && (int64_t)count + n > gal_engine_context(o->lm->engine))
        err = gal_fail(diag, GAL_ENOMEM,
                       "bench: the context of %lld tokens has no room for the prompt's %zu and %lld more",
                       (long long)gal_engine_context(o->lm->engine), count, (long long)n);
    return err ? err : make_text(o, o->lm->options.speculate, n, &r, diag);
}

/* Seconds of n tokens. The first one comes with the prompt. */
static gal_err measure_text(ours *o, gal_speculate how, int64_t n, gal_generate_result *r, double *value,
                            gal_diag *diag) {
    gal_err err = make_text(o, how, n, r, diag);
    if (!err) *value = r->generate_s * (double)n / (double)(n - 1);
    return err;
}

static gal_err prepare(gal_bench_engine *e, const gal_bench_cell *c, bool *can, gal_diag *diag) {
    ours *o = (ours *)e;
    double first;
    *can = true;
    if (c->kind == GAL_BENCH_START) return in_new_process(o->job, c, &first, diag); /* the file is in memory then */
    if (!gal_bench_is_rate(c)) return GAL_OK;
    gal_err err = o->lm ? GAL_OK : open_model(o, diag);
    if (!err && c->kind == GAL_BENCH_TEXT) return prepare_text(o, c->n, diag);
    const int64_t context = c->batch == 1 ? o->job->longest : c->n;
    if (!err && (!o->engine || o->sequences != c->batch)) err = open_engine(o, c->batch, context, diag);
    if (err) return err;
    if (c->kind == GAL_BENCH_PREFILL) {
        err = go_to(o, 0, diag);
        return err ? err : go_to(o, GAL_MIN(c->n, (int64_t)WARM_TOKENS), diag);
    }
    err = go_to(o, c->depth, diag);
    return err ? err : decode(o, c->depth, GAL_MIN(c->n, (int64_t)WARM_STEPS), diag);
}

static gal_err measure(gal_bench_engine *e, const gal_bench_cell *c, double *value, gal_diag *diag) {
    ours *o = (ours *)e;
    if (!gal_bench_is_rate(c)) return in_new_process(o->job, c, value, diag);
    if (c->kind == GAL_BENCH_TEXT) {
        gal_generate_result r = { 0 };
        gal_err err = measure_text(o, o->lm->options.speculate, c->n, &r, value, diag);
        if (!err) o->guesses = r;
        return err;
    }
    const bool prefill = c->kind == GAL_BENCH_PREFILL;
    gal_err err = go_to(o, prefill ? 0 : c->depth, diag);
    const double begin = gal_now_s();
    if (!err) err = prefill ? go_to(o, c->n, diag) : decode(o, c->depth, c->n, diag);
    *value = gal_now_s() - begin;
    return err;
}

static void close_ours(gal_bench_engine *e) {
    ours *o = (ours *)e;
    if (o->told.before) gal_cli_tell(o->job->cli, o->lm, &o->told); /* what came since it was opened */
    gal_engine_free(o->engine);
    gal_lm_close(o->lm);
    gal_free(o->ids);
    gal_free(o->slices);
    gal_free(o->next);
    gal_free(o);
}

gal_err gal_bench_ours(gal_bench_engine **out, const gal_bench_job *job, const char *level, gal_diag *diag) {
    ours *o = gal_alloc(sizeof *o);
    if (!o) return gal_fail(diag, GAL_ENOMEM, "no memory for a benchmark");
    o->base = (gal_bench_engine){ .name = "galerne", .prepare = prepare, .measure = measure, .free = close_ours };
    (void)snprintf(o->base.about, sizeof o->base.about, "%s, %s", gal_version(), level);
    o->job = job;
    *out = &o->base;
    return GAL_OK;
}

/* ---- without guesses ----------------------------------------------------------------------------------------------
 */

static gal_err prepare_plain(gal_bench_engine *e, const gal_bench_cell *c, bool *can, gal_diag *diag) {
    gal_generate_result r;
    *can = c->kind == GAL_BENCH_TEXT; /* the model is open by then */
    return *can ? make_text(((plain *)e)->of, GAL_SPECULATE_OFF, c->n, &r, diag) : GAL_OK;
}

static gal_err measure_plain(gal_bench_engine *e, const gal_bench_cell *c, double *value, gal_diag *diag) {
    gal_generate_result r = { 0 };
    return measure_text(((plain *)e)->of, GAL_SPECULATE_OFF, c->n, &r, value, diag);
}

static void close_plain(gal_bench_engine *e) { gal_free(e); }

gal_err gal_bench_one_by_one(gal_bench_engine **out, gal_bench_engine *ours_, gal_diag *diag) {
    plain *p = gal_alloc(sizeof *p);
    if (!p) return gal_fail(diag, GAL_ENOMEM, "no memory for a benchmark");
    p->base = (gal_bench_engine){ .name = "one by one",
                                  .about = "the same without guesses",
                                  .prepare = prepare_plain,
                                  .measure = measure_plain,
                                  .free = close_plain };
    p->of = (ours *)ours_;
    *out = &p->base;
    return GAL_OK;
}

const gal_generate_result *gal_bench_guesses(const gal_bench_engine *e) { return &((const ours *)e)->guesses; }
