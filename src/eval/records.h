/* records.h - a set of records: the lines of a JSONL file, each an object, or texts, each as an object with the
 * member `text`; as they are, or compressed (data/unpack.h). Owns them; refuses a line that is no object, by its
 * number, and an empty set. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_RECORDS_H
#define GAL_EVAL_RECORDS_H

#include "data/corpus.h"

typedef struct gal_record {
    const char *json;
    size_t bytes;
    const char *text; /* of a set of texts: the text itself; NULL */
    size_t text_bytes;
    int64_t line; /* from 1; of texts their number */
} gal_record;

typedef struct gal_records {
    gal_corpus corpus;
    gal_buf json; /* of texts */
    gal_record *v;
    size_t n, cap;
    uint8_t sha256[32]; /* of what was read */
    const char *path;   /* borrowed */
    bool lines;         /* or texts */
} gal_records;          /* {0} */

/* lines: JSONL. separator: of texts, as in gal_corpus_read(). path must outlive the records. The caller frees them,
 * also on failure. */
gal_err gal_records_read(gal_records *r, char *path, bool lines, const char *separator, gal_diag *diag);
void gal_records_free(gal_records *r);
/* "FILE: line 3", "FILE: text 3": for messages. */
enum { GAL_RECORD_WHERE = 320 };
const char *gal_record_where(const gal_records *r, size_t i, char where[GAL_RECORD_WHERE]);

#endif
