/* shards.h - shards as one stream of tokens, and rows cut from it. Owns the maps; refuses a shard that is damaged
 * where it is read, and one that changes while it is open. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_DATA_SHARDS_H
#define GAL_DATA_SHARDS_H

#include "base/buf.h"
#include "base/maps.h"
#include "data/shard.h"

enum { GAL_SHARDS_MOST = 4000 }; /* maps of which base/maps.h keeps track, with some left for others */

typedef struct gal_shards {
    gal_shard *shards; /* [n] one after another */
    char **paths;
    size_t n;
    int64_t *first; /* [n + 1] first token of each in the stream, and n_tokens */
    gal_map_stamp *stamps;
    bool *used, *gone; /* since gal_shards_whole() looked; its name leads elsewhere, which was said */
    int64_t n_tokens, n_docs, text_bytes, largest_id;
    int64_t row, n_targets; /* of shards of conversations, as shard.h has them; 0 of others */
    uint8_t contents[32];   /* of one shard its own; else SHA-256 of those of all, in order */
} gal_shards;               /* {0} is a closed one */

/* What paths name: a file itself; of a folder all that end in .shard; a name with * ? or [ those that match, which
 * must be at least one. Sorted by bytes within a folder. The caller frees with gal_free_names(). */
gal_err gal_shards_find(char *const *given, size_t n, char ***paths, size_t *count, gal_diag *diag);
/* tokenizer: as in gal_shard_open(). */
gal_err gal_shards_open(gal_shards *out, char *const *paths, size_t n, const uint8_t tokenizer[32], gal_diag *diag);
void gal_shards_close(gal_shards *s);
gal_err gal_shards_bounded_by(gal_shards *s, const gal_tokenizer *t, gal_diag *diag); /* as in shard.h, of each */

/* masked: inside a row positions start anew at each document, attention does not cross its border, and its last token
 * has no target. plain: a row is one run of text, whatever documents lie in it; every token but the stream's last one
 * has a target. */
typedef enum gal_packing { GAL_PACKING_MASKED, GAL_PACKING_PLAIN } gal_packing;

/* Where a row goes: arrays with room for `sequence` entries from index `base` on (core/step.h has their meaning). */
typedef struct gal_row {
    int32_t *ids, *pos, *start, *target;
    int64_t base;
} gal_row;

/* GAL_EINPUT if rows of that length cannot be taken: shards of conversations have their own. name: for messages. */
gal_err gal_shards_fit(const gal_shards *s, int64_t sequence, gal_packing packing, const char *name, gal_diag *diag);
/* The row that begins at token `at`; what lies beyond the end has no target. *targets: how many it has. GAL_EINPUT: a
 * shard is damaged there. */
gal_err gal_shards_row(gal_shards *s, int64_t at, int64_t sequence, gal_packing packing, gal_row row,
                       int64_t *targets, gal_diag *diag);
/* After rows were read: GAL_EINPUT if a file that they came from is shorter by now, so that they may not be whole. */
gal_err gal_shards_whole(gal_shards *s, gal_diag *diag);
/* Before what was learnt is kept: GAL_EINPUT if a file was changed and its bytes are not those that were opened.
 * notes gets a line for each that is not there any more under its name (it goes on being read), once. */
gal_err gal_shards_unchanged(gal_shards *s, gal_buf *notes, gal_diag *diag);

#endif
