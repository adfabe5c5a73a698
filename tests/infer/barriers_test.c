/* barriers_test.c - how often the threads of a decoding step wait for each other. SPDX-License-Identifier: Apache-2.0
 */
#include "tiny.h"

#include "base/pool.h"

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

/* Weights in blocks: inputs are rounded to small integers, which are launches more. */
static void no_more_with_small_integers(void **state) {
    (void)state;
    gal_dev *dev = tiny_dev(NULL, 2);
    gal_model *m = NULL;
    gal_diag diag = { 0 };
    if (gal_model_load(&m, "tests/golden/gguf-mistral3-q", &diag)) fail_msg("%s", diag.text);
    int all = barriers(dev, m, 1, GAL_F32), layers = (int)m->config.L;
    print_message("in blocks: %d barriers in a step of %d layers\n", all, layers);
    assert_true(all > 0 && all <= 8 * layers + 3);
    gal_model_free(m);
    gal_dev_close(dev);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(few_barriers_a_block),
                                        cmocka_unit_test(no_more_with_small_integers) };
    return cmocka_run_group_tests_name("infer/barriers", tests, NULL, NULL);
}
