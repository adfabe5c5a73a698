/* arena.h - a bump allocator that gives the same addresses when the same requests come in the same order.
 *
 *   chunk 0                       chunk 1 (kept after the first step)
 *   [ a | red zone | b | ... ]    [ c | red zone | ...          ]
 *         mark ^  rewinding gives everything right of the mark back, without freeing chunks
 *
 * Invariant: after gal_arena_reset() the same sequence of requests returns the same pointers; the recorder depends
 * on it. Under AddressSanitizer what lies outside live allocations is poisoned. Chunks may come from a source of
 * memory that the host cannot touch; bookkeeping stays on the host. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_ARENA_H
#define GAL_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

typedef struct gal_arena_chunk gal_arena_chunk;

/* Memory aligned to 64 bytes, or NULL. */
typedef struct gal_arena_source {
    void *(*take)(void *user, size_t bytes);
    void (*give)(void *user, void *p);
    void *user;
} gal_arena_source;

typedef struct gal_arena {
    gal_arena_chunk *first, *current;
    gal_arena_source source; /* take NULL: plain memory */
    size_t chunk_bytes;      /* smallest chunk */
    size_t live_bytes, peak_bytes, held_bytes;
} gal_arena;

typedef struct gal_arena_mark {
    gal_arena_chunk *chunk;
    size_t used, live_bytes;
} gal_arena_mark;

void gal_arena_init(gal_arena *a, size_t chunk_bytes); /* allocates nothing */
/* The same with chunks from a source. */
void gal_arena_init_from(gal_arena *a, size_t chunk_bytes, const gal_arena_source *source);
void gal_arena_free(gal_arena *a);
/* Before the first request: a chunk of so many bytes. What ends in it loses nothing at the ends of smaller ones.
 * False: no memory. */
bool gal_arena_reserve(gal_arena *a, size_t bytes);
/* Memory aligned to 64 bytes, not zeroed; NULL when there is none. Valid until a rewind below it or a reset. */
void *gal_arena_take(gal_arena *a, size_t bytes);
gal_arena_mark gal_arena_here(const gal_arena *a);
void gal_arena_rewind(gal_arena *a, gal_arena_mark m);
void gal_arena_reset(gal_arena *a);
/* Lifts AddressSanitizer's poison from all chunks until the next rewind or reset; nothing without it. */
void gal_arena_expose(gal_arena *a);

#endif
