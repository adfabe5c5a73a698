/* loss.c - cross entropy of rows of logits, and the weighted sum of losses. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/ref/ref.h"

#include <math.h>

/* A row is a vocabulary long: few rows make a chunk. */
enum { XENT_ROWS = 4 };

static int64_t xent_chunks(const void *args) { return gal__ref_pieces(((const gal_k_xent *)args)->r, XENT_ROWS); }

static double log_sum_exp(const void *x, gal_dtype dt, int64_t at, int64_t n) {
    double part[GAL_REF_PART], max = (double)-INFINITY, sum = 0.0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t k = 0; k < n; k += GAL_REF_PART) {
            int64_t some = GAL_MIN(n - k, GAL_REF_PART);
            gal__ref_load(part, x, dt, at + k, some);
            if (pass == 0)
                for (int64_t i = 0; i < some; i++) max = part[i] > max ? part[i] : max;
            else
                for (int64_t i = 0; i < some; i++) sum += exp(part[i] - max);
        }
    /* cppcheck-suppress invalidFunctionArg ; a vocabulary has entries, and the largest adds 1 */
    return max + log(sum);
}

static void xent_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_xent *a = args;
    gal__range r = gal__ref_piece(a->r, XENT_ROWS, chunk);
    for (int64_t n = r.from; n < r.to; n++) {
        double lse = log_sum_exp(a->logits, a->dt, n * a->v, a->v);
        int32_t target = a->target[n];
        gal__ref_put(a->lse, a->dt, n, lse);
        gal__ref_put(a->loss, a->dt, n, target < 0 ? 0.0 : lse - gal__ref_get(a->logits, a->dt, n * a->v + target));
    }
}

static void xent_grad_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_xent *a = args;
    gal__range r = gal__ref_piece(a->r, XENT_ROWS, chunk);
    double part[GAL_REF_PART];
    for (int64_t n = r.from; n < r.to; n++) {
        double lse = gal__ref_get(a->lse, a->dt, n), dloss = gal__ref_get(a->dloss, a->dt, n);
        int32_t target = a->target[n];
        for (int64_t k = 0; k < a->v; k += GAL_REF_PART) {
            int64_t some = GAL_MIN(a->v - k, GAL_REF_PART);
            gal__ref_load(part, a->logits, a->dt, n * a->v + k, some);
            for (int64_t i = 0; i < some; i++)
                part[i] = target < 0 ? 0.0 : dloss * (exp(part[i] - lse) - (k + i == target ? 1.0 : 0.0));
            gal__ref_store(a->logits, a->dt, n * a->v + k, part, some);
        }
    }
}

static int64_t one_chunk(const void *args) {
    (void)args;
    return 1;
}

static void wsum_run(const void *args, int64_t chunk, void *scratch) {
    (void)chunk, (void)scratch;
    const gal_k_wsum *a = args;
    double sum = 0.0;
    for (int64_t n = 0; n < a->n; n++) sum += gal__ref_get(a->x, a->dt, n) * (double)a->weight[n];
    gal__ref_put(a->y, a->dt, 0, sum);
}

static void wsum_grad_run(const void *args, int64_t chunk, void *scratch) {
    (void)chunk, (void)scratch;
    const gal_k_wsum *a = args;
    double dy = gal__ref_get(a->dy, a->dt, 0);
    for (int64_t n = 0; n < a->n; n++) {
        double dx = dy * (double)a->weight[n];
        if (a->accumulate) dx += gal__ref_get(a->y, a->dt, n);
        gal__ref_put(a->y, a->dt, n, dx);
    }
}

void gal__ref_fill_loss(gal_kernel_table *t) {
    t->k[GAL_K_XENT] = (gal_kernel){ xent_chunks, xent_run };
    t->k[GAL_K_XENT_GRAD] = (gal_kernel){ xent_chunks, xent_grad_run };
    t->k[GAL_K_WSUM] = (gal_kernel){ one_chunk, wsum_run };
    t->k[GAL_K_WSUM_GRAD] = (gal_kernel){ one_chunk, wsum_grad_run };
}
