/* rope.c - rotary positions (RoFormer, arXiv:2104.09864): the table of angles, and the rotation by it; sinusoids of
 * distances (Transformer-XL, arXiv:1901.02860). SPDX-License-Identifier: Apache-2.0 */
#include "kernels/ref/ref.h"

#include <math.h>

static int64_t table_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_rope_table *)args)->n, GAL_REF_ROWS);
}

static void table_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_rope_table *a = args;
    gal_dtype st = gal_stat_dtype(a->dt);
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    int64_t half = a->size / 2;
    for (int64_t n = r.from; n < r.to; n++) {
        for (int64_t j = 0; j < half; j++) {
            /* The product is rounded to f32, as the reference implementations have it: at position 30,000 the exact
             * product would be another angle. */
            float angle = (float)a->pos[n] * a->inv_freq[j];
            gal__ref_put(a->table, st, n * a->size + j, (double)a->mscale * cos((double)angle));
            gal__ref_put(a->table, st, n * a->size + half + j, (double)a->mscale * sin((double)angle));
        }
        if (a->qscale) {
            double whole = floor((double)a->pos[n] / (double)a->original);
            gal__ref_put(a->qscale, st, n, 1.0 + (double)a->beta * log(1.0 + whole));
        }
    }
}

/* Rotates `heads` heads of row n of x. */
static void rotate_row(const gal_k_rope *a, void *x, int64_t n, int64_t heads, double scale) {
    gal_dtype st = gal_stat_dtype(a->dt);
    int64_t half = a->size / 2, step = a->interleaved ? 2 : 1, other = a->interleaved ? 1 : half;
    for (int64_t j = 0; j < half; j++) {
        double c = gal__ref_get(a->table, st, n * a->size + j),
               s = gal__ref_get(a->table, st, n * a->size + half + j);
        if (a->inverse) s = -s;
        for (int64_t h = 0; h < heads; h++) {
            int64_t at = (n * heads + h) * a->size + j * step;
            double x0 = gal__ref_get(x, a->dt, at), x1 = gal__ref_get(x, a->dt, at + other);
            gal__ref_put(x, a->dt, at, (x0 * c - x1 * s) * scale);
            gal__ref_put(x, a->dt, at + other, (x0 * s + x1 * c) * scale);
        }
    }
}

static int64_t rope_chunks(const void *args) { return gal__ref_pieces(((const gal_k_rope *)args)->n, GAL_REF_ROWS); }

static void rope_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_rope *a = args;
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    for (int64_t n = r.from; n < r.to; n++) {
        rotate_row(a, a->q, n, a->heads, a->qscale ? gal__ref_get(a->qscale, gal_stat_dtype(a->dt), n) : 1.0);
        if (a->k) rotate_row(a, a->k, n, a->kv_heads, 1.0);
    }
}

static int64_t sinusoid_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_sinusoid *)args)->m, GAL_REF_ROWS);
}

static void sinusoid_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_sinusoid *a = args;
    gal__range r = gal__ref_piece(a->m, GAL_REF_ROWS, chunk);
    int64_t half = a->d / 2;
    for (int64_t t = 0; t < half; t++) {
        double w = pow(10000.0, -2.0 * (double)t / (double)a->d);
        for (int64_t m = r.from; m < r.to; m++) {
            double angle = (double)(a->first + m) * w;
            gal__ref_put(a->table, a->dt, m * a->d + t, sin(angle));
            gal__ref_put(a->table, a->dt, m * a->d + half + t, cos(angle));
        }
    }
}

void gal__ref_fill_rope(gal_kernel_table *t) {
    t->k[GAL_K_SINUSOID] = (gal_kernel){ sinusoid_chunks, sinusoid_run };
    t->k[GAL_K_ROPE_TABLE] = (gal_kernel){ table_chunks, table_run };
    t->k[GAL_K_ROPE] = (gal_kernel){ rope_chunks, rope_run };
}
