/* match.h - whether what a model said is the answer, by a task's rules: what is extracted, which differences do not
 * count. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_MATCH_H
#define GAL_EVAL_MATCH_H

#include "eval/task.h"

typedef struct gal_match gal_match;
/* GAL_EINPUT: match.extract is no regular expression. The task is borrowed. */
gal_err gal_match_new(gal_match **out, const gal_task *t, gal_diag *diag);
void gal_match_free(gal_match *m);
/* GAL_EINPUT: the expression takes too long on this text. */
gal_err gal_match_is(const gal_match *m, const char *said, size_t said_bytes, const char *answer, size_t bytes,
                     bool *same, gal_diag *diag);

#endif
