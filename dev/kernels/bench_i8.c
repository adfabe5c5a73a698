/* bench_i8.c - products of activations as small integers with weights in blocks, packed and as the file has them.
 *
 *     bench_i8 [LEVEL [THREADS [FORMAT [ROWS]]]]
 *
 * For each format and number of rows: operations a second, and what part of the time of the product it takes to read
 * the weights alone, medians of turns. The weights are of several matrices in turn, so that they come from memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/pool.h"
#include "base/util.h"
#include "core/dev.h"
#include "tensor/pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 2048, K = 2048, TURNS = 9, MATRICES = 160 };

typedef struct bench {
    gal_kernel_table table;
    gal_pool *pool;
    gal_code code;
    uint8_t *weights[MATRICES], *packed[MATRICES];
    float *x, *y;
    void *q;
} bench;

static void launch(const bench *b, gal_kernel_id id, const void *args) {
    const gal_kernel *k = &b->table.k[id];
    gal_pool_run(b->pool, k->run, args, k->chunks(args));
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What is timed, turn by turn. */
enum { READING, PACKED, IN_PLACE, WAYS };

typedef struct reading {
    const gal_peak *peak;
    const uint8_t *from;
    size_t bytes;
} reading;
enum { READ_CHUNK = 1 << 16 };
static void read_chunk(const void *args, int64_t chunk, void *scratch) {
    const reading *r = args;
    const size_t at = (size_t)chunk * READ_CHUNK, n = GAL_MIN(r->bytes - at, (size_t)READ_CHUNK);
    r->peak->run(r->from + at, (int64_t)(n / (size_t)r->peak->per_round), scratch);
}

/* One of the matrices, m rows. */
static void once(const bench *b, int way, int i, int64_t m) {
    if (way == READING) {
        const reading r = { &b->table.peak[GAL_PEAK_READ], b->packed[i], gal_code_bytes(&b->code, (int64_t)N * K) };
        gal_pool_run(b->pool, read_chunk, &r, (int64_t)((r.bytes + READ_CHUNK - 1) / READ_CHUNK));
        return;
    }
    const gal_k_gemm g = {
        .count = 1,
        .threads = gal_pool_threads(b->pool),
        .p = { { .m = m,
                 .n = N,
                 .k = K,
                 .a = { .p = b->q, .rs = m },
                 .b = { b->weights[i], GAL_BLOCKS, 1, K, &b->code, way == PACKED ? b->packed[i] : NULL },
                 .c = { b->y, GAL_F32, N, 1, NULL, NULL },
                 .compute = GAL_F32 } }
    };
    launch(b, GAL_K_GEMM_I8, &g);
}

/* Seconds of one product with m rows, and of reading the weights alone. */
static void product_s(bench *b, int64_t m, double seconds[WAYS]) {
    const gal_k_quantise quantise = { b->q, b->x, GAL_F32, m, K, false };
    launch(b, GAL_K_QUANTISE, &quantise);
    double s[WAYS][TURNS];
    const int count = m > 64 ? 4 : m > 8 ? MATRICES / 8 : MATRICES / 2;
    for (int t = -1; t < TURNS; t++)
        for (int way = 0; way < WAYS; way++) {
            const double begin = gal_now_s();
            for (int i = 0; i < count; i++) once(b, way, i, m);
            if (t >= 0) s[way][t] = (gal_now_s() - begin) / count;
        }
    for (int way = 0; way < WAYS; way++) {
        qsort(s[way], TURNS, sizeof *s[way], by_size);
        seconds[way] = s[way][TURNS / 2];
    }
}

static void format(bench *b, uint32_t block, int64_t only) {
    b->code.block = block;
    const size_t bytes = gal_code_bytes(&b->code, (int64_t)N * K);
    for (size_t j = 0; j < bytes; j++) b->weights[0][j] = (uint8_t)(j * 2654435761u >> 13);
    gal_pack(block, b->weights[0], N, K, 0, N / GAL_PACK_ROWS, b->packed[0]);
    for (int i = 1; i < MATRICES; i++) {
        memcpy(b->weights[i], b->weights[0], bytes);
        memcpy(b->packed[i], b->packed[0], bytes);
    }
    static const int64_t ROWS[] = { 1, 2, 4, 8, 16, 32, 512 };
    for (size_t r = 0; r < GAL_LEN(ROWS); r++) {
        if (only && only != ROWS[r]) continue;
        double s[WAYS];
        product_s(b, ROWS[r], s);
        const double ops = 2e-9 * (double)ROWS[r] * N * K, read = (double)bytes / s[READING];
        printf("%-7s %4d rows   packed %7.1f Gop/s, %5.1f %% of reading at %5.2f GB/s   in place %7.1f Gop/s, %5.1f "
               "%%\n",
               gal_code_name(&b->code), (int)ROWS[r], ops / s[PACKED], 100 * s[READING] / s[PACKED], read * 1e-9,
               ops / s[IN_PLACE], 100 * s[READING] / s[IN_PLACE]);
    }
}

int main(int argc, char **argv) {
    bench b = { 0 };
    const char *level = argc > 1 ? argv[1] : "avx512";
    if (!gal_dev_table(&b.table, level)) {
        fprintf(stderr, "bench_i8: this processor has no level %s\n", level);
        return 2;
    }
    if (gal_pool_new(&b.pool, argc > 2 ? atoi(argv[2]) : 2, NULL)) return 4;
    const size_t most = (size_t)N * K * 34 / 32;
    for (int i = 0; i < MATRICES; i++) {
        b.weights[i] = gal_alloc(most);
        b.packed[i] = gal_alloc(most);
        if (!b.weights[i] || !b.packed[i]) return 4;
    }
    b.x = gal_alloc(512 * K * sizeof *b.x);
    b.y = gal_alloc(512 * N * sizeof *b.y);
    b.q = gal_alloc(512 * gal_i8_row_bytes(K));
    if (!b.x || !b.y || !b.q) return 4;
    for (int64_t i = 0; i < 512 * (int64_t)K; i++) b.x[i] = (float)(i * 2654435761 % 2001) / 1000 - 1;
    for (uint32_t f = 0; f < GAL_BLOCK_F8_E4M3; f++) {
        bool found = true;
        if (!gal_pieces_of(f) || (argc > 3 && gal_block_find(argv[3], &found) != f)) continue;
        format(&b, f, argc > 4 ? atoi(argv[4]) : 0);
    }
    return 0;
}
