/* tokenise.h - text files to token shards, in parallel and in memory that does not grow with the text (but for 8
 * bytes a document). The bytes are the same for any number of threads. A shard, or a folder of them, is there whole
 * or not at all. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_DATA_TOKENISE_H
#define GAL_DATA_TOKENISE_H

#include "data/reader.h"
#include "text/tokenizer.h"

typedef struct gal_tokenise_state {
    gal_reader_state read;
    uint64_t tokens, documents, text_bytes; /* in shards, whole or in the making */
    uint64_t shards;                        /* whole ones */
} gal_tokenise_state;

typedef struct gal_tokenise_options {
    gal_reader_options read; /* its stop and user are set here */
    int threads;             /* 0: as many as the machine suggests */
    bool folder;             /* out is a folder: NAME/NAME-00000.shard and so on; else one file */
    uint64_t shard_tokens;   /* of a folder: a shard ends with the document that brings it to so many; 0: never */
    bool no_bos;             /* documents begin without the vocabulary's BOS */
    bool force;              /* a shard, or a folder with nothing but shards in it, may be replaced */
    /* Called about every tenth of a second; true stops with GAL_EINTERRUPTED. May be NULL. It is also asked from
     * another thread, with state NULL, while input is waited for. */
    bool (*progress)(void *user, const gal_tokenise_state *state);
    void *user;
} gal_tokenise_options;

/* GAL_EINPUT: a file cannot be read, or no text is in it; GAL_EIO: it cannot be written. On any failure `out` is as
 * it was. */
gal_err gal_tokenise(const char *out, const char *const *paths, size_t n, const gal_tokenizer *t,
                     const gal_tokenise_options *options, gal_tokenise_state *result, gal_diag *diag);

#endif
