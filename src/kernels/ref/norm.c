/* norm.c - normalisation by the root mean square (arXiv:1910.07467) or by mean and deviation (arXiv:1607.06450), and
 * their gradients. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/ref/ref.h"

#include <math.h>

static double sum_of_squares(const void *x, gal_dtype dt, int64_t at, int64_t n) {
    double part[GAL_REF_PART], sum = 0.0;
    for (int64_t k = 0; k < n; k += GAL_REF_PART) {
        int64_t some = GAL_MIN(n - k, GAL_REF_PART);
        gal__ref_load(part, x, dt, at + k, some);
        for (int64_t i = 0; i < some; i++) sum += part[i] * part[i];
    }
    return sum;
}

static int64_t norm_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_rms_norm *)args)->n, GAL_REF_ROWS);
}

static void norm_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_rms_norm *a = args;
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    double x[GAL_REF_PART], w[GAL_REF_PART];
    for (int64_t n = r.from; n < r.to; n++) {
        double inv = 1.0 / sqrt(sum_of_squares(a->x, a->dt, n * a->d, a->d) / (double)a->d + a->eps);
        if (a->inv) gal__ref_put(a->inv, gal_stat_dtype(a->dt), n, inv);
        for (int64_t k = 0; k < a->d; k += GAL_REF_PART) {
            int64_t some = GAL_MIN(a->d - k, GAL_REF_PART);
            gal__ref_load(x, a->x, a->dt, n * a->d + k, some);
            gal__ref_load(w, a->w, a->wdt, k, some);
            for (int64_t i = 0; i < some; i++) x[i] *= inv;
            gal__ref_round(x, a->dt, some); /* the cast between normalising and scaling */
            for (int64_t i = 0; i < some; i++) x[i] *= w[i];
            gal__ref_store(a->y, a->dt, n * a->d + k, x, some);
        }
    }
}

static int64_t norm_dx_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_rms_norm_dx *)args)->n, GAL_REF_ROWS);
}

static void norm_dx_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_rms_norm_dx *a = args;
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    double x[GAL_REF_PART], w[GAL_REF_PART], dy[GAL_REF_PART];
    for (int64_t n = r.from; n < r.to; n++) {
        double inv = gal__ref_get(a->inv, gal_stat_dtype(a->dt), n), mean = 0.0;
        for (int pass = 0; pass < 2; pass++) { /* the mean of x w dy, then dx */
            for (int64_t k = 0; k < a->d; k += GAL_REF_PART) {
                int64_t some = GAL_MIN(a->d - k, GAL_REF_PART);
                gal__ref_load(x, a->x, a->dt, n * a->d + k, some);
                gal__ref_load(w, a->w, a->wdt, k, some);
                gal__ref_load(dy, a->dy, a->dt, n * a->d + k, some);
                if (pass == 0) {
                    for (int64_t i = 0; i < some; i++) mean += x[i] * w[i] * dy[i];
                } else {
                    for (int64_t i = 0; i < some; i++) x[i] = inv * (w[i] * dy[i] - x[i] * inv * inv * mean);
                    gal__ref_store_or_add(a->dx, a->dt, n * a->d + k, x, some, a->accumulate);
                }
            }
            if (pass == 0) mean /= (double)a->d;
        }
    }
}

static int64_t norm_dw_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_rms_norm_dw *)args)->d, GAL_REF_COLS);
}

static void norm_dw_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_rms_norm_dw *a = args;
    gal_dtype st = gal_stat_dtype(a->dt);
    gal__range c = gal__ref_piece(a->d, GAL_REF_COLS, chunk);
    int64_t cols = c.to - c.from;
    double sum[GAL_REF_COLS] = { 0 }, x[GAL_REF_COLS], dy[GAL_REF_COLS];
    for (int64_t n = 0; n < a->n; n++) {
        double inv = gal__ref_get(a->inv, st, n);
        gal__ref_load(x, a->x, a->dt, n * a->d + c.from, cols);
        gal__ref_load(dy, a->dy, a->dt, n * a->d + c.from, cols);
        for (int64_t i = 0; i < cols; i++) sum[i] += dy[i] * x[i] * inv;
    }
    gal__ref_store_or_add(a->dw, st, c.from, sum, cols, true);
}

static int64_t layer_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_layer_norm *)args)->n, GAL_REF_ROWS);
}

/* Sum of (x - mean)^2, or of x where power is 1. */
static double moment(const void *x, gal_dtype dt, int64_t at, int64_t n, double mean, int power) {
    double part[GAL_REF_PART], sum = 0.0;
    for (int64_t k = 0; k < n; k += GAL_REF_PART) {
        int64_t some = GAL_MIN(n - k, GAL_REF_PART);
        gal__ref_load(part, x, dt, at + k, some);
        for (int64_t i = 0; i < some; i++) sum += power == 1 ? part[i] : (part[i] - mean) * (part[i] - mean);
    }
    return sum;
}

static void layer_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_layer_norm *a = args;
    gal_dtype st = gal_stat_dtype(a->dt);
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    double *x = scratch, *w = x + GAL_REF_PART, *b = w + GAL_REF_PART;
    for (int64_t n = r.from; n < r.to; n++) {
        double mean = moment(a->x, a->dt, n * a->d, a->d, 0, 1) / (double)a->d;
        double inv = 1.0 / sqrt(moment(a->x, a->dt, n * a->d, a->d, mean, 2) / (double)a->d + a->eps);
        if (a->inv) {
            gal__ref_put(a->mean, st, n, mean);
            gal__ref_put(a->inv, st, n, inv);
        }
        for (int64_t k = 0; k < a->d; k += GAL_REF_PART) {
            int64_t some = GAL_MIN(a->d - k, GAL_REF_PART);
            gal__ref_load(x, a->x, a->dt, n * a->d + k, some);
            gal__ref_load(w, a->w, a->wdt, k, some);
            gal__ref_load(b, a->b, a->wdt, k, some);
            for (int64_t i = 0; i < some; i++) x[i] = (x[i] - mean) * inv * w[i] + b[i];
            gal__ref_store(a->y, a->dt, n * a->d + k, x, some);
        }
    }
}

static int64_t layer_dx_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_layer_norm_dx *)args)->n, GAL_REF_ROWS);
}

static void layer_dx_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_layer_norm_dx *a = args;
    gal_dtype st = gal_stat_dtype(a->dt);
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    double z[GAL_REF_PART], w[GAL_REF_PART], g[GAL_REF_PART];
    for (int64_t n = r.from; n < r.to; n++) {
        double mean = gal__ref_get(a->mean, st, n), inv = gal__ref_get(a->inv, st, n), mean_g = 0, mean_gz = 0;
        for (int pass = 0; pass < 2; pass++) { /* the means, then dx */
            for (int64_t k = 0; k < a->d; k += GAL_REF_PART) {
                int64_t some = GAL_MIN(a->d - k, GAL_REF_PART);
                gal__ref_load(z, a->x, a->dt, n * a->d + k, some);
                gal__ref_load(w, a->w, a->wdt, k, some);
                gal__ref_load(g, a->dy, a->dt, n * a->d + k, some);
                for (int64_t i = 0; i < some; i++) {
                    z[i] = (z[i] - mean) * inv;
                    g[i] *= w[i];
                    if (pass == 0) {
                        mean_g += g[i];
                        mean_gz += g[i] * z[i];
                    } else {
                        g[i] = inv * (g[i] - mean_g - z[i] * mean_gz);
                    }
                }
                if (pass == 1) gal__ref_store_or_add(a->dx, a->dt, n * a->d + k, g, some, a->accumulate);
            }
            if (pass == 0) {
                mean_g /= (double)a->d;
                mean_gz /= (double)a->d;
            }
        }
    }
}

static int64_t layer_dw_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_layer_norm_dw *)args)->d, GAL_REF_COLS);
}

static void layer_dw_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_layer_norm_dw *a = args;
    gal_dtype st = gal_stat_dtype(a->dt);
    gal__range c = gal__ref_piece(a->d, GAL_REF_COLS, chunk);
    int64_t cols = c.to - c.from;
    double sum[GAL_REF_COLS] = { 0 }, x[GAL_REF_COLS], dy[GAL_REF_COLS];
    for (int64_t n = 0; n < a->n; n++) {
        double mean = gal__ref_get(a->mean, st, n), inv = gal__ref_get(a->inv, st, n);
        gal__ref_load(x, a->x, a->dt, n * a->d + c.from, cols);
        gal__ref_load(dy, a->dy, a->dt, n * a->d + c.from, cols);
        for (int64_t i = 0; i < cols; i++) sum[i] += dy[i] * (x[i] - mean) * inv;
    }
    gal__ref_store_or_add(a->dw, st, c.from, sum, cols, true);
}

void gal__ref_fill_norm(gal_kernel_table *t) {
    t->k[GAL_K_LAYER_NORM] = (gal_kernel){ layer_chunks, layer_run };
    t->k[GAL_K_LAYER_NORM_DX] = (gal_kernel){ layer_dx_chunks, layer_dx_run };
    t->k[GAL_K_LAYER_NORM_DW] = (gal_kernel){ layer_dw_chunks, layer_dw_run };
    t->k[GAL_K_RMS_NORM] = (gal_kernel){ norm_chunks, norm_run };
    t->k[GAL_K_RMS_NORM_DX] = (gal_kernel){ norm_dx_chunks, norm_dx_run };
    t->k[GAL_K_RMS_NORM_DW] = (gal_kernel){ norm_dw_chunks, norm_dw_run };
}
