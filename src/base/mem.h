/* mem.h - every allocation of the library passes here, so that tests can make any of them fail.
 * Sizes are bytes. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_MEM_H
#define GAL_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* A hook replaces the allocator for the whole process: ptr NULL and bytes > 0 allocates, bytes 0 frees, both
 * resizes. It returns NULL on failure (the old block then stays valid). Set it before any other call. */
typedef void *(*gal_alloc_hook)(void *user, void *ptr, size_t old_bytes, size_t bytes);
void gal_set_alloc_hook(gal_alloc_hook hook, void *user);

/* Zeroed memory aligned to 64 bytes, or NULL. A request of 0 bytes returns a pointer that can be freed. */
void *gal_alloc(size_t bytes);
/* count * size with a check for overflow. */
void *gal_alloc_array(size_t count, size_t size);
/* The contents up to the smaller size are kept, the rest is not zeroed. On failure ptr stays valid. */
void *gal_realloc(void *ptr, size_t bytes);
void gal_free(void *ptr);        /* NULL is allowed */
char *gal_strdup(const char *s); /* NULL on failure */
char *gal_strndup(const char *s, size_t n);

/* Doubles *cap until need elements of size bytes fit in *items. 0, or -1 with *items and *cap untouched. */
int gal_grow(void **items, size_t *cap, size_t need, size_t size);

/* Bytes that this process can still take: physical memory available, and the cgroup's limit where one is set. */
uint64_t gal_memory_available(void);
/* What this process had to wait for so far: pages that were not in memory, and bytes that came from disks because of
 * it, mapped files included; 0 where the system does not tell. */
typedef struct gal_disk_use {
    uint64_t read_bytes, faults;
} gal_disk_use;
gal_disk_use gal_disk_used(void);
/* Largest resident size of this process so far. */
uint64_t gal_memory_peak(void);
/* ... and its resident size now; 0 where the system does not tell. */
uint64_t gal_memory_resident(void);

#endif
