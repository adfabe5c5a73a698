/* file.h - mapping, reading and crash-safe writing of files. Paths are UTF-8 bytes, at most PATH_MAX.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_FILE_H
#define GAL_BASE_FILE_H

#include "base/buf.h"

/* A whole file mapped read-only. data is NULL for an empty file. When the file shrinks, reading what is gone raises
 * SIGBUS; the library has no handler, base/maps.h helps who installs one. */
typedef struct gal_map {
    const uint8_t *data;
    size_t bytes;
} gal_map;

/* GAL_EINPUT if path is missing, a folder, or unreadable; GAL_EFAIL if too many files are open. */
gal_err gal_map_open(gal_map *out, const char *path, gal_diag *diag);
void gal_map_close(gal_map *m); /* leaves {0}; {0} is allowed */
/* Bytes [from, from + n) will not be read soon: they no longer count as resident. from: a multiple of the page. */
void gal_map_forget(const gal_map *m, size_t from, size_t n);

/* Pages that are read in from now on shall be huge ones, where the system has them for files. */
void gal_map_huge(const gal_map *m);

/* GAL_EINPUT if the file became shorter than the map; a cut within the last page would otherwise just read as 0. */
gal_err gal_map_check(const gal_map *m, gal_diag *diag);

/* Reads a whole regular file into b (cleared first); refuses more than max_bytes. */
gal_err gal_read_file(gal_buf *b, const char *path, size_t max_bytes, gal_diag *diag);

/* Whether a regular file begins with n bytes, at most 16; false also where it cannot be read. Allocates nothing, so
 * that it is never false for want of memory. */
bool gal_file_begins(const char *path, const void *bytes, size_t n);

/* True also if nobody can tell (an input or output error): whoever then opens it learns why, and nothing is taken for
 * absent that is there. */
bool gal_is_file(const char *path);
bool gal_is_dir(const char *path);
/* Something has that name: a file of any kind, a folder, a link to nowhere. */
bool gal_exists(const char *path);
/* Both name one file, by whatever ways; true also where nobody can tell, false where one of them does not exist. */
bool gal_same_file(const char *a, const char *b);
/* Whether a file or folder is `outer`, or lies in it. */
bool gal_within(const char *path, const char *outer);
/* GAL_EIO, as when it is written, unless the folder is there that path would lie in, and lets one make something. */
gal_err gal_check_parent(const char *path, gal_diag *diag);
/* Makes path and its parents; an existing folder is fine. */
gal_err gal_make_dirs(const char *path, gal_diag *diag);
/* Removes a folder with everything in it, or a file; a path that does not exist is fine. */
gal_err gal_remove_tree(const char *path, gal_diag *diag);
/* "dir/name" into b, which is cleared first; returns b->data, NULL when out of memory. */
const char *gal_path_join(gal_buf *b, const char *dir, const char *name);
/* Names in dir, sorted by bytes, without "." and ".."; free each and the array. */
gal_err gal_list_dir(const char *dir, char ***names, size_t *count, gal_diag *diag);
void gal_free_names(char **names, size_t count);

/* Writes path so that a reader sees the old file or the new one whole, even after a power cut: a temporary in the
 * same folder, fsync, rename, fsync of the folder. emit writes through the given sink and returns its error. A
 * symbolic link stays, its target is replaced; a device or pipe is written to as it is. */
typedef struct gal_sink gal_sink;
gal_err gal_sink_write(gal_sink *s, const void *bytes, size_t n); /* sticky; GAL_EIO */
void gal_sink_expect(gal_sink *s, uint64_t bytes); /* the file's whole size, for the message when the disk is full */
uint64_t gal_sink_offset(const gal_sink *s);       /* bytes written so far */
/* Replaces n bytes at `at`, all of which were written before: a header that is known last. Of a file or memory. */
gal_err gal_sink_patch(gal_sink *s, uint64_t at, const void *bytes, size_t n);
gal_err gal_write_atomic(const char *path, gal_err (*emit)(gal_sink *s, void *user, gal_diag *diag), void *user,
                         gal_diag *diag);
gal_err gal_write_file(const char *path, const void *bytes, size_t n, gal_diag *diag); /* the same, from memory */
/* For a program that ends at once: removes what gal_write_atomic() has begun. A signal handler may call it. */
void gal_write_abandon(void);
/* GAL_EIO: "path: cannot write: WHY"; of a full disk also how much is needed (0: not known) and available there. */
gal_err gal_fail_write(gal_diag *diag, const char *path, int why, uint64_t needed_bytes);
/* Bytes that an ordinary user can still write in the folder; false if nobody knows. */
bool gal_disk_available(const char *dir, uint64_t *bytes);
/* rename(), then fsync of the folder that `to` is in. */
gal_err gal_rename(const char *from, const char *to, gal_diag *diag);
/* Appends to out what emit would write into a file. */
gal_err gal_write_memory(gal_buf *out, const char *name, gal_err (*emit)(gal_sink *s, void *user, gal_diag *diag),
                         void *user, gal_diag *diag);
/* fsync of a folder, so that a rename inside it is durable. */
gal_err gal_sync_dir(const char *dir, gal_diag *diag);

#endif
