/* models.h - a model in another layout or format, for tests. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_MODELS_H
#define GAL_TESTS_MODELS_H

#include "convert/convert.h"

/* What is there already is replaced. */
void convert_model(const char *from, const char *to, gal_layout layout, gal_convert_dtype dtype, bool requantise);
/* A GGUF file, by a recipe of convert/quantise.h. */
void quantise_model(const char *from, const char *to, const char *recipe);

#endif
