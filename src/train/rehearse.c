/* rehearse.c - before the first step: is there memory and disk for the whole run, and do a step, an evaluation and a
 * save work? What fails after hours fails here instead. SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "models/count.h"
#include "ops/ops.h"

enum { RESERVE_MORE = 1 << 20 };

/* Bytes of logits that exist at once. They are made for a bounded number of tokens at a time, and so do not grow with
 * the rows as everything else does. */
static uint64_t logits_bytes(const gal_trainer *t, int64_t rows) {
    int64_t tokens = rows * t->config->batch.sequence, v = t->model->config.V;
    return (uint64_t)(gal_cross_entropy_chunk(tokens, v, GAL_F32) * v) * sizeof(float);
}

/* What one row takes, and what a second one adds, give what a batch will take. */
static gal_err forecast(gal_trainer *t, uint64_t *batch, gal_diag *diag) {
    int64_t rows = t->config->batch.rows;
    uint64_t one = 0, two = 0;
    gal_err err = gal__train_measure_rows(t, 1, &one, diag);
    if (!err && rows > 1) err = gal__train_measure_rows(t, 2, &two, diag);
    if (err) return err;
    *batch = one;
    if (rows == 1) return GAL_OK;
    uint64_t first = one - GAL_MIN(one, logits_bytes(t, 1)), both = two - GAL_MIN(two, logits_bytes(t, 2));
    uint64_t more = both > first ? both - first : 0;
    *batch = first + more * (uint64_t)(rows - 1) + logits_bytes(t, rows);
    return GAL_OK;
}

/* What updates need besides the weights, their copies and averages, which have their numbers already: memory that was
 * taken, and that nothing has touched yet. Pages of small weights lie where others lay before, and were cleared when
 * they were taken: those count already. */
static uint64_t untouched(const gal_trainer *t) {
    gal_optim_options o = t->opt->options;
    const double params = (double)gal__train_params(t);
    const double held = gal_optim_bytes_a_parameter(t->dev, t->trained, t->n_trained, &o) * params;
    o.precision = GAL_PRECISION_F32;
    o.ema = 0;
    const uint64_t states = gal_optim_bytes(t->dev, t->trained, t->n_trained, &o);
    const double written = held - (double)states - 4 * params; /* below 0: f32 was given back */
    const double cleared = GAL_MAX((double)t->states_resident - GAL_MAX(written, 0.0), 0.0);
    return states - GAL_MIN(states, (uint64_t)cleared);
}

/* What the program itself still grows by: pages of its code, threads' scratch, buffers of files and of the metrics.
 * And what every weight takes besides its numbers, which counts where weights are many and small: what a step records
 * of it (to zero, norm, update, average), and of each state a name and a line in the head of the file that is saved.
 */
static uint64_t besides(const gal_trainer *t) {
    enum { OWN = 15 << 20, LAUNCH = 256, STATE = 400 }; /* bytes, with the room that lists grow by */
    const uint64_t launches = 3u + (t->opt->options.ema > 0) + (t->config->log.norms_every > 0);
    const bool records = !t->config->eager && !t->dev->far;
    return OWN + (records ? launches * LAUNCH * t->n_trained : 0) + STATE * t->opt->n_pools;
}

static gal_err no_room(const gal_trainer *t, uint64_t activations, uint64_t more, uint64_t available,
                       gal_diag *diag) {
    return gal_fail(diag, GAL_ENOMEM,
                    "memory: a batch of %lld rows needs about %llu bytes of activations and logits, which with "
                    "gradients and optimiser are %llu bytes more than now, %llu are available; use fewer batch.rows "
                    "and more batch.accumulate, or recompute: blocks",
                    (long long)t->config->batch.rows, (unsigned long long)activations, (unsigned long long)more,
                    (unsigned long long)available);
}

static gal_err check_memory(gal_trainer *t, uint64_t *activations, uint64_t *all, gal_diag *diag) {
    const uint64_t resident = gal_memory_resident(), available = gal_dev_available(t->dev);
    const uint64_t rows = gal_feed_bytes(t->feed) + gal_step_bytes(&t->st);
    uint64_t states = untouched(t) + besides(t), weights = gal_model_mapped_bytes(t->model);
    gal_err err = forecast(t, activations, diag);
    if (err) return err;
    weights += (uint64_t)gal__train_params(t) * sizeof(float);
    /* A far device has given its own memory for states already; ours is the host's. */
    const uint64_t more = *activations + (t->dev->far ? 0 : states + rows);
    *all = resident + more;
    if (more > available) return no_room(t, *activations, more, available, diag);
    gal__train_note(
        t,
        "memory: weights %.1f MB, gradients and optimiser %.1f MB, activations %.1f MB, rows of text %.1f "
        "MB; with what the program has now %.1f MB in all, %.1f MB more than now; %.1f MB are available",
        (double)weights / 1e6, (double)gal_optim_bytes(t->dev, t->trained, t->n_trained, &t->opt->options) / 1e6,
        (double)*activations / 1e6, (double)rows / 1e6, (double)*all / 1e6, (double)more / 1e6,
        (double)available / 1e6);
    return GAL_OK;
}

gal_err gal__train_check_disk(gal_trainer *t, gal_diag *diag) {
    const gal_train_config *c = t->config;
    /* At most as many as the run still writes; of those the newest save.keep, the best, the newest that is known to
     * be good, and the one being written. */
    int64_t left = c->steps - t->step, most = 1;
    if (c->save.every > 0) most += left / c->save.every;
    if (c->eval.every > 0) most += left / c->eval.every;
    int64_t count = GAL_MIN(most, c->save.keep + 3);
    gal_buf dir = { 0 };
    uint64_t available = 0;
    int64_t there = 0;
    gal_err err = gal_path_join(&dir, t->dir, "checkpoints") ? gal__checkpoint_count(dir.data, &there, diag)
                                                             : gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    bool known = !err && gal_disk_available(dir.data, &available);
    gal_buf_free(&dir);
    if (err || !known) return err;
    /* Those of a run that is taken up are replaced in the end, one at a time. */
    count = GAL_MAX(count - there, (int64_t)1);
    uint64_t need = gal__checkpoint_bytes(t) * (uint64_t)count;
    if (need > available)
        return gal_fail(
            diag, GAL_EIO,
            "%s: the disk is full: %lld more checkpoints need about %llu bytes, %llu are available; use a "
            "smaller save.keep or another run directory",
            t->dir, (long long)count, (unsigned long long)need, (unsigned long long)available);
    gal__train_note(t, "disk: checkpoints take at most %.1f MB of %.1f MB available", (double)need / 1e6,
                    (double)available / 1e6);
    return GAL_OK;
}

/* What the run takes, from one more step: the first one records, and touches its memory for the first time, and takes
 * up to four times as long. The optimiser's part is missing. */
static gal_err predict(gal_trainer *t, gal_diag *diag) {
    const gal_train_config *c = t->config;
    const int every = gal_train_recompute(c);
    gal_size s, again;
    gal_params p;
    gal_flops f, twice = { 0 };
    char params[GAL_SHORT_TEXT], tokens[GAL_SHORT_TEXT], one[GAL_SHORT_TEXT], flops[GAL_SHORT_TEXT];
    char time[GAL_SHORT_TEXT], speed[GAL_SHORT_TEXT];
    const double begin = gal_now_s();
    gal_err err = gal__train_rehearse_step(t, diag);
    const double step_s = gal_now_s() - begin;
    gal_size_of(&s, &t->model->config, c->batch.sequence);
    if (!err) err = gal_count_params(&p, &s, GAL_COUNT_EXACT, diag);
    if (!err) err = gal_count_flops(&f, &s, GAL_COUNT_EXACT, diag);
    if (!err && every) {
        gal_size_of_every(&again, &t->model->config, c->batch.sequence, every);
        err = gal_count_flops(&twice, &again, GAL_COUNT_EXACT, diag);
    }
    if (err) return err;
    const double all = gal_train_config_tokens(c);
    const double each = gal_train_config_passes(c) * gal_flops_per_token(&f, false) +
                        (double)twice.layers / (double)f.sequence;
    const double first = (double)(gal_ramp_batches(&t->schedule.ramp, 1) * c->batch.rows * c->batch.sequence);
    const double whole_s = GAL_MAX(step_s, 1e-9) * all / first;
    gal__train_note(t, "prediction: %s parameters, %s tokens of %s operations each, %s in all: about %s at %sFLOP/s",
                    gal_short_text(params, (double)p.total, "KMBT", ""), gal_short_text(tokens, all, "KMBT", ""),
                    gal_power_text(one, each), gal_power_text(flops, all * each), gal_time_text(time, whole_s),
                    gal_short_text(speed, all * each / whole_s, "kMGTPE", " "));
    return GAL_OK;
}

gal_err gal__train_make_room(gal_trainer *t, uint64_t *activations, gal_diag *diag) {
    *activations = 0;
    gal_err err = check_memory(t, activations, &t->memory_forecast, diag);
    /* What a step never touches of it costs nothing here; on a far device it would. */
    if (!err && !t->dev->far)
        err = gal_ctx_reserve(t->cx, (size_t)(*activations + *activations / 64 + RESERVE_MORE), diag);
    return err;
}

/* A step may take minutes: whoever stops the run waits for one of them at most. */
static gal_err unless_stopped(const gal_trainer *t, gal_diag *diag) {
    return gal__train_stop_wanted(t) ? gal_fail(diag, GAL_EINTERRUPTED, "stopped before the first step") : GAL_OK;
}

gal_err gal__train_rehearse(gal_trainer *t, gal_diag *diag) {
    uint64_t batch;
    gal_err err = gal__train_make_room(t, &batch, diag);
    if (!err) err = gal__train_check_disk(t, diag);
    if (!err) err = unless_stopped(t, diag);
    if (!err) err = gal__train_rehearse_step(t, diag);
    if (!err) err = unless_stopped(t, diag);
    if (!err)
        gal__run_log(t, "rehearsal: activations took %.2f MB, the forecast was %.2f MB",
                     (double)gal_ctx_peak_bytes(t->cx) / 1e6, (double)batch / 1e6);
    if (!err) err = predict(t, diag);
    gal__train_score score;
    if (!err && t->has_valid) err = gal__train_evaluate(t, t->config->batch.rows, &score, diag);
    if (err) return err;
    gal_buf dir = { 0 };
    err = gal_path_join(&dir, t->dir, "checkpoints") ? gal__checkpoint_save(t, dir.data, GAL__REHEARSAL, diag)
                                                     : gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    if (!err) err = gal__checkpoint_clean(dir.data, diag);
    gal_buf_free(&dir);
    return err;
}
