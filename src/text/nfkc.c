/* nfkc.c - from the forms of single code points to the rules of a normaliser, as SentencePiece's builder makes them.
 * Owns the rules. Invariant: no two have the same code points on their left.
 * SPDX-License-Identifier: Apache-2.0 */
#include "text/nfkc.h"

#include "base/mem.h"
#include "base/util.h"

#include <stdlib.h>
#include <string.h>

enum { L_FIRST = 0x1100, V_FIRST = 0x1161, T_FIRST = 0x11a7, S_FIRST = 0xac00, L = 19, V = 21, T = 28 };

const char *const GAL_NORMALIZERS[] = { "identity", "nfkc", "nmt_nfkc", NULL };

static gal_err no_memory(gal_diag *diag) {
    return gal_fail(diag, GAL_ENOMEM, "no memory for the rules of a normaliser");
}

/* ---- a set of rules ----------------------------------------------------------------------------------------------
 */

static size_t slot_of(const gal__rules *r, const uint32_t *points, size_t n) {
    uint64_t h = n;
    for (size_t i = 0; i < n; i++) h = (h ^ points[i]) * 0x9e3779b97f4a7c15U;
    size_t i = (size_t)(h >> 32) & r->mask;
    for (; r->slots[i]; i = (i + 1) & r->mask) {
        const gal__rule *x = &r->rules[r->slots[i] - 1];
        if (x->n == n && memcmp(r->points + x->at, points, n * sizeof *points) == 0) break;
    }
    return i;
}

const gal__rule *gal__rule_find(const gal__rules *r, const uint32_t *points, size_t n) {
    const size_t i = r->slots ? slot_of(r, points, n) : 0;
    return r->slots && r->slots[i] ? &r->rules[r->slots[i] - 1] : NULL;
}

static gal_err grow_slots(gal__rules *r, gal_diag *diag) {
    const size_t slots = r->mask ? 2 * (r->mask + 1) : 1 << 12;
    uint32_t *fresh = gal_alloc_array(slots, sizeof *fresh);
    if (!fresh) return no_memory(diag);
    gal_free(r->slots);
    r->slots = fresh;
    r->mask = slots - 1;
    for (size_t i = 0; i < r->len; i++)
        r->slots[slot_of(r, r->points + r->rules[i].at, r->rules[i].n)] = (uint32_t)i + 1;
    return GAL_OK;
}

/* A rule that is there already gets another right side. */
static gal_err put(gal__rules *r, const uint32_t *points, size_t n, const uint32_t *to, size_t m, gal_diag *diag) {
    GAL_ASSERT(n && n <= GAL__KEY_POINTS && m <= GAL__RULE_POINTS);
    gal_err err = !r->slots || 2 * (r->len + 1) > r->mask ? grow_slots(r, diag) : GAL_OK;
    if (err) return err;
    void *p = r->points, *q = r->rules;
    if (gal_grow(&p, &r->points_cap, r->n_points + n + m, sizeof *r->points) != 0) return no_memory(diag);
    r->points = p;
    if (gal_grow(&q, &r->cap, r->len + 1, sizeof *r->rules) != 0) return no_memory(diag);
    r->rules = q;
    const size_t slot = slot_of(r, points, n);
    if (!r->slots[slot]) r->slots[slot] = (uint32_t)++r->len;
    r->rules[r->slots[slot] - 1] = (gal__rule){ .at = r->n_points, .n = (uint32_t)n, .to = (uint32_t)m };
    memcpy(r->points + r->n_points, points, n * sizeof *points);
    if (m) memcpy(r->points + r->n_points + n, to, m * sizeof *to);
    r->n_points += n + m;
    return GAL_OK;
}

void gal__rules_free(gal__rules *r) {
    gal_free(r->points);
    gal_free(r->rules);
    gal_free(r->slots);
    *r = (gal__rules){ 0 };
}

/* Whether rules of fewer code points, the longest first at each place, make the same of this one's. */
static bool is_said(const gal__rules *r, const gal__rule *x) {
    const uint32_t *from = r->points + x->at, *to = from + x->n;
    size_t made = 0;
    for (size_t i = 0, n; i < x->n; i += n) {
        const gal__rule *y = NULL;
        for (n = GAL_MIN(x->n - i, (size_t)x->n - 1); n > 0; n--) {
            y = gal__rule_find(r, from + i, n);
            if (y && !y->dropped) break;
        }
        const uint32_t *by = n ? r->points + y->at + y->n : from + i;
        const size_t m = n ? y->to : 1;
        if (n == 0) n = 1;
        if (made + m > x->to || memcmp(to + made, by, m * sizeof *by) != 0) return false;
        made += m;
    }
    return made == x->to;
}

static void drop_what_is_said(gal__rules *r) {
    for (uint32_t n = 2; n <= GAL__KEY_POINTS; n++)
        for (size_t i = 0; i < r->len; i++)
            if (r->rules[i].n == n && !r->rules[i].dropped) r->rules[i].dropped = is_said(r, &r->rules[i]);
}

/* ---- NFKC --------------------------------------------------------------------------------------------------------
 */

/* A code point of a decomposition, and one that decomposes to it alone. */
typedef struct origin {
    uint32_t to, from;
} origin;

typedef struct origins {
    origin *at;
    size_t len, cap;
} origins;

static int by_to(const void *a, const void *b) {
    const origin *x = a, *y = b;
    if (x->to != y->to) return x->to < y->to ? -1 : 1;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* The next record of the table: its code point, 0 after the last. */
typedef struct record {
    uint32_t cp;
    const uint32_t *c, *d; /* NFKC and NFKD */
    size_t n_c, n_d;
} record;

static const uint32_t *next_record(const uint32_t *p, record *r) {
    r->cp = *p & 0x1fffff;
    r->n_c = *p >> 21 & 31;
    r->n_d = *p >> 26 & 31;
    r->c = p + 1;
    r->d = p + 1 + r->n_c;
    p = r->d + r->n_d;
    if (r->n_d == 0) {
        r->d = r->c;
        r->n_d = r->n_c;
    }
    if (r->n_c == 0) {
        r->c = &r->cp; /* itself */
        r->n_c = 1;
    }
    return p;
}

/* Rules of single code points, and what decomposes to one alone. */
static gal_err add_singles(gal__rules *r, origins *o, gal_diag *diag) {
    record x;
    gal_err err = GAL_OK;
    for (const uint32_t *p = next_record(gal__nfkc_table, &x); x.cp && !err; p = next_record(p, &x)) {
        if (x.c != &x.cp) err = put(r, &x.cp, 1, x.c, x.n_c, diag);
        if (err || x.n_d != 1) continue;
        void *mem = o->at;
        if (gal_grow(&mem, &o->cap, o->len + 1, sizeof *o->at) != 0) return no_memory(diag);
        o->at = mem;
        o->at[o->len++] = (origin){ *x.d, x.cp };
    }
    if (!err && o->len) qsort(o->at, o->len, sizeof *o->at, by_to);
    return err;
}

static const origin *first_origin(const origins *o, uint32_t to) {
    size_t lo = 0, hi = o->len;
    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        if (o->at[mid].to < to)
            lo = mid + 1;
        else
            hi = mid;
    }
    return o->at + lo;
}

/* Every sequence of code points that decomposes to d composes to c: each of d stands for itself or comes of what
 * decomposes to it alone. Counted like the wheels of a mileage meter. */
static gal_err add_sequences(gal__rules *r, const origins *o, const uint32_t *d, size_t n, const uint32_t *c,
                             size_t m, gal_diag *diag) {
    const origin *first[GAL__KEY_POINTS];
    size_t wheel[GAL__KEY_POINTS] = { 0 }, i = 0;
    uint32_t key[GAL__KEY_POINTS];
    if (n < 2 || (n == m && memcmp(c, d, n * sizeof *c) == 0)) return GAL_OK;
    GAL_ASSERT(n <= GAL__KEY_POINTS);
    memcpy(key, d, n * sizeof *key);
    for (size_t k = 0; k < n; k++) first[k] = first_origin(o, d[k]);
    while (i < n) {
        if (n != m || memcmp(key, c, n * sizeof *c) != 0) {
            gal_err err = put(r, key, n, c, m, diag);
            if (err) return err;
        }
        for (i = 0; i < n; i++) {
            const origin *x = first[i] + wheel[i];
            if (x < o->at + o->len && x->to == d[i]) {
                key[i] = x->from;
                wheel[i]++;
                break;
            }
            key[i] = d[i];
            wheel[i] = 0;
        }
    }
    return GAL_OK;
}

static gal_err add_hangul(gal__rules *r, const origins *o, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (uint32_t s = 0; s < L * V * T && !err; s++) {
        const uint32_t jamo[] = { L_FIRST + s / (V * T), V_FIRST + s / T % V, T_FIRST + s % T }, made = S_FIRST + s;
        err = add_sequences(r, o, jamo, s % T ? 3 : 2, &made, 1, diag);
    }
    return err;
}

static gal_err add_nfkc(gal__rules *r, gal_diag *diag) {
    origins o = { 0 };
    record x;
    gal_err err = add_singles(r, &o, diag);
    const uint32_t *p = next_record(gal__nfkc_table, &x);
    for (; x.cp && !err; p = next_record(p, &x)) err = add_sequences(r, &o, x.d, x.n_d, x.c, x.n_c, diag);
    if (!err) err = add_hangul(r, &o, diag);
    if (!err) drop_what_is_said(r);
    gal_free(o.at);
    return err;
}

/* What SentencePiece 0.2.3 adds for machine translation (MergeNmtMap), to the letter. */
static gal_err add_nmt(gal__rules *r, gal_diag *diag) {
    static const uint32_t SPACES[] = { 9,      10,     12,     13,     0x61c,  0x1680, 0x200b, 0x200c,
                                       0x200e, 0x200f, 0x2028, 0x2029, 0x2581, 0xfeff, 0xfffd };
    static const uint32_t GONE[] = { 1,  2,  3,  4,  5,  6,  7,  8,  11, 14, 15, 16, 17,   18,   19,
                                     20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 0x7f, 0x8f, 0x9f };
    const uint32_t space = ' ', tilde = 0xff5e; /* the full width tilde stays: Japanese tells it from the other */
    gal_err err = GAL_OK;
    for (size_t i = 0; i < GAL_LEN(SPACES) && !err; i++) err = put(r, &SPACES[i], 1, &space, 1, diag);
    for (size_t i = 0; i < GAL_LEN(GONE) && !err; i++) err = put(r, &GONE[i], 1, NULL, 0, diag);
    if (!err) r->rules[r->slots[slot_of(r, &tilde, 1)] - 1].dropped = true;
    if (!err) drop_what_is_said(r);
    return err;
}

gal_err gal_normalizer_table(gal_buf *out, gal_normalizer n, gal_diag *diag) {
    if (n == GAL_NORMALIZER_IDENTITY) return GAL_OK;
    gal__rules r = { 0 };
    gal_err err = add_nfkc(&r, diag);
    if (!err && n == GAL_NORMALIZER_NMT_NFKC) err = add_nmt(&r, diag);
    if (!err) err = gal__rules_print(out, &r, diag);
    gal__rules_free(&r);
    return err;
}
