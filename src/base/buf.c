/* buf.c - see buf.h. Owns the bytes; refuses to lose what is already there when memory runs out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include "base/mem.h"
#include "base/util.h"

#include <stdio.h>
#include <string.h>

/* Room for n more bytes and the NUL. */
static bool make_room(gal_buf *b, size_t n) {
    if (b->oom) return false;
    void *p = b->data;
    if (n > SIZE_MAX - 1 - b->len || gal_grow(&p, &b->cap, b->len + n + 1, 1)) {
        b->oom = true;
        return false;
    }
    b->data = p;
    return true;
}

void gal_buf_room(gal_buf *b, size_t n) {
    if (make_room(b, n)) b->data[b->len] = 0;
}

void gal_buf_add(gal_buf *b, const void *bytes, size_t n) {
    if (!make_room(b, n)) return;
    if (n) memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = 0;
}

void gal_buf_puts(gal_buf *b, const char *s) { gal_buf_add(b, s, strlen(s)); }

void gal_buf_putc(gal_buf *b, char c) { gal_buf_add(b, &c, 1); }

void gal_buf_printf(gal_buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    GAL_ASSERT(n >= 0); /* only a format that cannot be fails here */
    if (!make_room(b, (size_t)n)) return;
    va_start(ap, fmt);
    (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

void gal_buf_drop(gal_buf *b, size_t n) {
    GAL_ASSERT(n <= b->len);
    if (n == 0) return;
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
    b->data[b->len] = 0;
}

void gal_buf_clear(gal_buf *b) {
    b->len = 0;
    b->oom = false;
    if (b->data) b->data[0] = 0;
}

void gal_buf_free(gal_buf *b) {
    gal_free(b->data);
    memset(b, 0, sizeof *b);
}

/* What JSON forbids as it stands, and what YAML, which reads such strings too, forbids or takes for the end of a
 * line. */
static bool must_escape(uint32_t cp) {
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x2028 || cp == 0x2029 || cp == 0xfeff || cp == 0xfffe ||
           cp == 0xffff;
}

void gal_buf_json(gal_buf *b, const char *s, size_t n) {
    gal_buf_putc(b, '"');
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        int len = gal_utf8_next(s + i, n - i, &cp);
        if (len == 0) {
            gal_buf_puts(b, "\xEF\xBF\xBD");
            i++;
            continue;
        }
        if (cp == '"' || cp == '\\') {
            gal_buf_printf(b, "\\%c", (char)cp);
        } else if (cp == '\n') {
            gal_buf_puts(b, "\\n");
        } else if (cp == '\t') {
            gal_buf_puts(b, "\\t");
        } else if (must_escape(cp)) {
            gal_buf_printf(b, "\\u%04x", (unsigned)cp);
        } else {
            gal_buf_add(b, s + i, (size_t)len);
        }
        i += (size_t)len;
    }
    gal_buf_putc(b, '"');
}
