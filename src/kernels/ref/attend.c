/* attend.c - attention of packed rows, with and without a cache, and its gradient (mistral.md 4, 6-8).
 *
 * Forward: the softmax is taken on the way over the keys: with the largest score so far m, what was summed under an
 * older m is multiplied by exp(old - new). Any number of keys passes without being stored.
 * Gradient: two walks, one for each row's dq, one for each key's dk and dv; scores are computed again in both, so
 * that nothing grows with the length of the rows. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/ref/ref.h"

#include <math.h>

/* Buffers of one head in the scratch; a head that does not fit is no model of this kind. */
enum { HEAD_BUFFERS = 6, HEAD_MAX = GAL_SCRATCH_BYTES / (int)sizeof(double) / HEAD_BUFFERS };

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

/* What its distance adds to a key's score. */
static double relative(const gal_k_attend *a, const double *qr, int64_t h, int64_t distance) {
    if (!a->r) return 0.0;
    int64_t row = GAL_MIN(distance, a->distances - 1);
    return gal__ref_dot(qr, a->r, a->dt, (row * a->heads + h) * a->size, a->size);
}

static void attend_row(const gal_k_attend *a, int64_t n, int64_t h, double *q, double *o) {
    int64_t size = a->size, g = h / (a->heads / a->kv_heads), at = (n * a->heads + h) * size;
    double *qr = o + size;
    gal__ref_load(q, a->q, a->dt, at, size);
    if (a->r) gal__ref_load(qr, a->qr, a->dt, at, size);
    for (int64_t i = 0; i < size; i++) o[i] = 0.0;
    running r = { (double)-INFINITY, 0.0, o };
    if (a->ck) {
        int64_t pos = a->pos[n], end = a->pos[a->start[n]];
        int64_t first = a->window > 0 ? GAL_MAX(0, pos - a->window + 1) : 0;
        int64_t base = (a->seq[n] * a->kv_heads + g) * a->slots;
        for (int64_t p = first; p < end; p++) {
            int64_t key = (base + p % a->slots) * size;
            double score = gal__ref_dot(q, a->ck, a->cdt, key, size) + relative(a, qr, h, pos - p);
            see_key(&r, a->scale * score, a->cv, a->cdt, key, size);
        }
    }
    int64_t first = a->window > 0 ? GAL_MAX(a->start[n], n - a->window + 1) : a->start[n];
    for (int64_t j = first; j <= n; j++) {
        int64_t key = (j * a->kv_heads + g) * size;
        double score = gal__ref_dot(q, a->k, a->dt, key, size) + relative(a, qr, h, n - j);
        see_key(&r, a->scale * score, a->v, a->dt, key, size);
    }
    for (int64_t i = 0; i < size; i++) o[i] /= r.sum;
    gal__ref_store(a->o, a->dt, at, o, size);
    if (a->lse) gal__ref_put(a->lse, gal_stat_dtype(a->dt), n * a->heads + h, r.max + log(r.sum));
}

static void attend_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_attend *a = args;
    GAL_ASSERT(a->size <= HEAD_MAX && a->heads % a->kv_heads == 0 && (!a->r || a->heads == a->kv_heads));
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
    double lse, delta;     /* delta: sum of dout o, what the softmax's own gradient subtracts */
    double *q, *dout, *qr; /* [K] */
    int64_t n, h;
} query;

static void load_query(const gal_k_attend_grad *a, query *s, int64_t n, int64_t h) {
    int64_t row = n * a->heads + h;
    s->n = n;
    s->h = h;
    gal__ref_load(s->q, a->q, a->dt, row * a->size, a->size);
    if (a->r) gal__ref_load(s->qr, a->qr, a->dt, row * a->size, a->size);
    gal__ref_load(s->dout, a->dout, a->dt, row * a->size, a->size);
    s->lse = gal__ref_get(a->lse, gal_stat_dtype(a->dt), row);
    s->delta = gal__ref_dot(s->dout, a->o, a->dt, row * a->size, a->size);
}

/* Where r begins for a head and the distance of key row j. */
static int64_t relative_at(const gal_k_attend_grad *a, const query *s, int64_t j) {
    return (GAL_MIN(s->n - j, a->distances - 1) * a->heads + s->h) * a->size;
}

/* The probability of key row j, and the gradient of its score before scaling. */
static double key_grad(const gal_k_attend_grad *a, const query *s, int64_t g, int64_t j, double *ds) {
    int64_t key = (j * a->kv_heads + g) * a->size;
    double score = gal__ref_dot(s->q, a->k, a->dt, key, a->size);
    if (a->r) score += gal__ref_dot(s->qr, a->r, a->dt, relative_at(a, s, j), a->size);
    double p = exp(a->scale * score - s->lse);
    *ds = a->scale * p * (gal__ref_dot(s->dout, a->v, a->dt, key, a->size) - s->delta);
    return p;
}

static void grad_of_query(const gal_k_attend_grad *a, int64_t n, int64_t h, int64_t g, query *s, double *dq,
                          double *dqr) {
    load_query(a, s, n, h);
    for (int64_t i = 0; i < a->size; i++) dq[i] = dqr[i] = 0.0;
    int64_t first = a->window > 0 ? GAL_MAX(a->start[n], n - a->window + 1) : a->start[n];
    for (int64_t j = first; j <= n; j++) {
        double ds;
        (void)key_grad(a, s, g, j, &ds);
        gal__ref_axpy(dq, ds, a->k, a->dt, (j * a->kv_heads + g) * a->size, a->size);
        if (a->r) gal__ref_axpy(dqr, ds, a->r, a->dt, relative_at(a, s, j), a->size);
    }
    gal__ref_store_or_add(a->dq, a->dt, (n * a->heads + h) * a->size, dq, a->size, a->accumulate);
    if (a->r) gal__ref_store_or_add(a->dqr, a->dt, (n * a->heads + h) * a->size, dqr, a->size, a->accumulate);
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
            double p = key_grad(a, s, g, j, &ds);
            for (int64_t i = 0; i < a->size; i++) {
                dk[i] += ds * s->q[i];
                dv[i] += p * s->dout[i];
            }
        }
    gal__ref_store_or_add(a->dk, a->dt, key, dk, a->size, a->accumulate);
    gal__ref_store_or_add(a->dv, a->dt, key, dv, a->size, a->accumulate);
}

/* Of the rows from `from` on that a chunk has. The last distance stands for those beyond it, too. */
static void grad_of_distance(const gal_k_attend_grad *a, int64_t m, int64_t h, int64_t from, query *s, double *dr) {
    int64_t end = from + a->row_len, part = from / a->row_len * a->distances;
    for (int64_t i = 0; i < a->size; i++) dr[i] = 0.0;
    for (int64_t n = from + m; n < end; n++) {
        int64_t first = a->window > 0 ? GAL_MAX(a->start[n], n - a->window + 1) : a->start[n];
        if (n - m < first) continue;
        load_query(a, s, n, h);
        for (int64_t j = n - m; j >= first; j--) {
            double ds;
            (void)key_grad(a, s, h, j, &ds);
            for (int64_t i = 0; i < a->size; i++) dr[i] += ds * s->qr[i];
            if (m < a->distances - 1) break;
        }
    }
    gal__ref_store(a->dr, gal_stat_dtype(a->dt), ((part + m) * a->heads + h) * a->size, dr, a->size);
}

static void attend_grad_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_attend_grad *a = args;
    GAL_ASSERT(a->size <= HEAD_MAX && a->heads % a->kv_heads == 0 && a->n % a->row_len == 0);
    GAL_ASSERT(!a->r || a->heads == a->kv_heads);
    int64_t from = chunk / a->kv_heads * a->row_len, end = from + a->row_len, g = chunk % a->kv_heads;
    int64_t rep = a->heads / a->kv_heads;
    double *buffer = scratch, *d0 = buffer + 3 * a->size, *d1 = buffer + 4 * a->size;
    query s = { .q = buffer, .dout = buffer + a->size, .qr = buffer + 2 * a->size };
    for (int64_t n = from; n < end; n++)
        for (int64_t h = g * rep; h < (g + 1) * rep; h++) grad_of_query(a, n, h, g, &s, d0, d1);
    for (int64_t j = from; j < end; j++) grad_of_key(a, j, g, end, &s, d0, d1);
    for (int64_t m = 0; a->r && m < a->distances; m++) grad_of_distance(a, m, g, from, &s, d0);
}

void gal__ref_fill_attend(gal_kernel_table *t) {
    t->k[GAL_K_ATTEND] = (gal_kernel){ attend_chunks, attend_run };
    t->k[GAL_K_ATTEND_JOIN] = (gal_kernel){ join_chunks, join_run };
    t->k[GAL_K_ATTEND_GRAD] = (gal_kernel){ attend_grad_chunks, attend_grad_run };
}
