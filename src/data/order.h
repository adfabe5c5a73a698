/* order.h - which tokens make the next row: a function of the seed and of how many rows were taken, nothing else.
 *
 * The shard's tokens, documents one after another, are cut into rows of `sequence` inputs, whose targets are the
 * tokens one further on; each epoch cuts at another phase and walks its rows in another order. Inside a row positions
 * start anew at each document, attention does not cross its border, and its last token has no target. The tail of an
 * epoch that fills no row is left out of that epoch. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_DATA_ORDER_H
#define GAL_DATA_ORDER_H

#include "data/shard.h"

/* The place in the order; kept in checkpoints. */
typedef struct gal_order_state {
    uint64_t epoch, row; /* rows taken of this epoch */
} gal_order_state;

typedef struct gal_order {
    const gal_shard *shard; /* borrowed */
    uint64_t seed;
    int64_t sequence;
} gal_order;

/* Where a row goes: arrays with room for `sequence` entries from index `base` on (core/step.h has their meaning). */
typedef struct gal_row {
    int32_t *ids, *pos, *start, *target;
    int64_t base;
} gal_row;

/* GAL_EINPUT with the counts if the shard holds less than one row and its last target. name: of the text. */
gal_err gal_order_init(gal_order *out, const gal_shard *shard, uint64_t seed, int64_t sequence, const char *name,
                       gal_diag *diag);
int64_t gal_order_rows(const gal_order *o, uint64_t epoch); /* of one epoch, at least 1 */
/* Fills the next row and moves the state. Returns how many targets it has. */
int64_t gal_order_next(const gal_order *o, gal_order_state *state, gal_row row);
/* The row that begins at token `at`, for reading a shard from front to back; what lies beyond the end has no target.
 */
int64_t gal_shard_row(const gal_shard *s, int64_t at, int64_t sequence, gal_row row);
/* A permutation of [0, n): where element i goes under a key (a Feistel network with cycle walking). */
uint64_t gal_permute(uint64_t i, uint64_t n, uint64_t seed, uint64_t stream);

#endif
