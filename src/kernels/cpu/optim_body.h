/* optim_body.h - the updates of the optimisers, their sums and moving averages, over the vector of vec_*.h. Included
 * by rows_*.c. Each update is written for a constant type of the weight and inlined twice. SPDX-License-Identifier:
 * Apache-2.0 */
#ifndef GAL_KERNELS_CPU_OPTIM_BODY_H
#define GAL_KERNELS_CPU_OPTIM_BODY_H

#include "base/rng.h"

#include <math.h>

enum { OPTIM_ROWS = 16, OPTIM_COLS = 64 }; /* rows, or columns, of a chunk */

static int64_t squares_chunks(const void *args) {
    return v_ceil_div(((const gal_k_sum_squares *)args)->count, GAL_SUM_CHUNK);
}
VINLINE double squares_body(const gal_k_sum_squares *a, int64_t chunk, const gal_dtype dt) {
    int64_t i = chunk * GAL_SUM_CHUNK, to = GAL_MIN(a->count, i + GAL_SUM_CHUNK);
    DV s = dv_zero();
    for (; i < to; i += VL) dv_add_squares(&s, v_get(a->x, dt, i, v_left(to, i)));
    return dv_sum(s);
}
static void squares_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_sum_squares *a = args;
    if (a->dt == GAL_F32) {
        a->partial[chunk] = squares_body(a, chunk, GAL_F32);
    } else if (a->dt == GAL_BF16) {
        a->partial[chunk] = squares_body(a, chunk, GAL_BF16);
    } else {
        v_ref_run(GAL_K_SUM_SQUARES, args, chunk, scratch);
    }
}

/* ---- what updates share ------------------------------------------------------------------------------------------
 */

/* Elements [from, to) of a chunk whose movement is summed together. */
typedef struct optim_part {
    const gal_k_update *u;
    int64_t from, to;
    V scale, keep, decay;
    DV moved;
    float held[GAL_MOVED_CHUNK]; /* weights before they are rounded by chance */
} optim_part;

static bool update_ours(const gal_k_update *u) {
    return u->dt == GAL_F32 && v_act(u->wdt) && (!u->work || v_float(u->work_dt));
}
static int64_t update_chunks(gal_kernel_id id, const gal_k_update *u) {
    return update_ours(u) ? map_pieces(u->count) : v_ref_chunks(id, u);
}

VINLINE void optim_begin(optim_part *p, const gal_k_update *u, int64_t from, int64_t to) {
    const gal_opt_step *st = u->st;
    p->u = u;
    p->from = from;
    p->to = GAL_MIN(to, from + GAL_MOVED_CHUNK);
    p->scale = v_set1(st->grad_scale);
    p->keep = v_set1(u->coupled ? 1.0F : (float)(1.0 - (double)st->lr * (double)u->decay));
    p->decay = v_set1(u->decay);
    p->moved = dv_zero();
}
VINLINE V optim_grad(const optim_part *p, int64_t i, int64_t n, V w) {
    V g = v_mul(v_get(p->u->grad, GAL_F32, i, n), p->scale);
    return p->u->coupled ? v_fma(p->decay, w, g) : g;
}
/* step: times lr. */
VINLINE void optim_put(optim_part *p, int64_t i, int64_t n, V old, V step, const gal_dtype wdt) {
    const gal_k_update *u = p->u;
    V w = v_sub(v_mul(old, p->keep), step);
    if (wdt == GAL_BF16 && u->chance) {
        v_put(p->held, GAL_F32, i - p->from, n, w);
        return;
    }
    v_put(u->w, wdt, i, n, w);
    if (u->work) v_put(u->work, u->work_dt, i, n, w);
    if (u->moved) dv_add_squares(&p->moved, v_sub(v_get(u->w, wdt, i, n), old));
}
enum { OPTIM_CALLS = 32, OPTIM_CHANCES = 8 * OPTIM_CALLS }; /* of Philox at a time, and what they give */

/* The chances of OPTIM_CHANCES numbers from number i on, as gal_philox() makes them: a loop over counters around all
 * rounds, which compilers turn into vectors. */
static void optim_chances(uint16_t *restrict chance, const gal_k_update *u, int64_t i) {
    enum { ROUNDS = 10 };
    const uint64_t stream = gal_chance_stream(u->st->t, u->index), first = (uint64_t)(i / 8);
    const uint32_t s0 = (uint32_t)stream, s1 = (uint32_t)(stream >> 32);
    uint32_t key0[ROUNDS], key1[ROUNDS], word[4 * OPTIM_CALLS];
    for (uint32_t r = 0; r < ROUNDS; r++) {
        key0[r] = (uint32_t)u->st->seed + r * 0x9E3779B9u;
        key1[r] = (uint32_t)(u->st->seed >> 32) + r * 0xBB67AE85u;
    }
    /* The counter's upper half is the same for all: OPTIM_CALLS divides first. */
    const uint32_t low = (uint32_t)first, high = (uint32_t)(first >> 32);
    for (uint32_t k = 0; k < OPTIM_CALLS; k++) {
        uint32_t c0 = low + k, c1 = high, c2 = s0, c3 = s1;
#pragma GCC unroll 10
        for (int r = 0; r < ROUNDS; r++) {
            const uint64_t p0 = 0xD2511F53u * (uint64_t)c0, p1 = 0xCD9E8D57u * (uint64_t)c2;
            c0 = (uint32_t)(p1 >> 32) ^ c1 ^ key0[r];
            c2 = (uint32_t)(p0 >> 32) ^ c3 ^ key1[r];
            c1 = (uint32_t)p1;
            c3 = (uint32_t)p0;
        }
        word[4 * k] = c0;
        word[4 * k + 1] = c1;
        word[4 * k + 2] = c2;
        word[4 * k + 3] = c3;
    }
    for (int k = 0; k < 4 * OPTIM_CALLS; k++) {
        chance[2 * k] = (uint16_t)word[k];
        chance[2 * k + 1] = (uint16_t)(word[k] >> 16);
    }
}
/* Rounds what is held; returns the sum of squares of what changed. */
static double optim_round(const optim_part *p) {
    const gal_k_update *u = p->u;
    double moved = 0.0;
    uint16_t chance[OPTIM_CHANCES], y[OPTIM_CHANCES];
    for (int64_t i = p->from; i < p->to; i += OPTIM_CHANCES) {
        const int64_t n = GAL_MIN(p->to - i, (int64_t)OPTIM_CHANCES);
        const float *x = p->held + (i - p->from);
        uint16_t *w = (uint16_t *)u->w + i;
        uint32_t most = 0, bits[OPTIM_CHANCES];
        optim_chances(chance, u, i);
        memcpy(bits, x, (size_t)n * sizeof *bits);
        for (int64_t k = 0; k < n; k++) {
            most = GAL_MAX(most, bits[k] & 0x7f800000u);
            y[k] = (uint16_t)((bits[k] + chance[k]) >> 16);
        }
        if (most == 0x7f800000u) /* not all of them finite */
            for (int64_t k = 0; k < n; k++) y[k] = gal_f32_to_bf16_by(x[k], chance[k]);
        for (int64_t k = 0; u->moved && k < n; k++) {
            const double d = (double)gal_bf16_to_f32(y[k]) - (double)gal_bf16_to_f32(w[k]);
            moved += d * d;
        }
        memcpy(w, y, (size_t)n * sizeof *w);
    }
    return moved;
}
VINLINE void optim_end(const optim_part *p, const gal_dtype wdt) {
    const gal_k_update *u = p->u;
    double moved = wdt == GAL_BF16 && u->chance ? optim_round(p) : dv_sum(p->moved);
    if (u->moved) u->moved[p->from / GAL_MOVED_CHUNK] = moved;
}

/* Runs body(args, part, wdt) for the parts of a chunk with wdt a constant, or ref. */
#define OPTIM_BY_TYPE(id, u, a, body)                                                                                \
    do {                                                                                                             \
        if (!update_ours(u)) {                                                                                       \
            v_ref_run(id, args, chunk, scratch);                                                                     \
            break;                                                                                                   \
        }                                                                                                            \
        map_span span = map_part((u)->count, chunk);                                                                 \
        for (int64_t from = span.from; from < span.to; from += GAL_MOVED_CHUNK) {                                    \
            optim_part p;                                                                                            \
            optim_begin(&p, u, from, span.to);                                                                       \
            if ((u)->wdt == GAL_F32) {                                                                               \
                body(a, &p, GAL_F32);                                                                                \
            } else {                                                                                                 \
                body(a, &p, GAL_BF16);                                                                               \
            }                                                                                                        \
        }                                                                                                            \
    } while (0)

/* ---- AdamW, SGD --------------------------------------------------------------------------------------------------
 */

VINLINE void adamw_body(const gal_k_update *a, optim_part *p, const gal_dtype wdt) {
    const gal_opt_step *st = a->st;
    V b1 = v_set1(st->beta1), c1 = v_set1((float)(1.0 - (double)st->beta1));
    V b2 = v_set1(st->beta2), c2 = v_set1((float)(1.0 - (double)st->beta2)), eps = v_set1(st->eps);
    V lr = v_set1((float)((double)st->lr / (double)st->bias1)), root = v_set1((float)(1.0 / (double)st->bias2));
    for (int64_t i = p->from; i < p->to; i += VL) {
        int64_t n = v_left(p->to, i);
        V w = v_get(a->w, wdt, i, n), g = optim_grad(p, i, n, w);
        V m = v_fma(b1, v_get(a->m, GAL_F32, i, n), v_mul(c1, g));
        V v = v_fma(b2, v_get(a->v, GAL_F32, i, n), v_mul(c2, v_mul(g, g)));
        v_put(a->m, GAL_F32, i, n, m);
        v_put(a->v, GAL_F32, i, n, v);
        optim_put(p, i, n, w, v_div(v_mul(lr, m), v_add(v_sqrt(v_mul(v, root)), eps)), wdt);
    }
    optim_end(p, wdt);
}
static int64_t adamw_chunks(const void *args) { return update_chunks(GAL_K_ADAMW, args); }
static void adamw_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_update *a = args;
    OPTIM_BY_TYPE(GAL_K_ADAMW, a, a, adamw_body);
}

VINLINE void sgd_body(const gal_k_update *a, optim_part *p, const gal_dtype wdt) {
    V momentum = v_set1(a->st->momentum), lr = v_set1(a->st->lr);
    for (int64_t i = p->from; i < p->to; i += VL) {
        int64_t n = v_left(p->to, i);
        V w = v_get(a->w, wdt, i, n), g = optim_grad(p, i, n, w), step = g;
        if (a->m) {
            V m = v_fma(momentum, v_get(a->m, GAL_F32, i, n), g);
            v_put(a->m, GAL_F32, i, n, m);
            step = a->nesterov ? v_fma(momentum, m, g) : m;
        }
        optim_put(p, i, n, w, v_mul(lr, step), wdt);
    }
    optim_end(p, wdt);
}
static int64_t sgd_chunks(const void *args) { return update_chunks(GAL_K_SGD, args); }
static void sgd_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_update *a = args;
    OPTIM_BY_TYPE(GAL_K_SGD, a, a, sgd_body);
}

/* ---- Adafactor ---------------------------------------------------------------------------------------------------
 */

static void factor_put(const gal_k_factor *a, float *f, float *fi, int64_t i, double sum, int64_t n) {
    double beta2 = (double)a->u.st->beta2, scale = (double)a->u.st->grad_scale;
    double mean = sum * scale * scale / (double)n + GAL_FACTOR_LEAST;
    f[i] = (float)(beta2 * (double)f[i] + (1.0 - beta2) * mean);
    fi[i] = (float)(1.0 / sqrt((double)f[i]));
}

static int64_t factor_rows_chunks(const void *args) {
    return v_ceil_div(((const gal_k_factor *)args)->rows, OPTIM_ROWS);
}
static void factor_rows_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_factor *a = args;
    const float *grad = a->u.grad;
    for (int64_t i = chunk * OPTIM_ROWS; i < GAL_MIN(a->rows, (chunk + 1) * OPTIM_ROWS); i++) {
        DV s = dv_zero();
        for (int64_t j = 0; j < a->cols; j += VL)
            dv_add_squares(&s, v_get(grad + i * a->cols, GAL_F32, j, v_left(a->cols, j)));
        factor_put(a, a->r, a->ri, i, dv_sum(s), a->cols);
    }
}

static int64_t factor_cols_chunks(const void *args) {
    return v_ceil_div(((const gal_k_factor *)args)->cols, OPTIM_COLS);
}
static void factor_cols_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_factor *a = args;
    const int64_t from = chunk * OPTIM_COLS, n = GAL_MIN(a->cols - from, (int64_t)OPTIM_COLS);
    double sum[OPTIM_COLS] = { 0 };
    for (int64_t i = 0; i < a->rows; i++) {
        const float *g = (const float *)a->u.grad + i * a->cols + from;
        for (int64_t j = 0; j < n; j++) sum[j] += (double)g[j] * (double)g[j];
    }
    for (int64_t j = 0; j < n; j++) factor_put(a, a->c, a->ci, from + j, sum[j], a->rows);
}

/* Runs `line` over the elements of [from, to) row by row: i the first of up to VL elements, n how many, j its column,
 * ri the factor of its row. */
#define FACTOR_EACH(a, from, to, line)                                                                               \
    for (int64_t at = (from), row = (from) / (a)->cols; at < (to); row++) {                                          \
        const int64_t end = GAL_MIN((row + 1) * (a)->cols, (int64_t)(to));                                           \
        const V ri = v_set1((a)->ri[row]);                                                                           \
        for (int64_t i = at; i < end; i += VL) {                                                                     \
            const int64_t n = v_left(end, i), j = i - row * (a)->cols;                                               \
            line                                                                                                     \
        }                                                                                                            \
        at = end;                                                                                                    \
    }

static int64_t factor_squares_chunks(const void *args) {
    return v_ceil_div(((const gal_k_factor *)args)->u.count, GAL_SUM_CHUNK);
}
static void factor_squares_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_factor *a = args;
    const int64_t from = chunk * GAL_SUM_CHUNK, to = GAL_MIN(a->u.count, from + GAL_SUM_CHUNK);
    DV s = dv_zero();
    FACTOR_EACH(a, from, to, {
        V g = v_mul(v_get(a->u.grad, GAL_F32, i, n), ri);
        dv_add_squares(&s, v_mul(g, v_get(a->ci, GAL_F32, j, n)));
    })
    a->partial[chunk] = dv_sum(s);
}

VINLINE void factor_update_body(const gal_k_factor *a, optim_part *p, const gal_dtype wdt) {
    const gal_opt_step *st = a->u.st;
    V lr = v_set1((float)((double)st->lr * a->number[1]));
    V size = v_set1((float)((double)st->grad_scale * a->number[0]));
    V momentum = v_set1(st->momentum), fresh = v_set1((float)(1.0 - (double)st->momentum));
    FACTOR_EACH(a, p->from, p->to, {
        V g = v_mul(v_mul(v_get(a->u.grad, GAL_F32, i, n), ri), v_get(a->ci, GAL_F32, j, n));
        V step = v_mul(g, size);
        if (a->u.m) {
            step = v_fma(momentum, v_get(a->u.m, GAL_F32, i, n), v_mul(fresh, step));
            v_put(a->u.m, GAL_F32, i, n, step);
        }
        optim_put(p, i, n, v_get(a->u.w, wdt, i, n), v_mul(lr, step), wdt);
    })
    optim_end(p, wdt);
}
static int64_t factor_update_chunks(const void *args) {
    return update_chunks(GAL_K_FACTOR_UPDATE, &((const gal_k_factor *)args)->u);
}
static void factor_update_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_factor *a = args;
    OPTIM_BY_TYPE(GAL_K_FACTOR_UPDATE, &a->u, a, factor_update_body);
}

/* ---- moving averages ---------------------------------------------------------------------------------------------
 */

static int64_t ema_chunks(const void *args) {
    const gal_k_ema *a = args;
    return v_float(a->wdt) ? map_pieces(a->count) : v_ref_chunks(GAL_K_EMA, args);
}
static void ema_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_ema *a = args;
    if (!v_float(a->wdt)) {
        v_ref_run(GAL_K_EMA, args, chunk, scratch);
        return;
    }
    map_span s = map_part(a->count, chunk);
    V fresh = v_set1((float)(1.0 - a->decay));
    for (int64_t i = s.from; i < s.to; i += VL) {
        int64_t n = v_left(s.to, i);
        V old = v_get(a->ema, GAL_F32, i, n);
        v_put(a->ema, GAL_F32, i, n, v_fma(fresh, v_sub(v_get(a->w, a->wdt, i, n), old), old));
    }
}

static void optim_fill(gal_kernel_table *t) {
    t->k[GAL_K_SUM_SQUARES] = (gal_kernel){ squares_chunks, squares_run };
    t->k[GAL_K_ADAMW] = (gal_kernel){ adamw_chunks, adamw_run };
    t->k[GAL_K_SGD] = (gal_kernel){ sgd_chunks, sgd_run };
    t->k[GAL_K_FACTOR_ROWS] = (gal_kernel){ factor_rows_chunks, factor_rows_run };
    t->k[GAL_K_FACTOR_COLS] = (gal_kernel){ factor_cols_chunks, factor_cols_run };
    t->k[GAL_K_FACTOR_SQUARES] = (gal_kernel){ factor_squares_chunks, factor_squares_run };
    t->k[GAL_K_FACTOR_UPDATE] = (gal_kernel){ factor_update_chunks, factor_update_run };
    t->k[GAL_K_EMA] = (gal_kernel){ ema_chunks, ema_run };
}

#endif
