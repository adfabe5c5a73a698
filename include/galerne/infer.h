/* infer.h - text from a model: generation with a callback, and plain logits.
 * Stable since 0.1. SPDX-License-Identifier: Apache-2.0 */
#ifndef GALERNE_INFER_H
#define GALERNE_INFER_H

#include "galerne/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the next token is chosen: repetition penalty, then temperature, top_k, top_p, min_p, then a draw that depends
 * on the seed and the token's position alone. */
typedef struct gal_sampling {
    double temperature;        /* 0: always the most likely token */
    int64_t top_k;             /* only the k most likely; 0: all */
    double top_p;              /* only the most likely that sum to p, in (0, 1]; 1: all */
    double min_p;              /* only those at least min_p times as likely as the first, in [0, 1] */
    double repetition_penalty; /* above 1 makes tokens that occurred less likely; 1: none */
    uint64_t seed;
} gal_sampling;

/* Begin with gal_generate_options_init(). */
typedef struct gal_generate_options {
    gal_sampling sampling;
    int64_t max_tokens;       /* at most this many new tokens */
    const char *const *stops; /* strings that end the text and are not part of it */
    size_t n_stops;
    int ignore_eos; /* 1: go on after an end-of-sequence token */
} gal_generate_options;

/* What the model's makers say (generation_config.json, or general.sampling.* of a GGUF file), else temperature 0.7
 * and 256 tokens. */
GAL_API void gal_generate_options_init(gal_generate_options *options, const gal_lm *lm);

typedef enum gal_stop_reason {
    GAL_STOP_EOS,     /* the model ended the text */
    GAL_STOP_STRING,  /* a stop string was met */
    GAL_STOP_TOKENS,  /* max_tokens */
    GAL_STOP_CONTEXT, /* the context is full */
    GAL_STOP_CALLER   /* the callback said so */
} gal_stop_reason;

typedef struct gal_generate_result {
    int64_t prompt_tokens, tokens; /* tokens: generated ones, without an end of sequence */
    double prompt_s, generate_s;   /* seconds */
    gal_stop_reason stop;
    int64_t passes;             /* steps of the model after the prompt; without speculation one for each token, and an
                                 * end of sequence, but the first, which comes with the prompt */
    int64_t proposed, accepted; /* tokens guessed ahead, and those of them that were right */
} gal_generate_result;

/* One new token and the bytes of text that may be shown because of it: whole characters, often none, and none at all
 * without a tokenizer; valid during the call. id -1: what was held back comes at the end. Anything but 0 stops. */
typedef int (*gal_token_fn)(void *user, int32_t id, const char *text, size_t bytes);

/* The name of a reason to stop: "eos", "string", "tokens", "context", "caller". */
GAL_API const char *gal_stop_reason_name(gal_stop_reason stop);

/* Continues a prompt. Its ids begin with the model's beginning-of-sequence token, where it has one; this is the only
 * place in galerne that adds one before a model. An empty prompt is a prompt of that token alone. GAL_EINPUT if there
 * is no tokenizer; GAL_ENOMEM if the prompt does not fit into the context. result may be NULL. */
GAL_API gal_err gal_lm_generate(gal_lm *lm, const char *prompt, size_t bytes, const gal_generate_options *options,
                                gal_token_fn fn, void *user, gal_generate_result *result, gal_diag *diag);
/* The same from ids, which are used as given; count > 0. */
GAL_API gal_err gal_lm_generate_ids(gal_lm *lm, const int32_t *ids, size_t count, const gal_generate_options *options,
                                    gal_token_fn fn, void *user, gal_generate_result *result, gal_diag *diag);

/* Logits of the token after each id: rows of info.vocab floats come in order, a few at a time, valid during the call.
 * Another value than GAL_OK from fn ends the call with it. Ids are used as given; count > 0. */
typedef gal_err (*gal_logits_fn)(void *user, const float *rows, int64_t n_rows, gal_diag *diag);
GAL_API gal_err gal_lm_logits(gal_lm *lm, const int32_t *ids, size_t count, gal_logits_fn fn, void *user,
                              gal_diag *diag);

/* What is wrong with the model's weights although it opened: a line for each tensor with numbers that are not finite
 * (which, how many, where the first is); NULL after the last. Small models are looked at when they open, larger ones
 * when a logit turns out not to be finite. Valid until the next call with lm. */
GAL_API const char *gal_lm_warning(const gal_lm *lm, size_t i);

#ifdef __cplusplus
}
#endif
#endif
