/* questions.c - see questions.h. SPDX-License-Identifier: Apache-2.0 */
#include "eval/questions.h"

#include "base/mem.h"
#include "base/util.h"
#include "eval/prompts.h"
#include "eval/shots.h"
#include "text/template.h"

#include <stdio.h>
#include <string.h>

/* ---- records and shots --------------------------------------------------------------------------------------------
 */

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
    gal_err err = gal_records_read(&e->test, t->data.file, gal_task_lines(t, t->data.file), t->data.separator, diag);
    if (err || !t->shots.count) return err;
    e->from = &e->test;
    if (t->shots.from == GAL_SHOTS_OTHER) {
        err = gal_records_read(&e->others, t->shots.file, gal_task_lines(t, t->shots.file), t->data.separator, diag);
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

/* What is scored follows the prompt's own ids, though the whole may have begun with others. */
static gal_err keep_beyond(gal_part *p, const gal_exam_ids *how, const gal_ids *before, const gal_ids *all,
                           const char *continuation, const char *where, gal_diag *diag) {
    if (all->len <= before->len)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: nothing to score: the prompt alone has as many tokens as with \"%.40s\"", where,
                        continuation);
    memcpy(all->data, before->data, before->len * sizeof *all->data);
    return keep_end(p, all->data, (int64_t)all->len, (int64_t)before->len, how->context + 1, where, diag);
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
    if (!err && !before.len) /* nothing but white space, or no ids for it */
        err = alone(p, how, both.data, both.len, where, diag);
    else if (!err)
        err = keep_beyond(p, how, &before, &all, continuation, where, diag);
    gal_ids_free(&before);
    gal_ids_free(&all);
    gal_buf_free(&both);
    return err;
}

/* After a conversation, whose messages the prompt is. */
static gal_err chat_pair(gal_part *p, const gal_exam_ids *how, const char *messages, const char *continuation,
                         size_t bytes, const char *where, gal_diag *diag) {
    gal_ids before = { 0 }, all = { 0 };
    gal_diag why = { 0 };
    gal_err err = gal_chat_format_pair(how->chat, how->t, how->now, messages, continuation, bytes, &before, &all,
                                       &why);
    if (err)
        err = gal_fail(diag, err, "%s: %s", where, why.text);
    else if (!before.len)
        err = gal_fail(diag, GAL_EINPUT, "%s: nothing to score: the template makes no tokens of the prompt", where);
    else
        err = keep_beyond(p, how, &before, &all, continuation, where, diag);
    gal_ids_free(&before);
    gal_ids_free(&all);
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

/* A text after the question's prompt, or after nothing. A template says what stands between a question and its
 * answer; where there is none, the task's delimiter does. measure: what it is measured by. */
static gal_err add_pair(gal_question *q, const gal_exam_ids *how, bool conditional, const char *delimiter,
                        const char *text, const char *measure, const char *where, gal_diag *diag) {
    gal_part *p = next_part(q, diag);
    gal_buf s = { 0 };
    if (!p) return GAL_ENOMEM;
    if (!how->chat) gal_buf_puts(&s, delimiter);
    gal_buf_puts(&s, text);
    p->bytes = (int64_t)strlen(measure);
    p->chars = count_chars(measure, strlen(measure));
    const char *prompt = q->prompt.data ? q->prompt.data : "", *scored = s.data ? s.data : "";
    gal_err err = GAL_OK;
    if (s.oom)
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for a choice", where);
    else if (how->chat && conditional)
        err = chat_pair(p, how, prompt, scored, s.len, where, diag);
    else
        err = gal_part_pair(p, how, prompt, conditional ? q->prompt.len : 0, scored, s.len, where, diag);
    gal_buf_free(&s);
    return err;
}

static gal_exam_form form_of(const gal_exam_ids *how) {
    return !how->chat ? GAL_EXAM_TEXT : how->turns ? GAL_EXAM_TURNS : GAL_EXAM_ONE_TURN;
}

/* What is scored, into q->answer. */
static gal_err render_scored(gal__source *s, const char *name, const char *template, gal_question *q,
                             gal_diag *diag) {
    gal_err err = gal__render(s, name, template, &q->answer, diag);
    if (!err && !q->answer.len) err = gal_fail(diag, GAL_EINPUT, "%s: %s: is empty", s->where, name);
    if (!err && memchr(q->answer.data, 0, q->answer.len))
        err = gal_fail(diag, GAL_EINPUT, "%s: %s: a text with a zero byte", s->where, name);
    return err;
}

/* The choices are what stands before, and one text follows each; they are compared by their own length, as in
 * lm-evaluation-harness. */
static gal_err make_contexts(gal__source *s, const gal_exam_ids *how, gal_question *q, gal_diag *diag) {
    const gal_task *t = s->e->task;
    gal_err err = gal__read_choices(s, &q->list, diag);
    if (!err) err = gal__read_right(s, &q->list, &q->right, diag);
    if (!err) err = render_scored(s, "continuation", t->continuation, q, diag);
    q->choices = q->list.n;
    for (size_t i = 0; i < q->list.n && !err; i++) {
        gal_buf_clear(&q->prompt);
        err = gal__exam_before(s->e, q->record, form_of(how), q->list.v[i], &q->prompt, diag);
        if (!err) err = add_pair(q, how, true, t->delimiter, q->answer.data, q->list.v[i], s->where, diag);
    }
    return err;
}

static gal_err make_choices(gal__source *s, const gal_exam_ids *how, gal_question *q, gal_diag *diag) {
    const gal_task *t = s->e->task;
    gal_err err = gal__read_choices(s, &q->list, diag);
    if (!err) err = gal__read_right(s, &q->list, &q->right, diag);
    q->choices = q->list.n;
    for (int pass = 0; pass < (t->scores[GAL_SCORE_UNCONDITIONAL] ? 2 : 1); pass++)
        for (size_t i = 0; i < q->list.n && !err; i++)
            err = add_pair(q, how, pass == 0, t->delimiter, q->list.v[i], q->list.v[i], s->where, diag);
    return err;
}

static gal_err make_likelihood(gal__source *s, const gal_exam_ids *how, gal_question *q, gal_diag *diag) {
    gal_err err = render_scored(s, "answer", s->e->task->answer, q, diag);
    return err ? err : add_pair(q, how, true, s->e->task->delimiter, q->answer.data, q->answer.data, s->where, diag);
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

static gal_err make_text(gal__source *s, const gal_exam_ids *how, gal_question *q, gal_diag *diag) {
    const char *text = s->r->text;
    size_t n = s->r->text_bytes;
    gal_ids ids = { 0 };
    gal_err err = GAL_OK;
    if (!text || strcmp(s->e->task->text, "{{ text }}") != 0) {
        err = gal__render(s, "text", s->e->task->text, &q->answer, diag);
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
static gal_err make_prompt(gal__source *s, const gal_exam_ids *how, gal_question *q, gal_diag *diag) {
    const gal_task *t = s->e->task;
    gal_ids ids = { 0 };
    const bool own = t->match.answer[0] != 0;
    gal_err err = gal__render(s, own ? "match.answer" : "answer", own ? t->match.answer : t->answer, &q->answer,
                              diag);
    gal_part *p = err ? NULL : next_part(q, diag);
    if (!err && !p) err = GAL_ENOMEM;
    const char *prompt = q->prompt.data ? q->prompt.data : "";
    if (!err && how->chat)
        err = gal_chat_format_messages(how->chat, how->t, how->now, prompt, &ids, diag);
    else if (!err)
        err = encode(how, prompt, q->prompt.len, true, &ids, diag);
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
    gal__source s = gal__source_of(e, &e->test, record);
    const int kind = e->task->kind;
    q->record = record;
    const bool contexts = e->task->continuation[0] != 0;
    gal_err err = GAL_OK;
    if (kind != GAL_TASK_PERPLEXITY && !contexts)
        err = gal__exam_before(e, record, form_of(how), NULL, &q->prompt, diag);
    if (!err)
        err = contexts                      ? make_contexts(&s, how, q, diag)
              : kind == GAL_MULTIPLE_CHOICE ? make_choices(&s, how, q, diag)
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
    gal__strings_free(&q->list);
    *q = (gal_question){ 0 };
}
