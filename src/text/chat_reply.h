/* chat_reply.h - what a model answered: its token ids to text, thinking and calls of tools, as they come. Tokens tell
 * them apart, never their text: a "[TOOL_CALLS]" that was spelled is text (formats.md 5.7).
 *
 *   V2, V3, V7   text, then [TOOL_CALLS] and a JSON array of calls
 *   V11          text and [TOOL_CALLS] name [CALL_ID] id [ARGS] arguments, repeated
 *   V13, V15     the same without [CALL_ID]; [THINK] thinking [/THINK] between
 * V1 and templates that are not the family's have text alone. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_CHAT_REPLY_H
#define GAL_TEXT_CHAT_REPLY_H

#include "text/tokenizer.h"

typedef struct gal_reply gal_reply;

typedef enum gal_reply_kind {
    GAL_REPLY_TEXT,
    GAL_REPLY_THINKING,
    GAL_REPLY_CALL /* names and arguments, as they are spelled; for counting, not for showing */
} gal_reply_kind;

typedef struct gal_reply_options {
    int version;              /* of the template; 0: none of the family's */
    const char *const *stops; /* strings that end the text; copied */
    size_t stop_count;
    uint64_t seed; /* of the ids that calls get which come without one */
} gal_reply_options;

/* t is borrowed. */
gal_err gal_reply_new(gal_reply **out, const gal_tokenizer *t, const gal_reply_options *options, gal_diag *diag);
void gal_reply_free(gal_reply *r);

/* Whole characters of one kind; valid during the call. */
typedef void (*gal_reply_fn)(void *user, gal_reply_kind kind, const char *text, size_t n);
gal_err gal_reply_feed(gal_reply *r, int32_t id, gal_reply_fn fn, void *user, gal_diag *diag);
/* The end of the ids: what was held back comes, calls are read. */
gal_err gal_reply_end(gal_reply *r, gal_reply_fn fn, void *user, gal_diag *diag);

/* After the end. */
typedef struct gal_reply_call {
    const char *id, *name, *arguments; /* arguments: JSON text as the model spelled it */
} gal_reply_call;
size_t gal_reply_calls(const gal_reply *r);
gal_reply_call gal_reply_call_at(const gal_reply *r, size_t i);
/* What came after [TOOL_CALLS] and could not be read, which is part of the text then; NULL: nothing. */
const char *gal_reply_bad_call(const gal_reply *r);
/* Appends the answer as an assistant's message, as bodies have it (OpenAI; thinking as in Mistral's own). */
gal_err gal_reply_message(const gal_reply *r, gal_buf *json, gal_diag *diag);

#endif
