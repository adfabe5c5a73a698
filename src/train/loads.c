/* loads.c - how the tokens of a step were spread over experts, and how sure the choices were: what layers leave of
 * each batch, added up, as rows of the metrics and a line's end of the log. SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static size_t numbers(const gal_trainer *t) {
    return (size_t)(t->balance.layers * gal_route_width(t->balance.experts));
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

static const double *layer_of(const gal_trainer *t, int64_t l) {
    return t->loads + l * gal_route_width(t->balance.experts);
}

/* x / y; where y is 0, of no rows, x is, too. */
static double part(double x, double y) { return x / GAL_MAX(y, 1.0); }

void gal__loads_print(const gal_trainer *t, gal_buf *out) {
    double dropped = 0, rows = 0, error = 0;
    if (!t->loads) return;
    for (int64_t l = 0; l < t->balance.layers; l++) {
        const double *s = layer_of(t, l);
        dropped += s[GAL_ROUTE_DROPPED];
        rows += s[GAL_ROUTE_ROWS];
        error += s[GAL_ROUTE_ERROR];
    }
    gal_buf_printf(out, ", dropped %.3g %%", 100 * part(dropped, rows * (double)t->model->config.experts_used));
    if (t->model->config.router == GAL_ROUTER_RLR)
        gal_buf_printf(out, ", baselines off by %.4f", sqrt(part(error, rows)));
}

static gal_metric_load load_of(const gal_trainer *t, int64_t l) {
    const gal_config *c = &t->model->config;
    const double *s = layer_of(t, l), rows = s[GAL_ROUTE_ROWS], choices = rows * (double)c->experts_used;
    const bool chosen = c->router != GAL_ROUTER_HASH, policy = c->router == GAL_ROUTER_RLR;
    double entropy = 0;
    gal_metric_load row = { .step = t->step,
                            .layer = (l + 1) * c->routed_every - 1,
                            .dropped = part(s[GAL_ROUTE_DROPPED], choices),
                            .iterations = s[GAL_ROUTE_ITERATIONS] / (double)t->batches,
                            .least = (double)c->experts };
    for (int64_t e = 0; e < c->experts; e++) {
        double share = part(s[gal_route_at(c->experts, GAL_ROUTE_CHOICES, e)], choices) * (double)c->experts;
        row.most = GAL_MAX(row.most, share);
        row.least = GAL_MIN(row.least, share);
        entropy += s[gal_route_at(c->experts, GAL_ROUTE_ENTROPY, e)];
    }
    row.probability = chosen ? part(s[GAL_ROUTE_TAKEN], choices) : (double)NAN;
    row.entropy = chosen ? part(entropy, rows) : (double)NAN;
    row.square_error = policy ? part(s[GAL_ROUTE_ERROR], rows) : (double)NAN;
    return row;
}

gal_err gal__loads_write(gal_trainer *t, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (int64_t l = 0; t->loads && !err && l < t->balance.layers; l++) {
        gal_metric_load row = load_of(t, l);
        err = gal_metrics_load(t->metrics, &row, diag);
    }
    return err;
}
