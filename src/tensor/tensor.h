/* tensor.h - tensors of a step and weights of a model: what they are, not what is done with them.
 *
 * Letters for dimensions, everywhere: N packed rows (tokens) of a batch, D width, H query heads, G key-value heads,
 * K head size, F hidden width, V vocabulary, L layers, E experts. Matrices are row-major; a weight is [out, in].
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TENSOR_TENSOR_H
#define GAL_TENSOR_TENSOR_H

#include "base/err.h"

enum { GAL_MAX_DIMS = 4, GAL_MAX_EXPERTS = 512 };

/* How tokens are sent to experts. */
typedef enum gal_router {
    GAL_ROUTER_TOP,   /* Mixtral: the largest logits, softmax over them (mixtral.md 4) */
    GAL_ROUTER_SBASE, /* the largest logits, in training those of a balanced plan (routed-scaling.md 3.1) */
    GAL_ROUTER_RLR,   /* a policy that learns from what its choices bring (3.3) */
    GAL_ROUTER_HASH   /* the token's id modulo the number of experts (3.2) */
} gal_router;

/* A tensor of the running step. Handle and values live in the step's arenas: valid until the step ends or the
 * block that made it is left. Rows are contiguous. */
typedef struct gal_t {
    void *data;
    gal_dtype dtype;
    int ndim; /* 0 for a scalar */
    int64_t dim[GAL_MAX_DIMS];
    struct gal_t *grad; /* gradient being accumulated during a backward walk, else NULL */
    uint32_t version;   /* grows with each change in place; the tape checks what it saved against it */
    bool tracked;       /* a gradient flows through it */
} gal_t;

/* What a weight is for. Optimiser groups, initialisation and quantisation follow from it. */
typedef enum gal_role {
    GAL_W_EMBED,    /* rows looked up by id [V, D] */
    GAL_W_LINEAR,   /* multiplied with activations [out, in] */
    GAL_W_RESIDUAL, /* like LINEAR, its product is added to the residual stream: smaller initial values */
    GAL_W_NORM,     /* scale of a normalisation [D]: starts at 1, never decayed */
    GAL_W_BIAS      /* added to activations: starts at 0, never decayed */
} gal_role;

/* How the numbers of a weight lie whose type is GAL_BLOCKS. A row's numbers are whole blocks. */
typedef struct gal_code {
    uint32_t block; /* enum gal_block of blocks.h */
    /* GAL_BLOCK_F8_E4M3 only: number (o, i) is multiplied with scales[o / scale_rows * across + i / scale_cols]. They
     * belong to the weight, as its name does. */
    float *scales;
    int64_t scale_rows, scale_cols, across;
    size_t mirror; /* of packed blocks: from a node's copy to the next one's, bytes; 0: there is one copy */
} gal_code;

/* A weight. Not a tensor: it outlives steps, has a storage format and a role, and enters only the ops that say so. */
typedef struct gal_w {
    char *name; /* as in the checkpoint */
    gal_role role;
    gal_dtype dtype; /* of data */
    gal_code code;   /* where dtype is GAL_BLOCKS */
    int ndim;
    int64_t dim[GAL_MAX_DIMS];
    void *data;       /* [dim...]; in a mapped file (read-only) or owned by the model */
    void *packed;     /* its blocks as tensor/pack.h has them, beside data, for products alone; NULL: not packed. The
                         model's */
    const char *file; /* where it was loaded from, for messages; borrowed; NULL: nowhere */
    bool owned;
    int64_t rotary; /* head size where rows are rotary pairs, which stand as the layout has them; else 0 */
    bool of_expert; /* multiplied with those tokens alone that a router sends to it */
    uint32_t group; /* sets of weights it belongs to, a bit each; gal_backward() takes a mask */
    void *grad;     /* f32 (f64 on the reference device), same shape; NULL: no gradient is kept */
    const struct gal_lora *lora; /* what is added to its products; NULL: nothing. Borrowed */
} gal_w;

/* Whether it meets activations number by number and not in a product: few numbers, which are kept in full. */
static inline bool gal_w_is_vector(const gal_w *w) { return w->role == GAL_W_NORM || w->role == GAL_W_BIAS; }

/* A low-rank adapter (LoRA, arXiv:2106.09685) of a weight [out, in]: its products are those of w + scale B A, its own
 * numbers stay as they are. Rows of B are in w's order. */
typedef struct gal_lora {
    const gal_w *a; /* [rank, in] */
    const gal_w *b; /* [out, rank] */
    double scale;
    const struct gal_lora *next; /* a further one of the same weight, added too; NULL: none */
} gal_lora;

size_t gal_dtype_bytes(gal_dtype dtype); /* of one number */
/* Types of cached keys and values whose numbers lie in blocks of 32, and which of blocks.h these are. */
bool gal_dtype_in_blocks(gal_dtype dtype);
uint32_t gal_dtype_block(gal_dtype dtype);
size_t gal_dtype_span(gal_dtype dtype, int64_t n); /* of n numbers, whole blocks, of any type but GAL_BLOCKS */
/* Statistics beside activations of dtype (log-sum-exp, inverse norms, losses, weight gradients): f64 for f64, else
 * f32. */
gal_dtype gal_stat_dtype(gal_dtype dtype);

int64_t gal_count(const gal_t *t); /* elements */
int64_t gal_rows(const gal_t *t);  /* product of all dimensions but the last; 1 for a scalar */
int64_t gal_cols(const gal_t *t);  /* the last dimension; 1 for a scalar */
int64_t gal_wcount(const gal_w *w);
size_t gal_wbytes(const gal_w *w);
/* Rows [first, first + rows) of a matrix, or the one row that a vector is, as f32. */
void gal_wread(const gal_w *w, int64_t first, int64_t rows, float *out);
const char *gal_wformat(const gal_w *w); /* "Q4_K", "F8_E4M3", else the name of its dtype */

/* Conversions of one number; to bf16 and f16 with rounding to nearest even (formats.md 4.3 gives bf16's). */
static inline float gal_bf16_to_f32(uint16_t h) {
    union {
        uint32_t u;
        float f;
    } v = { .u = (uint32_t)h << 16 };
    return v.f;
}
uint16_t gal_f32_to_bf16(float f);
/* Rounded away from zero where the lower half of f's bits and chance carry over: the mean over all chances is f. */
static inline uint16_t gal_f32_to_bf16_by(float f, uint16_t chance) {
    union {
        float f;
        uint32_t u;
    } v = { .f = f };
    if ((v.u & 0x7f800000u) == 0x7f800000u) return gal_f32_to_bf16(f);
    return (uint16_t)((v.u + chance) >> 16); /* a carry into the exponent is the next number */
}
float gal_f16_to_f32(uint16_t h);
uint16_t gal_f32_to_f16(float f);
uint16_t gal_f64_to_bf16(double x); /* rounded once, not through f32 */
uint16_t gal_f64_to_f16(double x);

/* n numbers between any two of f32, bf16, f16, f64. */
void gal_convert(void *dst, gal_dtype dst_type, const void *src, gal_dtype src_type, int64_t n);

#endif
