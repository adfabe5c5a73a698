/* split.c - see split.h. One call of the matcher finds up to GAL__WORDS words: the pattern is repeated, each time as
 * an atomic group that begins where the one before it ended, which is what finding one after the other does.
 * SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/split.h"

#include "base/mem.h"
#include "base/util.h"
#include "text/scan.h"
#include "text/unicode.h"

#include <pcre2.h>
#include <string.h>

enum {
    BEYOND = 0x80, /* first byte of what is beyond ASCII */
    NEXT_LINE = BEYOND + GAL_CATEGORIES,
    LONG_S, /* U+017F folds to s */
    KELVIN, /* U+212A folds to k */
    USED,   /* bytes of the shadow in use */
    PATTERN_BYTES = 4096,
    JIT_STACK = 1 << 20,
    STEPS = 1 << 28 /* the matcher's own measure; a text of 10 MB in one word takes a tenth of it */
};

struct gal__split {
    char *pattern;
    gal__scanner *scan; /* NULL: the matcher looks for words */
    pcre2_code *code;
};

struct gal__splitting {
    const gal__split *split;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    char *shadow;
    size_t shadow_cap, chars, at; /* characters in all, and begun with next */
    const char *text, *end;
    bool ascii, gap;
};

/* ---- the pattern, in bytes of the shadow -------------------------------------------------------------------------
 */

typedef struct set {
    bool has[256];
} set;

static gal_category category_of_byte(int b) {
    if (b < BEYOND) return gal_category_of((uint32_t)b);
    if (b < NEXT_LINE) return (gal_category)(b - BEYOND);
    return b == LONG_S ? GAL_LL : b == KELVIN ? GAL_LU : GAL_CC;
}

/* "L", "Lu", "N": every category whose name begins so. */
static bool property(set *s, const char *name, size_t n) {
    static const char NAMES[GAL_CATEGORIES][3] = { "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd",
                                                   "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
                                                   "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co" };
    bool known = false;
    *s = (set){ 0 };
    for (int b = 0; b < USED && n >= 1 && n <= 2; b++) {
        if (memcmp(NAMES[category_of_byte(b)], name, n) != 0) continue;
        s->has[b] = known = true;
    }
    return known;
}

static void white(set *s) {
    *s = (set){ 0 };
    for (int b = 0; b < USED; b++) {
        gal_category c = category_of_byte(b);
        s->has[b] = b < BEYOND ? gal_is_white((uint32_t)b)
                               : b == NEXT_LINE || c == GAL_ZS || c == GAL_ZL || c == GAL_ZP;
    }
}

/* As the inside of a class. */
static void put_set(gal_buf *out, const set *s, bool negated) {
    for (int b = 0; b < 256; b++) {
        if (s->has[b] == negated) continue;
        int last = b;
        while (last < 255 && s->has[last + 1] != negated) last++;
        gal_buf_printf(out, last > b ? "\\x{%02x}-\\x{%02x}" : "\\x{%02x}", b, last);
        b = last;
    }
}

typedef struct rewriter {
    const char *p, *end, *name;
    gal_buf *out;
    gal_diag *diag;
    bool in_class, folded;
    bool fold_of[64]; /* by depth of groups: folded outside them */
    int depth;
} rewriter;

static gal_err refuse(const rewriter *r, const char *what) {
    return gal_fail(r->diag, GAL_EINPUT, "%s: pattern: %s is not supported, at '%.20s'", r->name, what, r->p);
}

/* \p{L}, \P{L}, \pL, \s, \d and their complements: a class, or part of the one around it. */
static gal_err rewrite_escape(rewriter *r) {
    const char *p = r->p;
    set s;
    if (r->end - p < 2) return refuse(r, "a pattern that ends in a backslash");
    char c = p[1];
    size_t used = 2;
    if (c == 'p' || c == 'P') {
        const char *from = p + 2, *to = from + 1;
        if (from < r->end && *from == '{') {
            from++;
            to = memchr(from, '}', (size_t)(r->end - from));
        }
        if (!to || to > r->end || from >= r->end || !property(&s, from, (size_t)(to - from)))
            return refuse(r, "this property");
        used = (size_t)(to - p) + (p[2] == '{');
    } else if (c == 's' || c == 'S') {
        white(&s);
    } else if (c == 'd' || c == 'D') {
        (void)property(&s, "Nd", 2);
    } else {
        const bool word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if ((word && !strchr("rnt", c)) || (uint8_t)c >= 0x80) return refuse(r, "this escape");
        gal_buf_add(r->out, p, 2);
        r->p += 2;
        return GAL_OK;
    }
    bool negated = c == 'P' || c == 'S' || c == 'D';
    if (!r->in_class) gal_buf_puts(r->out, negated ? "[^" : "[");
    put_set(r->out, &s, negated && r->in_class);
    if (!r->in_class) gal_buf_puts(r->out, "]");
    r->p += used;
    return GAL_OK;
}

/* Groups: those that look, (?: and (?i:, and plain ones, which do not capture. */
static gal_err rewrite_group(rewriter *r) {
    static const char *const KINDS[] = { "(?i:", "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(" };
    size_t left = (size_t)(r->end - r->p);
    for (size_t i = 0; i < GAL_LEN(KINDS); i++) {
        size_t n = strlen(KINDS[i]);
        if (left < n || memcmp(r->p, KINDS[i], n) != 0) continue;
        if (n == 1 && left > 1 && (r->p[1] == '?' || r->p[1] == '*')) return refuse(r, "this group");
        if (r->depth == (int)GAL_LEN(r->fold_of)) return refuse(r, "a group so deep");
        r->fold_of[r->depth++] = r->folded;
        r->folded = r->folded || i == 0;
        gal_buf_add(r->out, KINDS[i], n);
        r->p += n;
        return GAL_OK;
    }
    return refuse(r, "this group");
}

static gal_err rewrite_one(rewriter *r) {
    char c = *r->p;
    if ((uint8_t)c >= 0x80) return refuse(r, "a character beyond ASCII");
    if (c == 0) return refuse(r, "U+0000");
    if (c == '\\') return rewrite_escape(r);
    if (r->in_class) {
        if (c == '[' || (c == '&' && r->p + 1 < r->end && r->p[1] == '&')) return refuse(r, "a class in a class");
        if (r->folded && strchr("sSkK", c)) return refuse(r, "s or k in a class without case");
        r->in_class = c != ']';
    } else if (c == '(') {
        return rewrite_group(r);
    } else if (c == ')') {
        if (!r->depth) return refuse(r, "a ')' without its '('");
        r->folded = r->fold_of[--r->depth];
    } else if (c == '[') {
        r->in_class = true;
        gal_buf_putc(r->out, c);
        r->p++;
        if (r->p < r->end && *r->p == '^') gal_buf_putc(r->out, *r->p++);
        if (r->p < r->end && *r->p == ']') return refuse(r, "an empty class");
        return GAL_OK;
    } else if (c == '#' || c == '$' || c == '^') {
        return refuse(r, "this sign");
    } else if (r->folded && (c == 's' || c == 'S' || c == 'k' || c == 'K')) {
        gal_buf_printf(r->out, "[%c\\x{%02x}]", c, c == 's' || c == 'S' ? LONG_S : KELVIN);
        r->p++;
        return GAL_OK;
    }
    gal_buf_putc(r->out, c);
    r->p++;
    return GAL_OK;
}

static gal_err rewrite(gal_buf *out, const char *pattern, size_t n, const char *name, gal_diag *diag) {
    rewriter r = { .p = pattern, .end = pattern + n, .name = name, .out = out, .diag = diag };
    gal_err err = GAL_OK;
    while (r.p < r.end && !err) err = rewrite_one(&r);
    if (!err && (r.in_class || r.depth)) err = refuse(&r, "a pattern without its end");
    return err;
}

/* (?<w0>(?>P))(?:(?<w1>(?>P))(?:...)?+)?+ */
static void repeat(gal_buf *out, const char *p, size_t n) {
    for (int i = 0; i < GAL__WORDS; i++) {
        gal_buf_printf(out, i ? "(?:(?<w%d>(?>" : "(?<w%d>(?>", i);
        gal_buf_add(out, p, n);
        gal_buf_puts(out, "))");
    }
    for (int i = 1; i < GAL__WORDS; i++) gal_buf_puts(out, ")?+");
}

static gal_err compile(gal__split *s, const char *p, size_t n, const char *name, gal_diag *diag) {
    int number = 0;
    size_t at = 0;
    s->code = pcre2_compile((PCRE2_SPTR)p, n, PCRE2_NO_AUTO_CAPTURE | PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C,
                            &number, &at, NULL);
    uint32_t nothing = 0;
    if (s->code) (void)pcre2_pattern_info(s->code, PCRE2_INFO_MATCHEMPTY, &nothing);
    if (nothing) return gal_fail(diag, GAL_EINPUT, "%s: pattern: it matches an empty text", name);
    if (s->code) {
        (void)pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE); /* without it pcre2_match interprets */
        return GAL_OK;
    }
    char why[160] = "";
    (void)pcre2_get_error_message(number, (PCRE2_UCHAR *)why, sizeof why);
    return gal_fail(diag, number == PCRE2_ERROR_HEAP_FAILED ? GAL_ENOMEM : GAL_EINPUT, "%s: pattern: %s", name, why);
}

gal_err gal__split_new(gal__split **out, const char *pattern, size_t n, const char *name, gal_diag *diag) {
    if (n == 0 || n > PATTERN_BYTES)
        return gal_fail(diag, GAL_EINPUT, "%s: pattern: %zu bytes, expected 1 to %d", name, n, PATTERN_BYTES);
    gal__split *s = gal_alloc(sizeof *s);
    gal_buf one = { 0 }, all = { 0 };
    if (s) s->pattern = gal_alloc(n + 1);
    gal_err err = s && s->pattern ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "%s: no memory for its pattern", name);
    if (!err) memcpy(s->pattern, pattern, n);
    if (!err) s->scan = gal__scanner_of(pattern, n);
    if (!err && !s->scan) err = rewrite(&one, s->pattern, n, name, diag);
    if (!err && !s->scan && !one.oom) repeat(&all, one.data, one.len);
    if (!err && (one.oom || all.oom)) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for its pattern", name);
    if (!err && !s->scan) err = compile(s, all.data, all.len, name, diag);
    gal_buf_free(&one);
    gal_buf_free(&all);
    if (err)
        gal__split_free(s);
    else
        *out = s;
    return err;
}

void gal__split_free(gal__split *s) {
    if (!s) return;
    pcre2_code_free(s->code);
    gal_free(s->pattern);
    gal_free(s);
}

const char *gal__split_pattern(const gal__split *s) { return s->pattern; }

/* ---- words -------------------------------------------------------------------------------------------------------
 */

gal_err gal__splitting_new(gal__splitting **out, const gal__split *s, gal_diag *diag) {
    gal__splitting *w = gal_alloc(sizeof *w);
    if (w) w->split = s;
    if (w && s->scan) {
        *out = w;
        return GAL_OK;
    }
    if (w) {
        w->match = pcre2_match_data_create_from_pattern(s->code, NULL);
        w->context = pcre2_match_context_create(NULL);
        w->stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK, NULL);
    }
    if (!w || !w->match || !w->context || !w->stack) {
        gal__splitting_free(w);
        return gal_fail(diag, GAL_ENOMEM, "no memory for cutting text into words");
    }
    pcre2_jit_stack_assign(w->context, NULL, w->stack);
    (void)pcre2_set_match_limit(w->context, STEPS);
    *out = w;
    return GAL_OK;
}

void gal__splitting_free(gal__splitting *w) {
    if (!w) return;
    pcre2_match_data_free(w->match);
    pcre2_match_context_free(w->context);
    pcre2_jit_stack_free(w->stack);
    gal_free(w->shadow);
    gal_free(w);
}

static uint8_t shadow_of(uint32_t cp) {
    if (cp == 0x85) return NEXT_LINE;
    if (cp == 0x17f) return LONG_S;
    if (cp == 0x212a) return KELVIN;
    return (uint8_t)(BEYOND + (int)gal_category_of(cp));
}

static size_t char_bytes(const char *p) { /* valid UTF-8 */
    uint8_t c = (uint8_t)*p;
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

gal_err gal__splitting_begin(gal__splitting *w, const char *text, size_t n, gal_diag *diag) {
    void *p = w->shadow;
    w->text = text;
    w->end = text + n;
    if (w->split->scan) return GAL_OK;
    if (w->shadow_cap < n && gal_grow(&p, &w->shadow_cap, n, 1) != 0)
        return gal_fail(diag, GAL_ENOMEM, "no memory for cutting %zu bytes of text into words", n);
    w->shadow = p;
    char *out = w->shadow;
    const char *end = text + n;
    w->at = 0;
    while (text < end) {
        uint64_t eight;
        while (end - text >= 8) {
            memcpy(&eight, text, 8);
            if (eight & 0x8080808080808080U) break;
            memcpy(out, &eight, 8);
            text += 8;
            out += 8;
        }
        while (text < end && (uint8_t)*text < 0x80) *out++ = *text++;
        while (text < end && (uint8_t)*text >= 0x80) {
            uint32_t cp = 0xfffd;
            int len = gal_utf8_next(text, (size_t)(end - text), &cp);
            GAL_ASSERT(len > 0);
            *out++ = (char)shadow_of(cp);
            text += len;
        }
    }
    w->chars = (size_t)(out - w->shadow);
    w->ascii = w->chars == n;
    return GAL_OK;
}

/* Characters of the shadow up to `to` as bytes of the text; moves on. */
static size_t take(gal__splitting *w, size_t to) {
    size_t bytes = to - w->at;
    if (!w->ascii) {
        const char *p = w->text;
        for (size_t i = w->at; i < to; i++) p += char_bytes(p);
        bytes = (size_t)(p - w->text);
    }
    w->text += bytes;
    w->at = to;
    return bytes;
}

gal_err gal__splitting_next(gal__splitting *w, size_t bytes[GAL__WORDS], int *count, gal_diag *diag) {
    *count = 0;
    w->gap = false;
    if (w->split->scan) {
        const uint8_t *p = (const uint8_t *)w->text, *end = (const uint8_t *)w->end;
        for (const uint8_t *from = p; p < end && *count < GAL__WORDS; from = p) {
            p = w->split->scan(p, end);
            bytes[(*count)++] = (size_t)(p - from);
        }
        w->text = (const char *)p;
        return GAL_OK;
    }
    if (w->at == w->chars) return GAL_OK;
    int n = pcre2_match(w->split->code, (PCRE2_SPTR)w->shadow, w->chars, w->at, PCRE2_NOTEMPTY, w->match, w->context);
    if (n == PCRE2_ERROR_NOMATCH) {
        w->gap = true;
        bytes[(*count)++] = take(w, w->chars);
        return GAL_OK;
    }
    if (n == PCRE2_ERROR_MATCHLIMIT || n == PCRE2_ERROR_JIT_STACKLIMIT || n == PCRE2_ERROR_DEPTHLIMIT ||
        n == PCRE2_ERROR_HEAPLIMIT)
        return gal_fail(diag, GAL_EINPUT, "the vocabulary's pattern takes too long on this text");
    if (n < 0) return gal_fail(diag, GAL_ENOMEM, "no memory for cutting text into words (PCRE2 says %d)", n);
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(w->match);
    if (at[2] > w->at) { /* what lies before the match */
        w->gap = true;
        bytes[(*count)++] = take(w, at[2]);
        return GAL_OK;
    }
    for (int i = 1; i < n && at[2 * i] != PCRE2_UNSET && at[2 * i + 1] > w->at; i++)
        bytes[(*count)++] = take(w, at[2 * i + 1]);
    GAL_ASSERT(*count > 0);
    return GAL_OK;
}

bool gal__splitting_gap(const gal__splitting *w) { return w->gap; }
