/* maps.c - see maps.h. Owns a fixed table of slots; a slot is free (begin 0), being changed (begin 1) or live (begin
 * is an address, and then bytes and path are what they were when it became one).
 *
 * A reader inside a signal handler meets no lock and no freed memory: the slot that it is looking for is of a map
 * that the faulting thread reads, so nobody may be closing it, and of other slots it reads begin and bytes alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/maps.h"

#include "base/mem.h"

#include <stdatomic.h>

enum { SLOTS = 4096, FREE = 0, CHANGING = 1 };

typedef struct slot {
    _Atomic uintptr_t begin;
    _Atomic size_t bytes;
    char *path;
} slot;

static slot slots[SLOTS];
static _Atomic size_t used; /* slots beyond it were never taken */

bool gal__maps_add(const void *data, size_t bytes, const char *path) {
    char *copy = gal_strdup(path);
    if (!copy) return false;
    for (size_t i = 0; i < SLOTS; i++) {
        uintptr_t expected = FREE;
        if (!atomic_compare_exchange_strong(&slots[i].begin, &expected, CHANGING)) continue;
        slots[i].path = copy;
        atomic_store(&slots[i].bytes, bytes);
        size_t most = atomic_load(&used);
        while (most < i + 1 && !atomic_compare_exchange_weak(&used, &most, i + 1)) {}
        atomic_store(&slots[i].begin, (uintptr_t)data);
        return true;
    }
    gal_free(copy);
    return true;
}

void gal__maps_remove(const void *data) {
    size_t n = atomic_load(&used);
    for (size_t i = 0; i < n; i++) {
        uintptr_t expected = (uintptr_t)data;
        if (!atomic_compare_exchange_strong(&slots[i].begin, &expected, CHANGING)) continue;
        gal_free(slots[i].path);
        slots[i].path = NULL;
        atomic_store(&slots[i].begin, FREE);
        return;
    }
}

bool gal_maps_find(const void *address, gal_map_place *out) {
    uintptr_t a = (uintptr_t)address;
    size_t n = atomic_load(&used);
    for (size_t i = 0; i < n; i++) {
        uintptr_t begin = atomic_load(&slots[i].begin);
        size_t bytes = atomic_load(&slots[i].bytes);
        if (begin <= CHANGING || a < begin || a - begin >= bytes) continue;
        *out = (gal_map_place){ slots[i].path, (size_t)(a - begin), bytes };
        return true;
    }
    return false;
}
