/* in_force.c - the settings that steps follow from and that may change when a run is taken up (--extend, spike.*),
 * each with the step from which it was in force; in the table settings of the metrics. Times are (returns, step): a
 * run that returned makes steps again, under what was in force when it did. Invariant: what is kept of a run that
 * goes on from a checkpoint is of before that checkpoint, or of its next step. SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* The newest value of a key that was in force at a step; NULL: nothing is kept. Rows are in the order of time. */
static const gal_metric_setting *newest(const gal_metric_setting *rows, size_t n, const char *key, int64_t returns,
                                        int64_t step) {
    const gal_metric_setting *found = NULL;
    for (size_t i = 0; i < n; i++) {
        const bool later = rows[i].returns > returns || (rows[i].returns == returns && rows[i].since > step);
        if (!later && strcmp(rows[i].key, key) == 0) found = &rows[i];
    }
    return found;
}

static gal_err keep(gal_trainer *t, const gal_setting *s, const gal_metric_setting *rows, size_t n, gal_buf *value,
                    gal_diag *diag) {
    const gal_metric_setting *old = newest(rows, n, s->key, INT64_MAX, INT64_MAX);
    gal_metric_setting now = { .returns = t->spikes.returns, .since = t->step + 1 };
    gal_buf_clear(value);
    gal_settings_print(s, t->config, value);
    if (value->oom) return gal_fail(diag, GAL_ENOMEM, "no memory for a setting");
    if (old && strcmp(old->value, value->data) == 0) return GAL_OK;
    GAL_ASSERT(strlen(s->key) < sizeof now.key && value->len < sizeof now.value);
    (void)snprintf(now.key, sizeof now.key, "%s", s->key);
    (void)snprintf(now.value, sizeof now.value, "%s", value->data);
    return gal_metrics_setting(t->metrics, &now, diag);
}

gal_err gal__train_keep_settings(gal_trainer *t, gal_diag *diag) {
    gal_metric_setting *rows = NULL;
    gal_buf value = { 0 };
    size_t n = 0;
    gal_err err = gal_metrics_settings(t->metrics, &rows, &n, diag);
    for (size_t i = 0; !err && i < GAL_TRAIN_SETTINGS.count; i++) {
        const gal_setting *s = &GAL_TRAIN_SETTINGS.rows[i];
        if (gal__setting_may_change(t->config, s->key)) err = keep(t, s, rows, n, &value, diag);
    }
    gal_buf_free(&value);
    gal_free(rows);
    return err;
}

/* All of these are numbers, choices and truths: nothing in *c is owned by another. */
static gal_err put(gal_train_config *c, const gal_setting *s, const char *value, gal_diag *diag) {
    char text[sizeof((gal_metric_setting *)0)->key + sizeof((gal_metric_setting *)0)->value];
    gal_diag why = { 0 };
    (void)snprintf(text, sizeof text, "%s=%s", s->key, value);
    if (!gal_settings_set(&GAL_TRAIN_SETTINGS, c, text, &why)) return GAL_OK;
    return gal_fail(diag, why.err == GAL_ENOMEM ? GAL_ENOMEM : GAL_EINPUT, "metrics.sqlite: settings: %s", why.text);
}

gal_err gal__train_obey(gal_trainer *t, gal_train_config *c, const gal_metric_setting *rows, size_t n, bool *known,
                        gal_diag *diag) {
    gal_buf value = { 0 };
    bool changed = false;
    gal_err err = GAL_OK;
    *known = false;
    for (size_t i = 0; !err && i < GAL_TRAIN_SETTINGS.count; i++) {
        const gal_setting *s = &GAL_TRAIN_SETTINGS.rows[i];
        if (!gal__setting_may_change(c, s->key)) continue;
        const gal_metric_setting *then = newest(rows, n, s->key, t->spikes.returns, t->step + 1);
        if (!then) continue;
        *known = true;
        gal_buf_clear(&value);
        gal_settings_print(s, c, &value);
        if (value.oom) err = gal_fail(diag, GAL_ENOMEM, "no memory for a setting");
        if (err || strcmp(then->value, value.data) == 0) continue;
        err = put(c, s, then->value, diag);
        changed = true;
    }
    gal_buf_free(&value);
    if (err || !changed) return err;
    const gal_optim_options o = gal_train_optim_options(c);
    t->schedule = gal_train_schedule(c);
    err = gal_optim_retune(t->opt, &o, diag);
    for (size_t i = 0; i < GAL_LEN(t->update_plan); i++) {
        gal_plan_free(t->update_plan[i]); /* recorded with the old decay */
        t->update_plan[i] = NULL;
    }
    return err ? err : gal__spikes_resize(&t->spikes, c->spike.window, diag);
}
