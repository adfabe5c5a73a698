/* jinja_value.c - values of a template: memory within limits, text with its origins, sequences, dicts. Nothing that
 * is made changes afterwards, so nothing holds itself, and depth is known when it is made. SPDX-License-Identifier:
 * Apache-2.0 */
#include "base/util.h"
#include "text/jinja_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- errors and limits --------------------------------------------------------------------------------------------
 */

static void failv(gal__jinja *j, gal_err err, const char *fmt, va_list ap) GAL_PRINTF(3, 0);
static void failv(gal__jinja *j, gal_err err, const char *fmt, va_list ap) {
    char text[640];
    if (j->err) return;
    (void)vsnprintf(text, sizeof text, fmt, ap);
    j->err = gal_fail(j->diag, err, "%s:%d:%d: %s", j->name, j->line, j->column, text);
}

gal__jv gal__j_fail(gal__jinja *j, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    failv(j, GAL_EINPUT, fmt, ap);
    va_end(ap);
    return gal__j_undefined(NULL);
}

gal__jv gal__j_failed(gal__jinja *j, gal_err err, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    failv(j, err, fmt, ap);
    va_end(ap);
    return gal__j_undefined(NULL);
}

void *gal__j_take(gal__jinja *j, size_t count, size_t size) {
    if (j->err) return NULL;
    if (count > GAL__JINJA_MEMORY / size || j->memory + count * size > GAL__JINJA_MEMORY) {
        (void)gal__j_fail(j, "the values of the template take more than %d MiB", GAL__JINJA_MEMORY >> 20);
        return NULL;
    }
    void *p = gal__pool_take(j->pool, count * size);
    if (!p) (void)gal__j_failed(j, GAL_ENOMEM, "no memory for a template's values");
    j->memory += count * size;
    return p;
}

bool gal__j_work(gal__jinja *j, size_t bytes) {
    j->work += GAL_MIN(bytes, (size_t)GAL__JINJA_WORK + 1);
    if (j->work <= GAL__JINJA_WORK) return !j->err;
    (void)gal__j_fail(j, "the template takes too long (more than %d MiB of text were copied, compared and searched)",
                      GAL__JINJA_WORK >> 20);
    return false;
}

bool gal__j_step(gal__jinja *j) {
    if (++j->steps <= GAL__JINJA_STEPS) return !j->err;
    (void)gal__j_fail(j, "the template takes too long (more than %d steps)", GAL__JINJA_STEPS);
    return false;
}

static uint32_t hash_bytes(const char *s, size_t n) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)s[i]) * 16777619u;
    return h ^ (h >> 15);
}

const char *gal__j_intern(gal__jinja *j, const char *s, size_t n) {
    gal__jword **w = &j->words[hash_bytes(s, n) % GAL__J_WORDS];
    for (; *w; w = &(*w)->next)
        if ((*w)->n == n && memcmp((*w)->s, s, n) == 0) return (*w)->s;
    gal__jword *made = gal__j_take(j, 1, sizeof *made + n + 1);
    if (!made) return "";
    memcpy(made->s, s, n);
    made->n = n;
    *w = made;
    return made->s;
}

/* ---- text ---------------------------------------------------------------------------------------------------------
 */

static gal__jv wrap(gal__jinja *j, const char *s, size_t n, const uint8_t *from, uint8_t origin) {
    gal__jtext *t = gal__j_take(j, 1, sizeof *t);
    if (!t) return gal__j_undefined(NULL);
    *t = (gal__jtext){ s, n, from, origin };
    return (gal__jv){ GAL__J_TEXT, { .text = t } };
}

gal__jv gal__j_text(gal__jinja *j, const char *s, size_t n, uint8_t origin) {
    char *copy = gal__j_take(j, n + 1, 1);
    if (!copy || !gal__j_work(j, n)) return gal__j_undefined(NULL);
    if (n) memcpy(copy, s, n);
    return wrap(j, copy, n, NULL, origin);
}

gal__jv gal__j_cut(gal__jinja *j, const gal__jtext *t, size_t at, size_t n) {
    if (n == 0) return wrap(j, "", 0, NULL, t->origin);
    if (at == 0 && n == t->n) return (gal__jv){ GAL__J_TEXT, { .text = t } };
    return wrap(j, t->s + at, n, t->from ? t->from + at : NULL, t->origin);
}

static bool grow(gal__jinja *j, gal__jout *o, size_t more) {
    if (j->err || !gal__j_work(j, more)) return false;
    if (more > (size_t)GAL__JINJA_TEXT - o->n) {
        (void)gal__j_fail(j, "a text of more than %d MiB", GAL__JINJA_TEXT >> 20);
        return false;
    }
    if (o->n + more < o->cap) return true;
    size_t cap = GAL_MAX(o->cap * 2, (size_t)32);
    while (cap <= o->n + more) cap *= 2;
    char *s = gal__j_take(j, cap, 1);
    uint8_t *from = s && o->from ? gal__j_take(j, cap, 1) : NULL;
    if (!s || (o->from && !from)) return false;
    if (o->n) memcpy(s, o->s, o->n);
    if (o->n && from) memcpy(from, o->from, o->n);
    o->s = s;
    o->from = from;
    o->cap = cap;
    return true;
}

/* Before bytes of another origin come. */
static bool mix(gal__jinja *j, gal__jout *o) {
    if (o->from) return true;
    o->from = gal__j_take(j, o->cap, 1);
    if (o->from) memset(o->from, o->origin, o->n);
    return o->from != NULL;
}

void gal__j_put(gal__jinja *j, gal__jout *o, const char *s, size_t n, uint8_t origin) {
    if (n == 0 || !grow(j, o, n)) return;
    if (o->n == 0 && !o->from) o->origin = origin;
    if (origin != o->origin && !mix(j, o)) return;
    memcpy(o->s + o->n, s, n);
    if (o->from) memset(o->from + o->n, origin, n);
    o->n += n;
}

void gal__j_puts(gal__jinja *j, gal__jout *o, const char *s) { gal__j_put(j, o, s, strlen(s), GAL__FROM_RUN); }

void gal__j_put_part(gal__jinja *j, gal__jout *o, const gal__jtext *t, size_t at, size_t n) {
    if (!t->from) {
        gal__j_put(j, o, t->s + at, n, t->origin);
        return;
    }
    if (n == 0 || !grow(j, o, n) || !mix(j, o)) return;
    memcpy(o->s + o->n, t->s + at, n);
    memcpy(o->from + o->n, t->from + at, n);
    o->n += n;
}

void gal__j_put_text(gal__jinja *j, gal__jout *o, const gal__jtext *t) { gal__j_put_part(j, o, t, 0, t->n); }

gal__jv gal__j_built(gal__jinja *j, gal__jout *o) {
    if (j->err) return gal__j_undefined(NULL);
    if (o->s) o->s[o->n] = 0;
    return wrap(j, o->s ? o->s : "", o->n, o->from, o->origin);
}

size_t gal__j_chars(gal__jinja *j, const gal__jtext *t) {
    size_t chars = 0;
    (void)gal__j_work(j, t->n);
    for (size_t i = 0; i < t->n; i++) chars += ((uint8_t)t->s[i] & 0xc0) != 0x80;
    return chars;
}

size_t gal__j_char_at(const gal__jtext *t, size_t chars) {
    size_t i = 0;
    for (; i < t->n; i++)
        if (((uint8_t)t->s[i] & 0xc0) != 0x80 && chars-- == 0) break;
    return i;
}

/* Each byte that is looked at counts as work: texts that nearly hold another everywhere cost no more than allowed. */
size_t gal__j_find(gal__jinja *j, const gal__jtext *t, size_t from, const gal__jtext *what) {
    if (what->n > t->n || from > t->n - what->n) return SIZE_MAX;
    if (what->n == 0) return from;
    const char *at = t->s + from, *last = t->s + (t->n - what->n);
    size_t seen = 0, found = SIZE_MAX;
    while (at <= last) {
        const char *next = memchr(at, what->s[0], (size_t)(last - at) + 1);
        seen += (size_t)((next ? next : last) - at);
        if (!next) break;
        size_t same = 1;
        while (same < what->n && next[same] == what->s[same]) same++;
        seen += 4 * same;
        if (same == what->n) {
            found = (size_t)(next - t->s);
            break;
        }
        if (seen > GAL__JINJA_WORK) break;
        at = next + 1;
    }
    return gal__j_work(j, seen) ? found : SIZE_MAX;
}

size_t gal__j_rfind(gal__jinja *j, const gal__jtext *t, size_t end, const gal__jtext *what) {
    size_t seen = 0;
    for (size_t at = end >= what->n ? end - what->n + 1 : 0; at-- > 0;) {
        size_t same = 0;
        while (same < what->n && t->s[at + same] == what->s[same]) same++;
        seen += 4 * same + 4;
        if (same == what->n) return gal__j_work(j, seen) ? at : SIZE_MAX;
        if (seen > GAL__JINJA_WORK) break;
    }
    (void)gal__j_work(j, seen);
    return SIZE_MAX;
}

/* ---- sequences ----------------------------------------------------------------------------------------------------
 */

static uint16_t depth_of(gal__jv v) {
    return v.kind == GAL__J_SEQ ? v.seq->depth : v.kind == GAL__J_DICT ? v.dict->depth : 0;
}

static uint16_t deeper(gal__jinja *j, uint16_t depth, gal__jv v) {
    const uint16_t inner = (uint16_t)(depth_of(v) + 1);
    if (inner > GAL__JINJA_VALUE_DEPTH)
        (void)gal__j_fail(j, "more than %d lists and dicts in one another", GAL__JINJA_VALUE_DEPTH);
    return GAL_MAX(depth, inner);
}

gal__jseq *gal__j_new_seq(gal__jinja *j, gal__jseq_kind kind, size_t room) {
    gal__jseq *s = gal__j_take(j, 1, sizeof *s);
    gal__jv *items = s && room ? gal__j_take(j, room, sizeof *items) : NULL;
    if (!s || (room && !items)) return NULL;
    *s = (gal__jseq){ .kind = kind, .items = items, .cap = room, .depth = 1 };
    return s;
}

void gal__j_add(gal__jinja *j, gal__jseq *s, gal__jv v) {
    if (j->err || !s) return;
    if (s->n == s->cap) {
        const size_t cap = GAL_MAX(2 * s->cap, (size_t)8);
        gal__jv *items = gal__j_take(j, cap, sizeof *items);
        if (!items) return;
        if (s->n) memcpy(items, s->items, s->n * sizeof *items);
        s->items = items;
        s->cap = cap;
    }
    s->depth = deeper(j, s->depth, v);
    s->items[s->n++] = v;
}

/* ---- dicts --------------------------------------------------------------------------------------------------------
 */

enum { FEW = 8 };

gal__jdict *gal__j_new_dict(gal__jinja *j) {
    gal__jdict *d = gal__j_take(j, 1, sizeof *d);
    if (d) d->depth = 1;
    return d;
}

/* Equal keys have equal hashes: 1, 1.0 and true are one key, as in Python. */
static uint32_t hash_of(gal__jinja *j, gal__jv key) {
    uint32_t h = 0;
    switch ((int)key.kind) {
    case GAL__J_TEXT:
    case GAL__J_BIG:
        (void)gal__j_work(j, 2 * key.text->n);
        return hash_bytes(key.text->s, key.text->n);
    case GAL__J_BOOL:
        return key.truth;
    case GAL__J_INT:
        return (uint32_t)((uint64_t)key.i ^ (uint64_t)key.i >> 32);
    case GAL__J_REAL:
        return key.x >= -9e18 && key.x <= 9e18 && (double)(int64_t)key.x == key.x
                   ? hash_of(j, gal__j_int((int64_t)key.x))
                   : 7;
    case GAL__J_NONE:
    case GAL__J_UNDEFINED:
        return 3;
    case GAL__J_SEQ:
        if (key.seq->kind == GAL__S_TUPLE) {
            for (size_t i = 0; i < key.seq->n; i++) h = h * 31 + hash_of(j, key.seq->items[i]);
            return h;
        }
        break;
    default:
        break;
    }
    (void)gal__j_fail(j, "%s cannot be a key (unhashable)", gal__j_type(key));
    return 0;
}

static bool same_key(gal__jinja *j, gal__jv a, gal__jv b) {
    if (a.kind == GAL__J_TEXT && b.kind == GAL__J_TEXT)
        return a.text->n == b.text->n && memcmp(a.text->s, b.text->s, a.text->n) == 0;
    return gal__j_equal(j, a, b);
}

static gal__jentry *find_entry(gal__jinja *j, const gal__jdict *d, gal__jv key, uint32_t **slot) {
    const uint32_t h = hash_of(j, key);
    *slot = NULL;
    if (!d->slots) {
        for (size_t i = 0; i < d->n; i++)
            if (same_key(j, d->entries[i].key, key)) return &d->entries[i];
        return NULL;
    }
    for (size_t i = h & d->mask;; i = (i + 1) & d->mask) {
        *slot = &d->slots[i];
        if (!**slot) return NULL;
        gal__jentry *e = &d->entries[**slot - 1];
        if (same_key(j, e->key, key)) return e;
    }
}

static void index_dict(gal__jinja *j, gal__jdict *d) {
    size_t slots = 32;
    while (slots < 2 * d->cap) slots *= 2;
    d->slots = gal__j_take(j, slots, sizeof *d->slots);
    d->mask = slots - 1;
    for (size_t i = 0; i < d->n && d->slots; i++) {
        size_t at = hash_of(j, d->entries[i].key) & d->mask;
        while (d->slots[at]) at = (at + 1) & d->mask;
        d->slots[at] = (uint32_t)i + 1;
    }
}

void gal__j_dict_set(gal__jinja *j, gal__jdict *d, gal__jv key, gal__jv value) {
    uint32_t *slot = NULL;
    if (j->err || !d) return;
    gal__jentry *e = find_entry(j, d, key, &slot);
    if (j->err) return;
    d->depth = deeper(j, deeper(j, d->depth, value), key);
    if (e) {
        e->value = value;
        return;
    }
    if (d->n == d->cap) {
        const size_t cap = GAL_MAX(2 * d->cap, (size_t)4);
        e = gal__j_take(j, cap, sizeof *e);
        if (!e) return;
        if (d->n) memcpy(e, d->entries, d->n * sizeof *e);
        d->entries = e;
        d->cap = cap;
        if (cap > FEW) index_dict(j, d);
        if (j->err) return;
        (void)find_entry(j, d, key, &slot);
    }
    d->entries[d->n++] = (gal__jentry){ key, value };
    if (slot) *slot = (uint32_t)d->n;
}

const gal__jv *gal__j_dict_get(gal__jinja *j, const gal__jdict *d, gal__jv key) {
    uint32_t *slot;
    const gal__jentry *e = j->err ? NULL : find_entry(j, d, key, &slot);
    return e && !j->err ? &e->value : NULL;
}

const gal__jv *gal__j_dict_named(gal__jinja *j, const gal__jdict *d, const char *name) {
    const gal__jtext t = { name, strlen(name), NULL, 0 };
    return gal__j_dict_get(j, d, (gal__jv){ GAL__J_TEXT, { .text = &t } });
}

/* ---- from a request -----------------------------------------------------------------------------------------------
 */

static gal__jv whole(gal__jinja *j, const gal__value *v, uint8_t origin) {
    int64_t i;
    if (gal_parse_i64(v->text.s, &i)) return gal__j_int(i);
    gal__jv big = gal__j_text(j, v->text.s, v->text.n, origin);
    if (!j->err) big.kind = GAL__J_BIG;
    return big;
}

gal__jv gal__j_tree(gal__jinja *j, const gal__value *v, uint8_t origin) { /* as deep as what was read */
    switch (v->type) {
    case GAL__NULL:
        return gal__j_none();
    case GAL__FALSE:
    case GAL__TRUE:
        return gal__j_bool(v->type == GAL__TRUE);
    case GAL__WHOLE:
        return whole(j, v, GAL__FROM_RUN);
    case GAL__REAL:
        return gal__j_real(gal__number(v));
    case GAL__STRING:
        return wrap(j, v->text.s, v->text.n, NULL, origin);
    case GAL__ARRAY: {
        gal__jseq *s = gal__j_new_seq(j, GAL__S_LIST, v->count);
        for (const gal__value *e = v->first; e && !j->err; e = e->next) gal__j_add(j, s, gal__j_tree(j, e, origin));
        return j->err ? gal__j_undefined(NULL) : gal__j_seq(s);
    }
    case GAL__OBJECT: {
        gal__jdict *d = gal__j_new_dict(j);
        for (const gal__value *e = v->first; e && !j->err; e = e->next) {
            const uint8_t inner = j->origin_of ? j->origin_of(j->origin_user, v, e, origin) : origin;
            const gal__jv key = wrap(j, e->key.s, e->key.n, NULL, GAL_MAX(origin, (uint8_t)GAL__FROM_RUN));
            gal__j_dict_set(j, d, key, gal__j_tree(j, e, inner));
        }
        return j->err ? gal__j_undefined(NULL) : gal__j_dict(d);
    }
    }
    return gal__j_undefined(NULL);
}
