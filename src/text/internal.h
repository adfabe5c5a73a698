/* internal.h - what the files of this room share. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_INTERNAL_H
#define GAL_TEXT_INTERNAL_H

#include "text/tokenizer.h"

enum {
    GAL__MAX_PIECES = 1 << 22,     /* far above any vocabulary in use; keeps a rank within 32 bits */
    GAL__MAX_PIECE_BYTES = 8000,   /* exclusive, as in the reference library */
    GAL__MAX_MODEL_BYTES = 1 << 28 /* a larger file is no vocabulary */
};

static const char GAL__SPACE[] = "\xe2\x96\x81"; /* U+2581, how a piece spells a space */
enum { GAL__SPACE_BYTES = 3 };

/* From strings to ids: open addressing, at most half full. */
typedef struct gal__table {
    int32_t *slots; /* id, -1 free */
    uint32_t *tags; /* hash of the piece in the slot */
    size_t mask;
} gal__table;

struct gal_tokenizer {
    int32_t size, unk, bos, eos, pad;
    bool no_bos; /* its prompts do not begin with bos */
    int version;
    bool byte_fallback, add_dummy_prefix, remove_extra_whitespaces;
    bool has_unused;      /* some merge may have to be undone: the text is encoded as one segment */
    bool splits;          /* no piece holds a space after another character: words are encoded one by one */
    bool user_first[256]; /* bytes that begin a user-defined piece */
    size_t user_max;      /* longest user-defined piece, 0: none */
    size_t text_max;      /* longest piece that text can become */
    char *bytes;          /* all pieces, each ended by NUL */
    size_t *offsets;      /* size + 1 */
    float *scores;
    uint32_t *ranks; /* by falling score; equal scores share one */
    uint8_t *types;
    int32_t byte_ids[256];
    gal__table text, reserved; /* pieces that text can become; control, unknown and byte pieces */
    char *unk_surface;
    uint8_t sha256[32];
};

static inline const char *gal__piece(const gal_tokenizer *t, int32_t id, size_t *n) {
    *n = t->offsets[id + 1] - t->offsets[id] - 1;
    return t->bytes + t->offsets[id];
}

uint32_t gal__piece_hash(const char *s, size_t n);
int32_t gal__table_find(const gal_tokenizer *t, const gal__table *table, const char *s, size_t n);
int gal__byte_of_piece(const char *s, size_t n); /* "<0x41>" -> 0x41; -1 if it is none */

/* A SentencePiece model file as read; strings point into the file's bytes. */
typedef struct gal__spm {
    gal_vocab vocab;
    const char **pieces;
    size_t *lengths;
    float *scores;
    uint8_t *types;
    size_t cap;
    char *bos, *eos, *pad, *unk_surface;
} gal__spm;
gal_err gal__spm_read(gal__spm *m, const uint8_t *bytes, size_t n, const char *name, gal_diag *diag);
void gal__spm_free(gal__spm *m);

#endif
