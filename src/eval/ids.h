/* ids.h - the ids of a text, a stretch at a time. A text is encoded piece by piece where its vocabulary allows a cut
 * (gal_encode_cut()), so that of a mapped file larger than memory only a few megabytes exist at once; ids are the
 * same as those of the whole text. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_IDS_H
#define GAL_EVAL_IDS_H

#include "text/tokenizer.h"

typedef struct gal_id_source gal_id_source;

/* Bytes encoded at a time. */
enum { GAL_ID_PIECE_BYTES = 1 << 20 };

/* t and text are borrowed. bos: the ids begin with the vocabulary's. piece_bytes 0: as above. */
gal_err gal_id_source_of_text(gal_id_source **out, const gal_tokenizer *t, const char *text, size_t bytes, bool bos,
                              size_t piece_bytes, gal_diag *diag);
/* ids are borrowed. */
gal_err gal_id_source_of_ids(gal_id_source **out, const int32_t *ids, size_t n, gal_diag *diag);
void gal_id_source_free(gal_id_source *s);

/* Ids [from, end), or fewer where the text ends: *n says how many, *ids is valid until the next call. What lies
 * before `from` is forgotten: from never falls from call to call. */
gal_err gal_id_source_read(gal_id_source *s, int64_t from, int64_t end, const int32_t **ids, int64_t *n,
                           gal_diag *diag);
/* The part of the text, 0 to 1, that lies before an id that was read; within a piece it is estimated. */
double gal_id_source_share(const gal_id_source *s, int64_t at);
/* Bytes of the text that are not UTF-8, of what was encoded so far, and where the first is. Each reads as U+FFFD. */
size_t gal_id_source_bad_bytes(const gal_id_source *s, size_t *first);

#endif
