/* gemm_test.c - matrix products of every level against plain sums in double: odd sizes, strides, types, add and
 * accumulate; nothing outside C is written, nothing outside the operands is read (under ASan: each matrix ends where
 * its allocation ends), and the order of chunks does not matter. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/pool.h"
#include "kernels/kernels.h"

typedef struct level {
    const char *name;
    bool here;
    gal_kernel_table table;
} level;

static level levels[7];

static int open_levels(void **state) {
    (void)state;
    const char *names[] = { "ref", "avx2", "avx512", "avx512_bf16", "neon", "sse42", "avx" };
    for (size_t i = 0; i < GAL_LEN(levels); i++) {
        levels[i].name = names[i];
        gal_ref_fill(&levels[i].table);
    }
    levels[0].here = true;
#if defined(__x86_64__)
    levels[1].here = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    levels[2].here = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    levels[3].here = levels[2].here && __builtin_cpu_supports("avx512bf16");
    levels[5].here = __builtin_cpu_supports("sse4.2");
    levels[6].here = __builtin_cpu_supports("avx");
#elif defined(__aarch64__)
    levels[4].here = true;
#endif
    if (levels[1].here) gal_avx2_fill(&levels[1].table);
    if (levels[2].here) gal_avx512_fill(&levels[2].table);
    if (levels[3].here) {
        gal_avx512_fill(&levels[3].table);
        gal_avx512_bf16_fill(&levels[3].table);
    }
    if (levels[4].here) gal_neon_fill(&levels[4].table);
    if (levels[5].here) gal_sse42_fill(&levels[5].table);
    if (levels[6].here) gal_avx_fill(&levels[6].table);
    return 0;
}

static uint32_t seed = 1;
static double uniform(void) {
    seed = seed * 1664525U + 1013904223U;
    return (double)(seed >> 8) / (double)(1 << 23) - 1.0;
}

/* A matrix [rows, cols] in its own block; gap: room between the longer axis' lines; order of the strides. */
typedef struct block {
    gal_mat m;
    size_t bytes;
    int64_t rows, cols;
} block;

enum layout { BY_ROW, BY_COL, LOOSE };

static block block_new(int64_t rows, int64_t cols, gal_dtype dt, enum layout layout, int64_t gap) {
    block b = { .m = { NULL, dt, cols + gap, 1, NULL, NULL }, .rows = rows, .cols = cols };
    if (layout == BY_COL) b.m = (gal_mat){ NULL, dt, 1, rows + gap, NULL, NULL };
    if (layout == LOOSE) b.m = (gal_mat){ NULL, dt, 2 * cols + gap, 2, NULL, NULL };
    int64_t count = rows > 0 && cols > 0 ? (rows - 1) * b.m.rs + (cols - 1) * b.m.cs + 1 : 0;
    b.bytes = (size_t)count * gal_dtype_bytes(dt);
    b.m.p = malloc(b.bytes ? b.bytes : 1);
    assert_non_null(b.m.p);
    for (int64_t i = 0; i < count; i++) {
        double x = uniform();
        gal_convert((char *)b.m.p + (size_t)i * gal_dtype_bytes(dt), dt, &x, GAL_F64, 1);
    }
    return b;
}

static double get(const block *b, const void *p, int64_t i, int64_t j) {
    double x;
    gal_convert(&x, GAL_F64, (const char *)p + (size_t)(i * b->m.rs + j * b->m.cs) * gal_dtype_bytes(b->m.dt),
                b->m.dt, 1);
    return x;
}

static double operand(const block *b, int64_t i, int64_t j, gal_dtype compute) {
    double x = get(b, b->m.p, i, j);
    return compute == GAL_BF16 ? (double)gal_bf16_to_f32(gal_f32_to_bf16((float)x)) : x;
}

static void run_all(const gal_kernel *k, const gal_k_gemm *args, bool backwards) {
    static _Alignas(64) unsigned char scratch[GAL_SCRATCH_BYTES];
    memset(scratch, 0xff, sizeof scratch); /* NaN wherever something is read before it is written */
    int64_t chunks = k->chunks(args);
    for (int64_t c = 0; c < chunks; c++) k->run(args, backwards ? chunks - 1 - c : c, scratch);
}

typedef struct problem {
    int64_t m, n, k, gap;
    gal_dtype a, b, c, compute;
    enum layout la, lb, lc;
    int add; /* 0 none, 1 another matrix, 2 C itself */
    bool accumulate;
} problem;

/* Bound: k + 4 roundings of sums no larger than the sum of absolute values (Higham, Accuracy and Stability, 3.5), in
 * f32; then C's own rounding. Numbers below f32's normal range may be flushed. */
static void check(const problem *p, const level *lv, block *a, block *b, block *c, const block *add,
                  const void *before) {
    const double unit = p->compute == GAL_F64 ? 0x1p-53 : 0x1p-24;
    const double out = p->c == GAL_BF16 ? 0x1p-8 : p->c == GAL_F64 ? 0x1p-53 : 0x1p-24;
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < p->k; k++) {
                double x = operand(a, i, k, p->compute) * operand(b, k, j, p->compute);
                sum += x;
                size += fabs(x);
            }
            double plus = p->add == 1 ? get(add, add->m.p, i, j) : p->add == 2 ? get(c, before, i, j) : 0;
            double old = p->accumulate ? get(c, before, i, j) : 0, got = get(c, c->m.p, i, j);
            sum += plus + old;
            size += fabs(plus) + fabs(old);
            double error = (double)(p->k + 4) * unit * size + 0x1p-120;
            double bound = error + out * (fabs(sum) + error);
            if (!(fabs(got - sum) <= bound))
                fail_msg("%s m %lld n %lld k %lld at (%lld, %lld): %.9g, expected %.9g +- %.3g", lv->name,
                         (long long)p->m, (long long)p->n, (long long)p->k, (long long)i, (long long)j, got, sum,
                         bound);
        }
}

/* Bytes between C's elements stay as they were. */
static void check_gaps(const block *c, const char *before) {
    size_t size = gal_dtype_bytes(c->m.dt);
    char *now = c->m.p, *inside = calloc(1, c->bytes + 1);
    assert_non_null(inside);
    for (int64_t i = 0; i < c->rows; i++)
        for (int64_t j = 0; j < c->cols; j++) memset(inside + (size_t)(i * c->m.rs + j * c->m.cs) * size, 1, size);
    for (size_t i = 0; i < c->bytes; i++)
        if (!inside[i]) assert_int_equal(now[i], before[i]);
    free(inside);
}

static void try_problem(const problem *p) {
    block a = block_new(p->m, p->k, p->a, p->la, p->gap), b = block_new(p->k, p->n, p->b, p->lb, p->gap);
    block c = block_new(p->m, p->n, p->c, p->lc, p->gap), add = block_new(p->m, p->n, p->c, p->lc, p->gap);
    char *before = malloc(c.bytes + 1), *first = malloc(c.bytes + 1);
    assert_non_null(before);
    assert_non_null(first);
    if (c.bytes) memcpy(before, c.m.p, c.bytes);
    gal_k_gemm args = { .count = 1 };
    args.p[0] = (gal_gemm){ p->m, p->n, p->k, a.m, b.m, c.m, NULL, p->compute, p->accumulate };
    args.p[0].add = p->add == 1 ? add.m.p : p->add == 2 ? c.m.p : NULL;
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        if (!levels[l].here) continue;
        for (int turn = 0; turn < 2; turn++) {
            if (c.bytes) memcpy(c.m.p, before, c.bytes);
            run_all(&levels[l].table.k[GAL_K_GEMM], &args, turn == 1);
            if (turn == 0 && c.bytes)
                memcpy(first, c.m.p, c.bytes);
            else if (c.bytes)
                assert_memory_equal(first, c.m.p, c.bytes);
        }
        check(p, &levels[l], &a, &b, &c, &add, before);
        check_gaps(&c, before);
    }
    void *all[] = { a.m.p, b.m.p, c.m.p, add.m.p, before, first };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static int64_t pick(const int64_t *from, size_t n) {
    size_t i = (size_t)((uniform() + 1.0) / 2.0 * (double)n);
    return from[i < n ? i : n - 1];
}
#define PICK(...) pick((const int64_t[]){ __VA_ARGS__ }, sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t))

static problem random_problem(void) {
    problem p = { 0 };
    p.m = PICK(1, 2, 3, 5, 8, 9, 13, 14, 15, 29, 47, 61, 100);
    p.n = PICK(1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 65, 97, 130);
    p.k = PICK(1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 100);
    p.gap = PICK(0, 0, 1, 5, 32);
    p.a = (gal_dtype)PICK(GAL_F32, GAL_BF16, GAL_F16);
    p.b = (gal_dtype)PICK(GAL_F32, GAL_BF16, GAL_F16);
    p.c = (gal_dtype)PICK(GAL_F32, GAL_BF16);
    p.compute = (gal_dtype)PICK(GAL_F32, GAL_BF16);
    p.la = (enum layout)PICK(BY_ROW, BY_ROW, BY_COL, BY_COL, LOOSE);
    p.lb = (enum layout)PICK(BY_ROW, BY_ROW, BY_COL, BY_COL, LOOSE);
    p.lc = (enum layout)PICK(BY_ROW, BY_ROW, BY_ROW, BY_COL, LOOSE);
    p.add = (int)PICK(0, 0, 1, 2);
    p.accumulate = PICK(0, 1) == 1;
    return p;
}

static void small(void **state) {
    (void)state;
    for (int i = 0; i < 600; i++) {
        problem p = random_problem();
        try_problem(&p);
    }
}

/* k longer than one block, C larger than one tile. */
static void blocks(void **state) {
    (void)state;
    static const int64_t size[][3] = { { 33, 65, 385 },  { 20, 34, 769 }, { 15, 40, 1537 },
                                       { 350, 330, 20 }, { 9, 700, 50 },  { 3, 130, 2000 } };
    for (size_t i = 0; i < 6 * sizeof size / sizeof *size; i++) {
        problem p = random_problem();
        p.m = size[i / 6][0];
        p.n = size[i / 6][1];
        p.k = size[i / 6][2];
        try_problem(&p);
    }
}

static void no_products(void **state) {
    (void)state;
    for (int m = 0; m < 2; m++)
        for (int add = 0; add < 3; add++) {
            problem p = { .m = m * 20, .n = 30, .k = m ? 0 : 5, .add = add, .accumulate = add == 1 };
            try_problem(&p);
        }
    problem one = { .m = 1, .n = 5, .add = 1 };
    try_problem(&one);
}

/* f64 goes to the reference at every level. */
static void doubles(void **state) {
    (void)state;
    problem p = { 37, 41, 300, 1, GAL_F64, GAL_F64, GAL_F64, GAL_F64, BY_ROW, BY_COL, BY_ROW, 1, true };
    try_problem(&p);
    p.b = GAL_F32;
    try_problem(&p);
}

/* Chunk numbers run across the products of a launch: together = one by one, to the bit. */
static void three_at_once(void **state) {
    (void)state;
    const int64_t n[3] = { 70, 33, 200 };
    block a = block_new(50, 300, GAL_BF16, BY_ROW, 0), b[3], c[3], d[3];
    gal_k_gemm all = { .count = 3 };
    for (int i = 0; i < 3; i++) {
        b[i] = block_new(300, n[i], GAL_F32, BY_COL, 0);
        c[i] = block_new(50, n[i], GAL_F32, BY_ROW, 0);
        d[i] = block_new(50, n[i], GAL_F32, BY_ROW, 0);
        all.p[i] = (gal_gemm){ 50, n[i], 300, a.m, b[i].m, c[i].m, NULL, i == 1 ? GAL_F32 : GAL_BF16, false };
    }
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        if (!levels[l].here) continue;
        const gal_kernel *k = &levels[l].table.k[GAL_K_GEMM];
        run_all(k, &all, true);
        for (int i = 0; i < 3; i++) {
            gal_k_gemm one = { .count = 1, .p = { all.p[i] } };
            one.p[0].c = d[i].m;
            run_all(k, &one, false);
            assert_memory_equal(c[i].m.p, d[i].m.p, c[i].bytes);
        }
    }
    for (int i = 0; i < 3; i++) {
        free(b[i].m.p);
        free(c[i].m.p);
        free(d[i].m.p);
    }
    free(a.m.p);
}

/* Weights in f32 give a bf16 product the bytes that their copy in bf16 gives: few rows, some, and tiles. */
static void rounded_as_read(void **state) {
    (void)state;
    static const int64_t ROWS[] = { 1, 3, 6, 21, 130 };
    const int64_t n = 77, k = 331;
    for (size_t r = 0; r < GAL_LEN(ROWS); r++)
        for (size_t l = 0; l < GAL_LEN(levels); l++)
            for (int t = 0; levels[l].here && t < 2; t++) {
                const enum layout order = t ? BY_COL : BY_ROW;
                const int64_t m = ROWS[r];
                block a = block_new(m, k, GAL_BF16, BY_ROW, 0), wide = block_new(k, n, GAL_F32, order, 0);
                block copy = block_new(k, n, GAL_BF16, order, 0), c[2];
                const float *from = wide.m.p;
                assert_int_equal(copy.bytes * 2, wide.bytes);
                for (size_t i = 0; i < copy.bytes / 2; i++) ((uint16_t *)copy.m.p)[i] = gal_f32_to_bf16(from[i]);
                for (int i = 0; i < 2; i++) {
                    c[i] = block_new(m, n, GAL_F32, BY_ROW, 0);
                    gal_k_gemm args = { .count = 1, .threads = 2 };
                    args.p[0] = (gal_gemm){ m, n, k, a.m, i ? copy.m : wide.m, c[i].m, NULL, GAL_BF16, false };
                    run_all(&levels[l].table.k[GAL_K_GEMM], &args, false);
                }
                for (int64_t i = 0; i < m; i++)
                    assert_memory_equal((float *)c[0].m.p + i * c[0].m.rs, (float *)c[1].m.p + i * c[1].m.rs,
                                        (size_t)n * sizeof(float));
                free(a.m.p);
                free(wide.m.p);
                free(copy.m.p);
                free(c[0].m.p);
                free(c[1].m.p);
            }
}

/* However many threads a launch is cut for, the bytes are the same: few rows, some, and several tiles, with blocks of
 * k and a last panel that is not full. */
static void any_cut(void **state) {
    (void)state;
    static const int THREADS[] = { 1, 2, 3, 8, 64 };
    static const int64_t ROWS[] = { 2, 40, 523 };
    const int64_t n = 611, k = 331;
    for (size_t r = 0; r < GAL_LEN(ROWS); r++)
        for (size_t l = 1; l < GAL_LEN(levels); l++)
            for (int narrow = 0; levels[l].here && narrow < 2; narrow++) {
                const int64_t m = ROWS[r];
                const gal_kernel *kernel = &levels[l].table.k[GAL_K_GEMM];
                block a = block_new(m, k, GAL_F32, BY_ROW, 0), b = block_new(k, n, GAL_F32, BY_COL, 0);
                block one = block_new(m, n, narrow ? GAL_BF16 : GAL_F32, BY_ROW, 0), other = one;
                void *before = malloc(one.bytes);
                other.m.p = malloc(one.bytes);
                assert_true(before && other.m.p);
                memcpy(before, one.m.p, one.bytes);
                int64_t fewest = INT64_MAX, most = 0;
                for (size_t t = 0; t < GAL_LEN(THREADS); t++) {
                    gal_k_gemm args = { .count = 1, .threads = THREADS[t] };
                    block *c = t ? &other : &one;
                    memcpy(c->m.p, before, one.bytes);
                    args.p[0] = (gal_gemm){ m, n, k, a.m, b.m, c->m, NULL, narrow ? GAL_BF16 : GAL_F32, true };
                    run_all(kernel, &args, t % 2);
                    if (t) assert_memory_equal(one.m.p, other.m.p, one.bytes);
                    fewest = GAL_MIN(fewest, kernel->chunks(&args));
                    most = GAL_MAX(most, kernel->chunks(&args));
                }
                assert_true(ROWS[r] == 2 || fewest < most); /* of few rows chunks are dealt in another order */
                free(one.m.p);
                free(other.m.p);
                free(before);
                free(a.m.p);
                free(b.m.p);
            }
}

/* Up to GAL_ALIKE_ROWS rows have the bytes that each has alone, where that is asked for. */
static void alike_of(int64_t n, int64_t k) {
    static const gal_dtype TYPES[] = { GAL_F32, GAL_BF16, GAL_F16 };
    const size_t bytes = (size_t)((GAL_ALIKE_ROWS - 1) * (n + 3) + n) * 4; /* of a gap of 3 */
    for (size_t l = 0; l < GAL_LEN(levels); l++)
        for (size_t t = 0; levels[l].here && t < GAL_LEN(TYPES) * 2; t++) {
            const gal_kernel *kernel = &levels[l].table.k[GAL_K_GEMM];
            block a = block_new(GAL_ALIKE_ROWS, k, GAL_F32, BY_ROW, 0), b = block_new(k, n, TYPES[t / 2], BY_COL, 0);
            block together = block_new(GAL_ALIKE_ROWS, n, GAL_F32, BY_ROW, 3), alone = together;
            alone.m.p = malloc(bytes);
            assert_non_null(alone.m.p);
            memcpy(alone.m.p, together.m.p, bytes);
            const gal_dtype compute = t % 2 ? GAL_BF16 : GAL_F32;
            gal_k_gemm args = { .count = 1, .alike = GAL_ALIKE_ONE };
            for (int64_t i = 0; i < GAL_ALIKE_ROWS; i++) {
                const gal_mat row = { (float *)a.m.p + i * a.m.rs, GAL_F32, a.m.rs, 1, NULL, NULL };
                const gal_mat out = { (float *)alone.m.p + i * alone.m.rs, GAL_F32, alone.m.rs, 1, NULL, NULL };
                args.p[0] = (gal_gemm){ 1, n, k, row, b.m, out, out.p, compute, false };
                run_all(kernel, &args, false);
            }
            for (int64_t m = 5; m <= GAL_ALIKE_ROWS; m += m == 5 ? 4 : 7) {
                block some = together;
                some.m.p = malloc(bytes);
                assert_non_null(some.m.p);
                memcpy(some.m.p, together.m.p, bytes);
                args.p[0] = (gal_gemm){ m, n, k, a.m, b.m, some.m, some.m.p, compute, false };
                run_all(kernel, &args, true);
                for (int64_t i = 0; i < m; i++)
                    assert_memory_equal((float *)some.m.p + i * some.m.rs, (float *)alone.m.p + i * some.m.rs,
                                        (size_t)n * sizeof(float));
                free(some.m.p);
            }
            free(a.m.p);
            free(b.m.p);
            free(together.m.p);
            free(alone.m.p);
        }
}

/* A row has the same bytes alone and among any number of others. */
static void alike_many(void) {
    enum { M = 70, N = 37, K = 203 };
    static const gal_dtype TYPES[] = { GAL_F32, GAL_BF16, GAL_F16 };
    static const int64_t ROWS[] = { 1, 3, 5, 16, 17, 64, 65 };
    for (size_t l = 0; l < GAL_LEN(levels); l++)
        for (size_t t = 0; levels[l].here && t < GAL_LEN(TYPES); t++) {
            const gal_kernel *kernel = &levels[l].table.k[GAL_K_GEMM];
            block a = block_new(M, K, GAL_F32, BY_ROW, 0), b = block_new(K, N, TYPES[t], BY_COL, 0);
            block all = block_new(M, N, GAL_F32, BY_ROW, 0), some = block_new(M, N, GAL_F32, BY_ROW, 0);
            gal_k_gemm args = { .count = 1, .alike = GAL_ALIKE_MANY };
            args.p[0] = (gal_gemm){ M, N, K, a.m, b.m, all.m, NULL, GAL_F32, false };
            run_all(kernel, &args, true);
            for (size_t r = 0; r < GAL_LEN(ROWS); r++)
                for (int64_t from = 0; from + ROWS[r] <= M; from += 5) {
                    const gal_mat rows = { (float *)a.m.p + from * a.m.rs, GAL_F32, a.m.rs, 1, NULL, NULL };
                    args.p[0] = (gal_gemm){ ROWS[r], N, K, rows, b.m, some.m, NULL, GAL_F32, false };
                    run_all(kernel, &args, from % 2 != 0);
                    assert_memory_equal(some.m.p, (float *)all.m.p + from * all.m.rs,
                                        (size_t)(ROWS[r] * N) * sizeof(float));
                }
            free(a.m.p);
            free(b.m.p);
            free(all.m.p);
            free(some.m.p);
        }
}

static void alike(void **state) {
    (void)state;
    alike_of(37, 203);
    alike_of(3, 66000); /* longer than few rows fit the scratch */
    alike_many();
}

/* An infinity or NaN reaches exactly the sums that it belongs to. */
static void not_finite(void **state) {
    (void)state;
    static const struct {
        int64_t m;
        bool alike;
    } ROWS[] = { { 5, true }, { 21, false }, { 69, false } }; /* few, some, and tiles */
    for (size_t r = 0; r < GAL_LEN(ROWS); r++)
        for (size_t l = 0; l < GAL_LEN(levels); l++) {
            const int64_t m = ROWS[r].m;
            if (!levels[l].here) continue;
            block a = block_new(m, 19, GAL_F32, BY_ROW, 0), b = block_new(19, 21, GAL_F32, BY_COL, 0);
            block c = block_new(m, 21, GAL_BF16, BY_ROW, 0);
            ((float *)a.m.p)[2 * 19 + 18] = (float)INFINITY;
            ((float *)a.m.p)[4 * 19 + 3] = (float)NAN;
            gal_k_gemm args = { .count = 1, .alike = ROWS[r].alike ? GAL_ALIKE_ONE : GAL_ALIKE_NOT };
            args.p[0] = (gal_gemm){ m, 21, 19, a.m, b.m, c.m, NULL, GAL_BF16, false };
            run_all(&levels[l].table.k[GAL_K_GEMM], &args, false);
            for (int64_t i = 0; i < m; i++)
                for (int64_t j = 0; j < 21; j++) {
                    double x = get(&c, c.m.p, i, j);
                    assert_int_equal(isfinite(x) != 0, i != 2 && i != 4);
                    assert_int_equal(isnan(x) != 0, i == 4);
                }
            free(a.m.p);
            free(b.m.p);
            free(c.m.p);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small),           cmocka_unit_test(blocks),        cmocka_unit_test(no_products),
        cmocka_unit_test(doubles),         cmocka_unit_test(three_at_once), cmocka_unit_test(any_cut),
        cmocka_unit_test(rounded_as_read), cmocka_unit_test(not_finite),    cmocka_unit_test(alike),
    };
    return cmocka_run_group_tests(tests, open_levels, NULL);
}
