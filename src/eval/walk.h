/* walk.h - runs one or two models over a text, window by window (window.h), and hands out the logits of the rows that
 * count. Two models go in lockstep, a few rows at a time: nothing but these rows is kept. Owns the engines.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_WALK_H
#define GAL_EVAL_WALK_H

#include "eval/ids.h"
#include "eval/window.h"
#include "infer/session.h"

/* Most models, and most rows handed out at a time. */
enum { GAL_WALK_MODELS = 2, GAL_WALK_ROWS = 512 };

typedef struct gal_walk_options {
    gal_windows windows;
    int32_t bos;        /* id; -1: none, then windows.bos is false */
    int64_t max_tokens; /* count at most so many; 0: all. llama.cpp's convention rounds up to whole windows */
    gal_dtype compute;  /* of activations; keys and values stay f32 */
    bool exact;         /* weights in blocks: as gal_engine_options says */
} gal_walk_options;

/* n consecutive tokens that count, and what each model said where they were to come. */
typedef struct gal_walk_rows {
    const float *logits[GAL_WALK_MODELS]; /* [n, V of the model] */
    const int32_t *ids;                   /* [n]; ids[-1] and so on are those before */
    int64_t n, before;                    /* how many before there are */
    int64_t at;                           /* number of the first token in the text, from 0 */
} gal_walk_rows;
typedef gal_err (*gal_walk_fn)(void *user, const gal_walk_rows *rows, gal_diag *diag);

typedef struct gal_walk_result {
    int64_t tokens, windows; /* counted; begun */
    int64_t text_tokens;     /* of the text as far as it was read, a BOS before it included */
    bool whole;              /* every token of the text was counted */
    bool stopped;            /* by progress */
} gal_walk_result;

/* Asked all the time with the share of the work that is done, 0 to 1; anything but 0 stops. */
typedef int (*gal_walk_progress)(void *user, double share, int64_t tokens);

/* dev and models are borrowed. GAL_EINPUT: nothing to count, an id that a model has no row for (V: ids from it on are
 * refused); GAL_ENOMEM: a context beyond what a model or the memory allows. */
gal_err gal_walk(gal_dev *dev, const gal_model *const *models, size_t n_models, int64_t V, gal_id_source *ids,
                 const gal_walk_options *options, gal_walk_fn fn, gal_walk_progress progress, void *user,
                 gal_walk_result *result, gal_diag *diag);

/* What eval/ computes of a row of logits in double: log(sum(exp(logits))). NaN if some are, or are +infinity. */
double gal_log_sum_exp(const float *logits, int64_t V);

#endif
