/* shards.h - a stage of stages.c: text to token shards, and rows of a mixture of them. SPDX-License-Identifier:
 * Apache-2.0 */
#ifndef GAL_TESTS_TORTURE_SHARDS_H
#define GAL_TESTS_TORTURE_SHARDS_H

#include "base/err.h"

void prepare_shards(const char *folder); /* text, and a folder of shards of an earlier one */
gal_err run_shards(gal_diag *diag);      /* replaces it, and takes rows */
void after_shards(gal_err err, bool again);

#endif
