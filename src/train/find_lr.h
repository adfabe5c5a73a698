/* find_lr.h - the learning rate range test (Smith, arXiv:1506.01186): steps from the initial weights at rates that
 * grow by the same factor, until the loss has clearly left its least value. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TRAIN_FIND_LR_H
#define GAL_TRAIN_FIND_LR_H

#include "galerne/train.h"
#include "train/config.h"

typedef struct gal_lr_point {
    double lr, loss, smooth; /* nats per token; smooth: a weighted mean of the losses so far */
} gal_lr_point;

typedef struct gal_lr_sweep {
    gal_lr_point *points; /* [n] in order; the last one may be no number */
    size_t n;
    bool diverged;
    double best, suggested; /* rates: of the least smoothed loss; a tenth of that */
} gal_lr_sweep;

/* options: run, progress, stop, user; run is a folder that is there, where vocabulary and
 * token shards are made. steps:
 * at least 2, 0 < from < to. The rest is the configuration's, its curve aside. */
gal_err gal_train_find_lr(const gal_train_config *config, const gal_train_options *options, double from, double to,
                          int64_t steps, gal_lr_sweep *out, gal_diag *diag);
void gal_lr_sweep_free(gal_lr_sweep *s);

#endif
