/* quantise_test.c - the quantisers that search: how much error they leave, beside what rounding to the range leaves
 * and beside the best that there is; weights; the same bytes however blocks are cut; numbers that no block holds.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/rng.h"
#include "support/check.h"
#include "tensor/blocks.h"

#include <math.h>
#include <string.h>

enum { ROWS = 24, COLS = 512, N = ROWS * COLS };

static const uint32_t TYPES[] = { GAL_BLOCK_Q2_K, GAL_BLOCK_Q3_K,   GAL_BLOCK_Q4_K,   GAL_BLOCK_Q5_K,
                                  GAL_BLOCK_Q6_K, GAL_BLOCK_IQ4_NL, GAL_BLOCK_IQ4_XS, GAL_BLOCK_MXFP4,
                                  GAL_BLOCK_Q4_0, GAL_BLOCK_Q4_1,   GAL_BLOCK_Q5_0,   GAL_BLOCK_Q5_1 };

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

/* Root of the mean of weight times squared error. */
static double error_of(uint32_t type, const float *w) {
    double sum = 0, weights = 0;
    gal_block_dequantise(type, bytes, y, N);
    for (int i = 0; i < N; i++) {
        double off = (double)x[i] - (double)y[i], weight = w ? (double)w[i % COLS] : 1;
        sum += weight * off * off;
        weights += weight;
    }
    return sqrt(sum / weights);
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
        double zero = error_of(TYPES[t], NULL);
        gal_block_quantise(TYPES[t], x, bytes, N);
        double plain = error_of(TYPES[t], NULL);
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

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(neutral_importance), cmocka_unit_test(cuts),
                                        cmocka_unit_test(not_finite) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
