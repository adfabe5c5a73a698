/* blocks.h - weights in the block formats of GGUF files (formats.md 4.3 and 4.4). A block holds a fixed number of
 * neighbours of a row as small integers with scales of their own. What is here is the definition, to the bit: every
 * multiplication and addition rounds to f32. Kernels that are fast are measured against it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TENSOR_BLOCKS_H
#define GAL_TENSOR_BLOCKS_H

#include "tensor/tensor.h"

/* The numbers that stand in the files. 4, 5, 31 to 33 and 36 to 38 were formats once; no reader knows them any more.
 */
enum gal_block {
    GAL_BLOCK_F32 = 0,
    GAL_BLOCK_F16 = 1,
    GAL_BLOCK_Q4_0 = 2,
    GAL_BLOCK_Q4_1 = 3,
    GAL_BLOCK_Q5_0 = 6,
    GAL_BLOCK_Q5_1 = 7,
    GAL_BLOCK_Q8_0 = 8,
    GAL_BLOCK_Q8_1 = 9, /* activations only, as Q8_K */
    GAL_BLOCK_Q2_K = 10,
    GAL_BLOCK_Q3_K = 11,
    GAL_BLOCK_Q4_K = 12,
    GAL_BLOCK_Q5_K = 13,
    GAL_BLOCK_Q6_K = 14,
    GAL_BLOCK_Q8_K = 15,
    GAL_BLOCK_IQ2_XXS = 16,
    GAL_BLOCK_IQ2_XS = 17,
    GAL_BLOCK_IQ3_XXS = 18,
    GAL_BLOCK_IQ1_S = 19,
    GAL_BLOCK_IQ4_NL = 20,
    GAL_BLOCK_IQ3_S = 21,
    GAL_BLOCK_IQ2_S = 22,
    GAL_BLOCK_IQ4_XS = 23,
    GAL_BLOCK_I8 = 24,
    GAL_BLOCK_I16 = 25,
    GAL_BLOCK_I32 = 26,
    GAL_BLOCK_I64 = 27,
    GAL_BLOCK_F64 = 28,
    GAL_BLOCK_IQ1_M = 29,
    GAL_BLOCK_BF16 = 30,
    GAL_BLOCK_TQ1_0 = 34,
    GAL_BLOCK_TQ2_0 = 35,
    GAL_BLOCK_MXFP4 = 39,
    GAL_BLOCK_NVFP4 = 40,
    GAL_BLOCK_Q1_0 = 41,
    GAL_BLOCK_Q2_0 = 42,
    /* In no GGUF file: weights of FP8 models, a byte each (OCP 8-bit floating point, E4M3: no infinities). Tables of
     * formats do not have it; gal_code_read() does. */
    GAL_BLOCK_F8_E4M3 = 256
};

typedef struct gal_block_info {
    const char *name;         /* as the files' tools write it, "Q4_K" */
    uint32_t elements, bytes; /* of one block */
    bool reads, writes;       /* whether gal_block_dequantise() and gal_block_quantise() know it */
} gal_block_info;

const gal_block_info *gal_block_info_of(uint32_t type); /* static; NULL: no such format */
/* The format with that name, in capitals or not. *found says whether there is one; if not, the result means nothing.
 */
uint32_t gal_block_find(const char *name, bool *found);

/* n numbers, a multiple of `elements`, out of blocks that may lie anywhere (no alignment). The type must have
 * `reads`. */
void gal_block_dequantise(uint32_t type, const void *blocks, float *out, int64_t n);
/* Whether the scales of these blocks are such that all n numbers are finite; false: each must be looked at. Reads
 * nothing but the scales; of formats without any it knows nothing. */
bool gal_block_scales_finite(uint32_t type, const void *blocks, int64_t n);
/* The other way; the type must have `writes`. Blocks may lie anywhere. Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 become the
 * bytes that the reference makes; for the others scales are searched for that make sum (x - y)^2 small. The bytes
 * depend on nothing but the numbers: not on the processor, nor on how many blocks a call makes. x is finite and
 * within the format's reach; if it is not, the block's numbers mean nothing, and nothing else happens. A scale that
 * exceeds f16 becomes infinite, and some numbers of its block are not finite, then. */
void gal_block_quantise(uint32_t type, const float *x, void *blocks, int64_t n);
/* Whether numbers as large as this one are within the format's reach. */
bool gal_block_reaches(uint32_t type, float x);
/* x[rows, cols], cols a multiple of `elements`. importance[cols]: what an error in each column counts; sum importance
 * (x - y)^2 is made small in all formats but F32, F16, BF16 and Q8_0, which have no use for it. Only their ratios
 * matter. What is negative or not finite counts as 0; if all are 0, all columns count alike. NULL: as
 * gal_block_quantise(). Rows may be cut among threads. */
void gal_block_quantise_weighted(uint32_t type, const float *x, const float *importance, void *blocks, int64_t rows,
                                 int64_t cols);

/* code.c   Weights of the type GAL_BLOCKS. Names and bytes of n numbers; numbers [from, from + n) of a row of `cols`
 * out of a weight's data, by the definition: from and n may cut blocks. */
const char *gal_code_name(const gal_code *code);
size_t gal_code_bytes(const gal_code *code, int64_t n);
void gal_code_read(const gal_code *code, const void *data, int64_t cols, int64_t row, int64_t from, int64_t n,
                   float *out);
/* Whether all numbers of a row are finite, by what is quickly looked at: scales, and NaN's codes of FP8; false: each
 * must be looked at. */
bool gal_code_row_finite(const gal_code *code, const void *data, int64_t cols, int64_t row);

#endif
