/* recipe.h - which block format a weight gets, by its part in the model: the mixtures that users know by name
 * (formats.md 4.4), and what is taken where the rows do not fit a format's blocks.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CONVERT_RECIPE_H
#define GAL_CONVERT_RECIPE_H

#include "tensor/blocks.h"

typedef struct gal_recipe {
    const char *name;   /* "Q4_K_M"; of a format alone its own, "Q4_K" */
    uint32_t base;      /* of every weight for which nothing else is said */
    uint32_t file_type; /* general.file_type */
    bool pure;          /* base for every weight, without exceptions */
} gal_recipe;

/* Of a name, in capitals or not; NULL: there is none. A mixture goes before the format of the same name (Q4_0). */
const gal_recipe *gal_recipe_find(const char *name);
/* One without exceptions of a format that can be written, or of a mixture's most usual one; false: no such name. */
bool gal_recipe_pure(gal_recipe *out, const char *name);
/* "F16, BF16, Q8_0, ...": every name. */
const char *gal_recipe_names(void);
/* general.file_type of a file that is mostly of one format. */
uint32_t gal_recipe_file_type(uint32_t format);

/* What the exceptions of a mixture ask for. */
typedef struct gal_recipe_model {
    int64_t layers, heads, kv_heads, experts; /* experts 0: dense */
    bool tied;                                /* the embedding is the head, too */
    bool weighted;                            /* an importance matrix is at hand */
    bool llama;                               /* general.architecture is "llama" */
} gal_recipe_model;

/* Whether a tensor of that name and number of dimensions is quantised at all. */
typedef enum gal_recipe_kind {
    GAL_RECIPE_COPY,
    GAL_RECIPE_F32, /* norms and other vectors, and the router, whose choice a small error flips: readers want f32 */
    GAL_RECIPE_WEIGHT /* what is multiplied or looked up */
} gal_recipe_kind;
gal_recipe_kind gal_recipe_kind_of(const char *name, int ndim);
/* The format that the recipe wants for such a tensor with rows of so many columns. */
uint32_t gal_recipe_format(const gal_recipe *r, const gal_recipe_model *m, const char *name, int64_t columns);
/* The format itself where its blocks divide the row, else the nearest one above that does: of 32 numbers in place of
 * 256, F16 where 32 does not divide it either. */
uint32_t gal_recipe_fit(uint32_t format, int64_t columns);
/* The layer that a name speaks of, "blk.7.ffn_up.weight"; -1: none. */
int64_t gal_recipe_layer(const char *name);

#endif
