/* gguf_internal.h - what gguf.c (one file), gguf_set.c (a file with its other parts), gguf_values.c and gguf_write.c
 * share. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_FORMATS_GGUF_INTERNAL_H
#define GAL_FORMATS_GGUF_INTERNAL_H

#include "formats/gguf.h"

/* At most: far above what any model has, and what bounds the tables that are made on a file's word. */
enum {
    GAL__GGUF_KEYS = 1 << 16,
    GAL__GGUF_TENSORS = 1 << 18,
    GAL__GGUF_KEY_BYTES = 65535,
    GAL__GGUF_LONGEST = 1 << 30, /* bytes of a string, elements of an array */
    GAL__GGUF_PARTS = 10000,
    GAL__GGUF_ALIGNMENT = 32 /* where general.alignment is absent */
};

typedef struct gal__gguf_entry {
    gal_gguf_tensor t; /* its name is the one below */
    char name[GAL_GGUF_NAME + 1];
} gal__gguf_entry;

typedef struct gal__gguf_part {
    gal_map map;
    const uint8_t *bytes; /* of the whole file */
    uint64_t size;
    char *path;
    uint32_t version;
    gal_gguf_value *values; /* [n_values] as in the file, and sorted by key */
    gal_gguf_value **by_key;
    size_t n_values;
    gal__gguf_entry *entries; /* [n_entries] */
    size_t n_entries;
} gal__gguf_part;

struct gal_gguf {
    gal__gguf_part *parts; /* [n_parts], each file whole and checked */
    size_t n_parts;
    const gal_gguf_tensor **tensors, **by_name; /* [count] of all parts */
    size_t count;
};

/* p is {0} or holds only bytes, size and path; close() frees it after success and failure alike. */
gal_err gal__gguf_part_open(gal__gguf_part *p, const char *path, gal_diag *diag);
gal_err gal__gguf_part_parse(gal__gguf_part *p, gal_diag *diag);
void gal__gguf_part_close(gal__gguf_part *p);
const gal_gguf_value *gal__gguf_part_get(const gal__gguf_part *p, const char *key);
gal_err gal__gguf_part_uint(const gal__gguf_part *p, const char *key, uint64_t *out, bool *found, gal_diag *diag);

uint64_t gal__gguf_load(const uint8_t *p, size_t n); /* n <= 8 bytes, little-endian */
size_t gal__gguf_width(gal_gguf_type type); /* bytes of one number; 0: strings and arrays have no fixed one */
const char *gal__gguf_value_name(gal_gguf_type type);

/* The bytes of a tensor with these dimensions in our order; NULL, or what is wrong, written into why. */
enum { GAL__GGUF_WHY = 200 };
const char *gal__gguf_tensor_bytes(uint32_t type, int ndim, const int64_t *dim, uint64_t *bytes,
                                   char why[GAL__GGUF_WHY]);
/* NULL, or what is wrong with n bytes as a name: empty, too long, NUL inside, not UTF-8. */
const char *gal__gguf_bad_name(const char *s, uint64_t n, uint64_t most);
/* at, rounded up; false if that overflows. align: a power of two. */
bool gal__gguf_pad(uint64_t at, uint64_t align, uint64_t *out);

#endif
