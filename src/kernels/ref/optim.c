/* optim.c - the norm of the gradient, clipping, the updates of the optimisers, moving averages.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
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

/* ---- what updates share ------------------------------------------------------------------------------------------
 */

/* Elements [from, to) of a part whose movement is summed together. */
typedef struct part {
    const gal_k_update *u;
    int64_t from, to;
    double lr, keep, moved;
    uint32_t word[4]; /* of eight elements */
} part;

static part part_begin(const gal_k_update *u, int64_t from, int64_t to, double lr_factor) {
    double lr = (double)u->st->lr;
    return (part){ .u = u,
                   .from = from,
                   .to = GAL_MIN(to, from + GAL_MOVED_CHUNK),
                   .lr = lr * lr_factor,
                   .keep = u->coupled ? 1.0 : 1.0 - lr * (double)u->decay };
}

static double grad_of(const part *p, int64_t i) {
    const gal_k_update *u = p->u;
    double g = gal__ref_get(u->grad, u->dt, i) * (double)u->st->grad_scale;
    return u->coupled ? g + (double)u->decay * gal__ref_get(u->w, u->wdt, i) : g;
}

static void put_weight(part *p, int64_t i, double step) {
    const gal_k_update *u = p->u;
    double old = gal__ref_get(u->w, u->wdt, i), w = old * p->keep - p->lr * step;
    if (u->chance && u->wdt == GAL_BF16) {
        if (i == p->from || i % 8 == 0)
            gal_philox(p->word, u->st->seed, gal_chance_stream(u->st->t, u->index), (uint64_t)(i / 8));
        ((uint16_t *)u->w)[i] = gal_f32_to_bf16_by((float)w,
                                                   (uint16_t)(p->word[i % 8 / 2] >> (i % 2 * 16) & 0xffffu));
    } else {
        gal__ref_put(u->w, u->wdt, i, w);
    }
    /* From w as stored: what is computed with is a rounding of what is saved. */
    w = gal__ref_get(u->w, u->wdt, i);
    if (u->work) gal__ref_put(u->work, u->work_dt, i, w);
    p->moved += (w - old) * (w - old);
}

static void part_end(const part *p) {
    if (p->u->moved) p->u->moved[p->from / GAL_MOVED_CHUNK] = p->moved;
}

static int64_t update_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_update *)args)->count, GAL_REF_ITEMS);
}

static void adamw_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_update *a = args;
    const gal_opt_step *st = a->st;
    double beta1 = (double)st->beta1, beta2 = (double)st->beta2, eps = (double)st->eps;
    gal__range r = gal__ref_piece(a->count, GAL_REF_ITEMS, chunk);
    for (int64_t from = r.from; from < r.to; from += GAL_MOVED_CHUNK) {
        part p = part_begin(a, from, r.to, 1.0);
        for (int64_t i = p.from; i < p.to; i++) {
            double g = grad_of(&p, i);
            double m = beta1 * gal__ref_get(a->m, a->dt, i) + (1.0 - beta1) * g;
            double v = beta2 * gal__ref_get(a->v, a->dt, i) + (1.0 - beta2) * g * g;
            gal__ref_put(a->m, a->dt, i, m);
            gal__ref_put(a->v, a->dt, i, v);
            put_weight(&p, i, m / (double)st->bias1 / (sqrt(v / (double)st->bias2) + eps));
        }
        part_end(&p);
    }
}

static void sgd_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_update *a = args;
    double momentum = (double)a->st->momentum;
    gal__range r = gal__ref_piece(a->count, GAL_REF_ITEMS, chunk);
    for (int64_t from = r.from; from < r.to; from += GAL_MOVED_CHUNK) {
        part p = part_begin(a, from, r.to, 1.0);
        for (int64_t i = p.from; i < p.to; i++) {
            double g = grad_of(&p, i), m = g;
            if (a->m) {
                m = momentum * gal__ref_get(a->m, a->dt, i) + g;
                gal__ref_put(a->m, a->dt, i, m);
            }
            put_weight(&p, i, a->m && a->nesterov ? g + momentum * m : m);
        }
        part_end(&p);
    }
}

/* ---- Adafactor ---------------------------------------------------------------------------------------------------
 */

static double grad_at(const gal_k_factor *a, int64_t i) {
    return (double)((const float *)a->u.grad)[i] * (double)a->u.st->grad_scale;
}

static void put_factor(const gal_k_factor *a, float *f, float *fi, int64_t i, double mean) {
    double beta2 = (double)a->u.st->beta2;
    f[i] = (float)(beta2 * (double)f[i] + (1.0 - beta2) * (mean + GAL_FACTOR_LEAST));
    fi[i] = (float)(1.0 / sqrt((double)f[i]));
}

static int64_t factor_rows_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_factor *)args)->rows, GAL_REF_ROWS);
}

static void factor_rows_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_factor *a = args;
    gal__range r = gal__ref_piece(a->rows, GAL_REF_ROWS, chunk);
    for (int64_t i = r.from; i < r.to; i++) {
        double sum = 0.0;
        for (int64_t j = 0; j < a->cols; j++) sum += grad_at(a, i * a->cols + j) * grad_at(a, i * a->cols + j);
        put_factor(a, a->r, a->ri, i, sum / (double)a->cols);
    }
}

static int64_t factor_cols_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_factor *)args)->cols, GAL_REF_COLS);
}

static void factor_cols_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_factor *a = args;
    gal__range r = gal__ref_piece(a->cols, GAL_REF_COLS, chunk);
    double sum[GAL_REF_COLS] = { 0 };
    for (int64_t i = 0; i < a->rows; i++)
        for (int64_t j = r.from; j < r.to; j++)
            sum[j - r.from] += grad_at(a, i * a->cols + j) * grad_at(a, i * a->cols + j);
    for (int64_t j = r.from; j < r.to; j++) put_factor(a, a->c, a->ci, j, sum[j - r.from] / (double)a->rows);
}

static int64_t factor_squares_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_factor *)args)->u.count, GAL_SUM_CHUNK);
}

static void factor_squares_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_factor *a = args;
    gal__range r = gal__ref_piece(a->u.count, GAL_SUM_CHUNK, chunk);
    double sum = 0.0;
    for (int64_t i = r.from; i < r.to; i++) {
        double u = (double)((const float *)a->u.grad)[i] * (double)a->ri[i / a->cols] * (double)a->ci[i % a->cols];
        sum += u * u;
    }
    a->partial[chunk] = sum;
}

static void factor_scale_run(const void *args, int64_t chunk, void *scratch) {
    (void)chunk, (void)scratch;
    const gal_k_factor *a = args;
    double mean = 0.0, u = 0.0, w = 0.0, count = (double)a->u.count, scale = (double)a->u.st->grad_scale;
    int64_t parts = gal__ref_pieces(a->u.count, GAL_SUM_CHUNK);
    for (int64_t i = 0; i < a->rows; i++) mean += (double)a->r[i] / (double)a->rows;
    for (int64_t i = 0; i < parts; i++) {
        u += a->partial[i];
        w += a->wpartial ? a->wpartial[i] : 0.0;
    }
    double rms = scale * sqrt(mean * u / count), rms_w = sqrt(w / count);
    a->number[0] = sqrt(mean) / (rms > 1.0 ? rms : 1.0);
    a->number[1] = !a->wpartial ? 1.0 : rms_w > GAL_FACTOR_LEAST_RMS ? rms_w : GAL_FACTOR_LEAST_RMS;
}

static void factor_update_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_factor *a = args;
    const gal_k_update *u = &a->u;
    double momentum = (double)u->st->momentum;
    float *m = u->m;
    gal__range r = gal__ref_piece(u->count, GAL_REF_ITEMS, chunk);
    for (int64_t from = r.from; from < r.to; from += GAL_MOVED_CHUNK) {
        part p = part_begin(u, from, r.to, a->number[1]);
        for (int64_t i = p.from; i < p.to; i++) {
            double step = grad_at(a, i) * (double)a->ri[i / a->cols] * (double)a->ci[i % a->cols] * a->number[0];
            if (m) {
                step = momentum * (double)m[i] + (1.0 - momentum) * step;
                m[i] = (float)step;
            }
            put_weight(&p, i, step);
        }
        part_end(&p);
    }
}

/* ---- moving averages ---------------------------------------------------------------------------------------------
 */

static int64_t ema_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_ema *)args)->count, GAL_REF_ITEMS);
}

static void ema_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_ema *a = args;
    gal__range r = gal__ref_piece(a->count, GAL_REF_ITEMS, chunk);
    for (int64_t i = r.from; i < r.to; i++) {
        double old = (double)a->ema[i];
        a->ema[i] = (float)(old + (1.0 - a->decay) * (gal__ref_get(a->w, a->wdt, i) - old));
    }
}

void gal__ref_fill_optim(gal_kernel_table *t) {
    t->k[GAL_K_SUM_SQUARES] = (gal_kernel){ squares_chunks, squares_run };
    t->k[GAL_K_CLIP] = (gal_kernel){ one_chunk, clip_run };
    t->k[GAL_K_ADAMW] = (gal_kernel){ update_chunks, adamw_run };
    t->k[GAL_K_SGD] = (gal_kernel){ update_chunks, sgd_run };
    t->k[GAL_K_FACTOR_ROWS] = (gal_kernel){ factor_rows_chunks, factor_rows_run };
    t->k[GAL_K_FACTOR_COLS] = (gal_kernel){ factor_cols_chunks, factor_cols_run };
    t->k[GAL_K_FACTOR_SQUARES] = (gal_kernel){ factor_squares_chunks, factor_squares_run };
    t->k[GAL_K_FACTOR_SCALE] = (gal_kernel){ one_chunk, factor_scale_run };
    t->k[GAL_K_FACTOR_UPDATE] = (gal_kernel){ update_chunks, factor_update_run };
    t->k[GAL_K_EMA] = (gal_kernel){ ema_chunks, ema_run };
}
