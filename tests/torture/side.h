/* side.h - stages of stages.c: the file of packed weights beside a model. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_TORTURE_SIDE_H
#define GAL_TESTS_TORTURE_SIDE_H

#include "base/err.h"

void prepare_side(const char *folder);         /* a model with a file of an earlier state of it */
gal_err run_side(gal_diag *diag);              /* writes one */
void after_side(gal_err err, bool again);      /* it is there and whole, or nothing is */
void prepare_side_open(const char *folder);    /* a model with its file */
gal_err run_side_open(gal_diag *diag);         /* opens it */
void after_side_open(gal_err err, bool again); /* another try finds the file */

#endif
