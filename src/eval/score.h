/* score.h - runs the parts of questions through a model, several side by side: how likely their ids are, or what the
 * model says after them. Owns the engine.
 *
 * A row's bytes follow from the ids before it alone (gal_engine_many()), so results do not depend on how many
 * parts go side by side, in which order, on what they share, or on the number of threads. What parts have in common
 * at their beginning is computed once and copied: shots that stand before all questions, a prompt that stands before
 * all choices. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_SCORE_H
#define GAL_EVAL_SCORE_H

#include "eval/questions.h"
#include "infer/session.h"

enum { GAL_SCORE_BATCH = GAL_TRY_MOST }; /* most parts side by side */

typedef struct gal_scored {
    double loglikelihood;
    bool greedy; /* each id is the most likely one where it stands */
} gal_scored;

typedef struct gal_score_options {
    gal_dtype compute;
    bool exact;
    int64_t batch, context; /* side by side, 1 to GAL_SCORE_BATCH; most rows of a part */
    gal_interrupt_fn stop;  /* asked all the time; true ends with GAL_EINTERRUPTED */
    void *user;
} gal_score_options;

typedef struct gal_scorer gal_scorer;

/* dev and m are borrowed. Where memory does not hold the caches of so many, fewer go side by side. */
gal_err gal_scorer_new(gal_scorer **out, gal_dev *dev, const gal_model *m, const gal_score_options *options,
                       gal_diag *diag);
void gal_scorer_free(gal_scorer *s);
int64_t gal_scorer_batch(const gal_scorer *s); /* what memory allowed */
int64_t gal_scorer_rows(const gal_scorer *s);  /* computed so far */

/* results [n], in the order of the parts. GAL_EFAIL: logits that are not finite. After an error a scorer can only be
 * freed. */
gal_err gal_scorer_run(gal_scorer *s, const gal_part *const *parts, size_t n, gal_scored *results, gal_diag *diag);

typedef struct gal_say_options {
    const gal_tokenizer *t;
    const int32_t *eos;
    int32_t n_eos;
    int64_t max_tokens;
    const gal_strings *until;
} gal_say_options;
/* What the model says after each part, always the most likely token, to an end of sequence, a text of `until` or
 * max_tokens; texts [n] are appended to, tokens [n] get how many there were. */
gal_err gal_scorer_say(gal_scorer *s, const gal_part *const *parts, size_t n, const gal_say_options *how,
                       gal_buf *texts, int64_t *tokens, gal_diag *diag);

#endif
