/* jinja_tests.c - what may stand after `is`. SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"
#include "text/jinja_internal.h"
#include "text/unicode.h"

#include <string.h>

typedef enum test {
    IS_DEFINED,
    IS_UNDEFINED,
    IS_NONE,
    IS_BOOLEAN,
    IS_TRUE,
    IS_FALSE,
    IS_INTEGER,
    IS_FLOAT,
    IS_NUMBER,
    IS_STRING,
    IS_MAPPING,
    IS_ITERABLE,
    IS_SEQUENCE,
    IS_CALLABLE,
    IS_ODD,
    IS_EVEN,
    IS_LOWER,
    IS_UPPER,
    IS_DIVISIBLE, /* from here on with an argument */
    IS_SAME,
    IS_EQ,
    IS_NE,
    IS_LT,
    IS_LE,
    IS_GT,
    IS_GE,
    IS_IN
} test;

static const struct {
    const char *name;
    test test;
} TESTS[] = {
    { "defined", IS_DEFINED },
    { "undefined", IS_UNDEFINED },
    { "none", IS_NONE },
    { "boolean", IS_BOOLEAN },
    { "true", IS_TRUE },
    { "false", IS_FALSE },
    { "integer", IS_INTEGER },
    { "float", IS_FLOAT },
    { "number", IS_NUMBER },
    { "string", IS_STRING },
    { "mapping", IS_MAPPING },
    { "iterable", IS_ITERABLE },
    { "sequence", IS_SEQUENCE },
    { "callable", IS_CALLABLE },
    { "odd", IS_ODD },
    { "even", IS_EVEN },
    { "lower", IS_LOWER },
    { "upper", IS_UPPER },
    { "divisibleby", IS_DIVISIBLE },
    { "sameas", IS_SAME },
    { "eq", IS_EQ },
    { "equalto", IS_EQ },
    { "==", IS_EQ },
    { "ne", IS_NE },
    { "!=", IS_NE },
    { "lt", IS_LT },
    { "lessthan", IS_LT },
    { "<", IS_LT },
    { "le", IS_LE },
    { "<=", IS_LE },
    { "gt", IS_GT },
    { "greaterthan", IS_GT },
    { ">", IS_GT },
    { "ge", IS_GE },
    { ">=", IS_GE },
    { "in", IS_IN },
};

static bool whole(gal__jv v) { return v.kind == GAL__J_INT || v.kind == GAL__J_BOOL; }

/* v % by == 0, for odd, even and divisibleby; v % by == rest. */
static bool remainder_is(gal__jinja *j, gal__jv v, gal__jv by, int64_t rest) {
    const gal__jv r = gal__j_binary(j, GAL__O_MOD, v, by);
    return !j->err && gal__j_equal(j, r, gal__j_int(rest));
}

/* str.islower() and isupper(): some letter with case, and none of the other. */
static bool all_case(gal__jinja *j, gal__jv v, bool upper) {
    const gal__jtext *t = gal__j_str(j, v);
    bool some = false;
    (void)gal__j_work(j, 4 * t->n);
    for (size_t i = 0; i < t->n;) {
        uint32_t cp = 0;
        i += (size_t)GAL_MAX(gal_utf8_next(t->s + i, t->n - i, &cp), 1);
        const gal_category c = gal_category_of(cp);
        if (c == GAL_LT || c == (upper ? GAL_LL : GAL_LU)) return false;
        some = some || c == (upper ? GAL_LU : GAL_LL);
    }
    return some;
}

static bool same(gal__jinja *j, gal__jv a, gal__jv b) {
    if (a.kind != b.kind) return false;
    if (a.kind == GAL__J_SEQ) return a.seq == b.seq;
    if (a.kind == GAL__J_DICT) return a.dict == b.dict;
    return gal__j_equal(j, a, b);
}

static bool has_items(gal__jv v) {
    return v.kind == GAL__J_TEXT || v.kind == GAL__J_DICT || v.kind == GAL__J_UNDEFINED;
}

static bool alone(gal__jinja *j, test t, gal__jv v) {
    switch ((int)t) {
    case IS_DEFINED:
        return v.kind != GAL__J_UNDEFINED;
    case IS_UNDEFINED:
        return v.kind == GAL__J_UNDEFINED;
    case IS_NONE:
        return v.kind == GAL__J_NONE;
    case IS_BOOLEAN:
        return v.kind == GAL__J_BOOL;
    case IS_TRUE:
    case IS_FALSE:
        return v.kind == GAL__J_BOOL && v.truth == (t == IS_TRUE);
    case IS_INTEGER:
        return v.kind == GAL__J_INT || v.kind == GAL__J_BIG;
    case IS_FLOAT:
        return v.kind == GAL__J_REAL;
    case IS_NUMBER:
        return whole(v) || v.kind == GAL__J_REAL || v.kind == GAL__J_BIG;
    case IS_STRING:
        return v.kind == GAL__J_TEXT;
    case IS_MAPPING:
        return v.kind == GAL__J_DICT;
    case IS_ITERABLE:
        return has_items(v) || v.kind == GAL__J_SEQ || v.kind == GAL__J_LOOP;
    case IS_SEQUENCE:
        return has_items(v) || (v.kind == GAL__J_SEQ && v.seq->kind <= GAL__S_RANGE);
    case IS_CALLABLE:
        return v.kind == GAL__J_UNDEFINED || v.kind == GAL__J_MACRO || v.kind == GAL__J_GLOBAL ||
               v.kind == GAL__J_METHOD || v.kind == GAL__J_LOOP;
    case IS_ODD:
    case IS_EVEN:
        return remainder_is(j, v, gal__j_int(2), t == IS_ODD);
    default:
        return all_case(j, v, t == IS_UPPER);
    }
}

static bool beside(gal__jinja *j, test t, gal__jv v, gal__jv other) {
    bool unordered = false;
    if (t == IS_DIVISIBLE) return remainder_is(j, v, other, 0);
    if (t == IS_SAME) return same(j, v, other);
    if (t == IS_EQ) return gal__j_equal(j, v, other);
    if (t == IS_NE) return !gal__j_equal(j, v, other);
    if (t == IS_IN) return gal__j_contains(j, other, v);
    const int c = gal__j_compare(j, v, other,
                                 t == IS_LT   ? "<"
                                 : t == IS_LE ? "<="
                                 : t == IS_GT ? ">"
                                              : ">=",
                                 &unordered);
    if (unordered) return false;
    return t == IS_LT ? c < 0 : t == IS_LE ? c <= 0 : t == IS_GT ? c > 0 : c >= 0;
}

bool gal__j_test(gal__jinja *j, const char *name, gal__jv v, const gal__jargs *a) {
    for (size_t i = 0; i < GAL_LEN(TESTS); i++) {
        if (strcmp(TESTS[i].name, name) != 0) continue;
        const test t = TESTS[i].test;
        gal__jv bound[8] = { 0 };
        if (!gal__j_bind(j, a, name, t < IS_DIVISIBLE ? "" : "other", t >= IS_DIVISIBLE, bound)) return false;
        const bool is = t < IS_DIVISIBLE ? alone(j, t, v) : beside(j, t, v, bound[0]);
        return is && !j->err;
    }
    (void)gal__j_fail(j, "test '%.60s' is not supported", name);
    return false;
}
