/* charsmap.c - the table of rules of a normaliser that a SentencePiece model carries (precompiled_charsmap; laid out
 * in charsmap_make.c), by which text is changed before it is cut. Owns a copy of it. Refuses a table that is cut
 * short or whose strings are unsound; a place that leads out of it is no rule. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/internal.h"

#include <string.h>

enum { MOST_BYTES = 1000 }; /* that one rule makes; NFKC's longest are 33 */

struct gal__charsmap {
    char *name;
    char *bytes; /* as the file has them */
    size_t n;
    uint32_t *units;
    size_t n_units;
    const char *made; /* strings, each ended by NUL */
    size_t made_bytes;
};

static uint32_t u32_at(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static gal_err check_strings(const char *s, size_t n, const char *file, const char *name, gal_diag *diag) {
    for (size_t i = 0; i < n;) {
        const char *end = memchr(s + i, 0, n - i);
        const size_t m = end ? (size_t)(end - s) - i : n - i;
        if (!end || m > MOST_BYTES || !gal_utf8_valid(s + i, m))
            return gal_fail(diag, GAL_EINPUT,
                            "%s: the table of its normaliser '%.64s' is damaged: the string at byte %zu %s", file,
                            name, i,
                            !end             ? "has no end"
                            : m > MOST_BYTES ? "is too long"
                                             : "is no UTF-8");
        i += m + 1;
    }
    return GAL_OK;
}

gal_err gal__charsmap_new(gal__charsmap **out, const char *name, const void *bytes, size_t n, const char *file,
                          gal_diag *diag) {
    const uint8_t *p = bytes;
    if (!name || !name[0]) name = "user_defined"; /* as SentencePiece calls what came without one */
    const size_t trie = n > 4 ? (size_t)u32_at(p) : 0;
    if (trie == 0 || trie % 4 != 0 || trie >= n - 4)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: the table of its normaliser '%.64s' is damaged: %zu bytes, of which %zu are said to be "
                        "places",
                        file, name, n, trie);
    gal_err err = check_strings((const char *)p + 4 + trie, n - 4 - trie, file, name, diag);
    if (err) return err;
    gal__charsmap *m = gal_alloc(sizeof *m);
    if (m) {
        m->name = gal_strdup(name);
        m->bytes = gal_alloc(n);
        m->units = gal_alloc(trie);
    }
    if (!m || !m->name || !m->bytes || !m->units) {
        gal__charsmap_free(m);
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for a normaliser", file);
    }
    memcpy(m->bytes, bytes, n);
    m->n = n;
    m->n_units = trie / 4;
    for (size_t i = 0; i < m->n_units; i++) m->units[i] = u32_at(p + 4 + 4 * i);
    m->made = m->bytes + 4 + trie;
    m->made_bytes = n - 4 - trie;
    *out = m;
    return GAL_OK;
}

void gal__charsmap_free(gal__charsmap *m) {
    if (!m) return;
    gal_free(m->name);
    gal_free(m->bytes);
    gal_free(m->units);
    gal_free(m);
}

const char *gal__charsmap_name(const gal__charsmap *m) { return m->name; }

const char *gal__charsmap_bytes(const gal__charsmap *m, size_t *n) {
    *n = m->n;
    return m->bytes;
}

static size_t step_of(uint32_t unit) { return (size_t)(unit >> 10) << ((unit & 1U << 9) >> 6); }

size_t gal__charsmap_find(const gal__charsmap *m, const char *s, size_t n, const char **to, bool *open) {
    size_t at = step_of(m->units[0]), best = 0, made = 0;
    *open = false;
    for (size_t i = 0; i < n; i++) {
        const uint8_t c = (uint8_t)s[i];
        at ^= c;
        if (at >= m->n_units || (m->units[at] & 0x800000ffU) != c) return best;
        const uint32_t unit = m->units[at];
        at ^= step_of(unit);
        if (!(unit >> 8 & 1)) continue;
        made = at < m->n_units ? m->units[at] & 0x7fffffffU : m->made_bytes;
        if (made >= m->made_bytes) continue;
        best = i + 1;
        *to = m->made + made;
    }
    *open = true;
    return best;
}

/* User-defined pieces stay as they are. */
gal_err gal__charsmap_apply(const gal__charsmap *m, const gal_tokenizer *t, const char *text, size_t n, gal_buf *out,
                            gal_diag *diag) {
    gal_buf_clear(out);
    for (size_t i = 0, k; i < n && !out->oom; i += k) {
        int32_t id;
        uint32_t cp;
        const char *to = NULL;
        bool open;
        k = t ? gal__match_user(t, text + i, n - i, &id) : 0;
        const bool user = k > 0;
        if (!user) k = gal__charsmap_find(m, text + i, n - i, &to, &open);
        if (k && !user) {
            gal_buf_puts(out, to);
        } else if (user || (k = (size_t)gal_utf8_next(text + i, n - i, &cp)) > 0) {
            gal_buf_add(out, text + i, k);
        } else {
            gal_buf_puts(out, "\xef\xbf\xbd");
            k = 1;
        }
    }
    return out->oom ? gal__no_memory(diag) : GAL_OK;
}

/* A space before which the text is whole whatever follows: no rule goes across it or begins with it, and what comes
 * before does not become a space itself. */
size_t gal__charsmap_cut(const gal__charsmap *m, const gal_tokenizer *t, const char *text, size_t n) {
    size_t cut = 0;
    bool open = false, spaced = true;
    const char *to = NULL;
    if (gal__charsmap_find(m, " ", 1, &to, &open) || open) return 0;
    open = false;
    for (size_t i = 0, k; i < n && !open; i += k) {
        int32_t id;
        const char *s = text + i;
        if (*s == ' ' && !spaced) cut = i;
        k = gal__match_user(t, s, n - i, &id);
        size_t made = k;
        if (k == 0 && (k = gal__charsmap_find(m, s, n - i, &to, &open)) > 0) {
            s = to;
            made = strlen(to);
        } else if (k == 0) {
            uint32_t cp;
            k = GAL_MAX((size_t)gal_utf8_next(s, n - i, &cp), (size_t)1);
            made = k;
        }
        if (made) spaced = gal__ends_in_space(s, made);
    }
    return cut;
}
