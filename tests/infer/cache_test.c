/* cache_test.c - room, limits and truncation of the key-value cache. SPDX-License-Identifier: Apache-2.0 */
#include "tiny.h"

#include <string.h>

static gal_cache *new_cache(const gal_model *m, gal_dtype dtype, int64_t sequences, int64_t limit) {
    gal_cache *c = NULL;
    assert_int_equal(gal_cache_new(&c, NULL, &m->config, dtype, sequences, limit, NULL), GAL_OK);
    return c;
}

static void test_growth_keeps_contents(void **state) {
    (void)state;
    gal_model *m = tiny_model(0, false);
    gal_cache *c = new_cache(m, GAL_F32, 2, 300);
    const gal_kv_layer *layers = gal_cache_layers(c);
    int64_t room = gal_cache_room(c), K = m->config.K;
    assert_true(room < 300);
    for (int64_t s = 0; s < 2; s++) {
        for (int64_t p = 0; p < room; p++) ((float *)layers[1].v)[(s * room + p) * K + 3] = (float)(1000 * s + p);
    }
    bool grown = false;
    assert_int_equal(gal_cache_reserve(c, room, &grown, NULL), GAL_OK);
    assert_false(grown);
    assert_int_equal(gal_cache_reserve(c, room + 1, &grown, NULL), GAL_OK);
    assert_true(grown);
    assert_int_equal(gal_cache_room(c), 2 * room);
    for (int64_t s = 0; s < 2; s++) {
        for (int64_t p = 0; p < room; p++) {
            assert_true(((float *)layers[1].v)[(s * 2 * room + p) * K + 3] == (float)(1000 * s + p));
        }
    }
    gal_cache_free(c);
    gal_model_free(m);
}

static void test_limit(void **state) {
    (void)state;
    gal_model *m = tiny_model(0, false);
    gal_cache *c = new_cache(m, GAL_F32, 1, 100);
    gal_diag diag = { 0 };
    assert_int_equal(gal_cache_reserve(c, 100, NULL, NULL), GAL_OK);
    assert_int_equal(gal_cache_room(c), 100);
    assert_int_equal(gal_cache_reserve(c, 101, NULL, &diag), GAL_ENOMEM);
    assert_non_null(strstr(diag.text, "101"));
    assert_non_null(strstr(diag.text, "100"));
    assert_int_equal(gal_cache_room(c), 100);
    gal_cache_free(c);
    gal_model_free(m);
}

static void test_bytes(void **state) {
    (void)state;
    gal_model *m = tiny_model(8, true);
    const gal_config *c = &m->config;
    /* two windowed layers of 8 slots and the spare ones, one of all 50 positions; keys and values of 1 x 10 numbers
     */
    assert_int_equal(gal_cache_bytes_for(c, GAL_F32, 3, 50), 3 * (23 + 50 + 23) * 2 * 10 * 4);
    assert_int_equal(gal_cache_bytes_for(c, GAL_BF16, 1, 5), 3 * 5 * 2 * 10 * 2);
    gal_cache *cache = new_cache(m, GAL_F32, 3, 50);
    assert_int_equal(gal_cache_reserve(cache, 50, NULL, NULL), GAL_OK);
    assert_int_equal(gal_cache_bytes(cache), gal_cache_bytes_for(c, GAL_F32, 3, 50));
    int64_t fits = gal_cache_tokens_in(c, GAL_F32, 1, 300, 6000);
    assert_true(fits > 0 && fits < 300);
    uint64_t need = gal_cache_bytes_for(c, GAL_F32, 1, fits), more = gal_cache_bytes_for(c, GAL_F32, 1, fits + 1);
    assert_true(need + need / TINY_L <= 6000 && more + more / TINY_L > 6000);
    assert_int_equal(gal_cache_tokens_in(c, GAL_F32, 1, 300, UINT64_MAX), 300);
    gal_cache_free(cache);
    gal_model_free(m);
}

static void test_truncate(void **state) {
    (void)state;
    gal_model *m = tiny_model(8, false);
    gal_cache *c = new_cache(m, GAL_F32, 1, 300);
    assert_int_equal(gal_cache_reserve(c, 30, NULL, NULL), GAL_OK);
    gal_cache_advance(c, 0, 6);
    assert_true(gal_cache_truncate(c, 0, 2)); /* nothing overwritten yet */
    gal_cache_advance(c, 0, 28);
    assert_false(gal_cache_truncate(c, 0, 13)); /* position 13 sees 6, whose slot of 23 holds 29 by now */
    assert_int_equal(gal_cache_length(c, 0), 30);
    assert_true(gal_cache_truncate(c, 0, 30 - GAL_CACHE_SPARE - 1)); /* position 14 sees 7 to 13, all still there */
    assert_true(gal_cache_truncate(c, 0, 0));
    assert_int_equal(gal_cache_length(c, 0), 0);
    gal_cache_free(c);
    gal_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_growth_keeps_contents), cmocka_unit_test(test_limit),
                                        cmocka_unit_test(test_bytes), cmocka_unit_test(test_truncate) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
