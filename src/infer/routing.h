/* routing.h - which experts a model's routers choose for a text (arXiv:2401.04088, routing analysis; mixtral.md 6).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_INFER_ROUTING_H
#define GAL_INFER_ROUTING_H

#include "models/model.h"

/* Of one layer, over the tokens of a text. Arrays [E]. */
typedef struct gal_routing_layer {
    int64_t *first, *second, *any; /* tokens whose first, second, whichever choice an expert is */
    double *probability;           /* mean of the softmax of the logits of all experts */
    int64_t block;                 /* of the model's */
    double entropy;                /* mean of the same softmax's entropy, nats */
    int64_t same_first, same_any;  /* pairs of neighbours with the same first choice; with a choice in common */
    int64_t not_finite, where;     /* tokens with logits that are not finite, left out above; the first of them */
} gal_routing_layer;

typedef struct gal_routing {
    int64_t layers;                       /* that have experts */
    int64_t experts, used, tokens, pairs; /* pairs: of neighbours in one sequence */
    gal_routing_layer *layer;
    void *memory;
} gal_routing;

typedef struct gal_routing_options {
    int64_t chunk;                                         /* tokens of a sequence, > 1 */
    int32_t bos;                                           /* stands before each, not counted; -1: none */
    bool exact;                                            /* as gal_engine_options */
    bool (*stop)(void *user, int64_t done, int64_t total); /* asked all the time; NULL: never */
    void *user;
} gal_routing_options;

/* Reads n > 0 ids as sequences of `chunk`. m has experts that a router chooses by logits, and lies on dev.
 * GAL_EINTERRUPTED: stop said so. */
gal_err gal_routing_study(gal_routing *out, gal_dev *dev, const gal_model *m, const int32_t *ids, int64_t n,
                          const gal_routing_options *options, gal_diag *diag);
void gal_routing_free(gal_routing *r); /* leaves {0} */
/* What same_first and same_any would be, as parts of the pairs, if experts were drawn evenly and independently. */
double gal_routing_random_first(int64_t experts);
double gal_routing_random_any(int64_t experts, int64_t used);

#endif
