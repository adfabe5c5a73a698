/* bpe_internal.h - what counting words, learning merges and writing the model share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_BPE_INTERNAL_H
#define GAL_TEXT_BPE_INTERNAL_H

#include "text/bpe_train.h"

/* A distinct word: its bytes in gal__words.bytes, and how often it was seen. */
typedef struct gal__word {
    size_t at;
    uint32_t bytes, hash;
    uint64_t count;
} gal__word;

typedef struct gal__words {
    gal_buf bytes;
    gal__word *words;
    size_t len, cap;
    uint32_t *slots; /* index + 1, 0 free */
    size_t mask;     /* slots - 1; 0 before the first word */
} gal__words;

/* Cuts text as bpe_train.h says and counts the words. first: the text begins a document, and so with a space. */
gal_err gal__words_add(gal__words *w, const gal_bpe_options *o, const char *text, size_t n, bool first,
                       gal_diag *diag);
void gal__words_free(gal__words *w);

/* A piece in the making. */
typedef struct gal__symbol {
    size_t at;
    uint32_t bytes, chars, hash;
} gal__symbol;

/* What training made: the characters first, then one symbol for each merge, in order. */
typedef struct gal__pieces {
    gal_buf bytes;
    gal__symbol *symbols;
    size_t len, cap, chars;
} gal__pieces;

/* Appends the model file: fixed pieces, merges with scores 0, -1, ..., then the characters. m: the normaliser's
 * rules, or NULL. */
typedef struct gal__charsmap gal__charsmap;
gal_err gal__spm_write(gal_buf *out, const gal_bpe_options *o, const gal__pieces *p, const gal__charsmap *m,
                       gal_diag *diag);

#endif
