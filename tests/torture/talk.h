/* talk.h - the stage of a conversation, for the table of stages.c. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_TORTURE_TALK_H
#define GAL_TESTS_TORTURE_TALK_H

#include "base/err.h"

void prepare_talk(const char *folder);
gal_err run_talk(gal_diag *diag);
void after_talk(gal_err err, bool again);

#endif
