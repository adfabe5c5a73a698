/* internal.h - what op files share. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_OPS_INTERNAL_H
#define GAL_OPS_INTERNAL_H

#include "ops/ops.h"

/* LAUNCH(cx, GAL_K_ADD, gal_k_map, .y = ..., ...) */
#define GAL_LAUNCH(cx, id, type, ...) gal_launch(cx, id, &(type){ __VA_ARGS__ }, sizeof(type))

/* A row-major matrix; transposed: the same memory with rows and columns exchanged. */
static inline gal_mat gal__mat(void *p, gal_dtype dt, int64_t cols) {
    return (gal_mat){ p, dt, cols, 1, NULL, NULL };
}
static inline gal_mat gal__mat_t(void *p, gal_dtype dt, int64_t cols) {
    return (gal_mat){ p, dt, 1, cols, NULL, NULL };
}
/* A weight [out, in]. */
static inline gal_mat gal__wmat(const gal_w *w) {
    return (gal_mat){ w->data, w->dtype, w->dim[1], 1, &w->code, NULL };
}
static inline gal_mat gal__wmat_t(const gal_w *w) {
    return (gal_mat){ w->data, w->dtype, 1, w->dim[1], &w->code, w->packed };
}

/* Launches the products, if there are any. */
void gal__products(gal_ctx *cx, gal_k_gemm *g);
/* y[i] = x w[i]^T (+ add, if given) for up to GAL_GEMM_MAX weights. Weights in blocks meet x as small integers, made
 * once for all of them, where the context says so (gal_set_quantised). Adapters of the weights are added. */
void gal__project(gal_ctx *cx, gal_t *x, const gal_w *const *w, gal_t *const *y, const gal_t *add, int count);
/* Whether it does so for w; what QUANTISE makes of x, in the step's memory. */
bool gal__takes_integers(const gal_ctx *cx, const gal_w *w);
void *gal__integers(gal_ctx *cx, const gal_t *x, bool twice); /* kernels.h, gal_k_quantise */
/* Makes q, of x with so many rows, what a product multiplies. */
void gal__take_integers(gal_gemm *g, void *q, int64_t rows, bool twice);
/* lora.c   y[i] += scale (x A^T) B^T for each adapter of w[i], and its gradient: of A, of B, and through it of x. */
void gal__adapt(gal_ctx *cx, gal_t *x, const gal_w *const *w, gal_t *const *y, int count);
void gal__adapt_grad(gal_ctx *cx, gal_t *x, const gal_w *w, void *dy, gal_dtype dy_dt);
/* dx (+)= dy w and dw += dy^T x for y = x w^T; dy [N, O] of type dy_dt; adapters of w included. dx may be NULL. A
 * weight in blocks has no gradient of its own, x's flows through it. */
void gal__linear_grad(gal_ctx *cx, gal_t *x, const gal_w *w, void *dy, gal_dtype dy_dt);
/* act.c    db += sum of the rows of dy, for what was added to each of them */
void gal__row_grad(gal_ctx *cx, const gal_w *b, const gal_t *dy);
/* to (+)= from, of the same type and count. */
void gal__accumulate(gal_ctx *cx, gal_t *to, const gal_t *from, bool accumulate);

#endif
