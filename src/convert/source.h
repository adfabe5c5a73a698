/* source.h - a model as it would lie in another layout: the tensors of that layout, in its names and its order of
 * rows, whose numbers are read a piece at a time out of the mapped files of the model.
 *
 * Rows of q and k are rotary pairs: neighbours in Mistral's own layout and in GGUF, half a head apart in Hugging
 * Face's (formats.md 3). Rows move whole, so that blocks stay blocks.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CONVERT_SOURCE_H
#define GAL_CONVERT_SOURCE_H

#include "formats/gguf.h"
#include "models/model.h"
#include "tensor/blocks.h"

typedef struct gal_source gal_source;

typedef struct gal_source_tensor {
    const char *name; /* in the layout that was asked for */
    gal_role role;
    int ndim;
    int64_t dim[GAL_MAX_DIMS];
    uint32_t type; /* enum gal_block: how the model's file has its numbers; F8_E4M3 is not for GGUF files */
    bool merged;   /* adapters are added to them: they lie in no file, gal_source_copy() has no business here */
} gal_source_tensor;

/* path: what gal_model_load() takes. from: GAL_LAYOUT_ANY, or the one to read of a folder that has more than one. */
gal_err gal_source_open(gal_source **out, const char *path, gal_layout from, gal_layout to, gal_diag *diag);
/* Adds a low-rank adapter (models/lora.h): from then on numbers are those of W + strength scale B A, in f32. */
gal_err gal_source_add_lora(gal_source *s, const char *dir, double strength, gal_diag *diag);
void gal_source_close(gal_source *s);             /* NULL is allowed */
const char *gal_source_path(const gal_source *s); /* the folder or file that path means */
const gal_model *gal_source_model(const gal_source *s);
/* The model's, with the layout that was asked for. */
const gal_config *gal_source_config(const gal_source *s);

size_t gal_source_count(const gal_source *s);
const gal_source_tensor *gal_source_at(const gal_source *s, size_t i); /* in the family's order */
int64_t gal_source_elements(const gal_source_tensor *t);
/* Numbers [at, at + n) of tensor i, row-major, in f32. */
void gal_source_read(const gal_source *s, size_t i, int64_t at, int64_t n, float *out);
/* The same as they lie in the file, in whole blocks; of FP8 without the scales. */
void gal_source_copy(const gal_source *s, size_t i, int64_t at, int64_t n, void *out);
/* Tensor i was read and is not needed again: its pages go. GAL_EINPUT if its file became shorter since it was opened.
 */
gal_err gal_source_done(const gal_source *s, size_t i, gal_diag *diag);

/* gguf_out.c  What a GGUF file with these tensors in it says of the model, all but general.file_type and
 * general.quantization_version; and rope_freqs.weight where the model has it. s: opened for GAL_LAYOUT_GGUF, open
 * until the file is written. note: hears what is left out; NULL: nobody does. */
gal_err gal_source_put_metadata(gal_gguf_writer *w, const gal_source *s, void (*note)(void *user, const char *line),
                                void *user, gal_diag *diag);

#endif
