/* encode_bytes.c - vocabularies whose pieces are bytes (Tekken, GPT-2's way): the text is cut into words by a
 * pattern, and within each, starting from single bytes, pairs are joined.
 *
 *   text -> words (split.c) -> a word that is a piece | symbols of one byte -> merge.c -> ids
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"
#include "text/internal.h"

#include <string.h>

static gal_err join_word(const gal_tokenizer *t, gal_token_scratch *s, const char *word, size_t n, gal_ids *ids,
                         gal_diag *diag) {
    if (n > (size_t)INT32_MAX / 2)
        return gal_fail(diag, GAL_ENOMEM, "one word of %zu bytes; at most %d are possible", n, INT32_MAX / 2);
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

static gal_err encode_word(const gal_tokenizer *t, gal_token_scratch *s, const char *word, size_t n, gal_ids *ids,
                           gal_diag *diag) {
    bool hit = false;
    gal_err err = GAL_OK;
    gal__cached *c = n <= GAL__CACHE_KEY ? gal__cache_find(s, word, n, &hit, ids, &err, diag) : NULL;
    if (hit || err) return err;
    const size_t before = ids->len;
    const int32_t id = t->whole_words && n <= t->text_max ? gal__table_find(t, &t->text, word, n) : -1;
    err = id >= 0 ? gal_ids_add(ids, id, diag) : join_word(t, s, word, n, ids, diag);
    if (c && !err) gal__cache_keep(c, word, n, ids, before);
    return err;
}

/* Each bad byte becomes U+FFFD. */
static gal_err mend(gal_buf *out, const char **text, size_t *n, gal_diag *diag) {
    size_t good = 0;
    uint32_t cp;
    for (size_t i = 0; i < *n;) {
        if (*n - i >= 8) { /* eight characters of ASCII at once */
            uint64_t eight;
            memcpy(&eight, *text + i, 8);
            if (!(eight & 0x8080808080808080U)) {
                i += 8;
                continue;
            }
        }
        int len = gal_utf8_next(*text + i, *n - i, &cp);
        if (!len) {
            if (!good) gal_buf_clear(out);
            gal_buf_add(out, *text + good, i - good);
            gal_buf_puts(out, "\xef\xbf\xbd");
            good = i + 1;
        }
        i += (size_t)(len ? len : 1);
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
    gal_err err = mend(&s->text, &text, &n, diag);
    if (!err) err = gal__splitting_begin(s->words, text, n, diag);
    for (int count = 1; count > 0 && !err;) {
        size_t bytes[GAL__WORDS];
        err = gal__splitting_next(s->words, bytes, &count, diag);
        for (int i = 0; i < count && !err; i++) {
            err = encode_word(t, s, text, bytes[i], ids, diag);
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
