/* longest.h - words to pieces without joining: the longest piece first, shorter ones where joining by rank would not
 * have left it beside the one before.
 *
 * Joining gives the one sequence of pieces in which each is what its own bytes join to, and each two neighbours are
 * what the bytes of both join to: up to the first join across a border nothing crosses it, so what happens on both of
 * its sides is what would happen if they were alone. So it is enough to find a sequence whose neighbours are `apart`:
 * no join across their border comes before the joins that made them. How a piece was made is a tree, in which a join
 * comes after those below it where ranks grow upwards; for vocabularies in which they do not, none of this is made.
 * (H. van Antwerpen and A. Neubeck, "So many tokens, so little time", 2024, have this idea.)
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_LONGEST_H
#define GAL_TEXT_LONGEST_H

#include "text/tokenizer.h"

typedef struct gal__longest gal__longest;

/* For a vocabulary of bytes whose ids are ranks. *out stays NULL if its pieces do not allow it. */
gal_err gal__longest_new(gal__longest **out, const gal_tokenizer *t, const char *name, gal_diag *diag);
void gal__longest_free(gal__longest *l);
/* The piece that is the whole word; -1: none. */
int32_t gal__longest_whole(const gal__longest *l, const gal_tokenizer *t, const char *word, size_t n);
/* Appends the ids of a word. O(n). */
gal_err gal__longest_encode(const gal__longest *l, const gal_tokenizer *t, gal_token_scratch *s, const char *word,
                            size_t n, gal_ids *ids, gal_diag *diag);

#endif
