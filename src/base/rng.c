/* rng.c - see rng.h. Owns no state: a number is a function of its place. SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

#include "base/err.h"

#include <math.h>

/* Constants and rounds of Philox4x32-10, section 4.2 of the paper: the key is the seed, the counter (index, stream).
 */
void gal_philox(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = 0xD2511F53u * (uint64_t)c0, p1 = 0xCD9E8D57u * (uint64_t)c2;
        uint32_t next0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, next2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = next0;
        c2 = next2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static uint64_t join(uint32_t low, uint32_t high) { return (uint64_t)high << 32 | low; }

double gal_rng_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t r[4];
    gal_philox(r, seed, stream, index);
    return (double)(join(r[0], r[1]) >> 11) * 0x1p-53;
}

double gal_rng_normal(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t r[4];
    gal_philox(r, seed, stream, index);
    double u = (double)((join(r[0], r[1]) >> 11) + 1) * 0x1p-53; /* in (0, 1]: the logarithm is finite */
    double angle = (double)(join(r[2], r[3]) >> 11) * (0x1p-53 * 6.283185307179586477);
    return sqrt(-2.0 * log(u)) * cos(angle);
}

uint64_t gal_rng_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n) {
    GAL_ASSERT(n > 0);
    uint32_t r[4];
    gal_philox(r, seed, stream, index);
    /* The upper 64 bits of random * n, from 32-bit halves. */
    uint64_t low = n & 0xFFFFFFFFu, high = n >> 32;
    uint64_t a = r[0] * low, b = r[1] * low, c = r[0] * high, d = r[1] * high;
    uint64_t middle = (a >> 32) + (b & 0xFFFFFFFFu) + (c & 0xFFFFFFFFu);
    return d + (b >> 32) + (c >> 32) + (middle >> 32);
}
