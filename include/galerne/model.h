/* model.h - a language model to run: weights, tokenizer and device behind one handle.
 *
 *     gal_lm *lm;
 *     gal_diag diag = { 0 };
 *     if (gal_lm_open(&lm, "FOLDER", NULL, &diag)) { puts(diag.text); return 1; }
 *     ...
 *     gal_lm_close(lm);
 *
 * One thread at a time uses a handle. Stable since 0.1. SPDX-License-Identifier: Apache-2.0 */
#ifndef GALERNE_MODEL_H
#define GALERNE_MODEL_H

#include "galerne/core.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gal_lm gal_lm;

/* A low-rank adapter (LoRA) to add to a model: a folder of PEFT's (adapter_config.json) or of Mistral's own
 * (lora.safetensors). */
typedef struct gal_lm_adapter {
    const char *path;
    double strength; /* times the adapter's own scale; 1: as it was trained */
} gal_lm_adapter;

/* Tokens that are guessed ahead and checked several at a time. Text is chosen as without: at temperature 0 the same
 * tokens (on a GPU sums may round otherwise), else from the same distribution. */
typedef enum gal_speculate {
    GAL_SPECULATE_OFF,
    GAL_SPECULATE_LOOKUP, /* what followed where the text had its last tokens before */
    GAL_SPECULATE_DRAFT   /* what a smaller model says */
} gal_speculate;

/* Begin with gal_lm_options_init(). */
typedef struct gal_lm_options {
    gal_device_options device;
    gal_dtype compute; /* activations: GAL_F32 or GAL_BF16 */
    gal_dtype cache;   /* keys and values: GAL_F16 (as initialised), GAL_F32, GAL_BF16; on the CPU, where a head has a
                        * multiple of 32 numbers, GAL_Q8_0 or GAL_Q4_0 */
    int64_t context;   /* most tokens of a sequence; 0: the smaller of the model's maximum and what memory allows */
    int64_t chunk;     /* prompts are read this many tokens at a time; 0: as suits the weights, 256 or 512 */
    int eager;         /* 1: never record and replay steps; the results are the same bytes */
    /* 1: all weights meet activations as they are; compute and cache are then f32, whatever they say. 0: weights in
     * blocks of small integers meet activations rounded to 8 bits, 32 at a time, as in other engines; those in bf16,
     * where several rows are computed at once and there are no experts, activations rounded to bf16. */
    int exact;
    int no_mmap; /* 1: read the weights into memory instead of mapping their files */
    /* Called now and then while weights are read from their files, with bytes; not 0 stops with GAL_EINTERRUPTED.
     * NULL: nobody looks. */
    int (*progress)(void *user, uint64_t done, uint64_t total);
    void *user; /* of progress */
    /* Which layout to read of a folder that has several: "hf", "own" or "gguf"; NULL: the first of these that is
     * there with its weights. */
    const char *layout;
    const gal_lm_adapter
        *adapters; /* [n_adapters], read while the model opens; all of them act, their products added */
    size_t n_adapters;
    gal_speculate speculate;
    const char *draft;    /* of GAL_SPECULATE_DRAFT: a model with the same vocabulary, as gal_lm_open() takes it */
    int64_t draft_tokens; /* most tokens guessed at once, 1 to 15 */
    /* 1: weights in blocks, which are otherwise rearranged for the processor before the second and further steps, are
     * kept so in a file beside the model, NAME.HASH.packed, which this and later openings (with 0, too) map:
     * processes share it. It can be removed at any time. With 1 it is checked at opening, and made anew if it is
     * damaged; with 0 each weight is checked when it is its turn. An error if it cannot be written. Not together with
     * exact or no_mmap, which rearrange nothing. */
    int repack;
    const char *repack_dir; /* a folder for such files of models in folders that cannot be written; it is made if need
                             * be, and looked into by every opening. NULL: none */
} gal_lm_options;

GAL_API void gal_lm_options_init(gal_lm_options *options);

/* path: a folder in Hugging Face's or Mistral's own layout, a GGUF file or a folder with one, or a run directory of
 * galerne. A model without a tokenizer that is supported opens, too: then only ids go in and out. options NULL: as
 * initialised. GAL_EINPUT: no model there; GAL_EUSAGE, GAL_ENOMEM, GAL_EDEVICE. */
GAL_API gal_err gal_lm_open(gal_lm **out, const char *path, const gal_lm_options *options, gal_diag *diag);
GAL_API void gal_lm_close(gal_lm *lm); /* NULL is allowed */

typedef struct gal_lm_info {
    int64_t params, layers, width, vocab; /* vocab: rows of the output head */
    int64_t tokens;                       /* entries of the tokenizer, 0: there is none */
    int64_t max_positions;                /* that the model was made for */
    int64_t window;                       /* sliding window, 0: none */
    int64_t context;                      /* most tokens of a sequence in this handle */
    int32_t bos, eos;                     /* -1: none */
} gal_lm_info;

GAL_API void gal_lm_get_info(const gal_lm *lm, gal_lm_info *info);

/* Ids of bytes of UTF-8 text, which may hold U+0000, without a beginning-of-sequence token. Free *ids with
 * gal_release(). GAL_EINPUT if there is no tokenizer. */
GAL_API gal_err gal_lm_encode(const gal_lm *lm, const char *text, size_t bytes, int32_t **ids, size_t *count,
                              gal_diag *diag);
/* Text of ids, ended by a NUL that *bytes does not count; control tokens vanish. Free *text with gal_release(). */
GAL_API gal_err gal_lm_decode(const gal_lm *lm, const int32_t *ids, size_t count, char **text, size_t *bytes,
                              gal_diag *diag);
GAL_API void gal_release(void *memory); /* NULL is allowed */

#ifdef __cplusplus
}
#endif
#endif
