/* quantise.h - private to tensor/: the quantisers by format, compiled for more than one instruction set; all give the
 * same bytes. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TENSOR_QUANTISE_H
#define GAL_TENSOR_QUANTISE_H

#include "tensor/blocks.h"

/* What an error in number i of a row counts: its importance times `scale`, 1 / their mean, and a little beside, so
 * that what is hardly or not at all important does not become arbitrary. */
typedef struct gal__weights {
    const float *importance;
    float scale;
} gal__weights;

/* `count` blocks that follow one another, with weights[0] for the first number; NULL: all count alike. */
typedef void gal__search(const float *x, const gal__weights *weights, uint8_t *blocks, int64_t count);
/* As the reference does, to the byte. */
typedef void gal__write(const float *x, uint8_t *blocks, int64_t count);

typedef struct gal__quantisers { /* by enum gal_block; NULL: none */
    gal__write *write[GAL_BLOCK_MXFP4 + 1];
    gal__search *search[GAL_BLOCK_MXFP4 + 1];
} gal__quantisers;

extern const gal__quantisers gal__quantisers_base, gal__quantisers_avx2;

/* From 0, for every processor, up; NULL: not built, or not for this processor. */
const gal__quantisers *gal__quantisers_at(int level);

#endif
