/* jinja_lex.c - a template as tokens: text between tags (with the white space that tags take away: trim_blocks,
 * lstrip_blocks, "-" and "+"), and what stands in them. Line ends become "\n", one at the very end is dropped, as in
 * jinja2. SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"
#include "text/jinja_internal.h"
#include "text/template.h"

#include <string.h>

typedef struct lexer {
    gal__jinja *j;
    const char *s; /* normalised */
    size_t n, at, line_at;
    int line; /* of line_at */
    size_t counted;
    bool line_starting; /* what was read last ended a line */
    gal__jtoken *tokens;
    size_t count, cap;
} lexer;

/* j->line and column become those of `at`. Places are asked for in rising order, but for errors. */
static void place(lexer *x, size_t at) {
    if (at < x->counted) {
        x->counted = x->line_at = 0;
        x->line = 1;
    }
    for (; x->counted < at; x->counted++) {
        if (x->s[x->counted] != '\n') continue;
        x->line++;
        x->line_at = x->counted + 1;
    }
    x->j->line = x->line;
    x->j->column = (int)(at - x->line_at) + 1;
}

static void add(lexer *x, gal__jtok kind, size_t at, const char *s, size_t n) {
    if (x->count == x->cap) {
        const size_t cap = GAL_MAX(2 * x->cap, (size_t)64);
        gal__jtoken *more = gal__j_take(x->j, cap, sizeof *more);
        if (!more) return;
        if (x->count) memcpy(more, x->tokens, x->count * sizeof *more);
        x->tokens = more;
        x->cap = cap;
    }
    place(x, at);
    x->tokens[x->count++] = (gal__jtoken){ kind, x->j->line, x->j->column, { s, n } };
}

static void fail(lexer *x, size_t at, const char *why) {
    place(x, at);
    (void)gal__j_fail(x->j, "%s", why);
}

/* Bytes of white space at s, as `\s` of Python's re has it; 0: none. */
static size_t white(const char *s, size_t n) {
    uint32_t cp;
    const int len = gal_utf8_next(s, n, &cp);
    return len && gal__j_white(cp) ? (size_t)len : 0;
}

static void skip_white(lexer *x) {
    for (size_t m; x->at < x->n && (m = white(x->s + x->at, x->n - x->at)) > 0;) x->at += m;
}

/* The text before a tag, without what the tag takes away. */
static void data(lexer *x, size_t from, size_t to, char sign, bool print) {
    const char *s = x->s + from;
    size_t n = to - from;
    if (sign == '-') {
        n = gal_strip_end(s, n);
    } else if (sign != '+' && !print && !x->j->plain) {
        size_t line = n;
        while (line && s[line - 1] != '\n') line--;
        if ((line || x->line_starting) && line < n) {
            size_t i = line;
            for (size_t m; i < n && (m = white(s + i, n - i)) > 0;) i += m;
            if (i == n) n = line;
        }
    }
    if (n) add(x, GAL__T_DATA, from, s, n);
}

static char sign_at(const lexer *x, size_t at) {
    return at < x->n && (x->s[at] == '-' || x->s[at] == '+') ? x->s[at] : 0;
}

/* After the sign of an end: white space after "-", else one line end where blocks are trimmed. */
static void after_tag(lexer *x, char sign, bool trim) {
    const size_t from = x->at;
    if (sign == '-')
        skip_white(x);
    else if (sign != '+' && trim && !x->j->plain && x->at < x->n && x->s[x->at] == '\n')
        x->at++;
    x->line_starting = x->at > from && x->s[x->at - 1] == '\n';
}

static bool closes(const lexer *x, size_t at, const char *end, char *sign) {
    *sign = 0;
    if (at < x->n && (x->s[at] == '-' || (x->s[at] == '+' && end[0] != '}'))) *sign = x->s[at++];
    return at + 2 <= x->n && memcmp(x->s + at, end, 2) == 0;
}

static void comment(lexer *x, size_t open) {
    char sign = 0;
    while (x->at < x->n && !closes(x, x->at, "#}", &sign)) x->at++;
    if (x->at >= x->n) {
        fail(x, open, "a comment '{#' without its end '#}'");
        return;
    }
    x->at += sign ? 3 : 2;
    after_tag(x, sign, true);
}

/* ---- inside tags --------------------------------------------------------------------------------------------------
 */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c); }

static int hex(char c) {
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* What follows a backslash, as Python's unicode-escape reads it; i is after it. Returns bytes read. */
static size_t escape(lexer *x, const char *s, size_t n, size_t place_at, char *out, size_t *w) {
    static const char FROM[] = "\\'\"abfnrtv", TO[] = "\\'\"\a\b\f\n\r\t\v";
    const char *known = s[0] ? strchr(FROM, s[0]) : NULL;
    uint32_t cp = 0;
    size_t i = 1;
    if (s[0] == '\n') return 1;
    if (known) {
        out[(*w)++] = TO[known - FROM];
        return 1;
    }
    if (s[0] >= '0' && s[0] <= '7') {
        for (i = 0; i < n && i < 3 && s[i] >= '0' && s[i] <= '7'; i++) cp = 8 * cp + (uint32_t)(s[i] - '0');
    } else if (s[0] == 'x' || s[0] == 'u' || s[0] == 'U') {
        const size_t digits = s[0] == 'x' ? 2 : s[0] == 'u' ? 4 : 8;
        for (; i <= digits && i < n && hex(s[i]) >= 0; i++) cp = 16 * cp + (uint32_t)hex(s[i]);
        if (i <= digits) cp = UINT32_MAX;
    } else if (s[0] == 'N') {
        fail(x, place_at, "'\\N{...}' in a string is not supported");
        return n;
    } else { /* unknown: both stay */
        out[(*w)++] = '\\';
        out[(*w)++] = s[0];
        return 1;
    }
    const int len = gal_utf8_put(out + *w, cp);
    if (!len) fail(x, place_at, "an escape in a string that is no character");
    *w += (size_t)len;
    return i;
}

static void string(lexer *x) {
    const size_t open = x->at;
    const char quote = x->s[x->at];
    size_t end = open + 1, w = 0;
    while (end < x->n && x->s[end] != quote) end += x->s[end] == '\\' ? 2 : 1;
    if (end >= x->n) {
        fail(x, open, "a string without its end");
        return;
    }
    char *out = gal__j_take(x->j, end - open + 4, 1); /* no escape is longer than it is spelled, but "\x80", by 0 */
    for (size_t i = open + 1; out && i < end && !x->j->err;) {
        if (x->s[i] == '\\')
            i += 1 + escape(x, x->s + i + 1, end - i - 1, open, out, &w);
        else
            out[w++] = x->s[i++];
    }
    if (out && !x->j->err) add(x, GAL__T_STRING, open, out, w);
    x->at = end + 1;
}

static size_t digits(const lexer *x, size_t at) { /* with single '_' between them */
    while (at < x->n && (is_digit(x->s[at]) || (x->s[at] == '_' && at + 1 < x->n && is_digit(x->s[at + 1])))) at++;
    return at;
}

static void number(lexer *x) {
    const char *s = x->s;
    const size_t from = x->at;
    size_t end = digits(x, from);
    bool real = false;
    if (s[from] == '0' && from + 1 < x->n && strchr("xXoObB", s[from + 1])) {
        end = from + 2;
        while (end < x->n && is_word(s[end])) end++;
    } else if (from == 0 || s[from - 1] != '.') {
        if (end + 1 < x->n && s[end] == '.' && is_digit(s[end + 1])) {
            real = true;
            end = digits(x, end + 1);
        }
        size_t e = end + 1;
        if (end < x->n && (s[end] == 'e' || s[end] == 'E')) {
            if (e < x->n && (s[e] == '+' || s[e] == '-')) e++;
            if (e < x->n && is_digit(s[e])) {
                real = true;
                end = digits(x, e);
            }
        }
    }
    if (end < x->n && is_word(s[end])) fail(x, from, "a number with letters after it");
    if (!real && s[from] == '0' && end > from + 1 && is_digit(s[from + 1]))
        for (size_t i = from; i < end; i++)
            if (s[i] != '0' && s[i] != '_') fail(x, from, "a number with a zero before it");
    add(x, real ? GAL__T_REAL : GAL__T_INT, from, s + from, end - from);
    x->at = end;
}

static size_t operator_bytes(const lexer *x) {
    static const char *const OPS[] = { "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                       "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";" };
    for (size_t i = 0; i < GAL_LEN(OPS); i++) {
        const size_t n = strlen(OPS[i]);
        if (x->at + n <= x->n && memcmp(x->s + x->at, OPS[i], n) == 0) return n;
    }
    return 0;
}

enum { BRACKETS = 512 };

/* Up to the end of the tag; within brackets an end is none. */
static void inside(lexer *x, size_t open, bool print) {
    char stack[BRACKETS];
    size_t depth = 0;
    while (!x->j->err) {
        char sign = 0;
        skip_white(x);
        if (x->at >= x->n) break;
        if (!depth && closes(x, x->at, print ? "}}" : "%}", &sign)) {
            const size_t end = x->at;
            x->at += sign ? 3 : 2;
            after_tag(x, sign, !print);
            add(x, print ? GAL__T_PRINT_END : GAL__T_BLOCK_END, end, x->s + end, 2);
            return;
        }
        const char c = x->s[x->at];
        if (is_digit(c)) {
            number(x);
        } else if (is_word(c)) {
            const size_t from = x->at;
            while (x->at < x->n && is_word(x->s[x->at])) x->at++;
            add(x, GAL__T_NAME, from, x->s + from, x->at - from);
        } else if (c == '"' || c == '\'') {
            string(x);
        } else {
            const size_t m = operator_bytes(x);
            if (!m) {
                fail(x, x->at, "a character that has no meaning here");
                return;
            }
            if (strchr("([{", c)) {
                if (depth < BRACKETS) stack[depth] = c == '(' ? ')' : c == '[' ? ']' : '}';
                if (++depth > BRACKETS) fail(x, x->at, "too many brackets in one another");
            } else if (strchr(")]}", c) && (!depth || stack[--depth] != c)) {
                fail(x, x->at, "a bracket that closes nothing");
                return;
            }
            add(x, GAL__T_OP, x->at, x->s + x->at, m);
            x->at += m;
        }
    }
    if (!x->j->err) fail(x, open, print ? "'{{' without its end '}}'" : "'{%' without its end '%}'");
}

/* Whether `{% word %}` stands at `at`; its sign at the front, and where its end's sign begins. */
static bool plain_tag(const lexer *x, size_t at, const char *word, size_t *end) {
    const size_t n = strlen(word);
    if (at + 2 > x->n || memcmp(x->s + at, "{%", 2) != 0) return false;
    at += sign_at(x, at + 2) ? 3 : 2;
    for (size_t m; at < x->n && (m = white(x->s + at, x->n - at)) > 0;) at += m;
    if (at + n > x->n || memcmp(x->s + at, word, n) != 0) return false;
    at += n;
    for (size_t m; at < x->n && (m = white(x->s + at, x->n - at)) > 0;) at += m;
    *end = at;
    char sign;
    return closes(x, at, "%}", &sign);
}

static void raw(lexer *x, size_t open, size_t end) {
    char sign;
    size_t from, stop = 0;
    (void)closes(x, end, "%}", &sign);
    x->at = end + (sign ? 3 : 2);
    after_tag(x, sign, false);
    from = x->at;
    while (x->at < x->n && !plain_tag(x, x->at, "endraw", &stop)) x->at++;
    if (x->at >= x->n) {
        fail(x, open, "'{% raw %}' without its end");
        return;
    }
    data(x, from, x->at, sign_at(x, x->at + 2), false);
    (void)closes(x, stop, "%}", &sign);
    x->at = stop + (sign ? 3 : 2);
    after_tag(x, sign, true);
}

static void tag(lexer *x) {
    const size_t open = x->at;
    const char kind = x->s[open + 1], sign = sign_at(x, open + 2);
    size_t end = 0;
    x->at += sign ? 3 : 2;
    if (kind == '#') {
        comment(x, open);
    } else if (kind == '%' && plain_tag(x, open, "raw", &end)) {
        raw(x, open, end);
    } else {
        add(x, kind == '{' ? GAL__T_PRINT : GAL__T_BLOCK, open, x->s + open, 2);
        inside(x, open, kind == '{');
    }
}

static const char *normalise(gal__jinja *j, const char *source, size_t *n) {
    char *s = gal__j_take(j, *n + 1, 1);
    size_t w = 0;
    for (size_t i = 0; s && i < *n; i++) {
        if (source[i] == '\r') {
            s[w++] = '\n';
            if (i + 1 < *n && source[i + 1] == '\n') i++;
        } else {
            s[w++] = source[i];
        }
    }
    if (w && s[w - 1] == '\n' && !j->plain) w--;
    *n = w;
    return s;
}

const gal__jtoken *gal__j_lex(gal__jinja *j, const char *source, size_t n) {
    lexer x = { .j = j, .line = 1, .line_starting = true };
    x.s = normalise(j, source, &n);
    x.n = n;
    while (x.at < x.n && !j->err) {
        const size_t from = x.at;
        size_t to = from;
        while (to + 1 < x.n && !(x.s[to] == '{' && strchr("{%#", x.s[to + 1]) && x.s[to + 1])) to++;
        if (to + 1 >= x.n) to = x.n;
        if (to == x.n) {
            add(&x, GAL__T_DATA, from, x.s + from, to - from);
            x.at = to;
            break;
        }
        data(&x, from, to, sign_at(&x, to + 2), x.s[to + 1] == '{');
        x.at = to;
        tag(&x);
    }
    add(&x, GAL__T_END, x.n, "", 0);
    return j->err ? NULL : x.tokens;
}
