/* encode_bytes.c - vocabularies whose pieces are bytes (Tekken, GPT-2's way): the text is cut into words by a
 * pattern, and within each, starting from single bytes, pairs are joined.
 *
 *   text -> words (split.c) -> a word that is a piece | symbols of one byte -> merge.c -> ids
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"
#include "text/internal.h"

#include <string.h>

/* The join of two pieces, `bytes` of text from p on; -1: none. What was once found is remembered by the two ids,
 * which is one look at one line of memory. */
static int32_t joined(const gal_tokenizer *t, gal_token_scratch *s, int32_t l, int32_t r, const char *p,
                      size_t bytes) {
    if (!s->joins) return bytes <= t->text_max ? gal__table_find(t, &t->text, p, bytes) : -1;
    const uint64_t key = ((uint64_t)(uint32_t)l << 21 | (uint32_t)r) << 22;
    uint64_t *seen = &s->joins[(key * 0x9e3779b97f4a7c15U) >> (64 - GAL__JOIN_BITS)];
    if ((*seen ^ key) >> 22 == 0 && (*seen & 0x3fffff)) return (int32_t)(*seen & 0x3fffff) - 2;
    const int32_t id = bytes <= t->text_max ? gal__table_find(t, &t->text, p, bytes) : -1;
    *seen = key | (uint64_t)(id + 2);
    return id;
}

/* Up to SMALL bytes: for each part, by the place of its first byte, the rank of its join with the next; the least of
 * every eight places is kept beside them. */
enum { SMALL = 128, EIGHT = 8 };
typedef struct small {
    uint32_t rank[SMALL];
    uint32_t least[SMALL / EIGHT];
    int32_t id[SMALL], made[SMALL];
    uint8_t next[SMALL + 1], prev[SMALL + 1];
} small;

static void find_small(const gal_tokenizer *t, gal_token_scratch *s, small *m, const char *word, size_t i, size_t n) {
    const size_t j = m->next[i], k = j < n ? m->next[j] : 0;
    m->rank[i] = UINT32_MAX;
    if (j >= n) return;
    if (t->pairs.slots) {
        const gal__pair *p = gal__pair_find(&t->pairs, m->id[i], m->id[j]);
        if (!p) return;
        m->made[i] = p->id;
        m->rank[i] = p->rank;
        return;
    }
    const int32_t id = joined(t, s, m->id[i], m->id[j], word + i, k - i);
    m->made[i] = id;
    m->rank[i] = (uint32_t)id; /* pieces come by rank, and none is the last of all */
}

static void least_of(small *m, size_t i) {
    const uint32_t *r = &m->rank[i / EIGHT * EIGHT];
    uint32_t a = GAL_MIN(r[0], r[1]), b = GAL_MIN(r[2], r[3]), c = GAL_MIN(r[4], r[5]), d = GAL_MIN(r[6], r[7]);
    a = GAL_MIN(a, b);
    c = GAL_MIN(c, d);
    m->least[i / EIGHT] = GAL_MIN(a, c);
}

static gal_err join_small(const gal_tokenizer *t, gal_token_scratch *s, const char *word, size_t n, gal_ids *ids,
                          gal_diag *diag) {
    small m;
    const size_t blocks = (n + EIGHT - 1) / EIGHT;
    for (size_t i = 0; i < n; i++) {
        m.id[i] = t->byte_ids[(uint8_t)word[i]];
        m.next[i] = (uint8_t)(i + 1);
        m.prev[i] = (uint8_t)(i - 1);
    }
    if (t->pairs.slots) {
        for (size_t i = 0; i < n; i++) find_small(t, s, &m, word, i, n);
    } else {
        for (size_t i = 0; i + 1 < n; i++)
            m.rank[i] = (uint32_t)(m.made[i] = t->two[(uint8_t)word[i] << 8 | (uint8_t)word[i + 1]]);
        m.rank[n - 1] = UINT32_MAX;
    }
    for (size_t i = n; i < blocks * EIGHT; i++) m.rank[i] = UINT32_MAX;
    for (size_t i = 0; i < blocks; i++) least_of(&m, i * EIGHT);
    for (;;) {
        uint32_t best = UINT32_MAX;
        size_t block = 0;
        for (size_t i = 0; i < blocks; i++) {
            block = m.least[i] < best ? i : block;
            best = GAL_MIN(best, m.least[i]);
        }
        if (best == UINT32_MAX) break;
        size_t left = block * EIGHT;
        while (m.rank[left] != best) left++;
        const size_t right = m.next[left], after = m.next[right];
        m.id[left] = m.made[left];
        m.next[left] = (uint8_t)after;
        if (after < n) m.prev[after] = (uint8_t)left;
        m.rank[right] = UINT32_MAX;
        find_small(t, s, &m, word, left, n);
        if (left) {
            find_small(t, s, &m, word, m.prev[left], n);
            least_of(&m, m.prev[left]);
        }
        least_of(&m, left);
        if (right / EIGHT != block) least_of(&m, right);
    }
    gal_err err = GAL_OK;
    for (size_t i = 0; i < n && !err; i = m.next[i]) err = gal_ids_add(ids, m.id[i], diag);
    return err;
}

static gal_err join_word(const gal_tokenizer *t, gal_token_scratch *s, const char *word, size_t n, gal_ids *ids,
                         gal_diag *diag) {
    if (n > (size_t)INT32_MAX / 2)
        return gal_fail(diag, GAL_ENOMEM, "one word of %zu bytes; at most %d are possible", n, INT32_MAX / 2);
    if (n <= SMALL) return join_small(t, s, word, n, ids, diag);
    gal_err err = gal__symbols(s, n, diag);
    if (err) return err;
    const int32_t count = (int32_t)n;
    for (int32_t i = 0; i < count; i++)
        s->symbols[i] = (gal__part){ i - 1, i + 1 < count ? i + 1 : -1,    (uint32_t)i,
                                     1,     t->byte_ids[(uint8_t)word[i]], false };
    s->base = word;
    err = gal__merge(t, s, count, diag);
    for (int32_t i = 0; i >= 0 && !err; i = s->symbols[i].next) err = gal_ids_add(ids, s->symbols[i].id, diag);
    return err;
}

gal_err gal__encode_word(const gal_tokenizer *t, gal_token_scratch *s, const char *word, size_t n, gal_ids *ids,
                         gal_diag *diag) {
    bool hit = false;
    gal_err err = GAL_OK;
    gal__cached *c = n <= GAL__CACHE_KEY ? gal__cache_find(s, word, n, &hit, ids, &err, diag) : NULL;
    if (hit || err) return err;
    const size_t before = ids->len;
    int32_t id = -1;
    if (t->whole_words && n <= t->text_max)
        id = t->longest ? gal__longest_whole(t->longest, t, word, n) : gal__table_find(t, &t->text, word, n);
    err = id >= 0      ? gal_ids_add(ids, id, diag)
          : t->longest ? gal__longest_encode(t->longest, t, s, word, n, ids, diag)
                       : join_word(t, s, word, n, ids, diag);
    if (c && !err) gal__cache_keep(c, word, n, ids, before);
    return err;
}

/* The length of a character beyond ASCII, 0 if it is none. */
static size_t good_char(const char *s, size_t n) {
    const uint8_t *p = (const uint8_t *)s, c = p[0];
    uint32_t cp;
    if (n < 4 || c >= 0xf0) return (size_t)gal_utf8_next(s, n, &cp);
    if (c < 0xe0) return c >= 0xc2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
    const bool bad = (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (c == 0xe0 && p[1] < 0xa0) ||
                     (c == 0xed && p[1] >= 0xa0);
    return bad ? 0 : 3;
}

gal_err gal__mend(gal_buf *out, const char **text, size_t *n, gal_diag *diag) {
    size_t good = 0;
    for (size_t i = 0; i < *n;) {
        if (*n - i >= 8) { /* eight characters of ASCII at once */
            uint64_t eight;
            memcpy(&eight, *text + i, 8);
            if (!(eight & 0x8080808080808080U)) {
                i += 8;
                continue;
            }
        }
        const size_t len = (uint8_t)(*text)[i] < 0x80 ? 1 : good_char(*text + i, *n - i);
        if (!len) {
            if (!good) gal_buf_clear(out);
            gal_buf_add(out, *text + good, i - good);
            gal_buf_puts(out, "\xef\xbf\xbd");
            good = i + 1;
        }
        i += len ? len : 1;
    }
    if (!good) return GAL_OK;
    gal_buf_add(out, *text + good, *n - good);
    if (out->oom) return gal__no_memory(diag);
    *text = out->data;
    *n = out->len;
    return GAL_OK;
}

gal_err gal__encode_bytes(const gal_tokenizer *t, gal_token_scratch *s, const char *text, size_t n, gal_ids *ids,
                          gal_diag *diag) {
    gal_err err = gal__mend(&s->text, &text, &n, diag);
    if (!err) err = gal__splitting_begin(s->words, text, n, diag);
    for (int count = 1; count > 0 && !err;) {
        size_t bytes[GAL__WORDS];
        err = gal__splitting_next(s->words, bytes, &count, diag);
        for (int i = 0; i < count && !err; i++) {
            if (!t->words_only || !gal__splitting_gap(s->words))
                err = gal__encode_word(t, s, text, bytes[i], ids, diag);
            text += bytes[i];
        }
    }
    return err;
}

static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* Between a letter and a space with a letter after it: there every pattern that we know ends a word and begins one,
 * and none looks back. */
size_t gal__cut_bytes(const gal_tokenizer *t, const char *text, size_t n) {
    if (!t->cuts) return 0;
    for (size_t i = n; i-- > 2;)
        if (letter(text[i]) && text[i - 1] == ' ' && letter(text[i - 2])) return i - 1;
    return 0;
}
