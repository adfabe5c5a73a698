/* attend_simd_test.c - attention and its gradient of each level against ref: tails, windows, documents, caches.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/rows_support.h"
#include "support/thin.h"
#include "tensor/blocks.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct shape {
    int64_t n, heads, kv_heads, size, window, document; /* rows of a document; the last may be shorter */
    double amplitude;                                   /* of queries and keys */
    int64_t cached, slots;                              /* cached 0: no cache; document d has cached + 3 d */
    gal_dtype cdt;
    int64_t row_len; /* gradient */
} shape;

static const shape forward[] = {
    { 1, 1, 1, 8, 0, 1, 1, 0, 0, GAL_F32, 0 },          { 5, 2, 1, 16, 0, 5, 1, 0, 0, GAL_F32, 0 },
    { 67, 4, 2, 48, 0, 67, 2, 0, 0, GAL_F32, 0 },       { 150, 4, 4, 64, 0, 150, 4, 0, 0, GAL_F32, 0 },
    { 130, 2, 2, 24, 1, 130, 1, 0, 0, GAL_F32, 0 },     { 200, 3, 1, 10, 33, 200, 1, 0, 0, GAL_F32, 0 },
    { 140, 8, 2, 32, 70, 37, 1, 0, 0, GAL_F32, 0 },     { 40, 6, 2, 160, 0, 9, 1, 0, 0, GAL_F32, 0 },
    { 33, 9, 1, 7, 5, 33, 30, 0, 0, GAL_F32, 0 },       { 6, 96, 1, 18, 0, 6, 1, 0, 0, GAL_F32, 0 },
    { 1, 4, 1, 128, 0, 1, 1, 300, 512, GAL_F32, 0 },    { 1, 32, 8, 64, 0, 1, 1, 65, 70, GAL_BF16, 0 },
    { 3, 4, 2, 64, 16, 1, 1, 40, 16, GAL_F32, 0 },      { 40, 4, 2, 48, 16, 40, 1, 50, 16, GAL_BF16, 0 },
    { 50, 2, 1, 20, 100, 17, 3, 150, 110, GAL_F16, 0 }, { 70, 2, 2, 64, 0, 35, 1, 130, 240, GAL_F32, 0 },
    { 7, 1, 1, 33, 3, 7, 1, 2, 3, GAL_F32, 0 },         { 20, 8, 1, 40, 1, 4, 1, 9, 1, GAL_F32, 0 },
};

/* Caches of all types: few and many queries on a key, groups that tiles do not divide, sizes that vectors do not,
 * rings, windows, and, from 1024 cached keys on, pieces. */
static const shape cached[] = {
    { 1, 8, 1, 64, 0, 1, 1, 200, 201, GAL_F32, 0 },      { 1, 4, 1, 128, 0, 1, 2, 65, 70, GAL_F32, 0 },
    { 1, 2, 2, 32, 0, 1, 1, 64, 65, GAL_F32, 0 },        { 1, 3, 1, 96, 0, 1, 1, 17, 20, GAL_F32, 0 },
    { 1, 12, 1, 256, 0, 1, 1, 31, 40, GAL_F32, 0 },      { 3, 10, 2, 64, 0, 3, 1, 100, 110, GAL_F32, 0 },
    { 5, 8, 4, 160, 40, 5, 1, 90, 40, GAL_F32, 0 },      { 4, 6, 2, 64, 20, 1, 1, 70, 25, GAL_F32, 0 },
    { 40, 8, 2, 64, 0, 40, 1, 130, 170, GAL_F32, 0 },    { 33, 4, 4, 96, 50, 11, 1, 80, 50, GAL_F32, 0 },
    { 1, 8, 2, 64, 0, 1, 1, 1023, 1030, GAL_F32, 0 },    { 1, 8, 2, 64, 0, 1, 1, 1024, 1030, GAL_F32, 0 },
    { 1, 2, 1, 64, 0, 1, 1, 9000, 9001, GAL_F32, 0 },    { 5, 4, 2, 32, 0, 5, 1, 1100, 1200, GAL_F32, 0 },
    { 3, 4, 1, 64, 1500, 1, 1, 2000, 1500, GAL_F32, 0 }, { 16, 2, 1, 32, 0, 1, 1, 1010, 1060, GAL_F32, 0 },
    { 9, 40, 1, 32, 0, 9, 1, 1100, 1110, GAL_F32, 0 }, /* more queries than a chunk takes rows of */
};

static const shape gradient[] = {
    { 1, 1, 1, 8, 0, 1, 1, 0, 0, GAL_F32, 1 },          { 67, 2, 1, 16, 0, 67, 1, 0, 0, GAL_F32, 67 },
    { 192, 2, 2, 48, 0, 96, 2, 0, 0, GAL_F32, 96 },     { 150, 4, 2, 64, 40, 150, 1, 0, 0, GAL_F32, 150 },
    { 140, 4, 1, 24, 1, 140, 1, 0, 0, GAL_F32, 140 },   { 140, 3, 1, 10, 90, 21, 1, 0, 0, GAL_F32, 70 },
    { 260, 4, 1, 40, 200, 130, 1, 0, 0, GAL_F32, 130 }, { 30, 6, 2, 128, 0, 7, 1, 0, 0, GAL_F32, 30 },
    { 65, 40, 1, 400, 0, 65, 1, 0, 0, GAL_F32, 65 }, /* dq of the chunk is larger than the scratch */
};

static int64_t document_of(const shape *s, int64_t row) { return row / s->document; }
static int64_t cached_of(const shape *s, int64_t row) { return s->cached ? s->cached + 3 * document_of(s, row) : 0; }

/* A score sums size products of at most |q k|; its error moves a probability by as much, relatively. */
static double score_error(const shape *s, double scale) {
    double size = (double)s->size;
    return (size + 4) * 0x1p-24 * size * s->amplitude * s->amplitude * scale;
}

/* Whether a document's cached keys are cut. */
static bool pieces(const shape *s) {
    for (int64_t n = 0; n < s->n; n += s->document) {
        int64_t keys = cached_of(s, n);
        if ((s->window ? GAL_MIN(keys, s->window - 1) : keys) >= 1024) return true;
    }
    return false;
}

static void attend_case(const gal_kernel_table *t, const shape *s, gal_dtype dt) {
    int64_t nq = s->n * s->heads * s->size, nk = s->n * s->kv_heads * s->size,
            documents = document_of(s, s->n - 1) + 1;
    int64_t nc = documents * s->kv_heads * s->slots * s->size;
    int32_t *start = rows_ints(s->n), *pos = rows_ints(s->n), *seq = rows_ints(s->n);
    for (int64_t i = 0; i < s->n; i++) {
        start[i] = (int32_t)(document_of(s, i) * s->document);
        pos[i] = (int32_t)(cached_of(s, i) + i - start[i]);
        seq[i] = (int32_t)(documents - 1 - document_of(s, i));
    }
    gal_k_attend a = { .q = rows_random(dt, nq, s->amplitude),
                       .k = rows_random(dt, nk, s->amplitude),
                       .v = rows_random(dt, nk, 1.0),
                       .dt = dt,
                       .n = s->n,
                       .heads = s->heads,
                       .kv_heads = s->kv_heads,
                       .size = s->size,
                       .window = s->window,
                       .scale = 1.0 / sqrt((double)s->size),
                       .start = start,
                       .pos = pos,
                       .seq = seq,
                       .cdt = s->cdt,
                       .slots = s->slots };
    if (s->cached) {
        a.ck = rows_random(s->cdt, nc, s->amplitude);
        a.cv = rows_random(s->cdt, nc, 1.0);
    }
    float *part = s->cached && s->n <= GAL_ATTEND_SPLIT
                      ? rows_random(GAL_F32, s->n * s->heads * GAL_ATTEND_PIECES * (s->size + 2), 1.0)
                      : NULL;
    void *want = rows_zeros(dt, nq), *got = rows_random(dt, nq, 1.0);
    void *want_lse = rows_zeros(GAL_F32, s->n * s->heads), *got_lse = rows_zeros(GAL_F32, s->n * s->heads);
    a.o = want;
    a.lse = want_lse;
    rows_run(rows_ref(), GAL_K_ATTEND, &a);
    a.o = got;
    a.lse = got_lse;
    a.part = part;
    rows_run(t, GAL_K_ATTEND, &a);
    rows_run(t, GAL_K_ATTEND_JOIN, &a);
    char what[160];
    (void)snprintf(what, sizeof what, "%s attend dt %d n %lld size %lld window %lld cache %lld %s", t->name, (int)dt,
                   (long long)s->n, (long long)s->size, (long long)s->window, (long long)s->cached,
                   gal_dtype_name(s->cdt));
    if (part) assert_int_equal(t->k[GAL_K_ATTEND_JOIN].chunks(&a) > 0, pieces(s));
    double keys = (double)(s->n + s->cached + 3 * documents), e = score_error(s, a.scale);
    rows_close(what, got, want, dt, nq, 2 * e + (keys + 8) * 0x1p-24, 2 * rows_eps(dt));
    rows_close(what, got_lse, want_lse, GAL_F32, s->n * s->heads, e + (keys + 8) * 0x1p-24, 0x1p-22);
    a.lse = NULL;
    a.o = rows_zeros(dt, nq);
    rows_run(t, GAL_K_ATTEND, &a);
    rows_run(t, GAL_K_ATTEND_JOIN, &a);
    rows_close(what, a.o, got, dt, nq, 0, 0);
    a.part = NULL; /* in one piece */
    rows_run(t, GAL_K_ATTEND, &a);
    rows_run(t, GAL_K_ATTEND_JOIN, &a);
    rows_close(what, a.o, want, dt, nq, 2 * e + (keys + 8) * 0x1p-24, 2 * rows_eps(dt));
    rows_free_all();
}

static void attend_matches_ref(void **state) {
    (void)state;
    int n;
    const gal_kernel_table *t = rows_levels(&n);
    if (n == 0) skip(); /* a processor with no level but ref, which is what others are compared with */
    for (int l = 0; l < n; l++) {
        for (size_t i = 0; i < GAL_LEN(forward); i++) {
            attend_case(&t[l], &forward[i], GAL_F32);
            attend_case(&t[l], &forward[i], GAL_BF16);
        }
    }
}

static void caches_match_ref(void **state) {
    (void)state;
    static const gal_dtype types[] = { GAL_F32, GAL_F16, GAL_BF16, GAL_Q8_0, GAL_Q4_0 };
    int n;
    const gal_kernel_table *t = rows_levels(&n);
    if (n == 0) skip(); /* a processor with no level but ref, which is what others are compared with */
    for (int l = 0; l < n; l++)
        for (size_t i = 0; i < GAL_LEN(cached) * GAL_LEN(types); i++) {
            shape s = cached[i / GAL_LEN(types)];
            if (thin_skip(i, 3)) continue;
            s.cdt = types[i % GAL_LEN(types)];
            attend_case(&t[l], &s, i % 3 == 1 ? GAL_BF16 : GAL_F32);
        }
}

/* The reference with keys in blocks is the reference with the blocks' numbers. */
static void blocks_are_numbers(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        const gal_dtype cdt = i ? GAL_Q4_0 : GAL_Q8_0;
        enum { HEADS = 4, KV = 2, SIZE = 64, SLOTS = 40, COUNT = KV * SLOTS * SIZE };
        int32_t *start = rows_ints(1), *pos = rows_ints(1), *seq = rows_ints(1);
        pos[0] = 37;
        void *ck = rows_random(cdt, COUNT, 2.0), *cv = rows_random(cdt, COUNT, 1.0);
        float *k = rows_zeros(GAL_F32, COUNT), *v = rows_zeros(GAL_F32, COUNT);
        gal_block_dequantise(gal_dtype_block(cdt), ck, k, COUNT);
        gal_block_dequantise(gal_dtype_block(cdt), cv, v, COUNT);
        gal_k_attend a = { .o = rows_zeros(GAL_F32, HEADS * SIZE),
                           .q = rows_random(GAL_F32, HEADS * SIZE, 1.0),
                           .k = rows_random(GAL_F32, KV * SIZE, 1.0),
                           .v = rows_random(GAL_F32, KV * SIZE, 1.0),
                           .dt = GAL_F32,
                           .n = 1,
                           .heads = HEADS,
                           .kv_heads = KV,
                           .size = SIZE,
                           .scale = 0.125,
                           .start = start,
                           .pos = pos,
                           .seq = seq,
                           .ck = ck,
                           .cv = cv,
                           .cdt = cdt,
                           .slots = SLOTS };
        rows_run(rows_ref(), GAL_K_ATTEND, &a);
        void *got = a.o;
        a.o = rows_zeros(GAL_F32, HEADS * SIZE);
        a.ck = k;
        a.cv = v;
        a.cdt = GAL_F32;
        rows_run(rows_ref(), GAL_K_ATTEND, &a);
        assert_memory_equal(got, a.o, HEADS * SIZE * sizeof(float));
        rows_free_all();
    }
}

static void grad_case(const gal_kernel_table *t, const shape *s, gal_dtype dt, bool accumulate) {
    int64_t nq = s->n * s->heads * s->size, nk = s->n * s->kv_heads * s->size, nl = s->n * s->heads;
    int32_t *start = rows_ints(s->n), *pos = rows_ints(s->n);
    for (int64_t i = 0; i < s->n; i++) {
        int64_t piece = i / s->row_len * s->row_len;
        start[i] = (int32_t)(piece + (i - piece) / s->document * s->document);
        pos[i] = (int32_t)(i - start[i]);
    }
    gal_k_attend f = { .o = rows_zeros(dt, nq),
                       .lse = rows_zeros(GAL_F32, nl),
                       .q = rows_random(dt, nq, s->amplitude),
                       .k = rows_random(dt, nk, s->amplitude),
                       .v = rows_random(dt, nk, 1.0),
                       .dt = dt,
                       .n = s->n,
                       .heads = s->heads,
                       .kv_heads = s->kv_heads,
                       .size = s->size,
                       .window = s->window,
                       .scale = 1.0 / sqrt((double)s->size),
                       .start = start,
                       .pos = pos };
    rows_run(rows_ref(), GAL_K_ATTEND, &f);
    gal_k_attend_grad a = { .dout = rows_random(dt, nq, 1.0),
                            .o = f.o,
                            .lse = f.lse,
                            .q = f.q,
                            .k = f.k,
                            .v = f.v,
                            .dt = dt,
                            .n = s->n,
                            .heads = s->heads,
                            .kv_heads = s->kv_heads,
                            .size = s->size,
                            .window = s->window,
                            .row_len = s->row_len,
                            .scale = f.scale,
                            .start = start,
                            .accumulate = accumulate };
    void *want[3] = { rows_random(dt, nq, 1.0), rows_random(dt, nk, 1.0), rows_random(dt, nk, 1.0) }, *got[3];
    for (int i = 0; i < 3; i++) got[i] = rows_copy(dt, want[i], i ? nk : nq);
    a.dq = want[0];
    a.dk = want[1];
    a.dv = want[2];
    rows_run(rows_ref(), GAL_K_ATTEND_GRAD, &a);
    a.dq = got[0];
    a.dk = got[1];
    a.dv = got[2];
    rows_run(t, GAL_K_ATTEND_GRAD, &a);
    char what[160];
    (void)snprintf(what, sizeof what, "%s gradient dt %d n %lld size %lld window %lld", t->name, (int)dt,
                   (long long)s->n, (long long)s->size, (long long)s->window);
    /* dv sums p dout over the rows and heads that see a key; dk and dq sum p (dp - delta) q scale, where dp and delta
     * are sums of size products of numbers up to 1. */
    double size = (double)s->size, e = score_error(s, f.scale), group = (double)s->heads / (double)s->kv_heads;
    double sees = (double)(s->window > 0 ? GAL_MIN(s->window, s->row_len) : s->row_len) * group;
    double one = 2 * e + (size + 8) * 0x1p-24;     /* of a probability, relative */
    double sum = 8 * sees * 0x1p-24 + one;         /* of a sum of probabilities times numbers up to 1 */
    double ds = 2 * size * f.scale * s->amplitude; /* largest ds times q or k, a probability of 1 */
    rows_close(what, got[2], want[2], dt, nk, sees * one + sum, 2 * rows_eps(dt));
    rows_close(what, got[1], want[1], dt, nk, (sees * one + sum) * ds, 2 * rows_eps(dt));
    rows_close(what, got[0], want[0], dt, nq, sum * ds, 2 * rows_eps(dt));
    rows_free_all();
}

static void gradient_matches_ref(void **state) {
    (void)state;
    int n;
    const gal_kernel_table *t = rows_levels(&n);
    if (n == 0) skip(); /* a processor with no level but ref, which is what others are compared with */
    for (int l = 0; l < n; l++) {
        for (size_t i = 0; i < GAL_LEN(gradient); i++) {
            grad_case(&t[l], &gradient[i], GAL_F32, i % 2 == 0);
            grad_case(&t[l], &gradient[i], GAL_BF16, i % 2 == 1);
        }
    }
}

/* A NaN in a key reaches every row that sees it, and no other. */
static void nan_stays_in_sight(void **state) {
    (void)state;
    int levels;
    const gal_kernel_table *t = rows_levels(&levels);
    if (levels == 0) skip(); /* as above */
    enum { N = 70, SIZE = 16, AT = 20, WINDOW = 30 };
    for (int l = 0; l < levels; l++) {
        int32_t *start = rows_ints(N), *pos = rows_ints(N);
        float *k = rows_random(GAL_F32, N * SIZE, 1.0), *o = rows_zeros(GAL_F32, N * SIZE);
        for (int i = 0; i < N; i++) pos[i] = i;
        k[AT * SIZE + 3] = NAN;
        gal_k_attend a = { .o = o,
                           .q = rows_random(GAL_F32, N * SIZE, 1.0),
                           .k = k,
                           .v = rows_random(GAL_F32, N * SIZE, 1.0),
                           .dt = GAL_F32,
                           .n = N,
                           .heads = 1,
                           .kv_heads = 1,
                           .size = SIZE,
                           .window = WINDOW,
                           .scale = 0.25,
                           .start = start,
                           .pos = pos };
        rows_run(&t[l], GAL_K_ATTEND, &a);
        for (int i = 0; i < N; i++) {
            bool sees = i >= AT && i - AT < WINDOW;
            assert_int_equal(sees, isnan(o[i * SIZE]) != 0);
        }
        rows_free_all();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(attend_matches_ref), cmocka_unit_test(caches_match_ref),
                                        cmocka_unit_test(blocks_are_numbers), cmocka_unit_test(gradient_matches_ref),
                                        cmocka_unit_test(nan_stays_in_sight) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
