/* chat_template.c - see chat_template.h. SPDX-License-Identifier: Apache-2.0 */
#include "infer/chat_template.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "formats/chat.h"
#include "infer/lm.h"
#include "text/json_tree.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { NAME_ROOM = 160, MOST_BYTES = 1 << 26 };

struct gal_chat_format {
    int version;
    gal_buf source, tools; /* the templates; tools: the one for bodies with tools, empty: none of its own */
    char name[NAME_ROOM];  /* what is shown */
    char where[NAME_ROOM]; /* for messages of the template */
};

/* ---- where a model has its template -------------------------------------------------------------------------------
 */

static gal_err keep(gal_chat_format *f, gal_buf *at, const char *s, size_t n, const char *from, gal_diag *diag) {
    gal_buf_clear(at);
    gal_buf_add(at, s, n);
    if (at->oom) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for a template", from);
    (void)snprintf(f->name, sizeof f->name, "jinja (%.100s)", from);
    (void)snprintf(f->where, sizeof f->where, "%.150s", from);
    return GAL_OK;
}

/* The one that is used when none is named, and the one for tools. */
static gal_err take(gal_chat_format *f, const gal_chat *c, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; i < c->n_templates && !err; i++) {
        const gal_model_template *t = &c->templates[i];
        const bool tools = t->name && strcmp(t->name, "tool_use") == 0;
        if (!t->name || tools) err = keep(f, tools ? &f->tools : &f->source, t->text, strlen(t->text), t->from, diag);
    }
    return err;
}

static gal_err from_folder(gal_chat_format *f, const char *dir, gal_diag *diag) {
    gal_chat c;
    gal_err err = gal_chat_of_folder(&c, dir, diag);
    if (!err) err = take(f, &c, diag);
    gal_chat_free(&c);
    return err;
}

static gal_err from_gguf(gal_chat_format *f, const char *path, gal_diag *diag) {
    gal_gguf *g = NULL;
    gal_chat c = { 0 };
    gal_err err = gal_gguf_open(&g, path, diag);
    if (!err) err = gal_chat_of_file(&c, g, path, diag);
    if (!err) err = take(f, &c, diag);
    gal_chat_free(&c);
    gal_gguf_close(g);
    return err;
}

/* The folder or file that a path means, as gal_lm_load() has it: a run directory stands for its newest checkpoint. */
static gal_err own_template(gal_chat_format *f, const char *path, gal_diag *diag) {
    if (gal_is_gguf(path)) return from_gguf(f, path, diag);
    if (!gal_is_dir(path)) { /* a vocabulary's file: what lies beside it is of the same model */
        const char *slash = strrchr(path, '/');
        gal_buf dir = { 0 };
        gal_buf_add(&dir, slash ? path : ".", slash ? (size_t)(slash - path) + (slash == path) : 1);
        gal_err err = dir.oom ? gal_fail(diag, GAL_ENOMEM, "no memory for a path") : from_folder(f, dir.data, diag);
        gal_buf_free(&dir);
        return err;
    }
    gal_err err = from_folder(f, path, diag);
    if (err || f->source.len) return err;
    gal_buf dir = { 0 };
    gal_tokenizer *t = NULL;
    gal_diag why = { 0 };
    const gal_err none = gal_lm_load(NULL, &t, NULL, &dir, path, &why); /* no model: then no template either */
    if (none == GAL_ENOMEM)
        err = gal_fail(diag, none, "%s", why.text);
    else if (!none && dir.len && strcmp(dir.data, path) != 0)
        err = gal_is_gguf(dir.data) ? from_gguf(f, dir.data, diag) : from_folder(f, dir.data, diag);
    gal_tokenizer_free(t);
    gal_buf_free(&dir);
    return err;
}

/* ---- choosing -----------------------------------------------------------------------------------------------------
 */

static gal_err native(gal_chat_format *f, int version) {
    f->version = version;
    (void)snprintf(f->name, sizeof f->name, "V%d", version);
    return GAL_OK;
}

static gal_err from_file(gal_chat_format *f, const char *path, gal_diag *diag) {
    gal_buf text = { 0 };
    gal_err err = gal_read_file(&text, path, MOST_BYTES, diag);
    if (!err) err = keep(f, &f->source, text.data ? text.data : "", text.len, path, diag);
    gal_buf_free(&text);
    return err;
}

static gal_err choose(gal_chat_format *f, const gal_tokenizer *t, const char *path, const char *wanted,
                      gal_diag *diag) {
    const size_t n = wanted ? strlen(wanted) : 0;
    if (n > 6 && strcmp(wanted + n - 6, ".jinja") == 0) return from_file(f, wanted, diag);
    if (wanted && strcmp(wanted, "jinja") != 0) {
        const int v = gal_chat_template(wanted);
        return v ? native(f, v)
                 : gal_fail(
                       diag, GAL_EUSAGE,
                       "a template is V1, V2, V3, V7, V11, V13 or V15, jinja, or a file that ends in .jinja, not "
                       "%s",
                       wanted);
    }
    bool certain = false;
    const int guess = gal_chat_guess(t, path, &certain);
    if (!wanted && guess && certain) return native(f, guess);
    gal_err err = own_template(f, path, diag);
    if (err || f->source.len) return err;
    if (f->tools.len) { /* of tools alone */
        f->source = f->tools;
        f->tools = (gal_buf){ 0 };
        return GAL_OK;
    }
    if (!wanted && guess) return native(f, guess);
    if (wanted) return gal_fail(diag, GAL_EINPUT, "%s: no Jinja template here", path);
    return gal_fail(diag, GAL_EINPUT,
                    "%s: its vocabulary has no template's tokens and no Jinja template: expected one to be named",
                    path);
}

gal_err gal_chat_format_open(gal_chat_format **out, const gal_tokenizer *t, const char *path, const char *wanted,
                             gal_diag *diag) {
    gal_chat_format *f = gal_alloc(sizeof *f);
    if (!f) return gal_fail(diag, GAL_ENOMEM, "no memory for a template");
    gal_err err = choose(f, t, path, wanted, diag);
    if (err) {
        gal_chat_format_free(f);
        return err;
    }
    *out = f;
    return GAL_OK;
}

void gal_chat_format_free(gal_chat_format *f) {
    if (!f) return;
    gal_buf_free(&f->source);
    gal_buf_free(&f->tools);
    gal_free(f);
}

const char *gal_chat_format_name(const gal_chat_format *f) { return f->name; }
int gal_chat_format_version(const gal_chat_format *f) { return f->version; }

const gal_buf *gal_chat_format_source(const gal_chat_format *f) { return &f->source; }

bool gal_chat_format_same(const gal_chat_format *a, const gal_chat_format *b) {
    const gal_buf *x[] = { &a->source, &a->tools }, *y[] = { &b->source, &b->tools };
    bool same = a->version == b->version;
    for (size_t i = 0; same && !a->version && i < GAL_LEN(x); i++)
        same = x[i]->len == y[i]->len && (!x[i]->len || memcmp(x[i]->data, y[i]->data, x[i]->len) == 0);
    return same;
}

/* Whether a body has tools; one that cannot be read has none, and is refused afterwards. */
static bool has_tools(const char *body, size_t n) {
    gal__pool pool;
    gal__value *v = NULL;
    gal__pool_init(&pool);
    gal_err err = gal__tree_read(&v, &pool, body, n, true, "body", NULL);
    const gal__value *tools = err ? NULL : gal__member(v, "tools");
    const bool has = tools && tools->type == GAL__ARRAY && tools->count > 0;
    gal__pool_free(&pool);
    return has;
}

static gal_err encode(const gal_chat_format *f, const gal_tokenizer *t, const struct tm *now, const char *body,
                      size_t n, const gal_chat_tail *tail, gal_ids *ids, gal_chat_spans *spans, gal_diag *diag) {
    const gal_buf *source = f->tools.len && has_tools(body, n) ? &f->tools : &f->source;
    const time_t seconds = (time_t)gal_unix_time_s();
    struct tm local = { 0 };
    (void)localtime_r(&seconds, &local);
    const gal_chat_jinja how = { .source = source->data ? source->data : "",
                                 .n = source->len,
                                 .name = f->where,
                                 .now = now ? now : &local,
                                 .tail = tail };
    return gal_chat_render(t, &how, body, n, ids, spans, diag);
}

gal_err gal__chat_format_encode_at(const gal_chat_format *f, const gal_tokenizer *t, const struct tm *now,
                                   const char *body, size_t n, gal_ids *ids, gal_chat_spans *spans, gal_diag *diag) {
    if (f->version) return gal_chat_encode(t, f->version, body, n, ids, spans, diag);
    return encode(f, t, now, body, n, NULL, ids, spans, diag);
}

gal_err gal_chat_format_encode(const gal_chat_format *f, const gal_tokenizer *t, const char *body, size_t n,
                               gal_ids *ids, gal_chat_spans *spans, gal_diag *diag) {
    return gal__chat_format_encode_at(f, t, NULL, body, n, ids, spans, diag);
}

gal_err gal_chat_format_messages(const gal_chat_format *f, const gal_tokenizer *t, const struct tm *now,
                                 const char *messages, gal_ids *ids, gal_diag *diag) {
    gal_buf body = { 0 };
    gal_buf_printf(&body, "{\"messages\": [%s]}", messages);
    gal_err err = body.oom ? gal_fail(diag, GAL_ENOMEM, "no memory for a conversation")
                           : gal__chat_format_encode_at(f, t, now, body.data, body.len, ids, NULL, diag);
    gal_buf_free(&body);
    return err;
}

/* Mistral's own templates end in a token, and a message that is to be continued follows it. */
static gal_err native_pair(const gal_chat_format *f, const gal_tokenizer *t, const char *messages, const char *text,
                           size_t n, gal_ids *before, gal_ids *all, gal_diag *diag) {
    gal_buf answered = { 0 };
    gal_buf_printf(&answered, "%s, {\"role\": \"assistant\", \"prefix\": true, \"content\": ", messages);
    gal_buf_json(&answered, text, n);
    gal_buf_putc(&answered, '}');
    gal_err err = answered.oom ? gal_fail(diag, GAL_ENOMEM, "no memory for a conversation")
                               : gal_chat_format_messages(f, t, NULL, messages, before, diag);
    if (!err) err = gal_chat_format_messages(f, t, NULL, answered.data, all, diag);
    gal_buf_free(&answered);
    return err;
}

gal_err gal_chat_format_pair(const gal_chat_format *f, const gal_tokenizer *t, const struct tm *now,
                             const char *messages, const char *text, size_t n, gal_ids *before, gal_ids *all,
                             gal_diag *diag) {
    if (f->version) return native_pair(f, t, messages, text, n, before, all, diag);
    const gal_chat_tail nothing = { .strip = true }, tail = { .text = text, .n = n };
    gal_buf body = { 0 };
    gal_buf_printf(&body, "{\"messages\": [%s]}", messages);
    gal_err err = body.oom ? gal_fail(diag, GAL_ENOMEM, "no memory for a conversation")
                           : encode(f, t, now, body.data, body.len, &nothing, before, NULL, diag);
    if (!err) err = encode(f, t, now, body.data, body.len, &tail, all, NULL, diag);
    gal_buf_free(&body);
    return err;
}
