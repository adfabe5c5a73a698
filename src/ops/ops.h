/* ops.h - the vocabulary of models. Each op checks shapes, computes now, and knows its gradient.
 * x, q, k, v ... are tensors of the step; w are weights. All return a new tensor in the step arena, NULL after an
 * error. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_OPS_OPS_H
#define GAL_OPS_OPS_H

#include "core/ctx.h"

/* embed.c    [N, D]: rows of w [V, D] chosen by st->ids, in the context's type */
gal_t *gal_embed(gal_ctx *cx, const gal_w *w, const gal_step *st);
/* [n_out, D]: the rows of x [N, D] whose logits are wanted; x itself if all are */
gal_t *gal_out_rows(gal_ctx *cx, gal_t *x, const gal_step *st);

/* linear.c   x [N, I], w [O, I] -> x w^T [N, O] */
gal_t *gal_linear(gal_ctx *cx, gal_t *x, const gal_w *w);
gal_t *gal_linear_f32(gal_ctx *cx, gal_t *x, const gal_w *w);             /* the same with an f32 result (logits) */
gal_t *gal_linear_add(gal_ctx *cx, gal_t *x, const gal_w *w, gal_t *add); /* x w^T + add [N, O] */
/* Three products of the same x in one launch: *q [N, Oq], *k, *v. */
void gal_qkv(gal_ctx *cx, gal_t *x, const gal_w *wq, const gal_w *wk, const gal_w *wv, gal_t **q, gal_t **k,
             gal_t **v);
/* a [m, k] b [k, n] of tensors, or with b transposed [n, k] */
gal_t *gal_matmul(gal_ctx *cx, gal_t *a, gal_t *b, bool transpose_b);

/* norm.c     x [N, D], w [D] -> cast(x / rms(x)) w */
gal_t *gal_rms_norm(gal_ctx *cx, gal_t *x, const gal_w *w, double eps);
/* (x - mean) / deviation * w + b; w and b of one type */
gal_t *gal_layer_norm(gal_ctx *cx, gal_t *x, const gal_w *w, const gal_w *b, double eps);

/* rope.c     Rotary positions (RoFormer, arXiv:2104.09864; YaRN, arXiv:2309.00071). */
typedef struct gal_rope_spec {
    int64_t size;         /* head size, even */
    float *inv_freq;      /* [size / 2] radians per position, after any scaling; owned by the model */
    float mscale;         /* multiplies cosine and sine */
    float beta, original; /* query scale 1 + beta ln(1 + floor(pos / original)); beta 0: none */
    bool interleaved;     /* pairs (2j, 2j+1), else (j, j + size/2) */
} gal_rope_spec;
typedef struct gal_rope_angles {
    gal_t *table;  /* [N, size] */
    gal_t *qscale; /* [N] or NULL */
    bool interleaved;
} gal_rope_angles;
/* Angles of the step's positions, shared by all layers. */
gal_rope_angles gal_rope_angles_of(gal_ctx *cx, const gal_rope_spec *spec, const gal_step *st);
/* Rotates q [N, H K] and k [N, G K] in place. */
void gal_rope(gal_ctx *cx, gal_t *q, gal_t *k, const gal_rope_angles *angles);

/* attend.c   q [N, H K], k v [N, G K] -> [N, H K]; causal, within the document, at most `window` keys including the
 * row's own (0: all). With st->kv, also over the cached keys of `layer`, and then appends this step's (mistral.md
 * 6-8). */
typedef struct gal_attend_spec {
    int64_t heads, kv_heads, size, window;
    double scale; /* of the products, usually 1 / sqrt(size) */
} gal_attend_spec;
gal_t *gal_attend(gal_ctx *cx, gal_t *q, gal_t *k, gal_t *v, const gal_attend_spec *spec, const gal_step *st,
                  int layer);
/* The same with relative positions (Transformer-XL, arXiv:1901.02860, 3.3; gopher.md 2.2): a key m positions back has
 * the score scale (q k + qr r[min(m, M - 1)]). q qr k v [N, H K], as many key-value heads as heads, r [M, H K] for
 * the distances of the batch's rows; where there is a cache the relative keys beside it are taken, and r is NULL. */
gal_t *gal_attend_relative(gal_ctx *cx, gal_t *q, gal_t *qr, gal_t *k, gal_t *v, gal_t *r,
                           const gal_attend_spec *spec, const gal_step *st, int layer);
/* Sinusoids of the distances first .. first + m - 1 [M, D]: sines, then cosines. */
gal_t *gal_sinusoid(gal_ctx *cx, int64_t first, int64_t m, int64_t d);

/* act.c */
gal_t *gal_swiglu(gal_ctx *cx, gal_t *x, const gal_w *gate, const gal_w *up); /* silu(x gate^T) * (x up^T) [N, F] */
gal_t *gal_add(gal_ctx *cx, gal_t *a, gal_t *b);
gal_t *gal_mul(gal_ctx *cx, gal_t *a, gal_t *b);
gal_t *gal_silu(gal_ctx *cx, gal_t *x);
gal_t *gal_gelu(gal_ctx *cx, gal_t *x, const gal_w *up, const gal_w *b); /* gelu(x up^T + b), tanh form [N, F] */
gal_t *gal_add_row(gal_ctx *cx, gal_t *x, const gal_w *b);               /* b [D], or as many numbers, to each row */
void gal_bias(gal_ctx *cx, gal_t *x, const gal_w *b);                    /* the same in place */
/* Softmax of scale * x over columns lo[n] .. hi[n]-1 of each row (kernels.h SOFTMAX). */
gal_t *gal_softmax(gal_ctx *cx, gal_t *x, const int32_t *lo, const int32_t *hi, double scale);

/* moe.c      add + a sum over the experts that each row of x chooses (mixtral.md 4; routed-scaling.md 3) -> [N, D]. m
 * must outlive the step. layer: the block's index, for taps: "router", the logits [N, E]; "choice", the experts
 * chosen [N, k] (int32). With st->balance the step is one of training: each row's probabilities and choices enter the
 * layer's sums, the gradient of those losses the router's, S-BASE chooses by a plan and RL-R by chance (core/step.h).
 */
typedef struct gal_moe_spec {
    int64_t experts, used; /* E, at most GAL_MAX_EXPERTS; k, 1 to E */
    gal_router kind;
    bool sigmoid, whole; /* the gate of S-BASE: softmax over all logits or a sigmoid of each; made to add up to 1 */
    int64_t index;       /* which of the layers with experts: where in st->balance->sums its own are */
    const gal_w *router; /* [E, D]; NULL with HASH */
    const gal_w *value_up, *value_down; /* the baseline of RL-R: [D / 8, D], [1, D / 8] */
    /* [E] matrices each: gated units [F, D], [F, D], [D, F]; or, gate NULL, GELU with biases [F], [D] */
    gal_w *const *gate, *const *up, *const *down, *const *up_bias, *const *down_bias;
} gal_moe_spec;
gal_t *gal_moe(gal_ctx *cx, gal_t *x, const gal_moe_spec *m, gal_t *add, const gal_step *st, int layer);
/* The losses of a step from st->balance->sums, once its layers have run: loss[0] += scale balance, loss[1] += scale
 * z. */
void gal_moe_losses(gal_ctx *cx, const gal_step *st, double *loss, double scale);

/* loss.c     x [N, D], head [V, D] -> loss of each row against st->target in nats [N], 0 where the target is -1.
 * Logits are made for a bounded number of rows at a time: at most GAL_XENT_BYTES of them exist at once. */
enum { GAL_XENT_BYTES = 64 << 20 };
int64_t gal_cross_entropy_chunk(int64_t n, int64_t vocab,
                                gal_dtype stat); /* how many rows of n that is, 1 at least */
gal_t *gal_cross_entropy(gal_ctx *cx, gal_t *x, const gal_w *head, const gal_step *st);
/* The same from logits [N, V] of f32. */
gal_t *gal_cross_entropy_logits(gal_ctx *cx, gal_t *logits, const gal_step *st);
/* Scalar: sum_n loss[n] st->weight[n] */
gal_t *gal_weighted_sum(gal_ctx *cx, gal_t *loss, const gal_step *st);

/* composite.c   The definitions of fused ops from simpler ones: documentation, and the oracle of tests. */
gal_t *gal_linear_add_composite(gal_ctx *cx, gal_t *x, const gal_w *w, gal_t *add);
void gal_qkv_composite(gal_ctx *cx, gal_t *x, const gal_w *wq, const gal_w *wk, const gal_w *wv, gal_t **q, gal_t **k,
                       gal_t **v);
gal_t *gal_swiglu_composite(gal_ctx *cx, gal_t *x, const gal_w *gate, const gal_w *up);
gal_t *gal_attend_composite(gal_ctx *cx, gal_t *q, gal_t *k, gal_t *v, const gal_attend_spec *spec,
                            const gal_step *st);
gal_t *gal_attend_relative_composite(gal_ctx *cx, gal_t *q, gal_t *qr, gal_t *k, gal_t *v, gal_t *r,
                                     const gal_attend_spec *spec, const gal_step *st); /* on the CPU alone */
/* Every expert over every row, times the row's weight for it, 0 where it was not chosen. On the CPU alone. */
gal_t *gal_moe_composite(gal_ctx *cx, gal_t *x, const gal_moe_spec *m, gal_t *add);
gal_t *gal_cross_entropy_composite(gal_ctx *cx, gal_t *x, const gal_w *head, const gal_step *st);

#endif
