/* merge.c - byte pair encoding itself: repeatedly join the adjacent pair that comes first, the leftmost of equals.
 * Which pair comes first is told by the piece that it makes (SentencePiece, Tekken) or by a list of merges. Owns the
 * scratch. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/internal.h"

#include <string.h>

enum { SHORT = 24 };

gal_err gal__no_memory(gal_diag *diag) { return gal_fail(diag, GAL_ENOMEM, "no memory for encoding"); }

/* Whether joins are looked up by bytes, and two ids and a third fit 64 bits. */
static bool remembers(const gal_tokenizer *t) {
    return t->bytes_are_text && !t->pairs.slots && !t->longest && t->size <= 1 << 21;
}

gal_err gal_token_scratch_new(gal_token_scratch **out, const gal_tokenizer *t, gal_diag *diag) {
    gal_token_scratch *s = gal_alloc(sizeof *s);
    if (s) {
        s->owner = t;
        s->cache = gal_alloc_array(GAL__CACHE_SLOTS, sizeof *s->cache);
        if (remembers(t)) s->joins = gal_alloc_array(1 << GAL__JOIN_BITS, sizeof *s->joins);
        if (t->has_unused) s->unused_left = gal_alloc_array((size_t)t->size, sizeof *s->unused_left);
    }
    if (!s || !s->cache || (remembers(t) && !s->joins) || (t->has_unused && !s->unused_left)) {
        gal_token_scratch_free(s);
        return gal_fail(diag, GAL_ENOMEM, "no memory for encoding");
    }
    gal_err err = t->split ? gal__splitting_new(&s->words, t->split, diag) : GAL_OK;
    if (err)
        gal_token_scratch_free(s);
    else
        *out = s;
    return err;
}

void gal_token_scratch_free(gal_token_scratch *s) {
    if (!s) return;
    gal_free(s->cache);
    gal_free(s->joins);
    gal__splitting_free(s->words);
    gal__hf_work_free(s->hf);
    gal_free(s->norm);
    gal_free(s->symbols);
    gal__joins_free(s->queue);
    gal_free(s->unused_left);
    gal_free(s->stack);
    gal_free(s->dead);
    gal_buf_free(&s->text);
    gal_buf_free(&s->mapped);
    gal_free(s);
}

gal_err gal__symbols(gal_token_scratch *s, size_t n, gal_diag *diag) {
    void *p = s->symbols;
    if (s->symbols_cap < n && gal_grow(&p, &s->symbols_cap, n, sizeof *s->symbols) != 0) return gal__no_memory(diag);
    s->symbols = p;
    return GAL_OK;
}

/* The slot of a pair, or the free one where it would be. */
static gal__pair *slot_of(const gal__pairs *p, int32_t left, int32_t right) {
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15U;
    for (size_t i = (size_t)(h >> 32) & p->mask;; i = (i + 1) & p->mask) {
        gal__pair *x = &p->slots[i];
        if (x->left < 0 || (x->left == left && x->right == right)) return x;
    }
}

const gal__pair *gal__pair_find(const gal__pairs *p, int32_t left, int32_t right) {
    const gal__pair *x = slot_of(p, left, right);
    return x->left < 0 ? NULL : x;
}

void gal__pair_add(gal__pairs *p, const gal__merge_pair *m, uint32_t rank) {
    gal__pair *x = slot_of(p, m->left, m->right);
    if (x->left < 0) *x = (gal__pair){ m->left, m->right, m->id, rank };
}

static int32_t id_of(const gal_tokenizer *t, gal_token_scratch *s, gal__part *a) {
    if (a->id == -2) a->id = gal__table_find(t, &t->text, s->base + a->at, a->bytes);
    return a->id;
}

/* The join of a symbol with the one after it; false if it makes no piece. */
static bool find_join(const gal_tokenizer *t, gal_token_scratch *s, int32_t left, gal__join *j) {
    const gal__part *a = &s->symbols[left];
    if (a->next < 0 || a->frozen || s->symbols[a->next].frozen) return false;
    size_t bytes = (size_t)a->bytes + s->symbols[a->next].bytes;
    if (t->pairs.slots) {
        int32_t l = id_of(t, s, &s->symbols[left]), r = id_of(t, s, &s->symbols[a->next]);
        const gal__pair *p = l >= 0 && r >= 0 ? gal__pair_find(&t->pairs, l, r) : NULL;
        if (p) *j = (gal__join){ (uint64_t)p->rank << 32 | (uint32_t)left, (uint32_t)bytes, p->id };
        return p != NULL;
    }
    if (bytes > t->text_max) return false;
    const uint8_t *p = (const uint8_t *)s->base + a->at;
    int32_t id = bytes == 2 && t->two ? t->two[p[0] << 8 | p[1]]
                                      : gal__table_find(t, &t->text, s->base + a->at, bytes);
    if (id < 0) return false;
    *j = (gal__join){ (uint64_t)t->ranks[id] << 32 | (uint32_t)left, (uint32_t)bytes, id };
    if (t->types[id] == GAL_PIECE_UNUSED) s->unused_left[id] = a->bytes; /* the last one seen counts */
    return true;
}

static void apply(gal_token_scratch *s, int32_t left, int32_t id) {
    gal__part *a = &s->symbols[left], *b = &s->symbols[a->next];
    a->bytes += b->bytes;
    a->id = id;
    a->next = b->next;
    b->bytes = 0;
    if (a->next >= 0) s->symbols[a->next].prev = left;
}

/* Few symbols: keep each pair's join beside it and look through all of them; cheaper than a heap. */
static void join_short(const gal_tokenizer *t, gal_token_scratch *s, int32_t count) {
    gal__join at[SHORT];
    for (int32_t i = 0; i < count; i++)
        if (!find_join(t, s, i, &at[i])) at[i].key = UINT64_MAX;
    for (;;) {
        uint64_t best = UINT64_MAX;
        for (int32_t i = 0; i < count; i++) best = GAL_MIN(best, at[i].key);
        if (best == UINT64_MAX) return;
        int32_t left = (int32_t)(best & 0xffffffff), right = s->symbols[left].next, prev = s->symbols[left].prev;
        apply(s, left, at[left].id);
        at[right].key = UINT64_MAX;
        if (prev >= 0 && !find_join(t, s, prev, &at[prev])) at[prev].key = UINT64_MAX;
        if (!find_join(t, s, left, &at[left])) at[left].key = UINT64_MAX;
    }
}

static gal_err join_long(const gal_tokenizer *t, gal_token_scratch *s, int32_t count, gal_diag *diag) {
    gal_err err = s->queue ? GAL_OK
                           : gal__joins_new(&s->queue, t->pairs.slots ? (int32_t)t->pairs.ranks : t->size, diag);
    gal__join j;
    for (int32_t i = 0; i + 1 < count && !err; i++)
        if (find_join(t, s, i, &j)) err = gal__joins_push(s->queue, j, diag);
    while (!err && gal__joins_pop(s->queue, &j)) {
        int32_t left = (int32_t)(j.key & 0xffffffff), right = s->symbols[left].next;
        if (s->symbols[left].bytes == 0 || right < 0) continue;
        if (s->symbols[left].bytes + s->symbols[right].bytes != j.bytes) continue;
        apply(s, left, j.id);
        int32_t prev = s->symbols[left].prev;
        gal__join k;
        if (prev >= 0 && find_join(t, s, prev, &k)) err = gal__joins_push(s->queue, k, diag);
        if (!err && find_join(t, s, left, &k)) err = gal__joins_push(s->queue, k, diag);
    }
    if (err && s->queue) gal__joins_clear(s->queue);
    return err;
}

gal_err gal__merge(const gal_tokenizer *t, gal_token_scratch *s, int32_t count, gal_diag *diag) {
    if (count > SHORT) return join_long(t, s, count, diag);
    join_short(t, s, count);
    return GAL_OK;
}

gal__cached *gal__cache_find(gal_token_scratch *s, const char *word, size_t n, bool *hit, gal_ids *ids, gal_err *err,
                             gal_diag *diag) {
    gal__cached *c = &s->cache[gal__piece_hash(word, n) & (GAL__CACHE_SLOTS - 1)];
    *hit = c->key_bytes == n && gal__same(c->key, word, n);
    if (!*hit) return c;
    void *p = ids->data;
    if (ids->cap - ids->len < GAL__CACHE_IDS &&
        gal_grow(&p, &ids->cap, ids->len + GAL__CACHE_IDS, sizeof *ids->data) != 0) {
        *err = gal__no_memory(diag);
        return c;
    }
    ids->data = p;
    memcpy(ids->data + ids->len, c->id, sizeof c->id); /* whole, which is quicker than the exact length */
    ids->len += c->ids;
    return c;
}

void gal__cache_keep(gal__cached *c, const char *word, size_t n, const gal_ids *ids, size_t before) {
    if (ids->len - before > GAL__CACHE_IDS) return;
    c->key_bytes = (uint8_t)n;
    c->ids = (uint8_t)(ids->len - before);
    memcpy(c->key, word, n);
    memcpy(c->id, ids->data + before, c->ids * sizeof *c->id);
}
