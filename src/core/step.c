/* step.c - the arrays of a step. Invariant: they never move while a plan may read them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/step.h"

#include "base/mem.h"

gal_err gal_step_init(gal_step *st, int64_t room, gal_diag *diag) {
    GAL_ASSERT(room > 0);
    *st = (gal_step){ .room = room };
    int32_t **const arrays[] = { &st->ids, &st->pos, &st->start, &st->seq, &st->target, &st->out_rows };
    for (size_t i = 0; i < GAL_LEN(arrays); i++) *arrays[i] = gal_alloc_array((size_t)room, sizeof(int32_t));
    st->weight = gal_alloc_array((size_t)room, sizeof(float));
    bool whole = st->weight != NULL;
    for (size_t i = 0; i < GAL_LEN(arrays); i++) whole = whole && *arrays[i];
    if (whole) return GAL_OK;
    gal_step_free(st);
    return gal_fail(diag, GAL_ENOMEM, "no memory for a batch of %lld rows", (long long)room);
}

void gal_step_free(gal_step *st) {
    gal_free(st->ids);
    gal_free(st->pos);
    gal_free(st->start);
    gal_free(st->seq);
    gal_free(st->target);
    gal_free(st->out_rows);
    gal_free(st->weight);
    *st = (gal_step){ 0 };
}
