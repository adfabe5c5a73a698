/* joins.c - see joins.h. Invariant: a line's keys grow; every rank whose line is not empty is in `ranks`, once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "text/joins.h"

#include "base/mem.h"

/* Places in `nodes`, 0 for none. */
typedef struct line {
    uint32_t first, last;
} line;

typedef struct node {
    gal__join j;
    uint32_t next;
} node;

/* A heap of joins, the smallest key on top. */
typedef struct heap {
    gal__join *at;
    size_t len, cap;
} heap;

struct gal__joins {
    line *lines; /* by rank */
    node *nodes; /* 0 is not used */
    size_t nodes_len, nodes_cap;
    uint32_t spare; /* list of nodes given back */
    heap ranks;     /* keys are ranks alone */
    heap odd;       /* joins that came out of order */
};

static gal_err no_memory(gal_diag *diag) { return gal_fail(diag, GAL_ENOMEM, "no memory for encoding"); }

static gal_err heap_push(heap *h, gal__join j, gal_diag *diag) {
    void *p = h->at;
    if (h->len == h->cap && gal_grow(&p, &h->cap, h->len + 1, sizeof *h->at) != 0) return no_memory(diag);
    h->at = p;
    size_t i = h->len++;
    for (; i > 0 && h->at[(i - 1) / 2].key > j.key; i = (i - 1) / 2) h->at[i] = h->at[(i - 1) / 2];
    h->at[i] = j;
    return GAL_OK;
}

static gal__join heap_pop(heap *h) {
    gal__join top = h->at[0], last = h->at[--h->len];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->len) break;
        if (child + 1 < h->len && h->at[child + 1].key < h->at[child].key) child++;
        if (h->at[child].key >= last.key) break;
        h->at[i] = h->at[child];
        i = child;
    }
    h->at[i] = last;
    return top;
}

gal_err gal__joins_new(gal__joins **out, int32_t ranks, gal_diag *diag) {
    gal__joins *q = gal_alloc(sizeof *q);
    if (q) q->lines = gal_alloc_array((size_t)ranks, sizeof *q->lines);
    if (!q || !q->lines) {
        gal_free(q);
        return no_memory(diag);
    }
    q->nodes_len = 1;
    *out = q;
    return GAL_OK;
}

void gal__joins_free(gal__joins *q) {
    if (!q) return;
    gal_free(q->lines);
    gal_free(q->nodes);
    gal_free(q->ranks.at);
    gal_free(q->odd.at);
    gal_free(q);
}

void gal__joins_clear(gal__joins *q) {
    gal__join j;
    while (gal__joins_pop(q, &j)) {}
}

/* A node for j, or 0. */
static uint32_t take_node(gal__joins *q, gal__join j) {
    uint32_t n = q->spare;
    void *p = q->nodes;
    if (n) {
        q->spare = q->nodes[n].next;
    } else {
        if (q->nodes_len >= q->nodes_cap && gal_grow(&p, &q->nodes_cap, q->nodes_len + 1, sizeof *q->nodes) != 0)
            return 0;
        q->nodes = p;
        n = (uint32_t)q->nodes_len++;
    }
    q->nodes[n] = (node){ .j = j };
    return n;
}

gal_err gal__joins_push(gal__joins *q, gal__join j, gal_diag *diag) {
    line *l = &q->lines[j.key >> 32];
    if (l->first && q->nodes[l->last].j.key > j.key) return heap_push(&q->odd, j, diag);
    uint32_t n = take_node(q, j);
    if (!n) return no_memory(diag);
    if (l->first) {
        q->nodes[l->last].next = n;
        l->last = n;
        return GAL_OK;
    }
    gal_err err = heap_push(&q->ranks, (gal__join){ .key = j.key >> 32 }, diag);
    if (!err) *l = (line){ n, n };
    return err;
}

bool gal__joins_pop(gal__joins *q, gal__join *j) {
    line *l = q->ranks.len ? &q->lines[q->ranks.at[0].key] : NULL;
    if (q->odd.len && (!l || q->odd.at[0].key < q->nodes[l->first].j.key)) {
        *j = heap_pop(&q->odd);
        return true;
    }
    if (!l) return false;
    uint32_t n = l->first;
    *j = q->nodes[n].j;
    l->first = q->nodes[n].next;
    q->nodes[n].next = q->spare;
    q->spare = n;
    if (!l->first) (void)heap_pop(&q->ranks);
    return true;
}
