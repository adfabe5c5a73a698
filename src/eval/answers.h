/* answers.h - what came of a task's questions, in memory and in a SQLite file, so that an evaluation that was cut
 * short goes on where it stopped and a finished one is not computed again. Rows belong to a run: all that decides
 * their numbers, as one SHA-256. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_ANSWERS_H
#define GAL_EVAL_ANSWERS_H

#include "base/err.h"

typedef struct gal_answer_part {
    double loglikelihood;
    int64_t tokens, bytes, chars; /* of what was scored */
    bool greedy, known;
} gal_answer_part;

typedef struct gal_answer {
    int64_t choices, right; /* of multiple_choice */
    int64_t bytes, words;   /* of perplexity */
    gal_answer_part *parts; /* [n]; NULL: not begun */
    int64_t n;
    char *said; /* of exact_match [said_bytes], with a 0 behind it; NULL: not known */
    size_t said_bytes;
    int64_t tokens; /* that were said */
    bool correct, known;
    bool cut; /* the question's beginning did not fit into the context */
} gal_answer; /* {0} */

void gal_answer_free(gal_answer *a);
/* A copy of it, whatever bytes it has. false: no memory. */
bool gal_answer_says(gal_answer *a, const char *text, size_t bytes);

typedef struct gal_answer_file gal_answer_file;

/* What a run is, for whoever looks into the file; key decides. */
typedef struct gal_answer_run {
    const char *key; /* 64 digits */
    const char *model, *task, *settings;
} gal_answer_run;

/* GAL_EINPUT: no database, or one that is damaged or of another program. */
gal_err gal_answer_file_open(gal_answer_file **out, const char *path, gal_diag *diag);
void gal_answer_file_close(gal_answer_file *f);
/* Begins or goes on with a run; fresh: what is known of it is forgotten first. */
gal_err gal_answer_file_run(gal_answer_file *f, const gal_answer_run *run, bool fresh, gal_diag *diag);
/* What the run knows, into answers [n], which are {0}. Questions beyond n stay in the file. */
gal_err gal_answer_file_load(gal_answer_file *f, gal_answer *answers, int64_t n, gal_diag *diag);
/* Writes question `i` as far as it is known. Between begin and end: one transaction. */
gal_err gal_answer_file_begin(gal_answer_file *f, gal_diag *diag);
gal_err gal_answer_file_put(gal_answer_file *f, int64_t i, const gal_answer *a, gal_diag *diag);
gal_err gal_answer_file_end(gal_answer_file *f, gal_err err, gal_diag *diag); /* err: takes all of it back */

#endif
