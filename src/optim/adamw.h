/* adamw.h - AdamW (Loshchilov and Hutter, arXiv:1711.05101) over the weights of a model, with clipping by global
 * norm.
 *
 * Groups follow from the weights' roles: norms are never decayed, every matrix is, embeddings included.
 * Master weights are f32. Where activations are f32 they are the model's own; where bf16, the optimiser keeps them
 * and the model computes on a bf16 copy (norm scales stay f32), which every update refreshes.
 *
 * Owned: moments, master weights, and the gradients it gives the weights (w->grad). Everything has a fixed address
 * from gal_adamw_new() on, so that the update can be recorded. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_OPTIM_ADAMW_H
#define GAL_OPTIM_ADAMW_H

#include "core/ctx.h"

typedef struct gal_adamw_options {
    double beta1, beta2, eps, weight_decay, clip;
} gal_adamw_options;

typedef struct gal_adamw_slot {
    gal_w *w;
    float *master, *m, *v; /* [count of w]; master is w->data, or owned with work in w->data */
    bool owns_master;
    float decay;
    double *partial; /* sums of squares of the gradient */
} gal_adamw_slot;

typedef struct gal_adamw {
    gal_dev *dev;
    gal_opt_step step;     /* numbers of the coming update */
    gal_opt_step *step_at; /* where kernels find them: &step on the CPU */
    int64_t t;             /* updates made */
    gal_adamw_options options;
    gal_adamw_slot *slot; /* [n], in the order of the weights */
    size_t n;
    double *partial; /* [n_partial], all slots' one after another */
    int64_t n_partial;
} gal_adamw;

/* Weights hold f32 that they own, in dev's memory; dev is borrowed. work: the type they compute in, F32 or BF16.
 * Gives each a gradient and puts it into group `set`. On failure the weights are as before, without gradients. */
gal_err gal_adamw_new(gal_adamw **out, gal_dev *dev, gal_w *weights, size_t n, gal_dtype work, uint32_t set,
                      const gal_adamw_options *options, gal_diag *diag);
/* Takes the gradients back; where the optimiser held master weights, they become the weights' data again. */
void gal_adamw_free(gal_adamw *o);
/* Writes the numbers of update t + 1 where kernels find them. */
gal_err gal_adamw_prepare(gal_adamw *o, double lr, gal_diag *diag);
/* Launches: gradients to zero. */
void gal_adamw_zero(gal_ctx *cx, gal_adamw *o);
/* Launches: norm, clipping, update. The caller then counts it with o->t++. */
void gal_adamw_update(gal_ctx *cx, gal_adamw *o);
/* The gradient's norm that the last update found into o->step. */
gal_err gal_adamw_read(gal_adamw *o, gal_diag *diag);
/* Copies the master weights into what the model computes on (after loading a checkpoint). */
gal_err gal_adamw_refresh(gal_adamw *o, gal_diag *diag);
/* For saving: the weights show their master values (f32) between show and hide. */
void gal_adamw_show_master(gal_adamw *o);
void gal_adamw_hide_master(gal_adamw *o);
/* Bytes that gal_adamw_new() would take: gradients, moments, copies. */
uint64_t gal_adamw_bytes(const gal_w *weights, size_t n, gal_dtype work);

#endif
