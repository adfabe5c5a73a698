/* bring.c - see bring.h. Mapped pages are entered into this process's table many at a time by the kernel, which costs
 * less than a fault for every few of them, and on all threads at once. Invariant: the address of the map never
 * changes, so pointers into it stay good. SPDX-License-Identifier: Apache-2.0 */
#include "base/bring.h"

#include "base/fault.h"
#include "base/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__linux__) && !defined(MADV_POPULATE_READ)
#define MADV_POPULATE_READ 22 /* since Linux 5.14; headers may be older than the kernel */
#endif

/* Between two looks at the progress: a few parts for each of a few threads. */
enum { PART_BYTES = 8 << 20, PARTS_A_LOOK = 16 };

typedef struct parts {
    gal_map map;
    size_t from; /* of the map, bytes */
    int fd;      /* -1: the pages are mapped already and only have to be there */
    atomic_int *why, *shrunk;
} parts;

/* Where the kernel cannot be asked for many pages, one byte of each is read. A file that has become shorter faults
 * here as it would later. */
static void touch(const uint8_t *p, size_t n) {
    const volatile uint8_t *page = p;
    for (size_t i = 0; i < n; i += 4096) (void)page[i];
}

static void populate(const parts *p, uint8_t *at, size_t n) {
#if defined(MADV_POPULATE_READ)
    (void)madvise(at, n, MADV_WILLNEED);
    int bad;
    do bad = madvise(at, n, MADV_POPULATE_READ);
    while (bad && errno == EINTR);
    if (!bad) return;
    if (errno == EFAULT) {
        atomic_store(p->shrunk, 1);
        return;
    }
    if (errno != EINVAL) { /* EINVAL: an older kernel */
        atomic_store(p->why, errno);
        return;
    }
#else
    (void)p;
#endif
    touch(at, n);
}

static void read_part(const parts *p, uint8_t *at, size_t n, size_t offset) {
    while (n) {
        size_t room = n;
        ssize_t got = gal_fault_move(GAL_FAULT_READ, &room) ? -1 : pread(p->fd, at, room, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) atomic_store(p->why, errno);
        if (got == 0) atomic_store(p->shrunk, 1);
        if (got <= 0) return;
        at += got;
        offset += (size_t)got;
        n -= (size_t)got;
    }
}

static void run_part(const void *args, int64_t chunk, void *scratch) {
    const parts *p = args;
    (void)scratch;
    size_t from = p->from + (size_t)chunk * PART_BYTES, n = GAL_MIN(p->map.bytes - from, (size_t)PART_BYTES);
    uint8_t *at = (uint8_t *)(uintptr_t)p->map.data + from; /* writable while it is read into */
    if (p->fd < 0)
        populate(p, at, n);
    else
        read_part(p, at, n, from);
}

static gal_err all_parts(const gal_map *m, int fd, const char *path, gal_bring *how, gal_diag *diag) {
    atomic_int why = 0, shrunk = 0;
    parts p = { .map = *m, .fd = fd, .why = &why, .shrunk = &shrunk };
    while (p.from < m->bytes) {
        size_t left = m->bytes - p.from, look = GAL_MIN(left, (size_t)PART_BYTES * PARTS_A_LOOK);
        gal_pool_run(how->pool, run_part, &p, (int64_t)((look + PART_BYTES - 1) / PART_BYTES));
        if (atomic_load(&shrunk))
            return gal_fail(diag, GAL_EINPUT, "%s: expected %zu bytes, but the file has become shorter", path,
                            m->bytes);
        if (atomic_load(&why))
            return gal_fail(diag, GAL_EINPUT, "%s: cannot read: %s", path, strerror(atomic_load(&why)));
        p.from += look;
        how->done += look;
        if (how->progress && how->progress(how->user, how->done, how->total))
            return gal_fail(diag, GAL_EINTERRUPTED, "%s: interrupted while it was read", path);
    }
    return GAL_OK;
}

/* Replaces the mapping by memory and fills it from the file. */
static gal_err read_all(gal_map *m, const char *path, gal_bring *how, gal_diag *diag) {
    int fd;
    do fd = gal_fault(GAL_FAULT_OPEN) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return gal_fail(diag, GAL_EINPUT, "%s: %s", path, strerror(errno));
    void *at = (void *)(uintptr_t)m->data;
    gal_err err = GAL_OK;
    if (gal_fault(GAL_FAULT_MAP) ||
        mmap(at, m->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for its %zu bytes", path, m->bytes);
    if (!err) {
#if defined(MADV_HUGEPAGE)
        (void)madvise(at, m->bytes, MADV_HUGEPAGE);
#endif
        err = all_parts(m, fd, path, how, diag);
        gal__maps_remove(m->data); /* a copy: the file may change now */
        (void)mprotect(at, m->bytes, PROT_READ);
    }
    (void)close(fd);
    return err;
}

/* Whether samples all over a mapped file are in memory, nearly all of them. */
static bool is_warm(const gal_map *m) {
    enum { SAMPLES = 256, WARM = 250, PAGE = 4096 };
    size_t here = 0, step = m->bytes / SAMPLES / PAGE * PAGE;
    for (size_t i = 0; i < SAMPLES; i++) {
        unsigned char in = 0;
        void *page = (void *)(uintptr_t)(m->data + i * step);
        if (mincore(page, 1, &in) != 0) return true; /* it cannot be told; pages come as they are used */
        here += in & 1;
    }
    return here >= WARM;
}

gal_err gal_map_bring(gal_map *m, const char *path, gal_bring *how, gal_diag *diag) {
    if (!m->bytes) return GAL_OK;
    if (how->read) return read_all(m, path, how, diag);
    if (!is_warm(m)) return all_parts(m, -1, path, how, diag);
    how->done += m->bytes;
    return GAL_OK;
}
