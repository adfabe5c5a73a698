/* train_trial.h - what `galerne train` does without making a run. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_TRAIN_TRIAL_H
#define GAL_CLI_TRAIN_TRIAL_H

#include "cli/cli.h"
#include "galerne/train.h"
#include "train/config.h"

/* --replay: a step of the run o->run again. */
gal_err gal_cli_replay(gal_cli *cli, const gal_train_config *c, const gal_train_options *o);
/* --find-lr: the sweep, in a folder of its own that is removed. */
gal_err gal_cli_find_lr(gal_cli *cli, const gal_train_config *c, const gal_train_options *o);
/* --show-batch: the first rows as text, made in such a folder, too. */
gal_err gal_cli_show_batch(gal_cli *cli, const gal_train_config *c, const gal_train_options *o);

#endif
