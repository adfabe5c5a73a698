/* calibrate_test.c - an importance matrix from a text, beside the same sums taken by hand.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "convert/calibrate.h"
#include "support/check.h"

#include <math.h>
#include <string.h>

enum { TOKENS = 50, CHUNK = 16 };

/* The first layer's q, k and v get the embedding's rows, normalised and scaled. */
static void by_hand(const gal_model *m, const int32_t *ids, int64_t n, double *sums) {
    const gal_w *embed = &m->weights[0], *scale = gal_model_weight(m, "model.layers.0.input_layernorm.weight");
    int64_t D = m->config.D;
    assert_non_null(scale);
    assert_int_equal(embed->dim[1], D);
    memset(sums, 0, (size_t)D * sizeof *sums);
    for (int64_t i = 0; i < n; i++) {
        const float *row = (const float *)embed->data + ids[i] * D;
        double square = 0;
        for (int64_t j = 0; j < D; j++) square += (double)row[j] * (double)row[j];
        double inverse = 1 / sqrt(square / (double)D + m->config.eps);
        for (int64_t j = 0; j < D; j++) {
            double x = (double)row[j] * inverse * (double)((const float *)scale->data)[j];
            sums[j] += x * x;
        }
    }
}

static void sums_of_squares(void **state) {
    (void)state;
    gal_model *m = NULL;
    gal_dev *dev = NULL;
    gal_imatrix im = { 0 };
    CHECK_OK(gal_model_load(&m, "tests/golden/mistral-base", diag));
    CHECK_OK(gal_dev_open(&dev, &(gal_device_options){ .threads = 2 }, diag));
    int32_t ids[TOKENS], seen[TOKENS + TOKENS];
    int64_t n = 0;
    for (int i = 0; i < TOKENS; i++) ids[i] = 3 + (i * 37) % 120;
    for (int i = 0; i < TOKENS; i++) {
        if (i % (CHUNK - 1) == 0) seen[n++] = 1; /* before each chunk */
        seen[n++] = ids[i];
    }
    gal_calibrate_options o = { .chunk = CHUNK, .bos = 1 };
    CHECK_OK(gal_calibrate(&im, dev, m, ids, TOKENS, &o, diag));
    assert_int_equal(im.n, 7 * (size_t)m->config.L);
    assert_int_equal(im.chunks, 4);
    assert_int_equal(im.chunk_size, CHUNK);
    double *want = gal_alloc_array((size_t)m->config.D, sizeof *want);
    assert_non_null(want);
    by_hand(m, seen, n, want);
    static const char *const NAMES[] = { "blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        const gal_imatrix_entry *e = gal_imatrix_find(&im, NAMES[i]);
        assert_non_null(e);
        assert_int_equal(e->n_sums, m->config.D);
        assert_true(e->counts[0] == (float)n);
        for (int64_t j = 0; j < m->config.D; j++)
            if (!(fabs((double)e->sums[j] - want[j]) <= 1e-5 * want[j] + 1e-9))
                fail_msg("%s, column %d: expected %g, found %g", NAMES[i], (int)j, want[j], (double)e->sums[j]);
    }
    const gal_imatrix_entry *down = gal_imatrix_find(&im, "blk.0.ffn_down.weight");
    assert_true(down && down->n_sums == (size_t)m->config.F);
    assert_null(gal_imatrix_find(&im, "token_embd.weight"));
    assert_null(gal_imatrix_find(&im, "output.weight"));
    gal_free(want);
    gal_imatrix_free(&im);
    gal_model_free(m);
    gal_dev_close(dev);
}

static bool stop(void *user, int64_t done, int64_t total) {
    assert_true(done == 0 && total == 5); /* within the first chunk */
    return ++*(int *)user == 10;
}

static void stopped(void **state) {
    (void)state;
    gal_model *m = NULL;
    gal_dev *dev = NULL;
    gal_imatrix im = { 0 };
    static const int32_t IDS[] = { 1, 2, 3, 4, 5 };
    int asked = 0;
    CHECK_OK(gal_model_load(&m, "tests/golden/mistral-base", diag));
    CHECK_OK(gal_dev_open(&dev, &(gal_device_options){ .threads = 1 }, diag));
    gal_calibrate_options o = { .chunk = 2, .bos = -1, .progress = stop, .user = &asked };
    assert_int_equal(gal_calibrate(&im, dev, m, IDS, 5, &o, NULL), GAL_EINTERRUPTED);
    assert_null(im.entries);
    gal_model_free(m);
    gal_dev_close(dev);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(sums_of_squares), cmocka_unit_test(stopped) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
