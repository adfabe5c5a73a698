/* replay.c - see replay.h. The way to the step is the run's own, spikes and returns included: what they are decided
 * by is in the checkpoint. SPDX-License-Identifier: Apache-2.0 */
#include "train/replay.h"

#include "base/file.h"
#include "base/mem.h"
#include "train/trainer.h"

#include <stdio.h>
#include <string.h>

/* What the run recorded of the step. */
typedef struct record {
    gal_metric_step step;
    gal_metric_sample sample;
    gal_metric_norm *norms;
    gal_metric_setting *settings; /* of the whole run */
    size_t n_norms, n_settings;
    bool has_step, has_sample;
    char on[100];
} record;

static gal_err read_record(record *r, const char *run, int64_t step, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_metrics *m = NULL;
    gal_metric_step *steps = NULL;
    gal_metric_sample *samples = NULL;
    size_t n = 0, n_samples = 0;
    gal_err err = gal_path_join(&path, run, "metrics.sqlite") ? gal_metrics_open(&m, path.data, false, diag)
                                                              : gal_fail(diag, GAL_ENOMEM, "%s: no memory", run);
    if (!err) err = gal_metrics_steps(m, &steps, &n, diag);
    if (!err) err = gal_metrics_samples_of(m, step, &samples, &n_samples, diag);
    if (!err) err = gal_metrics_norms_of(m, step, &r->norms, &r->n_norms, diag);
    if (!err) err = gal_metrics_settings(m, &r->settings, &r->n_settings, diag);
    if (!err) gal_metrics_get_fact(m, "cpu", r->on, sizeof r->on);
    for (size_t i = 0; !err && i < n; i++) {
        if (steps[i].step != step) continue;
        r->step = steps[i];
        r->has_step = true;
    }
    if (!err && n_samples) {
        r->sample = samples[0];
        r->has_sample = true;
    }
    gal_free(steps);
    gal_free(samples);
    gal_metrics_close(m);
    gal_buf_free(&path);
    return err;
}

static bool same(double a, double b) { return memcmp(&a, &b, sizeof a) == 0; }

static const char *compare(const record *r, const gal_replayed *p) {
    const gal_metric_sample *a = &r->sample, *b = &p->sample;
    if (!same(r->step.loss, p->loss)) return "the loss";
    if (!same(r->step.grad_norm, p->grad_norm)) return "the gradient's norm";
    if (!same(r->step.lr, p->lr)) return "the learning rate";
    if (r->has_sample && (a->epoch != b->epoch || a->row != b->row || a->rows != b->rows)) return "the rows of text";
    for (size_t i = 0; i < r->n_norms; i++) {
        size_t k = 0;
        while (k < p->n_norms && strcmp(p->norms[k].part, r->norms[i].part) != 0) k++;
        if (k == p->n_norms || !same(r->norms[i].grad, p->norms[k].grad)) return "the gradient of a layer";
        if (!same(r->norms[i].update, p->norms[k].update)) return "the update of a layer";
    }
    return NULL;
}

static gal_err open_at(gal_trainer *t, int64_t most, int64_t *from, gal_diag *diag) {
    gal_buf path = { 0 }, notes = { 0 };
    gal_err err = gal__train_setup_device(t, diag);
    if (!err) err = gal__checkpoint_newest(t->dir, most, &path, &notes, diag);
    const char *at = path.len ? path.data : NULL;
    if (!err) err = gal__trainer_set_up(t, at, diag);
    if (!err && at) err = gal__checkpoint_load(t, at, diag);
    *from = t->step;
    gal_buf_free(&path);
    gal_buf_free(&notes);
    return err;
}

static gal_err last_step(gal_trainer *t, const gal__train_numbers *n, gal_replayed *out, gal_diag *diag) {
    out->loss = n->loss;
    out->grad_norm = n->grad_norm;
    out->lr = n->lr;
    out->sample = gal__train_sample(t, out->step, n);
    gal_err err = out->spike ? GAL_OK : gal__train_apply(t, true, diag);
    return err ? err : gal__train_norms(t, &out->norms, &out->n_norms, diag);
}

/* c: t's configuration, in which each step finds what was in force at its time. */
static gal_err walk(gal_trainer *t, gal_train_config *c, const record *r, gal_replayed *out, gal_diag *diag) {
    const int64_t steps = c->steps;
    for (;;) {
        gal__train_numbers n;
        double limit = 0;
        const char *why;
        bool known = false;
        /* A step that was made twice, the second time after a return, is recorded as of then. */
        bool last = t->step + 1 == out->step && (!r->has_sample || t->spikes.returns == r->sample.returns);
        gal_err err = gal__train_obey(t, c, r->settings, r->n_settings, &known, diag);
        out->unsure = out->unsure || !known;
        if (!err) err = gal__train_gradients(t, gal_schedule_lr(&t->schedule, t->step + 1), &n, diag);
        bool spike = !err && gal__spike_is(t, &n, &limit, &why);
        out->spike = spike;
        if (!err && last) return last_step(t, &n, out, diag);
        const bool early = r->has_sample && t->spikes.returns < r->sample.returns; /* a return is still to come */
        if (!err && t->step >= (early ? steps : out->step))
            err = gal_fail(diag, GAL_EINPUT, "%s: step %lld: expected to meet it after %lld returns, found %lld",
                           t->dir, (long long)out->step, (long long)r->sample.returns, (long long)t->spikes.returns);
        if (!err && spike) err = gal__spike_handle(t, &n, limit, why, diag);
        if (!err && !spike) err = gal__train_apply(t, false, diag);
        if (!err && !spike) {
            gal__train_pass(t, &n);
            gal__spike_none(t, n.loss);
        }
        if (!err && gal__train_stop_wanted(t)) err = gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
        if (err) return err;
    }
}

gal_err gal_train_replay(const gal_train_config *config, const gal_train_options *options, int64_t step,
                         gal_replayed *out, gal_diag *diag) {
    *out = (gal_replayed){ .step = step };
    record r = { 0 };
    gal_train_options o = *options;
    gal_train_config own = *config; /* what it owns is the caller's */
    o.resume = o.extend = true;     /* a run that was extended since has another curve than its checkpoint */
    gal_trainer *t = gal__trainer_new(&own, &o);
    gal_err err = t ? read_record(&r, options->run, step, diag)
                    : gal_fail(diag, GAL_ENOMEM, "%s: no memory", options->run);
    if (!err && (step < 1 || step > config->steps))
        err = gal_fail(diag, GAL_EUSAGE, "%s: expected a step from 1 to %lld, found %lld", options->run,
                       (long long)config->steps, (long long)step);
    if (!err) err = open_at(t, step - 1, &out->from, diag);
    if (!err) err = walk(t, &own, &r, out, diag);
    if (!err) {
        const char *what = r.has_step && !out->spike ? compare(&r, out) : NULL;
        out->recorded = r.has_step;
        out->same = r.has_step && !out->spike && !what;
        (void)snprintf(out->differs, sizeof out->differs, "%s", what ? what : "");
        if (strcmp(r.on, t->dev->name) != 0) memcpy(out->recorded_on, r.on, sizeof r.on);
    }
    gal_free(r.norms);
    gal_free(r.settings);
    gal__trainer_free(t, false);
    if (err) gal_replayed_free(out);
    return err;
}

void gal_replayed_free(gal_replayed *r) {
    gal_free(r->norms);
    r->norms = NULL;
    r->n_norms = 0;
}
