/* shard.h - a corpus as token ids in one mapped file, with everything that tells whether it is the right one.
 *
 *   [ header 256 bytes | tokens [n] of u16 or u32, padded to 8 bytes | first token of each document, and n: u64 [docs
 * + 1] ]
 *
 * Little-endian. Each document is stored as BOS, its tokens, EOS (those that the tokenizer has). The header holds the
 * SHA-256 of the tokenizer, of the source text, of all that follows the header, and of itself. A file that does not
 * match is refused, never repaired. docs/formats/shard.md describes every byte. SPDX-License-Identifier: Apache-2.0
 */
#ifndef GAL_DATA_SHARD_H
#define GAL_DATA_SHARD_H

#include "base/file.h"
#include "data/corpus.h"
#include "text/tokenizer.h"

enum { GAL_SHARD_HEADER = 256 };

typedef struct gal_shard {
    gal_map map;
    const void *tokens;
    const uint8_t *docs; /* u64 [n_docs + 1], unaligned reads go through gal_shard_doc() */
    int elem;            /* 2 or 4 bytes */
    int64_t n_tokens, n_docs;
    int64_t text_bytes; /* of the documents, without separators */
    int64_t largest_id, vocab;
    uint8_t tokenizer[32], source[32], contents[32];
} gal_shard; /* {0} is a closed one */

/* Encodes documents [first, first + n) of a corpus and writes the shard atomically. */
gal_err gal_shard_write(const char *path, const gal_corpus *c, size_t first, size_t n, const gal_tokenizer *t,
                        gal_diag *diag);
/* Maps and checks a shard. tokenizer and source: what its hashes must be; NULL: not compared. GAL_EINPUT says what
 * was expected and found. */
gal_err gal_shard_open(gal_shard *out, const char *path, const uint8_t tokenizer[32], const uint8_t source[32],
                       gal_diag *diag);
void gal_shard_close(gal_shard *s);

int32_t gal_shard_token(const gal_shard *s, int64_t at);
/* First token of document i; i = n_docs gives n_tokens. */
int64_t gal_shard_doc(const gal_shard *s, int64_t i);
/* The document that token `at` belongs to. */
int64_t gal_shard_doc_of(const gal_shard *s, int64_t at);

#endif
