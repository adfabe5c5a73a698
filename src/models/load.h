/* load.h - private to models/: what loading from each kind of file shares. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_MODELS_LOAD_H
#define GAL_MODELS_LOAD_H

#include "formats/safetensors.h"
#include "models/model.h"

/* "[3, 4]" for messages; returns buf. */
enum { GAL__SHAPE_TEXT = 128 };
const char *gal__shape_text(char buf[GAL__SHAPE_TEXT], int ndim, const int64_t *dim);
/* A tensor that holds a weight among others. */
enum { GAL__PLAIN = 128 };
typedef struct gal__stacked {
    char name[GAL__PLAIN];
    int ndim;
    int64_t dim[GAL_MAX_DIMS]; /* that the tensor must have */
    int64_t row;               /* of the tensor as a matrix, where the weight begins */
} gal__stacked;
/* GAL_EINPUT with file, tensor, both shapes unless w has that shape. */
gal_err gal__check_shape(const gal_w *w, const char *file, int ndim, const int64_t *dim, gal_diag *diag);
/* The same for the tensor that it lies in. */
gal_err gal__check_stacked(const gal__stacked *s, const char *file, int ndim, const int64_t *dim, gal_diag *diag);
/* layout.c   The layout of the model at path, and the path of its folder or file. want: GAL_LAYOUT_ANY, or only that.
 */
gal_err gal__resolve(gal_buf *at, gal_layout *layout, const char *path, gal_layout want, gal_diag *diag);
/* load_gguf.c */
gal_err gal__load_gguf(gal_model **out, const char *path, gal_diag *diag);

/* pack.c   Whether kernels of dev read packed weights; whether w is to be one, and how it becomes one, into room for
 * gal_pack_bytes(). */
bool gal__packing_helps(const gal_dev *dev);
bool gal__packs(const gal_model *m, const gal_w *w);
void gal__pack_into(void *to, const gal_w *w, gal_dev *dev);

/* load_fp8.c   Fills w, whose shape was checked, from a tensor of E4M3 numbers, which stay where they are, and its
 * scale in the same set. said: gal_config.fp8_block. */
gal_err gal__take_fp8(gal_w *w, const gal_st_tensor *t, const gal_st_set *set, const int64_t said[2], gal_diag *diag);
/* A tensor that is no weight: the scale of one, or one for activations. */
bool gal__beside_fp8(const gal_st_set *set, const char *name);

/* experts.c */
/* The next tensor in which w may lie if there is none of its name; *from counts them, 0 to begin. */
bool gal__stacked_form(const gal_model *m, const gal_w *w, size_t *from, gal__stacked *out);
/* The next weight, of the first expert, that a tensor of such a name may hold. */
bool gal__stands_for(const gal_model *m, const char *tensor, size_t *from, char weight[GAL__PLAIN]);

/* load_parts.c   Models of more than text hold the text model's tensors under other names, and further tensors. */
/* The tensor of a weight, under its own name or, inside a wrapper, under a longer one; NULL: there is none. */
const gal_st_tensor *gal__find_tensor(const gal_model *m, const gal_st_set *set, const char *name);
/* The weight's name of a tensor's: name itself, or what is inside a wrapper, written to out. */
const char *gal__plain_name(const gal_model *m, const char *name, char out[GAL__PLAIN]);
/* Counts of the tensors that are left out because they belong to pictures or sound. {0} to begin. */
enum { GAL__PARTS = 16 };
typedef struct gal__left_out {
    size_t count[GAL__PARTS];
} gal__left_out;
bool gal__leave_out(const gal_model *m, gal__left_out *l, const char *name); /* true: it is one, and was counted */
gal_err gal__note_left_out(gal_model *m, const gal__left_out *l, const char *dir, gal_diag *diag);

#endif
