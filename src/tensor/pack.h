/* pack.h - weights in blocks, rearranged so that the lanes of a vector are rows: the same bytes in another order.
 *
 * Sixteen rows are a group, up to 256 neighbouring numbers of each of them a unit: one block of the formats with 256
 * numbers, up to eight of those with 32. A block is cut into pieces: a few scales in front (heads), words of four
 * bytes, a few scales behind (tails). In a unit each piece stands for all sixteen rows side by side:
 *
 *     heads [block][head][16 rows]    words [block][word][16 rows]    tails [block][tail][16 rows]
 *
 * with words where gal_pack_place() says: so that products read a unit from its beginning to its end.
 *
 * Units of a group follow one another, then the next group. The last group is filled up with rows of zero bytes,
 * whose numbers are 0 in all of these formats or are multiplied with a scale of 0. SPDX-License-Identifier:
 * Apache-2.0 */
#ifndef GAL_TENSOR_PACK_H
#define GAL_TENSOR_PACK_H

#include "tensor/blocks.h"

enum { GAL_PACK_ROWS = 16, GAL_PACK_UNIT = 256 };

/* The pieces of one block. */
typedef struct gal_pieces {
    uint8_t head_bytes, heads, words, tails; /* a head has head_bytes, a word 4, a tail 2 */
} gal_pieces;
/* NULL: the format cannot be packed. Static. */
const gal_pieces *gal_pieces_of(uint32_t block);

/* Which of a packed block's words word w of a block becomes. Of Q6_K a word of upper bits comes after the two whose
 * bits it has; all others stay in their order. */
static inline int64_t gal_pack_place(uint32_t block, int64_t w) {
    if (block != GAL_BLOCK_Q6_K || w >= 48) return w;
    return w < 32 ? 24 * (w / 16) + 3 * (w % 8) + w / 8 % 2 : 24 * ((w - 32) / 8) + 3 * (w % 8) + 2;
}

/* Bytes of a whole weight [rows, cols], of a group of it; a group is 16 rows' bytes. */
size_t gal_pack_bytes(uint32_t block, int64_t rows, int64_t cols);
static inline size_t gal_pack_group_bytes(uint32_t block, int64_t cols) {
    const gal_block_info *b = gal_block_info_of(block);
    return (size_t)(cols / b->elements) * b->bytes * GAL_PACK_ROWS;
}

/* A unit of `blocks` blocks of `rows` <= 16 rows, which are row_bytes apart from one another. */
void gal_pack_unit(uint32_t block, const void *from, size_t row_bytes, int64_t rows, int64_t blocks, void *to);
/* Groups [first, first + count) of a weight [rows, cols] in blocks. to: the first of them. */
void gal_pack(uint32_t block, const void *weight, int64_t rows, int64_t cols, int64_t first, int64_t count, void *to);

#endif
