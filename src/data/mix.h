/* mix.h - several streams of tokens, of which each gives its part of the rows. Owns them; refuses weights that are
 * none.
 *
 * Which source the n-th row comes from is a function of the seed and n alone: x = begin(seed) + n * 2^64 / golden
 * ratio, modulo 2^64, falls into one of as many intervals as there are sources, each as long as its weight. Of all
 * rotations this one spreads its points most evenly: after any number of rows a source has had its part of them to
 * within a few rows, in every stretch as from the beginning (tests/data/mix_test.c), where drawing at random strays
 * by the square root. Rows are all of one length, so weights are by tokens. Within a source rows come in its own
 * order (order.h). SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_DATA_MIX_H
#define GAL_DATA_MIX_H

#include <jansson.h>

#include "data/order.h"

enum { GAL_MIX_SOURCES = 64 };

typedef struct gal_mix_source {
    char *name;
    double weight;  /* a part of 1 */
    uint64_t until; /* its interval ends before this; of the last one at 2^64 - 1, which belongs to it */
    gal_shards shards;
    gal_order order;
} gal_mix_source;

typedef struct gal_mix {
    gal_mix_source *sources; /* [n] */
    size_t n;
    uint64_t begin;
    int64_t n_tokens, n_docs, text_bytes, largest_id; /* of all */
    double bytes_per_target;                          /* of text, in the rows that it gives */
    uint8_t contents[32]; /* of one source its shards'; else SHA-256 of intervals and contents */
} gal_mix;                /* {0} is a closed one */

/* The place in it; kept in checkpoints. */
typedef struct gal_mix_state {
    uint64_t row;
    gal_order_state at[GAL_MIX_SOURCES];
} gal_mix_state;

/* Of one source: what it is made from. weight > 0, in any unit. */
typedef struct gal_mix_part {
    const char *name;
    double weight;
    char *const *paths; /* as gal_shards_find() takes them */
    size_t n_paths;
} gal_mix_part;

gal_err gal_mix_open(gal_mix *out, const gal_mix_part *parts, size_t n, const uint8_t tokenizer[32], gal_diag *diag);
/* Takes the shards over, which become {0}: a mixture of one. */
gal_err gal_mix_of_one(gal_mix *out, gal_shards *shards, const char *name, gal_diag *diag);
/* Before rows are taken. GAL_EINPUT if a source holds less than one row. */
gal_err gal_mix_order(gal_mix *m, uint64_t seed, int64_t sequence, gal_packing packing, gal_diag *diag);
void gal_mix_close(gal_mix *m);

size_t gal_mix_source_of(const gal_mix *m, uint64_t row);
/* Fills the next row and moves the state. */
gal_err gal_mix_next(const gal_mix *m, gal_mix_state *state, gal_row row, int64_t *targets, gal_diag *diag);
/* Moves the state past the next row, which is not read. */
void gal_mix_pass(const gal_mix *m, gal_mix_state *state);
/* gal_shards_whole() and gal_shards_unchanged() of all. */
gal_err gal_mix_whole(const gal_mix *m, gal_diag *diag);
gal_err gal_mix_unchanged(gal_mix *m, gal_buf *notes, gal_diag *diag);
/* How many rows came from a source. */
uint64_t gal_mix_rows_of(const gal_mix *m, const gal_mix_state *s, size_t source);
/* How often a source's tokens will have been read after so many rows of the mixture. */
double gal_mix_epochs(const gal_mix *m, size_t source, double rows);

/* {"row": N, "sources": [{"name": ..., "epoch": N, "row": N}, ...]}; NULL: no memory. */
json_t *gal_mix_state_json(const gal_mix *m, const gal_mix_state *s);
/* GAL_EINPUT unless it is the state of a mixture of as many sources. path: of the file, for messages. */
gal_err gal_mix_state_read(gal_mix_state *out, const gal_mix *m, const json_t *from, const char *path,
                           gal_diag *diag);

/* A weight by the name of a subset of MassiveText: of Gopher's training (chinchilla: of Chinchilla's), in percent; 0:
 * no such subset. names (may be NULL): all of them, for messages. */
double gal_massivetext_weight(const char *subset, bool chinchilla, const char **names);

#endif
