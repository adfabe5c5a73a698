/* imatrix.h - importance matrices: how strongly a text drives each column of each weight, as the mean of the squares
 * of the column's inputs. A quantiser keeps errors small where the mean is large. Two kinds of files are read and
 * written, both little-endian:
 *
 *   GGUF       general.type "imatrix", imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size; for each weight two
 *              f32 tensors, WEIGHT.in_sum2 [matrices, columns] and WEIGHT.counts [matrices, 1]
 *   the older  i32 entries; each: i32 n, the weight's name of n bytes, i32 calls, i32 values, f32 values[] (the means
 *              times calls); then, perhaps: i32 chunks, i32 n, the text's name of n bytes
 *
 * The second kind does not say how many matrices (experts) the values are for: whoever knows the weight does.
 * Numbers are finite and not negative, or the file is refused with the weight's name. SPDX-License-Identifier:
 * Apache-2.0 */
#ifndef GAL_FORMATS_IMATRIX_H
#define GAL_FORMATS_IMATRIX_H

#include "base/buf.h"

typedef struct gal_imatrix_entry {
    char *name; /* of the weight, as GGUF files call it */
    /* n_sums is a multiple of n_counts: columns for each. One count for each of several matrices, or one for all. */
    size_t n_sums, n_counts;
    float *sums;   /* of the squares of a column's inputs */
    float *counts; /* of how many rows; 0: no text reached the matrix */
} gal_imatrix_entry;

typedef struct gal_imatrix {
    gal_imatrix_entry *entries; /* [n], in the order in which they were added */
    size_t n, room;
    char **datasets; /* [n_datasets] names of texts */
    size_t n_datasets, datasets_room;
    uint32_t chunks, chunk_size; /* of the texts; chunk_size in tokens, 0: not known */
} gal_imatrix;

void gal_imatrix_free(gal_imatrix *m); /* leaves {0} */

/* Of either kind. GAL_EINPUT with the file, the weight, what was expected and what was found. out: {0} before. */
gal_err gal_imatrix_read(gal_imatrix *out, const char *path, gal_diag *diag);
gal_err gal_imatrix_parse(gal_imatrix *out, const void *bytes, size_t n, const char *path, gal_diag *diag);

/* Whether one may be written to path: it may replace another one and an empty file; GAL_EINPUT: any other file. */
gal_err gal_imatrix_may_replace(const char *path, gal_diag *diag);

/* The older kind has no counts for matrices: one that was never reached gets ones; a weight of which none was reached
 * is left out. */
typedef enum gal_imatrix_kind { GAL_IMATRIX_GGUF, GAL_IMATRIX_OLDER } gal_imatrix_kind;
gal_err gal_imatrix_write(const gal_imatrix *m, gal_imatrix_kind kind, const char *path, gal_diag *diag);
gal_err gal_imatrix_print(const gal_imatrix *m, gal_imatrix_kind kind, gal_buf *out, const char *path,
                          gal_diag *diag);

/* A new entry, all zeros; GAL_ENOMEM. name is copied. *out is valid until the next one is added. */
gal_err gal_imatrix_add(gal_imatrix *m, const char *name, size_t n_sums, size_t n_counts, gal_imatrix_entry **out,
                        gal_diag *diag);
gal_err gal_imatrix_add_dataset(gal_imatrix *m, const char *name, size_t n, gal_diag *diag);
const gal_imatrix_entry *gal_imatrix_find(const gal_imatrix *m, const char *name); /* NULL: none */
gal_imatrix_entry *gal_imatrix_get(gal_imatrix *m, const char *name);              /* the same, to be filled */

/* The means into out[matrices, columns]. A matrix that no text reached gets ones, which count all columns alike, and
 * *unreached is how many there are: what drives other matrices says nothing of one whose columns are other neurons.
 * GAL_EINPUT with weight and both sizes unless the entry fits; path: of the matrix's file, for the message. */
gal_err gal_imatrix_means(const gal_imatrix_entry *e, int64_t matrices, int64_t columns, float *out,
                          int64_t *unreached, const char *path, gal_diag *diag);

#endif
