/* generate.h - the loop from a prompt to a text: prefill, sample, decode, stop. Refuses an empty prompt of ids.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_INFER_GENERATE_H
#define GAL_INFER_GENERATE_H

#include "infer/session.h"
#include "infer/speculate.h"
#include "text/tokenizer.h"

/* What the loop works with. All is borrowed; tokenizer may be NULL: then there is no text, and no stop strings. */
typedef struct gal_generator {
    gal_engine *engine;
    const gal_tokenizer *tokenizer;
    int64_t vocab; /* rows of the head; ids from the tokenizer's size on are never drawn */
    const int32_t *eos;
    int32_t n_eos;
    /* Asked all the time; true ends with GAL_EINTERRUPTED in the prompt, with GAL_STOP_CALLER after it. NULL: never
     */
    gal_interrupt_fn stop;
    void *user; /* of stop */
    /* What sequence 0 of the engine holds, from call to call: a prompt that begins with the same ids is read from
     * where they part. Text is the same, but for the rounding of sums that are cut elsewhere. NULL: nothing is kept.
     */
    gal_ids *held;
    int64_t *kept;          /* gets how many of the prompt's ids were not read again; NULL: nobody asks */
    gal_speculation *ahead; /* of one generation; NULL: a token a step */
} gal_generator;

/* Ids of a prompt for a model: the tokenizer's, with its beginning of sequence in front where it has one. The one
 * place that adds one. */
gal_err gal_prompt_encode(const gal_tokenizer *t, const char *text, size_t bytes, gal_ids *ids, gal_diag *diag);

/* Empties sequence 0 of the engine (but for what g->held allows to keep), reads the prompt into it and continues it.
 * continues: the text goes on from the prompt's, so the first piece keeps its space. */
gal_err gal_generate(const gal_generator *g, const int32_t *ids, int64_t n, bool continues,
                     const gal_generate_options *options, gal_token_fn fn, void *user, gal_generate_result *result,
                     gal_diag *diag);

#endif
