/* lm.h - what a gal_lm holds, for the commands that look inside. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_INFER_LM_H
#define GAL_INFER_LM_H

#include "infer/generate.h"

struct gal_lm {
    gal_dev *dev;
    gal_model *model;
    gal_tokenizer *tokenizer; /* NULL: the folder has none */
    gal_engine *engine;
    gal_generation
        defaults; /* the makers', of generation_config.json or a GGUF file; says nothing where there are none */
    gal_lm_options options;
    gal_buf dir;           /* the folder that was opened */
    double open_s;         /* seconds that opening took: to the point of computing */
    gal_interrupt_fn stop; /* of gal_generator; NULL: never */
    void *stop_user;
    /* Of conversations: what sequence 0 of the engine holds from one generation to the next, where `keeps` is set. */
    bool keeps;
    gal_ids held;
    int64_t kept;        /* tokens of the last prompt that were not read again */
    gal_lm *draft;       /* guesses what this one will say, on the same dev; owned. NULL: none */
    bool guest;          /* dev is another one's */
    uint64_t pack_bytes; /* of weights that are packed before each step from the second on; 0: none are left */
};

/* gal_lm_open() on a device that outlives it. */
gal_err gal_lm_open_on(gal_lm **out, const char *path, const gal_lm_options *options, gal_dev *dev, gal_diag *diag);
/* lm_draft.c   Opens the draft model that the options name, beside lm. GAL_EINPUT with both sides if its vocabulary
 * is another one. */
gal_err gal_lm_open_draft(gal_lm *lm, gal_diag *diag);
/* What the options say of guessing, for one generation; *s is {0} where they say nothing. */
gal_err gal_lm_speculation(gal_lm *lm, const gal_sampling *how, gal_speculation *s, gal_diag *diag);

/* Where the vocabulary of an open model lies: its folder or file, or those of its base where it is an adapter alone.
 */
gal_err gal_lm_vocabulary(const gal_lm *lm, gal_buf *where, gal_diag *diag);

/* Adds adapters to a model that was loaded and not brought yet. */
gal_err gal_lm_adapt(gal_model *m, const gal_lm_adapter *adapters, size_t n, gal_diag *diag);
/* Brings the weights into memory before they are needed, as options say: read where no_mmap is set, else mapped pages
 * all at once, unless the model is larger than memory; then they come as they are needed. Then to where dev computes.
 */
gal_err gal_lm_bring(gal_model *m, gal_dev *dev, const gal_lm_options *options, gal_diag *diag);
/* An open one packs its weights while it goes on, so that the first token does not wait for that: this does the rest
 * at once, of its draft, too. */
void gal_lm_settle(gal_lm *lm);
/* Of the folder or GGUF file that a MODEL operand means: the model, the tokenizer (NULL where there is none, or only
 * one of a kind that is not supported) and its makers' sampling (generation_config.json, general.sampling.*), each
 * unless its place is NULL. The path goes into dir. All are of one folder: a training may remove a checkpoint while
 * it is read; then they are those of a newer one. */
gal_err gal_lm_load_as(gal_model **model, gal_tokenizer **tokenizer, gal_generation *defaults, gal_buf *dir,
                       const char *path, gal_layout layout, gal_diag *diag);
/* Of any layout (models/layout.c). */
gal_err gal_lm_load(gal_model **model, gal_tokenizer **tokenizer, gal_generation *defaults, gal_buf *dir,
                    const char *path, gal_diag *diag);
/* vocab_beside.c   Of a folder in which t is the vocabulary that rules: whether it has a tokenizer.json, too, and
 * where that first differs. The caller frees d->what. */
gal_err gal_lm_vocab_beside(gal_difference *d, bool *there, const char *dir, const gal_tokenizer *t, gal_diag *diag);
/* Of a model without a tokenizer: what is missing, and, of a vocabulary that is not supported, its name. Never NULL;
 * text has room for it. */
enum { GAL_LM_WHY = 640 };
const char *gal_lm_no_tokenizer(char text[GAL_LM_WHY], const char *dir);
/* gguf_vocab.c: the vocabulary of a GGUF file; NULL in *out if it has none. */
gal_err gal_gguf_tokenizer(gal_tokenizer **out, const char *path, gal_diag *diag);
/* The first byte that a GGUF file's vocabulary of pieces has none for; -1: it has all, or is no such vocabulary. */
int gal_gguf_missing_byte(const char *path);
/* The ids that end a text: generation_config.json's, else config.json's, else the tokenizer's. Returns how many. */
int32_t gal_lm_eos(const gal_lm *lm, int32_t out[GAL_MAX_EOS]);
/* The same of parts; t may be NULL. */
int32_t gal_lm_eos_of(const gal_generation *g, const gal_model *m, const gal_tokenizer *t, int32_t out[GAL_MAX_EOS]);

/* cache_file.c   What the model remembers of a text, in a file: the ids that sequence 0 holds (lm->held), and their
 * keys and values. Written whole or not at all; for this machine, this model with its adapters and these options
 * alone. GAL_EUSAGE: nothing is held. */
#define GAL_CACHE_BEGINS "GALKV " /* the first bytes of one, of whatever version */
gal_err gal_lm_save_cache(const gal_lm *lm, const char *path, uint64_t *bytes, gal_diag *diag);
/* Takes the place of what is held. GAL_EINPUT with the reason: the file is of another model, other options or a
 * longer context, damaged, or none; then nothing is held. */
gal_err gal_lm_load_cache(gal_lm *lm, const char *path, gal_diag *diag);

#endif
