/* find_lr.c - see find_lr.h. SPDX-License-Identifier: Apache-2.0 */
#include "train/find_lr.h"

#include "base/mem.h"
#include "train/trainer.h"

#include <math.h>

#define MEMORY 0.9    /* of the smoothed loss, a step */
#define DIVERGED 1.25 /* times the least smoothed loss */

static gal_err sweep(gal_trainer *t, double from, double to, int64_t steps, gal_lr_sweep *out, gal_diag *diag) {
    double mean = 0, least = 0;
    for (int64_t i = 0; i < steps && !out->diverged; i++) {
        gal__train_numbers n;
        double lr = from * pow(to / from, (double)i / (double)(steps - 1));
        if (gal__train_stop_wanted(t)) return gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
        gal_err err = gal__train_gradients(t, lr, &n, diag);
        bool finite = !err && isfinite(n.loss) && isfinite(n.grad_norm);
        if (finite) err = gal__train_apply(t, false, diag);
        if (err) return err;
        gal__train_pass(t, &n);
        mean = MEMORY * mean + (1 - MEMORY) * n.loss;
        /* Without what is missing before the first step. */
        double smooth = mean / (1 - pow(MEMORY, (double)(i + 1)));
        out->points[out->n++] = (gal_lr_point){ lr, n.loss, smooth };
        out->diverged = !finite || (i > 0 && smooth > DIVERGED * least);
        if (!out->diverged && (i == 0 || smooth < least)) {
            least = smooth;
            out->best = lr;
        }
    }
    out->suggested = out->best / 10;
    return out->best > 0 ? GAL_OK
                         : gal_fail(diag, GAL_EFAIL, "no rate from %g on gave a loss that is a number", from);
}

gal_err gal_train_find_lr(const gal_train_config *config, const gal_train_options *options, double from, double to,
                          int64_t steps, gal_lr_sweep *out, gal_diag *diag) {
    GAL_ASSERT(steps >= 2 && from > 0 && to > from);
    *out = (gal_lr_sweep){ .points = gal_alloc_array((size_t)steps, sizeof *out->points) };
    gal_train_options o = *options;
    o.resume = false;
    gal_trainer *t = gal__trainer_new(config, &o);
    gal_err err = t && out->points ? GAL_OK
                                   : gal_fail(diag, GAL_ENOMEM, "no memory for %lld rates", (long long)steps);
    if (!err) err = gal__train_setup_device(t, diag);
    if (!err) err = gal__trainer_set_up(t, NULL, diag);
    if (!err) {
        t->schedule.ramp.n = 0; /* losses of steps of one size */
        err = sweep(t, from, to, steps, out, diag);
    }
    gal__trainer_free(t, false);
    if (err) gal_lr_sweep_free(out);
    return err;
}

void gal_lr_sweep_free(gal_lr_sweep *s) {
    gal_free(s->points);
    *s = (gal_lr_sweep){ 0 };
}
