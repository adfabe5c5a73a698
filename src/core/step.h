/* step.h - all that varies from step to step, at one fixed address, so that a recorded step can be replayed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CORE_STEP_H
#define GAL_CORE_STEP_H

#include "base/err.h"

/* One layer's keys and values of all cached sequences; the memory belongs to infer/cache. A sequence has `slots`
 * slots; the key of position p lies in slot p mod slots. */
typedef struct gal_kv_layer {
    void *k, *v; /* [sequences, G, slots, K] */
    gal_dtype dtype;
    int64_t slots;
} gal_kv_layer;

/* A batch of packed rows. Arrays have room for `room` rows and keep their addresses; n may change between recordings.
 */
typedef struct gal_step {
    int64_t n, room;
    int64_t row_len;        /* no document crosses a multiple of it; n in inference */
    int32_t *ids;           /* [n] tokens */
    int32_t *pos;           /* [n] absolute position in the document */
    int32_t *start;         /* [n] first row in this batch of the row's document */
    int32_t *seq;           /* [n] cached sequence; unused without a cache */
    int32_t *target;        /* [n] the token that should follow, -1: none (training) */
    float *weight;          /* [n] what the row's loss counts for (training) */
    int64_t n_out;          /* rows whose logits are wanted; 0: all */
    int32_t *out_rows;      /* [n_out] ascending */
    const gal_kv_layer *kv; /* [L], or NULL: no cache */
} gal_step;

gal_err gal_step_init(gal_step *st, int64_t room, gal_diag *diag); /* zeroed; on failure nothing is held */
void gal_step_free(gal_step *st);                                  /* leaves {0} */

#endif
