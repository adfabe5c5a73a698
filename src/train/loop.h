/* loop.h - a whole training from a configuration (the public gal_train() reads it from a file first).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TRAIN_LOOP_H
#define GAL_TRAIN_LOOP_H

#include "core/dev.h"
#include "galerne/train.h"
#include "train/config.h"

/* config is checked with gal_train_config_judge(). watch: is told of the training's launches, NULL: nobody. */
gal_err gal_train_run(const gal_train_config *config, const gal_train_options *options, const gal_watch *watch,
                      gal_diag *diag);
/* Defaults, then the file, then the assignments. path NULL: none. where receives what messages call it. */
gal_err gal_train_config_load(gal_train_config *out, const char *path, const char *const *set, size_t n_set,
                              gal_diag *diag);
/* What a command asks of a configuration as a whole, as gal_train_config_check(); messages begin with where. */
typedef gal_err gal_train_judge(const gal_train_config *c, const char *where, void *user, gal_diag *diag);
/* judge's verdict on what was loaded so. GAL_EINPUT in the name of the file, or GAL_EUSAGE in that of the assignment
 * without which there would be nothing to say (of "--set", where it takes several). judge is asked again of others.
 */
gal_err gal_train_config_judge(const gal_train_config *c, const char *path, const char *const *set, size_t n_set,
                               gal_train_judge *judge, void *user, gal_diag *diag);

#endif
