/* blocks_body.h - weights in blocks as small integers, 32 neighbours of a row at a time: y = scale q - min, a scale
 * and a minimum for each 16. Exactly the numbers of tensor/blocks.h when product and difference round one by one.
 * Compiled once a level, over its F; before, the including file defines
 *
 *   half_at(p)              two bytes of f16 as a float
 *   look_up(q, table, p)    q[i] = table[p[i] & 15], q[i + 16] = table[p[i] >> 4] for i < 16
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_BLOCKS_BODY_H
#define GAL_KERNELS_CPU_BLOCKS_BODY_H

#include "tensor/blocks.h"

#include <string.h>

enum { SUB = 32, SUB_SCALES = 2, UNPACK = 256 };

/* One part: q[SUB], scale[2], min[2]. b: the block, j: which of its parts. */
#define PART(name) GAL__INLINE void name(const uint8_t *b, int j, int8_t *q, float *scale, float *min)
#define UNUSED (void)j

GAL__INLINE void both(float *x, float v) { x[0] = x[1] = v; }

PART(part_q8_0) {
    UNUSED;
    memcpy(q, b + 2, SUB);
    both(scale, half_at(b));
    both(min, 0);
}

/* Vectors that every compiler of ours knows: bytes, and the same as pairs and in eights. Shifts of pairs leave bits
 * of the neighbour in a byte, which are masked away. */
typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint8_t bytes32 __attribute__((vector_size(32)));
typedef uint16_t pairs16 __attribute__((vector_size(16)));
typedef uint16_t pairs32 __attribute__((vector_size(32)));
typedef uint64_t eights16 __attribute__((vector_size(16)));

GAL__INLINE bytes32 bytes_at(const uint8_t *p) {
    bytes32 x;
    memcpy(&x, p, sizeof x);
    return x;
}
/* x >> shift & mask, in each byte; the mask has none of the shift's upper bits. */
GAL__INLINE bytes32 bits_of(bytes32 x, int shift, uint8_t mask) { return (bytes32)((pairs32)x >> shift) & mask; }
/* `worth` in the bytes where x has the bit. */
GAL__INLINE bytes32 where(bytes32 x, uint8_t bit, uint8_t worth) { return (bytes32)((x & bit) == bit) & worth; }
GAL__INLINE void put(int8_t *q, bytes32 x) { memcpy(q, &x, sizeof x); }

/* Low halves of 16 bytes, then their high halves, | upper[32], less zero. In halves all the way: what is stored in
 * halves and loaded whole is waited for. */
GAL__INLINE void four_bits(const uint8_t *p, int8_t *q, bytes16 first, bytes16 second, uint8_t zero) {
    bytes16 x;
    memcpy(&x, p, sizeof x);
    const bytes16 low = ((x & 15) | first) - zero, high = (((bytes16)((pairs16)x >> 4) & 15) | second) - zero;
    memcpy(q, &low, sizeof low);
    memcpy(q + 16, &high, sizeof high);
}
/* 16 in each byte whose bit is set in p[2]. */
GAL__INLINE bytes16 fifth_bits(const uint8_t *p) {
    const uint64_t every = 0x0101010101010101u, own = 0x8040201008040201u; /* byte i of the second has bit i */
    const eights16 x = { p[0] * every & own, p[1] * every & own };
    return (bytes16)((bytes16)x != 0) & 16;
}
GAL__INLINE void five_bits(const uint8_t *p, int8_t *q, uint8_t zero) {
    four_bits(p + 4, q, fifth_bits(p), fifth_bits(p + 2), zero);
}
PART(part_q4_0) {
    UNUSED;
    four_bits(b + 2, q, (bytes16){ 0 }, (bytes16){ 0 }, 8);
    both(scale, half_at(b));
    both(min, 0);
}
PART(part_q4_1) {
    UNUSED;
    four_bits(b + 4, q, (bytes16){ 0 }, (bytes16){ 0 }, 0);
    both(scale, half_at(b));
    both(min, -half_at(b + 2));
}
PART(part_q5_0) {
    UNUSED;
    five_bits(b + 2, q, 16);
    both(scale, half_at(b));
    both(min, 0);
}
PART(part_q5_1) {
    UNUSED;
    five_bits(b + 4, q, 0);
    both(scale, half_at(b));
    both(min, -half_at(b + 2));
}

static const int8_t IQ4[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
static const int8_t FP4[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

PART(part_iq4_nl) {
    UNUSED;
    look_up(q, IQ4, b + 2);
    both(scale, half_at(b));
    both(min, 0);
}
PART(part_iq4_xs) {
    uint16_t upper;
    memcpy(&upper, b + 2, sizeof upper);
    look_up(q, IQ4, b + 8 + 16 * j);
    int s = (b[4 + j / 2] >> 4 * (j % 2) & 15) | (upper >> 2 * j & 3) << 4;
    both(scale, half_at(b) * (float)(s - 32));
    both(min, 0);
}
PART(part_mxfp4) {
    UNUSED;
    uint32_t bits = b[0] < 2 ? 0x00200000u << b[0] : (b[0] - 1u) << 23;
    float d;
    memcpy(&d, &bits, sizeof d);
    look_up(q, FP4, b + 1);
    both(scale, d);
    both(min, 0);
}

PART(part_q2_k) {
    float d = half_at(b + 80), dmin = half_at(b + 82);
    put(q, bits_of(bytes_at(b + 16 + 32 * (j / 4)), 2 * (j & 3), 3));
    for (int h = 0; h < 2; h++) {
        scale[h] = d * (float)(b[2 * j + h] & 15);
        min[h] = dmin * (float)(b[2 * j + h] >> 4);
    }
}

PART(part_q3_k) {
    const uint8_t *s = b + 96;
    float d = half_at(b + 108);
    put(q,
        (bits_of(bytes_at(b + 32 + 32 * (j / 4)), 2 * (j & 3), 3) | where(bytes_at(b), (uint8_t)(1u << j), 4)) - 4);
    for (int h = 0; h < 2; h++) {
        int k = 2 * j + h, low = k < 8 ? s[k] & 15 : s[k - 8] >> 4;
        scale[h] = d * (float)((low | (s[8 + k % 4] >> 2 * (k / 4) & 3) << 4) - 32);
        min[h] = 0;
    }
}

/* Scale and minimum j of Q4_K and Q5_K (tensor/blocks.c, six_bits). */
GAL__INLINE void six_bits(const uint8_t *b, int j, float *scale, float *min) {
    const uint8_t *s = b + 4;
    int a = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
    int m = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;
    both(scale, half_at(b) * (float)a);
    both(min, half_at(b + 2) * (float)m);
}
PART(part_q4_k) {
    put(q, bits_of(bytes_at(b + 16 + 32 * (j / 2)), 4 * (j & 1), 15));
    six_bits(b, j, scale, min);
}
PART(part_q5_k) {
    put(q,
        bits_of(bytes_at(b + 48 + 32 * (j / 2)), 4 * (j & 1), 15) | where(bytes_at(b + 16), (uint8_t)(1u << j), 16));
    six_bits(b, j, scale, min);
}
PART(part_q6_k) {
    const bytes32 low = bits_of(bytes_at(b + 64 * (j / 4) + 32 * (j & 1)), 2 * (j & 2), 15);
    const bytes32 upper = bits_of(bytes_at(b + 128 + 32 * (j / 4)), 2 * (j & 3), 3);
    float d = half_at(b + 208);
    put(q, (low | (bytes32)((pairs32)upper << 4)) - 32);
    for (int h = 0; h < 2; h++) {
        scale[h] = d * (float)(int8_t)b[192 + 2 * j + h];
        min[h] = 0;
    }
}

/* Parts [at, at + n) of a row. Of a whole block the number of each part is a constant. */
#define ROW(name, parts, bytes)                                                                                      \
    static void row_##name(const uint8_t *row, int64_t at, int64_t n, int8_t *q, float *scale, float *min) {         \
        for (; n > 0 && at % (parts); n--, at++, q += SUB, scale += SUB_SCALES, min += SUB_SCALES)                   \
            part_##name(row + (size_t)(at / (parts)) * (bytes), (int)(at % (parts)), q, scale, min);                 \
        const uint8_t *b = row + (size_t)(at / (parts)) * (bytes);                                                   \
        for (; n >= (parts); n -= (parts), b += (bytes)) {                                                           \
            GAL__UNROLL                                                                                              \
            for (int j = 0; j < (parts); j++, q += SUB, scale += SUB_SCALES, min += SUB_SCALES)                      \
                part_##name(b, j, q, scale, min);                                                                    \
        }                                                                                                            \
        for (int j = 0; j < n; j++, q += SUB, scale += SUB_SCALES, min += SUB_SCALES)                                \
            part_##name(b, j, q, scale, min);                                                                        \
    }
ROW(q8_0, 1, 34)
ROW(q4_0, 1, 18)
ROW(q4_1, 1, 20)
ROW(q5_0, 1, 22)
ROW(q5_1, 1, 24)
ROW(iq4_nl, 1, 18)
ROW(mxfp4, 1, 17)
ROW(iq4_xs, 8, 136)
ROW(q2_k, 8, 84)
ROW(q3_k, 8, 110)
ROW(q4_k, 8, 144)
ROW(q5_k, 8, 176)
ROW(q6_k, 8, 210)

typedef struct coder {
    void (*row)(const uint8_t *row, int64_t at, int64_t n, int8_t *q, float *scale, float *min);
    bool halves, mins; /* the two scales of a part differ; minima are not 0 */
} coder;

static coder coder_of(uint32_t block) {
    static const coder CODERS[] = {
        [GAL_BLOCK_Q8_0] = { row_q8_0, false, false },   [GAL_BLOCK_Q4_0] = { row_q4_0, false, false },
        [GAL_BLOCK_Q4_1] = { row_q4_1, false, true },    [GAL_BLOCK_Q5_0] = { row_q5_0, false, false },
        [GAL_BLOCK_Q5_1] = { row_q5_1, false, true },    [GAL_BLOCK_IQ4_NL] = { row_iq4_nl, false, false },
        [GAL_BLOCK_MXFP4] = { row_mxfp4, false, false }, [GAL_BLOCK_IQ4_XS] = { row_iq4_xs, false, false },
        [GAL_BLOCK_Q2_K] = { row_q2_k, true, true },     [GAL_BLOCK_Q3_K] = { row_q3_k, true, false },
        [GAL_BLOCK_Q4_K] = { row_q4_k, false, true },    [GAL_BLOCK_Q5_K] = { row_q5_k, false, true },
        [GAL_BLOCK_Q6_K] = { row_q6_k, true, false },
    };
    return block < GAL_LEN(CODERS) ? CODERS[block] : (coder){ 0 };
}

/* ---- numbers ------------------------------------------------------------------------------------------------------
 */

/* E4M3 numbers are f16 numbers with their bits moved, but for a factor of 256 and NaN. */
static void unpack_f8(const gal_code *c, const uint8_t *p, const float *scales, int64_t from, int64_t n, float *out) {
    while (n > 0) {
        const int64_t left = c->scale_cols - from % c->scale_cols, some = n < left ? n : left;
        const float s = scales[from / c->scale_cols];
        for (int64_t i = 0; i < some; i += SUB) {
            const int64_t k = some - i < SUB ? some - i : SUB;
            uint8_t x[SUB] = { 0 };
            uint16_t h[SUB];
            float y[SUB];
            memcpy(x, p + from + i, (size_t)k);
            for (int l = 0; l < SUB; l++)
                h[l] = (uint16_t)(((x[l] & 127) == 127 ? 0x7e00 : (x[l] & 127) << 7) | (x[l] & 128) << 8);
            for (int l = 0; l < SUB; l += VW) f_store(y + l, ld(h + l, GAL_F16, VW));
            for (int l = 0; l < SUB; l++) y[l] = y[l] * 256.0f * s;
            memcpy(out + i, y, (size_t)k * sizeof *out);
        }
        from += some;
        out += some;
        n -= some;
    }
}

/* Numbers [from, from + n) of row r of a weight with `cols` columns. */
static void unpack(const gal_code *c, const void *data, int64_t cols, int64_t r, int64_t from, int64_t n,
                   float *out) {
    const uint8_t *row = (const uint8_t *)data + (size_t)r * gal_code_bytes(c, cols);
    if (c->block == GAL_BLOCK_F8_E4M3) {
        unpack_f8(c, row, c->scales + r / c->scale_rows * c->across, from, n, out);
        return;
    }
    const coder code = coder_of(c->block);
    if (!code.row) { /* a format that was not thought of here */
        gal_code_read(c, data, cols, r, from, n, out);
        return;
    }
    int8_t q[UNPACK];
    float scale[UNPACK / 16], min[UNPACK / 16], y[UNPACK];
    while (n > 0) {
        const int64_t first = from / SUB * SUB, skip = from - first;
        const int64_t end = from + n - first < UNPACK ? from + n : first + UNPACK,
                      parts = (end - first + SUB - 1) / SUB;
        code.row(row, first / SUB, parts, q, scale, min);
        for (int64_t p = 0; p < 2 * parts; p++)
            for (int i = 0; i < 16; i++) y[16 * p + i] = (float)q[16 * p + i] * scale[p] - min[p];
        memcpy(out, y + skip, (size_t)(end - from) * sizeof *out);
        out += end - from;
        n -= end - from;
        from = end;
    }
}

#endif
