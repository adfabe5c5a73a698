/* chat_reply.c - see chat_reply.h. Owns the texts of one answer, run by run. SPDX-License-Identifier: Apache-2.0 */
#include "text/chat_reply.h"

#include "base/mem.h"
#include "base/rng.h"
#include "text/json_tree.h"

#include <string.h>

/* Which run of tokens comes now. */
typedef enum part {
    TEXT,
    THINK,
    LIST, /* all calls in one JSON array */
    NAME,
    ID,
    ARGUMENTS
} part;

typedef struct call {
    gal_buf name, id, arguments;
} call;

/* A run of text or thinking, as content has them. */
typedef struct run {
    bool thinks, closed;
    gal_buf text;
} run;

enum { MARKS = 5, ID_LETTERS = 9 };

struct gal_reply {
    const gal_tokenizer *t;
    gal_reply_options how; /* without its stops */
    int32_t mark[MARKS];   /* ids of control pieces; -1: not in this template */
    gal_stream *stream;
    part part;
    bool began, ended;
    run *runs;
    size_t n_runs, runs_cap;
    call *calls;
    size_t n_calls, calls_cap;
    gal_buf list;
    bool bad;
    char **stops;
    size_t n_stops;
};

enum { CALLS, CALL_ID, ARGS, THINK_ON, THINK_OFF };

static gal_err no_memory(gal_diag *diag) { return gal_fail(diag, GAL_ENOMEM, "no memory for an answer"); }

static int32_t control_id(const gal_tokenizer *t, const char *name) {
    int32_t id = gal_tokenizer_find(t, name, strlen(name));
    return id >= 0 && gal_tokenizer_type(t, id) == GAL_PIECE_CONTROL ? id : -1;
}

gal_err gal_reply_new(gal_reply **out, const gal_tokenizer *t, const gal_reply_options *options, gal_diag *diag) {
    static const struct {
        const char *name;
        int from, to; /* versions */
    } NAMES[MARKS] = { [CALLS] = { "[TOOL_CALLS]", 2, 99 },
                       [CALL_ID] = { "[CALL_ID]", 11, 11 },
                       [ARGS] = { "[ARGS]", 11, 99 },
                       [THINK_ON] = { "[THINK]", 13, 99 },
                       [THINK_OFF] = { "[/THINK]", 13, 99 } };
    gal_reply *r = gal_alloc(sizeof *r);
    if (!r) return no_memory(diag);
    r->t = t;
    r->how = (gal_reply_options){ .version = options->version, .seed = options->seed };
    for (size_t i = 0; i < MARKS; i++) {
        bool has = options->version >= NAMES[i].from && options->version <= NAMES[i].to;
        r->mark[i] = has ? control_id(t, NAMES[i].name) : -1;
    }
    r->stops = gal_alloc_array(options->stop_count, sizeof *r->stops);
    for (; r->stops && r->n_stops < options->stop_count; r->n_stops++)
        if (!(r->stops[r->n_stops] = gal_strdup(options->stops[r->n_stops]))) break;
    if (!r->stops || r->n_stops < options->stop_count) {
        gal_reply_free(r);
        return no_memory(diag);
    }
    *out = r;
    return GAL_OK;
}

void gal_reply_free(gal_reply *r) {
    if (!r) return;
    for (size_t i = 0; i < r->n_runs; i++) gal_buf_free(&r->runs[i].text);
    for (size_t i = 0; i < r->n_calls; i++) {
        gal_buf_free(&r->calls[i].name);
        gal_buf_free(&r->calls[i].id);
        gal_buf_free(&r->calls[i].arguments);
    }
    for (size_t i = 0; i < r->n_stops; i++) gal_free(r->stops[i]);
    gal_free(r->stops);
    gal_free(r->runs);
    gal_free(r->calls);
    gal_buf_free(&r->list);
    gal_stream_free(r->stream);
    gal_free(r);
}

/* ---- runs ---------------------------------------------------------------------------------------------------------
 */

static run *add_run(gal_reply *r, bool thinks) {
    void *p = r->runs;
    if (r->n_runs == r->runs_cap && gal_grow(&p, &r->runs_cap, r->n_runs + 1, sizeof *r->runs) != 0) return NULL;
    r->runs = p;
    GAL_ASSERT(r->runs);
    r->runs[r->n_runs] = (run){ .thinks = thinks };
    return &r->runs[r->n_runs++];
}

static call *add_call(gal_reply *r) {
    void *p = r->calls;
    if (r->n_calls == r->calls_cap && gal_grow(&p, &r->calls_cap, r->n_calls + 1, sizeof *r->calls) != 0) return NULL;
    r->calls = p;
    r->calls[r->n_calls] = (call){ 0 };
    return &r->calls[r->n_calls++];
}

/* Where text of the present part goes. NULL: no memory. */
static gal_buf *place(gal_reply *r) {
    call *c = r->n_calls ? &r->calls[r->n_calls - 1] : NULL;
    switch (r->part) {
    case TEXT:
    case THINK: {
        run *last = r->n_runs ? &r->runs[r->n_runs - 1] : NULL;
        if (!last || last->thinks != (r->part == THINK) || last->closed) last = add_run(r, r->part == THINK);
        return last ? &last->text : NULL;
    }
    case LIST:
        return &r->list;
    case NAME:
        return &c->name;
    case ID:
        return &c->id;
    case ARGUMENTS:
        return &c->arguments;
    }
    return NULL;
}

static gal_err take(gal_reply *r, const char *text, size_t n, gal_reply_fn fn, void *user, gal_diag *diag) {
    if (!n) return GAL_OK;
    gal_buf *to = place(r);
    if (to) gal_buf_add(to, text, n);
    if (!to || to->oom) return no_memory(diag);
    if (fn)
        fn(user, r->part == TEXT ? GAL_REPLY_TEXT : r->part == THINK ? GAL_REPLY_THINKING : GAL_REPLY_CALL, text, n);
    return GAL_OK;
}

/* What a part's stream held back is given out; the next part has a stream of its own, so that no character and no
 * stop string reaches across a control token. Only the answer's own beginning loses the space before a text. */
static gal_err close_part(gal_reply *r, gal_reply_fn fn, void *user, gal_diag *diag) {
    const char *text = "";
    size_t n = 0;
    if (!r->stream) return GAL_OK;
    gal_err err = gal_stream_end(r->stream, &text, &n, diag);
    if (!err) err = take(r, text, n, fn, user, diag);
    gal_stream_free(r->stream);
    r->stream = NULL;
    return err;
}

static gal_err next_part(gal_reply *r, int32_t id, gal_reply_fn fn, void *user, gal_diag *diag) {
    gal_err err = close_part(r, fn, user, diag);
    if (err) return err;
    if (id == r->mark[CALLS]) {
        const bool list = r->mark[ARGS] < 0;
        r->part = list ? LIST : NAME;
        if (!list && !add_call(r)) return no_memory(diag);
    } else if (id == r->mark[CALL_ID]) {
        if (r->part == NAME) r->part = ID;
    } else if (id == r->mark[ARGS]) {
        if (r->part == NAME || r->part == ID) r->part = ARGUMENTS;
    } else if (id == r->mark[THINK_ON]) {
        r->part = THINK;
        if (!add_run(r, true)) return no_memory(diag);
    } else if (r->part == THINK) {
        if (r->n_runs && r->runs[r->n_runs - 1].thinks) r->runs[r->n_runs - 1].closed = true;
        r->part = TEXT;
    }
    return GAL_OK;
}

gal_err gal_reply_feed(gal_reply *r, int32_t id, gal_reply_fn fn, void *user, gal_diag *diag) {
    for (size_t i = 0; i < MARKS; i++)
        if (id >= 0 && id == r->mark[i]) return next_part(r, id, fn, user, diag);
    gal_err err = GAL_OK;
    if (!r->stream) {
        const bool text = r->part == TEXT;
        const gal_stream_options o = { .keep_prefix_space = r->began && text,
                                       .stops = (const char *const *)r->stops,
                                       .stop_count = text ? r->n_stops : 0 };
        err = gal_stream_new(&r->stream, r->t, &o, diag);
        r->began = true;
    }
    const char *text = "";
    size_t n = 0;
    if (!err) err = gal_stream_feed(r->stream, id, &text, &n, diag);
    return err ? err : take(r, text, n, fn, user, diag);
}

/* ---- calls --------------------------------------------------------------------------------------------------------
 */

/* An id as the family's templates want it. */
static void make_id(const gal_reply *r, gal_buf *id, size_t i) {
    static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    for (uint64_t k = 0; k < ID_LETTERS; k++)
        gal_buf_putc(id, LETTERS[gal_rng_below(r->how.seed, 0x746f6f6c, 16 * i + k, sizeof LETTERS - 1)]);
}

static bool good_name(const gal_buf *name) {
    if (!name->len || name->len > 64) return false;
    for (size_t i = 0; i < name->len; i++) {
        const char c = name->data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
            return false;
    }
    return true;
}

static void trim(gal_buf *b) {
    size_t skip = 0;
    while (skip < b->len && strchr(" \t\r\n", b->data[skip])) skip++;
    gal_buf_drop(b, skip);
    while (b->len && strchr(" \t\r\n", b->data[b->len - 1])) b->data[--b->len] = 0;
}

/* One element of the array. */
static gal_err read_call(gal_reply *r, const gal__value *v, bool *good, gal_diag *diag) {
    const gal__value *name = gal__member(v, "name"), *arguments = gal__member(v, "arguments"),
                     *id = gal__member(v, "id");
    *good = name && name->type == GAL__STRING && arguments;
    if (!*good) return GAL_OK;
    call *c = add_call(r);
    if (!c) return no_memory(diag);
    gal_buf_add(&c->name, name->text.s, name->text.n);
    if (arguments->type == GAL__STRING)
        gal_buf_add(&c->arguments, arguments->text.s, arguments->text.n);
    else
        gal__tree_print(&c->arguments, arguments);
    if (id && id->type == GAL__STRING) gal_buf_add(&c->id, id->text.s, id->text.n);
    return GAL_OK;
}

static gal_err read_list(gal_reply *r, gal_diag *diag) {
    gal__pool pool;
    gal__pool_init(&pool);
    gal__value *tree = NULL;
    gal_diag why = { 0 };
    bool good = true;
    gal_err err = gal__tree_read(&tree, &pool, r->list.data ? r->list.data : "", r->list.len, false, "calls", &why);
    if (err == GAL_EINPUT) err = GAL_OK;
    good = tree && tree->type == GAL__ARRAY && tree->count;
    for (const gal__value *v = good ? tree->first : NULL; v && good && !err; v = v->next) {
        good = v->type == GAL__OBJECT;
        if (good) err = read_call(r, v, &good, diag);
    }
    r->bad = !err && !good;
    gal__pool_free(&pool);
    return err == GAL_ENOMEM ? no_memory(diag) : err;
}

/* Arguments must be JSON; a name, one. A call without them is what a stopped answer leaves. */
static gal_err check_calls(gal_reply *r, gal_diag *diag) {
    for (size_t i = 0; i < r->n_calls && !r->bad; i++) {
        call *c = &r->calls[i];
        gal__pool pool;
        gal__pool_init(&pool);
        gal__value *tree = NULL;
        trim(&c->name);
        trim(&c->id);
        trim(&c->arguments);
        gal_err err = gal__tree_read(&tree, &pool, c->arguments.data ? c->arguments.data : "", c->arguments.len,
                                     false, "arguments", diag);
        gal__pool_free(&pool);
        if (err == GAL_ENOMEM) return err;
        r->bad = !good_name(&c->name) || err || !tree;
        if (!c->id.len) make_id(r, &c->id, i);
        if (c->id.oom) return no_memory(diag);
    }
    return GAL_OK;
}

/* Calls that cannot be read become text: nothing that a model said is lost. */
static gal_err spell_calls(gal_reply *r, gal_diag *diag) {
    run *last = add_run(r, false);
    if (!last) return no_memory(diag);
    if (r->list.len) {
        gal_buf_add(&last->text, r->list.data, r->list.len);
    } else {
        for (size_t i = 0; i < r->n_calls; i++)
            gal_buf_printf(&last->text, "%s%s %s", i ? "\n" : "", r->calls[i].name.data ? r->calls[i].name.data : "",
                           r->calls[i].arguments.data ? r->calls[i].arguments.data : "");
    }
    return last->text.oom ? no_memory(diag) : GAL_OK;
}

gal_err gal_reply_end(gal_reply *r, gal_reply_fn fn, void *user, gal_diag *diag) {
    gal_err err = close_part(r, fn, user, diag);
    r->ended = true;
    if (!err && r->list.len) err = read_list(r, diag);
    if (!err && !r->bad) err = check_calls(r, diag);
    if (!err && r->bad) err = spell_calls(r, diag);
    return err;
}

size_t gal_reply_calls(const gal_reply *r) { return r->bad ? 0 : r->n_calls; }

gal_reply_call gal_reply_call_at(const gal_reply *r, size_t i) {
    GAL_ASSERT(r->ended && i < gal_reply_calls(r));
    const call *c = &r->calls[i];
    return (gal_reply_call){ c->id.data, c->name.data, c->arguments.data };
}

const char *gal_reply_bad_call(const gal_reply *r) {
    return r->bad && r->n_runs && r->runs[r->n_runs - 1].text.data ? r->runs[r->n_runs - 1].text.data : NULL;
}

/* ---- the message --------------------------------------------------------------------------------------------------
 */

static void put_content(const gal_reply *r, gal_buf *b) {
    bool thinks = false;
    gal_buf text = { 0 };
    for (size_t i = 0; i < r->n_runs; i++) thinks |= r->runs[i].thinks;
    if (!thinks) {
        for (size_t i = 0; i < r->n_runs; i++)
            if (r->runs[i].text.len) gal_buf_add(&text, r->runs[i].text.data, r->runs[i].text.len);
        gal_buf_json(b, text.len ? text.data : "", text.len);
        b->oom |= text.oom;
        gal_buf_free(&text);
        return;
    }
    bool first = true;
    gal_buf_putc(b, '[');
    for (size_t i = 0; i < r->n_runs; i++) {
        const run *u = &r->runs[i];
        if (!u->thinks && !u->text.len) continue;
        gal_buf_puts(b, first ? "" : ", ");
        first = false;
        gal_buf_puts(b, u->thinks ? "{\"type\": \"thinking\", \"thinking\": " : "{\"type\": \"text\", \"text\": ");
        gal_buf_json(b, u->text.len ? u->text.data : "", u->text.len);
        if (u->thinks) gal_buf_puts(b, u->closed ? ", \"closed\": true" : ", \"closed\": false");
        gal_buf_putc(b, '}');
    }
    gal_buf_putc(b, ']');
}

gal_err gal_reply_message(const gal_reply *r, gal_buf *b, gal_diag *diag) {
    GAL_ASSERT(r->ended);
    const size_t calls = gal_reply_calls(r);
    /* Templates before V7 have text or calls. */
    const bool calls_alone = calls && r->how.version < 7;
    gal_buf_puts(b, "{\"role\": \"assistant\", \"content\": ");
    if (calls_alone || !r->n_runs)
        gal_buf_puts(b, calls ? "null" : "\"\"");
    else
        put_content(r, b);
    for (size_t i = 0; i < calls; i++) {
        const call *c = &r->calls[i];
        gal_buf_puts(b, i ? ", {\"id\": " : ", \"tool_calls\": [{\"id\": ");
        gal_buf_json(b, c->id.data, c->id.len);
        gal_buf_puts(b, ", \"type\": \"function\", \"function\": {\"name\": ");
        gal_buf_json(b, c->name.data, c->name.len);
        gal_buf_puts(b, ", \"arguments\": ");
        gal_buf_json(b, c->arguments.data ? c->arguments.data : "", c->arguments.len);
        gal_buf_puts(b, "}}");
    }
    gal_buf_puts(b, calls ? "]}" : "}");
    return b->oom ? no_memory(diag) : GAL_OK;
}
