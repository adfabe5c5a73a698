/* session.h - the engine: a model, its cache, and one step at a fixed address.
 *
 * Steps are packed batches of rows of one or more sequences. A step in which every sequence brings one token
 * (decoding) is recorded the first time and replayed from then on, until the cache grows. A request that is refused
 * changes nothing; a step that fails on its way leaves its sequences as they were, or empty where a ring may have
 * lost what it held. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_INFER_SESSION_H
#define GAL_INFER_SESSION_H

#include "galerne/infer.h"
#include "infer/cache.h"
#include "models/model.h"

typedef struct gal_engine gal_engine;

typedef struct gal_engine_options {
    gal_dtype compute, cache;
    int64_t sequences; /* at least 1 */
    int64_t context;   /* most tokens of a sequence; 0: the smaller of the model's maximum and what memory allows */
    int64_t chunk; /* most rows of one step, at least `sequences`; 0: 512, or 256 where products are of integers */
    bool eager;    /* never record */
    /* Weights meet activations as they are. Else these are rounded: to small integers for weights in blocks
     * (gal_set_quantised()); to bf16 for weights in bf16, in steps of several rows of which only those logits are
     * wanted that text is made from (gal_engine_step() without all_rows), and if there is no router. */
    bool exact;
    bool beyond; /* context may exceed the model's maximum (logits of whatever is asked) */
    /* Called before each step but the first; true: the model's weights lie elsewhere now. NULL: they stay. */
    bool (*moves)(void *user);
    void *user;
} gal_engine_options;

/* dev and m are borrowed; m's weights lie where dev computes (gal_model_to_device()). GAL_ENOMEM: the context asked
 * for is beyond the limit; the message has the byte counts. */
gal_err gal_engine_new(gal_engine **out, gal_dev *dev, const gal_model *m, const gal_engine_options *options,
                       gal_diag *diag);
void gal_engine_free(gal_engine *e);
/* The longest context that may be asked of a model: its maximum, unless its positions are distances, which have no
 * end. */
int64_t gal_engine_most(const gal_config *c);

int64_t gal_engine_context(const gal_engine *e);
const gal_cache *gal_engine_cache(const gal_engine *e);
/* Called with each weight that is multiplied and its inputs (core/ctx.h), in steps that are not replayed. */
void gal_engine_tap_inputs(gal_engine *e, gal_input_tap_fn fn, void *user);
/* Called with each named tensor of such steps (core/ctx.h). */
void gal_engine_tap(gal_engine *e, gal_tap_fn fn, void *user);
/* Asked while a step is computed (core/ctx.h); true ends it with GAL_EINTERRUPTED. */
void gal_engine_interrupt(gal_engine *e, gal_interrupt_fn fn, void *user);
bool gal_engine_truncate(gal_engine *e, int64_t sequence, int64_t length); /* as gal_cache_truncate() */
/* Room for a sequence that comes from a file (gal_cache_restore()); *cache is where to copy it. */
gal_err gal_engine_restore(gal_engine *e, int64_t sequence, int64_t length, gal_cache **cache, gal_diag *diag);
int64_t gal_engine_replays(const gal_engine *e); /* steps that were replayed so far */

/* Some tokens of one sequence. */
typedef struct gal_slice {
    int64_t sequence;
    const int32_t *ids;
    int64_t n; /* > 0 */
} gal_slice;

/* One step of at most `chunk` rows; a sequence occurs at most once. *logits: [slices, V] after each slice's last
 * token, or of all rows with all_rows; valid until the next call. GAL_EINPUT for an id that is no row of the
 * vocabulary. */
gal_err gal_engine_step(gal_engine *e, const gal_slice *slices, size_t n_slices, bool all_rows, const float **logits,
                        gal_diag *diag);

enum { GAL_TRY_MOST = GAL_CACHE_SPARE + 1 };

/* Appends n tokens, 0 < n <= GAL_TRY_MOST, to a sequence in one step. *logits: [n, V] after each of them, as if each
 * had been a step of its own: the same bytes on the CPU. Then any number of the n can be forgotten
 * (gal_engine_truncate()), whatever the model's window. */
gal_err gal_engine_try(gal_engine *e, int64_t sequence, const int32_t *ids, int64_t n, const float **logits,
                       gal_diag *diag);

/* The next tokens of several sequences, at most `chunk` rows in all: on the CPU a row's bytes follow from the tokens
 * before it in its sequence alone, whatever else is in the step and however sequences are cut into such steps. They
 * are not those of gal_engine_step(), whose products are summed otherwise where rows are few. *logits: of all rows,
 * or [slices, V] after each slice's last one. */
gal_err gal_engine_many(gal_engine *e, const gal_slice *slices, size_t n_slices, bool all_rows, const float **logits,
                        gal_diag *diag);
/* Most rows of a sequence in such a step, > 0. */
int64_t gal_engine_many_most(const gal_engine *e, int64_t sequence);
/* The same of at most GAL_TRY_MOST rows, as gal_engine_try(): with the bytes of single tokens. */
gal_err gal_engine_try_all(gal_engine *e, const gal_slice *slices, size_t n_slices, bool all_rows,
                           const float **logits, gal_diag *diag);
/* Makes sequence `to` hold what `from` holds, copied. */
gal_err gal_engine_fork(gal_engine *e, int64_t from, int64_t to, gal_diag *diag);

/* Appends n > 0 tokens to a sequence, in chunks; *logits: [V] after the last one. */
gal_err gal_engine_prefill(gal_engine *e, int64_t sequence, const int32_t *ids, int64_t n, const float **logits,
                           gal_diag *diag);
/* The same with the logits of every row given to fn, chunk by chunk. */
gal_err gal_engine_logits(gal_engine *e, int64_t sequence, const int32_t *ids, int64_t n, gal_logits_fn fn,
                          void *user, gal_diag *diag);

#endif
