/* arena.c - see arena.h. Owns the chunks; refuses to free one before gal_arena_free().
 *
 * Why addresses repeat: chunks are only ever appended at the end of the list, and a request takes the first chunk
 * from the current one on that has room. So a later pass that finds more chunks than the first pass had still
 * stops at the same ones. SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include "base/asan.h"
#include "base/err.h"
#include "base/mem.h"

#include <string.h>

enum { ALIGN = 64, RED_ZONE = GAL_ASAN ? 64 : 0 };

/* An arena doubles up to this. Room at a chunk's end that a request does not fit into is lost, so large activations
 * want large chunks; what a step never touches of a chunk costs no memory. */
enum { DOUBLE_UP_TO = 256 << 20 };

struct gal_arena_chunk {
    gal_arena_chunk *next;
    size_t bytes, used;
    char *data; /* 64-byte aligned; in the same allocation, or from the source */
};

static void poison(const gal_arena *a, char *p, size_t bytes) {
    if (!a->source.take) GAL_POISON(p, bytes);
}

static void unpoison(const gal_arena *a, char *p, size_t bytes) {
    if (!a->source.take) GAL_UNPOISON(p, bytes);
}

void gal_arena_init(gal_arena *a, size_t chunk_bytes) {
    memset(a, 0, sizeof *a);
    a->chunk_bytes = chunk_bytes;
}

void gal_arena_init_from(gal_arena *a, size_t chunk_bytes, const gal_arena_source *source) {
    gal_arena_init(a, chunk_bytes);
    a->source = *source;
}

void gal_arena_free(gal_arena *a) {
    for (gal_arena_chunk *c = a->first; c;) {
        gal_arena_chunk *next = c->next;
        unpoison(a, c->data, c->bytes);
        if (a->source.take) a->source.give(a->source.user, c->data);
        gal_free(c);
        c = next;
    }
    const gal_arena_source source = a->source;
    gal_arena_init_from(a, a->chunk_bytes, &source);
}

static gal_arena_chunk *append_chunk(gal_arena *a, gal_arena_chunk *last, size_t need) {
    size_t bytes = GAL_MAX(need, GAL_MAX(a->chunk_bytes, GAL_MIN(a->held_bytes, (size_t)DOUBLE_UP_TO)));
    if (bytes > SIZE_MAX - ALIGN) return NULL;
    gal_arena_chunk *c = gal_alloc(ALIGN + (a->source.take ? 0 : bytes));
    if (!c) return NULL;
    _Static_assert(sizeof *c <= ALIGN, "the chunk's header lies in front of its first 64-byte line");
    c->bytes = bytes;
    c->data = a->source.take ? a->source.take(a->source.user, bytes) : (char *)c + ALIGN;
    if (!c->data) {
        gal_free(c);
        return NULL;
    }
    poison(a, c->data, c->bytes);
    if (last) {
        last->next = c;
    } else {
        a->first = c;
    }
    a->held_bytes += bytes;
    return c;
}

bool gal_arena_reserve(gal_arena *a, size_t bytes) {
    GAL_ASSERT(!a->first);
    return append_chunk(a, NULL, bytes) != NULL;
}

void *gal_arena_take(gal_arena *a, size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t round = bytes ? (bytes + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    size_t need = round + RED_ZONE;
    gal_arena_chunk *c = a->current ? a->current : a->first, *last = NULL;
    for (; c; last = c, c = c->next) {
        if (c != a->current) c->used = 0; /* left over from before a reset or a rewind */
        if (c->bytes - c->used >= need) break;
    }
    if (!c) c = append_chunk(a, last, need);
    if (!c) return NULL;
    a->current = c;
    char *p = c->data + c->used;
    c->used += need;
    a->live_bytes += round;
    a->peak_bytes = GAL_MAX(a->peak_bytes, a->live_bytes);
    unpoison(a, p, bytes);
    return p;
}

gal_arena_mark gal_arena_here(const gal_arena *a) {
    return (gal_arena_mark){ a->current, a->current ? a->current->used : 0, a->live_bytes };
}

void gal_arena_rewind(gal_arena *a, gal_arena_mark m) {
    GAL_ASSERT(m.live_bytes <= a->live_bytes);
    gal_arena_chunk *c = m.chunk;
    if (c) {
        GAL_ASSERT(m.used <= c->used);
        poison(a, c->data + m.used, c->bytes - m.used);
        c->used = m.used;
        c = c->next;
    } else {
        c = a->first; /* the mark was set before the first request */
    }
#if GAL_ASAN
    for (; c; c = c->next) poison(a, c->data, c->bytes);
#else
    (void)c;
#endif
    a->current = m.chunk;
    a->live_bytes = m.live_bytes;
}

void gal_arena_reset(gal_arena *a) { gal_arena_rewind(a, (gal_arena_mark){ NULL, 0, 0 }); }

void gal_arena_expose(gal_arena *a) {
#if GAL_ASAN
    for (gal_arena_chunk *c = a->first; c; c = c->next) unpoison(a, c->data, c->bytes);
#else
    (void)a;
#endif
}
