/* attend_cases.c - attention against its definition, keys listed one by one: packed documents, windows, rolling
 * caches, grouped heads; and its gradient. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel_test.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* p: rows, heads, kv heads, size, window, longest document, cached positions of each document (0: no cache), slots,
 * distances of relative positions (0: none). */
enum { ROWS, HEADS, KV, SIZE, WINDOW, DOCUMENT, CACHED, SLOTS, DISTANCES };

#define PAIR_U 0x1p-8 /* relative error of a number rounded to bf16 */

typedef struct problem {
    gal_k_attend a;
    int64_t sequences;
} problem;

static problem make(kt *t, const int64_t *p) {
    int64_t n = p[ROWS], size = p[SIZE];
    int32_t *start = kt_ints(t, n), *pos = kt_ints(t, n), *seq = kt_ints(t, n);
    int32_t doc = 0, begin = 0;
    int64_t length = p[DOCUMENT];
    for (int64_t i = 0; i < n; i++) {
        if (i - begin == length) { /* documents of different lengths, the last one cut */
            begin = (int32_t)i;
            doc++;
            length = 1 + (length * 5 + 3) % p[DOCUMENT];
        }
        start[i] = begin;
        seq[i] = doc;
        pos[i] = (int32_t)(i - begin + (p[CACHED] ? p[CACHED] + doc : 0));
    }
    problem s = { .sequences = doc + 1 };
    s.a = (gal_k_attend){ .dt = t->dt,
                          .n = n,
                          .heads = p[HEADS],
                          .kv_heads = p[KV],
                          .size = size,
                          .window = p[WINDOW],
                          .scale = 1 / sqrt((double)size),
                          .start = start,
                          .pos = pos,
                          .seq = seq };
    s.a.q = kt_in(t, t->dt, n * p[HEADS] * size, t->scale);
    s.a.k = kt_in(t, t->dt, n * p[KV] * size, 1);
    s.a.v = kt_in(t, t->dt, n * p[KV] * size, t->scale);
    if (p[CACHED]) {
        s.a.slots = p[SLOTS];
        s.a.cdt = t->wdt;
        s.a.ck = kt_in(t, t->wdt, s.sequences * p[KV] * p[SLOTS] * size, 1);
        s.a.cv = kt_in(t, t->wdt, s.sequences * p[KV] * p[SLOTS] * size, t->scale);
    }
    if (p[DISTANCES]) {
        s.a.qr = kt_in(t, t->dt, n * p[HEADS] * size, t->scale);
        s.a.r = kt_in(t, t->dt, p[DISTANCES] * p[HEADS] * size, 1);
        s.a.distances = p[DISTANCES];
    }
    return s;
}

/* The key of position `at` of row n's document, for key-value head g: where, and of which type. NULL: not seen. */
static const char *key_of(const gal_k_attend *a, int64_t n, int64_t g, int64_t at, bool value, gal_dtype *dt) {
    int64_t first = a->pos[a->start[n]], place;
    if (at > a->pos[n] || (a->window > 0 && a->pos[n] - at >= a->window)) return NULL;
    if (at >= first) {
        *dt = a->dt;
        place = ((a->start[n] + at - first) * a->kv_heads + g) * a->size;
        return (const char *)(value ? a->v : a->k) + place * (int64_t)gal_dtype_bytes(*dt);
    }
    if (!a->ck) return NULL;
    *dt = a->cdt;
    place = ((a->seq[n] * a->kv_heads + g) * a->slots + at % a->slots) * a->size;
    return (const char *)(value ? a->cv : a->ck) + place * (int64_t)gal_dtype_bytes(*dt);
}

static double dot(const void *a, gal_dtype adt, int64_t at, const void *b, gal_dtype bdt, int64_t n, double *size) {
    double sum = 0;
    *size = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = kt_get(a, adt, at + i) * kt_get(b, bdt, i);
        sum += x;
        *size += fabs(x);
    }
    return sum;
}

/* What a key `distance` back gets for that; its terms are added to *size. */
static double relative(const gal_k_attend *a, int64_t row, int64_t h, int64_t distance, double *size) {
    if (!a->r) return 0;
    int64_t at = (GAL_MIN(distance, a->distances - 1) * a->heads + h) * a->size;
    double own,
        sum = dot(a->qr, a->dt, row, (const char *)a->r + at * (int64_t)gal_dtype_bytes(a->dt), a->dt, a->size, &own);
    *size += own;
    return sum;
}

static void expect_row(const gal_k_attend *a, int64_t n, int64_t h, kt_out *o, kt_out *lse) {
    int64_t g = h / (a->heads / a->kv_heads), row = (n * a->heads + h) * a->size, end = a->pos[n] + 1, keys = 0;
    double *score = calloc((size_t)end, sizeof *score), max = (double)-INFINITY, sum = 0, worst = 0, size = 0;
    gal_dtype dt = GAL_F32;
    if (!score) abort();
    for (int64_t at = 0; at < end; at++) {
        const char *key = key_of(a, n, g, at, false, &dt);
        score[at] = (double)-INFINITY;
        if (!key) continue;
        score[at] = dot(a->q, a->dt, row, key, dt, a->size, &size);
        score[at] = a->scale * (score[at] + relative(a, row, h, a->pos[n] - at, &size));
        keys++;
        max = fmax(max, score[at]);
        worst = fmax(worst, KT_U * a->scale * size * (double)(a->size + 3));
    }
    for (int64_t at = 0; at < end; at++) sum += exp(score[at] - max);
    /* Each probability: twice the error of a score (its own, the largest's), exp, and a sum over the keys. */
    double rel = 2 * worst + KT_U * ((double)keys + 16 + 2 * fabs(max));
    for (int64_t i = 0; i < a->size; i++) {
        double x = 0, magnitude = 0;
        for (int64_t at = 0; at < end; at++) {
            const char *v = key_of(a, n, g, at, true, &dt);
            if (!v) continue;
            double part = exp(score[at] - max) / sum * kt_get(v, dt, i);
            x += part;
            magnitude += fabs(part);
        }
        o->want[row + i] = x;
        o->abs[row + i] = 2 * rel * magnitude; /* above and below the fraction */
        if (o->half) o->half[row + i] = PAIR_U * magnitude;
    }
    if (lse) {
        lse->want[n * a->heads + h] = max + log(sum);
        lse->abs[n * a->heads + h] = rel;
    }
    free(score);
}

static void setup(kt *t, const int64_t *p) {
    problem s = make(t, p);
    kt_out *o = kt_result(t, t->dt, p[ROWS] * p[HEADS] * p[SIZE], 1);
    kt_out *lse = p[CACHED] ? NULL : kt_result(t, GAL_F32, p[ROWS] * p[HEADS], 1);
    s.a.o = o->p;
    s.a.lse = lse ? lse->p : NULL;
    kt_args(t, &s.a, sizeof s.a);
    double keys = 0;
    for (int64_t n = 0; n < p[ROWS]; n++)
        keys += (double)(p[WINDOW] ? GAL_MIN(p[WINDOW], s.a.pos[n] + 1) : s.a.pos[n] + 1);
    t->flops = 4 * keys * (double)(p[HEADS] * p[SIZE]);
    if (t->c->bench) return;
    o->want = kt_doubles(t, o->n);
    if (t->dt == GAL_BF16 && !s.a.ck && !s.a.r) o->half = kt_doubles(t, o->n); /* probabilities are rounded */
    if (lse) lse->want = kt_doubles(t, lse->n);
    for (int64_t n = 0; n < p[ROWS]; n++)
        for (int64_t h = 0; h < p[HEADS]; h++) expect_row(&s.a, n, h, o, lse);
}

/* Without room for pieces nothing was left in any: the results stay. p as above. (Pieces: attend_simd_test.c.) */
static void setup_join(kt *t, const int64_t *p) {
    problem s = make(t, p);
    kt_out *o = kt_result(t, t->dt, p[ROWS] * p[HEADS] * p[SIZE], 1);
    s.a.o = o->p;
    kt_args(t, &s.a, sizeof s.a);
    if (t->c->bench) return;
    o->exact = true;
    o->want = kt_doubles(t, o->n);
    for (int64_t i = 0; i < o->n; i++) o->want[i] = kt_get(o->p, o->dt, i);
}

/* ---- gradient ----------------------------------------------------------------------------------------------------
 */

/* Adds what query row n of head h and key j give to the three gradients, and how far off each may be. */
static void expect_pair(const gal_k_attend_grad *a, int64_t n, int64_t h, int64_t j, kt_out *out) {
    int64_t size = a->size, row = (n * a->heads + h) * size,
            key = (j * a->kv_heads + h / (a->heads / a->kv_heads)) * size;
    const char *k = (const char *)a->k + key * (int64_t)gal_dtype_bytes(a->dt);
    const char *v = (const char *)a->v + key * (int64_t)gal_dtype_bytes(a->dt);
    const char *o = (const char *)a->o + row * (int64_t)gal_dtype_bytes(a->dt);
    double lse = kt_get(a->lse, GAL_F32, n * a->heads + h), size_s, size_p, size_d;
    double score = dot(a->q, a->dt, row, k, a->dt, size, &size_s), p;
    const gal_k_attend of = {
        .qr = a->qr, .r = a->r, .dt = a->dt, .heads = a->heads, .size = size, .distances = a->distances
    };
    score = a->scale * (score + relative(&of, row, h, n - j, &size_s));
    p = exp(score - lse);
    double dp = dot(a->dout, a->dt, row, v, a->dt, size, &size_p);
    double delta = dot(a->dout, a->dt, row, o, a->dt, size, &size_d);
    double ds = a->scale * p * (dp - delta), length = (double)(size + 4), sums = (double)(2 * a->row_len * a->heads);
    double rel = KT_U * (length * a->scale * size_s + fabs(score) + fabs(lse) + 16);
    /* Probabilities below the least normal number may be 0. */
    double off = a->scale * ((p * rel + (double)FLT_MIN) * fabs(dp - delta) + p * KT_U * length * (size_p + size_d));
    for (int64_t i = 0; i < size; i++) {
        double x[3] = { ds * kt_get(k, a->dt, i), ds * kt_get(a->q, a->dt, row + i),
                        p * kt_get(a->dout, a->dt, row + i) };
        double e[3] = { off * fabs(kt_get(k, a->dt, i)), off * fabs(kt_get(a->q, a->dt, row + i)),
                        rel * fabs(x[2]) + (double)FLT_MIN * fabs(kt_get(a->dout, a->dt, row + i)) };
        for (int w = 0; w < 3; w++) {
            int64_t at = (w == 0 ? row : key) + i;
            out[w].want[at] += x[w];
            out[w].abs[at] += e[w] + sums * KT_U * fabs(x[w]);
            if (out[w].half) out[w].half[at] += PAIR_U * fabs(x[w]) + (double)FLT_MIN;
        }
    }
    if (!a->r) return;
    int64_t at_r = (GAL_MIN(n - j, a->distances - 1) * a->heads + h) * size,
            part = n / a->row_len * a->distances * a->heads * size;
    for (int64_t i = 0; i < size; i++) {
        double r = kt_get(a->r, a->dt, at_r + i), q = kt_get(a->qr, a->dt, row + i);
        out[3].want[row + i] += ds * r;
        out[3].abs[row + i] += off * fabs(r) + sums * KT_U * fabs(ds * r);
        out[4].want[part + at_r + i] += ds * q;
        out[4].abs[part + at_r + i] += off * fabs(q) + sums * KT_U * fabs(ds * q);
    }
}

static void setup_grad(kt *t, const int64_t *p) {
    problem s = make(t, p);
    int64_t nq = p[ROWS] * p[HEADS] * p[SIZE], nk = p[ROWS] * p[KV] * p[SIZE],
            row_len = p[SLOTS] ? p[SLOTS] : p[ROWS];
    for (int64_t i = 0; i < p[ROWS]; i++) { /* no document crosses a multiple of row_len */
        int32_t *start = (int32_t *)(uintptr_t)s.a.start;
        start[i] = (int32_t)GAL_MAX(start[i], i / row_len * row_len);
    }
    s.a.o = kt_in(t, t->dt, nq, 1);
    s.a.lse = kt_in(t, GAL_F32, p[ROWS] * p[HEADS], 1);
    kt_run_ref(GAL_K_ATTEND, &s.a);
    for (int i = 0; i < 3; i++) (void)kt_result(t, t->dt, i ? nk : nq, t->scale);
    int outs = p[DISTANCES] ? 5 : 3;
    if (p[DISTANCES]) {
        (void)kt_result(t, t->dt, nq, t->scale);
        (void)kt_result(t, GAL_F32, p[ROWS] / row_len * p[DISTANCES] * p[HEADS] * p[SIZE], 1);
    }
    gal_k_attend_grad a = { .dq = t->out[0].p,
                            .dk = t->out[1].p,
                            .dv = t->out[2].p,
                            .o = s.a.o,
                            .lse = s.a.lse,
                            .q = s.a.q,
                            .k = s.a.k,
                            .v = s.a.v,
                            .dt = t->dt,
                            .n = s.a.n,
                            .heads = s.a.heads,
                            .kv_heads = s.a.kv_heads,
                            .size = s.a.size,
                            .window = s.a.window,
                            .row_len = row_len,
                            .scale = s.a.scale,
                            .start = s.a.start,
                            .accumulate = t->accumulate,
                            .qr = s.a.qr,
                            .r = s.a.r,
                            .distances = s.a.distances };
    if (a.r) {
        a.dqr = t->out[3].p;
        a.dr = t->out[4].p;
    }
    a.dout = kt_in(t, t->dt, nq, 1);
    kt_args(t, &a, sizeof a);
    for (int64_t n = 0; n < p[ROWS]; n++)
        for (int64_t j = a.start[n]; j <= n; j++)
            t->flops += p[WINDOW] && n - j >= p[WINDOW] ? 0 : 10.0 * (double)(p[HEADS] * p[SIZE]);
    if (t->c->bench) return;
    for (int i = 0; i < outs; i++) {
        kt_out *o = &t->out[i];
        o->want = kt_doubles(t, o->n);
        if (t->dt == GAL_BF16 && !a.r) o->half = kt_doubles(t, o->n); /* p and its gradient are rounded */
        for (int64_t k = 0; t->accumulate && i < 4 && k < o->n; k++) {
            o->want[k] = kt_get(o->p, o->dt, k);
            o->abs[k] = 2 * KT_U * fabs(o->want[k]);
        }
    }
    for (int64_t n = 0; n < a.n; n++)
        for (int64_t h = 0; h < a.heads; h++)
            for (int64_t j = a.start[n]; j <= n; j++)
                if (!a.window || n - j < a.window) expect_pair(&a, n, h, j, t->out);
}

static const kt_case CASES[] = {
    { "attend one row", GAL_K_ATTEND, setup, { 1, 1, 1, 4, 0, 1 }, KT_SCALE, false },
    { "attend 21 rows", GAL_K_ATTEND, setup, { 21, 4, 2, 16, 0, 21 }, KT_SCALE, false },
    { "attend 70 rows, size 24", GAL_K_ATTEND, setup, { 70, 3, 1, 24, 0, 70 }, KT_SCALE, false },
    { "attend documents", GAL_K_ATTEND, setup, { 45, 4, 4, 10, 0, 11 }, KT_SCALE, false },
    { "attend window 1", GAL_K_ATTEND, setup, { 9, 2, 1, 7, 1, 9 }, 0, false },
    { "attend window 5", GAL_K_ATTEND, setup, { 40, 4, 2, 64, 5, 40 }, KT_SCALE, false },
    { "attend window, documents", GAL_K_ATTEND, setup, { 61, 6, 2, 33, 7, 23 }, 0, false },
    { "attend cache, one row", GAL_K_ATTEND, setup, { 1, 4, 2, 16, 0, 1, 37, 64 }, KT_WDT | KT_SCALE, false },
    { "attend cache, three sequences", GAL_K_ATTEND, setup, { 3, 4, 1, 12, 0, 1, 19, 40 }, KT_WDT, false },
    { "attend cache, chunk", GAL_K_ATTEND, setup, { 18, 4, 2, 16, 0, 18, 25, 50 }, KT_WDT, false },
    { "attend rolling cache", GAL_K_ATTEND, setup, { 6, 4, 2, 16, 8, 6, 21, 8 }, KT_WDT, false },
    { "attend rolling cache, long chunk", GAL_K_ATTEND, setup, { 20, 2, 2, 40, 8, 14, 13, 8 }, KT_WDT, false },
    { "attend cache, 300 keys", GAL_K_ATTEND, setup, { 1, 2, 1, 64, 0, 1, 300, 301 }, KT_WDT, false },
    { "attend head of 128", GAL_K_ATTEND, setup, { 40, 2, 1, 128, 0, 40 }, 0, false },
    { "attend head of 200", GAL_K_ATTEND, setup, { 37, 2, 2, 200, 0, 20 }, 0, false },
    { "attend 150 rows", GAL_K_ATTEND, setup, { 150, 4, 2, 64, 0, 150 }, 0, false },
    { "attend cache, long chunk, documents", GAL_K_ATTEND, setup, { 75, 4, 2, 40, 0, 29, 33, 80 }, KT_WDT, false },
    { "attend rolling cache, long chunks", GAL_K_ATTEND, setup, { 70, 2, 1, 16, 16, 40, 21, 16 }, KT_WDT, false },
    { "attend cache, eight heads on a key",
      GAL_K_ATTEND,
      setup,
      { 2, 8, 1, 64, 0, 2, 131, 140 },
      KT_WDT | KT_SCALE,
      false },
    { "attend cache, four heads on a key", GAL_K_ATTEND, setup, { 1, 8, 2, 128, 0, 1, 70, 71 }, KT_WDT, false },
    { "attend cache, a head on a key", GAL_K_ATTEND, setup, { 1, 2, 2, 96, 0, 1, 65, 65 }, KT_WDT, false },
    { "attend rolling cache, three heads on a key",
      GAL_K_ATTEND,
      setup,
      { 3, 6, 2, 32, 50, 3, 120, 50 },
      KT_WDT,
      false },
    { "attend relative, one row", GAL_K_ATTEND, setup, { 1, 1, 1, 4, 0, 1, 0, 0, 1 }, 0, false },
    { "attend relative, 21 rows", GAL_K_ATTEND, setup, { 21, 3, 3, 10, 0, 21, 0, 0, 21 }, KT_SCALE, false },
    { "attend relative, 150 rows", GAL_K_ATTEND, setup, { 150, 2, 2, 24, 0, 150, 0, 0, 150 }, 0, false },
    { "attend relative, few distances", GAL_K_ATTEND, setup, { 139, 2, 2, 33, 0, 90, 0, 0, 70 }, 0, false },
    { "attend relative, documents", GAL_K_ATTEND, setup, { 130, 2, 2, 64, 0, 71, 0, 0, 71 }, KT_SCALE, false },
    { "attend relative, cache, one row", GAL_K_ATTEND, setup, { 1, 4, 4, 16, 0, 1, 137, 150, 150 }, KT_WDT, false },
    { "attend relative, cache, far", GAL_K_ATTEND, setup, { 70, 2, 2, 40, 0, 29, 133, 180, 60 }, KT_WDT, false },
    { "attend_join without pieces", GAL_K_ATTEND_JOIN, setup_join, { 2, 4, 2, 16, 0, 1, 37, 64 }, KT_WDT, false },
    { "attend_grad one row", GAL_K_ATTEND_GRAD, setup_grad, { 1, 1, 1, 4, 0, 1 }, KT_ACC, false },
    { "attend_grad 21 rows", GAL_K_ATTEND_GRAD, setup_grad, { 21, 4, 2, 16, 0, 21 }, KT_SCALE | KT_ACC, false },
    { "attend_grad 35 rows", GAL_K_ATTEND_GRAD, setup_grad, { 35, 3, 1, 26, 0, 35 }, KT_ACC, false },
    { "attend_grad documents", GAL_K_ATTEND_GRAD, setup_grad, { 48, 4, 2, 10, 0, 11, 0, 24 }, KT_ACC, false },
    { "attend_grad window", GAL_K_ATTEND_GRAD, setup_grad, { 40, 4, 2, 32, 5, 40, 0, 20 }, KT_ACC, false },
    { "attend_grad head of 128", GAL_K_ATTEND_GRAD, setup_grad, { 40, 2, 1, 128, 0, 40 }, KT_ACC, false },
    { "attend_grad head of 200", GAL_K_ATTEND_GRAD, setup_grad, { 37, 2, 2, 200, 9, 20, 0, 37 }, 0, false },
    { "attend_grad 100 rows", GAL_K_ATTEND_GRAD, setup_grad, { 100, 4, 2, 64, 0, 100 }, 0, false },
    { "attend_grad relative, one row", GAL_K_ATTEND_GRAD, setup_grad, { 1, 1, 1, 4, 0, 1, 0, 0, 1 }, KT_ACC, false },
    { "attend_grad relative, 21 rows",
      GAL_K_ATTEND_GRAD,
      setup_grad,
      { 21, 3, 3, 10, 0, 21, 0, 0, 21 },
      KT_SCALE | KT_ACC,
      false },
    { "attend_grad relative, 150 rows",
      GAL_K_ATTEND_GRAD,
      setup_grad,
      { 150, 2, 2, 24, 0, 150, 0, 0, 150 },
      KT_ACC,
      false },
    { "attend_grad relative, documents, few distances",
      GAL_K_ATTEND_GRAD,
      setup_grad,
      { 140, 2, 2, 18, 0, 60, 0, 70, 31 },
      KT_ACC,
      false },
    { "attend 512 rows, 16x64", GAL_K_ATTEND, setup, { 512, 16, 4, 64, 0, 512 }, 0, true },
    { "attend 1 row, 2048 cached", GAL_K_ATTEND, setup, { 1, 16, 4, 64, 0, 1, 2048, 2049 }, 0, true },
    { "attend relative 512 rows, 8x64", GAL_K_ATTEND, setup, { 512, 8, 8, 64, 0, 512, 0, 0, 512 }, 0, true },
    { "attend 512 rows, 8x64", GAL_K_ATTEND, setup, { 512, 8, 8, 64, 0, 512 }, 0, true },
    { "attend_grad relative 256 rows, 8x64",
      GAL_K_ATTEND_GRAD,
      setup_grad,
      { 256, 8, 8, 64, 0, 256, 0, 0, 256 },
      0,
      true },
    { "attend_grad 256 rows, 8x64, ungrouped", GAL_K_ATTEND_GRAD, setup_grad, { 256, 8, 8, 64, 0, 256 }, 0, true },
    { "attend_grad 256 rows, 8x64", GAL_K_ATTEND_GRAD, setup_grad, { 256, 8, 4, 64, 0, 256 }, 0, true },
    { "attend 2048 rows, 16x128", GAL_K_ATTEND, setup, { 2048, 16, 4, 128, 0, 2048 }, KT_GPU, true },
    { "attend 8 rows, 4096 cached", GAL_K_ATTEND, setup, { 8, 32, 8, 128, 0, 1, 4096, 4110 }, KT_GPU, true },
    { "attend_grad 512 rows, 16x128", GAL_K_ATTEND_GRAD, setup_grad, { 512, 16, 4, 128, 0, 512 }, KT_GPU, true },
};
const kt_family KT_ATTEND = { "attend", CASES, GAL_LEN(CASES) };
