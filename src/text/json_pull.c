/* json_pull.c - see json_pull.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/json_pull.h"

#include "base/util.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

gal__json gal__json_begin(const char *bytes, size_t n, const char *name, gal_diag *diag) {
    size_t skip = n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    return (gal__json){
        .p = bytes + skip, .end = bytes + n, .begin = bytes, .name = name, .diag = diag, .max_depth = GAL__JSON_DEPTH
    };
}

void gal__json_free(gal__json *j) { gal_buf_free(&j->text); }

gal_err gal__json_fail(gal__json *j, const char *fmt, ...) {
    if (j->err) return j->err;
    long long line = j->line ? (long long)j->line : 1;
    for (const char *p = j->begin; p < j->p; p++) line += *p == '\n';
    char what[256];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    j->err = gal_fail(j->diag, GAL_EINPUT, "%s: line %lld: %s", j->name, line, what);
    j->p = j->end;
    return j->err;
}

static void found(gal__json *j, const char *expected) {
    if (j->p == j->end)
        (void)gal__json_fail(j, "expected %s, the file ends", expected);
    else
        (void)gal__json_fail(j, "expected %s, found '%.*s'", expected, (int)GAL_MIN(j->end - j->p, (ptrdiff_t)12),
                             j->p);
}

static void space(gal__json *j) {
    if (j->p < j->end && (uint8_t)*j->p > ' ') return;
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\r' || *j->p == '\t')) {
        j->p++;
        uint64_t eight = 0; /* of an indent */
        while (j->end - j->p >= 8 && memcpy(&eight, j->p, 8) && eight == 0x2020202020202020U) j->p += 8;
    }
}

bool gal__json_exactly(gal__json *j, const char *what, size_t n) {
    space(j);
    if (j->err || (size_t)(j->end - j->p) < n || memcmp(j->p, what, n) != 0) return false;
    j->p += n;
    return true;
}

char gal__json_peek(gal__json *j) {
    space(j);
    if (j->p == j->end) return 0;
    char c = *j->p;
    return c == '-' || (c >= '0' && c <= '9') ? '0' : c;
}

bool gal__json_enter(gal__json *j, char open) {
    if (gal__json_peek(j) != open) {
        found(j, open == '{' ? "an object" : "an array");
        return false;
    }
    if (++j->depth > j->max_depth) {
        (void)gal__json_fail(j, "more than %d objects and arrays in one another", j->max_depth);
        return false;
    }
    j->p++;
    return true;
}

/* The comma before the next, or the end. */
static bool next(gal__json *j, bool *first, char close) {
    char c = gal__json_peek(j);
    if (j->err) return false;
    if (c == close) {
        j->p++;
        j->depth--;
        return false;
    }
    if (!*first) {
        if (c != ',') {
            found(j, close == '}' ? "',' or '}'" : "',' or ']'");
            return false;
        }
        j->p++;
    }
    *first = false;
    return true;
}

bool gal__json_element(gal__json *j, bool *first) { return next(j, first, ']'); }

bool gal__json_member(gal__json *j, bool *first, const char **key, size_t *n) {
    if (!next(j, first, '}') || !gal__json_string(j, key, n)) return false;
    if (gal__json_peek(j) != ':') {
        found(j, "':'");
        return false;
    }
    j->p++;
    return true;
}

static int hex4(const char *p, const char *end) {
    int v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) return -1;
        v = 16 * v + d;
    }
    return v;
}

/* After "\u": one code point, of two escapes where they are a pair. */
static bool unicode(gal__json *j) {
    int v = hex4(j->p, j->end);
    if (v < 0) return false;
    j->p += 4;
    uint32_t cp = (uint32_t)v;
    if (v >= 0xd800 && v < 0xdc00 && j->end - j->p >= 6 && j->p[0] == '\\' && j->p[1] == 'u') {
        int low = hex4(j->p + 2, j->end);
        if (low >= 0xdc00 && low < 0xe000) {
            cp = 0x10000 + (((uint32_t)v - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
            j->p += 6;
        }
    }
    char utf8[4];
    int n = gal_utf8_put(utf8, cp);
    j->lone = j->lone || !n;
    gal_buf_add(&j->text, n ? utf8 : "\xef\xbf\xbd", (size_t)(n ? n : 3));
    return true;
}

static bool escape(gal__json *j) {
    static const char FROM[] = "\"\\/bfnrt", TO[] = "\"\\/\b\f\n\r\t";
    if (j->end - j->p < 2) return false;
    char c = j->p[1];
    const char *at = c ? strchr(FROM, c) : NULL;
    j->p += 2;
    if (c == 'u') return unicode(j);
    if (at) gal_buf_putc(&j->text, TO[at - FROM]);
    return at != NULL;
}

bool gal__json_string(gal__json *j, const char **s, size_t *n) {
    if (gal__json_peek(j) != '"') {
        found(j, "a string");
        return false;
    }
    gal_buf_clear(&j->text);
    j->lone = false;
    const char *from = ++j->p;
    for (;;) {
        const char *p = j->p;
        while (p < j->end && *p != '"' && *p != '\\' && (uint8_t)*p >= 0x20) p++;
        gal_buf_add(&j->text, from, (size_t)(p - from));
        j->p = p;
        if (p == j->end || (uint8_t)*p < 0x20) {
            (void)gal__json_fail(j, "a string without its end");
            return false;
        }
        if (*p == '"') break;
        if (!escape(j)) {
            (void)gal__json_fail(j, "a string with an unknown escape");
            return false;
        }
        from = j->p;
    }
    j->p++;
    gal_buf_putc(&j->text, 0);
    if (j->text.oom) {
        j->err = gal_fail(j->diag, GAL_ENOMEM, "%s: no memory for a string", j->name);
        j->p = j->end;
        return false;
    }
    *s = j->text.data;
    *n = j->text.len - 1;
    for (size_t i = 0; i < *n;) { /* escapes are valid; what is between them need not be */
        uint32_t cp;
        int len = (uint8_t)(*s)[i] < 0x80 ? 1 : gal_utf8_next(*s + i, *n - i, &cp);
        if (!len) {
            (void)gal__json_fail(j, "a string that is not valid UTF-8");
            return false;
        }
        i += (size_t)len;
    }
    return true;
}

/* The end of a number, NULL if none begins here. */
static const char *number(const char *p, const char *end, bool *whole) {
    *whole = true;
    if (p < end && *p == '-') p++;
    const char *digits = p;
    while (p < end && *p >= '0' && *p <= '9') p++;
    if (p == digits || (*digits == '0' && p - digits > 1)) return NULL;
    if (p < end && *p == '.') {
        const char *from = ++p;
        while (p < end && *p >= '0' && *p <= '9') p++;
        if (p == from) return NULL;
        *whole = false;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-')) p++;
        const char *from = p;
        while (p < end && *p >= '0' && *p <= '9') p++;
        if (p == from) return NULL;
        *whole = false;
    }
    return p;
}

bool gal__json_whole(gal__json *j, int64_t *v) {
    bool whole = false;
    const char *to = gal__json_peek(j) == '0' ? number(j->p, j->end, &whole) : NULL;
    if (!to || !whole || to - j->p > 18) {
        found(j, "a whole number");
        return false;
    }
    bool minus = *j->p == '-';
    *v = 0;
    for (const char *p = j->p + minus; p < to; p++) *v = 10 * *v + (*p - '0');
    if (minus) *v = -*v;
    j->p = to;
    return true;
}

static bool word(gal__json *j, const char *w) {
    size_t n = strlen(w);
    space(j);
    if ((size_t)(j->end - j->p) < n || memcmp(j->p, w, n) != 0) return false;
    j->p += n;
    return true;
}

bool gal__json_number(gal__json *j, const char **s, size_t *n, bool *whole) {
    space(j);
    const char *from = j->p, *to = number(from, j->end, whole);
    if (!to && (word(j, "NaN") || word(j, "Infinity") || word(j, "-Infinity"))) {
        *whole = false;
        to = j->p;
    }
    if (!to) {
        found(j, from < j->end && (*from == '-' || (*from >= '0' && *from <= '9')) ? "a number" : "a value");
        return false;
    }
    *s = from;
    *n = (size_t)(to - from);
    j->p = to;
    return true;
}

bool gal__json_truth(gal__json *j, bool *v) {
    *v = word(j, "true");
    if (*v || word(j, "false")) return true;
    found(j, "true or false");
    return false;
}

bool gal__json_null(gal__json *j) { return !j->err && word(j, "null"); }

/* A string that nobody asked for: its end is found, what is in it is not looked at. */
static void skip_string(gal__json *j) {
    const char *p = j->p + 1;
    while (p < j->end && *p != '"') p += *p == '\\' ? 2 : 1;
    if (p >= j->end)
        (void)gal__json_fail(j, "a string without its end");
    else
        j->p = p + 1;
}

void gal__json_skip(gal__json *j) {
    const char *s;
    size_t n;
    bool first = true, whole;
    switch (gal__json_peek(j)) {
    case '{':
        if (!gal__json_enter(j, '{')) return;
        while (gal__json_member(j, &first, &s, &n)) gal__json_skip(j);
        return;
    case '[':
        if (!gal__json_enter(j, '[')) return;
        while (gal__json_element(j, &first)) gal__json_skip(j);
        return;
    case '"':
        skip_string(j);
        return;
    case '0': {
        const char *to = number(j->p, j->end, &whole);
        if (to)
            j->p = to;
        else
            found(j, "a number");
        return;
    }
    default:
        if (!word(j, "true") && !word(j, "false") && !word(j, "null")) found(j, "a value");
    }
}

bool gal__json_end(gal__json *j) {
    space(j);
    if (!j->err && j->p < j->end) found(j, "the end");
    return !j->err;
}
