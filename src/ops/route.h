/* route.h - the part of a mixture that chooses: which experts a row goes to, with what weights, and the gradient of
 * that. For moe.c. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_OPS_ROUTE_H
#define GAL_OPS_ROUTE_H

#include "ops/internal.h"

typedef struct gal__routing {
    gal_t *logits, *weight, *prob, *lse, *value; /* [N, E], [N, k], [N, E], [N], [N, 1]; NULL: there is none */
    gal_t *choice, *offset, *row, *place;        /* kernels.h, ROUTE and ROUTE_SORT */
} gal__routing;

/* Chooses, and sorts the rows. On an error some are NULL. */
void gal__route(gal_ctx *cx, gal__routing *r, gal_t *x, const gal_moe_spec *m, const gal_step *st, int layer);
/* From the gradient of the weights to those of x, whose other parts are there already, and of the router. */
void gal__route_grad(gal_ctx *cx, const gal__routing *r, gal_t *x, const gal_moe_spec *m, const gal_step *st,
                     const gal_t *dweight);

#endif
