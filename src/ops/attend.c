/* attend.c - attention over this batch's rows and, in inference, over cached keys. The chunk is attended before its
 * keys are stored: a store could take the slot of a key that the chunk's first rows still need (mistral.md 8). Rows
 * that are to be as if each had come alone (gal_step.apart) are stored first, into rings with slots to spare.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/internal.h"

typedef struct attend_saved {
    gal_t *q, *k, *v, *qr, *r, *lse;
    gal_attend_spec spec;
    const int32_t *start;
    int64_t row_len;
} attend_saved;

/* One kernel makes all gradients; a tensor that wants none gets a place to throw it away. */
typedef struct wanted {
    gal_t *t;
    bool has;
} wanted;

static wanted gradient_of(gal_ctx *cx, gal_t *x) {
    wanted w = { NULL, false };
    if (!x) return w;
    w.t = gal_grad_of(cx, x, &w.has);
    if (!w.t) w = (wanted){ gal_like(cx, x), false };
    return w;
}

/* r's gradient is the sum of what the kernel makes for each row_len rows. */
static void sum_parts(gal_ctx *cx, const attend_saved *s, const gal_t *parts) {
    bool has;
    gal_t *dr = gal_grad_of(cx, s->r, &has);
    if (dr)
        GAL_LAUNCH(cx, GAL_K_SUM_ROWS, gal_k_sum_rows, .y = dr->data, .x = parts->data, .dt = dr->dtype,
                   .xdt = parts->dtype, .n = gal_rows(parts), .d = gal_cols(parts), .accumulate = has);
}

static void attend_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const attend_saved *s = saved;
    const wanted d[] = { gradient_of(cx, s->q), gradient_of(cx, s->k), gradient_of(cx, s->v),
                         gradient_of(cx, s->qr) };
    gal_t *parts = s->r ? gal_new2(cx, gal_stat_dtype(y->dtype), gal_rows(y) / s->row_len, gal_count(s->r)) : NULL;
    if (!gal_ok(cx)) return;
    GAL_ASSERT(d[0].t && d[1].t && d[2].t && (!s->r || (d[3].t && parts))); /* what gal_ok() says */
    bool any = d[0].has || d[1].has || d[2].has || d[3].has;
    for (size_t i = 0; any && i < GAL_LEN(d); i++)
        if (d[i].t && !d[i].has)
            GAL_LAUNCH(cx, GAL_K_FILL, gal_k_map, .y = d[i].t->data, .dt = d[i].t->dtype, .count = gal_count(d[i].t));
    gal_k_attend_grad a = { .dq = d[0].t->data,
                            .dk = d[1].t->data,
                            .dv = d[2].t->data,
                            .dout = y->grad->data,
                            .o = y->data,
                            .lse = s->lse->data,
                            .q = s->q->data,
                            .k = s->k->data,
                            .v = s->v->data,
                            .dt = y->dtype,
                            .n = gal_rows(y),
                            .heads = s->spec.heads,
                            .kv_heads = s->spec.kv_heads,
                            .size = s->spec.size,
                            .window = s->spec.window,
                            .row_len = s->row_len,
                            .scale = s->spec.scale,
                            .start = s->start,
                            .accumulate = any };
    if (s->r) {
        a.dqr = d[3].t->data;
        a.dr = parts->data;
        a.qr = s->qr->data;
        a.r = s->r->data;
        a.distances = gal_rows(s->r);
    }
    gal_launch(cx, GAL_K_ATTEND_GRAD, &a, sizeof a);
    if (s->r) sum_parts(cx, s, parts);
}

static void store(gal_ctx *cx, const gal_t *k, const gal_t *v, const gal_attend_spec *spec, const gal_step *st,
                  const gal_kv_layer *kv) {
    GAL_LAUNCH(cx, GAL_K_KV_STORE, gal_k_kv_store, .ck = kv->k, .cv = kv->v, .cdt = kv->dtype, .k = k->data,
               .v = v->data, .dt = k->dtype, .pos = st->at.pos, .seq = st->at.seq, .n = gal_rows(k),
               .kv_heads = spec->kv_heads, .size = spec->size, .slots = kv->slots);
}

/* What is relative, as the kernel wants it: the batch's own keys, or those beside the cache. */
static void set_relative(gal_k_attend *a, const gal_t *qr, const gal_t *r, const gal_kv_layer *kv) {
    GAL_ASSERT(r ? !kv : kv && kv->r);
    a->qr = qr->data;
    a->r = r ? r->data : kv->r;
    a->distances = r ? gal_rows(r) : kv->distances;
}

static gal_t *attend(gal_ctx *cx, attend_saved s, const gal_step *st, int layer) {
    const gal_attend_spec *spec = &s.spec;
    const gal_t *q = s.q, *k = s.k, *v = s.v;
    int64_t n = gal_rows(q), size = spec->size;
    GAL_SHAPES(gal_cols(q) == spec->heads * size && spec->heads % spec->kv_heads == 0, "attend", q, k);
    GAL_SHAPES(gal_cols(k) == spec->kv_heads * size && gal_count(k) == gal_count(v) && gal_rows(k) == n, "attend", k,
               v);
    const gal_kv_layer *kv = st->kv ? &st->kv[layer] : NULL;
    GAL_ASSERT(!kv || !gal_taping(cx));
    gal_t *y = gal_like(cx, q);
    s.lse = gal_taping(cx) ? gal_new2(cx, gal_stat_dtype(q->dtype), n, spec->heads) : NULL;
    /* Pieces are cut where rows are few. */
    const bool split = kv && n <= GAL_ATTEND_SPLIT && gal_rows_alike(cx) != GAL_ALIKE_MANY;
    gal_t *part = split ? gal_new2(cx, GAL_F32, n * spec->heads, GAL_ATTEND_PIECES * (size + 2)) : NULL;
    if (!gal_ok(cx)) return NULL;
    gal_k_attend a = { .o = y->data,
                       .lse = s.lse ? s.lse->data : NULL,
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
    if (s.qr) set_relative(&a, s.qr, s.r, kv);
    if (kv && st->apart) store(cx, k, v, spec, st, kv);
    gal_launch(cx, GAL_K_ATTEND, &a, sizeof a);
    if (part) gal_launch(cx, GAL_K_ATTEND_JOIN, &a, sizeof a);
    if (kv && !st->apart) store(cx, k, v, spec, st, kv);
    s.start = st->at.start;
    s.row_len = st->row_len ? st->row_len : n;
    gal_t *const in[] = { s.q, s.k, s.v, y, s.qr, s.r };
    gal_tape_push(cx, attend_vjp, y, &s, sizeof s, in, s.r ? 6 : 4);
    return y;
}

gal_t *gal_attend(gal_ctx *cx, gal_t *q, gal_t *k, gal_t *v, const gal_attend_spec *spec, const gal_step *st,
                  int layer) {
    if (!q || !k || !v) return NULL;
    return attend(cx, (attend_saved){ .q = q, .k = k, .v = v, .spec = *spec }, st, layer);
}

gal_t *gal_attend_relative(gal_ctx *cx, gal_t *q, gal_t *qr, gal_t *k, gal_t *v, gal_t *r,
                           const gal_attend_spec *spec, const gal_step *st, int layer) {
    if (!q || !qr || !k || !v || !(r || st->kv)) return NULL;
    GAL_SHAPES(spec->heads == spec->kv_heads && gal_count(qr) == gal_count(q), "attend_relative", q, qr);
    if (r) GAL_SHAPES(gal_cols(r) == gal_cols(q) && gal_rows(r) > 0, "attend_relative", q, r);
    return attend(cx, (attend_saved){ .q = q, .k = k, .v = v, .qr = qr, .r = r, .spec = *spec }, st, layer);
}

gal_t *gal_sinusoid(gal_ctx *cx, int64_t first, int64_t m, int64_t d) {
    gal_t *y = gal_new2(cx, gal_ctx_compute(cx), m, d);
    if (!y) return NULL;
    GAL_ASSERT(d % 2 == 0);
    GAL_LAUNCH(cx, GAL_K_SINUSOID, gal_k_sinusoid, .table = y->data, .dt = y->dtype, .first = first, .m = m, .d = d);
    return y;
}
