/* suite.h - one task on one model, from its records to its measures, with what is known already taken from a file of
 * answers. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_SUITE_H
#define GAL_EVAL_SUITE_H

#include "eval/measures.h"
#include "eval/score.h"

/* What is asked, and of whom. All is borrowed. */
typedef struct gal_suite {
    gal_dev *dev;
    const gal_model *model; /* whose weights dev can read */
    const gal_tokenizer *t;
    const int32_t *eos; /* end what is said */
    int32_t n_eos;
    gal_dtype compute;
    bool exact, no_bos;
    const gal_chat_format *chat; /* prompts are conversations by this template; NULL: they are text */
    bool one_turn;               /* of conversations: shots stand in the question's turn */
    struct tm now;               /* of conversations, for templates that ask for the date */
    int64_t batch, context;      /* 0: 16; the smaller of 2048 and the model's maximum */
    int64_t limit;               /* first questions of a task; 0: all */
    gal_answer_file *file;       /* NULL: nothing is kept */
    const char *model_name;
    const uint8_t *fingerprint; /* [32] of the model (models/fingerprint.c); read where there is a file */
    bool fresh;                 /* what the file knows is forgotten */
    /* Asked all the time, and told how many questions are done of how many, and which share of the work (0 to 1), the
     * parts of long texts included; true stops. */
    bool (*progress)(void *user, const gal_task *t, int64_t done, int64_t of, double share);
    void *user;
} gal_suite;

typedef struct gal_suite_result {
    gal_measures measures;
    gal_answer *answers;    /* [n] */
    int64_t n, records;     /* asked; in the set */
    int64_t kept;           /* questions that the file knew */
    int64_t tokens, rows;   /* scored or said; computed, in this call */
    int64_t cut;            /* known questions whose beginning did not fit into the context */
    int64_t context, batch; /* as chosen */
    bool bos, stopped;
    double seconds;
    char key[65];   /* of the run */
} gal_suite_result; /* {0} */

/* What a suite's text becomes ids with. GAL_EUSAGE: a context beyond gal_engine_most(). */
gal_err gal_suite_ids(gal_exam_ids *out, const gal_suite *s, gal_diag *diag);
/* Stopped by progress, it is GAL_OK with `stopped` and the measures of what is known. The caller frees the result,
 * also on failure. */
gal_err gal_suite_run(gal_suite_result *r, const gal_suite *s, const gal_exam *e, gal_diag *diag);
void gal_suite_result_free(gal_suite_result *r);

#endif
