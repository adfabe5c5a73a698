/* measures.h - from answers to numbers with their errors.
 *
 * Of parts that are right: the mean, its standard error (sample deviation / sqrt(n), as lm-evaluation-harness), and
 * Wilson's interval, which is of use at 0 and 1, too. Of perplexities and bits per byte, ratios of sums: bootstrap
 * over questions, drawn by (seed, draw, place) alone, 2.5 to 97.5 percent. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_MEASURES_H
#define GAL_EVAL_MEASURES_H

#include "eval/answers.h"
#include "eval/task.h"

enum { GAL_MEASURES_MOST = 8 };

typedef struct gal_measure {
    const char *name;
    double value, error, low, high; /* NaN: not known */
} gal_measure;

typedef struct gal_measures {
    gal_measure v[GAL_MEASURES_MOST];
    size_t n;
    int64_t questions; /* that are known */
} gal_measures;

/* Of the questions among n that are known; none if there are none. */
gal_err gal_measure_answers(gal_measures *out, const gal_task *t, const gal_answer *answers, int64_t n,
                            gal_diag *diag);
/* The choice that a way of comparing takes: the largest, the first of equals. */
int64_t gal_answer_choice(const gal_answer *a, gal_scoring how);

#endif
