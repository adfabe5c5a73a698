/* setup_init.c - the model that a run begins from (init). Beside adapters it stays where and as it lies. Trained
 * itself, it is taken as f32 into Hugging Face's layout, which checkpoints have, from whatever layout and format it
 * is in; refused is what that layout's config.json cannot say. SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/mem.h"
#include "base/util.h"
#include "infer/lm.h"
#include "infer/session.h"

#include <stdlib.h>
#include <string.h>

static gal_err load_init(gal_trainer *t, gal_diag *diag) {
    gal_buf at = { 0 };
    gal_err err = gal_model_find(t->config->init, &at, diag); /* a run stands for its newest checkpoint */
    if (!err) err = gal_model_load(&t->model, at.data, diag);
    gal_buf_free(&at);
    if (!err) err = gal_model_check_finite(t->model, diag); /* every weight is read in training anyway */
    if (!err && t->model->n_warnings) err = gal_fail(diag, GAL_EINPUT, "%s", t->model->warnings[0]);
    if (err) return err;
    const int64_t positions = gal_engine_most(&t->model->config), sequence = t->config->batch.sequence;
    if (sequence > positions)
        return gal_fail(diag, GAL_EINPUT,
                        "batch.sequence: expected at most the %lld positions of init, %s, found %lld",
                        (long long)positions, t->config->init, (long long)sequence);
    return GAL_OK;
}

/* ---- beside adapters ---------------------------------------------------------------------------------------------
 */

/* What adapter_config.json will say. */
static gal_err describe_lora(gal_trainer *t, gal_diag *diag) {
    static const char *const ALL[] = { "q", "k", "v", "o", "up", "down", "gate" };
    const gal_train_config *g = t->config;
    const gal_strings *said = &g->lora.targets;
    gal_lora_config *c = &t->lora;
    *c = (gal_lora_config){ .rank = g->lora.rank, .alpha = g->lora.alpha, .scaling = -1 };
    size_t all = GAL_LEN(ALL) - (t->model->config.relative ? 1 : 0), /* Gopher has no gate */
        n = said->n                    ? said->n
            : t->model->config.experts ? 4
                                       : all;
    char *full = realpath(g->init, NULL);
    c->base = gal_strdup(full ? full : g->init);
    c->targets = gal_alloc_array(n, sizeof *c->targets);
    free(full); /* NOLINT: realpath()'s own */
    bool ok = c->base && c->targets;
    for (; ok && c->n_targets < n; c->n_targets++) {
        char *name = gal_strdup(gal_lora_target(said->n ? said->v[c->n_targets] : ALL[c->n_targets]));
        c->targets[c->n_targets] = name;
        ok = name != NULL;
    }
    return ok ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for the description of adapters");
}

gal_err gal__train_setup_adapted(gal_trainer *t, gal_diag *diag) {
    gal_err err = load_init(t, diag);
    if (!err && t->model->adapters)
        err = gal_fail(diag, GAL_EINPUT, "init: %s has adapters: merge them with galerne convert first",
                       t->config->init);
    if (!err && t->model->config.no_baseline)
        err = gal_fail(diag, GAL_EINPUT,
                       "init: %s has no baseline (moe.value_up, moe.value_down), which its router is trained with; "
                       "without lora.rank all weights are trained, and it begins anew",
                       t->config->init);
    if (!err) err = describe_lora(t, diag);
    if (!err) err = gal_model_fingerprint(t->model, t->base, diag);
    if (!err) err = gal_lora_new(t->model, &t->lora, (uint64_t)t->config->seed, diag);
    if (err) return err;
    t->trained = t->model->adapters->weights;
    t->n_trained = 2 * t->model->adapters->count;
    return GAL_OK;
}

/* ---- all weights -------------------------------------------------------------------------------------------------
 */

/* What becomes of the model's numbers, where they do not stay as they are. */
static gal_err note_taking(gal_trainer *t, gal_diag *diag) {
    const gal_model *m = t->model;
    gal_buf kinds = { 0 }, how = { 0 };
    size_t quantised = 0;
    for (size_t i = 0; i < m->n_weights; i++) {
        if (m->weights[i].dtype != GAL_BLOCKS) continue;
        const char *kind = gal_wformat(&m->weights[i]);
        quantised++;
        if (!kinds.data || !strstr(kinds.data, kind)) gal_buf_printf(&kinds, "%s%s", kinds.len ? ", " : "", kind);
    }
    if (quantised)
        gal_buf_printf(&how, "%zu of %zu weights (%s) are dequantised, ", quantised, m->n_weights,
                       kinds.data ? kinds.data : "");
    if (m->adapters) gal_buf_puts(&how, "adapters are merged, ");
    if (m->config.no_baseline) gal_buf_puts(&how, "the router's baseline is not there and begins anew, ");
    const bool oom = kinds.oom || how.oom;
    if (!oom && (how.len || m->config.layout != GAL_LAYOUT_HF))
        gal__train_note(t, "init: %s: %sall are trained in f32; checkpoints have Hugging Face's layout",
                        t->config->init, how.len ? how.data : "");
    gal_buf_free(&kinds);
    gal_buf_free(&how);
    return oom ? gal_fail(diag, GAL_ENOMEM, "no memory for a line about init") : GAL_OK;
}

/* Whether checkpoints can say what the model is, before hours went into it. */
static gal_err check_config(const gal_trainer *t, gal_diag *diag) {
    gal_buf text = { 0 };
    gal_diag why = { 0 };
    gal_config c = t->model->config; /* borrows what it owns */
    c.dtype = GAL_F32;
    gal_err err = gal_config_print(&c, &text, t->config->init, &why);
    gal_buf_free(&text);
    if (!err) return GAL_OK;
    return gal_fail(diag, err,
                    "init: %s, and checkpoints have Hugging Face's layout; adapters (lora.rank) train "
                    "beside any model",
                    why.text);
}

/* The ids that its makers end a text with. */
static gal_err take_ends(gal_trainer *t, gal_diag *diag) {
    gal_generation g;
    gal_buf at = { 0 };
    gal_config *c = &t->model->config;
    gal_err err = gal_lm_load(NULL, NULL, &g, &at, t->config->init, diag);
    gal_buf_free(&at);
    if (err || g.n_eos < 1) return err;
    for (int32_t i = 0; i < g.n_eos; i++)
        if (g.eos[i] >= c->V)
            return gal_fail(diag, GAL_EINPUT,
                            "init: %s: texts end with id %d: expected less than the vocabulary's %lld",
                            t->config->init, (int)g.eos[i], (long long)c->V);
    c->n_eos = g.n_eos;
    memcpy(c->eos, g.eos, sizeof g.eos);
    return GAL_OK;
}

gal_err gal__train_setup_whole(gal_trainer *t, gal_diag *diag) {
    gal_err err = load_init(t, diag);
    if (!err) err = check_config(t, diag);
    if (!err) err = note_taking(t, diag);
    if (!err) err = gal__train_check_weights(t, diag);
    if (!err)
        err = gal_model_own(&t->model, (uint64_t)t->config->seed, diag); /* loaded ones lie read-only in files */
    return err ? err : take_ends(t, diag);
}
