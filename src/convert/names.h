/* names.h - names of a GGUF file's tensors, taken apart: "blk.LAYER.KIND.weight", and of old files with an expert to
 * a tensor "blk.LAYER.KIND.EXPERT.weight" (mixtral.md 7). SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CONVERT_NAMES_H
#define GAL_CONVERT_NAMES_H

#include "formats/gguf.h"

enum { GAL_NAME_KIND = 24 };

typedef struct gal_name {
    int64_t layer, expert;    /* -1: the name has none */
    char kind[GAL_NAME_KIND]; /* "ffn_up"; "" if the name is longer or of another form */
    const char *rest;         /* what follows the layer; the whole name if there is none */
} gal_name;

gal_name gal_name_of(const char *name);
/* Whether it is one expert's matrix, in a tensor of its own. */
bool gal_name_is_expert(const gal_name *n);
/* Whether it is that, or the tensor of all of them. */
bool gal_name_of_experts(const gal_name *n);
/* "blk.LAYER.KIND_exps.weight": the tensor that holds that matrix of all experts. */
void gal_name_stacked(char out[GAL_GGUF_NAME + 1], const gal_name *n);

#endif
