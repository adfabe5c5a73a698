/* chat_data.c - the bytes of images and audio. They come inside the body, in base64 or as a data: URL; nothing is
 * fetched and no file is opened. SPDX-License-Identifier: Apache-2.0 */
#include "text/chat_internal.h"

#include <string.h>

static int digit(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* As lenient as Python's: ASCII that is no digit is passed over. Bytes into out, which holds s.n / 4 * 3 + 3; false:
 * not base64. */
static bool decode(gal__string s, uint8_t *out, size_t *n) {
    uint32_t bits = 0;
    size_t digits = 0, pads = 0;
    *n = 0;
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.s[i] > 0x7f) return false;
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

/* "http:", "file:": letters first, then digits and "+-." too. */
static bool has_scheme(gal__string s) {
    for (size_t i = 0; i < s.n; i++) {
        const char c = (char)(s.s[i] | 32);
        if (s.s[i] == ':') return i > 0;
        if ((c < 'a' || c > 'z') && (i == 0 || !strchr("0123456789+-.", s.s[i]) || !s.s[i])) return false;
    }
    return false;
}

/* What follows "data:...;base64,"; where bare base64 may stand, all of it. */
static gal_err payload(gal__string *s, const gal__chunk *c, bool bare, gal_diag *diag) {
    static const char END[] = ";base64";
    const size_t n = sizeof END - 1;
    if (s->n < 5 || memcmp(s->s, "data:", 5) != 0)
        return bare && !has_scheme(*s)
                   ? GAL_OK
                   : gal_fail(diag, GAL_EINPUT,
                              "%s: expected data:...;base64,..., found \"%.40s\"; nothing is fetched, no file opened",
                              c->where, s->s);
    const char *comma = memchr(s->s, ',', s->n);
    const size_t head = comma ? (size_t)(comma - s->s) : 0;
    if (head < n || memcmp(comma - n, END, n) != 0 || head + 1 == s->n)
        return gal_fail(diag, GAL_EINPUT, "%s: expected data:...;base64,..., found \"%.40s\"", c->where, s->s);
    *s = (gal__string){ comma + 1, s->n - head - 1 };
    return GAL_OK;
}

gal_err gal__chat_data(const gal__chunk *c, bool bare, gal__pool *pool, const uint8_t **bytes, size_t *n,
                       gal_diag *diag) {
    gal__string s = c->text;
    gal_err err = payload(&s, c, bare, diag);
    if (err) return err;
    uint8_t *out = gal__pool_take(pool, s.n / 4 * 3 + 3);
    if (!out) return gal__chat_no_memory(diag);
    *bytes = out;
    return decode(s, out, n) ? GAL_OK : gal_fail(diag, GAL_EINPUT, "%s: its data are not base64", c->where);
}
