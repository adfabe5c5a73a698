/* rope.c - rotary positions. The rotation is linear and orthogonal: its gradient is the rotation back, so nothing is
 * saved and q and k are turned where they lie. SPDX-License-Identifier: Apache-2.0 */
#include "ops/internal.h"

gal_rope_angles gal_rope_angles_of(gal_ctx *cx, const gal_rope_spec *spec, const gal_step *st) {
    gal_dtype dt = gal_ctx_compute(cx), stat = gal_stat_dtype(dt);
    gal_rope_angles a = { .interleaved = spec->interleaved };
    a.table = gal_new2(cx, stat, st->n, spec->size);
    if (spec->beta > 0) a.qscale = gal_new(cx, stat, 1, (int64_t[]){ st->n });
    const float *inv_freq = gal_constant(cx, spec->inv_freq, (size_t)(spec->size / 2) * sizeof(float));
    if (!gal_ok(cx)) return a;
    GAL_LAUNCH(cx, GAL_K_ROPE_TABLE, gal_k_rope_table, .table = a.table->data,
               .qscale = a.qscale ? a.qscale->data : NULL, .dt = dt, .pos = st->at.pos, .inv_freq = inv_freq,
               .mscale = spec->mscale, .beta = spec->beta, .original = spec->original, .n = st->n,
               .size = spec->size);
    return a;
}

/* One node a tensor, because a node is passed over when no gradient reached its result. */
static void rope_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    gal_k_rope a = *(const gal_k_rope *)saved;
    a.q = y->grad->data;
    a.k = NULL;
    a.inverse = true;
    gal_launch(cx, GAL_K_ROPE, &a, sizeof a);
}

void gal_rope(gal_ctx *cx, gal_t *q, gal_t *k, const gal_rope_angles *angles) {
    if (!q || !k || !gal_ok(cx)) return;
    int64_t n = gal_rows(q), size = gal_cols(angles->table);
    GAL_SHAPES(gal_cols(q) % size == 0 && gal_cols(k) % size == 0 && gal_rows(k) == n && gal_rows(angles->table) == n,
               "rope", q, k);
    gal_k_rope a = { .q = q->data,
                     .k = k->data,
                     .dt = q->dtype,
                     .table = angles->table->data,
                     .qscale = angles->qscale ? angles->qscale->data : NULL,
                     .n = n,
                     .heads = gal_cols(q) / size,
                     .kv_heads = gal_cols(k) / size,
                     .size = size,
                     .interleaved = angles->interleaved };
    gal_launch(cx, GAL_K_ROPE, &a, sizeof a);
    q->version++;
    k->version++;
    gal_tape_push(cx, rope_vjp, q, &a, sizeof a, NULL, 0);
    a.heads = a.kv_heads;
    a.qscale = NULL;
    gal_tape_push(cx, rope_vjp, k, &a, sizeof a, NULL, 0);
}
