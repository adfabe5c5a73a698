/* feed.h - the rows of each step, gathered while the step before is computed: whatever waits for the disk - pages of
 * mapped shards, their checksums - waits beside the computation. The rows are those that a reader without a thread
 * gets, in the same order. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_DATA_FEED_H
#define GAL_DATA_FEED_H

#include "data/mix.h"

typedef struct gal_feed gal_feed;

/* One step: some batches of `rows` rows of the mixture's sequence. Entries are indices within a batch (order.h). */
typedef struct gal_feed_rows {
    const int32_t *ids, *pos, *start, *target;
    int64_t targets;
} gal_feed_rows;

/* The mixture is borrowed, and read by nobody else while a feed has it. batches: the most of a step. ahead: with a
 * thread; where none can be started, without. */
gal_err gal_feed_new(gal_feed **out, const gal_mix *mix, int64_t sequence, int64_t rows, int64_t batches, bool ahead,
                     gal_diag *diag);
void gal_feed_free(gal_feed *f);
/* The rows of the step of so many batches that begins at *place, which moves behind it on success; valid until the
 * next call. From there on the thread reads `next` batches. GAL_EINPUT: a shard is damaged, or became shorter. */
gal_err gal_feed_take(gal_feed *f, gal_mix_state *place, int64_t batches, int64_t next, gal_feed_rows *out,
                      gal_diag *diag);
/* Until the next gal_feed_take() nobody reads the mixture. */
void gal_feed_rest(gal_feed *f);
bool gal_feed_is_ahead(const gal_feed *f); /* there is a thread */
size_t gal_feed_bytes(const gal_feed *f);  /* of its rows, those ahead included */
/* How long calls of gal_feed_take() took so far. */
double gal_feed_waited_s(const gal_feed *f);

#endif
