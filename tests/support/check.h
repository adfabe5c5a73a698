/* check.h - what most tests include: cmocka in its order, a temporary folder that is removed afterwards, files that
 * must be alike. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_CHECK_H
#define GAL_TESTS_CHECK_H

/* cmocka wants these before itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"

/* err must be GAL_OK; prints the diagnostic if not. */
#define CHECK_OK(call)                                                                                               \
    do {                                                                                                             \
        gal_diag diag_ = { 0 };                                                                                      \
        gal_diag *diag = &diag_;                                                                                     \
        gal_err err_ = (call);                                                                                       \
        if (err_) fail_msg("%s: %s", gal_err_name(err_), diag_.text);                                                \
    } while (0)

/* A new folder for this test, "/.../name" into path. Removed by remove_folder(). */
void make_folder(char path[256]);
void remove_folder(const char *path);
/* Writes bytes into folder/name. */
void put_file(const char *folder, const char *name, const void *bytes, size_t n);
/* Both files are there and hold the same bytes. */
void same_file(const char *a, const char *b);

#endif
