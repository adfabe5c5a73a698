/* models.c - see models.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/models.h"

#include "base/pool.h"
#include "base/util.h"
#include "convert/quantise.h"
#include "support/check.h"

#include <string.h>

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

static gal_err keep(void *user, const float *x, int64_t n, gal_diag *diag) {
    rows *r = user;
    (void)diag;
    assert_true((r->n + n) * r->vocab <= (int64_t)GAL_LEN(r->x));
    memcpy(r->x + r->n * r->vocab, x, (size_t)(n * r->vocab) * sizeof *x);
    r->n += n;
    return GAL_OK;
}

void logits(rows *r, const char *model, const gal_lm_adapter *adapter) {
    static const int32_t LIST[LOGIT_ROWS] = { 1, 20, 21, 22, 30, 40, 50, 60, 33, 44, 55, 66 };
    gal_lm *lm = NULL;
    gal_lm_options o;
    gal_lm_info info;
    gal_lm_options_init(&o);
    o.adapters = adapter;
    o.n_adapters = adapter != NULL;
    o.exact = 1;
    CHECK_OK(gal_lm_open(&lm, model, &o, diag));
    gal_lm_get_info(lm, &info);
    assert_true(info.tokens > 0); /* the vocabulary is found */
    *r = (rows){ .vocab = info.vocab };
    CHECK_OK(gal_lm_logits(lm, LIST, LOGIT_ROWS, keep, r, diag));
    gal_lm_close(lm);
}
