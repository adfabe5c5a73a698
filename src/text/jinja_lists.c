/* jinja_lists.c - filters over sequences and dicts. Those that Python gives out one at a time are generators here
 * too: always true, without a length, empty once they were read. SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"
#include "text/jinja_internal.h"

#include <string.h>

static bool given(gal__jv v) { return v.kind != GAL__J_ABSENT && v.kind != GAL__J_NONE; }

static gal__jv done(const gal__jinja *j, gal__jseq *s) {
    return j->err || !s ? gal__j_undefined(NULL) : gal__j_seq(s);
}

static gal__jv f_length(gal__jinja *j, gal__jv v, const gal__jv *a) {
    (void)a;
    switch ((int)v.kind) {
    case GAL__J_UNDEFINED:
        return gal__j_int(0);
    case GAL__J_TEXT:
        return gal__j_int((int64_t)gal__j_chars(j, v.text));
    case GAL__J_DICT:
        return gal__j_int((int64_t)v.dict->n);
    case GAL__J_SEQ:
        if (v.seq->kind != GAL__S_GENERATOR) return gal__j_int((int64_t)v.seq->n);
        break;
    default:
        break;
    }
    return gal__j_fail(j, "length: a %s has none", gal__j_type(v));
}

static gal__jv f_list(gal__jinja *j, gal__jv v, const gal__jv *a) {
    gal__jseq *s = gal__j_iterate(j, v);
    (void)a;
    if (!s) return gal__j_undefined(NULL);
    if (s->kind == GAL__S_LIST) return gal__j_seq(s);
    gal__jseq *out = gal__j_new_seq(j, GAL__S_LIST, s->n);
    (void)gal__j_work(j, 16 * s->n);
    for (size_t i = 0; i < s->n; i++) gal__j_add(j, out, s->items[i]);
    return done(j, out);
}

static gal__jv f_first(gal__jinja *j, gal__jv v, const gal__jv *a) {
    (void)a;
    if (v.kind == GAL__J_SEQ) {
        const bool some = v.seq->at < v.seq->n;
        const gal__jv first = some ? v.seq->items[v.seq->at] : gal__j_undefined("the first of nothing");
        if (some && v.seq->kind == GAL__S_GENERATOR) v.seq->at++;
        return first;
    }
    if (v.kind == GAL__J_TEXT) return gal__j_item(j, v, gal__j_int(0));
    const gal__jseq *s = gal__j_iterate(j, v);
    return s && s->n ? s->items[0] : gal__j_undefined("the first of nothing");
}

static gal__jv f_last(gal__jinja *j, gal__jv v, const gal__jv *a) {
    (void)a;
    if (v.kind == GAL__J_SEQ && v.seq->kind == GAL__S_GENERATOR) return gal__j_fail(j, "last: a generator has none");
    if (v.kind == GAL__J_TEXT) return gal__j_item(j, v, gal__j_int(-1));
    const gal__jseq *s = gal__j_iterate(j, v);
    return s && s->n ? s->items[s->n - 1] : gal__j_undefined("the last of nothing");
}

static gal__jv f_reverse(gal__jinja *j, gal__jv v, const gal__jv *a) {
    (void)a;
    const bool list = v.kind == GAL__J_UNDEFINED || (v.kind == GAL__J_SEQ && v.seq->kind == GAL__S_GENERATOR);
    const gal__jseq *s = gal__j_iterate(j, v);
    if (!s) return gal__j_undefined(NULL);
    (void)gal__j_work(j, 16 * s->n);
    if (v.kind == GAL__J_TEXT) {
        gal__jout o = { 0 };
        for (size_t i = s->n; i-- > 0;) gal__j_put_text(j, &o, s->items[i].text);
        return gal__j_built(j, &o);
    }
    gal__jseq *out = gal__j_new_seq(j, list ? GAL__S_LIST : GAL__S_GENERATOR, s->n);
    for (size_t i = s->n; i-- > 0;) gal__j_add(j, out, s->items[i]);
    return done(j, out);
}

/* What a filter's argument `attribute` means of an item: "a.b", or a place. */
static gal__jv attribute_of(gal__jinja *j, gal__jv item, gal__jv attribute) {
    if (attribute.kind == GAL__J_TEXT) return gal__j_path(j, item, attribute.text);
    return gal__j_item(j, item, attribute);
}

static gal__jv f_join(gal__jinja *j, gal__jv v, const gal__jv *a) {
    const gal__jseq *s = gal__j_iterate(j, v);
    const gal__jtext *between = a[0].kind == GAL__J_ABSENT ? NULL : gal__j_str(j, a[0]);
    gal__jout o = { 0 };
    for (size_t i = 0; s && i < s->n && gal__j_work(j, 8); i++) {
        if (i && between) gal__j_put_text(j, &o, between);
        gal__j_print(j, &o, given(a[1]) ? attribute_of(j, s->items[i], a[1]) : s->items[i]);
    }
    return gal__j_built(j, &o);
}

static gal__jseq *pairs(gal__jinja *j, gal__jv v, const char *what, gal__jseq_kind kind) {
    if (v.kind != GAL__J_DICT) {
        (void)gal__j_fail(j, "%s: expected a dict, found %s", what, gal__j_type(v));
        return NULL;
    }
    gal__jseq *out = gal__j_new_seq(j, kind, v.dict->n);
    for (size_t i = 0; out && i < v.dict->n && gal__j_work(j, 32); i++) {
        gal__jseq *pair = gal__j_new_seq(j, GAL__S_TUPLE, 2);
        gal__j_add(j, pair, v.dict->entries[i].key);
        gal__j_add(j, pair, v.dict->entries[i].value);
        if (!j->err) gal__j_add(j, out, gal__j_seq(pair));
    }
    return j->err ? NULL : out;
}

static gal__jv f_items(gal__jinja *j, gal__jv v, const gal__jv *a) {
    (void)a;
    if (v.kind == GAL__J_UNDEFINED) return done(j, gal__j_new_seq(j, GAL__S_GENERATOR, 0));
    return done(j, pairs(j, v, "items", GAL__S_GENERATOR));
}

/* ---- order --------------------------------------------------------------------------------------------------------
 */

static gal__jv fold(gal__jinja *j, gal__jv v, bool case_sensitive) {
    return v.kind == GAL__J_TEXT && !case_sensitive ? gal__j_recase(j, v.text, GAL__LOWER) : v;
}

static bool before(gal__jinja *j, const gal__jentry *x, const gal__jentry *y, bool reverse) {
    bool unordered = false;
    const int c = reverse ? gal__j_compare(j, x->key, y->key, "<", &unordered)
                          : gal__j_compare(j, y->key, x->key, "<", &unordered);
    return c < 0 && !unordered; /* y goes before x */
}

/* Entries by their keys, equal ones in their order. NULL: it failed. */
static gal__jentry *sorted(gal__jinja *j, gal__jentry *e, size_t n, bool reverse) {
    gal__jentry *other = gal__j_take(j, n + 1, sizeof *other);
    for (size_t width = 1; other && width < n && !j->err; width *= 2) {
        for (size_t from = 0; from < n && gal__j_step(j); from += 2 * width) {
            const size_t mid = GAL_MIN(from + width, n), to = GAL_MIN(from + 2 * width, n);
            size_t x = from, y = mid, w = from;
            while (x < mid && y < to && !j->err) other[w++] = before(j, &e[x], &e[y], reverse) ? e[y++] : e[x++];
            while (x < mid) other[w++] = e[x++];
            while (y < to) other[w++] = e[y++];
        }
        gal__jentry *swap = e;
        e = other;
        other = swap;
    }
    return j->err ? NULL : e;
}

static gal__jv sort_by(gal__jinja *j, const gal__jseq *s, gal__jv attribute, bool case_sensitive, bool reverse) {
    gal__jentry *e = s ? gal__j_take(j, s->n + 1, sizeof *e) : NULL;
    for (size_t i = 0; e && i < s->n && gal__j_work(j, 16); i++) {
        const gal__jv key = given(attribute) ? attribute_of(j, s->items[i], attribute) : s->items[i];
        e[i] = (gal__jentry){ fold(j, key, case_sensitive), s->items[i] };
    }
    e = e ? sorted(j, e, s->n, reverse) : NULL;
    gal__jseq *out = e ? gal__j_new_seq(j, GAL__S_LIST, s->n) : NULL;
    for (size_t i = 0; out && i < s->n; i++) gal__j_add(j, out, e[i].value);
    return done(j, out);
}

static gal__jv f_sort(gal__jinja *j, gal__jv v, const gal__jv *a) {
    if (a[2].kind == GAL__J_TEXT && memchr(a[2].text->s, ',', a[2].text->n))
        return gal__j_fail(j, "sort: several attributes are not supported");
    return sort_by(j, gal__j_iterate(j, v), a[2], gal__j_truth(a[1]), gal__j_truth(a[0]));
}

static gal__jv f_dictsort(gal__jinja *j, gal__jv v, const gal__jv *a) {
    const gal__jtext *by = given(a[1]) ? gal__j_str(j, a[1]) : NULL;
    const bool value = by && by->n == 5 && memcmp(by->s, "value", 5) == 0;
    if (by && !value && !(by->n == 3 && memcmp(by->s, "key", 3) == 0))
        return gal__j_fail(j, "dictsort: expected \"key\" or \"value\"");
    const gal__jseq *s = pairs(j, v, "dictsort", GAL__S_LIST);
    return s ? sort_by(j, s, gal__j_int(value), gal__j_truth(a[0]), gal__j_truth(a[2])) : gal__j_undefined(NULL);
}

static gal__jv f_unique(gal__jinja *j, gal__jv v, const gal__jv *a) {
    const gal__jseq *s = gal__j_iterate(j, v);
    gal__jdict *seen = s ? gal__j_new_dict(j) : NULL;
    gal__jseq *out = seen ? gal__j_new_seq(j, GAL__S_GENERATOR, 0) : NULL;
    for (size_t i = 0; out && i < s->n && gal__j_work(j, 16); i++) {
        const gal__jv raw = given(a[1]) ? attribute_of(j, s->items[i], a[1]) : s->items[i];
        const gal__jv key = fold(j, raw, gal__j_truth(a[0]));
        if (j->err || gal__j_dict_get(j, seen, key)) continue;
        gal__j_dict_set(j, seen, key, gal__j_none());
        gal__j_add(j, out, s->items[i]);
    }
    return done(j, out);
}

static gal__jv extreme(gal__jinja *j, gal__jv v, const gal__jv *a, bool most) {
    const gal__jseq *s = gal__j_iterate(j, v);
    gal__jentry best = { .value = gal__j_undefined("the least or most of nothing") };
    for (size_t i = 0; s && i < s->n && gal__j_work(j, 16); i++) {
        const gal__jv raw = given(a[1]) ? attribute_of(j, s->items[i], a[1]) : s->items[i];
        const gal__jentry e = { fold(j, raw, gal__j_truth(a[0])), s->items[i] };
        if (!j->err && (i == 0 || before(j, &best, &e, most))) best = e;
    }
    return best.value;
}

static gal__jv f_min(gal__jinja *j, gal__jv v, const gal__jv *a) { return extreme(j, v, a, false); }
static gal__jv f_max(gal__jinja *j, gal__jv v, const gal__jv *a) { return extreme(j, v, a, true); }

static gal__jv f_sum(gal__jinja *j, gal__jv v, const gal__jv *a) {
    const gal__jseq *s = gal__j_iterate(j, v);
    gal__jv sum = a[1].kind == GAL__J_ABSENT ? gal__j_int(0) : a[1];
    for (size_t i = 0; s && i < s->n && gal__j_work(j, 16); i++)
        sum = gal__j_binary(j, GAL__O_ADD, sum, given(a[0]) ? attribute_of(j, s->items[i], a[0]) : s->items[i]);
    return sum;
}

const gal__jfilter gal__j_list_filters[] = {
    { "length", "", 0, f_length },
    { "count", "", 0, f_length },
    { "list", "", 0, f_list },
    { "first", "", 0, f_first },
    { "last", "", 0, f_last },
    { "reverse", "", 0, f_reverse },
    { "join", "d attribute", 0, f_join },
    { "items", "", 0, f_items },
    { "sort", "reverse case_sensitive attribute", 0, f_sort },
    { "dictsort", "case_sensitive by reverse", 0, f_dictsort },
    { "unique", "case_sensitive attribute", 0, f_unique },
    { "min", "case_sensitive attribute", 0, f_min },
    { "max", "case_sensitive attribute", 0, f_max },
    { "sum", "attribute start", 0, f_sum },
    { 0 },
};

/* ---- filters with another filter or a test ------------------------------------------------------------------------
 */

static const char *named(gal__jinja *j, gal__jv v, const char *what) {
    if (v.kind == GAL__J_TEXT) return gal__j_intern(j, v.text->s, v.text->n);
    (void)gal__j_fail(j, "%s: expected a name, found %s", what, gal__j_type(v));
    return "";
}

/* Of map(attribute=..., default=...): each part of the path that is missing becomes the default. */
static gal__jv mapped_attribute(gal__jinja *j, gal__jv item, gal__jv attribute, gal__jv fallback) {
    if (attribute.kind != GAL__J_TEXT) {
        item = gal__j_item(j, item, attribute);
        return item.kind == GAL__J_UNDEFINED && given(fallback) ? fallback : item;
    }
    const gal__jtext *path = attribute.text;
    for (size_t at = 0; at <= path->n && !j->err;) {
        const char *dot = at < path->n ? memchr(path->s + at, '.', path->n - at) : NULL;
        const size_t end = dot ? (size_t)(dot - path->s) : path->n;
        const gal__jv part = gal__j_cut(j, path, at, end - at);
        if (j->err) break;
        item = gal__j_path(j, item, part.text);
        if (item.kind == GAL__J_UNDEFINED && given(fallback)) item = fallback;
        at = end + 1;
    }
    return item;
}

static gal__jv map(gal__jinja *j, gal__jv v, const gal__jargs *a) {
    gal__jv attribute = { 0 }, fallback = { 0 };
    gal__jargs rest = *a;
    for (const gal__jvar *k = a->keywords; k && !a->n; k = k->next) {
        if (strcmp(k->name, "attribute") == 0) attribute = k->value;
        if (strcmp(k->name, "default") == 0) fallback = k->value;
    }
    if (!a->n && attribute.kind == GAL__J_ABSENT)
        return gal__j_fail(j, "map: expected a filter's name or attribute=");
    const char *name = a->n ? named(j, a->pos[0], "map") : NULL;
    if (a->n) {
        rest.pos++;
        rest.n--;
    }
    gal__jseq *out = gal__j_new_seq(j, GAL__S_GENERATOR, 0);
    const gal__jseq *s = gal__j_truth(v) ? gal__j_iterate(j, v) : NULL;
    for (size_t i = 0; s && out && i < s->n && gal__j_step(j); i++)
        gal__j_add(j, out,
                   name ? gal__j_filter(j, name, s->items[i], &rest)
                        : mapped_attribute(j, s->items[i], attribute, fallback));
    return done(j, out);
}

/* select, reject (by a test of the item) and selectattr, rejectattr (of an attribute of it). */
static gal__jv pick(gal__jinja *j, const char *what, gal__jv v, const gal__jargs *a, bool attribute, bool keep) {
    gal__jargs rest = *a;
    if (attribute && !a->n) return gal__j_fail(j, "%s: expected an attribute's name", what);
    const size_t skip = GAL_MIN(a->n, (size_t)attribute + 1);
    const char *name = a->n > (size_t)attribute ? named(j, a->pos[attribute], what) : NULL;
    if (skip) rest.pos += skip;
    rest.n -= skip;
    gal__jseq *out = gal__j_new_seq(j, GAL__S_GENERATOR, 0);
    const gal__jseq *s = gal__j_truth(v) ? gal__j_iterate(j, v) : NULL;
    for (size_t i = 0; s && out && i < s->n && gal__j_step(j); i++) {
        const gal__jv item = attribute ? attribute_of(j, s->items[i], a->pos[0]) : s->items[i];
        if (j->err) break;
        const bool is = name ? gal__j_test(j, name, item, &rest) : gal__j_truth(item);
        if (is == keep) gal__j_add(j, out, s->items[i]);
    }
    return done(j, out);
}

bool gal__j_meta_filter(gal__jinja *j, const char *name, gal__jv v, const gal__jargs *a, gal__jv *out) {
    if (++j->depth > GAL__JINJA_DEPTH) /* map("map", "map", ...) */
        *out = gal__j_fail(j, "more than %d expressions in one another", GAL__JINJA_DEPTH);
    else if (strcmp(name, "map") == 0)
        *out = map(j, v, a);
    else if (strcmp(name, "select") == 0 || strcmp(name, "reject") == 0)
        *out = pick(j, name, v, a, false, name[0] == 's');
    else if (strcmp(name, "selectattr") == 0 || strcmp(name, "rejectattr") == 0)
        *out = pick(j, name, v, a, true, name[0] == 's');
    j->depth--;
    return j->err || out->kind != GAL__J_ABSENT;
}
