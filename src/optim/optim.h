/* optim.h - what every optimiser shares over the weights of a model: gradients, clipping by their global norm, copies
 * in another precision, moving averages, and states by name. What is a method's own stands in its file, as one
 * gal_optim_kind, and in one line of the table in optim.c.
 *
 * Groups follow from the weights' roles: norms are never decayed, every matrix is, embeddings included.
 * Precision says where a weight lies and how it is rounded; norm scales stay f32 in all of them:
 *   f32         the model's own f32
 *   bf16        f32, which products round to bf16 as they read it; on a far device the model computes on a copy in
 *               bf16, which every update refreshes
 *   bf16_pure, bf16_stochastic      bf16 alone, rounded to nearest or by chance (kernels.h)
 * States are f32 always.
 *
 * Owned: states, averages, master weights, and the gradients it gives the weights (w->grad). Everything has a fixed
 * address from gal_optim_new() on, so that the update can be recorded. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_OPTIM_OPTIM_H
#define GAL_OPTIM_OPTIM_H

#include "core/ctx.h"

/* In the order of the choices of the setting `precision`. */
typedef enum gal_precision {
    GAL_PRECISION_F32,
    GAL_PRECISION_BF16,
    GAL_PRECISION_BF16_PURE,
    GAL_PRECISION_BF16_STOCHASTIC
} gal_precision;
gal_dtype gal_precision_compute(gal_precision p); /* of activations */

typedef struct gal_optim_kind gal_optim_kind;

typedef struct gal_optim_options {
    const gal_optim_kind *kind;
    gal_precision precision;
    double beta1, beta2, eps, weight_decay, clip, momentum;
    bool nesterov, relative;
    double ema;    /* decay of the weights' moving average; 0: none is kept */
    uint64_t seed; /* of rounding by chance */
} gal_optim_options;

enum { GAL_OPTIM_STATES = 3 }; /* most of a kind */

typedef struct gal_optim_slot {
    gal_w *w;
    void *master; /* what updates change: [count of w] of master_dt */
    void *work;   /* what the model computes on: master, or a copy of type work_dt */
    gal_dtype master_dt, work_dt;
    float *state[GAL_OPTIM_STATES]; /* NULL: there is none under these options */
    float *ema;                     /* [count] or NULL */
    void *scratch;                  /* the kind's, for the duration of an update */
    float decay;
    double *partial; /* sums of squares of the gradient */
    double *moved;   /* ... of the last update that measured them */
} gal_optim_slot;

/* A state of a weight, for checkpoints: tensor "STATE.WEIGHT". */
typedef struct gal_optim_pool {
    const char *state;
    const gal_w *w;
    float *data;
    int ndim;
    int64_t dim[GAL_MAX_DIMS];
} gal_optim_pool;

typedef struct gal_optim {
    gal_dev *dev;
    gal_opt_step step;     /* numbers of the coming update */
    gal_opt_step *step_at; /* where kernels find them: &step on the CPU */
    int64_t t;             /* updates made */
    gal_optim_options options;
    gal_optim_slot *slot; /* [n], in the order of the weights */
    size_t n;
    gal_optim_pool *pool; /* [n_pools] all states, in the order in which they are saved */
    size_t n_pools;
    double *partial, *moved; /* [n_partial], [n_moved], all slots' one after another */
    int64_t n_partial, n_moved;
} gal_optim;

/* A method. Pure functions of the options and of a slot; what is NULL is not needed. */
struct gal_optim_kind {
    const char *name;
    const char *states[GAL_OPTIM_STATES]; /* names; NULL after the last one */
    bool coupled;                         /* decay is a penalty, a part of the gradient */
    /* Dimensions of state k of w, as many as returned; 0: there is none. NULL: the weight's own. */
    int (*shape)(const gal_optim_options *o, const gal_w *w, int k, int64_t dim[GAL_MAX_DIMS]);
    size_t (*scratch_bytes)(const gal_optim_options *o, const gal_w *w);
    /* Its numbers of update t (from 1), besides lr, clip and momentum. */
    void (*numbers)(const gal_optim_options *o, int64_t t, gal_opt_step *step);
    /* Launches the update of a weight; u has all that updates share. */
    void (*update)(gal_ctx *cx, const gal_optim *o, const gal_optim_slot *s, const gal_k_update *u);
};
#define GAL_OPTIM_NAMES "adamw adam sgd adafactor" /* as a setting's choices; the order is gal_optim_kind_at()'s */
const gal_optim_kind *gal_optim_kind_at(int i);    /* NULL beyond the last */
extern const gal_optim_kind gal__optim_adamw, gal__optim_adam, gal__optim_sgd, gal__optim_adafactor;

/* Weights hold f32 that they own, in dev's memory; dev is borrowed. Gives each a gradient and puts it into group
 * `set`. On failure the weights are as before, without gradients, those of bf16_* rounded already. */
gal_err gal_optim_new(gal_optim **out, gal_dev *dev, gal_w *weights, size_t n, uint32_t set,
                      const gal_optim_options *options, gal_diag *diag);
/* Takes the gradients back; where the optimiser held master weights, they become the weights' data again. */
void gal_optim_free(gal_optim *o);
/* Other numbers for the updates to come: betas, eps, decay, clip, momentum. What was recorded of an update has the
 * old ones. GAL_EINPUT: options under which there are other states. */
gal_err gal_optim_retune(gal_optim *o, const gal_optim_options *options, gal_diag *diag);
/* Writes the numbers of update t + 1 where kernels find them. */
gal_err gal_optim_prepare(gal_optim *o, double lr, gal_diag *diag);
/* Launches: gradients to zero. */
void gal_optim_zero(gal_ctx *cx, gal_optim *o);
/* Launches: the gradient's norm and what clipping makes of it; after gal_optim_read() o->step has them. */
void gal_optim_norm(gal_ctx *cx, gal_optim *o);
/* Launches: the update, after gal_optim_norm(), and the averages. measure: also what moved. The caller then counts it
 * with o->t++. */
void gal_optim_update(gal_ctx *cx, gal_optim *o, bool measure);
gal_err gal_optim_read(gal_optim *o, gal_diag *diag);
/* Sums of squares of each weight's gradient and, after an update that measured, of its movement: [n] each. */
gal_err gal_optim_squares(gal_optim *o, double *grad, double *moved, gal_diag *diag);
/* Copies the master weights into what the model computes on (after loading a checkpoint). */
gal_err gal_optim_refresh(gal_optim *o, gal_diag *diag);
/* What the weights show, for saving and evaluating; GAL_VIEW_WORK is what recorded steps compute on. */
typedef enum gal_optim_view { GAL_VIEW_WORK, GAL_VIEW_MASTER, GAL_VIEW_EMA } gal_optim_view;
void gal_optim_show(gal_optim *o, gal_optim_view view);
/* Bytes that gal_optim_new() would take: gradients, states, copies, averages. (bf16_* give the f32 of each weight
 * back once it is rounded, which is not counted here.) */
uint64_t gal_optim_bytes(const gal_dev *dev, const gal_w *weights, size_t n, const gal_optim_options *options);
/* Bytes that stay during the training for each parameter, the weights included. */
double gal_optim_bytes_a_parameter(const gal_dev *dev, const gal_w *weights, size_t n,
                                   const gal_optim_options *options);

#endif
