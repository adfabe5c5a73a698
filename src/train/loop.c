/* loop.c - the life of a run: set up, rehearse or take up, steps, evaluations, checkpoints, the end. Owns the run
 * directory while it runs; refuses one that holds a run already. Invariant: a checkpoint is on disk before each
 * evaluation. SPDX-License-Identifier: Apache-2.0 */
#include "train/loop.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "train/plot.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LN2 0.69314718055994530942
#define SPEED_MEMORY 0.9 /* of the running average of tokens/s, a step */
#define WAIT_SHOWN 0.02  /* of a run's time, and a second: less waiting for rows is told by the log alone */

/* ---- telling -----------------------------------------------------------------------------------------------------
 */

static void tell(gal_trainer *t, gal_train_event *e) {
    e->step = t->step;
    e->steps = t->config->steps;
    e->tokens = t->tokens;
    if (!e->text) e->text = "";
    if (!e->path) e->path = "";
    if (t->options->progress) t->options->progress(t->options->user, e);
}

void gal__train_note(gal_trainer *t, const char *fmt, ...) {
    char text[1000];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = 0;
    va_end(ap);
    gal__run_log(t, "step %lld: %s", (long long)t->step, text);
    gal_train_event e = { .kind = GAL_TRAIN_NOTE, .text = text };
    tell(t, &e);
}

/* ---- steps -------------------------------------------------------------------------------------------------------
 */

bool gal__train_stop_wanted(const gal_trainer *t) { return t->options->stop && t->options->stop(t->options->user); }

gal_err gal__train_flush(gal_trainer *t, gal_diag *diag) {
    gal_diag why = { 0 };
    gal_err err = gal_metrics_flush(t->metrics, &why);
    if (err && err != GAL_EBUSY) return gal_fail(diag, err, "%s", why.text);
    if (err) gal__train_note(t, "%s: another program keeps it; its rows are held back", why.text);
    return GAL_OK;
}

static gal_err save(gal_trainer *t, gal_buf *path, gal_diag *diag) {
    gal_err err = gal__train_check_data(t, diag);
    if (!err) err = gal__checkpoint_write(t, path, diag);
    if (err) return err;
    gal_train_event e = { .kind = GAL_TRAIN_SAVED, .path = path->data };
    tell(t, &e);
    return GAL_OK;
}

/* A stop in the middle leaves the evaluation owed: a resumed run begins with it. */
static gal_err evaluate(gal_trainer *t, const char *checkpoint, gal_diag *diag) {
    gal__train_score s;
    gal_err err = gal__train_evaluate(t, t->config->eval.rows, &s, diag);
    if (!err) err = gal_shards_whole(&t->valid, diag); /* before a score of half a file is kept */
    if (err) return err;
    gal_metric_eval row = { .step = t->step,
                            .tokens = s.tokens,
                            .bytes = s.bytes,
                            .nats = s.nats,
                            .bits_per_byte = s.bits_per_byte,
                            .time_s = (double)gal_unix_time_s(),
                            .rows = gal__train_eval_rows(t, t->config->eval.rows),
                            .average = t->config->ema.evaluate };
    bool best = t->best_nats < 0 || s.nats < t->best_nats;
    /* Before the row: a run that is killed here finds no row and evaluates again. */
    if (best) err = gal__checkpoint_set_best(t, t->step, s.nats, diag);
    if (!err) err = gal_metrics_eval(t->metrics, &row, diag);
    if (!err) err = gal__train_flush(t, diag);
    if (!err && best) err = gal__checkpoint_remove_old(t, diag);
    if (err) return err;
    gal__run_log(t, "step %lld: validation %.5f nats/token, %.5f bits/byte%s", (long long)t->step, s.nats,
                 s.bits_per_byte, best ? ", the best so far" : "");
    gal_train_event e = {
        .kind = GAL_TRAIN_EVAL, .path = checkpoint, .valid_nats = s.nats, .valid_bits_per_byte = s.bits_per_byte
    };
    tell(t, &e);
    return GAL_OK;
}

static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

static gal_err write_rows(gal_trainer *t, const gal__train_numbers *n, bool measured, double speed, gal_diag *diag) {
    gal_metric_step row = { t->step, t->tokens, n->loss, n->lr, n->grad_norm, speed, (double)gal_unix_time_s() };
    gal_metric_sample sample = gal__train_sample(t, t->step, n);
    gal_err err = gal_metrics_step(t->metrics, &row, diag);
    if (!err) err = gal_metrics_sample(t->metrics, &sample, diag);
    if (!err && t->router_sum) err = gal_metrics_routers(t->metrics, t->step, n->balance, n->z, diag);
    if (!err) err = gal__loads_write(t, diag);
    gal_metric_norm *norms = NULL;
    size_t parts = 0;
    if (!err && measured) err = gal__train_norms(t, &norms, &parts, diag);
    for (size_t i = 0; !err && i < parts; i++) err = gal_metrics_norm(t->metrics, t->step, &norms[i], diag);
    gal_free(norms);
    return err;
}

static gal_err one_step(gal_trainer *t, gal_diag *diag) {
    gal__train_numbers n;
    int64_t tokens = t->tokens;
    double begin = gal_now_s(), limit;
    const char *why;
    bool measure = due(t->step + 1, t->config->log.norms_every);
    gal_err err = gal__train_gradients(t, gal_schedule_lr(&t->schedule, t->step + 1), &n, diag);
    if (!err && gal__spike_is(t, &n, &limit, &why)) return gal__spike_handle(t, &n, limit, why, diag);
    if (!err) err = gal__train_apply(t, measure, diag);
    if (err) return err;
    gal__train_pass(t, &n);
    gal__spike_none(t, n.loss);
    double speed = (double)(t->tokens - tokens) / GAL_MAX(gal_now_s() - begin, 1e-9);
    bool first = !(t->shown_tokens_per_s > 0);
    t->shown_tokens_per_s = first ? speed : SPEED_MEMORY * t->shown_tokens_per_s + (1 - SPEED_MEMORY) * speed;
    err = write_rows(t, &n, measure, speed, diag);
    if (err) return err;
    gal_buf routers = { 0 };
    if (t->router_sum) gal_buf_printf(&routers, ", routers' balance %.4f, z %.4f", n.balance, n.z);
    gal__loads_print(t, &routers);
    gal_metric_sample rows = gal__train_sample(t, t->step, &n);
    gal__run_log(t,
                 "step %lld: loss %.5f, gradient norm %.4f, lr %.3g, %.0f tokens/s, epoch %lld, rows %lld to %lld%s",
                 (long long)t->step, n.loss, n.grad_norm, n.lr, speed, (long long)rows.epoch, (long long)rows.row,
                 (long long)(rows.row + rows.rows - 1), routers.len ? routers.data : "");
    gal_buf_free(&routers);
    int64_t batches = gal_ramp_total(&t->schedule.ramp, t->config->steps) -
                      gal_ramp_total(&t->schedule.ramp, t->step);
    double left = (double)(batches * t->config->batch.rows * t->config->batch.sequence) / t->shown_tokens_per_s;
    gal_train_event e = { .kind = GAL_TRAIN_STEP,
                          .loss = n.loss,
                          .bits_per_byte = n.loss / LN2 / t->train.bytes_per_target,
                          .lr = n.lr,
                          .grad_norm = n.grad_norm,
                          .tokens_per_s = t->shown_tokens_per_s,
                          .left_s = left };
    tell(t, &e);
    return GAL_OK;
}

static bool evaluation_due(const gal_trainer *t) {
    return t->has_valid && (t->step == t->config->steps || due(t->step, t->config->eval.every));
}

gal_err gal__train_recall(gal_trainer *t, bool *owed, gal_diag *diag) {
    gal_metric_eval *rows = NULL;
    size_t n = 0;
    gal_err err = gal_metrics_evals(t->metrics, &rows, &n, diag);
    if (err) return err;
    bool made = false;
    for (size_t i = 0; i < n; i++) made = made || rows[i].step == t->step;
    err = gal__checkpoint_find_best(t, rows, n, diag);
    gal_free(rows);
    if (err) return err;
    *owed = t->step > 0 && evaluation_due(t) && !made;
    return GAL_OK;
}

/* The log's disk may be full while that of the checkpoints is not. */
static gal_err check_log(gal_trainer *t, bool keep, gal_diag *diag) {
    if (!t->log_diag.err) return GAL_OK;
    gal_buf path = { 0 };
    gal_err err = gal_fail(diag, t->log_diag.err, "%s", t->log_diag.text);
    if (keep) (void)save(t, &path, NULL);
    gal_buf_free(&path);
    return err;
}

/* How long steps waited for their rows: for a slow disk, or for gathering what data.prefetch does not. */
static void tell_waiting(gal_trainer *t, double waited_s, double all_s) {
    char text[700];
    (void)snprintf(text, sizeof text, "%.1f s of %.1f were spent waiting for rows of text", waited_s, all_s);
    if (waited_s > WAIT_SHOWN * all_s && waited_s > 1)
        gal__train_note(t, "%s: a slow disk, or data.prefetch is off", text);
    else
        gal__run_log(t, "step %lld: %s", (long long)t->step, text);
}

static gal_err steps(gal_trainer *t, gal_diag *diag) {
    const gal_train_config *c = t->config;
    const double begin = gal_now_s(), waited = gal_feed_waited_s(t->feed);
    const int64_t first = t->step;
    gal_buf path = { 0 };
    bool stopped = false, look = false, back = false;
    gal_err err = GAL_OK;
    if (t->resuming) err = gal__train_recall(t, &look, diag);
    if (!err && look) {
        gal_buf_printf(&path, "%s/checkpoints/step-%lld", t->dir, (long long)t->step);
        err = path.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir) : evaluate(t, path.data, diag);
    }
    while (!err && t->step < c->steps && !stopped) {
        int64_t before = t->step;
        err = one_step(t, diag);
        back = t->step < before; /* at a checkpoint, which was evaluated and is not made again */
        if (!err) err = check_log(t, !back, diag);
        stopped = gal__train_stop_wanted(t);
        if (!err && back) continue;
        look = evaluation_due(t);
        if (!err && (look || stopped || t->step == c->steps || due(t->step, c->save.every))) {
            err = save(t, &path, diag);
            stopped = gal__train_stop_wanted(t);
        }
        if (!err && look && !stopped) err = evaluate(t, path.data, diag);
    }
    gal_buf_free(&path);
    if (t->step > first) tell_waiting(t, gal_feed_waited_s(t->feed) - waited, gal_now_s() - begin);
    if (err == GAL_EINTERRUPTED || (!err && stopped && (look || t->step < c->steps)))
        err = gal_fail(diag, GAL_EINTERRUPTED, "stopped %sat step %lld of %lld; --resume %s goes on",
                       back ? "back " : "and saved ", (long long)t->step, (long long)c->steps, t->dir);
    return err;
}

/* ---- the life of a run -------------------------------------------------------------------------------------------
 */

static gal_err write_facts(gal_trainer *t, gal_diag *diag) {
    char text[64];
    (void)snprintf(text, sizeof text, "%lld", (long long)gal_model_params(t->model));
    gal_err err = gal_metrics_fact(t->metrics, "parameters", text, diag);
    (void)snprintf(text, sizeof text, "%lld", (long long)gal__train_params(t));
    if (!err) err = gal_metrics_fact(t->metrics, "trained_parameters", text, diag);
    (void)snprintf(text, sizeof text, "%lld", (long long)t->config->steps);
    if (!err) err = gal_metrics_fact(t->metrics, "steps", text, diag);
    (void)snprintf(text, sizeof text, "%lld", (long long)gal_unix_time_s());
    if (!err)
        err = gal_metrics_fact(t->metrics, t->resuming ? "resumed_unix_time_s" : "started_unix_time_s", text, diag);
    if (!err) err = gal_metrics_fact(t->metrics, "version", gal_version(), diag);
    if (!err) err = gal_metrics_fact(t->metrics, "cpu", t->dev->name, diag);
    if (!err) err = gal_metrics_fact(t->metrics, "state", "running", diag);
    return err ? err : gal__train_flush(t, diag);
}

static gal_err begin(gal_trainer *t, const char *from, gal_diag *diag) {
    gal_diag why = { 0 };
    uint64_t activations;
    gal_err err = gal__trainer_set_up(t, from, &why);
    if (!err) err = from ? gal__train_make_room(t, &activations, &why) : gal__train_rehearse(t, &why);
    if (!err && gal__train_stop_wanted(t)) err = GAL_EINTERRUPTED;
    if (!err) return GAL_OK;
    if (err != GAL_EINTERRUPTED) return gal_fail(diag, err, "%s", why.text);
    return gal_fail(diag, err, "stopped before the %s step", from ? "next" : "first");
}

static gal_err take_up(gal_trainer *t, gal_diag *diag) {
    gal_buf path = { 0 }, notes = { 0 };
    gal_err err = gal__checkpoint_newest(t->dir, INT64_MAX, &path, &notes, diag);
    const char *from = path.len ? path.data : NULL;
    if (notes.data && notes.len) gal__train_note(t, "%.*s", (int)GAL_MIN(notes.len - 1, (size_t)900), notes.data);
    if (!err && from) err = gal__checkpoint_agrees(t, from, diag);
    if (!err) err = begin(t, from, diag);
    if (!err && from) err = gal__checkpoint_load(t, from, diag);
    if (!err && t->step > t->config->steps)
        err = gal_fail(diag, GAL_EUSAGE, "%s: steps: expected at least the %lld that the run has made, found %lld",
                       t->dir, (long long)t->step, (long long)t->config->steps);
    if (!err && from && t->step < t->config->steps) err = gal__train_check_disk(t, diag);
    if (!err) err = gal_metrics_cut(t->metrics, t->step, diag);
    if (!err) err = gal_metrics_cut_spikes(t->metrics, t->spikes.count, diag);
    if (!err) err = gal_metrics_cut_settings(t->metrics, t->spikes.returns, t->step + 1, diag);
    char version[32] = "";
    gal_metrics_get_fact(t->metrics, "version", version, sizeof version);
    if (!err && from && !version[0])
        gal__train_note(t, "%s/metrics.sqlite: expected the losses of %lld steps, found none; they begin anew",
                        t->dir, (long long)t->step);
    if (!err)
        gal__train_note(t, from ? "going on from %s" : "no checkpoint in %s yet: from the beginning",
                        from ? from : t->dir);
    if (!err && t->step >= t->config->steps) gal__train_note(t, "all %lld steps are made", (long long)t->step);
    gal_buf_free(&path);
    gal_buf_free(&notes);
    return err;
}

static gal_err draw(gal_trainer *t, gal_diag *diag) {
    gal_err err = gal_metrics_flush(t->metrics, diag);
    gal_diag why = { 0 };
    /* A run is whole without its picture. */
    if (!err && gal_plot_run(t->dir, &why)) gal__train_note(t, "no plot: %s", why.text);
    return err;
}

gal_trainer *gal__trainer_new(const gal_train_config *config, const gal_train_options *options) {
    gal_trainer *t = gal_alloc(sizeof *t);
    if (!t) return NULL;
    t->config = config;
    t->options = options;
    t->dir = options->run;
    t->resuming = options->resume;
    t->best_nats = -1.0;
    t->best_step = -1;
    return t;
}

gal_err gal__trainer_set_up(gal_trainer *t, const char *from, gal_diag *diag) {
    gal_err err = gal__train_setup_data(t, diag);
    if (!err) err = gal__train_setup_model(t, from, diag);
    return err ? err : gal__spikes_new(&t->spikes, t->config->spike.window, diag);
}

void gal__trainer_free(gal_trainer *t, bool leave_nothing) {
    if (!t) return;
    gal__train_forget_plans(t);
    gal_ctx_free(t->cx);
    gal_optim_free(t->opt);
    gal__spikes_free(&t->spikes);
    gal_model_free(t->model);
    gal_lora_config_free(&t->lora);
    gal_step_free(&t->st);
    gal_dev_give(t->dev, t->loss_sum);
    gal_dev_give(t->dev, t->router_sum);
    gal_dev_give(t->dev, t->noise);
    gal_free(t->loads);
    gal_dev_give(t->dev, t->balance.sums);
    gal_dev_close(t->dev);
    gal_free(t->token_bytes);
    gal_feed_free(t->feed);
    gal_mix_close(&t->train);
    gal_shards_close(&t->valid);
    gal_tokenizer_free(t->tok);
    gal_buf_free(&t->tok_bytes);
    gal__run_close(t, leave_nothing);
    gal_free(t);
}

gal_err gal_train_run(const gal_train_config *config, const gal_train_options *options, const gal_watch *watch,
                      gal_diag *diag) {
    gal_trainer *t = gal__trainer_new(config, options);
    if (!t) return gal_fail(diag, GAL_ENOMEM, "no memory for a training");
    t->watch = watch;
    bool born = t->resuming;
    gal_err err = gal__train_setup_device(t, diag);
    if (!err) err = gal__run_open(t, diag);
    if (!err) err = t->resuming ? take_up(t, diag) : begin(t, NULL, diag);
    if (!err) err = gal__run_write_config(t, diag); /* of a run that goes on, too: it may have been told otherwise */
    if (!err) err = gal__train_keep_settings(t, diag);
    born = born || !err;
    if (!err && t->lora.rank)
        gal__train_note(t, "adapters of rank %lld: %lld parameters are trained, %.3g %% of all; %s stays as it is",
                        (long long)t->lora.rank, (long long)gal__train_params(t),
                        100.0 * (double)gal__train_params(t) /
                            (double)(gal__train_params(t) + gal_model_params(t->model)),
                        t->lora.base);
    if (!err && t->dev->far)
        gal__train_note(t, "%lld parameters, %s", (long long)gal_model_params(t->model), t->dev->name);
    if (!err && !t->dev->far)
        gal__train_note(t, "%lld parameters, %d threads, %s", (long long)gal_model_params(t->model),
                        gal_pool_threads(t->dev->pool), t->dev->name);
    if (!err) err = gal__train_note_plan(t, diag);
    if (!err) err = write_facts(t, diag);
    if (!err) err = steps(t, diag);
    if (!err && t->memory_forecast && !t->dev->far)
        gal__run_log(t, "step %lld: at most %.1f MB of memory were resident, the forecast was %.1f MB",
                     (long long)t->step, (double)gal_memory_peak() / 1e6, (double)t->memory_forecast / 1e6);
    if (!err || (err == GAL_EINTERRUPTED && born)) {
        gal_err end = gal_metrics_fact(t->metrics, "state", err ? "stopped" : "finished", diag);
        if (!end && !err && t->config->ema.decay > 0) end = gal__checkpoint_write_average(t, diag);
        if (!end) end = draw(t, diag);
        if (!end && t->log_diag.err) end = gal_fail(diag, t->log_diag.err, "%s", t->log_diag.text);
        if (!err) err = end;
    }
    gal__trainer_free(t, err && !born); /* a run that was refused leaves nothing */
    return err;
}

gal_err gal_train(const char *config, const char *const *set, size_t n_set, const gal_train_options *options,
                  gal_diag *diag) {
    gal_train_config c;
    gal_buf own = { 0 };
    gal_err err = GAL_OK;
    if (!config && options->resume) {
        config = gal_path_join(&own, options->run, "config.yaml");
        if (!config) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", options->run);
    }
    err = gal_train_config_load(&c, config, set, n_set, diag);
    if (!err) {
        bool taken = options->resume;
        err = gal_train_config_judge(&c, config, set, n_set, gal_train_config_check, &taken, diag);
        if (!err) err = gal_train_run(&c, options, NULL, diag);
        gal_train_config_free(&c);
    }
    gal_buf_free(&own);
    return err;
}
