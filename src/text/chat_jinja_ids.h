/* chat_jinja_ids.h - between the two halves of chat_jinja.h: origins of a conversation's text, and a rendered text to
 * ids. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_CHAT_JINJA_IDS_H
#define GAL_TEXT_CHAT_JINJA_IDS_H

#include "text/chat_jinja.h"
#include "text/jinja.h"

/* The origin of text of one kind. */
static inline uint8_t gal__from_kind(gal_chat_kind kind) { return (uint8_t)(GAL__FROM_OUTSIDE + 1 + (int)kind); }

gal_err gal__jinja_ids(const gal_tokenizer *t, const gal__jtext *text, gal_ids *ids, gal_chat_spans *spans,
                       gal_diag *diag);

#endif
