/* checkpoint.h - what checkpoint.c and checkpoint_state.c share. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TRAIN_CHECKPOINT_H
#define GAL_TRAIN_CHECKPOINT_H

#include "base/file.h"
#include "train/trainer.h"

/* trainer.json: step, place in the text, schedule, every setting that the numbers depend on, hashes of the shards. */
gal_err gal__checkpoint_write_state(const gal_trainer *t, const char *path, gal_diag *diag);
/* GAL_OK if every file is there with the size and the hash of the manifest. */
gal_err gal__checkpoint_check(const char *dir, gal_diag *diag);
gal_err gal__checkpoint_load_tensors(gal_trainer *t, const char *dir, gal_diag *diag);

#endif
