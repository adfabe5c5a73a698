/* jinja_expr.c - expressions of a template, tokens to tree; precedence as in jinja2's parser.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"
#include "text/jinja_internal.h"

#include <string.h>

/* ---- tokens -------------------------------------------------------------------------------------------------------
 */

/* What a parser that failed gives: it may be written to, and is never looked into. */
static gal__jnode *no_node(gal__jparser *p) { return &p->none; }

gal__jnode *gal__jp_node(gal__jparser *p, gal__jnode_kind kind) {
    gal__jnode *n = gal__j_take(p->j, 1, sizeof *n);
    if (!n) return no_node(p);
    n->kind = kind;
    n->line = p->at->line;
    n->column = p->at->column;
    return n;
}

void gal__jp_fail(gal__jparser *p, const char *expected) {
    p->j->line = p->at->line;
    p->j->column = p->at->column;
    const bool end = p->at->kind == GAL__T_END, data = p->at->kind == GAL__T_DATA;
    (void)gal__j_fail(p->j, "expected %s, found %s%.*s%s", expected, end || data ? "" : "'",
                      end    ? 19
                      : data ? 4
                             : (int)GAL_MIN(p->at->text.n, (size_t)40),
                      end    ? "the template's end"
                      : data ? "text"
                             : p->at->text.s,
                      end || data ? "" : "'");
}

bool gal__jp_is(const gal__jparser *p, const char *op) {
    return p->at->kind == GAL__T_OP && p->at->text.n == strlen(op) && memcmp(p->at->text.s, op, p->at->text.n) == 0;
}

static bool named(const gal__jtoken *t, const char *name) { return t->kind == GAL__T_NAME && gal__is(t->text, name); }
bool gal__jp_named(const gal__jparser *p, const char *name) { return named(p->at, name); }

static void next(gal__jparser *p) {
    if (p->at->kind != GAL__T_END) p->at++;
}

bool gal__jp_skip(gal__jparser *p, const char *op) {
    const bool is = gal__jp_is(p, op);
    if (is) next(p);
    return is;
}

bool gal__jp_skip_name(gal__jparser *p, const char *name) {
    const bool is = named(p->at, name);
    if (is) next(p);
    return is;
}

static void expect(gal__jparser *p, const char *op) {
    char quoted[8] = { '\'', op[0], '\'' };
    if (!gal__jp_skip(p, op)) gal__jp_fail(p, quoted);
}

const char *gal__jp_name(gal__jparser *p, const char *what) {
    if (p->at->kind != GAL__T_NAME) {
        gal__jp_fail(p, what);
        return "";
    }
    const char *name = gal__j_intern(p->j, p->at->text.s, p->at->text.n);
    next(p);
    return name;
}

bool gal__jp_enter(gal__jparser *p) {
    if (p->depth++ < GAL__JINJA_NESTING) return true;
    p->j->line = p->at->line;
    p->j->column = p->at->column;
    (void)gal__j_fail(p->j, "more than %d constructs in one another", GAL__JINJA_NESTING);
    return false;
}

/* ---- what stands alone --------------------------------------------------------------------------------------------
 */

/* A number without the '_' in it; it must fit 64 bits. */
static gal__jv number(gal__jparser *p) {
    char text[64];
    size_t n = 0;
    for (size_t i = 0; i < p->at->text.n && n < sizeof text - 1; i++)
        if (p->at->text.s[i] != '_') text[n++] = p->at->text.s[i];
    text[n] = 0;
    double x;
    int64_t i = 0;
    if (p->at->kind == GAL__T_REAL && gal_parse_f64(text, &x)) return gal__j_real(x);
    if (p->at->kind == GAL__T_INT && gal_parse_i64(text, &i)) return gal__j_int(i);
    gal__jp_fail(p, "a number in decimal digits that fits 64 bits");
    return gal__j_undefined(NULL);
}

static gal__jnode *name_or_constant(gal__jparser *p) {
    const gal__string s = p->at->text;
    gal__jnode *n;
    if (gal__is(s, "true") || gal__is(s, "True") || gal__is(s, "false") || gal__is(s, "False")) {
        n = gal__jp_node(p, GAL__N_CONST);
        n->value = gal__j_bool(s.n == 4);
    } else if (gal__is(s, "none") || gal__is(s, "None")) {
        n = gal__jp_node(p, GAL__N_CONST);
        n->value = gal__j_none();
    } else {
        n = gal__jp_node(p, GAL__N_NAME);
        if ((gal__is(s, "varargs") || gal__is(s, "kwargs") || gal__is(s, "caller")) && p->macros)
            gal__jp_fail(p, "a variable; varargs, kwargs and caller are not supported");
        n->name = gal__j_intern(p->j, s.s, s.n);
    }
    next(p);
    return n;
}

static gal__jnode *strings(gal__jparser *p) { /* neighbours are one */
    gal__jout o = { 0 };
    gal__jnode *n = gal__jp_node(p, GAL__N_CONST);
    while (p->at->kind == GAL__T_STRING && !p->j->err) {
        gal__j_put(p->j, &o, p->at->text.s, p->at->text.n, GAL__FROM_TEMPLATE);
        next(p);
    }
    const gal__jv v = gal__j_built(p->j, &o);
    if (!p->j->err) n->value = v;
    return n;
}

static gal__jnode *list(gal__jparser *p) {
    gal__jnode *n = gal__jp_node(p, GAL__N_LIST), **end = &n->list;
    GAL_ASSERT(n);
    next(p);
    while (!gal__jp_is(p, "]") && !p->j->err) {
        if (n->list) expect(p, ",");
        if (gal__jp_is(p, "]")) break;
        *end = gal__jp_expression(p);
        GAL_ASSERT(*end); /* never NULL: of no memory, p->none */
        if (!p->j->err) end = &(*end)->next;
    }
    if (!p->j->err) expect(p, "]");
    return n;
}

static gal__jnode *dict(gal__jparser *p) {
    gal__jnode *n = gal__jp_node(p, GAL__N_DICT), **end = &n->list;
    next(p);
    while (!gal__jp_is(p, "}") && !p->j->err) {
        if (n->list) expect(p, ",");
        if (gal__jp_is(p, "}")) break;
        *end = gal__jp_expression(p);
        if (p->j->err) break;
        end = &(*end)->next;
        expect(p, ":");
        *end = gal__jp_expression(p);
        GAL_ASSERT(*end); /* never NULL: of no memory, p->none */
        if (!p->j->err) end = &(*end)->next;
    }
    if (!p->j->err) expect(p, "}");
    return n;
}

static gal__jnode *primary(gal__jparser *p) {
    gal__jnode *n;
    switch ((int)p->at->kind) {
    case GAL__T_NAME:
        return name_or_constant(p);
    case GAL__T_STRING:
        return strings(p);
    case GAL__T_INT:
    case GAL__T_REAL: {
        n = gal__jp_node(p, GAL__N_CONST);
        const gal__jv v = number(p);
        if (!p->j->err) n->value = v;
        next(p);
        return n;
    }
    default:
        if (gal__jp_is(p, "[")) return list(p);
        if (gal__jp_is(p, "{")) return dict(p);
        if (!gal__jp_is(p, "(")) {
            gal__jp_fail(p, "an expression");
            return no_node(p);
        }
        gal__jnode *start = gal__jp_node(p, GAL__N_TUPLE);
        next(p);
        if (gal__jp_is(p, ")"))
            n = start;
        else
            n = gal__jp_tuple(p, true);
        if (!p->j->err) expect(p, ")");
        return n;
    }
}

/* ---- what follows -------------------------------------------------------------------------------------------------
 */

static gal__jnode *arguments(gal__jparser *p) { /* from "(" to ")" */
    gal__jnode *first = NULL, **end = &first;
    bool keywords = false;
    expect(p, "(");
    while (!gal__jp_is(p, ")") && !p->j->err) {
        if (first) expect(p, ",");
        if (gal__jp_is(p, ")")) break;
        if (gal__jp_is(p, "*") || gal__jp_is(p, "**")) {
            gal__jp_fail(p, "an argument; '*' and '**' before one are not supported");
            break;
        }
        if (p->at->kind == GAL__T_NAME && p->at[1].kind == GAL__T_OP && gal__is(p->at[1].text, "=")) {
            keywords = true;
            *end = gal__jp_node(p, GAL__N_KEYWORD);
            const char *name = gal__jp_name(p, "a name");
            next(p);
            gal__jnode *value = gal__jp_expression(p);
            if (p->j->err) break;
            (*end)->name = name;
            (*end)->a = value;
        } else {
            if (keywords) gal__jp_fail(p, "a named argument after a named one");
            *end = gal__jp_expression(p);
        }
        GAL_ASSERT(*end); /* never NULL: of no memory, p->none */
        if (!p->j->err) end = &(*end)->next;
    }
    if (!p->j->err) expect(p, ")");
    return p->j->err ? NULL : first;
}

static gal__jnode *subscript(gal__jparser *p) {
    gal__jnode *part[3] = { NULL, NULL, NULL };
    gal__jnode *slice = gal__jp_node(p, GAL__N_SLICE);
    bool is_slice = false;
    for (int i = 0; i < 3 && !p->j->err; i++) {
        if (!gal__jp_is(p, ":") && !gal__jp_is(p, "]") && !gal__jp_is(p, ",")) part[i] = gal__jp_expression(p);
        if (i == 2 || !gal__jp_skip(p, ":")) break;
        is_slice = true;
    }
    if (gal__jp_is(p, ",")) gal__jp_fail(p, "']'; several places at once are not supported");
    if (p->j->err) return no_node(p);
    if (!is_slice && !part[0]) gal__jp_fail(p, "an expression");
    if (!is_slice) return part[0] ? part[0] : no_node(p);
    slice->a = part[0];
    slice->b = part[1];
    slice->c = part[2];
    return slice;
}

static gal__jnode *call(gal__jparser *p, gal__jnode *of) {
    gal__jnode *n = gal__jp_node(p, GAL__N_CALL), *args = arguments(p);
    if (p->j->err) return no_node(p);
    n->a = of;
    n->list = args;
    return n;
}

static gal__jnode *attribute(gal__jparser *p, gal__jnode *of) { /* at "." */
    next(p);
    gal__jnode *n = gal__jp_node(p, p->at->kind == GAL__T_INT ? GAL__N_ITEM : GAL__N_ATTR);
    if (p->j->err) return no_node(p);
    n->a = of;
    if (p->at->kind == GAL__T_INT) {
        n->b = primary(p);
    } else {
        if (p->at->kind == GAL__T_NAME && p->at->text.n > 1 && memcmp(p->at->text.s, "__", 2) == 0)
            gal__jp_fail(p, "a name; those that begin with '__' are refused");
        n->name = gal__jp_name(p, "a name or a number after '.'");
    }
    return p->j->err ? no_node(p) : n;
}

static gal__jnode *postfix(gal__jparser *p, gal__jnode *n) {
    while (!p->j->err) {
        if (gal__jp_is(p, ".")) {
            n = attribute(p, n);
        } else if (gal__jp_is(p, "[")) {
            gal__jnode *item = gal__jp_node(p, GAL__N_ITEM);
            next(p);
            gal__jnode *what = subscript(p);
            if (!p->j->err) expect(p, "]");
            if (p->j->err) break;
            item->a = n;
            item->b = what;
            n = item;
        } else if (gal__jp_is(p, "(")) {
            n = call(p, n);
        } else {
            break;
        }
    }
    return n;
}

static gal__jnode *filter(gal__jparser *p, gal__jnode *of) {
    gal__jnode *n = gal__jp_node(p, GAL__N_FILTER);
    const char *name = gal__jp_name(p, "a filter's name");
    if (gal__jp_is(p, ".")) gal__jp_fail(p, "a filter's name without a '.'");
    gal__jnode *args = gal__jp_is(p, "(") ? arguments(p) : NULL;
    if (p->j->err) return no_node(p);
    n->name = name;
    n->a = of;
    n->list = args;
    return n;
}

gal__jnode *gal__jp_filters(gal__jparser *p, gal__jnode *first, bool inline_first) {
    if (inline_first) first = filter(p, first);
    while (!p->j->err && gal__jp_skip(p, "|")) first = filter(p, first);
    return first;
}

static gal__jnode *test(gal__jparser *p, gal__jnode *of) { /* after "is" */
    gal__jnode *n = gal__jp_node(p, GAL__N_TEST), *not_it = gal__jp_node(p, GAL__N_NOT), *args = NULL;
    const bool negated = gal__jp_skip_name(p, "not");
    const char *name = gal__jp_name(p, "a test's name");
    const gal__jtok k = p->at->kind;
    if (gal__jp_is(p, "(")) {
        args = arguments(p);
    } else if ((k == GAL__T_NAME || k == GAL__T_STRING || k == GAL__T_INT || k == GAL__T_REAL || gal__jp_is(p, "[") ||
                gal__jp_is(p, "{")) &&
               !gal__jp_named(p, "else") && !gal__jp_named(p, "or") && !gal__jp_named(p, "and")) {
        if (gal__jp_named(p, "is")) gal__jp_fail(p, "one test; 'is' after 'is' needs brackets");
        if (!p->j->err) args = primary(p);
        if (!p->j->err) args = postfix(p, args);
    }
    if (p->j->err) return no_node(p);
    n->name = name;
    n->a = of;
    n->list = args;
    not_it->a = n;
    return negated ? not_it : n;
}

/* ---- operators ----------------------------------------------------------------------------------------------------
 */

static gal__jnode *unary(gal__jparser *p, bool filters) {
    gal__jnode *n;
    if (p->j->err || !gal__jp_enter(p)) return no_node(p);
    if (gal__jp_is(p, "-") || gal__jp_is(p, "+")) {
        gal__jnode *sign = gal__jp_node(p, gal__jp_is(p, "-") ? GAL__N_NEG : GAL__N_POS);
        next(p);
        n = unary(p, false);
        if (!p->j->err) sign->a = n;
        n = sign;
    } else {
        n = primary(p);
    }
    n = postfix(p, n);
    while (filters && !p->j->err) {
        if (gal__jp_skip(p, "|"))
            n = filter(p, n);
        else if (gal__jp_skip_name(p, "is"))
            n = test(p, n);
        else if (gal__jp_is(p, "("))
            n = call(p, n);
        else
            break;
    }
    p->depth--;
    return p->j->err ? no_node(p) : n;
}

static const struct {
    const char *s;
    gal__jop op;
    int level; /* 0 binds least */
} BINARY[] = { { "+", GAL__O_ADD, 0 },    { "-", GAL__O_SUB, 0 }, { "*", GAL__O_MUL, 2 }, { "/", GAL__O_DIV, 2 },
               { "//", GAL__O_FLOOR, 2 }, { "%", GAL__O_MOD, 2 }, { "**", GAL__O_POW, 3 } };

/* Levels: sums, "~", products, powers; all from the left, as jinja2 has it. */
static gal__jnode *binary(gal__jparser *p, int level) {
    if (level == 4) return unary(p, true);
    gal__jnode *left = binary(p, level + 1);
    if (level == 1 && gal__jp_is(p, "~")) {
        gal__jnode *n = gal__jp_node(p, GAL__N_CONCAT), *last = left;
        if (p->j->err) return no_node(p);
        n->list = left;
        while (!p->j->err && gal__jp_skip(p, "~")) {
            gal__jnode *more = binary(p, level + 1);
            if (p->j->err) break;
            last->next = more;
            last = more;
        }
        return n;
    }
    for (bool found = true; found && !p->j->err;) {
        found = false;
        for (size_t i = 0; i < GAL_LEN(BINARY) && !found; i++) {
            if (BINARY[i].level != level || !gal__jp_is(p, BINARY[i].s)) continue;
            gal__jnode *n = gal__jp_node(p, GAL__N_BINARY);
            next(p);
            gal__jnode *right = binary(p, level + 1);
            if (p->j->err) return no_node(p);
            n->op = BINARY[i].op;
            n->a = left;
            n->b = right;
            left = n;
            found = true;
        }
    }
    return left;
}

static bool comparison(gal__jparser *p, gal__jop *op) {
    static const struct {
        const char *s;
        gal__jop op;
    } OPS[] = { { "==", GAL__O_EQ }, { "!=", GAL__O_NE }, { "<", GAL__O_LT },
                { "<=", GAL__O_LE }, { ">", GAL__O_GT },  { ">=", GAL__O_GE } };
    for (size_t i = 0; i < GAL_LEN(OPS); i++) {
        *op = OPS[i].op;
        if (gal__jp_skip(p, OPS[i].s)) return true;
    }
    *op = GAL__O_IN;
    if (gal__jp_skip_name(p, "in")) return true;
    *op = GAL__O_NOT_IN;
    if (!gal__jp_named(p, "not") || !named(p->at + 1, "in")) return false;
    p->at += 2;
    return true;
}

static gal__jnode *compare(gal__jparser *p) {
    gal__jnode *left = binary(p, 0), *n = gal__jp_node(p, GAL__N_COMPARE), **end = &n->list;
    gal__jop op;
    while (!p->j->err && comparison(p, &op)) {
        gal__jnode *operand = gal__jp_node(p, GAL__N_OPERAND), *right = binary(p, 0);
        if (p->j->err) return no_node(p);
        operand->op = op;
        operand->a = right;
        *end = operand;
        end = &operand->next;
    }
    if (p->j->err || !n->list) return left;
    n->a = left;
    return n;
}

static gal__jnode *negation(gal__jparser *p) {
    gal__jnode *n = gal__jp_node(p, GAL__N_NOT);
    if (!gal__jp_skip_name(p, "not")) return compare(p);
    if (!gal__jp_enter(p)) return no_node(p);
    gal__jnode *a = negation(p);
    p->depth--;
    if (p->j->err) return no_node(p);
    n->a = a;
    return n;
}

static gal__jnode *logic(gal__jparser *p, bool is_or) {
    gal__jnode *left = is_or ? logic(p, false) : negation(p);
    while (!p->j->err && gal__jp_named(p, is_or ? "or" : "and")) {
        gal__jnode *n = gal__jp_node(p, is_or ? GAL__N_OR : GAL__N_AND);
        next(p);
        gal__jnode *right = is_or ? logic(p, false) : negation(p);
        if (p->j->err) return no_node(p);
        n->a = left;
        n->b = right;
        left = n;
    }
    return left;
}

gal__jnode *gal__jp_expression(gal__jparser *p) {
    if (p->j->err || !gal__jp_enter(p)) return no_node(p);
    gal__jnode *n = logic(p, true);
    while (!p->j->err && gal__jp_named(p, "if")) {
        gal__jnode *cond = gal__jp_node(p, GAL__N_COND);
        next(p);
        gal__jnode *a = logic(p, true), *c = NULL;
        if (!p->j->err && gal__jp_skip_name(p, "else")) c = gal__jp_expression(p);
        if (p->j->err) break;
        cond->a = a;
        cond->b = n;
        cond->c = c;
        n = cond;
    }
    p->depth--;
    return p->j->err ? no_node(p) : n;
}

gal__jnode *gal__jp_tuple(gal__jparser *p, bool conditions) {
    gal__jnode *n = gal__jp_node(p, GAL__N_TUPLE), **end = &n->list;
    bool commas = false;
    while (!p->j->err) {
        if (p->at->kind == GAL__T_PRINT_END || p->at->kind == GAL__T_BLOCK_END || gal__jp_is(p, ")")) break;
        *end = conditions ? gal__jp_expression(p) : logic(p, true);
        if (p->j->err) break;
        end = &(*end)->next;
        if (!gal__jp_skip(p, ",")) break;
        commas = true;
    }
    if (p->j->err) return no_node(p);
    if (!n->list) gal__jp_fail(p, "an expression");
    return commas || !n->list ? n : n->list;
}

gal__jnode *gal__jp_target(gal__jparser *p, bool fields) {
    gal__jnode *n = gal__jp_node(p, GAL__N_TUPLE), **end = &n->list;
    const bool brackets = gal__jp_skip(p, "(");
    bool commas = false;
    while (p->at->kind == GAL__T_NAME && !p->j->err) {
        if (gal__jp_named(p, "in")) break;
        *end = gal__jp_node(p, GAL__N_NAME);
        const char *name = gal__jp_name(p, "a name");
        static const char *const RESERVED[] = { "true", "false", "none", "True", "False", "None" };
        for (size_t i = 0; i < GAL_LEN(RESERVED); i++)
            if (strcmp(name, RESERVED[i]) == 0) gal__jp_fail(p, "a name that can be set before this");
        if (p->j->err) break;
        (*end)->name = name;
        if (fields && gal__jp_skip(p, ".")) {
            if (p->at->kind == GAL__T_NAME && p->at->text.n && p->at->text.s[0] == '_')
                gal__jp_fail(p, "a field's name; those that begin with '_' are refused");
            const char *field = gal__jp_name(p, "a field's name");
            if (p->j->err) break;
            (*end)->kind = GAL__N_FIELD;
            (*end)->name2 = field;
        }
        end = &(*end)->next;
        if (!gal__jp_skip(p, ",")) break;
        commas = true;
    }
    if (!p->j->err && !n->list) gal__jp_fail(p, "a name to set");
    if (!p->j->err && brackets) expect(p, ")");
    if (p->j->err) return no_node(p);
    return commas ? n : n->list;
}
