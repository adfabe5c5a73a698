/* mem.c - see mem.h. Owns the layout of a block; refuses sizes that cannot be.
 *
 *   raw                                   what the C library or the hook gave
 *   [ ... slack | header | contents | slack ]
 *                        ^ 64-byte aligned: the pointer that callers hold
 *
 * The header tells where raw is and how big the block is, because the hook is owed old sizes. Under ASan header
 * and slack are poisoned, so that an overrun of the contents is seen. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include "base/asan.h"
#include "base/cgroup.h"
#include "base/sysfile.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { ALIGN = 64, HUGE_PAGE = 2 << 20 };

typedef struct header {
    void *raw;
    size_t bytes;
} header;

enum { OVERHEAD = ALIGN + (int)sizeof(header) };

static gal_alloc_hook the_hook;
static void *the_user;

void gal_set_alloc_hook(gal_alloc_hook hook, void *user) {
    the_hook = hook;
    the_user = user;
}

static header *header_of(void *ptr) { return (header *)ptr - 1; }

static header read_header(void *ptr) {
    header *h = header_of(ptr);
    GAL_UNPOISON(h, sizeof *h);
    header copy = *h;
    GAL_POISON(h, sizeof *h);
    return copy;
}

/* Large blocks begin at a huge page, and the whole ones in them are asked for: strided reads of weights and
 * activations miss the processor's table of small pages all the time. */
static size_t alignment(size_t bytes) { return bytes >= HUGE_PAGE && !the_hook && !GAL_ASAN ? HUGE_PAGE : ALIGN; }

static void ask_huge(void *ptr, size_t bytes) {
#ifdef MADV_HUGEPAGE
    /* A refusal changes nothing but the speed. */
    (void)madvise(ptr, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#else
    (void)ptr;
    (void)bytes;
#endif
}

void *gal_alloc(size_t bytes) {
    if (bytes > PTRDIFF_MAX - OVERHEAD - HUGE_PAGE) return NULL;
    size_t align = alignment(bytes), total = bytes + OVERHEAD - ALIGN + align;
    /* calloc leaves fresh pages untouched: a large block costs nothing until it is used. */
    char *raw = the_hook ? the_hook(the_user, NULL, 0, total) : calloc(1, total);
    if (!raw) return NULL;
    if (the_hook) memset(raw, 0, total);
    size_t skip = sizeof(header) + (align - ((uintptr_t)raw + sizeof(header)) % align) % align;
    void *ptr = raw + skip;
    if (align == HUGE_PAGE) ask_huge(ptr, bytes);
    header *h = header_of(ptr);
    h->raw = raw;
    h->bytes = bytes;
    GAL_POISON(raw, skip);
    GAL_POISON(raw + skip + bytes, total - skip - bytes);
    return ptr;
}

void *gal_alloc_array(size_t count, size_t size) {
    if (size && count > SIZE_MAX / size) return NULL;
    return gal_alloc(count * size);
}

void gal_free(void *ptr) {
    if (!ptr) return;
    header h = read_header(ptr);
    GAL_UNPOISON(h.raw, h.bytes + OVERHEAD);
    if (the_hook) {
        (void)the_hook(the_user, h.raw, h.bytes + OVERHEAD, 0);
    } else {
        free(h.raw);
    }
}

void *gal_realloc(void *ptr, size_t bytes) {
    if (!ptr) return gal_alloc(bytes);
    /* Not the C library's realloc: it may move the block to another alignment. */
    size_t old = read_header(ptr).bytes;
    void *fresh = gal_alloc(bytes);
    if (!fresh) return NULL;
    memcpy(fresh, ptr, old < bytes ? old : bytes);
    gal_free(ptr);
    return fresh;
}

char *gal_strndup(const char *s, size_t n) {
    const char *end = memchr(s, 0, n);
    size_t len = end ? (size_t)(end - s) : n;
    if (len == SIZE_MAX) return NULL;
    char *copy = gal_alloc(len + 1);
    if (copy) memcpy(copy, s, len);
    return copy;
}

char *gal_strdup(const char *s) { return gal_strndup(s, strlen(s)); }

int gal_grow(void **items, size_t *cap, size_t need, size_t size) {
    if (need <= *cap) return 0;
    size_t fresh = *cap ? *cap : 8;
    while (fresh < need) {
        if (fresh > SIZE_MAX / 2) return -1;
        fresh *= 2;
    }
    if (size && fresh > SIZE_MAX / size) return -1;
    void *p = gal_realloc(*items, fresh * size);
    if (!p) return -1;
    *items = p;
    *cap = fresh;
    return 0;
}

uint64_t gal_memory_available(void) { return gal__memory_left(); }

gal_disk_use gal_disk_used(void) {
    struct rusage use;
    gal_disk_use u = { .read_bytes = gal__read_bytes() };
    if (getrusage(RUSAGE_SELF, &use) == 0 && use.ru_majflt > 0) u.faults = (uint64_t)use.ru_majflt;
    return u;
}

uint64_t gal_memory_peak(void) {
    struct rusage use;
    if (getrusage(RUSAGE_SELF, &use) != 0 || use.ru_maxrss < 0) return 0;
    return (uint64_t)use.ru_maxrss * 1024; /* Linux counts KiB */
}

uint64_t gal_memory_resident(void) {
    char text[GAL__SYS_TEXT];
    return gal__sys_text(text, "", "/proc/self/status") ? 1024 * gal__sys_after(text, "VmRSS:", 0) : 0;
}
