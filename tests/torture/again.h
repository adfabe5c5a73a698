/* again.h - a stage: a step of a run made again. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_TORTURE_AGAIN_H
#define GAL_TESTS_TORTURE_AGAIN_H

#include "galerne/train.h"

/* Step 2 of the run, which must be what it recorded; hear is told what the training says. */
gal_err step_again(const char *run, void (*hear)(void *user, const gal_train_event *event), gal_diag *diag);

#endif
