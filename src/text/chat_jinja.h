/* chat_jinja.h - a conversation to token ids by a model's own Jinja template (text/jinja.h), for models whose
 * template is none of Mistral's. Control tokens come from the template alone; text that spells one stays text.
 *
 * Where the ids come from: the template's own text is cut at the vocabulary's control pieces, the longest at each
 * place; everything between two of them, whoever wrote it, is encoded as one text. BOS stands once at the beginning:
 * the one of the template, or where it writes none, the one that the vocabulary asks for. docs/chat.md has the rest.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_CHAT_JINJA_H
#define GAL_TEXT_CHAT_JINJA_H

#include "text/chat.h"

#include <time.h>

/* How a rendered conversation ends. */
typedef struct gal_chat_tail {
    bool strip;       /* without the white space at its end */
    const char *text; /* goes on with n bytes that the model says; may be NULL */
    size_t n;
} gal_chat_tail;

typedef struct gal_chat_jinja {
    const char *source; /* the template, n bytes of UTF-8 */
    size_t n;
    const char *name; /* for messages: where it stands; NULL: "template" */
    /* add_generation_prompt. {0} is the usual case: true, unless the last message is the assistant's and to be
     * continued, or the body says otherwise ("add_generation_prompt": false). */
    bool no_prompt;
    const char *variables; /* a JSON object of more variables, as chat_template_kwargs; NULL: none. The body's win. */
    const struct tm *now;  /* for strftime_now(); NULL: a template that asks for the date is refused */
    const gal_chat_tail *tail; /* NULL: it ends as the template has it */
} gal_chat_jinja;

/* Appends the ids of an OpenAI-style body, as gal_chat_encode() does: messages, tools, documents,
 * add_generation_prompt, reasoning_effort, chat_template_kwargs. spans NULL: not wanted. On an error ids and spans
 * keep their old length. GAL_EINPUT: the body, or what the template says about it (raise_exception), or a template
 * that we do not understand or that takes too long. */
gal_err gal_chat_render(const gal_tokenizer *t, const gal_chat_jinja *how, const char *body, size_t n, gal_ids *ids,
                        gal_chat_spans *spans, gal_diag *diag);
/* The same as text, control tokens spelled. */
gal_err gal_chat_render_text(const gal_tokenizer *t, const gal_chat_jinja *how, const char *body, size_t n,
                             gal_buf *out, gal_diag *diag);

#endif
