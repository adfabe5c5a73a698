/* lora.h - low-rank adapters (LoRA, arXiv:2106.09685) of a model's weights: read from a folder of PEFT's or of
 * Mistral's own, made anew for training, written in PEFT's layout. The model's own weights stay as they are, also in
 * mapped files and in blocks. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_MODELS_LORA_H
#define GAL_MODELS_LORA_H

#include "formats/lora_config.h"
#include "models/model.h"

/* One set of adapters. Of pair i: A is weights[2 i], B weights[2 i + 1], in the order of base[i]'s rows. Names are
 * PEFT's, whatever layout the model has. */
struct gal_adapter {
    gal_w *weights; /* [2 count] */
    gal_lora *lora; /* [count] */
    gal_w **base;   /* [count] the weight of the model that each is for */
    char **module;  /* [count] its path in PEFT's words: "model.layers.0.self_attn.q_proj" */
    size_t count;
    gal_adapter *next; /* of the same model */
};

/* Reads a folder with adapter_config.json and adapter_model.safetensors (PEFT), or with lora.safetensors (Mistral's
 * own; params.json beside it may say the scaling), and adds it to the model, which holds it from then on; before the
 * model moves to a device. strength: times the adapter's own scale. */
gal_err gal_lora_load(gal_model *m, const char *dir, double strength, gal_diag *diag);
void gal_lora_free(gal_adapter *a, gal_dev *dev); /* NULL is allowed; the ones after it too */
/* lora_train.c   Adapters of rank c->rank for the weights of every layer that c->targets name ("q_proj"), f32 and
 * owned: A drawn by the seed, B 0. GAL_EINPUT: a target that the model does not have. */
gal_err gal_lora_new(gal_model *m, const gal_lora_config *c, uint64_t seed, gal_diag *diag);
/* "q", "k", "v", "o", "gate", "up", "down": the last name of that module; NULL for any other name. */
const char *gal_lora_target(const char *name);
/* Writes adapter_config.json and adapter_model.safetensors (f32), as PEFT has them, into an existing folder. */
gal_err gal_lora_save(const gal_model *m, const gal_adapter *a, const gal_lora_config *c, const char *dir,
                      gal_diag *diag);
/* Rows of x [as w], which stand as in layout `from`, as `to` has them. */
void gal_lora_rows(const gal_w *w, gal_layout from, gal_layout to, const float *x, float *out);
/* own.c   Numbers [from, from + n) of a row of w with what its adapters add, W + scale B A, in f32. */
void gal_lora_read(const gal_w *w, int64_t row, int64_t from, int64_t n, float *out);
/* A folder with an adapter and no model beside it stands for base and adapter together: the path of its base (in
 * adapter_config.json; where it lies from here, or from the folder) into `base`, which stays empty for any other
 * path. GAL_EINPUT: there is no such base. */
gal_err gal_lora_base(const char *dir, gal_buf *base, gal_diag *diag);

/* Building a set: room for count pairs; each pair; then the model holds the set. Weights have no data at first, scale
 * is 0. On failure the set can be freed. */
gal_err gal__adapter_new(gal_adapter **out, size_t count, gal_diag *diag);
gal_err gal__adapter_add(gal_adapter *a, gal_w *base, const char *hf_name, int64_t rank, gal_diag *diag);
void gal__adapter_attach(gal_model *m, gal_adapter *a);
/* Parameters of all sets. */
int64_t gal_lora_params(const gal_model *m);

#endif
