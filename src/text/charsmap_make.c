/* charsmap_make.c - rules of a normaliser as a double array (Aoe, "An efficient digital search algorithm by using a
 * double-array structure", 1989), in the units of darts-clone, which SentencePiece reads:
 *
 *   bytes of the array, uint32 | units | what rules make, each ended by NUL
 *
 * From a place, byte c leads to place ^ c, where a unit says c, whether a rule ends there, and how far its own place
 * is. Ends of keys that go on alike share their units, so that the syllables of Hangul, in all ways to spell them,
 * take no more than the ways themselves. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/nfkc.h"

#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES = 4 * GAL__KEY_POINTS, BLOCK = 256, LOOK_BACK = 16 };
#define LEAF 0x80000000U /* a unit that holds a value, or nothing */

/* A way on from a node: by a byte to another node, or by 0 to a value. */
typedef struct way {
    uint32_t to;
    uint8_t byte;
} way;

typedef struct node {
    size_t at; /* of its ways, in maker.ways */
    uint32_t n, hash;
    uint32_t base; /* where its units lie, 0 while they do not */
} node;

typedef struct key {
    uint32_t value; /* place of what it becomes */
    uint8_t n;
    uint8_t bytes[KEY_BYTES];
} key;

typedef struct open_node {
    uint32_t n;
    way ways[BLOCK];
} open_node;

typedef struct maker {
    way *ways;
    size_t n_ways, ways_cap;
    node *nodes; /* no two with the same ways */
    size_t n_nodes, nodes_cap;
    uint32_t *slots; /* of nodes: index + 1 */
    size_t mask;
    open_node *open; /* on the path of the key at hand */
    uint32_t *units;
    uint8_t *used; /* of a unit: bit 0; a place where a node lies: bit 1 */
    size_t n_units, units_cap, used_cap;
} maker;

static gal_err no_memory(gal_diag *diag) {
    return gal_fail(diag, GAL_ENOMEM, "no memory for the table of a normaliser");
}

/* ---- keys and what they become -----------------------------------------------------------------------------------
 */

static size_t put_points(uint8_t *out, const uint32_t *points, size_t n) {
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) bytes += (size_t)gal_utf8_put((char *)out + bytes, points[i]);
    return bytes;
}

static int by_bytes(const void *a, const void *b) {
    const key *x = a, *y = b;
    const int d = memcmp(x->bytes, y->bytes, GAL_MIN(x->n, y->n));
    return d ? d : (int)x->n - (int)y->n;
}

/* A value, to find equal ones by. */
typedef struct made {
    const uint32_t *points;
    uint32_t n, rule;
} made;

static int by_points(const void *a, const void *b) {
    const made *x = a, *y = b;
    for (uint32_t i = 0; i < x->n && i < y->n; i++)
        if (x->points[i] != y->points[i]) return x->points[i] < y->points[i] ? -1 : 1;
    return (int)x->n - (int)y->n;
}

/* What the rules become, each once; keys in order. */
static gal_err sort_rules(key *keys, size_t *count, gal_buf *values, const gal__rules *r, gal_diag *diag) {
    made *all = gal_alloc_array(r->len, sizeof *all);
    if (!all) return no_memory(diag);
    size_t n = 0;
    for (size_t i = 0; i < r->len; i++) {
        const gal__rule *x = &r->rules[i];
        if (!x->dropped) all[n++] = (made){ r->points + x->at + x->n, x->to, (uint32_t)i };
    }
    qsort(all, n, sizeof *all, by_points);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const gal__rule *x = &r->rules[all[i].rule];
        if (i == 0 || by_points(&all[i], &all[i - 1]) != 0) {
            uint8_t text[4 * GAL__RULE_POINTS];
            at = values->len;
            gal_buf_add(values, text, put_points(text, all[i].points, all[i].n));
            gal_buf_putc(values, 0);
        }
        keys[i].value = (uint32_t)at;
        keys[i].n = (uint8_t)put_points(keys[i].bytes, r->points + x->at, x->n);
    }
    *count = n;
    gal_free(all);
    qsort(keys, n, sizeof *keys, by_bytes);
    return values->oom ? no_memory(diag) : GAL_OK;
}

/* ---- nodes -------------------------------------------------------------------------------------------------------
 */

static uint32_t hash_of(const open_node *o) {
    uint64_t h = o->n;
    for (uint32_t i = 0; i < o->n; i++)
        h = (h ^ o->ways[i].byte ^ (uint64_t)o->ways[i].to << 8) * 0x9e3779b97f4a7c15U;
    return (uint32_t)(h >> 32);
}

/* Whether the node of a slot has this hash and these ways. */
static bool is_node(const maker *m, uint32_t slot, uint32_t h, const open_node *o) {
    GAL_ASSERT(m->nodes && m->ways); /* the slot is taken */
    const node *x = &m->nodes[slot - 1];
    if (x->hash != h || x->n != o->n) return false;
    for (uint32_t i = 0; i < x->n; i++)
        if (m->ways[x->at + i].byte != o->ways[i].byte || m->ways[x->at + i].to != o->ways[i].to) return false;
    return true;
}

static gal_err grow_slots(maker *m, gal_diag *diag) {
    const size_t slots = m->mask ? 2 * (m->mask + 1) : 1 << 12;
    uint32_t *fresh = gal_alloc_array(slots, sizeof *fresh);
    if (!fresh) return no_memory(diag);
    for (size_t k = 0; k < m->n_nodes; k++) {
        size_t i = m->nodes[k].hash & (slots - 1);
        while (fresh[i]) i = (i + 1) & (slots - 1);
        fresh[i] = (uint32_t)k + 1;
    }
    gal_free(m->slots);
    m->slots = fresh;
    m->mask = slots - 1;
    return GAL_OK;
}

/* The node with these ways, which is made if there is none. */
static gal_err close_node(maker *m, open_node *o, uint32_t *out, gal_diag *diag) {
    if (2 * (m->n_nodes + 1) > m->mask) {
        gal_err err = grow_slots(m, diag);
        if (err) return err;
    }
    const uint32_t h = hash_of(o);
    size_t i = h & m->mask;
    while (m->slots[i] && !is_node(m, m->slots[i], h, o)) i = (i + 1) & m->mask;
    if (!m->slots[i]) {
        void *p = m->nodes, *q = m->ways;
        if (gal_grow(&p, &m->nodes_cap, m->n_nodes + 1, sizeof *m->nodes) != 0) return no_memory(diag);
        m->nodes = p;
        if (gal_grow(&q, &m->ways_cap, m->n_ways + o->n, sizeof *m->ways) != 0) return no_memory(diag);
        m->ways = q;
        memcpy(m->ways + m->n_ways, o->ways, o->n * sizeof *o->ways);
        m->nodes[m->n_nodes] = (node){ .at = m->n_ways, .n = o->n, .hash = h };
        m->n_ways += o->n;
        m->slots[i] = (uint32_t)++m->n_nodes;
    }
    *out = m->slots[i] - 1;
    o->n = 0;
    return GAL_OK;
}

/* Closes what is below `depth` of the path to k. */
static gal_err close_path(maker *m, const key *k, size_t depth, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t d = k->n; d > depth && !err; d--) {
        uint32_t id = 0;
        open_node *above = &m->open[d - 1];
        err = close_node(m, &m->open[d], &id, diag);
        if (!err) above->ways[above->n++] = (way){ id, k->bytes[d - 1] };
    }
    return err;
}

/* Keys come in order: what lies below the place where one leaves the last is whole. */
static gal_err make_nodes(maker *m, const key *keys, size_t n, uint32_t *root, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; i < n && !err; i++) {
        size_t common = 0;
        if (i) {
            const size_t least = GAL_MIN(keys[i].n, keys[i - 1].n);
            while (common < least && keys[i].bytes[common] == keys[i - 1].bytes[common]) common++;
            err = close_path(m, &keys[i - 1], common, diag);
        }
        open_node *last = &m->open[keys[i].n];
        last->ways[last->n++] = (way){ keys[i].value, 0 };
    }
    if (!err && n) err = close_path(m, &keys[n - 1], 0, diag);
    return err ? err : close_node(m, &m->open[0], root, diag);
}

/* ---- the array ---------------------------------------------------------------------------------------------------
 */

static gal_err add_block(maker *m, gal_diag *diag) {
    void *p = m->units, *q = m->used;
    if (gal_grow(&p, &m->units_cap, m->n_units + BLOCK, sizeof *m->units) != 0) return no_memory(diag);
    m->units = p;
    if (gal_grow(&q, &m->used_cap, m->n_units + BLOCK, 1) != 0) return no_memory(diag);
    m->used = q;
    for (size_t i = 0; i < BLOCK; i++) m->units[m->n_units + i] = LEAF;
    memset(m->used + m->n_units, 0, BLOCK);
    m->n_units += BLOCK;
    return GAL_OK;
}

static bool fits(const maker *m, const node *x, size_t base) {
    if (base == 0 || m->used[base] & 2) return false;
    for (uint32_t i = 0; i < x->n; i++)
        if (m->used[base ^ m->ways[x->at + i].byte] & 1) return false;
    return true;
}

/* Finds free units for the ways of a node; far back few are free, and nobody looks there. */
static gal_err place(maker *m, node *x, gal_diag *diag) {
    const size_t back = LOOK_BACK * BLOCK;
    for (size_t at = m->n_units > back ? m->n_units - back : 0;; at++) {
        gal_err err = at == m->n_units ? add_block(m, diag) : GAL_OK;
        if (err) return err;
        const size_t base = at ^ m->ways[x->at].byte;
        if (m->used[at] & 1 || !fits(m, x, base)) continue;
        for (uint32_t i = 0; i < x->n; i++) m->used[base ^ m->ways[x->at + i].byte] |= 1;
        m->used[base] |= 2;
        x->base = (uint32_t)base;
        return GAL_OK;
    }
}

/* The unit at a place that leads to a node by a byte. */
static uint32_t unit_to(const maker *m, size_t at, uint32_t to, uint8_t byte) {
    const node *x = &m->nodes[to];
    const uint32_t far = (uint32_t)at ^ x->base;
    GAL_ASSERT(far < 1U << 21); /* more would be told in another way */
    return far << 10 | (m->ways[x->at].byte == 0 ? 1U << 8 : 0) | byte;
}

static gal_err make_array(maker *m, uint32_t root, gal_diag *diag) {
    gal_err err = add_block(m, diag);
    if (!err) m->used[0] = 1;
    for (size_t i = m->n_nodes; i-- > 0 && !err;) err = place(m, &m->nodes[i], diag);
    if (err) return err;
    m->units[0] = unit_to(m, 0, root, 0);
    for (size_t i = 0; i < m->n_nodes; i++) {
        for (uint32_t k = 0; k < m->nodes[i].n; k++) {
            const way *w = &m->ways[m->nodes[i].at + k];
            const size_t at = m->nodes[i].base ^ w->byte;
            m->units[at] = w->byte ? unit_to(m, at, w->to, w->byte) : w->to | LEAF;
        }
    }
    return GAL_OK;
}

static void put_u32(gal_buf *b, uint32_t v) {
    for (int i = 0; i < 4; i++) gal_buf_putc(b, (char)(v >> (8 * i)));
}

gal_err gal__rules_print(gal_buf *out, const gal__rules *r, gal_diag *diag) {
    maker m = { 0 };
    gal_buf values = { 0 };
    size_t n = 0;
    uint32_t root = 0;
    key *keys = gal_alloc_array(r->len, sizeof *keys);
    m.open = gal_alloc_array(KEY_BYTES + 1, sizeof *m.open);
    gal_err err = keys && m.open ? sort_rules(keys, &n, &values, r, diag) : no_memory(diag);
    if (!err) err = make_nodes(&m, keys, n, &root, diag);
    if (!err) err = make_array(&m, root, diag);
    if (!err) {
        put_u32(out, (uint32_t)(m.n_units * sizeof *m.units));
        for (size_t i = 0; i < m.n_units; i++) put_u32(out, m.units[i]);
        gal_buf_add(out, values.data, values.len);
        if (out->oom) err = no_memory(diag);
    }
    gal_buf_free(&values);
    gal_free(keys);
    gal_free(m.open);
    gal_free(m.ways);
    gal_free(m.nodes);
    gal_free(m.slots);
    gal_free(m.units);
    gal_free(m.used);
    return err;
}
