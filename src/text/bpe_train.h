/* bpe_train.h - learns a byte-fallback BPE vocabulary (Sennrich, Haddow and Birch, "Neural machine translation of
 * rare words with subword units", ACL 2016) and writes it as a SentencePiece model. Owns the counts while training.
 *
 * A word begins at each space (the space becomes U+2581 and belongs to the word) and ends at control characters,
 * which, newlines among them, are always spelled in byte pieces. Merges never cross words; with split_scripts they
 * cross no border between letters, punctuation and writing systems either. The result is a function of the text's
 * counts and the options alone, however it is handed over: ties go to the pair whose left, then right part is older.
 *
 * Memory stays below memory_bytes: where the words of a text would not, a part of its lines is counted, drawn by
 * their number and sample_seed. The text is then handed over again, from its beginning:
 *
 *     gal_bpe_trainer_new(&t, ...)
 *     do { gal_bpe_trainer_add(t, ...) for all texts; gal_bpe_trainer_run(t, &model, ...) }
 *     while (gal_bpe_trainer_again(t));
 *
 * The rules of a normaliser are made with the trainer, which takes some 30 MB for a moment, before there is any text.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_BPE_TRAIN_H
#define GAL_TEXT_BPE_TRAIN_H

#include "base/buf.h"
#include "text/nfkc.h"

typedef struct gal_bpe_options {
    int32_t vocab_size;        /* pieces in all, the 3 + control_count + 256 fixed ones included */
    double character_coverage; /* in (0, 1]; rarer characters are left to byte pieces */
    int32_t max_piece_chars;   /* longest piece, in characters; 1 to 64 */
    bool split_digits;         /* each of 0-9 stays a piece of its own */
    bool split_scripts;
    gal_normalizer normalizer; /* what text is made of first; the model file takes its rules along */
    uint64_t memory_bytes;     /* most that training may hold beside the text and the model file; 4 GiB */
    uint64_t sample_seed;
    bool take_possible;         /* a text too small for vocab_size gives what there is instead of GAL_EINPUT */
    const char *const *control; /* further control pieces, ids from 3 on */
    size_t control_count;
    /* Called now and then with the fraction done; false stops with GAL_EINTERRUPTED. NULL: not called. */
    bool (*progress)(void *user, double fraction);
    void *user;
} gal_bpe_options;

void gal_bpe_options_init(gal_bpe_options *o); /* 32000, 0.9995, 16, digits and scripts split */

typedef struct gal_bpe_trainer gal_bpe_trainer;
gal_err gal_bpe_trainer_new(gal_bpe_trainer **out, const gal_bpe_options *options, gal_diag *diag);
void gal_bpe_trainer_free(gal_bpe_trainer *t);
/* Counts one document, or the first piece of one that was cut at a line's end, and then the pieces that follow.
 * Invalid bytes part words and are not counted. */
gal_err gal_bpe_trainer_add(gal_bpe_trainer *t, const char *text, size_t n, gal_diag *diag);
gal_err gal_bpe_trainer_add_more(gal_bpe_trainer *t, const char *text, size_t n, gal_diag *diag);
/* After adding and running: true if memory did not hold the words. What was counted is forgotten, and all texts have
 * to be added once more; a smaller part of their lines will count. */
bool gal_bpe_trainer_again(gal_bpe_trainer *t);
/* Lines of the text, and how many of them were counted. */
typedef struct gal_bpe_lines {
    uint64_t all, counted;
} gal_bpe_lines;
gal_bpe_lines gal_bpe_trainer_lines(const gal_bpe_trainer *t);
/* Learns the merges and appends the model file's bytes to model, which stays untouched where all has to come again.
 * GAL_EINPUT with the largest possible size when the text has too few pairs, or when vocab_size cannot hold the fixed
 * pieces and the characters.
 */
gal_err gal_bpe_trainer_run(gal_bpe_trainer *t, gal_buf *model, gal_diag *diag);

/* All three for one text. */
gal_err gal_bpe_train(gal_buf *model, const char *text, size_t n, const gal_bpe_options *options, gal_diag *diag);

#endif
