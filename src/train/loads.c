/* loads.c - how the tokens of a step were spread over experts: what layers leave of each batch, added up, as rows of
 * the metrics and a line's end of the log. SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/mem.h"

#include <string.h>

static size_t numbers(const gal_trainer *t) {
    return (size_t)(t->balance.layers * (GAL_ROUTE_HEAD + 2 * t->balance.experts));
}

gal_err gal__loads_new(gal_trainer *t, gal_diag *diag) {
    t->loads = gal_alloc_array(2 * numbers(t), sizeof *t->loads);
    return t->loads ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for the loads of experts");
}

void gal__loads_begin(gal_trainer *t) {
    if (t->loads) memset(t->loads, 0, numbers(t) * sizeof *t->loads);
}

gal_err gal__loads_add(gal_trainer *t, gal_diag *diag) {
    if (!t->loads) return GAL_OK;
    double *now = t->loads + numbers(t);
    gal_err err = gal_dev_download(t->dev, now, t->balance.sums, numbers(t) * sizeof *now, diag);
    for (size_t i = 0; !err && i < numbers(t); i++) t->loads[i] += now[i];
    return err;
}

double gal__loads_dropped(const gal_trainer *t) {
    double dropped = 0, all = 0;
    for (int64_t l = 0; t->loads && l < t->balance.layers; l++) {
        const double *s = t->loads + l * (GAL_ROUTE_HEAD + 2 * t->balance.experts);
        dropped += s[GAL_ROUTE_DROPPED];
        all += s[GAL_ROUTE_ROWS] * (double)t->model->config.experts_used;
    }
    return all > 0 ? dropped / all : 0;
}

gal_err gal__loads_write(gal_trainer *t, gal_diag *diag) {
    const gal_config *c = &t->model->config;
    gal_err err = GAL_OK;
    for (int64_t l = 0; t->loads && !err && l < t->balance.layers; l++) {
        const double *s = t->loads + l * (GAL_ROUTE_HEAD + 2 * c->experts), *chosen = s + GAL_ROUTE_HEAD + c->experts;
        const double choices = GAL_MAX(s[GAL_ROUTE_ROWS] * (double)c->experts_used, 1.0);
        gal_metric_load row = { .step = t->step,
                                .layer = (l + 1) * c->routed_every - 1,
                                .dropped = s[GAL_ROUTE_DROPPED] / choices,
                                .iterations = s[GAL_ROUTE_ITERATIONS] / (double)t->batches,
                                .least = (double)c->experts };
        for (int64_t e = 0; e < c->experts; e++) {
            double share = chosen[e] / choices * (double)c->experts;
            row.most = GAL_MAX(row.most, share);
            row.least = GAL_MIN(row.least, share);
        }
        err = gal_metrics_load(t->metrics, &row, diag);
    }
    return err;
}
