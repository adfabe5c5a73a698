/* faults.c - see faults.h. SPDX-License-Identifier: Apache-2.0 */
#include "faults.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { DEPTH = 24, MOST_SPARED = 1 << 15 };

static fault_plan plan = { .at = -1 };
static atomic_bool armed;
static atomic_long counter, hits, held;
static bool spared[MOST_SPARED]; /* allocations of jansson that must not fail, see grows() */
static long last_json;
static size_t last_json_bytes;
static struct {
    fault_owner owner;
    int kind, depth;
    void *frames[DEPTH];
} place;

/* True if the plan says that this one fails. */
static bool strike(fault_class what, fault_owner owner, int kind) {
    if (!atomic_load(&armed) || plan.what != what) return false;
    if (what == FAULT_CALL && !(plan.kinds >> kind & 1u)) return false;
    long n = atomic_fetch_add(&counter, 1);
    if (plan.at < 0 || n < plan.at || (n > plan.at && !plan.sticky)) return false;
    if (atomic_fetch_add(&hits, 1) == 0) {
        place.owner = owner;
        place.kind = kind;
        place.depth = backtrace(place.frames, DEPTH);
    }
    return true;
}

void faults_arm(fault_plan p) {
    if (p.at < 0) memset(spared, 0, sizeof spared);
    plan = p;
    atomic_store(&counter, 0);
    atomic_store(&hits, 0);
    place.depth = 0;
    atomic_store(&armed, true);
}

fault_report faults_disarm(void) {
    atomic_store(&armed, false);
    return (fault_report){ atomic_load(&counter), atomic_load(&hits), place.owner, place.kind };
}

void faults_print_place(FILE *to) {
    (void)fflush(to);
    backtrace_symbols_fd(place.frames, place.depth, fileno(to));
}

long faults_held(void) { return atomic_load(&held); }

/* ---- allocations -------------------------------------------------------------------------------------------------
 */

static void *gal_hook(void *user, void *ptr, size_t old_bytes, size_t bytes) {
    (void)user;
    (void)old_bytes;
    if (bytes == 0) {
        (void)atomic_fetch_sub(&held, 1);
        free(ptr);
        return NULL;
    }
    if (strike(FAULT_ALLOCATION, OWNER_GALERNE, 0)) return NULL;
    void *fresh = malloc(bytes); /* gal_realloc never asks the hook to resize */
    if (fresh) (void)atomic_fetch_add(&held, 1);
    return fresh;
}

enum { HEAD = 16 }; /* in front of the libraries' blocks: the size */

static size_t size_of(const void *ptr) {
    size_t bytes = 0;
    if (ptr) memcpy(&bytes, (const char *)ptr - HEAD, sizeof bytes);
    return bytes;
}

static void *with_size(char *raw, size_t bytes) {
    if (!raw) return NULL;
    memcpy(raw, &bytes, sizeof bytes);
    return raw + HEAD;
}

/* jansson (2.14 and before) ignores it when the buffer of a token cannot grow (lex_save() in its load.c): characters
 * vanish from names, or its own assertion ends the program. Nobody who calls it can help that, so growing is spared:
 * a block of twice the size of the one that is freed next. Counting runs find these; after a first failure the
 * numbers are others, and the size alone must tell. */
static bool grows(size_t bytes) {
    long n = atomic_load(&counter);
    if (n < MOST_SPARED && spared[n]) return true;
    return atomic_load(&hits) > 0 && bytes >= 32 && (bytes & (bytes - 1)) == 0;
}

static void *json_take(size_t bytes) {
    bool counting = atomic_load(&armed) && plan.what == FAULT_ALLOCATION;
    last_json = atomic_load(&counter);
    last_json_bytes = bytes;
    if (counting && grows(bytes))
        (void)atomic_fetch_add(&counter, 1);
    else if (strike(FAULT_ALLOCATION, OWNER_JANSSON, 0))
        return NULL;
    (void)atomic_fetch_add(&held, 1);
    return with_size(malloc(bytes + HEAD), bytes);
}

static void json_give(void *ptr) {
    if (!ptr) return;
    bool counting = atomic_load(&armed) && plan.what == FAULT_ALLOCATION && plan.at < 0;
    if (counting && last_json < MOST_SPARED && 2 * size_of(ptr) == last_json_bytes) spared[last_json] = true;
    last_json_bytes = 0;
    (void)atomic_fetch_sub(&held, 1);
    free((char *)ptr - HEAD);
}

static int sql_size(void *ptr) { return (int)size_of(ptr); }

static void *sql_resize(void *ptr, int bytes) {
    if (strike(FAULT_ALLOCATION, OWNER_SQLITE, 0)) return NULL;
    char *raw = realloc(ptr ? (char *)ptr - HEAD : NULL, (size_t)bytes + HEAD);
    if (raw && !ptr) (void)atomic_fetch_add(&held, 1);
    return with_size(raw, (size_t)bytes);
}

static void *sql_take(int bytes) { return sql_resize(NULL, bytes); }

static void sql_give(void *ptr) {
    if (!ptr) return;
    (void)atomic_fetch_sub(&held, 1);
    free((char *)ptr - HEAD);
}

static int sql_round(int bytes) { return (bytes + 7) / 8 * 8; }

static int sql_init(void *user) {
    (void)user;
    return SQLITE_OK;
}

static void sql_shutdown(void *user) { (void)user; }

/* SQLite takes some failures for another process's lock and waits seconds for that to go. */
static int no_sleep(sqlite3_vfs *vfs, int us) {
    (void)vfs;
    return us;
}

/* ---- calls -------------------------------------------------------------------------------------------------------
 */

#ifdef GAL_FAULTS
static int gal_call(void *user, gal_fault_kind kind) {
    (void)user;
    return strike(FAULT_CALL, OWNER_GALERNE, (int)kind) ? plan.why : 0;
}

static bool sql_strike(gal_fault_kind kind) {
    /* Short transfers are tried on our own calls. */
    if (plan.why <= 0 || !strike(FAULT_CALL, OWNER_SQLITE, (int)kind)) return false;
    errno = plan.why;
    return true;
}

static int sql_open(const char *path, int flags, int mode) {
    return sql_strike(GAL_FAULT_CREATE) ? -1 : open(path, flags, (mode_t)mode);
}

static ssize_t sql_pread(int fd, void *bytes, size_t n, off_t at) {
    return sql_strike(GAL_FAULT_READ) ? -1 : pread(fd, bytes, n, at);
}

static ssize_t sql_pwrite(int fd, const void *bytes, size_t n, off_t at) {
    return sql_strike(GAL_FAULT_WRITE) ? -1 : pwrite(fd, bytes, n, at);
}

static int sql_truncate(int fd, off_t bytes) { return sql_strike(GAL_FAULT_WRITE) ? -1 : ftruncate(fd, bytes); }
static int sql_unlink(const char *path) { return sql_strike(GAL_FAULT_REMOVE) ? -1 : unlink(path); }

static void install_calls(sqlite3_vfs *vfs) {
    static const struct {
        const char *name;
        sqlite3_syscall_ptr call;
    } CALLS[] = { { "open", (sqlite3_syscall_ptr)sql_open },       { "pread", (sqlite3_syscall_ptr)sql_pread },
                  { "pwrite", (sqlite3_syscall_ptr)sql_pwrite },   { "pread64", (sqlite3_syscall_ptr)sql_pread },
                  { "pwrite64", (sqlite3_syscall_ptr)sql_pwrite }, { "ftruncate", (sqlite3_syscall_ptr)sql_truncate },
                  { "unlink", (sqlite3_syscall_ptr)sql_unlink } };
    gal_set_fault_hook(gal_call, NULL);
    for (size_t i = 0; vfs && i < GAL_LEN(CALLS); i++) (void)vfs->xSetSystemCall(vfs, CALLS[i].name, CALLS[i].call);
}
#endif

void faults_install(void) {
    static const sqlite3_mem_methods METHODS = { sql_take,  sql_give, sql_resize,   sql_size,
                                                 sql_round, sql_init, sql_shutdown, NULL };
    gal_set_alloc_hook(gal_hook, NULL);
    json_set_alloc_funcs(json_take, json_give);
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &METHODS) != SQLITE_OK || sqlite3_initialize() != SQLITE_OK) abort();
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    if (vfs) vfs->xSleep = no_sleep;
#ifdef GAL_FAULTS
    install_calls(vfs);
#endif
    void *warm[4];
    (void)backtrace(warm, 4); /* loads its library now, not at the first failure */
}

/* ---- what is held ------------------------------------------------------------------------------------------------
 */

static int count_entries(const char *path) {
    DIR *d = opendir(path);
    int n = 0;
    while (d && readdir(d)) n++;
    if (d) (void)closedir(d);
    return n;
}

int open_files(void) { return count_entries("/proc/self/fd"); }
int running_threads(void) { return count_entries("/proc/self/task"); }
