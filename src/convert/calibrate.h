/* calibrate.h - an importance matrix (formats/imatrix.h) from a text: the model reads it, and the inputs of every
 * weight of its layers are squared and summed. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CONVERT_CALIBRATE_H
#define GAL_CONVERT_CALIBRATE_H

#include "formats/imatrix.h"
#include "infer/session.h"

typedef struct gal_calibrate_options {
    int64_t chunk; /* tokens that are read as one sequence, at least 2; the last one may be shorter */
    int32_t bos;   /* comes before each chunk and counts as one of its tokens; -1: none */
    /* Called all the time with the tokens of whole chunks; true stops with GAL_EINTERRUPTED. NULL: nobody looks. */
    bool (*progress)(void *user, int64_t done, int64_t total);
    void *user;
} gal_calibrate_options;

/* Weights are named as in GGUF files, whatever layout m is in, and all experts of a matrix are in one entry. Router
 * and head are left out: the first is never quantised, the second nobody's files have. The model's weights lie in
 * host memory. out: {0} before. GAL_EINPUT: inputs that are not finite;
 * GAL_ENOMEM: a chunk beyond what the model or the memory allows. */
gal_err gal_calibrate(gal_imatrix *out, gal_dev *dev, const gal_model *m, const int32_t *ids, int64_t n,
                      const gal_calibrate_options *options, gal_diag *diag);

#endif
