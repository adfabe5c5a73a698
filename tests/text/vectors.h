/* vectors.h - files of lines {"text", "ids", "decoded"} made with the reference library.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEST_TEXT_VECTORS_H
#define GAL_TEST_TEXT_VECTORS_H

#include "support/test.h"
#include "text/tokenizer.h"

/* Checks every line both ways, whole and streamed, with one scratch and without; returns how many lines there were.
 */
size_t check_vectors(const gal_tokenizer *t, const char *path);

#endif
