/* sgd.c - stochastic gradient descent, with momentum (m = momentum m + g) and Nesterov's look ahead; decay is a
 * penalty. Without momentum it keeps no state. SPDX-License-Identifier: Apache-2.0 */
#include "optim/optim.h"

#include <string.h>

static int shape(const gal_optim_options *o, const gal_w *w, int k, int64_t dim[GAL_MAX_DIMS]) {
    (void)k;
    if (!(o->momentum > 0)) return 0;
    memcpy(dim, w->dim, sizeof w->dim);
    return w->ndim;
}

static void update(gal_ctx *cx, const gal_optim *o, const gal_optim_slot *s, const gal_k_update *shared) {
    gal_k_update u = *shared;
    u.m = s->state[0];
    u.nesterov = o->options.nesterov;
    gal_launch(cx, GAL_K_SGD, &u, sizeof u);
}

const gal_optim_kind gal__optim_sgd = {
    .name = "sgd", .states = { "m" }, .coupled = true, .shape = shape, .update = update
};
