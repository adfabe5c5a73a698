/* compare.h - two models on one text: how far the second one's distributions are from the first one's. The first is
 * the original, the second what was made of it, a quantised file for instance.
 *
 * At every token that counts, with p and q what the two say over all ids:
 *   KL(p || q) = sum p log(p / q)     nats that are lost by taking q for p; 0 only where they are equal
 *   top-1 agreement                   whether the same id is the most likely one
 * A perplexity says how well a model predicts this text, KL how much was changed: the second sees damage that the
 * first hides, because a change may make the text's own token more likely. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_COMPARE_H
#define GAL_EVAL_COMPARE_H

#include "eval/perplexity.h"

enum { GAL_COMPARE_WORST = 64, GAL_COMPARE_BEFORE = 24 };

/* A place where the two differ. */
typedef struct gal_compare_place {
    int64_t at; /* number of the token in the text */
    double kl;
    int32_t id;                         /* the text's token */
    double p[2];                        /* what each gives it */
    int32_t top[2];                     /* each one's most likely */
    double p_top[2];                    /* and what it gives that */
    int32_t before[GAL_COMPARE_BEFORE]; /* the tokens before it, the last one last */
    int32_t n_before;
} gal_compare_place;

typedef struct gal_comparison {
    gal_walk_options how;
    gal_walk_result walk;
    int64_t vocab;                              /* ids that both have a row for: probabilities are over these */
    gal_perplexity model[2];                    /* losses only; how and walk are above */
    double ratio, ratio_error;                  /* perplexity of the second / of the first */
    double kl, kl_error;                        /* mean over tokens */
    double median, p90, p99, p999, most;        /* of KL; percentiles lie between values, as numpy's do */
    double agree, agree_error;                  /* part of the tokens, 0 to 1 */
    double rms_dp;                              /* root mean square of the difference of the token's probability */
    gal_compare_place worst[GAL_COMPARE_WORST]; /* largest KL first */
    int32_t n_worst;
    size_t bad_bytes, first_bad;
} gal_comparison;

/* The tokenizer that both models' vocabularies agree on: *out is one of the two, or NULL if neither has one.
 * GAL_EINPUT says the first difference. */
gal_err gal_compare_tokenizer(const gal_tokenizer **out, const gal_tokenizer *a, const gal_tokenizer *b,
                              gal_diag *diag);

/* As gal_perplexity_of(). n_worst: how many places to keep. Four bytes a token are kept besides. result is large. */
gal_err gal_compare(gal_comparison *result, gal_dev *dev, const gal_model *const models[2], const gal_tokenizer *t,
                    const gal_eval_text *text, const gal_eval_options *options, int32_t n_worst, gal_diag *diag);

/* Sorted values of [n], n > 0; q from 0 to 1; linear between two values. */
double gal_quantile(const float *sorted, size_t n, double q);

#endif
