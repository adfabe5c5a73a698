/* bpe_words.c - counts the words of a text for the BPE trainer. Invariant: a word holds at most MAX_CHARS characters
 * (a longer one is cut), so that no merge ever walks a whole corpus. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/bpe_internal.h"
#include "text/internal.h"

#include <string.h>

enum { MAX_CHARS = 512 };

/* Kinds of characters between which words may part. Numbers from SCRIPTS on are writing systems. */
enum { CONTROL, DIGIT, PUNCTUATION, INHERIT, SCRIPTS };

static const struct {
    uint32_t last; /* of the range that begins after the one before */
    int kind;
} RANGES[] = {
    { 0x9f, CONTROL },         { 0xa9, PUNCTUATION },    { 0xaa, SCRIPTS },         { 0xb4, PUNCTUATION },
    { 0xb5, SCRIPTS },         { 0xb9, PUNCTUATION },    { 0xba, SCRIPTS },         { 0xbf, PUNCTUATION },
    { 0xd6, SCRIPTS },         { 0xd7, PUNCTUATION },    { 0xf6, SCRIPTS },         { 0xf7, PUNCTUATION },
    { 0x2af, SCRIPTS },        { 0x2ff, PUNCTUATION },   { 0x36f, INHERIT },        { 0x3ff, SCRIPTS + 1 },
    { 0x52f, SCRIPTS + 2 },    { 0x58f, SCRIPTS + 3 },   { 0x5ff, SCRIPTS + 4 },    { 0x77f, SCRIPTS + 5 },
    { 0x97f, SCRIPTS + 6 },    { 0x9ff, SCRIPTS + 7 },   { 0xa7f, SCRIPTS + 8 },    { 0xaff, SCRIPTS + 9 },
    { 0xb7f, SCRIPTS + 10 },   { 0xbff, SCRIPTS + 11 },  { 0xc7f, SCRIPTS + 12 },   { 0xcff, SCRIPTS + 13 },
    { 0xdff, SCRIPTS + 14 },   { 0xe7f, SCRIPTS + 15 },  { 0xeff, SCRIPTS + 16 },   { 0xfff, SCRIPTS + 17 },
    { 0x109f, SCRIPTS + 18 },  { 0x10ff, SCRIPTS + 19 }, { 0x11ff, SCRIPTS + 20 },  { 0x1dff, SCRIPTS + 21 },
    { 0x1eff, SCRIPTS },       { 0x1fff, SCRIPTS + 1 },  { 0x2bff, PUNCTUATION },   { 0x2dff, SCRIPTS + 22 },
    { 0x2e7f, PUNCTUATION },   { 0x2fff, SCRIPTS + 23 }, { 0x3004, PUNCTUATION },   { 0x3007, SCRIPTS + 23 },
    { 0x3040, PUNCTUATION },   { 0x9fff, SCRIPTS + 23 }, { 0xabff, SCRIPTS + 24 },  { 0xd7ff, SCRIPTS + 20 },
    { 0xf8ff, PUNCTUATION },   { 0xfaff, SCRIPTS + 23 }, { 0xfdff, SCRIPTS + 5 },   { 0xfe0f, INHERIT },
    { 0xff20, PUNCTUATION },   { 0xff3a, SCRIPTS },      { 0xff40, PUNCTUATION },   { 0xff5a, SCRIPTS },
    { 0xff65, PUNCTUATION },   { 0xff9f, SCRIPTS + 23 }, { 0xffdc, SCRIPTS + 20 },  { 0xffff, PUNCTUATION },
    { 0x1cfff, SCRIPTS + 25 }, { 0x1ffff, PUNCTUATION }, { 0x3ffff, SCRIPTS + 23 }, { 0x10ffff, PUNCTUATION },
};

static int kind_of(uint32_t cp) {
    if (cp < 0x80) {
        if (cp < 0x20 || cp == 0x7f) return CONTROL;
        if (cp >= '0' && cp <= '9') return DIGIT;
        return (cp | 32) >= 'a' && (cp | 32) <= 'z' ? SCRIPTS : PUNCTUATION;
    }
    size_t lo = 0, hi = GAL_LEN(RANGES) - 1;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp <= RANGES[mid].last)
            hi = mid;
        else
            lo = mid + 1;
    }
    return RANGES[lo].kind;
}

static gal_err no_memory(gal_diag *diag) { return gal_fail(diag, GAL_ENOMEM, "no memory for the words of the text"); }

static gal_err grow_slots(gal__words *w, gal_diag *diag) {
    size_t slots = w->mask ? 2 * (w->mask + 1) : 1 << 14;
    uint32_t *fresh = gal_alloc_array(slots, sizeof *fresh);
    if (!fresh) return no_memory(diag);
    for (size_t k = 0; k < w->len; k++) {
        size_t i = w->words[k].hash & (slots - 1);
        while (fresh[i]) i = (i + 1) & (slots - 1);
        fresh[i] = (uint32_t)k + 1;
    }
    gal_free(w->slots);
    w->slots = fresh;
    w->mask = slots - 1;
    return GAL_OK;
}

static gal_err count_word(gal__words *w, const char *s, size_t n, gal_diag *diag) {
    if (n == 0) return GAL_OK;
    if (2 * (w->len + 1) > w->mask) {
        gal_err err = grow_slots(w, diag);
        if (err) return err;
    }
    uint32_t h = gal__piece_hash(s, n);
    size_t i = h & w->mask;
    for (; w->slots[i]; i = (i + 1) & w->mask) {
        gal__word *old = &w->words[w->slots[i] - 1];
        if (old->hash != h || old->bytes != n || memcmp(w->bytes.data + old->at, s, n) != 0) continue;
        old->count++;
        return GAL_OK;
    }
    void *p = w->words;
    if (w->len >= UINT32_MAX - 1) return gal_fail(diag, GAL_ENOMEM, "more than 2^32 distinct words");
    if (w->len == w->cap && gal_grow(&p, &w->cap, w->len + 1, sizeof *w->words) != 0) return no_memory(diag);
    w->words = p;
    w->words[w->len] = (gal__word){ w->bytes.len, (uint32_t)n, h, 1 };
    gal_buf_add(&w->bytes, s, n);
    if (w->bytes.oom) return no_memory(diag);
    w->slots[i] = (uint32_t)++w->len;
    return GAL_OK;
}

/* The word being read. */
typedef struct cutter {
    char word[4 * MAX_CHARS + 8];
    size_t bytes;
    int chars, kind; /* kind of its letters, CONTROL while it holds none */
} cutter;

static gal_err flush(cutter *c, gal__words *w, gal_diag *diag) {
    gal_err err = count_word(w, c->word, c->bytes, diag);
    c->bytes = 0;
    c->chars = 0;
    c->kind = CONTROL;
    return err;
}

static void put(cutter *c, const char *s, size_t n) {
    memcpy(c->word + c->bytes, s, n);
    c->bytes += n;
    c->chars++;
}

gal_err gal__words_add(gal__words *w, const gal_bpe_options *o, const char *text, size_t n, bool first,
                       gal_diag *diag) {
    cutter c; /* its letters need no zeros */
    c.bytes = 0;
    c.chars = 0;
    c.kind = CONTROL;
    gal_err err = GAL_OK;
    if (n && first) put(&c, GAL__SPACE, GAL__SPACE_BYTES); /* as encoding puts it */
    for (size_t i = 0; i < n && !err;) {
        uint32_t cp;
        int len = gal_utf8_next(text + i, n - i, &cp);
        const char *s = text + i;
        int kind = len ? kind_of(cp) : CONTROL;
        i += (size_t)(len ? len : 1);
        if (kind == CONTROL) {
            err = flush(&c, w, diag);
        } else if (cp == ' ' || cp == 0x2581) {
            err = flush(&c, w, diag);
            put(&c, GAL__SPACE, GAL__SPACE_BYTES);
        } else if (kind == DIGIT && o->split_digits) {
            err = flush(&c, w, diag);
            put(&c, s, (size_t)len);
            if (!err) err = flush(&c, w, diag);
        } else {
            bool border = o->split_scripts && kind != INHERIT && c.kind != CONTROL && c.kind != kind;
            if (border || c.chars >= MAX_CHARS) err = flush(&c, w, diag);
            put(&c, s, (size_t)len);
            if (kind != INHERIT) c.kind = kind;
        }
    }
    return err ? err : flush(&c, w, diag);
}

void gal__words_free(gal__words *w) {
    gal_buf_free(&w->bytes);
    gal_free(w->words);
    gal_free(w->slots);
    *w = (gal__words){ 0 };
}
