/* linear.c - products with weights and between tensors. All of them are GAL_K_GEMM with other strides:
 *     y  = x  w^T      A = x,    B = w^T
 *     dx = dy w        A = dy,   B = w
 *     dw = dy^T x      A = dy^T, B = x
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/internal.h"
#include "tensor/blocks.h"

static gal_gemm product(const gal_t *x, const gal_w *w, const gal_t *y, const gal_t *add) {
    int64_t in = w->dim[1], out = w->dim[0];
    return (gal_gemm){ .m = gal_rows(x),
                       .n = out,
                       .k = in,
                       .a = gal__mat(x->data, x->dtype, in),
                       .b = gal__wmat_t(w),
                       .c = gal__mat(y->data, y->dtype, out),
                       .add = add ? add->data : NULL,
                       .compute = x->dtype };
}

/* Gradients of one y = x w^T as up to two products. */
static int grad_products(gal_ctx *cx, gal_gemm *p, gal_t *x, const gal_w *w, void *dy, gal_dtype dy_dt) {
    int64_t in = w->dim[1], out = w->dim[0], rows = gal_rows(x);
    gal_gemm *next = p;
    bool has;
    gal_t *dx = gal_grad_of(cx, x, &has);
    if (dx)
        *next++ = (gal_gemm){ .m = rows,
                              .n = in,
                              .k = out,
                              .a = gal__mat(dy, dy_dt, out),
                              .b = gal__wmat(w),
                              .c = gal__mat(dx->data, dx->dtype, in),
                              .compute = x->dtype,
                              .accumulate = has };
    void *dw = gal_wgrad_of(cx, w);
    GAL_ASSERT(!dw || w->dtype != GAL_BLOCKS); /* what no optimiser could change */
    if (dw)
        *next++ = (gal_gemm){ .m = out,
                              .n = in,
                              .k = rows,
                              .a = gal__mat_t(dy, dy_dt, out),
                              .b = gal__mat(x->data, x->dtype, in),
                              .c = gal__mat(dw, gal_stat_dtype(x->dtype), in),
                              .compute = x->dtype,
                              .accumulate = true };
    return (int)(next - p);
}

void gal__products(gal_ctx *cx, gal_k_gemm *g) {
    g->threads = gal_pool_threads(gal_ctx_dev(cx)->pool);
    g->alike = gal_rows_alike(cx);
    if (g->count) gal_launch(cx, GAL_K_GEMM, g, sizeof *g);
}

/* FP8 weights are floats: nothing is won by rounding what they meet. */
bool gal__takes_integers(const gal_ctx *cx, const gal_w *w) {
    return gal_quantised(cx) != GAL_INTEGERS_NONE && w->dtype == GAL_BLOCKS && w->code.block != GAL_BLOCK_F8_E4M3;
}

/* A GPU's products take activations as they are. */
static bool takes_bf16(const gal_ctx *cx, const gal_w *w) {
    return gal_takes_bf16(cx) && w->dtype == GAL_BF16 && !gal_ctx_dev(cx)->far;
}

void *gal__integers(gal_ctx *cx, const gal_t *x, bool twice) {
    const int64_t n = gal_rows(x), d = gal_cols(x), floats = (int64_t)gal_i8_row_bytes(d) / 4;
    gal_t *q = gal_new2(cx, GAL_F32, twice ? 2 * n : n,
                        floats); /* memory of the step; what lies there is not floats */
    if (!q) return NULL;
    GAL_LAUNCH(cx, GAL_K_QUANTISE, gal_k_quantise, .q = q->data, .x = x->data, .dt = x->dtype, .n = n, .d = d,
               .twice = twice);
    return q->data;
}

void gal__take_integers(gal_gemm *g, void *q, int64_t rows, bool twice) {
    g->a = (gal_mat){ .p = q, .rs = twice ? 2 * rows : rows };
}

void gal__project(gal_ctx *cx, gal_t *x, const gal_w *const *w, gal_t *const *y, const gal_t *add, int count) {
    gal_k_gemm floats = { 0 }, integers = { 0 };
    for (int i = 0; i < count; i++) {
        gal_k_gemm *g = gal__takes_integers(cx, w[i]) ? &integers : &floats;
        g->p[g->count] = product(x, w[i], y[i], add);
        if (takes_bf16(cx, w[i])) g->p[g->count].compute = GAL_BF16;
        g->count++;
        gal_tap_input(cx, w[i], x, 0, gal_rows(x));
    }
    gal__products(cx, &floats);
    integers.twice = gal_quantised(cx) == GAL_INTEGERS_TWICE;
    void *q = integers.count ? gal__integers(cx, x, integers.twice) : NULL;
    if (q) {
        for (int i = 0; i < integers.count; i++) gal__take_integers(&integers.p[i], q, gal_rows(x), integers.twice);
        integers.threads = gal_pool_threads(gal_ctx_dev(cx)->pool);
        gal_launch(cx, GAL_K_GEMM_I8, &integers, sizeof integers);
    }
    gal__adapt(cx, x, w, y, count);
}

void gal__linear_grad(gal_ctx *cx, gal_t *x, const gal_w *w, void *dy, gal_dtype dy_dt) {
    gal_k_gemm g = { 0 };
    g.count = grad_products(cx, g.p, x, w, dy, dy_dt);
    gal__products(cx, &g);
    gal__adapt_grad(cx, x, w, dy, dy_dt);
}

void gal__accumulate(gal_ctx *cx, gal_t *to, const gal_t *from, bool accumulate) {
    if (accumulate)
        GAL_LAUNCH(cx, GAL_K_ADD, gal_k_map, .y = to->data, .a = to->data, .b = from->data, .dt = to->dtype,
                   .count = gal_count(to));
    else
        GAL_LAUNCH(cx, GAL_K_COPY, gal_k_map, .y = to->data, .a = from->data, .dt = to->dtype, .adt = from->dtype,
                   .count = gal_count(to));
}

typedef struct linear_saved {
    gal_t *x, *add;
    const gal_w *w;
} linear_saved;

static void linear_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const linear_saved *s = saved;
    gal__linear_grad(cx, s->x, s->w, y->grad->data, y->dtype);
    bool has;
    gal_t *dadd = gal_grad_of(cx, s->add, &has);
    if (dadd) gal__accumulate(cx, dadd, y->grad, has);
}

static gal_t *linear(gal_ctx *cx, gal_t *x, const gal_w *w, gal_t *add, gal_dtype out) {
    if (!x) return NULL;
    GAL_SHAPES(w->ndim == 2 && gal_cols(x) == w->dim[1], "linear", x, NULL);
    gal_t *y = gal_new2(cx, out, gal_rows(x), w->dim[0]);
    if (!y) return NULL;
    if (add) GAL_SHAPES(gal_count(add) == gal_count(y) && add->dtype == y->dtype, "linear_add", add, y);
    gal__project(cx, x, &w, &y, add, 1);
    gal_tape_push(cx, linear_vjp, y, &(linear_saved){ x, add, w }, sizeof(linear_saved), &x, 1);
    return y;
}

gal_t *gal_linear(gal_ctx *cx, gal_t *x, const gal_w *w) { return x ? linear(cx, x, w, NULL, x->dtype) : NULL; }

gal_t *gal_linear_f32(gal_ctx *cx, gal_t *x, const gal_w *w) {
    return x ? linear(cx, x, w, NULL, gal_stat_dtype(x->dtype)) : NULL;
}

gal_t *gal_linear_add(gal_ctx *cx, gal_t *x, const gal_w *w, gal_t *add) {
    return x && add ? linear(cx, x, w, add, x->dtype) : NULL;
}

void gal_qkv(gal_ctx *cx, gal_t *x, const gal_w *wq, const gal_w *wk, const gal_w *wv, gal_t **q, gal_t **k,
             gal_t **v) {
    const gal_w *const w[3] = { wq, wk, wv };
    gal_t **const out[3] = { q, k, v };
    *q = *k = *v = NULL;
    if (!x) return;
    for (int i = 0; i < 3; i++) {
        GAL_SHAPES(gal_cols(x) == w[i]->dim[1], "qkv", x, NULL);
        *out[i] = gal_new2(cx, x->dtype, gal_rows(x), w[i]->dim[0]);
        if (!*out[i]) return;
    }
    gal__project(cx, x, w, (gal_t *const[]){ *q, *k, *v }, NULL, 3);
    for (int i = 0; i < 3; i++)
        gal_tape_push(cx, linear_vjp, *out[i], &(linear_saved){ x, NULL, w[i] }, sizeof(linear_saved), &x, 1);
}

typedef struct matmul_saved {
    gal_t *a, *b;
    bool transpose_b;
} matmul_saved;

static gal_mat flip(gal_mat m) { return (gal_mat){ m.p, m.dt, m.cs, m.rs, NULL, NULL }; }

static void matmul_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const matmul_saved *s = saved;
    int64_t m = gal_rows(y), n = gal_cols(y), k = gal_cols(s->a);
    gal_mat dy = gal__mat(y->grad->data, y->dtype, n), a = gal__mat(s->a->data, y->dtype, k);
    gal_mat b = s->transpose_b ? gal__mat_t(s->b->data, y->dtype, k) : gal__mat(s->b->data, y->dtype, n);
    bool has;
    gal_k_gemm g = { 0 };
    gal_t *da = gal_grad_of(cx, s->a, &has);
    if (da)
        g.p[g.count++] = (gal_gemm){ .m = m,
                                     .n = k,
                                     .k = n,
                                     .a = dy,
                                     .b = flip(b),
                                     .c = gal__mat(da->data, y->dtype, k),
                                     .compute = y->dtype,
                                     .accumulate = has };
    gal_t *db = gal_grad_of(cx, s->b, &has);
    if (db)
        g.p[g.count++] = (gal_gemm){ .m = k,
                                     .n = n,
                                     .k = m,
                                     .a = flip(a),
                                     .b = dy,
                                     .c = s->transpose_b ? gal__mat_t(db->data, y->dtype, k)
                                                         : gal__mat(db->data, y->dtype, n),
                                     .compute = y->dtype,
                                     .accumulate = has };
    gal__products(cx, &g);
}

gal_t *gal_matmul(gal_ctx *cx, gal_t *a, gal_t *b, bool transpose_b) {
    if (!a || !b) return NULL;
    int64_t m = gal_rows(a), k = gal_cols(a), n = transpose_b ? gal_rows(b) : gal_cols(b);
    GAL_SHAPES(a->dtype == b->dtype && k == (transpose_b ? gal_cols(b) : gal_rows(b)), "matmul", a, b);
    gal_t *y = gal_new2(cx, a->dtype, m, n);
    if (!y) return NULL;
    gal_k_gemm g = { .count = 1,
                     .p = { { .m = m,
                              .n = n,
                              .k = k,
                              .a = gal__mat(a->data, a->dtype, k),
                              .b = transpose_b ? gal__mat_t(b->data, b->dtype, k) : gal__mat(b->data, b->dtype, n),
                              .c = gal__mat(y->data, y->dtype, n),
                              .compute = a->dtype } } };
    gal__products(cx, &g);
    gal_tape_push(cx, matmul_vjp, y, &(matmul_saved){ a, b, transpose_b }, sizeof(matmul_saved), (gal_t *[]){ a, b },
                  2);
    return y;
}
