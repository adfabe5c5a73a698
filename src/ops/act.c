/* act.c - elementwise ops, the gated unit, and the softmax of composites. SPDX-License-Identifier: Apache-2.0 */
#include "ops/internal.h"

/* ---- silu(x gate^T) * (x up^T) (GLU variants, arXiv:2002.05202) ------------------------------------------------ */

typedef struct swiglu_saved {
    gal_t *x, *g, *u;
    const gal_w *gate, *up;
} swiglu_saved;

static void swiglu_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const swiglu_saved *s = saved;
    gal_t *dg = gal_like(cx, s->g), *du = gal_like(cx, s->u);
    if (!gal_ok(cx)) return;
    GAL_LAUNCH(cx, GAL_K_SWIGLU_GRAD, gal_k_swiglu_grad, .dg = dg->data, .du = du->data, .dy = y->grad->data,
               .g = s->g->data, .u = s->u->data, .dt = y->dtype, .count = gal_count(y));
    gal__linear_grad(cx, s->x, s->gate, dg->data, dg->dtype);
    gal__linear_grad(cx, s->x, s->up, du->data, du->dtype);
}

gal_t *gal_swiglu(gal_ctx *cx, gal_t *x, const gal_w *gate, const gal_w *up) {
    if (!x) return NULL;
    int64_t n = gal_rows(x), d = gal_cols(x), f = gate->dim[0];
    GAL_SHAPES(gate->dim[1] == d && up->dim[1] == d && up->dim[0] == f, "swiglu", x, NULL);
    gal_t *g = gal_new2(cx, x->dtype, n, f), *u = gal_new2(cx, x->dtype, n, f);
    gal_t *y = gal_may_overwrite(cx) ? g : gal_new2(cx, x->dtype, n, f);
    if (!gal_ok(cx)) return NULL;
    const gal_w *const w[2] = { gate, up };
    gal_t *const out[2] = { g, u };
    gal__project(cx, x, w, out, NULL, 2);
    GAL_LAUNCH(cx, GAL_K_SWIGLU, gal_k_swiglu, .y = y->data, .g = g->data, .u = u->data, .dt = y->dtype,
               .count = n * f);
    gal_tape_push(cx, swiglu_vjp, y, &(swiglu_saved){ x, g, u, gate, up }, sizeof(swiglu_saved), &x, 1);
    return y;
}

/* ---- elementwise ------------------------------------------------------------------------------------------------
 */

typedef struct pair_saved {
    gal_t *a, *b;
} pair_saved;

static void add_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const pair_saved *s = saved;
    gal_t *const in[2] = { s->a, s->b };
    for (int i = 0; i < 2; i++) {
        bool has;
        gal_t *d = gal_grad_of(cx, in[i], &has);
        if (d) gal__accumulate(cx, d, y->grad, has);
    }
}

gal_t *gal_add(gal_ctx *cx, gal_t *a, gal_t *b) {
    if (!a || !b) return NULL;
    GAL_SHAPES(a->dtype == b->dtype && gal_count(a) == gal_count(b), "add", a, b);
    gal_t *y = gal_like(cx, a);
    if (!y) return NULL;
    GAL_LAUNCH(cx, GAL_K_ADD, gal_k_map, .y = y->data, .a = a->data, .b = b->data, .dt = y->dtype,
               .count = gal_count(y));
    gal_tape_push(cx, add_vjp, y, &(pair_saved){ a, b }, sizeof(pair_saved), NULL, 0);
    return y;
}

static void mul_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const pair_saved *s = saved;
    gal_t *const in[2] = { s->a, s->b };
    for (int i = 0; i < 2; i++) {
        bool has;
        gal_t *d = gal_grad_of(cx, in[i], &has);
        if (d)
            GAL_LAUNCH(cx, GAL_K_MUL, gal_k_map, .y = d->data, .a = y->grad->data, .b = in[1 - i]->data,
                       .dt = y->dtype, .count = gal_count(y), .accumulate = has);
    }
}

gal_t *gal_mul(gal_ctx *cx, gal_t *a, gal_t *b) {
    if (!a || !b) return NULL;
    GAL_SHAPES(a->dtype == b->dtype && gal_count(a) == gal_count(b), "mul", a, b);
    gal_t *y = gal_like(cx, a);
    if (!y) return NULL;
    GAL_LAUNCH(cx, GAL_K_MUL, gal_k_map, .y = y->data, .a = a->data, .b = b->data, .dt = y->dtype,
               .count = gal_count(y));
    gal_tape_push(cx, mul_vjp, y, &(pair_saved){ a, b }, sizeof(pair_saved), (gal_t *[]){ a, b }, 2);
    return y;
}

static void silu_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    gal_t *x = *(gal_t *const *)saved;
    bool has;
    gal_t *d = gal_grad_of(cx, x, &has);
    if (d)
        GAL_LAUNCH(cx, GAL_K_SILU_GRAD, gal_k_map, .y = d->data, .a = x->data, .b = y->grad->data, .dt = y->dtype,
                   .count = gal_count(y), .accumulate = has);
}

gal_t *gal_silu(gal_ctx *cx, gal_t *x) {
    gal_t *y = gal_like(cx, x);
    if (!y) return NULL;
    GAL_LAUNCH(cx, GAL_K_SILU, gal_k_map, .y = y->data, .a = x->data, .dt = y->dtype, .count = gal_count(y));
    gal_tape_push(cx, silu_vjp, y, &x, sizeof x, &x, 1);
    return y;
}

/* ---- vectors that every row meets ---------------------------------------------------------------------------------
 */

void gal__row_grad(gal_ctx *cx, const gal_w *b, const gal_t *dy) {
    void *db = gal_wgrad_of(cx, b);
    if (db)
        GAL_LAUNCH(cx, GAL_K_SUM_ROWS, gal_k_sum_rows, .y = db, .x = dy->data, .dt = gal_stat_dtype(dy->dtype),
                   .xdt = dy->dtype, .n = gal_rows(dy), .d = gal_cols(dy), .accumulate = true);
}

typedef struct row_saved {
    gal_t *x; /* NULL: in place, the gradient is x's already */
    const gal_w *b;
} row_saved;

static void add_row_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const row_saved *s = saved;
    gal__row_grad(cx, s->b, y->grad);
    bool has = false;
    gal_t *d = s->x ? gal_grad_of(cx, s->x, &has) : NULL;
    if (d) gal__accumulate(cx, d, y->grad, has);
}

static void add_row(gal_ctx *cx, gal_t *y, const gal_t *x, const gal_w *b) {
    GAL_SHAPES(gal_cols(x) == gal_wcount(b), "add_row", x, NULL);
    GAL_LAUNCH(cx, GAL_K_ADD_ROW, gal_k_add_row, .y = y->data, .x = x->data, .b = b->data, .dt = y->dtype,
               .wdt = b->dtype, .n = gal_rows(y), .d = gal_cols(y));
}

gal_t *gal_add_row(gal_ctx *cx, gal_t *x, const gal_w *b) {
    gal_t *y = x ? gal_like(cx, x) : NULL;
    if (!y) return NULL;
    add_row(cx, y, x, b);
    gal_tape_push(cx, add_row_vjp, y, &(row_saved){ x, b }, sizeof(row_saved), NULL, 0);
    return y;
}

void gal_bias(gal_ctx *cx, gal_t *x, const gal_w *b) {
    if (!x || !gal_ok(cx)) return;
    add_row(cx, x, x, b);
    x->version++;
    gal_tape_push(cx, add_row_vjp, x, &(row_saved){ NULL, b }, sizeof(row_saved), NULL, 0);
}

/* ---- gelu(x up^T + b) -------------------------------------------------------------------------------------------
 */

typedef struct gelu_saved {
    gal_t *x, *h;
    const gal_w *up, *b;
} gelu_saved;

static gal_k_gelu gelu_args(gal_t *y, const gal_t *h, const gal_w *b) {
    return (gal_k_gelu){
        .y = y->data, .x = h->data, .b = b->data, .dt = y->dtype, .wdt = b->dtype, .n = gal_rows(y), .d = gal_cols(y)
    };
}

static void gelu_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const gelu_saved *s = saved;
    gal_t *dh = gal_like(cx, s->h);
    if (!dh) return;
    gal_k_gelu a = gelu_args(dh, s->h, s->b);
    a.dy = y->grad->data;
    gal_launch(cx, GAL_K_GELU_GRAD, &a, sizeof a);
    gal__row_grad(cx, s->b, dh);
    gal__linear_grad(cx, s->x, s->up, dh->data, dh->dtype);
}

gal_t *gal_gelu(gal_ctx *cx, gal_t *x, const gal_w *up, const gal_w *b) {
    if (!x) return NULL;
    int64_t n = gal_rows(x), f = up->dim[0];
    GAL_SHAPES(up->dim[1] == gal_cols(x) && gal_wcount(b) == f, "gelu", x, NULL);
    gal_t *h = gal_new2(cx, x->dtype, n, f), *y = gal_may_overwrite(cx) ? h : gal_new2(cx, x->dtype, n, f);
    if (!gal_ok(cx)) return NULL;
    gal__project(cx, x, &up, &h, NULL, 1);
    gal_k_gelu a = gelu_args(y, h, b);
    gal_launch(cx, GAL_K_GELU, &a, sizeof a);
    gal_tape_push(cx, gelu_vjp, y, &(gelu_saved){ x, h, up, b }, sizeof(gelu_saved), (gal_t *[]){ x, h }, 2);
    return y;
}

/* ---- softmax of composites ---------------------------------------------------------------------------------------
 */

typedef struct softmax_saved {
    gal_t *x;
    const int32_t *lo, *hi;
    double scale;
} softmax_saved;

static void softmax_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const softmax_saved *s = saved;
    bool has;
    gal_t *d = gal_grad_of(cx, s->x, &has);
    if (d)
        GAL_LAUNCH(cx, GAL_K_SOFTMAX_GRAD, gal_k_softmax, .y = d->data, .x = y->data, .dy = y->grad->data,
                   .dt = y->dtype, .n = gal_rows(y), .m = gal_cols(y), .groups = 1, .lo = s->lo, .hi = s->hi,
                   .scale = s->scale, .accumulate = has);
}

gal_t *gal_softmax(gal_ctx *cx, gal_t *x, const int32_t *lo, const int32_t *hi, double scale) {
    gal_t *y = gal_like(cx, x);
    if (!y) return NULL;
    GAL_LAUNCH(cx, GAL_K_SOFTMAX, gal_k_softmax, .y = y->data, .x = x->data, .dt = y->dtype, .n = gal_rows(x),
               .m = gal_cols(x), .groups = 1, .lo = lo, .hi = hi, .scale = scale);
    gal_tape_push(cx, softmax_vjp, y, &(softmax_saved){ x, lo, hi, scale }, sizeof(softmax_saved), &y, 1);
    return y;
}
