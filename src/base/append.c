/* append.c - see append.h. Not synced: a power cut may take the last lines; nothing is ever read back from them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/append.h"

#include "base/fault.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct gal_append {
    int fd;
    char *path;
};

static void cut(int fd, off_t size) {
    int bad = ftruncate(fd, size); /* what cannot be cut stays half a line */
    (void)bad;
}

/* The end of the last whole line. Devices and pipes have none. */
static void drop_half_line(int fd) {
    struct stat st;
    if (gal_fault(GAL_FAULT_HINT) || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return;
    char part[512];
    off_t end = st.st_size;
    while (end > 0) {
        off_t from = end > (off_t)sizeof part ? end - (off_t)sizeof part : 0;
        ssize_t n = gal_fault(GAL_FAULT_HINT) ? -1 : pread(fd, part, (size_t)(end - from), from);
        if (n <= 0) return;
        while (n > 0 && part[n - 1] != '\n') n--;
        end = from + n;
        if (n > 0) break;
    }
    if (end < st.st_size) cut(fd, end);
}

gal_err gal_append_open(gal_append **out, const char *path, gal_diag *diag) {
    gal_append *a = gal_alloc(sizeof *a);
    if (!a) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    a->path = gal_strdup(path);
    do
        a->fd = a->path && !gal_fault(GAL_FAULT_CREATE) ? open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666)
                                                        : -1;
    while (a->path && a->fd < 0 && errno == EINTR);
    if (a->fd < 0) {
        gal_err err = a->path ? gal_fail_write(diag, path, errno, 0)
                              : gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
        gal_free(a->path);
        gal_free(a);
        return err;
    }
    drop_half_line(a->fd);
    *out = a;
    return GAL_OK;
}

gal_err gal_append_line(gal_append *a, const char *text, size_t n, gal_diag *diag) {
    off_t before = lseek(a->fd, 0, SEEK_END);
    for (size_t done = 0; done < n;) {
        size_t part = n - done;
        ssize_t w = gal_fault_move(GAL_FAULT_WRITE, &part) ? -1 : write(a->fd, text + done, part);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) {
            int why = w < 0 ? errno : EIO;
            if (done && before >= 0) cut(a->fd, before);
            return gal_fail_write(diag, a->path, why, n);
        }
        done += (size_t)w;
    }
    return GAL_OK;
}

void gal_append_close(gal_append *a) {
    if (!a) return;
    (void)close(a->fd);
    gal_free(a->path);
    gal_free(a);
}
