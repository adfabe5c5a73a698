/* longest.c - see longest.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/longest.h"

#include "base/mem.h"
#include "base/util.h"
#include "text/internal.h"

#include <string.h>

enum {
    LONGEST = 160,     /* bytes of a piece; vocabularies with longer ones are joined */
    MAX_IDS = 1 << 21, /* two of them and a third fit 64 bits */
    WORK = 1 << 27,    /* the squares of all lengths, which making the trees may take: ten times the official ones */
    PREFIX = 1,
    PIECE = 2, /* what a hash may be of; two bits each, four in a byte */
    FEW = 256  /* bytes of a word whose dead ends need no memory */
};

struct gal__longest {
    uint8_t *kinds; /* by the upper bits of hashes: PREFIX | PIECE */
    int kinds_shift;
    int32_t *left, *right; /* by id: the two that it is made of; itself: a byte; -1: joining does not make it */
    uint64_t *joins;       /* 21 bits left, 21 right, 22 what they make + 1; 0: free */
    size_t joins_mask;
    uint64_t *maybe; /* a bit for each hash of a join that is there */
    int maybe_shift;
};

static inline unsigned kind_of(const gal__longest *l, uint64_t h) {
    const size_t i = (size_t)(h >> l->kinds_shift);
    return (unsigned)l->kinds[i / 4] >> i % 4 * 2 & 3U;
}

static inline void set_kind(gal__longest *l, uint64_t h, unsigned kind) {
    const size_t i = (size_t)(h >> l->kinds_shift);
    l->kinds[i / 4] = (uint8_t)(l->kinds[i / 4] | kind << i % 4 * 2);
}

static int32_t find(const gal_tokenizer *t, uint64_t h, const char *s, size_t n) {
    return gal__table_at(t, &t->text, (uint32_t)(h >> 32), s, n);
}

static int32_t find_bytes(const gal__longest *l, const gal_tokenizer *t, const char *s, size_t n) {
    uint64_t h = GAL__STEPS;
    for (size_t i = 0; i < n; i++) h = gal__hash_byte(h, s[i]);
    return kind_of(l, h) & PIECE ? find(t, h, s, n) : -1;
}

static inline uint64_t key_of(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 43 | (uint64_t)(uint32_t)right << 22;
}
static inline uint64_t hash_of(uint64_t key) {
    key ^= key >> 29;
    return key * 0xd6e8feb86659fd93U;
}

/* What two pieces make; -1: nothing. */
static inline int32_t made_of(const gal__longest *l, int32_t left, int32_t right) {
    const uint64_t key = key_of(left, right), h = hash_of(key);
    const size_t bit = (size_t)(h >> l->maybe_shift);
    if (!(l->maybe[bit / 64] >> bit % 64 & 1)) return -1;
    for (size_t i = (size_t)(h >> 24) & l->joins_mask;; i = (i + 1) & l->joins_mask) {
        const uint64_t x = l->joins[i];
        if (!x) return -1;
        if ((x ^ key) >> 22 == 0) return (int32_t)(x & 0x3fffff) - 1;
    }
}

static void add_join(gal__longest *l, int32_t left, int32_t right, int32_t id) {
    const uint64_t key = key_of(left, right), h = hash_of(key);
    const size_t bit = (size_t)(h >> l->maybe_shift);
    l->maybe[bit / 64] |= (uint64_t)1 << bit % 64;
    size_t i = (size_t)(h >> 24) & l->joins_mask;
    while (l->joins[i]) i = (i + 1) & l->joins_mask;
    l->joins[i] = key | (uint64_t)(id + 1);
}

/* Whether joining leaves a and b beside each other. Goes back through both trees along the border, what was made last
 * first; a join across comes before `limit` or not at all. Of equals the left one comes first: before what b was made
 * by, and after what a was made by. */
static bool apart(const gal__longest *l, int32_t a, int32_t b) {
    int64_t limit = INT64_MAX;
    for (;;) {
        const int32_t id = made_of(l, a, b);
        if (id >= 0 && id < limit) return false;
        const bool a_is_byte = l->right[a] == a, b_is_byte = l->left[b] == b;
        if (a_is_byte && b_is_byte) return true;
        if (b_is_byte || (a > b && !a_is_byte)) {
            limit = a;
            a = l->right[a];
        } else {
            limit = (int64_t)b + 1;
            b = l->left[b];
        }
    }
}

/* ---- making it ---------------------------------------------------------------------------------------------------
 */

static int32_t find_tiny(const gal_tokenizer *t, const char *s, size_t n) {
    return n == 1 ? t->byte_ids[(uint8_t)s[0]] : t->two[(uint8_t)s[0] << 8 | (uint8_t)s[1]];
}

/* Finds the two pieces that joining makes a piece of, among those that were found before it; false: there are none.
 */
static bool take_apart(gal__longest *l, const gal_tokenizer *t, int32_t id) {
    size_t n;
    const char *s = gal__piece(t, id, &n);
    uint64_t h = GAL__STEPS, hashes[LONGEST + 1];
    for (size_t k = 1; k < n; k++) hashes[k] = h = gal__hash_byte(h, s[k - 1]);
    for (size_t k = n; k-- > 1;) {
        if (!(kind_of(l, hashes[k]) & PIECE)) continue;
        const int32_t b = n - k > 2 ? find_bytes(l, t, s + k, n - k) : find_tiny(t, s + k, n - k);
        if (b < 0 || l->left[b] < 0) continue;
        const int32_t a = k > 2 ? find(t, hashes[k], s, k) : find_tiny(t, s, k);
        if (a < 0 || l->left[a] < 0 || !apart(l, a, b)) continue;
        l->left[id] = a;
        l->right[id] = b;
        add_join(l, a, b, id);
        return true;
    }
    return false;
}

/* All pieces by rank. A piece that is only found once those after it are known is made of what ranks after it: then
 * trees do not grow upwards, and all of this is of no use. */
static bool take_all_apart(gal__longest *l, const gal_tokenizer *t) {
    for (int32_t id = 0; id < t->size; id++) l->left[id] = l->right[id] = -1;
    for (int b = 0; b < 256; b++) l->left[t->byte_ids[b]] = l->right[t->byte_ids[b]] = t->byte_ids[b];
    for (int32_t id = 0; id < t->size; id++)
        if (t->types[id] == GAL_PIECE_NORMAL && l->left[id] < 0) (void)take_apart(l, t, id);
    for (int32_t id = 0; id < t->size; id++)
        if (t->types[id] == GAL_PIECE_NORMAL && l->left[id] < 0 && take_apart(l, t, id)) return false;
    return true;
}

static bool allocate(gal__longest *l, size_t size) {
    size_t slots = 64;
    l->kinds_shift = 64 - 10; /* 16 for each piece: its prefixes are several */
    for (; slots < 2 * size; slots *= 2) l->kinds_shift--;
    l->joins_mask = slots - 1;
    l->maybe_shift = l->kinds_shift;
    const size_t kinds = (size_t)1 << (64 - l->kinds_shift);
    l->joins = gal_alloc_array(slots, sizeof *l->joins);
    l->kinds = gal_alloc(kinds / 4);
    l->maybe = gal_alloc(kinds / 8);
    l->left = gal_alloc_array(size, sizeof *l->left);
    l->right = gal_alloc_array(size, sizeof *l->right);
    return l->joins && l->kinds && l->maybe && l->left && l->right;
}

static void add_piece(gal__longest *l, const gal_tokenizer *t, int32_t id) {
    size_t n;
    const char *s = gal__piece(t, id, &n);
    uint64_t h = GAL__STEPS;
    for (size_t i = 0; i < n; i++) {
        h = gal__hash_byte(h, s[i]);
        set_kind(l, h, PREFIX);
    }
    set_kind(l, h, PIECE);
}

gal_err gal__longest_new(gal__longest **out, const gal_tokenizer *t, const char *name, gal_diag *diag) {
    uint64_t work = 0;
    *out = NULL;
    for (int32_t id = 0; id < t->size; id++) {
        size_t n;
        (void)gal__piece(t, id, &n);
        if (t->types[id] == GAL_PIECE_NORMAL) work += (uint64_t)n * n;
    }
    if (t->size > MAX_IDS || t->text_max > LONGEST || work > WORK) return GAL_OK;
    gal__longest *l = gal_alloc(sizeof *l);
    if (!l || !allocate(l, (size_t)t->size)) {
        gal__longest_free(l);
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %d pieces", name, (int)t->size);
    }
    for (int32_t id = 0; id < t->size; id++)
        if (t->types[id] == GAL_PIECE_NORMAL) add_piece(l, t, id);
    if (take_all_apart(l, t))
        *out = l;
    else
        gal__longest_free(l);
    return GAL_OK;
}

void gal__longest_free(gal__longest *l) {
    if (!l) return;
    gal_free(l->joins);
    gal_free(l->kinds);
    gal_free(l->maybe);
    gal_free(l->left);
    gal_free(l->right);
    gal_free(l);
}

/* ---- words -------------------------------------------------------------------------------------------------------
 */

int32_t gal__longest_whole(const gal__longest *l, const gal_tokenizer *t, const char *word, size_t n) {
    return n <= t->text_max ? find_bytes(l, t, word, n) : -1;
}

typedef struct candidates {
    uint64_t hash[LONGEST];
    uint8_t bytes[LONGEST];
    int count;
} candidates;

static void look(const gal__longest *l, const char *p, size_t n, candidates *c) {
    uint64_t h = GAL__STEPS;
    c->count = 0;
    if (n > LONGEST) n = LONGEST;
    for (size_t i = 0; i < n; i++) {
        h = gal__hash_byte(h, p[i]);
        const unsigned kind = kind_of(l, h);
        if (!kind) return;
        c->hash[c->count] = h;
        c->bytes[c->count] = (uint8_t)(i + 1);
        c->count += kind & PIECE ? 1 : 0;
    }
}

/* The longest piece at p that may follow `last` and does not end where nothing goes on; -1: none. */
static int32_t choose(const gal__longest *l, const gal_tokenizer *t, const char *p, const candidates *c, int32_t last,
                      const uint8_t *dead, size_t at, size_t *bytes) {
    for (int k = c->count; k-- > 0;) {
        *bytes = c->bytes[k];
        const size_t to = at + *bytes;
        if (dead && dead[to / 8] >> to % 8 & 1) continue;
        const int32_t id = find(t, c->hash[k], p, *bytes);
        if (id >= 0 && l->left[id] >= 0 && (last < 0 || apart(l, last, id))) return id;
    }
    return -1;
}

static size_t bytes_of(const gal_tokenizer *t, int32_t id) { return t->offsets[id + 1] - t->offsets[id] - 1; }

gal_err gal__longest_encode(const gal__longest *l, const gal_tokenizer *t, gal_token_scratch *s, const char *word,
                            size_t n, gal_ids *ids, gal_diag *diag) {
    const size_t before = ids->len;
    uint8_t few[FEW / 8 + 1], *dead = NULL;
    candidates c;
    gal_err err = GAL_OK;
    for (size_t at = 0; at < n && !err;) {
        size_t bytes = 0;
        const int32_t last = ids->len > before ? ids->data[ids->len - 1] : -1;
        look(l, word + at, n - at, &c);
        const int32_t id = choose(l, t, word + at, &c, last, dead, at, &bytes);
        if (id >= 0) {
            err = gal_ids_add(ids, id, diag);
            at += bytes;
            continue;
        }
        GAL_ASSERT(last >= 0); /* every byte is a piece, so the word has its pieces */
        if (!dead) {
            dead = few;
            if (n > FEW) {
                void *p = s->dead;
                if (s->dead_cap < n / 8 + 1 && gal_grow(&p, &s->dead_cap, n / 8 + 1, 1) != 0)
                    return gal__no_memory(diag);
                dead = s->dead = p;
            }
            memset(dead, 0, n / 8 + 1);
        }
        dead[at / 8] = (uint8_t)(dead[at / 8] | 1U << at % 8);
        at -= bytes_of(t, last);
        ids->len--;
    }
    return err;
}
