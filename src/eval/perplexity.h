/* perplexity.h - how well a model predicts a text: nats per token, perplexity and bits per byte, each with its
 * standard error. The errors take the losses of the tokens for independent draws; in running text neighbours are
 * alike, so they are a lower bound. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_PERPLEXITY_H
#define GAL_EVAL_PERPLEXITY_H

#include "eval/moments.h"
#include "eval/walk.h"

/* Without other wishes a window of at most so many tokens, half of it as stride; llama.cpp's tool takes 512. */
enum { GAL_EVAL_CONTEXT = 2048, GAL_EVAL_LLAMA_CONTEXT = 512 };

/* Asked all the time: the share of the work that is done (0 to 1), tokens counted so far, and nats per token of
 * them; anything but 0 stops. */
typedef int (*gal_eval_progress)(void *user, double share, int64_t tokens, double nats);

typedef struct gal_eval_options {
    gal_convention convention;
    int64_t context, stride; /* 0: as above */
    bool no_bos;             /* not even where the vocabulary has one */
    int64_t max_tokens;      /* 0: all */
    gal_dtype compute;       /* f32 or bf16 */
    bool exact;              /* weights in blocks meet activations as they are */
    gal_eval_progress progress;
    void *user;
} gal_eval_options;

/* What is measured: a text, or its ids. */
typedef struct gal_eval_text {
    const char *text; /* NULL: ids are given */
    size_t bytes;
    const int32_t *ids;
    size_t n_ids;
} gal_eval_text;

/* The options with every choice made, for a model and its vocabulary (NULL: none; the model's BOS is taken). Ids that
 * are given begin with a BOS only if they hold one. GAL_EUSAGE for what cannot be. */
gal_err gal_eval_choose(gal_walk_options *out, const gal_eval_options *o, const gal_model *m, const gal_tokenizer *t,
                        gal_diag *diag);
/* The text's ids as the convention wants them. llama.cpp's tool drops one newline at the end of a file. */
gal_err gal_eval_source(gal_id_source **out, const gal_eval_text *text, const gal_walk_options *o,
                        const gal_tokenizer *t, gal_diag *diag);

typedef struct gal_perplexity {
    gal_walk_options how; /* as chosen */
    gal_walk_result walk;
    double nats, nats_error;             /* per token */
    double perplexity, perplexity_error; /* exp(nats) */
    double bits, bits_error;             /* per byte; NaN without a vocabulary */
    int64_t bytes;                       /* of text that the counted tokens stand for; 0 without a vocabulary */
    size_t bad_bytes, first_bad;         /* of the text: no UTF-8 */
} gal_perplexity;

/* dev, m (whose weights dev can read) and t (NULL: none, then text holds ids) are borrowed. When progress stops it,
 * the result is that of the tokens so far and result->walk.stopped is set. GAL_EFAIL: a logit is not finite. */
gal_err gal_perplexity_of(gal_perplexity *result, gal_dev *dev, const gal_model *m, const gal_tokenizer *t,
                          const gal_eval_text *text, const gal_eval_options *options, gal_diag *diag);

/* Bytes of text that token number `at` of a text stands for: the space that encoding put before the text is not the
 * text's. */
double gal_eval_bytes(const gal_tokenizer *t, const gal_walk_options *o, int32_t id, int64_t at);
/* Fills nats to bits_error from moments of (nats, bytes). */
void gal_perplexity_from(gal_perplexity *p, const gal_moments *m);
/* GAL_EFAIL: what the model said before token `at` has no finite logarithm. */
gal_err gal_eval_not_finite(const char *which, int64_t at, int32_t id, gal_diag *diag);

#endif
