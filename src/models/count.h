/* count.h - parameters and floating-point operations of a model, part by part, as its paper counts them. Pure
 * functions of sizes; nothing of a model need exist. Counts are exact: what does not fit in 63 bits is refused, never
 * rounded. Only what a whole training takes (10^23) is a double. docs/counting.md has the formulas.
 *
 * A multiply-add is two operations, as in all of these papers. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_MODELS_COUNT_H
#define GAL_MODELS_COUNT_H

#include "formats/config.h"

enum { GAL_SIZE_MAX_EXPERTS = 1 << 16 }; /* to be counted; GAL_MAX_EXPERTS are computed */

/* All that a count depends on, in the letters of style.md. */
typedef struct gal_size {
    int64_t V, D, L, H, G, K, F;
    bool gated;     /* three matrices of F in a feed-forward part (SwiGLU) instead of two */
    bool relative;  /* positions of Transformer-XL: W_R and two vectors in each layer */
    bool bias;      /* of q, k, v, o and of the feed-forward part's matrices */
    bool norm_bias; /* norms have a bias beside their gain */
    bool tied;
    int64_t experts, used, routed; /* of a routed layer, of a token in it, and how many such layers; 0: dense */
    gal_router router; /* HASH has no parameters, though the routed paper counts a matrix; RLR has a baseline, too */
    bool no_baseline;  /* but where the files leave it out */
    bool wide;         /* no choice: one feed-forward part as wide as all experts (that paper's "flop increase") */
    int64_t sequence;  /* tokens of the sequence whose operations are counted */
    int64_t window, windowed; /* so many layers see so many tokens; 0, 0: all see all */
} gal_size;

/* Of a configuration. Distances beyond max_distance are counted like others. */
void gal_size_of(gal_size *out, const gal_config *c, int64_t sequence);
/* The same of the layers 0, every, 2 every, ... alone, which a training computes twice where it recomputes so. */
void gal_size_of_every(gal_size *out, const gal_config *c, int64_t sequence, int64_t every);
/* Every number in its range, of formats/config.h for most. GAL_EINPUT; where: for the message. */
gal_err gal_size_check(const gal_size *s, const char *where, gal_diag *diag);

/* Who counts. */
typedef enum gal_counting {
    GAL_COUNT_EXACT,      /* what the model's file holds and its products do */
    GAL_COUNT_CHINCHILLA, /* table A9: matrices, embedding, vectors of attention, no norms; appendix F */
    GAL_COUNT_GOPHER,     /* matrices, embedding, norms with a bias; appendix F */
    GAL_COUNT_ROUTED,     /* the same without the embedding; the released csv's operations */
    GAL_COUNTS
} gal_counting;
const char *gal_counting_name(gal_counting c);
bool gal_counting_named(gal_counting *out, const char *name);
/* NULL: such a model can be counted so; else why not, a phrase. The papers' counts are of Gopher's block alone. */
const char *gal_counting_misfit(gal_counting c, const gal_size *s);

typedef enum gal_part {
    GAL_PART_EMBED,
    GAL_PART_HEAD, /* 0 if tied, and with all papers: they count one table */
    GAL_PART_Q,
    GAL_PART_K,
    GAL_PART_V,
    GAL_PART_O,
    GAL_PART_RELATIVE, /* W_R */
    GAL_PART_OFFSETS,  /* u and v of relative positions */
    GAL_PART_DENSE,    /* feed-forward parts that are no experts */
    GAL_PART_EXPERTS,
    GAL_PART_ROUTERS,
    GAL_PART_BASELINE,
    GAL_PART_NORMS,
    GAL_PART_BIASES, /* but those of experts, which count there */
    GAL_PARTS
} gal_part;
const char *gal_part_name(gal_part p);

typedef struct gal_params {
    int64_t part[GAL_PARTS];
    int64_t total;
    int64_t embeddings; /* of embedding and head, within total */
    int64_t active;     /* of a token: all but the experts that it does not take */
    int64_t dense;      /* with one expert in each routed layer and no routers: N of the routed paper */
} gal_params;

/* The size was checked, and the count fits. GAL_EINPUT: more than 63 bits. */
gal_err gal_count_params(gal_params *out, const gal_size *s, gal_counting how, gal_diag *diag);

typedef enum gal_term {
    GAL_TERM_EMBED, /* of appendix F, as a product with the table; a look-up, and no operation, in the other counts */
    GAL_TERM_QKV,
    GAL_TERM_RELATIVE, /* R W_R */
    GAL_TERM_LOGITS,   /* queries and keys */
    GAL_TERM_RELATIVE_LOGITS,
    GAL_TERM_SOFTMAX,
    GAL_TERM_SUM, /* of values, weighted */
    GAL_TERM_OUTPUT,
    GAL_TERM_DENSE,
    GAL_TERM_EXPERTS,
    GAL_TERM_ROUTERS,
    GAL_TERM_BASELINE,
    GAL_TERM_NORMS, /* the csv's 10 D a layer and token */
    GAL_TERM_HEAD,
    GAL_TERMS
} gal_term;
const char *gal_term_name(gal_term t);

/* A forward pass over one sequence; each term is a multiple of the sequence. Attention counts all pairs of tokens, as
 * the papers do, not only those that the causal mask lets through. */
typedef struct gal_flops {
    int64_t term[GAL_TERMS];
    int64_t total;
    int64_t layers; /* without embedding and head: the numerator of Chinchilla's table A4 */
    int64_t sequence;
} gal_flops;
gal_err gal_count_flops(gal_flops *out, const gal_size *s, gal_counting how, gal_diag *diag);

/* Forward passes that a trained token costs: itself, and twice that for the gradients of activations and weights;
 * another where all of it is computed again, as papers count it. */
enum { GAL_PASSES_TRAIN = 3, GAL_PASSES_RECOMPUTE = 4 };
/* A token's share of the sequence: of all terms, or of the layers alone. */
double gal_flops_per_token(const gal_flops *f, bool layers);

#endif
