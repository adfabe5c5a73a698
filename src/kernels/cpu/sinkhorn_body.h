/* sinkhorn_body.h - balanced plans over the vector of vec_*.h; included by rows_*.c after rows_body.h.
 *
 * With K = exp(logits - largest of the row - largest that is left of the column) a plan is u K v, and an iteration is
 * two products with K instead of exponentials: every row and every column of K has a 1, so that nothing vanishes as a
 * whole. Where u or v leave a wide range all the same, ref is asked, which stays in the logarithm's domain.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_SINKHORN_BODY_H
#define GAL_KERNELS_CPU_SINKHORN_BODY_H

#include <math.h>

#define SINKHORN_FINEST 1e-5 /* tolerance that f32 can tell */
#define SINKHORN_FAR 1e30F

/* Lies in the caller's room and the scratch. Rows are columns of k, padded with zeros. */
typedef struct sinkhorn_run {
    const gal_k_sinkhorn *a;
    int64_t padded;
    float *k, *u;            /* [E, padded], [padded] */
    float *v, *top, *column; /* [E]; the largest logit less the row's; [E] */
    float *largest;          /* [padded] of each row */
} sinkhorn_run;

static void sinkhorn_matrix(sinkhorn_run *t) {
    const gal_k_sinkhorn *a = t->a;
    const float *l = a->logits;
    for (int64_t n = 0; n < a->n; n++) {
        float m = l[n * a->experts];
        for (int64_t e = 1; e < a->experts; e++) m = GAL_MAX(m, l[n * a->experts + e]);
        t->largest[n] = m;
    }
    for (int64_t e = 0; e < a->experts; e++) {
        float *k = t->k + e * t->padded, top = -INFINITY;
        for (int64_t n = 0; n < a->n; n++) {
            k[n] = l[n * a->experts + e] - t->largest[n];
            top = GAL_MAX(top, k[n]);
        }
        t->top[e] = top;
        for (int64_t n = a->n; n < t->padded; n++) k[n] = -INFINITY;
        for (int64_t n = 0; n < t->padded; n += VL) v_store(k + n, v_exp(v_sub(v_load(k + n), v_set1(top))));
        t->v[e] = expf(top); /* g = 0 at first */
    }
}

/* u = 1 / (N K v) */
static void sinkhorn_rows(sinkhorn_run *t) {
    const gal_k_sinkhorn *a = t->a;
    const V one = v_set1(1.0F), rows = v_set1((float)a->n);
    for (int64_t n = 0; n < t->padded; n += VL) {
        V s = v_zero();
        for (int64_t e = 0; e < a->experts; e++) s = v_fma(v_load(t->k + e * t->padded + n), v_set1(t->v[e]), s);
        v_store(t->u + n, v_div(one, v_mul(s, rows)));
    }
    for (int64_t n = a->n; n < t->padded; n++) t->u[n] = 0.0F;
}

/* What v is to become; how far the columns are off with the one that there is. */
static double sinkhorn_columns(sinkhorn_run *t) {
    const gal_k_sinkhorn *a = t->a;
    double off = 0;
    for (int64_t e = 0; e < a->experts; e++) {
        V s = v_zero();
        for (int64_t n = 0; n < t->padded; n += VL) s = v_fma(v_load(t->k + e * t->padded + n), v_load(t->u + n), s);
        const double sum = (double)v_hsum(s) * (double)a->experts;
        off = GAL_MAX(off, fabs(sum * (double)t->v[e] - 1));
        t->column[e] = (float)(1 / sum);
    }
    return off;
}

static bool sinkhorn_in_range(const sinkhorn_run *t) {
    bool in = true;
    for (int64_t e = 0; e < t->a->experts; e++) in = in && t->v[e] > 1 / SINKHORN_FAR && t->v[e] < SINKHORN_FAR;
    for (int64_t n = 0; n < t->a->n; n++) in = in && t->u[n] > 1 / SINKHORN_FAR && t->u[n] < SINKHORN_FAR;
    return in; /* false for what is not a number, too */
}

/* Whether the plan was made. */
static bool sinkhorn_plan(sinkhorn_run *t) {
    const gal_k_sinkhorn *a = t->a;
    sinkhorn_matrix(t);
    *a->made = 0;
    for (int64_t i = 0;; i++) {
        sinkhorn_rows(t);
        if (!sinkhorn_in_range(t)) return false;
        if (i >= a->iterations || sinkhorn_columns(t) <= a->tolerance) break;
        memcpy(t->v, t->column, (size_t)a->experts * sizeof *t->v);
        *a->made = (int32_t)(i + 1);
    }
    for (int64_t e = 0; e < a->experts; e++) ((float *)a->g)[e] = (float)(log((double)t->v[e]) - (double)t->top[e]);
    for (int64_t n = 0; a->f && n < a->n; n++)
        ((float *)a->f)[n] = (float)(log((double)t->u[n]) - (double)t->largest[n]);
    return true;
}

static int64_t sinkhorn_chunks(const void *args) {
    (void)args;
    return 1;
}
static void sinkhorn_chunk(const void *args, int64_t chunk, void *scratch) {
    const gal_k_sinkhorn *a = args;
    const int64_t padded = (a->n + GAL_SINKHORN_PAD - 1) / GAL_SINKHORN_PAD * GAL_SINKHORN_PAD;
    const bool fits = (padded + 3 * a->experts) * 4 <= GAL_SCRATCH_BYTES && a->work;
    if (fits && a->dt == GAL_F32 && (a->tolerance >= SINKHORN_FINEST || !(a->tolerance > 0))) {
        sinkhorn_run t = { .a = a, .padded = padded, .k = a->work, .u = a->work + a->experts * padded };
        t.v = scratch;
        t.top = t.v + a->experts;
        t.column = t.top + a->experts;
        t.largest = t.column + a->experts;
        if (sinkhorn_plan(&t)) return;
    }
    v_ref_run(GAL_K_SINKHORN, args, chunk, scratch);
}

static void sinkhorn_fill(gal_kernel_table *t) {
    t->k[GAL_K_SINKHORN] = (gal_kernel){ sinkhorn_chunks, sinkhorn_chunk };
}

#endif
