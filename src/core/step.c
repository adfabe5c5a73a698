/* step.c - the arrays of a step, in one block, and its copy on a far device. Invariant: they never move while a plan
 * may read them. SPDX-License-Identifier: Apache-2.0 */
#include "core/step.h"

#include "base/mem.h"

enum { ARRAYS = 7 };

/* Each array begins on a line of 64 bytes. */
static size_t stride(int64_t room) { return ((size_t)room * sizeof(int32_t) + 63) / 64 * 64; }

static void *array(void *block, int64_t room, int i) { return (char *)block + (size_t)i * stride(room); }

gal_err gal_step_init(gal_step *st, gal_dev *dev, int64_t room, gal_diag *diag) {
    GAL_ASSERT(room > 0);
    _Static_assert(sizeof(float) == sizeof(int32_t), "one stride for all arrays");
    *st = (gal_step){ .room = room, .dev = dev };
    st->block = gal_alloc_array(ARRAYS, stride(room));
    void *seen = st->block;
    if (st->block && dev->far) seen = st->copy = gal_dev_take(dev, ARRAYS * stride(room));
    if (!seen) {
        gal_step_free(st);
        return gal_fail(diag, GAL_ENOMEM, "no memory for a batch of %lld rows", (long long)room);
    }
    int32_t **const host[] = { &st->ids, &st->pos, &st->start, &st->seq, &st->target, &st->out_rows };
    const int32_t **const at[] = { &st->at.ids, &st->at.pos,    &st->at.start,
                                   &st->at.seq, &st->at.target, &st->at.out_rows };
    for (int i = 0; i < ARRAYS - 1; i++) {
        *host[i] = array(st->block, room, i);
        *at[i] = array(seen, room, i);
    }
    st->weight = array(st->block, room, ARRAYS - 1);
    st->at.weight = array(seen, room, ARRAYS - 1);
    return GAL_OK;
}

void gal_step_free(gal_step *st) {
    if (st->copy) gal_dev_give(st->dev, st->copy);
    gal_free(st->block);
    *st = (gal_step){ 0 };
}

size_t gal_step_bytes(const gal_step *st) { return ARRAYS * stride(st->room); }

gal_err gal_step_commit(const gal_step *st, gal_diag *diag) {
    return st->copy ? gal_dev_upload(st->dev, st->copy, st->block, ARRAYS * stride(st->room), diag) : GAL_OK;
}
