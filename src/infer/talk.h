/* talk.h - a conversation with a model: its messages, what the cache holds of them, and the next answer.
 *
 * Messages are kept as the JSON objects that bodies of the OpenAI-style interface have, and each answer is asked for
 * with the ids of the whole conversation, by the template of the model; what the cache already holds of these ids is
 * not read again. Nothing is ever left out silently. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_INFER_TALK_H
#define GAL_INFER_TALK_H

#include "infer/lm.h"
#include "text/chat.h"
#include "text/chat_reply.h"

typedef struct gal_talk gal_talk;

/* lm is borrowed, and its cache belongs to the conversation. template: "V7", or NULL for what the model says; path:
 * the MODEL operand, whose name may say it. GAL_EINPUT if nothing says it, or there is no tokenizer. */
gal_err gal_talk_new(gal_talk **out, gal_lm *lm, const char *path, const char *template, gal_diag *diag);
void gal_talk_free(gal_talk *c);
/* "V7"; what stands in messages. */
const char *gal_talk_template_name(const gal_talk *c);
/* Whether the model's own tokens tell thinking from text. */
bool gal_talk_thinks(const gal_talk *c);

/* ---- messages -----------------------------------------------------------------------------------------------------
 */

size_t gal_talk_count(const gal_talk *c);
const char *gal_talk_role(const gal_talk *c, size_t i);
const char *gal_talk_json(const gal_talk *c, size_t i);
/* The text of a message: its content, or the text chunks of it, joined. */
gal_err gal_talk_text(const gal_talk *c, size_t i, gal_buf *out, gal_diag *diag);
/* role: "system", "user" or "assistant". */
gal_err gal_talk_say(gal_talk *c, const char *role, const char *text, size_t n, gal_diag *diag);
/* What a tool gave back. */
gal_err gal_talk_result(gal_talk *c, const char *call_id, const char *name, const char *text, size_t n,
                        gal_diag *diag);
/* Whether it is the model's turn: the last message is a question or a tool's result. */
bool gal_talk_waits(const gal_talk *c);
void gal_talk_cut(gal_talk *c, size_t count); /* forgets all messages but the first `count` */
/* Forgets the last message of the user and what came after it; false: there is none. */
bool gal_talk_undo(gal_talk *c);
/* Replaces the system messages at the beginning; NULL: none. */
gal_err gal_talk_system(gal_talk *c, const char *text, size_t n, gal_diag *diag);
/* tools: a JSON array as bodies have it, or NULL; effort: reasoning_effort, or NULL. Copied. GAL_EINPUT for what the
 * template refuses; nothing changes then. */
gal_err gal_talk_tools(gal_talk *c, const char *tools, gal_diag *diag);
gal_err gal_talk_effort(gal_talk *c, const char *effort, gal_diag *diag);
const char *gal_talk_get_tools(const gal_talk *c); /* JSON, or NULL */
const char *gal_talk_get_effort(const gal_talk *c);
/* Whether the template tells the model of the tools that are set. */
bool gal_talk_uses_tools(const gal_talk *c);

/* Replaces everything by a body: an object with messages and, maybe, tools and reasoning_effort, or an array of
 * messages. The role "developer" is read as system, ids of calls that the template cannot hold become others,
 * members that are null or empty lists, names of participants and reasoning_content are passed over. On an error
 * the conversation is as it was. name stands in messages. */
gal_err gal_talk_read(gal_talk *c, const char *body, size_t n, const char *name, gal_diag *diag);
/* Appends the body that gal_talk_read() reads, a message a line. */
#define GAL_TALK_BEGINS "{\"messages\": [" /* its first bytes */
gal_err gal_talk_print(const gal_talk *c, gal_buf *out, gal_diag *diag);

/* ---- answers ------------------------------------------------------------------------------------------------------
 */

/* Appends the ids of the conversation as it stands; spans may be NULL. GAL_EINPUT with the reason if the template
 * refuses it. */
gal_err gal_talk_ids(const gal_talk *c, gal_ids *ids, gal_chat_spans *spans, gal_diag *diag);

typedef enum gal_when_full {
    GAL_FULL_STOP, /* GAL_ENOMEM, and the conversation stays as it is */
    GAL_FULL_DROP  /* the oldest question goes with all up to the next; never a system message, never the last */
} gal_when_full;

typedef struct gal_talk_how {
    gal_generate_options generate; /* max_tokens 0: to the end of the context */
    gal_when_full when_full;
    int64_t
        reserve; /* tokens of the context that a question leaves for its answer; 0: 64, or a quarter of a small one */
} gal_talk_how;

typedef struct gal_talk_answer {
    gal_generate_result result;
    int64_t cached;  /* tokens of the prompt that were not read again */
    size_t dropped;  /* messages that went to make room */
    bool said;       /* the answer was appended: it has a text, a thought or a call */
    bool incomplete; /* it was stopped before its end */
} gal_talk_answer;

/* The next answer, given to fn as it comes and appended as a message at its end; a caller's stop appends what there
 * is. on_token (may be NULL) is called after each token with how many there are. On an error the conversation
 * is as it was: what must go to make room goes with the answer. */
typedef struct gal_talk_view {
    gal_reply_fn text;
    void (*token)(void *user, int64_t tokens);
    void *user;
} gal_talk_view;
gal_err gal_talk_ask(gal_talk *c, const gal_talk_how *how, const gal_talk_view *view, gal_talk_answer *answer,
                     gal_diag *diag);
/* The last answer, taken apart; NULL before the first. */
const gal_reply *gal_talk_last(const gal_talk *c);
/* Tokens of the context that are in use, by the last answer. */
int64_t gal_talk_used(const gal_talk *c);

#endif
