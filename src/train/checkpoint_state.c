/* checkpoint_state.c - trainer.json of a checkpoint and best.json of a run: what training goes on from besides
 * tensors, and the comparison with the settings of whoever takes it up. SPDX-License-Identifier: Apache-2.0 */
#include "train/checkpoint.h"

#include "base/hash.h"
#include "base/mem.h"
#include "formats/gguf.h"
#include "formats/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STATE_MAX_BYTES = 1 << 20, CURVE_POINTS = 5 };

/* FREE settings do not change the numbers, or are checked by hashes; CURVE ones may change with --extend. */
typedef enum setting_class { FREE, CURVE, FIXED } setting_class;

static setting_class class_of(const gal_train_config *c, const char *key) {
    static const char *const FREE_KEYS[] = { "init",
                                             "data.text",
                                             "data.valid",
                                             "data.valid_fraction",
                                             "data.separator",
                                             "data.field",
                                             "data.shards",
                                             "data.train",
                                             "data.mixture",
                                             "data.preset",
                                             "data.valid_shards",
                                             "data.prefetch",
                                             "data.chat",
                                             "data.chat_valid",
                                             "tokenizer.path",
                                             "tokenizer.train_size",
                                             "tokenizer.memory_mib",
                                             "tokenizer.normalizer",
                                             "recompute",
                                             "recompute_every",
                                             "ema.evaluate",
                                             "eager",
                                             NULL };
    static const char *const FREE_SECTIONS[] = { "eval.", "save.", "device.", "sample.", "spike.", "log.", NULL };
    /* The model that adapters lie beside is not in the checkpoint. */
    if (strcmp(key, "init") == 0 && c->lora.rank) return FIXED;
    if (strcmp(key, "optimizer.name") == 0) return FIXED; /* another one has other states */
    for (size_t i = 0; FREE_KEYS[i]; i++)
        if (strcmp(key, FREE_KEYS[i]) == 0) return FREE;
    for (size_t i = 0; FREE_SECTIONS[i]; i++)
        if (strncmp(key, FREE_SECTIONS[i], strlen(FREE_SECTIONS[i])) == 0) return FREE;
    bool curve = strcmp(key, "steps") == 0 || strncmp(key, "schedule.", 9) == 0 ||
                 strncmp(key, "optimizer.", 10) == 0;
    return curve ? CURVE : FIXED;
}

bool gal__setting_may_change(const gal_train_config *c, const char *key) {
    return class_of(c, key) == CURVE || strncmp(key, "spike.", 6) == 0;
}

/* As strings. c may be a configuration of defaults: `by` says which settings are left out. */
static json_t *settings_json(const gal_train_config *c, const gal_train_config *by) {
    json_t *all = json_object();
    gal_buf value = { 0 };
    for (size_t i = 0; all && i < GAL_TRAIN_SETTINGS.count; i++) {
        const gal_setting *s = &GAL_TRAIN_SETTINGS.rows[i];
        if (class_of(by, s->key) == FREE || !gal_settings_applies(&GAL_TRAIN_SETTINGS, by, s)) continue;
        gal_buf_clear(&value);
        gal_settings_print(s, c, &value);
        if (value.oom || json_object_set_new(all, s->key, json_string(value.data))) {
            json_decref(all);
            all = NULL;
        }
    }
    gal_buf_free(&value);
    return all;
}

static gal_err write_json(json_t *root, const char *path, gal_diag *diag) {
    char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    gal_err err = text ? gal_write_file(path, text, strlen(text), diag)
                       : gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    if (text) {
        json_malloc_t take;
        json_free_t give;
        json_get_alloc_funcs(&take, &give); /* text comes from jansson's own allocator */
        give(text);
    }
    json_decref(root);
    return err;
}

static json_t *spikes_json(const gal__spikes *s) {
    json_t *losses = json_array();
    for (int64_t i = 0; losses && i < s->n; i++)
        if (json_array_append_new(losses, json_real(s->loss[(s->next + s->room - s->n + i) % s->room]))) {
            json_decref(losses);
            losses = NULL;
        }
    json_t *root = json_pack("{s:I, s:I, s:I, s:I, s:I}", "count", (json_int_t)s->count, "in_a_row",
                             (json_int_t)s->in_a_row, "returns", (json_int_t)s->returns, "applied",
                             (json_int_t)s->applied, "back", (json_int_t)s->back);
    if (json_object_set_new(root, "losses", losses)) {
        json_decref(root);
        return NULL;
    }
    return root;
}

gal_err gal__checkpoint_write_state(const gal_trainer *t, const char *path, gal_diag *diag) {
    char train[65], valid[65];
    gal_hex(train, t->train.contents, 32);
    gal_hex(valid, t->valid.contents, 32);
    const gal_schedule *s = &t->schedule;
    char base[65];
    json_t *root = json_pack("{s:i, s:I, s:I, s:I, s:I, s:I, s:{s:s, s:s}}", "version", 1, "step",
                             (json_int_t)t->step, "updates", (json_int_t)t->opt->t, "tokens", (json_int_t)t->tokens,
                             "epoch", (json_int_t)t->place.at[0].epoch, "row", (json_int_t)t->place.at[0].row,
                             "shards", "train", train, "valid", valid);
    json_t *curve = json_pack("{s:i, s:f, s:f, s:I, s:I, s:I, s:I, s:b, s:f}", "curve", (int)s->curve, "lr", s->lr,
                              "first_lr", s->first_lr, "warmup", (json_int_t)s->warmup, "steps", (json_int_t)s->steps,
                              "cycle", (json_int_t)s->cycle, "decay", (json_int_t)s->decay, "root", (int)s->root,
                              "final_fraction", s->final_fraction);
    /* Not through json_pack(), which loses what it is given when memory runs out before it comes to it. */
    bool whole = !json_object_set_new(root, "schedule", curve);
    whole = !json_object_set_new(root, "spikes", spikes_json(&t->spikes)) && whole;
    whole = !json_object_set_new(root, "settings", settings_json(t->config, t->config)) && whole;
    gal_hex(base, t->base, sizeof t->base);
    if (t->config->lora.rank) whole = !json_object_set_new(root, "base", json_string(base)) && whole;
    if (!whole) {
        json_decref(root);
        root = NULL;
    }
    if (t->train.n > 1 && json_object_set_new(root, "mixture", gal_mix_state_json(&t->train, &t->place))) {
        json_decref(root);
        root = NULL;
    }
    return write_json(root, path, diag);
}

static gal_err read_json(json_t **out, const char *path, gal_diag *diag) {
    gal_buf text = { 0 };
    json_error_t je;
    gal_err err = gal_read_file(&text, path, STATE_MAX_BYTES, diag);
    if (!err) {
        *out = json_loadb(text.data ? text.data : "", text.len, 0, &je);
        bool oom = !*out && gal_json_no_memory(&je, text.data ? text.data : "", text.len);
        if (!*out) err = gal_fail(diag, oom ? GAL_ENOMEM : GAL_EINPUT, "%s:%d: %s", path, je.line, je.text);
    }
    gal_buf_free(&text);
    return err;
}

/* ---- taking up a run ---------------------------------------------------------------------------------------------
 */

static gal_err read_schedule(const json_t *root, const char *path, gal_schedule *s, gal_diag *diag) {
    const json_t *o = json_object_get(root, "schedule");
    const json_t *lr = json_object_get(o, "lr"), *fraction = json_object_get(o, "final_fraction");
    if (!json_is_number(lr) || !json_is_number(fraction))
        return gal_fail(diag, GAL_EINPUT, "%s: schedule: expected lr and final_fraction", path);
    *s = (gal_schedule){ .curve = (gal_curve)GAL_MIN(GAL_MAX(json_integer_value(json_object_get(o, "curve")), 0),
                                                     GAL_CURVE_LINEAR),
                         .first_lr = json_number_value(json_object_get(o, "first_lr")),
                         .root = json_is_true(json_object_get(o, "root")) };
    s->lr = json_number_value(lr);
    s->final_fraction = json_number_value(fraction);
    gal_err err = gal_json_count(o, "", "warmup", path, &s->warmup, diag);
    if (!err && json_object_get(o, "cycle")) err = gal_json_count(o, "", "cycle", path, &s->cycle, diag);
    if (!err && json_object_get(o, "decay")) err = gal_json_count(o, "", "decay", path, &s->decay, diag);
    return err ? err : gal_json_count(o, "", "steps", path, &s->steps, diag);
}

static void note_curves(gal_trainer *t, const gal_schedule *old, int64_t step) {
    gal_buf text = { 0 };
    gal_buf_puts(&text, "old curve: ");
    gal_schedule_print(old, &text);
    gal_buf_puts(&text, "; new curve: ");
    gal_schedule_print(&t->schedule, &text);
    if (text.data) gal__train_note(t, "%s", text.data);
    for (int i = 0; i <= CURVE_POINTS; i++) {
        int64_t last = GAL_MAX(old->steps, t->schedule.steps);
        int64_t at = GAL_MAX(step + (last - step) * i / CURVE_POINTS, (int64_t)1);
        bool over = at > old->steps;
        gal__train_note(t, "  lr at step %-8lld old %-12g%s new %g", (long long)at, gal_schedule_lr(old, at),
                        over ? " (after its end)" : "", gal_schedule_lr(&t->schedule, at));
    }
    gal_buf_free(&text);
}

static bool named_anew(const gal_trainer *t, const char *key) {
    return gal_settings_said(&GAL_TRAIN_SETTINGS, t->config, key) == GAL_SAID_BY_SET;
}

/* What a run has of its own is not named anew: its model, its text where that lies nowhere. */
static gal_err refuse_anew(const gal_trainer *t, gal_diag *diag) {
    const gal_train_config *c = t->config;
    const struct {
        const char *key;
        const gal_strings *files;
    } TEXTS[] = { { "data.text", &c->data.text },
                  { "data.valid", &c->data.valid },
                  { "data.chat", &c->data.chat },
                  { "data.chat_valid", &c->data.chat_valid } };
    if (!c->lora.rank && named_anew(t, "init"))
        return gal_fail(diag, GAL_EUSAGE,
                        "--set init=%.200s: init cannot change when a run is resumed: its model "
                        "is in its checkpoints",
                        c->init);
    for (size_t i = 0; i < GAL_LEN(TEXTS); i++)
        for (size_t k = 0; named_anew(t, TEXTS[i].key) && k < TEXTS[i].files->n; k++)
            if (!gal_exists(TEXTS[i].files->v[k]))
                return gal_fail(diag, GAL_EUSAGE, "--set %s: %.300s: no such file", TEXTS[i].key,
                                TEXTS[i].files->v[k]);
    return GAL_OK;
}

/* Nor is its vocabulary, but where that lies now. */
static gal_err refuse_vocabulary(const gal_trainer *t, gal_diag *diag) {
    const gal_train_config *c = t->config;
    const bool moved = named_anew(t, "tokenizer.path");
    if (!moved || !c->tokenizer.path[0] || gal_is_gguf(c->tokenizer.path)) return GAL_OK;
    gal_tokenizer *tok = NULL;
    uint8_t there[32], own[32];
    gal_err err = gal_tokenizer_open(&tok, c->tokenizer.path, diag);
    if (err) return err;
    gal_tokenizer_sha256(tok, there);
    gal_tokenizer_sha256(t->tok, own);
    gal_tokenizer_free(tok);
    if (memcmp(there, own, sizeof own) == 0) return GAL_OK;
    return gal_fail(
        diag, GAL_EUSAGE,
        "--set tokenizer.path=%.200s: a run that is resumed keeps its vocabulary, and that is another one",
        c->tokenizer.path);
}

/* Settings that the numbers depend on must be those of the checkpoint; with --extend the curve may differ. */
static gal_err compare_settings(const gal_trainer *t, const json_t *root, const char *path, bool *curve_changed,
                                gal_diag *diag) {
    gal_train_config fallback;
    gal_err err = refuse_anew(t, diag);
    if (!err) err = gal_train_config_defaults(&fallback, diag);
    if (err) return err;
    json_t *now = settings_json(t->config, t->config), *plain = settings_json(&fallback, t->config);
    gal_train_config_free(&fallback);
    if (!now || !plain) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    const json_t *then = json_object_get(root, "settings");
    const char *key;
    json_t *value;
    json_object_foreach(now, key, value) {
        /* A setting that is younger than the checkpoint was at its default. */
        const json_t *was = json_object_get(then, key);
        const char *old = json_string_value(was ? was : json_object_get(plain, key));
        if (err || (old && strcmp(old, json_string_value(value)) == 0)) continue;
        const bool by_set = named_anew(t, key);
        const gal_err wrong = by_set ? GAL_EUSAGE : GAL_EINPUT;
        char set[300];
        (void)snprintf(set, sizeof set, "--set %s=%.200s", key, json_string_value(value));
        if (class_of(t->config, key) == FIXED)
            err = gal_fail(diag, wrong, "%s: %s cannot change when a run is resumed: it was %s, now %s",
                           by_set ? set : path, key, old ? old : "not there", json_string_value(value));
        else if (!t->options->extend)
            err = gal_fail(diag, wrong,
                           "%s: %s was %s, now %s: that changes the learning rate's curve; --extend "
                           "allows it",
                           by_set ? set : path, key, old ? old : "not there", json_string_value(value));
        *curve_changed = true;
    }
    json_decref(now);
    json_decref(plain);
    return err;
}

static gal_err compare_shard(const uint8_t contents[32], const json_t *root, const char *key, const char *path,
                             gal_diag *diag) {
    char hex[65];
    gal_hex(hex, contents, 32);
    const char *want = json_string_value(json_object_get(json_object_get(root, "shards"), key));
    if (want && strcmp(want, hex) == 0) return GAL_OK;
    return gal_fail(diag, GAL_EINPUT,
                    "%s: the run's %s tokens are not those that it was trained on: expected SHA-256 "
                    "%.16s..., found %.16s...",
                    path, key, want ? want : "(none)", hex);
}

/* Of adapters; runs from before it was kept take what lies there. */
static gal_err compare_base(const gal_trainer *t, const json_t *root, gal_diag *diag) {
    const char *want = json_string_value(json_object_get(root, "base"));
    char hex[65];
    gal_hex(hex, t->base, sizeof t->base);
    if (!t->config->lora.rank || !want || strcmp(want, hex) == 0) return GAL_OK;
    return gal_fail(
        diag, GAL_EINPUT,
        "init: %s is not the model that the adapters were trained beside: expected its fingerprint %.16s..., "
        "found %.16s...",
        t->config->init, want, hex);
}

/* Counts and losses that spikes are judged by; none in a checkpoint from before they were kept. */
static gal_err read_spikes(gal_trainer *t, const json_t *root, const char *path, gal_diag *diag) {
    const json_t *o = json_object_get(root, "spikes"), *losses = json_object_get(o, "losses");
    gal__spikes *s = &t->spikes;
    s->n = s->next = s->in_a_row = s->count = s->returns = s->back = 0;
    s->applied = t->step;
    if (!o) return GAL_OK;
    gal_err err = gal_json_count(o, "", "count", path, &s->count, diag);
    if (!err) err = gal_json_count(o, "", "in_a_row", path, &s->in_a_row, diag);
    if (!err) err = gal_json_count(o, "", "returns", path, &s->returns, diag);
    if (!err) err = gal_json_count(o, "", "applied", path, &s->applied, diag);
    if (!err && json_object_get(o, "back")) err = gal_json_count(o, "", "back", path, &s->back, diag);
    s->back = GAL_MIN(s->back, t->step);
    for (size_t i = 0; !err && i < json_array_size(losses); i++)
        gal__spikes_add(s, json_number_value(json_array_get(losses, i)));
    return err;
}

/* Where the checkpoint stands; its tensors are another thing. */
static gal_err read_place(gal_trainer *t, const json_t *root, const char *path, gal_diag *diag) {
    int64_t epoch = 0, row = 0;
    gal_err err = gal_json_count(root, "", "step", path, &t->step, diag);
    if (!err) err = gal_json_count(root, "", "tokens", path, &t->tokens, diag);
    if (!err) err = gal_json_count(root, "", "epoch", path, &epoch, diag);
    if (!err) err = gal_json_count(root, "", "row", path, &row, diag);
    t->opt->t = t->step;
    if (!err && json_object_get(root, "updates")) err = gal_json_count(root, "", "updates", path, &t->opt->t, diag);
    if (!err) err = read_spikes(t, root, path, diag);
    gal_mix_state place = { 0 };
    if (!err && t->train.n > 1)
        err = gal_mix_state_read(&place, &t->train, json_object_get(root, "mixture"), path, diag);
    if (err) return err;
    place.at[0] = (gal_order_state){ (uint64_t)epoch, (uint64_t)row };
    t->place = place;
    return GAL_OK;
}

static gal_err open_state(json_t **root, gal_buf *path, const char *dir, gal_diag *diag) {
    return gal_path_join(path, dir, "trainer.json") ? read_json(root, path->data, diag)
                                                    : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
}

gal_err gal__checkpoint_agrees(const gal_trainer *t, const char *dir, gal_diag *diag) {
    gal_buf path = { 0 };
    json_t *root = NULL;
    bool changed = false;
    gal_err err = open_state(&root, &path, dir, diag);
    if (!err) err = compare_settings(t, root, path.data, &changed, diag);
    json_decref(root);
    gal_buf_free(&path);
    return err;
}

gal_err gal__checkpoint_load(gal_trainer *t, const char *dir, gal_diag *diag) {
    gal_buf path = { 0 };
    json_t *root = NULL;
    gal_schedule old = { 0 };
    bool changed = false;
    gal_err err = open_state(&root, &path, dir, diag);
    if (!err) err = compare_settings(t, root, path.data, &changed, diag);
    if (!err) err = refuse_vocabulary(t, diag);
    if (!err) err = read_schedule(root, path.data, &old, diag);
    if (!err) err = compare_shard(t->train.contents, root, "train", path.data, diag);
    if (!err) err = compare_shard(t->valid.contents, root, "valid", path.data, diag);
    if (!err) err = compare_base(t, root, diag);
    if (!err) err = read_place(t, root, path.data, diag);
    if (!err) err = gal__checkpoint_load_tensors(t, dir, diag);
    old.ramp = t->schedule.ramp;                                      /* which cannot change */
    if (!err && changed && t->metrics) note_curves(t, &old, t->step); /* a replay keeps to what was in force */
    json_decref(root);
    gal_buf_free(&path);
    return err;
}

gal_err gal__checkpoint_reload(gal_trainer *t, const char *dir, gal_diag *diag) {
    gal_buf path = { 0 };
    json_t *root = NULL;
    gal_err err = open_state(&root, &path, dir, diag);
    if (!err) err = read_place(t, root, path.data, diag);
    if (!err) err = gal__checkpoint_load_tensors(t, dir, diag);
    json_decref(root);
    gal_buf_free(&path);
    return err;
}

/* ---- the best one ------------------------------------------------------------------------------------------------
 */

/* best.json: what it says goes to best_step and best_nats, unless there is no such checkpoint, or it is one of after
 * t->step, which is made again. Of evaluations of something else best_nats stays unknown. */
static gal_err read_best(gal_trainer *t, const char *path, gal_diag *diag) {
    json_t *root = NULL;
    gal_diag why = { 0 };
    t->best_step = -1;
    t->best_nats = -1.0;
    gal_err err = gal_is_file(path) ? read_json(&root, path, &why) : GAL_OK;
    int64_t step = json_integer_value(json_object_get(root, "step"));
    const bool same = json_integer_value(json_object_get(root, "rows")) ==
                          gal__train_eval_rows(t, t->config->eval.rows) &&
                      json_is_true(json_object_get(root, "average")) == t->config->ema.evaluate;
    bool there = false;
    const bool counts = root && step <= t->step;
    gal_err looked = counts ? gal__checkpoint_is_there(t, step, &there, diag) : GAL_OK;
    if (there) t->best_step = step;
    if (there && same) t->best_nats = json_number_value(json_object_get(root, "nats_per_token"));
    json_decref(root);
    if (looked) return looked;
    if (err && err != GAL_EINPUT) return gal_fail(diag, err, "%s", why.text);
    if (err) gal__train_note(t, "the best checkpoint is taken from the metrics: %s", why.text);
    if (counts && !there)
        gal__train_note(t, "the best checkpoint, of step %lld, is not there any more", (long long)step);
    return GAL_OK;
}

gal_err gal__checkpoint_find_best(gal_trainer *t, gal_metric_eval *rows, size_t n, gal_diag *diag) {
    gal_buf path = { 0 };
    size_t left = 0;
    gal_err err = gal_path_join(&path, t->dir, "checkpoints/best.json")
                      ? read_best(t, path.data, diag)
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    /* What was left behind when the run was killed in between is not there in one that ran through. */
    if (!err) err = gal__checkpoint_remove_old(t, diag);
    if (err || t->best_nats >= 0) {
        gal_buf_free(&path);
        return err;
    }
    const gal_metric_eval like = { .rows = gal__train_eval_rows(t, t->config->eval.rows),
                                   .average = t->config->ema.evaluate };
    for (size_t i = 0; !err && i < n; i++) {
        bool there = false;
        if (rows[i].step <= t->step) err = gal__checkpoint_is_there(t, rows[i].step, &there, diag);
        if (there) rows[left++] = rows[i];
    }
    const gal_metric_eval *best = err ? NULL : gal_metrics_best(rows, left, &like);
    if (best)
        err = gal__checkpoint_set_best(t, best->step, best->nats, diag);
    else if (!err && t->best_step >= 0)
        gal__train_note(t,
                        "the best checkpoint so far, of step %lld, was found by evaluating something else "
                        "(eval.rows, ema.evaluate): it is kept until there is one of what is evaluated now",
                        (long long)t->best_step);
    else if (!err)
        err = gal_remove_tree(path.data, diag);
    gal_buf_free(&path);
    return err;
}

gal_err gal__checkpoint_set_best(gal_trainer *t, int64_t step, double nats, gal_diag *diag) {
    gal_buf path = { 0 };
    if (!gal_path_join(&path, t->dir, "checkpoints/best.json"))
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    t->best_step = step;
    t->best_nats = nats;
    json_t *root = json_pack("{s:I, s:f, s:I, s:b}", "step", (json_int_t)step, "nats_per_token", nats, "rows",
                             (json_int_t)gal__train_eval_rows(t, t->config->eval.rows), "average",
                             (int)t->config->ema.evaluate);
    gal_err err = write_json(root, path.data, diag);
    gal_buf_free(&path);
    return err;
}
