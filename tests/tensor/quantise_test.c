/* quantise_test.c - the quantisers that search: how much error they leave, beside llama.cpp's and beside the best
 * that there is; importances; the same bytes at each level and however blocks are cut; numbers that no block holds.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/rng.h"
#include "support/check.h"
#include "support/npz.h"
#include "tensor/quantise.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define GOLDEN "tests/golden/quantise.npz"

enum { ROWS = 24, COLS = 512, N = ROWS * COLS };

static const uint32_t TYPES[] = { GAL_BLOCK_Q2_K,   GAL_BLOCK_Q3_K,   GAL_BLOCK_Q4_K,  GAL_BLOCK_Q5_K, GAL_BLOCK_Q6_K,
                                  GAL_BLOCK_IQ4_NL, GAL_BLOCK_IQ4_XS, GAL_BLOCK_MXFP4, GAL_BLOCK_Q4_0, GAL_BLOCK_Q4_1,
                                  GAL_BLOCK_Q5_0,   GAL_BLOCK_Q5_1,   GAL_BLOCK_Q8_0 };

static float x[N], y[N], importance[COLS];
static uint8_t bytes[4 * N], again[4 * N];

static const char *name_of(uint32_t type) { return gal_block_info_of(type)->name; }
static size_t bytes_of(uint32_t type, int64_t n) {
    return (size_t)(n / gal_block_info_of(type)->elements * gal_block_info_of(type)->bytes);
}

static void fill(uint64_t seed) {
    for (int i = 0; i < N; i++) x[i] = 0.02f * (float)gal_rng_normal(seed, 0, (uint64_t)i);
    for (int i = 0; i < COLS; i++) importance[i] = (float)exp(1.5 * gal_rng_normal(seed, 1, (uint64_t)i));
}

/* Sum of weight times squared error. */
static double error_of(uint32_t type, const float *from, const float *w, int n) {
    double sum = 0;
    gal_block_dequantise(type, bytes, y, n);
    for (int i = 0; i < n; i++) {
        double off = (double)from[i] - (double)y[i];
        sum += (w ? (double)w[i % COLS] : 1) * off * off;
    }
    return sum;
}

/* llama.cpp's errors stand in the golden file, for five kinds of numbers, eight rows each. */
static void beside_llama_cpp(void **state) {
    (void)state;
    npz z = { 0 };
    CHECK_OK(npz_open(&z, GOLDEN, diag));
    const gal_npy *numbers = npz_find(&z, "x"), *weights = npz_find(&z, "importance");
    assert_true(numbers && weights && weights->count == COLS);
    double all = 0;
    for (int k = 0; k < COLS; k++) all += (double)((const float *)weights->data)[k];
    for (size_t t = 0; t < GAL_LEN(TYPES); t++)
        for (int weighted = 0; weighted < 2; weighted++) {
            char name[32];
            snprintf(name, sizeof name, "%s.%s", name_of(TYPES[t]), weighted ? "weighted" : "error");
            const gal_npy *peer = npz_find(&z, name);
            assert_true(peer && numbers->count % (peer->count * COLS) == 0);
            int rows = (int)(numbers->count / peer->count / COLS);
            const float *w = weighted ? weights->data : NULL;
            for (int64_t kind = 0; kind < peer->count; kind++) {
                const float *from = (const float *)numbers->data + kind * rows * COLS;
                gal_block_quantise_weighted(TYPES[t], from, w, bytes, rows, COLS);
                double error = sqrt(error_of(TYPES[t], from, w, rows * COLS) / rows / (weighted ? all : COLS));
                double theirs = (double)((const float *)peer->data)[kind];
                if (error > 1.01 * theirs)
                    fail_msg("%s, kind %d: %g, llama.cpp's %g: %.4f times", name, (int)kind, error, theirs,
                             error / theirs);
            }
        }
    npz_close(&z);
}

/* The least error of 32 numbers of which each goes to the nearest of `count` levels times s, over many s. */
static double least_error(const float *from, const float *w, const double *level, int count, int steps) {
    double far = 0, largest = 0, best = (double)INFINITY;
    for (int i = 0; i < 32; i++) largest = fabs((double)from[i]) > largest ? fabs((double)from[i]) : largest;
    for (int k = 0; k < count; k++) far = fabs(level[k]) > far ? fabs(level[k]) : far;
    for (int step = 1; step <= steps; step++)
        for (int sign = -1; sign <= 1; sign += 2) {
            double s = (double)gal_f16_to_f32(gal_f32_to_f16((float)(sign * 2.5 * largest / far * step / steps)));
            double error = 0;
            for (int i = 0; i < 32; i++) {
                double off = (double)INFINITY;
                for (int k = 0; k < count; k++) off = fmin(off, fabs(s * level[k] - (double)from[i]));
                error += (double)w[i] * off * off;
            }
            best = fmin(best, error);
        }
    return best;
}

static void beside_the_best(void **state) {
    (void)state;
    enum { BLOCKS = 64 };
    static const double IQ4[] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
    double whole[32];
    for (int k = 0; k < 32; k++) whole[k] = k - 16;
    const struct {
        uint32_t type;
        const double *level;
        int count;
        double most; /* times the best, on the whole */
    } KNOWN[] = { { GAL_BLOCK_Q4_0, whole + 8, 16, 1.06 },
                  { GAL_BLOCK_Q5_0, whole, 32, 1.25 }, /* so many steps that luck decides; found in few tries */
                  { GAL_BLOCK_IQ4_NL, IQ4, 16, 1.06 } };
    fill(3);
    for (size_t t = 0; t < GAL_LEN(KNOWN); t++) {
        double best = 0;
        gal_block_quantise_weighted(KNOWN[t].type, x, importance, bytes, 32 * BLOCKS / COLS, COLS);
        for (int b = 0; b < BLOCKS; b++)
            best += least_error(x + 32 * b, importance + 32 * b % COLS, KNOWN[t].level, KNOWN[t].count, 400);
        double error = error_of(KNOWN[t].type, x, importance, 32 * BLOCKS);
        print_message("%s: %.3f times the least error\n", name_of(KNOWN[t].type), error / best);
        assert_true(error >= 0.999 * best);
        if (error > KNOWN[t].most * best)
            fail_msg("%s: %g, at most %g times %g", name_of(KNOWN[t].type), error, KNOWN[t].most, best);
    }
}

/* What every format holds exactly, and what it nearly does. */
static void plain_rows(void **state) {
    (void)state;
    for (size_t t = 0; t < GAL_LEN(TYPES); t++)
        for (int kind = 0; kind < 6; kind++) {
            static const float CONSTANT[] = { 0, -0.0f, 1.5f, -0.75f, 6e-5f, -900 };
            for (int i = 0; i < 1024; i++) x[i] = CONSTANT[kind];
            gal_block_quantise(TYPES[t], x, bytes, 1024);
            gal_block_dequantise(TYPES[t], bytes, y, 1024);
            /* MXFP4's scales are powers of two: 1.5, 0.75 are there; 3 / 4 to 5 / 4 of a level elsewhere; 6e-5 leaves
             * f16 scales of few digits */
            double most = TYPES[t] == GAL_BLOCK_MXFP4 ? 0.15 : kind == 4 ? 0.02 : 0.002;
            for (int i = 0; i < 1024; i++)
                if (fabs((double)y[i] - (double)x[i]) > most * fabs((double)x[i]))
                    fail_msg("%s: %g comes back as %g", name_of(TYPES[t]), (double)x[i], (double)y[i]);
        }
}

/* What is important is nearer; and an importance that is 1000 times as large changes nothing. */
static void importances(void **state) {
    (void)state;
    fill(8);
    for (size_t t = 0; t < GAL_LEN(TYPES); t++) {
        uint32_t type = TYPES[t];
        gal_block_quantise(type, x, bytes, N);
        double plain = error_of(type, x, importance, N);
        gal_block_quantise_weighted(type, x, importance, bytes, ROWS, COLS);
        double weighted = error_of(type, x, importance, N);
        if (weighted > (type == GAL_BLOCK_Q8_0 ? 1 : 0.98) * plain)
            fail_msg("%s: weighted error %g, without importances %g", name_of(type), weighted, plain);
        float larger[COLS];
        for (int i = 0; i < COLS; i++) larger[i] = 1024 * importance[i];
        gal_block_quantise_weighted(type, x, larger, again, ROWS, COLS);
        assert_memory_equal(bytes, again, bytes_of(type, N));
    }
}

/* All levels give the same bytes, in blocks that do not fill their vectors too. */
static void levels(void **state) {
    (void)state;
    int others = 0;
    fill(9);
    const gal__quantisers *base = gal__quantisers_at(0);
    gal__weights w = { importance, 0.37f };
    x[77] = NAN;
    for (int level = 1; gal__quantisers_at(level); level++, others++)
        for (size_t t = 0; t < GAL_LEN(TYPES); t++)
            for (int blocks = 1; blocks < 20; blocks += 3) {
                const gal__quantisers *q = gal__quantisers_at(level);
                uint32_t type = TYPES[t], elements = gal_block_info_of(type)->elements;
                size_t size = bytes_of(type, blocks * (int64_t)elements);
                for (int weighted = 0; weighted < 2 && base->search[type]; weighted++) {
                    if (!weighted && base->write[type]) continue;
                    if (blocks * (int64_t)elements > COLS) continue;
                    base->search[type](x, weighted ? &w : NULL, bytes, blocks);
                    q->search[type](x, weighted ? &w : NULL, again, blocks);
                    assert_memory_equal(bytes, again, size);
                }
                if (!base->write[type]) continue;
                base->write[type](x + 32, bytes, blocks);
                q->write[type](x + 32, again, blocks);
                assert_memory_equal(bytes, again, size);
            }
    print_message("%d levels beside the first\n", others);
}

/* The conversions without branches are those of tensor.h. */
static void halves(void **state) {
    (void)state;
    static const uint32_t LOW[] = { 0, 1, 0xfff, 0x1000, 0x1001, 0x2000, 0x3000, 0x7fff, 0x8000, 0x8001, 0xffff };
    for (int level = 0; gal__quantisers_at(level); level++)
        for (uint32_t high = 0; high < 0x10000; high++) {
            float f[GAL_LEN(LOW)];
            uint16_t h[GAL_LEN(LOW)], b[GAL_LEN(LOW)];
            for (size_t i = 0; i < GAL_LEN(LOW); i++) {
                uint32_t u = high << 16 | LOW[i];
                memcpy(f + i, &u, sizeof u);
            }
            gal__quantisers_at(level)->write[GAL_BLOCK_F16](f, (uint8_t *)h, (int64_t)GAL_LEN(LOW));
            gal__quantisers_at(level)->write[GAL_BLOCK_BF16](f, (uint8_t *)b, (int64_t)GAL_LEN(LOW));
            for (size_t i = 0; i < GAL_LEN(LOW); i++)
                if (h[i] != gal_f32_to_f16(f[i]) || b[i] != gal_f32_to_bf16(f[i]))
                    fail_msg("%08x: %04x and %04x, expected %04x and %04x", (unsigned)(high << 16 | LOW[i]), h[i],
                             b[i], gal_f32_to_f16(f[i]), gal_f32_to_bf16(f[i]));
        }
}

static void neutral_importance(void **state) {
    (void)state;
    static float none[COLS], bad[COLS];
    fill(4);
    for (int i = 0; i < COLS; i++) bad[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -1;
    for (size_t t = 0; t < GAL_LEN(TYPES); t++) {
        gal_block_quantise_weighted(TYPES[t], x, none, bytes, ROWS, COLS);
        gal_block_quantise_weighted(TYPES[t], x, bad, again, ROWS, COLS);
        assert_memory_equal(bytes, again, bytes_of(TYPES[t], N));
        double zero = error_of(TYPES[t], x, NULL, N);
        gal_block_quantise(TYPES[t], x, bytes, N);
        double plain = error_of(TYPES[t], x, NULL, N);
        if (zero > 1.001 * plain)
            fail_msg("%s: error %g with importances of zero, %g without", name_of(TYPES[t]), zero, plain);
    }
}

/* However rows and blocks are cut among calls. */
static void cuts(void **state) {
    (void)state;
    fill(5);
    for (size_t t = 0; t < GAL_LEN(TYPES); t++) {
        uint32_t type = TYPES[t], elements = gal_block_info_of(type)->elements;
        gal_block_quantise(type, x, bytes, N);
        for (int64_t at = 0; at < N; at += elements)
            gal_block_quantise(type, x + at, again + bytes_of(type, at), elements);
        assert_memory_equal(bytes, again, bytes_of(type, N));
        gal_block_quantise_weighted(type, x, importance, bytes, ROWS, COLS);
        for (int r = 0; r < ROWS; r++)
            gal_block_quantise_weighted(type, x + r * COLS, importance, again + bytes_of(type, r * COLS), 1, COLS);
        assert_memory_equal(bytes, again, bytes_of(type, N));
    }
}

/* Nothing is undefined (the sanitizers look on), and the good block beside a bad one is as it is alone. */
static void not_finite(void **state) {
    (void)state;
    static const float BAD[] = { INFINITY, -INFINITY, NAN, 3e38f, -3e38f, 1e-45f, 1e-40f, 1e8f };
    for (size_t t = 0; t < GAL_LEN(TYPES); t++)
        for (size_t i = 0; i < 2 * GAL_LEN(BAD); i++) {
            uint32_t type = TYPES[t], elements = gal_block_info_of(type)->elements;
            fill(6);
            for (uint32_t k = 0; k < elements; k++)
                if (i % 2 == 0 || k % 11 == 3) x[k] = BAD[i / 2];
            gal_block_quantise(type, x, bytes, 2 * elements);
            gal_block_quantise(type, x + elements, again, elements);
            assert_memory_equal(bytes + bytes_of(type, elements), again, bytes_of(type, elements));
            gal_block_dequantise(type, bytes, y, 2 * elements);
            gal_block_quantise_weighted(type, x, importance, bytes, 1, 2 * elements);
        }
}

/* Of the first 256 numbers, as they would be `down` times smaller, relative to the largest; infinite if some number
 * is not finite. */
static double reached(uint32_t type, float size, int pattern, const float *w, float down) {
    double sum = 0;
    for (int i = 0; i < 256; i++) {
        float r = (float)gal_rng_uniform(9, 0, (uint64_t)i);
        x[i] = (pattern == 2 ? 2 * r - 1 : i == 9 ? (pattern ? -1 : 1) : (r - 0.5f) * 0x1p-16f) * (size / down);
    }
    x[9] = (pattern ? -size : size) / down;
    gal_block_quantise_weighted(type, x, w, bytes, 1, 256);
    gal_block_dequantise(type, bytes, y, 256);
    for (int i = 0; i < 256; i++) sum += fabs((double)x[i] - (double)y[i]);
    return isfinite(sum) ? sum / (double)size * (double)down : (double)INFINITY;
}

/* Up to the last scale that f16 has, blocks are as good as those of small numbers; beyond it they are not finite, and
 * never finite and wrong. A number above all others, one below, all numbers of that size. */
static void edges(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        float above, below; /* the largest multiples of a scale: of d, and where there is a minimum of that */
    } EDGES[] = { { GAL_BLOCK_Q8_0, 127, 127 },     { GAL_BLOCK_Q4_0, 8, 8 },     { GAL_BLOCK_Q5_0, 16, 16 },
                  { GAL_BLOCK_Q4_1, 15, 1 },        { GAL_BLOCK_Q5_1, 31, 1 },    { GAL_BLOCK_IQ4_NL, 127, 127 },
                  { GAL_BLOCK_IQ4_XS, 4064, 4064 }, { GAL_BLOCK_Q2_K, 45, 15 },   { GAL_BLOCK_Q3_K, 128, 128 },
                  { GAL_BLOCK_Q4_K, 945, 63 },      { GAL_BLOCK_Q5_K, 1953, 63 }, { GAL_BLOCK_Q6_K, 4096, 4096 } };
    for (size_t i = 0; i < 6 * GAL_LEN(EDGES); i++) {
        uint32_t type = EDGES[i / 6].type;
        int pattern = (int)(i % 3);
        const float *w = i % 6 < 3 ? NULL : importance;
        float edge = 65504 * (pattern ? EDGES[i / 6].below : EDGES[i / 6].above), most = 0, least = INFINITY;
        fill(6);
        for (float size = 30000; size < 0x1p28f; size *= 1.03f) {
            double here = reached(type, size, pattern, w, 1), small = reached(type, size, pattern, w, 0x1p20f);
            if (isfinite(here) && here > 1.2 * small + 0.01)
                fail_msg("%s, pattern %d: %g of %g: off by %g, small numbers by %g", name_of(type), pattern,
                         (double)size, (double)edge, here, small);
            most = isfinite(here) ? size : most;
            least = isfinite(here) ? least : fminf(least, size);
        }
        /* With weights the search may prefer a larger scale. */
        if (most > 1.2f * edge || least < (w ? 0.4f : 0.8f) * edge || least > 1.2f * edge)
            fail_msg("%s, pattern %d: finite up to %g, not from %g on, expected about %g", name_of(type), pattern,
                     (double)most, (double)least, (double)edge);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(beside_llama_cpp),
                                        cmocka_unit_test(beside_the_best),
                                        cmocka_unit_test(plain_rows),
                                        cmocka_unit_test(importances),
                                        cmocka_unit_test(neutral_importance),
                                        cmocka_unit_test(levels),
                                        cmocka_unit_test(cuts),
                                        cmocka_unit_test(not_finite),
                                        cmocka_unit_test(edges),
                                        cmocka_unit_test(halves) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
