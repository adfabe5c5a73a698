/* models.h - for tests: a model in another layout or format, and what it says. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_MODELS_H
#define GAL_TESTS_MODELS_H

#include "convert/convert.h"
#include "infer/lm.h"

/* What is there already is replaced. */
void convert_model(const char *from, const char *to, gal_layout layout, gal_convert_dtype dtype, bool requantise);
/* A GGUF file, by a recipe of convert/quantise.h. */
void quantise_model(const char *from, const char *to, const char *recipe);

/* Logits of a dozen fixed ids, row by row, by a model that has a vocabulary; adapter may be NULL. */
enum { LOGIT_ROWS = 12 };
typedef struct rows {
    float x[LOGIT_ROWS * 400];
    int64_t n, vocab;
} rows;
void logits(rows *r, const char *model, const gal_lm_adapter *adapter);

#endif
