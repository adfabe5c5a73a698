/* route.c - routers (Mixtral, arXiv:2401.04088; routed language models, arXiv:2202.01169):
 *
 *     top    l = Wr x;  c = the k largest of l;           w = softmax(l[c])
 *     sbase  c = the k largest of l + g (in training g makes a balanced plan, else it is 0);  w = softmax(l)[c]
 *     rlr    c drawn from softmax(l), or its nucleus, in training, else its k largest;         w = 1
 *     hash   c = id mod E;                                                                     w = 1
 *
 * Logits and weights are f32 whatever the activations are. No gradient flows through a plan or a choice: S-BASE
 * learns by its weights, RL-R by REINFORCE with the row's own loss, which is there when the tape is walked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/route.h"

#include <math.h>

/* Of the run's seed, for the noise of the layers; the first ones are of initial weights, others of data/order.c. */
#define NOISE_STREAM UINT64_C(0x726f757465000000)

static gal_t *ints(gal_ctx *cx, int64_t rows, int64_t cols) { return gal_new2(cx, GAL_I32, rows, cols); }

/* l = x Wr^T, summed in f32 from whatever x and Wr are. */
static gal_t *logits_of(gal_ctx *cx, gal_t *x, const gal_w *w) {
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

/* What a plan adds to the logits of each expert; *made gets its iterations. */
static const gal_t *plan_of(gal_ctx *cx, const gal_t *logits, const gal_balance *b, gal_t **made) {
    const int64_t n = gal_rows(logits), padded = (n + GAL_SINKHORN_PAD - 1) / GAL_SINKHORN_PAD * GAL_SINKHORN_PAD;
    gal_t *g = gal_new(cx, logits->dtype, 1, (int64_t[]){ gal_cols(logits) });
    const gal_t *work = gal_new2(cx, GAL_F32, gal_cols(logits) + 1, padded);
    *made = ints(cx, 1, 1);
    if (!gal_ok(cx)) return NULL;
    GAL_LAUNCH(cx, GAL_K_SINKHORN, gal_k_sinkhorn, .g = g->data, .made = (*made)->data, .logits = logits->data,
               .dt = logits->dtype, .n = n, .experts = gal_cols(logits), .tolerance = b->tolerance,
               .iterations = b->iterations, .work = work->data);
    return g;
}

static gal_gate gate_of(const gal_moe_spec *m) {
    if (m->kind == GAL_ROUTER_TOP) return GAL_GATE_CHOSEN;
    if (m->kind == GAL_ROUTER_RLR) return GAL_GATE_ONE;
    return m->sigmoid ? GAL_GATE_SIGMOID : GAL_GATE_ALL;
}

/* What an expert has at most of n rows; 0: any number. */
static int64_t capacity_of(const gal_moe_spec *m, const gal_balance *b, int64_t n) {
    if (!b || !(b->capacity > 0)) return 0;
    double places = ceil(b->capacity * (double)(m->used * n) / (double)m->experts);
    return places < (double)n ? (int64_t)places : 0; /* a row chooses an expert once */
}

static double *sums_of(const gal_balance *b, const gal_moe_spec *m) {
    return b->sums + m->index * gal_route_width(m->experts);
}

static void choose(gal_ctx *cx, gal__routing *r, const gal_moe_spec *m, const gal_step *st, gal_t **made) {
    const gal_balance *b = st->balance;
    const gal_t *plan = b && m->kind == GAL_ROUTER_SBASE ? plan_of(cx, r->logits, b, made) : NULL;
    int64_t n = gal_rows(r->logits);
    r->weight = gal_new2(cx, r->logits->dtype, n, m->used);
    if (gal_taping(cx) || b) { /* the gate's gradient needs them, and the losses of a step of training */
        r->prob = gal_like(cx, r->logits);
        r->lse = gal_new2(cx, r->logits->dtype, n, 1);
    }
    if (!gal_ok(cx)) return;
    GAL_LAUNCH(cx, GAL_K_ROUTE, gal_k_route, .choice = r->choice->data, .weight = r->weight->data,
               .prob = r->prob ? r->prob->data : NULL, .lse = r->prob ? r->lse->data : NULL,
               .logits = r->logits->data, .dt = r->logits->dtype, .n = n, .experts = m->experts, .used = m->used,
               .add = plan ? plan->data : NULL, .noise = b && m->kind == GAL_ROUTER_RLR ? b->noise : NULL,
               .stream = NOISE_STREAM + (uint64_t)m->index, .top_p = b ? b->top_p : 1, .gate = gate_of(m),
               .whole = m->whole);
}

void gal__route(gal_ctx *cx, gal__routing *r, gal_t *x, const gal_moe_spec *m, const gal_step *st, int layer) {
    const gal_balance *b = st->balance;
    int64_t n = gal_rows(x), experts = m->experts, used = m->used;
    gal_t *made = NULL;
    *r = (gal__routing){ .choice = ints(cx, n, used),
                         .place = ints(cx, n, used),
                         .row = ints(cx, n * used, 1),
                         .offset = ints(cx, experts + 1, 1) };
    if (m->router) r->logits = logits_of(cx, x, m->router);
    if (!gal_ok(cx)) return;
    if (b && m->value_up)
        r->value = gal_linear_f32(cx, gal_silu(cx, gal_linear(cx, gal_stop(cx, x), m->value_up)), m->value_down);
    if (m->router) {
        gal_tap(cx, "router", layer, r->logits);
        choose(cx, r, m, st, &made);
    } else {
        GAL_LAUNCH(cx, GAL_K_HASH, gal_k_hash, .choice = r->choice->data, .ids = st->at.ids, .n = n,
                   .experts = experts);
    }
    if (!gal_ok(cx)) return;
    gal_tap(cx, "choice", layer, r->choice);
    GAL_LAUNCH(cx, GAL_K_ROUTE_SORT, gal_k_route_sort, .offset = r->offset->data, .row = r->row->data,
               .place = r->place->data, .choice = r->choice->data, .n = n, .experts = experts, .used = used,
               .capacity = capacity_of(m, b, n));
    if (!b) return;
    GAL_LAUNCH(cx, GAL_K_ROUTE_SUMS, gal_k_route_sums, .sums = sums_of(b, m), .prob = r->prob ? r->prob->data : NULL,
               .lse = r->prob ? r->lse->data : NULL, .choice = r->choice->data, .target = st->at.target,
               .place = r->place->data, .made = made ? made->data : NULL, .dt = gal_stat_dtype(x->dtype), .n = n,
               .experts = experts, .used = used);
}

/* ---- gradient ----------------------------------------------------------------------------------------------------
 */

/* From the gradient of the logits to those of x and Wr. */
static void product_grad(gal_ctx *cx, gal_t *x, const gal_w *w, const gal_t *dl) {
    bool has;
    gal_k_gemm g = { 0 };
    gal_t *dx = gal_grad_of(cx, x, &has);
    int64_t rows = gal_rows(x), in = w->dim[1], out = w->dim[0];
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
                                     .b = gal__mat(x->data, x->dtype, in),
                                     .c = gal__mat(dw, dl->dtype, in),
                                     .compute = dl->dtype,
                                     .accumulate = true };
    gal__products(cx, &g);
}

/* Adds to the logits' gradient, and begins the baseline's, whose ops come next in the walk. */
static void policy_grad(gal_ctx *cx, const gal__routing *r, const gal_moe_spec *m, const gal_step *st,
                        const gal_t *dl) {
    const gal_balance *b = st->balance;
    GAL_ASSERT(b); /* there is a value where a step is balanced alone */
    const gal_t *loss = b->loss ? *b->loss : NULL;
    bool has;
    gal_t *dvalue = gal_grad_of(cx, r->value, &has);
    if (!dvalue || !loss) return;
    GAL_ASSERT(!has && loss->dtype == dl->dtype);
    GAL_LAUNCH(cx, GAL_K_ROUTE_POLICY, gal_k_route_policy, .dlogits = dl->data, .dvalue = dvalue->data,
               .prob = r->prob->data, .value = r->value->data, .loss = loss->data, .choice = r->choice->data,
               .target = st->at.target, .dt = dl->dtype, .n = gal_rows(dl), .experts = m->experts, .used = m->used,
               .sums = sums_of(b, m), .factor = b->factor, .policy = b->policy, .baseline = b->baseline,
               .entropy = b->entropy, .top_p = b->top_p);
}

void gal__route_grad(gal_ctx *cx, const gal__routing *r, gal_t *x, const gal_moe_spec *m, const gal_step *st,
                     const gal_t *dweight) {
    const gal_balance *b = st->balance;
    gal_t *dl = r->logits ? gal_like(cx, r->logits) : NULL;
    if (!dl) return;
    gal_k_route_grad a = { .dlogits = dl->data,
                           .dweight = dweight->data,
                           .weight = r->weight->data,
                           .choice = r->choice->data,
                           .dt = dl->dtype,
                           .n = gal_rows(x),
                           .experts = m->experts,
                           .used = m->used,
                           .prob = r->prob->data,
                           .lse = r->lse->data,
                           .target = st->at.target,
                           .gate = gate_of(m),
                           .whole = m->whole,
                           .logits = r->logits->data };
    if (b) {
        a.sums = b->sums;
        a.layers = b->layers;
        a.layer = m->index;
        a.balance = b->balance;
        a.z = b->z;
        a.per_layer = b->per_layer;
    }
    gal_launch(cx, GAL_K_ROUTE_GRAD, &a, sizeof a);
    if (r->value) policy_grad(cx, r, m, st, dl);
    product_grad(cx, x, m->router, dl);
}
