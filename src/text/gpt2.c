/* gpt2.c - vocabularies that spell bytes as characters, as GPT-2's did (formats.md 4.2): each byte that prints stands
 * for itself, the other 68 are U+0100 and up, in order. Pieces and merges become bytes and ids.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/hf.h"

#include <string.h>

static bool prints(uint32_t b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255); }

/* The others, in order: 0 to 32, 127 to 160, 173. */
enum { FIRST = 33, MIDDLE = 127, MIDDLES = 34, LAST = 173 };

/* The byte that a character stands for, -1 if it stands for none. */
static int byte_of(uint32_t cp) {
    if (cp < 256) return prints(cp) ? (int)cp : -1;
    const uint32_t k = cp - 256;
    return k < FIRST ? (int)k : k < FIRST + MIDDLES ? (int)(MIDDLE + k - FIRST) : k == FIRST + MIDDLES ? LAST : -1;
}

void gal__spell_byte(gal_buf *out, uint8_t byte) {
    const uint32_t b = byte;
    const uint32_t other = b < FIRST ? b : b == LAST ? FIRST + MIDDLES : FIRST + b - MIDDLE;
    char utf8[4];
    gal_buf_add(out, utf8, (size_t)gal_utf8_put(utf8, prints(b) ? b : 256 + other));
}

bool gal__unspell(gal_buf *out, const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        const int len = gal_utf8_next(s + i, n - i, &cp), byte = len ? byte_of(cp) : -1;
        if (byte < 0) return false;
        if (out) gal_buf_putc(out, (char)byte);
        i += (size_t)len;
    }
    return true;
}

static const struct {
    const char *pre, *pattern;
    bool whole_words;
} PATTERNS[] = {
    { "tekken", GAL__PATTERN_TEKKEN, true },     { "llama-bpe", GAL__PATTERN_LLAMA3, true },
    { "llama3", GAL__PATTERN_LLAMA3, true },     { "llama-v3", GAL__PATTERN_LLAMA3, true },
    { "gpt-2", GAL__PATTERN_GPT2, false },       { "dbrx", GAL__PATTERN_LLAMA3, false },
    { "smaug-bpe", GAL__PATTERN_LLAMA3, false },
};

const char *gal__pre_of(const char *pattern, bool whole_words) {
    for (size_t i = 0; i < GAL_LEN(PATTERNS); i++)
        if (strcmp(PATTERNS[i].pattern, pattern) == 0 && PATTERNS[i].whole_words == whole_words)
            return PATTERNS[i].pre;
    return NULL;
}

typedef struct build {
    gal_buf bytes;
    size_t *offsets;
    gal__merge_pair *merges;
} build;

static gal_err spell(build *b, const gal_byte_vocab *v, size_t i, const char *name, gal_diag *diag) {
    const char *p = v->pieces[i], *end = p + v->lengths[i];
    while (p < end) {
        uint32_t cp;
        const int len = gal_utf8_next(p, (size_t)(end - p), &cp), byte = len ? byte_of(cp) : -1;
        if (byte < 0)
            return gal_fail(diag, GAL_EINPUT,
                            "%s: piece %zu, '%.*s': expected bytes spelled as GPT-2's vocabulary spells them", name,
                            i, (int)GAL_MIN(v->lengths[i], (size_t)40), v->pieces[i]);
        gal_buf_putc(&b->bytes, (char)byte);
        p += len;
    }
    return GAL_OK;
}

static gal_err spell_all(build *b, const gal_byte_vocab *v, const char *name, gal_diag *diag) {
    gal_err err = GAL_OK;
    b->offsets = gal_alloc_array(v->count + 1, sizeof *b->offsets);
    if (!b->offsets) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %zu pieces", name, v->count);
    for (size_t i = 0; i < v->count && !err; i++) {
        if (v->types[i] == GAL_PIECE_NORMAL)
            err = spell(b, v, i, name, diag);
        else
            gal_buf_add(&b->bytes, v->pieces[i], v->lengths[i]);
        b->offsets[i + 1] = b->bytes.len;
    }
    if (!err && b->bytes.oom) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for %zu pieces", name, v->count);
    return err;
}

/* Ids by spelling, open addressing. */
typedef struct names {
    int32_t *slots;
    size_t mask;
} names;

static int32_t *place(const names *t, const gal_byte_vocab *v, const char *s, size_t n) {
    for (size_t i = gal__piece_hash(s, n) & t->mask;; i = (i + 1) & t->mask) {
        int32_t *at = &t->slots[i];
        if (*at < 0 || (v->lengths[*at] == n && memcmp(v->pieces[*at], s, n) == 0)) return at;
    }
}

static gal_err merge_of(gal__merge_pair *out, const names *t, const gal_byte_vocab *v, size_t i, gal_buf *joined,
                        const char *name, gal_diag *diag) {
    const char *s = v->merges[i], *gap = memchr(s, ' ', v->merge_lengths[i]);
    const size_t n = v->merge_lengths[i], left = gap ? (size_t)(gap - s) : 0;
    gal_buf_clear(joined);
    if (gap) {
        gal_buf_add(joined, s, left);
        gal_buf_add(joined, gap + 1, n - left - 1);
        if (joined->oom) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for its merges", name);
        *out = (gal__merge_pair){ *place(t, v, s, left), *place(t, v, gap + 1, n - left - 1),
                                  *place(t, v, joined->data, joined->len) };
    }
    if (!gap || out->left < 0 || out->right < 0 || out->id < 0)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: merge %zu, '%.*s': expected two pieces and a space, which join to a piece", name, i,
                        (int)GAL_MIN(n, (size_t)60), s);
    return GAL_OK;
}

static gal_err read_merges(build *b, const gal_byte_vocab *v, const char *name, gal_diag *diag) {
    names t = { 0 };
    gal_buf joined = { 0 };
    size_t slots = 16;
    while (slots < 2 * v->count) slots *= 2;
    t.mask = slots - 1;
    t.slots = gal_alloc_array(slots, sizeof *t.slots);
    b->merges = gal_alloc_array(v->n_merges + 1, sizeof *b->merges);
    gal_err err = t.slots && b->merges ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "%s: no memory for its merges", name);
    for (size_t i = 0; i < slots && !err; i++) t.slots[i] = -1;
    for (size_t i = 0; i < v->count && !err; i++)
        if (v->types[i] == GAL_PIECE_NORMAL) *place(&t, v, v->pieces[i], v->lengths[i]) = (int32_t)i;
    for (size_t i = 0; i < v->n_merges && !err; i++) err = merge_of(&b->merges[i], &t, v, i, &joined, name, diag);
    gal_free(t.slots);
    gal_buf_free(&joined);
    return err;
}

gal_err gal_tokenizer_from_bytes(gal_tokenizer **out, const gal_byte_vocab *v, const char *name, gal_diag *diag) {
    build b = { 0 };
    gal__byte_vocab made = { .kind = "byte-level BPE",
                             .count = v->count,
                             .types = v->types,
                             .pattern = v->pattern,
                             .pattern_bytes = v->pattern ? strlen(v->pattern) : 0,
                             .whole_words = v->whole_words,
                             .n_merges = v->n_merges,
                             .unk = v->unk,
                             .bos = v->bos,
                             .eos = v->eos,
                             .pad = v->pad,
                             .no_bos = v->no_bos };
    for (size_t i = 0; v->pre && i < GAL_LEN(PATTERNS); i++)
        if (strcmp(PATTERNS[i].pre, v->pre) == 0) {
            made.pattern = PATTERNS[i].pattern;
            made.pattern_bytes = strlen(made.pattern);
            made.whole_words = PATTERNS[i].whole_words;
        }
    if (!made.pattern)
        return gal_fail(diag, GAL_EINPUT, "%s: words are cut as in \"%.40s\", which is not supported yet", name,
                        v->pre ? v->pre : "");
    gal_err err = spell_all(&b, v, name, diag);
    if (!err) err = read_merges(&b, v, name, diag);
    made.bytes = b.bytes.data ? b.bytes.data : "";
    made.offsets = b.offsets;
    made.merges = b.merges;
    gal_tokenizer *t = NULL;
    if (!err) err = gal__tokenizer_from_bytes(&t, &made, name, diag);
    if (!err && v->match_user) err = gal__hf_match_users(t, name, diag);
    if (err) {
        gal_tokenizer_free(t);
    } else {
        t->version = gal__version_by_names(t);
        *out = t;
    }
    gal_buf_free(&b.bytes);
    gal_free(b.offsets);
    gal_free(b.merges);
    return err;
}
