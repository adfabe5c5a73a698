/* presets.h - sizes that papers published, by name, with what the papers say of their training.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_MODELS_PRESETS_H
#define GAL_MODELS_PRESETS_H

#include "models/count.h"

typedef struct gal_preset {
    const char *name;      /* unique: "gopher-280b" */
    const char *source;    /* whose sizes these are, a phrase */
    gal_counting counting; /* as its paper counts, which is what its name goes by */
    gal_size size;
    bool nfkc; /* its vocabulary is of text in NFKC */
    /* What is not stated is 0. */
    double lr;             /* the largest */
    int64_t batch, batch2; /* tokens of a step; of the second half of the run, where that is another */
    int64_t warmup;        /* steps */
    int64_t tokens;        /* of the whole training */
} gal_preset;

extern const gal_preset GAL_PRESETS[];
extern const size_t GAL_N_PRESETS;

const gal_preset *gal_preset_named(const char *name); /* NULL: none */

#endif
