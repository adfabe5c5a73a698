/* fault.h - places where a test can make the system fail: every call that reads, writes or changes files, maps them
 * or starts threads asks here first. Only builds with GAL_FAULTS (cmake -DGAL_FAULTS=ON) contain any of it; elsewhere
 * the questions answer no. How to add a place: docs/internals/base.md. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_FAULT_H
#define GAL_BASE_FAULT_H

#include <stdbool.h>
#include <stddef.h>

typedef enum gal_fault_kind {
    GAL_FAULT_OPEN,   /* for reading */
    GAL_FAULT_READ,   /* may be short */
    GAL_FAULT_MAP,    /* mmap */
    GAL_FAULT_LIST,   /* opendir, readdir */
    GAL_FAULT_LOOK,   /* stat, lstat, fstat, realpath */
    GAL_FAULT_CREATE, /* open for writing */
    GAL_FAULT_WRITE,  /* may be short */
    GAL_FAULT_SYNC,
    GAL_FAULT_CLOSE, /* of what was written */
    GAL_FAULT_RENAME,
    GAL_FAULT_MKDIR,
    GAL_FAULT_REMOVE, /* unlink, rmdir */
    GAL_FAULT_LOCK,
    GAL_FAULT_THREAD,
    GAL_FAULT_HINT, /* what nobody depends on: limits of a container, lines of a log, a file without a name */
    GAL_FAULTS_COUNT
} gal_fault_kind;

/* What a hook says besides an errno: a read or write moves half of what it could. */
enum { GAL_FAULT_SHORT = -1 };

#ifdef GAL_FAULTS
/* Called at each place, from any thread: 0 lets the call happen, an errno makes it fail with that. */
typedef int (*gal_fault_hook)(void *user, gal_fault_kind kind);
void gal_set_fault_hook(gal_fault_hook hook, void *user);

/* True, with errno set: the caller behaves as if the call had failed so. */
bool gal_fault(gal_fault_kind kind);
/* The same for a read or write of *n bytes, which may be halved. */
bool gal_fault_move(gal_fault_kind kind, size_t *n);
#else
/* Functions, not constants: clang would call what follows a constant never executed. */
static inline bool gal_fault(gal_fault_kind kind) {
    (void)kind;
    return false;
}
static inline bool gal_fault_move(gal_fault_kind kind, size_t *n) {
    (void)kind;
    (void)n;
    return false;
}
#endif

#endif
