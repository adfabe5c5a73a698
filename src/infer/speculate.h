/* speculate.h - tokens guessed ahead, so that the model checks several in one step instead of making them one by one.
 *
 * What comes out is what the model alone would give: a proposer only decides how many steps that takes. Where a token
 * is the only possible one (temperature 0) the guess is right or wrong. Else a guess x that was drawn from q stays
 * with probability min(1, p(x) / q(x)), p being what the sampler leaves of the model's own distribution, and where it
 * goes the token is drawn from max(0, p - q), renormalised: then every token has its probability p
 * (arXiv:2211.17192, appendix A; arXiv:2302.01318). A guess that was not drawn, as of look-up, has q = 1: it stays if
 * the token that is drawn from p as ever happens to be it, which is the same rule, and the text of a seed stays, too.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_INFER_SPECULATE_H
#define GAL_INFER_SPECULATE_H

#include "infer/sample.h"
#include "infer/session.h"
#include "text/tokenizer.h"

enum { GAL_GUESS_MOST = GAL_TRY_MOST - 1, GAL_GUESS_DEFAULT = 7 };

/* What may come next. */
typedef struct gal_guess {
    int64_t n;
    int32_t ids[GAL_GUESS_MOST];
    /* What ids[i] was drawn from, [allowed of the sampler], valid until the next guess; NULL: it was not drawn. */
    const double *q[GAL_GUESS_MOST];
} gal_guess;

/* Where guesses come from. The struct begins an implementation's own. */
typedef struct gal_proposer gal_proposer;
struct gal_proposer {
    bool draws; /* guesses have a q */
    /* At most `most` > 0 tokens that may follow text [n], n > 0, which begins with what it was when it was asked
     * before; out->n may be 0. */
    gal_err (*guess)(gal_proposer *self, const int32_t *text, int64_t n, int64_t most, gal_guess *out,
                     gal_diag *diag);
    void (*free)(gal_proposer *self);
};

/* What followed the last place where the text had its last few tokens: GAL_LOOKUP_FEWEST at least, as many as there
 * are up to GAL_LOOKUP_MOST. Where that place is near, it goes on with its own guesses: a text that repeats itself.
 */
enum { GAL_LOOKUP_FEWEST = 2, GAL_LOOKUP_MOST = 16 };
gal_err gal_lookup_new(gal_proposer **out, gal_diag *diag);

/* A smaller model with the same vocabulary. All is borrowed; sequence 0 of the engine is its own, held says what that
 * holds from one proposer to the next. how: the sampling of the model that checks. */
typedef struct gal_draft_parts {
    gal_engine *engine;
    int64_t vocab;   /* rows of its head */
    int64_t allowed; /* of the sampler of the model that checks */
    const gal_sampling *how;
    gal_ids *held;
    gal_interrupt_fn stop;
    void *user; /* of stop */
} gal_draft_parts;
gal_err gal_draft_new(gal_proposer **out, const gal_draft_parts *parts, gal_diag *diag);

/* The rule above: whether a guess x with q(x) > 0 stays; *id: the token. u: two independent numbers from [0, 1). */
bool gal_guess_stays(const double *p, const double *q, int64_t n, int32_t x, const double u[2], int32_t *id);

/* How much is guessed: longer after guesses that were right to the end, shorter after others, for a while nothing at
 * all where the first one is hardly ever right, so that a text that cannot be guessed costs little. It depends on
 * nothing but what was right before: the same seed gives the same text. */
typedef struct gal_speculation {
    gal_proposer *from; /* owned */
    int64_t most;       /* tokens at once, 1 to GAL_GUESS_MOST */
    int64_t length, rest, pause;
    double hope; /* that the first guess is right */
    int64_t proposed, accepted;
    double *p; /* [allowed] room; NULL where guesses are not drawn */
} gal_speculation;

/* Takes `from`, also on failure. */
gal_err gal_speculation_init(gal_speculation *s, gal_proposer *from, int64_t most, int64_t allowed, gal_diag *diag);
void gal_speculation_free(gal_speculation *s);
/* Guesses what follows text [n]; most: what there is room for, 0 is allowed. */
gal_err gal_speculation_guess(gal_speculation *s, const int32_t *text, int64_t n, int64_t most, gal_guess *out,
                              gal_diag *diag);
/* Says how many of the last guess's n > 0 tokens stayed. */
void gal_speculation_learn(gal_speculation *s, int64_t n, int64_t stayed);
/* The token at a position, given its logits: guess i of g, or another one; i may be g->n: then there is no guess. */
gal_err gal_speculation_check(gal_speculation *s, gal_sampler *sampler, uint64_t seed, const float *logits,
                              int64_t position, const gal_guess *g, int64_t i, int32_t *id, bool *stays,
                              gal_diag *diag);

#endif
