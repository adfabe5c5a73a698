/* chats.h - conversations, a line of JSON each, to a shard of rows in which every conversation lies whole and the
 * tokens to learn are marked (docs/formats/shard.md). Refuses lines that are none, and files without a target.
 *
 * A conversation goes into the row, of a few dozen that are open, that it fills best; a row that nothing fits into
 * any more ends with tokens that nobody learns. What comes out is a function of the files, the vocabulary and the
 * options alone. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_DATA_CHATS_H
#define GAL_DATA_CHATS_H

#include "data/reader.h"
#include "text/tokenizer.h"

/* The ids of a conversation, and for each of them a byte, 1 where it is to be learned; both come emptied. */
typedef gal_err (*gal_chats_encode)(void *user, const char *body, size_t n, gal_ids *ids, gal_buf *learned,
                                    gal_diag *diag);

/* Asked between conversations; true stops with GAL_EINTERRUPTED. */
typedef bool (*gal_chats_stop)(void *user);

typedef struct gal_chats_options {
    gal_chats_encode encode;
    void *user;
    int64_t sequence;    /* tokens of a row */
    bool skip_long;      /* longer conversations are left out; else their end is */
    uint64_t first, end; /* of the files' conversations; end UINT64_MAX: all */
    gal_chats_stop stop; /* NULL: nobody asks */
    void *stop_user;
} gal_chats_options;

typedef struct gal_chats_result {
    uint64_t conversations; /* in the shard */
    uint64_t cut, skipped;  /* of those that are longer than a row */
    uint64_t silent;        /* left out, because they have no target, or had one only where they were cut */
    int64_t rows, tokens, targets;
    bool nothing; /* no target in all of them, which is why there is no shard */
} gal_chats_result;

/* How many conversations there are, and what those of the options (first, end; stop) are: SHA-256 as a shard's header
 * has it. */
gal_err gal_chats_source(char *const *paths, size_t n, const gal_chats_options *options, uint64_t *count,
                         uint8_t sha[32], gal_diag *diag);
/* GAL_EINPUT with file and line: a conversation that cannot be encoded; without a line: no target in all of them, and
 * result->nothing is set. */
gal_err gal_chats_write(const char *out, char *const *paths, size_t n, const gal_tokenizer *t,
                        const gal_chats_options *options, gal_chats_result *result, gal_diag *diag);

#endif
