/* replay.c - see replay.h. The way to the step is the run's own as its metrics have it: which steps were applied,
 * which were passed over, and behind which text it went on after a return. Nothing is decided anew that is recorded,
 * for a return is decided by the checkpoints of its time, of which save.keep leaves a few.
 *
 * A way that the run returned from leaves nothing behind but a later place in the text. So the steps from any
 * checkpoint that is left, or from the beginning, up to the one asked for are enough.
 * SPDX-License-Identifier: Apache-2.0 */
#include "train/replay.h"

#include "base/file.h"
#include "base/mem.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the run recorded of the step, and of the way to it from the checkpoint. */
typedef struct record {
    gal_metric_step step;
    gal_metric_sample *samples; /* of all steps from the checkpoint's next one on that were applied */
    gal_metric_spike *spikes;   /* of the whole run */
    gal_metric_norm *norms;
    gal_metric_setting *settings; /* of the whole run */
    size_t n_samples, n_spikes, n_norms, n_settings;
    int64_t spikes_before, returns_before; /* of the run before the checkpoint */
    bool has_step;
    char on[100];
} record;

static gal_err read_record(record *r, const gal_trainer *t, int64_t step, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_metrics *m = NULL;
    gal_metric_step *steps = NULL;
    size_t n = 0;
    r->spikes_before = t->spikes.count;
    r->returns_before = t->spikes.returns;
    gal_err err = gal_path_join(&path, t->dir, "metrics.sqlite")
                      ? gal_metrics_open(&m, path.data, false, diag)
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    if (!err) err = gal_metrics_steps(m, &steps, &n, diag);
    if (!err) err = gal_metrics_samples(m, t->step + 1, step, &r->samples, &r->n_samples, diag);
    if (!err) err = gal_metrics_spikes(m, &r->spikes, &r->n_spikes, diag);
    if (!err) err = gal_metrics_norms_of(m, step, &r->norms, &r->n_norms, diag);
    if (!err) err = gal_metrics_settings(m, &r->settings, &r->n_settings, diag);
    if (!err) gal_metrics_get_fact(m, "cpu", r->on, sizeof r->on);
    for (size_t i = 0; !err && i < n; i++) {
        if (steps[i].step != step) continue;
        r->step = steps[i];
        r->has_step = true;
    }
    gal_free(steps);
    gal_metrics_close(m);
    gal_buf_free(&path);
    return err;
}

static void free_record(record *r) {
    gal_free(r->samples);
    gal_free(r->spikes);
    gal_free(r->norms);
    gal_free(r->settings);
}

/* What the run did at a step of the way that it is on now. */
typedef struct event {
    const gal_metric_spike *spike; /* it was one; NULL: it was applied */
    gal_metric_sample rows;
    bool known;
} event;

static int by_step(const void *step, const void *sample) {
    const int64_t a = *(const int64_t *)step, b = ((const gal_metric_sample *)sample)->step;
    return (a > b) - (a < b);
}

/* A step without a row of its rows was passed over, or the run ended with it: by the latest spike of that number that
 * no return left behind. Steps after a return begin behind the text of the spike; which rows they read says that. */
static event event_at(const record *r, int64_t step) {
    event e = { .known = false };
    int64_t returns = r->returns_before;
    const gal_metric_sample *rows = r->n_samples ? bsearch(&step, r->samples, r->n_samples, sizeof *rows, by_step)
                                                 : NULL;
    if (rows) return (event){ .rows = *rows, .known = true };
    for (size_t i = 0; i < r->n_spikes; i++) {
        const gal_metric_spike *s = &r->spikes[i];
        const int64_t back = gal__spike_returned_to(s);
        if (back >= 0 && back < step) e = (event){ .known = false };
        if (back < 0 && s->step == step) e = (event){ s, { step, s->epoch, s->row, s->rows, returns }, true };
        returns += back >= 0 && s->number > r->spikes_before;
    }
    return e;
}

/* What is no number is kept without its bits. */
static bool same(double a, double b) {
    uint64_t x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    return x == y || (isnan(a) && isnan(b));
}

static const char *compare(const record *r, const event *e, const gal_replayed *p) {
    const gal_metric_sample *a = &e->rows, *b = &p->sample;
    const gal_metric_spike *s = e->spike;
    if (!same(s ? s->loss : r->step.loss, p->loss)) return "the loss";
    if (!same(s ? s->grad_norm : r->step.grad_norm, p->grad_norm)) return "the gradient's norm";
    if (!s && !same(r->step.lr, p->lr)) return "the learning rate";
    if (e->known && (a->epoch != b->epoch || a->row != b->row || a->rows != b->rows)) return "the rows of text";
    for (size_t i = 0; !s && i < r->n_norms; i++) {
        size_t k = 0;
        while (k < p->n_norms && strcmp(p->norms[k].part, r->norms[i].part) != 0) k++;
        if (k == p->n_norms || !same(r->norms[i].grad, p->norms[k].grad)) return "the gradient of a layer";
        if (!same(r->norms[i].update, p->norms[k].update)) return "the update of a layer";
    }
    return NULL;
}

/* With what the run was made with; before its first checkpoint a later one says that. */
static gal_err agrees(const gal_trainer *t, const char *at, gal_diag *diag) {
    gal_buf path = { 0 }, notes = { 0 };
    gal_err err = at ? GAL_OK : gal__checkpoint_newest(t->dir, INT64_MAX, &path, &notes, diag);
    const char *from = at ? at : path.len ? path.data : NULL;
    if (!err && from) err = gal__checkpoint_agrees(t, from, diag);
    gal_buf_free(&path);
    gal_buf_free(&notes);
    return err;
}

static gal_err open_at(gal_trainer *t, int64_t most, int64_t *from, gal_diag *diag) {
    gal_buf path = { 0 }, notes = { 0 };
    gal_err err = gal__train_setup_device(t, diag);
    if (!err) err = gal__checkpoint_newest(t->dir, most, &path, &notes, diag);
    const char *at = path.len ? path.data : NULL;
    if (!err) err = agrees(t, at, diag);
    if (!err) err = gal__trainer_set_up(t, at, diag);
    if (!err && at) err = gal__checkpoint_load(t, at, diag);
    *from = t->step;
    gal_buf_free(&path);
    gal_buf_free(&notes);
    return err;
}

static bool stands_at(const gal_trainer *t, const gal_metric_sample *rows) {
    if (t->train.n > 1) return t->place.row == (uint64_t)rows->row;
    return t->place.at[0].epoch == (uint64_t)rows->epoch && t->place.at[0].row == (uint64_t)rows->row;
}

/* Where the run returned before this step, the text goes on behind the spike. Nothing else moves: the checkpoint that
 * it returned to holds what the steps up to there led to, and the way that it left is none to this step. */
static gal_err come_to(gal_trainer *t, const record *r, const event *e, gal_diag *diag) {
    const double returns = (double)e->rows.returns - (double)t->spikes.returns;
    if (e->rows.returns == t->spikes.returns) return GAL_OK;
    /* Each return leaves out the rows of the steps up to its spike at most. */
    int64_t longest = t->config->steps;
    for (size_t i = 0; i < r->n_spikes; i++) longest = GAL_MAX(longest, r->spikes[i].step);
    const double most = returns * (double)longest * (double)gal_ramp_most(&t->schedule.ramp) *
                        (double)t->config->batch.rows;
    gal_feed_rest(t->feed); /* which has the mixture */
    for (uint64_t passed = 0; returns > 0 && (double)passed <= most && !stands_at(t, &e->rows); passed++) {
        if (gal__train_stop_wanted(t)) return gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
        gal_mix_pass(&t->train, &t->place);
    }
    if (returns < 0 || !stands_at(t, &e->rows))
        return gal_fail(diag, GAL_EINPUT,
                        "%s: metrics.sqlite: step %lld: expected rows of text behind those of the step before and of "
                        "%lld returns, found row %lld of epoch %lld after %lld returns",
                        t->dir, (long long)t->step + 1, (long long)t->spikes.returns, (long long)e->rows.row,
                        (long long)e->rows.epoch, (long long)e->rows.returns);
    t->spikes.returns = e->rows.returns;
    t->spikes.in_a_row = 0;
    return GAL_OK;
}

/* A step of the way: what the run did, or, where it does not say that, what it would do. */
static gal_err one_step(gal_trainer *t, const event *e, const gal__train_numbers *n, gal_diag *diag) {
    double limit = 0;
    const char *why = NULL;
    const bool spike = gal__spike_is(t, n, &limit, &why);
    if (e->spike && !gal__spike_was_passed(e->spike))
        return gal_fail(diag, GAL_EINPUT, "%s: step %lld: the run ended with it (%s): no step behind it was made",
                        t->dir, (long long)t->step + 1, e->spike->reason);
    if (e->spike) {
        (void)gal__spike_count(t);
        return gal__spike_pass(t, n, e->spike->limit, e->spike->reason, diag);
    }
    if (!e->known && spike && gal__spike_count(t)) return gal__spike_pass(t, n, limit, why, diag);
    if (!e->known && spike)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: step %lld: %s; expected metrics.sqlite to say what the run did then, found nothing: "
                        "where to it returned is not decided anew, for the checkpoints of that time may be gone; "
                        "steps up to this one can be made again, and those behind a later checkpoint",
                        t->dir, (long long)t->step + 1, why);
    gal_err err = gal__train_apply(t, false, diag);
    if (err) return err;
    gal__train_pass(t, n);
    gal__spike_none(t, n->loss);
    return GAL_OK;
}

/* Up to the gradient of the step. c: t's configuration, in which each step finds what was in force at its time. */
static gal_err walk(gal_trainer *t, gal_train_config *c, const record *r, event *e, gal__train_numbers *n,
                    gal_replayed *out, gal_diag *diag) {
    for (;;) {
        bool known = false;
        *e = event_at(r, t->step + 1);
        gal_err err = e->known ? come_to(t, r, e, diag) : GAL_OK;
        if (!err) err = gal__train_obey(t, c, r->settings, r->n_settings, &known, diag);
        out->unsure = out->unsure || !known;
        if (!err) err = gal__train_gradients(t, gal_schedule_lr(&t->schedule, t->step + 1), n, diag);
        if (err || t->step + 1 == out->step) return err;
        err = one_step(t, e, n, diag);
        if (!err && gal__train_stop_wanted(t)) err = gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
        if (err) return err;
    }
}

/* The step itself. */
static gal_err last_step(gal_trainer *t, const record *r, const event *e, const gal__train_numbers *n,
                         gal_replayed *out, gal_diag *diag) {
    double limit;
    const char *why;
    out->recorded = r->has_step || e->spike;
    out->spike = r->has_step || e->known ? e->spike != NULL : gal__spike_is(t, n, &limit, &why);
    out->loss = n->loss;
    out->grad_norm = n->grad_norm;
    out->lr = n->lr;
    out->sample = gal__train_sample(t, out->step, n);
    gal_err err = out->spike ? GAL_OK : gal__train_apply(t, true, diag);
    if (!err) err = gal__train_norms(t, &out->norms, &out->n_norms, diag);
    if (err) return err;
    const char *what = out->recorded ? compare(r, e, out) : NULL;
    out->same = out->recorded && !what;
    (void)snprintf(out->differs, sizeof out->differs, "%s", what ? what : "");
    if (strcmp(r->on, t->dev->name) != 0) memcpy(out->recorded_on, r->on, sizeof r->on);
    return GAL_OK;
}

gal_err gal_train_replay(const gal_train_config *config, const gal_train_options *options, int64_t step,
                         gal_replayed *out, gal_diag *diag) {
    *out = (gal_replayed){ .step = step };
    record r = { 0 };
    event e = { .known = false };
    gal__train_numbers n;
    gal_train_options o = *options;
    gal_train_config own = *config; /* what it owns is the caller's */
    o.resume = o.extend = true;     /* a run that was extended since has another curve than its checkpoint */
    gal_trainer *t = gal__trainer_new(&own, &o);
    gal_err err = t ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "%s: no memory", options->run);
    if (!err && (step < 1 || step > config->steps))
        err = gal_fail(diag, GAL_EUSAGE, "%s: expected a step from 1 to %lld, found %lld", options->run,
                       (long long)config->steps, (long long)step);
    if (!err) err = open_at(t, step - 1, &out->from, diag);
    if (!err) err = read_record(&r, t, step, diag);
    if (!err) err = walk(t, &own, &r, &e, &n, out, diag);
    if (!err) err = last_step(t, &r, &e, &n, out, diag);
    free_record(&r);
    gal__trainer_free(t, false);
    if (err) gal_replayed_free(out);
    return err;
}

void gal_replayed_free(gal_replayed *r) {
    gal_free(r->norms);
    r->norms = NULL;
    r->n_norms = 0;
}
