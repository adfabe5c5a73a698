/* reader.h - documents of text files and of lines of JSON, one after another, in memory that does not grow with the
 * files: a long document comes in pieces.
 *
 * A file of lines of JSON has one object a line, of which one field is the text. Such a file is told by its content:
 * the first thing in it is '{', then '"' or '}', with nothing but space before each; or by a name that ends in
 * .jsonl or .ndjson (before .gz or .zst). In plain text each file is a document; with a separator, each line that
 * begins with it starts one and is dropped. Empty documents are left out.
 *
 * Text is handed on as it is: bytes of plain text that are no UTF-8, which vocabularies read as U+FFFD, are looked
 * for and counted by document, as are halves of surrogate pairs in JSON, which are U+FFFD here already. A line of
 * JSON with such bytes is a damaged one. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_DATA_READER_H
#define GAL_DATA_READER_H

#include "data/unpack.h"

enum { GAL_READER_PIECE = 1 << 18, GAL_READER_LINE = 1 << 26 }; /* most bytes of a piece; of a line of JSON */

typedef enum gal_text_format { GAL_TEXT_AUTO, GAL_TEXT_PLAIN, GAL_TEXT_JSONL } gal_text_format;

typedef struct gal_reader_options {
    gal_text_format format;
    const char *separator; /* NULL or "": none */
    const char *field;     /* of lines of JSON; NULL: "text" */
    bool objects;          /* of lines of JSON the whole line is the text, whatever is in it; field is not asked */
    bool skip_bad;         /* damaged lines are counted, not refused */
    bool refuse_invalid;   /* what would be counted as invalid is GAL_EINPUT, of a line of JSON damage */
    gal_unpack_stop stop;  /* may be NULL */
    void *user;
} gal_reader_options;

/* Whether a name says lines of JSON. */
bool gal_reader_named_jsonl(const char *name);

typedef struct gal_reader gal_reader;

/* Valid until the next call. */
typedef struct gal_piece {
    const char *text;
    size_t bytes; /* 0 only with `ends` */
    bool ends;    /* the document; the next piece, if any, begins another */
} gal_piece;

/* What came so far. */
typedef struct gal_reader_state {
    uint64_t documents, text_bytes; /* without separators */
    uint64_t lines, bad_lines;      /* of JSON, empty ones included */
    uint64_t file_bytes;            /* as they lie in the files */
    uint64_t total_bytes;           /* of all files; 0: nobody knows */
    gal_diag first_bad;             /* of the lines that were skipped */
    uint64_t invalid;               /* documents with what is no UTF-8 */
    gal_diag first_invalid;         /* the place of the first, "novel.txt: byte 12" */
} gal_reader_state;

/* paths and options are borrowed, "-" is standard input. All files are looked at first: GAL_EINPUT if one is missing.
 */
gal_err gal_reader_open(gal_reader **out, const char *const *paths, size_t n, const gal_reader_options *options,
                        gal_diag *diag);
/* The same of bytes in memory, for tests; name stands in messages. */
gal_err gal_reader_open_bytes(gal_reader **out, const void *bytes, size_t n, const char *name,
                              const gal_reader_options *options, gal_diag *diag);
void gal_reader_close(gal_reader *r);

/* The next piece; *more false: there is none. After an error only closing is allowed. */
gal_err gal_reader_next(gal_reader *r, gal_piece *out, bool *more, gal_diag *diag);
/* The file and line that the last piece came from, for messages. */
const char *gal_reader_place(const gal_reader *r, uint64_t *line);
const gal_reader_state *gal_reader_so_far(const gal_reader *r);

#endif
