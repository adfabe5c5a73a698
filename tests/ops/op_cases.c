/* op_cases.c - the table. SPDX-License-Identifier: Apache-2.0 */
#include "ops/op_cases.h"

#include <math.h>

#define X(i) op_x(o, cx, i)
#define W(i) (&o->w[i])
#define BUILD(name) static gal_t *name(op *o, gal_ctx *cx, bool composite)

static gal_t *sum3(gal_ctx *cx, gal_t *a, gal_t *b, gal_t *c) { return gal_add(cx, gal_add(cx, a, b), c); }

BUILD(embed) {
    (void)composite;
    return op_reduce(o, cx, X(0));
}
BUILD(out_rows) {
    (void)composite;
    return op_reduce(o, cx, gal_out_rows(cx, X(0), &o->st));
}
BUILD(linear) {
    (void)composite;
    return op_reduce(o, cx, gal_linear(cx, X(0), W(1)));
}
BUILD(linear_f32) {
    (void)composite;
    return op_reduce(o, cx, gal_linear_f32(cx, X(0), W(1)));
}
BUILD(linear_add) {
    gal_t *x = X(0), *add = X(2);
    return op_reduce(o, cx,
                     composite ? gal_linear_add_composite(cx, x, W(1), add) : gal_linear_add(cx, x, W(1), add));
}
BUILD(linear_add_self) { /* x is multiplied and added: its gradient has two parts */
    gal_t *x = X(0);
    return op_reduce(o, cx, composite ? gal_linear_add_composite(cx, x, W(1), x) : gal_linear_add(cx, x, W(1), x));
}
BUILD(qkv) {
    gal_t *q, *k, *v;
    if (composite)
        gal_qkv_composite(cx, X(0), W(1), W(2), W(3), &q, &k, &v);
    else
        gal_qkv(cx, X(0), W(1), W(2), W(3), &q, &k, &v);
    gal_t *a = op_reduce(o, cx, q), *b = op_reduce(o, cx, k);
    return sum3(cx, a, b, op_reduce(o, cx, v));
}
/* a: transpose b; the other way round b is a square of N. */
BUILD(matmul) {
    (void)composite;
    return op_reduce(o, cx, gal_matmul(cx, X(0), X(1), o->c->a[0] != 0));
}
BUILD(matmul_self) {
    gal_t *x = X(0);
    (void)composite;
    return op_reduce(o, cx, gal_matmul(cx, x, x, true));
}
BUILD(rms_norm) {
    (void)composite;
    return op_reduce(o, cx, gal_rms_norm(cx, X(0), W(1), 1e-5));
}
BUILD(rms_norm_residual) {
    gal_t *x = X(0);
    (void)composite;
    return op_reduce(o, cx, gal_add(cx, gal_rms_norm(cx, x, W(1), 1e-5), x));
}
BUILD(add) {
    (void)composite;
    return op_reduce(o, cx, gal_add(cx, X(0), X(1)));
}
BUILD(add_self) {
    gal_t *x = X(0);
    (void)composite;
    return op_reduce(o, cx, gal_add(cx, x, x));
}
BUILD(mul) {
    (void)composite;
    return op_reduce(o, cx, gal_mul(cx, X(0), X(1)));
}
BUILD(mul_self) {
    gal_t *x = X(0);
    (void)composite;
    return op_reduce(o, cx, gal_mul(cx, x, gal_mul(cx, x, x)));
}
BUILD(silu) {
    gal_t *x = X(0);
    (void)composite;
    return op_reduce(o, cx, gal_mul(cx, gal_silu(cx, x), gal_silu(cx, x)));
}
BUILD(swiglu) {
    gal_t *x = X(0);
    return op_reduce(o, cx, composite ? gal_swiglu_composite(cx, x, W(1), W(2)) : gal_swiglu(cx, x, W(1), W(2)));
}
BUILD(gelu) {
    (void)composite;
    return op_reduce(o, cx, gal_gelu(cx, X(0), W(1), W(2)));
}
BUILD(add_row) { /* x goes two ways */
    gal_t *x = X(0);
    (void)composite;
    return op_reduce(o, cx, gal_mul(cx, gal_add_row(cx, x, W(1)), gal_add_row(cx, x, W(2))));
}
BUILD(bias) {
    gal_t *y = gal_linear(cx, X(0), W(1));
    (void)composite;
    gal_bias(cx, y, W(2));
    return op_reduce(o, cx, gal_mul(cx, y, y));
}
BUILD(layer_norm) {
    gal_t *x = X(0);
    (void)composite;
    return op_reduce(o, cx, gal_add(cx, gal_layer_norm(cx, x, W(1), W(2), 1e-5), x));
}
/* a: the scale in hundredths. A's weight is `first`, B's the next one. */
static void adapt(op *o, int slot, int w, int first, const gal_lora *next) {
    o->lora[slot] = (gal_lora){ W(first), W(first + 1), (double)o->c->a[0] / 100, next };
    W(w)->lora = &o->lora[slot];
}
static gal_t *adapted_composite(op *o, gal_ctx *cx, gal_t *x, int w) {
    gal_w plain = *W(w), *kept = gal_step_memory(cx, sizeof *kept);
    if (!kept) return NULL;
    plain.lora = NULL;
    *kept = plain;
    gal_t *y = gal_linear(cx, x, kept);
    for (const gal_lora *l = W(w)->lora; l; l = l->next) {
        gal_t *t = gal_linear(cx, gal_linear(cx, x, l->a), l->b), *s = gal_like(cx, t);
        double *by = s ? gal_step_memory(cx, (size_t)gal_count(s) * sizeof *by) : NULL;
        if (!by) return NULL;
        for (int64_t i = 0; i < gal_count(s); i++) by[i] = l->scale;
        gal_convert(s->data, s->dtype, by, GAL_F64, gal_count(s));
        y = gal_add(cx, y, gal_mul(cx, t, s));
    }
    return y;
}
BUILD(adapted) { /* two adapters of one weight */
    adapt(o, 0, 1, 2, NULL);
    adapt(o, 1, 1, 4, &o->lora[0]);
    gal_t *x = X(0);
    return op_reduce(o, cx, composite ? adapted_composite(o, cx, x, 1) : gal_linear(cx, x, W(1)));
}
BUILD(adapted_add) { /* x is multiplied, adapted and added */
    adapt(o, 0, 1, 2, NULL);
    gal_t *x = X(0);
    return op_reduce(o, cx,
                     composite ? gal_add(cx, adapted_composite(o, cx, x, 1), x) : gal_linear_add(cx, x, W(1), x));
}
BUILD(adapted_qkv) { /* of which k has none */
    adapt(o, 0, 1, 4, NULL);
    adapt(o, 1, 3, 6, NULL);
    gal_t *q, *k, *v, *x = X(0);
    if (composite) {
        q = adapted_composite(o, cx, x, 1);
        k = gal_linear(cx, x, W(2));
        v = adapted_composite(o, cx, x, 3);
    } else {
        gal_qkv(cx, x, W(1), W(2), W(3), &q, &k, &v);
    }
    gal_t *a = op_reduce(o, cx, q), *b = op_reduce(o, cx, k);
    return sum3(cx, a, b, op_reduce(o, cx, v));
}
BUILD(adapted_swiglu) {
    adapt(o, 0, 1, 3, NULL);
    adapt(o, 1, 2, 5, NULL);
    gal_t *x = X(0);
    if (!composite) return op_reduce(o, cx, gal_swiglu(cx, x, W(1), W(2)));
    gal_t *g = adapted_composite(o, cx, x, 1);
    return op_reduce(o, cx, gal_mul(cx, gal_silu(cx, g), adapted_composite(o, cx, x, 2)));
}
BUILD(adapted_head) {
    adapt(o, 0, 1, 2, NULL);
    (void)composite;
    return gal_weighted_sum(cx, gal_cross_entropy(cx, X(0), W(1), &o->st), &o->st);
}
BUILD(softmax) {
    gal_t *x = X(0);
    (void)composite;
    return op_reduce(o, cx, gal_mul(cx, gal_softmax(cx, x, o->lo, o->hi, 0.7), x));
}
/* a: head size, interleaved, query scale in hundredths. */
static gal_rope_angles angles_of(op *o, gal_ctx *cx) {
    gal_rope_spec spec = { .size = o->c->a[0],
                           .inv_freq = o->inv_freq,
                           .mscale = 1.125f,
                           .original = 2,
                           .beta = (float)o->c->a[2] / 100,
                           .interleaved = o->c->a[1] != 0 };
    return gal_rope_angles_of(cx, &spec, &o->st);
}
BUILD(rope) {
    (void)composite;
    gal_rope_angles angles = angles_of(o, cx);
    gal_t *q = X(0), *k = X(1);
    gal_rope(cx, q, k, &angles);
    q = op_reduce(o, cx, q);
    return gal_add(cx, q, op_reduce(o, cx, k));
}

/* a: heads, key-value heads, size, window. */
static gal_attend_spec spec_of(const int64_t *a) {
    return (gal_attend_spec){ a[0], a[1], a[2], a[3], 1 / sqrt((double)a[2]) };
}
static gal_t *attend_of(op *o, gal_ctx *cx, gal_t *q, gal_t *k, gal_t *v, const int64_t *a, bool composite) {
    gal_attend_spec spec = spec_of(a);
    return composite ? gal_attend_composite(cx, q, k, v, &spec, &o->st) : gal_attend(cx, q, k, v, &spec, &o->st, 0);
}
BUILD(attend) {
    gal_t *q = X(0), *k = X(1), *v = X(2);
    return op_reduce(o, cx, attend_of(o, cx, q, k, v, o->c->a, composite));
}
BUILD(attend_relative) { /* of OP_SOME_ROWS, few distances are told apart */
    gal_t *q = X(0), *qr = X(1), *k = X(2), *v = X(3), *r = gal_out_rows(cx, X(4), &o->st);
    gal_attend_spec spec = spec_of(o->c->a);
    return op_reduce(o, cx,
                     composite ? gal_attend_relative_composite(cx, q, qr, k, v, r, &spec, &o->st)
                               : gal_attend_relative(cx, q, qr, k, v, r, &spec, &o->st, 0));
}
BUILD(attend_shared) { /* the gradients of keys and values arrive at one tensor */
    gal_t *q = X(0), *k = X(1);
    return op_reduce(o, cx,
                     gal_add(cx, attend_of(o, cx, q, k, X(2), o->c->a, composite),
                             attend_of(o, cx, q, X(2), k, o->c->a, composite)));
}

/* a: 1: the head is the embedding. */
BUILD(cross_entropy) {
    gal_t *x = X(0);
    const gal_w *head = o->c->a[0] ? W(0) : W(1);
    gal_t *loss = composite ? gal_cross_entropy_composite(cx, x, head, &o->st)
                            : gal_cross_entropy(cx, x, head, &o->st);
    return gal_weighted_sum(cx, loss, &o->st);
}
BUILD(cross_entropy_logits) {
    (void)composite;
    return gal_weighted_sum(cx, gal_cross_entropy_logits(cx, gal_linear_f32(cx, X(0), W(1)), &o->st), &o->st);
}

/* Two layers of the family with the same weights, tied embeddings, masked targets. a as of rope, then as of attend.
 */
static gal_t *layer_of(gal_ctx *cx, const void *model, int index, gal_t *x, const gal_step *st) {
    const op *o = model;
    gal_t *q, *k, *v, *n = gal_rms_norm(cx, x, W(1), 1e-5);
    gal_attend_spec spec = spec_of(o->c->a + 3);
    gal_qkv(cx, n, W(2), W(3), W(4), &q, &k, &v);
    gal_rope(cx, q, k, &o->angles);
    x = gal_linear_add(cx, gal_attend(cx, q, k, v, &spec, st, index), W(5), x);
    n = gal_rms_norm(cx, x, W(6), 1e-5);
    return gal_linear_add(cx, gal_swiglu(cx, n, W(7), W(8)), W(9), x);
}
BUILD(blocks) {
    (void)composite;
    o->angles = angles_of(o, cx); /* outlives this function: blocks may run again */
    gal_t *x = X(0);
    for (int i = 0; i < 2; i++) x = gal_block(cx, layer_of, o, i, x, &o->st);
    x = gal_rms_norm(cx, x, W(10), 1e-5);
    return gal_weighted_sum(cx, gal_cross_entropy(cx, x, W(0), &o->st), &o->st);
}

/* a: experts, used, factors of the losses of balance and of z in hundredths, whether the first is by layer. The
 * weights from `router` on: the router's, then gate, up and down of each expert. */
static void use_experts(op *o, const int64_t *a, int router, int64_t layers) {
    o->moe[0] = (gal_moe_spec){ .experts = a[0],
                                .used = a[1],
                                .router = W(router),
                                .gate = o->matrices[0],
                                .up = o->matrices[1],
                                .down = o->matrices[2] };
    o->moe[1] = o->moe[0];
    o->moe[1].index = 1;
    for (int e = 0; e < a[0]; e++)
        for (int i = 0; i < 3; i++) o->matrices[i][e] = W(router + 1 + 3 * e + i);
    o->balance = (gal_balance){ .sums = o->sums,
                                .layers = layers,
                                .experts = a[0],
                                .balance = (double)a[2] / 100,
                                .z = (double)a[3] / 100,
                                .per_layer = a[4] != 0 };
    o->st.balance = a[2] || a[3] ? &o->balance : NULL;
}
/* The value of loss and of the routers' own losses. */
static gal_t *with_balance(op *o, gal_ctx *cx, gal_t *loss) {
    double own[2] = { 0 }, sum;
    if (!o->st.balance || !loss) return loss;
    gal_moe_losses(cx, &o->st, own, 1);
    gal_convert(&sum, GAL_F64, loss->data, loss->dtype, 1);
    sum += o->balance.balance * own[0] + o->balance.z * own[1];
    gal_convert(loss->data, loss->dtype, &sum, GAL_F64, 1);
    return loss;
}
BUILD(moe) {
    use_experts(o, o->c->a, 2, 1);
    gal_t *x = X(0), *add = X(1);
    gal_t *y = composite ? gal_moe_composite(cx, x, &o->moe[0], add) : gal_moe(cx, x, &o->moe[0], add, &o->st, 0);
    return with_balance(o, cx, op_reduce(o, cx, y));
}
/* a: experts, used, router, 1: sigmoid, 1: whole, capacity in hundredths. The weights from 2 on: the router's, then
 * up, its bias, down and its bias of each expert. */
BUILD(moe_gelu) {
    const int64_t *a = o->c->a;
    (void)composite;
    o->moe[0] = (gal_moe_spec){ .experts = a[0],
                                .used = a[1],
                                .kind = (gal_router)a[2],
                                .sigmoid = a[3] != 0,
                                .whole = a[4] != 0,
                                .router = a[2] == GAL_ROUTER_HASH ? NULL : W(2),
                                .up = o->matrices[0],
                                .up_bias = o->matrices[1],
                                .down = o->matrices[2],
                                .down_bias = o->matrices[3] };
    int first = a[2] == GAL_ROUTER_HASH ? 2 : 3;
    for (int e = 0; e < a[0]; e++)
        for (int i = 0; i < 4; i++) o->matrices[i][e] = W(first + 4 * e + i);
    o->balance = (gal_balance){ .sums = o->sums,
                                .layers = 1,
                                .experts = a[0],
                                .capacity = (double)a[5] / 100,
                                .tolerance = 0.01,
                                .iterations = 50 };
    o->st.balance = a[5] ? &o->balance : NULL;
    gal_t *x = X(0);
    return op_reduce(o, cx, gal_moe(cx, x, &o->moe[0], X(1), &o->st, 0));
}
BUILD(moe_of_itself) { /* x is chosen for and added: its gradient has three parts */
    use_experts(o, o->c->a, 1, 1);
    gal_t *x = X(0);
    return op_reduce(o, cx,
                     composite ? gal_moe_composite(cx, x, &o->moe[0], x) : gal_moe(cx, x, &o->moe[0], x, &o->st, 0));
}
static gal_t *sparse_layer(gal_ctx *cx, const void *model, int index, gal_t *x, const gal_step *st) {
    const op *o = model;
    return gal_moe(cx, gal_rms_norm(cx, x, W(1), 1e-5), &o->moe[index], x, st, index);
}
BUILD(sparse_blocks) {
    (void)composite;
    use_experts(o, o->c->a, 2, 2);
    gal_t *x = X(0);
    for (int i = 0; i < 2; i++) x = gal_block(cx, sparse_layer, o, i, x, &o->st);
    return with_balance(o, cx, gal_weighted_sum(cx, gal_cross_entropy(cx, x, W(0), &o->st), &o->st));
}

#define EXPERT_W                                                                                                     \
    { 6, 10 }, { 6, 10 }, { 10, 6 }
#define GELU_W                                                                                                       \
    { 6, 10 }, { 6, 0 }, { 10, 6 }, { 10, 0 }
#define BLOCK_W                                                                                                      \
    {                                                                                                                \
        { OP_N, 10 }, { 10, 0 }, { 16, 10 }, { 8, 10 }, { 8, 10 }, { 10, 16 }, { 10, 0 }, { 14, 10 }, { 14, 10 },    \
            { 10, 14 }, {                                                                                            \
            10, 0                                                                                                    \
        }                                                                                                            \
    }

const op_case OP_CASES[] = {
    { "embed", embed, { { 5, 9 } }, OP_REPEATED_IDS, { 0 }, false, 0, 3, 0 },
    { "out_rows", out_rows, { { OP_N, 9 } }, OP_SOME_ROWS, { 0 }, false, 0, 4, 0 },
    { "linear", linear, { { OP_N, 13 }, { 6, 13 } }, 0, { 0 }, false, 0, 4, 0 },
    { "linear_f32", linear_f32, { { OP_N, 13 }, { 6, 13 } }, 0, { 0 }, false, 0, 4, 0 },
    { "linear_add", linear_add, { { OP_N, 13 }, { 6, 13 }, { OP_N, 6 } }, 0, { 0 }, true, 0, 5, 0 },
    { "linear_add of itself", linear_add_self, { { OP_N, 7 }, { 7, 7 } }, 0, { 0 }, true, 0, 6, 0 },
    { "qkv", qkv, { { OP_N, 11 }, { 8, 11 }, { 4, 11 }, { 6, 11 } }, 0, { 0 }, true, 0, 7, 0 },
    { "matmul", matmul, { { OP_N, OP_N }, { OP_N, 9 } }, 0, { 0 }, false, 0, 4, 0 },
    { "matmul, transposed", matmul, { { OP_N, 9 }, { OP_N, 9 } }, 0, { 1 }, false, 0, 4, 0 },
    { "matmul with itself", matmul_self, { { OP_N, 6 } }, 0, { 0 }, false, 0, 6, 0 },
    { "rms_norm", rms_norm, { { OP_N, 17 }, { 17, 0 } }, 0, { 0 }, false, 0, 6, 0 },
    { "rms_norm and residual", rms_norm_residual, { { OP_N, 17 }, { 17, 0 } }, 0, { 0 }, false, 0, 8, 0 },
    { "add", add, { { OP_N, 5 }, { OP_N, 5 } }, 0, { 0 }, false, 0, 4, 0 },
    { "add to itself", add_self, { { OP_N, 5 } }, 0, { 0 }, false, 0, 5, 0 },
    { "mul", mul, { { OP_N, 5 }, { OP_N, 5 } }, 0, { 0 }, false, 0, 4, 0 },
    { "mul with itself", mul_self, { { OP_N, 5 } }, 0, { 0 }, false, 0, 9, 0 },
    { "silu", silu, { { OP_N, 5 } }, 0, { 0 }, false, 0, 9, 0 },
    { "swiglu", swiglu, { { OP_N, 9 }, { 11, 9 }, { 11, 9 } }, 0, { 0 }, true, 0, 9, 0 },
    { "gelu", gelu, { { OP_N, 9 }, { 11, 9 }, { 11, 0 } }, 0, { 0 }, false, 0, 9, 0 },
    { "add_row", add_row, { { OP_N, 9 }, { 9, 0 }, { 9, 0 } }, 0, { 0 }, false, 0, 8, 0 },
    { "bias", bias, { { OP_N, 9 }, { 7, 9 }, { 7, 0 } }, 0, { 0 }, false, 0, 8, 0 },
    { "layer_norm and residual", layer_norm, { { OP_N, 17 }, { 17, 0 }, { 17, 0 } }, 0, { 0 }, false, 0, 10, 0 },
    { "linear, adapted twice",
      adapted,
      { { OP_N, 32 }, { 6, 32 }, { 3, 32 }, { 6, 3 }, { 5, 32 }, { 6, 5 } },
      0,
      { 150 },
      true,
      0,
      10,
      0 },
    { "linear_add of itself, adapted",
      adapted_add,
      { { OP_N, 7 }, { 7, 7 }, { 2, 7 }, { 7, 2 } },
      0,
      { 70 },
      true,
      0,
      10,
      0 },
    { "qkv, adapted",
      adapted_qkv,
      { { OP_N, 11 }, { 8, 11 }, { 4, 11 }, { 6, 11 }, { 3, 11 }, { 8, 3 }, { 2, 11 }, { 6, 2 } },
      0,
      { 150 },
      true,
      0,
      12,
      0 },
    { "swiglu, adapted",
      adapted_swiglu,
      { { OP_N, 9 }, { 11, 9 }, { 11, 9 }, { 2, 9 }, { 11, 2 }, { 3, 9 }, { 11, 3 } },
      0,
      { 50 },
      true,
      0,
      16,
      0 },
    { "softmax", softmax, { { OP_N, OP_N } }, 0, { 0 }, false, 0, 8, 0 },
    { "rope, half-split", rope, { { OP_N, 16 }, { OP_N, 8 } }, 0, { 8, 0, 0 }, false, 0, 6, 0 },
    { "rope, interleaved", rope, { { OP_N, 16 }, { OP_N, 8 } }, OP_DOCUMENTS, { 8, 1, 0 }, false, 0, 6, 0 },
    { "rope, half-split, query scale", rope, { { OP_N, 12 }, { OP_N, 6 } }, 0, { 6, 0, 10 }, false, 0, 6, 0 },
    { "rope, interleaved, query scale", rope, { { OP_N, 12 }, { OP_N, 6 } }, 0, { 6, 1, 10 }, false, 0, 6, 0 },
    { "attend", attend, { { OP_N, 8 }, { OP_N, 8 }, { OP_N, 8 } }, 0, { 2, 2, 4, 0 }, true, 0, 9, 0 },
    { "attend, grouped", attend, { { OP_N, 24 }, { OP_N, 12 }, { OP_N, 12 } }, 0, { 4, 2, 6, 0 }, true, 0, 9, 0 },
    { "attend, window", attend, { { OP_N, 12 }, { OP_N, 4 }, { OP_N, 4 } }, 0, { 3, 1, 4, 3 }, true, 0, 9, 0 },
    { "attend, documents",
      attend,
      { { OP_N, 16 }, { OP_N, 8 }, { OP_N, 8 } },
      OP_DOCUMENTS,
      { 4, 2, 4, 0 },
      true,
      0,
      9,
      0 },
    { "attend, documents and window in rows",
      attend,
      { { OP_N, 16 }, { OP_N, 8 }, { OP_N, 8 } },
      OP_DOCUMENTS | OP_SHORT_ROWS,
      { 2, 1, 8, 2 },
      true,
      0,
      9,
      0 },
    { "attend, relative",
      attend_relative,
      { { OP_N, 8 }, { OP_N, 8 }, { OP_N, 8 }, { OP_N, 8 }, { OP_N, 8 } },
      0,
      { 2, 2, 4, 0 },
      true,
      0,
      12,
      0 },
    { "attend, relative, documents in rows, few distances",
      attend_relative,
      { { OP_N, 18 }, { OP_N, 18 }, { OP_N, 18 }, { OP_N, 18 }, { OP_N, 18 } },
      OP_DOCUMENTS | OP_SHORT_ROWS | OP_SOME_ROWS,
      { 3, 3, 6, 0 },
      true,
      0,
      12,
      0 },
    { "attend, relative, window",
      attend_relative,
      { { OP_N, 10 }, { OP_N, 10 }, { OP_N, 10 }, { OP_N, 10 }, { OP_N, 10 } },
      OP_SOME_ROWS,
      { 2, 2, 5, 4 },
      true,
      0,
      12,
      0 },
    { "attend, shared", attend_shared, { { OP_N, 8 }, { OP_N, 4 }, { OP_N, 4 } }, 0, { 2, 1, 4, 0 }, true, 0, 12, 0 },
    { "cross_entropy", cross_entropy, { { OP_N, 9 }, { 21, 9 } }, 0, { 0 }, true, 0, 5, 0 },
    { "cross_entropy, masked",
      cross_entropy,
      { { OP_N, 9 }, { 21, 9 } },
      OP_MASKED | OP_DOCUMENTS,
      { 0 },
      true,
      0,
      5,
      0 },
    { "cross_entropy, tied", cross_entropy, { { OP_N, 9 } }, OP_MASKED, { 1 }, true, 0, 6, 0 },
    { "cross_entropy, adapted",
      adapted_head,
      { { OP_N, 9 }, { 21, 9 }, { 2, 9 }, { 21, 2 } },
      OP_MASKED,
      { 150 },
      false,
      0,
      12,
      0 },
    { "cross_entropy_logits", cross_entropy_logits, { { OP_N, 9 }, { 21, 9 } }, OP_MASKED, { 0 }, false, 0, 5, 0 },
    /* 64 MiB of f64 logits hold two rows of this vocabulary: chunks of two and one. */
    { "cross_entropy in chunks",
      cross_entropy,
      { { 3, 2 }, { 2796203, 2 } },
      OP_MASKED | OP_LARGE,
      { 0 },
      true,
      1,
      5,
      3 },
    { "blocks", blocks, BLOCK_W, OP_MASKED | OP_DOCUMENTS, { 4, 0, 10, 4, 2, 4, 3 }, false, 0, 60, 0 },
    { "moe",
      moe,
      { { OP_N, 10 }, { OP_N, 10 }, { 3, 10 }, EXPERT_W, EXPERT_W, EXPERT_W },
      0,
      { 3, 2 },
      true,
      0,
      14,
      0 },
    { "moe, GELU, softmax of all",
      moe_gelu,
      { { OP_N, 10 }, { OP_N, 10 }, { 3, 10 }, GELU_W, GELU_W, GELU_W },
      0,
      { 3, 2, GAL_ROUTER_SBASE, 0, 0, 0 },
      false,
      0,
      14,
      0 },
    { "moe, GELU, sigmoid",
      moe_gelu,
      { { OP_N, 10 }, { OP_N, 10 }, { 3, 10 }, GELU_W, GELU_W, GELU_W },
      0,
      { 3, 1, GAL_ROUTER_SBASE, 1, 0, 0 },
      false,
      0,
      14,
      0 },
    { "moe, GELU, sigmoids of one",
      moe_gelu,
      { { OP_N, 10 }, { OP_N, 10 }, { 3, 10 }, GELU_W, GELU_W, GELU_W },
      0,
      { 3, 2, GAL_ROUTER_SBASE, 1, 1, 0 },
      false,
      0,
      14,
      0 },
    { "moe, GELU, softmax of the chosen",
      moe_gelu,
      { { OP_N, 10 }, { OP_N, 10 }, { 3, 10 }, GELU_W, GELU_W, GELU_W },
      0,
      { 3, 2, GAL_ROUTER_SBASE, 0, 1, 0 },
      false,
      0,
      14,
      0 },
    { "moe, GELU, a plan, few places",
      moe_gelu,
      { { OP_N, 10 }, { OP_N, 10 }, { 3, 10 }, GELU_W, GELU_W, GELU_W },
      0,
      { 3, 2, GAL_ROUTER_SBASE, 0, 0, 70 },
      false,
      0,
      14,
      0 },
    { "moe, GELU, hash",
      moe_gelu,
      { { OP_N, 10 }, { OP_N, 10 }, GELU_W, GELU_W, GELU_W },
      0,
      { 3, 1, GAL_ROUTER_HASH, 0, 0, 0 },
      false,
      0,
      14,
      0 },
    { "moe, GELU, hash, few places",
      moe_gelu,
      { { OP_N, 10 }, { OP_N, 10 }, GELU_W, GELU_W, GELU_W },
      0,
      { 3, 1, GAL_ROUTER_HASH, 0, 0, 60 },
      false,
      0,
      14,
      0 },
    { "moe, all experts",
      moe,
      { { OP_N, 10 }, { OP_N, 10 }, { 3, 10 }, EXPERT_W, EXPERT_W, EXPERT_W },
      0,
      { 3, 3 },
      true,
      0,
      14,
      0 },
    { "moe, one expert, balance", /* of one weight alone the softmax is 1: the router learns from its own losses */
      moe,
      { { OP_N, 10 }, { OP_N, 10 }, { 4, 10 }, EXPERT_W, EXPERT_W, EXPERT_W, EXPERT_W },
      OP_MASKED,
      { 4, 1, 150, 20 },
      false,
      0,
      14,
      0 },
    { "moe, balance and z",
      moe,
      { { OP_N, 10 }, { OP_N, 10 }, { 4, 10 }, EXPERT_W, EXPERT_W, EXPERT_W, EXPERT_W },
      OP_MASKED,
      { 4, 2, 300, 40 },
      false,
      0,
      14,
      0 },
    { "moe of itself",
      moe_of_itself,
      { { OP_N, 10 }, { 3, 10 }, EXPERT_W, EXPERT_W, EXPERT_W },
      0,
      { 3, 2 },
      true,
      0,
      16,
      0 },
    { "blocks, experts",
      sparse_blocks,
      { { OP_N, 10 }, { 10, 0 }, { 4, 10 }, EXPERT_W, EXPERT_W, EXPERT_W, EXPERT_W },
      OP_MASKED,
      { 4, 2, 200, 30, 0 },
      false,
      0,
      60,
      0 },
    { "blocks, experts balanced by layer",
      sparse_blocks,
      { { OP_N, 10 }, { 10, 0 }, { 4, 10 }, EXPERT_W, EXPERT_W, EXPERT_W, EXPERT_W },
      OP_MASKED,
      { 4, 3, 200, 0, 1 },
      false,
      0,
      60,
      0 },
    { "blocks, interleaved", blocks, BLOCK_W, 0, { 4, 1, 0, 4, 2, 4, 0 }, false, 0, 60, 0 },
};
const size_t OP_CASE_COUNT = GAL_LEN(OP_CASES);
