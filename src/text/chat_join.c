/* chat_join.c - neighbours of one role become one message, as the reference normalises a conversation before it
 * encodes one: texts joined by an empty line, chunks that are no text kept in their places. SPDX-License-Identifier:
 * Apache-2.0 */
#include "base/mem.h"
#include "text/chat_internal.h"

#include <stdlib.h>
#include <string.h>

static const char LINE[] = "\n\n";

/* Text that is being put together; has: there is some, maybe empty. */
typedef struct joined {
    gal__pool *pool;
    gal_buf text;
    bool has;
    gal__content out;
    gal_diag *diag;
    gal_err err;
} joined;

static void add(joined *j, gal__string s, const char *between) {
    if (j->has) gal_buf_puts(&j->text, between);
    gal_buf_add(&j->text, s.s, s.n);
    j->has = true;
}

static gal__string text_of(joined *j) {
    gal__string s = { "", 0 };
    if (!j->err && (j->text.oom || !gal__pool_string(j->pool, &s, j->text.data ? j->text.data : "", j->text.len)))
        j->err = gal__chat_no_memory(j->diag);
    gal_buf_clear(&j->text);
    j->has = false;
    return s;
}

static void flush(joined *j) {
    if (j->has) j->out.chunks[j->out.n++] = (gal__chunk){ .kind = GAL__TEXT, .text = text_of(j) };
}

/* One content after another. Where nothing but text is met, the outcome is a string. */
static void join_one(joined *j, const gal__content *c, const char *chunk_join) {
    bool apart = j->has;
    if (!c->list) {
        if (c->text.n) add(j, c->text, LINE);
        return;
    }
    for (size_t i = 0; i < c->n; i++) {
        const gal__chunk *k = &c->chunks[i];
        if (k->kind == GAL__TEXT) {
            if (!k->text.n) continue;
            add(j, k->text, apart ? LINE : chunk_join);
            apart = false;
        } else {
            flush(j);
            j->out.chunks[j->out.n++] = *k;
        }
    }
}

static gal_err join_content(gal__content *out, const gal__message *m, size_t n, const char *chunk_join, gal__pool *p,
                            gal_diag *diag) {
    size_t room = 1;
    for (size_t i = 0; i < n; i++) room += m[i].content.n + 1;
    joined j = { .pool = p, .diag = diag };
    j.out.chunks = gal__pool_take(p, room * sizeof *j.out.chunks);
    if (!j.out.chunks) return gal__chat_no_memory(diag);
    for (size_t i = 0; i < n; i++) join_one(&j, &m[i].content, chunk_join);
    if (j.out.n) {
        flush(&j);
        j.out.list = true;
    } else {
        j.out.text = text_of(&j);
    }
    gal_buf_free(&j.text);
    if (!j.err) *out = j.out;
    return j.err;
}

/* ---- results in the order of their calls --------------------------------------------------------------------------
 */

typedef struct ranked {
    gal__message m;
    size_t call, at; /* of its call; SIZE_MAX: of none */
} ranked;

static int by_call(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->call != y->call) return x->call < y->call ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

typedef struct named {
    gal__string id;
    size_t at;
} named;

static int by_id(const void *a, const void *b) {
    const named *x = a, *y = b;
    int c = memcmp(x->id.s, y->id.s, GAL_MIN(x->id.n, y->id.n));
    if (c || x->id.n != y->id.n) return c ? c : x->id.n < y->id.n ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* The last call of that id. */
static size_t find_call(const named *list, size_t n, gal__string id) {
    size_t from = 0, to = n;
    named key = { id, SIZE_MAX };
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (by_id(&list[mid], &key) <= 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from && list[from - 1].id.n == id.n && memcmp(list[from - 1].id.s, id.s, id.n) == 0 ? list[from - 1].at
                                                                                               : SIZE_MAX;
}

/* calls: the messages that were joined since the last results. */
static gal_err sort_results(gal__message *m, size_t n, const gal__message *before, size_t n_before, gal_diag *diag) {
    size_t count = 0;
    for (size_t i = 0; i < n_before; i++) count += before[i].n_calls;
    named *list = gal_alloc_array(count + 1, sizeof *list);
    ranked *r = gal_alloc_array(n, sizeof *r);
    gal_err err = list && r ? GAL_OK : gal__chat_no_memory(diag);
    for (size_t i = 0, k = 0; i < n_before && !err; i++)
        for (size_t c = 0; c < before[i].n_calls; c++, k++) list[k] = (named){ before[i].calls[c].id, k };
    if (!err) {
        if (count) qsort(list, count, sizeof *list, by_id);
        for (size_t i = 0; i < n; i++) r[i] = (ranked){ m[i], find_call(list, count, m[i].call_id), i };
        qsort(r, n, sizeof *r, by_call);
        for (size_t i = 0; i < n; i++) m[i] = r[i].m;
    }
    gal_free(list);
    gal_free(r);
    return err;
}

/* ---- messages -----------------------------------------------------------------------------------------------------
 */

static gal_err join_calls(gal__message *out, const gal__message *m, size_t n, gal__pool *p, gal_diag *diag) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += m[i].n_calls;
        out->prefix = out->prefix || m[i].prefix;
    }
    out->calls = gal__pool_take(p, count * sizeof *out->calls);
    if (!out->calls) return gal__chat_no_memory(diag);
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < m[i].n_calls; c++) out->calls[out->n_calls++] = m[i].calls[c];
    return GAL_OK;
}

typedef struct joining {
    gal__message *out;
    size_t n, since; /* messages, and where those after the last results begin */
    const gal__template *t;
    gal__pool *pool;
    gal_diag *diag;
} joining;

static gal_err run(joining *j, const gal__message *m, size_t n) {
    gal_err err = GAL_OK;
    const size_t begin = j->n;
    const bool one = m->role == GAL__USER || m->role == GAL__ASSISTANT;
    if (m->role == GAL__SYSTEM && !j->t->system_in_place) return GAL_OK;
    for (size_t i = 0; i < (one ? 1 : n) && !err; i++) {
        gal__message *out = &j->out[j->n++];
        *out = m[i];
        if (one) *out = (gal__message){ .role = m->role };
        err = join_content(&out->content, m + i, one ? n : 1, j->t->chunk_join, j->pool, j->diag);
        if (!err && m->role == GAL__ASSISTANT) err = join_calls(out, m, n, j->pool, j->diag);
    }
    if (!err && m->role == GAL__TOOL && j->t->ids_paired)
        err = sort_results(j->out + begin, n, j->out + j->since, begin - j->since, j->diag);
    if (m->role == GAL__TOOL) j->since = j->n;
    return err;
}

/* The texts of all system messages that hold anything. */
static gal_err join_system(const gal__request *r, const gal__template *t, gal__pool *p, gal__string *system,
                           gal_diag *diag) {
    gal_buf all = { 0 };
    bool some = false;
    gal_err err = GAL_OK;
    for (size_t i = 0; i < r->n && !err; i++) {
        const gal__content *c = &r->messages[i].content;
        if (r->messages[i].role != GAL__SYSTEM || !(c->list ? c->n : c->text.n)) continue;
        gal__content one = { 0 };
        err = join_content(&one, &r->messages[i], 1, t->chunk_join, p, diag);
        if (err) break;
        if (some) gal_buf_puts(&all, LINE);
        some = true;
        gal_buf_add(&all, one.text.s, one.text.n);
    }
    if (!err && (all.oom || !gal__pool_string(p, system, all.data ? all.data : "", all.len)))
        err = gal__chat_no_memory(diag);
    gal_buf_free(&all);
    return err;
}

gal_err gal__chat_join(gal__request *r, const gal__template *t, gal__pool *p, gal__string *system, gal_diag *diag) {
    *system = (gal__string){ "", 0 };
    gal_err err = t->system_in_place ? GAL_OK : join_system(r, t, p, system, diag);
    joining j = { .t = t, .pool = p, .diag = diag };
    j.out = gal__pool_take(p, (r->n + 1) * sizeof *j.out);
    if (!err && !j.out) err = gal__chat_no_memory(diag);
    size_t first = 0;
    while (first < r->n && r->messages[first].role == GAL__SYSTEM) first++;
    if (!err && !t->system_in_place && (first == r->n || r->messages[first].role != GAL__USER))
        j.out[j.n++] = (gal__message){ .role = GAL__USER, .content.text = { "", 0 } };
    for (size_t i = 0, to; i < r->n && !err; i = to) {
        for (to = i + 1; to < r->n && r->messages[to].role == r->messages[i].role;) to++;
        err = run(&j, &r->messages[i], to - i);
    }
    r->messages = j.out;
    r->n = j.n;
    return err;
}
