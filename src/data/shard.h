/* shard.h - a corpus as token ids in one mapped file, with everything that tells whether it is the right one and
 * whole.
 *
 *   [ header 256 bytes | tokens [n] of u16 or u32, padded to 8 bytes | in shards of conversations a bit for each
 * token, padded to 8 bytes | first token of each document, and n: u64 [docs + 1] | a checksum u64 of each 128 KiB of
 * what lies between ]
 *
 * Little-endian. Each document is stored as BOS, its tokens, EOS (those that the tokenizer has). The header holds the
 * SHA-256 of the tokenizer, of the source text, of all that follows the header, of the checksums, and of itself. A
 * file that does not match is refused, never repaired. Opening reads the header, the documents and the checksums; of
 * a large file, tokens are checked 128 KiB at a time, when somebody is about to use them. docs/formats/shard.md
 * describes every byte. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_DATA_SHARD_H
#define GAL_DATA_SHARD_H

#include "base/file.h"
#include "base/hash.h"
#include "data/corpus.h"
#include "text/tokenizer.h"

enum { GAL_SHARD_HEADER = 256, GAL_SHARD_CHUNK = 1 << 17 };

typedef struct gal_shard {
    gal_map map;
    bool borrowed; /* the map is somebody else's bytes */
    const void *tokens;
    const uint8_t *docs; /* u64 [n_docs + 1], unaligned reads go through gal_shard_doc() */
    int elem;            /* 2 or 4 bytes */
    int version;
    int64_t n_tokens, n_docs;
    int64_t text_bytes; /* of the documents, without separators */
    int64_t largest_id, vocab;
    const uint8_t *marks; /* a bit for each token, 1: it is learned; NULL: all are */
    int64_t row;          /* tokens of a row, of which each document lies in one; 0: rows are cut anywhere */
    int64_t n_targets;    /* tokens that are marked */
    uint8_t tokenizer[32], source[32], contents[32];
    size_t chunk_bytes, n_chunks, unchecked; /* unchecked: how many nobody looked at yet */
    const uint8_t *sums;                     /* u64 [n_chunks] */
    uint8_t *seen;                           /* [n_chunks] 1: looked at, and whole */
} gal_shard;                                 /* {0} is a closed one */

/* Encodes documents [first, first + n) of a corpus and writes the shard atomically. */
gal_err gal_shard_write(const char *path, const gal_corpus *c, size_t first, size_t n, const gal_tokenizer *t,
                        gal_diag *diag);
/* Maps and checks a shard. tokenizer: what its hash must be; NULL: not compared. GAL_EINPUT says what was expected
 * and found. */
gal_err gal_shard_open(gal_shard *out, const char *path, const uint8_t tokenizer[32], gal_diag *diag);
/* The same of bytes in memory, aligned to 8, which are borrowed. */
gal_err gal_shard_open_bytes(gal_shard *out, const void *bytes, size_t n, const char *name,
                             const uint8_t tokenizer[32], gal_diag *diag);
void gal_shard_close(gal_shard *s);
/* GAL_EINPUT unless it was made from these documents. path: its name. */
gal_err gal_shard_made_from(const gal_shard *s, const char *path, const gal_corpus *c, size_t first, size_t n,
                            gal_diag *diag);

/* A tokenizer's hash is that of its pieces; which of them begin and end a text may be said elsewhere. GAL_EINPUT if
 * the first document shows that others did: it does not end with t's EOS, or begins with a control piece that is not
 * t's BOS (a text may have been taken without one). Conversations have what their template wrote. */
gal_err gal_shard_bounded_by(gal_shard *s, const char *path, const gal_tokenizer *t, gal_diag *diag);

/* Before tokens [at, at + n) are used: GAL_EINPUT unless they are what was written. One thread at a time. */
gal_err gal_shard_check(gal_shard *s, int64_t at, int64_t n, gal_diag *diag);
/* All of the file against its SHA-256, too. progress: called now and then, true stops with GAL_EINTERRUPTED; may be
 * NULL. */
gal_err gal_shard_check_all(gal_shard *s, bool (*progress)(void *user, uint64_t done, uint64_t total), void *user,
                            gal_diag *diag);

int32_t gal_shard_token(const gal_shard *s, int64_t at);
/* Whether it is to be learned, as far as the shard says; the first of a document never is. */
bool gal_shard_learned(const gal_shard *s, int64_t at);
/* First token of document i; i = n_docs gives n_tokens. */
int64_t gal_shard_doc(const gal_shard *s, int64_t i);
/* The document that token `at` belongs to. */
int64_t gal_shard_doc_of(const gal_shard *s, int64_t at);

/* ---- shard_write.c: a shard front to back, of which only an index of the documents is in memory ------------------
 */

typedef struct gal_shard_maker {
    const gal_tokenizer *tok;
    gal_sink *sink;
    int elem;
    uint64_t *docs;
    size_t n_docs, cap_docs;
    uint64_t tokens, text_bytes, document_bytes;
    int64_t largest;
    gal_sha256 contents, source;
    uint8_t *chunk; /* [GAL_SHARD_CHUNK] */
    size_t used;
    uint64_t *sums;
    size_t n_sums, cap_sums;
    int64_t row;    /* of a shard of conversations; 0: of another one */
    uint8_t *marks; /* a bit for each token of it */
    size_t cap_marks;
    uint64_t targets;
} gal_shard_maker; /* {0} to begin with; one may make several shards, one after another */

gal_err gal_shard_maker_begin(gal_shard_maker *m, const gal_tokenizer *t, gal_sink *sink, gal_diag *diag);
gal_err gal_shard_maker_document(gal_shard_maker *m, gal_diag *diag); /* one begins */
/* Of the document at hand: the text that it is made from, and its ids. */
void gal_shard_maker_text(gal_shard_maker *m, const char *text, size_t n);
gal_err gal_shard_maker_ids(gal_shard_maker *m, const int32_t *ids, size_t n, gal_diag *diag);
/* Before the first ids: a shard of conversations, in rows of so many tokens, as chats.h packs them. */
void gal_shard_maker_rows(gal_shard_maker *m, int64_t row);
/* The same in such a shard: learned[i] 1: the token is to be learned. */
gal_err gal_shard_maker_marked(gal_shard_maker *m, const int32_t *ids, const uint8_t *learned, size_t n,
                               gal_diag *diag);
void gal_shard_maker_document_ends(gal_shard_maker *m);
gal_err gal_shard_maker_end(gal_shard_maker *m, gal_diag *diag); /* the sink then holds a whole shard */
void gal_shard_maker_free(gal_shard_maker *m);

/* What both halves know of the header: offsets of its fields. */
#define GAL__SHARD_MAGIC "GALSHARD"
enum {
    GAL__SHARD_VERSION = 3, /* of shards of conversations; 2 of others */
    GAL__AT_MAGIC = 0,
    GAL__AT_VERSION = 8,
    GAL__AT_ELEM = 12,
    GAL__AT_TOKENS = 16,
    GAL__AT_DOCS = 24,
    GAL__AT_TEXT_BYTES = 32,
    GAL__AT_LARGEST = 40,
    GAL__AT_VOCAB = 48,
    GAL__AT_CHUNK = 56,
    GAL__AT_TOKENIZER = 64,
    GAL__AT_SOURCE = 96,
    GAL__AT_CONTENTS = 128,
    GAL__AT_SUMS = 160,
    GAL__AT_ROW = 192,
    GAL__AT_TARGETS = 200,
    GAL__AT_SELF = 224
};
_Static_assert(GAL__AT_SELF + 32 == GAL_SHARD_HEADER, "the header's own hash is its last field");
/* The checksum of one chunk. */
uint64_t gal__shard_sum(const uint8_t *bytes, size_t n);

#endif
