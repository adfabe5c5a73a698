/* plan.c - what a configuration means before anything is computed: the ramp of batches, the curve of the rate, the
 * optimiser, and the lines that say what the run will take. SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/util.h"

#include <stdio.h>
#include <string.h>

/* "STEP:BATCHES" */
static bool parse_stage(const char *text, int64_t *from, int64_t *batches) {
    char step[32];
    const char *colon = strchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof step) return false;
    memcpy(step, text, (size_t)(colon - text));
    step[colon - text] = 0;
    return gal_parse_i64(step, from) && gal_parse_i64(colon + 1, batches) && *from >= 2 && *batches >= 1;
}

gal_err gal_train_ramp(gal_ramp *out, const gal_train_config *c, const char *where, gal_diag *diag) {
    const gal_strings *list = &c->batch.ramp;
    *out = (gal_ramp){ .first = c->batch.accumulate };
    if (list->n > GAL_RAMP_STAGES)
        return gal_fail(diag, GAL_EINPUT, "%s: batch.ramp: expected at most %d changes, found %zu", where,
                        GAL_RAMP_STAGES, list->n);
    for (size_t i = 0; i < list->n; i++) {
        int64_t from = 0, batches = 0;
        if (!parse_stage(list->v[i], &from, &batches))
            return gal_fail(diag, GAL_EINPUT,
                            "%s: batch.ramp: expected STEP:BATCHES, a step from 2 on and at least 1 batch, found %s",
                            where, list->v[i]);
        if (out->n && from <= out->at[out->n - 1].from)
            return gal_fail(diag, GAL_EINPUT, "%s: batch.ramp: expected rising steps, found %s after step %lld",
                            where, list->v[i], (long long)out->at[out->n - 1].from);
        out->at[out->n].from = from;
        out->at[out->n++].batches = batches;
    }
    if (gal_ramp_most(out) > INT32_MAX / 2 / c->batch.rows)
        return gal_fail(diag, GAL_EINPUT, "%s: batch.accumulate: too many rows a step", where);
    if ((double)gal_ramp_most(out) * (double)c->batch.rows * (double)c->steps > 0x1p53)
        return gal_fail(diag, GAL_EINPUT, "%s: steps: too many rows in all", where);
    return GAL_OK;
}

gal_err gal_train_source_at(gal_train_source *out, const gal_train_config *c, size_t i, const char *where,
                            gal_diag *diag) {
    char *entry = c->data.mixture.v[i], *colon = strchr(entry, ':'); /* the table of settings asks for one */
    const size_t n = colon ? (size_t)(colon - entry) : 0;
    const char *known = "";
    if (!n || n >= sizeof out->label)
        return gal_fail(diag, GAL_EINPUT, "%s: data.mixture: %.200s: expected LABEL:PATH", where, entry);
    memcpy(out->label, entry, n);
    out->label[n] = 0;
    out->path = colon + 1;
    if (c->data.preset == GAL_PRESET_NONE) {
        if (gal_parse_f64(out->label, &out->weight) && out->weight > 0) return GAL_OK;
        return gal_fail(diag, GAL_EINPUT,
                        "%s: data.mixture: %.200s: expected a weight above 0 before the colon, found %.60s", where,
                        entry, out->label);
    }
    for (size_t k = 0; k < i; k++)
        if (strncmp(c->data.mixture.v[k], entry, n + 1) == 0)
            return gal_fail(diag, GAL_EINPUT,
                            "%s: data.mixture: %.200s: with data.preset a subset is one entry, and %s is there "
                            "already: name a folder of shards, or a pattern",
                            where, entry, out->label);
    out->weight = gal_massivetext_weight(out->label, c->data.preset == GAL_PRESET_CHINCHILLA, &known);
    if (out->weight > 0) return GAL_OK;
    return gal_fail(diag, GAL_EINPUT, "%s: data.mixture: %.200s: with data.preset a label is one of %s, found %.60s",
                    where, entry, known, out->label);
}

gal_schedule gal_train_schedule(const gal_train_config *c) {
    gal_schedule s = { .lr = c->optimizer.lr,
                       .warmup = c->schedule.warmup,
                       .steps = c->steps,
                       .final_fraction = c->schedule.final_fraction,
                       .curve = (gal_curve)c->schedule.name,
                       .first_lr = c->schedule.first_lr,
                       .cycle = c->schedule.cycle_steps,
                       .decay = c->schedule.decay_steps,
                       .root = c->schedule.decay_shape == 1 };
    /* What a check would refuse counts as no ramp. */
    if (gal_train_ramp(&s.ramp, c, "", NULL)) s.ramp = (gal_ramp){ .first = c->batch.accumulate };
    return s;
}

gal_optim_options gal_train_optim_options(const gal_train_config *c) {
    return (gal_optim_options){ .kind = gal_optim_kind_at(c->optimizer.name),
                                .precision = (gal_precision)c->precision,
                                .beta1 = c->optimizer.beta1,
                                .beta2 = c->optimizer.beta2,
                                .eps = c->optimizer.eps,
                                .weight_decay = c->optimizer.weight_decay,
                                .clip = c->optimizer.clip,
                                .momentum = c->optimizer.momentum,
                                .nesterov = c->optimizer.nesterov,
                                .relative = c->optimizer.relative,
                                .ema = c->ema.decay,
                                .seed = (uint64_t)c->seed };
}

int gal_train_recompute(const gal_train_config *c) {
    bool on = c->recompute == GAL_RECOMPUTE_BLOCKS || c->recompute == GAL_RECOMPUTE_TRUE;
    return on ? (int)c->recompute_every : 0;
}

/* ---- settings that do nothing ------------------------------------------------------------------------------------
 */

typedef enum owner {
    EXPERTS,
    ROTARY,
    GOPHER,
    ROUTED,
    TOP,
    SBASE,
    RLR,
    ADAM,
    MOMENTUM,
    SGD,
    ADAFACTOR,
    WSD,
    COSINE,
    WARMUP,
    ADAPTERS,
    TEXT,
    FRACTION,
    CHAT,
    VALID,
    VOCABULARY,
    SPIKES
} owner;

/* Those that not every model, router, optimiser or curve has. */
static const struct {
    const char *key;
    owner of;
} OWNED[] = {
    { "model.experts_used", EXPERTS },
    { "model.rope_theta", ROTARY },
    { "model.norm", GOPHER },
    { "model.max_distance", GOPHER },
    { "model.router", ROUTED },
    { "model.routed_every", ROUTED },
    { "model.gate", SBASE },
    { "model.gate_whole", SBASE },
    { "router.z", TOP },
    { "router.tolerance", SBASE },
    { "router.iterations", SBASE },
    { "router.policy", RLR },
    { "router.baseline", RLR },
    { "router.entropy", RLR },
    { "router.top_p", RLR },
    { "optimizer.beta1", ADAM },
    { "optimizer.beta2", ADAM },
    { "optimizer.eps", ADAM },
    { "optimizer.momentum", MOMENTUM },
    { "optimizer.nesterov", SGD },
    { "optimizer.relative", ADAFACTOR },
    { "schedule.decay_steps", WSD },
    { "schedule.decay_shape", WSD },
    { "schedule.cycle_steps", COSINE },
    { "schedule.first_lr", WARMUP },
    { "lora.alpha", ADAPTERS },
    { "lora.targets", ADAPTERS },
    { "data.valid_fraction", FRACTION },
    { "data.separator", TEXT },
    { "data.field", TEXT },
    { "data.template", CHAT },
    { "data.long", CHAT },
    { "eval.every", VALID },
    { "eval.rows", VALID },
    { "ema.evaluate", VALID },
    { "sample.prompts", VALID },
    { "tokenizer.train_size", VOCABULARY },
    { "tokenizer.normalizer", VOCABULARY },
    { "tokenizer.memory_mib", VOCABULARY },
    { "spike.window", SPIKES },
};

static const char *const WITHOUT[] = {
    [EXPERTS] = "has no effect: the model has no experts",
    [ROTARY] = "has no effect: a gopher's positions are relative",
    [GOPHER] = "has no effect: the model is no gopher",
    [ROUTED] = "has no effect: the model is no gopher with experts",
    [TOP] = "has no effect: the router is not mixtral's",
    [SBASE] = "has no effect: the router is not sbase",
    [RLR] = "has no effect: the router is not rlr",
    [ADAM] = "has no effect: the optimizer is not adamw or adam",
    [MOMENTUM] = "has no effect: the optimizer is not sgd or adafactor",
    [SGD] = "has no effect: the optimizer is not sgd",
    [ADAFACTOR] = "has no effect: the optimizer is not adafactor",
    [WSD] = "has no effect: the schedule is not wsd",
    [COSINE] = "has no effect: the schedule is not cosine",
    [WARMUP] = "has no effect: there is no warm-up",
    [ADAPTERS] = "has no effect: lora.rank is 0",
    [TEXT] = "has no effect: the run reads no text",
    [FRACTION] = "has no effect: what to validate on is not a part of a text",
    [CHAT] = "has no effect: there is no data.chat",
    [VALID] = "has no effect: there is nothing to validate on",
    [VOCABULARY] = "has no effect: the vocabulary is not trained here",
    [SPIKES] = "has no effect: spike.sigmas is 0",
};

static bool has(const gal_trainer *t, owner of) {
    const gal_config *m = &t->model->config;
    const char *optimiser = t->opt->options.kind->name;
    const bool routed = m->experts && m->relative;
    switch (of) {
    case EXPERTS:
        return m->experts > 0;
    case ROTARY:
        return !m->relative;
    case GOPHER:
        return m->relative;
    case ROUTED:
        return routed;
    case TOP:
        return m->router == GAL_ROUTER_TOP;
    case SBASE:
        return routed && m->router == GAL_ROUTER_SBASE;
    case RLR:
        return routed && m->router == GAL_ROUTER_RLR;
    case ADAM:
        return strcmp(optimiser, "adamw") == 0 || strcmp(optimiser, "adam") == 0;
    case MOMENTUM:
        return strcmp(optimiser, "sgd") == 0 || strcmp(optimiser, "adafactor") == 0;
    case SGD:
        return strcmp(optimiser, "sgd") == 0;
    case ADAFACTOR:
        return strcmp(optimiser, "adafactor") == 0;
    case WSD:
        return t->config->schedule.name == GAL_CURVE_WSD;
    case COSINE:
        return t->config->schedule.name == GAL_CURVE_COSINE;
    case WARMUP:
        return t->config->schedule.warmup > 0;
    case ADAPTERS:
        return t->config->lora.rank > 0;
    case TEXT:
        return t->config->data.text.n || t->config->data.valid.n;
    case FRACTION:
        return (t->config->data.text.n && !t->config->data.valid.n) ||
               (t->config->data.chat.n && !t->config->data.chat_valid.n);
    case CHAT:
        return t->config->data.chat.n > 0;
    case VALID:
        return t->has_valid;
    case VOCABULARY:
        return !t->config->tokenizer.path[0] && !t->config->init[0];
    case SPIKES:
        return t->config->spike.sigmas > 0;
    }
    return true;
}

/* Why a setting does nothing in this run; NULL: it does something. */
static const char *idle(const gal_trainer *t, const char *key) {
    const gal_train_config *c = t->config;
    const gal_ramp *ramp = &t->schedule.ramp;
    if (strncmp(key, "router.", 7) == 0 && !has(t, EXPERTS)) return WITHOUT[EXPERTS];
    if (strcmp(key, "tokenizer.normalizer") == 0 && c->model.preset[0]) return NULL; /* it is the preset's */
    for (size_t i = 0; i < GAL_LEN(OWNED); i++)
        if (strcmp(key, OWNED[i].key) == 0 && !has(t, OWNED[i].of)) return WITHOUT[OWNED[i].of];
    if (strcmp(key, "model.gate_whole") == 0 && has(t, SBASE) && t->model->config.experts_used == 1)
        return "makes the gate of a token's one expert 1, whatever the router says, which learns nothing";
    if (strcmp(key, "optimizer.nesterov") == 0 && has(t, SGD) && !(c->optimizer.momentum > 0))
        return "has no effect: optimizer.momentum is 0";
    if (strcmp(key, "router.per_layer") == 0 && !(gal_train_balance(c, t->model->config.router) > 0))
        return "has no effect: router.balance is 0";
    if (strcmp(key, "recompute_every") == 0 && !gal_train_recompute(c)) return "has no effect: recompute is none";
    if (strcmp(key, "recompute_every") == 0 && c->recompute_every > t->model->config.L)
        return "recomputes nothing: it is more than the model's layers";
    if (strcmp(key, "batch.ramp") == 0 && ramp->n && ramp->at[ramp->n - 1].from > c->steps)
        return "has entries behind the last step, which never come";
    return NULL;
}

/* What is set and does nothing is told, not refused: a file may be meant for several runs. */
static gal_err note_idle(gal_trainer *t, gal_diag *diag) {
    gal_train_config plain;
    gal_buf value = { 0 }, usual = { 0 };
    gal_err err = gal_train_config_defaults(&plain, diag);
    if (err) return err;
    for (size_t i = 0; !err && i < GAL_TRAIN_SETTINGS.count; i++) {
        const gal_setting *s = &GAL_TRAIN_SETTINGS.rows[i];
        const char *why = gal_settings_applies(&GAL_TRAIN_SETTINGS, t->config, s) ? idle(t, s->key) : NULL;
        gal_buf_clear(&value);
        gal_buf_clear(&usual);
        gal_settings_print(s, t->config, &value);
        gal_settings_print(s, &plain, &usual);
        if (value.oom || usual.oom) err = gal_fail(diag, GAL_ENOMEM, "no memory for a setting");
        if (!err && why && strcmp(value.data, usual.data) != 0) gal__train_note(t, "note: %s %s", s->key, why);
    }
    gal_buf_free(&value);
    gal_buf_free(&usual);
    gal_train_config_free(&plain);
    return err;
}

gal_err gal__train_note_plan(gal_trainer *t, gal_diag *diag) {
    const gal_train_config *c = t->config;
    gal_buf curve = { 0 };
    double batch = (double)(c->batch.rows * c->batch.sequence), params = (double)gal__train_params(t);
    double tokens = batch * (double)gal_ramp_total(&t->schedule.ramp, c->steps);
    int64_t first = gal_ramp_batches(&t->schedule.ramp, 1), last = gal_ramp_batches(&t->schedule.ramp, c->steps);
    gal_optim_options o = t->opt->options;
    gal_err err = note_idle(t, diag);
    if (err) return err;
    gal__train_note(t, "%s, %.1f bytes a parameter for weights, gradients and states, besides activations",
                    o.kind->name, gal_optim_bytes_a_parameter(t->dev, t->trained, t->n_trained, &o));
    gal_schedule_print(&t->schedule, &curve);
    bool oom = curve.oom;
    if (!oom) gal__train_note(t, "learning rate: %s", curve.data);
    gal_buf_free(&curve);
    if (oom) return gal_fail(diag, GAL_ENOMEM, "no memory for a line about the learning rate");
    char growing[80] = "";
    if (first != last) (void)snprintf(growing, sizeof growing, ", %.6g at the end", batch * (double)last);
    gal__train_note(t, "plan: %lld steps = %.6g tokens, %.6g a step%s, %.3g a parameter", (long long)c->steps, tokens,
                    batch * (double)first, growing, tokens / GAL_MAX(params, 1.0));
    return GAL_OK;
}
