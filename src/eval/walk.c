/* walk.c - see walk.h. SPDX-License-Identifier: Apache-2.0 */
#include "eval/walk.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* At most this many bytes of one model's logits exist at once. */
enum { LOGITS_BYTES = 64 << 20, FEWEST_ROWS = 16 };

typedef struct walk {
    const gal_walk_options *o;
    const gal_model *const *models; /* [n_engines] */
    gal_engine *engine[GAL_WALK_MODELS];
    size_t n_engines;
    int64_t chunk, V;
    int32_t *input; /* [context] */
    gal_walk_fn fn;
    gal_walk_progress progress;
    void *user;
    int64_t at; /* token of the text that the running step begins at */
    gal_id_source *source;
    gal_walk_result r;
} walk;

double gal_log_sum_exp(const float *logits, int64_t V) {
    float most = logits[0];
    for (int64_t i = 1; i < V; i++) most = logits[i] > most ? logits[i] : most;
    double sum = 0.0;
    for (int64_t i = 0; i < V; i++) sum += exp((double)logits[i] - (double)most);
    /* cppcheck-suppress invalidFunctionArg ; V > 0, so the largest adds 1 */
    return (double)most + log(sum);
}

/* Asks within steps, too; the share counts tokens where their number is known beforehand. */
static bool wants_stop(void *user) {
    walk *w = user;
    double share = gal_id_source_share(w->source, w->at);
    if (w->o->max_tokens) share = GAL_MAX(share, (double)w->r.tokens / (double)w->o->max_tokens);
    w->r.stopped = w->progress && w->progress(w->user, GAL_MIN(share, 1.0), w->r.tokens);
    return w->r.stopped;
}

static gal_err open_engines(walk *w, gal_dev *dev, const gal_model *const *models, size_t n, gal_diag *diag) {
    int64_t most = 1;
    for (size_t i = 0; i < n; i++) most = GAL_MAX(most, (int64_t)models[i]->config.V);
    int64_t rows = LOGITS_BYTES / (most * (int64_t)sizeof(float));
    w->chunk = GAL_MIN(w->o->windows.context, GAL_MAX(FEWEST_ROWS, GAL_MIN(rows, GAL_WALK_ROWS)));
    w->input = gal_alloc_array((size_t)w->o->windows.context, sizeof *w->input);
    if (!w->input)
        return gal_fail(diag, GAL_ENOMEM, "no memory for a window of %lld tokens", (long long)w->o->windows.context);
    for (size_t i = 0; i < n; i++) {
        gal_engine_options eo = { .compute = w->o->compute,
                                  .cache = GAL_F32,
                                  .sequences = 1,
                                  .context = w->o->windows.context,
                                  .chunk = w->chunk,
                                  .exact = w->o->exact };
        gal_err err = gal_engine_new(&w->engine[i], dev, models[i], &eo, diag);
        if (err) return err;
        gal_engine_interrupt(w->engine[i], wants_stop, w);
        w->n_engines = i + 1;
    }
    return GAL_OK;
}

/* The next n <= chunk rows through every model; logits of all rows, or of the last. */
static gal_err step(walk *w, const int32_t *ids, int64_t n, bool all, const float **logits, gal_diag *diag) {
    gal_err err = GAL_OK;
    gal_slice s = { 0, ids, n };
    for (size_t i = 0; !err && i < w->n_engines; i++)
        err = gal_engine_step(w->engine[i], &s, 1, all, &logits[i], diag);
    return err;
}

/* One window, whose ids from `base` on are at hand. */
static gal_err run_window(walk *w, const gal_window *win, const int32_t *ids, int64_t base, gal_diag *diag) {
    int64_t rows = gal_window_rows(win), skip = gal_window_skip(win), put = win->put_bos ? 1 : 0;
    if (put) w->input[0] = w->o->bos;
    memcpy(w->input + put, ids + (win->from - base), (size_t)(rows - put) * sizeof *ids);
    if (win->replace_bos) w->input[0] = w->o->bos;
    for (size_t i = 0; i < w->n_engines; i++) (void)gal_engine_truncate(w->engine[i], 0, 0);
    gal_err err = GAL_OK;
    for (int64_t at = 0; !err && at < rows;) {
        w->at = win->first + GAL_MAX(at - skip, (int64_t)0);
        bool counts = at >= skip;
        int64_t n = GAL_MIN(w->chunk, (counts ? rows : skip) - at), first = win->first + at - skip;
        gal_walk_rows r = { .n = n, .at = first };
        gal_diag why = { 0 };
        err = step(w, w->input + at, n, counts, r.logits, &why);
        if (w->r.stopped) return GAL_OK; /* what was counted before is a result */
        if (err) return gal_fail(diag, err, "%s", why.text);
        if (counts) {
            r.ids = ids + (first - base);
            r.before = first - base;
            err = w->fn(w->user, &r, diag);
            w->r.tokens += n;
        }
        at += n;
    }
    return err;
}

/* Of a model whose rows of logits end before the id: its file, and that another one has more. */
static gal_err refuse_id(const walk *w, int64_t at, int32_t id, gal_diag *diag) {
    const gal_model *least = w->models[0];
    int64_t most = least->config.V;
    char other[64] = "";
    for (size_t i = 1; i < w->n_engines; i++) {
        most = GAL_MAX(most, (int64_t)w->models[i]->config.V);
        if (w->models[i]->config.V < least->config.V) least = w->models[i];
    }
    const char *file = least->n_weights ? least->weights[0].file : NULL;
    if (most > least->config.V)
        (void)snprintf(other, sizeof other, ", a smaller one than the other's %lld", (long long)most);
    return gal_fail(diag, GAL_EINPUT,
                    "token %lld of the text is %d; ids 0 to %lld can be measured: %s has a vocabulary of %lld%s",
                    (long long)at, (int)id, (long long)(w->V - 1), file ? file : "the model",
                    (long long)least->config.V, other);
}

/* A place for an id in messages is its number in the text. */
static gal_err check_ids(const walk *w, const int32_t *ids, int64_t base, int64_t n, gal_diag *diag) {
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= w->V) return refuse_id(w, base + i, ids[i], diag);
    return GAL_OK;
}

static gal_err too_short(const walk *w, gal_diag *diag) {
    const gal_windows *how = &w->o->windows;
    long long n = (long long)w->r.text_tokens, context = (long long)how->context;
    if (n == 0) return gal_fail(diag, GAL_EINPUT, "the text is empty: there is nothing to measure");
    if (how->convention == GAL_AS_LLAMA_CPP)
        return gal_fail(diag, GAL_EINPUT,
                        "the text has %lld tokens; llama.cpp's convention asks for at least two windows of %lld", n,
                        context);
    return gal_fail(diag, GAL_EINPUT,
                    "a text of one token, and no beginning of sequence before it: nothing predicts it");
}

/* Reads a window's ids; *there: whether it has any that count. */
static gal_err read_window(walk *w, gal_window *win, const int32_t **ids, int64_t *base, bool *there,
                           gal_diag *diag) {
    const gal_windows *how = &w->o->windows;
    int64_t n = 0, least = how->convention == GAL_AS_LLAMA_CPP ? 2 * how->context : 0;
    gal_window_next(how, win);
    *base = GAL_MAX(win->first - how->context - 1, (int64_t)0);
    if (w->r.windows) least = 0;
    gal_err err = gal_id_source_read(w->source, *base, GAL_MAX(win->end, least), ids, &n, diag);
    if (err) return err;
    int64_t known = *base + n;
    w->r.text_tokens = GAL_MAX(w->r.text_tokens, known);
    *there = known >= least;
    if (how->convention == GAL_STRIDED && w->o->max_tokens)
        known = GAL_MIN(known, win->first + w->o->max_tokens - w->r.tokens);
    *there = *there && gal_window_clip(how, win, known);
    return *there ? check_ids(w, *ids, *base, n, diag) : GAL_OK;
}

static gal_err run_windows(walk *w, gal_diag *diag) {
    gal_window win = { 0 };
    while (w->o->max_tokens == 0 || w->r.tokens < w->o->max_tokens) {
        const int32_t *ids = NULL;
        int64_t base = 0;
        bool there = false;
        gal_err err = read_window(w, &win, &ids, &base, &there, diag);
        if (!err && !there && w->r.tokens == 0) return too_short(w, diag);
        w->r.whole = !err && !there && w->o->windows.convention == GAL_STRIDED && w->o->windows.bos;
        if (err || !there) return err;
        w->r.windows++;
        err = run_window(w, &win, ids, base, diag);
        if (err || w->r.stopped) return err;
    }
    return GAL_OK;
}

gal_err gal_walk(gal_dev *dev, const gal_model *const *models, size_t n_models, int64_t V, gal_id_source *ids,
                 const gal_walk_options *o, gal_walk_fn fn, gal_walk_progress progress, void *user,
                 gal_walk_result *result, gal_diag *diag) {
    GAL_ASSERT(n_models > 0 && n_models <= GAL_WALK_MODELS && (o->bos >= 0 || !o->windows.bos));
    walk w = { .o = o, .models = models, .V = V, .fn = fn, .progress = progress, .user = user, .source = ids };
    gal_err err = open_engines(&w, dev, models, n_models, diag);
    if (!err) err = run_windows(&w, diag);
    *result = w.r;
    for (size_t i = 0; i < w.n_engines; i++) gal_engine_free(w.engine[i]);
    gal_free(w.input);
    return err;
}
