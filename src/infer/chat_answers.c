/* chat_answers.c - which ids of a conversation an assistant said, for those who learn from it. Mistral's own
 * templates know it as they write. Of a Jinja template it is found by rendering beginnings: the conversation up to a
 * message with the words that ask for an answer, and the one that ends with it; what the second has beyond the first
 * is the message. So any template that only appends can be learned from, whether it has {% generation %} or not; one
 * that writes earlier turns in another way later on is refused. SPDX-License-Identifier: Apache-2.0 */
#include "infer/chat_template.h"

#include "text/json_tree.h"

#include <string.h>

typedef struct finder {
    const gal_chat_format *f;
    const gal_tokenizer *t;
    const struct tm *now;
    gal__pool pool;
    gal__value *body, *messages, *prompt; /* prompt: add_generation_prompt */
    gal_ids all, part;
    gal_chat_spans spans;
    gal_buf text;
    gal_diag *diag;
} finder;

static gal_err no_memory(gal_diag *diag) { return gal_fail(diag, GAL_ENOMEM, "no memory for a conversation"); }

static gal_err read_body(finder *w, const char *body, size_t n) {
    static const char NAME[] = "add_generation_prompt";
    gal_err err = gal__tree_read(&w->body, &w->pool, body, n, true, "body", w->diag);
    if (err) return err;
    if (w->body->type != GAL__OBJECT)
        return gal_fail(w->diag, GAL_EINPUT, "body: expected an object, found %s", gal__type_name(w->body));
    gal__value **end = &w->body->first;
    for (; *end; end = &(*end)->next) {
        if (gal__is((*end)->key, "messages")) w->messages = *end;
        if (gal__is((*end)->key, NAME)) w->prompt = *end;
    }
    if (!w->messages || w->messages->type != GAL__ARRAY)
        return gal_fail(w->diag, GAL_EINPUT, "messages: expected a list of messages");
    if (w->prompt) return GAL_OK;
    w->prompt = *end = gal__pool_take(&w->pool, sizeof **end);
    if (!w->prompt) return no_memory(w->diag);
    w->prompt->key = (gal__string){ NAME, sizeof NAME - 1 };
    w->body->count++;
    return GAL_OK;
}

/* Ids of the conversation up to a message, which is the last. */
static gal_err render(finder *w, gal__value *last, uint32_t count, bool prompt, gal_ids *ids, gal_chat_spans *spans) {
    gal__value *const rest = last->next;
    const uint32_t all = w->messages->count;
    last->next = NULL;
    w->messages->count = count;
    w->prompt->type = prompt ? GAL__TRUE : GAL__FALSE;
    gal_buf_clear(&w->text);
    gal__tree_print(&w->text, w->body);
    last->next = rest;
    w->messages->count = all;
    ids->len = 0;
    return w->text.oom
               ? no_memory(w->diag)
               : gal__chat_format_encode_at(w->f, w->t, w->now, w->text.data, w->text.len, ids, spans, w->diag);
}

/* Whether a text that begins with the part's pieces is the whole one, and how many of its tokens lie within them: at
 * the border a token may hold bytes of both sides. */
static bool within(const finder *w, const gal_ids *part, size_t *tokens) {
    const gal_ids *all = &w->all;
    size_t i = 0, bytes = 0, have = 0, n;
    while (i < part->len && i < all->len && part->data[i] == all->data[i]) i++;
    gal_buf rest = { 0 };
    for (size_t k = i; k < part->len; k++) {
        const char *s = gal_tokenizer_piece(w->t, part->data[k], &n);
        gal_buf_add(&rest, s, n);
    }
    bytes = rest.len;
    *tokens = i;
    bool same = !rest.oom;
    for (size_t k = i; same && have < bytes && k < all->len; k++) {
        const char *s = gal_tokenizer_piece(w->t, all->data[k], &n);
        same = memcmp(rest.data + have, s, GAL_MIN(n, bytes - have)) == 0;
        have += n;
        if (have <= bytes) *tokens = k + 1;
    }
    gal_buf_free(&rest);
    return same && have >= bytes;
}

static gal_chat_kind kind_of(const finder *w, size_t at) {
    size_t i = 0;
    while (i + 1 < w->spans.len && w->spans.data[i + 1].begin <= at) i++;
    return w->spans.data[i].kind;
}

/* Behind the control token that ends a message may stand words of the template, which nobody has to say. */
static size_t said_until(const finder *w, size_t begin, size_t end) {
    size_t at = end;
    while (at > begin && kind_of(w, at - 1) == GAL_CHAT_LITERAL) at--;
    return at > begin && kind_of(w, at - 1) == GAL_CHAT_CONTROL ? at : end;
}

static gal_err find(finder *w, gal_buf *answers) {
    gal__value *before = NULL;
    uint32_t i = 0;
    for (gal__value *m = w->messages->first; m; before = m, m = m->next, i++) {
        const gal__value *role = m->type == GAL__OBJECT ? gal__member(m, "role") : NULL;
        if (!role || role->type != GAL__STRING || !gal__is(role->text, "assistant")) continue;
        if (!before)
            return gal_fail(w->diag, GAL_EINPUT, "messages[0]: an assistant's; expected something that it answers");
        size_t begin = 0, end = 0;
        gal_err err = render(w, before, i, true, &w->part, NULL);
        bool tells = !err && within(w, &w->part, &begin);
        if (!err && tells) err = render(w, m, i + 1, false, &w->part, NULL);
        if (err) return err;
        tells = tells && within(w, &w->part, &end) && end >= begin;
        if (!tells)
            return gal_fail(
                w->diag, GAL_EINPUT,
                "messages[%u]: template %s writes this message in another way when others follow, so what "
                "the assistant said cannot be told",
                i, gal_chat_format_name(w->f));
        end = said_until(w, begin, end);
        for (size_t k = begin; k < end; k++) answers->data[k] = 1;
    }
    return GAL_OK;
}

/* All of the conversation, of which nothing is marked yet. */
static gal_err take_all(finder *w, gal_ids *ids, gal_buf *answers) {
    gal__value *last = w->messages->first;
    if (!last) return gal_fail(w->diag, GAL_EINPUT, "messages: empty; expected at least one message");
    while (last->next) last = last->next;
    gal_err err = render(w, last, w->messages->count, false, &w->all, &w->spans);
    for (size_t i = 0; !err && i < w->all.len; i++) {
        err = gal_ids_add(ids, w->all.data[i], w->diag);
        gal_buf_putc(answers, 0);
    }
    return !err && answers->oom ? no_memory(w->diag) : err;
}

static gal_err by_spans(const gal_chat_spans *spans, size_t n, gal_buf *answers, gal_diag *diag) {
    for (size_t i = 0; i < spans->len; i++) {
        const size_t end = i + 1 < spans->len ? spans->data[i + 1].begin : n;
        for (size_t k = spans->data[i].begin; k < end; k++) gal_buf_putc(answers, spans->data[i].answer);
    }
    return answers->oom ? no_memory(diag) : GAL_OK;
}

gal_err gal_chat_format_learn(const gal_chat_format *f, const gal_tokenizer *t, const struct tm *now,
                              const char *body, size_t n, gal_ids *ids, gal_buf *answers, gal_diag *diag) {
    finder w = { .f = f, .t = t, .now = now, .diag = diag };
    const int version = gal_chat_format_version(f);
    gal_err err = GAL_OK;
    ids->len = 0;
    gal_buf_clear(answers);
    if (version) {
        err = gal_chat_encode_whole(t, version, body, n, ids, &w.spans, diag);
        if (!err) err = by_spans(&w.spans, ids->len, answers, diag);
    } else {
        gal__pool_init(&w.pool);
        err = read_body(&w, body, n);
        if (!err) err = take_all(&w, ids, answers);
        if (!err) err = find(&w, answers);
        gal__pool_free(&w.pool);
    }
    gal_ids_free(&w.all);
    gal_ids_free(&w.part);
    gal_chat_spans_free(&w.spans);
    gal_buf_free(&w.text);
    return err;
}
