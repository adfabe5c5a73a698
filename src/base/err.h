/* err.h - failing with a message. Owns the diagnostic's text; refuses to print or exit.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_ERR_H
#define GAL_BASE_ERR_H

#include "galerne/core.h"

#include <stdarg.h>
#include <stdbool.h>

#if defined(__GNUC__)
#define GAL_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define GAL_PRINTF(fmt, first)
#endif

#define GAL_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define GAL_MIN(a, b) ((a) < (b) ? (a) : (b))
#define GAL_MAX(a, b) ((a) > (b) ? (a) : (b))

/* A caller's bug: prints the condition and the place on standard error and aborts, in every build. */
#define GAL_ASSERT(cond) ((cond) ? (void)0 : gal__assert_failed(#cond, __FILE__, __LINE__))
_Noreturn void gal__assert_failed(const char *cond, const char *file, int line);
/* The same with a message of its own, "galerne: " before it: for assertions that know more than their condition. */
_Noreturn void gal__abort(const char *fmt, ...) GAL_PRINTF(1, 2);

/* Writes the message unless diag already holds one (the first failure is the cause; later ones follow from it).
 * diag may be NULL. Returns err, so that a caller can write: return gal_fail(diag, GAL_EINPUT, ...). */
gal_err gal_fail(gal_diag *diag, gal_err err, const char *fmt, ...) GAL_PRINTF(3, 4);
gal_err gal_failv(gal_diag *diag, gal_err err, const char *fmt, va_list ap) GAL_PRINTF(3, 0);

/* The static analyser looks at one file at a time; it must be told that what comes back is err, never GAL_OK by
 * surprise. */
#if defined(__clang_analyzer__) && !defined(GAL_DEFINES_FAIL)
#define gal_fail(diag, err, ...) ((void)(gal_fail)(diag, err, __VA_ARGS__), (err))
#endif

#endif
