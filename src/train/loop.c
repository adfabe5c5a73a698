/* loop.c - the life of a run: set up, rehearse or take up, steps, evaluations, checkpoints, the end. Owns the run
 * directory while it runs; refuses one that holds a run already. Invariant: a checkpoint is on disk before each
 * evaluation. SPDX-License-Identifier: Apache-2.0 */
#include "train/loop.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "train/plot.h"
#include "train/trainer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LN2 0.69314718055994530942
#define SPEED_MEMORY 0.9 /* of the running average of tokens/s, a step */

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

/* A line of log.txt; a log that cannot be written stops nothing. */
static void write_log(gal_trainer *t, const char *fmt, ...) GAL_PRINTF(2, 3);
static void write_log(gal_trainer *t, const char *fmt, ...) {
    char text[1000];
    va_list ap;
    if (!t->log) return;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text - 1, fmt, ap);
    va_end(ap);
    size_t used = GAL_MIN((size_t)GAL_MAX(n, 0), sizeof text - 2);
    text[used] = '\n';
    (void)fwrite(text, 1, used + 1, t->log);
    (void)fflush(t->log);
}

void gal__train_note(gal_trainer *t, const char *fmt, ...) {
    char text[1000];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = 0;
    va_end(ap);
    write_log(t, "step %lld: %s", (long long)t->step, text);
    gal_train_event e = { .kind = GAL_TRAIN_NOTE, .text = text };
    tell(t, &e);
}

/* ---- steps -------------------------------------------------------------------------------------------------------
 */

static gal_err save(gal_trainer *t, gal_buf *path, gal_diag *diag) {
    gal_err err = gal__checkpoint_write(t, path, diag);
    if (err) return err;
    gal_train_event e = { .kind = GAL_TRAIN_SAVED, .path = path->data };
    tell(t, &e);
    return GAL_OK;
}

static gal_err evaluate(gal_trainer *t, const char *checkpoint, gal_diag *diag) {
    gal__train_score s;
    gal_err err = gal__train_evaluate(t, t->config->eval.rows, &s, diag);
    if (err) return err;
    gal_metric_eval row = { t->step, s.tokens, s.bytes, s.nats, s.bits_per_byte, (double)gal_unix_time_s() };
    err = gal_metrics_eval(t->metrics, &row, diag);
    bool best = t->best_nats < 0 || s.nats < t->best_nats;
    if (!err && best) err = gal__checkpoint_set_best(t, t->step, s.nats, diag);
    if (!err) err = gal_metrics_flush(t->metrics, diag);
    if (err) return err;
    write_log(t, "step %lld: validation %.5f nats/token, %.5f bits/byte%s", (long long)t->step, s.nats,
              s.bits_per_byte, best ? ", the best so far" : "");
    gal_train_event e = {
        .kind = GAL_TRAIN_EVAL, .path = checkpoint, .valid_nats = s.nats, .valid_bits_per_byte = s.bits_per_byte
    };
    tell(t, &e);
    return GAL_OK;
}

static gal_err one_step(gal_trainer *t, gal_diag *diag) {
    gal__train_numbers n;
    int64_t tokens = t->tokens;
    double begin = gal_now_s();
    gal_err err = gal__train_step(t, &n, diag);
    if (err) return err;
    double speed = (double)(t->tokens - tokens) / GAL_MAX(gal_now_s() - begin, 1e-9);
    bool first = !(t->shown_tokens_per_s > 0);
    t->shown_tokens_per_s = first ? speed : SPEED_MEMORY * t->shown_tokens_per_s + (1 - SPEED_MEMORY) * speed;
    if (!isfinite(n.loss) || !isfinite(n.grad_norm))
        return gal_fail(diag, GAL_EFAIL,
                        "step %lld: the %s is not a number; a smaller optimizer.lr or a longer "
                        "schedule.warmup may help (the last checkpoint is from before)",
                        (long long)t->step, isfinite(n.loss) ? "gradient" : "loss");
    gal_metric_step row = { t->step, t->tokens, n.loss, n.lr, n.grad_norm, speed, (double)gal_unix_time_s() };
    err = gal_metrics_step(t->metrics, &row, diag);
    if (err) return err;
    write_log(t, "step %lld: loss %.5f, gradient norm %.4f, lr %.3g, %.0f tokens/s", (long long)t->step, n.loss,
              n.grad_norm, n.lr, speed);
    double targets = (double)GAL_MAX(t->train.n_tokens - t->train.n_docs, (int64_t)1);
    double left = (double)(t->config->steps - t->step) * (double)(t->tokens - tokens) / t->shown_tokens_per_s;
    gal_train_event e = { .kind = GAL_TRAIN_STEP,
                          .loss = n.loss,
                          .bits_per_byte = n.loss / LN2 * targets / (double)GAL_MAX(t->train.text_bytes, (int64_t)1),
                          .lr = n.lr,
                          .grad_norm = n.grad_norm,
                          .tokens_per_s = t->shown_tokens_per_s,
                          .left_s = left };
    tell(t, &e);
    return GAL_OK;
}

static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

static gal_err steps(gal_trainer *t, gal_diag *diag) {
    const gal_train_config *c = t->config;
    gal_buf path = { 0 };
    gal_err err = GAL_OK;
    bool stopped = false;
    while (!err && t->step < c->steps && !stopped) {
        err = one_step(t, diag);
        stopped = t->options->stop && t->options->stop(t->options->user);
        bool last = t->step == c->steps, look = t->has_valid && !stopped && (last || due(t->step, c->eval.every));
        if (!err && (last || look || stopped || due(t->step, c->save.every))) err = save(t, &path, diag);
        if (!err && look) err = evaluate(t, path.data, diag);
    }
    gal_buf_free(&path);
    if (!err && stopped && t->step < c->steps)
        err = gal_fail(diag, GAL_EINTERRUPTED, "stopped and saved at step %lld of %lld; --resume %s goes on",
                       (long long)t->step, (long long)c->steps, t->dir);
    return err;
}

/* ---- the run directory -------------------------------------------------------------------------------------------
 */

static gal_err write_config(const gal_trainer *t, gal_diag *diag) {
    gal_buf path = { 0 }, text = { 0 };
    gal_buf_puts(&text, "# The complete configuration of this run.\n");
    gal_settings_dump(&GAL_TRAIN_SETTINGS, t->config, &text);
    gal_err err = !text.oom && gal_path_join(&path, t->dir, "config.yaml")
                      ? gal_write_file(path.data, text.data, text.len, diag)
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    gal_buf_free(&path);
    gal_buf_free(&text);
    return err;
}

static gal_err open_run(gal_trainer *t, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_err err = gal_path_join(&path, t->dir, "config.yaml") ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory");
    if (!err && !t->resuming && gal_is_file(path.data))
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: holds a run already; --resume goes on with it, another directory starts anew", t->dir);
    if (!err && !gal_path_join(&path, t->dir, "checkpoints")) err = gal_fail(diag, GAL_ENOMEM, "no memory");
    if (!err) err = gal_make_dirs(path.data, diag);
    if (!err && !gal_path_join(&path, t->dir, "log.txt")) err = gal_fail(diag, GAL_ENOMEM, "no memory");
    if (!err) t->log = fopen(path.data, "a");
    if (!err && !t->log) err = gal_fail(diag, GAL_EIO, "%s: %s", path.data, strerror(errno));
    if (!err && !gal_path_join(&path, t->dir, "metrics.sqlite")) err = gal_fail(diag, GAL_ENOMEM, "no memory");
    if (!err) err = gal_metrics_open(&t->metrics, path.data, true, diag);
    gal_buf_free(&path);
    return err;
}

static gal_err write_facts(gal_trainer *t, gal_diag *diag) {
    char text[64];
    (void)snprintf(text, sizeof text, "%lld", (long long)gal_model_params(t->model));
    gal_err err = gal_metrics_fact(t->metrics, "parameters", text, diag);
    (void)snprintf(text, sizeof text, "%lld", (long long)t->config->steps);
    if (!err) err = gal_metrics_fact(t->metrics, "steps", text, diag);
    (void)snprintf(text, sizeof text, "%lld", (long long)gal_unix_time_s());
    if (!err)
        err = gal_metrics_fact(t->metrics, t->resuming ? "resumed_unix_time_s" : "started_unix_time_s", text, diag);
    if (!err) err = gal_metrics_fact(t->metrics, "version", gal_version(), diag);
    if (!err) err = gal_metrics_fact(t->metrics, "cpu", t->dev->table.name ? t->dev->table.name : "", diag);
    if (!err) err = gal_metrics_fact(t->metrics, "state", "running", diag);
    return err ? err : gal_metrics_flush(t->metrics, diag);
}

static gal_err take_up(gal_trainer *t, gal_diag *diag) {
    gal_buf path = { 0 }, notes = { 0 };
    gal_err err = gal__checkpoint_newest(t->dir, &path, &notes, diag);
    if (notes.data && notes.len) gal__train_note(t, "%.*s", (int)GAL_MIN(notes.len - 1, (size_t)900), notes.data);
    if (!err) err = gal__train_setup_data(t, diag);
    if (!err) err = gal__train_setup_model(t, path.data, diag);
    if (!err) err = gal__checkpoint_load(t, path.data, diag);
    if (!err) gal__checkpoint_read_best(t);
    if (!err) err = gal_metrics_cut(t->metrics, t->step, diag);
    if (!err) gal__train_note(t, "going on from %s", path.data);
    if (!err && t->step > t->config->steps)
        err = gal_fail(diag, GAL_EUSAGE, "%s: steps: expected at least the %lld that the run has made, found %lld",
                       t->dir, (long long)t->step, (long long)t->config->steps);
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

static void close_run(gal_trainer *t) {
    gal__train_forget_plans(t);
    gal_ctx_free(t->cx);
    gal_dev_close(t->dev);
    gal_adamw_free(t->opt);
    gal_model_free(t->model);
    gal_step_free(&t->st);
    gal_free(t->rows.ids);
    gal_free(t->rows.pos);
    gal_free(t->rows.start);
    gal_free(t->rows.target);
    gal_free(t->token_bytes);
    gal_shard_close(&t->train);
    gal_shard_close(&t->valid);
    gal_tokenizer_free(t->tok);
    gal_buf_free(&t->tok_bytes);
    gal_metrics_close(t->metrics);
    if (t->log) fclose(t->log);
    gal_free(t);
}

gal_err gal_train_run(const gal_train_config *config, const gal_train_options *options, gal_diag *diag) {
    gal_trainer *t = gal_alloc(sizeof *t);
    if (!t) return gal_fail(diag, GAL_ENOMEM, "no memory for a training");
    t->config = config;
    t->options = options;
    t->dir = options->run;
    t->resuming = options->resume;
    t->best_nats = -1.0;
    t->best_step = -1;
    bool made = !gal_is_dir(t->dir), born = t->resuming;
    gal_err err = open_run(t, diag);
    if (!err && t->resuming) {
        err = take_up(t, diag);
        if (!err && options->extend) err = write_config(t, diag);
    } else if (!err) {
        err = gal__train_setup_data(t, diag);
        if (!err) err = gal__train_setup_model(t, NULL, diag);
        if (!err) err = gal__train_rehearse(t, diag);
        if (!err) err = write_config(t, diag);
        born = !err;
    }
    if (!err)
        gal__train_note(t, "%lld parameters, %d threads, %s", (long long)gal_model_params(t->model),
                        gal_pool_threads(t->dev->pool), t->dev->table.name ? t->dev->table.name : "");
    if (!err) err = write_facts(t, diag);
    if (!err) err = steps(t, diag);
    if (!err || err == GAL_EINTERRUPTED) {
        gal_err end = gal_metrics_fact(t->metrics, "state", err ? "stopped" : "finished", diag);
        if (!end) end = draw(t, diag);
        if (!err) err = end;
    }
    close_run(t);
    /* A run that was refused leaves nothing, unless its folder was there before. */
    if (err && !born && made) (void)gal_remove_tree(options->run, NULL);
    return err;
}

gal_err gal_train_config_load(gal_train_config *out, const char *path, const char *const *set, size_t n_set,
                              gal_diag *diag) {
    gal_err err = gal_train_config_defaults(out, diag);
    if (err) return err;
    if (path) err = gal_settings_read(&GAL_TRAIN_SETTINGS, out, path, diag);
    for (size_t i = 0; !err && i < n_set; i++) err = gal_settings_set(&GAL_TRAIN_SETTINGS, out, set[i], diag);
    if (err) gal_train_config_free(out);
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
        err = gal_train_config_check(&c, config ? config : "configuration", diag);
        if (!err) err = gal_train_run(&c, options, diag);
        gal_train_config_free(&c);
    }
    gal_buf_free(&own);
    return err;
}
