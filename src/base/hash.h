/* hash.h - SHA-256 (FIPS 180-4), for saying which file something was made from and whether it is whole.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_HASH_H
#define GAL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct gal_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
} gal_sha256;

void gal_sha256_init(gal_sha256 *h);
void gal_sha256_add(gal_sha256 *h, const void *data, size_t n);
void gal_sha256_end(gal_sha256 *h, uint8_t out[32]);
void gal_sha256_of(const void *data, size_t n, uint8_t out[32]);
void gal_hex(char *out, const uint8_t *bytes, size_t n); /* 2 n digits and a NUL */

/* 64 bits for hash tables. */
uint64_t gal_hash64(const void *data, size_t n, uint64_t seed);
/* 64 bits of much data, as fast as memory gives it: against accidents, not against people. Two runs of bytes of one
 * length that differ in a single word always differ in it. */
uint64_t gal_hash_bulk(const void *data, size_t n, uint64_t seed);

#endif
