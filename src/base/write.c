/* write.c - the crash-safe half of file.h. Owns the temporary: after any failure it is gone and path is untouched,
 * unless only the folder's sync failed. SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* O_TMPFILE: POSIX has no file without a name, which nobody has to remove */
#include "base/file.h"

#include "base/fault.h"
#include "base/mem.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { SINK_BYTES = 1 << 16, TRIES = 100, TMP_MAX_BYTES = PATH_MAX + 32 };

/* Temporaries that exist, for whoever must leave at once: a name is whole while its place is taken. More at a time
 * than there are places are not noted. */
enum { PLACES = 4, FREE = 0, CHANGING = 1, TAKEN = 2 };
static struct {
    atomic_int state;
    char name[TMP_MAX_BYTES];
} begun[PLACES];

static int note(const char *tmp) {
    for (int i = 0; i < PLACES; i++) {
        int expected = FREE;
        if (!atomic_compare_exchange_strong(&begun[i].state, &expected, CHANGING)) continue;
        memcpy(begun[i].name, tmp, strlen(tmp) + 1);
        atomic_store(&begun[i].state, TAKEN);
        return i;
    }
    return -1;
}

static void forget(int place) {
    if (place >= 0) atomic_store(&begun[place].state, FREE);
}

void gal_write_abandon(void) {
    for (int i = 0; i < PLACES; i++)
        if (atomic_load(&begun[i].state) == TAKEN) (void)unlink(begun[i].name);
}

/* What is being made in path's place. */
typedef struct temporary {
    char name[TMP_MAX_BYTES]; /* "": none yet */
    int place;                /* among those that exist, -1: none */
} temporary;

struct gal_sink {
    int fd;
    temporary made;            /* of a file, not of a device or memory */
    int why;                   /* errno of the first failure, 0 while all is well */
    uint64_t offset, expected; /* expected 0: nobody said */
    gal_buf *memory;           /* where bytes go instead of fd; NULL: to fd */
    size_t held;
    char bytes[SINK_BYTES]; /* writers of headers and small records should not pay a call each */
};

static void write_out(gal_sink *s, const char *bytes, size_t n) {
    if (s->memory) {
        gal_buf_add(s->memory, bytes, n);
        if (s->memory->oom) s->why = ENOMEM;
        return;
    }
    while (n && !s->why) {
        size_t part = n;
        ssize_t done = gal_fault_move(GAL_FAULT_WRITE, &part) ? -1 : write(s->fd, bytes, part);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) s->why = errno;
        if (done == 0) s->why = EIO;
        if (done > 0) {
            bytes += done;
            n -= (size_t)done;
        }
    }
}

static void flush_sink(gal_sink *s) {
    write_out(s, s->bytes, s->held);
    s->held = 0;
}

gal_err gal_sink_write(gal_sink *s, const void *bytes, size_t n) {
    if (n > SINK_BYTES - s->held) flush_sink(s);
    if (n > SINK_BYTES - s->held) {
        write_out(s, bytes, n);
    } else if (n) {
        memcpy(s->bytes + s->held, bytes, n);
        s->held += n;
    }
    s->offset += n;
    return s->why ? GAL_EIO : GAL_OK;
}

gal_err gal_sink_patch(gal_sink *s, uint64_t at, const void *bytes, size_t n) {
    GAL_ASSERT(at + n <= s->offset);
    flush_sink(s);
    if (s->memory && !s->why) memcpy(s->memory->data + (s->memory->len - s->offset) + at, bytes, n);
    const char *p = bytes;
    while (n && !s->memory && !s->why) {
        size_t part = n;
        ssize_t done = gal_fault_move(GAL_FAULT_WRITE, &part) ? -1 : pwrite(s->fd, p, part, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) {
            s->why = done < 0 ? errno : EIO;
            break;
        }
        p += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return s->why ? GAL_EIO : GAL_OK;
}

uint64_t gal_sink_offset(const gal_sink *s) { return s->offset; }

void gal_sink_expect(gal_sink *s, uint64_t bytes) { s->expected = bytes; }

bool gal_disk_available(const char *dir, uint64_t *bytes) {
    struct statvfs fs;
    if (statvfs(dir, &fs) != 0) return false;
    *bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize;
    return true;
}

/* The folder that path lies in, into dir. */
static const char *parent_of(char dir[PATH_MAX], const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return ".";
    size_t n = slash == path ? 1 : (size_t)(slash - path);
    if (n >= PATH_MAX) n = 0; /* no such folder can be: opening it will say so */
    memcpy(dir, path, n);
    dir[n] = 0;
    return dir;
}

gal_err gal_fail_write(gal_diag *diag, const char *path, int why, uint64_t needed_bytes) {
    uint64_t available = 0;
    char dir[PATH_MAX];
    struct stat st;
    /* What is no regular file fills no disk. */
    bool full = (why == ENOSPC || why == EDQUOT) && (stat(path, &st) != 0 || S_ISREG(st.st_mode));
    if (!full || !(gal_disk_available(path, &available) || gal_disk_available(parent_of(dir, path), &available)))
        return gal_fail(diag, GAL_EIO, "%s: cannot write: %s", path, strerror(why));
    char needed[40] = "";
    if (needed_bytes) (void)snprintf(needed, sizeof needed, "%" PRIu64 " bytes are needed, ", needed_bytes);
    return gal_fail(diag, GAL_EIO, "%s: cannot write: %s: the disk is full: %s%" PRIu64 " bytes are available", path,
                    strerror(why), needed, available);
}

static int sync_fd(int fd) {
    int bad;
    do bad = gal_fault(GAL_FAULT_SYNC) ? -1 : fsync(fd);
    while (bad && errno == EINTR);
    return bad;
}

gal_err gal_sync_dir(const char *dir, gal_diag *diag) {
    int fd;
    do fd = gal_fault(GAL_FAULT_OPEN) ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return gal_fail(diag, GAL_EIO, "%s: %s", dir, strerror(errno));
    /* EINVAL: some file systems cannot sync a folder. */
    int why = sync_fd(fd) && errno != EINVAL ? errno : 0;
    (void)close(fd);
    return why ? gal_fail(diag, GAL_EIO, "%s: cannot sync the folder: %s", dir, strerror(why)) : GAL_OK;
}

/* Names for a temporary beside path, one after the other, until `make` has taken one of them: 0, else -1. */
static int name_beside(char tmp[TMP_MAX_BYTES], const char *path, int (*make)(void *user, const char *tmp),
                       void *user) {
    uint64_t salt = (uint64_t)getpid() << 32 ^ (uint64_t)(gal_now_s() * 1e9);
    for (int i = 0; i < TRIES; i++) {
        int n = snprintf(tmp, TMP_MAX_BYTES, "%s.tmp.%" PRIx64, path, salt + (uint64_t)i);
        if (n < 0 || n >= PATH_MAX) {
            errno = ENAMETOOLONG;
            return -1;
        }
        if (make(user, tmp) == 0) return 0;
        if (errno != EEXIST && errno != EINTR) return -1;
    }
    return -1;
}

/* With the permissions that the umask asks for (mkstemp would give 0600). */
static int create(void *user, const char *tmp) {
    int fd = gal_fault(GAL_FAULT_CREATE) ? -1 : open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    *(int *)user = fd;
    return fd < 0 ? -1 : 0;
}

#ifdef O_TMPFILE
enum { PROC_BYTES = 40 };

/* The file by another name, which can be linked to; AT_EMPTY_PATH would need a capability on older systems. */
static const char *in_proc(char name[PROC_BYTES], int fd) {
    (void)snprintf(name, PROC_BYTES, "/proc/self/fd/%d", fd);
    return name;
}

static int link_to(void *user, const char *tmp) {
    char name[PROC_BYTES];
    if (gal_fault(GAL_FAULT_CREATE)) return -1;
    return linkat(AT_FDCWD, in_proc(name, *(int *)user), AT_FDCWD, tmp, AT_SYMLINK_FOLLOW);
}

static int see_none(void *user, const char *tmp) {
    struct stat st;
    (void)user;
    if (lstat(tmp, &st) != 0) return errno == ENOENT ? 0 : -1;
    errno = EEXIST;
    return -1;
}

/* A file in path's folder that has no name until it is whole: when the program is killed, the system frees it. -1
 * where the file system has no such files, or where it could not be given a name later. */
static int open_nameless(char tmp[TMP_MAX_BYTES], const char *path) {
    char dir[PATH_MAX], name[PROC_BYTES];
    struct stat st, again;
    int fd;
    if (name_beside(tmp, path, see_none, NULL)) return -1; /* too long, for one: to be said now, not after the work */
    do fd = gal_fault(GAL_FAULT_HINT) ? -1 : open(parent_of(dir, path), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return -1;
    tmp[0] = 0;
    if (fstat(fd, &st) == 0 && stat(in_proc(name, fd), &again) == 0 && st.st_dev == again.st_dev &&
        st.st_ino == again.st_ino)
        return fd;
    (void)close(fd);
    return -1;
}
#else
static int link_to(void *user, const char *tmp) {
    (void)user;
    (void)tmp;
    return -1;
}

static int open_nameless(char tmp[TMP_MAX_BYTES], const char *path) {
    (void)tmp;
    (void)path;
    return -1;
}
#endif

/* A new file beside path: one without a name, for which tmp is "", or else the file tmp. */
static int open_beside(char tmp[TMP_MAX_BYTES], const char *path) {
    int fd = open_nameless(tmp, path);
    if (fd < 0 && name_beside(tmp, path, create, &fd)) return -1;
    return fd;
}

static gal_err sync_parent(const char *path, gal_diag *diag) {
    char dir[PATH_MAX];
    return gal_sync_dir(parent_of(dir, path), diag);
}

/* The name comes when everything is on the disk: the moment in which it could be left behind is short. */
static int put_name(temporary *t, int fd, const char *path) {
    if (t->name[0]) return 0;
    if (name_beside(t->name, path, link_to, &fd)) {
        t->name[0] = 0;
        return -1;
    }
    t->place = note(t->name);
    return 0;
}

static void remove_temporary(temporary *t) {
    if (t->name[0]) (void)unlink(t->name);
    t->name[0] = 0;
    forget(t->place);
    t->place = -1;
}

/* Lets emit write to s->fd, closes it and says how that went; on success t (if any) takes path's place. */
static gal_err emit_to(gal_sink *s, const char *path, temporary *t,
                       gal_err (*emit)(gal_sink *s, void *user, gal_diag *diag), void *user, gal_diag *diag) {
    gal_diag inner = { GAL_OK, "" };
    gal_err err = emit(s, user, &inner);
    flush_sink(s);
    int why = s->why;
    if (!err && !why && t && (sync_fd(s->fd) || put_name(t, s->fd, path))) why = errno;
    bool bad = gal_fault(GAL_FAULT_CLOSE);          /* asked first: the file is closed all the same */
    if ((close(s->fd) || bad) && !why) why = errno; /* some network file systems report a full disk only here */
    if (!err && !why && t && (gal_fault(GAL_FAULT_RENAME) || rename(t->name, path))) why = errno;
    if (t && !err && !why) t->name[0] = 0;
    if (t) remove_temporary(t); /* before the message, so that what it took counts as available */
    /* The cause first; what emit says then only follows from it. */
    if (why) return gal_fail_write(diag, path, why, GAL_MAX(s->expected, s->offset));
    if (err) return gal_fail(diag, err, "%s", inner.text[0] ? inner.text : "cannot make the file's contents");
    return GAL_OK;
}

/* What path is, following links, in st; target: the name of the regular file that a link leads to, else "". 0 or an
 * errno, ENOENT if there is nothing yet. */
static int look(const char *path, char target[PATH_MAX], struct stat *st) {
    target[0] = 0;
    if (gal_fault(GAL_FAULT_LOOK) || lstat(path, st) != 0) return errno;
    if (!S_ISLNK(st->st_mode)) return 0;
    if (gal_fault(GAL_FAULT_LOOK) || stat(path, st) != 0) return errno;
    if (!S_ISREG(st->st_mode)) return 0;
    if (!gal_fault(GAL_FAULT_LOOK) && realpath(path, target)) return 0;
    target[0] = 0;
    return errno == ENOENT ? ESTALE : errno; /* it has no name any more */
}

gal_err gal_write_atomic(const char *path, gal_err (*emit)(gal_sink *s, void *user, gal_diag *diag), void *user,
                         gal_diag *diag) {
    char target[PATH_MAX];
    struct stat st;
    bool device = false;
    /* A link stays a link: what it points at is replaced. */
    int why = look(path, target, &st);
    if (why == ENOMEM) return gal_fail(diag, GAL_ENOMEM, "%s: %s", path, strerror(why));
    /* Whoever does not know what is there must not replace it. */
    if (why && why != ENOENT) return gal_fail(diag, GAL_EIO, "%s: cannot write: %s", path, strerror(why));
    if (target[0]) path = target;
    if (!why) {
        if (S_ISDIR(st.st_mode)) return gal_fail(diag, GAL_EIO, "%s: is a folder, expected a file to write", path);
        device = !S_ISREG(st.st_mode); /* a terminal, a pipe, /dev/null: written to, never replaced */
    }
    gal_sink *s = gal_alloc(sizeof *s);
    if (!s) return gal_fail(diag, GAL_ENOMEM, "%s: no memory to write it", path);
    s->fd = device ? open(path, O_WRONLY | O_CLOEXEC) : open_beside(s->made.name, path);
    gal_err err = GAL_OK;
    if (s->fd < 0) {
        err = gal_fail_write(diag, path, errno, 0);
    } else {
        s->made.place = s->made.name[0] ? note(s->made.name) : -1;
        err = emit_to(s, path, device ? NULL : &s->made, emit, user, diag);
    }
    gal_free(s);
    return err || device ? err : sync_parent(path, diag);
}

typedef struct memory {
    const void *bytes;
    size_t n;
} memory;

static gal_err emit_memory(gal_sink *s, void *user, gal_diag *diag) {
    const memory *m = user;
    (void)diag;
    gal_sink_expect(s, m->n);
    return gal_sink_write(s, m->bytes, m->n);
}

gal_err gal_write_file(const char *path, const void *bytes, size_t n, gal_diag *diag) {
    memory m = { bytes, n };
    return gal_write_atomic(path, emit_memory, &m, diag);
}

gal_err gal_rename(const char *from, const char *to, gal_diag *diag) {
    if (gal_fault(GAL_FAULT_RENAME) || rename(from, to) != 0)
        return gal_fail(diag, GAL_EIO, "%s: cannot rename to %s: %s", from, to, strerror(errno));
    return sync_parent(to, diag);
}

gal_err gal_write_memory(gal_buf *out, const char *name, gal_err (*emit)(gal_sink *s, void *user, gal_diag *diag),
                         void *user, gal_diag *diag) {
    gal_sink *s = gal_alloc(sizeof *s);
    if (!s) return gal_fail(diag, GAL_ENOMEM, "%s: no memory to write it", name);
    s->fd = -1;
    s->memory = out;
    gal_diag inner = { GAL_OK, "" };
    gal_err err = emit(s, user, &inner);
    flush_sink(s);
    if (s->why)
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for %" PRIu64 " bytes", name, s->offset);
    else if (err)
        (void)gal_fail(diag, err, "%s", inner.text[0] ? inner.text : "cannot make the file's contents");
    gal_free(s);
    return err;
}

gal_err gal_check_parent(const char *path, gal_diag *diag) {
    char dir[PATH_MAX], inside[PATH_MAX + 2];
    (void)snprintf(inside, sizeof inside, "%s/.", parent_of(dir, path)); /* of a file that is an error, too */
    bool can = !gal_fault(GAL_FAULT_LOOK) && access(inside, W_OK | X_OK) == 0;
    return can ? GAL_OK : gal_fail_write(diag, path, errno, 0);
}
