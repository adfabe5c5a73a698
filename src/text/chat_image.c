/* chat_image.c - how large an image is, from the first bytes of its file: that alone says how many tokens stand for
 * it. Images come inside the body (base64, data: URLs); nothing is fetched and no file is opened. PNG (W3C), JPEG
 * (ITU T.81), GIF, WebP (RFC 9649), BMP. SPDX-License-Identifier: Apache-2.0 */
#include "text/chat_internal.h"
#include "text/internal.h"

#include <math.h>
#include <string.h>

/* ---- base64, as lenient as Python's: what is no digit is passed over
 * -------------------------------------------------- */

static int digit(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Bytes into out, which holds s.n / 4 * 3 + 3; false: not base64. */
static bool decode(gal__string s, uint8_t *out, size_t *n) {
    uint32_t bits = 0;
    size_t digits = 0, pads = 0;
    *n = 0;
    for (size_t i = 0; i < s.n; i++) {
        const int d = digit(s.s[i]);
        if (s.s[i] == '=' && digits % 4 >= 2 && ++pads + digits % 4 >= 4) break;
        if (d < 0) continue;
        pads = 0;
        bits = bits << 6 | (uint32_t)d;
        if (++digits % 4 == 0) {
            for (int k = 16; k >= 0; k -= 8) out[(*n)++] = (uint8_t)(bits >> k);
            bits = 0;
        }
    }
    if (digits % 4 == 0) return *n > 0;
    if (digits % 4 + pads < 4) return false;
    bits <<= 6 * (4 - digits % 4);
    for (size_t k = 0; k + 1 < digits % 4; k++) out[(*n)++] = (uint8_t)(bits >> (16 - 8 * k));
    return true;
}

/* ---- sizes --------------------------------------------------------------------------------------------------------
 */

typedef struct size {
    int64_t w, h; /* 0: not found */
} size;

static int64_t big(const uint8_t *p, int n) {
    int64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 8 | p[i];
    return v;
}

static int64_t little(const uint8_t *p, int n) {
    int64_t v = 0;
    for (int i = n; i-- > 0;) v = v << 8 | p[i];
    return v;
}

static size jpeg(const uint8_t *p, size_t n) {
    for (size_t i = 2; i + 9 < n;) {
        if (p[i] != 0xff) break;
        const uint8_t mark = p[i + 1];
        if (mark == 0xff) {
            i++;
        } else if (mark >= 0xc0 && mark <= 0xcf && mark != 0xc4 && mark != 0xc8 && mark != 0xcc) {
            return (size){ big(p + i + 7, 2), big(p + i + 5, 2) };
        } else {
            i += 2 + (size_t)big(p + i + 2, 2);
        }
    }
    return (size){ 0 };
}

static size webp(const uint8_t *p, size_t n) {
    if (n < 30) return (size){ 0 };
    if (memcmp(p + 12, "VP8X", 4) == 0) return (size){ little(p + 24, 3) + 1, little(p + 27, 3) + 1 };
    if (memcmp(p + 12, "VP8 ", 4) == 0) return (size){ little(p + 26, 2) & 0x3fff, little(p + 28, 2) & 0x3fff };
    const int64_t bits = little(p + 21, 4);
    if (memcmp(p + 12, "VP8L", 4) == 0) return (size){ (bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1 };
    return (size){ 0 };
}

static size bmp(const uint8_t *p, size_t n) {
    if (n < 26) return (size){ 0 };
    if (little(p + 14, 4) == 12) return (size){ little(p + 18, 2), little(p + 20, 2) };
    const int64_t h = (int32_t)(uint32_t)little(p + 22, 4);
    return (size){ (int32_t)(uint32_t)little(p + 18, 4), h < 0 ? -h : h };
}

static size size_of(const uint8_t *p, size_t n) {
    if (n >= 24 && memcmp(p, "\x89PNG\r\n\x1a\n", 8) == 0) return (size){ big(p + 16, 4), big(p + 20, 4) };
    if (n >= 10 && (memcmp(p, "GIF87a", 6) == 0 || memcmp(p, "GIF89a", 6) == 0))
        return (size){ little(p + 6, 2), little(p + 8, 2) };
    if (n >= 3 && memcmp(p, "\xff\xd8\xff", 3) == 0) return jpeg(p, n);
    if (n >= 12 && memcmp(p, "RIFF", 4) == 0 && memcmp(p + 8, "WEBP", 4) == 0) return webp(p, n);
    if (n >= 2 && memcmp(p, "BM", 2) == 0) return bmp(p, n);
    return (size){ 0 };
}

/* ---- from a chunk to its grid -------------------------------------------------------------------------------------
 */

/* What follows "data:...;base64,"; all of it where there is no "data:". */
static gal__string payload(gal__string s, bool bare, gal_err *err, gal_diag *diag) {
    static const char END[] = ";base64";
    if (s.n < 5 || memcmp(s.s, "data:", 5) != 0) {
        if (!bare)
            *err = gal_fail(diag, GAL_EINPUT,
                            "an image's URL: expected data:...;base64,..., found \"%.40s\"; nothing is "
                            "fetched",
                            s.s);
        return s;
    }
    const char *comma = memchr(s.s, ',', s.n);
    const size_t head = comma ? (size_t)(comma - s.s) : 0, n = sizeof END - 1;
    if (head < n || memcmp(comma - n, END, n) != 0 || head + 1 == s.n) {
        *err = gal_fail(diag, GAL_EINPUT, "an image's URL: expected data:...;base64,..., found \"%.40s\"", s.s);
        return s;
    }
    return (gal__string){ comma + 1, s.n - head - 1 };
}

gal_err gal__chat_image(const gal__chunk *c, const gal__images *how, gal__pool *pool, int *columns, int *rows,
                        gal_diag *diag) {
    gal_err err = GAL_OK;
    const gal__string s = payload(c->text, c->kind == GAL__IMAGE, &err, diag);
    if (err) return err;
    uint8_t *bytes = gal__pool_take(pool, s.n / 4 * 3 + 3);
    size_t n = 0;
    if (!bytes) return gal__chat_no_memory(diag);
    if (!decode(s, bytes, &n)) return gal_fail(diag, GAL_EINPUT, "an image: its data are not base64");
    const size z = size_of(bytes, n);
    if (z.w < 1 || z.h < 1 || z.w > 1 << 24 || z.h > 1 << 24)
        return gal_fail(diag, GAL_EINPUT, "an image: expected PNG, JPEG, GIF, WebP or BMP with its size");
    double w = (double)z.w, h = (double)z.h;
    const double ratio = fmax(h / how->side, w / how->side);
    if (ratio > 1) {
        w = fmax(nearbyint(w / ratio), 1);
        h = fmax(nearbyint(h / ratio), 1);
    }
    *columns = ((int)w - 1) / how->patch + 1;
    *rows = ((int)h - 1) / how->patch + 1;
    return GAL_OK;
}
