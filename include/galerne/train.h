/* train.h - training a model from a YAML file, with a callback that hears how it goes. A training writes a run
 * directory: config.yaml (complete), tokenizer.model, data/, metrics.sqlite, log.txt, checkpoints/step-N/, plots/.
 *
 * Stable since 0.1. SPDX-License-Identifier: Apache-2.0 */
#ifndef GALERNE_TRAIN_H
#define GALERNE_TRAIN_H

#include "galerne/core.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum gal_train_event_kind {
    GAL_TRAIN_NOTE = 0, /* text: something worth a line */
    GAL_TRAIN_STEP = 1, /* after every step */
    GAL_TRAIN_EVAL = 2, /* after an evaluation: valid_nats, valid_bits_per_byte, path of its checkpoint */
    GAL_TRAIN_SAVED = 3 /* path: a checkpoint that is on disk now */
} gal_train_event_kind;

/* Valid during the callback. */
typedef struct gal_train_event {
    gal_train_event_kind kind;
    const char *text, *path; /* "" where they mean nothing */
    int64_t step, steps;     /* made so far, of the whole run */
    int64_t tokens;          /* read so far */
    double loss;             /* nats per token of this step */
    double bits_per_byte;    /* of this step, by the text's average of bytes a token */
    double lr, grad_norm;
    double tokens_per_s, left_s; /* over the last steps; left_s < 0: not known yet */
    double valid_nats, valid_bits_per_byte;
} gal_train_event;

typedef struct gal_train_options {
    const char *run; /* the run directory: made, or with resume taken up again */
    bool resume;
    bool extend; /* resume may change the length and the learning rate */
    void (*progress)(void *user, const gal_train_event *event); /* NULL: nobody listens */
    bool (*stop)(void *user); /* asked between steps; true: save and return GAL_EINTERRUPTED. NULL: never */
    void *user;
} gal_train_options;

/* Trains as the YAML file says, after `set` ("key=value", n_set of them) was applied. config NULL with
 * options->resume: the run's own. Errors: GAL_EUSAGE (one of `set` cannot be, or not beside other settings),
 * GAL_EINPUT (configuration, text, a run that is there already), GAL_ENOMEM (memory predicted or found too small),
 * GAL_EIO (disk), GAL_EINTERRUPTED (stopped, saved), GAL_EFAIL (losses that are no numbers, or spikes, more often
 * than the settings allow). */
GAL_API gal_err gal_train(const char *config, const char *const *set, size_t n_set, const gal_train_options *options,
                          gal_diag *diag);

#ifdef __cplusplus
}
#endif
#endif
