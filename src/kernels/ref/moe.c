/* moe.c - experts: choosing them, sorting rows by them, adding their results up, and the losses that keep them in
 * balance (mixtral.md 4). SPDX-License-Identifier: Apache-2.0 */
#include "kernels/experts.h"
#include "kernels/ref/ref.h"

#include <math.h>

/* ---- choosing ----------------------------------------------------------------------------------------------------
 */

static int64_t route_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_route *)args)->n, GAL_REF_ROWS);
}

/* Whether a comes before b among the choices. A NaN comes last; of equals the lower number does. */
static bool before(const double *x, int64_t a, int64_t b) {
    if (isnan(x[a]) || isnan(x[b])) return !isnan(x[a]) || (isnan(x[b]) && a < b);
    return x[a] > x[b] || (a < b && x[a] >= x[b]);
}

static void choose(const double *x, int64_t experts, int64_t used, int32_t *choice) {
    for (int64_t j = 0; j < used; j++) {
        int64_t best = -1;
        for (int64_t e = 0; e < experts; e++) {
            bool free = true;
            for (int64_t i = 0; i < j; i++) free = free && choice[i] != e;
            if (free && (best < 0 || before(x, e, best))) best = e;
        }
        choice[j] = (int32_t)best;
    }
}

static void route_row(const gal_k_route *a, int64_t n, double *x) {
    int32_t *choice = a->choice + n * a->used;
    double sum = 0, all = 0, max = 0, poison = 0;
    gal__ref_load(x, a->logits, a->dt, n * a->experts, a->experts);
    choose(x, a->experts, a->used, choice);
    max = x[choice[0]];
    for (int64_t e = 0; e < a->experts; e++)
        if (isnan(x[e])) poison = x[e];
    for (int64_t j = 0; j < a->used; j++) sum += exp(x[choice[j]] - max);
    for (int64_t j = 0; j < a->used; j++)
        gal__ref_put(a->weight, a->dt, n * a->used + j, exp(x[choice[j]] - max) / sum + poison);
    if (!a->prob) return;
    for (int64_t e = 0; e < a->experts; e++) all += exp(x[e] - max);
    for (int64_t e = 0; e < a->experts; e++) gal__ref_put(a->prob, a->dt, n * a->experts + e, exp(x[e] - max) / all);
    gal__ref_put(a->lse, a->dt, n, max + log(all));
}

static void route_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_route *a = args;
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    for (int64_t n = r.from; n < r.to; n++) route_row(a, n, scratch);
}

static int64_t one_chunk(const void *args) {
    (void)args;
    return 1;
}

static void sort_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_route_sort *a = args;
    int32_t *next = scratch, at = 0;
    (void)chunk;
    for (int64_t e = 0; e < a->experts; e++) next[e] = 0;
    for (int64_t i = 0; i < a->n * a->used; i++) next[a->choice[i]]++;
    for (int64_t e = 0; e < a->experts; e++) {
        int32_t count = next[e];
        a->offset[e] = next[e] = at;
        at += count;
    }
    a->offset[a->experts] = at;
    for (int64_t i = 0; i < a->n * a->used; i++) {
        int32_t to = next[a->choice[i]]++;
        a->place[i] = to;
        a->row[to] = (int32_t)(i / a->used);
    }
}

/* ---- balance -----------------------------------------------------------------------------------------------------
 */

static int64_t sums_chunks(const void *args) { return ((const gal_k_route_sums *)args)->experts; }

static void sums_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_route_sums *a = args;
    double rows = 0, z = 0, prob = 0, chosen = 0;
    (void)scratch;
    for (int64_t n = 0; n < a->n; n++) {
        if (a->target[n] < 0) continue;
        double lse = gal__ref_get(a->lse, a->dt, n);
        rows++;
        z += lse * lse;
        prob += gal__ref_get(a->prob, a->dt, n * a->experts + chunk);
        for (int64_t j = 0; j < a->used; j++) chosen += a->choice[n * a->used + j] == chunk;
    }
    if (chunk == 0) {
        a->sums[0] = rows;
        a->sums[1] = z;
    }
    a->sums[2 + chunk] = prob;
    a->sums[2 + a->experts + chunk] = chosen;
}

/* E sum_e f_e P_e of the layers [from, to) together. */
static double balance_of(const double *sums, int64_t experts, int64_t from, int64_t to) {
    int64_t stride = 2 + 2 * experts;
    double rows = 0, sum = 0;
    for (int64_t l = from; l < to; l++) rows += sums[l * stride];
    for (int64_t e = 0; e < experts; e++) {
        double prob = 0, chosen = 0;
        for (int64_t l = from; l < to; l++) {
            prob += sums[l * stride + 2 + e];
            chosen += sums[l * stride + 2 + experts + e];
        }
        sum += prob * chosen;
    }
    return rows > 0 ? (double)experts * sum / (rows * rows) : 0;
}

static void loss_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_route_loss *a = args;
    int64_t stride = 2 + 2 * a->experts;
    double rows = 0, z = 0, balance = 0;
    (void)chunk;
    (void)scratch;
    for (int64_t l = 0; l < a->layers; l++) {
        rows += a->sums[l * stride];
        z += a->sums[l * stride + 1];
        if (a->per_layer) balance += balance_of(a->sums, a->experts, l, l + 1) / (double)a->layers;
    }
    if (!a->per_layer) balance = balance_of(a->sums, a->experts, 0, a->layers);
    a->loss[0] += a->scale * balance;
    a->loss[1] += rows > 0 ? a->scale * z / rows : 0;
}

static int64_t route_grad_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_route_grad *)args)->n, GAL_REF_ROWS);
}

/* pull[e]: the derivative of balance, times its factor, by a row's probability of e. Returns that of z by lse, over
 * lse.
 */
static double pulls(const gal_k_route_grad *a, double *pull) {
    int64_t stride = 2 + 2 * a->experts, from = a->per_layer ? a->layer : 0, to = a->per_layer ? from + 1 : a->layers;
    double all = 0, rows = 0;
    for (int64_t l = 0; l < a->layers; l++) all += a->sums[l * stride];
    for (int64_t l = from; l < to; l++) rows += a->sums[l * stride];
    double factor = a->balance * (double)a->experts / GAL_MAX(1.0, rows * rows);
    if (a->per_layer) factor /= (double)a->layers;
    for (int64_t e = 0; e < a->experts; e++) {
        double chosen = 0;
        for (int64_t l = from; l < to; l++) chosen += a->sums[l * stride + 2 + a->experts + e];
        pull[e] = factor * chosen;
    }
    return 2 * a->z / GAL_MAX(1.0, all);
}

static void route_grad_row(const gal_k_route_grad *a, int64_t n, double *d, const double *pull, double z) {
    double sum = 0;
    for (int64_t e = 0; e < a->experts; e++) d[e] = 0;
    for (int64_t j = 0; j < a->used; j++)
        sum += gal__ref_get(a->weight, a->dt, n * a->used + j) * gal__ref_get(a->dweight, a->dt, n * a->used + j);
    for (int64_t j = 0; j < a->used; j++)
        d[a->choice[n * a->used + j]] = gal__ref_get(a->weight, a->dt, n * a->used + j) *
                                        (gal__ref_get(a->dweight, a->dt, n * a->used + j) - sum);
    if (a->prob && a->target[n] >= 0) {
        double mean = 0, push = z * gal__ref_get(a->lse, a->dt, n);
        for (int64_t e = 0; e < a->experts; e++) mean += pull[e] * gal__ref_get(a->prob, a->dt, n * a->experts + e);
        for (int64_t e = 0; e < a->experts; e++)
            d[e] += gal__ref_get(a->prob, a->dt, n * a->experts + e) * (pull[e] - mean + push);
    }
    gal__ref_store(a->dlogits, a->dt, n * a->experts, d, a->experts);
}

static void route_grad_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_route_grad *a = args;
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    double *d = scratch, *pull = d + a->experts, z = 0;
    if (a->prob) z = pulls(a, pull);
    for (int64_t n = r.from; n < r.to; n++) route_grad_row(a, n, d, pull, z);
}

/* ---- results -----------------------------------------------------------------------------------------------------
 */

/* Chunks: rows, and parts of them. */
static int64_t parts(int64_t d) { return gal__ref_pieces(d, GAL_REF_PART); }
static int64_t combine_chunks(const void *args) {
    const gal_k_combine *a = args;
    return gal__ref_pieces(a->n, GAL_REF_ROWS) * parts(a->d);
}

static void combine_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_combine *a = args;
    gal__range rows = gal__ref_piece(a->n, GAL_REF_ROWS, chunk / parts(a->d));
    gal__range cols = gal__ref_piece(a->d, GAL_REF_PART, chunk % parts(a->d));
    int64_t count = cols.to - cols.from;
    double *y = scratch;
    for (int64_t n = rows.from; n < rows.to; n++) {
        for (int64_t i = 0; i < count; i++) y[i] = 0;
        if (a->add) gal__ref_load(y, a->add, a->dt, n * a->d + cols.from, count);
        for (int64_t j = 0; j < a->used; j++) {
            double w = a->weight ? gal__ref_get(a->weight, a->wdt, n * a->used + j) : 1;
            gal__ref_axpy(y, w, a->x, a->dt, a->place[n * a->used + j] * a->d + cols.from, count);
        }
        gal__ref_store_or_add(a->y, a->dt, n * a->d + cols.from, y, count, a->accumulate);
    }
}

static int64_t combine_grad_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_combine_grad *)args)->n, GAL_REF_ROWS);
}

static void combine_grad_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_combine_grad *a = args;
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    double *dy = scratch, *dx = dy + GAL_REF_PART;
    for (int64_t i = r.from * a->used; i < r.to * a->used; i++) {
        int64_t to = a->place[i] * a->d, from = i / a->used * a->d;
        double w = gal__ref_get(a->weight, a->wdt, i), sum = 0;
        for (int64_t at = 0; at < a->d; at += GAL_REF_PART) {
            int64_t count = GAL_MIN((int64_t)GAL_REF_PART, a->d - at);
            gal__ref_load(dy, a->dy, a->dt, from + at, count);
            sum += gal__ref_dot(dy, a->x, a->dt, to + at, count);
            for (int64_t k = 0; k < count; k++) dx[k] = w * dy[k];
            gal__ref_store(a->dx, a->dt, to + at, dx, count);
        }
        gal__ref_put(a->dweight, a->wdt, i, sum);
    }
}

void gal__ref_fill_moe(gal_kernel_table *t) {
    t->k[GAL_K_ROUTE] = (gal_kernel){ route_chunks, route_run };
    t->k[GAL_K_ROUTE_SORT] = (gal_kernel){ one_chunk, sort_run };
    t->k[GAL_K_ROUTE_SUMS] = (gal_kernel){ sums_chunks, sums_run };
    t->k[GAL_K_ROUTE_LOSS] = (gal_kernel){ one_chunk, loss_run };
    t->k[GAL_K_ROUTE_GRAD] = (gal_kernel){ route_grad_chunks, route_grad_run };
    t->k[GAL_K_COMBINE] = (gal_kernel){ combine_chunks, combine_run };
    t->k[GAL_K_COMBINE_GRAD] = (gal_kernel){ combine_grad_chunks, combine_grad_run };
}
