/* order.h - which tokens make the next row: a function of the seed and of how many rows were taken, nothing else.
 *
 * The stream's tokens, documents one after another, are cut into rows of `sequence` inputs, whose targets are the
 * tokens one further on; each epoch cuts at another phase and walks its rows in another order. The tail of an epoch
 * that fills no row is left out of that epoch. Shards of conversations are rows already, which come as they are in
 * another order each epoch. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_DATA_ORDER_H
#define GAL_DATA_ORDER_H

#include "data/shards.h"

/* The place in the order; kept in checkpoints. */
typedef struct gal_order_state {
    uint64_t epoch, row; /* rows taken of this epoch */
} gal_order_state;

typedef struct gal_order {
    gal_shards *shards; /* borrowed */
    uint64_t seed;
    int64_t sequence;
    gal_packing packing;
} gal_order;

/* GAL_EINPUT with the counts if the shards hold less than one row and its last target. name: of the text. */
gal_err gal_order_init(gal_order *out, gal_shards *shards, uint64_t seed, int64_t sequence, gal_packing packing,
                       const char *name, gal_diag *diag);
int64_t gal_order_rows(const gal_order *o, uint64_t epoch); /* of one epoch, at least 1 */
/* Fills the next row and moves the state; *targets: how many it has. GAL_EINPUT: a shard is damaged there. */
gal_err gal_order_next(const gal_order *o, gal_order_state *state, gal_row row, int64_t *targets, gal_diag *diag);
/* Moves the state past the next row, which is not read. */
void gal_order_pass(const gal_order *o, gal_order_state *state);
/* A permutation of [0, n): where element i goes under a key (a Feistel network with cycle walking). */
uint64_t gal_permute(uint64_t i, uint64_t n, uint64_t seed, uint64_t stream);

#endif
