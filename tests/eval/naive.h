/* naive.h - what the windows mean, the slow way: each token's loss from a forward pass of its own over the very ids
 * that the model may see before it. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_EVAL_NAIVE_H
#define GAL_TESTS_EVAL_NAIVE_H

#include "eval/perplexity.h"

/* Logits [V] after BOS (if bos >= 0; replaced: in place of the first id) and ids [from, at). */
void naive_row(gal_dev *dev, const gal_model *m, const int32_t *ids, int64_t from, int64_t at, int32_t bos,
               bool replaced, float *row);
/* Where the context of token `at` begins; -1: it does not count. */
int64_t naive_from(const gal_walk_options *o, int64_t at, int64_t n);
/* -log softmax(row)[id], in long double. */
double naive_loss(const float *row, int64_t V, int32_t id);

#endif
