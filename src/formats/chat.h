/* chat.h - what a model's folder or GGUF file says of texts besides their vocabulary: templates of chats, and whether
 * texts begin and end with a token (formats.md 2, 4.2). Carried as they are; nothing here runs them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_FORMATS_CHAT_H
#define GAL_FORMATS_CHAT_H

#include "formats/gguf.h"

typedef struct gal_model_template {
    char *name, *text; /* name NULL: the one that is used when none is named */
    const char *from;  /* the file in its folder, or the key in its file, that it stands in */
} gal_model_template;

typedef struct gal_chat {
    gal_model_template *templates; /* [n_templates] */
    size_t n_templates;
    int add_bos, add_eos; /* 0, 1; -1: not said */
} gal_chat;

/* chat_template.jinja, else tokenizer_config.json's, else chat_template.json's; none is no error. After a failure,
 * too, *c is to be freed. */
gal_err gal_chat_of_folder(gal_chat *c, const char *dir, gal_diag *diag);
/* tokenizer.chat_template and tokenizer.chat_template.NAME; path is for messages. */
gal_err gal_chat_of_file(gal_chat *c, const gal_gguf *g, const char *path, gal_diag *diag);
const char *gal_chat_default(const gal_chat *c); /* NULL: none */
void gal_chat_free(gal_chat *c);

#endif
