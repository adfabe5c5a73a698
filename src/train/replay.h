/* replay.h - a step of a run made again from the newest checkpoint before it, and compared to the bit with what the
 * run recorded. Nothing is written. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TRAIN_REPLAY_H
#define GAL_TRAIN_REPLAY_H

#include "galerne/train.h"
#include "train/config.h"
#include "train/metrics.h"

typedef struct gal_replayed {
    int64_t step, from; /* from: the checkpoint's step, 0: the beginning */
    double loss, grad_norm, lr;
    gal_metric_sample sample;
    gal_metric_norm *norms; /* [n_norms] by layer, in the order of the weights */
    size_t n_norms;
    bool spike;            /* the step is not applied: its norms are of the gradient alone */
    bool recorded;         /* the run has it, applied or as a spike, on the way that it is on now */
    bool same;             /* all that is recorded of it is the same */
    bool unsure;           /* what was set at that time is not kept: the run's newest settings were taken */
    char differs[200];     /* what is not; "" */
    char recorded_on[100]; /* the run's device or level, if it is another one than this; "" */
} gal_replayed;

/* config: the run's own. options: run, progress, stop, user. A step that is not recorded is made as the run would
 * make it. GAL_EINPUT: what happened on the way is not recorded, and it is not known what the run did; or what is
 * recorded does not fit the checkpoint. */
gal_err gal_train_replay(const gal_train_config *config, const gal_train_options *options, int64_t step,
                         gal_replayed *out, gal_diag *diag);
void gal_replayed_free(gal_replayed *r);

#endif
