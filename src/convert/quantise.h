/* quantise.h - making a model's file smaller: which block format each tensor gets, and writing the file.
 *
 *     gal_quantise_open()    a GGUF file, any kind of numbers in it, or a model's folder (convert/source.h)
 *     one of: gal_quantise_recipe(), gal_quantise_budget()
 *     gal_quantise_write()   metadata as they were, tensors a batch of rows at a time
 *
 * Weights that are multiplied or looked up are quantised; vectors and the router are widened to f32; all else is
 * copied as it lies. The bytes of the result do not depend on the number of threads. SPDX-License-Identifier:
 * Apache-2.0 */
#ifndef GAL_CONVERT_QUANTISE_H
#define GAL_CONVERT_QUANTISE_H

#include "base/pool.h"
#include "convert/recipe.h"
#include "formats/config.h"
#include "formats/gguf.h"
#include "formats/imatrix.h"

typedef struct gal_quantise_options {
    gal_pool *pool;             /* shares the work; borrowed, as what follows */
    const gal_imatrix *imatrix; /* NULL: all columns of a weight count alike */
    const char *imatrix_path;   /* its file, for messages and for the metadata */
    gal_layout layout;          /* to read of a folder that has more than one, or GAL_LAYOUT_ANY */
    bool strict; /* a format that does not fit a tensor's rows is an error instead of being substituted */
    /* Called now and then with bytes of the source, from the caller's thread; true stops with GAL_EINTERRUPTED.
     * tensor: the one at hand. NULL: nobody looks. */
    bool (*progress)(void *user, const char *tensor, uint64_t done, uint64_t total);
    /* A line about what is written all the same: a tensor that is copied and holds NaN or infinity. NULL: nobody. */
    void (*warn)(void *user, const char *line);
    void *user;
} gal_quantise_options;

typedef struct gal_quantise_tensor {
    const char *name;
    int ndim;
    int64_t dim[GAL_GGUF_DIMS]; /* row-major, as in gal_gguf_tensor */
    uint32_t from;              /* enum gal_block: the format in the source, */
    uint32_t wanted;            /* what the recipe says, */
    uint32_t type;              /* what is written */
    bool covered;               /* a weight, for which the recipe speaks */
    uint64_t bytes;             /* that are written */
} gal_quantise_tensor;

typedef struct gal_quantise gal_quantise;

/* What an importance matrix holds of a model's weights. */
typedef struct gal_quantise_importance {
    size_t weights, missing;    /* that are multiplied, and those of them of which it knows nothing */
    int64_t experts, unreached; /* of the others, the matrices of experts, and those that its text never reached */
} gal_quantise_importance;

/* options are copied. GAL_EINPUT: no such file, tensors that cannot be read, or an importance matrix whose sizes are
 * others than the model's. */
gal_err gal_quantise_open(gal_quantise **out, const char *path, const gal_quantise_options *options, gal_diag *diag);
void gal_quantise_free(gal_quantise *q); /* NULL is allowed */

/* Chooses a format for each tensor. name: one that gal_recipe_find() knows; pure: a format, or a mixture's, for every
 * weight without exceptions.  * GAL_EUSAGE: no such name; GAL_EINPUT with the tensor: strict, and a format does not
 * fit. */
gal_err gal_quantise_recipe(gal_quantise *q, const char *name, bool pure, gal_diag *diag);

/* budget.c: chooses by measured errors under a limit: on the bytes of the file, or, with file_bytes 0, on the bits
 * per weight over all tensors. GAL_EUSAGE with the smallest possible if that is more. */
gal_err gal_quantise_budget(gal_quantise *q, uint64_t file_bytes, double bits, gal_diag *diag);

const gal_quantise_importance *gal_quantise_importance_of(const gal_quantise *q);
size_t gal_quantise_count(const gal_quantise *q);
const gal_quantise_tensor *gal_quantise_at(const gal_quantise *q, size_t i); /* in the order of the file */
/* Elements of all tensors, and the bytes that they have when written. */
uint64_t gal_quantise_elements(const gal_quantise *q);
uint64_t gal_quantise_bytes(const gal_quantise *q);

/* After a choice. Whole or not at all (gal_write_atomic). GAL_EUSAGE: path is the source; GAL_EINPUT: a number is not
 * finite, or the source became shorter; GAL_EIO; GAL_EINTERRUPTED. */
gal_err gal_quantise_write(gal_quantise *q, const char *path, gal_diag *diag);

#endif
