/* jinja_parse.c - statements of a template, tokens to tree. SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"
#include "text/jinja_internal.h"

#include <string.h>

static gal__jnode *body(gal__jparser *p, const char *ends);

static void block_end(gal__jparser *p) {
    if (p->j->err) return;
    if (p->at->kind != GAL__T_BLOCK_END)
        gal__jp_fail(p, "'%}'");
    else
        p->at++;
}

static bool one_of(const gal__jparser *p, const char *names) {
    if (p->at->kind != GAL__T_NAME) return false;
    for (const char *s = names; *s;) {
        const size_t n = strcspn(s, " ");
        if (n == p->at->text.n && memcmp(s, p->at->text.s, n) == 0) return true;
        s += n + (s[n] == ' ');
    }
    return false;
}

static gal__jnode *condition(gal__jparser *p) { /* after "if" or "elif"; consumes up to the end's name */
    gal__jnode *first = gal__jp_node(p, GAL__N_IF), *n = first;
    for (;;) {
        gal__jnode *test = gal__jp_tuple(p, false);
        block_end(p);
        gal__jnode *list = body(p, "elif else endif");
        if (p->j->err) return first;
        n->a = test;
        n->list = list;
        gal__jnode *other = gal__jp_node(p, gal__jp_named(p, "elif") ? GAL__N_IF : GAL__N_ELSE);
        if (p->j->err) return first;
        if (gal__jp_skip_name(p, "elif")) {
            n->otherwise = other;
            n = other;
            continue;
        }
        if (gal__jp_skip_name(p, "else")) {
            block_end(p);
            list = body(p, "endif");
            if (p->j->err) return first;
            other->list = list;
            n->otherwise = other;
        }
        (void)gal__jp_skip_name(p, "endif");
        return first;
    }
}

static gal__jnode *loop(gal__jparser *p) {
    gal__jnode *n = gal__jp_node(p, GAL__N_FOR), *c = NULL, *otherwise = NULL;
    gal__jnode *a = gal__jp_target(p, false);
    if (!p->j->err && !gal__jp_skip_name(p, "in")) gal__jp_fail(p, "'in'");
    gal__jnode *b = p->j->err ? NULL : gal__jp_tuple(p, false);
    if (!p->j->err && gal__jp_skip_name(p, "if")) c = gal__jp_expression(p);
    if (!p->j->err && gal__jp_named(p, "recursive")) gal__jp_fail(p, "'%}'; recursive loops are not supported");
    block_end(p);
    p->loops++;
    gal__jnode *list = body(p, "endfor else");
    p->loops--;
    if (!p->j->err && gal__jp_skip_name(p, "else")) {
        block_end(p);
        otherwise = body(p, "endfor");
    }
    if (p->j->err) return n;
    (void)gal__jp_skip_name(p, "endfor");
    n->a = a;
    n->b = b;
    n->c = c;
    n->list = list;
    n->otherwise = otherwise;
    return n;
}

static gal__jnode *assignment(gal__jparser *p) {
    gal__jnode *n = gal__jp_node(p, GAL__N_SET), *b = NULL, *list = NULL;
    gal__jnode *a = gal__jp_target(p, true);
    if (p->j->err) return n;
    const bool block = !gal__jp_skip(p, "=");
    if (!block) {
        b = gal__jp_tuple(p, true);
    } else {
        b = gal__jp_filters(p, NULL, false);
        block_end(p);
        list = body(p, "endset");
        if (!p->j->err) (void)gal__jp_skip_name(p, "endset");
    }
    if (p->j->err) return n;
    if (block) n->kind = GAL__N_SET_BLOCK;
    n->a = a;
    n->b = b;
    n->list = list;
    return n;
}

static gal__jnode *parameters(gal__jparser *p) {
    gal__jnode *first = NULL, **end = &first;
    if (!gal__jp_skip(p, "(")) gal__jp_fail(p, "'('");
    while (!p->j->err && !gal__jp_skip(p, ")")) {
        if (first && !gal__jp_skip(p, ",")) gal__jp_fail(p, "',' or ')'");
        gal__jnode *n = gal__jp_node(p, GAL__N_KEYWORD);
        const char *name = p->j->err ? "" : gal__jp_name(p, "a parameter's name");
        gal__jnode *fallback = !p->j->err && gal__jp_skip(p, "=") ? gal__jp_expression(p) : NULL;
        if (p->j->err) return NULL;
        n->name = name;
        n->a = fallback;
        *end = n;
        end = &n->next;
    }
    return p->j->err ? NULL : first;
}

static gal__jnode *macro(gal__jparser *p) {
    gal__jnode *n = gal__jp_node(p, GAL__N_MACRO);
    const char *name = gal__jp_name(p, "a macro's name");
    const int loops = p->loops;
    p->macros++;
    p->loops = 0;
    gal__jnode *args = p->j->err ? NULL : parameters(p);
    block_end(p);
    gal__jnode *list = body(p, "endmacro");
    p->macros--;
    p->loops = loops;
    if (p->j->err) return n;
    (void)gal__jp_skip_name(p, "endmacro");
    n->name = name;
    n->args = args;
    n->list = list;
    return n;
}

static gal__jnode *with(gal__jparser *p) {
    gal__jnode *n = gal__jp_node(p, GAL__N_WITH), *first = NULL, **end = &first;
    while (!p->j->err && p->at->kind != GAL__T_BLOCK_END) {
        if (first && !gal__jp_skip(p, ",")) gal__jp_fail(p, "',' or '%}'");
        gal__jnode *set = gal__jp_node(p, GAL__N_SET), *a = p->j->err ? NULL : gal__jp_target(p, false);
        if (!p->j->err && !gal__jp_skip(p, "=")) gal__jp_fail(p, "'='");
        gal__jnode *b = gal__jp_expression(p);
        if (p->j->err) return n;
        set->a = a;
        set->b = b;
        *end = set;
        end = &set->next;
    }
    block_end(p);
    gal__jnode *list = body(p, "endwith");
    if (p->j->err) return n;
    (void)gal__jp_skip_name(p, "endwith");
    n->args = first;
    n->list = list;
    return n;
}

static gal__jnode *filter_block(gal__jparser *p) {
    gal__jnode *n = gal__jp_node(p, GAL__N_FILTER_BLOCK), *b = gal__jp_filters(p, NULL, true);
    block_end(p);
    gal__jnode *list = body(p, "endfilter");
    if (p->j->err) return n;
    (void)gal__jp_skip_name(p, "endfilter");
    n->b = b;
    n->list = list;
    return n;
}

static gal__jnode *generation(gal__jparser *p) {
    gal__jnode *n = gal__jp_node(p, GAL__N_SCOPE);
    const int loops = p->loops;
    block_end(p);
    p->loops = 0;
    gal__jnode *list = body(p, "endgeneration");
    p->loops = loops;
    if (p->j->err) return n;
    (void)gal__jp_skip_name(p, "endgeneration");
    n->list = list;
    return n;
}

static gal__jnode *jump(gal__jparser *p, gal__jnode_kind kind) {
    gal__jnode *n = gal__jp_node(p, kind);
    if (!p->loops) gal__jp_fail(p, "break and continue inside a loop alone; outside they end nothing,");
    return n;
}

static gal__jnode *statement(gal__jparser *p) {
    const gal__jtoken *at = p->at;
    gal__jnode *n;
    if (gal__jp_skip_name(p, "if")) {
        n = condition(p);
    } else if (gal__jp_skip_name(p, "for")) {
        n = loop(p);
    } else if (gal__jp_skip_name(p, "set")) {
        n = assignment(p);
    } else if (gal__jp_skip_name(p, "macro")) {
        n = macro(p);
    } else if (gal__jp_skip_name(p, "with")) {
        n = with(p);
    } else if (gal__jp_skip_name(p, "filter")) {
        n = filter_block(p);
    } else if (gal__jp_skip_name(p, "generation")) {
        n = generation(p);
    } else if (gal__jp_skip_name(p, "break")) {
        n = jump(p, GAL__N_BREAK);
    } else if (gal__jp_skip_name(p, "continue")) {
        n = jump(p, GAL__N_CONTINUE);
    } else {
        gal__jp_fail(p,
                     "a tag that is supported here (if, for, set, macro, with, filter, generation, break, continue, "
                     "raw, and the ends of those that are open)");
        return gal__jp_node(p, GAL__N_BREAK);
    }
    if (n && !p->j->err) {
        n->line = at->line;
        n->column = at->column;
    }
    return n;
}

/* Up to a tag that is one of `ends`, whose name is then the current token; "": up to the template's end. */
static gal__jnode *body(gal__jparser *p, const char *ends) {
    gal__jnode *first = NULL, **end = &first;
    if (p->j->err || !gal__jp_enter(p)) return NULL;
    while (!p->j->err) {
        gal__jnode *n;
        if (p->at->kind == GAL__T_DATA) {
            n = gal__jp_node(p, GAL__N_DATA);
            const gal__jv v = gal__j_text(p->j, p->at->text.s, p->at->text.n, GAL__FROM_TEMPLATE);
            if (!p->j->err) n->value = v;
            p->at++;
        } else if (p->at->kind == GAL__T_PRINT) {
            n = gal__jp_node(p, GAL__N_PRINT);
            p->at++;
            gal__jnode *a = gal__jp_tuple(p, true);
            if (!p->j->err) n->a = a;
            if (!p->j->err && p->at->kind != GAL__T_PRINT_END) gal__jp_fail(p, "'}}'");
            if (!p->j->err) p->at++;
        } else if (p->at->kind == GAL__T_BLOCK) {
            p->at++;
            if (one_of(p, ends)) break;
            n = statement(p);
            block_end(p);
        } else {
            if (*ends) gal__jp_fail(p, ends);
            break;
        }
        if (p->j->err) break;
        *end = n;
        end = &n->next;
    }
    p->depth--;
    return p->j->err ? NULL : first;
}

void gal__j_parse(gal__jinja *j, const gal__jtoken *tokens) {
    gal__jparser p = { .j = j, .at = tokens };
    j->body = body(&p, "");
}

/* ---- what a template does with content ----------------------------------------------------------------------------
 */

static bool is_content(const gal__jnode *n) {
    while (n && n->kind == GAL__N_FILTER) n = n->a;
    if (!n) return false;
    if (n->kind == GAL__N_NAME || n->kind == GAL__N_ATTR) return strcmp(n->name, "content") == 0;
    const gal__jnode *key = n->kind == GAL__N_ITEM ? n->b : NULL;
    if (!key || key->kind != GAL__N_CONST || key->value.kind != GAL__J_TEXT) return false;
    return key->value.text->n == 7 && memcmp(key->value.text->s, "content", 7) == 0;
}

static bool loops_over_content(const gal__jnode *list) { /* as deep as statements are */
    for (; list; list = list->next) {
        if (list->kind == GAL__N_FOR && is_content(list->b)) return true;
        if (list->kind == GAL__N_IF) {
            for (const gal__jnode *n = list; n; n = n->otherwise)
                if (loops_over_content(n->list)) return true;
            continue;
        }
        if (list->kind > GAL__N_DATA && (loops_over_content(list->list) || loops_over_content(list->otherwise)))
            return true;
    }
    return false;
}

bool gal__jinja_reads_parts(const gal__jinja *j) { return loops_over_content(j->body); }
