/* talk.c - see talk.h. SPDX-License-Identifier: Apache-2.0 */
#include "infer/talk.h"

#include "base/hash.h"
#include "base/mem.h"
#include "infer/chat_template.h"
#include "text/json_tree.h"

#include <stdio.h>
#include <string.h>

typedef struct message {
    char *json, *role;
} message;

struct gal_talk {
    gal_lm *lm;
    gal_chat_format *format;
    int version; /* whose tokens an answer is told apart by; 0: none of the family's */
    message *messages;
    size_t n, cap;
    char *tools, *effort;
    gal_reply *last;
    int64_t used;
};

static gal_err no_memory(gal_diag *diag) { return gal_fail(diag, GAL_ENOMEM, "no memory for a conversation"); }

gal_err gal_talk_new(gal_talk **out, gal_lm *lm, const char *path, const char *template, gal_diag *diag) {
    char why[GAL_LM_WHY];
    if (!lm->tokenizer)
        return gal_fail(diag, GAL_EINPUT, "%s: %s: it cannot hold a conversation", path,
                        gal_lm_no_tokenizer(why, lm->dir.data));
    gal_talk *c = gal_alloc(sizeof *c);
    gal_buf where = { 0 };
    if (!c) return no_memory(diag);
    c->lm = lm;
    gal_err err = gal_lm_vocabulary(lm, &where, diag);
    if (!err) err = gal_chat_format_open(&c->format, lm->tokenizer, where.data, template, diag);
    if (!err) c->version = gal_chat_format_version(c->format);
    if (!err && !c->version) c->version = gal_chat_version(lm->tokenizer, where.data);
    gal_buf_free(&where);
    if (err) {
        gal_talk_free(c);
        return err;
    }
    lm->keeps = true;
    *out = c;
    return GAL_OK;
}

void gal_talk_free(gal_talk *c) {
    if (!c) return;
    gal_talk_cut(c, 0);
    gal_reply_free(c->last);
    gal_free(c->messages);
    gal_free(c->tools);
    gal_free(c->effort);
    gal_chat_format_free(c->format);
    gal_free(c);
}

const char *gal_talk_template_name(const gal_talk *c) { return gal_chat_format_name(c->format); }
bool gal_talk_thinks(const gal_talk *c) { return c->version >= 13; }

/* ---- messages -----------------------------------------------------------------------------------------------------
 */

size_t gal_talk_count(const gal_talk *c) { return c->n; }

const char *gal_talk_role(const gal_talk *c, size_t i) {
    GAL_ASSERT(i < c->n);
    return c->messages[i].role;
}

const char *gal_talk_json(const gal_talk *c, size_t i) {
    GAL_ASSERT(i < c->n);
    return c->messages[i].json;
}

void gal_talk_cut(gal_talk *c, size_t count) {
    for (; c->n > count; c->n--) {
        gal_free(c->messages[c->n - 1].json);
        gal_free(c->messages[c->n - 1].role);
    }
}

/* Messages [from, to). */
typedef struct range {
    size_t from, to;
} range;
static const range NOTHING = { 0, 0 };

static void drop(gal_talk *c, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        gal_free(c->messages[i].json);
        gal_free(c->messages[i].role);
    }
    memmove(c->messages + from, c->messages + to, (c->n - to) * sizeof *c->messages);
    c->n -= to - from;
}

static gal_err insert(gal_talk *c, size_t at, const char *role, const char *json, gal_diag *diag) {
    void *p = c->messages;
    if (c->n == c->cap && gal_grow(&p, &c->cap, c->n + 1, sizeof *c->messages) != 0) return no_memory(diag);
    c->messages = p;
    message m = { gal_strdup(json), gal_strdup(role) };
    if (!m.json || !m.role) {
        gal_free(m.json);
        gal_free(m.role);
        return no_memory(diag);
    }
    memmove(c->messages + at + 1, c->messages + at, (c->n - at) * sizeof *c->messages);
    c->messages[at] = m;
    c->n++;
    return GAL_OK;
}

static gal_err insert_text(gal_talk *c, size_t at, const char *role, const char *text, size_t n, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_buf_printf(&b, "{\"role\": \"%s\", \"content\": ", role);
    gal_buf_json(&b, text, n);
    gal_buf_putc(&b, '}');
    gal_err err = b.oom ? no_memory(diag) : insert(c, at, role, b.data, diag);
    gal_buf_free(&b);
    return err;
}

gal_err gal_talk_say(gal_talk *c, const char *role, const char *text, size_t n, gal_diag *diag) {
    return insert_text(c, c->n, role, text, n, diag);
}

gal_err gal_talk_result(gal_talk *c, const char *call_id, const char *name, const char *text, size_t n,
                        gal_diag *diag) {
    gal_buf b = { 0 };
    gal_buf_puts(&b, "{\"role\": \"tool\", \"tool_call_id\": ");
    gal_buf_json(&b, call_id, strlen(call_id));
    gal_buf_puts(&b, ", \"name\": ");
    gal_buf_json(&b, name, strlen(name));
    gal_buf_puts(&b, ", \"content\": ");
    gal_buf_json(&b, text, n);
    gal_buf_putc(&b, '}');
    gal_err err = b.oom ? no_memory(diag) : insert(c, c->n, "tool", b.data, diag);
    gal_buf_free(&b);
    return err;
}

static bool is(const gal_talk *c, size_t i, const char *role) { return strcmp(c->messages[i].role, role) == 0; }

bool gal_talk_waits(const gal_talk *c) { return c->n && (is(c, c->n - 1, "user") || is(c, c->n - 1, "tool")); }

bool gal_talk_undo(gal_talk *c) {
    for (size_t i = c->n; i > 0; i--) {
        if (!is(c, i - 1, "user")) continue;
        gal_talk_cut(c, i - 1);
        return true;
    }
    return false;
}

gal_err gal_talk_system(gal_talk *c, const char *text, size_t n, gal_diag *diag) {
    size_t old = 0;
    while (old < c->n && is(c, old, "system")) old++;
    gal_err err = text ? insert_text(c, 0, "system", text, n, diag) : GAL_OK;
    if (!err) drop(c, text ? 1 : 0, old + (text ? 1 : 0));
    return err;
}

static gal_err replace(char **at, const char *s, gal_diag *diag) {
    char *copy = s ? gal_strdup(s) : NULL;
    if (s && !copy) return no_memory(diag);
    gal_free(*at);
    *at = copy;
    return GAL_OK;
}

/* The ids of a question with these tools and that effort. */
static gal_err probe(const gal_talk *c, char *tools, char *effort, gal_ids *ids, gal_diag *diag) {
    gal_talk p = { .lm = c->lm, .format = c->format, .tools = tools, .effort = effort };
    gal_err err = insert_text(&p, 0, "user", "a", 1, diag);
    if (!err) err = gal_talk_ids(&p, ids, NULL, diag);
    gal_talk_cut(&p, 0);
    gal_free(p.messages);
    return err;
}

/* Takes the place of *at if the template takes it, with any question. */
static gal_err try_out(gal_talk *c, char **at, const char *s, gal_diag *diag) {
    char *copy = s ? gal_strdup(s) : NULL, *old = *at;
    if (s && !copy) return no_memory(diag);
    gal_ids ids = { 0 };
    *at = copy;
    gal_err err = probe(c, c->tools, c->effort, &ids, diag);
    gal_ids_free(&ids);
    if (err) *at = old;
    gal_free(err ? copy : old);
    return err;
}

bool gal_talk_uses_tools(const gal_talk *c) {
    gal_ids with = { 0 }, without = { 0 };
    bool same = probe(c, c->tools, NULL, &with, NULL) == GAL_OK && probe(c, NULL, NULL, &without, NULL) == GAL_OK &&
                with.len == without.len;
    same = same && memcmp(with.data, without.data, with.len * sizeof *with.data) == 0;
    gal_ids_free(&with);
    gal_ids_free(&without);
    return !same;
}

gal_err gal_talk_tools(gal_talk *c, const char *tools, gal_diag *diag) { return try_out(c, &c->tools, tools, diag); }
gal_err gal_talk_effort(gal_talk *c, const char *effort, gal_diag *diag) {
    return try_out(c, &c->effort, effort, diag);
}
const char *gal_talk_get_tools(const gal_talk *c) { return c->tools; }
const char *gal_talk_get_effort(const gal_talk *c) { return c->effort; }

/* ---- reading and printing -----------------------------------------------------------------------------------------
 */

static gal_err print_value(char **at, const gal__value *v, gal_diag *diag) {
    gal_buf b = { 0 };
    gal__tree_print(&b, v);
    gal_err err = b.oom ? no_memory(diag) : replace(at, b.data, diag);
    gal_buf_free(&b);
    return err;
}

/* Nine letters and digits, which templates V3 to V11 want an id of a call to be, made of any other id. */
static void nine(char out[10], gal__string id) {
    static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    uint64_t h = gal_hash64(id.s, id.n, 9);
    for (int i = 0; i < 9; i++, h /= sizeof LETTERS - 1) out[i] = LETTERS[h % (sizeof LETTERS - 1)];
    out[9] = 0;
}

static bool is_nine(gal__string id) {
    bool good = id.n == 9;
    for (size_t i = 0; good && i < id.n; i++)
        good = (id.s[i] >= '0' && id.s[i] <= '9') || (id.s[i] >= 'a' && id.s[i] <= 'z') ||
               (id.s[i] >= 'A' && id.s[i] <= 'Z');
    return good;
}

/* In place, for the templates that want it. */
static gal_err change_id(const gal_talk *c, gal__value *v, gal__pool *pool, gal_diag *diag) {
    char id[10];
    if (c->version < 3 || c->version > 11 || v->type != GAL__STRING || is_nine(v->text)) return GAL_OK;
    nine(id, v->text);
    return gal__pool_string(pool, &v->text, id, 9) ? GAL_OK : no_memory(diag);
}

static gal_err change_ids(const gal_talk *c, gal__value *v, gal__pool *pool, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (gal__value *m = v->first; m && !err; m = m->next) {
        if (gal__is(m->key, "tool_call_id")) err = change_id(c, m, pool, diag);
        if (!gal__is(m->key, "tool_calls") || m->type != GAL__ARRAY) continue;
        for (gal__value *call = m->first; call && !err; call = call->next)
            for (gal__value *f = call->type == GAL__OBJECT ? call->first : NULL; f && !err; f = f->next)
                if (gal__is(f->key, "id")) err = change_id(c, f, pool, diag);
    }
    return err;
}

/* Without members that say nothing ("refusal": null, "annotations": []), or nothing that a template has a place for
 * (a participant's name, the reasoning of models that are not the family's). */
static bool passed_over(const gal__value *m, const char *role) {
    const bool empty = m->type == GAL__NULL || (m->type == GAL__ARRAY && !m->count);
    if (gal__is(m->key, "content")) return false;
    return empty || gal__is(m->key, "role") || gal__is(m->key, "reasoning_content") ||
           (gal__is(m->key, "name") && strcmp(role, "tool") != 0);
}

static void print_message(gal_buf *b, const gal__value *v, const char *role) {
    gal_buf_puts(b, "{\"role\": ");
    gal_buf_json(b, role, strlen(role));
    for (const gal__value *m = v->first; m; m = m->next) {
        if (passed_over(m, role)) continue;
        gal_buf_puts(b, ", ");
        gal__print_string(b, m->key);
        gal_buf_puts(b, ": ");
        gal__tree_print(b, m);
    }
    gal_buf_putc(b, '}');
}

static gal_err read_messages(gal_talk *into, const gal__value *list, gal__pool *pool, const char *name,
                             gal_diag *diag) {
    size_t i = 0;
    gal_err err = GAL_OK;
    for (gal__value *v = list->first; v && !err; v = v->next, i++) {
        const gal__value *role = v->type == GAL__OBJECT ? gal__member(v, "role") : NULL;
        if (!role || role->type != GAL__STRING)
            return gal_fail(diag, GAL_EINPUT, "%s: messages[%zu]: expected an object with a role", name, i);
        gal_buf b = { 0 };
        const char *name_of_role = strcmp(role->text.s, "developer") == 0 ? "system" : role->text.s;
        err = change_ids(into, v, pool, diag);
        print_message(&b, v, name_of_role);
        if (!err) err = b.oom ? no_memory(diag) : insert(into, into->n, name_of_role, b.data, diag);
        gal_buf_free(&b);
    }
    return err;
}

gal_err gal_talk_read(gal_talk *c, const char *body, size_t n, const char *name, gal_diag *diag) {
    gal__pool pool;
    gal__pool_init(&pool);
    gal__value *tree = NULL;
    pool.halves = true;
    gal_talk into = { .lm = c->lm, .format = c->format, .version = c->version };
    gal_err err = gal__tree_read(&tree, &pool, body, n, true, name, diag);
    const gal__value *messages = tree, *tools = NULL, *effort = NULL;
    if (!err && tree->type == GAL__OBJECT) {
        messages = gal__member(tree, "messages");
        tools = gal__member(tree, "tools");
        effort = gal__member(tree, "reasoning_effort");
    }
    if (!err && (!messages || messages->type != GAL__ARRAY))
        err = gal_fail(diag, GAL_EINPUT, "%s: expected a list of messages, or an object that has one as \"messages\"",
                       name);
    if (!err) err = read_messages(&into, messages, &pool, name, diag);
    if (!err && tools && tools->type != GAL__NULL) err = print_value(&into.tools, tools, diag);
    if (!err && effort && effort->type == GAL__STRING) err = replace(&into.effort, effort->text.s, diag);
    /* What the template refuses is refused now, not at the next question. */
    gal_ids ids = { 0 };
    gal_diag why = { 0 };
    if (!err && into.n && (err = gal_talk_ids(&into, &ids, NULL, &why)) != GAL_OK)
        (void)gal_fail(diag, err, "%s: %s", name, why.text);
    gal_ids_free(&ids);
    gal__pool_free(&pool);
    if (!err) {
        gal_talk_cut(c, 0);
        gal_free(c->messages);
        gal_free(c->tools);
        gal_free(c->effort);
        c->messages = into.messages;
        c->n = into.n;
        c->cap = into.cap;
        c->tools = into.tools;
        c->effort = into.effort;
        return GAL_OK;
    }
    gal_talk_cut(&into, 0);
    gal_free(into.messages);
    gal_free(into.tools);
    gal_free(into.effort);
    return err;
}

/* ends: a conversation whose last message is the assistant's is said to go on, so that it is a body that templates
 * take. */
static void print_body(const gal_talk *c, gal_buf *b, const char *between, bool ends, range without) {
    gal_buf_printf(b, "{\"messages\": [%s", between);
    for (size_t i = 0; i < c->n; i++) {
        const char *comma = i + 1 < c->n ? "," : "";
        if (i >= without.from && i < without.to) continue;
        gal_buf_printf(b, "%s%s%s", c->messages[i].json, comma, between);
    }
    gal_buf_puts(b, "]");
    if (c->tools) gal_buf_printf(b, ",%s\"tools\": %s", *between ? between : " ", c->tools);
    if (c->effort) {
        gal_buf_printf(b, ",%s\"reasoning_effort\": ", *between ? between : " ");
        gal_buf_json(b, c->effort, strlen(c->effort));
    }
    if (ends) gal_buf_puts(b, ", \"continue_final_message\": true");
    gal_buf_printf(b, "}%s", between);
}

gal_err gal_talk_print(const gal_talk *c, gal_buf *out, gal_diag *diag) {
    print_body(c, out, "\n", false, NOTHING);
    return out->oom ? no_memory(diag) : GAL_OK;
}

gal_err gal_talk_text(const gal_talk *c, size_t i, gal_buf *out, gal_diag *diag) {
    gal__pool pool;
    gal__pool_init(&pool);
    gal__value *tree = NULL;
    const char *json = gal_talk_json(c, i);
    gal_err err = gal__tree_read(&tree, &pool, json, strlen(json), true, "a message", diag);
    const gal__value *content = err ? NULL : gal__member(tree, "content");
    if (content && content->type == GAL__STRING) gal_buf_add(out, content->text.s, content->text.n);
    for (const gal__value *v = content && content->type == GAL__ARRAY ? content->first : NULL; v; v = v->next) {
        const gal__value *text = v->type == GAL__OBJECT ? gal__member(v, "text") : NULL;
        if (text && text->type == GAL__STRING) gal_buf_add(out, text->text.s, text->text.n);
    }
    if (!err && out->oom) err = no_memory(diag);
    gal__pool_free(&pool);
    return err;
}

/* ---- answers ------------------------------------------------------------------------------------------------------
 */

static gal_err ids_without(const gal_talk *c, range without, gal_ids *ids, gal_chat_spans *spans, gal_diag *diag) {
    gal_buf body = { 0 };
    print_body(c, &body, "", c->n && is(c, c->n - 1, "assistant"), without);
    gal_err err = body.oom
                      ? no_memory(diag)
                      : gal_chat_format_encode(c->format, c->lm->tokenizer, body.data, body.len, ids, spans, diag);
    gal_buf_free(&body);
    return err;
}

gal_err gal_talk_ids(const gal_talk *c, gal_ids *ids, gal_chat_spans *spans, gal_diag *diag) {
    return ids_without(c, NOTHING, ids, spans, diag);
}

/* The oldest question and all up to the next one, beside what goes already; false: that is the last. */
static bool one_more(const gal_talk *c, range *without) {
    const bool begun = without->to > without->from;
    size_t first = begun ? without->from : 0;
    while (first < c->n && !is(c, first, "user")) first++;
    size_t next = (begun ? without->to : first) + 1; /* after a question, which may go itself */
    while (next < c->n && !is(c, next, "user")) next++;
    if (next >= c->n) return false;
    *without = (range){ first, next };
    return true;
}

/* Ids that leave room for an answer; *without: what must go for that. Nothing goes before there is an answer. */
static gal_err fit(const gal_talk *c, const gal_talk_how *how, gal_ids *ids, range *without, gal_diag *diag) {
    const int64_t context = gal_engine_context(c->lm->engine),
                  wanted = how->reserve > 0 ? how->reserve : GAL_MIN(context / 4, (int64_t)64),
                  reserve = GAL_MIN(GAL_MAX(wanted, (int64_t)1), context);
    size_t whole = 0;
    for (*without = NOTHING;;) {
        ids->len = 0;
        gal_err err = ids_without(c, *without, ids, NULL, diag);
        if (err || (int64_t)ids->len <= context - reserve) return err;
        whole = GAL_MAX(whole, ids->len);
        if (how->when_full == GAL_FULL_DROP && one_more(c, without)) continue;
        return gal_fail(diag, GAL_ENOMEM,
                        "the context is full: the conversation has %zu tokens, and %lld of the %lld are for it (%lld "
                        "for an answer)%s",
                        whole, (long long)(context - reserve), (long long)context, (long long)reserve,
                        how->when_full == GAL_FULL_DROP ? "; the last question alone has too many" : "");
    }
}

typedef struct asking {
    gal_reply *reply;
    const gal_talk_view *view;
    int64_t tokens;
    gal_err err;
    gal_diag *diag;
} asking;

static int on_token(void *user, int32_t id, const char *text, size_t bytes) {
    asking *a = user;
    (void)text;
    (void)bytes;
    if (id < 0 || a->err) return a->err != GAL_OK;
    a->err = gal_reply_feed(a->reply, id, a->view->text, a->view->user, a->diag);
    a->tokens++;
    if (!a->err && a->view->token) a->view->token(a->view->user, a->tokens);
    return a->err != GAL_OK;
}

/* Whether the answer is worth a message: templates refuse one that is empty. */
static bool says_something(const gal_talk *c, const char *json) {
    return gal_reply_calls(c->last) || !strstr(json, "\"content\": \"\"}");
}

gal_err gal_talk_ask(gal_talk *c, const gal_talk_how *how, const gal_talk_view *view, gal_talk_answer *answer,
                     gal_diag *diag) {
    gal_ids ids = { 0 };
    *answer = (gal_talk_answer){ 0 };
    gal_generate_options o = how->generate;
    if (o.max_tokens <= 0) o.max_tokens = INT64_MAX;
    gal_reply_options ro = {
        .version = c->version, .stops = o.stops, .stop_count = o.n_stops, .seed = o.sampling.seed + c->n
    };
    gal_reply *reply = NULL;
    range without;
    gal_err err = fit(c, how, &ids, &without, diag);
    if (!err) err = gal_reply_new(&reply, c->lm->tokenizer, &ro, diag);
    if (err) {
        gal_ids_free(&ids);
        return err;
    }
    asking a = { .reply = reply, .view = view, .diag = diag };
    err = gal_lm_generate_ids(c->lm, ids.data, ids.len, &o, on_token, &a, &answer->result, diag);
    answer->cached = c->lm->kept;
    if (!err) err = a.err;
    if (!err) err = gal_reply_end(reply, view->text, view->user, diag);
    gal_ids_free(&ids);
    if (err) {
        gal_reply_free(reply);
        return err;
    }
    drop(c, without.from, without.to);
    answer->dropped = without.to - without.from;
    gal_reply_free(c->last);
    c->last = reply;
    c->used = GAL_MIN(answer->result.prompt_tokens + answer->result.tokens, gal_engine_context(c->lm->engine));
    answer->incomplete = answer->result.stop != GAL_STOP_EOS && answer->result.stop != GAL_STOP_STRING;
    gal_buf json = { 0 };
    err = gal_reply_message(reply, &json, diag);
    answer->said = !err && says_something(c, json.data);
    if (answer->said) err = insert(c, c->n, "assistant", json.data, diag);
    gal_buf_free(&json);
    return err;
}

const gal_reply *gal_talk_last(const gal_talk *c) { return c->last; }
int64_t gal_talk_used(const gal_talk *c) { return c->used; }
