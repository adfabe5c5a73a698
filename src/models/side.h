/* side.h - private to models/: what reading and writing the file of packed weights share. The file is
 *
 *   4096 bytes   "GALPK 1\n"; 8 bytes, the file's size; 32 bytes, the key: which state of which files it was made of;
 *                32 bytes, the contents: SHA-256 of names, shapes, formats and numbers (its name has 16 digits of
 * it). Size and contents are for people and other programs
 *   ...          the packed weights in the model's order, each padded to 4096 bytes with zeros
 *   8 n          gal_hash_bulk() of each weight's slices of 4 MiB
 *   8            gal_hash_bulk() of the first 4096 bytes, then of these
 *
 * all numbers little-endian. Key and contents begin with what packing makes of a pattern, so that a file of another
 * layout is another file, though nobody thought of it. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_MODELS_SIDE_H
#define GAL_MODELS_SIDE_H

#include "base/hash.h"
#include "models/load.h"
#include "tensor/pack.h"

#define GAL__SIDE_MAGIC "GALPK 1\n"
#define GAL__SIDE_ENDING ".packed"
enum {
    GAL__SIDE_HEAD = 4096,
    GAL__SIDE_MAGIC_BYTES = 8,
    GAL__SIDE_AT_BYTES = 8,
    GAL__SIDE_AT_KEY = 16,
    GAL__SIDE_AT_CONTENTS = 48,
    GAL__SIDE_DIGITS = 16
};

static inline size_t gal__side_bytes_of(const gal_w *w) {
    return gal_pack_bytes(w->code.block, w->dim[0], w->dim[1]);
}
static inline size_t gal__side_padded(size_t n) { return (n + GAL__SIDE_HEAD - 1) / GAL__SIDE_HEAD * GAL__SIDE_HEAD; }

/* Much data in slices, which threads hash one by one. list: freed by the caller. */
typedef struct gal__slice {
    const uint8_t *at;
    size_t n;
    uint64_t hash;
} gal__slice;
typedef struct gal__slices {
    gal__slice *list;
    size_t n, room;
} gal__slices; /* {0} */
gal_err gal__slices_add(gal__slices *s, const void *data, size_t bytes, gal_diag *diag);
void gal__slices_hash(const gal__slices *s, gal_dev *dev);

/* The first weight that is to be packed; NULL: there is none. */
const gal_w *gal__side_first(const gal_model *m);
/* false: the state of the files cannot be told. settle: see gal_maps_stamp_at(). */
bool gal__side_key(uint8_t key[32], const gal_model *m, bool settle);
gal_err gal__side_contents(uint8_t out[32], const gal_model *m, gal_dev *dev, gal_diag *diag);
/* Bytes of such a file, and how many slices its weights have. */
uint64_t gal__side_file_bytes(const gal_model *m, uint64_t *hashes);
/* The last number of the file. */
uint64_t gal__side_sum(const void *head, const void *hashes, uint64_t n);

/* The name behind a path's last slash. */
const char *gal__side_base(const char *path);
/* Whether a name is that of such a file of the model's name. */
bool gal__side_is(const char *name, const char *model);
/* The folder of a path, into b. */
gal_err gal__side_folder(gal_buf *b, const char *path, gal_diag *diag);

/* Maps a file if it is of this key and whole, and points the weights into it unless that is for later; else *why says
 * why not, "" where it is of no interest. */
gal_err gal__side_attach(gal_model *m, gal_dev *dev, const char *path, const uint8_t key[32], const gal_side *how,
                         const char **why, gal_diag *diag);
/* Points a weight that is to be packed into m->side, once its checksums were found to be right; else the file is
 * spoilt, and a note says so. */
bool gal__side_take(gal_model *m, gal_w *w, gal_dev *dev);

#endif
