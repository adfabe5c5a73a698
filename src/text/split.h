/* split.h - text into words by the pattern of a vocabulary, before pieces are joined within each. Patterns are
 * regular expressions over classes of characters; they run on a shadow of the text with one byte for each character:
 *
 *   U+0000..7F  itself        others  0x80 + general category        U+0085, U+017F, U+212A  bytes of their own
 *
 * so that classes are those of unicode.h and not of PCRE2's own, older tables, and every class is a table of 256
 * bits. What a byte of the shadow cannot tell (a literal character beyond ASCII) is refused by name.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_SPLIT_H
#define GAL_TEXT_SPLIT_H

#include "base/buf.h"

/* Constant once made: any number of threads may use one, each with its own gal__splitting. */
typedef struct gal__split gal__split;
gal_err gal__split_new(gal__split **out, const char *pattern, size_t n, const char *name, gal_diag *diag);
void gal__split_free(gal__split *s);
/* The pattern as it was given, ended by NUL. */
const char *gal__split_pattern(const gal__split *s);

/* Memory that cutting reuses; belongs to one thread. */
typedef struct gal__splitting gal__splitting;
gal_err gal__splitting_new(gal__splitting **out, const gal__split *s, gal_diag *diag);
void gal__splitting_free(gal__splitting *w);

/* Begins a text of n bytes of valid UTF-8, which must stay as it is until its last word. */
gal_err gal__splitting_begin(gal__splitting *w, const char *text, size_t n, gal_diag *diag);
/* The bytes of the next words, GAL__WORDS at most; *count 0: the end. Together they are the text: what no match
 * covers is a word too. GAL_EINPUT if the pattern takes too long. */
enum { GAL__WORDS = 16 };
bool gal__splitting_gap(const gal__splitting *w); /* the last call's word is none: no match covers it */
gal_err gal__splitting_next(gal__splitting *w, size_t bytes[GAL__WORDS], int *count, gal_diag *diag);

#endif
