/* recipe.c - see recipe.h: the mixtures as one table of exceptions, of which the first that applies counts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "convert/recipe.h"
#include "convert/names.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define FORMAT(f) GAL_BLOCK_##f

static const gal_recipe RECIPES[] = {
    { "F32", FORMAT(F32), 0, true },         { "F16", FORMAT(F16), 1, true },
    { "BF16", FORMAT(BF16), 32, true },      { "Q8_0", FORMAT(Q8_0), 7, false },
    { "Q6_K", FORMAT(Q6_K), 18, false },     { "Q5_K_M", FORMAT(Q5_K), 17, false },
    { "Q5_K_S", FORMAT(Q5_K), 16, false },   { "Q5_1", FORMAT(Q5_1), 9, false },
    { "Q5_0", FORMAT(Q5_0), 8, false },      { "Q4_K_M", FORMAT(Q4_K), 15, false },
    { "Q4_K_S", FORMAT(Q4_K), 14, false },   { "Q4_1", FORMAT(Q4_1), 3, false },
    { "Q4_0", FORMAT(Q4_0), 2, false },      { "IQ4_NL", FORMAT(IQ4_NL), 25, false },
    { "IQ4_XS", FORMAT(IQ4_XS), 30, false }, { "Q3_K_L", FORMAT(Q3_K), 13, false },
    { "Q3_K_M", FORMAT(Q3_K), 12, false },   { "Q3_K_S", FORMAT(Q3_K), 11, false },
    { "Q2_K", FORMAT(Q2_K), 10, false },     { "Q5_K", FORMAT(Q5_K), 16, true },
    { "Q4_K", FORMAT(Q4_K), 14, true },      { "Q3_K", FORMAT(Q3_K), 11, true },
    { "MXFP4", FORMAT(MXFP4), 38, true },
};

/* ---- parts of a model -------------------------------------------------------------------------------------------
 */

typedef enum part { OTHER, EMBED, HEAD, K, V, OUT, DOWN } part;

int64_t gal_recipe_layer(const char *name) { return gal_name_of(name).layer; }

/* The name within its layer: "ffn_down_exps.weight" of "blk.3.ffn_down_exps.weight". */
static const char *within(const char *name) { return gal_name_of(name).rest; }

static bool begins(const char *name, const char *with) { return strncmp(name, with, strlen(with)) == 0; }

/* Experts in one tensor ("ffn_down_exps") and one by one ("ffn_down.3") are of the same part. */
static part part_of(const char *name) {
    const char *n = within(name);
    if (n == name) return begins(n, "output.") ? HEAD : begins(n, "token_embd.") ? EMBED : OTHER;
    if (begins(n, "attn_k.")) return K;
    if (begins(n, "attn_v.")) return V;
    if (begins(n, "attn_output.")) return OUT;
    return begins(n, "ffn_down.") || begins(n, "ffn_down_exps.") ? DOWN : OTHER;
}

gal_recipe_kind gal_recipe_kind_of(const char *name, int ndim) {
    size_t n = strlen(name);
    bool weight = n > 7 && strcmp(name + n - 7, ".weight") == 0;
    if (ndim <= 1 || (weight && begins(within(name), "ffn_gate_inp"))) return GAL_RECIPE_F32;
    return weight && !strstr(name, "norm.") ? GAL_RECIPE_WEIGHT : GAL_RECIPE_COPY;
}

/* ---- exceptions -------------------------------------------------------------------------------------------------
 */

typedef enum when {
    ALWAYS,
    GROUPED,        /* four or more query heads share a key-value head: its weights are small */
    MORE,           /* the first and the last eighth of the layers, and every third between */
    FIRST_2,        /* layers */
    FIRST_4,        /* layers */
    FIRST_16TH,     /* of the layers */
    FIRST_8TH,      /* of the layers */
    PLAIN_8TH,      /* the same, without an importance matrix */
    WEIGHTED_8TH,   /* the same, with one */
    EIGHT_EXPERTS,  /* attention is small beside eight experts */
    WITHOUT_EXPERTS /* or with another number of them */
} when;

typedef struct exception {
    const char *recipe;
    part part;
    when when;
    uint32_t format;
} exception;

static const exception EXCEPTIONS[] = {
    { "Q2_K", V, GROUPED, FORMAT(Q4_K) },
    { "Q2_K", V, ALWAYS, FORMAT(Q3_K) },
    { "Q2_K", DOWN, ALWAYS, FORMAT(Q3_K) },
    { "Q2_K", OUT, EIGHT_EXPERTS, FORMAT(Q5_K) },
    { "Q2_K", OUT, WITHOUT_EXPERTS, FORMAT(Q3_K) },
    { "Q3_K_S", OUT, EIGHT_EXPERTS, FORMAT(Q5_K) },
    { "Q3_K_M", V, FIRST_2, FORMAT(Q5_K) },
    { "Q3_K_M", V, ALWAYS, FORMAT(Q4_K) },
    { "Q3_K_M", DOWN, FIRST_16TH, FORMAT(Q5_K) },
    { "Q3_K_M", DOWN, ALWAYS, FORMAT(Q4_K) },
    { "Q3_K_M", OUT, EIGHT_EXPERTS, FORMAT(Q5_K) },
    { "Q3_K_M", OUT, WITHOUT_EXPERTS, FORMAT(Q4_K) },
    { "Q3_K_L", V, ALWAYS, FORMAT(Q5_K) },
    { "Q3_K_L", DOWN, ALWAYS, FORMAT(Q5_K) },
    { "Q3_K_L", OUT, WITHOUT_EXPERTS, FORMAT(Q5_K) },
    { "Q4_K_S", V, FIRST_4, FORMAT(Q5_K) },
    { "Q4_K_S", DOWN, FIRST_8TH, FORMAT(Q5_K) },
    { "Q4_K_S", OUT, EIGHT_EXPERTS, FORMAT(Q5_K) },
    { "Q4_K_M", V, MORE, FORMAT(Q6_K) },
    { "Q4_K_M", DOWN, MORE, FORMAT(Q6_K) },
    { "Q4_K_M", OUT, EIGHT_EXPERTS, FORMAT(Q5_K) },
    { "Q5_K_M", V, MORE, FORMAT(Q6_K) },
    { "Q5_K_M", DOWN, MORE, FORMAT(Q6_K) },
    { "IQ4_NL", V, GROUPED, FORMAT(Q5_K) },
    { "IQ4_NL", DOWN, PLAIN_8TH, FORMAT(Q5_K) },
    { "IQ4_NL", OUT, EIGHT_EXPERTS, FORMAT(Q5_K) },
    { "IQ4_XS", V, GROUPED, FORMAT(Q5_K) },
    { "IQ4_XS", DOWN, PLAIN_8TH, FORMAT(Q5_K) },
    { "IQ4_XS", OUT, EIGHT_EXPERTS, FORMAT(Q5_K) },
    /* Without an offset the few large numbers of the first layers decide every scale. */
    { "Q4_0", DOWN, WEIGHTED_8TH, FORMAT(Q4_1) },
    { "Q5_0", DOWN, WEIGHTED_8TH, FORMAT(Q5_1) },
};

static bool holds(when w, const gal_recipe_model *m, int64_t layer) {
    int64_t n = m->layers;
    switch (w) {
    case ALWAYS:
        return true;
    case GROUPED:
        return m->kv_heads > 0 && m->heads / m->kv_heads >= 4;
    case MORE:
        return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
    case FIRST_2:
        return layer < 2;
    case FIRST_4:
        return layer < 4;
    case FIRST_16TH:
        return layer < n / 16;
    case FIRST_8TH:
        return layer < n / 8;
    case PLAIN_8TH:
        return layer < n / 8 && !m->weighted;
    case WEIGHTED_8TH:
        return layer < n / 8 && m->weighted;
    case EIGHT_EXPERTS:
        return m->experts == 8;
    case WITHOUT_EXPERTS:
        return m->experts != 8;
    default:
        GAL_ASSERT(false);
    }
    return false;
}

/* Many heads share each value of such a model: better ones cost little. llama.cpp knows it by these numbers. */
static bool is_70b(const gal_recipe_model *m) { return m->llama && m->layers == 80 && m->heads != m->kv_heads; }

static uint32_t mixed_format(const gal_recipe *r, const gal_recipe_model *m, part p, int64_t layer) {
    for (size_t i = 0; i < GAL_LEN(EXCEPTIONS); i++) {
        const exception *e = &EXCEPTIONS[i];
        if (e->part == p && strcmp(e->recipe, r->name) == 0 && holds(e->when, m, layer)) return e->format;
    }
    return r->base;
}

uint32_t gal_recipe_format(const gal_recipe *r, const gal_recipe_model *m, const char *name, int64_t columns) {
    part p = part_of(name);
    if (r->pure) return r->base;
    if (p == HEAD || (p == EMBED && m->tied)) {
        bool fits = columns % gal_block_info_of(r->base)->elements == 0;
        return !fits || r->base == FORMAT(Q8_0) ? (uint32_t)FORMAT(Q8_0) : (uint32_t)FORMAT(Q6_K);
    }
    if ((p == K || p == V) && m->experts == 8) return FORMAT(Q8_0);
    uint32_t format = mixed_format(r, m, p, gal_recipe_layer(name));
    bool few_bits = format == FORMAT(Q3_K) || format == FORMAT(Q4_K);
    return p == V && few_bits && is_70b(m) ? (uint32_t)FORMAT(Q5_K) : format;
}

uint32_t gal_recipe_fit(uint32_t format, int64_t columns) {
    static const uint32_t SMALLER[][2] = { { FORMAT(Q2_K), FORMAT(Q4_0) }, { FORMAT(Q3_K), FORMAT(Q4_0) },
                                           { FORMAT(Q4_K), FORMAT(Q5_0) }, { FORMAT(Q5_K), FORMAT(Q5_1) },
                                           { FORMAT(Q6_K), FORMAT(Q8_0) }, { FORMAT(IQ4_XS), FORMAT(IQ4_NL) } };
    if (columns % gal_block_info_of(format)->elements == 0) return format;
    for (size_t i = 0; i < GAL_LEN(SMALLER); i++)
        if (SMALLER[i][0] == format && columns % gal_block_info_of(SMALLER[i][1])->elements == 0)
            return SMALLER[i][1];
    return FORMAT(F16);
}

/* ---- names ------------------------------------------------------------------------------------------------------
 */

const gal_recipe *gal_recipe_find(const char *name) {
    for (size_t i = 0; i < GAL_LEN(RECIPES); i++)
        if (strcasecmp(RECIPES[i].name, name) == 0) return &RECIPES[i];
    return NULL;
}

uint32_t gal_recipe_file_type(uint32_t format) {
    uint32_t found = 0;
    for (size_t i = 0; i < GAL_LEN(RECIPES); i++)
        if (RECIPES[i].base == format) found = RECIPES[i].file_type; /* the last: the plainest of the format */
    return found;
}

bool gal_recipe_pure(gal_recipe *out, const char *name) {
    bool found = false;
    uint32_t format = gal_block_find(name, &found);
    const gal_recipe *mixture = found ? NULL : gal_recipe_find(name);
    if (mixture) {
        *out = *mixture; /* its file type too, as others have it */
        out->pure = true;
        return true;
    }
    if (!found || !gal_block_info_of(format)->writes) return false;
    *out = (gal_recipe){ gal_block_info_of(format)->name, format, gal_recipe_file_type(format), true };
    return true;
}

const char *gal_recipe_names(void) {
    return "F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q5_1, Q5_0, Q4_K_M, Q4_K_S, Q4_1, Q4_0, IQ4_NL, IQ4_XS, "
           "Q3_K_L, Q3_K_M, Q3_K_S, Q2_K, or a format for every weight: Q5_K, Q4_K, Q3_K, MXFP4";
}
