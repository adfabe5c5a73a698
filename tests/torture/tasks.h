/* tasks.h - the stage of an evaluation, for the table of stages.c. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_TORTURE_TASKS_H
#define GAL_TESTS_TORTURE_TASKS_H

#include "base/err.h"

void prepare_tasks(const char *folder);
gal_err run_tasks(gal_diag *diag);
void after_tasks(gal_err err, bool again);

#endif
