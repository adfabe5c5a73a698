/* convert.h - a model from one layout into another: Hugging Face's folder, Mistral's own folder, a GGUF file.
 *
 * Numbers keep their bits wherever the other layout can hold them; rows of q and k change places where the layouts
 * differ in that. What goes along: the vocabulary, the chat template, the makers' sampling, the ids that end a text,
 * and between folders the files that belong to a model. What does not is said.
 *
 * The result is whole or not there: it is made beside its place, under another name, and renamed last. At most a few
 * MiB of numbers are in memory. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CONVERT_CONVERT_H
#define GAL_CONVERT_CONVERT_H

#include "galerne/model.h"
#include "models/model.h"

typedef enum gal_convert_dtype {
    GAL_CONVERT_SAME,
    GAL_CONVERT_F32,
    GAL_CONVERT_F16,
    GAL_CONVERT_BF16
} gal_convert_dtype;

#define GAL_CONVERT_SHARD_BYTES ((uint64_t)5000000000)

/* Begin with gal_convert_options_init(). */
typedef struct gal_convert_options {
    gal_layout from; /* GAL_LAYOUT_ANY, or the one to read of a folder that has more than one */
    gal_layout to;
    /* SAME: as it lies; blocks and FP8 become bf16 where the layout has no such thing; a note counts what that
     * rounds. In a GGUF file vectors are always f32, as its readers expect; from one, they become as short as the
     * matrices where no bit is lost. */
    gal_convert_dtype dtype;
    /* Low-rank adapters to merge, besides those that the model has (a run directory's): numbers become W + strength
     * scale B A, computed in f32. Matrices are bf16 then where dtype is SAME; with `requantise` each has the type
     * that it had, and what is in blocks, in a GGUF file, is quantised again. */
    const gal_lm_adapter *adapters;
    size_t n_adapters;
    bool requantise;
    uint64_t shard_bytes; /* of folders: a file holds no more, unless one tensor does */
    bool force;           /* replace what is there, if it is a model */
    /* Called now and then with bytes of the result; true stops with GAL_EINTERRUPTED. NULL: nobody looks. */
    bool (*progress)(void *user, uint64_t done, uint64_t total);
    /* A line about something that was left out or changed. NULL: nobody listens. */
    void (*note)(void *user, const char *line);
    /* Told once, before anything is written: the folder beside the result's place in which it is made, which is to be
     * removed if the process ends otherwise. NULL: nobody listens. */
    void (*making)(void *user, const char *folder);
    void *user; /* of the three */
} gal_convert_options;

typedef struct gal_convert_result {
    size_t tensors, kept; /* kept: whose numbers have the bits of the source */
    size_t merged;        /* that adapters were added to */
    size_t rounded;       /* with numbers that did not fit the type and were rounded, */
    int64_t numbers;      /* and how many those are */
    size_t files;         /* with tensors in them */
    uint64_t bytes;       /* of tensors */
    int64_t params;
} gal_convert_result;

void gal_convert_options_init(gal_convert_options *o);
/* GAL_EINPUT: the source is no model, changes while it is read, or says what the layout cannot; or what is at `to`
 * may not be replaced, be it the source itself; GAL_EIO; GAL_EINTERRUPTED. result may be NULL. */
gal_err gal_convert_model(const char *from, const char *to, const gal_convert_options *o, gal_convert_result *result,
                          gal_diag *diag);

#endif
