/* prompts.h - from a record to the texts of a question: its choices, its answer, and what stands before the answer,
 * as one text or as turns of a conversation. For questions.c. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_PROMPTS_H
#define GAL_EVAL_PROMPTS_H

#include "eval/questions.h"

/* A record of a set, and the names that stand in messages about it. */
typedef struct gal__source {
    const gal_exam *e;
    const gal_record *r;
    char where[GAL_RECORD_WHERE], name[GAL_RECORD_WHERE];
} gal__source;

gal__source gal__source_of(const gal_exam *e, const gal_records *set, size_t i);
/* Appends what a template of the task, the value of key, makes of the record. */
gal_err gal__render(gal__source *s, const char *key, const char *template, gal_buf *out, gal_diag *diag);
/* The choices, at least two and none of them empty; the caller frees them, also on failure. */
gal_err gal__read_choices(gal__source *s, gal_strings *out, gal_diag *diag);
/* Which of them is right. */
gal_err gal__read_right(gal__source *s, const gal_strings *choices, int64_t *right, gal_diag *diag);
void gal__strings_free(gal_strings *l);

/* What stands before the answer. context: instead of the task's prompt; NULL: that. Of conversations it is the
 * elements of a body's messages. */
gal_err gal__exam_before(const gal_exam *e, size_t record, gal_exam_form form, const char *context, gal_buf *out,
                         gal_diag *diag);

#endif
