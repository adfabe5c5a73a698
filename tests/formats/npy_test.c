/* npy_test.c - .npy files: round trips, NumPy's own bytes, damaged ones. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "formats/npy.h"
#include "support/check.h"

#include <stdio.h>
#include <string.h>

static void test_round_trips(void **state) {
    (void)state;
    static const int64_t shapes[][3] = { { 0, 0, 0 }, { 6, 0, 0 }, { 2, 3, 0 }, { 1, 2, 3 }, { 0, 5, 0 } };
    static const int ranks[] = { 0, 1, 2, 3, 2 };
    static const float f[] = { 1, -2, 3.5f, 4, 5, 6 };
    static const int64_t i[] = { 1, -2, INT64_MAX, 4, 5, INT64_MIN };
    char folder[256], path[512];
    make_folder(folder);
    (void)snprintf(path, sizeof path, "%s/a.npy", folder);
    for (size_t k = 0; k < GAL_LEN(ranks); k++) {
        for (int whole = 0; whole < 2; whole++) {
            gal_npy a = { 0 };
            gal_npy_type type = whole ? GAL_NPY_I64 : GAL_NPY_F32;
            CHECK_OK(gal_npy_write(path, type, ranks[k], shapes[k], whole ? (const void *)i : f, diag));
            CHECK_OK(gal_npy_read(&a, path, diag));
            assert_int_equal(a.type, type);
            assert_int_equal(a.ndim, ranks[k]);
            int64_t count = 1;
            for (int d = 0; d < a.ndim; d++) {
                assert_int_equal(a.dim[d], shapes[k][d]);
                count *= a.dim[d];
            }
            assert_int_equal(a.count, count);
            if (count) assert_memory_equal(a.data, whole ? (const void *)i : f, (size_t)count * gal_npy_bytes(type));
            gal_npy_free(&a);
        }
    }
    remove_folder(folder);
}

/* The bytes that numpy.save writes for numpy.array([[1, 2]], dtype="<i4"). */
static void test_golden_bytes(void **state) {
    (void)state;
    static const char header[] = "\x93NUMPY\x01\0v\0{'descr': '<i4', 'fortran_order': False, 'shape': (1, 2), }";
    char want[128 + 8];
    memset(want, ' ', 128);
    memcpy(want, header, sizeof header - 1);
    want[127] = '\n';
    memcpy(want + 128, "\1\0\0\0\2\0\0\0", 8);
    static const int32_t data[] = { 1, 2 };
    static const int64_t dim[] = { 1, 2 };
    char folder[256], path[512];
    make_folder(folder);
    (void)snprintf(path, sizeof path, "%s/a.npy", folder);
    CHECK_OK(gal_npy_write(path, GAL_NPY_I32, 2, dim, data, diag));
    gal_buf b = { 0 };
    CHECK_OK(gal_read_file(&b, path, 4096, diag));
    assert_int_equal(b.len, sizeof want);
    assert_memory_equal(b.data, want, sizeof want);
    for (size_t n = 0; n < b.len; n++) { /* no prefix is an array */
        gal_npy a;
        gal_diag diag = { 0 };
        uint8_t *copy = gal_alloc(n);
        if (n) memcpy(copy, b.data, n);
        assert_int_equal(gal_npy_parse(&a, copy, n, "a.npy", &diag), GAL_EINPUT);
        gal_free(copy);
    }
    gal_buf_free(&b);
    remove_folder(folder);
}

static void test_bad_headers(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        { "{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "C order" },
        { "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", ">f4" },
        { "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "|O" },
        { "{'descr': '<f4', 'fortran_order': False, }", "no shape" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1, }", "damaged" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "damaged" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }", "damaged" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "damaged" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "overflow" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "expected 8 bytes" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (), ", "damaged" },
        { "{'descr': '<f4' 'fortran_order': False, 'shape': (1,), }", "damaged" },
        { "", "'{'" },
    };
    for (size_t i = 0; i < GAL_LEN(bad); i++) {
        gal_buf b = { 0 };
        size_t n = strlen(bad[i][0]);
        gal_buf_add(&b, "\x93NUMPY\x01\0", 8);
        gal_buf_putc(&b, (char)n);
        gal_buf_putc(&b, 0);
        gal_buf_puts(&b, bad[i][0]);
        gal_buf_add(&b, "\0\0\0\0", 4);
        gal_npy a;
        gal_diag diag = { 0 };
        if (gal_npy_parse(&a, b.data, b.len, "a.npy", &diag) != GAL_EINPUT) fail_msg("accepted: %s", bad[i][0]);
        if (!strstr(diag.text, bad[i][1])) fail_msg("no \"%s\" in: %s", bad[i][1], diag.text);
        gal_buf_free(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_golden_bytes),
        cmocka_unit_test(test_bad_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
