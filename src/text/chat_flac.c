/* chat_flac.c - how long a FLAC file is (RFC 9639): what its first block says, if its frames hold that much. Frames
 * are found by their headers and checksums alone, nothing is decoded. SPDX-License-Identifier: Apache-2.0 */
#include "text/chat_internal.h"

#include <string.h>

typedef struct flac {
    const uint8_t *p;
    size_t n;
    int64_t block; /* samples of a frame, where all have as many */
    int64_t total, seen;
    uint16_t crc[256];
} flac;

static int64_t big(const uint8_t *p, int n) {
    int64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 8 | p[i];
    return v;
}

static uint8_t crc8(const uint8_t *p, size_t n) {
    unsigned c = 0;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++) c = c << 1 ^ (c & 0x80 ? 0x107u : 0);
    }
    return (uint8_t)c;
}

enum { LONGEST = 16 }; /* bytes of a frame's header: 4, a number of up to 7, sizes of up to 4, a checksum */

/* A number of up to 7 bytes, coded as UTF-8 codes one; its length, 0: none. */
static size_t coded(const uint8_t *p, int64_t *v) {
    size_t len = 0;
    while (len < 7 && p[0] & 0x80 >> len) len++;
    if (len == 1) return 0;
    *v = p[0] & (0x7f >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        *v = *v << 6 | (p[i] & 0x3f);
    }
    return len ? len : 1;
}

/* Samples of the frame whose header stands at `at` and goes on from those seen; 0: there is none. */
static int64_t header(const flac *f, size_t at) {
    uint8_t p[LONGEST] = { 0 };
    const size_t n = GAL_MIN(f->n - at, sizeof p);
    memcpy(p, f->p + at, n);
    if (p[0] != 0xff || (p[1] & 0xfe) != 0xf8) return 0;
    const unsigned size = p[2] >> 4, rate = p[2] & 15;
    int64_t number = 0, samples = size == 1 ? 192 : size <= 5 ? 144 << size : 1 << size;
    size_t len = coded(p + 4, &number);
    if (!len || size == 0 || rate == 15 || p[3] & 1 || p[3] >> 4 > 10) return 0;
    len += 4;
    if (size == 6 || size == 7) {
        samples = big(p + len, size == 6 ? 1 : 2) + 1;
        len += size - 5;
    }
    len += rate == 12 ? 1 : rate > 12 ? 2 : 0;
    if (len >= n || crc8(p, len) != p[len]) return 0;
    const bool goes_on = p[1] & 1 ? number == f->seen : number == f->seen / f->block && f->seen % f->block == 0;
    return goes_on ? samples : 0;
}

/* Where the frame that begins at `at` ends: where its checksum is right and the next begins, or the file ends. */
static size_t end_of(const flac *f, size_t at) {
    unsigned c = 0;
    for (size_t i = at; i < f->n; i++) {
        c = (c << 8 ^ f->crc[c >> 8 ^ f->p[i]]) & 0xffff;
        if (c == 0 && i > at + 6 && (i + 1 == f->n || header(f, i + 1))) return i + 1;
    }
    return 0;
}

static void start(flac *f) {
    for (unsigned i = 0; i < 256; i++) {
        unsigned c = i << 8;
        for (int k = 0; k < 8; k++) c = c << 1 ^ (c & 0x8000 ? 0x18005u : 0);
        f->crc[i] = (uint16_t)c;
    }
}

/* Whether a block of comments holds what its lengths say, low bytes first. */
static bool comments(const uint8_t *p, size_t n) {
    size_t count = 2; /* the maker's name comes before the number of comments */
    for (size_t i = 0, at = 0; i < count; i++) {
        if (n - at < 4) return n == 0;
        const size_t size = p[at] | (size_t)p[at + 1] << 8 | (size_t)p[at + 2] << 16 | (size_t)p[at + 3] << 24;
        at += 4;
        if (i == 1) count += size;
        if (i != 1 && n - at < size) return false;
        if (i != 1) at += size;
    }
    return true;
}

int64_t gal__flac_samples(const uint8_t *p, size_t n, int32_t *rate, int *channels) {
    flac f = { .p = p, .n = n };
    if (n < 42 || (p[4] & 0x7f) != 0 || big(p + 5, 3) < 34) return -1;
    f.block = big(p + 10, 2);
    *rate = (int32_t)(big(p + 18, 3) >> 4);
    *channels = (p[20] >> 1 & 7) + 1;
    const int bits = ((p[20] & 1) << 4 | p[21] >> 4) + 1;
    f.total = big(p + 21, 5) & 0xfffffffff;
    size_t at = 4;
    for (bool last = false; !last;) {
        if (n - at < 4) return -1;
        const size_t size = (size_t)big(p + at + 1, 3);
        last = p[at] >> 7;
        if (n - at - 4 < size || ((p[at] & 0x7f) == 4 && !comments(p + at + 4, size))) return -1;
        at += 4 + size;
    }
    if (!*rate || !f.total || f.block < 16 || (bits != 8 && bits != 16 && bits != 24)) return -1;
    start(&f);
    while (f.seen < f.total) {
        const int64_t samples = header(&f, at);
        if (!samples) return -1;
        f.seen += samples;
        at = end_of(&f, at);
        if (!at) return -1;
    }
    return f.total;
}
