/* tiny.h - small random models and engines on them, for the tests of this folder.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_INFER_TINY_H
#define GAL_TESTS_INFER_TINY_H

#include "infer/session.h"
#include "support/test.h"

enum { TINY_V = 53, TINY_L = 3, TINY_D = 24 };

/* Odd sizes throughout: 3 heads of 10 on 1 key-value head, width 24, hidden 37. mixed: layer 1 ignores the window. */
gal_model *tiny_model(int64_t window, bool mixed);
gal_dev *tiny_dev(const char *level, int threads); /* NULL if this processor lacks the level */
gal_engine *tiny_engine(gal_dev *dev, const gal_model *m,
                        gal_engine_options options); /* unset fields: f32, 1 sequence */
/* Its matrices, but for the embedding and routers, in blocks. */
void tiny_blocks(gal_model *m, uint32_t block);
void tiny_ids(int32_t *ids, int64_t n, uint64_t seed);
/* Logits [n, V] of one forward pass without a cache: what every other way must give. */
void tiny_reference(gal_dev *dev, const gal_model *m, const int32_t *ids, int64_t n, float *out);
/* The same through the engine's cache, `chunk` ids at a time, into out [n, V]. */
void tiny_feed(gal_engine *e, int64_t sequence, const int32_t *ids, int64_t n, int64_t chunk, float *out);
/* Bound on what another order of summation may change: every logit passes L layers of sums over about D numbers. */
void tiny_close(const float *a, const float *b, int64_t count);

#endif
