/* template.c - see template.h. A template is read again for each record: prompts are short, and what is made for one
 * is given back with it. SPDX-License-Identifier: Apache-2.0 */
#include "text/template.h"

#include "base/util.h"
#include "text/jinja_internal.h"

#include <string.h>

gal_err gal_template_check(const char *source, const char *name, gal_diag *diag) {
    gal__pool pool;
    gal__jinja *j = NULL;
    gal__pool_init(&pool);
    gal_err err = gal__jinja_new_plain(&j, &pool, source, strlen(source), name, diag);
    gal__pool_free(&pool);
    return err;
}

static gal_err read_record(gal__value **out, gal__pool *pool, const char *record, size_t n, const char *where,
                           gal_diag *diag) {
    gal_err err = gal__tree_read(out, pool, record, n, true, where, diag);
    if (err || (*out)->type == GAL__OBJECT) return err;
    return gal_fail(diag, GAL_EINPUT, "%s: expected an object of JSON, found %s", where, gal__type_name(*out));
}

gal_err gal_record_check(const char *record, size_t n, const char *name, gal_diag *diag) {
    gal__pool pool;
    gal__value *v = NULL;
    gal__pool_init(&pool);
    pool.halves = true;
    gal_err err = read_record(&v, &pool, record, n, name, diag);
    gal__pool_free(&pool);
    return err;
}

/* The template with the record's members as its variables. */
static gal_err prepare(gal__jinja **j, gal__pool *pool, const char *source, const char *name, const char *record,
                       size_t n, const char *where, gal_diag *diag) {
    gal__value *v = NULL;
    gal_err err = read_record(&v, pool, record, n, where, diag);
    if (!err) err = gal__jinja_new_plain(j, pool, source, strlen(source), name, diag);
    for (const gal__value *m = err ? NULL : v->first; m && !err; m = m->next)
        if (m->key.n && !memchr(m->key.s, 0, m->key.n)) err = gal__jinja_set_tree(*j, m->key.s, m, GAL__FROM_OUTSIDE);
    return err;
}

static gal_err say_where(gal_err err, const gal_diag *why, const char *where, gal_diag *diag) {
    return err ? gal_fail(diag, err, "%s (%s)", why->text, where) : GAL_OK;
}

gal_err gal_template_text(const char *source, const char *name, const char *record, size_t n, const char *where,
                          gal_buf *out, gal_diag *diag) {
    gal__pool pool;
    gal__jinja *j = NULL;
    gal__jtext text = { 0 };
    gal_diag why = { 0 };
    gal__pool_init(&pool);
    pool.halves = true;
    gal_err err = prepare(&j, &pool, source, name, record, n, where, &why);
    if (!err) err = gal__jinja_render(j, &text);
    if (!err) {
        gal_buf_add(out, text.s, text.n);
        if (out->oom) err = gal_fail(&why, GAL_ENOMEM, "no memory for a text");
    }
    gal__pool_free(&pool);
    return say_where(err, &why, where, diag);
}

/* As the template would print it. */
static gal_err give(const gal__value *v, gal_template_item fn, void *user, gal_diag *diag) {
    switch (v->type) {
    case GAL__STRING:
    case GAL__WHOLE:
    case GAL__REAL:
        return fn(user, v->text.s, v->text.n, diag);
    case GAL__TRUE:
        return fn(user, "True", 4, diag);
    case GAL__FALSE:
        return fn(user, "False", 5, diag);
    case GAL__NULL:
    case GAL__ARRAY:
    case GAL__OBJECT:
        break;
    }
    return gal_fail(diag, GAL_EINPUT, "expected texts in the list, found %s", gal__type_name(v));
}

static bool is_small(const gal__value *v) {
    const double x = v->type == GAL__WHOLE ? gal__number(v) : 1e300;
    return x >= -2147483648.0 && x <= 2147483647.0;
}

static gal_err give_all(const gal__value *v, gal_template_kind *kind, gal_template_item fn, void *user,
                        gal_diag *diag) {
    gal_err err = GAL_OK;
    *kind = GAL_TEMPLATE_TEXT;
    if (v->type == GAL__ARRAY) {
        *kind = GAL_TEMPLATE_LIST;
        for (const gal__value *e = v->first; e && !err; e = e->next) err = give(e, fn, user, diag);
        return err;
    }
    if (v->type == GAL__OBJECT || v->type == GAL__NULL) {
        *kind = GAL_TEMPLATE_OTHER;
        return GAL_OK;
    }
    if (is_small(v)) *kind = GAL_TEMPLATE_WHOLE;
    return give(v, fn, user, diag);
}

gal_err gal_template_value(const char *source, const char *name, const char *record, size_t n, const char *where,
                           gal_template_kind *kind, gal_template_item fn, void *user, gal_diag *diag) {
    gal__pool pool;
    gal__jinja *j = NULL;
    gal__jtext text = { 0 };
    gal__value *v = NULL;
    gal_diag why = { 0 };
    bool is = false;
    gal__pool_init(&pool);
    pool.halves = true;
    gal_err err = prepare(&j, &pool, source, name, record, n, where, &why);
    if (!err) err = gal__jinja_value(j, &is, &text);
    if (!err && is) {
        err = gal__tree_read(&v, &pool, text.s, text.n, true, name, &why);
        if (!err) err = give_all(v, kind, fn, user, &why);
    } else if (!err) {
        *kind = GAL_TEMPLATE_TEXT;
        err = gal__jinja_render(j, &text);
        if (!err) err = fn(user, text.s, text.n, &why);
    }
    gal__pool_free(&pool);
    return say_where(err, &why, where, diag);
}

bool gal_white(uint32_t cp) { return gal__j_white(cp); }

size_t gal_strip_end(const char *s, size_t n) {
    while (n) {
        size_t m = 1;
        uint32_t cp;
        while (m < n && m < 4 && ((uint8_t)s[n - m] & 0xc0) == 0x80) m++;
        if (gal_utf8_next(s + n - m, m, &cp) != (int)m || !gal__j_white(cp)) break;
        n -= m;
    }
    return n;
}
