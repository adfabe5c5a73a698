/* again.h - a stage: a step of a run made again. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_TORTURE_AGAIN_H
#define GAL_TESTS_TORTURE_AGAIN_H

#include "base/err.h"

/* Step 2 of the run, which must be what it recorded. */
gal_err step_again(const char *run, gal_diag *diag);

#endif
