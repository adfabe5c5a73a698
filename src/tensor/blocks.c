/* blocks.c - the block formats of GGUF files: their table, and what the numbers in a block mean. Little-endian, as
 * the files are. Every operation that a formula below shows rounds once: products and sums must not be fused, which
 * cmake/flags.cmake forbids for all files (-ffp-contract=off; gcc ignores the standard's pragma and warns of it).
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/blocks.h"

#include "tensor/tensor.h"

#include <math.h>
#include <string.h>
#include <strings.h>

static uint16_t u16_at(const uint8_t *p) {
    uint16_t u;
    memcpy(&u, p, sizeof u);
    return u;
}

static uint32_t u32_at(const uint8_t *p) {
    uint32_t u;
    memcpy(&u, p, sizeof u);
    return u;
}

static float f16_at(const uint8_t *p) { return gal_f16_to_f32(u16_at(p)); }

static int low(uint8_t b) { return b & 15; }
static int high(uint8_t b) { return b >> 4; }

/* {f32} */
static void read_f32(const uint8_t *b, float *y) { memcpy(y, b, sizeof *y); }

/* {f16} */
static void read_f16(const uint8_t *b, float *y) { *y = f16_at(b); }

/* {bf16} */
static void read_bf16(const uint8_t *b, float *y) { *y = gal_bf16_to_f32(u16_at(b)); }

/* {f16 d; i8 q[32]}: y = q d. */
static void read_q8_0(const uint8_t *b, float *y) {
    float d = f16_at(b);
    for (int i = 0; i < 32; i++) y[i] = (float)(int8_t)b[2 + i] * d;
}

/* {f16 d; u8 q[16]}: y = (q - 8) d. Low halves of the bytes are the first 16 numbers, high halves the others. */
static void read_q4_0(const uint8_t *b, float *y) {
    const uint8_t *q = b + 2;
    float d = f16_at(b);
    for (int i = 0; i < 16; i++) {
        y[i] = (float)(low(q[i]) - 8) * d;
        y[i + 16] = (float)(high(q[i]) - 8) * d;
    }
}

/* {f16 d; f16 m; u8 q[16]}: y = q d + m, laid out as Q4_0. */
static void read_q4_1(const uint8_t *b, float *y) {
    const uint8_t *q = b + 4;
    float d = f16_at(b), m = f16_at(b + 2);
    for (int i = 0; i < 16; i++) {
        y[i] = (float)low(q[i]) * d + m;
        y[i + 16] = (float)high(q[i]) * d + m;
    }
}

/* The five-bit numbers of Q5_0 and Q5_1 as floats, less `zero`: u32 with the fifth bits, then u8 q[16] as in Q4_0. */
static void five_bits(const uint8_t *b, int zero, float *q) {
    uint32_t fifth = u32_at(b);
    for (int i = 0; i < 16; i++) {
        q[i] = (float)((low(b[4 + i]) | (int)(fifth >> i & 1u) << 4) - zero);
        q[i + 16] = (float)((high(b[4 + i]) | (int)(fifth >> (i + 16) & 1u) << 4) - zero);
    }
}

/* {f16 d; five bits}: y = (q - 16) d. */
static void read_q5_0(const uint8_t *b, float *y) {
    float d = f16_at(b);
    five_bits(b + 2, 16, y);
    for (int i = 0; i < 32; i++) y[i] = y[i] * d;
}

/* {f16 d; f16 m; five bits}: y = q d + m. */
static void read_q5_1(const uint8_t *b, float *y) {
    float d = f16_at(b), m = f16_at(b + 2);
    five_bits(b + 4, 0, y);
    for (int i = 0; i < 32; i++) y[i] = y[i] * d + m;
}

/* In the K formats k = 0 ... 255 runs over the block. Q2_K, Q3_K and Q6_K cut it into halves n of 128, those into
 * four rows j of 32, those into columns l; every 16 neighbours have a scale, number 8 n + 2 j + l / 16 = k / 16. */

/* {u8 s[16]; u8 q[64]; f16 d; f16 dmin}: two bits each, y = (d low(s)) q - dmin high(s). */
static void read_q2_k(const uint8_t *b, float *y) {
    const uint8_t *q = b + 16;
    float d = f16_at(b + 80), dmin = f16_at(b + 82);
    for (int k = 0; k < 256; k++) {
        int n = k / 128, j = k % 128 / 32, l = k % 32;
        uint8_t s = b[k / 16];
        float scale = d * (float)low(s), min = dmin * (float)high(s);
        y[k] = scale * (float)(q[32 * n + l] >> 2 * j & 3) - min;
    }
}

/* {u8 mask[32]; u8 q[64]; u8 s[12]; f16 d}: two bits of q and a third that is in the mask if 4 is *not* to be taken
 * away; y = (d S) q. S - 32 has six bits: eight bytes hold the lower four, four bytes the upper two. */
static void read_q3_k(const uint8_t *b, float *y) {
    const uint8_t *q = b + 32, *s = b + 96;
    float d = f16_at(b + 108);
    for (int k = 0; k < 256; k++) {
        int n = k / 128, j = k % 128 / 32, l = k % 32, i = k / 16;
        int scale = (i < 8 ? low(s[i]) : high(s[i - 8])) | (s[8 + i % 4] >> 2 * (i / 4) & 3) << 4;
        int value = (q[32 * n + l] >> 2 * j & 3) - (b[l] >> (4 * n + j) & 1 ? 0 : 4);
        y[k] = d * (float)(scale - 32) * (float)value;
    }
}

/* Scale and minimum j of the eight in the 12 bytes of Q4_K and Q5_K: six bits each. The first four pairs are the
 * lower six bits of a byte; the upper two bits there belong to the last four, whose lower bits share the last four
 * bytes. */
static void six_bits(const uint8_t *s, int j, int *scale, int *min) {
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = low(s[j + 4]) | s[j - 4] >> 6 << 4;
        *min = high(s[j + 4]) | s[j] >> 6 << 4;
    }
}

/* {f16 d; f16 dmin; u8 s[12]; u8 q[128]}: y = (d scale) q - dmin min, by rows j of 32. Two rows share 32 bytes. */
static void read_q4_k(const uint8_t *b, float *y) {
    float d = f16_at(b), dmin = f16_at(b + 2);
    for (int j = 0; j < 8; j++) {
        const uint8_t *q = b + 16 + 32 * (j / 2);
        int s, m;
        six_bits(b + 4, j, &s, &m);
        float scale = d * (float)s, min = dmin * (float)m;
        for (int l = 0; l < 32; l++) y[32 * j + l] = scale * (float)(j % 2 ? high(q[l]) : low(q[l])) - min;
    }
}

/* {f16 d; f16 dmin; u8 s[12]; u8 fifth[32]; u8 q[128]}: as Q4_K; bit j of fifth[l] is worth 16. */
static void read_q5_k(const uint8_t *b, float *y) {
    const uint8_t *fifth = b + 16;
    float d = f16_at(b), dmin = f16_at(b + 2);
    for (int j = 0; j < 8; j++) {
        const uint8_t *q = b + 48 + 32 * (j / 2);
        int s, m;
        six_bits(b + 4, j, &s, &m);
        float scale = d * (float)s, min = dmin * (float)m;
        for (int l = 0; l < 32; l++) {
            int value = (j % 2 ? high(q[l]) : low(q[l])) | (fifth[l] >> j & 1) << 4;
            y[32 * j + l] = scale * (float)value - min;
        }
    }
}

/* {u8 q[128]; u8 upper[64]; i8 s[16]; f16 d}: four bits in q and two in upper, y = (d s) (q - 32). */
static void read_q6_k(const uint8_t *b, float *y) {
    const uint8_t *upper = b + 128, *s = b + 192;
    float d = f16_at(b + 208);
    for (int k = 0; k < 256; k++) {
        int n = k / 128, j = k % 128 / 32, l = k % 32;
        uint8_t pair = b[64 * n + 32 * (j % 2) + l];
        int value = (j < 2 ? low(pair) : high(pair)) | (upper[32 * n + l] >> 2 * j & 3) << 4;
        y[k] = d * (float)(int8_t)s[k / 16] * (float)(value - 32);
    }
}

/* 16 levels that lie denser about zero. */
static const int8_t IQ4[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

/* {f16 d; u8 q[16]}: y = d IQ4[q], laid out as Q4_0. */
static void read_iq4_nl(const uint8_t *b, float *y) {
    const uint8_t *q = b + 2;
    float d = f16_at(b);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)IQ4[low(q[i])];
        y[i + 16] = d * (float)IQ4[high(q[i])];
    }
}

/* {f16 d; u16 upper; u8 s[4]; u8 q[128]}: eight parts laid out as IQ4_NL, y = (d (S - 32)) IQ4[q]. S has four bits in
 * s, the even part's first, and two in upper. */
static void read_iq4_xs(const uint8_t *b, float *y) {
    float d = f16_at(b);
    int upper = u16_at(b + 2);
    for (int j = 0; j < 8; j++) {
        const uint8_t *q = b + 8 + 16 * j;
        int scale = (b[4 + j / 2] >> 4 * (j % 2) & 15) | (upper >> 2 * j & 3) << 4;
        float dj = d * (float)(scale - 32);
        for (int i = 0; i < 16; i++) {
            y[32 * j + i] = dj * (float)IQ4[low(q[i])];
            y[32 * j + i + 16] = dj * (float)IQ4[high(q[i])];
        }
    }
}

/* {u8 e; u8 q[16]}: y = 2^(e - 128) FP4[q], laid out as Q4_0. FP4 is the format's table doubled, hence 128 where it
 * has 127. Its -0 comes out as +0, and e = 255, NaN in the format, as 2^127: the reference has both so. */
static void read_mxfp4(const uint8_t *b, float *y) {
    static const int8_t FP4[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };
    const uint8_t *q = b + 1;
    uint32_t bits = b[0] < 2 ? 0x00200000u << b[0] : (b[0] - 1u) << 23; /* 2^-128 and 2^-127 are subnormal */
    float d;
    memcpy(&d, &bits, sizeof d);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)FP4[low(q[i])];
        y[i + 16] = d * (float)FP4[high(q[i])];
    }
}

typedef struct format {
    gal_block_info info;
    void (*read)(const uint8_t *block, float *y); /* one block */
    int scale[2]; /* where its f16 scales lie, twice the same if it has one; -1: it has none */
} format;

#define ONLY_SIZE(name, elements, bytes)                                                                             \
    {                                                                                                                \
        { name, elements, bytes, false, false }, NULL, { -1, -1 }                                                    \
    }
#define BOTH(name, elements, bytes, f, scale, other)                                                                 \
    {                                                                                                                \
        { name, elements, bytes, true, true }, read_##f, { scale, other }                                            \
    }

static const format FORMATS[] = {
    [GAL_BLOCK_F32] = BOTH("F32", 1, 4, f32, -1, -1),
    [GAL_BLOCK_F16] = BOTH("F16", 1, 2, f16, 0, 0),
    [GAL_BLOCK_Q4_0] = BOTH("Q4_0", 32, 18, q4_0, 0, 0),
    [GAL_BLOCK_Q4_1] = BOTH("Q4_1", 32, 20, q4_1, 0, 2),
    [GAL_BLOCK_Q5_0] = BOTH("Q5_0", 32, 22, q5_0, 0, 0),
    [GAL_BLOCK_Q5_1] = BOTH("Q5_1", 32, 24, q5_1, 0, 2),
    [GAL_BLOCK_Q8_0] = BOTH("Q8_0", 32, 34, q8_0, 0, 0),
    [GAL_BLOCK_Q8_1] = ONLY_SIZE("Q8_1", 32, 36),
    [GAL_BLOCK_Q2_K] = BOTH("Q2_K", 256, 84, q2_k, 80, 82),
    [GAL_BLOCK_Q3_K] = BOTH("Q3_K", 256, 110, q3_k, 108, 108),
    [GAL_BLOCK_Q4_K] = BOTH("Q4_K", 256, 144, q4_k, 0, 2),
    [GAL_BLOCK_Q5_K] = BOTH("Q5_K", 256, 176, q5_k, 0, 2),
    [GAL_BLOCK_Q6_K] = BOTH("Q6_K", 256, 210, q6_k, 208, 208),
    [GAL_BLOCK_Q8_K] = ONLY_SIZE("Q8_K", 256, 292),
    [GAL_BLOCK_IQ2_XXS] = ONLY_SIZE("IQ2_XXS", 256, 66),
    [GAL_BLOCK_IQ2_XS] = ONLY_SIZE("IQ2_XS", 256, 74),
    [GAL_BLOCK_IQ3_XXS] = ONLY_SIZE("IQ3_XXS", 256, 98),
    [GAL_BLOCK_IQ1_S] = ONLY_SIZE("IQ1_S", 256, 50),
    [GAL_BLOCK_IQ4_NL] = BOTH("IQ4_NL", 32, 18, iq4_nl, 0, 0),
    [GAL_BLOCK_IQ3_S] = ONLY_SIZE("IQ3_S", 256, 110),
    [GAL_BLOCK_IQ2_S] = ONLY_SIZE("IQ2_S", 256, 82),
    [GAL_BLOCK_IQ4_XS] = BOTH("IQ4_XS", 256, 136, iq4_xs, 0, 0),
    [GAL_BLOCK_I8] = ONLY_SIZE("I8", 1, 1),
    [GAL_BLOCK_I16] = ONLY_SIZE("I16", 1, 2),
    [GAL_BLOCK_I32] = ONLY_SIZE("I32", 1, 4),
    [GAL_BLOCK_I64] = ONLY_SIZE("I64", 1, 8),
    [GAL_BLOCK_F64] = ONLY_SIZE("F64", 1, 8),
    [GAL_BLOCK_IQ1_M] = ONLY_SIZE("IQ1_M", 256, 56),
    [GAL_BLOCK_BF16] = BOTH("BF16", 1, 2, bf16, -1, -1),
    [GAL_BLOCK_TQ1_0] = ONLY_SIZE("TQ1_0", 256, 54),
    [GAL_BLOCK_TQ2_0] = ONLY_SIZE("TQ2_0", 256, 66),
    [GAL_BLOCK_MXFP4] = BOTH("MXFP4", 32, 17, mxfp4, -1, -1),
    [GAL_BLOCK_NVFP4] = ONLY_SIZE("NVFP4", 64, 36),
    [GAL_BLOCK_Q1_0] = ONLY_SIZE("Q1_0", 128, 18),
    [GAL_BLOCK_Q2_0] = ONLY_SIZE("Q2_0", 64, 18),
};

const gal_block_info *gal_block_info_of(uint32_t type) {
    return type < GAL_LEN(FORMATS) && FORMATS[type].info.name ? &FORMATS[type].info : NULL;
}

bool gal_block_reaches(uint32_t type, float x) {
    const gal_block_info *f = gal_block_info_of(type);
    /* in f16: below 2^16, and times 128 x 32 at most (Q6_K) */
    bool scales = f && f->elements > 1 && type != GAL_BLOCK_MXFP4;
    return !scales || fabsf(x) < 0x1p28F;
}

uint32_t gal_block_find(const char *name, bool *found) {
    for (uint32_t type = 0; type < GAL_LEN(FORMATS); type++)
        if (FORMATS[type].info.name && strcasecmp(FORMATS[type].info.name, name) == 0) {
            *found = true;
            return type;
        }
    *found = false;
    return 0;
}

bool gal_block_scales_finite(uint32_t type, const void *blocks, int64_t n) {
    GAL_ASSERT(type < GAL_LEN(FORMATS) && FORMATS[type].read);
    const format *f = &FORMATS[type];
    const uint8_t *b = blocks;
    const int d = f->scale[0], m = f->scale[1];
    int bad = 0;
    if (type == GAL_BLOCK_MXFP4) { /* f32 holds 12 x 2^(252 - 128), and no more of 12 x 2^(253 - 128) */
        for (int64_t i = 0; i < n; i += f->info.elements, b += f->info.bytes) bad |= b[0] > 252;
        return !bad;
    }
    if (d < 0) return false;
    for (int64_t i = 0; i < n; i += f->info.elements, b += f->info.bytes)
        bad |= (u16_at(b + d) & 0x7c00) == 0x7c00 || (u16_at(b + m) & 0x7c00) == 0x7c00;
    return !bad;
}

void gal_block_dequantise(uint32_t type, const void *blocks, float *out, int64_t n) {
    GAL_ASSERT(type < GAL_LEN(FORMATS) && FORMATS[type].read);
    const format *f = &FORMATS[type];
    const uint8_t *block = blocks;
    GAL_ASSERT(n % f->info.elements == 0);
    for (int64_t i = 0; i < n; i += f->info.elements, block += f->info.bytes) f->read(block, out + i);
}
