/* gguf_make.h - GGUF files by hand, piece by piece, right or wrong. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_GGUF_MAKE_H
#define GAL_TESTS_GGUF_MAKE_H

#include "base/buf.h"

void put(gal_buf *b, size_t n, uint64_t x); /* the low n bytes */
void put_string(gal_buf *b, const char *s);
/* Clears b first. */
void put_head(gal_buf *b, uint64_t tensors, uint64_t keys);
void put_key(gal_buf *b, const char *key, uint32_t type);
void put_number(gal_buf *b, const char *key, uint32_t type, size_t width, uint64_t x);
/* Of up to two dimensions, as the file has them. */
void put_tensor(gal_buf *b, const char *name, uint32_t dims, uint64_t ne0, uint64_t ne1, uint32_t type,
                uint64_t offset);
void pad(gal_buf *b, size_t align);
void put_data(gal_buf *b, size_t n); /* each byte another than its neighbours */

#endif
