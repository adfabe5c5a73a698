/* attend.c - attention over this batch's rows and, in inference, over cached keys. The chunk is attended before its
 * keys are stored: a store could take the slot of a key that the chunk's first rows still need (mistral.md 8). Rows
 * that are to be as if each had come alone (gal_step.apart) are stored first, into rings with slots to spare.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/internal.h"

typedef struct attend_saved {
    gal_t *q, *k, *v, *lse;
    gal_attend_spec spec;
    const int32_t *start;
    int64_t row_len;
} attend_saved;

static void attend_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const attend_saved *s = saved;
    bool hq, hk, hv;
    gal_t *dq = gal_grad_of(cx, s->q, &hq), *dk = gal_grad_of(cx, s->k, &hk), *dv = gal_grad_of(cx, s->v, &hv);
    if (!dq || !dk || !dv) { /* one kernel makes all three; a tensor that wants none gets a place to throw it away */
        if (!dq) {
            dq = gal_like(cx, s->q);
            hq = false;
        }
        if (!dk) {
            dk = gal_like(cx, s->k);
            hk = false;
        }
        if (!dv) {
            dv = gal_like(cx, s->v);
            hv = false;
        }
        if (!gal_ok(cx)) return;
    }
    gal_t *const d[3] = { dq, dk, dv };
    const bool has[3] = { hq, hk, hv };
    bool any = hq || hk || hv;
    for (int i = 0; any && i < 3; i++)
        if (!has[i])
            GAL_LAUNCH(cx, GAL_K_FILL, gal_k_map, .y = d[i]->data, .dt = d[i]->dtype, .count = gal_count(d[i]));
    GAL_LAUNCH(cx, GAL_K_ATTEND_GRAD, gal_k_attend_grad, .dq = dq->data, .dk = dk->data, .dv = dv->data,
               .dout = y->grad->data, .o = y->data, .lse = s->lse->data, .q = s->q->data, .k = s->k->data,
               .v = s->v->data, .dt = y->dtype, .n = gal_rows(y), .heads = s->spec.heads,
               .kv_heads = s->spec.kv_heads, .size = s->spec.size, .window = s->spec.window, .row_len = s->row_len,
               .scale = s->spec.scale, .start = s->start, .accumulate = any);
}

static void store(gal_ctx *cx, const gal_t *k, const gal_t *v, const gal_attend_spec *spec, const gal_step *st,
                  const gal_kv_layer *kv) {
    GAL_LAUNCH(cx, GAL_K_KV_STORE, gal_k_kv_store, .ck = kv->k, .cv = kv->v, .cdt = kv->dtype, .k = k->data,
               .v = v->data, .dt = k->dtype, .pos = st->at.pos, .seq = st->at.seq, .n = gal_rows(k),
               .kv_heads = spec->kv_heads, .size = spec->size, .slots = kv->slots);
}

gal_t *gal_attend(gal_ctx *cx, gal_t *q, gal_t *k, gal_t *v, const gal_attend_spec *spec, const gal_step *st,
                  int layer) {
    if (!q || !k || !v) return NULL;
    int64_t n = gal_rows(q), size = spec->size;
    GAL_SHAPES(gal_cols(q) == spec->heads * size && spec->heads % spec->kv_heads == 0, "attend", q, k);
    GAL_SHAPES(gal_cols(k) == spec->kv_heads * size && gal_count(k) == gal_count(v) && gal_rows(k) == n, "attend", k,
               v);
    const gal_kv_layer *kv = st->kv ? &st->kv[layer] : NULL;
    GAL_ASSERT(!kv || !gal_taping(cx));
    gal_t *y = gal_like(cx, q), *lse = gal_taping(cx) ? gal_new2(cx, gal_stat_dtype(q->dtype), n, spec->heads) : NULL;
    gal_t *part = kv && n <= GAL_ATTEND_SPLIT ? gal_new2(cx, GAL_F32, n * spec->heads, GAL_ATTEND_PIECES * (size + 2))
                                              : NULL;
    if (!gal_ok(cx)) return NULL;
    gal_k_attend a = { .o = y->data,
                       .lse = lse ? lse->data : NULL,
                       .q = q->data,
                       .k = k->data,
                       .v = v->data,
                       .dt = q->dtype,
                       .n = n,
                       .heads = spec->heads,
                       .kv_heads = spec->kv_heads,
                       .size = size,
                       .window = spec->window,
                       .scale = spec->scale,
                       .start = st->at.start,
                       .pos = st->at.pos,
                       .seq = st->at.seq };
    if (kv) {
        a.ck = kv->k;
        a.cv = kv->v;
        a.cdt = kv->dtype;
        a.slots = kv->slots;
        a.part = part ? part->data : NULL;
    }
    if (kv && st->apart) store(cx, k, v, spec, st, kv);
    gal_launch(cx, GAL_K_ATTEND, &a, sizeof a);
    if (part) gal_launch(cx, GAL_K_ATTEND_JOIN, &a, sizeof a);
    if (kv && !st->apart) store(cx, k, v, spec, st, kv);
    attend_saved s = { q, k, v, lse, *spec, st->at.start, st->row_len ? st->row_len : n };
    gal_tape_push(cx, attend_vjp, y, &s, sizeof s, (gal_t *[]){ q, k, v, y }, 4);
    return y;
}
