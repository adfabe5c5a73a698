/* i8_formats.h - weights in blocks that were packed (tensor/pack.h) as bytes for dot products: a vector's lanes are
 * rows, each lane has four neighbouring numbers of its row (a quad). Compiled once a level, over i8_body.h's vectors.
 *
 * A number is scale q - min with a scale (and, with `mins`, a minimum) for 32 neighbours of a row, or for 16 with
 * `halves`; q is what the file holds, less `natural`. The byte that is stored is q + i8_offset(natural): levels
 * differ in what their dot products take. Exactly the scales of tensor/blocks.h. SPDX-License-Identifier: Apache-2.0
 */
#ifndef GAL_KERNELS_CPU_I8_FORMATS_H
#define GAL_KERNELS_CPU_I8_FORMATS_H

typedef struct i8_few i8_few;

/* A unit as it lies in memory, from the first of VW rows on. */
typedef struct unit {
    const uint8_t *heads, *words, *tails;
    const uint8_t *ahead; /* what i8_few.h fetches meanwhile, a step for each quad */
    size_t step;
    int64_t blocks;
} unit;

/* Where the numbers of VW rows go: quads, PANEL lanes apart; scales and minima (less than nothing), PANEL floats
 * apart. Or, where `few` is not NULL, they meet rows of A at once: i8_few.h. */
typedef struct slab {
    uint8_t *q;
    float *scale, *min;
    i8_few *few;
} slab;

GAL__INLINE void few_quad(i8_few *few, int64_t b, int t, U x, int offset);
GAL__INLINE void few_scale(const i8_few *few, int64_t i, F x);
GAL__INLINE void few_min(const i8_few *few, int64_t i, F x);

GAL__INLINE U word(const unit *u, int64_t i) {
    U x;
    memcpy(&x, u->words + i * 4 * GAL_PACK_ROWS, sizeof x);
    return x;
}
GAL__INLINE F head(const unit *u, int64_t i) { return f_half(u->heads + i * 2 * GAL_PACK_ROWS); }
GAL__INLINE F tail(const unit *u, int64_t i) { return f_half(u->tails + i * 2 * GAL_PACK_ROWS); }
/* Quad t of the numbers [32 b, 32 (b + 1)) of the unit. */
GAL__INLINE void put_quad(const slab *to, int64_t b, int t, U x, int offset) {
    const B y = (B)x + (uint8_t)offset;
    if (to->few)
        few_quad(to->few, b, t, x, offset);
    else
        memcpy(to->q + (8 * b + t) * 4 * PANEL, &y, sizeof y);
}
GAL__INLINE void put_scale(const slab *to, int64_t i, F x) {
    if (to->few)
        few_scale(to->few, i, x);
    else
        memcpy(to->scale + i * PANEL, &x, sizeof x);
}
GAL__INLINE void put_min(const slab *to, int64_t i, F x) {
    x = -x;
    if (to->few)
        few_min(to->few, i, x);
    else
        memcpy(to->min + i * PANEL, &x, sizeof x);
}
GAL__INLINE F floats(U x) { return __builtin_convertvector((S)x, F); }
/* Byte i of each lane, without and with its sign. */
GAL__INLINE U byte_of(U x, int i) { return x >> 8 * i & 255; }
GAL__INLINE F signed_byte_of(U x, int i) { return __builtin_convertvector((S)(x << (24 - 8 * i)) >> 24, F); }

enum { LOW = 0x0f0f0f0f, TWO = 0x03030303, ONE = 0x01010101 };

/* ---- blocks of 32: two quads a word, the second sixteen numbers in the upper halves of bytes ---------------------
 */

GAL__INLINE void unpack_q8_0(const unit *u, const slab *to) {
    for (int64_t b = 0; b < u->blocks; b++) {
        GAL__UNROLL
        for (int t = 0; t < 8; t++) put_quad(to, b, t, word(u, 8 * b + t), i8_offset(0));
        put_scale(to, b, head(u, b));
    }
}

GAL__INLINE void nibbles(const unit *u, const slab *to, int64_t b, int64_t words, int64_t skip, int offset) {
    GAL__UNROLL
    for (int t = 0; t < 4; t++) {
        const U x = word(u, words * b + skip + t);
        put_quad(to, b, t, x & LOW, offset);
        put_quad(to, b, 4 + t, x >> 4 & LOW, offset);
    }
}
GAL__INLINE void unpack_q4_0(const unit *u, const slab *to) {
    for (int64_t b = 0; b < u->blocks; b++) {
        nibbles(u, to, b, 4, 0, i8_offset(8));
        put_scale(to, b, head(u, b));
    }
}
GAL__INLINE void unpack_q4_1(const unit *u, const slab *to) {
    for (int64_t b = 0; b < u->blocks; b++) {
        nibbles(u, to, b, 4, 0, 0);
        put_scale(to, b, head(u, 2 * b));
        put_min(to, b, -head(u, 2 * b + 1));
    }
}
/* Bit 4 t + i of a lane becomes 16 in its byte i. */
GAL__INLINE U fifths(U x, int t) { return ((x >> 4 * t & 15) * 0x00204081 & ONE) << 4; }
GAL__INLINE void five_bits(const unit *u, const slab *to, int64_t b, int offset) {
    const U upper = word(u, 5 * b);
    GAL__UNROLL
    for (int t = 0; t < 4; t++) {
        const U x = word(u, 5 * b + 1 + t);
        put_quad(to, b, t, (x & LOW) | fifths(upper, t), offset);
        put_quad(to, b, 4 + t, (x >> 4 & LOW) | fifths(upper, 4 + t), offset);
    }
}
GAL__INLINE void unpack_q5_0(const unit *u, const slab *to) {
    for (int64_t b = 0; b < u->blocks; b++) {
        five_bits(u, to, b, i8_offset(16));
        put_scale(to, b, head(u, b));
    }
}
GAL__INLINE void unpack_q5_1(const unit *u, const slab *to) {
    for (int64_t b = 0; b < u->blocks; b++) {
        five_bits(u, to, b, 0);
        put_scale(to, b, head(u, 2 * b));
        put_min(to, b, -head(u, 2 * b + 1));
    }
}

/* Four-bit numbers of tables. */
static const int8_t IQ4_TABLE[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
static const int8_t FP4_TABLE[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };
GAL__INLINE void table_quads(const unit *u, const slab *to, int64_t b, int64_t at, const int8_t table[16]) {
    GAL__UNROLL
    for (int t = 0; t < 4; t++) {
        const U x = word(u, at + t);
        put_quad(to, b, t, i8_look_up(x & LOW, table), i8_offset(0));
        put_quad(to, b, 4 + t, i8_look_up(x >> 4 & LOW, table), i8_offset(0));
    }
}
GAL__INLINE void unpack_iq4_nl(const unit *u, const slab *to) {
    for (int64_t b = 0; b < u->blocks; b++) {
        table_quads(u, to, b, 4 * b, IQ4_TABLE);
        put_scale(to, b, head(u, b));
    }
}
GAL__INLINE void unpack_mxfp4(const unit *u, const slab *to) {
    for (int64_t b = 0; b < u->blocks; b++) {
        float d[VW];
        table_quads(u, to, b, 4 * b, FP4_TABLE);
        for (int r = 0; r < VW; r++) { /* half of 2^(e - 127): the table is doubled */
            const uint32_t e = u->heads[b * GAL_PACK_ROWS + r], bits = e < 2 ? 0x00200000u << e : (e - 1) << 23;
            memcpy(d + r, &bits, sizeof bits);
        }
        F scale;
        memcpy(&scale, d, sizeof scale);
        put_scale(to, b, scale);
    }
}
GAL__INLINE void unpack_iq4_xs(const unit *u, const slab *to) {
    const F d = head(u, 0);
    const U low = word(u, 0), upper = i8_pairs(u->heads + 2 * GAL_PACK_ROWS);
    GAL__UNROLL
    for (int b = 0; b < 8; b++) {
        table_quads(u, to, b, 1 + 4 * b, IQ4_TABLE);
        const U s = (low >> 4 * b & 15) | (upper >> 2 * b & 3) << 4;
        put_scale(to, b, d * (floats(s) - 32.0f));
    }
}

/* ---- blocks of 256 ------------------------------------------------------------------------------------------------
 */

/* Scales and minima of Q4_K and Q5_K: words 0 to 2 (tensor/blocks.c, six_bits), four of them a word at a time. */
GAL__INLINE void six_bits(const unit *u, const slab *to) {
    const F d = head(u, 0), dmin = head(u, 1);
    const U a = word(u, 0), b = word(u, 1), c = word(u, 2);
    const U s[2] = { a & 0x3f3f3f3f, (c & LOW) | (a >> 2 & 0x30303030) },
            m[2] = { b & 0x3f3f3f3f, (c >> 4 & LOW) | (b >> 2 & 0x30303030) };
    GAL__UNROLL
    for (int j = 0; j < 8; j++) {
        put_scale(to, j, d * floats(byte_of(s[j / 4], j % 4)));
        put_min(to, j, dmin * floats(byte_of(m[j / 4], j % 4)));
    }
}
GAL__INLINE void unpack_q4_k(const unit *u, const slab *to) {
    six_bits(u, to);
    GAL__ROLLED
    for (int p = 0; p < 4; p++) {
        GAL__UNROLL
        for (int t = 0; t < 8; t++) {
            const U x = word(u, 3 + 8 * p + t);
            put_quad(to, 2 * p, t, x & LOW, 0);
            put_quad(to, 2 * p + 1, t, x >> 4 & LOW, 0);
        }
    }
}
/* Eight words that hold the upper bits of those after them. */
GAL__INLINE void upper_words(const unit *u, int64_t at, U upper[8]) {
    GAL__UNROLL
    for (int t = 0; t < 8; t++) upper[t] = word(u, at + t);
}
GAL__INLINE void unpack_q5_k(const unit *u, const slab *to) {
    U upper[8];
    six_bits(u, to);
    upper_words(u, 3, upper);
    GAL__ROLLED
    for (int p = 0; p < 4; p++) {
        GAL__UNROLL
        for (int t = 0; t < 8; t++) {
            const U x = word(u, 11 + 8 * p + t);
            put_quad(to, 2 * p, t, (x & LOW) | (upper[t] & ONE) << 4, 0);
            put_quad(to, 2 * p + 1, t, (x >> 4 & LOW) | (upper[t] >> 1 & ONE) << 4, 0);
            upper[t] >>= 2;
        }
    }
}
GAL__INLINE void unpack_q6_k(const unit *u, const slab *to) { /* words stand where gal_pack_place() says */
    const F d = tail(u, 0);
    GAL__ROLLED
    for (int n = 0; n < 2; n++) {
        GAL__UNROLL
        for (int t = 0; t < 8; t++) {
            const U x = word(u, 24 * n + 3 * t), y = word(u, 24 * n + 3 * t + 1), upper = word(u, 24 * n + 3 * t + 2);
            put_quad(to, 4 * n, t, (x & LOW) | (upper & TWO) << 4, i8_offset(32));
            put_quad(to, 4 * n + 1, t, (y & LOW) | (upper >> 2 & TWO) << 4, i8_offset(32));
            put_quad(to, 4 * n + 2, t, (x >> 4 & LOW) | (upper >> 4 & TWO) << 4, i8_offset(32));
            put_quad(to, 4 * n + 3, t, (y >> 4 & LOW) | (upper >> 6 & TWO) << 4, i8_offset(32));
        }
    }
    GAL__UNROLL
    for (int i = 0; i < 16; i++) put_scale(to, i, d * signed_byte_of(word(u, 48 + i / 4), i % 4));
}
GAL__INLINE void unpack_q2_k(const unit *u, const slab *to) {
    const F d = tail(u, 0), dmin = tail(u, 1);
    GAL__ROLLED
    for (int n = 0; n < 2; n++) {
        GAL__UNROLL
        for (int t = 0; t < 8; t++) {
            const U x = word(u, 4 + 8 * n + t);
            GAL__UNROLL
            for (int j = 0; j < 4; j++) put_quad(to, 4 * n + j, t, x >> 2 * j & TWO, 0);
        }
    }
    GAL__UNROLL
    for (int i = 0; i < 16; i++) {
        const U s = byte_of(word(u, i / 4), i % 4);
        put_scale(to, i, d * floats(s & 15));
        put_min(to, i, dmin * floats(s >> 4));
    }
}
GAL__INLINE void unpack_q3_k(const unit *u, const slab *to) {
    const F d = tail(u, 0);
    U upper[8];
    upper_words(u, 0, upper);
    GAL__ROLLED
    for (int n = 0; n < 2; n++) {
        GAL__UNROLL
        for (int t = 0; t < 8; t++) {
            const U x = word(u, 8 + 8 * n + t);
            GAL__UNROLL
            for (int j = 0; j < 4; j++)
                put_quad(to, 4 * n + j, t, (x >> 2 * j & TWO) | (upper[t] >> j & ONE) << 2, i8_offset(4));
            upper[t] >>= 4;
        }
    }
    GAL__UNROLL
    for (int i = 0; i < 16; i++) {
        const U low = byte_of(word(u, 24 + i % 8 / 4), i % 4) >> 4 * (i / 8) & 15;
        const U s = low | (byte_of(word(u, 26), i % 4) >> 2 * (i / 4) & 3) << 4;
        put_scale(to, i, d * (floats(s) - 32.0f));
    }
}

/* Formats by name: natural, halves, mins; wide: numbers that take all of eight bits
 * and a sign; fused: scales are so far from the largest f32 that 2^24 times one is finite. */
#define GAL__I8_FORMATS(X)                                                                                           \
    X(Q8_0, q8_0, 0, false, false, true, true)                                                                       \
    X(Q4_0, q4_0, 8, false, false, false, true)                                                                      \
    X(Q4_1, q4_1, 0, false, true, false, true)                                                                       \
    X(Q5_0, q5_0, 16, false, false, false, true)                                                                     \
    X(Q5_1, q5_1, 0, false, true, false, true)                                                                       \
    X(IQ4_NL, iq4_nl, 0, false, false, true, true)                                                                   \
    X(MXFP4, mxfp4, 0, false, false, true, false)                                                                    \
    X(IQ4_XS, iq4_xs, 0, false, false, true, true)                                                                   \
    X(Q2_K, q2_k, 0, true, true, false, true)                                                                        \
    X(Q3_K, q3_k, 4, true, false, false, true)                                                                       \
    X(Q4_K, q4_k, 0, false, true, false, true)                                                                       \
    X(Q5_K, q5_k, 0, false, true, false, true)                                                                       \
    X(Q6_K, q6_k, 32, true, false, false, true)

#endif
