/* attend.c - attention of packed rows, with and without a cache, and its gradient (mistral.md 4, 6-8).
 *
 * Forward: the softmax is taken on the way over the keys: with the largest score so far m, what was summed under an
 * older m is multiplied by exp(old - new). Any number of keys passes without being stored.
 * Gradient: two walks, one for each row's dq, one for each key's dk and dv; scores are computed again in both, so
 * that nothing grows with the length of the rows. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/ref/ref.h"

#include <math.h>

/* Buffers of one head in the scratch; a head that does not fit is no model of this kind. */
enum { HEAD_BUFFERS = 4, HEAD_MAX = GAL_SCRATCH_BYTES / (int)sizeof(double) / HEAD_BUFFERS };

/* Sums of one query head over the keys seen so far. */
typedef struct running {
    double max, sum;
    double *o; /* [K] */
} running;

static void see_key(running *r, double score, const void *v, gal_dtype dt, int64_t at, int64_t size) {
    if (score > r->max) {
        double shrink = exp(r->max - score); /* the first key: exp(-inf) = 0 */
        r->sum *= shrink;
        for (int64_t i = 0; i < size; i++) r->o[i] *= shrink;
        r->max = score;
    }
    double p = exp(score - r->max);
    r->sum += p;
    gal__ref_axpy(r->o, p, v, dt, at, size);
}

static int64_t attend_chunks(const void *args) {
    const gal_k_attend *a = args;
    return gal__ref_pieces(a->n, GAL_REF_ROWS) * a->heads;
}

static void attend_row(const gal_k_attend *a, int64_t n, int64_t h, double *q, double *o) {
    int64_t size = a->size, g = h / (a->heads / a->kv_heads), at = (n * a->heads + h) * size;
    gal__ref_load(q, a->q, a->dt, at, size);
    for (int64_t i = 0; i < size; i++) o[i] = 0.0;
    running r = { (double)-INFINITY, 0.0, o };
    if (a->ck) {
        int64_t pos = a->pos[n], end = a->pos[a->start[n]];
        int64_t first = a->window > 0 ? GAL_MAX(0, pos - a->window + 1) : 0;
        int64_t base = (a->seq[n] * a->kv_heads + g) * a->slots;
        for (int64_t p = first; p < end; p++) {
            int64_t key = (base + p % a->slots) * size;
            see_key(&r, a->scale * gal__ref_dot(q, a->ck, a->cdt, key, size), a->cv, a->cdt, key, size);
        }
    }
    int64_t first = a->window > 0 ? GAL_MAX(a->start[n], n - a->window + 1) : a->start[n];
    for (int64_t j = first; j <= n; j++) {
        int64_t key = (j * a->kv_heads + g) * size;
        see_key(&r, a->scale * gal__ref_dot(q, a->k, a->dt, key, size), a->v, a->dt, key, size);
    }
    for (int64_t i = 0; i < size; i++) o[i] /= r.sum;
    gal__ref_store(a->o, a->dt, at, o, size);
    if (a->lse) gal__ref_put(a->lse, gal_stat_dtype(a->dt), n * a->heads + h, r.max + log(r.sum));
}

static void attend_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_attend *a = args;
    GAL_ASSERT(a->size <= HEAD_MAX && a->heads % a->kv_heads == 0);
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk / a->heads);
    double *q = scratch, *o = q + a->size;
    for (int64_t n = r.from; n < r.to; n++) attend_row(a, n, chunk % a->heads, q, o);
}

/* Nothing was left in pieces. */
static int64_t join_chunks(const void *args) {
    (void)args;
    return 0;
}
static void join_run(const void *args, int64_t chunk, void *scratch) {
    (void)args;
    (void)chunk;
    (void)scratch;
}

static int64_t attend_grad_chunks(const void *args) {
    const gal_k_attend_grad *a = args;
    return a->n / a->row_len * a->kv_heads;
}

/* What the gradient of one query row and head needs at every key. */
typedef struct query {
    double lse, delta; /* delta: sum of dout o, what the softmax's own gradient subtracts */
    double *q, *dout;  /* [K] */
} query;

static void load_query(const gal_k_attend_grad *a, query *s, int64_t n, int64_t h) {
    int64_t row = n * a->heads + h;
    gal__ref_load(s->q, a->q, a->dt, row * a->size, a->size);
    gal__ref_load(s->dout, a->dout, a->dt, row * a->size, a->size);
    s->lse = gal__ref_get(a->lse, gal_stat_dtype(a->dt), row);
    s->delta = gal__ref_dot(s->dout, a->o, a->dt, row * a->size, a->size);
}

/* The probability of a key, and the gradient of its score before scaling. */
static double key_grad(const gal_k_attend_grad *a, const query *s, int64_t key, double *ds) {
    double p = exp(a->scale * gal__ref_dot(s->q, a->k, a->dt, key, a->size) - s->lse);
    *ds = a->scale * p * (gal__ref_dot(s->dout, a->v, a->dt, key, a->size) - s->delta);
    return p;
}

static void grad_of_query(const gal_k_attend_grad *a, int64_t n, int64_t h, int64_t g, query *s, double *dq) {
    load_query(a, s, n, h);
    for (int64_t i = 0; i < a->size; i++) dq[i] = 0.0;
    int64_t first = a->window > 0 ? GAL_MAX(a->start[n], n - a->window + 1) : a->start[n];
    for (int64_t j = first; j <= n; j++) {
        int64_t key = (j * a->kv_heads + g) * a->size;
        double ds;
        (void)key_grad(a, s, key, &ds);
        gal__ref_axpy(dq, ds, a->k, a->dt, key, a->size);
    }
    gal__ref_store_or_add(a->dq, a->dt, (n * a->heads + h) * a->size, dq, a->size, a->accumulate);
}

/* end: first row beyond the piece. Rows of a document are consecutive: the first that starts after j ends the walk.
 */
static void grad_of_key(const gal_k_attend_grad *a, int64_t j, int64_t g, int64_t end, query *s, double *dk,
                        double *dv) {
    int64_t rep = a->heads / a->kv_heads, key = (j * a->kv_heads + g) * a->size;
    for (int64_t i = 0; i < a->size; i++) dk[i] = dv[i] = 0.0;
    if (a->window > 0) end = GAL_MIN(end, j + a->window);
    for (int64_t n = j; n < end && a->start[n] <= j; n++)
        for (int64_t h = g * rep; h < (g + 1) * rep; h++) {
            double ds;
            load_query(a, s, n, h);
            double p = key_grad(a, s, key, &ds);
            for (int64_t i = 0; i < a->size; i++) {
                dk[i] += ds * s->q[i];
                dv[i] += p * s->dout[i];
            }
        }
    gal__ref_store_or_add(a->dk, a->dt, key, dk, a->size, a->accumulate);
    gal__ref_store_or_add(a->dv, a->dt, key, dv, a->size, a->accumulate);
}

static void attend_grad_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_attend_grad *a = args;
    GAL_ASSERT(a->size <= HEAD_MAX && a->heads % a->kv_heads == 0 && a->n % a->row_len == 0);
    int64_t from = chunk / a->kv_heads * a->row_len, end = from + a->row_len, g = chunk % a->kv_heads;
    int64_t rep = a->heads / a->kv_heads;
    double *buffer = scratch, *d0 = buffer + 2 * a->size, *d1 = buffer + 3 * a->size;
    query s = { .q = buffer, .dout = buffer + a->size };
    for (int64_t n = from; n < end; n++)
        for (int64_t h = g * rep; h < (g + 1) * rep; h++) grad_of_query(a, n, h, g, &s, d0);
    for (int64_t j = from; j < end; j++) grad_of_key(a, j, g, end, &s, d0, d1);
}

void gal__ref_fill_attend(gal_kernel_table *t) {
    t->k[GAL_K_ATTEND] = (gal_kernel){ attend_chunks, attend_run };
    t->k[GAL_K_ATTEND_JOIN] = (gal_kernel){ join_chunks, join_run };
    t->k[GAL_K_ATTEND_GRAD] = (gal_kernel){ attend_grad_chunks, attend_grad_run };
}
