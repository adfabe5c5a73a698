/* jinja_methods.c - methods of text, dicts and lists, and the global functions. Python's other methods are known by
 * name: they are errors, and not undefined. SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"
#include "text/jinja_internal.h"

#include <string.h>

typedef struct method {
    const char *name, *args;
    int needed;
    gal__jv (*run)(gal__jinja *j, gal__jv self, const gal__jv *a);
} method;

static bool given(gal__jv v) { return v.kind != GAL__J_ABSENT && v.kind != GAL__J_NONE; }

static const gal__jtext *text_arg(gal__jinja *j, gal__jv v, const char *what) {
    static const gal__jtext EMPTY = { "", 0, NULL, GAL__FROM_RUN };
    if (v.kind == GAL__J_TEXT) return v.text;
    (void)gal__j_fail(j, "%s: expected a str, found %s", what, gal__j_type(v));
    return &EMPTY;
}

static int64_t int_arg(gal__jinja *j, gal__jv v, const char *what, int64_t fallback) {
    if (v.kind == GAL__J_ABSENT) return fallback;
    if (v.kind == GAL__J_INT) return v.i;
    if (v.kind == GAL__J_BOOL) return v.truth;
    (void)gal__j_fail(j, "%s: expected a whole number, found %s", what, gal__j_type(v));
    return fallback;
}

/* Characters [from, to) of text as bytes, as find() and startswith() count them. false: from lies behind the end. */
static bool window(gal__jinja *j, const gal__jtext *t, const gal__jv *a, const char *what, size_t *from, size_t *to) {
    *from = 0;
    *to = t->n;
    if (!given(a[0]) && !given(a[1])) return true;
    const int64_t n = (int64_t)gal__j_chars(j, t);
    int64_t b = given(a[0]) ? int_arg(j, a[0], what, 0) : 0, e = given(a[1]) ? int_arg(j, a[1], what, n) : n;
    if (b < 0) b = GAL_MAX(b, -n) + n;
    if (e < 0) e = GAL_MAX(e, -n) + n;
    if (b > n) return false;
    e = GAL_MIN(e, n);
    *from = gal__j_char_at(t, (size_t)b);
    *to = e > b ? gal__j_char_at(t, (size_t)e) : *from;
    return e >= b;
}

/* ---- white space, cutting -----------------------------------------------------------------------------------------
 */

bool gal__j_white(uint32_t cp) {
    if (cp < 0x80) return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x1f);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 ||
           cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

/* The character that ends at n; its bytes. */
static size_t last_char(const char *s, size_t n, uint32_t *cp) {
    size_t m = 1;
    while (m < n && m < 4 && ((uint8_t)s[n - m] & 0xc0) == 0x80) m++;
    return gal_utf8_next(s + n - m, m, cp) ? m : 1;
}

static bool among(const gal__jtext *chars, uint32_t cp) {
    for (size_t i = 0; i < chars->n;) {
        uint32_t c = 0;
        i += (size_t)GAL_MAX(gal_utf8_next(chars->s + i, chars->n - i, &c), 1);
        if (c == cp) return true;
    }
    return false;
}

gal__jv gal__j_strip(gal__jinja *j, const gal__jtext *t, gal__jv chars, bool left, bool right) {
    const gal__jtext *set = given(chars) ? text_arg(j, chars, "strip") : NULL;
    size_t from = 0, to = t->n, looked = 0;
    uint32_t cp = 0;
    while (left && from < to && !j->err) {
        const int m = gal_utf8_next(t->s + from, to - from, &cp);
        looked += set ? 4 * set->n + 8 : 4;
        if (!m || !(set ? among(set, cp) : gal__j_white(cp)) || looked > GAL__JINJA_WORK) break;
        from += (size_t)m;
    }
    while (right && from < to && !j->err) {
        const size_t m = last_char(t->s + from, to - from, &cp);
        looked += set ? 4 * set->n + 8 : 4;
        if (!(set ? among(set, cp) : gal__j_white(cp)) || looked > GAL__JINJA_WORK) break;
        to -= m;
    }
    return gal__j_work(j, looked) ? gal__j_cut(j, t, from, to - from) : gal__j_undefined(NULL);
}

static gal__jv m_strip(gal__jinja *j, gal__jv s, const gal__jv *a) {
    return gal__j_strip(j, s.text, a[0], true, true);
}
static gal__jv m_lstrip(gal__jinja *j, gal__jv s, const gal__jv *a) {
    return gal__j_strip(j, s.text, a[0], true, false);
}
static gal__jv m_rstrip(gal__jinja *j, gal__jv s, const gal__jv *a) {
    return gal__j_strip(j, s.text, a[0], false, true);
}

static void split_white(gal__jinja *j, gal__jseq *out, const gal__jtext *t, int64_t most) {
    size_t at = 0;
    uint32_t cp = 0;
    for (int m = 0; !j->err; most -= most > 0) {
        while (at < t->n && (m = gal_utf8_next(t->s + at, t->n - at, &cp)) > 0 && gal__j_white(cp)) at += (size_t)m;
        if (at == t->n) return;
        size_t end = at;
        while (end < t->n && (m = gal_utf8_next(t->s + end, t->n - end, &cp)) > 0 && (most == 0 || !gal__j_white(cp)))
            end += (size_t)m;
        gal__j_add(j, out, gal__j_cut(j, t, at, end - at));
        at = end;
    }
}

/* From the right. */
static void rsplit_white(gal__jinja *j, gal__jseq *out, const gal__jtext *t, int64_t most) {
    size_t end = t->n;
    uint32_t cp = 0;
    for (size_t m = 0; !j->err; most -= most > 0) {
        while (end && (m = last_char(t->s, end, &cp)) > 0 && gal__j_white(cp)) end -= m;
        if (!end) return;
        size_t at = end;
        while (at && (m = last_char(t->s, at, &cp)) > 0 && (most == 0 || !gal__j_white(cp))) at -= m;
        gal__j_add(j, out, gal__j_cut(j, t, at, end - at));
        end = at;
    }
}

static void reverse(gal__jseq *s) {
    for (size_t i = 0; i < s->n / 2; i++) {
        const gal__jv v = s->items[i];
        s->items[i] = s->items[s->n - 1 - i];
        s->items[s->n - 1 - i] = v;
    }
}

static void split_by(gal__jinja *j, gal__jseq *out, const gal__jtext *t, const gal__jtext *sep, int64_t most,
                     bool right) {
    size_t at = 0, end = t->n, found;
    while (most-- != 0 && !j->err && gal__j_step(j)) {
        found = right ? gal__j_rfind(j, t, end, sep) : gal__j_find(j, t, at, sep);
        if (found == SIZE_MAX) break;
        gal__j_add(j, out,
                   right ? gal__j_cut(j, t, found + sep->n, end - found - sep->n) : gal__j_cut(j, t, at, found - at));
        if (right)
            end = found;
        else
            at = found + sep->n;
        if (most < -1) most = -1;
    }
    gal__j_add(j, out, gal__j_cut(j, t, at, end - at));
}

static gal__jv split(gal__jinja *j, const gal__jtext *t, const gal__jv *a, bool right) {
    const int64_t most = int_arg(j, a[1], "split", -1);
    gal__jseq *out = gal__j_new_seq(j, GAL__S_LIST, 0);
    if (!out || !gal__j_work(j, t->n)) return gal__j_undefined(NULL);
    if (given(a[0])) {
        const gal__jtext *sep = text_arg(j, a[0], "split");
        if (!j->err && !sep->n) return gal__j_fail(j, "split: an empty separator");
        if (!j->err) split_by(j, out, t, sep, most < 0 ? -1 : most, right);
    } else if (right) {
        rsplit_white(j, out, t, most < 0 ? -1 : most);
    } else {
        split_white(j, out, t, most < 0 ? -1 : most);
    }
    if (right) reverse(out);
    return j->err ? gal__j_undefined(NULL) : gal__j_seq(out);
}

static gal__jv m_split(gal__jinja *j, gal__jv s, const gal__jv *a) { return split(j, s.text, a, false); }
static gal__jv m_rsplit(gal__jinja *j, gal__jv s, const gal__jv *a) { return split(j, s.text, a, true); }

static gal__jv partition(gal__jinja *j, const gal__jtext *t, gal__jv sep, bool right) {
    const gal__jtext *s = text_arg(j, sep, "partition");
    gal__jseq *out = gal__j_new_seq(j, GAL__S_TUPLE, 3);
    if (!out || j->err) return gal__j_undefined(NULL);
    if (!s->n) return gal__j_fail(j, "partition: an empty separator");
    const size_t at = right ? gal__j_rfind(j, t, t->n, s) : gal__j_find(j, t, 0, s);
    const size_t none = right ? 0 : t->n, cut = at == SIZE_MAX ? none : at, n = at == SIZE_MAX ? 0 : s->n;
    gal__j_add(j, out, gal__j_cut(j, t, 0, cut));
    gal__j_add(j, out, gal__j_cut(j, t, cut, n));
    gal__j_add(j, out, gal__j_cut(j, t, cut + n, t->n - cut - n));
    return j->err ? gal__j_undefined(NULL) : gal__j_seq(out);
}

static gal__jv m_partition(gal__jinja *j, gal__jv s, const gal__jv *a) { return partition(j, s.text, a[0], false); }
static gal__jv m_rpartition(gal__jinja *j, gal__jv s, const gal__jv *a) { return partition(j, s.text, a[0], true); }

/* Bytes of the line end at s; 0: none. */
static size_t line_end(const char *s, size_t n) {
    if (n >= 2 && s[0] == '\r' && s[1] == '\n') return 2;
    uint32_t cp = 0;
    const int m = gal_utf8_next(s, n, &cp);
    const bool ends = (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 ||
                      cp == 0x2029;
    return m && ends ? (size_t)m : 0;
}

static gal__jv m_splitlines(gal__jinja *j, gal__jv s, const gal__jv *a) {
    const gal__jtext *t = s.text;
    const bool keep = gal__j_truth(a[0]);
    gal__jseq *out = gal__j_new_seq(j, GAL__S_LIST, 0);
    if (!out || !gal__j_work(j, 8 * t->n)) return gal__j_undefined(NULL);
    size_t from = 0;
    for (size_t i = 0; i < t->n && !j->err;) {
        const size_t m = line_end(t->s + i, t->n - i);
        if (m) {
            gal__j_add(j, out, gal__j_cut(j, t, from, i - from + (keep ? m : 0)));
            from = i + m;
        }
        i += m ? m : 1;
    }
    if (from < t->n) gal__j_add(j, out, gal__j_cut(j, t, from, t->n - from));
    return j->err ? gal__j_undefined(NULL) : gal__j_seq(out);
}

/* ---- looking ------------------------------------------------------------------------------------------------------
 */

/* startswith and endswith take one text or a tuple of them. */
static gal__jv fits(gal__jinja *j, gal__jv s, const gal__jv *a, bool end) {
    const char *what = end ? "endswith" : "startswith";
    const gal__jv one[1] = { a[0] };
    const bool tuple = a[0].kind == GAL__J_SEQ && a[0].seq->kind == GAL__S_TUPLE;
    const gal__jv *all = tuple ? a[0].seq->items : one;
    size_t from, to, n = tuple ? a[0].seq->n : 1;
    const bool inside = window(j, s.text, a + 1, what, &from, &to);
    for (size_t i = 0; i < n && !j->err; i++) {
        const gal__jtext *t = text_arg(j, all[i], what);
        if (!inside || t->n > to - from) continue;
        (void)gal__j_work(j, t->n);
        if (memcmp(s.text->s + (end ? to - t->n : from), t->s, t->n) == 0) return gal__j_bool(true);
    }
    return gal__j_bool(false);
}

static gal__jv m_startswith(gal__jinja *j, gal__jv s, const gal__jv *a) { return fits(j, s, a, false); }
static gal__jv m_endswith(gal__jinja *j, gal__jv s, const gal__jv *a) { return fits(j, s, a, true); }

static gal__jv find(gal__jinja *j, gal__jv s, const gal__jv *a, const char *what, bool right, bool must) {
    const gal__jtext *t = text_arg(j, a[0], what);
    size_t from, to, at = SIZE_MAX;
    if (window(j, s.text, a + 1, what, &from, &to)) {
        const gal__jtext part = { s.text->s + from, to - from, NULL, 0 };
        at = right ? gal__j_rfind(j, &part, part.n, t) : gal__j_find(j, &part, 0, t);
        if (at != SIZE_MAX) {
            const gal__jtext before = { s.text->s, from + at, NULL, 0 };
            return gal__j_int((int64_t)gal__j_chars(j, &before));
        }
    }
    return must ? gal__j_fail(j, "%s: not found", what) : gal__j_int(-1);
}

static gal__jv m_find(gal__jinja *j, gal__jv s, const gal__jv *a) { return find(j, s, a, "find", false, false); }
static gal__jv m_rfind(gal__jinja *j, gal__jv s, const gal__jv *a) { return find(j, s, a, "rfind", true, false); }
static gal__jv m_index(gal__jinja *j, gal__jv s, const gal__jv *a) { return find(j, s, a, "index", false, true); }
static gal__jv m_rindex(gal__jinja *j, gal__jv s, const gal__jv *a) { return find(j, s, a, "rindex", true, true); }

static gal__jv m_count(gal__jinja *j, gal__jv s, const gal__jv *a) {
    const gal__jtext *t = text_arg(j, a[0], "count");
    size_t from, to;
    int64_t count = 0;
    if (!window(j, s.text, a + 1, "count", &from, &to)) return gal__j_int(0);
    const gal__jtext part = { s.text->s + from, to - from, NULL, 0 };
    if (!t->n) return gal__j_int((int64_t)gal__j_chars(j, &part) + 1);
    for (size_t at = 0; (at = gal__j_find(j, &part, at, t)) != SIZE_MAX && !j->err; at += t->n) count++;
    return gal__j_int(count);
}

/* ---- making -------------------------------------------------------------------------------------------------------
 */

gal__jv gal__j_replace(gal__jinja *j, const gal__jtext *t, const gal__jtext *old, const gal__jtext *by,
                       int64_t count) {
    gal__jout o = { 0 };
    size_t at = 0, found;
    if (!old->n) { /* between all characters */
        for (; at <= t->n && count-- != 0 && gal__j_work(j, 16);) {
            size_t m = at < t->n;
            while (at + m < t->n && m && ((uint8_t)t->s[at + m] & 0xc0) == 0x80) m++;
            gal__j_put_text(j, &o, by);
            gal__j_put_part(j, &o, t, at, m);
            at += m ? m : 1;
        }
    } else {
        while (count-- != 0 && gal__j_work(j, 16) && (found = gal__j_find(j, t, at, old)) != SIZE_MAX) {
            gal__j_put_part(j, &o, t, at, found - at);
            gal__j_put_text(j, &o, by);
            at = found + old->n;
        }
    }
    if (at == 0 && !o.n) return (gal__jv){ GAL__J_TEXT, { .text = t } };
    if (at < t->n) gal__j_put_part(j, &o, t, at, t->n - at);
    return gal__j_built(j, &o);
}

static gal__jv m_replace(gal__jinja *j, gal__jv s, const gal__jv *a) {
    const gal__jtext *old = text_arg(j, a[0], "replace"), *by = text_arg(j, a[1], "replace");
    return gal__j_replace(j, s.text, old, by, int_arg(j, a[2], "replace", -1));
}

static gal__jv m_join(gal__jinja *j, gal__jv s, const gal__jv *a) {
    const gal__jseq *list = gal__j_iterate(j, a[0]);
    gal__jout o = { 0 };
    for (size_t i = 0; list && i < list->n && gal__j_work(j, 8); i++) {
        if (i) gal__j_put_text(j, &o, s.text);
        gal__j_put_text(j, &o, text_arg(j, list->items[i], "join"));
    }
    return gal__j_built(j, &o);
}

static gal__jv prefix(gal__jinja *j, gal__jv s, gal__jv a, bool end) {
    const gal__jtext *t = s.text, *p = text_arg(j, a, end ? "removesuffix" : "removeprefix");
    const bool fits_it = p->n && p->n <= t->n && gal__j_work(j, p->n) &&
                         memcmp(t->s + (end ? t->n - p->n : 0), p->s, p->n) == 0;
    return fits_it ? gal__j_cut(j, t, end ? 0 : p->n, t->n - p->n) : s;
}

static gal__jv m_removeprefix(gal__jinja *j, gal__jv s, const gal__jv *a) { return prefix(j, s, a[0], false); }
static gal__jv m_removesuffix(gal__jinja *j, gal__jv s, const gal__jv *a) { return prefix(j, s, a[0], true); }
static gal__jv m_upper(gal__jinja *j, gal__jv s, const gal__jv *a) {
    (void)a;
    return gal__j_recase(j, s.text, GAL__UPPER);
}
static gal__jv m_lower(gal__jinja *j, gal__jv s, const gal__jv *a) {
    (void)a;
    return gal__j_recase(j, s.text, GAL__LOWER);
}
static gal__jv m_title(gal__jinja *j, gal__jv s, const gal__jv *a) {
    (void)a;
    return gal__j_recase(j, s.text, GAL__TITLE);
}
static gal__jv m_capitalize(gal__jinja *j, gal__jv s, const gal__jv *a) {
    (void)a;
    return gal__j_recase(j, s.text, GAL__CAPITAL);
}

static gal__jv m_isdigit(gal__jinja *j, gal__jv s, const gal__jv *a) {
    (void)a;
    bool all = s.text->n > 0 && gal__j_work(j, 2 * s.text->n);
    for (size_t i = 0; i < s.text->n && all; i++) {
        if ((uint8_t)s.text->s[i] >= 0x80) return gal__j_fail(j, "isdigit: letters beyond ASCII are not supported");
        all = all && s.text->s[i] >= '0' && s.text->s[i] <= '9';
    }
    return gal__j_bool(all);
}

static gal__jv m_isspace(gal__jinja *j, gal__jv s, const gal__jv *a) {
    const gal__jv rest = gal__j_strip(j, s.text, a[0], true, false);
    return gal__j_bool(s.text->n > 0 && !j->err && rest.text->n == 0);
}

/* ---- dicts and lists ----------------------------------------------------------------------------------------------
 */

static gal__jv m_get(gal__jinja *j, gal__jv s, const gal__jv *a) {
    const gal__jv *v = gal__j_dict_get(j, s.dict, a[0]);
    return v ? *v : a[1].kind == GAL__J_ABSENT ? gal__j_none() : a[1];
}

static gal__jv view(gal__jinja *j, const gal__jdict *d, bool keys, bool values) {
    gal__jseq *out = gal__j_new_seq(j, GAL__S_VIEW, d->n);
    for (size_t i = 0; out && i < d->n && gal__j_work(j, 16); i++) {
        const gal__jentry *e = &d->entries[i];
        gal__jseq *pair = keys && values ? gal__j_new_seq(j, GAL__S_TUPLE, 2) : NULL;
        gal__j_add(j, pair, e->key);
        gal__j_add(j, pair, e->value);
        if (!j->err) gal__j_add(j, out, pair ? gal__j_seq(pair) : keys ? e->key : e->value);
    }
    return j->err ? gal__j_undefined(NULL) : gal__j_seq(out);
}

static gal__jv m_items(gal__jinja *j, gal__jv s, const gal__jv *a) {
    (void)a;
    return view(j, s.dict, true, true);
}
static gal__jv m_keys(gal__jinja *j, gal__jv s, const gal__jv *a) {
    (void)a;
    return view(j, s.dict, true, false);
}
static gal__jv m_values(gal__jinja *j, gal__jv s, const gal__jv *a) {
    (void)a;
    return view(j, s.dict, false, true);
}
static gal__jv m_copy(gal__jinja *j, gal__jv s, const gal__jv *a) { /* nothing changes it */
    (void)j;
    (void)a;
    return s;
}

static gal__jv m_list_count(gal__jinja *j, gal__jv s, const gal__jv *a) {
    int64_t count = 0;
    for (size_t i = 0; i < s.seq->n && !j->err; i++) count += gal__j_equal(j, s.seq->items[i], a[0]);
    return gal__j_int(count);
}

static gal__jv m_list_index(gal__jinja *j, gal__jv s, const gal__jv *a) {
    for (size_t i = 0; i < s.seq->n && !j->err; i++)
        if (gal__j_equal(j, s.seq->items[i], a[0])) return gal__j_int((int64_t)i);
    return gal__j_fail(j, "index: the value is not in the list");
}

/* ---- which there are ----------------------------------------------------------------------------------------------
 */

static const method TEXT[] = {
    { "strip", "chars", 0, m_strip },
    { "lstrip", "chars", 0, m_lstrip },
    { "rstrip", "chars", 0, m_rstrip },
    { "split", "sep maxsplit", 0, m_split },
    { "rsplit", "sep maxsplit", 0, m_rsplit },
    { "partition", "sep", 1, m_partition },
    { "rpartition", "sep", 1, m_rpartition },
    { "splitlines", "keepends", 0, m_splitlines },
    { "startswith", "prefix start end", 1, m_startswith },
    { "endswith", "suffix start end", 1, m_endswith },
    { "find", "sub start end", 1, m_find },
    { "rfind", "sub start end", 1, m_rfind },
    { "index", "sub start end", 1, m_index },
    { "rindex", "sub start end", 1, m_rindex },
    { "count", "sub start end", 1, m_count },
    { "replace", "old new count", 2, m_replace },
    { "join", "iterable", 1, m_join },
    { "removeprefix", "prefix", 1, m_removeprefix },
    { "removesuffix", "suffix", 1, m_removesuffix },
    { "upper", "", 0, m_upper },
    { "lower", "", 0, m_lower },
    { "title", "", 0, m_title },
    { "capitalize", "", 0, m_capitalize },
    { "isdigit", "", 0, m_isdigit },
    { "isspace", "", 0, m_isspace },
    { 0 },
};
static const method DICT[] = {
    { "get", "key default", 1, m_get }, { "items", "", 0, m_items }, { "keys", "", 0, m_keys },
    { "values", "", 0, m_values },      { "copy", "", 0, m_copy },   { 0 },
};
static const method LIST[] = {
    { "count", "value", 1, m_list_count },
    { "index", "value", 1, m_list_index },
    { "copy", "", 0, m_copy },
    { 0 },
};

static const char TEXT_OTHERS[] =
    " casefold center encode expandtabs format format_map isalnum isalpha isascii isdecimal "
    "isidentifier islower isnumeric isprintable istitle isupper ljust maketrans rjust swapcase "
    "translate zfill ";
static const char DICT_OTHERS[] = " clear fromkeys pop popitem setdefault update ";
static const char LIST_OTHERS[] = " append clear extend insert pop remove reverse sort ";
static const char NUMBER_OTHERS[] =
    " as_integer_ratio bit_count bit_length conjugate denominator from_bytes fromhex hex imag "
    "is_integer numerator real to_bytes ";

static const method *methods_of(gal__jv v, const char **others) {
    static const method NONE[] = { { 0 } };
    *others = "";
    if (v.kind == GAL__J_TEXT) {
        *others = TEXT_OTHERS;
        return TEXT;
    }
    if (v.kind == GAL__J_DICT) {
        *others = DICT_OTHERS;
        return DICT;
    }
    if (v.kind == GAL__J_SEQ && v.seq->kind <= GAL__S_RANGE) {
        if (v.seq->kind == GAL__S_LIST) *others = LIST_OTHERS;
        return LIST;
    }
    if (v.kind == GAL__J_INT || v.kind == GAL__J_BOOL || v.kind == GAL__J_REAL) *others = NUMBER_OTHERS;
    return NONE;
}

static bool listed(const char *names, const char *name) {
    const size_t n = strlen(name);
    for (const char *at = strstr(names, name); at && n; at = strstr(at + 1, name))
        if (at > names && at[-1] == ' ' && at[n] == ' ') return true;
    return false;
}

static const method *find_method(gal__jv v, const char *name, bool *other) {
    const char *others;
    const method *m = methods_of(v, &others);
    while (m->name && strcmp(m->name, name) != 0) m++;
    if (m->name && strcmp(name, "copy") == 0 && v.kind == GAL__J_SEQ && v.seq->kind != GAL__S_LIST) m = NULL;
    *other = m && !m->name && listed(others, name);
    return m && m->name ? m : NULL;
}

bool gal__j_method_known(gal__jv v, const char *name) {
    bool other;
    return find_method(v, name, &other) || other;
}

static gal__jv cycle(gal__jinja *j, gal__jv at, const gal__jargs *a) {
    if (!a->n) return gal__j_fail(j, "loop.cycle: expected values");
    return a->pos[(size_t)at.i % a->n];
}

gal__jv gal__j_method(gal__jinja *j, const gal__jmethod *of, const gal__jargs *a) {
    bool other;
    gal__jv bound[8] = { 0 };
    if (strcmp(of->name, "loop.cycle") == 0) return cycle(j, of->self, a);
    const method *m = find_method(of->self, of->name, &other);
    if (!m && (of->self.kind == GAL__J_DICT || of->self.kind == GAL__J_SEQ))
        return gal__j_fail(j, "'.%s()' would change a %s, which is refused", of->name, gal__j_type(of->self));
    if (!m) return gal__j_fail(j, "'.%s()' of a %s is not supported", of->name, gal__j_type(of->self));
    if (!gal__j_bind(j, a, m->name, m->args, m->needed, bound)) return gal__j_undefined(NULL);
    const gal__jv v = m->run(j, of->self, bound);
    return j->err ? gal__j_undefined(NULL) : v;
}

/* ---- global functions ---------------------------------------------------------------------------------------------
 */

static gal__jv range(gal__jinja *j, const gal__jargs *a) {
    gal__jv b[3] = { 0 };
    if (!gal__j_bind(j, a, "range", "start stop step", 1, b)) return gal__j_undefined(NULL);
    int64_t from = int_arg(j, b[0], "range", 0), to = int_arg(j, b[1], "range", 0),
            step = int_arg(j, b[2], "range", 1);
    if (b[1].kind == GAL__J_ABSENT) {
        to = from;
        from = 0;
    }
    if (j->err) return gal__j_undefined(NULL);
    if (step == 0) return gal__j_fail(j, "range: a step of 0");
    uint64_t distance = 0, by = 1;
    if (step > 0) {
        by = (uint64_t)step;
        if (to > from) distance = (uint64_t)to - (uint64_t)from;
    } else {
        by = 0 - (uint64_t)step;
        if (from > to) distance = (uint64_t)from - (uint64_t)to;
    }
    const uint64_t count = distance / by + (distance % by != 0);
    if (count > GAL__JINJA_RANGE)
        return gal__j_fail(j, "range: more than %d numbers, which the sandbox refuses", GAL__JINJA_RANGE);
    gal__jseq *s = gal__j_new_seq(j, GAL__S_RANGE, (size_t)count);
    (void)gal__j_work(j, 16 * (size_t)count);
    for (uint64_t i = 0; s && i < count && !j->err; i++)
        gal__j_add(j, s, gal__j_int((int64_t)((uint64_t)from + i * (uint64_t)step)));
    return j->err ? gal__j_undefined(NULL) : gal__j_seq(s);
}

/* dict() and namespace(): a mapping or pairs, and names. */
static void fill(gal__jinja *j, gal__jdict *d, const gal__jargs *a, const char *what) {
    if (a->n > 1) (void)gal__j_fail(j, "%s: expected one mapping and names, found %zu arguments", what, a->n);
    if (a->n == 1 && a->pos[0].kind == GAL__J_DICT) {
        const gal__jdict *from = a->pos[0].dict;
        for (size_t i = 0; i < from->n && gal__j_work(j, 32); i++)
            gal__j_dict_set(j, d, from->entries[i].key, from->entries[i].value);
    } else if (a->n == 1) {
        const gal__jseq *pairs = gal__j_iterate(j, a->pos[0]);
        for (size_t i = 0; pairs && i < pairs->n && gal__j_work(j, 32); i++) {
            const gal__jseq *pair = gal__j_iterate(j, pairs->items[i]);
            if (pair && pair->n == 2)
                gal__j_dict_set(j, d, pair->items[0], pair->items[1]);
            else
                (void)gal__j_fail(j, "%s: expected pairs", what);
        }
    }
    for (const gal__jvar *k = a->keywords; k && !j->err; k = k->next)
        gal__j_dict_set(j, d, gal__j_text(j, k->name, strlen(k->name), GAL__FROM_TEMPLATE), k->value);
}

static gal__jv space(gal__jinja *j, const gal__jargs *a) {
    gal__jspace *s = gal__j_take(j, 1, sizeof *s);
    if (!s) return gal__j_undefined(NULL);
    fill(j, &s->fields, a, "namespace");
    for (size_t i = 0; i < s->fields.n && !j->err; i++) {
        const gal__jv key = s->fields.entries[i].key;
        if (key.kind != GAL__J_TEXT || (key.text->n && key.text->s[0] == '_'))
            return gal__j_fail(j, "namespace: a field's name begins with '_' or is no str, which is refused");
    }
    return (gal__jv){ GAL__J_SPACE, { .space = s } };
}

static gal__jv raise(gal__jinja *j, const gal__jargs *a) {
    gal__jv b[1] = { 0 };
    if (!gal__j_bind(j, a, "raise_exception", "message", 1, b)) return gal__j_undefined(NULL);
    const gal__jtext *t = gal__j_str(j, b[0]);
    return gal__j_fail(j, "the template refuses this conversation: %.*s", (int)GAL_MIN(t->n, (size_t)500), t->s);
}

const char *const *gal__j_globals(void) {
    static const char *const NAMES[] = { "range", "dict", "namespace", "raise_exception", "strftime_now", NULL };
    return NAMES;
}

gal__jv gal__j_global(gal__jinja *j, const char *name, const gal__jargs *a) {
    gal__jv b[1] = { 0 };
    if (strcmp(name, "range") == 0) return range(j, a);
    if (strcmp(name, "namespace") == 0) return space(j, a);
    if (strcmp(name, "raise_exception") == 0) return raise(j, a);
    if (strcmp(name, "dict") == 0) {
        gal__jdict *d = gal__j_new_dict(j);
        if (d) fill(j, d, a, "dict");
        return j->err ? gal__j_undefined(NULL) : gal__j_dict(d);
    }
    if (!gal__j_bind(j, a, "strftime_now", "format", 1, b)) return gal__j_undefined(NULL);
    return gal__j_strftime(j, text_arg(j, b[0], "strftime_now"));
}
