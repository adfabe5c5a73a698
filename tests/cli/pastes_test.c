/* pastes_test.c - what becomes of pasted text, and of the marks that stand for it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/pastes.h"
#include "support/test.h"

#include <string.h>

static gal_buf buf_of(const char *s, size_t n) {
    gal_buf b = { 0 };
    gal_buf_add(&b, s, n);
    return b;
}

static void test_clean(void **state) {
    (void)state;
    static const char IN[] = "a\r\nb\rc\n\td\x01\x1b[31m\x1c\x1a\x03\x7f\0e\xc2\x85\xc3\xa9\r\n\r\n";
    gal_buf b = buf_of(IN, sizeof IN - 1);
    gal_paste_clean(&b);
    assert_string_equal(b.data, "a\nb\nc\n\td[31me\xc3\xa9\n\n");
    gal_buf_free(&b);
    gal_paste_clean(&b);
    assert_int_equal(b.len, 0);
}

static void test_plain(void **state) {
    (void)state;
    static const char *const NOT[] = { "a\nb", "a\tb", "\xff", "a\xc2\x85", "\xe2\x82" };
    gal_buf b = buf_of("caf\xc3\xa9", 5);
    assert_true(gal_paste_is_plain(&b));
    gal_buf_free(&b);
    for (size_t i = 0; i < sizeof NOT / sizeof NOT[0]; i++) {
        b = buf_of(NOT[i], strlen(NOT[i]));
        assert_false(gal_paste_is_plain(&b));
        gal_buf_free(&b);
    }
    for (int i = 0; i < 1001; i++) gal_buf_putc(&b, 'x');
    assert_false(gal_paste_is_plain(&b));
    gal_buf_free(&b);
}

static void test_marks(void **state) {
    (void)state;
    gal_pastes p = { 0 };
    gal_buf out = { 0 }, b = buf_of("x\ny\n", 4);
    assert_string_equal(gal_pastes_add(&p, &b, ""), "[paste 1: 2 lines]");
    b = buf_of("z", 1);
    assert_string_equal(gal_pastes_add(&p, &b, "typed [paste 2: 1 line] by hand"), "[paste 3: 1 line]");
    static const char LINE[] = "[paste 1: 2 lines]-[paste 2: 1 line]\0[paste 3: 1 line][paste 1: 2 line";
    gal_pastes_expand(&p, LINE, sizeof LINE - 1, &out);
    static const char WANT[] = "x\ny\n-[paste 2: 1 line]\0z[paste 1: 2 line";
    assert_int_equal(out.len, sizeof WANT - 1);
    assert_memory_equal(out.data, WANT, sizeof WANT);
    assert_true(gal_pastes_marked("say [paste 12: 3 lines]"));
    assert_true(gal_pastes_marked("[paste [paste 1: 1 line]"));
    assert_false(gal_pastes_marked("[paste me: 3]"));
    gal_buf_free(&out);
    gal_pastes_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
