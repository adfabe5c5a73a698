/* scan.c - see scan.h. Each scanner follows its pattern's alternatives in their order; what a matcher would find by
 * going back (the last letter that may stand at a word's end, the last line break of white space) is remembered on
 * the way, so no character is looked at more than three times. SPDX-License-Identifier: Apache-2.0 */
#include "text/scan.h"

#include "text/internal.h"
#include "text/unicode.h"

#include <string.h>

/* What the patterns ask of a character. No bit at all: the end of the text. */
enum {
    UPPER = 1,  /* Lu Lt Lm Lo M: may begin a word of Tekken's */
    LOWER = 2,  /* Ll Lm Lo M: may end it */
    LETTER = 4, /* L */
    NUMBER = 8, /* N */
    WHITE = 16,
    BREAK = 32, /* CR, LF */
    SLASH = 64,
    OTHER = 128 /* neither white nor letter nor number */
};

#define LU (UPPER | LETTER)
#define LL (LOWER | LETTER)
#define LO (UPPER | LOWER | LETTER)
#define MM (UPPER | LOWER | OTHER)
#define OO OTHER
#define NN NUMBER
#define WW WHITE
#define BB (WHITE | BREAK)
#define SL (OTHER | SLASH)
static const uint8_t ASCII[128] = {
    OO, OO, OO, OO, OO, OO, OO, OO, OO, WW, BB, WW, WW, BB, OO, OO, OO, OO, OO, OO, OO, OO, OO, OO, OO, OO,
    OO, OO, OO, OO, OO, OO, WW, OO, OO, OO, OO, OO, OO, OO, OO, OO, OO, OO, OO, OO, OO, SL, NN, NN, NN, NN,
    NN, NN, NN, NN, NN, NN, OO, OO, OO, OO, OO, OO, OO, LU, LU, LU, LU, LU, LU, LU, LU, LU, LU, LU, LU, LU,
    LU, LU, LU, LU, LU, LU, LU, LU, LU, LU, LU, LU, LU, OO, OO, OO, OO, OO, OO, LL, LL, LL, LL, LL, LL, LL,
    LL, LL, LL, LL, LL, LL, LL, LL, LL, LL, LL, LL, LL, LL, LL, LL, LL, LL, LL, OO, OO, OO, OO, OO,
};
static const uint8_t BY_CATEGORY[GAL_CATEGORIES] = {
    [GAL_CN] = OO, [GAL_LU] = LU, [GAL_LL] = LL, [GAL_LT] = LU, [GAL_LM] = LO, [GAL_LO] = LO,
    [GAL_MN] = MM, [GAL_MC] = MM, [GAL_ME] = MM, [GAL_ND] = NN, [GAL_NL] = NN, [GAL_NO] = NN,
    [GAL_PC] = OO, [GAL_PD] = OO, [GAL_PS] = OO, [GAL_PE] = OO, [GAL_PI] = OO, [GAL_PF] = OO,
    [GAL_PO] = OO, [GAL_SM] = OO, [GAL_SC] = OO, [GAL_SK] = OO, [GAL_SO] = OO, [GAL_ZS] = WW,
    [GAL_ZL] = WW, [GAL_ZP] = WW, [GAL_CC] = OO, [GAL_CF] = OO, [GAL_CS] = OO, [GAL_CO] = OO,
};

typedef struct at {
    unsigned is;  /* bits of the character */
    size_t bytes; /* its length */
} at;

static at wide(const uint8_t *p) {
    const uint32_t c = p[0], d = p[1] & 0x3fU;
    if (c < 0xe0) {
        const uint32_t cp = (c & 0x1f) << 6 | d;
        return (at){ cp == 0x85 ? WW : BY_CATEGORY[gal_category_of(cp)], 2 };
    }
    const uint32_t e = p[2] & 0x3fU;
    if (c < 0xf0) return (at){ BY_CATEGORY[gal_category_of((c & 0xf) << 12 | d << 6 | e)], 3 };
    return (at){ BY_CATEGORY[gal_category_of((c & 7) << 18 | d << 12 | e << 6 | (p[3] & 0x3fU))], 4 };
}

static inline at look(const uint8_t *p, const uint8_t *end) {
    if (p >= end) return (at){ 0, 0 };
    return *p < 0x80 ? (at){ ASCII[*p], 1 } : wide(p);
}

/* The end of the run of characters that have any of the bits. */
static inline const uint8_t *run(const uint8_t *p, const uint8_t *end, unsigned bits) {
    for (;;) {
        while (p < end && *p < 0x80 && (ASCII[*p] & bits)) p++;
        if (p >= end || *p < 0x80) return p;
        const at a = wide(p);
        if (!(a.is & bits)) return p;
        p += a.bytes;
    }
}

static bool may_lead(at a) { return a.bytes && !(a.is & (LETTER | NUMBER | BREAK)); } /* [^\r\n\p{L}\p{N}] */

/* \s*[\r\n]+|\s+(?!\S)|\s+   breaks false: without the first of them. */
static const uint8_t *white(const uint8_t *p, const uint8_t *end, bool breaks) {
    const uint8_t *q = p, *last = p, *broken = NULL;
    for (at a = look(q, end); a.is & WHITE; a = look(q, end)) {
        last = q;
        q += a.bytes;
        if (a.is & BREAK) broken = q;
    }
    if (breaks && broken) return broken;
    return q == end || last == p ? q : last;
}

/* [upper]*[lower]+|[upper]+[lower]*   *plain: capitals only, which the first alternative does not take. */
static const uint8_t *tekken_word(const uint8_t *p, const uint8_t *end, bool *plain) {
    const uint8_t *both = NULL;
    *plain = false;
    for (at a = look(p, end);; a = look(p, end)) {
        if (!(a.is & UPPER)) {
            if (a.is & LOWER) return run(p + a.bytes, end, LOWER);
            break;
        }
        p += a.bytes;
        if (a.is & LOWER) both = p;
    }
    *plain = !both;
    return both ? both : p;
}

const uint8_t *gal__scan_tekken(const uint8_t *p, const uint8_t *end) {
    const at a = look(p, end);
    bool plain = false;
    if (may_lead(a) && (look(p + a.bytes, end).is & (UPPER | LOWER))) {
        const uint8_t *q = tekken_word(p + a.bytes, end, &plain);
        /* A mark before capitals is a word by the first alternative, which comes before the second. */
        return plain && (a.is & UPPER) ? p + a.bytes : q;
    }
    if (a.is & (UPPER | LOWER)) return tekken_word(p, end, &plain);
    if (a.is & NUMBER) return p + a.bytes;
    const uint8_t *q = p + (*p == ' ');
    if (look(q, end).is & OTHER) return run(run(q, end, OTHER), end, BREAK | SLASH);
    return white(p, end, true);
}

/* What the scanners of others' patterns begin with: an apostrophe and one of s t re ve m ll d. */
static size_t contraction(const uint8_t *p, const uint8_t *end, bool folded) {
    if (*p != '\'' || end - p < 2) return 0;
    const uint8_t fold = folded ? 0x20 : 0;
    const uint8_t c = p[1] | fold;
    if (folded && end - p >= 3 && p[1] == 0xc5 && p[2] == 0xbf) return 3; /* U+017F folds to s */
    if (p[1] >= 0x80) return 0;
    if (c == 's' || c == 't' || c == 'm' || c == 'd') return 2;
    if (end - p < 3 || p[2] >= 0x80) return 0;
    const uint8_t d = p[2] | fold;
    return (c == 'r' && d == 'e') || (c == 'v' && d == 'e') || (c == 'l' && d == 'l') ? 3 : 0;
}

const uint8_t *gal__scan_llama3(const uint8_t *p, const uint8_t *end) {
    const size_t n = contraction(p, end, true);
    if (n) return p + n;
    const at a = look(p, end);
    if (may_lead(a) && (look(p + a.bytes, end).is & LETTER)) return run(p + a.bytes, end, LETTER);
    if (a.is & LETTER) return run(p, end, LETTER);
    if (a.is & NUMBER) {
        const uint8_t *q = p;
        for (int i = 0; i < 3; i++) {
            const at b = look(q, end);
            if (!(b.is & NUMBER)) break;
            q += b.bytes;
        }
        return q;
    }
    const uint8_t *q = p + (*p == ' ');
    if (look(q, end).is & OTHER) return run(run(q, end, OTHER), end, BREAK);
    return white(p, end, true);
}

const uint8_t *gal__scan_gpt2(const uint8_t *p, const uint8_t *end) {
    const size_t n = contraction(p, end, false);
    if (n) return p + n;
    const uint8_t *q = p + (*p == ' ');
    const unsigned is = look(q, end).is;
    if (is & LETTER) return run(q, end, LETTER);
    if (is & NUMBER) return run(q, end, NUMBER);
    if (is & OTHER) return run(q, end, OTHER);
    return white(p, end, false);
}

gal__scanner *gal__scanner_of(const char *pattern, size_t n) {
    static const struct {
        const char *pattern;
        gal__scanner *scan;
    } KNOWN[] = { { GAL__PATTERN_TEKKEN, gal__scan_tekken },
                  { GAL__PATTERN_LLAMA3, gal__scan_llama3 },
                  { GAL__PATTERN_GPT2, gal__scan_gpt2 } };
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (strlen(KNOWN[i].pattern) == n && memcmp(KNOWN[i].pattern, pattern, n) == 0) return KNOWN[i].scan;
    return NULL;
}
