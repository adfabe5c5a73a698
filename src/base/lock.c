/* lock.c - see lock.h. The lock belongs to the open file (F_OFD_SETLK), not to the process: it ends with the last
 * descriptor, however the process ends, and closing another descriptor of the same file does not drop it.
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* F_OFD_SETLK: POSIX 2008 has only locks that any close() of the file drops */
#include "base/lock.h"

#include "base/fault.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HOLDER = 200, TRIES = 10 };

/* What the holder wrote, as printable words. */
static void read_holder(int fd, char text[HOLDER]) {
    ssize_t n = pread(fd, text, HOLDER - 1, 0);
    size_t len = n > 0 ? (size_t)n : 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n') len = i;
        if ((unsigned char)text[i] < ' ') text[i] = '?';
    }
    text[len] = 0;
    if (!len) (void)snprintf(text, HOLDER, "another process"); /* it has only just begun, or its disk is full */
}

static bool empty(int fd) { return ftruncate(fd, 0) == 0; }

static void write_holder(int fd) {
    char host[100] = "", at[32] = "", text[HOLDER];
    time_t now = (time_t)gal_unix_time_s();
    struct tm utc;
    if (gethostname(host, sizeof host - 1) != 0 || !host[0]) (void)snprintf(host, sizeof host, "an unnamed host");
    if (gmtime_r(&now, &utc)) (void)strftime(at, sizeof at, "%Y-%m-%d %H:%M:%S UTC", &utc);
    int n = snprintf(text, sizeof text, "process %ld on %s since %s\n", (long)getpid(), host, at);
    /* Only for people: the lock is whole without it. */
    if (n > 0 && empty(fd) && !gal_fault(GAL_FAULT_HINT) && pwrite(fd, text, (size_t)n, 0) != n) (void)empty(fd);
}

static bool no_locks_here(int why) { return why == ENOLCK || why == EOPNOTSUPP || why == ENOSYS || why == EINVAL; }

gal_err gal_lock_take(gal_lock *l, const char *path, const char *what, gal_diag *diag) {
    *l = (gal_lock){ 0 };
    for (int i = 0; i < TRIES; i++) {
        int fd;
        do fd = gal_fault(GAL_FAULT_CREATE) ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        while (fd < 0 && errno == EINTR);
        if (fd < 0) return gal_fail(diag, GAL_EIO, "%s: cannot make the lock: %s", path, strerror(errno));
        struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        struct stat st;
        if (gal_fault(GAL_FAULT_LOCK) || fcntl(fd, F_OFD_SETLK, &whole) != 0) {
            int why = errno;
            char holder[HOLDER];
            read_holder(fd, holder);
            (void)close(fd);
            if (no_locks_here(why)) return GAL_OK;
            if (why != EAGAIN && why != EACCES)
                return gal_fail(diag, GAL_EIO, "%s: cannot lock: %s", path, strerror(why));
            return gal_fail(diag, GAL_EBUSY, "%s is held by %s; wait until it ends, or stop it", what, holder);
        }
        /* A holder that gave up may have removed the file after it was opened here: then the lock keeps nobody out.
         */
        if (!gal_fault(GAL_FAULT_LOOK) && fstat(fd, &st) == 0 && st.st_nlink > 0) {
            write_holder(fd);
            *l = (gal_lock){ true, fd };
            return GAL_OK;
        }
        (void)close(fd);
    }
    return gal_fail(diag, GAL_EIO, "%s: cannot lock: the file is removed again and again", path);
}

void gal_lock_give(gal_lock *l) {
    if (l->held) {
        (void)empty(l->fd);
        (void)close(l->fd);
    }
    *l = (gal_lock){ 0 };
}

bool gal_lock_taken(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    bool taken = fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    (void)close(fd);
    return taken;
}
