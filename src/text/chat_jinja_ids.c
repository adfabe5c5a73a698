/* chat_jinja_ids.c - a rendered conversation to ids. What the template itself spelled is cut at control pieces, the
 * longest at each place; the text between two of them is encoded as one, whoever it is from.
 *
 * SentencePiece vocabularies put a space before a text. After a control piece that space is put where the text there
 * begins with none: templates of this family write "[INST] " + content where Mistral's own encoder relies on the
 * space that it puts, and both ways then give the same ids. SPDX-License-Identifier: Apache-2.0 */
#include "text/chat_jinja_ids.h"

#include "base/mem.h"
#include "text/hf.h"
#include "text/internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct pieces { /* sorted by their bytes */
    const gal_tokenizer *t;
    int32_t *ids;
    size_t n;
} pieces;

static int by_bytes(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

/* Control pieces, and in vocabularies of bytes also those that users defined: a SentencePiece encoder finds these in
 * text by itself. They are sorted as pointers into the vocabulary, which are turned back into ids. */
static gal_err collect(pieces *p, const gal_tokenizer *t, gal_diag *diag) {
    size_t count = 0;
    *p = (pieces){ .t = t };
    for (int32_t id = 0; id < t->size; id++) {
        const uint8_t k = t->types[id];
        count += k == GAL_PIECE_CONTROL || k == GAL_PIECE_UNKNOWN || (k == GAL_PIECE_USER && t->bytes_are_text);
    }
    const char **names = gal_alloc_array(count + 1, sizeof *names);
    p->ids = gal_alloc_array(count + 1, sizeof *p->ids);
    if (!names || !p->ids) {
        gal_free(names);
        return gal_fail(diag, GAL_ENOMEM, "no memory for a conversation");
    }
    for (int32_t id = 0; id < t->size; id++) {
        const uint8_t k = t->types[id];
        size_t n;
        const char *s = gal__piece(t, id, &n);
        if ((k == GAL_PIECE_CONTROL || k == GAL_PIECE_UNKNOWN || (k == GAL_PIECE_USER && t->bytes_are_text)) && n > 0)
            names[p->n++] = s;
    }
    qsort(names, p->n, sizeof *names, by_bytes);
    for (size_t i = 0; i < p->n; i++) p->ids[i] = gal_tokenizer_find(t, names[i], strlen(names[i]));
    gal_free(names);
    return GAL_OK;
}

static const char *piece_at(const pieces *p, size_t i, size_t *n) {
    *n = 0;
    return p->ids[i] < 0 ? "" : gal__piece(p->t, p->ids[i], n);
}

/* The first of [lo, hi), which share `at` bytes, whose next byte is at least c. */
static size_t lower(const pieces *p, size_t lo, size_t hi, size_t at, int c) {
    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        size_t n;
        const char *s = piece_at(p, mid, &n);
        if ((n > at ? (int)(uint8_t)s[at] : -1) < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest piece that s begins with; its bytes, 0: none. */
static size_t longest(const pieces *p, const char *s, size_t n, int32_t *id) {
    size_t lo = 0, hi = p->n, best = 0;
    for (size_t at = 0; at < n && lo < hi; at++) {
        lo = lower(p, lo, hi, at, (uint8_t)s[at]);
        hi = lower(p, lo, hi, at, (uint8_t)s[at] + 1);
        size_t bytes = 0;
        if (lo < hi) (void)piece_at(p, lo, &bytes); /* the shortest of those that share at + 1 bytes */
        if (bytes != at + 1) continue;
        best = bytes;
        *id = p->ids[lo];
    }
    return best;
}

typedef struct writer {
    const gal_tokenizer *t;
    gal_token_scratch *scratch;
    const gal__jtext *text;
    gal_ids *ids;
    gal_chat_spans *spans; /* NULL: not wanted */
    gal_diag *diag;
    bool after_control;
    bool first_only; /* the vocabulary says that a space is put before the first text alone */
} writer;

static bool says_first_only(const gal_tokenizer *t) {
    for (size_t i = 0; t->hf && i < t->hf->n_steps; i++)
        if (t->hf->steps[i].kind == GAL__STEP_SPACES && t->hf->steps[i].scheme == GAL__FIRST) return true;
    return false;
}

static gal_err span(writer *w, size_t at, gal_chat_kind kind) {
    gal_chat_spans *s = w->spans;
    if (!s || (s->len && s->data[s->len - 1].kind == kind)) return GAL_OK;
    void *p = s->data;
    if (s->len == s->cap && gal_grow(&p, &s->cap, s->len + 1, sizeof *s->data) != 0)
        return gal_fail(w->diag, GAL_ENOMEM, "no memory for a conversation");
    s->data = p;
    s->data[s->len++] = (gal_chat_span){ .begin = at, .kind = kind };
    return GAL_OK;
}

/* What the byte at i is; what rendering made (a comma of JSON) is as what stands before it. */
static gal_chat_kind kind_of(const writer *w, size_t i, gal_chat_kind before) {
    const uint8_t from = w->text->from ? w->text->from[i] : w->text->origin;
    if (from == GAL__FROM_RUN) return before == GAL_CHAT_CONTROL ? GAL_CHAT_LITERAL : before;
    if (from == GAL__FROM_TEMPLATE || from == GAL__FROM_OUTSIDE) return GAL_CHAT_LITERAL;
    return (gal_chat_kind)(from - GAL__FROM_OUTSIDE - 1);
}

static gal_err put_text(writer *w, size_t from, size_t to) {
    const char *s = w->text->s + from;
    const size_t n = to - from, before = w->ids->len;
    if (n == 0) return GAL_OK;
    const bool spaced = !w->after_control || (s[0] != ' ' && !w->first_only);
    gal_err err = gal_encode(w->t, w->scratch, s, n, spaced ? 0 : (unsigned)GAL_ENCODE_CONTINUES, w->ids, w->diag);
    size_t at = from;
    bool prefix = spaced && gal_tokenizer_adds_space(w->t);
    for (size_t i = before; i < w->ids->len && w->spans && !err; i++) {
        const size_t len = w->spans->len, bytes = gal_tokenizer_text_bytes(w->t, w->ids->data[i]);
        err = span(w, i, kind_of(w, GAL_MIN(at, to - 1), len ? w->spans->data[len - 1].kind : GAL_CHAT_CONTROL));
        at += bytes - (prefix && bytes > 0);
        prefix = prefix && bytes == 0;
    }
    w->after_control = false;
    return err;
}

static gal_err put_control(writer *w, int32_t id) {
    gal_err err = span(w, w->ids->len, GAL_CHAT_CONTROL);
    w->after_control = true;
    return err ? err : gal_ids_add(w->ids, id, w->diag);
}

/* BOS stands once: the template's first, or the one that the vocabulary asks for. */
static gal_err write_all(writer *w, const pieces *p) {
    const gal__jtext *text = w->text;
    const int32_t bos = gal_tokenizer_bos(w->t);
    size_t start = 0, i = 0;
    gal_err err = GAL_OK;
    if (gal_tokenizer_begins(w->t) && bos >= 0) err = put_control(w, bos);
    const bool begun = w->ids->len > 0 && w->after_control;
    bool has_bos = begun;
    while (i < text->n && !err) {
        const uint8_t from = text->from ? text->from[i] : text->origin;
        if (from != GAL__FROM_TEMPLATE) {
            i++;
            continue;
        }
        size_t end = text->from ? i : text->n;
        while (end < text->n && text->from[end] == GAL__FROM_TEMPLATE) end++;
        while (i < end && !err) {
            int32_t id = -1;
            const size_t n = longest(p, text->s + i, end - i, &id);
            if (!n) {
                i++;
                continue;
            }
            err = put_text(w, start, i);
            if (!err && !(id == bos && has_bos)) err = put_control(w, id);
            has_bos = has_bos || id == bos;
            i += n;
            start = i;
        }
    }
    if (!err && begun && start == 0) w->after_control = false; /* the text begins as it would without BOS */
    return err ? err : put_text(w, start, text->n);
}

gal_err gal__jinja_ids(const gal_tokenizer *t, const gal__jtext *text, gal_ids *ids, gal_chat_spans *spans,
                       gal_diag *diag) {
    pieces p;
    gal_ids own = { 0 };
    gal_chat_spans own_spans = { 0 };
    writer w = { .t = t,
                 .text = text,
                 .ids = &own,
                 .spans = spans ? &own_spans : NULL,
                 .diag = diag,
                 .first_only = says_first_only(t) };
    gal_err err = collect(&p, t, diag);
    if (!err) err = gal_token_scratch_new(&w.scratch, t, diag);
    if (!err) err = write_all(&w, &p);
    const size_t old = ids->len, old_spans = spans ? spans->len : 0;
    for (size_t i = 0; i < own.len && !err; i++) err = gal_ids_add(ids, own.data[i], diag);
    w.spans = spans;
    for (size_t i = 0; i < own_spans.len && !err; i++)
        err = span(&w, old + own_spans.data[i].begin, own_spans.data[i].kind);
    if (err) {
        ids->len = old;
        if (spans) spans->len = old_spans;
    }
    gal_ids_free(&own);
    gal_chat_spans_free(&own_spans);
    gal_token_scratch_free(w.scratch);
    gal_free(p.ids);
    return err;
}
