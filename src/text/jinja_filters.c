/* jinja_filters.c - filters of single values: text, numbers, JSON. Those over sequences are in jinja_lists.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"
#include "text/jinja_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool absent(gal__jv v) { return v.kind == GAL__J_ABSENT; }

static int64_t whole(gal__jinja *j, gal__jv v, const char *what, int64_t fallback) {
    if (absent(v)) return fallback;
    if (v.kind == GAL__J_INT) return v.i;
    if (v.kind == GAL__J_BOOL) return v.truth;
    (void)gal__j_fail(j, "%s: expected a whole number, found %s", what, gal__j_type(v));
    return fallback;
}

/* ---- text ---------------------------------------------------------------------------------------------------------
 */

static gal__jv f_string(gal__jinja *j, gal__jv v, const gal__jv *a) {
    (void)a;
    return (gal__jv){ GAL__J_TEXT, { .text = gal__j_str(j, v) } };
}

static gal__jv f_safe(gal__jinja *j, gal__jv v, const gal__jv *a) { return f_string(j, v, a); }

static gal__jv f_upper(gal__jinja *j, gal__jv v, const gal__jv *a) {
    (void)a;
    return gal__j_recase(j, gal__j_str(j, v), GAL__UPPER);
}

static gal__jv f_lower(gal__jinja *j, gal__jv v, const gal__jv *a) {
    (void)a;
    return gal__j_recase(j, gal__j_str(j, v), GAL__LOWER);
}

static gal__jv f_capitalize(gal__jinja *j, gal__jv v, const gal__jv *a) {
    (void)a;
    return gal__j_recase(j, gal__j_str(j, v), GAL__CAPITAL);
}

/* Words begin after "-", white space and opening brackets alone, otherwise than in str.title(). */
static gal__jv f_title(gal__jinja *j, gal__jv v, const gal__jv *a) {
    const gal__jtext *t = gal__j_str(j, v);
    gal__jout o = { 0 };
    size_t from = 0;
    bool separators = false;
    (void)a;
    for (size_t i = 0; i <= t->n && !j->err;) {
        uint32_t cp = 0;
        const int len = i < t->n ? gal_utf8_next(t->s + i, t->n - i, &cp) : 0;
        const bool is = len && (cp == '-' || cp == '(' || cp == '{' || cp == '[' || cp == '<' || gal__j_white(cp));
        if (i == t->n || is != separators) {
            uint32_t first = 0;
            const int head = i > from ? gal_utf8_next(t->s + from, i - from, &first) : 0;
            const gal__jv one = gal__j_cut(j, t, from, (size_t)head);
            const gal__jv rest = gal__j_cut(j, t, from + (size_t)head, i - from - (size_t)head);
            if (j->err) break;
            const gal__jv up = gal__j_recase(j, one.text, GAL__UPPER), low = gal__j_recase(j, rest.text, GAL__LOWER);
            if (j->err) break;
            gal__j_put_text(j, &o, up.text);
            gal__j_put_text(j, &o, low.text);
            from = i;
            separators = is;
        }
        if (i == t->n) break;
        i += (size_t)GAL_MAX(len, 1);
    }
    return gal__j_built(j, &o);
}

static gal__jv f_trim(gal__jinja *j, gal__jv v, const gal__jv *a) {
    return gal__j_strip(j, gal__j_str(j, v), a[0], true, true);
}

static gal__jv f_replace(gal__jinja *j, gal__jv v, const gal__jv *a) {
    const int64_t count = a[2].kind == GAL__J_NONE ? -1 : whole(j, a[2], "replace", -1);
    return gal__j_replace(j, gal__j_str(j, v), gal__j_str(j, a[0]), gal__j_str(j, a[1]), count);
}

static gal__jv f_indent(gal__jinja *j, gal__jv v, const gal__jv *a) {
    const gal__jtext *t = gal__j_str(j, v);
    const bool first = gal__j_truth(a[1]), blank = gal__j_truth(a[2]);
    gal__jout pad = { 0 }, o = { 0 };
    if (a[0].kind == GAL__J_TEXT) gal__j_put_text(j, &pad, a[0].text);
    const int64_t width = a[0].kind == GAL__J_TEXT ? 0 : whole(j, a[0], "indent", 4);
    for (int64_t i = 0; i < width && !j->err; i++) gal__j_put(j, &pad, " ", 1, GAL__FROM_RUN);
    const gal__jv in = gal__j_built(j, &pad);
    for (size_t at = 0, line = 0; at <= t->n && !j->err; line++) {
        const char *nl = at < t->n ? memchr(t->s + at, '\n', t->n - at) : NULL;
        const size_t end = nl ? (size_t)(nl - t->s) : t->n;
        if (line ? end > at || blank : first) gal__j_put_text(j, &o, in.text);
        gal__j_put_part(j, &o, t, at, end - at + (nl != NULL));
        at = end + 1;
    }
    return gal__j_built(j, &o);
}

static gal__jv f_wordcount(gal__jinja *j, gal__jv v, const gal__jv *a) {
    const gal__jtext *t = gal__j_str(j, v);
    int64_t words = 0;
    bool inside = false;
    (void)a;
    (void)gal__j_work(j, t->n);
    for (size_t i = 0; i < t->n; i++) { /* runs of letters, digits and "_" */
        const char c = t->s[i];
        if ((uint8_t)c >= 0x80) return gal__j_fail(j, "wordcount: letters beyond ASCII are not supported");
        const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        words += word && !inside;
        inside = word;
    }
    return gal__j_int(words);
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------
 */

static gal__jv f_tojson(gal__jinja *j, gal__jv v, const gal__jv *a) {
    gal__jjson how = { .indent = -1, .ascii = gal__j_truth(a[0]), .sort = gal__j_truth(a[3]) };
    gal__jout o = { 0 };
    if (a[1].kind != GAL__J_NONE) how.indent = whole(j, a[1], "tojson", -1);
    if (!absent(a[1]) && a[1].kind != GAL__J_NONE && how.indent < 0) how.indent = 0;
    if (how.indent > 1000) return gal__j_fail(j, "tojson: an indent of more than 1000");
    if (!absent(a[2]) && a[2].kind != GAL__J_NONE) {
        const gal__jseq *s = gal__j_iterate(j, a[2]);
        if (!s) return gal__j_undefined(NULL);
        if (s->n != 2 || s->items[0].kind != GAL__J_TEXT || s->items[1].kind != GAL__J_TEXT)
            return gal__j_fail(j, "tojson: separators: expected two str");
        how.item = s->items[0].text;
        how.key = s->items[1].text;
    }
    gal__j_json(j, &o, v, &how);
    return gal__j_built(j, &o);
}

/* ---- numbers ------------------------------------------------------------------------------------------------------
 */

/* Text to a number, as int() and float() read it, in ASCII. */
static bool number_of(gal__jinja *j, const gal__jtext *t, bool real, gal__jv *out) {
    char room[72];
    size_t n = 0;
    const gal__jv stripped = gal__j_strip(j, t, (gal__jv){ 0 }, true, true);
    if (j->err) return false;
    t = stripped.text;
    if (!t->n || t->n >= sizeof room) return false;
    for (size_t i = 0; i < t->n; i++) {
        const bool digit = t->s[i] >= '0' && t->s[i] <= '9';
        if (t->s[i] == '_' && i && i + 1 < t->n && t->s[i - 1] >= '0' && t->s[i - 1] <= '9' && t->s[i + 1] >= '0' &&
            t->s[i + 1] <= '9')
            continue;
        if (!digit && !(i == 0 && (t->s[i] == '+' || t->s[i] == '-')) && !(real && strchr("eE.+-", t->s[i])))
            return false;
        room[n++] = t->s[i];
    }
    room[n] = 0;
    const char *s = room[0] == '+' ? room + 1 : room;
    int64_t i;
    double x;
    if (!real && gal_parse_i64(s, &i)) {
        *out = gal__j_int(i);
        return true;
    }
    if (!real || !gal_parse_f64(s, &x)) return false;
    *out = gal__j_real(x);
    return true;
}

static gal__jv f_int(gal__jinja *j, gal__jv v, const gal__jv *a) {
    const gal__jv fallback = absent(a[0]) ? gal__j_int(0) : a[0];
    gal__jv out;
    if (whole(j, a[1], "int", 10) != 10) return gal__j_fail(j, "int: a base other than 10 is not supported");
    if (v.kind == GAL__J_INT) return v;
    if (v.kind == GAL__J_BOOL) return gal__j_int(v.truth);
    if (v.kind == GAL__J_TEXT && number_of(j, v.text, false, &out)) return out;
    if (v.kind == GAL__J_TEXT && !j->err && number_of(j, v.text, true, &out)) v = out;
    if (v.kind == GAL__J_UNDEFINED) return gal__j_fail(j, "int: %s is undefined", v.name ? v.name : "the value");
    if (v.kind != GAL__J_REAL || !isfinite(v.x)) return fallback;
    if (fabs(v.x) >= 9.2e18) return gal__j_fail(j, "int: a whole number beyond 64 bits");
    return gal__j_int((int64_t)v.x);
}

static gal__jv f_float(gal__jinja *j, gal__jv v, const gal__jv *a) {
    gal__jv out;
    if (v.kind == GAL__J_REAL) return v;
    if (v.kind == GAL__J_INT) return gal__j_real((double)v.i);
    if (v.kind == GAL__J_BOOL) return gal__j_real(v.truth);
    if (v.kind == GAL__J_TEXT && number_of(j, v.text, true, &out)) return out;
    if (v.kind == GAL__J_UNDEFINED) return gal__j_fail(j, "float: %s is undefined", v.name ? v.name : "the value");
    return absent(a[0]) ? gal__j_real(0) : a[0];
}

static gal__jv f_abs(gal__jinja *j, gal__jv v, const gal__jv *a) {
    (void)a;
    if (v.kind == GAL__J_REAL) return gal__j_real(fabs(v.x));
    if (v.kind == GAL__J_BOOL) return gal__j_int(v.truth);
    if (v.kind == GAL__J_INT && v.i != INT64_MIN) return gal__j_int(v.i < 0 ? -v.i : v.i);
    return gal__j_fail(j, "abs: expected a number, found %s", gal__j_type(v));
}

/* Half to even, as Python's round(); a whole number of digits after the point. */
static gal__jv f_round(gal__jinja *j, gal__jv v, const gal__jv *a) {
    const int64_t digits = whole(j, a[0], "round", 0);
    const gal__jtext *how = absent(a[1]) ? NULL : gal__j_str(j, a[1]);
    double x = v.kind == GAL__J_REAL ? v.x : 0;
    if (v.kind == GAL__J_INT) x = (double)v.i;
    if (v.kind == GAL__J_BOOL) x = v.truth;
    if (v.kind != GAL__J_REAL && v.kind != GAL__J_INT && v.kind != GAL__J_BOOL)
        return gal__j_fail(j, "round: expected a number, found %s", gal__j_type(v));
    if (digits < 0 || digits > 15) return gal__j_fail(j, "round: expected 0 to 15 digits");
    const double by = pow(10, (double)digits);
    if (how && how->n == 4 && memcmp(how->s, "ceil", 4) == 0) return gal__j_real(ceil(x * by) / by);
    if (how && how->n == 5 && memcmp(how->s, "floor", 5) == 0) return gal__j_real(floor(x * by) / by);
    if (how && !(how->n == 6 && memcmp(how->s, "common", 6) == 0))
        return gal__j_fail(j, "round: expected common, ceil or floor");
    if (v.kind != GAL__J_REAL) return v;
    char text[400];
    if (!isfinite(x) || fabs(x) > 1e15) return gal__j_real(x);
    (void)snprintf(text, sizeof text, "%.*f", (int)digits, x); /* of the exact value, half to even */
    return gal__j_real(gal_parse_f64(text, &x) ? x : v.x);
}

static gal__jv f_default(gal__jinja *j, gal__jv v, const gal__jv *a) {
    if (v.kind == GAL__J_UNDEFINED || (gal__j_truth(a[1]) && !gal__j_truth(v)))
        return absent(a[0]) ? gal__j_text(j, "", 0, GAL__FROM_TEMPLATE) : a[0];
    return v;
}

/* ---- which there are ----------------------------------------------------------------------------------------------
 */

static const gal__jfilter FILTERS[] = {
    { "string", "", 0, f_string },
    { "safe", "", 0, f_safe },
    { "upper", "", 0, f_upper },
    { "lower", "", 0, f_lower },
    { "capitalize", "", 0, f_capitalize },
    { "title", "", 0, f_title },
    { "trim", "chars", 0, f_trim },
    { "replace", "old new count", 2, f_replace },
    { "indent", "width first blank", 0, f_indent },
    { "wordcount", "", 0, f_wordcount },
    { "tojson", "ensure_ascii indent separators sort_keys", 0, f_tojson },
    { "int", "default base", 0, f_int },
    { "float", "default", 0, f_float },
    { "abs", "", 0, f_abs },
    { "round", "precision method", 0, f_round },
    { "default", "default_value boolean", 0, f_default },
    { "d", "default_value boolean", 0, f_default },
    { 0 },
};

static const gal__jfilter *find_filter(const gal__jfilter *table, const char *name) {
    while (table->name && strcmp(table->name, name) != 0) table++;
    return table->name ? table : NULL;
}

gal__jv gal__j_filter(gal__jinja *j, const char *name, gal__jv v, const gal__jargs *a) {
    gal__jv bound[8] = { 0 }, out = { 0 };
    if (gal__j_meta_filter(j, name, v, a, &out)) return out;
    const gal__jfilter *f = find_filter(FILTERS, name);
    if (!f) f = find_filter(gal__j_list_filters, name);
    if (!f) return gal__j_fail(j, "filter '%.60s' is not supported", name);
    if (!gal__j_bind(j, a, name, f->args, f->needed, bound)) return gal__j_undefined(NULL);
    out = f->run(j, v, bound);
    return j->err ? gal__j_undefined(NULL) : out;
}
