/* jinja_compare.c - truth, equality, order and membership of a template's values, as Python has them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "text/jinja_internal.h"

#include <math.h>
#include <string.h>

const char *gal__j_type(gal__jv v) {
    static const char *const SEQ[] = { "list", "tuple", "range", "dict view", "generator" };
    switch ((int)v.kind) {
    case GAL__J_ABSENT:
    case GAL__J_UNDEFINED:
        return "Undefined";
    case GAL__J_NONE:
        return "None";
    case GAL__J_BOOL:
        return "bool";
    case GAL__J_INT:
    case GAL__J_BIG:
        return "int";
    case GAL__J_REAL:
        return "float";
    case GAL__J_TEXT:
        return "str";
    case GAL__J_SEQ:
        return SEQ[v.seq->kind];
    case GAL__J_DICT:
        return "dict";
    case GAL__J_SPACE:
        return "namespace";
    case GAL__J_MACRO:
        return "macro";
    case GAL__J_GLOBAL:
        return "function";
    case GAL__J_METHOD:
        return "method";
    case GAL__J_LOOP:
        return "loop";
    }
    return "value";
}

bool gal__j_truth(gal__jv v) {
    switch ((int)v.kind) {
    case GAL__J_ABSENT:
    case GAL__J_UNDEFINED:
    case GAL__J_NONE:
        return false;
    case GAL__J_BOOL:
        return v.truth;
    case GAL__J_INT:
        return v.i != 0;
    case GAL__J_REAL:
        return v.x != 0;
    case GAL__J_TEXT:
        return v.text->n > 0;
    case GAL__J_SEQ:
        return v.seq->kind == GAL__S_GENERATOR || v.seq->n > 0;
    case GAL__J_DICT:
        return v.dict->n > 0;
    case GAL__J_LOOP:
    default:
        return true;
    }
}

static bool is_number(gal__jv v) { return v.kind == GAL__J_BOOL || v.kind == GAL__J_INT || v.kind == GAL__J_REAL; }
static int64_t whole_of(gal__jv v) { return v.kind == GAL__J_BOOL ? v.truth : v.i; }

/* Exactly, where a double cannot hold the whole number. *unordered: NaN. */
static int compare_numbers(gal__jv a, gal__jv b, bool *unordered) {
    if (a.kind != GAL__J_REAL && b.kind != GAL__J_REAL) {
        const int64_t x = whole_of(a), y = whole_of(b);
        return (x > y) - (x < y);
    }
    if (a.kind == GAL__J_REAL && b.kind == GAL__J_REAL) {
        *unordered = isnan(a.x) || isnan(b.x);
        return (a.x > b.x) - (a.x < b.x);
    }
    if (a.kind != GAL__J_REAL) return -compare_numbers(b, a, unordered);
    const int64_t y = whole_of(b);
    if (isnan(a.x)) {
        *unordered = true;
        return 1;
    }
    if (a.x >= 9223372036854775808.0) return 1;
    if (a.x < -9223372036854775808.0) return -1;
    const double down = floor(a.x);
    const int64_t x = (int64_t)down;
    return x != y ? (x > y) - (x < y) : a.x > down;
}

static bool equal_seqs(gal__jinja *j, const gal__jseq *a, const gal__jseq *b) {
    if (a == b) return true;
    if (a->kind != b->kind || a->kind >= GAL__S_VIEW || a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!gal__j_equal(j, a->items[i], b->items[i])) return false;
    return true;
}

static bool equal_dicts(gal__jinja *j, const gal__jdict *a, const gal__jdict *b) {
    if (a == b) return true;
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n && !j->err; i++) {
        const gal__jv *other = gal__j_dict_get(j, b, a->entries[i].key);
        if (!other || !gal__j_equal(j, a->entries[i].value, *other)) return false;
    }
    return true;
}

bool gal__j_equal(gal__jinja *j, gal__jv a, gal__jv b) {
    bool unordered = false;
    if (!gal__j_work(j, 8)) return false;
    if (is_number(a) && is_number(b)) return compare_numbers(a, b, &unordered) == 0 && !unordered;
    if (a.kind != b.kind) return false;
    switch ((int)a.kind) {
    case GAL__J_TEXT:
    case GAL__J_BIG:
        return a.text->n == b.text->n && gal__j_work(j, a.text->n) && memcmp(a.text->s, b.text->s, a.text->n) == 0;
    case GAL__J_SEQ:
        return equal_seqs(j, a.seq, b.seq);
    case GAL__J_DICT:
        return equal_dicts(j, a.dict, b.dict);
    case GAL__J_SPACE:
        return a.space == b.space;
    case GAL__J_MACRO:
        return a.macro == b.macro;
    case GAL__J_LOOP:
        return a.loop == b.loop;
    case GAL__J_GLOBAL:
        return strcmp(a.name, b.name) == 0;
    case GAL__J_METHOD:
        return a.method == b.method;
    default: /* nothing and nothing */
        return true;
    }
}

int gal__j_compare(gal__jinja *j, gal__jv a, gal__jv b, const char *op, bool *unordered) {
    if (!gal__j_work(j, 8)) return 0;
    if (is_number(a) && is_number(b)) return compare_numbers(a, b, unordered);
    if (a.kind == GAL__J_TEXT && b.kind == GAL__J_TEXT) { /* bytes of UTF-8 are in the order of its characters */
        const size_t n = GAL_MIN(a.text->n, b.text->n);
        if (!gal__j_work(j, n)) return 0;
        const int c = memcmp(a.text->s, b.text->s, n);
        return c ? c : (a.text->n > b.text->n) - (a.text->n < b.text->n);
    }
    if (a.kind == GAL__J_SEQ && b.kind == GAL__J_SEQ && a.seq->kind == b.seq->kind && a.seq->kind <= GAL__S_TUPLE) {
        for (size_t i = 0; i < GAL_MIN(a.seq->n, b.seq->n) && !j->err; i++)
            if (!gal__j_equal(j, a.seq->items[i], b.seq->items[i]))
                return gal__j_compare(j, a.seq->items[i], b.seq->items[i], op, unordered);
        return (a.seq->n > b.seq->n) - (a.seq->n < b.seq->n);
    }
    if (a.kind == GAL__J_UNDEFINED || b.kind == GAL__J_UNDEFINED) {
        const char *name = a.kind == GAL__J_UNDEFINED ? a.name : b.name;
        (void)gal__j_fail(j, "'%s' with what is undefined (%s)", op, name ? name : "a value");
    } else {
        (void)gal__j_fail(j, "'%s' is not for %s and %s", op, gal__j_type(a), gal__j_type(b));
    }
    return 0;
}

bool gal__j_contains(gal__jinja *j, gal__jv box, gal__jv v) {
    switch ((int)box.kind) {
    case GAL__J_TEXT:
        if (v.kind != GAL__J_TEXT) {
            (void)gal__j_fail(j, "'in' a str: expected a str before it, found %s", gal__j_type(v));
            return false;
        }
        return gal__j_find(j, box.text, 0, v.text) != SIZE_MAX;
    case GAL__J_SEQ:
        for (size_t i = box.seq->at; i < box.seq->n && !j->err; i++) {
            if (box.seq->kind == GAL__S_GENERATOR) box.seq->at = i + 1;
            if (gal__j_equal(j, box.seq->items[i], v)) return true;
        }
        return false;
    case GAL__J_DICT:
        return gal__j_dict_get(j, box.dict, v) != NULL;
    case GAL__J_UNDEFINED:
        return false;
    default:
        (void)gal__j_fail(j, "'in' is not for %s", gal__j_type(box));
        return false;
    }
}

static void add_chars(gal__jinja *j, gal__jseq *out, const gal__jtext *t) {
    for (size_t i = 0, n; i < t->n && !j->err; i += n) {
        n = 1;
        while (i + n < t->n && ((uint8_t)t->s[i + n] & 0xc0) == 0x80) n++;
        if (!gal__j_step(j)) return;
        gal__j_add(j, out, gal__j_cut(j, t, i, n));
    }
}

gal__jseq *gal__j_iterate(gal__jinja *j, gal__jv v) {
    gal__jseq *out = NULL;
    if (j->err) return NULL;
    switch ((int)v.kind) {
    case GAL__J_SEQ:
        if (v.seq->kind != GAL__S_GENERATOR) return v.seq;
        out = gal__j_new_seq(j, GAL__S_LIST, v.seq->n - v.seq->at);
        for (; out && v.seq->at < v.seq->n; v.seq->at++) gal__j_add(j, out, v.seq->items[v.seq->at]);
        break;
    case GAL__J_TEXT:
        out = gal__j_new_seq(j, GAL__S_LIST, 0);
        add_chars(j, out, v.text);
        break;
    case GAL__J_DICT:
        out = gal__j_new_seq(j, GAL__S_LIST, v.dict->n);
        for (size_t i = 0; out && i < v.dict->n; i++) gal__j_add(j, out, v.dict->entries[i].key);
        break;
    case GAL__J_UNDEFINED:
        out = gal__j_new_seq(j, GAL__S_LIST, 0);
        if (j->plain)
            (void)gal__j_fail(j, "%s is undefined, and cannot be gone through", v.name ? v.name : "a value");
        break;
    default:
        (void)gal__j_fail(j, "%s cannot be gone through (not iterable)", gal__j_type(v));
    }
    return j->err ? NULL : out;
}
