/* scan.h - the words of known patterns, found without a matcher. A pattern that is none of these, letter by letter,
 * is PCRE2's (split.c), whose answer is also what each scanner must give (tests/text/test_split.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_SCAN_H
#define GAL_TEXT_SCAN_H

#include <stddef.h>
#include <stdint.h>

/* The end of the word that begins at p < end, in valid UTF-8. */
typedef const uint8_t *gal__scanner(const uint8_t *p, const uint8_t *end);
gal__scanner gal__scan_tekken, gal__scan_llama3, gal__scan_gpt2;
/* NULL: no scanner knows the pattern. */
gal__scanner *gal__scanner_of(const char *pattern, size_t n);

#endif
