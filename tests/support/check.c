/* check.c - see check.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include "base/buf.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void make_folder(char path[256]) {
    const char *tmp = getenv("TMPDIR");
    assert_in_range(snprintf(path, 256, "%s/galerne-test-XXXXXX", tmp ? tmp : "/tmp"), 1, 255);
    assert_non_null(mkdtemp(path));
}

void remove_folder(const char *path) { CHECK_OK(gal_remove_tree(path, diag)); }

void put_file(const char *folder, const char *name, const void *bytes, size_t n) {
    char path[512];
    assert_in_range(snprintf(path, sizeof path, "%s/%s", folder, name), 1, 511);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    if (n) assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

void same_file(const char *a, const char *b) {
    gal_buf x = { 0 }, y = { 0 };
    CHECK_OK(gal_read_file(&x, a, 1 << 28, diag));
    CHECK_OK(gal_read_file(&y, b, 1 << 28, diag));
    if (x.len != y.len || (x.len && memcmp(x.data, y.data, x.len) != 0)) fail_msg("%s and %s differ", a, b);
    gal_buf_free(&x);
    gal_buf_free(&y);
}
