/* run.h - trainings as processes of their own: started, stopped, killed, and compared. Every path is below `spot`, a
 * folder of this test. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_CRASH_RUN_H
#define GAL_TESTS_CRASH_RUN_H

#include "support/check.h"

#include <stdbool.h>
#include <sys/types.h>

extern char spot[256];

/* Makes `spot` with text.txt and c.yaml: a model that makes a step in a millisecond or so. cmocka's group functions.
 */
int spot_setup(void **state);
int spot_teardown(void **state);

/* "spot/NAME"; the last eight results stay valid. */
const char *at(const char *fmt, ...) GAL_PRINTF(1, 2);
bool exists(const char *path);

/* Starts the program with words separated by spaces, in `spot`; what it prints goes to spot/out. */
pid_t start(const char *words);
/* The exit code; 1000 + N after signal N. */
int finish(pid_t pid);
int run(const char *words);
/* What the last process printed. */
const char *output(void);

void sleep_s(double s);
/* Waits until the run's log holds the text; fails after a minute or when the process has ended. */
void wait_for_log(pid_t pid, const char *run, const char *text);
bool log_holds(const char *run, const char *text);
/* SIGSTOP, and waits until it stands still. False: it has ended instead, and finish() tells how. */
bool stop(pid_t pid);

/* Newest step-N of a run, -1: none. Fails unless every step-N equals that of the run `whole`. */
long check_checkpoints(const char *run, const char *whole);
/* The checkpoint of the step is the same. */
void same_end(const char *run, const char *whole, long step);
/* That, no later one, evaluations and every step's loss, rate and norm are the same; nothing unfinished lies about.
 */
void same_run(const char *run, const char *whole, long step);
/* Entries of a run whose names say that they are temporary. */
int leftovers(const char *run);

#endif
