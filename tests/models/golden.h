/* golden.h - a model folder with the reference's answers beside it (tests/golden/README.md), and running steps on it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_MODELS_GOLDEN_H
#define GAL_TESTS_MODELS_GOLDEN_H

#include "models/model.h"
#include "support/npz.h"

typedef struct golden {
    gal_model *m;
    npz z;
    int64_t B, T, V, D, L;
    const int64_t *ids;  /* [B, T] */
    const float *logits; /* [B, T, V] */
} golden;

/* Fails the running test on any error. */
void golden_open(golden *g, const char *folder);
void golden_close(golden *g);
/* The array of that name, checked against the shape; NULL if the file has none. */
const float *golden_floats(const golden *g, const char *name, int ndim, const int64_t *dim);

/* Fills rows from st->n on with `n` tokens of one document at positions pos..; seq is the cached sequence. */
void golden_rows(gal_step *st, const int64_t *ids, int64_t n, int64_t pos, int32_t seq);
/* One step without gradients: the logits of all its rows into out [st->n, V]. */
void golden_logits(gal_ctx *cx, const golden *g, const gal_step *st, float *out);
/* Largest |a - b|; *at gets its place. */
double largest_difference(const float *a, const float *b, int64_t n, int64_t *at);

#endif
