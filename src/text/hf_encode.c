/* hf_encode.c - the long way from text to words, see hf.h. Each step writes the words anew; where it changes bytes it
 * writes these anew, too. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/hf.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

typedef struct span {
    size_t at, n; /* of the text in work */
} span;
typedef struct spans {
    span *at;
    size_t len, cap;
    bool oom;
} spans;

struct gal__hf_work {
    gal_buf change[2], step[2]; /* the text after rules and after steps; each is made of the other */
    spans words, next;
    gal__splitting *cutters[GAL__HF_STEPS];
};

void gal__hf_work_free(gal__hf_work *w) {
    if (!w) return;
    for (int i = 0; i < 2; i++) {
        gal_buf_free(&w->change[i]);
        gal_buf_free(&w->step[i]);
    }
    for (size_t i = 0; i < GAL__HF_STEPS; i++) gal__splitting_free(w->cutters[i]);
    gal_free(w->words.at);
    gal_free(w->next.at);
    gal_free(w);
}

static gal_err work_of(gal__hf_work **out, gal_token_scratch *s, const gal__hf *h, gal_diag *diag) {
    gal_err err = GAL_OK;
    if (!s->hf) s->hf = gal_alloc(sizeof *s->hf);
    if (!s->hf) return gal__no_memory(diag);
    for (size_t i = 0; i < h->n_steps && !err; i++)
        if (h->steps[i].pattern && !s->hf->cutters[i])
            err = gal__splitting_new(&s->hf->cutters[i], h->steps[i].pattern, diag);
    *out = s->hf;
    return err;
}

/* ---- rules -------------------------------------------------------------------------------------------------------
 */

static bool begins(const char *p, size_t n, const char *with, size_t m) { return n >= m && memcmp(p, with, m) == 0; }

static void replace(gal_buf *out, const char *p, size_t n, gal__string from, gal__string to) {
    size_t kept = 0;
    for (size_t i = 0; i < n;) {
        const char *at = memchr(p + i, from.s[0], n - i);
        if (!at) break;
        i = (size_t)(at - p);
        if (begins(p + i, n - i, from.s, from.n)) {
            gal_buf_add(out, p + kept, i - kept);
            gal_buf_add(out, to.s, to.n);
            i += from.n;
            kept = i;
        } else {
            i++;
        }
    }
    gal_buf_add(out, p + kept, n - kept);
}

static void join_runs(gal_buf *out, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != ' ' || i == 0 || p[i - 1] != ' ') gal_buf_putc(out, p[i]);
}

static void apply_rule(gal_buf *out, const gal__rule *r, const char *p, size_t n, bool begin) {
    gal_buf_clear(out);
    switch (r->kind) {
    case GAL__RULE_PREPEND:
        if (n && begin) gal_buf_add(out, r->to.s, r->to.n);
        break;
    case GAL__RULE_DOUBLE:
        if (begin && begins(p, n, GAL__SPACE, GAL__SPACE_BYTES)) gal_buf_add(out, GAL__SPACE, GAL__SPACE_BYTES);
        break;
    case GAL__RULE_REPLACE:
        replace(out, p, n, r->from, r->to);
        return;
    case GAL__RULE_TRIM:
        for (; n && *p == ' '; n--) p++;
        while (n && p[n - 1] == ' ') n--;
        break;
    case GAL__RULE_RUNS:
        join_runs(out, p, n);
        return;
    }
    gal_buf_add(out, p, n);
}

/* begin: the text is not the continuation of another. */
static gal_err apply_rules(const gal__hf *h, gal_buf two[2], const char **p, size_t *n, bool begin, gal_diag *diag) {
    for (size_t i = 0; i < h->n_rules; i++) {
        GAL_ASSERT(two);
        gal_buf *out = &two[i % 2];
        apply_rule(out, &h->rules[i], *p, *n, begin);
        if (out->oom) {
            gal_buf_free(out);
            return gal__no_memory(diag);
        }
        *p = out->data ? out->data : "";
        *n = out->len;
    }
    return GAL_OK;
}

/* ---- added tokens ------------------------------------------------------------------------------------------------
 */

static int by_text(const void *a, const void *b) {
    const gal__added *x = *(const gal__added *const *)a, *y = *(const gal__added *const *)b;
    if (x->match.n != y->match.n) return x->match.n < y->match.n ? -1 : 1;
    return memcmp(x->match.s, y->match.s, x->match.n);
}

/* Of those that match the same text the special ones come first, then they stand as the file has them. */
static int by_order(const void *a, const void *b) {
    const gal__added *x = *(const gal__added *const *)a, *y = *(const gal__added *const *)b;
    const int order = by_text(a, b);
    if (order || x == y) return order;
    if (x->special != y->special) return x->special ? -1 : 1;
    return x < y ? -1 : 1;
}

static int longer(const void *a, const void *b) {
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return x > y ? -1 : x < y;
}

/* The special ones are in it, too: text that spells one is none of the others. */
static gal_err make_finder(gal__finder *f, const gal__hf *h, bool normalized, const char *name, gal_diag *diag) {
    size_t plain = 0;
    for (size_t i = 0; i < h->n_added; i++) plain += !h->added[i].special && h->added[i].normalized == normalized;
    if (!plain) return GAL_OK;
    f->by_text = gal_alloc_array(h->n_added, sizeof *f->by_text);
    f->lengths = gal_alloc_array(h->n_added, sizeof *f->lengths);
    if (!f->by_text || !f->lengths) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for its added tokens", name);
    for (size_t i = 0; i < h->n_added; i++) {
        const gal__added *a = &h->added[i];
        if (a->normalized != normalized || a->match.n == 0) continue;
        f->first[(uint8_t)a->match.s[0]] = true;
        f->by_text[f->count++] = a;
    }
    qsort(f->by_text, f->count, sizeof(void *), by_order);
    size_t kept = 0;
    for (size_t i = 0; i < f->count; i++)
        if (kept == 0 || by_text(&f->by_text[kept - 1], &f->by_text[i]) != 0) f->by_text[kept++] = f->by_text[i];
    f->count = kept;
    for (size_t i = 0; i < kept; i++) f->lengths[i] = f->by_text[i]->match.n;
    qsort(f->lengths, f->count, sizeof *f->lengths, longer);
    for (size_t i = 0; i < f->count; i++)
        if (i == 0 || f->lengths[i] != f->lengths[i - 1]) f->lengths[f->n_lengths++] = f->lengths[i];
    return GAL_OK;
}

static int by_id(const void *a, const void *b) {
    const gal__added *x = *(const gal__added *const *)a, *y = *(const gal__added *const *)b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static gal_err note_changed(gal__hf *h, const char *name, gal_diag *diag) {
    for (size_t i = 0; i < h->n_added; i++) {
        const gal__added *a = &h->added[i];
        if (a->special || (a->match.n == a->content.n && memcmp(a->match.s, a->content.s, a->match.n) == 0)) continue;
        if (!h->changed) h->changed = gal_alloc_array(h->n_added, sizeof *h->changed);
        if (!h->changed) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for its added tokens", name);
        h->changed[h->n_changed++] = a;
    }
    if (h->n_changed) qsort(h->changed, h->n_changed, sizeof *h->changed, by_id);
    return GAL_OK;
}

const char *gal__hf_shown(const gal__hf *h, int32_t id, size_t *n) {
    const gal__added key = { .id = id }, *k = &key;
    const gal__added *const *found = h->n_changed ? bsearch(&k, h->changed, h->n_changed, sizeof *h->changed, by_id)
                                                  : NULL;
    if (!found) return NULL;
    *n = (*found)->match.n;
    return (*found)->match.s;
}

gal_err gal__hf_prepare(gal__hf *h, const char *name, gal_diag *diag) {
    gal_buf two[2] = { 0 };
    gal_err err = GAL_OK;
    for (size_t i = 0; i < h->n_added && !err; i++) {
        gal__added *a = &h->added[i];
        const char *p = a->content.s;
        size_t n = a->content.n;
        a->match = a->content;
        if (!a->normalized || !h->n_rules) continue; /* the others are changed as the text is */
        err = apply_rules(h, two, &p, &n, true, diag);
        if (!err && !gal__pool_string(&h->pool, &a->match, p, n))
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for its added tokens", name);
    }
    gal_buf_free(&two[0]);
    gal_buf_free(&two[1]);
    if (!err) err = note_changed(h, name, diag);
    if (!err) err = make_finder(&h->raw, h, false, name, diag);
    if (!err) err = make_finder(&h->prepared, h, true, name, diag);
    return err;
}

bool gal__hf_matches(const gal__hf *h) { return h->raw.count || h->prepared.count; }

/* The longest that begins at p. */
static const gal__added *find(const gal__finder *f, const char *p, size_t n) {
    if (!f->first[(uint8_t)*p]) return NULL;
    gal__added key = { 0 };
    const gal__added *k = &key;
    for (size_t i = 0; i < f->n_lengths; i++) {
        if (f->lengths[i] > n) continue;
        key.match = (gal__string){ p, f->lengths[i] };
        const gal__added *const *found = bsearch(&k, f->by_text, f->count, sizeof(void *), by_text);
        if (found) return *found;
    }
    return NULL;
}

/* A text in parts: what lies between added tokens, and these. */
typedef struct parts {
    const gal__finder *f;
    const char *text;
    size_t n, at, scan;
    const gal__added *token; /* found, and not given out yet */
    size_t token_end;
} parts;

static uint32_t last_char(const char *p, size_t n, size_t *at) {
    uint32_t cp = 0;
    *at = n - 1;
    while (*at > 0 && ((uint8_t)p[*at] & 0xc0) == 0x80) --*at;
    (void)gal_utf8_next(p + *at, n - *at, &cp);
    return cp;
}

/* What regular expressions call \w. */
static bool is_word(uint32_t cp) {
    const gal_category c = gal_category_of(cp);
    return (c >= GAL_LU && c <= GAL_NL) || c == GAL_PC || cp == 0x200c || cp == 0x200d ||
           (cp >= 0x24b6 && cp <= 0x24e9) || (cp >= 0x1f130 && cp <= 0x1f149) || (cp >= 0x1f150 && cp <= 0x1f169) ||
           (cp >= 0x1f170 && cp <= 0x1f189);
}

static bool stands_alone(const char *p, size_t n, size_t from, size_t to) {
    size_t at;
    uint32_t cp = 0;
    if (from > 0 && is_word(last_char(p, from, &at))) return false;
    if (to < n) (void)gal_utf8_next(p + to, n - to, &cp);
    return to == n || !is_word(cp);
}

/* Finds the next token that counts; false: there is none. */
static bool look(parts *w, size_t *from) {
    while (w->scan < w->n) {
        const gal__added *a = find(w->f, w->text + w->scan, w->n - w->scan);
        if (!a) {
            w->scan++;
            continue;
        }
        size_t start = w->scan, end = start + a->match.n, at;
        w->scan = end;
        if (a->special || (a->single_word && !stands_alone(w->text, w->n, start, end))) continue;
        while (a->lstrip && start > w->at && gal_is_white(last_char(w->text, start, &at))) start = at;
        for (uint32_t cp; a->rstrip && end < w->n;) {
            const int len = gal_utf8_next(w->text + end, w->n - end, &cp);
            if (!len || !gal_is_white(cp)) break;
            end += (size_t)len;
        }
        start = GAL_MAX(start, w->at);
        w->token = a;
        w->token_end = end;
        w->scan = GAL_MAX(w->scan, end);
        *from = start;
        return true;
    }
    return false;
}

/* The next part: *token NULL and a text, or a token. false: the end. */
static bool next_part(parts *w, const gal__added **token, const char **p, size_t *n) {
    *token = w->token;
    if (!w->token) {
        size_t to = w->n;
        if (w->f->count) (void)look(w, &to);
        if (!w->token && w->at == w->n) return false;
        *p = w->text + w->at;
        *n = to - w->at;
        w->at = to;
        return true;
    }
    w->at = w->token_end;
    w->token = NULL;
    return true;
}

/* ---- steps -------------------------------------------------------------------------------------------------------
 */

static void push(spans *s, size_t at, size_t n) {
    void *p = s->at;
    if (n == 0 || s->oom) return;
    if (s->len == s->cap && gal_grow(&p, &s->cap, s->len + 1, sizeof *s->at) != 0) {
        s->oom = true;
        return;
    }
    s->at = p;
    s->at[s->len++] = (span){ at, n };
}

/* Puts matches and what lies between them together. */
typedef struct joiner {
    spans *out;
    gal__how how;
    bool invert, before, pending; /* before: the last part was a match; pending: ... that waits for the next part */
    size_t first, at, n;          /* spans there before; the pending one */
} joiner;

static void part(joiner *j, size_t at, size_t n, bool match) {
    if (n == 0) return;
    match = match != j->invert;
    span *last = j->out->len > j->first ? &j->out->at[j->out->len - 1] : NULL;
    switch (j->how) {
    case GAL__REMOVED:
        if (!match) push(j->out, at, n);
        break;
    case GAL__CONTIGUOUS:
        if (last && match == j->before)
            last->n += n;
        else
            push(j->out, at, n);
        break;
    case GAL__WITH_PREVIOUS:
        if (last && match && !j->before)
            last->n += n;
        else
            push(j->out, at, n);
        break;
    case GAL__WITH_NEXT:
        if (j->pending && match) push(j->out, j->at, j->n);
        if (!match) push(j->out, j->pending ? j->at : at, j->pending ? j->n + n : n);
        j->pending = match;
        j->at = at;
        j->n = n;
        break;
    case GAL__ISOLATED:
        push(j->out, at, n);
    }
    j->before = match;
}

static void finish(joiner *j) {
    if (j->pending) push(j->out, j->at, j->n);
}

static void cut_literal(joiner *j, gal__string what, const char *text, span x) {
    size_t from = x.at;
    const size_t end = x.at + x.n;
    for (size_t i = x.at; i < end;) {
        const char *at = memchr(text + i, what.s[0], end - i);
        if (!at) break;
        i = (size_t)(at - text);
        if (begins(text + i, end - i, what.s, what.n)) {
            part(j, from, i - from, false);
            part(j, i, what.n, true);
            i += what.n;
            from = i;
        } else {
            i++;
        }
    }
    part(j, from, end - from, false);
}

static gal_err cut_pattern(joiner *j, gal__splitting *c, const char *text, span x, gal_diag *diag) {
    gal_err err = gal__splitting_begin(c, text + x.at, x.n, diag);
    for (int count = 1; count > 0 && !err;) {
        size_t bytes[GAL__WORDS];
        err = gal__splitting_next(c, bytes, &count, diag);
        for (int i = 0; i < count && !err; i++) {
            part(j, x.at, bytes[i], !gal__splitting_gap(c));
            x.at += bytes[i];
        }
    }
    return err;
}

static gal_err cut_words(gal__hf_work *w, const gal__step *s, size_t k, const char *text, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; i < w->words.len && !err; i++) {
        joiner j = { .out = &w->next, .how = s->how, .invert = s->invert, .first = w->next.len };
        if (s->pattern)
            err = cut_pattern(&j, w->cutters[k], text, w->words.at[i], diag);
        else
            cut_literal(&j, s->literal, text, w->words.at[i]);
        finish(&j);
    }
    return err;
}

/* first: the first word begins the text; begin: ... and is not the continuation of another. */
static void space_words(gal__hf_work *w, const gal__step *s, const char *text, gal_buf *out, bool first, bool begin) {
    static const gal__string BLANK = { " ", 1 }, SPACE = { GAL__SPACE, GAL__SPACE_BYTES };
    gal_buf_clear(out);
    for (size_t i = 0; i < w->words.len; i++) {
        const span x = w->words.at[i];
        const char *p = text + x.at;
        const size_t from = out->len;
        const bool wanted = s->scheme == GAL__ALWAYS || (s->scheme == GAL__FIRST && first && i == 0);
        if (wanted && (begin || i > 0) && *p != ' ' && !begins(p, x.n, SPACE.s, SPACE.n))
            gal_buf_add(out, SPACE.s, SPACE.n);
        replace(out, p, x.n, BLANK, SPACE);
        if (out->oom) return;
        joiner j = { .out = &w->next, .how = GAL__WITH_NEXT, .first = w->next.len };
        if (s->cut)
            cut_literal(&j, SPACE, out->data, (span){ from, out->len - from });
        else
            push(&w->next, from, out->len - from);
        finish(&j);
    }
}

static void prefix_words(gal__hf_work *w, const char *text, gal_buf *out, bool begin) {
    gal_buf_clear(out);
    for (size_t i = 0; i < w->words.len; i++) {
        const span x = w->words.at[i];
        const size_t from = out->len;
        if (text[x.at] != ' ' && (begin || i > 0)) gal_buf_putc(out, ' ');
        gal_buf_add(out, text + x.at, x.n);
        push(&w->next, from, out->len - from);
    }
}

static gal_err encode_words(const gal_tokenizer *t, gal_token_scratch *s, const char *text, gal_ids *ids,
                            gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; i < s->hf->words.len && !err; i++) {
        const span x = s->hf->words.at[i];
        err = t->bytes_are_text ? gal__encode_word(t, s, text + x.at, x.n, ids, diag)
                                : gal__encode_pieces(t, s, text + x.at, x.n, ids, diag);
    }
    return err;
}

/* A text without added tokens, after the rules. */
static gal_err encode_text(const gal_tokenizer *t, gal_token_scratch *s, const char *text, size_t n, bool first,
                           bool begin, gal_ids *ids, gal_diag *diag) {
    gal__hf_work *w = s->hf;
    gal_err err = GAL_OK;
    int turn = 0;
    w->words.len = 0;
    push(&w->words, 0, n);
    for (size_t k = 0; k < t->hf->n_steps && !err; k++) {
        const gal__step *step = &t->hf->steps[k];
        gal_buf *out = &w->step[turn];
        w->next.len = 0;
        if (step->kind == GAL__STEP_SPLIT) {
            err = cut_words(w, step, k, text, diag);
        } else {
            if (step->kind == GAL__STEP_SPACES)
                space_words(w, step, text, out, first, begin);
            else
                prefix_words(w, text, out, begin);
            if (out->oom) {
                gal_buf_free(out);
                return gal__no_memory(diag);
            }
            text = out->data ? out->data : "";
            turn = !turn;
        }
        if (w->next.oom || w->words.oom) {
            w->next.oom = w->words.oom = false;
            return gal__no_memory(diag);
        }
        const spans last = w->words;
        w->words = w->next;
        w->next = last;
    }
    if (w->words.oom) {
        w->words.oom = false;
        return gal__no_memory(diag);
    }
    return err ? err : encode_words(t, s, text, ids, diag);
}

gal_err gal__encode_hf(const gal_tokenizer *t, gal_token_scratch *s, const char *text, size_t n, unsigned flags,
                       gal_ids *ids, gal_diag *diag) {
    const gal__hf *h = t->hf;
    gal__hf_work *w = NULL;
    gal_err err = work_of(&w, s, h, diag);
    if (!err) err = gal__mend(&s->text, &text, &n, diag);
    if (err) return err;
    parts raw = { .f = &h->raw, .text = text, .n = n };
    const gal__added *token = NULL;
    const char *p = NULL;
    size_t m = 0;
    while (!err && next_part(&raw, &token, &p, &m)) {
        if (token) {
            err = gal_ids_add(ids, token->id, diag);
            continue;
        }
        const bool first = p == text, begin = !first || !(flags & GAL_ENCODE_CONTINUES);
        err = apply_rules(h, w->change, &p, &m, begin, diag);
        parts prepared = { .f = &h->prepared, .text = p, .n = m };
        for (const char *q = NULL; !err && next_part(&prepared, &token, &q, &m);)
            err = token
                      ? gal_ids_add(ids, token->id, diag)
                      : encode_text(t, s, q, m, first && q == prepared.text, begin || q != prepared.text, ids, diag);
    }
    return err;
}
