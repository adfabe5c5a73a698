/* cache_types_test.c - every type of cached keys and values in a whole model: near f32, by how much each, with long
 * contexts, rings that wrapped and several sequences; the same bytes for any number of threads, replayed and eager;
 * what does not fit a model is refused. SPDX-License-Identifier: Apache-2.0 */
#include "models/model.h"
#include "support/far.h"
#include "support/thin.h"
#include "tiny.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LONG = 1300, NEW = 12 };

static const char *const LEVELS[] = { "ref", "sse42", "avx", "avx2", "avx512", "neon" };

/* Two key-value heads of 32 or 64 numbers with three or four query heads each. */
static gal_model *model_of(int64_t K, int64_t window) {
    gal_config c;
    gal_config_defaults(&c);
    (void)snprintf(c.model_type, sizeof c.model_type, "mistral");
    c.V = TINY_V;
    c.D = 48;
    c.L = 2;
    c.G = 2;
    c.H = K == 64 ? 8 : 6;
    c.K = K;
    c.F = 40;
    c.max_positions = 2000;
    c.window = window;
    c.init_range = 0.3;
    gal_model *m = NULL;
    gal_diag diag = { 0 };
    if (gal_model_build(&m, &c, &diag) || gal_model_init(m, GAL_F32, 12, &diag)) fail_msg("%s", diag.text);
    return m;
}

static float *rows(int64_t n) {
    float *p = calloc((size_t)(n * TINY_V), sizeof *p);
    assert_non_null(p);
    return p;
}

/* The logits of NEW tokens that follow `length`. */
static void decode(gal_dev *dev, const gal_model *m, gal_engine_options o, const int32_t *ids, int64_t length,
                   float *out) {
    o.chunk = 300;
    gal_engine *e = tiny_engine(dev, m, o);
    const float *logits = NULL;
    gal_diag diag = { 0 };
    if (gal_engine_prefill(e, 0, ids, length, &logits, &diag)) fail_msg("%s", diag.text);
    tiny_feed(e, 0, ids + length, NEW, 1, out);
    gal_engine_free(e);
}

/* sqrt(sum (a - b)^2 / sum b^2). */
static double distance(const float *a, const float *b, int64_t n) {
    double d = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(d / size);
}

/* A unit of each type: half a step at numbers of size 1, a step of a block's largest number for the last two. All
 * logits together may differ by 4 of these, for keys and values of two layers are rounded; by less than an eighth
 * would mean that the type was not used, and one that is read as another is far beyond. */
static const struct {
    gal_dtype type;
    double unit;
} TYPES[] = { { GAL_F16, 0x1p-11 }, { GAL_BF16, 0x1p-8 }, { GAL_Q8_0, 1.0 / 127 }, { GAL_Q4_0, 1.0 / 8 } };

static void near_f32(void **state) {
    (void)state;
    static const struct {
        int64_t K, window, length;
    } CASES[] = { { 32, 0, 40 }, { 64, 0, LONG }, { 64, 1100, LONG }, { 32, 70, 200 } };
    int32_t ids[LONG + NEW];
    tiny_ids(ids, LONG + NEW, 9);
    float *want = rows(NEW), *got = rows(NEW);
    for (size_t v = 0; v < GAL_LEN(LEVELS); v++) {
        gal_dev *dev = tiny_dev(LEVELS[v], 2);
        if (!dev) continue;
        for (size_t i = 0; i < GAL_LEN(CASES); i++) {
            if (CASES[i].length == LONG && (v == 0 || thin_skip(i, 4))) continue; /* ref takes its time */
            gal_model *m = model_of(CASES[i].K, CASES[i].window);
            decode(dev, m, (gal_engine_options){ .cache = GAL_F32, .exact = true }, ids, CASES[i].length, want);
            for (size_t t = 0; t < GAL_LEN(TYPES); t++) {
                decode(dev, m, (gal_engine_options){ .cache = TYPES[t].type, .exact = true }, ids, CASES[i].length,
                       got);
                double d = distance(got, want, NEW * TINY_V), unit = TYPES[t].unit;
                if (!(d >= unit / 8 && d <= 4 * unit))
                    fail_msg("%s, case %zu, %s: %g, expected %g to %g", LEVELS[v], i, gal_dtype_name(TYPES[t].type),
                             d, unit / 8, 4 * unit);
            }
            gal_model_free(m);
        }
        gal_dev_close(dev);
    }
    free(want);
    free(got);
}

/* At a depth at which cached keys are cut into pieces. */
static void threads_change_nothing(void **state) {
    (void)state;
    int32_t ids[LONG + NEW];
    tiny_ids(ids, LONG + NEW, 10);
    float *want = rows(NEW), *got = rows(NEW);
    for (size_t v = 1; v < GAL_LEN(LEVELS); v++) {
        gal_dev *dev = tiny_dev(LEVELS[v], 1);
        if (!dev) continue;
        gal_model *m = model_of(64, 0);
        for (size_t t = 0; t < GAL_LEN(TYPES); t++) {
            if (thin_skip(t, 3)) continue;
            gal_engine_options o = { .cache = TYPES[t].type };
            decode(dev, m, o, ids, LONG, want);
            for (int threads = 1; threads <= 3; threads++) {
                gal_dev *other = tiny_dev(LEVELS[v], threads);
                assert_non_null(other);
                o.eager = threads != 2;
                decode(other, m, o, ids, LONG, got);
                assert_memory_equal(got, want, NEW * TINY_V * sizeof *got);
                gal_dev_close(other);
            }
        }
        gal_model_free(m);
        gal_dev_close(dev);
    }
    free(want);
    free(got);
}

/* Sequences side by side, of which one is deep, give the bytes that each gives alone. */
static void sequences(void **state) {
    (void)state;
    enum { SEQS = 3 };
    static const int64_t LENGTHS[SEQS] = { 1200, 5, 300 };
    int32_t ids[LONG + NEW];
    tiny_ids(ids, LONG + NEW, 11);
    float *alone = rows(SEQS * NEW);
    gal_dev *dev = tiny_dev(NULL, 2);
    gal_model *m = model_of(64, 0);
    for (size_t t = 0; t < GAL_LEN(TYPES); t++) {
        gal_engine_options o = { .cache = TYPES[t].type, .sequences = SEQS, .chunk = 300 };
        gal_diag diag = { 0 };
        const float *logits = NULL;
        for (int s = 0; s < SEQS; s++) decode(dev, m, o, ids, LENGTHS[s], alone + s * NEW * TINY_V);
        gal_engine *e = tiny_engine(dev, m, o);
        for (int s = 0; s < SEQS; s++)
            if (gal_engine_prefill(e, s, ids, LENGTHS[s], &logits, &diag)) fail_msg("%s", diag.text);
        for (int64_t i = 0; i < NEW; i++) {
            gal_slice slices[SEQS];
            for (int s = 0; s < SEQS; s++) slices[s] = (gal_slice){ s, ids + LENGTHS[s] + i, 1 };
            if (gal_engine_step(e, slices, SEQS, false, &logits, &diag)) fail_msg("%s", diag.text);
            for (int s = 0; s < SEQS; s++) tiny_close(logits + s * TINY_V, alone + (s * NEW + i) * TINY_V, TINY_V);
        }
        gal_engine_free(e);
    }
    gal_model_free(m);
    gal_dev_close(dev);
    free(alone);
}

/* Tokens that are tried together, where cached keys are cut into pieces and where a ring has wrapped, have the bytes
 * that each gives alone; also after wrong ones that were forgotten. */
static void tried_together(void **state) {
    (void)state;
    static const struct {
        int64_t window, length;
    } CASES[] = { { 0, LONG }, { 0, 1020 }, { 1100, LONG }, { 70, 200 } };
    int32_t ids[LONG + NEW];
    tiny_ids(ids, LONG + NEW, 12);
    float *want = rows(NEW);
    for (size_t v = 1; v < GAL_LEN(LEVELS); v++) {
        gal_dev *dev = tiny_dev(LEVELS[v], 2);
        if (!dev) continue;
        for (size_t i = 0; i < GAL_LEN(CASES) * GAL_LEN(TYPES); i++) {
            const int64_t length = CASES[i / GAL_LEN(TYPES)].length;
            const float *logits = NULL;
            if (thin_skip(i, 5)) continue;
            gal_engine_options o = { .cache = TYPES[i % GAL_LEN(TYPES)].type };
            gal_model *m = model_of(64, CASES[i / GAL_LEN(TYPES)].window);
            decode(dev, m, o, ids, length, want);
            o.chunk = 300;
            gal_engine *e = tiny_engine(dev, m, o);
            assert_int_equal(gal_engine_prefill(e, 0, ids, length, &logits, NULL), GAL_OK);
            assert_int_equal(gal_engine_try(e, 0, ids, 8, &logits, NULL), GAL_OK); /* wrong ones */
            assert_true(gal_engine_truncate(e, 0, length));
            assert_int_equal(gal_engine_try(e, 0, ids + length, 8, &logits, NULL), GAL_OK);
            assert_memory_equal(logits, want, 8 * TINY_V * sizeof *want);
            assert_int_equal(gal_engine_try(e, 0, ids + length + 8, NEW - 8, &logits, NULL), GAL_OK);
            assert_memory_equal(logits, want + 8 * TINY_V, (NEW - 8) * TINY_V * sizeof *want);
            gal_engine_free(e);
            gal_model_free(m);
        }
        gal_dev_close(dev);
    }
    free(want);
}

static void refused(void **state) {
    (void)state;
    gal_dev *dev = tiny_dev(NULL, 1), *far = far_open("ref", 1);
    gal_engine *e = NULL;
    gal_diag diag = { 0 };
    gal_model *odd = tiny_model(0, false); /* heads of 10 */
    gal_engine_options o = { .cache = GAL_Q4_0, .sequences = 1 };
    assert_int_equal(gal_engine_new(&e, dev, odd, &o, &diag), GAL_EUSAGE);
    assert_string_equal(diag.text, "keys and values in q4_0 lie in blocks of 32 numbers; this model's heads have 10");
    assert_null(e);
    gal_model *m = model_of(32, 0);
    assert_int_equal(gal_model_to_device(m, far, NULL), GAL_OK);
    o.cache = GAL_Q8_0;
    diag = (gal_diag){ 0 };
    assert_int_equal(gal_engine_new(&e, far, m, &o, &diag), GAL_EUSAGE);
    assert_non_null(strstr(diag.text, "keys and values are f32, f16 or bf16 there, not q8_0"));
    assert_null(e);
    gal_model_free(m);
    gal_model_free(odd);
    gal_dev_close(dev);
    gal_dev_close(far);
}

/* 34 and 18 bytes for 32 numbers. */
static void sizes(void **state) {
    (void)state;
    gal_model *m = model_of(64, 0);
    const gal_config *c = &m->config;
    assert_int_equal(gal_cache_bytes_for(c, GAL_F16, 1, 10), 2 * 2 * 10 * 2 * 64 * 2);
    assert_int_equal(gal_cache_bytes_for(c, GAL_Q8_0, 3, 10), 3 * 2 * 2 * 10 * 2 * 68);
    assert_int_equal(gal_cache_bytes_for(c, GAL_Q4_0, 1, 100), 2 * 2 * 100 * 2 * 36);
    gal_cache *cache = NULL;
    assert_int_equal(gal_cache_new(&cache, NULL, c, GAL_Q4_0, 1, 500, NULL), GAL_OK);
    assert_int_equal(gal_cache_reserve(cache, 100, NULL, NULL), GAL_OK);
    assert_int_equal(gal_cache_bytes(cache), gal_cache_bytes_for(c, GAL_Q4_0, 1, gal_cache_room(cache)));
    gal_cache_free(cache);
    gal_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(near_f32),  cmocka_unit_test(threads_change_nothing),
                                        cmocka_unit_test(sequences), cmocka_unit_test(tried_together),
                                        cmocka_unit_test(refused),   cmocka_unit_test(sizes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
