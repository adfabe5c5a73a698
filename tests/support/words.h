/* words.h - a text of words, as a list. SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_WORDS_H
#define TESTS_SUPPORT_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Appends what spaces separate in text to the n words of out, at most `most` in all; text gets zeros between them.
 * Returns how many there are. */
static inline size_t split_words(char *text, const char **out, size_t n, size_t most) {
    for (char *p = text; *p && n < most;) {
        size_t len = strcspn(p, " ");
        bool end = p[len] == 0;
        p[len] = 0;
        if (len) out[n++] = p;
        p += len + !end;
    }
    return n;
}

/* Takes those of the n words of list out that begin so. Returns how many are left. */
static inline size_t drop_words(const char **list, size_t n, const char *begin) {
    size_t left = 0;
    for (size_t i = 0; i < n; i++)
        if (strncmp(list[i], begin, strlen(begin)) != 0) list[left++] = list[i];
    return left;
}

#endif
