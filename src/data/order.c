/* order.c - see order.h. SPDX-License-Identifier: Apache-2.0 */
#include "data/order.h"

#include "base/rng.h"

/* Streams of the run's seed; the weights' initial values use others (models). */
#define STREAM_PHASE UINT64_C(0x6f72646572000001)
#define STREAM_SHUFFLE UINT64_C(0x6f72646572000002)
enum { ROUNDS = 4 };

uint64_t gal_permute(uint64_t i, uint64_t n, uint64_t seed, uint64_t stream) {
    /* Four rounds over 2 x half bits are a permutation of [0, 4^half); walking until the value falls below n makes
     * one of [0, n), in fewer than four steps on average because 4^half < 4 n. */
    unsigned half = 1;
    while (half < 32 && (UINT64_C(1) << (2 * half)) < n) half++;
    uint64_t mask = (UINT64_C(1) << half) - 1;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t r = 0; r < ROUNDS; r++) {
            uint32_t word[4];
            gal_philox(word, seed, stream, right << 8 | r);
            uint64_t next = left ^ (word[0] & mask);
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}

gal_err gal_order_init(gal_order *out, gal_shards *shards, uint64_t seed, int64_t sequence, gal_packing packing,
                       const char *name, gal_diag *diag) {
    gal_err err = gal_shards_fit(shards, sequence, packing, name, diag);
    if (err) return err;
    if (shards->n_tokens < sequence + !shards->row)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: too small to train on: %lld bytes of text are %lld tokens in %lld documents, "
                        "and one row of batch.sequence %lld needs %lld",
                        name, (long long)shards->text_bytes, (long long)shards->n_tokens, (long long)shards->n_docs,
                        (long long)sequence, (long long)sequence + 1);
    *out = (gal_order){ shards, seed, sequence, packing };
    return GAL_OK;
}

static int64_t phase_of(const gal_order *o, uint64_t epoch) {
    if (o->shards->row) return 0;                          /* its rows are cut already */
    int64_t spare = o->shards->n_tokens - 1 - o->sequence; /* tokens that may be skipped with one row left */
    uint64_t choices = (uint64_t)GAL_MIN(o->sequence, spare + 1);
    return (int64_t)gal_rng_below(o->seed, STREAM_PHASE, epoch, choices);
}

int64_t gal_order_rows(const gal_order *o, uint64_t epoch) {
    if (o->shards->row) return o->shards->n_tokens / o->sequence;
    return (o->shards->n_tokens - 1 - phase_of(o, epoch)) / o->sequence;
}

/* Moves to the next epoch where this one has no more rows; how many the epoch has then. */
static int64_t settle(const gal_order *o, gal_order_state *state) {
    int64_t rows = gal_order_rows(o, state->epoch);
    if (state->row < (uint64_t)rows) return rows;
    state->epoch++;
    state->row = 0;
    return gal_order_rows(o, state->epoch);
}

void gal_order_pass(const gal_order *o, gal_order_state *state) {
    (void)settle(o, state);
    state->row++;
}

gal_err gal_order_next(const gal_order *o, gal_order_state *state, gal_row row, int64_t *targets, gal_diag *diag) {
    const int64_t rows = settle(o, state);
    uint64_t place = gal_permute(state->row, (uint64_t)rows, o->seed, STREAM_SHUFFLE + (state->epoch << 8));
    state->row++;
    return gal_shards_row(o->shards, phase_of(o, state->epoch) + (int64_t)place * o->sequence, o->sequence,
                          o->packing, row, targets, diag);
}
