/* barriers_test.c - how often the threads of a decoding step wait for each other. SPDX-License-Identifier: Apache-2.0
 */
#include "tiny.h"

#include "base/mem.h"
#include "base/pool.h"
#include "tensor/blocks.h"

#include <string.h>

/* Shape like a small model's: heads of 32 in groups, everything wide enough that products are cut. */
static gal_model *model_of(int layers, gal_dtype type) {
    gal_config c;
    gal_config_defaults(&c);
    (void)snprintf(c.model_type, sizeof c.model_type, "mistral");
    c.V = 1000;
    c.D = 256;
    c.L = layers;
    c.H = 8;
    c.G = 2;
    c.K = 32;
    c.F = 768;
    c.max_positions = 300;
    gal_model *m = NULL;
    gal_diag diag = { 0 };
    if (gal_model_build(&m, &c, &diag) || gal_model_init(m, type, 11, &diag)) fail_msg("%s", diag.text);
    return m;
}

/* As wide as models of some billions of weights, where more launches are cut; its matrices are blocks. What numbers
 * they hold, nothing waits for: all are 0. With experts, each token goes to two of eight. */
static gal_model *wide_model(int layers, uint32_t block, bool experts) {
    gal_config c;
    gal_config_defaults(&c);
    (void)snprintf(c.model_type, sizeof c.model_type, experts ? "mixtral" : "mistral");
    c.V = 1000;
    c.D = 4096;
    c.L = layers;
    c.H = 32;
    c.G = 8;
    c.K = 128;
    c.F = experts ? 1024 : 8192;
    c.max_positions = 300;
    c.experts = experts ? 8 : 0;
    c.experts_used = experts ? 2 : 0;
    gal_model *m = NULL;
    gal_diag diag = { 0 };
    if (gal_model_build(&m, &c, &diag)) fail_msg("%s", diag.text);
    for (size_t i = 0; i < m->n_weights; i++) {
        gal_w *w = &m->weights[i];
        const bool blocks = (w->role == GAL_W_LINEAR || w->role == GAL_W_RESIDUAL) && !strstr(w->name, ".gate.");
        w->dtype = blocks ? GAL_BLOCKS : GAL_F32;
        w->code.block = blocks ? block : 0;
        w->data = gal_alloc(gal_wbytes(w));
        assert_non_null(w->data);
        w->owned = true;
    }
    return m;
}

/* Barriers of a replayed step of so many sequences. */
static int barriers(gal_dev *dev, const gal_model *m, int64_t rows, gal_dtype compute) {
    gal_engine *e = tiny_engine(dev, m,
                                (gal_engine_options){ .compute = compute, .cache = compute, .sequences = rows });
    gal_slice s[16];
    static const int32_t ID = 7;
    const float *logits = NULL;
    gal_diag diag = { 0 };
    uint32_t before = 0;
    for (int64_t i = 0; i < rows; i++) s[i] = (gal_slice){ i, &ID, 1 };
    for (int step = 0; step < 3; step++) {
        before = gal_pool_handed_out(dev->pool);
        if (gal_engine_step(e, s, (size_t)rows, false, &logits, &diag)) fail_msg("%s", diag.text);
    }
    assert_int_equal(gal_engine_replays(e), 2);
    gal_engine_free(e);
    return (int)(gal_pool_handed_out(dev->pool) - before);
}

static void few_barriers_a_block(void **state) {
    (void)state;
    static const char *const LEVELS[] = { "sse42", "avx", "avx2", "avx512", "neon" };
    static const gal_dtype TYPES[] = { GAL_F32, GAL_BF16 };
    int seen = 0;
    for (size_t l = 0; l < GAL_LEN(LEVELS); l++) {
        gal_dev *dev = tiny_dev(LEVELS[l], 2);
        if (!dev) continue;
        seen++;
        for (size_t t = 0; t < GAL_LEN(TYPES); t++) {
            gal_model *two = model_of(2, TYPES[t]), *three = model_of(3, TYPES[t]);
            int small = barriers(dev, two, 1, TYPES[t]), large = barriers(dev, three, 1, TYPES[t]);
            print_message("%s, %s: %d barriers a block, %d beside them\n", LEVELS[l], gal_dtype_name(TYPES[t]),
                          large - small, small - 2 * (large - small));
            assert_true(large - small >= 4); /* four products at least: they are counted */
            assert_true(large - small <= 8);
            assert_true(small - 2 * (large - small) <= 3);
            int batch = barriers(dev, three, 16, TYPES[t]) - barriers(dev, two, 16, TYPES[t]);
            assert_true(batch >= 4 && batch <= 14); /* every launch at most */
            gal_model_free(two);
            gal_model_free(three);
        }
        gal_dev_close(dev);
    }
    if (!seen) print_message("neither sse42 nor neon here: nothing was counted\n");
}

/* Weights in blocks: inputs are rounded to small integers, which are launches more, and take no barriers more. Of a
 * block with experts: the router's choice, sorting and putting together again beside. */
static void no_more_with_small_integers(void **state) {
    (void)state;
    static const char *const LEVELS[] = { "sse42", "avx", "avx2", "avx512", "neon" };
    static const uint32_t BLOCKS[] = { GAL_BLOCK_Q4_K, GAL_BLOCK_Q8_0 };
    for (size_t b = 0; b < GAL_LEN(BLOCKS); b++)
        for (int experts = 0; experts < 2; experts++) {
            gal_model *two = wide_model(2, BLOCKS[b], experts), *three = wide_model(3, BLOCKS[b], experts);
            for (size_t l = 0; l < GAL_LEN(LEVELS); l++) {
                gal_dev *dev = tiny_dev(LEVELS[l], 2);
                if (!dev) continue;
                const int small = barriers(dev, two, 1, GAL_F32), each = barriers(dev, three, 1, GAL_F32) - small;
                print_message("%s, %s, %s: %d barriers a block, %d beside them\n", LEVELS[l],
                              gal_block_info_of(BLOCKS[b])->name, experts ? "experts" : "dense", each,
                              small - 2 * each);
                assert_true(each >= 4);
                assert_true(each <= 8);
                assert_true(small - 2 * each <= 3);
                gal_dev_close(dev);
            }
            gal_model_free(two);
            gal_model_free(three);
        }
}

static void count_launch(void *user, const gal_span *span) { ((int *)user)[span->id]++; }

/* How often a decoding step rounds something to small integers. */
static int roundings(const gal_model *m) {
    static gal_busy busy[GAL_MAX_THREADS];
    int launches[GAL_K_COUNT] = { 0 };
    const gal_watch watch = { count_launch, launches, busy };
    gal_dev *dev = tiny_dev(NULL, 2);
    dev->watch = &watch;
    gal_engine *e = tiny_engine(dev, m, (gal_engine_options){ .sequences = 1 });
    static const int32_t ID = 7;
    const gal_slice s = { 0, &ID, 1 };
    const float *logits = NULL;
    gal_diag diag = { 0 };
    for (int step = 0; step < 3; step++) {
        memset(launches, 0, sizeof launches);
        if (gal_engine_step(e, &s, 1, false, &logits, &diag)) fail_msg("%s", diag.text);
    }
    gal_engine_free(e);
    gal_dev_close(dev);
    return launches[GAL_K_QUANTISE];
}

/* Once for q, k and v, for o, for gate and up, for down. */
static void inputs_are_rounded_once(void **state) {
    (void)state;
    gal_model *two = wide_model(2, GAL_BLOCK_Q4_K, false), *three = wide_model(3, GAL_BLOCK_Q4_K, false);
    assert_int_equal(roundings(three) - roundings(two), 4);
    gal_model_free(two);
    gal_model_free(three);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(few_barriers_a_block),
                                        cmocka_unit_test(no_more_with_small_integers),
                                        cmocka_unit_test(inputs_are_rounded_once) };
    return cmocka_run_group_tests_name("infer/barriers", tests, NULL, NULL);
}
