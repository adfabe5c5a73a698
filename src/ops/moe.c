/* moe.c - a sparse mixture of gated units (Mixtral, arXiv:2401.04088; mixtral.md 4):
 *
 *     l = Wr x;  c = the k largest of l;  w = softmax(l[c]);  y = add + sum_j w_j Wdown_c (silu(Wgate_c x) * (Wup_c
 * x))
 *
 * Rows are sorted by expert, each expert's products are taken over its own rows, and a row's k results are added in
 * the order of choice: neither threads nor the other rows of a batch change the order of a sum. Logits and weights
 * are f32 whatever the activations are. Choices live in the step's memory and are read there by kernels, so a
 * recorded step is replayed with other choices, and a block that runs again makes the same ones.
 *
 * The losses that keep experts in balance act here, in the gradient: no tensor leaves a block but its result, so the
 * step carries where each layer's sums go (core/step.h), and all of them are there when the tape is walked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/internal.h"

typedef struct moe_saved {
    gal_t *x, *add, *weight, *xs, *g, *u, *h, *ys, *prob, *lse; /* sorted: xs [R, D], g u h [R, F], ys [R, D] */
    gal_t *choice, *offset, *row, *place;
    const gal_moe_spec *m;
    const gal_step *st;
    int layer;
} moe_saved;

static gal_t *ints(gal_ctx *cx, int64_t rows, int64_t cols) { return gal_new2(cx, GAL_I32, rows, cols); }

/* The products of up to two matrices of every expert. */
static gal_k_experts *grouped(gal_ctx *cx, const moe_saved *s, int count) {
    gal_k_experts *a = gal_step_memory(cx, sizeof *a);
    if (!a) return NULL;
    a->count = count;
    a->threads = gal_pool_threads(gal_ctx_dev(cx)->pool);
    a->alike = gal_alike(cx);
    a->experts = s->m->experts;
    a->rows = gal_rows(s->xs);
    a->most = gal_rows(s->x);
    a->offset = s->offset->data;
    return a;
}

/* Each expert's matrix with its own rows of x. */
static void watch_experts(gal_ctx *cx, const moe_saved *s, gal_w *const *w, const gal_t *x) {
    const int32_t *offset = s->offset->data;
    for (int64_t e = 0; e < s->m->experts && gal_input_tapped(cx); e++)
        if (offset[e + 1] > offset[e]) gal_tap_input(cx, w[e], x, offset[e], offset[e + 1] - offset[e]);
}

static void launch_grouped(gal_ctx *cx, const gal_k_experts *a) {
    size_t bytes = offsetof(gal_k_experts, w) + sizeof *a->w * (size_t)(a->count * a->experts);
    gal_launch(cx, a->integers ? GAL_K_EXPERTS_I8 : GAL_K_EXPERTS, a, bytes);
}

/* y[i] = x w[i]_e^T over e's rows of up to two matrices, for the experts whose matrix meets x as floats or as
 * integers.
 */
static void project_as(gal_ctx *cx, const moe_saved *s, const gal_t *x, gal_w *const *const *w, gal_t *const *y,
                       int count, bool integers) {
    bool any = false;
    gal_k_experts *a = grouped(cx, s, count);
    if (!a) return;
    a->integers = integers;
    for (int i = 0; i < count; i++) {
        int64_t in = gal_cols(x), out = gal_cols(y[i]);
        a->p[i] = (gal_gemm){ .n = out,
                              .k = in,
                              .a = gal__mat(x->data, x->dtype, in),
                              .c = gal__mat(y[i]->data, y[i]->dtype, out),
                              .compute = x->dtype };
        for (int64_t e = 0; e < a->experts; e++) {
            if (gal__takes_integers(cx, w[i][e]) != integers) continue;
            a->w[(int64_t)i * a->experts + e] = gal__wmat_t(w[i][e]);
            any = true;
        }
    }
    void *q = any && integers ? gal__integers(cx, x, false) : NULL;
    for (int i = 0; q && i < count; i++) gal__take_integers(&a->p[i], q, gal_rows(x), false);
    if (any && (q || !integers)) launch_grouped(cx, a);
}

static void project(gal_ctx *cx, const moe_saved *s, const gal_t *x, gal_w *const *const *w, gal_t *const *y,
                    int count) {
    for (int i = 0; i < count; i++) watch_experts(cx, s, w[i], x);
    project_as(cx, s, x, w, y, count, false);
    project_as(cx, s, x, w, y, count, true);
}

/* dx (+)= dy w_e. */
static void input_grad(gal_ctx *cx, const moe_saved *s, gal_t *dx, const gal_t *dy, gal_w *const *w,
                       bool accumulate) {
    gal_k_experts *a = grouped(cx, s, 1);
    if (!a || !dx || !dy) return;
    int64_t in = gal_cols(dx), out = gal_cols(dy);
    a->p[0] = (gal_gemm){ .n = in,
                          .k = out,
                          .a = gal__mat(dy->data, dy->dtype, out),
                          .c = gal__mat(dx->data, dx->dtype, in),
                          .compute = dx->dtype,
                          .accumulate = accumulate };
    for (int64_t e = 0; e < a->experts; e++) a->w[e] = gal__wmat(w[e]);
    launch_grouped(cx, a);
}

/* dw_e += dy^T x over e's rows, for the matrices whose gradient is kept. */
static void weight_grad(gal_ctx *cx, const moe_saved *s, const gal_t *x, const gal_t *dy, gal_w *const *w) {
    bool any = false;
    gal_k_experts *a = grouped(cx, s, 1);
    if (!a || !dy) return;
    int64_t in = gal_cols(x), out = gal_cols(dy);
    a->p[0] = (gal_gemm){ .m = out,
                          .n = in,
                          .a = gal__mat_t(dy->data, dy->dtype, out),
                          .b = gal__mat(x->data, x->dtype, in),
                          .compute = x->dtype,
                          .accumulate = true };
    for (int64_t e = 0; e < a->experts; e++) {
        void *dw = gal_wgrad_of(cx, w[e]);
        any = any || dw;
        a->w[e] = gal__mat(dw, gal_stat_dtype(x->dtype), in);
    }
    if (any) launch_grouped(cx, a);
}

/* l = x Wr^T, summed in f32 from whatever x and Wr are. */
static gal_t *router(gal_ctx *cx, gal_t *x, const gal_w *w) {
    gal_dtype stat = gal_stat_dtype(x->dtype);
    gal_t *l = gal_new2(cx, stat, gal_rows(x), w->dim[0]);
    if (!l) return NULL;
    gal_k_gemm g = { .count = 1,
                     .p = { { .m = gal_rows(x),
                              .n = w->dim[0],
                              .k = w->dim[1],
                              .a = gal__mat(x->data, x->dtype, w->dim[1]),
                              .b = gal__wmat_t(w),
                              .c = gal__mat(l->data, stat, w->dim[0]),
                              .compute = stat } } };
    gal__products(cx, &g);
    return l;
}

/* From the gradient of the logits to those of x and Wr. x has one already, of the experts. */
static void router_grad(gal_ctx *cx, const moe_saved *s, const gal_t *dl) {
    const gal_w *w = s->m->router;
    bool has;
    gal_k_gemm g = { 0 };
    gal_t *dx = gal_grad_of(cx, s->x, &has);
    int64_t rows = gal_rows(s->x), in = w->dim[1], out = w->dim[0];
    if (dx)
        g.p[g.count++] = (gal_gemm){ .m = rows,
                                     .n = in,
                                     .k = out,
                                     .a = gal__mat(dl->data, dl->dtype, out),
                                     .b = gal__wmat(w),
                                     .c = gal__mat(dx->data, dx->dtype, in),
                                     .compute = dl->dtype,
                                     .accumulate = has };
    void *dw = gal_wgrad_of(cx, w);
    if (dw)
        g.p[g.count++] = (gal_gemm){ .m = out,
                                     .n = in,
                                     .k = rows,
                                     .a = gal__mat_t(dl->data, dl->dtype, out),
                                     .b = gal__mat(s->x->data, s->x->dtype, in),
                                     .c = gal__mat(dw, dl->dtype, in),
                                     .compute = dl->dtype,
                                     .accumulate = true };
    gal__products(cx, &g);
}

static gal_t *logits_grad(gal_ctx *cx, const moe_saved *s, const gal_t *dweight) {
    const gal_balance *b = s->prob ? s->st->balance : NULL;
    gal_t *dl = gal_new2(cx, dweight->dtype, gal_rows(s->x), s->m->experts);
    if (!dl) return NULL;
    gal_k_route_grad a = { .dlogits = dl->data,
                           .dweight = dweight->data,
                           .weight = s->weight->data,
                           .choice = s->choice->data,
                           .dt = dl->dtype,
                           .n = gal_rows(s->x),
                           .experts = s->m->experts,
                           .used = s->m->used };
    if (b) {
        a.prob = s->prob->data;
        a.lse = s->lse->data;
        a.target = s->st->at.target;
        a.sums = b->sums;
        a.layers = b->layers;
        a.layer = s->layer;
        a.balance = b->balance;
        a.z = b->z;
        a.per_layer = b->per_layer;
    }
    gal_launch(cx, GAL_K_ROUTE_GRAD, &a, sizeof a);
    return dl;
}

static void moe_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const moe_saved *s = saved;
    const gal_moe_spec *m = s->m;
    bool has;
    gal_t *dys = gal_like(cx, s->ys), *dweight = gal_like(cx, s->weight), *dh = gal_like(cx, s->h);
    gal_t *dg = gal_like(cx, s->g), *du = gal_like(cx, s->u), *dxs = gal_like(cx, s->xs);
    if (!gal_ok(cx)) return;
    GAL_LAUNCH(cx, GAL_K_COMBINE_GRAD, gal_k_combine_grad, .dx = dys->data, .dweight = dweight->data,
               .dy = y->grad->data, .x = s->ys->data, .weight = s->weight->data, .place = s->place->data,
               .dt = y->dtype, .wdt = dweight->dtype, .n = gal_rows(y), .d = gal_cols(y), .used = m->used);
    weight_grad(cx, s, s->h, dys, m->down);
    input_grad(cx, s, dh, dys, m->down, false);
    GAL_LAUNCH(cx, GAL_K_SWIGLU_GRAD, gal_k_swiglu_grad, .dg = dg->data, .du = du->data, .dy = dh->data,
               .g = s->g->data, .u = s->u->data, .dt = dh->dtype, .count = gal_count(dh));
    weight_grad(cx, s, s->xs, dg, m->gate);
    weight_grad(cx, s, s->xs, du, m->up);
    gal_t *dx = gal_grad_of(cx, s->x, &has);
    if (dx) {
        input_grad(cx, s, dxs, dg, m->gate, false);
        input_grad(cx, s, dxs, du, m->up, true);
        GAL_LAUNCH(cx, GAL_K_COMBINE, gal_k_combine, .y = dx->data, .x = dxs->data, .place = s->place->data,
                   .dt = dx->dtype, .wdt = dweight->dtype, .n = gal_rows(dx), .d = gal_cols(dx), .used = m->used,
                   .accumulate = has);
    }
    gal_t *dl = logits_grad(cx, s, dweight);
    if (dl) router_grad(cx, s, dl);
    gal_t *dadd = gal_grad_of(cx, s->add, &has);
    if (dadd) gal__accumulate(cx, dadd, y->grad, has);
}

/* Choices, weights, and the rows in their order; s->prob and s->lse where the step wants them. */
static void route(gal_ctx *cx, moe_saved *s, const gal_t *logits) {
    int64_t n = gal_rows(s->x), experts = s->m->experts, used = s->m->used;
    const gal_balance *b = s->st->balance;
    s->weight = gal_new2(cx, logits->dtype, n, used);
    s->choice = ints(cx, n, used);
    s->place = ints(cx, n, used);
    s->row = ints(cx, n * used, 1);
    s->offset = ints(cx, experts + 1, 1);
    if (b) {
        s->prob = gal_new2(cx, logits->dtype, n, experts);
        s->lse = gal_new2(cx, logits->dtype, n, 1);
    }
    if (!gal_ok(cx)) return;
    GAL_LAUNCH(cx, GAL_K_ROUTE, gal_k_route, .choice = s->choice->data, .weight = s->weight->data,
               .prob = b ? s->prob->data : NULL, .lse = b ? s->lse->data : NULL, .logits = logits->data,
               .dt = logits->dtype, .n = n, .experts = experts, .used = used);
    GAL_LAUNCH(cx, GAL_K_ROUTE_SORT, gal_k_route_sort, .offset = s->offset->data, .row = s->row->data,
               .place = s->place->data, .choice = s->choice->data, .n = n, .experts = experts, .used = used);
    if (b)
        GAL_LAUNCH(cx, GAL_K_ROUTE_SUMS, gal_k_route_sums, .sums = b->sums + s->layer * (2 + 2 * experts),
                   .prob = s->prob->data, .lse = s->lse->data, .choice = s->choice->data, .target = s->st->at.target,
                   .dt = logits->dtype, .n = n, .experts = experts, .used = used);
}

gal_t *gal_moe(gal_ctx *cx, gal_t *x, const gal_moe_spec *m, gal_t *add, const gal_step *st, int layer) {
    if (!x || !add) return NULL;
    int64_t n = gal_rows(x), d = gal_cols(x), f = m->gate[0]->dim[0], rows = n * m->used;
    GAL_SHAPES(m->router->dim[1] == d && m->router->dim[0] == m->experts, "moe", x, NULL);
    GAL_SHAPES(m->used >= 1 && m->used <= m->experts && m->experts <= GAL_MAX_EXPERTS, "moe", x, NULL);
    GAL_SHAPES(gal_count(add) == gal_count(x) && add->dtype == x->dtype, "moe", add, x);
    moe_saved s = { .x = x, .add = add, .m = m, .st = st, .layer = layer };
    gal_t *logits = router(cx, x, m->router);
    if (!logits) return NULL;
    gal_tap(cx, "router", layer, logits);
    route(cx, &s, logits);
    gal_tap(cx, "choice", layer, s.choice);
    s.xs = gal_new2(cx, x->dtype, rows, d);
    s.g = gal_new2(cx, x->dtype, rows, f);
    s.u = gal_new2(cx, x->dtype, rows, f);
    s.h = gal_may_overwrite(cx) ? s.g : gal_new2(cx, x->dtype, rows, f);
    s.ys = gal_new2(cx, x->dtype, rows, d);
    gal_t *y = gal_like(cx, x);
    if (!gal_ok(cx) || !s.row) return NULL;
    GAL_LAUNCH(cx, GAL_K_GATHER_ROWS, gal_k_gather_rows, .y = s.xs->data, .x = x->data, .dt = x->dtype,
               .rows = s.row->data, .n = rows, .d = d);
    project(cx, &s, s.xs, (gal_w *const *const[]){ m->gate, m->up }, (gal_t *const[]){ s.g, s.u }, 2);
    GAL_LAUNCH(cx, GAL_K_SWIGLU, gal_k_swiglu, .y = s.h->data, .g = s.g->data, .u = s.u->data, .dt = x->dtype,
               .count = rows * f);
    project(cx, &s, s.h, &m->down, &s.ys, 1);
    GAL_LAUNCH(cx, GAL_K_COMBINE, gal_k_combine, .y = y->data, .x = s.ys->data, .add = add->data,
               .weight = s.weight->data, .place = s.place->data, .dt = x->dtype, .wdt = s.weight->dtype, .n = n,
               .d = d, .used = m->used);
    gal_tape_push(cx, moe_vjp, y, &s, sizeof s, &x, 1);
    return y;
}

void gal_moe_losses(gal_ctx *cx, const gal_step *st, double *loss, double scale) {
    const gal_balance *b = st->balance;
    GAL_LAUNCH(cx, GAL_K_ROUTE_LOSS, gal_k_route_loss, .loss = loss, .sums = b->sums, .layers = b->layers,
               .experts = b->experts, .scale = scale, .per_layer = b->per_layer);
}
