/* internal.h - the inside of quantising, for the files of this folder. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CONVERT_INTERNAL_H
#define GAL_CONVERT_INTERNAL_H

#include "convert/quantise.h"
#include "convert/source.h"

struct gal_quantise {
    gal_gguf *file;     /* NULL: */
    gal_source *source; /* a folder, as a GGUF file would have it */
    char *path;
    gal_quantise_options o;
    gal_quantise_tensor *tensors; /* [count] */
    size_t count;
    gal_recipe_model model;
    gal_quantise_importance importance;
    uint32_t file_type;
    bool chosen;
    uint64_t done, total; /* bytes of the source, for progress */
};

/* Sets type, wanted and bytes of tensor i, with what is substituted if the wanted format does not fit. */
gal_err gal__quantise_set(gal_quantise *q, size_t i, uint32_t wanted, gal_diag *diag);
/* What no recipe speaks of: vectors and the router become f32, the rest stays as it is. */
gal_err gal__quantise_rest(gal_quantise *q, gal_diag *diag);
/* quantise_write.c: of the file as it would be written now; the message that tensor i holds no finite numbers. */
gal_err gal__quantise_file_bytes(const gal_quantise *q, uint64_t *bytes, gal_diag *diag);
gal_err gal__quantise_refuse(const gal_quantise *q, size_t i, gal_diag *diag);
/* n numbers, whole blocks, from element `at` of tensor i on, in f32. */
void gal__quantise_read(const gal_quantise *q, size_t i, int64_t at, int64_t n, float *out);
/* importance.c: what each column of tensor i counts, into *out [matrices, columns] (gal_free); NULL: nothing is known
 * of it. */
gal_err gal__quantise_means(const gal_quantise *q, size_t i, float **out, int64_t *unreached, gal_diag *diag);
/* Looks for every weight in the importance matrix, if there is one. */
gal_err gal__quantise_match(gal_quantise *q, gal_diag *diag);
/* Bytes that n numbers, whole blocks, take in the source or in what is written. */
uint64_t gal__quantise_bytes_of(uint32_t type, int64_t n);
/* Asks the caller's progress; true: stop. */
bool gal__quantise_look(gal_quantise *q, const char *tensor, uint64_t done);
int64_t gal__quantise_elements(const gal_quantise_tensor *t);
int64_t gal__quantise_columns(const gal_quantise_tensor *t);
int64_t gal__quantise_matrices(const gal_quantise_tensor *t); /* experts of one tensor, else 1 */

#endif
