/* progress_test.c - the line of a training at every width. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include "cli/progress.h"

#include <math.h>
#include <string.h>

static const gal_train_event EVENT = { .kind = GAL_TRAIN_STEP,
                                       .step = 420,
                                       .steps = 900,
                                       .loss = 2.8394,
                                       .bits_per_byte = 1.7113,
                                       .lr = 8.1e-4,
                                       .tokens_per_s = 9840.3,
                                       .left_s = 83.7 };

static void at(int columns, const char *expected) {
    char text[GAL_PROGRESS_BYTES];
    const size_t n = gal_cli_progress(text, &EVENT, columns);
    assert_string_equal(text, expected);
    assert_int_equal(n, strlen(expected));
}

static void what_is_left_out(void **state) {
    (void)state;
    at(0, "step 420/900  loss 2.839  1.711 bits/byte  lr 8.10e-04  9840 tokens/s  1:24 left");
    at(200,
       "[#########...........] step 420/900  loss 2.839  1.711 bits/byte  lr 8.10e-04  9840 tokens/s  1:24 left");
    at(80, "step 420/900  loss 2.839  1.711 bits/byte  9840 tokens/s  1:24 left");
    at(60, "step 420/900  loss 2.839  1.711 bits/byte  1:24 left");
    at(40, "step 420/900  loss 2.839  1:24 left");
    at(30, "step 420/900  loss 2.839");
    at(14, "step 420/900");
    at(9, "step 420");
    at(1, "");
}

static void never_wraps(void **state) {
    (void)state;
    char text[GAL_PROGRESS_BYTES];
    gal_train_event e = EVENT;
    const double odd[] = { 0, -1, 1e300, (double)NAN, (double)INFINITY, 4e5 };
    for (size_t i = 0; i < GAL_LEN(odd); i++) {
        e.loss = e.bits_per_byte = e.lr = e.tokens_per_s = e.left_s = odd[i];
        e.steps = i == 0 ? 0 : INT64_MAX;
        for (int columns = 1; columns < 300; columns++)
            assert_true(gal_cli_progress(text, &e, columns) < (size_t)columns);
        assert_true(gal_cli_progress(text, &e, 0) < sizeof text);
    }
}

static void time_left(void **state) {
    (void)state;
    char text[GAL_PROGRESS_BYTES];
    gal_train_event e = EVENT;
    e.left_s = 7322;
    (void)gal_cli_progress(text, &e, 0);
    assert_non_null(strstr(text, "2:02:02 left"));
    e.left_s = -1; /* not known yet */
    (void)gal_cli_progress(text, &e, 0);
    assert_null(strstr(text, "left"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_out),
        cmocka_unit_test(never_wraps),
        cmocka_unit_test(time_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
