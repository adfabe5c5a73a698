/* corpus.h - text files as a list of documents. Owns the text in memory; refuses empty corpora and damaged archives.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_DATA_CORPUS_H
#define GAL_DATA_CORPUS_H

#include "base/buf.h"
#include "data/reader.h"

typedef struct gal_document {
    size_t at, bytes; /* in the corpus's text */
} gal_document;

typedef struct gal_corpus {
    gal_buf text;
    gal_document *docs; /* [n_docs], none empty, in order */
    size_t n_docs, cap_docs;
    uint64_t invalid; /* documents with what is no UTF-8, and the first place */
    gal_diag first_invalid;
} gal_corpus; /* {0} is an empty one */

/* All that reader.h finds in the files. GAL_EINPUT if one cannot be read or nothing is left. */
gal_err gal_corpus_read(gal_corpus *out, char *const *paths, size_t n_paths, const gal_reader_options *options,
                        gal_diag *diag);
void gal_corpus_free(gal_corpus *c); /* leaves {0} */
/* Documents from *first on hold about the last `fraction` of the text; one document is cut in two at a line's (else a
 * character's) end if the border falls into it. */
gal_err gal_corpus_split(gal_corpus *c, double fraction, size_t *first, gal_diag *diag);
/* Bytes of documents [first, first + n). */
size_t gal_corpus_bytes(const gal_corpus *c, size_t first, size_t n);
/* SHA-256 of the documents [first, first + n): of each its text and then its length, as shards have it (size_first:
 * as their version 1 had it). */
void gal_corpus_sha256(const gal_corpus *c, size_t first, size_t n, bool size_first, uint8_t out[32]);

#endif
