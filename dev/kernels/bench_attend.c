/* bench_attend.c - speed of attention over a cache: decoding's few rows, in bytes of the cache a second, and prompts,
 * in operations a second; for each type of cache. Several caches take turns, as a model's layers do, so that none is
 * left in the processor's caches. Medians; the contestants of a row alternate. Not part of the product.
 * build/bench_attend [threads [turns [filter [level]]]]      SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/util.h"
#include "core/dev.h"
#include "tensor/blocks.h"

enum { MAX_TURNS = 64, CACHE_BYTES = 256 << 20, MOST_CACHES = 32 };

typedef struct shape {
    const char *name;
    int64_t rows, sequences, heads, kv_heads, size, depth, window;
} shape;

static const shape SHAPES[] = {
    { "1b decode, 512", 1, 1, 32, 4, 64, 512, 0 },
    { "1b decode, 2048", 1, 1, 32, 4, 64, 2048, 0 },
    { "1b decode, 8192", 1, 1, 32, 4, 64, 8192, 0 },
    { "1b 5 rows, 8192", 5, 1, 32, 4, 64, 8192, 0 },
    { "1b 16 sequences, 1024", 16, 16, 32, 4, 64, 1024, 0 },
    { "7b decode, 8192", 1, 1, 32, 8, 128, 8192, 0 },
    { "7b decode, 32768, window 4096", 1, 1, 32, 8, 128, 32768, 4096 },
    { "mha decode, 4096", 1, 1, 16, 16, 64, 4096, 0 },
    { "1b prompt, 512 at 0", 512, 1, 32, 4, 64, 0, 0 },
    { "1b prompt, 512 at 8192", 512, 1, 32, 4, 64, 8192, 0 },
    { "1b prompt, 512 at 32000", 512, 1, 32, 4, 64, 32000, 0 },
    { "7b prompt, 512 at 8192", 512, 1, 32, 8, 128, 8192, 0 },
};
static const gal_dtype TYPES[] = { GAL_F32, GAL_F16, GAL_BF16, GAL_Q8_0, GAL_Q4_0 };

static uint64_t state = 1;
static float noise(void) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return (float)((double)(state >> 40) * 0x1p-23 - 1.0);
}

static void *take(size_t bytes) {
    void *p = gal_alloc(bytes);
    if (!p) {
        (void)fprintf(stderr, "no memory\n");
        exit(1);
    }
    return p;
}

/* n numbers of any type. A part is made and repeated. */
static void *numbers(gal_dtype dt, int64_t n) {
    enum { PART = 1 << 14 };
    float *x = take(PART * sizeof *x);
    for (int i = 0; i < PART; i++) x[i] = noise();
    char *p = take(gal_dtype_span(dt, n)), *part = take(gal_dtype_span(dt, PART));
    if (gal_dtype_in_blocks(dt))
        gal_block_quantise(gal_dtype_block(dt), x, part, PART);
    else
        gal_convert(part, dt, x, GAL_F32, PART);
    for (int64_t i = 0; i < n; i += PART)
        memcpy(p + gal_dtype_span(dt, i), part, gal_dtype_span(dt, GAL_MIN(n - i, (int64_t)PART)));
    gal_free(part);
    gal_free(x);
    return p;
}

static int less(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of one thread its own time, which others on the machine disturb less; else the clock's. */
static double now_s(const gal_pool *pool) {
    struct timespec t;
    if (gal_pool_threads(pool) > 1 || clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t)) return gal_now_s();
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void launch(gal_pool *pool, const gal_kernel *k, const void *args) {
    gal_pool_run(pool, k->run, args, k->chunks(args));
}

static void race(gal_pool *pool, const gal_kernel_table *t, const shape *s, gal_dtype cdt, int turns) {
    const int64_t slots = s->window ? s->window : s->depth + s->rows, per = s->rows / s->sequences;
    const int64_t cache = s->sequences * s->kv_heads * slots * s->size;
    const int caches = s->depth == 0
                           ? 1
                           : (int)GAL_MAX(1, GAL_MIN((int64_t)MOST_CACHES,
                                                     CACHE_BYTES / 2 / (int64_t)gal_dtype_span(cdt, cache)));
    int32_t *at = take((size_t)s->rows * 3 * sizeof *at), *start = at + s->rows, *seq = start + s->rows;
    for (int64_t i = 0; i < s->rows; i++) {
        seq[i] = (int32_t)(i / per);
        start[i] = (int32_t)(i / per * per);
        at[i] = (int32_t)(s->depth + i % per);
    }
    const int64_t nq = s->rows * s->heads * s->size, nk = s->rows * s->kv_heads * s->size;
    void *ck[MOST_CACHES], *cv[MOST_CACHES];
    for (int c = 0; c < caches && s->depth; c++) {
        ck[c] = numbers(cdt, cache);
        cv[c] = numbers(cdt, cache);
    }
    gal_k_attend a = { .o = take((size_t)nq * sizeof(float)),
                       .q = numbers(GAL_F32, nq),
                       .k = numbers(GAL_F32, nk),
                       .v = numbers(GAL_F32, nk),
                       .dt = GAL_F32,
                       .n = s->rows,
                       .heads = s->heads,
                       .kv_heads = s->kv_heads,
                       .size = s->size,
                       .window = s->window,
                       .scale = 1 / sqrt((double)s->size),
                       .start = start,
                       .pos = at,
                       .seq = seq,
                       .cdt = cdt,
                       .slots = slots };
#ifndef BENCH_OLD
    if (s->rows <= GAL_ATTEND_SPLIT)
        a.part = take((size_t)(s->rows * s->heads * GAL_ATTEND_PIECES * (s->size + 2)) * sizeof(float));
#endif
    double time[MAX_TURNS];
    for (int turn = -1; turn < turns; turn++) {
        const double begin = now_s(pool);
        for (int c = 0; c < caches; c++) {
            if (s->depth) {
                a.ck = ck[c];
                a.cv = cv[c];
            }
            launch(pool, &t->k[GAL_K_ATTEND], &a);
#ifndef BENCH_OLD
            launch(pool, &t->k[GAL_K_ATTEND_JOIN], &a);
#endif
        }
        if (turn >= 0) time[turn] = (now_s(pool) - begin) / caches;
    }
    qsort(time, (size_t)turns, sizeof *time, less);
    gal_cost cost;
    gal_kernel_cost(&cost, GAL_K_ATTEND, &a);
    const double m = time[turns / 2];
    (void)printf("%-32s %-5s %10.3f ms %8.2f GB/s %8.1f GFLOP/s   best %.3f\n", s->name, gal_dtype_name(cdt), m * 1e3,
                 cost.bytes / m * 1e-9, cost.flops / m * 1e-9, time[0] * 1e3);
    (void)fflush(stdout);
    for (int c = 0; c < caches && s->depth; c++) {
        gal_free(ck[c]);
        gal_free(cv[c]);
    }
    void *own[] = { at, a.o, (void *)(uintptr_t)a.q, (void *)(uintptr_t)a.k, (void *)(uintptr_t)a.v };
    for (size_t i = 0; i < GAL_LEN(own); i++) gal_free(own[i]);
#ifndef BENCH_OLD
    gal_free(a.part);
#endif
}

int main(int argc, char **argv) {
    const int threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1;
    const int turns = GAL_MAX(1, GAL_MIN(argc > 2 ? (int)strtol(argv[2], NULL, 10) : 9, (int)MAX_TURNS));
    const char *filter = argc > 3 ? argv[3] : "";
    gal_dev *dev = NULL;
    gal_diag diag = { 0 };
    if (gal_dev_open(&dev, &(gal_device_options){ .cpu = argc > 4 ? argv[4] : NULL, .threads = threads }, &diag)) {
        (void)fprintf(stderr, "%s\n", diag.text);
        return 1;
    }
    (void)printf("%s, %d threads, %d turns\n", dev->name, threads, turns);
    for (size_t i = 0; i < GAL_LEN(SHAPES); i++)
        for (size_t j = 0; j < GAL_LEN(TYPES); j++) {
            char name[96];
            (void)snprintf(name, sizeof name, "%s %s", SHAPES[i].name, gal_dtype_name(TYPES[j]));
            if (!strstr(name, filter) || (SHAPES[i].depth == 0 && j)) continue;
#ifdef BENCH_OLD
            if (j > 2) continue;
#endif
            race(dev->pool, &dev->table, &SHAPES[i], TYPES[j], turns);
        }
    gal_dev_close(dev);
    return 0;
}
