/* optim.c - the norm of the gradient, clipping, AdamW (arXiv:1711.05101). SPDX-License-Identifier: Apache-2.0 */
#include "kernels/ref/ref.h"

#include <math.h>

static int64_t squares_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_sum_squares *)args)->count, GAL_SUM_CHUNK);
}

static void squares_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_sum_squares *a = args;
    gal__range r = gal__ref_piece(a->count, GAL_SUM_CHUNK, chunk);
    double *x = scratch, sum = 0.0;
    gal__ref_load(x, a->x, a->dt, r.from, r.to - r.from);
    for (int64_t i = 0; i < r.to - r.from; i++) sum += x[i] * x[i];
    a->partial[chunk] = sum;
}

static int64_t one_chunk(const void *args) {
    (void)args;
    return 1;
}

static void clip_run(const void *args, int64_t chunk, void *scratch) {
    (void)chunk, (void)scratch;
    const gal_k_clip *a = args;
    double sum = 0.0;
    for (int64_t i = 0; i < a->n; i++) sum += a->partial[i];
    double norm = sqrt(sum), clip = (double)a->st->clip;
    a->st->grad_norm = (float)norm;
    a->st->grad_scale = clip > 0 && norm > clip ? (float)(clip / norm) : 1.0f;
}

static int64_t adamw_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_adamw *)args)->count, GAL_REF_ITEMS);
}

static void adamw_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_adamw *a = args;
    const gal_opt_step *st = a->st;
    double lr = (double)st->lr, beta1 = (double)st->beta1, beta2 = (double)st->beta2, eps = (double)st->eps;
    double keep = 1.0 - lr * (double)a->decay;
    gal__range r = gal__ref_piece(a->count, GAL_REF_ITEMS, chunk);
    for (int64_t i = r.from; i < r.to; i++) {
        double g = gal__ref_get(a->grad, a->dt, i) * (double)st->grad_scale;
        double m = beta1 * gal__ref_get(a->m, a->dt, i) + (1.0 - beta1) * g;
        double v = beta2 * gal__ref_get(a->v, a->dt, i) + (1.0 - beta2) * g * g;
        double step = m / (double)st->bias1 / (sqrt(v / (double)st->bias2) + eps);
        gal__ref_put(a->m, a->dt, i, m);
        gal__ref_put(a->v, a->dt, i, v);
        gal__ref_put(a->w, a->dt, i, gal__ref_get(a->w, a->dt, i) * keep - lr * step);
        /* From w as stored: what is computed with is a rounding of what is saved. */
        if (a->work) gal__ref_put(a->work, a->work_dt, i, gal__ref_get(a->w, a->dt, i));
    }
}

void gal__ref_fill_optim(gal_kernel_table *t) {
    t->k[GAL_K_SUM_SQUARES] = (gal_kernel){ squares_chunks, squares_run };
    t->k[GAL_K_CLIP] = (gal_kernel){ one_chunk, clip_run };
    t->k[GAL_K_ADAMW] = (gal_kernel){ adamw_chunks, adamw_run };
}
