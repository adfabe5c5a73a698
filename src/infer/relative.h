/* relative.h - relative keys beside a cache, for families whose positions are distances (gal_family.relative). They
 * depend on weights and distances alone, so they are made when the cache grows, not at each token: [distances, H, K]
 * a layer, of the type computed in. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_INFER_RELATIVE_H
#define GAL_INFER_RELATIVE_H

#include "infer/cache.h"
#include "models/model.h"

typedef struct gal_relative {
    void **r; /* [layers], in dev's memory */
    int64_t layers, distances;
    gal_dev *dev; /* borrowed */
} gal_relative;   /* {0} holds nothing */

/* After the cache has grown: as many distances as it has room for, and its layers point to them. Nothing to do for
 * other families. Called between steps of cx. On failure the cache must not be attended. */
gal_err gal_relative_grow(gal_relative *rel, gal_ctx *cx, const gal_model *m, gal_cache *cache, gal_diag *diag);
void gal_relative_free(gal_relative *rel); /* leaves {0} */

#endif
