/* buf.h - a growing run of bytes, always ended by a NUL that is not counted. Running out of memory sticks: later
 * calls do nothing and oom stays set, so one check at the end is enough.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_BUF_H
#define GAL_BASE_BUF_H

#include "base/err.h"

typedef struct gal_buf {
    char *data; /* NULL while empty; otherwise len bytes and a NUL */
    size_t len, cap;
    bool oom;
} gal_buf; /* {0} is an empty one */

void gal_buf_add(gal_buf *b, const void *bytes, size_t n);
void gal_buf_puts(gal_buf *b, const char *s);
void gal_buf_putc(gal_buf *b, char c);
void gal_buf_printf(gal_buf *b, const char *fmt, ...) GAL_PRINTF(2, 3);
void gal_buf_room(gal_buf *b, size_t n); /* asks for room for n bytes more in one piece; growing copies */
void gal_buf_drop(gal_buf *b, size_t n); /* removes the first n bytes */
void gal_buf_clear(gal_buf *b);          /* keeps the memory */
void gal_buf_free(gal_buf *b);           /* leaves {0} */
/* s as a JSON string with its quotes, which YAML reads to the same text; invalid UTF-8 becomes U+FFFD, control
 * characters become \u0000 and the like. */
void gal_buf_json(gal_buf *b, const char *s, size_t n);

#endif
