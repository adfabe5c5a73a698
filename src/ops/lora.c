/* lora.c - low-rank adapters beside weights (LoRA, arXiv:2106.09685):
 *     y += t B^T,  t = scale x A^T [N, rank]
 *     u = scale dy B [N, rank];  dB += dy^T t,  dA += u^T x,  dx += u A
 * t is small, so that the gradient makes it again. The weight itself is not touched: it may be frozen, and in blocks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/internal.h"

static void scale(gal_ctx *cx, gal_t *t, double by) {
    gal_t *factor = gal_like(cx, t);
    if (!factor) return;
    GAL_LAUNCH(cx, GAL_K_FILL, gal_k_map, .y = factor->data, .dt = t->dtype, .count = gal_count(t), .value = by);
    GAL_LAUNCH(cx, GAL_K_MUL, gal_k_map, .y = t->data, .a = t->data, .b = factor->data, .dt = t->dtype,
               .count = gal_count(t));
}

/* x A^T into t, of the type of statistics: it is summed in f32 even where activations are bf16. */
static gal_gemm down(const gal_t *x, const gal_lora *l, const gal_t *t) {
    const int64_t in = l->a->dim[1], rank = l->a->dim[0];
    return (gal_gemm){ .m = gal_rows(x),
                       .n = rank,
                       .k = in,
                       .a = gal__mat(x->data, x->dtype, in),
                       .b = gal__wmat_t(l->a),
                       .c = gal__mat(t->data, t->dtype, rank),
                       .compute = x->dtype };
}

static gal_gemm up(const gal_t *t, const gal_lora *l, const gal_t *y, gal_dtype compute) {
    const int64_t out = l->b->dim[0], rank = l->b->dim[1];
    return (gal_gemm){ .m = gal_rows(t),
                       .n = out,
                       .k = rank,
                       .a = gal__mat(t->data, t->dtype, rank),
                       .b = gal__wmat_t(l->b),
                       .c = gal__mat(y->data, y->dtype, out),
                       .compute = compute,
                       .accumulate = true };
}

/* One adapter of each weight in one round, so that products of the same x are one launch. */
static void adapt_round(gal_ctx *cx, const gal_t *x, const gal_lora *const *l, gal_t *const *y, int count) {
    gal_k_gemm first = { 0 }, second = { 0 };
    gal_t *t[GAL_GEMM_MAX] = { NULL };
    for (int i = 0; i < count; i++) {
        if (!l[i]) continue;
        t[i] = gal_new2(cx, gal_stat_dtype(x->dtype), gal_rows(x), l[i]->a->dim[0]);
        if (!t[i]) return;
        first.p[first.count++] = down(x, l[i], t[i]);
        second.p[second.count++] = up(t[i], l[i], y[i], x->dtype);
    }
    gal__products(cx, &first);
    for (int i = 0; i < count; i++)
        if (t[i]) scale(cx, t[i], l[i]->scale);
    gal__products(cx, &second);
}

void gal__adapt(gal_ctx *cx, gal_t *x, const gal_w *const *w, gal_t *const *y, int count) {
    const gal_lora *l[GAL_GEMM_MAX] = { NULL };
    GAL_ASSERT(count <= GAL_GEMM_MAX);
    bool any = false;
    for (int i = 0; i < count; i++) {
        l[i] = w[i]->lora;
        any = any || l[i];
    }
    while (any && gal_ok(cx)) {
        adapt_round(cx, x, l, y, count);
        any = false;
        for (int i = 0; i < count; i++) {
            if (l[i]) l[i] = l[i]->next;
            any = any || l[i];
        }
    }
}

static void grad_of_one(gal_ctx *cx, gal_t *x, const gal_lora *l, void *dy, gal_dtype dy_dt) {
    const int64_t n = gal_rows(x), in = l->a->dim[1], out = l->b->dim[0], rank = l->a->dim[0];
    const gal_dtype stat = gal_stat_dtype(x->dtype);
    void *da = gal_wgrad_of(cx, l->a), *db = gal_wgrad_of(cx, l->b);
    bool has;
    gal_t *dx = gal_grad_of(cx, x, &has);
    gal_t *t = db ? gal_new2(cx, stat, n, rank) : NULL, *u = da || dx ? gal_new2(cx, stat, n, rank) : NULL;
    gal_k_gemm g = { 0 };
    if (t) g.p[g.count++] = down(x, l, t);
    if (u)
        g.p[g.count++] = (gal_gemm){ .m = n,
                                     .n = rank,
                                     .k = out,
                                     .a = gal__mat(dy, dy_dt, out),
                                     .b = gal__wmat(l->b),
                                     .c = gal__mat(u->data, stat, rank),
                                     .compute = x->dtype };
    gal__products(cx, &g);
    if (t) scale(cx, t, l->scale);
    if (u) scale(cx, u, l->scale);
    if (!gal_ok(cx)) return;
    g.count = 0;
    if (db && t)
        g.p[g.count++] = (gal_gemm){ .m = out,
                                     .n = rank,
                                     .k = n,
                                     .a = gal__mat_t(dy, dy_dt, out),
                                     .b = gal__mat(t->data, stat, rank),
                                     .c = gal__mat(db, stat, rank),
                                     .compute = x->dtype,
                                     .accumulate = true };
    if (da && u)
        g.p[g.count++] = (gal_gemm){ .m = rank,
                                     .n = in,
                                     .k = n,
                                     .a = gal__mat_t(u->data, stat, rank),
                                     .b = gal__mat(x->data, x->dtype, in),
                                     .c = gal__mat(da, stat, in),
                                     .compute = x->dtype,
                                     .accumulate = true };
    if (dx && u)
        g.p[g.count++] = (gal_gemm){ .m = n,
                                     .n = in,
                                     .k = rank,
                                     .a = gal__mat(u->data, stat, rank),
                                     .b = gal__wmat(l->a),
                                     .c = gal__mat(dx->data, dx->dtype, in),
                                     .compute = x->dtype,
                                     .accumulate = has };
    gal__products(cx, &g);
}

void gal__adapt_grad(gal_ctx *cx, gal_t *x, const gal_w *w, void *dy, gal_dtype dy_dt) {
    for (const gal_lora *l = w->lora; l && gal_ok(cx); l = l->next) grad_of_one(cx, x, l, dy, dy_dt);
}
