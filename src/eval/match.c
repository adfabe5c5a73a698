/* match.c - see match.h. Letters and white space are Python's, by way of templates. SPDX-License-Identifier:
 * Apache-2.0 */
#include "eval/match.h"

#include "base/mem.h"
#include "text/template.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

enum { STEPS = 10000000 };

struct gal_match {
    const gal_task *task;
    pcre2_code *code; /* NULL: all of what is said counts */
    pcre2_match_data *found;
    pcre2_match_context *limits;
};

gal_err gal_match_new(gal_match **out, const gal_task *t, gal_diag *diag) {
    gal_match *m = gal_alloc(sizeof *m);
    if (!m) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->path);
    m->task = t;
    *out = m;
    if (!t->match.extract[0]) return GAL_OK;
    int number = 0;
    PCRE2_SIZE at = 0;
    m->code = pcre2_compile((PCRE2_SPTR)t->match.extract, strlen(t->match.extract),
                            PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &number, &at, NULL);
    char why[160] = "";
    if (!m->code) (void)pcre2_get_error_message(number, (PCRE2_UCHAR *)why, sizeof why);
    m->found = m->code ? pcre2_match_data_create_from_pattern(m->code, NULL) : NULL;
    m->limits = pcre2_match_context_create(NULL);
    gal_err err = GAL_OK;
    if (!m->code)
        err = gal_fail(diag, GAL_EINPUT, "%s: match.extract: no regular expression: %s at byte %zu", t->path, why,
                       (size_t)at);
    else if (!m->found || !m->limits)
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for match.extract", t->path);
    if (m->limits) (void)pcre2_set_match_limit(m->limits, STEPS);
    if (err) {
        gal_match_free(m);
        *out = NULL;
    }
    return err;
}

void gal_match_free(gal_match *m) {
    if (!m) return;
    pcre2_code_free(m->code);
    pcre2_match_data_free(m->found);
    pcre2_match_context_free(m->limits);
    gal_free(m);
}

/* The first or last match, or its first group that took part; *n 0 and "" where there is none. */
static gal_err extract(const gal_match *m, const char **s, size_t *n, gal_diag *diag) {
    const char *text = *s, *best = "";
    size_t bytes = *n, best_bytes = 0, at = 0;
    while (at <= bytes) {
        const int count = pcre2_match(m->code, (PCRE2_SPTR)text, bytes, at, at ? PCRE2_NO_UTF_CHECK : 0, m->found,
                                      m->limits);
        if (count == PCRE2_ERROR_NOMATCH) break;
        if (count < 0)
            return gal_fail(diag, GAL_EINPUT, "%s: match.extract: takes too long on what the model said (%d)",
                            m->task->path, count);
        const PCRE2_SIZE *o = pcre2_get_ovector_pointer(m->found);
        int group = 0;
        for (int i = 1; i < count && !group; i++)
            if (o[2 * i] != PCRE2_UNSET && o[2 * i + 1] > o[2 * i]) group = i;
        best = text + o[2 * group];
        best_bytes = o[2 * group + 1] - o[2 * group];
        if (m->task->match.select == 0) break;
        at = o[1] > o[0] ? o[1] : o[1] + 1;
        while (at < bytes && ((uint8_t)text[at] & 0xc0) == 0x80) at++;
    }
    *s = best;
    *n = best_bytes;
    return GAL_OK;
}

/* What is left of words when differences that do not count are gone. */
static void drop_marks(const gal_task *t, gal_buf *b) {
    static const char MARKS[] = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    size_t w = 0;
    for (size_t i = 0; t->match.punctuation && i < b->len; i++)
        if (!b->data[i] || !strchr(MARKS, b->data[i])) b->data[w++] = b->data[i];
    if (t->match.punctuation && b->data) b->data[b->len = w] = 0;
}

static const char *filters_of(const gal_task *t) {
    if (t->match.lower) return t->match.strip ? "{{ text | lower | trim }}" : "{{ text | lower }}";
    return t->match.strip ? "{{ text | trim }}" : "{{ text }}";
}

static gal_err through(const char *template, const gal_buf *in, gal_buf *out, gal_diag *diag) {
    gal_buf record = { 0 };
    gal_buf_puts(&record, "{\"text\": ");
    gal_buf_json(&record, in->data ? in->data : "", in->len);
    gal_buf_putc(&record, '}');
    gal_err err = record.oom ? gal_fail(diag, GAL_ENOMEM, "no memory for an answer")
                             : gal_template_text(template, "match", record.data, record.len, "an answer", out, diag);
    gal_buf_free(&record);
    return err;
}

static gal_err normalise(const gal_task *t, const char *s, size_t n, gal_buf *out, gal_diag *diag) {
    static const char WORDS[] = "{% for w in text.split() if w not in ['a', 'an', 'the'] %}"
                                "{{ ' ' if not loop.first else '' }}{{ w }}{% endfor %}";
    gal_buf text = { 0 };
    gal_buf_add(&text, s, n);
    gal_err err = text.oom ? gal_fail(diag, GAL_ENOMEM, "no memory for an answer") : GAL_OK;
    if (!err) err = through(filters_of(t), &text, out, diag);
    if (!err) drop_marks(t, out);
    if (!err && t->match.articles) {
        gal_buf_free(&text);
        text = *out;
        *out = (gal_buf){ 0 };
        err = through(WORDS, &text, out, diag);
    }
    gal_buf_free(&text);
    return err;
}

gal_err gal_match_is(const gal_match *m, const char *said, size_t said_bytes, const char *answer, size_t bytes,
                     bool *same, gal_diag *diag) {
    gal_buf a = { 0 }, b = { 0 };
    gal_err err = m->code ? extract(m, &said, &said_bytes, diag) : GAL_OK;
    if (!err) err = normalise(m->task, said, said_bytes, &a, diag);
    if (!err) err = normalise(m->task, answer, bytes, &b, diag);
    *same = !err && a.len == b.len && (!a.len || memcmp(a.data, b.data, a.len) == 0);
    gal_buf_free(&a);
    gal_buf_free(&b);
    return err;
}
