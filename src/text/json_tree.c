/* json_tree.c - see json_tree.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/json_tree.h"

#include "base/mem.h"
#include "base/util.h"
#include "text/json_pull.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory -------------------------------------------------------------------------------------------------------
 */

enum { BLOCK = 1 << 16, ALIGN = 16 };

void gal__pool_init(gal__pool *p) {
    *p = (gal__pool){ 0 };
    gal_arena_init(&p->arena, BLOCK);
}

void gal__pool_free(gal__pool *p) {
    gal_arena_free(&p->arena);
    *p = (gal__pool){ 0 };
}

void *gal__pool_take(gal__pool *p, size_t bytes) {
    if (bytes > SIZE_MAX - ALIGN) return NULL;
    if (bytes == 0) bytes = 1;
    bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    char *at;
    if (bytes > BLOCK / 4) {
        at = gal_arena_take(&p->arena, bytes);
    } else {
        if (p->left < bytes) {
            p->at = gal_arena_take(&p->arena, BLOCK / 2);
            p->left = p->at ? BLOCK / 2 : 0;
        }
        at = p->left ? p->at : NULL;
        if (at) {
            p->at += bytes;
            p->left -= bytes;
        }
    }
    if (at) memset(at, 0, bytes);
    return at;
}

bool gal__pool_string(gal__pool *p, gal__string *out, const char *s, size_t n) {
    char *copy = gal__pool_take(p, n + 1);
    if (!copy) return false;
    if (n) memcpy(copy, s, n);
    *out = (gal__string){ copy, n };
    return true;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------
 */

/* Whether text reads back as x; at powers of two, above which numbers are further apart than below, also with its
 * last digit one higher. */
static bool reads_back(char *text, double x) {
    int unused;
    if (strtod(text, NULL) == x) return true;
    char *last = strchr(text, 'e');
    if (!last || frexp(x, &unused) != 0.5 || last[-1] < '0' || last[-1] > '8') return false;
    last[-1]++;
    return strtod(text, NULL) == x;
}

/* The shortest digits that read back as x, with the place of the point: 0.DIGITS * 10^place. */
static int shortest(double x, char digits[20], int *place) {
    int n = 0;
    char text[40];
    const char *c = text;
    for (int precision = 0; precision < 17; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision, x);
        if (reads_back(text, x)) break;
    }
    for (; *c && *c != 'e'; c++)
        if (*c >= '0' && *c <= '9') digits[n++] = *c;
    *place = 1 + (*c == 'e' ? (int)strtol(c + 1, NULL, 10) : 0);
    while (n > 1 && digits[n - 1] == '0') n--;
    return n;
}

size_t gal__print_real(double x, char out[40]) {
    if (isnan(x)) return (size_t)snprintf(out, 40, "NaN");
    if (isinf(x)) return (size_t)snprintf(out, 40, x < 0 ? "-Infinity" : "Infinity");
    if (x == 0) return (size_t)snprintf(out, 40, "%s", signbit(x) ? "-0.0" : "0.0");
    char d[20] = { 0 }, *w = out;
    int place, n = shortest(fabs(x), d, &place);
    if (x < 0) *w++ = '-';
    if (place <= -4 || place > 16) {
        const int e = place - 1;
        *w++ = d[0];
        if (n > 1) *w++ = '.';
        memcpy(w, d + 1, (size_t)(n - 1));
        w += n - 1;
        return (size_t)(w - out) + (size_t)snprintf(w, 8, "e%c%02d", e < 0 ? '-' : '+', abs(e) % 1000);
    }
    if (place <= 0) *w++ = '0';
    for (int i = 0; i < place; i++) *w++ = i < n ? d[i] : '0';
    *w++ = '.';
    for (int i = place; i < 0; i++) *w++ = '0';
    for (int i = GAL_MAX(place, 0); i < n; i++) *w++ = d[i];
    if (n <= place) *w++ = '0';
    *w = 0;
    return (size_t)(w - out);
}

/* A JSON number or one of Python's three words. */
static double read_real(const char *s, size_t n) {
    char room[64];
    char *copy = n < sizeof room ? room : gal_alloc(n + 1);
    double x = (double)NAN;
    if (copy) {
        memcpy(copy, s, n);
        copy[n] = 0;
        if (!gal_parse_f64(copy, &x)) x = strtod(copy, NULL); /* the infinite and NaN */
    }
    if (copy != room) gal_free(copy);
    return x;
}

double gal__number(const gal__value *v) { return read_real(v->text.s, v->text.n); }

/* ---- reading ------------------------------------------------------------------------------------------------------
 */

typedef struct reader {
    gal__json j;
    gal__pool *pool;
    gal_diag *diag;
    bool refused; /* the error is not about JSON itself */
    bool half;    /* there was half a surrogate pair */
} reader;

static void refuse(reader *r, gal_err err, const char *why) {
    if (r->j.err) return;
    r->refused = true;
    r->j.err = gal_fail(r->diag, err, "%s: %s", r->j.name, why);
    r->j.p = r->j.end;
}

static void no_memory(reader *r) { refuse(r, GAL_ENOMEM, "no memory for a request"); }

static gal__string take_string(reader *r, const char *s, size_t n) {
    gal__string out = { "", 0 };
    r->half = r->half || r->j.lone;
    if (!gal__pool_string(r->pool, &out, s, n)) no_memory(r);
    return out;
}

static void read_number(reader *r, gal__value *v) {
    const char *s;
    size_t n;
    bool whole;
    if (!gal__json_number(&r->j, &s, &n, &whole)) return;
    char real[40];
    v->type = whole ? GAL__WHOLE : GAL__REAL;
    if (whole && n - (*s == '-') > GAL__TREE_DIGITS) {
        refuse(r, GAL_EINPUT, "a whole number of more than 4300 digits");
        return;
    }
    if (!whole) {
        n = gal__print_real(read_real(s, n), real);
        s = real;
    } else if (n == 2 && memcmp(s, "-0", 2) == 0) {
        s++;
        n--;
    }
    r->j.lone = false;
    v->text = take_string(r, s, n);
}

/* Members by key while an object is read: the last of equal keys counts, at the place of the first, as in Python. Few
 * are compared one by one. */
typedef struct keys {
    gal__value **slots;
    size_t mask, count;
} keys;

enum { FEW = 16 };

static uint32_t hash_of(gal__string k) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < k.n; i++) h = (h ^ (uint8_t)k.s[i]) * 16777619u;
    return h ^ (h >> 15);
}

static bool same(gal__string a, gal__string b) { return a.n == b.n && memcmp(a.s, b.s, a.n) == 0; }

static gal__value **slot_of(const keys *k, gal__string key) {
    size_t i = hash_of(key) & k->mask;
    while (k->slots[i] && !same(k->slots[i]->key, key)) i = (i + 1) & k->mask;
    return &k->slots[i];
}

static bool index_keys(keys *k, gal__value *first) {
    const size_t room = 4 * (k->count + 1);
    size_t slots = 64;
    while (slots < room) slots *= 2;
    gal_free(k->slots);
    k->slots = gal_alloc_array(slots, sizeof(gal__value *));
    k->mask = slots - 1;
    if (!k->slots) return false;
    for (gal__value *v = first; v; v = v->next) *slot_of(k, v->key) = v;
    return true;
}

static gal__value *find(keys *k, gal__value *first, gal__string key) {
    if (k->slots) return *slot_of(k, key);
    while (first && !same(first->key, key)) first = first->next;
    return first;
}

static void read_value(reader *r, gal__value *v); /* recursion: at most max_depth of json_pull.h */

static gal__value *new_value(reader *r) {
    if (r->pool->values++ >= GAL__TREE_VALUES) {
        refuse(r, GAL_EINPUT, "more than 4194304 values");
        return NULL;
    }
    gal__value *v = gal__pool_take(r->pool, sizeof *v);
    if (!v) no_memory(r);
    return v;
}

static void read_object(reader *r, gal__value *v) {
    const char *s;
    size_t n;
    bool first = true;
    keys k = { 0 };
    gal__value **end = &v->first;
    if (!gal__json_enter(&r->j, '{')) return;
    v->type = GAL__OBJECT;
    while (gal__json_member(&r->j, &first, &s, &n)) {
        gal__string key = take_string(r, s, n);
        gal__value *old = r->j.err ? NULL : find(&k, v->first, key);
        gal__value *m = r->j.err ? NULL : new_value(r);
        if (!m) break;
        read_value(r, m);
        m->key = key;
        if (r->j.err) break;
        if (old) {
            m->next = old->next;
            *old = *m;
            continue;
        }
        *end = m;
        end = &m->next;
        v->count++;
        k.count++;
        if (k.slots && 2 * k.count <= k.mask) {
            *slot_of(&k, key) = m;
        } else if (k.count > FEW && !index_keys(&k, v->first)) {
            no_memory(r);
            break;
        }
    }
    gal_free(k.slots);
}

static void read_value(reader *r, gal__value *v) {
    const char *s;
    size_t n;
    bool truth, first = true;
    gal__value **end = &v->first;
    switch (gal__json_peek(&r->j)) {
    case '{':
        read_object(r, v);
        return;
    case '[':
        if (!gal__json_enter(&r->j, '[')) return;
        v->type = GAL__ARRAY;
        while (gal__json_element(&r->j, &first)) {
            gal__value *e = new_value(r);
            if (!e) return;
            read_value(r, e);
            *end = e;
            end = &e->next;
            v->count++;
        }
        return;
    case '"':
        v->type = GAL__STRING;
        if (gal__json_string(&r->j, &s, &n)) v->text = take_string(r, s, n);
        return;
    case 't':
    case 'f':
        if (gal__json_truth(&r->j, &truth)) v->type = truth ? GAL__TRUE : GAL__FALSE;
        return;
    case 'n':
        if (!gal__json_null(&r->j)) (void)gal__json_fail(&r->j, "expected a value");
        return;
    default:
        read_number(r, v);
    }
}

/* Whether objects and arrays lie deeper in one another than is read; strings are skipped. */
static bool too_deep(const char *s, size_t n) {
    int depth = 0;
    bool inside = false;
    for (size_t i = 0; i < n; i++) {
        if (inside) {
            if (s[i] == '\\')
                i++;
            else if (s[i] == '"')
                inside = false;
        } else if (s[i] == '"') {
            inside = true;
        } else if (s[i] == '[' || s[i] == '{') {
            if (++depth > GAL__TREE_DEPTH) return true;
        } else if (s[i] == ']' || s[i] == '}') {
            depth--;
        }
    }
    return false;
}

gal_err gal__tree_read(gal__value **out, gal__pool *p, const char *s, size_t n, bool strict, const char *name,
                       gal_diag *diag) {
    gal_diag own = { 0 };
    *out = NULL;
    if (n > GAL__TREE_BYTES)
        return gal_fail(diag, GAL_EINPUT, "%s: %zu bytes of JSON; at most %d are read", name, n, GAL__TREE_BYTES);
    reader r = { .j = gal__json_begin(s, n, name, &own), .pool = p, .diag = &own };
    r.j.p = s; /* a byte order mark is no JSON to Python */
    r.j.max_depth = GAL__TREE_DEPTH;
    gal__value *v = new_value(&r);
    if (v) read_value(&r, v);
    if (gal__json_end(&r.j) && r.half && !p->halves)
        refuse(&r, GAL_EINPUT, "a string with half a surrogate pair (\\ud800 to \\udfff), which is no text");
    gal_err err = r.j.err;
    gal__json_free(&r.j);
    if (!err) {
        *out = v;
        return GAL_OK;
    }
    if (err == GAL_EINPUT && !r.refused && !strict && !too_deep(s, n)) return GAL_OK;
    return gal_fail(diag, err, "%s", own.text);
}

/* ---- looking ------------------------------------------------------------------------------------------------------
 */

bool gal__is(gal__string s, const char *word) { return s.s && s.n == strlen(word) && memcmp(s.s, word, s.n) == 0; }

const gal__value *gal__member(const gal__value *v, const char *key) {
    if (v->type != GAL__OBJECT) return NULL;
    for (v = v->first; v; v = v->next)
        if (gal__is(v->key, key)) return v;
    return NULL;
}

const char *gal__type_name(const gal__value *v) {
    static const char *const NAMES[] = { "null",     "false",    "true",     "a whole number",
                                         "a number", "a string", "an array", "an object" };
    return v ? NAMES[v->type] : "nothing";
}

/* ---- printing -----------------------------------------------------------------------------------------------------
 */

void gal__print_string(gal_buf *b, gal__string s) {
    static const char FROM[] = "\"\\\n\r\t\f\b", TO[] = "\"\\nrtfb";
    gal_buf_putc(b, '"');
    for (size_t i = 0; i < s.n;) {
        size_t from = i;
        while (i < s.n && (uint8_t)s.s[i] >= 0x20 && s.s[i] != '"' && s.s[i] != '\\') i++;
        gal_buf_add(b, s.s + from, i - from);
        if (i == s.n) break;
        const char *at = s.s[i] ? strchr(FROM, s.s[i]) : NULL;
        if (at) {
            gal_buf_putc(b, '\\');
            gal_buf_putc(b, TO[at - FROM]);
        } else {
            gal_buf_printf(b, "\\u%04x", (uint8_t)s.s[i]);
        }
        i++;
    }
    gal_buf_putc(b, '"');
}

void gal__tree_print(gal_buf *b, const gal__value *v) { /* as deep as what was read */
    static const char *const WORDS[] = { "null", "false", "true" };
    const bool object = v->type == GAL__OBJECT;
    switch (v->type) {
    case GAL__NULL:
    case GAL__FALSE:
    case GAL__TRUE:
        gal_buf_puts(b, WORDS[v->type]);
        return;
    case GAL__WHOLE:
    case GAL__REAL:
        gal_buf_add(b, v->text.s, v->text.n);
        return;
    case GAL__STRING:
        gal__print_string(b, v->text);
        return;
    case GAL__ARRAY:
    case GAL__OBJECT:
        gal_buf_putc(b, object ? '{' : '[');
        for (const gal__value *e = v->first; e; e = e->next) {
            if (e != v->first) gal_buf_puts(b, ", ");
            if (object) {
                gal__print_string(b, e->key);
                gal_buf_puts(b, ": ");
            }
            gal__tree_print(b, e);
        }
        gal_buf_putc(b, object ? '}' : ']');
    }
}
