/* batch.h - the first rows that a training would read, for those who want to see them before it begins.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TRAIN_BATCH_H
#define GAL_TRAIN_BATCH_H

#include "galerne/train.h"
#include "text/tokenizer.h"
#include "train/config.h"

typedef struct gal_batch {
    int64_t rows, sequence, targets;
    int32_t *ids, *pos, *start, *target; /* [rows * sequence], as core/step.h has them; start within all of them */
    gal_tokenizer *tok;
} gal_batch; /* {0} is an empty one */

/* options: as gal_train_find_lr() takes them: run is a folder that is there, where vocabulary and shards are made. */
gal_err gal_train_batch(gal_batch *out, const gal_train_config *config, const gal_train_options *options,
                        int64_t rows, gal_diag *diag);
void gal_batch_free(gal_batch *b);

#endif
