/* step.h - all that varies from step to step, at one fixed address, so that a recorded step can be replayed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CORE_STEP_H
#define GAL_CORE_STEP_H

#include "core/dev.h"

/* One layer's keys and values of all cached sequences; the memory belongs to infer/cache. A sequence has `slots`
 * slots; the key of position p lies in slot p mod slots. */
typedef struct gal_kv_layer {
    void *k, *v; /* [sequences, G, slots, K] */
    gal_dtype dtype;
    int64_t slots;
    const void *r;     /* relative keys [distances, H, K] of the type computed in; NULL: the model has none */
    int64_t distances; /* further ones are as the last */
} gal_kv_layer;

/* Where kernels find the arrays of a step: the host's own memory on the CPU, else copies in the device's. */
typedef struct gal_step_arrays {
    const int32_t *ids, *pos, *start, *seq, *target, *out_rows;
    const float *weight;
} gal_step_arrays;

/* What layers with experts leave of a training step, how they choose in one, and the losses that act on their routers
 * (mixtral.md 4; routed-scaling.md 3): each layer writes its sums, and all of them are read when the tape is walked.
 * Memory: the device's, the trainer's. */
typedef struct gal_balance {
    double *sums;            /* [layers, gal_route_width(experts)] (kernels.h, ROUTE_SUMS) */
    int64_t layers, experts; /* layers that have some */
    double balance, z;       /* factors of the losses in this step's gradient */
    bool per_layer;          /* balance: a mean over layers instead of over the rows of all */
    double capacity;         /* most rows of an expert, as a multiple of its even share; 0: any number */
    double tolerance;        /* of a plan, and its most iterations */
    int64_t iterations;
    double policy, baseline, entropy; /* factors of what a policy learns by */
    double top_p;                     /* of its draws; 1: no limit */
    double factor;                    /* of the losses of policies in this step's gradient */
    const gal_noise *noise;           /* what policies draw by; the device's, kernels read it when they run */
    struct gal_t **loss;              /* the family leaves the loss of each row here, where policies find it */
} gal_balance;

/* A batch of packed rows. Arrays have room for `room` rows and keep their addresses; n may change between recordings.
 * The host fills them and commits. */
typedef struct gal_step {
    int64_t n, room;
    int64_t row_len;            /* no document crosses a multiple of it; n in inference */
    int32_t *ids;               /* [n] tokens */
    int32_t *pos;               /* [n] absolute position in the document */
    int32_t *start;             /* [n] first row in this batch of the row's document */
    int32_t *seq;               /* [n] cached sequence; unused without a cache */
    int32_t *target;            /* [n] the token that should follow, -1: none (training) */
    float *weight;              /* [n] what the row's loss counts for (training) */
    int64_t n_out;              /* rows whose logits are wanted; 0: all */
    int32_t *out_rows;          /* [n_out] ascending */
    const gal_kv_layer *kv;     /* [L], or NULL: no cache */
    bool apart;                 /* each row is a document of its own (start[i] = i) that finds all before it in the
                                 * cache, earlier rows of this batch, too: keys are stored before they are attended */
    const gal_balance *balance; /* NULL: no losses of routers */
    gal_step_arrays at;         /* for kernel arguments */
    gal_dev *dev;
    void *block, *copy; /* all arrays, one after another; their copy on a far device */
} gal_step;

/* Zeroed; dev is borrowed; on failure nothing is held. */
gal_err gal_step_init(gal_step *st, gal_dev *dev, int64_t room, gal_diag *diag);
void gal_step_free(gal_step *st);          /* leaves {0} */
size_t gal_step_bytes(const gal_step *st); /* of its arrays, on the host */
/* Before a step is run or replayed: kernels then find what the host wrote into the arrays. Costs nothing on the CPU.
 */
gal_err gal_step_commit(const gal_step *st, gal_diag *diag);

#endif
