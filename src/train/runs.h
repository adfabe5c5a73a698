/* runs.h - run directories from outside: where they are, whether one is at work, its metrics. Changes nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TRAIN_RUNS_H
#define GAL_TRAIN_RUNS_H

#include "train/metrics.h"

/* A folder with metrics.sqlite or config.yaml in it. */
bool gal_is_run(const char *path);
/* Opens a run's metrics to read them. GAL_EINPUT: it has none, or they are damaged. */
gal_err gal_run_metrics(gal_metrics **m, const char *run, gal_diag *diag);
/* The fact `state` into text (cut to fit): running, finished, stopped, or "" before the first step. A run that says
 * that it is running, and that nobody holds, was killed or has failed: broken. */
gal_err gal_run_state(gal_metrics *m, const char *run, char *text, size_t bytes, gal_diag *diag);

typedef struct gal_run_list {
    char **paths; /* owned, sorted within each place */
    size_t n, cap;
    size_t left_out; /* beyond GAL_RUNS_MOST */
} gal_run_list;

enum { GAL_RUNS_MOST = 1000 };
/* Appends the runs at a place: itself, if it is one; otherwise those in it and in its folders (a sweep's). Folders
 * that cannot be read, and hidden ones, are passed over; GAL_EINPUT if the place is no folder. */
gal_err gal_runs_find(gal_run_list *list, const char *place, gal_diag *diag);
void gal_run_list_free(gal_run_list *list);

#endif
