/* hash.c - see hash.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include "base/err.h"

#include <string.h>

/* FIPS 180-4, section 4.2.2: fractional parts of the cube roots of the first 64 primes. */
static const uint32_t K[64] = { 0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
                                0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
                                0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
                                0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
                                0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
                                0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
                                0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
                                0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
                                0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
                                0xc67178f2 };

static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void take_block(uint32_t state[8], const uint8_t *p) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++, p += 4)
        w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25), choose = (e & f) ^ (~e & g);
        uint32_t t1 = h + s1 + choose + K[i] + w[i];
        uint32_t s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22), majority = (a & b) ^ (a & c) ^ (b & c);
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + s0 + majority;
    }
    const uint32_t add[8] = { a, b, c, d, e, f, g, h };
    for (int i = 0; i < 8; i++) state[i] += add[i];
}

void gal_sha256_init(gal_sha256 *h) {
    static const uint32_t START[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    memset(h, 0, sizeof *h);
    memcpy(h->state, START, sizeof START);
}

void gal_sha256_add(gal_sha256 *h, const void *data, size_t n) {
    const uint8_t *p = data;
    size_t held = (size_t)(h->bytes % 64);
    h->bytes += n;
    if (held) {
        size_t part = GAL_MIN(n, 64 - held);
        memcpy(h->block + held, p, part);
        p += part;
        n -= part;
        if (held + part < 64) return;
        take_block(h->state, h->block);
    }
    for (; n >= 64; n -= 64, p += 64) take_block(h->state, p);
    if (n) memcpy(h->block, p, n);
}

void gal_sha256_end(gal_sha256 *h, uint8_t out[32]) {
    uint64_t bits = h->bytes * 8;
    uint8_t tail[72] = { 0x80 };
    size_t held = (size_t)(h->bytes % 64), pad = held < 56 ? 56 - held : 120 - held;
    for (size_t i = 0; i < 8; i++) tail[pad + i] = (uint8_t)(bits >> (56 - 8 * i));
    gal_sha256_add(h, tail, pad + 8);
    for (size_t i = 0; i < 32; i++) out[i] = (uint8_t)(h->state[i / 4] >> (24 - 8 * (i % 4)));
}

void gal_sha256_of(const void *data, size_t n, uint8_t out[32]) {
    gal_sha256 h;
    gal_sha256_init(&h);
    gal_sha256_add(&h, data, n);
    gal_sha256_end(&h, out);
}

void gal_hex(char *out, const uint8_t *bytes, size_t n) {
    static const char DIGIT[16] = { '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f' };
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = DIGIT[bytes[i] >> 4];
        out[2 * i + 1] = DIGIT[bytes[i] & 15];
    }
    out[2 * n] = 0;
}

/* The finaliser of SplitMix64 (Steele et al., OOPSLA 2014): every input bit reaches every output bit. */
static uint64_t stir(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t gal_hash64(const void *data, size_t n, uint64_t seed) {
    const uint8_t *p = data;
    uint64_t h = stir(seed + 0x9e3779b97f4a7c15u * ((uint64_t)n + 1));
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        h = stir(h ^ w) + 0x9e3779b97f4a7c15u;
    }
    uint64_t w = 0;
    if (n) memcpy(&w, p, n);
    return stir(h ^ w);
}

uint64_t gal_hash_bulk(const void *data, size_t n, uint64_t seed) {
    enum { LANES = 8 };
    static const uint64_t ODD = 0x9e3779b97f4a7c15u;
    const uint8_t *p = data;
    uint64_t h[LANES], all = stir(seed + ODD * ((uint64_t)n + 1));
    for (uint64_t i = 0; i < LANES; i++) h[i] = stir(all + i);
    for (; n >= 8 * LANES; n -= 8 * LANES, p += 8 * LANES) {
        for (size_t i = 0; i < LANES; i++) {
            uint64_t w;
            memcpy(&w, p + 8 * i, 8);
            h[i] = (h[i] ^ w) * ODD; /* each step is one to one in h and in w */
            h[i] ^= h[i] >> 29;
        }
    }
    for (size_t i = 0; i < LANES; i++) all = stir(all ^ h[i]) + ODD;
    return gal_hash64(p, n, all);
}
