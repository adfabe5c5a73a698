/* numbers_test.c - windows cover a text with every token once; means and their errors; percentiles.
 * SPDX-License-Identifier: Apache-2.0 */
#include "eval/compare.h"
#include "support/check.h"

#include <math.h>

/* Walks a text of n tokens; every token must count once, in order, with as much before it as promised. */
static void check_cover(gal_windows how, int64_t n) {
    gal_window w = { 0 };
    int64_t next = how.bos ? 0 : 1, windows = 0;
    for (gal_window_next(&how, &w); gal_window_clip(&how, &w, n); gal_window_next(&how, &w)) {
        assert_int_equal(w.first, next);
        assert_true(w.end > w.first && w.end <= n && w.from >= 0);
        assert_true(gal_window_rows(&w) <= how.context && gal_window_skip(&w) >= 0);
        assert_int_equal(gal_window_rows(&w) - gal_window_skip(&w), w.end - w.first);
        /* rows before the first that counts: all there are, or what the stride leaves */
        int64_t before = gal_window_skip(&w);
        assert_true(w.from == 0 || before >= how.context - how.stride);
        assert_true(w.from == 0 || gal_window_rows(&w) == how.context);
        next = w.end;
        windows++;
    }
    assert_int_equal(next, n > 0 ? GAL_MAX(n, next) : next);
    if (n > (how.bos ? 0 : 1)) assert_int_equal(next, n);
    if (n <= (how.bos ? 0 : 1)) assert_int_equal(windows, 0);
}

static void strided_windows(void **state) {
    (void)state;
    for (int bos = 0; bos < 2; bos++)
        for (int64_t context = 2; context <= 9; context++)
            for (int64_t stride = 1; stride <= context; stride++)
                for (int64_t n = 0; n <= 40; n++) check_cover((gal_windows){ GAL_STRIDED, context, stride, bos }, n);
}

/* The picture in window.h. */
static void the_example(void **state) {
    (void)state;
    gal_windows how = { GAL_STRIDED, 4, 2, true };
    static const int64_t WANT[4][3] = { { 0, 0, 4 }, { 2, 4, 6 }, { 4, 6, 8 }, { 5, 8, 9 } };
    gal_window w = { 0 };
    for (int i = 0; i < 4; i++) {
        gal_window_next(&how, &w);
        assert_true(gal_window_clip(&how, &w, 9));
        assert_int_equal(w.from, WANT[i][0]);
        assert_int_equal(w.first, WANT[i][1]);
        assert_int_equal(w.end, WANT[i][2]);
        assert_true(w.put_bos && !w.replace_bos);
    }
    gal_window_next(&how, &w);
    assert_false(gal_window_clip(&how, &w, 9));
}

/* Of 512 tokens the tool scores the targets 257 to 511; of an odd context of 7, 4 to 6. The rest is dropped. */
static void windows_of_llama_cpp(void **state) {
    (void)state;
    gal_windows how = { GAL_AS_LLAMA_CPP, 512, 512, true };
    gal_window w = { 0 };
    for (int64_t i = 0; i < 2; i++) {
        gal_window_next(&how, &w);
        assert_true(gal_window_clip(&how, &w, 1300));
        assert_true(w.from == 512 * i && w.first == 512 * i + 257 && w.end == 512 * (i + 1));
        assert_true(w.replace_bos && !w.put_bos);
        assert_int_equal(gal_window_rows(&w), 511);
        assert_int_equal(gal_window_skip(&w), 256);
    }
    gal_window_next(&how, &w);
    assert_false(gal_window_clip(&how, &w, 1300));
    how = (gal_windows){ GAL_AS_LLAMA_CPP, 7, 7, false };
    w = (gal_window){ 0 };
    gal_window_next(&how, &w);
    assert_true(w.first == 4 && w.end == 7 && !w.replace_bos);
}

/* Numbers by hand: 1, 2, 4, 9 have mean 4, deviation^2 = (9 + 4 + 0 + 25) / 3. */
static void means(void **state) {
    (void)state;
    static const double X[] = { 1, 2, 4, 9 }, Y[] = { 1, 1, 2, 4 };
    gal_moments m = { 0 };
    double error = 0;
    assert_true(isnan(gal_moments_error(&m)) && isnan(gal_moments_ratio(&m, &error)) && isnan(error));
    for (int i = 0; i < 4; i++) gal_moments_add(&m, X[i], Y[i]);
    assert_true(m.n == 4 && fabs(m.x - 4.0) < 1e-15);
    assert_true(fabs(gal_moments_error(&m) - sqrt(38.0 / 3.0 / 4.0)) < 1e-14);
    /* ratio 2; x - 2 y = -1, 0, 0, 1: deviation^2 2 / 3, over 4 numbers, divided by the mean of y */
    assert_true(fabs(gal_moments_ratio(&m, &error) - 2.0) < 1e-15);
    assert_true(fabs(error - sqrt(2.0 / 3.0 / 4.0) / 2.0) < 1e-14);
    /* a large mean does not swallow a small deviation */
    gal_moments far = { 0 };
    for (int i = 0; i < 4; i++) gal_moments_add(&far, 1e8 + X[i], 0.0);
    assert_true(fabs(gal_moments_error(&far) - sqrt(38.0 / 3.0 / 4.0)) < 1e-7);
    gal_moments one = { 0 };
    gal_moments_add(&one, 3.0, 2.0);
    assert_true(gal_moments_ratio(&one, &error) == 1.5 && isnan(error));
}

static void percentiles(void **state) {
    (void)state;
    static const float X[] = { 0, 1, 2, 4, 8 };
    assert_true(gal_quantile(X, 5, 0.0) == 0.0 && gal_quantile(X, 5, 1.0) == 8.0);
    assert_true(gal_quantile(X, 5, 0.5) == 2.0 && fabs(gal_quantile(X, 5, 0.9) - 6.4) < 1e-12);
    assert_true(gal_quantile(X, 4, 0.5) == 1.5 && gal_quantile(X + 2, 1, 0.99) == 2.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strided_windows), cmocka_unit_test(the_example), cmocka_unit_test(windows_of_llama_cpp),
        cmocka_unit_test(means),           cmocka_unit_test(percentiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
