/* jinja_eval.c - expressions: names, attributes, items, operators, calls. What Python raises an exception for is an
 * error with the place in the template; what jinja2 makes undefined is undefined. SPDX-License-Identifier: Apache-2.0
 */
#include "base/util.h"
#include "text/jinja_internal.h"

#include <math.h>
#include <string.h>

static void here(gal__jinja *j, const gal__jnode *n) {
    if (j->err) return;
    j->line = n->line;
    j->column = n->column;
}

static gal__jv undefined_used(gal__jinja *j, gal__jv v, const char *how) {
    return gal__j_fail(j, "%s%s%s is undefined, and %s", v.name ? "'" : "", v.name ? v.name : "a value",
                       v.name ? "'" : "", how);
}

/* ---- names, attributes, items -------------------------------------------------------------------------------------
 */

static gal__jv lookup(gal__jinja *j, const char *name) {
    static const char *const LEFT_OUT[] = { "lipsum", "cycler", "joiner", "self", "super", "caller" };
    for (const gal__jscope *s = j->scope; s; s = s->up)
        for (const gal__jvar *v = s->first; v; v = v->next)
            if (v->name == name) return v->value;
    for (const char *const *g = gal__j_globals(); *g; g++)
        if (strcmp(*g, name) == 0) return (gal__jv){ GAL__J_GLOBAL, { .name = *g } };
    for (size_t i = 0; i < GAL_LEN(LEFT_OUT); i++)
        if (strcmp(LEFT_OUT[i], name) == 0) return gal__j_fail(j, "'%s' is not supported", name);
    return gal__j_undefined(name);
}

static gal__jv loop_field(gal__jinja *j, const gal__jloop *l, const char *name) {
    const size_t n = l->seq->n, at = l->at;
    const struct {
        const char *name;
        size_t value;
    } counts[] = { { "index", at + 1 }, { "index0", at }, { "revindex", n - at }, { "revindex0", n - at - 1 },
                   { "length", n },     { "depth", 1 },   { "depth0", 0 } };
    for (size_t i = 0; i < GAL_LEN(counts); i++)
        if (strcmp(counts[i].name, name) == 0) return gal__j_int((int64_t)counts[i].value);
    if (strcmp(name, "first") == 0) return gal__j_bool(at == 0);
    if (strcmp(name, "last") == 0) return gal__j_bool(at + 1 == n);
    if (strcmp(name, "previtem") == 0)
        return at ? l->seq->items[at - 1] : gal__j_undefined("there is no previous item");
    if (strcmp(name, "nextitem") == 0)
        return at + 1 < n ? l->seq->items[at + 1] : gal__j_undefined("there is no next item");
    if (strcmp(name, "cycle") == 0) {
        gal__jmethod *m = gal__j_take(j, 1, sizeof *m);
        gal__jv *self = m ? &m->self : NULL;
        if (!self) return gal__j_undefined(NULL);
        *self = gal__j_int((int64_t)at);
        m->name = "loop.cycle";
        return (gal__jv){ GAL__J_METHOD, { .method = m } };
    }
    if (strcmp(name, "changed") == 0) return gal__j_fail(j, "'loop.changed' is not supported");
    return gal__j_undefined(name);
}

/* What a value has besides items; *found: there is such a thing. */
static gal__jv own_attribute(gal__jinja *j, gal__jv v, const char *name, bool *found) {
    *found = true;
    if (v.kind == GAL__J_LOOP) return loop_field(j, v.loop, name);
    if (v.kind == GAL__J_SPACE) {
        const gal__jv *field = gal__j_dict_named(j, &v.space->fields, name);
        return field ? *field : gal__j_undefined(name);
    }
    if (strncmp(name, "__", 2) == 0) {
        *found = false;
        return gal__j_undefined(name);
    }
    if (gal__j_method_known(v, name)) {
        gal__jmethod *m = gal__j_take(j, 1, sizeof *m);
        if (!m) return gal__j_undefined(NULL);
        m->self = v;
        m->name = name;
        return (gal__jv){ GAL__J_METHOD, { .method = m } };
    }
    if (v.kind == GAL__J_MACRO || v.kind == GAL__J_GLOBAL || v.kind == GAL__J_METHOD)
        return gal__j_fail(j, "'%s': attributes of a %s are not supported", name, gal__j_type(v));
    *found = false;
    return gal__j_undefined(name);
}

static gal__jv guard(gal__jinja *j, const char *name) {
    if (name && strncmp(name, "__", 2) == 0)
        return gal__j_fail(j, "'%.60s': names that begin with '__' are refused", name);
    return gal__j_undefined(name);
}

gal__jv gal__j_attr(gal__jinja *j, gal__jv v, const char *name) {
    bool found;
    if (v.kind == GAL__J_UNDEFINED) return undefined_used(j, v, "has no attributes");
    const gal__jv own = own_attribute(j, v, name, &found);
    if (found || j->err) return own;
    if (v.kind == GAL__J_DICT) {
        const gal__jv *item = gal__j_dict_named(j, v.dict, name);
        if (item) return *item;
    }
    return guard(j, name);
}

static bool index_of(gal__jv key, int64_t *i) {
    *i = key.kind == GAL__J_BOOL ? key.truth : key.i;
    return key.kind == GAL__J_INT || key.kind == GAL__J_BOOL;
}

static gal__jv char_at(gal__jinja *j, const gal__jtext *t, int64_t i) {
    const int64_t chars = (int64_t)gal__j_chars(j, t);
    if (i < 0) i += chars;
    if (i < 0 || i >= chars) return gal__j_undefined(NULL);
    const size_t at = gal__j_char_at(t, (size_t)i);
    size_t n = 1;
    while (at + n < t->n && ((uint8_t)t->s[at + n] & 0xc0) == 0x80) n++;
    return gal__j_cut(j, t, at, n);
}

gal__jv gal__j_item(gal__jinja *j, gal__jv v, gal__jv key) {
    int64_t i;
    bool found = false;
    if (v.kind == GAL__J_UNDEFINED) return undefined_used(j, v, "has no items");
    const bool unhashable = key.kind == GAL__J_DICT || (key.kind == GAL__J_SEQ && key.seq->kind == GAL__S_LIST);
    if (v.kind == GAL__J_DICT && !unhashable) {
        const gal__jv *item = gal__j_dict_get(j, v.dict, key);
        if (item || j->err) return item ? *item : gal__j_undefined(NULL);
    }
    if (v.kind == GAL__J_SEQ && v.seq->kind <= GAL__S_RANGE && index_of(key, &i)) {
        if (i < 0) i += (int64_t)v.seq->n;
        return i >= 0 && i < (int64_t)v.seq->n ? v.seq->items[i] : gal__j_undefined(NULL);
    }
    if (v.kind == GAL__J_TEXT && index_of(key, &i)) return char_at(j, v.text, i);
    if (key.kind != GAL__J_TEXT) return gal__j_undefined(NULL);
    if (key.text->n > 200) return gal__j_undefined(NULL);
    const char *name = gal__j_intern(j, key.text->s, key.text->n);
    const gal__jv own = j->err ? gal__j_undefined(NULL) : own_attribute(j, v, name, &found);
    return j->err || found ? own : guard(j, name);
}

gal__jv gal__j_path(gal__jinja *j, gal__jv v, const gal__jtext *path) {
    for (size_t at = 0; at <= path->n && !j->err;) {
        size_t n = 0;
        bool digits = true;
        for (; at + n < path->n && path->s[at + n] != '.'; n++)
            digits = digits && path->s[at + n] >= '0' && path->s[at + n] <= '9';
        gal__jv key = gal__j_cut(j, path, at, n);
        if (digits && n && n < 10) {
            int64_t i = 0;
            for (size_t k = 0; k < n; k++) i = 10 * i + (path->s[at + k] - '0');
            key = gal__j_int(i);
        }
        if (!j->err) v = gal__j_item(j, v, key);
        at += n + 1;
    }
    return v;
}

/* ---- slices -------------------------------------------------------------------------------------------------------
 */

/* A bound as Python's slice.indices() has it. */
static int64_t bound(gal__jinja *j, const gal__jnode *n, int64_t length, int64_t step, bool start) {
    const gal__jv v = n ? gal__j_eval(j, n) : gal__j_none();
    int64_t i;
    if (v.kind == GAL__J_NONE) return start ? (step > 0 ? 0 : length - 1) : step > 0 ? length : -1;
    if (!index_of(v, &i)) {
        (void)gal__j_fail(j, "a slice's bound: expected a whole number, found %s", gal__j_type(v));
        return 0;
    }
    if (i < 0) i = i < -length ? -1 : i + length;
    if (i < 0) return step > 0 ? 0 : -1;
    return i >= length ? (step > 0 ? length : length - 1) : i;
}

static gal__jv slice_text(gal__jinja *j, const gal__jtext *t, int64_t from, int64_t to, int64_t step) {
    if (step == 1) {
        if (to <= from) return gal__j_cut(j, t, 0, 0);
        (void)gal__j_work(j, t->n);
        const size_t at = gal__j_char_at(t, (size_t)from), end = gal__j_char_at(t, (size_t)to);
        return gal__j_cut(j, t, at, end - at);
    }
    const gal__jseq *chars = gal__j_iterate(j, (gal__jv){ GAL__J_TEXT, { .text = t } });
    gal__jout o = { 0 };
    for (int64_t i = from; chars && (step > 0 ? i < to : i > to) && !j->err; i += step)
        gal__j_put_text(j, &o, chars->items[i].text);
    return gal__j_built(j, &o);
}

static gal__jv slice(gal__jinja *j, gal__jv v, const gal__jnode *n) {
    int64_t step = 1, length;
    const gal__jv s = n->c ? gal__j_eval(j, n->c) : gal__j_none();
    if (v.kind == GAL__J_UNDEFINED) return undefined_used(j, v, "cannot be cut");
    if (v.kind != GAL__J_TEXT && !(v.kind == GAL__J_SEQ && v.seq->kind <= GAL__S_RANGE))
        return gal__j_fail(j, "%s cannot be cut (a slice)", gal__j_type(v));
    if (s.kind != GAL__J_NONE && (!index_of(s, &step) || step == 0))
        return gal__j_fail(j, "a slice's step: expected a whole number other than 0");
    length = (int64_t)(v.kind == GAL__J_TEXT ? gal__j_chars(j, v.text) : v.seq->n);
    step = GAL_MAX(GAL_MIN(step, length + 1), -length - 1);
    if (step == 0) step = 1;
    const int64_t from = bound(j, n->a, length, step, true), to = bound(j, n->b, length, step, false);
    if (j->err) return gal__j_undefined(NULL);
    if (v.kind == GAL__J_TEXT) return slice_text(j, v.text, from, to, step);
    gal__jseq *out = gal__j_new_seq(j, v.seq->kind, 0);
    (void)gal__j_work(j, v.seq->n);
    for (int64_t i = from; out && (step > 0 ? i < to : i > to) && !j->err; i += step)
        gal__j_add(j, out, v.seq->items[i]);
    return j->err ? gal__j_undefined(NULL) : gal__j_seq(out);
}

/* ---- operators ----------------------------------------------------------------------------------------------------
 */

static const char *const OPERATORS[] = { "+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=" };

static bool is_number(gal__jv v) { return v.kind == GAL__J_BOOL || v.kind == GAL__J_INT || v.kind == GAL__J_REAL; }
static int64_t whole_of(gal__jv v) { return v.kind == GAL__J_BOOL ? v.truth : v.i; }
static double real_of(gal__jv v) { return v.kind == GAL__J_REAL ? v.x : (double)whole_of(v); }

static gal__jv too_large(gal__jinja *j) { return gal__j_fail(j, "a whole number beyond 64 bits"); }

static gal__jv power(gal__jinja *j, int64_t a, int64_t b) {
    int64_t out = 1;
    if (b < 0) return a ? gal__j_real(pow((double)a, (double)b)) : gal__j_fail(j, "0 to a negative power");
    if (a == 0 || a == 1) return gal__j_int(b ? a : 1);
    if (a == -1) return gal__j_int(b % 2 ? -1 : 1);
    for (; b > 0; b--)
        if (__builtin_mul_overflow(out, a, &out)) return too_large(j);
    return gal__j_int(out);
}

static gal__jv whole_numbers(gal__jinja *j, gal__jop op, int64_t a, int64_t b) {
    int64_t out;
    if ((op == GAL__O_DIV || op == GAL__O_FLOOR || op == GAL__O_MOD) && b == 0)
        return gal__j_fail(j, "a division by zero");
    switch ((int)op) {
    case GAL__O_ADD:
        return __builtin_add_overflow(a, b, &out) ? too_large(j) : gal__j_int(out);
    case GAL__O_SUB:
        return __builtin_sub_overflow(a, b, &out) ? too_large(j) : gal__j_int(out);
    case GAL__O_MUL:
        return __builtin_mul_overflow(a, b, &out) ? too_large(j) : gal__j_int(out);
    case GAL__O_DIV:
        return gal__j_real((double)a / (double)b);
    case GAL__O_FLOOR:
        if (b == -1) return __builtin_sub_overflow((int64_t)0, a, &out) ? too_large(j) : gal__j_int(out);
        return gal__j_int(a / b - (a % b != 0 && (a < 0) != (b < 0)));
    case GAL__O_MOD:
        out = b == -1 ? 0 : a % b;
        return gal__j_int(out && (out < 0) != (b < 0) ? out + b : out);
    default:
        return power(j, a, b);
    }
}

static gal__jv real_numbers(gal__jinja *j, gal__jop op, double a, double b) {
    if ((op == GAL__O_DIV || op == GAL__O_FLOOR || op == GAL__O_MOD) && b == 0)
        return gal__j_fail(j, "a division by zero");
    double mod = op == GAL__O_FLOOR || op == GAL__O_MOD ? fmod(a, b) : 0, down;
    if (mod != 0 && (b < 0) != (mod < 0)) mod += b;
    switch ((int)op) {
    case GAL__O_ADD:
        return gal__j_real(a + b);
    case GAL__O_SUB:
        return gal__j_real(a - b);
    case GAL__O_MUL:
        return gal__j_real(a * b);
    case GAL__O_DIV:
        return gal__j_real(a / b);
    case GAL__O_FLOOR:
        down = floor((a - mod) / b);
        return gal__j_real((a - mod) / b - down > 0.5 ? down + 1 : down);
    case GAL__O_MOD:
        return gal__j_real(mod != 0 ? mod : copysign(0.0, b));
    default:
        if (a < 0 && b != floor(b)) return gal__j_fail(j, "a negative number to a power that is not whole");
        return gal__j_real(pow(a, b));
    }
}

static gal__jv repeat(gal__jinja *j, gal__jv v, int64_t times) {
    gal__jout o = { 0 };
    if (v.kind == GAL__J_TEXT) {
        if (times > GAL__JINJA_TEXT && v.text->n) times = GAL__JINJA_TEXT + 1; /* too long in any case */
        const size_t all = times > 0 ? (size_t)times * v.text->n : 0;
        if (all) gal__j_put_text(j, &o, v.text);
        while (o.n < all && !j->err) { /* what is there once more; the pool keeps it while it grows */
            const gal__jtext part = { o.s, GAL_MIN(o.n, all - o.n), o.from, o.origin };
            gal__j_put_text(j, &o, &part);
        }
        return gal__j_built(j, &o);
    }
    gal__jseq *out = gal__j_new_seq(j, v.seq->kind, 0);
    for (int64_t i = 0; i < times && out && v.seq->n && gal__j_work(j, 16); i++)
        for (size_t k = 0; k < v.seq->n && gal__j_work(j, 16); k++) gal__j_add(j, out, v.seq->items[k]);
    return j->err ? gal__j_undefined(NULL) : gal__j_seq(out);
}

static bool repeats(gal__jv v) {
    return v.kind == GAL__J_TEXT || (v.kind == GAL__J_SEQ && v.seq->kind <= GAL__S_TUPLE);
}

static gal__jv join(gal__jinja *j, gal__jv a, gal__jv b) {
    if (a.kind == GAL__J_TEXT) {
        gal__jout o = { 0 };
        if (!b.text->n) return a;
        if (!a.text->n) return b;
        gal__j_put_text(j, &o, a.text);
        gal__j_put_text(j, &o, b.text);
        return gal__j_built(j, &o);
    }
    gal__jseq *out = gal__j_new_seq(j, a.seq->kind, a.seq->n + b.seq->n);
    (void)gal__j_work(j, 16 * (a.seq->n + b.seq->n));
    for (size_t i = 0; out && i < a.seq->n; i++) gal__j_add(j, out, a.seq->items[i]);
    for (size_t i = 0; out && i < b.seq->n; i++) gal__j_add(j, out, b.seq->items[i]);
    return j->err ? gal__j_undefined(NULL) : gal__j_seq(out);
}

gal__jv gal__j_binary(gal__jinja *j, gal__jop op, gal__jv a, gal__jv b) {
    if (j->err) return gal__j_undefined(NULL);
    if (a.kind == GAL__J_UNDEFINED || b.kind == GAL__J_UNDEFINED)
        return undefined_used(j, a.kind == GAL__J_UNDEFINED ? a : b, "stands beside an operator");
    if (is_number(a) && is_number(b))
        return a.kind == GAL__J_REAL || b.kind == GAL__J_REAL ? real_numbers(j, op, real_of(a), real_of(b))
                                                              : whole_numbers(j, op, whole_of(a), whole_of(b));
    if (op == GAL__O_ADD && a.kind == b.kind && repeats(a) && (a.kind == GAL__J_TEXT || a.seq->kind == b.seq->kind))
        return join(j, a, b);
    if (op == GAL__O_MUL && repeats(a) && is_number(b) && b.kind != GAL__J_REAL) return repeat(j, a, whole_of(b));
    if (op == GAL__O_MUL && repeats(b) && is_number(a) && a.kind != GAL__J_REAL) return repeat(j, b, whole_of(a));
    if (op == GAL__O_MOD && a.kind == GAL__J_TEXT) return gal__j_fail(j, "'%%' after a str is not supported");
    return gal__j_fail(j, "'%s' is not for %s and %s", OPERATORS[op], gal__j_type(a), gal__j_type(b));
}

static bool compare(gal__jinja *j, gal__jop op, gal__jv a, gal__jv b) {
    if (op == GAL__O_EQ) return gal__j_equal(j, a, b);
    if (op == GAL__O_NE) return !gal__j_equal(j, a, b);
    if (op == GAL__O_IN) return gal__j_contains(j, b, a);
    if (op == GAL__O_NOT_IN) return !gal__j_contains(j, b, a);
    bool unordered = false;
    const int c = gal__j_compare(j, a, b, OPERATORS[op], &unordered);
    if (unordered) return false;
    return op == GAL__O_LT ? c < 0 : op == GAL__O_LE ? c <= 0 : op == GAL__O_GT ? c > 0 : c >= 0;
}

static gal__jv chain(gal__jinja *j, const gal__jnode *n) {
    gal__jv left = gal__j_eval(j, n->a);
    for (const gal__jnode *o = n->list; o && !j->err; o = o->next) {
        const gal__jv right = gal__j_eval(j, o->a);
        here(j, o);
        if (!j->err && !compare(j, o->op, left, right)) return gal__j_bool(false);
        left = right;
    }
    return gal__j_bool(true);
}

static gal__jv negate(gal__jinja *j, const gal__jnode *n) {
    const gal__jv v = gal__j_eval(j, n->a);
    here(j, n);
    if (j->err) return v;
    if (v.kind == GAL__J_UNDEFINED) return undefined_used(j, v, "stands after a sign");
    if (!is_number(v)) return gal__j_fail(j, "a sign is not for %s", gal__j_type(v));
    if (v.kind == GAL__J_REAL) return gal__j_real(n->kind == GAL__N_NEG ? -v.x : v.x);
    return n->kind == GAL__N_NEG ? whole_numbers(j, GAL__O_SUB, 0, whole_of(v)) : gal__j_int(whole_of(v));
}

/* ---- calls --------------------------------------------------------------------------------------------------------
 */

gal__jargs gal__j_args(gal__jinja *j, const gal__jnode *list) {
    gal__jargs a = { 0 };
    size_t n = 0;
    for (const gal__jnode *k = list; k; k = k->next) n += k->kind != GAL__N_KEYWORD;
    a.pos = n ? gal__j_take(j, n, sizeof *a.pos) : NULL;
    gal__jvar **end = &a.keywords;
    for (const gal__jnode *k = list; k && !j->err; k = k->next) {
        if (k->kind != GAL__N_KEYWORD) {
            a.pos[a.n++] = gal__j_eval(j, k);
            continue;
        }
        for (const gal__jvar *v = a.keywords; v; v = v->next)
            if (v->name == k->name) (void)gal__j_fail(j, "argument '%s' is given twice", k->name);
        gal__jvar *v = gal__j_take(j, 1, sizeof *v);
        if (!v) break;
        v->name = k->name;
        v->value = gal__j_eval(j, k->a);
        *end = v;
        end = &v->next;
    }
    return a;
}

bool gal__j_bind(gal__jinja *j, const gal__jargs *a, const char *what, const char *names, int needed, gal__jv *out) {
    size_t count = 0;
    const char *start[8];
    size_t bytes[8];
    for (const char *s = names; *s && count < 8; count++) {
        start[count] = s;
        bytes[count] = strcspn(s, " ");
        s += bytes[count] + (s[bytes[count]] == ' ');
    }
    for (size_t i = 0; i < count; i++) out[i] = i < a->n ? a->pos[i] : (gal__jv){ 0 };
    if (a->n > count) {
        (void)gal__j_fail(j, "%s: expected at most %zu argument%s, found %zu", what, count, count == 1 ? "" : "s",
                          a->n);
        return false;
    }
    for (const gal__jvar *k = a->keywords; k && !j->err; k = k->next) {
        size_t i = 0;
        while (i < count && !(strlen(k->name) == bytes[i] && memcmp(k->name, start[i], bytes[i]) == 0)) i++;
        if (i == count)
            (void)gal__j_fail(j, "%s: no argument is named '%s'", what, k->name);
        else if (out[i].kind != GAL__J_ABSENT)
            (void)gal__j_fail(j, "%s: argument '%s' is given twice", what, k->name);
        else
            out[i] = k->value;
    }
    GAL_ASSERT((size_t)needed <= count);
    for (size_t i = 0; i < (size_t)needed && !j->err; i++)
        if (out[i].kind == GAL__J_ABSENT)
            (void)gal__j_fail(j, "%s: argument '%.*s' is missing", what, (int)bytes[i], start[i]);
    return !j->err;
}

static gal__jv call(gal__jinja *j, const gal__jnode *n) {
    const gal__jv f = gal__j_eval(j, n->a);
    if (j->err) return f;
    here(j, n);
    if (f.kind == GAL__J_UNDEFINED) return undefined_used(j, f, "is called");
    const gal__jargs a = gal__j_args(j, n->list);
    here(j, n);
    if (j->err) return gal__j_undefined(NULL);
    switch ((int)f.kind) {
    case GAL__J_METHOD:
        return gal__j_method(j, f.method, &a);
    case GAL__J_GLOBAL:
        return gal__j_global(j, f.name, &a);
    case GAL__J_MACRO:
        return gal__j_call_macro(j, f.macro, &a);
    default:
        return gal__j_fail(j, "%s cannot be called", gal__j_type(f));
    }
}

/* ---- all of it ----------------------------------------------------------------------------------------------------
 */

static gal__jv concat(gal__jinja *j, const gal__jnode *n) {
    gal__jout o = { 0 };
    for (const gal__jnode *k = n->list; k && !j->err; k = k->next) {
        const gal__jv v = gal__j_eval(j, k);
        here(j, k);
        if (!j->err) gal__j_print(j, &o, v);
    }
    return gal__j_built(j, &o);
}

static gal__jv literal(gal__jinja *j, const gal__jnode *n) {
    if (n->kind == GAL__N_DICT) {
        gal__jdict *d = gal__j_new_dict(j);
        for (const gal__jnode *k = n->list; d && k && !j->err; k = k->next->next) {
            const gal__jv key = gal__j_eval(j, k), value = gal__j_eval(j, k->next);
            gal__j_dict_set(j, d, key, value);
        }
        return j->err ? gal__j_undefined(NULL) : gal__j_dict(d);
    }
    gal__jseq *s = gal__j_new_seq(j, n->kind == GAL__N_LIST ? GAL__S_LIST : GAL__S_TUPLE, 0);
    for (const gal__jnode *k = n->list; s && k && !j->err; k = k->next) gal__j_add(j, s, gal__j_eval(j, k));
    return j->err ? gal__j_undefined(NULL) : gal__j_seq(s);
}

static gal__jv test(gal__jinja *j, const gal__jnode *n) {
    const gal__jv v = gal__j_eval(j, n->a);
    const gal__jargs a = gal__j_args(j, n->list);
    here(j, n);
    return j->err ? gal__j_undefined(NULL) : gal__j_bool(gal__j_test(j, n->name, v, &a));
}

static gal__jv filtered(gal__jinja *j, const gal__jnode *n) {
    const gal__jv v = gal__j_eval(j, n->a);
    const gal__jargs a = gal__j_args(j, n->list);
    here(j, n);
    return j->err ? gal__j_undefined(NULL) : gal__j_filter(j, n->name, v, &a);
}

static gal__jv inner(gal__jinja *j, const gal__jnode *n) {
    gal__jv a, b;
    switch ((int)n->kind) {
    case GAL__N_CONST:
        return n->value;
    case GAL__N_NAME:
        return lookup(j, n->name);
    case GAL__N_LIST:
    case GAL__N_TUPLE:
    case GAL__N_DICT:
        return literal(j, n);
    case GAL__N_ATTR:
        a = gal__j_eval(j, n->a);
        here(j, n);
        return j->err ? a : gal__j_attr(j, a, n->name);
    case GAL__N_ITEM:
        a = gal__j_eval(j, n->a);
        if (j->err) return a;
        if (n->b->kind == GAL__N_SLICE) return slice(j, a, n->b);
        b = gal__j_eval(j, n->b);
        here(j, n);
        return j->err ? b : gal__j_item(j, a, b);
    case GAL__N_CALL:
        return call(j, n);
    case GAL__N_FILTER:
        return filtered(j, n);
    case GAL__N_TEST:
        return test(j, n);
    case GAL__N_NOT:
        a = gal__j_eval(j, n->a);
        return gal__j_bool(!gal__j_truth(a));
    case GAL__N_NEG:
    case GAL__N_POS:
        return negate(j, n);
    case GAL__N_AND:
        a = gal__j_eval(j, n->a);
        return gal__j_truth(a) ? gal__j_eval(j, n->b) : a;
    case GAL__N_OR:
        a = gal__j_eval(j, n->a);
        return gal__j_truth(a) ? a : gal__j_eval(j, n->b);
    case GAL__N_COND:
        a = gal__j_eval(j, n->a);
        if (gal__j_truth(a)) return gal__j_eval(j, n->b);
        return n->c ? gal__j_eval(j, n->c) : gal__j_undefined("an 'if' without 'else'");
    case GAL__N_COMPARE:
        return chain(j, n);
    case GAL__N_BINARY:
        a = gal__j_eval(j, n->a);
        b = gal__j_eval(j, n->b);
        here(j, n);
        return gal__j_binary(j, n->op, a, b);
    case GAL__N_CONCAT:
        return concat(j, n);
    default:
        return gal__j_fail(j, "this is no expression");
    }
}

gal__jv gal__j_eval(gal__jinja *j, const gal__jnode *n) {
    if (!gal__j_step(j)) return gal__j_undefined(NULL);
    here(j, n);
    if (++j->depth > GAL__JINJA_DEPTH)
        (void)gal__j_fail(j, "more than %d expressions in one another", GAL__JINJA_DEPTH);
    const gal__jv v = j->err ? gal__j_undefined(NULL) : inner(j, n);
    j->depth--;
    return j->err ? gal__j_undefined(NULL) : v;
}
