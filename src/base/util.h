/* util.h - clocks, UTF-8, and numbers in text. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_UTIL_H
#define GAL_BASE_UTIL_H

#include "base/err.h"

double gal_now_s(void); /* monotonic, seconds */
int64_t gal_unix_time_s(void);

/* Decodes one character at s (n > 0 bytes left). Returns its length in bytes, or 0 if s does not begin with a valid
 * sequence (overlong forms, surrogates and values above U+10FFFF are invalid). */
int gal_utf8_next(const char *s, size_t n, uint32_t *cp);
bool gal_utf8_valid(const char *s, size_t n); /* all of it */
size_t gal_utf8_bad(const char *s, size_t n); /* where the first byte lies that is none of it; n: nowhere */
int gal_utf8_put(char out[4], uint32_t cp);   /* returns the length, 0 if cp is no scalar value */
/* Length of the longest prefix of s that ends on a whole character or on bytes that can never become one: what a
 * stream may already show. */
size_t gal_utf8_complete(const char *s, size_t n);

/* Whole-string conversions; false for trailing bytes, overflow or an empty string. */
bool gal_parse_i64(const char *s, int64_t *out);
bool gal_parse_f64(const char *s, double *out); /* finite only; always with a point, whatever the locale */

/* For people, into text of at least GAL_SHORT_TEXT bytes; each returns text. Three digits, then gap and the letter of
 * the thousands if there are any: letters "KMBT" makes "12.3M" of 12,345,678. */
enum { GAL_SHORT_TEXT = 40 };
const char *gal_short_text(char *text, double x, const char *letters, const char *gap);
const char *gal_power_text(char *text, double x); /* "2.9e15" */
const char *gal_time_text(char *text, double s);  /* "0.25 s", "12 min", "1 h 20 min", "3.5 days", "41.2 years" */

#endif
