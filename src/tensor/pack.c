/* pack.c - see pack.h. Callers ask gal_pieces_of() first. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/pack.h"

#include "base/util.h"

#include <string.h>

const gal_pieces *gal_pieces_of(uint32_t block) {
    static const gal_pieces PIECES[] = {
        [GAL_BLOCK_Q8_0] = { 2, 1, 8, 0 },    /* d | q */
        [GAL_BLOCK_Q4_0] = { 2, 1, 4, 0 },    /* d | q */
        [GAL_BLOCK_Q4_1] = { 2, 2, 4, 0 },    /* d, m | q */
        [GAL_BLOCK_Q5_0] = { 2, 1, 5, 0 },    /* d | fifth bits, q */
        [GAL_BLOCK_Q5_1] = { 2, 2, 5, 0 },    /* d, m | fifth bits, q */
        [GAL_BLOCK_IQ4_NL] = { 2, 1, 4, 0 },  /* d | q */
        [GAL_BLOCK_MXFP4] = { 1, 1, 4, 0 },   /* exponent | q */
        [GAL_BLOCK_IQ4_XS] = { 2, 2, 33, 0 }, /* d, upper scales | lower scales, q */
        [GAL_BLOCK_Q2_K] = { 2, 0, 20, 2 },   /* scales, q | d, dmin */
        [GAL_BLOCK_Q3_K] = { 2, 0, 27, 1 },   /* third bits, q, scales | d */
        [GAL_BLOCK_Q4_K] = { 2, 2, 35, 0 },   /* d, dmin | scales, q */
        [GAL_BLOCK_Q5_K] = { 2, 2, 43, 0 },   /* d, dmin | scales, fifth bits, q */
        [GAL_BLOCK_Q6_K] = { 2, 0, 52, 1 },   /* low bits, high bits, scales | d */
    };
    return block < GAL_LEN(PIECES) && PIECES[block].words ? &PIECES[block] : NULL;
}

size_t gal_pack_bytes(uint32_t block, int64_t rows, int64_t cols) {
    return (size_t)((rows + GAL_PACK_ROWS - 1) / GAL_PACK_ROWS) * gal_pack_group_bytes(block, cols);
}

/* Pieces of `size` bytes, `count` a block, which begin `at` bytes into a block. Returns what follows them in `to`. */
static uint8_t *spread(uint32_t block, const uint8_t *from, size_t row_bytes, int64_t rows, int64_t blocks, size_t at,
                       size_t size, int count, uint8_t *to) {
    const size_t block_bytes = gal_block_info_of(block)->bytes;
    for (int64_t b = 0; b < blocks; b++, to += (size_t)count * GAL_PACK_ROWS * size)
        for (int i = 0; i < count; i++) {
            const uint8_t *p = from + (size_t)b * block_bytes + at + (size_t)i * size;
            uint8_t *piece = to + (size_t)(size == 4 ? gal_pack_place(block, i) : i) * GAL_PACK_ROWS * size;
            for (int64_t r = 0; r < rows; r++) memcpy(piece + (size_t)r * size, p + (size_t)r * row_bytes, size);
            memset(piece + (size_t)rows * size, 0, (size_t)(GAL_PACK_ROWS - rows) * size);
        }
    return to;
}

void gal_pack_unit(uint32_t block, const void *from, size_t row_bytes, int64_t rows, int64_t blocks, void *to) {
    const gal_pieces *p = gal_pieces_of(block);
    GAL_ASSERT(p);
    const size_t bytes = gal_block_info_of(block)->bytes, heads = (size_t)p->head_bytes * p->heads;
    GAL_ASSERT(heads + 4 * (size_t)p->words + 2 * (size_t)p->tails == bytes);
    uint8_t *next = spread(block, from, row_bytes, rows, blocks, 0, p->head_bytes, p->heads, to);
    next = spread(block, from, row_bytes, rows, blocks, heads, 4, p->words, next);
    (void)spread(block, from, row_bytes, rows, blocks, heads + 4 * (size_t)p->words, 2, p->tails, next);
}

void gal_pack(uint32_t block, const void *weight, int64_t rows, int64_t cols, int64_t first, int64_t count,
              void *to) {
    const gal_block_info *info = gal_block_info_of(block);
    const int64_t all = cols / info->elements, each = GAL_PACK_UNIT / info->elements;
    const size_t row_bytes = (size_t)all * info->bytes;
    uint8_t *next = to;
    for (int64_t g = first; g < first + count; g++) {
        const uint8_t *from = (const uint8_t *)weight + (size_t)(g * GAL_PACK_ROWS) * row_bytes;
        const int64_t n = GAL_MIN(rows - g * GAL_PACK_ROWS, GAL_PACK_ROWS);
        for (int64_t b = 0; b < all; b += each) {
            const int64_t some = GAL_MIN(each, all - b);
            gal_pack_unit(block, from + (size_t)b * info->bytes, row_bytes, n, some, next);
            next += (size_t)some * info->bytes * GAL_PACK_ROWS;
        }
    }
}
