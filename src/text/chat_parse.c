/* chat_parse.c - a body's tree as a request: which fields there are and what they hold, as the reference's models
 * ask. Inside messages, tools and chunks an unknown field is an error, because it would be lost without a word; of a
 * body's own fields those that do not touch the prompt are let through. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "text/chat_internal.h"
#include "text/json_schema.h"

#include <stdio.h>
#include <string.h>

const char *const gal__effort_names[GAL__EFFORTS] = { "none", "minimal", "low", "medium", "high", "xhigh", "max" };

enum { WHERE = 96 };

typedef struct parser {
    gal__pool *pool;
    gal_diag *diag;
    gal_err err;
} parser;

/* false, for conditions. */
static bool fail(parser *p, const char *where, const char *expected, const gal__value *found) {
    if (p->err) return false;
    gal_buf what = { 0 };
    if (found && found->type <= GAL__STRING) {
        gal_buf text = { 0 };
        gal__tree_print(&text, found);
        gal_buf_add(&what, text.data, GAL_MIN(text.len, (size_t)80));
        gal_buf_free(&text);
    } else {
        gal_buf_puts(&what, gal__type_name(found));
    }
    p->err = gal_fail(p->diag, GAL_EINPUT, "%s: expected %s, found %s", where, expected,
                      what.data && !what.oom ? what.data : "something else");
    gal_buf_free(&what);
    return false;
}

static void *take(parser *p, size_t count, size_t size) {
    void *m = count > SIZE_MAX / size ? NULL : gal__pool_take(p->pool, count * size);
    if (!m && !p->err) p->err = gal__chat_no_memory(p->diag);
    return m;
}

static bool object(parser *p, const gal__value *v, const char *where) {
    return (v && v->type == GAL__OBJECT) || fail(p, where, "an object", v);
}

/* Only the fields named; "a b c". */
static bool only(parser *p, const gal__value *v, const char *where, const char *names) {
    for (const gal__value *m = v->first; m && !p->err; m = m->next) {
        bool known = false;
        for (const char *s = names; *s && !known;) {
            size_t n = strcspn(s, " ");
            known = n == m->key.n && memcmp(s, m->key.s, n) == 0;
            s += n + (s[n] == ' ');
        }
        if (!known)
            p->err = gal_fail(p->diag, GAL_EINPUT, "%s: unknown field '%.*s'; there may be: %s", where,
                              (int)GAL_MIN(m->key.n, (size_t)64), m->key.s, names);
    }
    return !p->err;
}

/* A place in the body, cut where it grows too long for a message. */
static void say(char out[WHERE], const char *fmt, ...) GAL_PRINTF(2, 3);
static void say(char out[WHERE], const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(out, WHERE, fmt, args);
    va_end(args);
}

static void place(char out[WHERE], const char *where, const char *field) {
    say(out, "%s%s%s", where, *where ? "." : "", field);
}

/* A field with a string; may_miss: it or null may stand for none. */
static gal__string string(parser *p, const gal__value *v, const char *where, const char *field, bool may_miss) {
    char at[WHERE];
    const gal__value *m = gal__member(v, field);
    if (may_miss && (!m || m->type == GAL__NULL)) return (gal__string){ 0 };
    place(at, where, field);
    if (!m || m->type != GAL__STRING) {
        (void)fail(p, at, "a string", m);
        return (gal__string){ "", 0 };
    }
    return m->text;
}

/* Truth as the reference's library reads it: also 0 and 1, and words for them. */
static bool truth(parser *p, const gal__value *v, const char *where, const char *field, bool fallback) {
    static const char *const WORDS[2][7] = { { "0", "off", "f", "false", "n", "no", "" },
                                             { "1", "on", "t", "true", "y", "yes", "" } };
    char at[WHERE];
    const gal__value *m = gal__member(v, field);
    if (!m) return fallback;
    if (m->type == GAL__TRUE || m->type == GAL__FALSE) return m->type == GAL__TRUE;
    if (m->type == GAL__WHOLE || m->type == GAL__REAL) {
        double x = gal__number(m);
        if (x == 0 || x == 1) return x == 1;
    }
    if (m->type == GAL__STRING && m->text.n && m->text.n < 6) {
        char low[8] = { 0 };
        for (size_t i = 0; i < m->text.n; i++)
            low[i] = m->text.s[i] >= 'A' && m->text.s[i] <= 'Z' ? (char)(m->text.s[i] + 32) : m->text.s[i];
        for (int k = 0; k < 2; k++)
            for (int i = 0; *WORDS[k][i]; i++)
                if (strlen(low) == m->text.n && strcmp(low, WORDS[k][i]) == 0) return k == 1;
    }
    place(at, where, field);
    return fail(p, at, "true or false", m);
}

/* ---- content ------------------------------------------------------------------------------------------------------
 */

/* {"url": ...} or a string. */
static gal__string url(parser *p, const gal__value *v, const char *where, const char *field, const char *names) {
    char at[WHERE];
    const gal__value *m = gal__member(v, field);
    place(at, where, field);
    if (m && m->type == GAL__STRING) return m->text;
    if (object(p, m, at) && only(p, m, at, names)) {
        if (strstr(names, "detail")) (void)string(p, m, at, "detail", true);
        return string(p, m, at, "url", false);
    }
    return (gal__string){ "", 0 };
}

static gal__string sound(parser *p, const gal__value *v, const char *where) {
    char at[WHERE];
    const gal__value *m = gal__member(v, "input_audio");
    place(at, where, "input_audio");
    if (m && m->type == GAL__OBJECT && gal__member(m, "data")) m = gal__member(m, "data");
    if (!m || m->type != GAL__STRING || m->text.n == strspn(m->text.s, " \t\n\r\f\v")) {
        (void)fail(p, at, "audio in base64", m);
        return (gal__string){ "", 0 };
    }
    return m->text;
}

static void chunk(parser *p, gal__chunk *c, const gal__value *v, const char *where) {
    if (!object(p, v, where)) return;
    const gal__value *type = gal__member(v, "type");
    const gal__string kind = type && type->type == GAL__STRING ? type->text : (gal__string){ "", 0 };
    char at[WHERE];
    if (gal__is(kind, "text")) {
        c->kind = GAL__TEXT;
        if (only(p, v, where, "type text")) c->text = string(p, v, where, "text", false);
    } else if (gal__is(kind, "thinking")) {
        c->kind = GAL__THINK;
        if (only(p, v, where, "type thinking closed")) c->text = string(p, v, where, "thinking", false);
        c->open = !truth(p, v, where, "closed", true);
    } else if (gal__is(kind, "image")) {
        c->kind = GAL__IMAGE;
        if (only(p, v, where, "type image")) c->text = string(p, v, where, "image", false);
    } else if (gal__is(kind, "image_url")) {
        c->kind = GAL__IMAGE_URL;
        if (only(p, v, where, "type image_url")) c->text = url(p, v, where, "image_url", "url detail");
    } else if (gal__is(kind, "input_audio")) {
        c->kind = GAL__AUDIO;
        if (only(p, v, where, "type input_audio")) c->text = sound(p, v, where);
    } else if (gal__is(kind, "audio_url")) {
        c->kind = GAL__AUDIO_URL;
        if (only(p, v, where, "type audio_url")) c->text = url(p, v, where, "audio_url", "url");
    } else {
        place(at, where, "type");
        (void)fail(p, at, "text, thinking, image, image_url, input_audio or audio_url", type);
    }
}

static void content(parser *p, gal__content *c, const gal__value *v, const char *where, bool may_miss) {
    char at[WHERE];
    const gal__value *m = gal__member(v, "content");
    place(at, where, "content");
    if (may_miss && (!m || m->type == GAL__NULL)) return;
    if (m && m->type == GAL__STRING) {
        c->text = m->text;
        return;
    }
    if (!m || m->type != GAL__ARRAY) {
        (void)fail(p, at, "a string or an array of chunks", m);
        return;
    }
    c->list = true;
    c->chunks = take(p, m->count, sizeof *c->chunks);
    for (const gal__value *e = m->first; e && !p->err; e = e->next) {
        say(at, "%s.content[%zu]", where, c->n);
        gal__chunk *k = &c->chunks[c->n++];
        chunk(p, k, e, at);
        gal__string copy = { 0 };
        if (p->err || k->kind == GAL__TEXT) continue;
        if (!gal__pool_string(p->pool, &copy, at, strlen(at))) p->err = gal__chat_no_memory(p->diag);
        k->where = copy.s;
    }
}

/* ---- messages -----------------------------------------------------------------------------------------------------
 */

/* "type" is "function" or missing. */
static bool is_function(parser *p, const gal__value *v, const char *where) {
    char at[WHERE];
    const gal__value *type = gal__member(v, "type");
    if (!type || (type->type == GAL__STRING && gal__is(type->text, "function"))) return true;
    place(at, where, "type");
    return fail(p, at, "\"function\"", type);
}

/* Arguments are an object, JSON in a string, or a string that is none; nothing stands for {}. */
static const gal__value *arguments(parser *p, const gal__value *f, const char *where) {
    char at[WHERE];
    const gal__value *m = gal__member(f, "arguments");
    place(at, where, "arguments");
    if (m && m->type == GAL__OBJECT) return m;
    if (!m || (m->type != GAL__STRING && m->type != GAL__NULL)) {
        (void)fail(p, at, "a string with JSON, or an object", m);
        return NULL;
    }
    if (m->type == GAL__NULL || m->text.n == 0) {
        gal__value *empty = take(p, 1, sizeof *empty);
        if (empty) empty->type = GAL__OBJECT;
        return empty;
    }
    gal__value *tree = NULL;
    gal_err err = gal__tree_read(&tree, p->pool, m->text.s, m->text.n, false, at, p->diag);
    if (err && !p->err) p->err = err;
    return tree ? tree : m;
}

static void calls(parser *p, gal__message *msg, const gal__value *v, const char *where) {
    char at[WHERE], inner[WHERE];
    const gal__value *list = gal__member(v, "tool_calls");
    if (!list || list->type == GAL__NULL) return;
    place(at, where, "tool_calls");
    if (list->type != GAL__ARRAY) {
        (void)fail(p, at, "an array", list);
        return;
    }
    msg->has_calls = true;
    msg->calls = take(p, list->count, sizeof *msg->calls);
    for (const gal__value *e = list->first; e && !p->err; e = e->next) {
        gal__call *c = &msg->calls[msg->n_calls];
        say(at, "%s.tool_calls[%zu]", where, msg->n_calls++);
        if (!object(p, e, at) || !only(p, e, at, "id type function") || !is_function(p, e, at)) return;
        c->id = gal__member(e, "id") ? string(p, e, at, "id", false) : (gal__string){ "null", 4 };
        const gal__value *f = gal__member(e, "function");
        place(inner, at, "function");
        if (!object(p, f, inner) || !only(p, f, inner, "name arguments")) return;
        c->name = string(p, f, inner, "name", false);
        c->arguments = arguments(p, f, inner);
    }
}

static void message(parser *p, gal__message *m, const gal__value *v, const char *where) {
    static const char *const FIELDS[] = { "role content", "role content", "role content tool_calls prefix",
                                          "role content tool_call_id name" };
    static const char *const ROLES[] = { "system", "user", "assistant", "tool" };
    if (!object(p, v, where)) return;
    char at[WHERE];
    const gal__value *role = gal__member(v, "role");
    size_t r = 0;
    while (r < GAL_LEN(ROLES) && !(role && role->type == GAL__STRING && gal__is(role->text, ROLES[r]))) r++;
    place(at, where, "role");
    if (r == GAL_LEN(ROLES)) {
        (void)fail(p, at, "system, user, assistant or tool", role);
        return;
    }
    m->role = (gal__role)r;
    if (!only(p, v, where, FIELDS[r])) return;
    content(p, &m->content, v, where, m->role == GAL__ASSISTANT);
    if (m->role == GAL__ASSISTANT) {
        calls(p, m, v, where);
        m->prefix = truth(p, v, where, "prefix", false);
    } else if (m->role == GAL__TOOL) {
        m->call_id = string(p, v, where, "tool_call_id", true);
        m->name = string(p, v, where, "name", true);
    }
}

static void messages(parser *p, gal__request *r, const gal__value *v) {
    char at[WHERE];
    const gal__value *list = gal__member(v, "messages");
    if (!list || list->type != GAL__ARRAY) {
        (void)fail(p, "messages", "an array", list);
        return;
    }
    r->messages = take(p, list->count, sizeof *r->messages);
    for (const gal__value *e = list->first; e && !p->err; e = e->next) {
        say(at, "messages[%zu]", r->n);
        message(p, &r->messages[r->n++], e, at);
    }
}

/* ---- tools and the rest -------------------------------------------------------------------------------------------
 */

/* As the reference's pattern has it, a line feed at the very end included. */
static bool is_name(gal__string s) {
    size_t n = s.n && s.s[s.n - 1] == '\n' ? s.n - 1 : s.n;
    for (size_t i = 0; i < n; i++) {
        char c = s.s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
            return false;
    }
    return n >= 1 && n <= 64;
}

static void function(parser *p, gal__function *f, const gal__value *v, const char *where) {
    char at[WHERE];
    if (!object(p, v, where) || !only(p, v, where, "type function") || !is_function(p, v, where)) return;
    const gal__value *m = gal__member(v, "function");
    place(at, where, "function");
    if (!object(p, m, at) || !only(p, m, at, "name description parameters strict")) return;
    f->name = string(p, m, at, "name", false);
    f->description = gal__member(m, "description") ? string(p, m, at, "description", false) : (gal__string){ "", 0 };
    (void)truth(p, m, at, "strict", false);
    f->parameters = gal__member(m, "parameters");
    place(at, where, "function.parameters");
    if (!object(p, f->parameters, at)) return;
    gal_buf why = { 0 };
    const bool valid = gal__schema_valid(f->parameters, &why);
    if (why.oom && !p->err)
        p->err = gal__chat_no_memory(p->diag);
    else if (!valid && !p->err)
        p->err = gal_fail(p->diag, GAL_EINPUT, "%s: no JSON schema (draft 7): %s", at, why.data);
    gal_buf_free(&why);
    if (!p->err && !is_name(f->name))
        p->err = gal_fail(p->diag, GAL_EINPUT,
                          "%s.function.name: expected 1 to 64 letters, digits, '_' and '-', found \"%.80s\"", where,
                          f->name.s);
}

static void tools(parser *p, gal__request *r, const gal__value *v) {
    char at[WHERE];
    const gal__value *list = gal__member(v, "tools");
    if (!list || list->type == GAL__NULL) return;
    if (list->type != GAL__ARRAY) {
        (void)fail(p, "tools", "an array", list);
        return;
    }
    r->tools = take(p, list->count, sizeof *r->tools);
    for (const gal__value *e = list->first; e && !p->err; e = e->next) {
        say(at, "tools[%zu]", r->n_tools);
        function(p, &r->tools[r->n_tools++], e, at);
    }
}

static void effort(parser *p, gal__request *r, const gal__value *v) {
    const gal__value *m = gal__member(v, "reasoning_effort");
    r->effort = -1;
    if (!m || m->type == GAL__NULL) return;
    for (int i = 0; i < GAL__EFFORTS && m->type == GAL__STRING; i++)
        if (gal__is(m->text, gal__effort_names[i])) r->effort = i;
    if (r->effort < 0) (void)fail(p, "reasoning_effort", "none, minimal, low, medium, high, xhigh or max", m);
}

/* The shape of the answer: only a template with settings puts it into the prompt. */
static void format(parser *p, gal__request *r, const gal__value *v) {
    const gal__value *m = gal__member(v, "response_format");
    if (!m) return;
    if (!object(p, m, "response_format") || !only(p, m, "response_format", "type json_schema")) return;
    const gal__value *type = gal__member(m, "type"), *s = gal__member(m, "json_schema");
    const bool named = type && type->type == GAL__STRING;
    const bool schema = named && gal__is(type->text, "json_schema");
    if (type && !schema && !(named && (gal__is(type->text, "text") || gal__is(type->text, "json_object")))) {
        (void)fail(p, "response_format.type", "text, json_object or json_schema", type);
        return;
    }
    r->any_json = named && gal__is(type->text, "json_object");
    if (!s || s->type == GAL__NULL) {
        if (schema) (void)fail(p, "response_format.json_schema", "an object", s);
        return;
    }
    static const char AT[] = "response_format.json_schema";
    if (!object(p, s, AT) || !only(p, s, AT, "name description schema custom_schema strict")) return;
    (void)string(p, s, AT, "name", false);
    (void)string(p, s, AT, "description", true);
    (void)truth(p, s, AT, "strict", false);
    const gal__value *given = gal__member(s, "schema") ? gal__member(s, "schema") : gal__member(s, "custom_schema");
    gal_buf why = { 0 };
    if (object(p, given, "response_format.json_schema.schema") && !gal__schema_valid(given, &why) && !p->err)
        p->err = why.oom ? gal__chat_no_memory(p->diag)
                         : gal_fail(p->diag, GAL_EINPUT, "%s.schema: no JSON schema (draft 7): %s", AT, why.data);
    gal_buf_free(&why);
    if (schema) r->schema = given;
}

/* Which tool is to be called: no part of the prompt, but a word that means nothing is a mistake. */
static void tool_choice(parser *p, const gal__value *v) {
    static const char *const WORDS[] = { "auto", "none", "any", "required" };
    const gal__value *m = gal__member(v, "tool_choice");
    if (!m) return;
    if (m->type == GAL__OBJECT) {
        const gal__value *f = gal__member(m, "function");
        if (only(p, m, "tool_choice", "type function") && is_function(p, m, "tool_choice") &&
            object(p, f, "tool_choice.function") && only(p, f, "tool_choice.function", "name"))
            (void)string(p, f, "tool_choice.function", "name", false);
        return;
    }
    for (size_t i = 0; i < GAL_LEN(WORDS); i++)
        if (m->type == GAL__STRING && gal__is(m->text, WORDS[i])) return;
    (void)fail(p, "tool_choice", "auto, none, any, required or an object", m);
}

static bool continues(parser *p, gal__request *r, const gal__value *v) {
    if (!truth(p, v, "", "continue_final_message", false) || p->err) return false;
    if (r->n && r->messages[r->n - 1].role == GAL__ASSISTANT) {
        r->messages[r->n - 1].prefix = true;
        return true;
    }
    p->err = gal_fail(p->diag, GAL_EINPUT, "continue_final_message: the last message is not an assistant's");
    return false;
}

const char gal__chat_fields[] =
    "messages tools reasoning_effort continue_final_message tool_choice parallel_tool_calls response_format "
    "model "
    "temperature top_p max_tokens random_seed truncate_for_context_length "
    "stream stream_options n stop seed max_completion_tokens user logprobs top_logprobs logit_bias "
    "presence_penalty frequency_penalty store metadata service_tier safe_prompt prompt_mode";

static gal_err fill(parser *p, gal__request *r, const gal__value *v) {
    r->fill = true;
    if (only(p, v, "body",
             "prompt suffix model temperature top_p max_tokens min_tokens random_seed stream stop seed user")) {
        r->prompt = string(p, v, "", "prompt", false);
        r->suffix = string(p, v, "", "suffix", true);
    }
    return p->err;
}

gal_err gal__chat_parse(gal__request *r, gal__pool *pool, const char *body, size_t n, gal_diag *diag) {
    *r = (gal__request){ .effort = -1 };
    gal__value *v = NULL;
    size_t blank = 0;
    while (blank < n && strchr(" \t\r\n", body[blank])) blank++;
    if (blank == n) return gal_fail(diag, GAL_EINPUT, "body: empty; expected a JSON object");
    gal_err err = gal__tree_read(&v, pool, body, n, true, "body", diag);
    if (err) return err;
    parser p = { .pool = pool, .diag = diag };
    if (v->type == GAL__OBJECT && gal__member(v, "prompt") && !gal__member(v, "messages")) return fill(&p, r, v);
    if (!object(&p, v, "body") || !only(&p, v, "body", gal__chat_fields)) return p.err;
    messages(&p, r, v);
    if (!p.err) tools(&p, r, v);
    if (!p.err) effort(&p, r, v);
    if (!p.err) format(&p, r, v);
    if (!p.err) tool_choice(&p, v);
    if (!p.err) (void)string(&p, v, "", "model", true);
    if (!p.err) (void)truth(&p, v, "", "parallel_tool_calls", true);
    if (!p.err) r->truncate = truth(&p, v, "", "truncate_for_context_length", false);
    if (!p.err) (void)continues(&p, r, v);
    return p.err;
}
