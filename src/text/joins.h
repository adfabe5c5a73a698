/* joins.h - a queue of the joins that encoding a long segment may make: the best piece first, of equals the leftmost.
 *
 * Each rank has a line of its own. Joins of one rank are found from left to right nearly always, so a line is a list
 * that grows at its end; what comes out of order goes to a heap that the lines share. A run of one letter has few
 * ranks and nothing out of order: each push and pop takes constant time. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_JOINS_H
#define GAL_TEXT_JOINS_H

#include "base/err.h"

typedef struct gal__join {
    uint64_t key;   /* rank of the piece, then index of the left symbol: the smallest is next */
    uint32_t bytes; /* of both parts, to know a join whose parts changed meanwhile */
    int32_t id;
} gal__join;

typedef struct gal__joins gal__joins;

/* ranks: all are below it. */
gal_err gal__joins_new(gal__joins **out, int32_t ranks, gal_diag *diag);
void gal__joins_free(gal__joins *q); /* NULL is allowed */
gal_err gal__joins_push(gal__joins *q, gal__join j, gal_diag *diag);
bool gal__joins_pop(gal__joins *q, gal__join *j); /* false: empty */
void gal__joins_clear(gal__joins *q);

#endif
