/* models.c - see models.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/models.h"

#include "base/pool.h"
#include "convert/quantise.h"
#include "support/check.h"

void convert_model(const char *from, const char *to, gal_layout layout, gal_convert_dtype dtype, bool requantise) {
    gal_convert_options o;
    gal_convert_options_init(&o);
    o.to = layout;
    o.dtype = dtype;
    o.requantise = requantise;
    o.force = true;
    CHECK_OK(gal_convert_model(from, to, &o, NULL, diag));
}

void quantise_model(const char *from, const char *to, const char *recipe) {
    gal_quantise *q = NULL;
    gal_pool *pool = NULL;
    CHECK_OK(gal_pool_new(&pool, 1, diag));
    CHECK_OK(gal_quantise_open(&q, from, &(gal_quantise_options){ .pool = pool }, diag));
    CHECK_OK(gal_quantise_recipe(q, recipe, false, diag));
    CHECK_OK(gal_quantise_write(q, to, diag));
    gal_quantise_free(q);
    gal_pool_free(pool);
}
