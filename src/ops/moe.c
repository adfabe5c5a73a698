/* moe.c - a sparse mixture of experts (Mixtral, arXiv:2401.04088, mixtral.md 4; routed-scaling.md 2):
 *
 *     y = add + sum_j w_j expert_c(j)(x),  expert(x) = Wdown (silu(Wgate x) * (Wup x)),
 *                                                   or Wdown gelu(Wup x + bup) + bdown
 *
 * with the choices c and weights w of route.c. Rows are sorted by expert, each expert's products are taken over its
 * own rows, and a row's k results are added in the order of choice: neither threads nor the other rows of a batch
 * change the order of a sum. Choices live in the step's memory and are read there by kernels, so a recorded step is
 * replayed with other choices, and a block that runs again makes the same ones.
 *
 * The losses that keep experts in balance act in route.c, in the gradient: no tensor leaves a block but its result,
 * so the step carries where each layer's sums go (core/step.h), and all of them are there when the tape is walked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/route.h"

typedef struct moe_saved {
    gal_t *x, *add, *xs, *g, *u, *h, *ys; /* sorted: xs [R, D], g u h [R, F], ys [R, D]; g NULL: GELU of u */
    gal__routing r;
    const gal_moe_spec *m;
    const gal_step *st;
} moe_saved;

/* The products of up to two matrices of every expert. */
static gal_k_experts *grouped(gal_ctx *cx, const moe_saved *s, int count) {
    gal_k_experts *a = gal_step_memory(cx, sizeof *a);
    if (!a) return NULL;
    a->count = count;
    a->threads = gal_pool_threads(gal_ctx_dev(cx)->pool);
    a->alike = gal_rows_alike(cx);
    a->experts = s->m->experts;
    a->rows = gal_rows(s->xs);
    a->most = gal_rows(s->x);
    a->offset = s->r.offset->data;
    return a;
}

/* Each expert's matrix with its own rows of x. */
static void watch_experts(gal_ctx *cx, const moe_saved *s, gal_w *const *w, const gal_t *x) {
    const int32_t *offset = s->r.offset->data;
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

/* A vector of each expert and its rows; b NULL: there is none. grads: their gradients. */
static void expert_rows(gal_ctx *cx, const moe_saved *s, gal_kernel_id id, gal_t *y, const gal_t *x, const gal_t *dy,
                        gal_w *const *b) {
    const int64_t experts = s->m->experts;
    bool any = false, sum = id == GAL_K_EXPERT_SUM;
    gal_k_expert_rows *a = b ? gal_step_memory(cx, sizeof *a) : NULL;
    if (!a) return;
    *a = (gal_k_expert_rows){ .y = y ? y->data : NULL,
                              .x = x->data,
                              .dy = dy ? dy->data : NULL,
                              .dt = x->dtype,
                              .wdt = sum ? gal_stat_dtype(x->dtype) : b[0]->dtype,
                              .experts = experts,
                              .rows = gal_rows(x),
                              .d = gal_cols(x),
                              .offset = s->r.offset->data };
    for (int64_t e = 0; e < experts; e++) {
        GAL_ASSERT(b[e]->dtype == b[0]->dtype);
        a->b[e] = sum ? gal_wgrad_of(cx, b[e]) : b[e]->data;
        any = any || a->b[e];
    }
    if (any) gal_launch(cx, id, a, offsetof(gal_k_expert_rows, b) + sizeof *a->b * (size_t)experts);
}

/* The hidden values of the sorted rows. */
static void activate(gal_ctx *cx, moe_saved *s) {
    const gal_moe_spec *m = s->m; /* all that it needs is there: gal_ok() said so */
    if (!m->gate) {
        GAL_ASSERT(s->u && s->h);
        project(cx, s, s->xs, &m->up, &s->u, 1);
        expert_rows(cx, s, GAL_K_EXPERT_GELU, s->h, s->u, NULL, m->up_bias);
        return;
    }
    GAL_ASSERT(s->g && s->u && s->h);
    project(cx, s, s->xs, (gal_w *const *const[]){ m->gate, m->up }, (gal_t *const[]){ s->g, s->u }, 2);
    GAL_LAUNCH(cx, GAL_K_SWIGLU, gal_k_swiglu, .y = s->h->data, .g = s->g->data, .u = s->u->data, .dt = s->h->dtype,
               .count = gal_count(s->h));
}

/* From dh to the gradients of matrices and vectors; dxs, NULL: not wanted. */
static void activate_grad(gal_ctx *cx, const moe_saved *s, const gal_t *dh, gal_t *dxs) {
    const gal_moe_spec *m = s->m;
    gal_t *du = gal_like(cx, s->u), *dg = m->gate ? gal_like(cx, s->g) : NULL;
    if (!gal_ok(cx)) return;
    if (m->gate) {
        GAL_ASSERT(s->g && dg); /* what gal_ok() says */
        GAL_LAUNCH(cx, GAL_K_SWIGLU_GRAD, gal_k_swiglu_grad, .dg = dg->data, .du = du->data, .dy = dh->data,
                   .g = s->g->data, .u = s->u->data, .dt = dh->dtype, .count = gal_count(dh));
        weight_grad(cx, s, s->xs, dg, m->gate);
    } else {
        expert_rows(cx, s, GAL_K_EXPERT_GELU_GRAD, du, s->u, dh, m->up_bias);
        expert_rows(cx, s, GAL_K_EXPERT_SUM, NULL, du, NULL, m->up_bias);
    }
    weight_grad(cx, s, s->xs, du, m->up);
    if (!dxs) return;
    if (m->gate) input_grad(cx, s, dxs, dg, m->gate, false);
    input_grad(cx, s, dxs, du, m->up, m->gate != NULL);
}

/* Of hash there are no weights: the kernel of the gradient wants ones. */
static const gal_t *weights_of(gal_ctx *cx, const moe_saved *s) {
    if (s->r.weight) return s->r.weight;
    gal_t *ones = gal_new2(cx, gal_stat_dtype(s->x->dtype), gal_rows(s->x), s->m->used);
    if (ones)
        GAL_LAUNCH(cx, GAL_K_FILL, gal_k_map, .y = ones->data, .dt = ones->dtype, .count = gal_count(ones),
                   .value = 1);
    return ones;
}

static void moe_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const moe_saved *s = saved;
    const gal_moe_spec *m = s->m;
    bool has;
    const gal_t *weight = weights_of(cx, s);
    gal_t *dys = gal_like(cx, s->ys), *dh = gal_like(cx, s->h);
    gal_t *dweight = weight ? gal_like(cx, weight) : NULL;
    if (!gal_ok(cx)) return;
    GAL_ASSERT(dys && dh && weight && dweight); /* what gal_ok() says */
    GAL_LAUNCH(cx, GAL_K_COMBINE_GRAD, gal_k_combine_grad, .dx = dys->data, .dweight = dweight->data,
               .dy = y->grad->data, .x = s->ys->data, .weight = weight->data, .place = s->r.place->data,
               .dt = y->dtype, .wdt = dweight->dtype, .n = gal_rows(y), .d = gal_cols(y), .used = m->used);
    expert_rows(cx, s, GAL_K_EXPERT_SUM, NULL, dys, NULL, m->down_bias);
    weight_grad(cx, s, s->h, dys, m->down);
    input_grad(cx, s, dh, dys, m->down, false);
    gal_t *dx = gal_grad_of(cx, s->x, &has), *dxs = dx ? gal_like(cx, s->xs) : NULL;
    activate_grad(cx, s, dh, dxs);
    if (dxs)
        GAL_LAUNCH(cx, GAL_K_COMBINE, gal_k_combine, .y = dx->data, .x = dxs->data, .place = s->r.place->data,
                   .dt = dx->dtype, .wdt = dweight->dtype, .n = gal_rows(dx), .d = gal_cols(dx), .used = m->used,
                   .accumulate = has);
    gal__route_grad(cx, &s->r, s->x, m, s->st, dweight);
    gal_t *dadd = gal_grad_of(cx, s->add, &has);
    if (dadd) gal__accumulate(cx, dadd, y->grad, has);
}

gal_t *gal_moe(gal_ctx *cx, gal_t *x, const gal_moe_spec *m, gal_t *add, const gal_step *st, int layer) {
    if (!x || !add) return NULL;
    int64_t n = gal_rows(x), d = gal_cols(x), f = m->up[0]->dim[0], rows = n * m->used;
    GAL_SHAPES(!m->router || (m->router->dim[1] == d && m->router->dim[0] == m->experts), "moe", x, NULL);
    GAL_SHAPES(m->used >= 1 && m->used <= m->experts && m->experts <= GAL_MAX_EXPERTS, "moe", x, NULL);
    GAL_SHAPES(gal_count(add) == gal_count(x) && add->dtype == x->dtype, "moe", add, x);
    moe_saved s = { .x = x, .add = add, .m = m, .st = st };
    gal__route(cx, &s.r, x, m, st, layer);
    s.xs = gal_new2(cx, x->dtype, rows, d);
    s.g = m->gate ? gal_new2(cx, x->dtype, rows, f) : NULL;
    s.u = gal_new2(cx, x->dtype, rows, f);
    s.h = gal_may_overwrite(cx) ? (m->gate ? s.g : s.u) : gal_new2(cx, x->dtype, rows, f);
    s.ys = gal_new2(cx, x->dtype, rows, d);
    gal_t *y = gal_like(cx, x);
    if (!gal_ok(cx)) return NULL;
    GAL_ASSERT(s.xs && s.ys && y); /* what gal_ok() says */
    GAL_LAUNCH(cx, GAL_K_GATHER_ROWS, gal_k_gather_rows, .y = s.xs->data, .x = x->data, .dt = x->dtype,
               .rows = s.r.row->data, .n = rows, .d = d);
    activate(cx, &s);
    project(cx, &s, s.h, &m->down, &s.ys, 1);
    expert_rows(cx, &s, GAL_K_EXPERT_ADD, s.ys, s.ys, NULL, m->down_bias);
    GAL_LAUNCH(cx, GAL_K_COMBINE, gal_k_combine, .y = y->data, .x = s.ys->data, .add = add->data,
               .weight = s.r.weight ? s.r.weight->data : NULL, .place = s.r.place->data, .dt = x->dtype,
               .wdt = gal_stat_dtype(x->dtype), .n = n, .d = d, .used = m->used);
    gal_tape_push(cx, moe_vjp, y, &s, sizeof s, &x, 1);
    return y;
}

void gal_moe_losses(gal_ctx *cx, const gal_step *st, double *loss, double scale) {
    const gal_balance *b = st->balance;
    GAL_LAUNCH(cx, GAL_K_ROUTE_LOSS, gal_k_route_loss, .loss = loss, .sums = b->sums, .layers = b->layers,
               .experts = b->experts, .scale = scale, .per_layer = b->per_layer);
}
