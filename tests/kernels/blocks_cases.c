/* blocks_cases.c - weights in blocks: products in f32 and with activations as small integers, rows looked up.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/i8.h"
#include "kernels/kernel_test.h"
#include "tensor/pack.h"

#include <math.h>

/* p: m, n, k, block, layout (0: y = x w^T; 1: dx = dy w, blocks along n), add, how many products, compute in bf16 */
enum { M, N, K, BLOCK, LAYOUT, ADD, COUNT, BF16, TWICE = LAYOUT, PACKED = BF16 }; /* integers have one layout */
enum { F8 = GAL_BLOCK_F8_E4M3 };

typedef struct weight {
    gal_code code;
    void *data;
    float *wide; /* [rows, cols] */
} weight;

/* Random numbers, some rows of much smaller ones, in blocks. */
static weight random_weight(kt *t, uint32_t block, int64_t rows, int64_t cols) {
    weight w = { .code = { .block = block } };
    float *x = (float *)(void *)kt_doubles(t, rows * cols);
    for (int64_t i = 0; i < rows * cols; i++) x[i] = (float)(kt_uniform(t) * (i / cols % 3 ? 0.1 : 1e-4));
    const size_t bytes = gal_code_bytes(&w.code, rows * cols);
    w.data = kt_in(t, GAL_F32, (int64_t)(bytes + 3) / 4, 1);
    if (block == F8) {
        uint8_t *p = w.data;
        for (size_t i = 0; i < bytes; i++) p[i] = (uint8_t)(p[i] % 127 | (p[i] & 128)); /* no NaN */
        w.code.scale_rows = 8;
        w.code.scale_cols = 24;
        w.code.across = (cols + 23) / 24;
        w.code.scales = kt_in(t, GAL_F32, (rows + 7) / 8 * w.code.across, 0.01);
    } else {
        gal_block_quantise(block, x, w.data, rows * cols);
    }
    for (int64_t r = 0; r < rows; r++) gal_code_read(&w.code, w.data, cols, r, 0, cols, x + r * cols);
    w.wide = x;
    return w;
}

/* A code at an address that lives as long as the case. */
static const gal_code *keep(kt *t, const gal_code *code) {
    gal_code *c = (gal_code *)(void *)kt_doubles(t, (int64_t)sizeof *c / 8 + 1);
    *c = *code;
    return c;
}

static double rounded(double x, bool bf16) { return bf16 ? (double)gal_bf16_to_f32(gal_f64_to_bf16(x)) : x; }

static void expect(kt *t, const gal_gemm *g, const float *wide, kt_out *o) {
    const bool bf16 = g->compute == GAL_BF16, along_k = g->b.rs == 1;
    o->want = kt_doubles(t, o->n);
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++) {
            double sum = 0, size = 0, add = g->add ? kt_get(g->add, g->c.dt, i * g->n + j) : 0, c = 0;
            for (int64_t k = 0; k < g->k; k++) {
                double w = (double)wide[along_k ? j * g->k + k : k * g->n + j];
                double x = rounded(kt_get(g->a.p, g->a.dt, i * g->k + k), bf16) * rounded(w, bf16);
                sum += x;
                size += fabs(x);
            }
            if (g->accumulate) c = kt_get(g->c.p, g->c.dt, i * g->n + j);
            /* Two roundings of each weight more than without blocks: its last unit may differ from the definition's.
             */
            o->abs[i * g->n + j] = (double)(g->k + 7) * KT_U * (size + fabs(add) + fabs(c)) +
                                   (bf16 ? 0x1p-8 * size : 0); /* ... and then round to its neighbour */
            o->want[i * g->n + j] = sum + add + c;
        }
}

static void setup(kt *t, const int64_t *p) {
    gal_k_gemm args = { .count = (int)GAL_MAX(1, p[COUNT]) };
    for (int i = 0; i < args.count; i++) {
        const int64_t m = p[M], k = p[K], n = p[LAYOUT] ? p[N] : p[N] + 3 * i;
        gal_gemm *g = &args.p[i];
        *g = (gal_gemm){ .m = m, .n = n, .k = k, .accumulate = t->accumulate };
        g->compute = p[BF16] ? GAL_BF16 : GAL_F32;
        weight w = random_weight(t, (uint32_t)p[BLOCK], p[LAYOUT] ? k : n, p[LAYOUT] ? n : k);
        g->a = (gal_mat){ kt_in(t, t->dt, m * k, t->scale), t->dt, k, 1, NULL, NULL };
        g->b = (gal_mat){ w.data, GAL_BLOCKS, p[LAYOUT] ? n : 1, p[LAYOUT] ? 1 : k, keep(t, &w.code), NULL };
        kt_out *o = kt_result(t, t->dt, m * n, t->scale);
        g->c = (gal_mat){ o->p, t->dt, n, 1, NULL, NULL };
        if (p[ADD] == 1) g->add = kt_in(t, t->dt, o->n, t->scale);
        if (!t->c->bench) expect(t, g, w.wide, o);
        t->flops += 2.0 * (double)m * (double)n * (double)k;
    }
    kt_args(t, &args, sizeof args);
}

/* The bytes that QUANTISE makes, from its definition. */
static void setup_quantise(kt *t, const int64_t *p) {
    const int64_t each = GAL_MAX(1, p[2]), n = each * p[0], d = p[1], bytes = n * (int64_t)gal_i8_row_bytes(d);
    float *x = kt_in(t, t->dt, p[0] * d, t->scale);
    if (t->dt == GAL_F32 && p[0] * d > 200) {
        x[70] = (float)INFINITY;
        x[170] = NAN;
        x[5] = -0.0f;
    }
    kt_out *o = kt_result(t, GAL_F32, bytes / 4, 1);
    o->exact = true;
    t->bytes = (double)bytes + (double)(p[0] * d) * (double)gal_dtype_bytes(t->dt);
    KT_ARGS(t, gal_k_quantise, o->p, x, t->dt, n / each, d, each == 2);
}

static void *quantised(kt *t, int64_t m, int64_t k, void **x, bool twice) {
    void *q = kt_in(t, GAL_F32, (twice ? 2 : 1) * m * (int64_t)gal_i8_row_bytes(k) / 4, 1);
    *x = kt_in(t, t->dt, m * k, t->scale);
    const gal_k_quantise a = { q, *x, t->dt, m, k, twice };
    kt_run_ref(GAL_K_QUANTISE, &a);
    return q;
}

/* Twice 8 bits leave at most 1 / (254 * 254) of a block's largest number: the product is that of x itself. */
static void expect_twice(kt *t, const gal_gemm *g, const void *x, const float *wide, kt_out *o) {
    o->want = kt_doubles(t, o->n);
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++) {
            double sum = 0, size = 0, left = 0, largest = 0, add = g->add ? kt_get(g->add, g->c.dt, i * g->n + j) : 0;
            for (int64_t b = 0; b < g->k; b += GAL_I8_BLOCK) {
                double most = 0, weights = 0;
                for (int64_t k = b; k < b + GAL_I8_BLOCK; k++) {
                    double w = (double)wide[j * g->k + k], v = kt_get(x, t->dt, i * g->k + k);
                    sum += v * w;
                    size += fabs(v);
                    most = fmax(most, fabs(v));
                    largest = fmax(largest, fabs(w));
                    weights += fabs(w);
                }
                left += weights * most / (254.0 * 254.0);
            }
            o->abs[i * g->n + j] = 1.01 * left + (double)(g->k / 4 + 16) * KT_U * (4 * size * largest + fabs(add));
            o->want[i * g->n + j] = sum + add;
        }
}

/* Number (i, k) of what QUANTISE made. */
static double integer_at(const gal_gemm *g, int64_t i, int64_t k) {
    const gal__i8_row a = gal__i8_row_at(g->a.p, g->a.rs, g->k, k / GAL_I8_UNIT, i);
    const int64_t c = k % GAL_I8_UNIT;
    return (double)a.q[c] * (double)a.scale[c / GAL_I8_BLOCK];
}

static void expect_i8(kt *t, const gal_gemm *g, const float *wide, kt_out *o) {
    o->want = kt_doubles(t, o->n);
    for (int64_t i = 0; i < g->m; i++) {
        for (int64_t j = 0; j < g->n; j++) {
            double sum = 0, size = 0, largest = 0, add = g->add ? kt_get(g->add, g->c.dt, i * g->n + j) : 0;
            for (int64_t k = 0; k < g->k; k++) {
                double w = (double)wide[j * g->k + k], x = integer_at(g, i, k);
                sum += x * w;
                size += fabs(x);
                largest = fmax(largest, fabs(w));
            }
            /* A weight is a product less a minimum: either may be as large as twice the largest weight of its row. */
            o->abs[i * g->n + j] = (double)(g->k / 8 + 16) * KT_U * (4 * size * largest + fabs(add));
            o->want[i * g->n + j] = sum + add;
        }
    }
}

static void *packed(kt *t, const weight *w, int64_t rows, int64_t cols) {
    void *p = kt_in(t, GAL_F32, (int64_t)(gal_pack_bytes(w->code.block, rows, cols) + 3) / 4, 1);
    gal_pack(w->code.block, w->data, rows, cols, 0, (rows + GAL_PACK_ROWS - 1) / GAL_PACK_ROWS, p);
    return p;
}

static void setup_i8(kt *t, const int64_t *p) {
    gal_k_gemm args = { .count = (int)GAL_MAX(1, p[COUNT]), .twice = p[TWICE] != 0 };
    void *x, *q = quantised(t, p[M], p[K], &x, args.twice);
    for (int i = 0; i < args.count; i++) {
        const int64_t m = p[M], k = p[K], n = p[N] + 3 * i;
        gal_gemm *g = &args.p[i];
        *g = (gal_gemm){ .m = m, .n = n, .k = k, .compute = t->dt };
        weight w = random_weight(t, (uint32_t)p[BLOCK], n, k);
        g->a = (gal_mat){ .p = q, .rs = args.twice ? 2 * m : m };
        g->b = (gal_mat){ w.data, GAL_BLOCKS, 1, k, keep(t, &w.code), p[PACKED] ? packed(t, &w, n, k) : NULL };
        kt_out *o = kt_result(t, t->dt, m * n, t->scale);
        g->c = (gal_mat){ o->p, t->dt, n, 1, NULL, NULL };
        if (p[ADD] == 1) g->add = kt_in(t, t->dt, o->n, t->scale);
        if (!t->c->bench && args.twice) expect_twice(t, g, x, w.wide, o);
        if (!t->c->bench && !args.twice) expect_i8(t, g, w.wide, o);
        t->flops += 2.0 * (double)m * (double)n * (double)k;
        t->bytes += (double)gal_code_bytes(&w.code, n * k);
    }
    kt_args(t, &args, sizeof args);
}

/* p: rows, cols, block. The bytes of PACK's definition. */
static void setup_pack(kt *t, const int64_t *p) {
    const weight w = random_weight(t, (uint32_t)p[2], p[0], p[1]);
    kt_out *o = kt_result(t, GAL_F32, (int64_t)gal_pack_bytes((uint32_t)p[2], p[0], p[1]) / 4, 1);
    o->exact = true;
    t->bytes = (double)gal_code_bytes(&w.code, p[0] * p[1]);
    KT_ARGS(t, gal_k_pack, o->p, w.data, (uint32_t)p[2], p[0], p[1]);
}

/* p: rows, d, block */
static void setup_embed(kt *t, const int64_t *p) {
    enum { VOCABULARY = 9 };
    const weight w = random_weight(t, (uint32_t)p[2], VOCABULARY, p[1]);
    int32_t *ids = kt_ints(t, p[0]);
    for (int64_t i = 0; i < p[0]; i++) ids[i] = (int32_t)kt_below(t, VOCABULARY);
    kt_out *y = kt_result(t, t->dt, p[0] * p[1], 1);
    KT_ARGS(t, gal_k_embed, y->p, t->dt, w.data, GAL_BLOCKS, keep(t, &w.code), ids, p[0], p[1]);
}

#define EACH(NAME)                                                                                                        \
    { "gemm 5x19x512 " #NAME, GAL_K_GEMM, setup, { 5, 19, 512, GAL_BLOCK_##NAME, 0, 1, 2 }, KT_SCALE, false },            \
        { "gemm 37x35x768 " #NAME, GAL_K_GEMM, setup, { 37, 35, 768, GAL_BLOCK_##NAME }, KT_SCALE, false },               \
        { "gemm 70x35x512 " #NAME, GAL_K_GEMM, setup, { 70, 35, 512, GAL_BLOCK_##NAME }, 0, false },                      \
        { "gemm 11x256x45 along n " #NAME, GAL_K_GEMM, setup, { 11, 256, 45, GAL_BLOCK_##NAME, 1 }, KT_ACC, false },      \
        { "gemm_i8 1x21x256 " #NAME, GAL_K_GEMM_I8, setup_i8, { 1, 21, 256, GAL_BLOCK_##NAME }, KT_SCALE, false },        \
        { "gemm_i8 6x19x768 " #NAME, GAL_K_GEMM_I8, setup_i8, { 6, 19, 768, GAL_BLOCK_##NAME, 0, 1, 3 }, 0, false },      \
        { "gemm_i8 7x19x768 twice " #NAME,                                                                                \
          GAL_K_GEMM_I8,                                                                                                  \
          setup_i8,                                                                                                       \
          { 7, 19, 768, GAL_BLOCK_##NAME, 1, 1, 3 },                                                                      \
          0,                                                                                                              \
          false },                                                                                                        \
        { "gemm_i8 1x2048x2048 twice " #NAME, GAL_K_GEMM_I8, setup_i8, { 1, 2048, 2048, GAL_BLOCK_##NAME, 1 }, 0, true }, \
        { "pack 37x768 " #NAME, GAL_K_PACK, setup_pack, { 37, 768, GAL_BLOCK_##NAME }, KT_F32, false },                   \
        { "pack 2048x2048 " #NAME, GAL_K_PACK, setup_pack, { 2048, 2048, GAL_BLOCK_##NAME }, KT_F32, true },              \
        { "embed 3x512 " #NAME, GAL_K_EMBED, setup_embed, { 3, 512, GAL_BLOCK_##NAME }, 0, false },                       \
        { "gemm_i8 1x2048x2048 " #NAME, GAL_K_GEMM_I8, setup_i8, { 1, 2048, 2048, GAL_BLOCK_##NAME }, 0, true },          \
        { "gemm_i8 13x67x768 packed " #NAME,                                                                              \
          GAL_K_GEMM_I8,                                                                                                  \
          setup_i8,                                                                                                       \
          { 13, 67, 768, GAL_BLOCK_##NAME, 0, 1, 1, 1 },                                                                  \
          0,                                                                                                              \
          false },                                                                                                        \
        { "gemm_i8 1x2048x2048 packed " #NAME,                                                                            \
          GAL_K_GEMM_I8,                                                                                                  \
          setup_i8,                                                                                                       \
          { 1, 2048, 2048, GAL_BLOCK_##NAME, 0, 0, 1, 1 },                                                                \
          0,                                                                                                              \
          true },                                                                                                         \
        { "gemm_i8 16x2048x2048 packed " #NAME,                                                                           \
          GAL_K_GEMM_I8,                                                                                                  \
          setup_i8,                                                                                                       \
          { 16, 2048, 2048, GAL_BLOCK_##NAME, 0, 0, 1, 1 },                                                               \
          0,                                                                                                              \
          true },                                                                                                         \
        { "gemm_i8 512x2048x2048 packed " #NAME,                                                                          \
          GAL_K_GEMM_I8,                                                                                                  \
          setup_i8,                                                                                                       \
          { 512, 2048, 2048, GAL_BLOCK_##NAME, 0, 0, 1, 1 },                                                              \
          0,                                                                                                              \
          true },                                                                                                         \
        { "gemm 1x2048x2048 " #NAME, GAL_K_GEMM, setup, { 1, 2048, 2048, GAL_BLOCK_##NAME }, KT_F32, true }, {            \
        "gemm 128x2048x2048 " #NAME, GAL_K_GEMM, setup, { 128, 2048, 2048, GAL_BLOCK_##NAME }, KT_F32, true               \
    }

static const kt_case CASES[] = {
    EACH(Q8_0),
    EACH(Q4_0),
    EACH(Q4_1),
    EACH(Q5_0),
    EACH(Q5_1),
    EACH(Q2_K),
    EACH(Q3_K),
    EACH(Q4_K),
    EACH(Q5_K),
    EACH(Q6_K),
    EACH(IQ4_NL),
    EACH(IQ4_XS),
    EACH(MXFP4),
    { "gemm 3x10x96 Q8_0 bf16", GAL_K_GEMM, setup, { 3, 10, 96, GAL_BLOCK_Q8_0, 0, 0, 1, 1 }, KT_SCALE, false },
    { "gemm 30x40x352 Q4_0 bf16", GAL_K_GEMM, setup, { 30, 40, 352, GAL_BLOCK_Q4_0, 0, 0, 1, 1 }, KT_SCALE, false },
    { "gemm 70x40x352 Q4_0 bf16", GAL_K_GEMM, setup, { 70, 40, 352, GAL_BLOCK_Q4_0, 0, 0, 1, 1 }, KT_SCALE, false },
    { "gemm 33x96x352 Q5_0 along n", GAL_K_GEMM, setup, { 33, 96, 352, GAL_BLOCK_Q5_0, 1 }, KT_ACC, false },
    { "gemm 1x21x50 F8", GAL_K_GEMM, setup, { 1, 21, 50, F8 }, KT_SCALE, false },
    { "gemm 37x35x500 F8", GAL_K_GEMM, setup, { 37, 35, 500, F8 }, KT_SCALE, false },
    { "gemm 70x35x500 F8", GAL_K_GEMM, setup, { 70, 35, 500, F8 }, KT_SCALE, false },
    { "gemm 11x77x45 along n F8", GAL_K_GEMM, setup, { 11, 77, 45, F8, 1 }, KT_ACC, false },
    { "gemm 1x2048x2048 F8", GAL_K_GEMM, setup, { 1, 2048, 2048, F8 }, KT_F32, true },
    { "gemm 128x2048x2048 F8", GAL_K_GEMM, setup, { 128, 2048, 2048, F8 }, KT_F32, true },
    { "embed 3x50 F8", GAL_K_EMBED, setup_embed, { 3, 50, F8 }, 0, false },
    { "gemm_i8 33x17x96 Q4_0", GAL_K_GEMM_I8, setup_i8, { 33, 17, 96, GAL_BLOCK_Q4_0, 0, 1 }, KT_SCALE, false },
    { "gemm_i8 33x37x96 Q4_0 packed",
      GAL_K_GEMM_I8,
      setup_i8,
      { 33, 37, 96, GAL_BLOCK_Q4_0, 0, 1, 1, 1 },
      KT_SCALE,
      false },
    { "gemm_i8 130x600x256 Q4_K twice", GAL_K_GEMM_I8, setup_i8, { 130, 600, 256, GAL_BLOCK_Q4_K, 1 }, 0, false },
    { "gemm_i8 300x40x256 Q6_K packed",
      GAL_K_GEMM_I8,
      setup_i8,
      { 300, 40, 256, GAL_BLOCK_Q6_K, 0, 0, 1, 1 },
      0,
      false },
    { "gemm_i8 3x1100x512 Q8_0", GAL_K_GEMM_I8, setup_i8, { 3, 1100, 512, GAL_BLOCK_Q8_0 }, 0, false },
    { "pack 900x2560 Q8_0", GAL_K_PACK, setup_pack, { 900, 2560, GAL_BLOCK_Q8_0 }, KT_F32, false }, /* two chunks */
    { "pack 18x352 Q5_0", GAL_K_PACK, setup_pack, { 18, 352, GAL_BLOCK_Q5_0 }, KT_F32, false },
    { "quantise 1x32", GAL_K_QUANTISE, setup_quantise, { 1, 32 }, KT_SCALE, false },
    { "quantise 7x352", GAL_K_QUANTISE, setup_quantise, { 7, 352 }, KT_SCALE, false },
    { "quantise 7x352 twice", GAL_K_QUANTISE, setup_quantise, { 7, 352, 2 }, KT_SCALE, false },
    { "quantise 3x4096", GAL_K_QUANTISE, setup_quantise, { 3, 4096 }, 0, false },
    { "quantise 128x2048", GAL_K_QUANTISE, setup_quantise, { 128, 2048 }, 0, true },
};
const kt_family KT_CODED = { "blocks", CASES, GAL_LEN(CASES) };
