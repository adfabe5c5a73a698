/* tiny.h - whole trainings of a tiny model in a folder of the test. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_TRAIN_TINY_H
#define GAL_TESTS_TRAIN_TINY_H

#include "base/buf.h"
#include "galerne/train.h"

enum { STEPS = 8 };

extern char folder[256];

/* cmocka's group functions: text.txt of words, lines and documents, and byte.txt. */
int tiny_setup(void **state);
int tiny_teardown(void **state);

typedef struct listener {
    int64_t stop_at, kill_at; /* steps; 0: never */
    int64_t let_live;         /* so often a step kill_at is made before */
    int64_t step;
    double first_loss, first_norm, last_loss;
    gal_buf notes;
} listener;

/* Trains folder/name for STEPS steps, with settings separated by spaces; l may be NULL. */
gal_err train(const char *name, const char *settings, bool resume, bool extend, listener *l, gal_diag *diag);
/* The same, not resumed, in a process of its own that is killed right after a step, when it has been made `let_live`
 * times before (a run that returns makes steps again). */
void train_killed(const char *name, const char *settings, int64_t step, int64_t let_live);
void read_checkpoint(gal_buf *out, const char *name, int step, const char *file);
/* Weights and states of the last step, and the place in the text, are the same bytes. */
void same_end(const char *a, const char *b);

#endif
