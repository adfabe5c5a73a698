/* chat_jinja.c - a body as the variables of a Jinja template, as transformers hands them over: members that are null
 * are left out of messages, arguments of calls are objects where they are JSON, reasoning goes by all its names.
 * SPDX-License-Identifier: Apache-2.0 */
#include "text/chat_jinja.h"

#include "text/chat_internal.h"
#include "text/chat_jinja_ids.h"
#include "text/template.h"

#include <stdio.h>
#include <string.h>

/* Put at the end of a message that is to be continued; what is rendered ends there. */
static const char TAG[] = "CONTINUE_FINAL_MESSAGE_TAG ";

typedef struct request {
    gal__pool *pool;
    gal__value *body;
    const gal__value *messages;
    bool prompt, continues;
} request;

static gal_err fail(gal_diag *diag, const char *where, const char *expected, const gal__value *found) {
    return gal_fail(diag, GAL_EINPUT, "%s: expected %s, found %s", where, expected, gal__type_name(found));
}

static gal__value *member(gal__value *v, const char *key) {
    if (v->type != GAL__OBJECT) return NULL;
    for (gal__value *m = v->first; m; m = m->next)
        if (gal__is(m->key, key)) return m;
    return NULL;
}

static bool listed(gal__string name, const char *names) {
    for (const char *s = names; *s;) {
        const size_t n = strcspn(s, " ");
        if (n == name.n && memcmp(s, name.s, n) == 0) return true;
        s += n + (s[n] == ' ');
    }
    return false;
}

static void drop(gal__value *v, const gal__value *gone) {
    for (gal__value **m = &v->first; *m; m = &(*m)->next) {
        if (*m != gone) continue;
        *m = gone->next;
        v->count--;
        return;
    }
}

/* ---- messages -----------------------------------------------------------------------------------------------------
 */

/* A copy of a member under another name, first or last. */
static bool alias(gal__pool *pool, gal__value *v, const gal__value *of, const char *name, bool first) {
    gal__value *m = gal__pool_take(pool, sizeof *m), **end = &v->first;
    if (!m) return false;
    *m = *of;
    m->key = (gal__string){ name, strlen(name) };
    while (*end && !first) end = &(*end)->next;
    m->next = first ? v->first : NULL;
    *end = m;
    v->count++;
    return true;
}

static bool reasoning(gal__pool *pool, gal__value *v) {
    static const char *const NAMES[] = { "reasoning_content", "thinking", "reasoning" };
    const gal__value *r = NULL;
    for (size_t i = 0; i < GAL_LEN(NAMES) && !r; i++) r = member(v, NAMES[i]);
    if (!r) return true;
    const gal__value copy = *r;
    if (!member(v, "thinking") && !alias(pool, v, &copy, "thinking", true)) return false;
    return member(v, "reasoning_content") || alias(pool, v, &copy, "reasoning_content", false);
}

/* Arguments that are a string with an object in JSON become that object. */
static gal_err arguments(const request *r, gal__value *message, gal_diag *diag) {
    gal__value *calls = member(message, "tool_calls");
    for (gal__value *c = calls && calls->type == GAL__ARRAY ? calls->first : NULL; c; c = c->next) {
        gal__value *f = member(c, "function"), *a = f ? member(f, "arguments") : member(c, "arguments"), *tree = NULL;
        if (!a || a->type != GAL__STRING) continue;
        gal_err err = gal__tree_read(&tree, r->pool, a->text.s, a->text.n, false, "tool_calls: arguments", diag);
        if (err) return err;
        if (!tree || tree->type != GAL__OBJECT) continue;
        tree->key = a->key;
        tree->next = a->next;
        *a = *tree;
    }
    return GAL_OK;
}

static gal_err check_parts(const gal__value *content, const char *where, gal_diag *diag) {
    for (const gal__value *p = content->first; p; p = p->next) {
        const gal__value *type = gal__member(p, "type");
        if (type && type->type == GAL__STRING &&
            listed(type->text, "image image_url input_audio audio audio_url video video_url file"))
            return gal_fail(diag, GAL_EINPUT,
                            "%s.content: %.*s, and pictures and sound are not supported in Jinja templates", where,
                            (int)GAL_MIN(type->text.n, (size_t)20), type->text.s);
    }
    return GAL_OK;
}

/* For templates that know text alone: parts of text, a line each. */
static gal_err flatten(const request *r, gal__value *content, gal_diag *diag) {
    size_t n = 0;
    for (const gal__value *p = content->first; p; p = p->next) {
        const gal__value *text = gal__member(p, "text");
        if (!text || text->type != GAL__STRING) return GAL_OK; /* as it is */
        n += text->text.n + 1;
    }
    char *s = gal__pool_take(r->pool, n + 1), *w = s;
    if (!s) return gal__chat_no_memory(diag);
    for (const gal__value *p = content->first; p; p = p->next) {
        const gal__value *text = gal__member(p, "text");
        if (w > s) *w++ = '\n';
        memcpy(w, text->text.s, text->text.n);
        w += text->text.n;
    }
    content->type = GAL__STRING;
    content->first = NULL;
    content->count = 0;
    content->text = (gal__string){ s, (size_t)(w - s) };
    return GAL_OK;
}

static gal_err message(const request *r, gal__value *v, const char *where, bool parts, gal_diag *diag) {
    if (v->type != GAL__OBJECT) return fail(diag, where, "an object", v);
    for (gal__value *m = v->first, *next; m; m = next) {
        next = m->next;
        if (m->type == GAL__NULL) drop(v, m);
    }
    const gal__value *role = member(v, "role");
    char at[64];
    (void)snprintf(at, sizeof at, "%s.role", where);
    if (!role || role->type != GAL__STRING) return fail(diag, at, "a string", role);
    gal__value *content = member(v, "content");
    gal_err err = GAL_OK;
    if (content && content->type == GAL__ARRAY) {
        err = check_parts(content, where, diag);
        if (!err && !parts) err = flatten(r, content, diag);
    }
    if (!err) err = arguments(r, v, diag);
    if (!err && !reasoning(r->pool, v)) err = gal__chat_no_memory(diag);
    return err;
}

/* The last message's text gets the tag. */
static gal_err mark(const request *r, gal__value *last, gal_diag *diag) {
    gal__value *content = member(last, "content"), *text = NULL;
    if (content && content->type == GAL__STRING) text = content;
    for (gal__value *p = content && content->type == GAL__ARRAY ? content->first : NULL; p; p = p->next)
        if (member(p, "text")) text = member(p, "text");
    if (!text || text->type != GAL__STRING)
        return gal_fail(diag, GAL_EINPUT, "the last message is to be continued, and has no text");
    char *s = gal__pool_take(r->pool, text->text.n + sizeof TAG);
    if (!s) return gal__chat_no_memory(diag);
    memcpy(s, text->text.s, text->text.n);
    memcpy(s + text->text.n, TAG, sizeof TAG);
    text->text = (gal__string){ s, text->text.n + sizeof TAG - 1 };
    return GAL_OK;
}

static gal_err messages(request *r, bool parts, gal_diag *diag) {
    gal__value *list = member(r->body, "messages"), *last = NULL;
    char where[48];
    size_t i = 0;
    if (!list || list->type != GAL__ARRAY) return fail(diag, "messages", "an array", list);
    if (!list->first) return gal_fail(diag, GAL_EINPUT, "messages: empty; expected at least one message");
    for (gal__value *m = list->first; m; m = m->next) {
        (void)snprintf(where, sizeof where, "messages[%zu]", i++);
        gal_err err = message(r, m, where, parts, diag);
        if (err) return err;
        last = m;
    }
    const gal__value *role = member(last, "role"), *prefix = member(last, "prefix");
    const gal__value *said = member(r->body, "continue_final_message");
    r->continues = (said && said->type == GAL__TRUE) || (prefix && prefix->type == GAL__TRUE);
    if (r->continues && !gal__is(role->text, "assistant"))
        return gal_fail(diag, GAL_EINPUT, "continue_final_message: the last message is not an assistant's");
    for (gal__value *m = list->first; m; m = m->next) {
        prefix = member(m, "prefix");
        if (prefix) drop(m, prefix);
    }
    r->messages = list;
    r->prompt = !r->continues;
    return r->continues ? mark(r, last, diag) : GAL_OK;
}

/* ---- where text comes from ----------------------------------------------------------------------------------------
 */

/* A role that is one of the known words stands for itself, and may be part of a control token ("<|user|>"). */
static uint8_t origin_of(void *user, const gal__value *object, const gal__value *m, uint8_t origin) {
    const gal__value *role = gal__member(object, "role"), *type = gal__member(object, "type");
    (void)user;
    if (type && type->type == GAL__STRING && gal__is(type->text, "thinking") && gal__is(m->key, "thinking"))
        return gal__from_kind(GAL_CHAT_THINKING);
    if (origin != GAL__FROM_OUTSIDE || !role || role->type != GAL__STRING) return origin;
    if (m == role && listed(role->text, "system user assistant tool developer function")) return GAL__FROM_TEMPLATE;
    if (gal__is(m->key, "tool_calls")) return gal__from_kind(GAL_CHAT_CALL);
    if (listed(m->key, "reasoning_content thinking reasoning")) return gal__from_kind(GAL_CHAT_THINKING);
    if (listed(role->text, "system developer")) return gal__from_kind(GAL_CHAT_SYSTEM);
    if (gal__is(role->text, "assistant")) return gal__from_kind(GAL_CHAT_ASSISTANT);
    if (listed(role->text, "tool function")) return gal__from_kind(GAL_CHAT_RESULT);
    return gal__from_kind(GAL_CHAT_USER);
}

/* ---- variables ----------------------------------------------------------------------------------------------------
 */

static const char RESERVED[] =
    "messages tools documents add_generation_prompt bos_token eos_token unk_token pad_token range dict "
    "namespace raise_exception strftime_now loop";

static gal_err more(gal__jinja *j, const gal__value *v, const char *where, gal_diag *diag) {
    gal_err err = GAL_OK;
    if (v->type != GAL__OBJECT) return fail(diag, where, "an object", v);
    for (const gal__value *m = v->first; m && !err; m = m->next) {
        if (listed(m->key, RESERVED) || !m->key.n || memchr(m->key.s, 0, m->key.n))
            err = gal_fail(diag, GAL_EINPUT, "%s: '%.60s' is a name that cannot be given", where, m->key.s);
        else
            err = gal__jinja_set_tree(j, m->key.s, m, GAL__FROM_OUTSIDE);
    }
    return err;
}

static gal_err special(gal__jinja *j, const gal_tokenizer *t, const char *name, int32_t id) {
    size_t n;
    if (id < 0) return GAL_OK;
    const char *s = gal_tokenizer_piece(t, id, &n);
    return gal__jinja_set_text(j, name, s, n, GAL__FROM_TEMPLATE);
}

static gal_err lists(gal__jinja *j, const request *r, gal_diag *diag) {
    static const gal__value NOTHING = { .type = GAL__NULL };
    gal_err err = gal__jinja_set_tree(j, "messages", r->messages, GAL__FROM_OUTSIDE);
    const gal__value *tools = gal__member(r->body, "tools"), *documents = gal__member(r->body, "documents");
    if (!err && tools && tools->type != GAL__ARRAY && tools->type != GAL__NULL)
        err = fail(diag, "tools", "an array", tools);
    if (!err && documents && documents->type != GAL__ARRAY && documents->type != GAL__NULL)
        err = fail(diag, "documents", "an array", documents);
    const bool none = !tools || tools->count == 0; /* an empty list is none, as for the interface's own templates */
    if (!err) err = gal__jinja_set_tree(j, "tools", none ? &NOTHING : tools, gal__from_kind(GAL_CHAT_TOOLS));
    if (!err) err = gal__jinja_set_tree(j, "documents", documents ? documents : &NOTHING, GAL__FROM_OUTSIDE);
    return err;
}

static gal_err variables(gal__jinja *j, const request *r, const gal_tokenizer *t, const gal_chat_jinja *how,
                         gal_diag *diag) {
    const gal__value *prompt = gal__member(r->body, "add_generation_prompt"), *kwargs;
    const gal__value *effort = gal__member(r->body, "reasoning_effort");
    gal__value *given = NULL;
    gal_err err = lists(j, r, diag);
    if (prompt && prompt->type != GAL__TRUE && prompt->type != GAL__FALSE && !err)
        err = fail(diag, "add_generation_prompt", "true or false", prompt);
    const bool asks = prompt ? prompt->type == GAL__TRUE : !how->no_prompt;
    if (!err) err = gal__jinja_set_bool(j, "add_generation_prompt", asks && r->prompt);
    if (!err) err = special(j, t, "bos_token", gal_tokenizer_bos(t));
    if (!err) err = special(j, t, "eos_token", gal_tokenizer_eos(t));
    if (!err) err = special(j, t, "unk_token", gal_tokenizer_unk(t));
    if (!err) err = special(j, t, "pad_token", gal_tokenizer_pad(t));
    if (!err && effort && effort->type != GAL__NULL)
        err = gal__jinja_set_tree(j, "reasoning_effort", effort, GAL__FROM_OUTSIDE);
    if (!err && how->variables)
        err = gal__tree_read(&given, r->pool, how->variables, strlen(how->variables), true, "variables", diag);
    if (!err && given) err = more(j, given, "variables", diag);
    kwargs = gal__member(r->body, "chat_template_kwargs");
    if (!err && kwargs && kwargs->type != GAL__NULL) err = more(j, kwargs, "chat_template_kwargs", diag);
    return err;
}

/* ---- all of it ----------------------------------------------------------------------------------------------------
 */

static gal_err read_body(request *r, const char *body, size_t n, gal_diag *diag) {
    gal_err err = gal__tree_read(&r->body, r->pool, body, n, true, "body", diag);
    if (err) return err;
    if (r->body->type != GAL__OBJECT) return fail(diag, "body", "an object", r->body);
    for (const gal__value *m = r->body->first; m; m = m->next)
        if (!listed(m->key, gal__chat_fields) &&
            !listed(m->key, "documents add_generation_prompt chat_template_kwargs"))
            return gal_fail(diag, GAL_EINPUT,
                            "body: unknown field '%.64s'; there may be: %s documents add_generation_prompt "
                            "chat_template_kwargs",
                            m->key.s, gal__chat_fields);
    return GAL_OK;
}

static bool blank(char c) { return c == ' ' || (c >= 9 && c <= 13); }

/* Ends a text where the tag stands; where the template took white space from the message's end, it goes here too. */
static gal_err cut(gal__jtext *text, gal_diag *diag) {
    const size_t n = sizeof TAG - 2; /* without the space */
    for (size_t at = text->n >= n ? text->n - n + 1 : 0; at-- > 0;) {
        if (memcmp(text->s + at, TAG, n) != 0) continue;
        const bool whole = at + n < text->n && text->s[at + n] == ' ';
        text->n = at;
        while (!whole && text->n && blank(text->s[text->n - 1])) text->n--;
        return GAL_OK;
    }
    return gal_fail(diag, GAL_EINPUT, "the last message is to be continued, and the template does not print it");
}

/* Text that the model says is no template's. */
static gal_err end(gal__jtext *text, gal__pool *pool, const gal_chat_tail *tail, gal_diag *diag) {
    if (tail->strip) text->n = gal_strip_end(text->s, text->n);
    if (!tail->n) return GAL_OK;
    const size_t n = text->n + tail->n;
    char *s = gal__pool_take(pool, n + 1);
    uint8_t *from = gal__pool_take(pool, n);
    if (!s || !from) return gal__chat_no_memory(diag);
    for (size_t i = 0; i < n; i++)
        from[i] = i >= text->n ? gal__from_kind(GAL_CHAT_ASSISTANT) : text->from ? text->from[i] : text->origin;
    if (text->n) memcpy(s, text->s, text->n);
    memcpy(s + text->n, tail->text, tail->n);
    s[n] = 0;
    *text = (gal__jtext){ .s = s, .n = n, .from = from };
    return GAL_OK;
}

static gal_err render(gal__jtext *out, gal__pool *pool, const gal_tokenizer *t, const gal_chat_jinja *how,
                      const char *body, size_t n, gal_diag *diag) {
    request r = { .pool = pool };
    gal__jinja *j = NULL;
    gal_err err = gal__jinja_new(&j, pool, how->source, how->n, how->name ? how->name : "template", diag);
    if (!err) err = read_body(&r, body, n, diag);
    if (!err) err = messages(&r, gal__jinja_reads_parts(j), diag);
    if (err) return err;
    gal__jinja_now(j, how->now);
    gal__jinja_origins(j, origin_of, NULL);
    err = variables(j, &r, t, how, diag);
    if (!err) err = gal__jinja_render(j, out);
    if (!err && r.continues) err = cut(out, diag);
    return err || !how->tail ? err : end(out, pool, how->tail, diag);
}

gal_err gal_chat_render(const gal_tokenizer *t, const gal_chat_jinja *how, const char *body, size_t n, gal_ids *ids,
                        gal_chat_spans *spans, gal_diag *diag) {
    gal__pool pool;
    gal__jtext text = { 0 };
    gal__pool_init(&pool);
    gal_err err = render(&text, &pool, t, how, body, n, diag);
    if (!err) err = gal__jinja_ids(t, &text, ids, spans, diag);
    gal__pool_free(&pool);
    return err;
}

gal_err gal_chat_render_text(const gal_tokenizer *t, const gal_chat_jinja *how, const char *body, size_t n,
                             gal_buf *out, gal_diag *diag) {
    gal__pool pool;
    gal__jtext text = { 0 };
    gal__pool_init(&pool);
    gal_err err = render(&text, &pool, t, how, body, n, diag);
    if (!err) gal_buf_add(out, text.s, text.n);
    if (!err && out->oom) err = gal__chat_no_memory(diag);
    gal__pool_free(&pool);
    return err;
}
