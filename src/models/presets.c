/* presets.c - the table of presets. Owns the sizes of Gopher (arXiv:2112.11446, table 1), Chinchilla (2203.15556,
 * tables 4 and A9), the routed models (2202.01169 and its data), Mistral 7B (2310.06825), Mixtral (2401.04088), and
 * three small ones of our own. Widths H K and D differ in some rows of A9: that is no mistake.
 * SPDX-License-Identifier: Apache-2.0 */
#include "models/presets.h"

#include <string.h>

enum {
    SEQUENCE = 2048,
    VOCAB = 32000,
    WARMUP = 1500, /* from 1e-7 */
    ROUTED_BATCH = 256 * SEQUENCE,
    ROUTED_STEPS = 250000
};

/* Gopher's block: as many key-value heads as heads, GELU, relative positions, one table for both ends. */
#define BLOCK(v, d, f, k, h, l, n)                                                                                   \
    .V = (v), .D = (d), .L = (l), .H = (h), .G = (h), .K = (k), .F = (f), .relative = true, .bias = true,            \
    .tied = true, .sequence = (n)

#define GOPHER(title, d, k, h, l, rate, rows, rows2)                                                                 \
    {                                                                                                                \
        .name = "gopher-" title, .source = "Gopher, table 1", .counting = GAL_COUNT_GOPHER, .nfkc = true,            \
        .size = { BLOCK(VOCAB, d, 4 * (d), k, h, l, SEQUENCE) }, .lr = (rate), .batch = (rows) * (int64_t)SEQUENCE,  \
        .batch2 = (rows2) * (int64_t)SEQUENCE, .warmup = WARMUP, .tokens = 300000000000                              \
    }
/* In the table's order: millions of parameters, d_model, ffw, kv size, heads, layers. */
#define A9(millions, d, f, k, h, l, rate)                                                                            \
    {                                                                                                                \
        .name = "chinchilla-" #millions "m", .source = "Chinchilla, table A9", .counting = GAL_COUNT_CHINCHILLA,     \
        .size = { BLOCK(VOCAB, d, f, k, h, l, SEQUENCE) }, .lr = (rate)                                              \
    }
/* LayerNorm by its count; dense: experts come with the command's options. */
#define ROUTED(title, d, k, h, l)                                                                                    \
    {                                                                                                                \
        .name = "routed-" title, .source = "routed language models", .counting = GAL_COUNT_ROUTED,                   \
        .size = { BLOCK(VOCAB, d, 4 * (d), k, h, l, SEQUENCE), .norm_bias = true }, .batch = ROUTED_BATCH,           \
        .tokens = (int64_t)ROUTED_BATCH * ROUTED_STEPS                                                               \
    }
#define OURS(title, v, d, h, l)                                                                                      \
    {                                                                                                                \
        .name = "gopher-" title, .source = "Gopher's block for a laptop", .counting = GAL_COUNT_GOPHER,              \
        .nfkc = true, .size = {                                                                                      \
            BLOCK(v, d, 4 * (d), (d) / (h), h, l, 512)                                                               \
        }                                                                                                            \
    }
#define MISTRAL(title, from, v, d, f, h, l, n, ...)                                                                  \
    {                                                                                                                \
        .name = (title), .source = (from), .counting = GAL_COUNT_EXACT, .size = {                                    \
            .V = (v),                                                                                                \
            .D = (d),                                                                                                \
            .L = (l),                                                                                                \
            .H = (h),                                                                                                \
            .G = 8,                                                                                                  \
            .K = 128,                                                                                                \
            .F = (f),                                                                                                \
            .gated = true,                                                                                           \
            .sequence = (n),                                                                                         \
            __VA_ARGS__                                                                                              \
        }                                                                                                            \
    }

const gal_preset GAL_PRESETS[] = {
    OURS("1m", 2048, 128, 4, 4),
    OURS("3m", 4096, 192, 6, 5),
    OURS("10m", 4096, 288, 9, 8),
    GOPHER("44m", 512, 32, 16, 8, 6e-4, 128, 0),
    GOPHER("117m", 768, 64, 12, 12, 6e-4, 128, 0),
    GOPHER("417m", 1536, 128, 12, 12, 2e-4, 128, 0),
    GOPHER("1.4b", 2048, 128, 16, 24, 2e-4, 128, 0),
    GOPHER("7.1b", 4096, 128, 32, 32, 1.2e-4, 1024, 0),
    GOPHER("280b", 16384, 128, 128, 80, 4e-5, 1536, 3072),
    { .name = "chinchilla-70b",
      .source = "Chinchilla, table 4",
      .counting = GAL_COUNT_CHINCHILLA,
      .size = { BLOCK(VOCAB, 8192, 32768, 128, 64, 80, SEQUENCE) },
      .lr = 1e-4,
      .batch = 768 * (int64_t)SEQUENCE,
      .batch2 = 1536 * (int64_t)SEQUENCE,
      .tokens = 1400000000000 },
    /* Rates stand where the paper states them: at both ends. */
    A9(44, 512, 2048, 64, 8, 8, 2e-4),
    A9(57, 576, 2304, 64, 9, 9, 0),
    A9(74, 640, 2560, 64, 10, 10, 0),
    A9(90, 640, 2560, 64, 10, 13, 0),
    A9(106, 640, 2560, 64, 10, 16, 0),
    A9(117, 768, 3072, 64, 12, 12, 0),
    A9(140, 768, 3072, 64, 12, 15, 0),
    A9(163, 768, 3072, 64, 12, 18, 0),
    A9(175, 896, 3584, 64, 14, 14, 0),
    A9(196, 896, 3584, 64, 14, 16, 0),
    A9(217, 896, 3584, 64, 14, 18, 0),
    A9(251, 1024, 4096, 64, 16, 16, 0),
    A9(278, 1024, 4096, 64, 16, 18, 0),
    A9(306, 1024, 4096, 64, 16, 20, 0),
    A9(425, 1280, 5120, 128, 10, 18, 0),
    A9(489, 1280, 5120, 128, 10, 21, 0),
    A9(509, 1408, 5632, 128, 11, 18, 0),
    A9(552, 1280, 5120, 128, 10, 24, 0),
    A9(587, 1408, 5632, 128, 11, 21, 0),
    A9(632, 1536, 6144, 128, 12, 19, 0),
    A9(664, 1408, 5632, 128, 11, 24, 0),
    A9(724, 1536, 6144, 128, 12, 22, 0),
    A9(816, 1536, 6144, 128, 12, 25, 0),
    A9(893, 1792, 7168, 128, 14, 20, 0),
    A9(1018, 1792, 7168, 128, 14, 23, 0),
    A9(1143, 1792, 7168, 128, 14, 26, 0),
    A9(1266, 2048, 8192, 128, 16, 22, 0),
    A9(1424, 2176, 8704, 128, 17, 22, 0),
    A9(1429, 2048, 8192, 128, 16, 25, 0),
    A9(1593, 2048, 8192, 128, 16, 28, 0),
    A9(1609, 2176, 8704, 128, 17, 25, 0),
    A9(1731, 2304, 9216, 128, 18, 24, 0),
    A9(1794, 2176, 8704, 128, 17, 28, 0),
    A9(2007, 2304, 9216, 128, 18, 28, 0),
    A9(2283, 2304, 9216, 128, 18, 32, 0),
    A9(2298, 2560, 10240, 128, 20, 26, 0),
    A9(2639, 2560, 10240, 128, 20, 30, 0),
    A9(2980, 2560, 10240, 128, 20, 34, 0),
    A9(3530, 2688, 10752, 128, 22, 36, 0),
    A9(3802, 2816, 11264, 128, 22, 36, 0),
    A9(4084, 2944, 11776, 128, 22, 36, 0),
    A9(4516, 3072, 12288, 128, 24, 36, 0),
    A9(6796, 3584, 14336, 128, 28, 40, 0),
    A9(9293, 4096, 16384, 128, 32, 42, 0),
    A9(11452, 4352, 17408, 128, 32, 47, 0),
    A9(12295, 4608, 18432, 128, 36, 44, 0),
    A9(12569, 4608, 18432, 128, 32, 47, 0),
    A9(13735, 4864, 19456, 128, 32, 47, 0),
    A9(14940, 4992, 19968, 128, 32, 49, 0),
    A9(16183, 5120, 20480, 128, 40, 47, 1.25e-4),
    ROUTED("15m", 512, 32, 8, 6),
    ROUTED("25m", 512, 64, 8, 8),
    ROUTED("55m", 640, 64, 12, 10),
    ROUTED("130m", 896, 64, 16, 12),
    ROUTED("370m", 1536, 128, 12, 12),
    ROUTED("1.3b", 2048, 128, 16, 24),
    MISTRAL("mistral-7b", "Mistral 7B, table 1", VOCAB, 4096, 14336, 32, 32, 8192, .window = 4096, .windowed = 32),
    MISTRAL("mixtral-8x7b", "Mixtral, table 1", VOCAB, 4096, 14336, 32, 32, 32768, .experts = 8, .used = 2,
            .routed = 32),
    MISTRAL("mixtral-8x22b", "Mixtral's larger one, as released", 32768, 6144, 16384, 48, 56, 65536, .experts = 8,
            .used = 2, .routed = 56),
};
const size_t GAL_N_PRESETS = GAL_LEN(GAL_PRESETS);

const gal_preset *gal_preset_named(const char *name) {
    for (size_t i = 0; i < GAL_N_PRESETS; i++)
        if (strcmp(GAL_PRESETS[i].name, name) == 0) return &GAL_PRESETS[i];
    return NULL;
}
