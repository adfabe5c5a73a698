/* npy.h - NumPy's .npy files (format 1.0 and 2.0): one array, little-endian, C order.
 * Read: f4, f8, i4, i8. Written: float32, int32, int64, float64. Everything else is refused by name.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_FORMATS_NPY_H
#define GAL_FORMATS_NPY_H

#include "base/buf.h"

enum { GAL_NPY_DIMS = 8 };

typedef enum gal_npy_type { GAL_NPY_F32, GAL_NPY_F64, GAL_NPY_I32, GAL_NPY_I64 } gal_npy_type;

typedef struct gal_npy {
    gal_npy_type type;
    int ndim; /* 0: a scalar, one element */
    int64_t dim[GAL_NPY_DIMS];
    int64_t count;
    const void *data; /* [dim...] */
    void *owned;      /* data's memory if the array owns it, else NULL */
} gal_npy;

size_t gal_npy_bytes(gal_npy_type type); /* of one element */
/* data is copied out of the file. Free with gal_npy_free(). */
gal_err gal_npy_read(gal_npy *out, const char *path, gal_diag *diag);
/* The same from the bytes of a file; path is for messages. */
gal_err gal_npy_parse(gal_npy *out, const void *bytes, size_t n, const char *path, gal_diag *diag);
void gal_npy_free(gal_npy *a); /* leaves {0} */
/* Appends what stands before the data of such a file, for callers that make the data bit by bit. */
void gal_npy_header(gal_buf *b, gal_npy_type type, int ndim, const int64_t *dim);
/* Atomic; data stays the caller's. */
gal_err gal_npy_write(const char *path, gal_npy_type type, int ndim, const int64_t *dim, const void *data,
                      gal_diag *diag);

#endif
