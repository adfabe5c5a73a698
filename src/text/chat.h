/* chat.h - a conversation to token ids, as the models of the family were trained on it: the templates V1 to V15 of
 * Mistral, token for token. Control tokens come from the template alone; text that spells one stays text.
 *
 *   body -> tree (json_tree) -> request (chat_parse.c) -> checked (chat_rules.c) -> joined (chat_join.c) -> ids
 * (chat.c)
 *
 * What the reference, mistral-common, rejects is rejected, with the place in the body. SPDX-License-Identifier:
 * Apache-2.0 */
#ifndef GAL_TEXT_CHAT_H
#define GAL_TEXT_CHAT_H

#include "text/tokenizer.h"

/* What a run of tokens is, for showing a prompt. */
typedef enum gal_chat_kind {
    GAL_CHAT_CONTROL,
    GAL_CHAT_SYSTEM,
    GAL_CHAT_USER,
    GAL_CHAT_ASSISTANT,
    GAL_CHAT_THINKING,
    GAL_CHAT_TOOLS, /* their definitions, and settings */
    GAL_CHAT_CALL,  /* names, ids and arguments */
    GAL_CHAT_RESULT,
    GAL_CHAT_LITERAL /* a Jinja template's own words */
} gal_chat_kind;

typedef struct gal_chat_span {
    size_t begin; /* in ids; it ends where the next begins */
    gal_chat_kind kind;
    bool answer; /* of gal_chat_encode_whole(): an assistant said it, the token that ends its message included */
} gal_chat_span;

/* {0} is an empty one. */
typedef struct gal_chat_spans {
    gal_chat_span *data;
    size_t len, cap;
} gal_chat_spans;
void gal_chat_spans_free(gal_chat_spans *s);

/* "V7" and "v7" to 7; 0 for what names no template. */
int gal_chat_template(const char *name);
/* The template of a vocabulary that was opened from path: what its file says (gal_tokenizer_told()), or the suffix of
 * a SentencePiece file's name ("tokenizer.model.v3"; none: 1). For folders and containers that say nothing, what the
 * vocabulary's control pieces tell; 0: nothing tells. */
int gal_chat_version(const gal_tokenizer *t, const char *path);
/* The same, and whether it is sure: it is said, or the control pieces are the list of one of the makers'
 * SentencePiece vocabularies. Else a model's own Jinja template is nearer to the truth. */
int gal_chat_guess(const gal_tokenizer *t, const char *path, bool *certain);

/* Appends the ids of an OpenAI-style body of n bytes: messages, tools, reasoning_effort and what else
 * docs/chat.md lists; or of {"prompt", "suffix"}, as gal_chat_fill() does. spans NULL: not wanted; otherwise its runs
 * are appended too. GAL_EINPUT with the reason for what the reference rejects; ids and spans keep their old length on
 * an error. */
gal_err gal_chat_encode(const gal_tokenizer *t, int version, const char *body, size_t n, gal_ids *ids,
                        gal_chat_spans *spans, gal_diag *diag);
/* The same of a conversation to learn from: it may end with an assistant's message, and that one's end is there. */
gal_err gal_chat_encode_whole(const gal_tokenizer *t, int version, const char *body, size_t n, gal_ids *ids,
                              gal_chat_spans *spans, gal_diag *diag);
/* Appends the prompt that asks for what is between two texts (fill in the middle), in models that were trained for
 * it. suffix_bytes 0: there is none. GAL_EINPUT: V1, or a vocabulary without [PREFIX] and [SUFFIX]. */
gal_err gal_chat_fill(const gal_tokenizer *t, int version, const char *prompt, size_t prompt_bytes,
                      const char *suffix, size_t suffix_bytes, gal_ids *ids, gal_diag *diag);

#endif
