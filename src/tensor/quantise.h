/* quantise.h - private to tensor/: the quantisers that search, by format. Each turns `count` blocks of numbers that
 * follow one another into blocks. `weights` holds what an error in each number counts, as gal__weights_of() has made
 * it of the importances, or is NULL: all the same. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TENSOR_QUANTISE_H
#define GAL_TENSOR_QUANTISE_H

#include "base/err.h"

/* From importances: each is multiplied by `scale` (1 / their mean over the row), and what is nearly or not at all
 * important still counts a little, so that it does not become arbitrary. */
typedef struct gal__weights {
    const float *importance; /* NULL: all numbers count alike */
    float scale;
} gal__weights;

gal__weights gal__weights_of(const float *importance, int64_t n);
float gal__weight(const gal__weights *w, int64_t i);

typedef void gal__quantiser(const float *x, const gal__weights *weights, uint8_t *blocks, int64_t count);

/* As the reference does, to the byte. */
typedef void gal__writer(const float *x, uint8_t *blocks, int64_t count);

gal__writer gal__write_q8_0, gal__write_q4_0, gal__write_q4_1, gal__write_q5_0, gal__write_q5_1;
gal__quantiser gal__quantise_q2_k, gal__quantise_q3_k, gal__quantise_q4_k, gal__quantise_q5_k, gal__quantise_q6_k,
    gal__quantise_iq4_xs;
gal__quantiser gal__quantise_q4_0, gal__quantise_q4_1, gal__quantise_q5_0, gal__quantise_q5_1, gal__quantise_iq4_nl,
    gal__quantise_mxfp4;

#endif
