/* util.c - see util.h. Owns nothing. SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double gal_now_s(void) {
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) return 0.0;
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int64_t gal_unix_time_s(void) { return (int64_t)time(NULL); }

/* What a lead byte asks for: the sequence's length (0: no lead byte) and the range of the second byte, which is where
 * overlong forms, surrogates and values above U+10FFFF show (Unicode 15, table 3-7). */
static int lead(unsigned char c, unsigned char *low, unsigned char *high) {
    *low = 0x80;
    *high = 0xBF;
    if (c < 0x80) return 1;
    if (c < 0xC2) return 0;
    if (c < 0xE0) return 2;
    if (c < 0xF0) {
        if (c == 0xE0) *low = 0xA0;
        if (c == 0xED) *high = 0x9F;
        return 3;
    }
    if (c < 0xF5) {
        if (c == 0xF0) *low = 0x90;
        if (c == 0xF4) *high = 0x8F;
        return 4;
    }
    return 0;
}

/* How many of the n bytes at s follow the pattern of one sequence; *len is the whole sequence's length, 0 for none.
 */
static int matching(const char *s, size_t n, int *len) {
    unsigned char low, high;
    *len = lead((unsigned char)s[0], &low, &high);
    if (*len == 0) return 0;
    int i = 1;
    for (; i < *len && (size_t)i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c < low || c > high) break;
        low = 0x80;
        high = 0xBF;
    }
    return i;
}

int gal_utf8_next(const char *s, size_t n, uint32_t *cp) {
    int len;
    if (n == 0 || matching(s, n, &len) < len || len == 0) return 0;
    unsigned char c = (unsigned char)s[0];
    uint32_t v = len == 1 ? c : c & (0x7Fu >> len);
    for (int i = 1; i < len; i++) v = v << 6 | ((unsigned char)s[i] & 0x3Fu);
    *cp = v;
    return len;
}

size_t gal_utf8_bad(const char *s, size_t n) {
    size_t i = 0;
    while (i < n) {
        uint64_t eight;
        uint32_t cp;
        int len = 0;
        if (n - i >= sizeof eight) { /* most text is ASCII */
            memcpy(&eight, s + i, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                i += sizeof eight;
                continue;
            }
        }
        len = gal_utf8_next(s + i, n - i, &cp);
        if (!len) return i;
        i += (size_t)len;
    }
    return n;
}

bool gal_utf8_valid(const char *s, size_t n) { return gal_utf8_bad(s, n) == n; }

int gal_utf8_put(char out[4], uint32_t cp) {
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF)) return 0;
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    int len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (int i = len - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80u | (cp & 0x3Fu));
    static const unsigned char MARK[5] = { 0, 0, 0xC0, 0xE0, 0xF0 };
    out[0] = (char)(MARK[len] | cp);
    return len;
}

size_t gal_utf8_complete(const char *s, size_t n) {
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)s[n - back];
        if ((c & 0xC0u) == 0x80u) continue; /* a continuation: the lead byte lies further left */
        int len;
        int got = matching(s + n - back, back, &len);
        return (size_t)got == back && got < len ? n - back : n;
    }
    return n;
}

bool gal_parse_i64(const char *s, int64_t *out) {
    const char *digits = s + (*s == '-' || *s == '+');
    if (*digits < '0' || *digits > '9') return false;
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno != 0 || *end != 0) return false;
    *out = v;
    return true;
}

bool gal_parse_f64(const char *s, double *out) {
    /* No hexadecimal, no "inf", no blanks: only what people write in a configuration. */
    if (*s == 0 || s[strspn(s, "+-.0123456789eE")] != 0) return false;
    locale_t c = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (c == (locale_t)0) return false;
    locale_t before = uselocale(c);
    char *end;
    double v = strtod(s, &end);
    (void)uselocale(before);
    freelocale(c);
    if (end == s || *end != 0 || !isfinite(v)) return false;
    *out = v;
    return true;
}

const char *gal_short_text(char *text, double x, const char *letters, const char *gap) {
    size_t n = 0;
    for (; letters[n] && fabs(x) >= 999.5; n++) x /= 1000;
    (void)snprintf(text, GAL_SHORT_TEXT, "%.3g", x);
    size_t at = strlen(text);
    if (n) (void)snprintf(text + at, GAL_SHORT_TEXT - at, "%s%c", gap, letters[n - 1]);
    return text;
}

const char *gal_power_text(char *text, double x) {
    (void)snprintf(text, GAL_SHORT_TEXT, "%.2e", x);
    char *to = strchr(text, 'e'); /* "e+05": neither sign nor noughts before the last digit */
    if (!to) return text;
    const char *from = ++to;
    if (*from == '-') to++;
    from += *from == '-' || *from == '+';
    while (*from == '0' && from[1]) from++;
    memmove(to, from, strlen(from) + 1);
    return text;
}

const char *gal_time_text(char *text, double s) {
    const double minutes = s / 60, hours = s / 3600, days = s / 86400, years = days / 365.25;
    if (s < 99.5)
        (void)snprintf(text, GAL_SHORT_TEXT, "%.2g s", s);
    else if (minutes < 59.5)
        (void)snprintf(text, GAL_SHORT_TEXT, "%.2g min", minutes);
    else if (hours < 9.99)
        (void)snprintf(text, GAL_SHORT_TEXT, "%d h %02d min", (int)(minutes + 0.5) / 60, (int)(minutes + 0.5) % 60);
    else if (hours < 47.5)
        (void)snprintf(text, GAL_SHORT_TEXT, "%.2g h", hours);
    else if (days < 729.5)
        (void)snprintf(text, GAL_SHORT_TEXT, days < 99.5 ? "%.2g days" : "%.3g days", days);
    else
        (void)snprintf(text, GAL_SHORT_TEXT, "%.3g years", years);
    return text;
}
