/* gguf_make.c - see gguf_make.h. SPDX-License-Identifier: Apache-2.0 */
#include "formats/gguf_make.h"

#include "support/check.h"

#include <string.h>

void put(gal_buf *b, size_t n, uint64_t x) {
    for (size_t i = 0; i < n; i++) gal_buf_putc(b, (char)(x >> (8 * i)));
}

void put_string(gal_buf *b, const char *s) {
    put(b, 8, strlen(s));
    gal_buf_puts(b, s);
}

void put_head(gal_buf *b, uint64_t tensors, uint64_t keys) {
    gal_buf_clear(b);
    gal_buf_puts(b, "GGUF");
    put(b, 4, 3);
    put(b, 8, tensors);
    put(b, 8, keys);
}

void put_key(gal_buf *b, const char *key, uint32_t type) {
    put_string(b, key);
    put(b, 4, type);
}

void put_number(gal_buf *b, const char *key, uint32_t type, size_t width, uint64_t x) {
    put_key(b, key, type);
    put(b, width, x);
}

void put_tensor(gal_buf *b, const char *name, uint32_t dims, uint64_t ne0, uint64_t ne1, uint32_t type,
                uint64_t offset) {
    put_string(b, name);
    put(b, 4, dims);
    if (dims > 0) put(b, 8, ne0);
    if (dims > 1) put(b, 8, ne1);
    put(b, 4, type);
    put(b, 8, offset);
}

void pad(gal_buf *b, size_t align) {
    while (!b->oom && b->len % align) gal_buf_putc(b, 0);
}

void put_data(gal_buf *b, size_t n) {
    for (size_t i = 0; i < n; i++) gal_buf_putc(b, (char)(i * 7 + 1));
    assert_false(b->oom);
}
