/* loss.c - next-token cross-entropy without all logits at once.
 *
 * Rows are taken in chunks whose f32 logits fit GAL_XENT_BYTES. If all rows fit into one chunk its logits are kept
 * for the gradient, otherwise each chunk's are made again during the backward walk: one more product instead of N V
 * numbers. SPDX-License-Identifier: Apache-2.0 */
#include "ops/internal.h"

#include "base/arena.h"

typedef struct xent_saved {
    gal_t *x, *lse, *logits; /* logits: of all rows, or of the last chunk: then only room to make them again */
    const gal_w *head;
    const int32_t *target;
    int64_t chunk; /* rows a chunk */
} xent_saved;

static size_t row_bytes(const gal_t *t) { return (size_t)gal_cols(t) * gal_dtype_bytes(t->dtype); }

/* Row r and following of t, as a pointer. */
static void *at(const gal_t *t, int64_t r) {
    size_t row = t->ndim == 1 ? gal_dtype_bytes(t->dtype) : row_bytes(t);
    return (char *)t->data + (size_t)r * row;
}

static void logits_of(gal_ctx *cx, const gal_t *x, const gal_w *head, gal_t *logits, int64_t r0, int64_t rows) {
    int64_t d = head->dim[1], v = head->dim[0];
    gal_k_gemm g = { .count = 1,
                     .p = { { .m = rows,
                              .n = v,
                              .k = d,
                              .a = gal__mat(at(x, r0), x->dtype, d),
                              .b = gal__wmat_t(head),
                              .c = gal__mat(logits->data, logits->dtype, v),
                              .compute = x->dtype } } };
    gal__products(cx, &g);
}

/* The gradient of rows r0 .. r0+rows-1, whose logits are overwritten. */
static void chunk_grad(gal_ctx *cx, const xent_saved *s, gal_t *logits, const gal_t *dloss, gal_t *dx, bool has,
                       void *dw, int64_t r0, int64_t rows) {
    int64_t d = s->head->dim[1], v = s->head->dim[0];
    gal_dtype stat = logits->dtype;
    GAL_LAUNCH(cx, GAL_K_XENT_GRAD, gal_k_xent, .logits = logits->data, .lse = at(s->lse, r0), .dloss = at(dloss, r0),
               .dt = stat, .target = s->target + r0, .r = rows, .v = v);
    gal_k_gemm g = { 0 };
    if (dx)
        g.p[g.count++] = (gal_gemm){ .m = rows,
                                     .n = d,
                                     .k = v,
                                     .a = gal__mat(logits->data, stat, v),
                                     .b = gal__wmat(s->head),
                                     .c = gal__mat(at(dx, r0), dx->dtype, d),
                                     .compute = dx->dtype,
                                     .accumulate = has };
    if (dw)
        g.p[g.count++] = (gal_gemm){ .m = v,
                                     .n = d,
                                     .k = rows,
                                     .a = gal__mat_t(logits->data, stat, v),
                                     .b = gal__mat(at(s->x, r0), s->x->dtype, d),
                                     .c = gal__mat(dw, stat, d),
                                     .compute = s->x->dtype,
                                     .accumulate = true };
    gal__products(cx, &g);
}

static void xent_vjp(gal_ctx *cx, gal_t *loss, const void *saved) {
    const xent_saved *s = saved;
    int64_t n = gal_count(loss);
    bool has;
    gal_t *dx = gal_grad_of(cx, s->x, &has);
    void *dw = gal_wgrad_of(cx, s->head);
    gal_t *logits = s->logits;
    bool kept = s->chunk == n;
    for (int64_t r0 = 0; r0 < n && gal_ok(cx); r0 += s->chunk) {
        int64_t rows = GAL_MIN(s->chunk, n - r0);
        if (!kept) logits_of(cx, s->x, s->head, logits, r0, rows);
        chunk_grad(cx, s, logits, loss->grad, dx, has, dw, r0, rows);
    }
    logits->version++; /* overwritten: a second walk over this tape may not read them */
}

int64_t gal_cross_entropy_chunk(int64_t n, int64_t vocab, gal_dtype stat) {
    int64_t fit = GAL_XENT_BYTES / ((int64_t)gal_dtype_bytes(stat) * vocab);
    return GAL_MIN(n, GAL_MAX(fit, 1));
}

gal_t *gal_cross_entropy(gal_ctx *cx, gal_t *x, const gal_w *head, const gal_step *st) {
    if (!x) return NULL;
    GAL_SHAPES(gal_rows(x) == st->n && gal_cols(x) == head->dim[1], "cross_entropy", x, NULL);
    /* Rare, and then with all logits at once. */
    if (head->lora) return gal_cross_entropy_logits(cx, gal_linear_f32(cx, x, head), st);
    gal_dtype stat = gal_stat_dtype(x->dtype);
    int64_t n = st->n, v = head->dim[0], chunk = gal_cross_entropy_chunk(n, v, stat);
    gal_t *loss = gal_new(cx, stat, 1, &n), *lse = gal_new(cx, stat, 1, &n);
    gal_t *logits = gal_new2(cx, stat, chunk, v);
    if (!gal_ok(cx)) return NULL;
    for (int64_t r0 = 0; r0 < n; r0 += chunk) {
        int64_t rows = GAL_MIN(chunk, n - r0);
        logits_of(cx, x, head, logits, r0, rows);
        GAL_LAUNCH(cx, GAL_K_XENT, gal_k_xent, .logits = logits->data, .loss = at(loss, r0), .lse = at(lse, r0),
                   .dt = stat, .target = st->at.target + r0, .r = rows, .v = v);
    }
    bool keep = chunk == n;
    xent_saved s = { x, lse, logits, head, st->at.target, chunk };
    gal_tape_push(cx, xent_vjp, loss, &s, sizeof s, keep ? (gal_t *[]){ x, logits } : &x, keep ? 2 : 1);
    return loss;
}

static void xent_logits_vjp(gal_ctx *cx, gal_t *loss, const void *saved) {
    const xent_saved *s = saved;
    bool has;
    gal_t *d = gal_grad_of(cx, s->logits, &has);
    if (!d) return;
    GAL_ASSERT(!has); /* the kernel works in place on a copy of the logits */
    GAL_LAUNCH(cx, GAL_K_COPY, gal_k_map, .y = d->data, .a = s->logits->data, .dt = d->dtype, .adt = d->dtype,
               .count = gal_count(d));
    GAL_LAUNCH(cx, GAL_K_XENT_GRAD, gal_k_xent, .logits = d->data, .lse = s->lse->data, .dloss = loss->grad->data,
               .dt = d->dtype, .target = s->target, .r = gal_rows(d), .v = gal_cols(d));
}

gal_t *gal_cross_entropy_logits(gal_ctx *cx, gal_t *logits, const gal_step *st) {
    if (!logits) return NULL;
    int64_t n = gal_rows(logits);
    gal_t *loss = gal_new(cx, logits->dtype, 1, &n), *lse = gal_new(cx, logits->dtype, 1, &n);
    if (!gal_ok(cx)) return NULL;
    GAL_LAUNCH(cx, GAL_K_XENT, gal_k_xent, .logits = logits->data, .loss = loss->data, .lse = lse->data,
               .dt = logits->dtype, .target = st->at.target, .r = n, .v = gal_cols(logits));
    xent_saved s = { .lse = lse, .logits = logits, .target = st->at.target };
    gal_tape_push(cx, xent_logits_vjp, loss, &s, sizeof s, &logits, 1);
    return loss;
}

typedef struct wsum_saved {
    gal_t *x;
    const float *weight;
} wsum_saved;

static void wsum_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const wsum_saved *s = saved;
    bool has;
    gal_t *d = gal_grad_of(cx, s->x, &has);
    if (d)
        GAL_LAUNCH(cx, GAL_K_WSUM_GRAD, gal_k_wsum, .y = d->data, .dy = y->grad->data, .weight = s->weight,
                   .dt = d->dtype, .n = gal_count(d), .accumulate = has);
}

gal_t *gal_weighted_sum(gal_ctx *cx, gal_t *loss, const gal_step *st) {
    if (!loss) return NULL;
    GAL_SHAPES(gal_count(loss) == st->n, "weighted_sum", loss, NULL);
    gal_t *y = gal_new(cx, loss->dtype, 0, NULL);
    if (!y) return NULL;
    GAL_LAUNCH(cx, GAL_K_WSUM, gal_k_wsum, .y = y->data, .x = loss->data, .weight = st->at.weight, .dt = loss->dtype,
               .n = st->n);
    gal_tape_push(cx, wsum_vjp, y, &(wsum_saved){ loss, st->at.weight }, sizeof(wsum_saved), NULL, 0);
    return y;
}
