/* safetensors.h - files of named tensors (formats.md 1), mapped and checked by every rule before anything is used.
 *
 *   offset 0     u64 N, little-endian      length of the header, at most 100,000,000
 *   offset 8     N bytes                   a JSON object in UTF-8, first byte '{', spaces on the right
 *   offset 8+N   data                      tensors back to back, no holes, no overlap, nothing after the last
 *
 * What is open stays valid until closed; tensors point into the mapped file. Messages name the file, the tensor, the
 * byte offset, what was expected and what was found.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_FORMATS_SAFETENSORS_H
#define GAL_FORMATS_SAFETENSORS_H

#include "base/bring.h"

typedef enum gal_st_dtype {
    GAL_ST_BOOL,
    GAL_ST_U8,
    GAL_ST_I8,
    GAL_ST_F8_E5M2,
    GAL_ST_F8_E4M3,
    GAL_ST_F8_E8M0,
    GAL_ST_I16,
    GAL_ST_U16,
    GAL_ST_F16,
    GAL_ST_BF16,
    GAL_ST_I32,
    GAL_ST_U32,
    GAL_ST_F32,
    GAL_ST_F64,
    GAL_ST_I64,
    GAL_ST_U64,
    GAL_ST_C64,
    GAL_ST_F4,
    GAL_ST_F6_E2M3,
    GAL_ST_F6_E3M2,
    GAL_ST_DTYPES
} gal_st_dtype;

const char *gal_st_dtype_name(gal_st_dtype t); /* "F32" */
int gal_st_dtype_bits(gal_st_dtype t);
/* The formats that we compute with; false for the others. */
bool gal_st_dtype_ours(gal_st_dtype t, gal_dtype *out);
gal_st_dtype gal_st_dtype_of(gal_dtype t);

typedef struct gal_st_tensor {
    const char *name;
    const char *file; /* path of the file that holds it */
    gal_st_dtype dtype;
    int ndim;               /* 0: a scalar, one element */
    const int64_t *dim;     /* [ndim], each >= 0 */
    const uint8_t *data;    /* [bytes], little-endian, row-major, aligned as the file has it */
    uint64_t bytes, offset; /* offset of data in the file */
} gal_st_tensor;

typedef struct gal_safetensors gal_safetensors;

gal_err gal_safetensors_open(gal_safetensors **out, const char *path, gal_diag *diag);
/* The same from memory, which is borrowed until closed. path is for messages. */
gal_err gal_safetensors_parse(gal_safetensors **out, const void *bytes, size_t n, const char *path, gal_diag *diag);
void gal_safetensors_close(gal_safetensors *s);
/* Brings an opened file into memory; tensors keep their addresses. how->total is the caller's. */
gal_err gal_safetensors_bring(gal_safetensors *s, gal_bring *how, gal_diag *diag);
uint64_t gal_safetensors_bytes(const gal_safetensors *s); /* of the file */
size_t gal_safetensors_count(const gal_safetensors *s);
const gal_st_tensor *gal_safetensors_at(const gal_safetensors *s, size_t i);           /* sorted by name */
const gal_st_tensor *gal_safetensors_find(const gal_safetensors *s, const char *name); /* NULL: none */
const char *gal_safetensors_meta(const gal_safetensors *s, const char *key);           /* NULL: none */

/* The weights of a folder: the files that STEM.safetensors.index.json maps tensors to or, where that is not there,
 * STEM.safetensors. No other file is opened, so copies in two layouts (stems "model" and "consolidated") may lie side
 * by side. */
typedef struct gal_st_set gal_st_set;
gal_err gal_st_set_open(gal_st_set **out, const char *dir, const char *stem, gal_diag *diag);
/* Whether there are weights under that stem, good or bad. */
gal_err gal_st_set_exists(bool *there, const char *dir, const char *stem, gal_diag *diag);
void gal_st_set_close(gal_st_set *s);
size_t gal_st_set_count(const gal_st_set *s);
const gal_st_tensor *gal_st_set_at(const gal_st_set *s, size_t i); /* sorted by name */
const gal_st_tensor *gal_st_set_find(const gal_st_set *s, const char *name);
/* Brings all files into memory (base/bring.h); tensors keep their addresses. */
gal_err gal_st_set_bring(gal_st_set *s, gal_bring *how, gal_diag *diag);
/* Lines about tensors that lie in a shard but not in the index. */
size_t gal_st_set_notes(const gal_st_set *s);
const char *gal_st_set_note(const gal_st_set *s, size_t i);

/* One tensor to write. from: the type of data; when it differs from dtype (both f32, f16, bf16 or f64) numbers are
 * converted on the way, a block at a time, so that no second copy of the weights exists. */
typedef struct gal_st_item {
    const char *name;
    gal_st_dtype dtype, from;
    int ndim;
    const int64_t *dim;
    const void *data;
    /* Gives bytes of data that do not lie in this process's memory: from the first to the last, a piece at a time.
     * NULL: they do. */
    gal_err (*read)(void *user, void *to, const void *from, size_t bytes, gal_diag *diag);
    void *user;
} gal_st_item;

/* Writes the file whole or not at all (gal_write_atomic). Tensors lie sorted by alignment, largest first, then by
 * name. meta: n_meta pairs of key and value, sorted as given; {"format": "pt"} is what others expect of model files.
 */
gal_err gal_safetensors_write(const char *path, const gal_st_item *items, size_t count, const char *const *meta,
                              size_t n_meta, gal_diag *diag);
/* Appends the same bytes to out; path is for messages. */
gal_err gal_safetensors_print(gal_buf *out, const gal_st_item *items, size_t count, const char *const *meta,
                              size_t n_meta, const char *path, gal_diag *diag);
/* The bytes of data that an item will have. */
uint64_t gal_st_item_bytes(const gal_st_item *it);

#endif
