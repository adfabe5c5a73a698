/* err.c - see err.h. Owns the only words that the library ever prints: those before abort(). SPDX-License-Identifier:
 * Apache-2.0 */
#define GAL_DEFINES_FAIL
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

gal_err gal_failv(gal_diag *diag, gal_err err, const char *fmt, va_list ap) {
    if (diag && diag->err == GAL_OK) {
        diag->err = err;
        if (vsnprintf(diag->text, sizeof diag->text, fmt, ap) < 0) diag->text[0] = 0;
    }
    return err;
}

gal_err gal_fail(gal_diag *diag, gal_err err, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    (void)gal_failv(diag, err, fmt, ap);
    va_end(ap);
    return err;
}

void gal__abort(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fputs("galerne: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    abort();
}

void gal__assert_failed(const char *cond, const char *file, int line) {
    gal__abort("%s:%d: assertion failed: %s", file, line, cond);
}

const char *gal_err_name(gal_err err) {
    static const char *const NAMES[] = { "ok",     "failed", "usage",       "input",  "memory",
                                         "device", "write",  "interrupted", "record", "busy" };
    return (size_t)err < GAL_LEN(NAMES) ? NAMES[err] : "unknown";
}

#define GAL__STR(x) #x
#define GAL__VERSION(a, b, c) GAL__STR(a) "." GAL__STR(b) "." GAL__STR(c)

const char *gal_version(void) { return GAL__VERSION(GAL_VERSION_MAJOR, GAL_VERSION_MINOR, GAL_VERSION_PATCH); }
