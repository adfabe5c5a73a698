/* jinja_print.c - values as text: str() and repr() of Python, JSON as its json module writes it, dates. What is cut
 * out of text keeps its origin; what is put around it is GAL__FROM_RUN. SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"
#include "text/jinja_internal.h"
#include "text/unicode.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void put_number(gal__jinja *j, gal__jout *o, gal__jv v, bool json) {
    char text[48];
    if (v.kind == GAL__J_INT) {
        (void)snprintf(text, sizeof text, "%" PRId64, v.i);
    } else if (!json && !isfinite(v.x)) {
        (void)snprintf(text, sizeof text, "%s", isnan(v.x) ? "nan" : v.x < 0 ? "-inf" : "inf");
    } else {
        text[gal__print_real(v.x, text)] = 0;
    }
    gal__j_puts(j, o, text);
}

/* str.isprintable() */
static bool printable(uint32_t cp) {
    if (cp < 0x7f) return cp >= 0x20;
    switch ((int)gal_category_of(cp)) {
    case GAL_CC:
    case GAL_CF:
    case GAL_CS:
    case GAL_CO:
    case GAL_CN:
    case GAL_ZL:
    case GAL_ZP:
    case GAL_ZS:
        return false;
    default:
        return true;
    }
}

static void repr_text(gal__jinja *j, gal__jout *o, const gal__jtext *t) {
    const bool single = t->n && memchr(t->s, '\'', t->n), twice = t->n && memchr(t->s, '"', t->n);
    const char quote = single && !twice ? '"' : '\'', around[2] = { quote, 0 };
    gal__j_puts(j, o, around);
    for (size_t i = 0, start = 0; i <= t->n && !j->err;) {
        uint32_t cp = 0;
        const int len = i < t->n ? gal_utf8_next(t->s + i, t->n - i, &cp) : 0;
        const bool plain = len && printable(cp) && cp != '\\' && cp != (uint8_t)quote;
        if (!plain) {
            gal__j_put_part(j, o, t, start, i - start);
            start = i + (size_t)len;
        }
        if (i == t->n) break;
        if (!plain) {
            char text[16];
            if (cp == '\n' || cp == '\r' || cp == '\t' || cp == '\\' || cp == (uint8_t)quote)
                (void)snprintf(text, sizeof text, "\\%c",
                               cp == '\n'   ? 'n'
                               : cp == '\r' ? 'r'
                               : cp == '\t' ? 't'
                                            : (char)cp);
            else
                (void)snprintf(text, sizeof text, "\\%c%0*x",
                               cp < 0x100     ? 'x'
                               : cp < 0x10000 ? 'u'
                                              : 'U',
                               cp < 0x100     ? 2
                               : cp < 0x10000 ? 4
                                              : 8,
                               cp);
            gal__j_puts(j, o, text);
        }
        i += (size_t)len;
    }
    gal__j_puts(j, o, around);
}

static void repr_seq(gal__jinja *j, gal__jout *o, gal__jv v) {
    const gal__jseq *s = v.seq;
    if (s->kind > GAL__S_TUPLE) {
        (void)gal__j_fail(j, "a %s cannot be printed; expected text, or a list (|list makes one)", gal__j_type(v));
        return;
    }
    const bool list = s->kind == GAL__S_LIST;
    gal__j_puts(j, o, list ? "[" : "(");
    for (size_t i = 0; i < s->n && !j->err; i++) {
        if (i) gal__j_puts(j, o, ", ");
        gal__j_repr(j, o, s->items[i]);
    }
    gal__j_puts(j, o, list ? "]" : s->n == 1 ? ",)" : ")");
}

void gal__j_repr(gal__jinja *j, gal__jout *o, gal__jv v) { /* as deep as values are */
    if (!gal__j_work(j, 8)) return;
    switch ((int)v.kind) {
    case GAL__J_ABSENT:
    case GAL__J_UNDEFINED:
        gal__j_puts(j, o, "Undefined");
        return;
    case GAL__J_NONE:
        gal__j_puts(j, o, "None");
        return;
    case GAL__J_BOOL:
        gal__j_puts(j, o, v.truth ? "True" : "False");
        return;
    case GAL__J_INT:
    case GAL__J_REAL:
        put_number(j, o, v, false);
        return;
    case GAL__J_BIG:
        gal__j_put_text(j, o, v.text);
        return;
    case GAL__J_TEXT:
        repr_text(j, o, v.text);
        return;
    case GAL__J_SEQ:
        repr_seq(j, o, v);
        return;
    case GAL__J_DICT:
        gal__j_puts(j, o, "{");
        for (size_t i = 0; i < v.dict->n && !j->err; i++) {
            if (i) gal__j_puts(j, o, ", ");
            gal__j_repr(j, o, v.dict->entries[i].key);
            gal__j_puts(j, o, ": ");
            gal__j_repr(j, o, v.dict->entries[i].value);
        }
        gal__j_puts(j, o, "}");
        return;
    default:
        (void)gal__j_fail(j, "a %s cannot be printed", gal__j_type(v));
    }
}

static void fail_undefined(gal__jinja *j, gal__jv v) {
    (void)gal__j_fail(j, "%s%s%s is undefined", v.name ? "'" : "", v.name ? v.name : "a value", v.name ? "'" : "");
}

void gal__j_print(gal__jinja *j, gal__jout *o, gal__jv v) {
    if (v.kind == GAL__J_TEXT)
        gal__j_put_text(j, o, v.text);
    else if (v.kind == GAL__J_UNDEFINED && j->plain)
        fail_undefined(j, v);
    else if (v.kind != GAL__J_UNDEFINED && v.kind != GAL__J_ABSENT)
        gal__j_repr(j, o, v);
}

const gal__jtext *gal__j_str(gal__jinja *j, gal__jv v) {
    static const gal__jtext EMPTY = { "", 0, NULL, GAL__FROM_RUN };
    gal__jout o = { 0 };
    if (v.kind == GAL__J_TEXT) return v.text;
    gal__j_print(j, &o, v);
    v = gal__j_built(j, &o);
    return v.kind == GAL__J_TEXT ? v.text : &EMPTY;
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------
 */

static void json_text(gal__jinja *j, gal__jout *o, const gal__jtext *t, bool ascii) {
    static const char FROM[] = "\"\\\n\r\t\f\b", TO[] = "\"\\nrtfb";
    size_t start = 0;
    (void)gal__j_work(j, 2 * t->n);
    gal__j_puts(j, o, "\"");
    for (size_t i = 0; i < t->n && !j->err;) {
        const uint8_t c = (uint8_t)t->s[i];
        if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x7f || !ascii)) {
            i++;
            continue;
        }
        if (c == 0x7f) {
            i++;
            continue;
        }
        char text[16];
        const char *at = c ? strchr(FROM, c) : NULL;
        uint32_t cp = 0;
        const int len = gal_utf8_next(t->s + i, t->n - i, &cp);
        if (at)
            (void)snprintf(text, sizeof text, "\\%c", TO[at - FROM]);
        else if (cp < 0x10000)
            (void)snprintf(text, sizeof text, "\\u%04x", cp);
        else
            (void)snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800 + ((cp - 0x10000) >> 10),
                           0xdc00 + ((cp - 0x10000) & 0x3ff));
        gal__j_put_part(j, o, t, start, i - start);
        gal__j_puts(j, o, text);
        i += (size_t)GAL_MAX(len, 1);
        start = i;
    }
    gal__j_put_part(j, o, t, start, t->n - start);
    gal__j_puts(j, o, "\"");
}

static void new_line(gal__jinja *j, gal__jout *o, const gal__jjson *how, int level) {
    if (how->indent < 0) return;
    gal__j_puts(j, o, "\n");
    for (int64_t i = 0; i < how->indent * level && !j->err; i++) gal__j_puts(j, o, " ");
}

static void json_value(gal__jinja *j, gal__jout *o, gal__jv v, const gal__jjson *how, int level);

static void separate(gal__jinja *j, gal__jout *o, const gal__jjson *how, int level, size_t i) {
    if (i && how->item)
        gal__j_put_text(j, o, how->item);
    else if (i)
        gal__j_puts(j, o, how->indent < 0 ? ", " : ",");
    new_line(j, o, how, level);
}

static void json_key(gal__jinja *j, gal__jout *o, gal__jv key, const gal__jjson *how) {
    if (key.kind == GAL__J_TEXT) {
        json_text(j, o, key.text, how->ascii);
    } else if (key.kind == GAL__J_SEQ) {
        (void)gal__j_fail(j, "tojson: a %s as a key", gal__j_type(key));
    } else {
        gal__j_puts(j, o, "\"");
        json_value(j, o, key, how, 0);
        gal__j_puts(j, o, "\"");
    }
    if (how->key)
        gal__j_put_text(j, o, how->key);
    else
        gal__j_puts(j, o, ": ");
}

static void json_dict(gal__jinja *j, gal__jout *o, const gal__jdict *d, const gal__jjson *how, int level) {
    const gal__jentry *e = d->entries;
    if (how->sort && d->n > 1) { /* an insertion sort, paid for as work */
        gal__jentry *sorted = gal__j_take(j, d->n, sizeof *sorted);
        bool unordered = false;
        if (!sorted) return;
        for (size_t i = 0; i < d->n && !j->err; i++) {
            size_t at = i;
            for (; at && gal__j_compare(j, sorted[at - 1].key, e[i].key, "<", &unordered) > 0; at--)
                sorted[at] = sorted[at - 1];
            sorted[at] = e[i];
        }
        e = sorted;
    }
    gal__j_puts(j, o, "{");
    for (size_t i = 0; i < d->n && !j->err; i++) {
        separate(j, o, how, level + 1, i);
        json_key(j, o, e[i].key, how);
        json_value(j, o, e[i].value, how, level + 1);
    }
    if (d->n) new_line(j, o, how, level);
    gal__j_puts(j, o, "}");
}

static void json_value(gal__jinja *j, gal__jout *o, gal__jv v, const gal__jjson *how, int level) {
    if (!gal__j_work(j, 8)) return;
    switch ((int)v.kind) {
    case GAL__J_NONE:
        gal__j_puts(j, o, "null");
        return;
    case GAL__J_BOOL:
        gal__j_puts(j, o, v.truth ? "true" : "false");
        return;
    case GAL__J_INT:
    case GAL__J_REAL:
        put_number(j, o, v, true);
        return;
    case GAL__J_BIG:
        gal__j_put_text(j, o, v.text);
        return;
    case GAL__J_TEXT:
        json_text(j, o, v.text, how->ascii);
        return;
    case GAL__J_DICT:
        json_dict(j, o, v.dict, how, level);
        return;
    case GAL__J_SEQ:
        if (v.seq->kind > GAL__S_TUPLE) break;
        gal__j_puts(j, o, "[");
        for (size_t i = 0; i < v.seq->n && !j->err; i++) {
            separate(j, o, how, level + 1, i);
            json_value(j, o, v.seq->items[i], how, level + 1);
        }
        if (v.seq->n) new_line(j, o, how, level);
        gal__j_puts(j, o, "]");
        return;
    case GAL__J_UNDEFINED: /* the filter need not have been asked for: gal__jinja_value() */
        fail_undefined(j, v);
        return;
    default:
        break;
    }
    (void)gal__j_fail(j, "tojson: %s is no JSON", gal__j_type(v));
}

void gal__j_json(gal__jinja *j, gal__jout *o, gal__jv v, const gal__jjson *how) { json_value(j, o, v, how, 0); }

/* ---- dates --------------------------------------------------------------------------------------------------------
 */

static const char *const DAYS[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };
static const char *const MONTHS[] = { "January", "February", "March",     "April",   "May",      "June",
                                      "July",    "August",   "September", "October", "November", "December" };

/* One field of a date; false: not one that we have. plain: without zeros in front ("%-d"). */
static bool date_field(char out[40], char c, bool plain, const struct tm *t) {
    const int hour12 = t->tm_hour % 12 ? t->tm_hour % 12 : 12;
    const int width = plain ? 1 : 2;
    const char *day = DAYS[(t->tm_wday % 7 + 7) % 7];
    const char *month = MONTHS[(t->tm_mon % 12 + 12) % 12];
    const struct {
        char c;
        int value;
    } numbers[] = { { 'd', t->tm_mday }, { 'm', t->tm_mon + 1 }, { 'y', t->tm_year % 100 }, { 'H', t->tm_hour },
                    { 'I', hour12 },     { 'M', t->tm_min },     { 'S', t->tm_sec } };
    for (size_t i = 0; i < GAL_LEN(numbers); i++)
        if (numbers[i].c == c) return snprintf(out, 40, "%0*d", width, numbers[i].value) > 0;
    switch (c) {
    case 'Y':
        return snprintf(out, 40, "%d", t->tm_year + 1900) > 0;
    case 'j':
        return snprintf(out, 40, "%0*d", plain ? 1 : 3, t->tm_yday + 1) > 0;
    case 'A':
        return snprintf(out, 40, "%s", day) > 0;
    case 'a':
        return snprintf(out, 40, "%.3s", day) > 0;
    case 'B':
        return snprintf(out, 40, "%s", month) > 0;
    case 'b':
    case 'h':
        return snprintf(out, 40, "%.3s", month) > 0;
    case 'p':
        return snprintf(out, 40, "%s", t->tm_hour < 12 ? "AM" : "PM") > 0;
    case 'e':
        return snprintf(out, 40, "%*d", width, t->tm_mday) > 0;
    case 'F':
        return snprintf(out, 40, "%d-%02d-%02d", t->tm_year + 1900, t->tm_mon + 1, t->tm_mday) > 0;
    case 'T':
        return snprintf(out, 40, "%02d:%02d:%02d", t->tm_hour, t->tm_min, t->tm_sec) > 0;
    case 'R':
        return snprintf(out, 40, "%02d:%02d", t->tm_hour, t->tm_min) > 0;
    case 'u':
        return snprintf(out, 40, "%d", t->tm_wday ? t->tm_wday : 7) > 0;
    case 'w':
        return snprintf(out, 40, "%d", t->tm_wday) > 0;
    case 'n':
    case 't':
    case '%':
        return snprintf(out, 40, "%c", c == 'n' ? '\n' : c == 't' ? '\t' : '%') > 0;
    default:
        return false;
    }
}

gal__jv gal__j_strftime(gal__jinja *j, const gal__jtext *f) {
    gal__jout o = { 0 };
    if (!j->now) return gal__j_fail(j, "strftime_now: no date is given");
    for (size_t i = 0; i < f->n && !j->err; i++) {
        if (f->s[i] != '%' || i + 1 == f->n) {
            gal__j_put_part(j, &o, f, i, 1);
            continue;
        }
        char text[40];
        const bool plain = f->s[i + 1] == '-' && i + 2 < f->n;
        i += plain ? 2 : 1;
        if (!date_field(text, f->s[i], plain, j->now))
            return gal__j_fail(j, "strftime_now: '%%%s%c' is not supported", plain ? "-" : "",
                               f->s[i] > 0x20 && f->s[i] < 0x7f ? f->s[i] : '?');
        gal__j_puts(j, &o, text);
    }
    return gal__j_built(j, &o);
}
