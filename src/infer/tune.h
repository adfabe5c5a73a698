/* tune.h - with how many threads a model computes fastest on this machine: tried, and remembered in a small file.
 *
 * A line of the file is "KEY THREADS", KEY 16 hexadecimal digits for the machine, the level of kernels and the
 * model's shape. What is no such line is passed over. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_INFER_TUNE_H
#define GAL_INFER_TUNE_H

#include "base/topology.h"
#include "galerne/infer.h"
#include "models/model.h"

enum { GAL_TUNE_KEY = 17, GAL_TUNE_TRIES = 24 };

/* level: of the kernels ("avx2"). root as in base/sysfile.h: the machine's own is "". */
void gal_tune_key(char key[GAL_TUNE_KEY], const gal_model *m, const char *level, const char *root);

/* What is worth trying on a machine: 1, 2, 4, ... up to its fast cores, those, and all processors; returns how many.
 */
size_t gal_tune_counts(int counts[GAL_TUNE_TRIES], const gal_topology *t);

/* Seconds of a fixed piece of work on the model at path with so many threads, its fastest turn: a short prompt, then
 * more of decoding. */
gal_err gal_tune_measure(double *seconds, const char *path, const gal_lm_options *o, int threads, gal_diag *diag);
/* Tries all counts, tells of each, *best is the fastest; a larger one has to be faster by a fiftieth. interrupted is
 * asked in between; GAL_EINTERRUPTED. Both may be NULL. */
typedef struct gal_tune_watch {
    void (*tried)(void *user, int threads, double seconds);
    bool (*interrupted)(void *user);
    void *user;
} gal_tune_watch;
gal_err gal_tune_model(int *best, const char *path, const gal_lm_options *o, const gal_topology *t,
                       const gal_tune_watch *watch, gal_diag *diag);

/* 0: nothing is remembered, or there is no such file. */
int gal_tune_recall(const char *path, const char *key);
/* Rewrites the file with this line first, the others of before behind, as far as there is room. */
gal_err gal_tune_remember(const char *path, const char *key, int threads, gal_diag *diag);

#endif
