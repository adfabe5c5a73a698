/* file.c - see file.h: mapping, reading, folders. Refuses to treat a folder as a file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include "base/fault.h"
#include "base/maps.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *kind_of(mode_t mode) {
    return S_ISFIFO(mode)   ? "a pipe"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISBLK(mode)  ? "a block device"
                            : "something else";
}

/* Whose fault it is that a file cannot be read: the file's, unless this process or machine ran out of something. */
static gal_err class_of(int why) {
    if (why == ENOMEM) return GAL_ENOMEM;
    return why == EMFILE || why == ENFILE ? GAL_EFAIL : GAL_EINPUT;
}

/* Opens a file that is not a folder and tells its size. */
static gal_err open_file(int *out, const char *path, struct stat *st, gal_diag *diag) {
    int fd;
    gal_err err = GAL_EINPUT;
    /* Without O_NONBLOCK a pipe that nobody writes to would be waited for. Reading files is not changed by it. */
    do fd = gal_fault(GAL_FAULT_OPEN) ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return gal_fail(diag, class_of(errno), "%s: %s", path, strerror(errno));
    if (gal_fault(GAL_FAULT_LOOK) || fstat(fd, st) != 0) {
        err = gal_fail(diag, class_of(errno), "%s: %s", path, strerror(errno));
    } else if (S_ISDIR(st->st_mode)) {
        (void)gal_fail(diag, GAL_EINPUT, "%s: is a folder, expected a file", path);
    } else if (!S_ISREG(st->st_mode)) {
        (void)gal_fail(diag, GAL_EINPUT, "%s: is %s, expected a regular file", path, kind_of(st->st_mode));
    } else if (st->st_size < 0 || (uint64_t)st->st_size > SIZE_MAX / 2) {
        (void)gal_fail(diag, GAL_EINPUT, "%s: too large for this machine's addresses", path);
    } else {
        *out = fd;
        return GAL_OK;
    }
    (void)close(fd);
    return err;
}

gal_err gal_map_open(gal_map *out, const char *path, gal_diag *diag) {
    struct stat st;
    int fd = -1;
    gal_err err = open_file(&fd, path, &st, diag);
    if (err) return err;
    size_t bytes = (size_t)st.st_size;
    void *p = NULL;
    if (bytes) p = gal_fault(GAL_FAULT_MAP) ? MAP_FAILED : mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    int why = errno;
    (void)close(fd); /* the mapping stays */
    if (p == MAP_FAILED)
        return gal_fail(diag, class_of(why), "%s: cannot map %zu bytes: %s", path, bytes, strerror(why));
    if (bytes && !gal__maps_add(p, bytes, path, &st)) {
        (void)munmap(p, bytes);
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for its name", path);
    }
    *out = (gal_map){ p, bytes };
    return GAL_OK;
}

bool gal_file_begins(const char *path, const void *bytes, size_t n) {
    struct stat st;
    char head[16];
    size_t have = 0;
    int fd = -1;
    GAL_ASSERT(n <= sizeof head);
    if (open_file(&fd, path, &st, NULL)) return false;
    while (have < n) {
        size_t room = n - have;
        ssize_t more = gal_fault_move(GAL_FAULT_READ, &room) ? -1 : read(fd, head + have, room);
        if (more < 0 && errno == EINTR) continue;
        if (more <= 0) break;
        have += (size_t)more;
    }
    (void)close(fd);
    return have == n && memcmp(head, bytes, n) == 0;
}

void gal_map_forget(const gal_map *m, size_t from, size_t n) {
#ifdef MADV_DONTNEED /* posix_madvise() of the GNU library does nothing here */
    (void)madvise((char *)(uintptr_t)m->data + from, n, MADV_DONTNEED);
#else
    (void)m, (void)from, (void)n;
#endif
}

void gal_map_huge(const gal_map *m) {
#ifdef MADV_HUGEPAGE
    if (m->data) (void)madvise((char *)(uintptr_t)m->data, m->bytes, MADV_HUGEPAGE);
#else
    (void)m;
#endif
}

gal_err gal_map_check(const gal_map *m, gal_diag *diag) { return gal__maps_check_one(m->data, diag); }

void gal_map_close(gal_map *m) {
    if (m->data) {
        gal__maps_remove(m->data); /* before its addresses can become another map's */
        /* munmap takes a pointer to what may be written; the contents are not touched. */
        (void)munmap((void *)(uintptr_t)m->data, m->bytes);
    }
    *m = (gal_map){ NULL, 0 };
}

gal_err gal_read_file(gal_buf *b, const char *path, size_t max_bytes, gal_diag *diag) {
    gal_buf_clear(b);
    struct stat st;
    int fd = -1;
    gal_err err = open_file(&fd, path, &st, diag);
    if (err) return err;
    size_t need = st.st_size > 0 && (uint64_t)st.st_size < max_bytes ? (size_t)st.st_size + 2
                                                                     : 0; /* a NUL; the end */
    for (;;) {
        void *p = b->data;
        need = GAL_MAX(need, b->len + 4096);
        if (b->cap < need && gal_grow(&p, &b->cap, need, 1) != 0) {
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for its %lld bytes", path, (long long)st.st_size);
            break;
        }
        b->data = p;
        b->data[b->len] = 0;
        size_t room = b->cap - b->len - 1;
        ssize_t n = gal_fault_move(GAL_FAULT_READ, &room) ? -1 : read(fd, b->data + b->len, room);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) err = gal_fail(diag, class_of(errno), "%s: cannot read: %s", path, strerror(errno));
        if (n <= 0) break;
        if ((size_t)n > max_bytes - b->len) {
            err = gal_fail(diag, GAL_EINPUT, "%s: more than %zu bytes, which is the limit here", path, max_bytes);
            break;
        }
        b->len += (size_t)n;
        b->data[b->len] = 0;
    }
    (void)close(fd);
    return err;
}

/* What path is; kind itself if nobody can tell, and 0 if there is nothing. */
static mode_t look(const char *path, mode_t kind) {
    struct stat st;
    if (!gal_fault(GAL_FAULT_LOOK) && stat(path, &st) == 0) return st.st_mode & S_IFMT;
    if (errno == ELOOP) return S_IFLNK; /* opening it says so */
    return errno == ENOENT || errno == ENOTDIR ? 0 : kind;
}

bool gal_is_file(const char *path) { return look(path, S_IFREG) == S_IFREG; }
bool gal_is_dir(const char *path) { return look(path, S_IFDIR) == S_IFDIR; }

bool gal_exists(const char *path) {
    struct stat st;
    if (!gal_fault(GAL_FAULT_LOOK) && lstat(path, &st) == 0) return true;
    return errno != ENOENT && errno != ENOTDIR;
}

bool gal_same_file(const char *a, const char *b) {
    struct stat x, y;
    if (gal_fault(GAL_FAULT_LOOK) || stat(a, &x) != 0 || stat(b, &y) != 0) return errno != ENOENT && errno != ENOTDIR;
    return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool gal_within(const char *path, const char *outer) {
    char at[PATH_MAX];
    if (!gal_exists(outer) || gal_fault(GAL_FAULT_LOOK) || !realpath(path, at)) return false;
    for (char *slash; !gal_same_file(at, outer); *slash = 0) {
        slash = strrchr(at, '/');
        if (!slash || slash == at) return gal_same_file("/", outer);
    }
    return true;
}

gal_err gal_make_dirs(const char *path, gal_diag *diag) {
    char *copy = gal_strdup(path);
    if (!copy) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    gal_err err = GAL_OK;
    for (char *s = copy; !err;) {
        s += strspn(s, "/");
        s += strcspn(s, "/");
        char kept = *s;
        *s = 0;
        /* EEXIST may be a file; and other reasons come before EEXIST on read-only parents. */
        if (*copy && (gal_fault(GAL_FAULT_MKDIR) || mkdir(copy, 0777) != 0)) {
            int why = errno;
            if (!gal_is_dir(copy)) {
                if (why == EEXIST)
                    err = gal_fail(diag, GAL_EIO, "%s: exists and is not a folder", copy);
                else
                    err = gal_fail(diag, GAL_EIO, "%s: cannot make the folder: %s", copy, strerror(why));
            }
        }
        *s = kept;
        if (!kept) break;
    }
    gal_free(copy);
    return err;
}

/* Removes `name` inside the open folder `at`, never following a symbolic link. 0, or -1 with errno. */
static int remove_at(int at, const char *name) {
    if (gal_fault(GAL_FAULT_REMOVE)) return -1;
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT) return 0;
    if (errno != EISDIR && errno != EPERM) return -1;
    int why = errno;
    int fd;
    do fd = gal_fault(GAL_FAULT_OPEN) ? -1 : openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        if (errno == ENOTDIR || errno == ELOOP) errno = why; /* a file that may not be removed */
        return -1;
    }
    DIR *d = gal_fault(GAL_FAULT_LIST) ? NULL : fdopendir(fd);
    if (!d) {
        why = errno;
        (void)close(fd);
        errno = why;
        return -1;
    }
    int bad = 0;
    for (;;) {
        errno = 0;
        struct dirent *e = gal_fault(GAL_FAULT_LIST) ? NULL : readdir(d);
        if (!e) {
            bad = errno != 0;
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        bad = remove_at(dirfd(d), e->d_name) != 0;
        if (bad) break;
    }
    why = errno;
    (void)closedir(d);
    errno = why;
    return bad || gal_fault(GAL_FAULT_REMOVE) ? -1 : unlinkat(at, name, AT_REMOVEDIR);
}

gal_err gal_remove_tree(const char *path, gal_diag *diag) {
    if (remove_at(AT_FDCWD, path) == 0) return GAL_OK;
    return gal_fail(diag, GAL_EIO, "%s: cannot remove: %s", path, strerror(errno));
}

const char *gal_path_join(gal_buf *b, const char *dir, const char *name) {
    gal_buf_clear(b);
    gal_buf_puts(b, dir);
    if (b->len && b->data[b->len - 1] != '/') gal_buf_putc(b, '/');
    gal_buf_puts(b, name);
    return b->oom ? NULL : b->data;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void gal_free_names(char **names, size_t count) {
    for (size_t i = 0; i < count; i++) gal_free(names[i]);
    gal_free(names);
}

gal_err gal_list_dir(const char *dir, char ***names, size_t *count, gal_diag *diag) {
    DIR *d = gal_fault(GAL_FAULT_LIST) ? NULL : opendir(dir);
    if (!d) return gal_fail(diag, class_of(errno), "%s: %s", dir, strerror(errno));
    void *list = NULL;
    size_t n = 0, cap = 0;
    gal_err err = GAL_OK;
    while (!err) {
        errno = 0;
        struct dirent *e = gal_fault(GAL_FAULT_LIST) ? NULL : readdir(d);
        if (!e) {
            if (errno) err = gal_fail(diag, class_of(errno), "%s: cannot list: %s", dir, strerror(errno));
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        char *name = gal_strdup(e->d_name);
        if (!name || gal_grow(&list, &cap, n + 1, sizeof(char *))) {
            gal_free(name);
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for its listing", dir);
            break;
        }
        ((char **)list)[n++] = name;
    }
    (void)closedir(d);
    if (err) {
        gal_free_names(list, n);
        return err;
    }
    if (n) qsort(list, n, sizeof(char *), by_bytes);
    *names = list;
    *count = n;
    return GAL_OK;
}
