/* schedule.h - the learning rate, and how many batches make a step, as pure functions of the step. Steps count
 * from 1. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_OPTIM_SCHEDULE_H
#define GAL_OPTIM_SCHEDULE_H

#include "base/buf.h"

/* Batches a step: `first` at the beginning, from step at[i].from on at[i].batches. */
enum { GAL_RAMP_STAGES = 16 };
typedef struct gal_ramp {
    int64_t first; /* 0 counts as 1 */
    int n;
    struct {
        int64_t from, batches;
    } at[GAL_RAMP_STAGES]; /* in order of steps */
} gal_ramp;
int64_t gal_ramp_batches(const gal_ramp *r, int64_t step); /* of that step */
int64_t gal_ramp_total(const gal_ramp *r, int64_t steps);  /* of all steps up to and with it */
int64_t gal_ramp_most(const gal_ramp *r);

/* In the order of the choices of the setting schedule.name. */
typedef enum gal_curve { GAL_CURVE_COSINE, GAL_CURVE_WSD, GAL_CURVE_CONSTANT, GAL_CURVE_LINEAR } gal_curve;

/* A linear warm-up from first_lr, which step 0 would have, to the peak at step `warmup`; then
 *   cosine    half a period down to final_fraction of the peak at step `cycle` (Loshchilov and Hutter,
 *             arXiv:1608.03983, without restarts), and on from there as it is
 *   wsd       the peak until the last `decay` steps, which lead down to final_fraction (arXiv:2404.06395), in a
 *             line or as 1 - sqrt (arXiv:2405.18392)
 *   constant  the peak
 *   linear    a line down to final_fraction at the last step
 * The way along a curve is measured in batches, so that a ramp does not bend it over the tokens. */
typedef struct gal_schedule {
    double lr; /* the peak */
    int64_t warmup, steps;
    double final_fraction;
    gal_curve curve;
    double first_lr;
    int64_t cycle, decay; /* 0: steps; 0: a tenth of steps */
    bool root;            /* the decay's shape: 1 - sqrt */
    gal_ramp ramp;
} gal_schedule;

double gal_schedule_lr(const gal_schedule *s, int64_t step);
/* A line about the curve: its name, length, warm-up, peak, last value. */
void gal_schedule_print(const gal_schedule *s, gal_buf *out);

#endif
