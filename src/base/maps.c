/* maps.c - see maps.h. Owns a fixed table of slots; a slot is free (begin 0), being changed (begin 1) or live (begin
 * is an address, and then bytes and path are what they were when it became one).
 *
 * A reader inside a signal handler meets no lock and no freed memory: the slot that it is looking for is of a map
 * that the faulting thread reads, so nobody may be closing it, and of other slots it reads begin and bytes alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/maps.h"

#include "base/fault.h"
#include "base/mem.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 4096, FREE = 0, CHANGING = 1 };

typedef struct slot {
    _Atomic uintptr_t begin;
    _Atomic size_t bytes;
    char *path;
    dev_t device; /* and inode: which file it is, whatever has its name later */
    ino_t inode;
} slot;

static slot slots[SLOTS];
static _Atomic size_t used; /* slots beyond it were never taken */

/* The first map that was closed after its file had shrunk. */
static struct {
    atomic_flag taken;
    char *path;
    size_t bytes, left;
} gone = { .taken = ATOMIC_FLAG_INIT };

bool gal__maps_add(const void *data, size_t bytes, const char *path, const struct stat *st) {
    char *copy = gal_strdup(path);
    if (!copy) return false;
    for (size_t i = 0; i < SLOTS; i++) {
        uintptr_t expected = FREE;
        if (!atomic_compare_exchange_strong(&slots[i].begin, &expected, CHANGING)) continue;
        slots[i].path = copy;
        slots[i].device = st->st_dev;
        slots[i].inode = st->st_ino;
        atomic_store(&slots[i].bytes, bytes);
        size_t most = atomic_load(&used);
        while (most < i + 1 && !atomic_compare_exchange_weak(&used, &most, i + 1)) {}
        atomic_store(&slots[i].begin, (uintptr_t)data);
        return true;
    }
    gal_free(copy);
    return true;
}

static bool shrunk(const slot *s, size_t *left) {
    struct stat st;
    if (stat(s->path, &st) != 0 || st.st_dev != s->device || st.st_ino != s->inode || st.st_size < 0) return false;
    *left = (size_t)st.st_size;
    return *left < atomic_load(&s->bytes);
}

static gal_err tell(const char *path, size_t bytes, size_t left, gal_diag *diag) {
    return gal_fail(
        diag, GAL_EINPUT,
        "%s: expected the %zu bytes that the file had when it was opened, found %zu: what was read is not whole",
        path, bytes, left);
}

gal_err gal_maps_check(gal_diag *diag) {
    size_t n = atomic_load(&used), left;
    if (gone.path) return tell(gone.path, gone.bytes, gone.left, diag);
    for (size_t i = 0; i < n; i++)
        if (atomic_load(&slots[i].begin) > CHANGING && shrunk(&slots[i], &left))
            return tell(slots[i].path, atomic_load(&slots[i].bytes), left, diag);
    return GAL_OK;
}

gal_err gal__maps_check_one(const void *data, gal_diag *diag) {
    size_t n = atomic_load(&used), left;
    for (size_t i = 0; i < n; i++)
        if (atomic_load(&slots[i].begin) == (uintptr_t)data && data && shrunk(&slots[i], &left))
            return tell(slots[i].path, atomic_load(&slots[i].bytes), left, diag);
    return GAL_OK;
}

static slot *slot_of(const void *address) {
    uintptr_t a = (uintptr_t)address;
    size_t n = atomic_load(&used);
    for (size_t i = 0; i < n; i++) {
        uintptr_t begin = atomic_load(&slots[i].begin);
        if (begin > CHANGING && a >= begin && a - begin < atomic_load(&slots[i].bytes)) return &slots[i];
    }
    return NULL;
}

gal_err gal_maps_check_at(const void *address, gal_diag *diag) {
    const slot *s = slot_of(address);
    size_t left;
    return s && shrunk(s, &left) ? tell(s->path, atomic_load(&s->bytes), left, diag) : GAL_OK;
}

static bool same_file(const slot *s, struct stat *st) {
    return !gal_fault(GAL_FAULT_LOOK) && stat(s->path, st) == 0 && st->st_dev == s->device &&
           st->st_ino == s->inode && st->st_size >= 0;
}

/* The clock of files ticks at least every 10 ms; some file systems count whole seconds, or two. */
static void wait_for_tick(const struct stat *st) {
    const bool coarse = st->st_ctim.tv_nsec == 0 && st->st_mtim.tv_nsec == 0;
    const double wait = coarse ? 2.1 : 0.05;
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return;
    const double age = (double)(now.tv_sec - st->st_ctim.tv_sec) + 1e-9 * (double)(now.tv_nsec - st->st_ctim.tv_nsec);
    if (age > wait) return;
    struct timespec left = { (time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9) };
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {}
}

bool gal_maps_stamp_at(const void *address, bool settle, gal_map_stamp *out) {
    const slot *s = slot_of(address);
    struct stat st;
    if (!s || !same_file(s, &st)) return false;
    if (settle) {
        wait_for_tick(&st);
        if (!same_file(s, &st)) return false;
    }
    *out = (gal_map_stamp){ (uint64_t)st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_ctim.tv_sec,
                            st.st_ctim.tv_nsec };
    return true;
}

void gal_maps_forget_at(const void *address, size_t n) {
#ifdef MADV_DONTNEED
    long page = sysconf(_SC_PAGESIZE);
    if (page <= 0 || !slot_of(address)) return;
    size_t size = (size_t)page, skip = (size - (uintptr_t)address % size) % size;
    if (n < skip + size) return;
    (void)madvise((char *)(uintptr_t)address + skip, (n - skip) / size * size, MADV_DONTNEED);
#else
    (void)address, (void)n;
#endif
}

void gal__maps_remove(const void *data) {
    size_t n = atomic_load(&used);
    for (size_t i = 0; i < n; i++) {
        uintptr_t expected = (uintptr_t)data;
        if (!atomic_compare_exchange_strong(&slots[i].begin, &expected, CHANGING)) continue;
        size_t left;
        if (shrunk(&slots[i], &left) && !atomic_flag_test_and_set(&gone.taken)) {
            gone.bytes = atomic_load(&slots[i].bytes);
            gone.left = left;
            gone.path = slots[i].path;
        } else {
            gal_free(slots[i].path);
        }
        slots[i].path = NULL;
        atomic_store(&slots[i].begin, FREE);
        return;
    }
}

bool gal_maps_find(const void *address, gal_map_place *out) {
    slot *s = slot_of(address);
    if (!s) return false;
    uintptr_t begin = atomic_load(&s->begin);
    *out = (gal_map_place){ s->path, (size_t)((uintptr_t)address - begin), atomic_load(&s->bytes) };
    return true;
}
