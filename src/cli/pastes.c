/* pastes.c - what was pasted into a line. Owns the texts, for as long as lines are read, since the history may bring
 * their marks back; refuses what would be too much of them. SPDX-License-Identifier: Apache-2.0 */
#include "cli/pastes.h"

#include "base/mem.h"
#include "base/util.h"

#include <stdio.h>
#include <string.h>

enum { LONG_LINE = 1000 }; /* bytes; a longer one stands as a mark, too */
static const size_t MOST_KEPT = (size_t)1 << 28;
static const char MARK[] = "[paste ";

/* Bytes of a control character of ASCII or of the 32 after it; 0: none begins here. */
static size_t control(const char *s, size_t n) {
    const uint8_t c = (uint8_t)s[0];
    if (c < 0x20 || c == 0x7f) return 1;
    return c == 0xc2 && n > 1 && (uint8_t)s[1] >= 0x80 && (uint8_t)s[1] < 0xa0 ? 2 : 0;
}

void gal_paste_clean(gal_buf *text) {
    size_t to = 0;
    for (size_t i = 0; i < text->len;) {
        const char c = text->data[i];
        const size_t bad = c == '\n' || c == '\t' ? 0 : control(text->data + i, text->len - i);
        if (c == '\r') {
            text->data[to++] = '\n';
            i += i + 1 < text->len && text->data[i + 1] == '\n' ? 2 : 1;
        } else if (bad) {
            i += bad;
        } else {
            text->data[to++] = c;
            i++;
        }
    }
    if (text->data) text->data[text->len = to] = 0;
}

bool gal_paste_is_plain(const gal_buf *text) {
    if (text->len > LONG_LINE) return false;
    for (size_t i = 0; i < text->len;) {
        uint32_t cp = 0;
        const int n = gal_utf8_next(text->data + i, text->len - i, &cp);
        if (n <= 0 || control(text->data + i, text->len - i)) return false;
        i += (size_t)n;
    }
    return true;
}

const char *gal_pastes_add(gal_pastes *p, gal_buf *text, const char *line) {
    void *items = p->item;
    if (text->oom || text->len > MOST_KEPT - p->bytes) return NULL;
    if (p->n == p->cap && gal_grow(&items, &p->cap, p->n + 1, sizeof *p->item) != 0) return NULL;
    p->item = items;
    size_t lines = 1;
    for (size_t i = 0; i + 1 < text->len; i++) lines += text->data[i] == '\n';
    gal_paste *made = &p->item[p->n];
    *made = (gal_paste){ .text = *text };
    do
        (void)snprintf(made->mark, sizeof made->mark, "%s%zu: %zu line%s]", MARK, ++p->number, lines,
                       lines == 1 ? "" : "s");
    while (strstr(line, made->mark)); /* somebody typed it */
    p->n++;
    p->bytes += text->len;
    *text = (gal_buf){ 0 };
    return made->mark;
}

const gal_paste *gal_pastes_at(const gal_pastes *p, const char *line, size_t n) {
    if (n < sizeof MARK || memcmp(line, MARK, sizeof MARK - 1) != 0) return NULL;
    for (size_t i = 0; i < p->n; i++) {
        const size_t len = strlen(p->item[i].mark);
        if (n >= len && memcmp(line, p->item[i].mark, len) == 0) return &p->item[i];
    }
    return NULL;
}

void gal_pastes_expand(const gal_pastes *p, const char *line, size_t n, gal_buf *out) {
    for (size_t i = 0; i < n;) {
        const gal_paste *found = gal_pastes_at(p, line + i, n - i);
        if (found) {
            gal_buf_add(out, found->text.data ? found->text.data : "", found->text.len);
            i += strlen(found->mark);
        } else {
            gal_buf_putc(out, line[i++]);
        }
    }
}

bool gal_pastes_marked(const char *line) {
    while ((line = strstr(line, MARK))) {
        line += sizeof MARK - 1;
        const size_t digits = strspn(line, "0123456789");
        if (digits && line[digits] == ':') return true;
    }
    return false;
}

void gal_pastes_free(gal_pastes *p) {
    for (size_t i = 0; i < p->n; i++) gal_buf_free(&p->item[i].text);
    gal_free(p->item);
    *p = (gal_pastes){ 0 };
}
