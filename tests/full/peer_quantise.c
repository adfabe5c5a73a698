/* peer_quantise.c - our quantisers beside llama.cpp's, on the same numbers, taking turns on one thread:
 *
 *     peer_quantise LIBGGML_BASE [FLOATS]
 *
 * LIBGGML_BASE is a shared library with ggml_quantize_chunk (llama-cpp-python brings one); FLOATS a file of f32,
 * trained weights. For every format, without and with importances, and for every kind of numbers: the root of the
 * mean square error must be at most 1.01 times theirs; and over all kinds together we must take at most 1 / 1.5 of
 * their time. Prints a line for each and exits 1 if one fails. SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "tensor/blocks.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { ROWS = 64, COLS = 2048, N = ROWS * COLS, KINDS = 11, CONSTANT = 9, TURNS = 5 };
#define ERROR_RATIO 1.01
#define SPEED_RATIO 1.5

typedef size_t peer_quantise(int type, const float *x, void *blocks, int64_t start, int64_t rows, int64_t cols,
                             const float *importance);

static const char *const KIND[KINDS] = { "normal",  "Laplace",       "Student's t, 3", "outlying columns",
                                         "uniform", "small rows",    "above 0",        "nine in ten 0",
                                         "tiny",    "constant rows", "trained" };
static const uint32_t TYPES[] = {
    GAL_BLOCK_F16,  GAL_BLOCK_BF16, GAL_BLOCK_Q8_0,   GAL_BLOCK_Q4_0,   GAL_BLOCK_Q4_1,
    GAL_BLOCK_Q5_0, GAL_BLOCK_Q5_1, GAL_BLOCK_Q2_K,   GAL_BLOCK_Q3_K,   GAL_BLOCK_Q4_K,
    GAL_BLOCK_Q5_K, GAL_BLOCK_Q6_K, GAL_BLOCK_IQ4_NL, GAL_BLOCK_IQ4_XS, GAL_BLOCK_MXFP4
};

static float x[KINDS][N], y[N], importance[COLS];
static uint8_t ours[4 * N], theirs[4 * N];
static int failed;

static double normal(int kind, uint64_t i) { return gal_rng_normal(31, (uint64_t)kind, i); }

static double number(int kind, int row, int col) {
    uint64_t i = (uint64_t)row * COLS + (uint64_t)col;
    double z = normal(kind, i), u = 0.5 * erfc(z * 0.70710678118654752), chi = 0;
    switch (kind) {
    case 1:
        return z < 0 ? log(2 * (1 - u) + 1e-300) : -log(2 * u + 1e-300);
    case 2:
        for (int k = 0; k < 3; k++) chi += pow(normal(50 + k, i), 2);
        return z / sqrt(chi / 3);
    case 3:
        return col % 97 == 5 ? 20 * z : z;
    case 4:
        return 2 * u - 1;
    case 5:
        return z * exp2(-(row % 12));
    case 6:
        return 1 + 0.2 * z;
    case 7:
        return normal(60, i) < 1.2815515655 ? 0 : z;
    case 8:
        return 5e-4 * z;
    case 9:
        return row % 4 == 0 ? 0 : normal(kind, (uint64_t)row);
    default:
        return z;
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double error_of(uint32_t type, const uint8_t *blocks, const float *from, const float *w) {
    double sum = 0;
    gal_block_dequantise(type, blocks, y, N);
    for (int i = 0; i < N; i++) {
        double off = (double)from[i] - (double)y[i];
        sum += (w ? (double)w[i % COLS] : 1) * off * off;
    }
    return sqrt(sum / N);
}

static double size_of(const float *from, const float *w) {
    double sum = 0;
    for (int i = 0; i < N; i++) sum += (w ? (double)w[i % COLS] : 1) * (double)from[i] * (double)from[i];
    return sqrt(sum / N);
}

/* One format: the worst ratio of errors over the kinds, and the ratio of the sums of the shortest times. */
static void compare(peer_quantise *peer, uint32_t type, const float *w, int kinds) {
    double constant = 0, worst = 0, our_time = 0, their_time = 0;
    int at = 0;
    for (int kind = 0; kind < kinds; kind++) {
        double a = (double)INFINITY, b = (double)INFINITY;
        for (int turn = 0; turn < TURNS; turn++) {
            double start = now();
            gal_block_quantise_weighted(type, x[kind], w, ours, ROWS, COLS);
            double between = now();
            peer((int)type, x[kind], theirs, 0, ROWS, COLS, w);
            a = fmin(a, between - start);
            b = fmin(b, now() - between);
        }
        double e = error_of(type, ours, x[kind], w), f = error_of(type, theirs, x[kind], w);
        double ratio = f > 0 ? e / f : e > 0 ? (double)INFINITY : 1;
        if (kind == CONSTANT && e <= 0x1p-11 * size_of(x[kind], w)) {
            ratio = ratio > 1 ? 1 : ratio;
            constant = e / f;
        }
        our_time += a;
        their_time += b;
        if (ratio > worst) {
            worst = ratio;
            at = kind;
        }
    }
    bool ok = worst <= ERROR_RATIO && their_time >= SPEED_RATIO * our_time;
    failed += !ok;
    printf("%s %-6s %-12s error at most %.4f times theirs (%s), %.1f times as fast (%.2f and %.2f ns a number);"
           " constant rows %.2f times\n",
           ok ? "ok     " : "FAILED ", gal_block_info_of(type)->name, w ? "importances" : "", worst, KIND[at],
           their_time / our_time, our_time * 1e9 / N / kinds, their_time * 1e9 / N / kinds, constant);
    fflush(stdout);
}

int main(int argc, char **argv) {
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
    void *symbol = library ? dlsym(library, "ggml_quantize_chunk") : NULL;
    if (!symbol) {
        fprintf(stderr, "no ggml_quantize_chunk: %s\n",
                argc > 1 ? dlerror() : "usage: peer_quantise LIBGGML_BASE [FLOATS]");
        return 2;
    }
    peer_quantise *peer;
    memcpy(&peer, &symbol, sizeof peer); /* a function pointer through dlsym, as POSIX wants it */
    for (int kind = 0; kind < KINDS - 1; kind++)
        for (int row = 0; row < ROWS; row++)
            for (int col = 0; col < COLS; col++) x[kind][row * COLS + col] = (float)(0.02 * number(kind, row, col));
    for (int col = 0; col < COLS; col++)
        importance[col] = (float)exp(1.5 * normal(70, (uint64_t)col)) * (float)(col % 61 != 7);
    FILE *trained = argc > 2 ? fopen(argv[2], "rb") : NULL;
    int kinds = KINDS - 1;
    if (trained && fread(x[kinds], sizeof *x[kinds], N, trained) == N)
        kinds++;
    else
        printf("skipped: trained weights, no file of %d numbers was given\n", N);
    if (trained) fclose(trained);
    for (size_t t = 0; t < sizeof TYPES / sizeof *TYPES; t++) {
        compare(peer, TYPES[t], NULL, kinds);
        if (TYPES[t] != GAL_BLOCK_F16 && TYPES[t] != GAL_BLOCK_BF16) compare(peer, TYPES[t], importance, kinds);
    }
    return failed != 0;
}
