/* questions.c - see questions.h. SPDX-License-Identifier: Apache-2.0 */
#include "eval/questions.h"

#include "base/mem.h"
#include "base/util.h"
#include "eval/shots.h"
#include "text/template.h"

#include <stdio.h>
#include <string.h>

/* ---- records and shots --------------------------------------------------------------------------------------------
 */

static bool is_lines(const gal_task *t, const char *path) {
    const size_t n = strlen(path);
    if (t->data.format != GAL_RECORDS_AUTO) return t->data.format == GAL_RECORDS_JSONL;
    return (n > 6 && strcmp(path + n - 6, ".jsonl") == 0) || (n > 10 && strcmp(path + n - 10, ".jsonl.zst") == 0);
}

typedef struct asked {
    const gal_records *r;
    size_t record;
} asked;

static bool is_asked(void *user, size_t i) {
    const asked *a = user;
    const gal_record *x = &a->r->v[a->record], *y = &a->r->v[i];
    return i == a->record || (x->bytes == y->bytes && memcmp(x->json, y->json, x->bytes) == 0);
}

/* For all questions, in their order: what one gets depends on how many came before. */
static gal_err choose_shots(gal_exam *e, gal_diag *diag) {
    const gal_task *t = e->task;
    const size_t count = (size_t)t->shots.count;
    const bool same = e->from == &e->test, random = t->shots.sampler == GAL_SHOTS_RANDOM;
    gal_python_random *r = gal_alloc(sizeof *r);
    e->n_chosen = same || random ? e->test.n : 1;
    e->shots = gal_alloc_array(e->n_chosen * count + 1, sizeof *e->shots);
    gal_err err = r && e->shots ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "%s: no memory for its shots", t->path);
    if (!err) gal_python_seed(r, (uint32_t)t->shots.seed);
    for (size_t i = 0; i < e->n_chosen && !err; i++) {
        asked a = { &e->test, i };
        const gal_shots_how how = {
            .n = e->from->n, .count = count, .random = random, .same = same ? is_asked : NULL, .user = &a
        };
        err = gal_shots_choose(&how, r, e->shots + i * count, e->from->path, diag);
    }
    gal_free(r);
    return err;
}

gal_err gal_exam_open(gal_exam *e, const gal_task *t, gal_diag *diag) {
    *e = (gal_exam){ .task = t };
    gal_err err = gal_records_read(&e->test, t->data.file, is_lines(t, t->data.file), t->data.separator, diag);
    if (err || !t->shots.count) return err;
    e->from = &e->test;
    if (t->shots.from == GAL_SHOTS_OTHER) {
        err = gal_records_read(&e->others, t->shots.file, is_lines(t, t->shots.file), t->data.separator, diag);
        e->from = &e->others;
    }
    return err ? err : choose_shots(e, diag);
}

void gal_exam_close(gal_exam *e) {
    gal_records_free(&e->test);
    gal_records_free(&e->others);
    gal_free(e->shots);
    *e = (gal_exam){ 0 };
}

/* ---- texts --------------------------------------------------------------------------------------------------------
 */

/* A record of a set, and the names that stand in messages about it. */
typedef struct source {
    const gal_exam *e;
    const gal_record *r;
    char where[GAL_RECORD_WHERE], name[GAL_RECORD_WHERE];
} source;

static source source_of(const gal_exam *e, const gal_records *set, size_t i) {
    source s = { .e = e, .r = &set->v[i] };
    (void)gal_record_where(set, i, s.where);
    return s;
}

static const char *name_of(source *s, const char *key) {
    (void)snprintf(s->name, sizeof s->name, "%.280s: %s", s->e->task->path, key);
    return s->name;
}

static gal_err render(source *s, const char *key, const char *template, gal_buf *out, gal_diag *diag) {
    if (!template[0]) return GAL_OK;
    return gal_template_text(template, name_of(s, key), s->r->json, s->r->bytes, s->where, out, diag);
}

static gal_err add_item(void *user, const char *s, size_t n, gal_diag *diag) {
    gal_strings *l = user;
    char *text = memchr(s, 0, n) ? NULL : gal_strndup(s, n);
    char **v = text ? gal_realloc(l->v, (l->n + 1) * sizeof *v) : NULL;
    if (!v) {
        gal_free(text);
        if (memchr(s, 0, n)) return gal_fail(diag, GAL_EINPUT, "a text with a zero byte");
        return gal_fail(diag, GAL_ENOMEM, "no memory for a text");
    }
    l->v = v;
    l->v[l->n++] = text;
    return GAL_OK;
}

static void free_strings(gal_strings *l) {
    for (size_t i = 0; i < l->n; i++) gal_free(l->v[i]);
    gal_free(l->v);
    *l = (gal_strings){ 0 };
}

static gal_err value(source *s, const char *key, const char *template, gal_template_kind *kind, gal_strings *out,
                     gal_diag *diag) {
    return gal_template_value(template, name_of(s, key), s->r->json, s->r->bytes, s->where, kind, add_item, out,
                              diag);
}

static gal_err read_choices(source *s, gal_strings *out, gal_diag *diag) {
    const gal_strings *given = &s->e->task->choices;
    gal_template_kind kind = GAL_TEMPLATE_LIST;
    gal_err err = GAL_OK;
    for (size_t i = 0; i < given->n && !err; i++) {
        err = value(s, "choices", given->v[i], &kind, out, diag);
        if (!err && (kind == GAL_TEMPLATE_LIST) != (given->n == 1))
            err = gal_fail(diag, GAL_EINPUT, "%s: choices: expected %s, found %s", s->where,
                           given->n == 1 ? "a list" : "a text in each place",
                           kind == GAL_TEMPLATE_LIST ? "a list" : "none");
    }
    for (size_t i = 0; i < out->n && !err; i++)
        if (!out->v[i][0]) err = gal_fail(diag, GAL_EINPUT, "%s: choices: choice %zu is empty", s->where, i);
    if (!err && out->n < 2)
        err = gal_fail(diag, GAL_EINPUT, "%s: choices: expected at least two, found %zu", s->where, out->n);
    return err;
}

/* An index, or one of the choices, or a number or letter that is spelled and none of them. */
static gal_err read_right(source *s, const gal_strings *choices, int64_t *right, gal_diag *diag) {
    gal_strings found = { 0 };
    gal_template_kind kind = GAL_TEMPLATE_OTHER;
    gal_err err = value(s, "answer", s->e->task->answer, &kind, &found, diag);
    *right = -1;
    const char *text = found.n == 1 ? found.v[0] : "";
    int64_t index = -1;
    if (!err && kind == GAL_TEMPLATE_TEXT)
        for (size_t i = 0; i < choices->n && *right < 0; i++)
            if (strcmp(choices->v[i], text) == 0) *right = (int64_t)i;
    if (!err && *right < 0 && kind != GAL_TEMPLATE_LIST && gal_parse_i64(text, &index) && index >= 0) *right = index;
    if (!err && *right < 0 && text[0] >= 'A' && text[0] <= 'Z' && !text[1]) *right = text[0] - 'A';
    if (!err && (*right < 0 || *right >= (int64_t)choices->n))
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: answer: expected one of %zu choices, its index from 0 or its letter, "
                       "found \"%.60s\"",
                       s->where, choices->n, text);
    free_strings(&found);
    return err;
}

static gal_err read_answer(source *s, gal_buf *out, gal_diag *diag) {
    if (s->e->task->kind != GAL_MULTIPLE_CHOICE) return render(s, "answer", s->e->task->answer, out, diag);
    gal_strings choices = { 0 };
    int64_t right = 0;
    gal_err err = read_choices(s, &choices, diag);
    if (!err) err = read_right(s, &choices, &right, diag);
    if (!err) gal_buf_puts(out, choices.v[right]);
    free_strings(&choices);
    return err;
}

static gal_err add_shot(const gal_exam *e, size_t i, gal_buf *out, gal_diag *diag) {
    source s = source_of(e, e->from, i);
    gal_err err = render(&s, "prompt", e->task->prompt, out, diag);
    gal_buf_puts(out, e->task->delimiter);
    if (!err) err = read_answer(&s, out, diag);
    gal_buf_puts(out, e->task->shots.separator);
    return err;
}

gal_err gal_exam_prompt(const gal_exam *e, size_t record, gal_buf *out, gal_diag *diag) {
    const gal_task *t = e->task;
    source s = source_of(e, &e->test, record);
    gal_err err = render(&s, "description", t->description, out, diag);
    const size_t count = e->from ? (size_t)t->shots.count : 0;
    for (size_t i = 0; i < count && !err; i++)
        err = add_shot(e, e->shots[(e->n_chosen == 1 ? 0 : record) * count + i], out, diag);
    if (!err) err = render(&s, "prompt", t->prompt, out, diag);
    if (!err && out->oom) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for a prompt", t->path);
    return err;
}

/* ---- ids ----------------------------------------------------------------------------------------------------------
 */

int64_t gal_count_words(const char *text, size_t n) {
    int64_t words = 1;
    bool in = false;
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        const int len = gal_utf8_next(text + i, n - i, &cp);
        const bool white = len && gal_white(cp);
        words += white && !in;
        in = white;
        i += len ? (size_t)len : 1;
    }
    return words;
}

static int64_t count_chars(const char *s, size_t n) {
    int64_t chars = 0;
    for (size_t i = 0; i < n; i++) chars += ((uint8_t)s[i] & 0xc0) != 0x80;
    return chars;
}

static gal_err encode(const gal_exam_ids *how, const char *s, size_t n, bool begins, gal_ids *out, gal_diag *diag) {
    out->len = 0;
    return gal_encode(how->t, how->scratch, s, n, begins && how->bos ? GAL_ENCODE_BOS : 0u, out, diag);
}

static gal_err no_prefix(const char *where, gal_diag *diag) {
    return gal_fail(diag, GAL_EINPUT,
                    "%s: nothing stands before what is scored, and the vocabulary has neither a beginning nor an end "
                    "of sequence to put there",
                    where);
}

/* The last context + 1 ids, so that as many rows as the context go through the model. */
static gal_err keep_end(gal_part *p, const int32_t *ids, int64_t n, int64_t first, int64_t most, const char *where,
                        gal_diag *diag) {
    const int64_t skip = GAL_MAX(n - most, (int64_t)0);
    if (first <= skip && first < n)
        return gal_fail(diag, GAL_EINPUT, "%s: %lld tokens to score, more than the context of %lld", where,
                        (long long)(n - first), (long long)(most - 1));
    p->ids = gal_alloc_array((size_t)(n - skip), sizeof *p->ids);
    if (!p->ids) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for its ids", where);
    memcpy(p->ids, ids + skip, (size_t)(n - skip) * sizeof *ids);
    p->n = n - skip;
    p->first = first - skip;
    p->cut = skip > 0;
    return GAL_OK;
}

/* With nothing before it: after the prefix, unless it begins with that by itself. */
static gal_err alone(gal_part *p, const gal_exam_ids *how, const char *s, size_t n, const char *where,
                     gal_diag *diag) {
    gal_ids ids = { 0 };
    if (how->prefix < 0) return no_prefix(where, diag);
    gal_err err = gal_ids_add(&ids, how->prefix, diag);
    if (!err) err = gal_encode(how->t, how->scratch, s, n, 0, &ids, diag);
    const size_t skip = !err && ids.len > 1 && ids.data[1] == how->prefix ? 1 : 0;
    if (!err && ids.len < skip + 2)
        err = gal_fail(diag, GAL_EINPUT, "%s: nothing to score: \"%.40s\" has no tokens", where, s);
    if (!err) err = keep_end(p, ids.data + skip, (int64_t)(ids.len - skip), 1, how->context + 1, where, diag);
    gal_ids_free(&ids);
    return err;
}

gal_err gal_part_pair(gal_part *p, const gal_exam_ids *how, const char *prompt, size_t prompt_bytes,
                      const char *continuation, size_t bytes, const char *where, gal_diag *diag) {
    if (!prompt_bytes) return alone(p, how, continuation, bytes, where, diag);
    const size_t kept = gal_strip_end(prompt, prompt_bytes);
    gal_buf both = { 0 };
    gal_ids before = { 0 }, all = { 0 };
    gal_buf_add(&both, prompt, prompt_bytes);
    gal_buf_add(&both, continuation, bytes);
    gal_err err = both.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory for a prompt", where) : GAL_OK;
    if (!err) err = encode(how, prompt, kept, true, &before, diag);
    if (!err) err = encode(how, both.data, both.len, true, &all, diag);
    if (!err && !before.len) {
        err = alone(p, how, both.data, both.len, where, diag); /* nothing but white space, or no ids for it */
    } else if (!err && all.len <= before.len) {
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: nothing to score: the prompt alone has as many tokens as with \"%.40s\"", where,
                       continuation);
    } else if (!err) {
        /* What is scored follows the prompt's own ids, though the whole may have begun with others. */
        memcpy(all.data, before.data, before.len * sizeof *all.data);
        err = keep_end(p, all.data, (int64_t)all.len, (int64_t)before.len, how->context + 1, where, diag);
    }
    gal_ids_free(&before);
    gal_ids_free(&all);
    gal_buf_free(&both);
    return err;
}

static gal_part *next_part(gal_question *q, gal_diag *diag) {
    void *parts = q->parts;
    if (gal_grow(&parts, &q->cap, q->n + 1, sizeof *q->parts)) {
        (void)gal_fail(diag, GAL_ENOMEM, "no memory for the parts of a question");
        return NULL;
    }
    q->parts = parts;
    q->parts[q->n] = (gal_part){ 0 };
    return &q->parts[q->n++];
}

/* A continuation after the prompt, or after nothing; text is what it is measured by. */
static gal_err add_pair(gal_question *q, const gal_exam_ids *how, bool conditional, const char *delimiter,
                        const char *text, size_t n, const char *where, gal_diag *diag) {
    gal_part *p = next_part(q, diag);
    gal_buf s = { 0 };
    if (!p) return GAL_ENOMEM;
    gal_buf_puts(&s, delimiter);
    gal_buf_add(&s, text, n);
    p->bytes = (int64_t)n;
    p->chars = count_chars(text, n);
    gal_err err = s.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory for a choice", where)
                        : gal_part_pair(p, how, q->prompt.data ? q->prompt.data : "", conditional ? q->prompt.len : 0,
                                        s.data ? s.data : "", s.len, where, diag);
    gal_buf_free(&s);
    return err;
}

static gal_err make_choices(source *s, const gal_exam_ids *how, gal_question *q, gal_diag *diag) {
    const gal_task *t = s->e->task;
    gal_err err = read_choices(s, &q->list, diag);
    if (!err) err = read_right(s, &q->list, &q->right, diag);
    q->choices = q->list.n;
    for (int pass = 0; pass < (t->scores[GAL_SCORE_UNCONDITIONAL] ? 2 : 1); pass++)
        for (size_t i = 0; i < q->list.n && !err; i++)
            err = add_pair(q, how, pass == 0, t->delimiter, q->list.v[i], strlen(q->list.v[i]), s->where, diag);
    return err;
}

static gal_err make_likelihood(source *s, const gal_exam_ids *how, gal_question *q, gal_diag *diag) {
    gal_err err = render(s, "answer", s->e->task->answer, &q->answer, diag);
    if (!err && !q->answer.len) err = gal_fail(diag, GAL_EINPUT, "%s: answer: is empty", s->where);
    return err ? err : add_pair(q, how, true, s->e->task->delimiter, q->answer.data, q->answer.len, s->where, diag);
}

/* Windows of the context's size side by side, one token before each; the last one reaches back as far as it can. */
static gal_err make_windows(const gal_ids *ids, const gal_exam_ids *how, gal_question *q, const char *where,
                            gal_diag *diag) {
    const int64_t most = how->context, n = (int64_t)ids->len - 1; /* ids[0] is the prefix */
    for (int64_t done = 0; done < n;) {
        const int64_t end = GAL_MIN(n, done + most), from = GAL_MAX(end - most, (int64_t)0);
        gal_part *p = next_part(q, diag);
        if (!p) return GAL_ENOMEM;
        gal_err err = keep_end(p, ids->data + from, end - from + 1, done - from + 1, most + 1, where, diag);
        if (err) return err;
        done = end;
    }
    return GAL_OK;
}

static gal_err make_text(source *s, const gal_exam_ids *how, gal_question *q, gal_diag *diag) {
    const char *text = s->r->text;
    size_t n = s->r->text_bytes;
    gal_ids ids = { 0 };
    gal_err err = GAL_OK;
    if (!text || strcmp(s->e->task->text, "{{ text }}") != 0) {
        err = render(s, "text", s->e->task->text, &q->answer, diag);
        text = q->answer.data ? q->answer.data : "";
        n = q->answer.len;
    }
    if (!err && !n) err = gal_fail(diag, GAL_EINPUT, "%s: the text is empty", s->where);
    if (!err && how->prefix < 0) err = no_prefix(s->where, diag);
    if (!err) err = gal_ids_add(&ids, how->prefix, diag);
    if (!err) err = gal_encode(how->t, how->scratch, text, n, 0, &ids, diag);
    if (!err && ids.len < 2) err = gal_fail(diag, GAL_EINPUT, "%s: the text has no tokens", s->where);
    if (!err) err = make_windows(&ids, how, q, s->where, diag);
    q->bytes = (int64_t)n;
    q->words = err ? 0 : gal_count_words(text, n);
    gal_ids_free(&ids);
    return err;
}

/* The prompt leaves room for what is to be said. */
static gal_err make_prompt(source *s, const gal_exam_ids *how, gal_question *q, gal_diag *diag) {
    const gal_task *t = s->e->task;
    gal_ids ids = { 0 };
    const bool own = t->match.answer[0] != 0;
    gal_err err = render(s, own ? "match.answer" : "answer", own ? t->match.answer : t->answer, &q->answer, diag);
    gal_part *p = err ? NULL : next_part(q, diag);
    if (!err && !p) err = GAL_ENOMEM;
    if (!err) err = encode(how, q->prompt.data ? q->prompt.data : "", q->prompt.len, true, &ids, diag);
    if (!err && !ids.len && how->prefix < 0) err = no_prefix(s->where, diag);
    if (!err && !ids.len) err = gal_ids_add(&ids, how->prefix, diag);
    if (!err && t->max_tokens >= how->context)
        err = gal_fail(diag, GAL_EINPUT, "%s: max_tokens: %lld leave no room for a prompt in a context of %lld",
                       t->path, (long long)t->max_tokens, (long long)how->context);
    if (!err)
        err = keep_end(p, ids.data, (int64_t)ids.len, (int64_t)ids.len, how->context - t->max_tokens, s->where, diag);
    gal_ids_free(&ids);
    return err;
}

gal_err gal_exam_question(const gal_exam *e, size_t record, const gal_exam_ids *how, gal_question *q,
                          gal_diag *diag) {
    source s = source_of(e, &e->test, record);
    const int kind = e->task->kind;
    q->record = record;
    gal_err err = kind == GAL_TASK_PERPLEXITY ? GAL_OK : gal_exam_prompt(e, record, &q->prompt, diag);
    if (!err)
        err = kind == GAL_MULTIPLE_CHOICE   ? make_choices(&s, how, q, diag)
              : kind == GAL_LOGLIKELIHOOD   ? make_likelihood(&s, how, q, diag)
              : kind == GAL_TASK_PERPLEXITY ? make_text(&s, how, q, diag)
                                            : make_prompt(&s, how, q, diag);
    if (!err && (q->answer.oom || q->prompt.oom)) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", s.where);
    return err;
}

void gal_question_free(gal_question *q) {
    for (size_t i = 0; i < q->n; i++) gal_free(q->parts[i].ids);
    gal_free(q->parts);
    gal_buf_free(&q->prompt);
    gal_buf_free(&q->answer);
    free_strings(&q->list);
    *q = (gal_question){ 0 };
}
