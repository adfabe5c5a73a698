/* norm.c - RMSNorm (arXiv:1910.07467) and LayerNorm (arXiv:1607.06450). SPDX-License-Identifier: Apache-2.0 */
#include "ops/internal.h"

typedef struct norm_saved {
    gal_t *x, *inv;
    const gal_w *w;
} norm_saved;

static void rms_norm_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const norm_saved *s = saved;
    int64_t n = gal_rows(y), d = gal_cols(y);
    bool has;
    gal_t *dx = gal_grad_of(cx, s->x, &has);
    if (dx)
        GAL_LAUNCH(cx, GAL_K_RMS_NORM_DX, gal_k_rms_norm_dx, .dx = dx->data, .dy = y->grad->data, .x = s->x->data,
                   .w = s->w->data, .inv = s->inv->data, .dt = y->dtype, .wdt = s->w->dtype, .n = n, .d = d,
                   .accumulate = has);
    void *dw = gal_wgrad_of(cx, s->w);
    if (dw)
        GAL_LAUNCH(cx, GAL_K_RMS_NORM_DW, gal_k_rms_norm_dw, .dw = dw, .dy = y->grad->data, .x = s->x->data,
                   .inv = s->inv->data, .dt = y->dtype, .n = n, .d = d);
}

gal_t *gal_rms_norm(gal_ctx *cx, gal_t *x, const gal_w *w, double eps) {
    if (!x) return NULL;
    GAL_SHAPES(gal_cols(x) == gal_wcount(w), "rms_norm", x, NULL);
    gal_t *y = gal_like(cx, x);
    gal_t *inv = gal_taping(cx) ? gal_new(cx, gal_stat_dtype(x->dtype), 1, (int64_t[]){ gal_rows(x) }) : NULL;
    if (!gal_ok(cx)) return NULL;
    GAL_LAUNCH(cx, GAL_K_RMS_NORM, gal_k_rms_norm, .y = y->data, .inv = inv ? inv->data : NULL, .x = x->data,
               .w = w->data, .dt = x->dtype, .wdt = w->dtype, .n = gal_rows(x), .d = gal_cols(x), .eps = eps);
    gal_tape_push(cx, rms_norm_vjp, y, &(norm_saved){ x, inv, w }, sizeof(norm_saved), &x, 1);
    return y;
}

typedef struct layer_norm_saved {
    gal_t *x, *mean, *inv;
    const gal_w *w, *b;
} layer_norm_saved;

static void layer_norm_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const layer_norm_saved *s = saved;
    int64_t n = gal_rows(y), d = gal_cols(y);
    bool has;
    gal_t *dx = gal_grad_of(cx, s->x, &has);
    if (dx)
        GAL_LAUNCH(cx, GAL_K_LAYER_NORM_DX, gal_k_layer_norm_dx, .dx = dx->data, .dy = y->grad->data, .x = s->x->data,
                   .w = s->w->data, .mean = s->mean->data, .inv = s->inv->data, .dt = y->dtype, .wdt = s->w->dtype,
                   .n = n, .d = d, .accumulate = has);
    void *dw = gal_wgrad_of(cx, s->w);
    if (dw)
        GAL_LAUNCH(cx, GAL_K_LAYER_NORM_DW, gal_k_layer_norm_dw, .dw = dw, .dy = y->grad->data, .x = s->x->data,
                   .mean = s->mean->data, .inv = s->inv->data, .dt = y->dtype, .n = n, .d = d);
    gal__row_grad(cx, s->b, y->grad);
}

gal_t *gal_layer_norm(gal_ctx *cx, gal_t *x, const gal_w *w, const gal_w *b, double eps) {
    if (!x) return NULL;
    GAL_SHAPES(gal_cols(x) == gal_wcount(w) && gal_wcount(b) == gal_wcount(w) && w->dtype == b->dtype, "layer_norm",
               x, NULL);
    gal_t *y = gal_like(cx, x);
    gal_dtype stat = gal_stat_dtype(x->dtype);
    gal_t *mean = gal_taping(cx) ? gal_new(cx, stat, 1, (int64_t[]){ gal_rows(x) }) : NULL;
    gal_t *inv = gal_taping(cx) ? gal_like(cx, mean) : NULL;
    if (!gal_ok(cx)) return NULL;
    GAL_LAUNCH(cx, GAL_K_LAYER_NORM, gal_k_layer_norm, .y = y->data, .mean = mean ? mean->data : NULL,
               .inv = inv ? inv->data : NULL, .x = x->data, .w = w->data, .b = b->data, .dt = x->dtype,
               .wdt = w->dtype, .n = gal_rows(x), .d = gal_cols(x), .eps = eps);
    gal_tape_push(cx, layer_norm_vjp, y, &(layer_norm_saved){ x, mean, inv, w, b }, sizeof(layer_norm_saved), &x, 1);
    return y;
}
