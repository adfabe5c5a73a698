/* adamw.c - AdamW (Loshchilov and Hutter, arXiv:1711.05101), and Adam (Kingma and Ba, arXiv:1412.6980), whose decay
 * is a penalty. SPDX-License-Identifier: Apache-2.0 */
#include "optim/optim.h"

#include <math.h>

static void numbers(const gal_optim_options *o, int64_t t, gal_opt_step *step) {
    step->beta1 = (float)o->beta1;
    step->beta2 = (float)o->beta2;
    step->eps = (float)o->eps;
    step->bias1 = (float)(1.0 - pow(o->beta1, (double)t));
    step->bias2 = (float)(1.0 - pow(o->beta2, (double)t));
}

static void update(gal_ctx *cx, const gal_optim *o, const gal_optim_slot *s, const gal_k_update *shared) {
    (void)o;
    gal_k_update u = *shared;
    u.m = s->state[0];
    u.v = s->state[1];
    gal_launch(cx, GAL_K_ADAMW, &u, sizeof u);
}

const gal_optim_kind gal__optim_adamw = {
    .name = "adamw", .states = { "m", "v" }, .numbers = numbers, .update = update
};
const gal_optim_kind gal__optim_adam = {
    .name = "adam", .states = { "m", "v" }, .coupled = true, .numbers = numbers, .update = update
};
