/* chat_image.c - how large an image is, from the first bytes of its file: that alone says how many tokens stand for
 * it. PNG (W3C), JPEG
 * (ITU T.81), GIF, WebP (RFC 9649), BMP. SPDX-License-Identifier: Apache-2.0 */
#include "text/chat_internal.h"
#include "text/internal.h"

#include <math.h>
#include <string.h>

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

gal_err gal__chat_image(const gal__chunk *c, const gal__images *how, gal__pool *pool, int *columns, int *rows,
                        gal_diag *diag) {
    const uint8_t *bytes = NULL;
    size_t n = 0;
    gal_err err = gal__chat_data(c, c->kind == GAL__IMAGE, pool, &bytes, &n, diag);
    if (err) return err;
    const size z = size_of(bytes, n);
    if (z.w < 1 || z.h < 1 || z.w > 1 << 24 || z.h > 1 << 24)
        return gal_fail(diag, GAL_EINPUT, "%s: an image: expected PNG, JPEG, GIF, WebP or BMP with its size",
                        c->where);
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
