/* composite.c - fused ops spelled out in simpler ones. Slow on purpose; tests hold the fused ones against these.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/internal.h"

gal_t *gal_linear_add_composite(gal_ctx *cx, gal_t *x, const gal_w *w, gal_t *add) {
    return gal_add(cx, gal_linear(cx, x, w), add);
}

void gal_qkv_composite(gal_ctx *cx, gal_t *x, const gal_w *wq, const gal_w *wk, const gal_w *wv, gal_t **q, gal_t **k,
                       gal_t **v) {
    *q = gal_linear(cx, x, wq);
    *k = gal_linear(cx, x, wk);
    *v = gal_linear(cx, x, wv);
}

gal_t *gal_swiglu_composite(gal_ctx *cx, gal_t *x, const gal_w *gate, const gal_w *up) {
    return gal_mul(cx, gal_silu(cx, gal_linear(cx, x, gate)), gal_linear(cx, x, up));
}

gal_t *gal_cross_entropy_composite(gal_ctx *cx, gal_t *x, const gal_w *head, const gal_step *st) {
    return gal_cross_entropy_logits(cx, gal_linear_f32(cx, x, head), st);
}

/* ---- attention by heads: x [N, heads K] seen as [N heads, K], whose rows n heads + h belong to head h
 * -------------- */

typedef struct head_saved {
    gal_t *x;
    const int32_t *rows;
    int64_t n, size;
} head_saved;

static void move_rows(gal_ctx *cx, gal_t *to, const gal_t *from, const int32_t *rows, int64_t n, int64_t size,
                      bool scatter) {
    GAL_LAUNCH(cx, GAL_K_GATHER_ROWS, gal_k_gather_rows, .y = to->data, .x = from->data, .dt = to->dtype,
               .rows = rows, .n = n, .d = size, .scatter = scatter);
}

static void zero(gal_ctx *cx, gal_t *t) {
    GAL_LAUNCH(cx, GAL_K_FILL, gal_k_map, .y = t->data, .dt = t->dtype, .count = gal_count(t));
}

static void take_head_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const head_saved *s = saved;
    bool has;
    gal_t *d = gal_grad_of(cx, s->x, &has);
    if (!d) return;
    if (!has) zero(cx, d);
    move_rows(cx, d, y->grad, s->rows, s->n, s->size, true);
}

/* Some rows of x, seen as [.., size]. */
static gal_t *take_rows(gal_ctx *cx, gal_t *x, const int32_t *rows, int64_t n, int64_t size) {
    gal_t *y = x && rows ? gal_new2(cx, x->dtype, n, size) : NULL;
    if (!y) return NULL;
    head_saved s = { x, rows, n, size };
    move_rows(cx, y, x, rows, n, size, false);
    gal_tape_push(cx, take_head_vjp, y, &s, sizeof s, NULL, 0);
    return y;
}

static gal_t *take_head(gal_ctx *cx, gal_t *x, const int32_t *rows, int64_t size) {
    return x ? take_rows(cx, x, rows, gal_rows(x), size) : NULL;
}

static void put_head_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const head_saved *s = saved;
    bool has;
    gal_t *d = gal_grad_of(cx, s->x, &has);
    if (!d) return;
    GAL_ASSERT(!has); /* a head's output goes nowhere else */
    move_rows(cx, d, y->grad, s->rows, s->n, s->size, false);
}

/* Adds head's rows into y, in place: y's gradient flows on to head unchanged. */
static void put_head(gal_ctx *cx, gal_t *y, gal_t *head, const int32_t *rows, int64_t size) {
    if (!head) return;
    head_saved s = { head, rows, gal_rows(head), size };
    move_rows(cx, y, head, rows, s.n, size, true);
    gal_tape_push(cx, put_head_vjp, y, &s, sizeof s, NULL, 0);
}

/* Row numbers of head h. */
static const int32_t *head_rows(gal_ctx *cx, int64_t n, int64_t heads, int64_t h) {
    size_t bytes = (size_t)n * sizeof(int32_t);
    int32_t *rows = gal_step_memory(cx, bytes);
    for (int64_t i = 0; rows && i < n; i++) rows[i] = (int32_t)(i * heads + h);
    return gal_constant(cx, rows, bytes);
}

/* y[i, j] = x[i, min(i - j, M - 1)] for j <= i, x [N, M]; further right 0. Each row is multiplied with a matrix that
 * puts its numbers there. */
static gal_t *by_distance(gal_ctx *cx, gal_t *x, int64_t n) {
    gal_t *y = x ? gal_new2(cx, x->dtype, n, n) : NULL;
    if (!y) return NULL;
    const int64_t m = gal_cols(x);
    zero(cx, y);
    for (int64_t i = 0; i < n && gal_ok(cx); i++) {
        double *where = gal_step_memory(cx, (size_t)(m * n) * sizeof *where);
        gal_t *put = gal_new2(cx, x->dtype, m, n);
        int32_t *row = gal_step_memory(cx, sizeof *row);
        if (!gal_ok(cx)) return NULL;
        *row = (int32_t)i;
        for (int64_t j = 0; j <= i; j++) where[GAL_MIN(i - j, m - 1) * n + j] = 1;
        gal_convert(put->data, put->dtype, where, GAL_F64, m * n);
        put_head(cx, y, gal_matmul(cx, take_rows(cx, x, row, 1, m), put, false), row, n);
    }
    return y;
}

/* r NULL: no relative positions. */
static gal_t *attend_by_heads(gal_ctx *cx, gal_t *q, gal_t *qr, gal_t *k, gal_t *v, gal_t *r,
                              const gal_attend_spec *spec, const gal_step *st) {
    int64_t n = gal_rows(q), heads = spec->heads, kv_heads = spec->kv_heads, size = spec->size;
    size_t bytes = (size_t)n * sizeof(int32_t);
    int32_t *lo = gal_step_memory(cx, bytes), *hi = gal_step_memory(cx, bytes);
    gal_t *y = gal_like(cx, q);
    if (!gal_ok(cx)) return NULL;
    for (int64_t i = 0; i < n; i++) {
        int64_t first = spec->window ? GAL_MAX((int64_t)st->start[i], i - spec->window + 1) : st->start[i];
        lo[i] = (int32_t)first;
        hi[i] = (int32_t)(i + 1);
    }
    const int32_t *from = gal_constant(cx, lo, bytes), *to = gal_constant(cx, hi, bytes);
    zero(cx, y);
    for (int64_t h = 0; h < heads; h++) {
        int64_t g = h / (heads / kv_heads);
        const int32_t *q_rows = head_rows(cx, n, heads, h), *kv_rows = head_rows(cx, n, kv_heads, g);
        if (!q_rows || !kv_rows) return NULL;
        gal_t *qh = take_head(cx, q, q_rows, size), *kh = take_head(cx, k, kv_rows, size);
        gal_t *score = gal_matmul(cx, qh, kh, true);
        if (r) {
            const int32_t *r_rows = head_rows(cx, gal_rows(r), heads, h);
            gal_t *qrh = take_head(cx, qr, q_rows, size), *rh = take_head(cx, r, r_rows, size);
            score = gal_add(cx, score, by_distance(cx, gal_matmul(cx, qrh, rh, true), n));
        }
        gal_t *p = gal_softmax(cx, score, from, to, spec->scale);
        put_head(cx, y, gal_matmul(cx, p, take_head(cx, v, kv_rows, size), false), q_rows, size);
    }
    return y;
}

gal_t *gal_attend_composite(gal_ctx *cx, gal_t *q, gal_t *k, gal_t *v, const gal_attend_spec *spec,
                            const gal_step *st) {
    return q && k && v ? attend_by_heads(cx, q, NULL, k, v, NULL, spec, st) : NULL;
}

gal_t *gal_attend_relative_composite(gal_ctx *cx, gal_t *q, gal_t *qr, gal_t *k, gal_t *v, gal_t *r,
                                     const gal_attend_spec *spec, const gal_step *st) {
    return q && qr && k && v && r ? attend_by_heads(cx, q, qr, k, v, r, spec, st) : NULL;
}

/* ---- experts ----------------------------------------------------------------------------------------------------
 */

/* 0 where an expert is among the k largest of its row, else what makes its exponential vanish. */
static gal_t *chosen_mask(gal_ctx *cx, const gal_t *logits, int64_t used) {
    int64_t n = gal_rows(logits), experts = gal_cols(logits);
    size_t count = (size_t)(n * experts);
    double *x = gal_step_memory(cx, count * sizeof *x), *mask = gal_step_memory(cx, count * sizeof *mask);
    gal_t *out = gal_like(cx, logits);
    if (!gal_ok(cx)) return NULL;
    gal_convert(x, GAL_F64, logits->data, logits->dtype, n * experts);
    for (int64_t i = 0; i < n * experts; i++) {
        const double *row = x + i / experts * experts;
        int64_t ahead = 0, own = i % experts;
        for (int64_t e = 0; e < experts; e++) ahead += row[e] > row[own] || (e < own && row[e] >= row[own]);
        mask[i] = ahead < used ? 0 : -1e30;
    }
    gal_convert(out->data, out->dtype, mask, GAL_F64, n * experts);
    return out;
}

static gal_t *filled(gal_ctx *cx, gal_dtype dt, int64_t rows, int64_t cols, int64_t only) {
    double *x = gal_step_memory(cx, (size_t)(rows * cols) * sizeof *x);
    gal_t *t = gal_new2(cx, dt, rows, cols);
    if (!gal_ok(cx)) return NULL;
    for (int64_t i = 0; i < rows * cols; i++) x[i] = only < 0 || i == only;
    gal_convert(t->data, dt, x, GAL_F64, rows * cols);
    return t;
}

gal_t *gal_moe_composite(gal_ctx *cx, gal_t *x, const gal_moe_spec *m, gal_t *add) {
    gal_t *logits = gal_linear_f32(cx, x, m->router), *y = add;
    if (!logits || !add) return NULL;
    int64_t n = gal_rows(x), d = gal_cols(x);
    int32_t *lo = gal_step_memory(cx, (size_t)n * sizeof *lo), *hi = gal_step_memory(cx, (size_t)n * sizeof *hi);
    if (!gal_ok(cx)) return NULL;
    for (int64_t i = 0; i < n; i++) hi[i] = (int32_t)m->experts;
    gal_t *weight = gal_softmax(cx, gal_add(cx, logits, chosen_mask(cx, logits, m->used)), lo, hi, 1.0);
    for (int64_t e = 0; e < m->experts; e++) {
        gal_t *pick = filled(cx, x->dtype, m->experts, 1, e), *ones = filled(cx, x->dtype, 1, d, -1);
        gal_t *w = gal_matmul(cx, gal_matmul(cx, weight, pick, false), ones, false); /* [N, D] */
        gal_t *out = gal_linear(cx, gal_swiglu(cx, x, m->gate[e], m->up[e]), m->down[e]);
        y = gal_add(cx, y, gal_mul(cx, w, out));
    }
    return y;
}
