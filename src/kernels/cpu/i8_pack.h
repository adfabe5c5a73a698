/* i8_pack.h - gal_pack_unit() with vectors, for weights that are packed or used in place. Included by i8_body.h.
 *
 * A row's unit is seen as lanes of four bytes, as they lie. VW lanes of VW rows are turned at a time, then each lane
 * has what a slot of the packed unit takes: 64 bytes of sixteen rows. Where blocks have two scales, or are the only
 * one of a unit, a lane is a word or two scales. Where they have one scale of two bytes in front, every second
 * block's words lie across two lanes (I8_ACROSS) and are put together afterwards, sixteen rows at once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_I8_PACK_H
#define GAL_KERNELS_CPU_I8_PACK_H

enum { SLOT = 4 * GAL_PACK_ROWS, MOST_LANES = UNIT_BYTES / SLOT, MOST_ACROSS = 68 /* lanes of Q8_0 */ };

/* How lanes of a whole unit become slots. */
typedef struct i8_order {
    uint32_t block;
    enum { I8_DEFINED, I8_LANES, I8_ACROSS } way; /* I8_DEFINED: by gal_pack_unit(), the definition */
    int64_t blocks, words;                        /* words of a block */
    int64_t lanes;                                /* of a row */
    int64_t scales, n_scales;                     /* slots of two scales: the first, how many */
    bool tail;                                    /* a scale is left over at the end of the block */
    bool moved;                                   /* lanes go to other slots than their own */
    uint8_t slot[MOST_LANES];
} i8_order;

static void i8_add_lane(i8_order *o, int64_t slot) {
    o->moved |= slot != o->lanes;
    o->slot[o->lanes++] = (uint8_t)slot;
}

/* Blocks with two scales in front; blocks that are a unit, with none in front and up to two behind; or, in pairs,
 * blocks with one in front and as many words as i8_pack_unit() is made for. */
static i8_order i8_order_of(uint32_t block) {
    const gal_pieces *p = gal_pieces_of(block);
    const gal_block_info *info = gal_block_info_of(block);
    i8_order o = { .block = block, .blocks = GAL_PACK_UNIT / info->elements, .words = p->words };
    const bool two = p->heads == 2 && !p->tails, none = !p->heads && o.blocks == 1 && p->tails <= 2,
               one = p->heads == 1 && !p->tails && o.blocks % 2 == 0 &&
                     (p->words == 4 || p->words == 5 || p->words == 8);
    const bool wide = o.blocks * (int64_t)info->bytes >= (int64_t)sizeof(U); /* a vector of lanes at least */
    if (p->head_bytes != 2 || !wide || !(two || none || one)) return o;
    o.way = one ? I8_ACROSS : I8_LANES;
    o.n_scales = none ? p->tails / 2 : o.blocks * p->heads / 2;
    o.scales = none ? p->words : 0;
    o.tail = p->tails == 1;
    if (one) {
        o.lanes = o.blocks * (int64_t)info->bytes / 4;
        return o;
    }
    for (int64_t b = 0; b < o.blocks; b++) {
        const int64_t words = none ? 0 : o.blocks;
        if (two) i8_add_lane(&o, b);
        for (int64_t w = 0; w < p->words; w++) i8_add_lane(&o, words + b * p->words + gal_pack_place(block, w));
        if (p->tails == 2) i8_add_lane(&o, p->words);
    }
    return o;
}

/* moved: to slots as o says, else in the order of lanes. Asks for a step of what lies at `ahead` with each vector;
 * the last vectors overlap those before. Four rows are loaded before the next four pointers are made: gcc would
 * compute sixteen of them first and keep them in memory. */
GAL__INLINE void i8_turn_lanes(const i8_order *o, const bool moved, const uint8_t *from, size_t row_bytes,
                               const uint8_t *ahead, size_t step, uint8_t *to) {
    for (int64_t at = 0; at < o->lanes; at += VW) {
        const int64_t first = GAL_MIN(at, o->lanes - VW);
        const uint8_t *row = from + 4 * first;
        for (int64_t r = 0; r < GAL_PACK_ROWS; r += VW) {
            U x[VW];
            GAL__UNROLL
            for (int i = 0; i < VW; i += 4) {
                GAL__UNROLL
                for (int j = 0; j < 4; j++) {
                    memcpy(&x[i + j], row + (size_t)j * row_bytes, sizeof(U));
                    __builtin_prefetch(ahead + (size_t)j * step, 0, 3);
                }
                row += 4 * row_bytes;
                ahead += 4 * step;
                __asm__(""
                        : "+r"(row), "+r"(ahead), I8_LOADED(x[i]), I8_LOADED(x[i + 1]), I8_LOADED(x[i + 2]),
                          I8_LOADED(x[i + 3]));
            }
            i8_turn(x);
            uint8_t *slots = to + 4 * r;
            GAL__UNROLL
            for (int i = 0; i < VW; i++)
                memcpy(slots + SLOT * (moved ? (int64_t)o->slot[first + i] : first + i), &x[i], sizeof(U));
        }
    }
}

GAL__INLINE U i8_load(const uint8_t *p) {
    U x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* A slot of scales: those of the lower halves of one lane, then those of the upper halves of one. */
GAL__INLINE void i8_two_scales(const uint8_t *lower, const uint8_t *upper, uint8_t *slot) {
    typedef uint16_t H __attribute__((vector_size(2 * VW)));
    H scale[2][GAL_PACK_ROWS / VW];
    GAL__UNROLL
    for (int r = 0; r < GAL_PACK_ROWS / VW; r++) {
        scale[0][r] = __builtin_convertvector(i8_load(lower + r * (int)sizeof(U)), H);
        scale[1][r] = __builtin_convertvector(i8_load(upper + r * (int)sizeof(U)) >> 16, H);
    }
    GAL__UNROLL
    for (int i = 0; i < 2 * GAL_PACK_ROWS / VW; i++)
        memcpy(slot + i * (int)sizeof(H), &scale[i / (GAL_PACK_ROWS / VW)][i % (GAL_PACK_ROWS / VW)], sizeof(H));
}

/* Of lanes in their order: a block that begins with a lane has its scale in the lower half of it and words across
 * two, the next one its scale in the upper half of a lane and then whole lanes. */
GAL__INLINE void i8_put_together(const int words, const i8_order *o, const uint8_t *lane, uint8_t *to) {
    uint8_t *slot = to + o->n_scales * SLOT;
    for (int64_t s = 0; s < o->n_scales; s++, lane += (2 * words + 1) * SLOT, slot += 2 * words * SLOT) {
        i8_two_scales(lane, lane + words * SLOT, to + s * SLOT);
        GAL__UNROLL
        for (int w = 0; w < words; w++)
            for (int r = 0; r < SLOT; r += (int)sizeof(U)) {
                const U x = i8_load(lane + w * SLOT + r) >> 16 | i8_load(lane + (w + 1) * SLOT + r) << 16,
                        y = i8_load(lane + (words + 1 + w) * SLOT + r);
                memcpy(slot + w * SLOT + r, &x, sizeof x);
                memcpy(slot + (words + w) * SLOT + r, &y, sizeof y);
            }
    }
}

/* A unit of `rows` rows, row_bytes apart. Asks for so many bytes from `ahead` on meanwhile. */
static void i8_pack_unit(const i8_order *o, const uint8_t *from, size_t row_bytes, int64_t rows, int64_t blocks,
                         const uint8_t *ahead, size_t bytes, uint8_t *to) {
    if (rows < GAL_PACK_ROWS || o->way == I8_DEFINED || blocks != o->blocks) {
        gal_pack_unit(o->block, from, row_bytes, rows, blocks, to);
        return;
    }
    const size_t step = bytes / (size_t)((o->lanes + VW - 1) / VW * GAL_PACK_ROWS);
    if (o->way == I8_ACROSS) {
        uint8_t lanes[MOST_ACROSS * SLOT] __attribute__((aligned(64)));
        i8_turn_lanes(o, false, from, row_bytes, ahead, step, lanes);
        if (o->words == 4)
            i8_put_together(4, o, lanes, to);
        else if (o->words == 5)
            i8_put_together(5, o, lanes, to);
        else
            i8_put_together(8, o, lanes, to);
        return;
    }
    if (o->moved)
        i8_turn_lanes(o, true, from, row_bytes, ahead, step, to);
    else
        i8_turn_lanes(o, false, from, row_bytes, ahead, step, to);
    for (uint8_t *slot = to + o->scales * SLOT, *end = slot + o->n_scales * SLOT; slot < end; slot += SLOT)
        i8_two_scales(slot, slot, slot);
    if (!o->tail) return;
    from += 4 * o->lanes;
    for (int r = 0; r < GAL_PACK_ROWS; r++, from += row_bytes) memcpy(to + o->lanes * SLOT + 2 * r, from, 2);
}

#endif
