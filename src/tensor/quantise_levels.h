/* quantise_levels.h - all quantisers, for the instruction set that the including file is compiled for.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TENSOR_QUANTISE_LEVELS_H
#define GAL_TENSOR_QUANTISE_LEVELS_H

#include "tensor/quantise_body.h"
#include "tensor/quantise_k_body.h"
#include "tensor/write_body.h"

#define QUANTISERS                                                                                                   \
    {                                                                                                                \
        .write = { [GAL_BLOCK_F16] = write_f16,   [GAL_BLOCK_BF16] = write_bf16, [GAL_BLOCK_Q8_0] = write_q8_0,      \
                   [GAL_BLOCK_Q4_0] = write_q4_0, [GAL_BLOCK_Q4_1] = write_q4_1, [GAL_BLOCK_Q5_0] = write_q5_0,      \
                   [GAL_BLOCK_Q5_1] = write_q5_1 },                                                                  \
        .search = {                                                                                                  \
            [GAL_BLOCK_Q4_0] = search_q4_0,     [GAL_BLOCK_Q4_1] = search_q4_1,     [GAL_BLOCK_Q5_0] = search_q5_0,  \
            [GAL_BLOCK_Q5_1] = search_q5_1,     [GAL_BLOCK_Q2_K] = search_q2_k,     [GAL_BLOCK_Q3_K] = search_q3_k,  \
            [GAL_BLOCK_Q4_K] = search_q4_k,     [GAL_BLOCK_Q5_K] = search_q5_k,     [GAL_BLOCK_Q6_K] = search_q6_k,  \
            [GAL_BLOCK_IQ4_NL] = search_iq4_nl, [GAL_BLOCK_IQ4_XS] = search_iq4_xs, [GAL_BLOCK_MXFP4] = search_mxfp4 \
        },                                                                                                           \
    }

#endif
