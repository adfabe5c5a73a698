/* jinja_case.c - upper, lower, title and capital letters as Python's str has them. SPDX-License-Identifier:
 * Apache-2.0 */
#include "base/util.h"
#include "text/case.h"
#include "text/jinja_internal.h"
#include "text/unicode.h"

#include <string.h>

typedef struct table {
    const gal__case_run *runs;
    const gal__case_long *longs;
    size_t n_runs, n_longs;
} table;

static table table_of(gal__jcase how) {
    if (how == GAL__UPPER)
        return (table){ gal__case_upper, gal__case_upper_long, gal__case_upper_runs, gal__case_upper_longs };
    if (how == GAL__LOWER)
        return (table){ gal__case_lower, gal__case_lower_long, gal__case_lower_runs, gal__case_lower_longs };
    return (table){ gal__case_title, gal__case_title_long, gal__case_title_runs, gal__case_title_longs };
}

/* What a character becomes; its bytes in out. */
static size_t change(const table *t, uint32_t cp, char out[16]) {
    size_t lo = 0, hi = t->n_longs;
    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        if (t->longs[mid].cp < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < t->n_longs && t->longs[lo].cp == cp) {
        const size_t n = strlen(t->longs[lo].text);
        memcpy(out, t->longs[lo].text, n);
        return n;
    }
    for (lo = 0, hi = t->n_runs; lo < hi;) {
        const size_t mid = (lo + hi) / 2;
        if (t->runs[mid].last < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    /* Runs of every second character may lie in one another. */
    for (size_t i = lo; i < t->n_runs && i < lo + 2; i++) {
        const gal__case_run *r = &t->runs[i];
        if (cp < r->first || cp > r->last || (cp - r->first) % (uint32_t)r->step) continue;
        cp = (uint32_t)((int32_t)cp + r->delta);
        break;
    }
    return (size_t)gal_utf8_put(out, cp);
}

static size_t change_ascii(gal__jcase how, char c, char out[16]) {
    const bool up = how == GAL__UPPER || how == GAL__TITLE;
    out[0] = up && c >= 'a' && c <= 'z'                  ? (char)(c - 32)
             : how == GAL__LOWER && c >= 'A' && c <= 'Z' ? (char)(c + 32)
                                                         : c;
    return 1;
}

static bool cased(uint32_t cp) {
    const gal_category c = gal_category_of(cp);
    return c == GAL_LU || c == GAL_LL || c == GAL_LT || cp == 0xaa || cp == 0xba;
}

static bool passed_over(uint32_t cp) { /* Case_Ignorable */
    const gal_category c = gal_category_of(cp);
    return c == GAL_MN || c == GAL_ME || c == GAL_CF || c == GAL_LM || c == GAL_SK || cp == '\'' || cp == '.' ||
           cp == ':' || cp == 0xb7 || cp == 0x2018 || cp == 0x2019 || cp == 0x2024 || cp == 0x2027;
}

/* A capital sigma at i ends a word: its small form is another. */
static bool ends_word(const gal__jtext *t, size_t i) {
    uint32_t cp = 0;
    size_t at = i;
    bool before = false;
    while (at > 0) {
        do at--;
        while (at > 0 && ((uint8_t)t->s[at] & 0xc0) == 0x80);
        if (!gal_utf8_next(t->s + at, t->n - at, &cp)) return false;
        if (passed_over(cp)) continue;
        before = cased(cp);
        break;
    }
    for (at = i + 2; before && at < t->n;) {
        const int len = gal_utf8_next(t->s + at, t->n - at, &cp);
        if (!len) break;
        at += (size_t)len;
        if (!passed_over(cp)) return !cased(cp);
    }
    return before;
}

gal__jv gal__j_recase(gal__jinja *j, const gal__jtext *t, gal__jcase how) {
    gal__jout o = { 0 };
    bool word = false; /* a letter with case stands before */
    if (!gal__j_work(j, 8 * t->n)) return gal__j_undefined(NULL);
    for (size_t i = 0; i < t->n && !j->err;) {
        char out[16];
        uint32_t cp = 0;
        const int len = gal_utf8_next(t->s + i, t->n - i, &cp);
        gal__jcase now = how;
        if (how == GAL__CAPITAL) now = i ? GAL__LOWER : GAL__TITLE;
        if (how == GAL__TITLE && word) now = GAL__LOWER;
        const table tab = table_of(now);
        size_t n = cp < 0x80 ? change_ascii(now, t->s[i], out) : change(&tab, cp, out);
        if (now == GAL__LOWER && cp == 0x3a3 && gal__j_work(j, 64) && ends_word(t, i)) {
            out[0] = (char)0xcf; /* the sigma of an end */
            out[1] = (char)0x82;
            n = 2;
        }
        gal__j_put(j, &o, out, n, t->from ? t->from[i] : t->origin);
        word = cased(cp);
        i += (size_t)GAL_MAX(len, 1);
    }
    return gal__j_built(j, &o);
}
