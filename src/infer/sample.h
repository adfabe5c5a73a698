/* sample.h - from logits to the next token.
 *
 * Order, as users of transformers expect it:
 *   1. repetition penalty: logits of tokens already seen are divided by it where positive, multiplied where negative
 *   2. temperature: logits / temperature; 0 takes the largest logit and ends here
 *   3. top_k: only the k largest stay
 *   4. top_p: of these the shortest list of the largest whose probabilities, renormalised, sum to at least p
 *   5. min_p: of these the ones with at least min_p times the probability of the largest
 *   6. a draw from what is left, renormalised
 * Sums are in double. Equal logits are ordered by id, lower first. A draw is a function of (seed, position) alone.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_INFER_SAMPLE_H
#define GAL_INFER_SAMPLE_H

#include "base/err.h"
#include "galerne/infer.h"

typedef struct gal_sampler gal_sampler;

void gal_sampling_defaults(gal_sampling *s); /* temperature 0.7, top_p 1, nothing else; seed 0 */
/* GAL_EUSAGE for a value outside its range. */
gal_err gal_sampling_check(const gal_sampling *s, gal_diag *diag);

/* vocab: logits per call. allowed: ids from it on are never drawn (rows of the head without a token), <= vocab. */
gal_err gal_sampler_new(gal_sampler **out, int64_t vocab, int64_t allowed, const gal_sampling *how, gal_diag *diag);
void gal_sampler_free(gal_sampler *s);
/* Counts a token, of the prompt or drawn, for the repetition penalty. False: it was counted before. */
bool gal_sampler_saw(gal_sampler *s, int32_t id);
void gal_sampler_unsee(gal_sampler *s, int32_t id); /* as if it had not been counted */
void gal_sampler_forget(gal_sampler *s);
/* The next token given logits [vocab]; position: its place in the sequence. GAL_EFAIL if a logit is not a number. */
gal_err gal_sample(gal_sampler *s, const float *logits, int64_t position, int32_t *id, gal_diag *diag);
/* What gal_sample() draws from: p [allowed], which sums to 1; all of it on one token where nothing is left to chance.
 * id, unless NULL, gets what is drawn. Errors as there. */
gal_err gal_sampler_spread(gal_sampler *s, const float *logits, int64_t position, double *p, int32_t *id,
                           gal_diag *diag);
bool gal_sampler_greedy(const gal_sampler *s);     /* nothing is ever left to chance */
int64_t gal_sampler_allowed(const gal_sampler *s); /* ids that may be drawn */

#endif
