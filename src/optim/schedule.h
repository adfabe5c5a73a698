/* schedule.h - the learning rate as a pure function of the step. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_OPTIM_SCHEDULE_H
#define GAL_OPTIM_SCHEDULE_H

#include "base/buf.h"

/* Linear warm-up, then a cosine to final_fraction of the peak at the last step (Loshchilov and Hutter,
 * arXiv:1608.03983, without restarts). Steps count from 1. */
typedef struct gal_schedule {
    double lr; /* the peak */
    int64_t warmup, steps;
    double final_fraction;
} gal_schedule;

double gal_schedule_lr(const gal_schedule *s, int64_t step);
bool gal_schedule_same(const gal_schedule *a, const gal_schedule *b);
/* A line about the curve: peak, warm-up, length, last value. */
void gal_schedule_print(const gal_schedule *s, gal_buf *out);

#endif
