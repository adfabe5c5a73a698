/* spike.c - steps whose loss or gradient says that something went wrong: what is no number, or a loss far above those
 * before. Such a step's update is left out and its rows are passed over; after spike.skips of them in a row the run
 * returns to the last good checkpoint and goes on with the text behind the spike (as in arXiv:2204.02311, 5.1), at
 * most spike.returns times.
 *
 * A checkpoint is good once a later step was applied: what was computed on its very weights was no spike. Where the
 * next step after a return is one, it goes back to an older good one, or, if none is left, to the same once more.
 * Everything is decided by the loss and the norm over the whole step, by losses of earlier steps and by settings:
 * numbers that all ranks of a run have alike, so that they decide alike; and all of it lies in a checkpoint, so that
 * a run which was killed decides as one that was not. SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/mem.h"
#include "base/util.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Few losses say little of how far losses spread: they may be nearly equal by chance, and any rise would then be a
 * spike. So many are taken to have been off by so much of the mean besides those that were seen: of a window of n
 * losses the deviation is at least mean / sqrt(1000 (n - 1)), 3.2 % of it for 2, 1.6 % for 5, 0.3 % for 100. */
#define PRIOR_LOSSES 10
#define PRIOR_SPREAD 0.01
/* What was done about one, as the metrics have it for whoever reads them, a replay too. */
#define PASSED_OVER "passed over"
#define BACK_TO "back to " /* a checkpoint's name */

gal_err gal__spikes_new(gal__spikes *s, int64_t window, gal_diag *diag) {
    *s = (gal__spikes){ .room = window };
    s->loss = gal_alloc_array((size_t)window, sizeof *s->loss);
    return s->loss ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for %lld losses", (long long)window);
}

void gal__spikes_free(gal__spikes *s) {
    gal_free(s->loss);
    *s = (gal__spikes){ 0 };
}

void gal__spikes_add(gal__spikes *s, double loss) {
    s->loss[s->next] = loss;
    s->next = (s->next + 1) % s->room;
    s->n = GAL_MIN(s->n + 1, s->room);
}

/* From the oldest to the newest, wherever the window begins: a run that was taken up adds in the same order. */
static double at(const gal__spikes *s, int64_t i) { return s->loss[(s->next + s->room - s->n + i) % s->room]; }

gal_err gal__spikes_resize(gal__spikes *s, int64_t window, gal_diag *diag) {
    gal__spikes other;
    if (window == s->room) return GAL_OK;
    gal_err err = gal__spikes_new(&other, window, diag);
    if (err) return err;
    for (int64_t i = 0; i < s->n; i++) gal__spikes_add(&other, at(s, i));
    gal_free(s->loss);
    s->loss = other.loss;
    s->room = other.room;
    s->n = other.n;
    s->next = other.next;
    return GAL_OK;
}

bool gal__spike_is(const gal_trainer *t, const gal__train_numbers *n, double *limit, const char **why) {
    const gal__spikes *s = &t->spikes;
    *limit = (double)NAN;
    *why = !isfinite(n->loss) ? "the loss is not a number" : "the gradient is not a number";
    if (!isfinite(n->loss) || !isfinite(n->grad_norm)) return true;
    if (!(t->config->spike.sigmas > 0) || s->n < s->room) return false;
    double mean = 0, squares = 0;
    for (int64_t i = 0; i < s->n; i++) mean += at(s, i) / (double)s->n;
    for (int64_t i = 0; i < s->n; i++) squares += (at(s, i) - mean) * (at(s, i) - mean);
    squares += PRIOR_LOSSES * (PRIOR_SPREAD * mean) * (PRIOR_SPREAD * mean);
    *limit = mean + t->config->spike.sigmas * sqrt(squares / (double)(s->n - 1));
    *why = "the loss is far above those before";
    return n->loss > *limit;
}

void gal__spike_none(gal_trainer *t, double loss) {
    gal__spikes *s = &t->spikes;
    s->in_a_row = 0;
    s->applied = t->step;
    s->back = 0;
    gal__spikes_add(s, loss);
}

/* A line of the log and a row of the metrics. */
static gal_err tell(gal_trainer *t, const gal__train_numbers *n, double limit, const char *why, const char *what,
                    gal_diag *diag) {
    char above[340] = "";
    if (isfinite(limit)) (void)snprintf(above, sizeof above, ", limit %.5f", limit);
    gal_metric_sample rows = gal__train_sample(t, t->step + 1, n);
    gal__train_note(t, "step %lld: %s (loss %.5f%s, gradient norm %.4g); epoch %lld, rows %lld to %lld: %s",
                    (long long)t->step + 1, why, n->loss, above, n->grad_norm, (long long)rows.epoch,
                    (long long)rows.row, (long long)(rows.row + rows.rows - 1), what);
    if (!t->metrics) return GAL_OK; /* a replay writes nothing */
    gal_metric_spike row = { .number = t->spikes.count,
                             .step = t->step + 1,
                             .epoch = rows.epoch,
                             .row = rows.row,
                             .rows = n->rows,
                             .loss = n->loss,
                             .grad_norm = n->grad_norm,
                             .limit = limit };
    (void)snprintf(row.reason, sizeof row.reason, "%s", why);
    (void)snprintf(row.action, sizeof row.action, "%s", what);
    return gal_metrics_spike(t->metrics, &row, diag);
}

int64_t gal__spike_returned_to(const gal_metric_spike *row) {
    static const char BEFORE[] = BACK_TO "step-";
    int64_t step = 0;
    const bool found = strncmp(row->action, BEFORE, strlen(BEFORE)) == 0 &&
                       gal_parse_i64(row->action + strlen(BEFORE), &step) && step >= 0;
    return found ? step : -1;
}

bool gal__spike_was_passed(const gal_metric_spike *row) { return strcmp(row->action, PASSED_OVER) == 0; }

bool gal__spike_count(gal_trainer *t) {
    t->spikes.count++;
    return ++t->spikes.in_a_row <= t->config->spike.skips;
}

gal_err gal__spike_pass(gal_trainer *t, const gal__train_numbers *n, double limit, const char *why, gal_diag *diag) {
    gal_err err = tell(t, n, limit, why, PASSED_OVER, diag);
    gal__train_pass(t, n);
    return err;
}

static gal_err give_up(gal_trainer *t, const char *why, const char *cause, gal_diag *diag) {
    return gal_fail(diag, GAL_EFAIL,
                    "step %lld: %s, and %s; a smaller optimizer.lr or a longer schedule.warmup may help (what "
                    "checkpoints there are lie before it)",
                    (long long)t->step + 1, why, cause);
}

static gal_err go_back(gal_trainer *t, const gal__train_numbers *n, const char *path, gal_diag *diag) {
    int64_t count = t->spikes.count, returns = t->spikes.returns + 1;
    gal_err err = gal__checkpoint_reload(t, path, diag);
    if (err) return err;
    t->place = n->to;
    t->spikes.count = count;
    t->spikes.returns = returns;
    t->spikes.in_a_row = 0;
    t->spikes.back = t->step;
    err = gal__checkpoint_drop_after(t, diag);
    if (!err) err = gal_metrics_cut(t->metrics, t->step, diag);
    bool owed = false;
    return err ? err : gal__train_recall(t, &owed, diag);
}

/* path stays empty where there is none. */
static gal_err find_good(const gal_trainer *t, gal_buf *path, gal_diag *diag) {
    const gal__spikes *s = &t->spikes;
    gal_buf notes = { 0 };
    gal_err err = gal__checkpoint_newest(t->dir, s->applied - 1, path, &notes, diag);
    if (!err && !path->len && s->back) err = gal__checkpoint_newest(t->dir, s->back, path, &notes, diag);
    gal_buf_free(&notes);
    return err;
}

gal_err gal__spike_handle(gal_trainer *t, const gal__train_numbers *n, double limit, const char *why,
                          gal_diag *diag) {
    const gal_train_config *c = t->config;
    gal__spikes *s = &t->spikes;
    gal_buf path = { 0 };
    char what[200], cause[200] = "";
    if (gal__spike_count(t)) return gal__spike_pass(t, n, limit, why, diag);
    if (s->returns >= c->spike.returns)
        (void)snprintf(cause, sizeof cause, "the run has returned %lld times already (spike.returns)",
                       (long long)s->returns);
    gal_err err = cause[0] ? GAL_OK : find_good(t, &path, diag);
    if (!err && !cause[0] && !path.len)
        (void)snprintf(cause, sizeof cause, "there is no checkpoint %s that a good step was made from",
                       s->returns ? "left" : "yet");
    const char *name = path.len ? strrchr(path.data, '/') : NULL;
    (void)snprintf(what, sizeof what, cause[0] ? "the run ends" : BACK_TO "%s", name ? name + 1 : "");
    gal_err told = tell(t, n, limit, why, what, err ? NULL : diag);
    if (!err) err = told;
    if (!err) err = cause[0] ? give_up(t, why, cause, diag) : go_back(t, n, path.data, diag);
    gal_buf_free(&path);
    return err;
}
