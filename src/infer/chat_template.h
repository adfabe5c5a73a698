/* chat_template.h - which template a model's conversations follow, and where it is written.
 *
 * Mistral's own (text/chat.h) where a file says it for sure: Tekken's config.version, a SentencePiece file's .vN,
 * control pieces that one version alone has. Else the model's own Jinja template: chat_template.jinja,
 * chat_template.json or tokenizer_config.json of a folder, tokenizer.chat_template of a GGUF file. Else what the
 * control pieces suggest. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_INFER_CHAT_TEMPLATE_H
#define GAL_INFER_CHAT_TEMPLATE_H

#include "text/chat_jinja.h"

typedef struct gal_chat_format gal_chat_format;

/* path: what the tokenizer was opened from: a folder, a GGUF file or a vocabulary's file. wanted NULL: by the rules
 * above; "V7": that one of Mistral's; "jinja": the model's own Jinja template; else a path that ends in .jinja.
 * GAL_EINPUT: nothing tells, or the file is not there. */
gal_err gal_chat_format_open(gal_chat_format **out, const gal_tokenizer *t, const char *path, const char *wanted,
                             gal_diag *diag);
void gal_chat_format_free(gal_chat_format *f);
/* "V7", or "jinja (tokenizer_config.json)"; never NULL. */
const char *gal_chat_format_name(const gal_chat_format *f);
/* The number of Mistral's template; 0: Jinja. */
int gal_chat_format_version(const gal_chat_format *f);
/* Whether two are the same template; the text of a Jinja one (for bodies without tools), empty: Mistral's. */
bool gal_chat_format_same(const gal_chat_format *a, const gal_chat_format *b);
const gal_buf *gal_chat_format_source(const gal_chat_format *f);
/* A body to ids (gal_chat_encode, or gal_chat_render with the time of now). Where a model has a template for tools
 * ("tool_use"), bodies with tools go by it. */
gal_err gal_chat_format_encode(const gal_chat_format *f, const gal_tokenizer *t, const char *body, size_t n,
                               gal_ids *ids, gal_chat_spans *spans, gal_diag *diag);
/* The same at a time of day, NULL: now. */
gal_err gal__chat_format_encode_at(const gal_chat_format *f, const gal_tokenizer *t, const struct tm *now,
                                   const char *body, size_t n, gal_ids *ids, gal_chat_spans *spans, gal_diag *diag);
/* The ids of a conversation whose messages are written one after another, without the brackets of their list; and of
 * one that the model is to answer with a text: what comes before it, less white space that a template ends in, and
 * all, in which it follows. */
gal_err gal_chat_format_messages(const gal_chat_format *f, const gal_tokenizer *t, const struct tm *now,
                                 const char *messages, gal_ids *ids, gal_diag *diag);
gal_err gal_chat_format_pair(const gal_chat_format *f, const gal_tokenizer *t, const struct tm *now,
                             const char *messages, const char *text, size_t n, gal_ids *before, gal_ids *all,
                             gal_diag *diag);
/* chat_answers.c   A conversation to learn from, which may end with an assistant's message: its ids, and for each of
 * them a byte, 1 where an assistant says it, the token that ends its message included. Both are emptied first.
 * GAL_EINPUT besides: the template cannot tell. */
gal_err gal_chat_format_learn(const gal_chat_format *f, const gal_tokenizer *t, const struct tm *now,
                              const char *body, size_t n, gal_ids *ids, gal_buf *answers, gal_diag *diag);

#endif
