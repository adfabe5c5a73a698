/* rows_cases.c - embedding, gathering, cache store, normalisation, rotary positions. SPDX-License-Identifier:
 * Apache-2.0 */
#include "kernels/kernel_test.h"

#include <math.h>

#include <string.h>

enum { VOCABULARY = 37 };

static int32_t *some_ids(kt *t, int64_t n, int64_t below) {
    int32_t *ids = kt_ints(t, n);
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)kt_below(t, below);
    return ids;
}

static void setup_embed(kt *t, const int64_t *p) {
    kt_out *y = kt_result(t, t->dt, p[0] * p[1], 1);
    y->exact = true;
    void *table = kt_in(t, t->wdt, VOCABULARY * p[1], t->scale);
    t->bytes = (double)(p[0] * p[1]) * (double)(gal_dtype_bytes(t->dt) + gal_dtype_bytes(t->wdt));
    KT_ARGS(t, gal_k_embed, y->p, t->dt, table, t->wdt, NULL, some_ids(t, p[0], VOCABULARY), p[0], p[1]);
}

static void setup_embed_grad(kt *t, const int64_t *p) {
    kt_out *dt = kt_result(t, gal_stat_dtype(t->dt), VOCABULARY * p[1], t->scale);
    void *dy = kt_in(t, t->dt, p[0] * p[1], t->scale);
    dt->exact = true; /* f32 sums in order of the rows */
    KT_ARGS(t, gal_k_embed_grad, dt->p, dy, t->dt, some_ids(t, p[0], VOCABULARY), p[0], p[1]);
    t->bytes = (double)(p[0] * p[1]) * (double)(gal_dtype_bytes(t->dt) + 8);
}

static void setup_gather(kt *t, const int64_t *p) {
    int64_t n = p[0], d = p[1], all = 2 * n + 3;
    bool scatter = p[2];
    int32_t *rows = kt_ints(t, n);
    for (int64_t i = 0; i < n; i++) rows[i] = (int32_t)(2 * i + kt_below(t, 2)); /* distinct */
    kt_out *y = kt_result(t, t->dt, (scatter ? all : n) * d, t->scale);
    void *x = kt_in(t, t->dt, (scatter ? n : all) * d, t->scale);
    y->exact = !scatter;
    KT_ARGS(t, gal_k_gather_rows, y->p, x, t->dt, rows, n, d, scatter);
}

/* p: rows, heads, size, slots. Two sequences in a batch; the second may be longer than its slots. */
static void setup_kv_store(kt *t, const int64_t *p) {
    int64_t n = p[0], g = p[1], size = p[2], slots = p[3], first = n / 3;
    int32_t *pos = kt_ints(t, n), *seq = kt_ints(t, n);
    for (int64_t i = 0; i < n; i++) {
        seq[i] = i < first ? 1 : 2;
        pos[i] = (int32_t)(i < first ? 4 + i : i - first);
    }
    kt_out *ck = kt_result(t, t->wdt, 3 * g * slots * size, 1), *cv = kt_result(t, t->wdt, 3 * g * slots * size, 1);
    ck->exact = cv->exact = true;
    void *k = kt_in(t, t->dt, n * g * size, t->scale), *v = kt_in(t, t->dt, n * g * size, t->scale);
    for (kt_out *o = ck; o <= cv; o++) {
        o->want = kt_doubles(t, o->n);
        for (int64_t i = 0; i < o->n; i++) o->want[i] = kt_get(o->p, o->dt, i);
    }
    for (int64_t i = 0; i < n; i++) /* in order, so that what comes last stays */
        for (int64_t j = 0; j < g * size; j++) {
            int64_t at = ((seq[i] * g + j / size) * slots + pos[i] % slots) * size + j % size;
            for (kt_out *o = ck; o <= cv; o++) {
                double x = kt_get(o == ck ? k : v, t->dt, i * g * size + j);
                char one[8];
                kt_put(one, t->wdt, 0, x);
                o->want[at] = kt_get(one, t->wdt, 0);
            }
        }
    KT_ARGS(t, gal_k_kv_store, ck->p, cv->p, t->wdt, k, v, t->dt, pos, seq, n, g, size, slots);
}

static double square_sum(const void *x, gal_dtype dt, int64_t at, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += kt_get(x, dt, at + i) * kt_get(x, dt, at + i);
    return sum;
}

static void setup_norm(kt *t, const int64_t *p) {
    int64_t n = p[0], d = p[1];
    const double eps = 1e-5;
    kt_out *y = kt_result(t, t->dt, n * d, 1), *inv = p[2] ? NULL : kt_result(t, GAL_F32, n, 1);
    void *x = kt_in(t, t->dt, n * d, t->scale), *w = kt_in(t, t->wdt, d, 1);
    double rel = ((double)d / 2 + 6) * KT_U; /* a sum of d squares, halved by the root, and a few operations */
    for (int64_t r = 0; r < n; r++) {
        double exact = 1 / sqrt(square_sum(x, t->dt, r * d, d) / (double)d + eps);
        if (inv) inv->abs[r] = rel * exact;
        for (int64_t i = 0; i < d; i++) {
            double size = fabs(kt_get(x, t->dt, r * d + i) * exact * kt_get(w, t->wdt, i));
            /* The inner cast may fall to the other side. */
            y->abs[r * d + i] = size * (rel + (t->dt == GAL_BF16 ? 0x1p-7 : 0x1p-23));
        }
    }
    KT_ARGS(t, gal_k_rms_norm, y->p, inv ? inv->p : NULL, x, w, t->dt, t->wdt, n, d, eps);
    t->bytes = 2.0 * (double)(n * d) * (double)gal_dtype_bytes(t->dt);
}

static void *some_inv(kt *t, const void *x, int64_t n, int64_t d) {
    float *inv = kt_in(t, GAL_F32, n, 1);
    for (int64_t r = 0; r < n; r++) inv[r] = (float)(1 / sqrt(square_sum(x, t->dt, r * d, d) / (double)d + 1e-5));
    return inv;
}

static void setup_norm_dx(kt *t, const int64_t *p) {
    int64_t n = p[0], d = p[1];
    kt_out *dx = kt_result(t, t->dt, n * d, t->scale);
    void *dy = kt_in(t, t->dt, n * d, 1), *x = kt_in(t, t->dt, n * d, t->scale), *w = kt_in(t, t->wdt, d, 1);
    const float *inv = some_inv(t, x, n, d);
    for (int64_t r = 0; r < n; r++) {
        double mean = 0, s = (double)inv[r];
        for (int64_t i = 0; i < d; i++)
            mean += fabs(kt_get(x, t->dt, r * d + i) * kt_get(w, t->wdt, i) * kt_get(dy, t->dt, r * d + i)) /
                    (double)d;
        for (int64_t i = 0; i < d; i++) {
            double size = s * (fabs(kt_get(w, t->wdt, i) * kt_get(dy, t->dt, r * d + i)) +
                               fabs(kt_get(x, t->dt, r * d + i)) * s * s * mean);
            if (t->accumulate) size += fabs(kt_get(dx->p, t->dt, r * d + i));
            dx->abs[r * d + i] = ((double)d + 8) * KT_U * size;
        }
    }
    KT_ARGS(t, gal_k_rms_norm_dx, dx->p, dy, x, w, inv, t->dt, t->wdt, n, d, t->accumulate);
    t->bytes = 3.0 * (double)(n * d) * (double)gal_dtype_bytes(t->dt);
}

static void setup_norm_dw(kt *t, const int64_t *p) {
    int64_t n = p[0], d = p[1];
    kt_out *dw = kt_result(t, GAL_F32, d, 1);
    void *dy = kt_in(t, t->dt, n * d, 1), *x = kt_in(t, t->dt, n * d, t->scale);
    const float *inv = some_inv(t, x, n, d);
    for (int64_t i = 0; i < d; i++) {
        double size = fabs(kt_get(dw->p, GAL_F32, i));
        for (int64_t r = 0; r < n; r++)
            size += fabs(kt_get(dy, t->dt, r * d + i) * kt_get(x, t->dt, r * d + i)) * (double)inv[r];
        dw->abs[i] = ((double)n + 4) * KT_U * size;
    }
    KT_ARGS(t, gal_k_rms_norm_dw, dw->p, dy, x, inv, t->dt, n, d);
    t->bytes = 2.0 * (double)(n * d) * (double)gal_dtype_bytes(t->dt);
}

static float *some_freq(kt *t, int64_t half) {
    float *f = kt_in(t, GAL_F32, half, 1);
    for (int64_t j = 0; j < half; j++) f[j] = (float)pow(10000.0, -(double)j / (double)half);
    return f;
}

static void setup_rope_table(kt *t, const int64_t *p) {
    int64_t n = p[0], size = p[1];
    const float mscale = 1.25f, beta = 0.1f, original = 64.0f;
    kt_out *table = kt_result(t, GAL_F32, n * size, 1), *q = p[2] ? kt_result(t, GAL_F32, n, 1) : NULL;
    int32_t *pos = kt_ints(t, n);
    for (int64_t i = 0; i < n; i++) pos[i] = (int32_t)(i % 3 ? i * 7 : 127000 - i);
    for (int64_t i = 0; i < table->n; i++) table->abs[i] = 4 * KT_U * (double)mscale;
    for (int64_t i = 0; q && i < n; i++) q->abs[i] = 4 * KT_U * 2;
    KT_ARGS(t, gal_k_rope_table, table->p, q ? q->p : NULL, t->dt, pos, some_freq(t, size / 2), mscale, beta,
            original, n, size);
}

/* p: rows, heads, kv heads (0: no k), size, interleaved, inverse, with query scale. */
static void setup_rope(kt *t, const int64_t *p) {
    int64_t n = p[0], heads[2] = { p[1], p[2] }, size = p[3], half = size / 2;
    kt_out *x[2] = { kt_result(t, t->dt, n * p[1] * size, t->scale), NULL };
    if (p[2]) x[1] = kt_result(t, t->dt, n * p[2] * size, t->scale);
    float *table = kt_in(t, GAL_F32, n * size, 1), *scale = p[6] ? kt_in(t, GAL_F32, n, 1) : NULL;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < half; j++) {
            double angle = kt_uniform(t) * 3;
            table[i * size + j] = (float)cos(angle);
            table[i * size + half + j] = (float)sin(angle);
        }
    for (int i = 0; i < 2 && x[i]; i++)
        for (int64_t r = 0; r < n * heads[i]; r++) {
            double s = i == 0 && scale ? fabs((double)scale[r / heads[i]]) : 1;
            for (int64_t j = 0; j < half; j++) {
                int64_t a = r * size + (p[4] ? 2 * j : j), b = p[4] ? a + 1 : a + half;
                double bound = 4 * KT_U * s * (fabs(kt_get(x[i]->p, t->dt, a)) + fabs(kt_get(x[i]->p, t->dt, b)));
                x[i]->abs[a] = x[i]->abs[b] = bound;
            }
        }
    KT_ARGS(t, gal_k_rope, x[0]->p, x[1] ? x[1]->p : NULL, t->dt, table, scale, n, p[1], p[2], size, p[4] != 0,
            p[5] != 0);
    t->bytes = 2.0 * (double)(n * (p[1] + p[2]) * size) * (double)gal_dtype_bytes(t->dt);
}

/* Mean and inverse deviation of each row, as the kernel that made them would have left them. */
typedef struct stats {
    float *mean, *inv;
} stats;
static stats some_stats(kt *t, const void *x, int64_t n, int64_t d) {
    stats s = { kt_in(t, GAL_F32, n, 1), kt_in(t, GAL_F32, n, 1) };
    for (int64_t r = 0; r < n; r++) {
        double mean = 0, square = 0;
        for (int64_t i = 0; i < d; i++) mean += kt_get(x, t->dt, r * d + i) / (double)d;
        for (int64_t i = 0; i < d; i++) square += pow(kt_get(x, t->dt, r * d + i) - mean, 2) / (double)d;
        s.mean[r] = (float)mean;
        s.inv[r] = (float)(1 / sqrt(square + 1e-5));
    }
    return s;
}

/* p: rows, columns, 1: without statistics. */
static void setup_layer(kt *t, const int64_t *p) {
    int64_t n = p[0], d = p[1];
    const double eps = 1e-5;
    kt_out *y = kt_result(t, t->dt, n * d, 1), *mean = NULL, *inv = NULL;
    if (!p[2]) {
        mean = kt_result(t, GAL_F32, n, 1);
        inv = kt_result(t, GAL_F32, n, 1);
    }
    void *x = kt_in(t, t->dt, n * d, t->scale), *w = kt_in(t, t->wdt, d, 1), *b = kt_in(t, t->wdt, d, 1);
    for (int64_t r = 0; r < n; r++) {
        double m = 0, size = 0, square = 0;
        for (int64_t i = 0; i < d; i++) {
            m += kt_get(x, t->dt, r * d + i) / (double)d;
            size += fabs(kt_get(x, t->dt, r * d + i)) / (double)d;
        }
        for (int64_t i = 0; i < d; i++) square += pow(kt_get(x, t->dt, r * d + i) - m, 2) / (double)d;
        /* The mean is off by a sum of d; that moves every number, and the deviation at most as much. */
        double exact = 1 / sqrt(square + eps), off = ((double)d + 2) * KT_U * size;
        double rel = ((double)d / 2 + 6) * KT_U + off * exact;
        if (mean) mean->abs[r] = off;
        if (inv) inv->abs[r] = rel * exact;
        for (int64_t i = 0; i < d; i++) {
            double z = fabs(kt_get(x, t->dt, r * d + i) - m) * exact, g = fabs(kt_get(w, t->wdt, i));
            y->abs[r * d + i] = g * (z * (rel + 4 * KT_U) + off * exact) + 2 * KT_U * fabs(kt_get(b, t->wdt, i));
        }
    }
    KT_ARGS(t, gal_k_layer_norm, y->p, mean ? mean->p : NULL, inv ? inv->p : NULL, x, w, b, t->dt, t->wdt, n, d, eps);
    t->bytes = 2.0 * (double)(n * d) * (double)gal_dtype_bytes(t->dt);
}

static void setup_layer_dx(kt *t, const int64_t *p) {
    int64_t n = p[0], d = p[1];
    kt_out *dx = kt_result(t, t->dt, n * d, t->scale);
    void *dy = kt_in(t, t->dt, n * d, 1), *x = kt_in(t, t->dt, n * d, t->scale), *w = kt_in(t, t->wdt, d, 1);
    const stats s = some_stats(t, x, n, d);
    for (int64_t r = 0; r < n; r++) {
        double mean_g = 0, mean_gz = 0, inv = (double)s.inv[r];
        for (int64_t i = 0; i < d; i++) {
            double g = fabs(kt_get(w, t->wdt, i) * kt_get(dy, t->dt, r * d + i));
            mean_g += g / (double)d;
            mean_gz += g * fabs(kt_get(x, t->dt, r * d + i) - (double)s.mean[r]) * inv / (double)d;
        }
        for (int64_t i = 0; i < d; i++) {
            double z = (fabs(kt_get(x, t->dt, r * d + i)) + fabs((double)s.mean[r])) * inv;
            double size = inv * (fabs(kt_get(w, t->wdt, i) * kt_get(dy, t->dt, r * d + i)) + mean_g + z * mean_gz);
            if (t->accumulate) size += fabs(kt_get(dx->p, t->dt, r * d + i));
            dx->abs[r * d + i] = ((double)d + 8) * KT_U * size;
        }
    }
    KT_ARGS(t, gal_k_layer_norm_dx, dx->p, dy, x, w, s.mean, s.inv, t->dt, t->wdt, n, d, t->accumulate);
}

static void setup_layer_dw(kt *t, const int64_t *p) {
    int64_t n = p[0], d = p[1];
    kt_out *dw = kt_result(t, GAL_F32, d, 1);
    void *dy = kt_in(t, t->dt, n * d, 1), *x = kt_in(t, t->dt, n * d, t->scale);
    const stats s = some_stats(t, x, n, d);
    for (int64_t i = 0; i < d; i++) {
        double size = fabs(kt_get(dw->p, GAL_F32, i));
        for (int64_t r = 0; r < n; r++)
            size += fabs(kt_get(dy, t->dt, r * d + i)) * (double)s.inv[r] *
                    (fabs(kt_get(x, t->dt, r * d + i)) + fabs((double)s.mean[r]));
        dw->abs[i] = ((double)n + 4) * KT_U * size;
    }
    KT_ARGS(t, gal_k_layer_norm_dw, dw->p, dy, x, s.mean, s.inv, t->dt, n, d);
}

static void setup_add_row(kt *t, const int64_t *p) {
    kt_out *y = kt_result(t, t->dt, p[0] * p[1], 1);
    void *x = kt_in(t, t->dt, p[0] * p[1], t->scale), *b = kt_in(t, t->wdt, p[1], 1);
    KT_ARGS(t, gal_k_add_row, y->p, x, b, t->dt, t->wdt, p[0], p[1]);
    t->bytes = 2.0 * (double)(p[0] * p[1]) * (double)gal_dtype_bytes(t->dt);
}

/* p: rows, columns, 1: the sum has the rows' type, else that of statistics. */
static void setup_sum_rows(kt *t, const int64_t *p) {
    int64_t n = p[0], d = p[1];
    gal_dtype to = p[2] ? t->dt : GAL_F32;
    kt_out *y = kt_result(t, to, d, 1);
    void *x = kt_in(t, t->dt, n * d, t->scale);
    for (int64_t i = 0; i < d; i++) {
        double size = t->accumulate ? fabs(kt_get(y->p, to, i)) : 0;
        for (int64_t r = 0; r < n; r++) size += fabs(kt_get(x, t->dt, r * d + i));
        y->abs[i] = ((double)n + 2) * KT_U * size;
    }
    KT_ARGS(t, gal_k_sum_rows, y->p, x, to, t->dt, n, d, t->accumulate);
    t->bytes = (double)(n * d) * (double)gal_dtype_bytes(t->dt);
}

static void setup_sinusoid(kt *t, const int64_t *p) {
    kt_out *y = kt_result(t, t->dt, p[1] * p[2], 1);
    for (int64_t i = 0; i < y->n; i++) y->abs[i] = 4 * KT_U;
    KT_ARGS(t, gal_k_sinusoid, y->p, t->dt, p[0], p[1], p[2]);
}

static const kt_case CASES[] = {
    { "layer_norm 1x1", GAL_K_LAYER_NORM, setup_layer, { 1, 1, 0 }, KT_WDT | KT_SCALE, false },
    { "layer_norm 19x65", GAL_K_LAYER_NORM, setup_layer, { 19, 65, 0 }, KT_WDT | KT_SCALE, false },
    { "layer_norm 3x1027 alone", GAL_K_LAYER_NORM, setup_layer, { 3, 1027, 1 }, KT_WDT | KT_SCALE, false },
    { "layer_norm_dx 19x65", GAL_K_LAYER_NORM_DX, setup_layer_dx, { 19, 65 }, KT_WDT | KT_SCALE | KT_ACC, false },
    { "layer_norm_dx 2x1027", GAL_K_LAYER_NORM_DX, setup_layer_dx, { 2, 1027 }, KT_WDT | KT_ACC, false },
    { "layer_norm_dw 37x67", GAL_K_LAYER_NORM_DW, setup_layer_dw, { 37, 67 }, KT_SCALE, false },
    { "layer_norm_dw 130x300", GAL_K_LAYER_NORM_DW, setup_layer_dw, { 130, 300 }, 0, false },
    { "add_row 21x67", GAL_K_ADD_ROW, setup_add_row, { 21, 67 }, KT_WDT | KT_SCALE, false },
    { "add_row 2x1030", GAL_K_ADD_ROW, setup_add_row, { 2, 1030 }, KT_WDT, false },
    { "sum_rows 1x5", GAL_K_SUM_ROWS, setup_sum_rows, { 1, 5, 0 }, KT_ACC, false },
    { "sum_rows 150x67", GAL_K_SUM_ROWS, setup_sum_rows, { 150, 67, 0 }, KT_SCALE | KT_ACC, false },
    { "sum_rows 9x300, own type", GAL_K_SUM_ROWS, setup_sum_rows, { 9, 300, 1 }, KT_SCALE | KT_ACC, false },
    { "sinusoid 40x10", GAL_K_SINUSOID, setup_sinusoid, { 0, 40, 10 }, 0, false },
    { "sinusoid 3x64 far", GAL_K_SINUSOID, setup_sinusoid, { 100000, 3, 64 }, 0, false },
    { "layer_norm 512x1024", GAL_K_LAYER_NORM, setup_layer, { 512, 1024, 0 }, 0, true },
    { "add_row 512x1024", GAL_K_ADD_ROW, setup_add_row, { 512, 1024 }, 0, true },
    { "sum_rows 512x1024", GAL_K_SUM_ROWS, setup_sum_rows, { 512, 1024, 0 }, 0, true },
    { "embed 1x1", GAL_K_EMBED, setup_embed, { 1, 1 }, KT_WDT, false },
    { "embed 35x67", GAL_K_EMBED, setup_embed, { 35, 67 }, KT_WDT | KT_SCALE, false },
    { "embed 3x1000", GAL_K_EMBED, setup_embed, { 3, 1000 }, KT_WDT, false },
    { "embed_grad 50x67", GAL_K_EMBED_GRAD, setup_embed_grad, { 50, 67 }, KT_SCALE, false },
    { "embed_grad 100x300", GAL_K_EMBED_GRAD, setup_embed_grad, { 100, 300 }, 0, false },
    { "gather 5x33", GAL_K_GATHER_ROWS, setup_gather, { 5, 33, 0 }, 0, false },
    { "gather 40x64", GAL_K_GATHER_ROWS, setup_gather, { 40, 64, 0 }, 0, false },
    { "scatter 19x41", GAL_K_GATHER_ROWS, setup_gather, { 19, 41, 1 }, KT_SCALE, false },
    { "kv_store 5 rows, 7 slots", GAL_K_KV_STORE, setup_kv_store, { 5, 2, 8, 7 }, KT_WDT, false },
    { "kv_store 40 rows, 9 slots", GAL_K_KV_STORE, setup_kv_store, { 40, 3, 10, 9 }, KT_WDT, false },
    { "kv_store 1 row, 1 slot", GAL_K_KV_STORE, setup_kv_store, { 1, 1, 3, 1 }, KT_WDT, false },
    { "rms_norm 1x1", GAL_K_RMS_NORM, setup_norm, { 1, 1, 0 }, KT_WDT | KT_SCALE, false },
    { "rms_norm 19x65", GAL_K_RMS_NORM, setup_norm, { 19, 65, 0 }, KT_WDT | KT_SCALE, false },
    { "rms_norm 3x1027 without inv", GAL_K_RMS_NORM, setup_norm, { 3, 1027, 1 }, KT_WDT | KT_SCALE, false },
    { "rms_norm_dx 19x65", GAL_K_RMS_NORM_DX, setup_norm_dx, { 19, 65 }, KT_WDT | KT_SCALE | KT_ACC, false },
    { "rms_norm_dx 2x1027", GAL_K_RMS_NORM_DX, setup_norm_dx, { 2, 1027 }, KT_WDT | KT_ACC, false },
    { "rms_norm_dw 37x67", GAL_K_RMS_NORM_DW, setup_norm_dw, { 37, 67 }, KT_SCALE, false },
    { "rms_norm_dw 5x300", GAL_K_RMS_NORM_DW, setup_norm_dw, { 5, 300 }, 0, false },
    { "rope_table 20x10", GAL_K_ROPE_TABLE, setup_rope_table, { 20, 10, 1 }, 0, false },
    { "rope_table 3x64", GAL_K_ROPE_TABLE, setup_rope_table, { 3, 64, 0 }, 0, false },
    { "rope half-split", GAL_K_ROPE, setup_rope, { 19, 4, 2, 16, 0, 0, 0 }, KT_SCALE, false },
    { "rope half-split, odd, scaled", GAL_K_ROPE, setup_rope, { 5, 3, 1, 22, 0, 0, 1 }, KT_SCALE, false },
    { "rope half-split, inverse", GAL_K_ROPE, setup_rope, { 5, 4, 4, 64, 0, 1, 1 }, 0, false },
    { "rope interleaved", GAL_K_ROPE, setup_rope, { 19, 4, 2, 16, 1, 0, 0 }, KT_SCALE, false },
    { "rope interleaved, odd, inverse", GAL_K_ROPE, setup_rope, { 7, 3, 1, 38, 1, 1, 1 }, KT_SCALE, false },
    { "rope q only", GAL_K_ROPE, setup_rope, { 2, 2, 0, 6, 0, 0, 0 }, 0, false },
    { "rms_norm 512x1024", GAL_K_RMS_NORM, setup_norm, { 512, 1024, 0 }, 0, true },
    { "rms_norm_dx 512x1024", GAL_K_RMS_NORM_DX, setup_norm_dx, { 512, 1024 }, 0, true },
    { "rms_norm_dw 512x1024", GAL_K_RMS_NORM_DW, setup_norm_dw, { 512, 1024 }, 0, true },
    { "rope 512x16x64", GAL_K_ROPE, setup_rope, { 512, 16, 4, 64, 0, 0, 0 }, 0, true },
    { "embed_grad 512x1024", GAL_K_EMBED_GRAD, setup_embed_grad, { 512, 1024 }, 0, true },
    { "rms_norm 2048x4096", GAL_K_RMS_NORM, setup_norm, { 2048, 4096, 0 }, KT_GPU, true },
    { "rms_norm_dw 2048x4096", GAL_K_RMS_NORM_DW, setup_norm_dw, { 2048, 4096 }, KT_GPU, true },
};
const kt_family KT_ROWS = { "rows", CASES, GAL_LEN(CASES) };
