/* maps.h - which files are mapped where, so that a handler of SIGBUS can name the file that shrank under its map, and
 * in which state they are. Owned by file.c, asked by the program. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_MAPS_H
#define GAL_BASE_MAPS_H

#include <sys/stat.h>

#include "base/err.h"

/* Of file.c: a map that was made, st: of its file; one that will be closed or no longer is the file. False: no memory
 * for the path. Beyond 4,096 live maps a new one is not noted, and true. */
bool gal__maps_add(const void *data, size_t bytes, const char *path, const struct stat *st);
void gal__maps_remove(const void *data);
/* Of the caller's own live map: GAL_EINPUT as in gal_maps_check(). */
gal_err gal__maps_check_one(const void *data, gal_diag *diag);

typedef struct gal_map_place {
    const char *path;     /* as it was opened; valid while the map is */
    size_t offset, bytes; /* of the address in the file; of the file when it was mapped */
} gal_map_place;

/* The live map that holds an address; false: none. Only loads, no lock: a signal handler may call it. */
bool gal_maps_find(const void *address, gal_map_place *out);

/* Of the live map that holds an address, if any: GAL_EINPUT as below. */
gal_err gal_maps_check_at(const void *address, gal_diag *diag);
/* In which state a mapped file is: by its size and times, to the nanosecond where the file system has them. */
typedef struct gal_map_stamp {
    uint64_t bytes;
    int64_t modified_s, modified_ns, changed_s, changed_ns;
} gal_map_stamp;
/* Of the file of the live map that holds an address; false: there is no such map, or its name leads to another file
 * by now. settle: waits, a fraction of a second in most file systems, until a further change would show in it. */
bool gal_maps_stamp_at(const void *address, bool settle, gal_map_stamp *out);
/* n bytes from an address in a live map on will not be read soon: their whole pages no longer count as resident. */
void gal_maps_forget_at(const void *address, size_t n);

/* GAL_EINPUT if the file of a live map, or of one that was closed, became shorter while it was mapped: a cut within
 * the last page raises no signal, its bytes just read as 0. A file that another one replaced is whole where it is
 * mapped. For a program at its end: it looks at all maps that the process ever had, and no other thread may open or
 * close one meanwhile. */
gal_err gal_maps_check(gal_diag *diag);

#endif
