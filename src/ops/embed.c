/* embed.c - rows looked up by token, and rows picked out of a batch. SPDX-License-Identifier: Apache-2.0 */
#include "ops/internal.h"

typedef struct embed_saved {
    const gal_w *w;
    const int32_t *ids;
} embed_saved;

static void embed_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const embed_saved *s = saved;
    void *dw = gal_wgrad_of(cx, s->w);
    if (!dw) return;
    GAL_LAUNCH(cx, GAL_K_EMBED_GRAD, gal_k_embed_grad, .dtable = dw, .dy = y->grad->data, .dt = y->dtype,
               .ids = s->ids, .n = gal_rows(y), .d = gal_cols(y));
}

gal_t *gal_embed(gal_ctx *cx, const gal_w *w, const gal_step *st) {
    gal_t *y = gal_new2(cx, gal_ctx_compute(cx), st->n, w->dim[1]);
    if (!y) return NULL;
    GAL_LAUNCH(cx, GAL_K_EMBED, gal_k_embed, .y = y->data, .dt = y->dtype, .table = w->data, .wdt = w->dtype,
               .code = &w->code, .ids = st->at.ids, .n = st->n, .d = w->dim[1]);
    gal_tape_push(cx, embed_vjp, y, &(embed_saved){ w, st->at.ids }, sizeof(embed_saved), NULL, 0);
    return y;
}

typedef struct rows_saved {
    gal_t *x;
    const int32_t *rows;
} rows_saved;

static void out_rows_vjp(gal_ctx *cx, gal_t *y, const void *saved) {
    const rows_saved *s = saved;
    bool has;
    gal_t *dx = gal_grad_of(cx, s->x, &has);
    if (!dx) return;
    if (!has) GAL_LAUNCH(cx, GAL_K_FILL, gal_k_map, .y = dx->data, .dt = dx->dtype, .count = gal_count(dx));
    GAL_LAUNCH(cx, GAL_K_GATHER_ROWS, gal_k_gather_rows, .y = dx->data, .x = y->grad->data, .dt = y->dtype,
               .rows = s->rows, .n = gal_rows(y), .d = gal_cols(y), .scatter = true);
}

gal_t *gal_out_rows(gal_ctx *cx, gal_t *x, const gal_step *st) {
    if (!x || st->n_out == 0) return x;
    gal_t *y = gal_new2(cx, x->dtype, st->n_out, gal_cols(x));
    if (!y) return NULL;
    GAL_LAUNCH(cx, GAL_K_GATHER_ROWS, gal_k_gather_rows, .y = y->data, .x = x->data, .dt = x->dtype,
               .rows = st->at.out_rows, .n = st->n_out, .d = gal_cols(x));
    gal_tape_push(cx, out_rows_vjp, y, &(rows_saved){ x, st->at.out_rows }, sizeof(rows_saved), NULL, 0);
    return y;
}
