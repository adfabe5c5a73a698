/* model.h - what every family offers to training and inference, and the table that declares its weights.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_MODELS_MODEL_H
#define GAL_MODELS_MODEL_H

#include "ops/ops.h"

/* One line of a family's weight table. shape: letters of tensor.h joined by ',' for dimensions and '*' for products, as
 * "H*K,D"; resolved by the family. */
typedef struct gal_wspec {
    size_t offset;     /* of the gal_w * field in the layer (or in the model when name has no %d) */
    const char *name;  /* name pattern in Hugging Face layout */
    const char *shape;
    gal_role role;
} gal_wspec;

/* Sizes and options of a decoder-only transformer of the Mistral family (mistral.md 3; formats.md 2). */
typedef struct gal_config {
    char model_type[32]; /* "mistral", "ministral3", ... */
    int64_t V, D, L, H, G, K, F;
    int64_t max_positions;
    int64_t window;       /* sliding_window; 0: none */
    uint8_t *layer_full;  /* [L] 1: this layer ignores the window; NULL: none does. Owned by the config */
    double eps;
    bool tied;
    /* rope */
    double rope_theta;
    char rope_type[16];   /* "default", "linear", "yarn" */
    double rope_factor, rope_beta_fast, rope_beta_slow, rope_mscale, rope_mscale_all_dim, rope_attention_factor;
    int64_t rope_original;
    double query_beta;    /* llama_4_scaling_beta; 0: none */
    double init_range;    /* initializer_range */
    int32_t bos, eos[8], n_eos, pad; /* -1: none */
    gal_dtype dtype;      /* of the stored weights */
} gal_config;

void gal_config_free(gal_config *c); /* what it owns, not c itself */

typedef struct gal_model gal_model;
typedef struct gal_family {
    const char *name;
    /* [n_out, V] f32 logits of a step */
    gal_t *(*logits)(gal_ctx *cx, const gal_model *m, const gal_step *st);
    /* [N] loss of each row */
    gal_t *(*loss)(gal_ctx *cx, const gal_model *m, const gal_step *st);
} gal_family;

struct gal_model {
    const gal_family *family;
    gal_config config;
    gal_w *weights; /* [n_weights], in the order of the family's table */
    size_t n_weights;
    void *net;      /* the family's own structure; its gal_w pointers point into weights */
    void *files;    /* mapped files that weights lie in, or NULL */
    void (*files_free)(void *files);
};

/* Declares the weights of a config (names, shapes, roles; data NULL). Takes over *config on success. */
gal_err gal_model_build(gal_model **out, gal_config *config, gal_diag *diag);
void gal_model_free(gal_model *m);
gal_w *gal_model_weight(const gal_model *m, const char *name); /* NULL: none of that name */
int64_t gal_model_params(const gal_model *m);
/* Allocates every weight in dtype and draws it: normal(0, init_range), residual projections scaled by 1 / sqrt(2 L), norms
 * 1. A function of seed and the weight's place alone. */
gal_err gal_model_init(gal_model *m, gal_dtype dtype, uint64_t seed, gal_diag *diag);

/* mistral.c */
extern const gal_family gal_mistral;
gal_err gal_mistral_declare(gal_model *m, gal_diag *diag);

/* load.c / save: Hugging Face folder (formats.md 2). The weights stay in the mapped files. */
gal_err gal_model_load(gal_model **out, const char *dir, gal_diag *diag);
/* Writes config.json, generation_config.json and model.safetensors (dtype per weight as given) into an existing folder. */
gal_err gal_model_save(const gal_model *m, const char *dir, gal_diag *diag);

#endif
