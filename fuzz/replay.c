/* replay.c - a target without an engine: runs every file that is named, and every file of a folder that is named. Any
 * compiler builds it; the tests replay the corpora with it. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_BYTES = 1 << 24 };

/* The target gets a block that ends where the bytes end: a sanitizer sees whoever reads on. */
static gal_err run_file(const char *path, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_err err = gal_read_file(&b, path, MOST_BYTES, diag);
    uint8_t *copy = err ? NULL : gal_alloc(b.len);
    if (!err && !copy) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    if (!err) {
        if (b.len) memcpy(copy, b.data, b.len);
        (void)LLVMFuzzerTestOneInput(copy, b.len);
    }
    gal_free(copy);
    gal_buf_free(&b);
    return err;
}

static gal_err run_folder(const char *dir, size_t *count, gal_diag *diag) {
    char **names = NULL;
    size_t n = 0;
    gal_buf path = { 0 };
    gal_err err = gal_list_dir(dir, &names, &n, diag);
    for (size_t i = 0; !err && i < n; i++) {
        err = gal_path_join(&path, dir, names[i]) ? run_file(path.data, diag) : GAL_ENOMEM;
        if (!err) ++*count;
    }
    gal_free_names(names, n);
    gal_buf_free(&path);
    return err;
}

int main(int argc, char **argv) {
    gal_diag diag = { 0 };
    gal_err err = GAL_OK;
    size_t count = 0;
    for (int i = 1; !err && i < argc; i++) {
        if (gal_is_dir(argv[i])) {
            err = run_folder(argv[i], &count, &diag);
        } else {
            err = run_file(argv[i], &diag);
            if (!err) count++;
        }
    }
    if (err) fprintf(stderr, "%s\n", diag.text);
    printf("%zu inputs\n", count);
    return err || count == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
