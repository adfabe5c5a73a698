/* metrics.h - metrics.sqlite of a run: facts, one row a step, one row an evaluation. Rows are held back in memory and
 * written together about once a second; whoever reads meanwhile never stops a training. SPDX-License-Identifier:
 * Apache-2.0 */
#ifndef GAL_TRAIN_METRICS_H
#define GAL_TRAIN_METRICS_H

#include "base/err.h"

typedef struct gal_metrics gal_metrics;

typedef struct gal_metric_step {
    int64_t step, tokens;
    double loss, lr, grad_norm, tokens_per_s, time_s; /* nats per token; time: Unix */
} gal_metric_step;

/* Rows of text that a step read: `rows` of them from row `row` of the epoch on; of a mixture, whose sources have
 * epochs of their own, row counts all of its rows and epoch is 0. */
typedef struct gal_metric_sample {
    int64_t step, epoch, row, rows, returns; /* returns of the run before it */
} gal_metric_sample;

typedef struct gal_metric_spike {
    int64_t number, step; /* number: from 1, each once */
    int64_t epoch, row, rows;
    double loss, grad_norm, limit; /* what is no number is NULL in the file */
    char reason[48], action[48];
} gal_metric_spike;

/* A setting that may change when a run is taken up, and from which step on it had the value; returns: of the run
 * before that, whose steps after a return count anew. */
typedef struct gal_metric_setting {
    int64_t returns, since;
    char key[48], value[80];
} gal_metric_setting;

typedef struct gal_metric_norm {
    char part[160]; /* "layers.3", or a weight outside of the layers */
    double grad, update;
} gal_metric_norm;

typedef struct gal_metric_eval {
    int64_t step, tokens, bytes;
    double nats, bits_per_byte, time_s;
    /* What was scored: only losses of one set are compared. rows 0: not told (a file of before these were kept). */
    int64_t rows;
    bool average; /* the average of the weights */
} gal_metric_eval;

/* write: makes the file and its tables; otherwise the file must be there and is only read (what a killed writer left
 * half done is undone first). GAL_EINPUT: it is damaged. */
gal_err gal_metrics_open(gal_metrics **out, const char *path, bool write, gal_diag *diag);
void gal_metrics_close(gal_metrics *m); /* what is held back is lost: gal_metrics_flush() first */
gal_err gal_metrics_fact(gal_metrics *m, const char *key, const char *value, gal_diag *diag);
/* Copies the fact into value (cut to fit); "" if there is none. */
void gal_metrics_get_fact(gal_metrics *m, const char *key, char *value, size_t bytes);
/* A row of a step that is there already is replaced. */
gal_err gal_metrics_step(gal_metrics *m, const gal_metric_step *row, gal_diag *diag);
/* How a layer's tokens were spread over its experts in a step (table loads): the part of choices that found no place,
 * the fullest and the emptiest expert as multiples of an even share, iterations of a plan. Means over tokens: of the
 * probability of what was chosen, and of the entropy in nats of what it was chosen from (table choices; NAN: no row);
 * of the square of what a baseline was off by, in nats (table baselines; NAN: no row). */
typedef struct gal_metric_load {
    int64_t step, layer;
    double dropped, most, least, iterations, probability, entropy, square_error;
} gal_metric_load;
gal_err gal_metrics_load(gal_metrics *m, const gal_metric_load *row, gal_diag *diag);
/* The losses of a step's routers (table routers), where there are experts. */
gal_err gal_metrics_routers(gal_metrics *m, int64_t step, double balance, double z, gal_diag *diag);
gal_err gal_metrics_sample(gal_metrics *m, const gal_metric_sample *row, gal_diag *diag);
gal_err gal_metrics_spike(gal_metrics *m, const gal_metric_spike *row, gal_diag *diag);
gal_err gal_metrics_norm(gal_metrics *m, int64_t step, const gal_metric_norm *row, gal_diag *diag);
gal_err gal_metrics_setting(gal_metrics *m, const gal_metric_setting *row, gal_diag *diag);
gal_err gal_metrics_eval(gal_metrics *m, const gal_metric_eval *row, gal_diag *diag);
/* GAL_EBUSY: another program kept the file for five seconds; the rows are held back further. */
gal_err gal_metrics_flush(gal_metrics *m, gal_diag *diag);
/* Forgets rows after a step, when a run is taken up again from there; spikes only with the second, which keeps the
 * first `count` of them. */
gal_err gal_metrics_cut(gal_metrics *m, int64_t step, gal_diag *diag);
gal_err gal_metrics_cut_spikes(gal_metrics *m, int64_t count, gal_diag *diag);
/* ... and settings only with this one: those of later than step `since` after so many returns. */
gal_err gal_metrics_cut_settings(gal_metrics *m, int64_t returns, int64_t since, gal_diag *diag);
/* All rows in order of steps; the caller frees *rows with gal_free(). */
gal_err gal_metrics_steps(gal_metrics *m, gal_metric_step **rows, size_t *count, gal_diag *diag);
/* Of the steps from `first` to `last`, in their order. What is not in the file, which may be from before such rows
 * were kept, is left out; the same below. */
gal_err gal_metrics_samples(gal_metrics *m, int64_t first, int64_t last, gal_metric_sample **rows, size_t *count,
                            gal_diag *diag);
/* All, in the order of time: of the ways that the run returned from, too. */
gal_err gal_metrics_spikes(gal_metrics *m, gal_metric_spike **rows, size_t *count, gal_diag *diag);
/* Of one step. */
gal_err gal_metrics_norms_of(gal_metrics *m, int64_t step, gal_metric_norm **rows, size_t *count, gal_diag *diag);
gal_err gal_metrics_evals(gal_metrics *m, gal_metric_eval **rows, size_t *count, gal_diag *diag);
/* The least loss of those that scored what `like` did (NULL: what the newest did); NULL if there is none. */
const gal_metric_eval *gal_metrics_best(const gal_metric_eval *rows, size_t n, const gal_metric_eval *like);
/* In the order of time. */
gal_err gal_metrics_settings(gal_metrics *m, gal_metric_setting **rows, size_t *count, gal_diag *diag);
/* The last step alone; *any: there is one. */
gal_err gal_metrics_last(gal_metrics *m, gal_metric_step *row, bool *any, gal_diag *diag);

#endif
