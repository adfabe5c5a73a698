/* config.h - sizes and options of a model, as config.json and generation_config.json hold them (formats.md 2).
 *
 * Read: files of transformers 4 (rope_theta, rope_scaling, torch_dtype) and from 5 on (rope_parameters, dtype).
 * Unknown keys are ignored; a model that could only be computed wrongly is refused by name. Every number is checked
 * against a range before anything is allocated for it, so that the products of sizes never overflow 63 bits. Written:
 * the newer style, with the older keys beside it, so that both generations load the file. SPDX-License-Identifier:
 * Apache-2.0 */
#ifndef GAL_FORMATS_CONFIG_H
#define GAL_FORMATS_CONFIG_H

#include "base/buf.h"
#include "tensor/tensor.h"

enum { GAL_MAX_EOS = 8 };

/* Largest values accepted. Every weight of such a model still has fewer than 2^50 elements. */
#define GAL_MAX_WIDTH ((int64_t)1 << 20)     /* D, F, H K */
#define GAL_MAX_VOCAB ((int64_t)1 << 24)     /* V */
#define GAL_MAX_LAYERS ((int64_t)1 << 12)    /* L */
#define GAL_MAX_POSITIONS ((int64_t)1 << 30) /* context, window: positions are int32 */

/* Whose names and order the stored weights have. In the last two the rows of q and k stand as rotary pairs (2j, 2j +
 * 1), in the first as (j, j + K/2) (formats.md 3). */
typedef enum gal_layout {
    GAL_LAYOUT_HF,
    GAL_LAYOUT_OWN,
    GAL_LAYOUT_GGUF,
    GAL_LAYOUTS,
    GAL_LAYOUT_ANY = GAL_LAYOUTS /* for those who look for a model: whichever is there */
} gal_layout;

const char *gal_router_name(gal_router r); /* "top", "sbase", "rlr", "hash" */

/* Sizes and options of a decoder-only transformer of the families of Mistral (mistral.md 3; formats.md 2) and Gopher
 * (gopher.md 2, routed-scaling.md 2). */
typedef struct gal_config {
    char model_type[32]; /* "mistral", "ministral3", "mixtral", ..., "gopher" */
    gal_layout layout;
    int64_t V, D, L, H, G, K, F;
    int64_t experts, experts_used; /* of each layer, at most GAL_MAX_EXPERTS, and those a token goes to; 0: dense */
    double router_balance;         /* router_aux_loss_coef: what its makers trained the balance of experts with */
    int64_t routed_every;          /* the last of so many layers has the experts; 1: all have */
    gal_router router;
    bool gate_sigmoid; /* an expert's weight: of its logit alone, else softmax over all experts */
    bool gate_whole;   /* ... and those of a token's experts add up to 1 */
    bool no_baseline;  /* of RLR: files leave out what only training needs; no file says so, their tensors show it */
    /* Gopher */
    bool relative;        /* positions by distance (Transformer-XL), else rotary */
    int64_t max_distance; /* further ones are as this; 0: all are told apart */
    bool layer_norm;      /* with mean and bias, else by the root mean square */
    int64_t max_positions;
    int64_t window;      /* sliding_window; 0: none */
    uint8_t *layer_full; /* [L] 1: this layer ignores the window; NULL: none does. Owned by the config */
    double eps;
    bool tied;
    /* rope */
    double rope_theta;
    char rope_type[16]; /* "default", "linear", "yarn" */
    double rope_factor, rope_beta_fast, rope_beta_slow;
    double rope_mscale, rope_mscale_all_dim, rope_attention_factor; /* 0: the file does not say */
    bool rope_truncate;     /* yarn: round the ramp's ends to whole dimensions (the usual way) */
    int64_t rope_original;  /* yarn, query scale: positions before the extension; 0: max_positions */
    float *rope_divisors;   /* [K / 2] each frequency is divided by one; NULL: none is. Owned by the config */
    double query_beta;      /* llama_4_scaling_beta; 0: none */
    int64_t query_original; /* positions before it acts; 0: rope_original */
    double attn_scale;      /* of the products of queries and keys; 0: 1 / sqrt(K) */
    double init_range;      /* initializer_range */
    int32_t bos, eos[GAL_MAX_EOS], n_eos, pad; /* -1: none */
    gal_dtype dtype;                           /* of the stored weights */
    /* What only reading needs to know of the files */
    char wrapper[32];     /* the model that this text model is a part of: "mistral3", "vision_encoder"; "": none */
    bool theta_assumed;   /* params.json says nothing of rope_theta */
    int64_t fp8_block[2]; /* rows and columns of an FP8 weight that share a scale; 0: the scales' shapes tell; -1: a
                           * tensor or a row has one */
} gal_config;

/* "mistral", sizes 0 (to be set), no window, eps 1e-5, theta 1e4, default rope, f32, untied, initial values 0.02. */
void gal_config_defaults(gal_config *c);
void gal_config_free(gal_config *c); /* what it owns, not c itself */
gal_err gal_config_copy(gal_config *out, const gal_config *c, gal_diag *diag);
/* The checks of sizes that reading does, for configs made in other ways. where: a file or "model" for the message. */
gal_err gal_config_check(const gal_config *c, const char *where, gal_diag *diag);
gal_err gal_config_read(gal_config *out, const char *path, gal_diag *diag);
/* The same from the bytes of a file; path is for messages. */
gal_err gal_config_parse(gal_config *out, const char *bytes, size_t n, const char *path, gal_diag *diag);
gal_err gal_config_write(const gal_config *c, const char *path, gal_diag *diag);
/* params.json, Mistral's own description of a model (formats.md 3): own_config.c. GAL_LAYOUT_OWN. */
gal_err gal_own_config_read(gal_config *out, const char *path, gal_diag *diag);
gal_err gal_own_config_parse(gal_config *out, const char *bytes, size_t n, const char *path, gal_diag *diag);
/* own_config_write.c. GAL_EINPUT: params.json has no words for what the config says. */
gal_err gal_own_config_write(const gal_config *c, const char *path, gal_diag *diag);
gal_err gal_own_config_print(const gal_config *c, gal_buf *out, const char *path, gal_diag *diag);
/* Appends what gal_config_write() would write. */
gal_err gal_config_print(const gal_config *c, gal_buf *out, const char *path, gal_diag *diag);

/* yarn.c: 0.1 weight ln(factor) + 1, and what cosine and sine of a YaRN model are multiplied with. */
double gal_yarn_magnitude(double factor, double weight);
double gal_yarn_scale(const gal_config *c);

/* Default sampling of a model. A negative number: the file does not say. */
typedef struct gal_generation {
    int32_t bos, eos[GAL_MAX_EOS], n_eos, pad; /* n_eos 0: none */
    int do_sample;                             /* 0, 1 */
    double temperature, top_p, min_p, repetition_penalty;
    int64_t top_k, max_new_tokens;
} gal_generation;

void gal_generation_defaults(gal_generation *g); /* says nothing */
gal_err gal_generation_read(gal_generation *out, const char *path, gal_diag *diag);
/* Against the size of the model's vocabulary: the ids that end a text are in it. */
gal_err gal_generation_check(const gal_generation *g, int64_t vocab, const char *path, gal_diag *diag);
gal_err gal_generation_parse(gal_generation *out, const char *bytes, size_t n, const char *path, gal_diag *diag);
gal_err gal_generation_write(const gal_generation *g, const char *path, gal_diag *diag);
gal_err gal_generation_print(const gal_generation *g, gal_buf *out, const char *path, gal_diag *diag);

#endif
