/* softmax.c - softmax over a span of columns of each row, and its gradient. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/ref/ref.h"

#include <math.h>

static int64_t softmax_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_softmax *)args)->n, GAL_REF_ROWS);
}

static void softmax_row(const gal_k_softmax *a, int64_t r) {
    int64_t share = r % (a->n / a->groups), lo = GAL_MAX(0, a->lo[share]), hi = GAL_MIN(a->m, a->hi[share]);
    int64_t row = r * a->m;
    double max = (double)-INFINITY, sum = 0.0;
    for (int64_t m = lo; m < hi; m++) {
        double s = a->scale * gal__ref_get(a->x, a->dt, row + m);
        if (s > max) max = s;
    }
    for (int64_t m = lo; m < hi; m++) sum += exp(a->scale * gal__ref_get(a->x, a->dt, row + m) - max);
    for (int64_t m = 0; m < a->m; m++) {
        bool in = m >= lo && m < hi;
        double y = in ? exp(a->scale * gal__ref_get(a->x, a->dt, row + m) - max) / sum : 0.0;
        gal__ref_put(a->y, a->dt, row + m, y);
    }
}

static void softmax_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_softmax *a = args;
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    for (int64_t n = r.from; n < r.to; n++) softmax_row(a, n);
}

/* x holds the softmax's result; outside of its span that is 0, and so is the gradient. */
static void softmax_grad_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_softmax *a = args;
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    for (int64_t n = r.from; n < r.to; n++) {
        double sum = 0.0;
        for (int64_t i = n * a->m; i < (n + 1) * a->m; i++)
            sum += gal__ref_get(a->x, a->dt, i) * gal__ref_get(a->dy, a->dt, i);
        for (int64_t i = n * a->m; i < (n + 1) * a->m; i++) {
            double dx = a->scale * gal__ref_get(a->x, a->dt, i) * (gal__ref_get(a->dy, a->dt, i) - sum);
            if (a->accumulate) dx += gal__ref_get(a->y, a->dt, i);
            gal__ref_put(a->y, a->dt, i, dx);
        }
    }
}

void gal__ref_fill_softmax(gal_kernel_table *t) {
    t->k[GAL_K_SOFTMAX] = (gal_kernel){ softmax_chunks, softmax_run };
    t->k[GAL_K_SOFTMAX_GRAD] = (gal_kernel){ softmax_chunks, softmax_grad_run };
}
