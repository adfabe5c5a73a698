/* json_pull.h - JSON read front to back, value by value, without a tree: vocabularies are 20 MB of it. The whole text
 * is checked as far as it is read; an error names the line. The first error sticks, and everything after it reads as
 * the end. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_JSON_PULL_H
#define GAL_TEXT_JSON_PULL_H

#include "base/buf.h"

typedef struct gal__json gal__json;

struct gal__json {
    const char *p, *end, *begin;
    const char *name; /* of the file, for messages */
    gal_diag *diag;
    gal_err err;
    int depth, max_depth;
    int64_t line; /* number of the first one; 0: it is 1 */
    bool lone;    /* the last string had half a surrogate pair */
    gal_buf text; /* of the last string */
};

enum { GAL__JSON_DEPTH = 64 };

gal__json gal__json_begin(const char *bytes, size_t n, const char *name, gal_diag *diag);
void gal__json_free(gal__json *j);
/* Sets the error: "NAME: line 7: expected ..., found ...". */
gal_err gal__json_fail(gal__json *j, const char *fmt, ...) GAL_PRINTF(2, 3);

/* What the next value begins with: one of { [ " 0 (a number) t f n, 0 at the end or after an error. */
char gal__json_peek(gal__json *j);
/* Goes into an object or array; false if the next value is none (an error). */
bool gal__json_enter(gal__json *j, char open);
/* Before each member or element: false when the object or array ends, which leaves it. first: true before the first
 * call, kept by the caller. */
bool gal__json_member(gal__json *j, bool *first, const char **key, size_t *n); /* key: as in gal__json_string */
bool gal__json_element(gal__json *j, bool *first);
/* A string, valid until the next one; its bytes end in NUL and may hold others (\u0000). Lone surrogates read as
 * U+FFFD. */
bool gal__json_string(gal__json *j, const char **s, size_t *n);
bool gal__json_whole(gal__json *j, int64_t *v); /* a number without fraction */
/* Any number as it is written; Python's NaN, Infinity and -Infinity too. *whole: without point and exponent. */
bool gal__json_number(gal__json *j, const char **s, size_t *n, bool *whole);
bool gal__json_truth(gal__json *j, bool *v);
bool gal__json_null(gal__json *j); /* takes a null if one is next; no error if not */
void gal__json_skip(gal__json *j); /* any value */
/* Takes what comes next if it is, after spaces, exactly this; no error if not. For what most of a file looks like:
 * the caller goes back to where it was (p) and reads it as JSON where it looks otherwise. */
bool gal__json_exactly(gal__json *j, const char *what, size_t n);
bool gal__json_end(gal__json *j); /* nothing but space is left */

#endif
