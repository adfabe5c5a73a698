/* model.h - what every family offers to training and inference, and the table that declares its weights.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_MODELS_MODEL_H
#define GAL_MODELS_MODEL_H

#include "base/bring.h"
#include "base/buf.h"
#include "formats/config.h"
#include "ops/ops.h"

/* One line of a family's weight table. shape: letters of tensor.h joined by ',' for dimensions and '*' for products,
 * as "H*K,D"; resolved by the family. R is K of a weight whose rows are rotary pairs (gal_w.rotary), B the width of a
 * baseline, D / 8. */
typedef struct gal_wspec {
    size_t offset;                 /* of the gal_w * field in the layer (or in the model when name has no %d) */
    const char *name[GAL_LAYOUTS]; /* patterns: Hugging Face's, Mistral's own, GGUF's */
    const char *shape;
    gal_role role;
} gal_wspec;

typedef struct gal_model gal_model;
typedef struct gal_adapter gal_adapter; /* lora.h */
typedef struct gal_family {
    const char *name;
    /* Adds every weight of m->config to m and sets m->net. */
    gal_err (*declare)(gal_model *m, gal_diag *diag);
    void (*net_free)(void *net); /* NULL: net is one block of gal_alloc */
    /* [n_out, V] f32 logits of a step */
    gal_t *(*logits)(gal_ctx *cx, const gal_model *m, const gal_step *st);
    /* [N] loss of each row */
    gal_t *(*loss)(gal_ctx *cx, const gal_model *m, const gal_step *st);
    /* Relative keys of a layer for the distances first .. first + rows - 1 [rows, H K], which a cache keeps
     * (gal_kv_layer.r). NULL: the family has none. */
    gal_t *(*relative)(gal_ctx *cx, const gal_model *m, int layer, int64_t first, int64_t rows);
} gal_family;

struct gal_model {
    const gal_family *family;
    gal_config config;
    gal_w *weights; /* [n_weights], in the order of the family's table; never moves once reserved */
    size_t n_weights, weights_room;
    void *net;       /* the family's own structure; its gal_w pointers point into weights */
    void *files;     /* the gal_st_set that weights lie in, or NULL */
    bool files_read; /* they have been read into memory; otherwise they are mapped */
    void (*files_free)(void *files);
    gal_err (*files_bring)(void *files, gal_bring *how, gal_diag *diag); /* where files is set */
    gal_map side;          /* the file in which packed weights lie (side.c); {0}: none do */
    bool side_spoilt;      /* a checksum of it was wrong: what was not taken from it yet never will be */
    gal_adapter *adapters; /* sets of low-rank adapters, the first added first; NULL: none */
    gal_dev *dev;          /* a far device that holds the weights' data; NULL: the host does */
    char **notes;          /* [n_notes] what a loader wants to say without failing: tensors nobody asked for */
    size_t n_notes;
    char **warnings; /* [n_warnings] weights that are not finite, once gal_model_check_finite() looked */
    size_t n_warnings;
    const gal_w
        *spoilt; /* the first of these weights that every text meets, so that none can be continued; or NULL */
    bool finite_checked;
};

/* Declares the weights of a config (names, shapes, roles; data NULL). Takes over *config on success. */
gal_err gal_model_build(gal_model **out, gal_config *config, gal_diag *diag);
void gal_model_free(gal_model *m);
/* For gal_family.declare: room for exactly `count` weights, once; then each in the table's order. Returns NULL when
 * out of memory (the diagnostic says so). name is copied. */
gal_err gal_model_reserve(gal_model *m, size_t count, gal_diag *diag);
gal_w *gal_model_add_weight(gal_model *m, const char *name, gal_role role, int ndim, const int64_t *dim,
                            gal_diag *diag);
/* declare.c: the lines of a table, for one layer ("%d" in names), each weight's address stored at fields + offset. */
gal_err gal_model_declare(gal_model *m, const gal_wspec *table, size_t count, int layer, void *fields,
                          gal_diag *diag);
/* ... and for one expert of it ("%e" in names). */
gal_err gal_model_declare_expert(gal_model *m, const gal_wspec *table, size_t count, int layer, int expert,
                                 void *fields, gal_diag *diag);
gal_w *gal_model_weight(const gal_model *m, const char *name); /* NULL: none of that name */
/* Another model of the same config in another layout, without data: its i-th weight is m's i-th, under its name
 * there.
 */
gal_err gal_model_names(gal_model **out, const gal_model *m, gal_layout layout, gal_diag *diag);
/* Of a weight w of a model in layout `from`: the row that stands at place `row` where the layout is `to`. */
int64_t gal_model_row(const gal_w *w, gal_layout from, gal_layout to, int64_t row);
int64_t gal_model_params(const gal_model *m);
/* Allocates every weight in dtype and draws it as its family does; norms are 1, biases 0. A function of seed and the
 * weight's place alone. */
gal_err gal_model_init(gal_model *m, gal_dtype dtype, uint64_t seed, gal_diag *diag);
gal_err gal_model_draw(gal_model *m, size_t i, gal_dtype dtype, uint64_t seed, gal_diag *diag); /* weight i alone */

/* own.c    Puts in the model's place one of the same numbers with f32 weights of its own, adapters merged into them,
 * in Hugging Face's layout: what training needs, and what checkpoints are. A baseline that the old one lacks is
 * drawn. Both are in memory for a while, as far as the old one is not mapped. On failure *model is as before. */
gal_err gal_model_own(gal_model **model, uint64_t seed, gal_diag *diag);

/* place.c   Moves the weights into a far device's memory and lets go of the host's copies and of mapped files;
 * nothing to do on the CPU. dev is borrowed until gal_model_free(). On failure the model is as before. */
gal_err gal_model_to_device(gal_model *m, gal_dev *dev, gal_diag *diag);
/* Whether kernels of dev can read the weights. */
bool gal_model_is_on(const gal_model *m, const gal_dev *dev);

/* pack.c    Rearranges weights in blocks for the products of dev, a processor, in memory of the model's own; once is
 * enough, and what memory has no room for stays as it is. GAL_EINTERRUPTED where progress (NULL: nobody looks) says
 * so; the model is whole all the same. */
gal_err gal_model_pack(gal_model *m, gal_dev *dev, bool (*progress)(void *user, uint64_t done, uint64_t total),
                       void *user, gal_diag *diag);
/* Bytes of weights that it would rearrange; 0: nothing is left, or memory has no room for it. */
uint64_t gal_model_to_pack(const gal_model *m, const gal_dev *dev);
/* Rearranges some of them, or takes them from m->side, at least so many bytes unless memory ends; how many it were.
 * What was recorded with the model's weights before is to be recorded anew. */
uint64_t gal_model_pack_some(gal_model *m, gal_dev *dev, uint64_t bytes);

/* side.c    The packed weights in a file, which later starts map instead of packing, so that processes share them. It
 * lies beside the model as NAME.HASH.packed, HASH 16 digits of the weights' contents; the file itself says
 * of which state of the model's files (sizes, times) it is, and it may be removed at any time. */
typedef struct gal_side {
    const char *elsewhere; /* a further folder for such files, where the model's cannot be written; NULL: none */
    bool brings;           /* the file is read and its checksums are compared; false: its pages come as needed */
    bool later; /* it is mapped alone: gal_model_pack_some() takes each weight if its checksums are right */
    bool (*progress)(void *user, uint64_t done, uint64_t total); /* true stops; NULL: nobody looks */
    void *user;
} gal_side;
/* Maps the file of a model whose weights lie in mapped files and were not packed yet, if there is a whole one of
 * these very weights; else m->side stays {0}, and a note tells of one that is damaged or of another state (of a
 * weight that is found to be damaged later, then; it and what follows are packed). Fails with GAL_ENOMEM and
 * GAL_EINTERRUPTED alone. */
gal_err gal_model_side_open(gal_model *m, gal_dev *dev, const gal_side *how, gal_diag *diag);
/* Packs weight by weight into a new file (whole or not at all), and maps it. GAL_EIO: it cannot be written;
 * GAL_EINPUT: the model changed meanwhile. Nothing to pack: GAL_OK and a note. Files of earlier states of the model,
 * of this version, are removed beside it. */
gal_err gal_model_side_write(gal_model *m, gal_dev *dev, const gal_side *how, gal_diag *diag);

/* rope_spec.c: angles and query scale of a config, in the numbers that transformers computes. out->inv_freq is the
 * caller's: gal_rope_spec_free(). Half-split pairs (the Hugging Face layout of weights). */
gal_err gal_rope_spec_of(gal_rope_spec *out, const gal_config *c, gal_diag *diag);
void gal_rope_spec_free(gal_rope_spec *s); /* leaves {0} */

/* mistral.c: declare is gal_mistral_declare. */
extern const gal_family gal_mistral;
gal_err gal_mistral_declare(gal_model *m, gal_diag *diag);
extern const gal_family gal_gopher; /* gopher.c */

/* load.c    A folder in Hugging Face's or Mistral's own layout (formats.md 2, 3) or a GGUF file (4). Weights of f32,
 * f16 and bf16 stay in the mapped files (read-only). layout: GAL_LAYOUT_ANY, or the one to read of a folder that has
 * more than one. */
gal_err gal_model_load_as(gal_model **out, const char *path, gal_layout layout, gal_diag *diag);
gal_err gal_model_load(gal_model **out, const char *path, gal_diag *diag); /* any */
/* Whether the GGUF file would load: its configuration, its tensors and their shapes, as loading does and with its
 * messages; nothing is copied, no number is read. */
gal_err gal_model_check_gguf(const char *path, gal_diag *diag);
/* Bytes of the weights that lie in mapped files and are used there. */
uint64_t gal_model_mapped_bytes(const gal_model *m);
/* Adds "file" "what" to m->notes, up to a fixed number. */
gal_err gal_model_add_note(gal_model *m, const char *file, const char *what, gal_diag *diag);
/* Brings mapped weights into memory before they are needed (base/bring.h); without any, nothing. */
gal_err gal_model_bring(gal_model *m, gal_bring *how, gal_diag *diag);
/* layout.c  The folder or GGUF file that a MODEL operand means: path itself, the one GGUF file in it where it has no
 * other layout, or the newest checkpoint of a run directory of ours (best if there is no step-N). */
gal_err gal_model_find_as(const char *path, gal_layout layout, gal_buf *dir, gal_diag *diag);
gal_err gal_model_find(const char *path, gal_buf *dir, gal_diag *diag); /* any */
/* "hf", "own", "gguf"; the other way false for any other name, NULL is GAL_LAYOUT_ANY. */
const char *gal_layout_name(gal_layout l);
bool gal_layout_named(gal_layout *out, const char *name);
/* Which layouts a folder has, each with description and weights. */
gal_err gal_model_layouts(bool there[GAL_LAYOUTS], const char *dir, gal_diag *diag);
/* finite.c  Reads every weight (once in a model's life) and leaves a warning for each that holds NaN or infinities:
 * which, how many, where the first is. Loading does it for models of at most GAL_FINITE_BYTES; for larger ones
 * whoever meets a number that is not finite asks. */
#define GAL_FINITE_BYTES ((size_t)64 << 20)
gal_err gal_model_check_finite(gal_model *m, gal_diag *diag);
bool gal_all_finite(const float *x, int64_t n);
/* fingerprint.c  SHA-256 of the configuration, and of names, shapes, formats and all numbers of weights and adapters
 * (by gal_hash_bulk(): as long as reading them takes). */
gal_err gal_model_fingerprint(const gal_model *m, uint8_t out[32], gal_diag *diag);
/* save.c    Writes config.json, generation_config.json and model.safetensors (dtype per weight as given) into an
 * existing folder. */
gal_err gal_model_save(const gal_model *m, const char *dir, gal_diag *diag);

#endif
