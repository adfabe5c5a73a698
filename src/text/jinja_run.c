/* jinja_run.c - statements: output, loops, conditions, variables and their scopes, macros.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"
#include "text/jinja_internal.h"

#include <string.h>

void gal__j_set(gal__jinja *j, gal__jscope *scope, const char *name, gal__jv v) {
    if (j->err) return;
    for (gal__jvar *k = scope->first; k; k = k->next) {
        if (k->name != name) continue;
        k->value = v;
        return;
    }
    gal__jvar *k = gal__j_take(j, 1, sizeof *k);
    if (!k) return;
    *k = (gal__jvar){ name, v, scope->first };
    scope->first = k;
}

static void set_field(gal__jinja *j, const gal__jnode *target, gal__jv v) {
    for (const gal__jscope *s = j->scope; s; s = s->up)
        for (const gal__jvar *k = s->first; k; k = k->next) {
            if (k->name != target->name) continue;
            if (k->value.kind != GAL__J_SPACE) {
                (void)gal__j_fail(j, "'%s' is no namespace: its fields cannot be set", target->name);
                return;
            }
            const gal__jv key = gal__j_text(j, target->name2, strlen(target->name2), GAL__FROM_TEMPLATE);
            k->value.space->fields.depth = 1; /* a namespace is not looked into */
            gal__j_dict_set(j, &k->value.space->fields, key, v);
            return;
        }
    (void)gal__j_fail(j, "'%s' is undefined: expected a namespace", target->name);
}

void gal__j_assign(gal__jinja *j, const gal__jnode *target, gal__jv v) {
    if (j->err) return;
    j->line = target->line;
    j->column = target->column;
    if (target->kind == GAL__N_NAME) {
        gal__j_set(j, j->scope, target->name, v);
        return;
    }
    if (target->kind == GAL__N_FIELD) {
        set_field(j, target, v);
        return;
    }
    size_t want = 0, i = 0;
    for (const gal__jnode *k = target->list; k; k = k->next) want++;
    const gal__jseq *s = gal__j_iterate(j, v);
    if (!s) return;
    if (s->n != want) {
        (void)gal__j_fail(j, "%zu names for %zu values", want, s->n);
        return;
    }
    for (const gal__jnode *k = target->list; k; k = k->next) gal__j_assign(j, k, s->items[i++]);
}

/* Runs a list in a scope of its own. */
static void run_inside(gal__jinja *j, const gal__jnode *list, gal__jscope *scope) {
    gal__jscope *old = j->scope;
    scope->up = scope->up ? scope->up : old;
    j->scope = scope;
    gal__j_run(j, list);
    j->scope = old;
}

static gal__jscope *new_scope(gal__jinja *j, gal__jscope *up) { /* in the pool: macros keep them */
    gal__jscope *s = gal__j_take(j, 1, sizeof *s);
    if (s) s->up = up;
    return s;
}

/* What a list prints, as text. */
static gal__jv capture(gal__jinja *j, const gal__jnode *list, gal__jscope *scope) {
    gal__jout o = { 0 }, *old = j->out;
    if (!scope) return gal__j_undefined(NULL);
    j->out = &o;
    run_inside(j, list, scope);
    j->out = old;
    return gal__j_built(j, &o);
}

/* ---- loops --------------------------------------------------------------------------------------------------------
 */

/* The elements that the loop's own `if` lets through. */
static gal__jseq *sieve(gal__jinja *j, const gal__jnode *n, gal__jseq *all) {
    if (!n->c || !all) return all;
    gal__jseq *out = gal__j_new_seq(j, GAL__S_LIST, 0);
    gal__jscope *old = j->scope, *scope = new_scope(j, old);
    for (size_t i = 0; scope && out && i < all->n && !j->err; i++) {
        scope->first = NULL;
        j->scope = scope;
        gal__j_assign(j, n->a, all->items[i]);
        const bool in = !j->err && gal__j_truth(gal__j_eval(j, n->c));
        j->scope = old;
        if (in) gal__j_add(j, out, all->items[i]);
    }
    return j->err ? NULL : out;
}

static void loop(gal__jinja *j, const gal__jnode *n) {
    const gal__jv over = gal__j_eval(j, n->b);
    gal__jseq *all = j->err ? NULL : gal__j_iterate(j, over);
    const gal__jseq *s = sieve(j, n, all);
    gal__jloop *state = s ? gal__j_take(j, 1, sizeof *state) : NULL;
    const char *name = state ? gal__j_intern(j, "loop", 4) : NULL;
    if (!state || j->err) return;
    state->seq = s;
    gal__jscope *old = j->scope;
    bool whole = false; /* some turn reached its end: in jinja2 that, and not a turn alone, is what `else` asks for */
    for (size_t i = 0; i < s->n && gal__j_step(j); i++) {
        gal__jscope *scope = new_scope(j, old);
        if (!scope) break;
        state->at = i;
        j->scope = scope;
        gal__j_set(j, scope, name, (gal__jv){ GAL__J_LOOP, { .loop = state } });
        gal__j_assign(j, n->a, s->items[i]);
        gal__j_run(j, n->list);
        j->scope = old;
        const bool out = j->flow == GAL__J_BREAK;
        whole = whole || j->flow == GAL__J_ON;
        j->flow = GAL__J_ON;
        if (out || j->err) break;
    }
    if (!whole && n->otherwise && !j->err) {
        gal__jscope *scope = new_scope(j, old);
        if (scope) run_inside(j, n->otherwise, scope);
    }
}

/* ---- macros -------------------------------------------------------------------------------------------------------
 */

/* Arguments to parameters, in the macro's scope; a default may name parameters before it. */
static void fill(gal__jinja *j, const gal__jnode *node, const gal__jargs *a, gal__jscope *scope) {
    size_t i = 0;
    for (const gal__jnode *p = node->args; p && !j->err; p = p->next, i++) {
        const gal__jvar *k = a->keywords;
        while (k && k->name != p->name) k = k->next;
        if (k && i < a->n) {
            (void)gal__j_fail(j, "macro '%s': argument '%s' is given twice", node->name, p->name);
            return;
        }
        gal__jv v = i < a->n ? a->pos[i] : k ? k->value : gal__j_undefined(p->name);
        if (i >= a->n && !k && p->a) v = gal__j_eval(j, p->a);
        gal__j_set(j, scope, p->name, v);
    }
    if (a->n > i) (void)gal__j_fail(j, "macro '%s': expected at most %zu arguments, found %zu", node->name, i, a->n);
    for (const gal__jvar *k = a->keywords; k && !j->err; k = k->next) {
        const gal__jnode *p = node->args;
        while (p && p->name != k->name) p = p->next;
        if (!p) (void)gal__j_fail(j, "macro '%s': no argument is named '%s'", node->name, k->name);
    }
}

gal__jv gal__j_call_macro(gal__jinja *j, const gal__jmacro *m, const gal__jargs *a) {
    gal__jscope *scope = new_scope(j, m->scope), *old = j->scope;
    if (!scope) return gal__j_undefined(NULL);
    if (++j->macros > GAL__JINJA_NESTING)
        return gal__j_fail(j, "more than %d macros call one another", GAL__JINJA_NESTING);
    j->scope = scope;
    fill(j, m->node, a, scope);
    j->scope = old;
    const gal__jv v = j->err ? gal__j_undefined(NULL) : capture(j, m->node->list, scope);
    j->macros--;
    return v;
}

static void define(gal__jinja *j, const gal__jnode *n) {
    gal__jmacro *m = gal__j_take(j, 1, sizeof *m);
    if (!m) return;
    m->node = n;
    m->scope = j->scope;
    gal__j_set(j, j->scope, n->name, (gal__jv){ GAL__J_MACRO, { .macro = m } });
}

/* ---- the others ---------------------------------------------------------------------------------------------------
 */

/* Filters over what a block holds: the innermost has no operand. */
static gal__jv through(gal__jinja *j, const gal__jnode *f, gal__jv v) {
    if (!f) return v;
    if (f->a) v = through(j, f->a, v); /* as many as were written, at most GAL__JINJA_NESTING by parsing */
    const gal__jargs a = gal__j_args(j, f->list);
    return j->err ? gal__j_undefined(NULL) : gal__j_filter(j, f->name, v, &a);
}

static void condition(gal__jinja *j, const gal__jnode *n) {
    for (; n && !j->err; n = n->otherwise) {
        const bool truth = n->kind == GAL__N_ELSE || gal__j_truth(gal__j_eval(j, n->a));
        if (!truth) continue;
        if (!j->err) gal__j_run(j, n->list);
        return;
    }
}

static void with(gal__jinja *j, const gal__jnode *n) {
    gal__jscope *old = j->scope, *scope = new_scope(j, old);
    for (const gal__jnode *k = n->args; scope && k && !j->err; k = k->next) {
        j->scope = old;
        const gal__jv v = gal__j_eval(j, k->b);
        j->scope = scope;
        gal__j_assign(j, k->a, v);
    }
    j->scope = old;
    if (scope && !j->err) run_inside(j, n->list, scope);
}

static void statement(gal__jinja *j, const gal__jnode *n) {
    gal__jv v;
    switch ((int)n->kind) {
    case GAL__N_DATA:
        gal__j_put_text(j, j->out, n->value.text);
        return;
    case GAL__N_PRINT:
        v = gal__j_eval(j, n->a);
        if (!j->err) gal__j_print(j, j->out, v);
        return;
    case GAL__N_IF:
        condition(j, n);
        return;
    case GAL__N_FOR:
        loop(j, n);
        return;
    case GAL__N_SET:
        v = gal__j_eval(j, n->b);
        gal__j_assign(j, n->a, v);
        return;
    case GAL__N_SET_BLOCK:
        v = capture(j, n->list, new_scope(j, j->scope));
        if (!j->err) v = through(j, n->b, v);
        gal__j_assign(j, n->a, v);
        return;
    case GAL__N_MACRO:
        define(j, n);
        return;
    case GAL__N_FILTER_BLOCK:
        v = capture(j, n->list, new_scope(j, j->scope));
        if (!j->err) v = through(j, n->b, v);
        if (!j->err) gal__j_print(j, j->out, v);
        return;
    case GAL__N_WITH:
        with(j, n);
        return;
    case GAL__N_SCOPE: {
        gal__jscope *scope = new_scope(j, j->scope);
        if (scope) run_inside(j, n->list, scope);
        return;
    }
    case GAL__N_BREAK:
    case GAL__N_CONTINUE:
        j->flow = n->kind == GAL__N_BREAK ? GAL__J_BREAK : GAL__J_CONTINUE;
        return;
    default:
        (void)gal__j_fail(j, "this is no statement");
    }
}

void gal__j_run(gal__jinja *j, const gal__jnode *list) {
    if (++j->depth > GAL__JINJA_DEPTH)
        (void)gal__j_fail(j, "more than %d constructs in one another", GAL__JINJA_DEPTH);
    for (; list && j->flow == GAL__J_ON && gal__j_step(j); list = list->next) {
        j->line = list->line;
        j->column = list->column;
        statement(j, list);
    }
    j->depth--;
}

/* ---- from outside -------------------------------------------------------------------------------------------------
 */

static gal_err parse(gal__jinja **out, gal__pool *pool, const char *source, size_t n, const char *name, bool plain,
                     gal_diag *diag) {
    gal__jinja *j = gal__pool_take(pool, sizeof *j);
    if (!j) return gal_fail(diag, GAL_ENOMEM, "no memory for a template");
    *j = (gal__jinja){ .pool = pool, .diag = diag, .name = name, .plain = plain, .line = 1, .column = 1 };
    j->scope = &j->globals;
    if (n > GAL__JINJA_SOURCE)
        return gal_fail(diag, GAL_EINPUT, "%s: %zu bytes; a template has at most %d", name, n, GAL__JINJA_SOURCE);
    if (!gal_utf8_valid(source, n)) return gal_fail(diag, GAL_EINPUT, "%s: a template that is not UTF-8", name);
    const gal__jtoken *tokens = gal__j_lex(j, source, n);
    if (tokens) gal__j_parse(j, tokens);
    if (!j->err) *out = j;
    return j->err;
}

gal_err gal__jinja_new(gal__jinja **out, gal__pool *pool, const char *source, size_t n, const char *name,
                       gal_diag *diag) {
    return parse(out, pool, source, n, name, false, diag);
}

gal_err gal__jinja_new_plain(gal__jinja **out, gal__pool *pool, const char *source, size_t n, const char *name,
                             gal_diag *diag) {
    return parse(out, pool, source, n, name, true, diag);
}

static gal_err set(gal__jinja *j, const char *name, gal__jv v) {
    const char *word = gal__j_intern(j, name, strlen(name));
    gal__j_set(j, &j->globals, word, v);
    return j->err;
}

gal_err gal__jinja_set_tree(gal__jinja *j, const char *name, const gal__value *v, uint8_t origin) {
    return set(j, name, gal__j_tree(j, v, origin));
}

gal_err gal__jinja_set_text(gal__jinja *j, const char *name, const char *s, size_t n, uint8_t origin) {
    return set(j, name, gal__j_text(j, s, n, origin));
}

gal_err gal__jinja_set_bool(gal__jinja *j, const char *name, bool truth) { return set(j, name, gal__j_bool(truth)); }

void gal__jinja_origins(gal__jinja *j, gal__jorigin origin_of, void *user) {
    j->origin_of = origin_of;
    j->origin_user = user;
}

void gal__jinja_now(gal__jinja *j, const struct tm *now) { j->now = now; }

gal_err gal__jinja_render(gal__jinja *j, gal__jtext *out) {
    gal__jout o = { 0 };
    gal__jscope scope = { .up = &j->globals };
    j->out = &o;
    j->scope = &scope;
    gal__j_run(j, j->body);
    const gal__jv v = gal__j_built(j, &o);
    j->scope = &j->globals;
    j->out = NULL;
    if (!j->err) *out = *v.text;
    return j->err;
}

gal_err gal__jinja_value(gal__jinja *j, bool *is, gal__jtext *out) {
    gal__jout o = { 0 };
    gal__jscope scope = { .up = &j->globals };
    *is = j->body && j->body->kind == GAL__N_PRINT && !j->body->next;
    if (!*is) return GAL_OK;
    j->scope = &scope;
    j->line = j->body->line;
    j->column = j->body->column;
    const gal__jv v = gal__j_eval(j, j->body->a);
    if (!j->err) gal__j_json(j, &o, v, &(gal__jjson){ .indent = -1 });
    const gal__jv text = gal__j_built(j, &o);
    j->scope = &j->globals;
    if (!j->err) *out = *text.text;
    return j->err;
}
