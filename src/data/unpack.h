/* unpack.h - the bytes of a file front to back, decompressed where it is an archive: Zstandard and gzip, told by
 * content. Memory does not grow with the file. Refuses archives that are damaged or cut short, with the place in the
 * file, Parquet files, and files that become shorter while they are read. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_DATA_UNPACK_H
#define GAL_DATA_UNPACK_H

#include "base/err.h"

typedef struct gal_unpack gal_unpack;

/* Whether reading shall end with GAL_EINTERRUPTED; asked now and then, also while standard input says nothing. */
typedef bool (*gal_unpack_stop)(void *user);

/* path "-": standard input; otherwise a regular file. stop may be NULL. */
gal_err gal_unpack_open(gal_unpack **out, const char *path, gal_unpack_stop stop, void *user, gal_diag *diag);
/* The same of bytes in memory, which are borrowed; name stands in messages. */
gal_err gal_unpack_open_bytes(gal_unpack **out, const void *bytes, size_t n, const char *name, gal_diag *diag);
void gal_unpack_close(gal_unpack *u);

/* Some of the next bytes, at most `room` > 0 of them; *n 0: the end. After an error only closing is allowed. */
gal_err gal_unpack_read(gal_unpack *u, char *to, size_t room, size_t *n, gal_diag *diag);
uint64_t gal_unpack_taken(const gal_unpack *u); /* bytes of the file that were read so far, as they lie in it */
uint64_t gal_unpack_size(const gal_unpack *u);  /* of the file; 0: nobody knows */
const char *gal_unpack_name(const gal_unpack *u);

#endif
