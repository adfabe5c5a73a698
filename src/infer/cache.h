/* cache.h - keys and values of earlier tokens, for one or more sequences (mistral.md 7).
 *
 * A layer with a window of W keeps at most W + GAL_CACHE_SPARE slots per sequence, position p in slot p mod slots;
 * the others keep every position. All layers start small and double on demand; what they hold is kept. Invariant:
 * while a layer has fewer slots than positions were stored, it is a full ring, and the last `slots` positions of each
 * sequence are in it. Counts are tokens; a name ending in _bytes is bytes. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_INFER_CACHE_H
#define GAL_INFER_CACHE_H

#include "core/step.h"
#include "formats/config.h"
#include "tensor/tensor.h"

typedef struct gal_cache gal_cache;

/* Slots of a ring beyond its window: so many tokens and one can be tried in a step (gal_engine_try()), all of them
 * stored before any is attended, and forgotten again. Every ring has them, whether tokens are tried or not: where a
 * ring wraps decides in which order its keys are summed. */
enum { GAL_CACHE_SPARE = 15 };

/* Types of keys and values: f32, f16, bf16, and q8_0 and q4_0 where a head is whole blocks and dev (NULL: plain
 * memory) is the CPU; else GAL_EUSAGE with the reason. */
gal_err gal_cache_check(const gal_config *config, const gal_dev *dev, gal_dtype dtype, gal_diag *diag);
/* limit: no sequence will ever be longer. dev and config are borrowed. Starts with room for few tokens. */
gal_err gal_cache_new(gal_cache **out, gal_dev *dev, const gal_config *config, gal_dtype dtype, int64_t sequences,
                      int64_t limit, gal_diag *diag);
void gal_cache_free(gal_cache *c);

/* Bytes of a cache whose sequences have room for `tokens` each, and of relative keys beside it. */
uint64_t gal_cache_bytes_for(const gal_config *config, gal_dtype dtype, int64_t sequences, int64_t tokens);
/* Bytes of it that a token of one sequence reads which has `tokens` before it. */
uint64_t gal_cache_bytes_seen(const gal_config *config, gal_dtype dtype, int64_t tokens);
/* Most tokens a sequence may have so that the cache, and what growing needs beside it, fits into `bytes`; at most
 * `most`. */
int64_t gal_cache_tokens_in(const gal_config *config, gal_dtype dtype, int64_t sequences, int64_t most,
                            uint64_t bytes);

int64_t gal_cache_room(const gal_cache *c); /* tokens that fit without growing */
uint64_t gal_cache_bytes(const gal_cache *c);
int64_t gal_cache_length(const gal_cache *c, int64_t sequence);
/* [L] for gal_step.kv. The array's address is fixed; what it holds changes when the cache grows. */
const gal_kv_layer *gal_cache_layers(const gal_cache *c);

/* Makes room for `tokens` in every sequence. *grown (may be NULL) tells whether addresses changed. On GAL_ENOMEM,
 * also for more than the limit, the cache is as before. */
gal_err gal_cache_reserve(gal_cache *c, int64_t tokens, bool *grown, gal_diag *diag);
/* Relative keys of a layer (gal_kv_layer.r), borrowed; gal_relative_rows(): how many distances are told apart by a
 * model of this config among so many tokens, 0: it has none. */
void gal_cache_set_relative(gal_cache *c, int64_t layer, const void *r, int64_t distances);
int64_t gal_relative_rows(const gal_config *config, int64_t tokens);
/* Says that a step stored n further positions of a sequence. */
void gal_cache_advance(gal_cache *c, int64_t sequence, int64_t n);
/* Whether a step with n further positions writes over some that are there: a ring that is full. */
bool gal_cache_overwrites(const gal_cache *c, int64_t sequence, int64_t n);
/* Most positions of a sequence before a ring begins to overwrite; INT64_MAX: there is none. */
int64_t gal_cache_unwrapped(const gal_cache *c);
/* Forgets positions from `length` on. False, and nothing changes, if a ring has overwritten what they leave behind.
 */
bool gal_cache_truncate(gal_cache *c, int64_t sequence, int64_t length);
/* Makes a sequence hold what another one holds. */
gal_err gal_cache_fork(gal_cache *c, int64_t from, int64_t to, gal_diag *diag);

/* For files: a layer's keys or values of one head of a sequence are a run of `kept` slots, [kept, K]. */
int64_t gal_cache_kept(const gal_cache *c, int64_t layer, int64_t sequence);
size_t gal_cache_run_bytes(const gal_cache *c, int64_t layer, int64_t sequence); /* of one such run */
typedef struct gal_cache_run {
    int64_t layer, sequence, head;
    bool values; /* or keys */
} gal_cache_run;
gal_err gal_cache_copy_out(const gal_cache *c, gal_cache_run run, void *to, gal_diag *diag);
/* Makes an empty sequence one of `length` positions, whose runs are to be copied in next, all of them. GAL_ENOMEM: no
 * room for it. */
gal_err gal_cache_restore(gal_cache *c, int64_t sequence, int64_t length, bool *grown, gal_diag *diag);
gal_err gal_cache_copy_in(gal_cache *c, gal_cache_run run, const void *from, gal_diag *diag);

#endif
