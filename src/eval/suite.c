/* suite.c - see suite.h. Questions are made a few at a time, so that ids of a large set need not be in memory at
 * once; what came of them is written about once a second. SPDX-License-Identifier: Apache-2.0 */
#include "eval/suite.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/util.h"
#include "eval/match.h"
#include "eval/perplexity.h"

#include <stdio.h>
#include <string.h>

/* Of what decides numbers besides what the key names: raised when they change. */
enum { NUMBERS = 1, QUESTIONS = 64 };
#define WRITE_EVERY_S 1.0

/* A part that is to be computed. */
typedef struct todo {
    int64_t question, part;
    const gal_part *p;
} todo;

typedef struct work {
    const gal_suite *s;
    const gal_exam *e;
    gal_suite_result *r;
    gal_exam_ids ids;
    gal_scorer *scorer;
    gal_match *match;
    gal_question q[QUESTIONS]; /* at hand */
    size_t n_q;
    todo *list;
    size_t n_list, cap_list, at; /* of it; parts that are done */
    int64_t done_before;         /* questions, when it began */
    bool *unsaved;               /* [n] */
    bool any_unsaved;
    int64_t done;
    double saved_s;
} work;

gal_err gal_suite_ids(gal_exam_ids *out, const gal_suite *s, gal_diag *diag) {
    const gal_config *c = &s->model->config;
    const int64_t most = gal_engine_most(c), bos = gal_tokenizer_bos(s->t);
    const int64_t context = s->context ? s->context : GAL_MIN(c->max_positions, (int64_t)GAL_EVAL_CONTEXT);
    if (context < 2 || context > most)
        return gal_fail(diag, GAL_EUSAGE, "context: expected 2 to %lld, the model's maximum; found %lld",
                        (long long)most, (long long)context);
    *out = (gal_exam_ids){ .t = s->t,
                           .context = context,
                           .prefix = bos >= 0 ? (int32_t)bos : gal_tokenizer_eos(s->t),
                           .bos = !s->no_bos && gal_tokenizer_begins(s->t),
                           .chat = s->chat,
                           .turns = !s->one_turn,
                           .now = &s->now };
    return GAL_OK;
}

/* What conversations are made by: the template's text, and the day where it asks for that. */
static void add_template(gal_buf *settings, gal_sha256 *h, const gal_suite *s) {
    const gal_buf *source = gal_chat_format_source(s->chat);
    gal_buf_printf(settings, ", \"template\": ");
    gal_buf_json(settings, gal_chat_format_name(s->chat), strlen(gal_chat_format_name(s->chat)));
    gal_buf_printf(settings, ", \"shots_as\": \"%s\"", s->one_turn ? "text" : "turns");
    if (!source->len) return;
    gal_sha256_add(h, source->data, source->len);
    if (strstr(source->data, "strftime_now"))
        gal_buf_printf(settings, ", \"date\": \"%04d-%02d-%02d\"", s->now.tm_year + 1900, s->now.tm_mon + 1,
                       s->now.tm_mday);
}

/* All that decides a number of this run. */
static void make_key(const work *w, gal_buf *settings) {
    const gal_suite *s = w->s;
    uint8_t vocabulary[32], key[32];
    char hex[65];
    gal_sha256 h;
    gal_sha256_init(&h);
    gal_buf_printf(settings, "{\"context\": %lld, \"bos\": %s, \"dtype\": \"%s\", \"exact\": %s, \"device\": \"%s\"",
                   (long long)w->ids.context, w->ids.bos ? "true" : "false", gal_dtype_name(s->compute),
                   s->exact ? "true" : "false", s->dev->name);
    if (s->chat && w->e->task->kind != GAL_TASK_PERPLEXITY) add_template(settings, &h, s);
    gal_buf_putc(settings, '}');
    gal_tokenizer_sha256(s->t, vocabulary);
    /* What else turns a text into ids; the vocabulary's own hash is of its pieces and rules. */
    const int64_t numbers[] = { NUMBERS, gal_tokenizer_bos(s->t), gal_tokenizer_eos(s->t),
                                gal_tokenizer_adds_space(s->t), gal_tokenizer_joins_spaces(s->t) };
    gal_sha256_add(&h, numbers, sizeof numbers);
    gal_sha256_add(&h, s->fingerprint, 32);
    gal_sha256_add(&h, vocabulary, sizeof vocabulary);
    gal_sha256_add(&h, w->e->task->sha256, sizeof w->e->task->sha256);
    gal_sha256_add(&h, w->e->test.sha256, sizeof w->e->test.sha256);
    gal_sha256_add(&h, w->e->others.sha256, sizeof w->e->others.sha256);
    if (settings->data) gal_sha256_add(&h, settings->data, settings->len);
    for (int32_t i = 0; i < s->n_eos; i++) gal_sha256_add(&h, &s->eos[i], sizeof s->eos[i]);
    gal_sha256_end(&h, key);
    gal_hex(hex, key, sizeof key);
    memcpy(w->r->key, hex, sizeof hex);
}

static bool all_known(const gal_answer *a) {
    for (int64_t i = 0; i < a->n; i++)
        if (!a->parts[i].known) return false;
    return a->n > 0;
}

static gal_err load(work *w, gal_diag *diag) {
    gal_buf settings = { 0 };
    if (!w->s->file) return GAL_OK;
    make_key(w, &settings);
    gal_err err = settings.oom ? gal_fail(diag, GAL_ENOMEM, "no memory for the settings") : GAL_OK;
    const gal_answer_run run = { w->r->key, w->s->model_name, w->e->task->name, settings.data };
    if (!err) err = gal_answer_file_run(w->s->file, &run, w->s->fresh, diag);
    if (!err) err = gal_answer_file_load(w->s->file, w->r->answers, w->r->n, diag);
    gal_buf_free(&settings);
    for (int64_t i = 0; i < w->r->n && !err; i++) {
        gal_answer *a = &w->r->answers[i];
        const bool says = w->e->task->kind == GAL_EXACT_MATCH;
        a->known = a->known && (says ? a->said != NULL : all_known(a));
        w->r->kept += a->known;
    }
    w->done = w->r->kept;
    return err;
}

static gal_err save(work *w, gal_diag *diag) {
    gal_answer_file *f = w->s->file;
    w->saved_s = gal_now_s();
    if (!f || !w->any_unsaved) return GAL_OK;
    gal_err err = gal_answer_file_begin(f, diag);
    if (err) return err;
    for (int64_t i = 0; i < w->r->n && !err; i++)
        if (w->unsaved[i]) err = gal_answer_file_put(f, i, &w->r->answers[i], diag);
    err = gal_answer_file_end(f, err, diag);
    if (!err) memset(w->unsaved, 0, (size_t)w->r->n * sizeof *w->unsaved);
    w->any_unsaved = err != GAL_OK;
    return err;
}

static bool wants_stop(void *user) {
    const work *w = user;
    const double at_hand = w->n_list ? (double)w->n_q * (double)w->at / (double)w->n_list : 0.0;
    const double share = ((double)w->done_before + at_hand) / (double)w->r->n;
    return w->s->progress && w->s->progress(w->s->user, w->e->task, w->done, w->r->n, share);
}

static void note(work *w, int64_t question) {
    gal_answer *a = &w->r->answers[question];
    w->unsaved[question] = w->any_unsaved = true;
    if (a->known || !(w->e->task->kind == GAL_EXACT_MATCH ? a->said != NULL : all_known(a))) return;
    a->known = true;
    w->done++;
}

/* ---- questions at hand --------------------------------------------------------------------------------------------
 */

static void drop_questions(work *w) {
    for (size_t i = 0; i < w->n_q; i++) gal_question_free(&w->q[i]);
    w->n_q = w->n_list = 0;
}

/* What a question is; of parts that a file knew only what came of them is taken over. */
static gal_err begin_answer(gal_answer *a, const gal_question *q, gal_diag *diag) {
    const bool same = a->parts && a->n == (int64_t)q->n && a->choices == (int64_t)q->choices && a->right == q->right;
    if (!same) {
        gal_answer_free(a);
        a->parts = gal_alloc_array(q->n, sizeof *a->parts);
        if (!a->parts) return gal_fail(diag, GAL_ENOMEM, "no memory for an answer");
        a->n = (int64_t)q->n;
        a->choices = (int64_t)q->choices;
        a->right = q->right;
    }
    a->bytes = q->bytes;
    a->words = q->words;
    for (size_t k = 0; k < q->n; k++) {
        a->parts[k].tokens = q->parts[k].n - q->parts[k].first;
        a->parts[k].bytes = q->parts[k].bytes;
        a->parts[k].chars = q->parts[k].chars;
    }
    return GAL_OK;
}

static gal_err add_question(work *w, int64_t i, gal_diag *diag) {
    gal_question *q = &w->q[w->n_q++];
    gal_answer *a = &w->r->answers[i];
    bool cut = false;
    *q = (gal_question){ 0 };
    gal_err err = gal_exam_question(w->e, (size_t)i, &w->ids, q, diag);
    if (!err) err = begin_answer(a, q, diag);
    for (size_t k = 0; k < q->n && !err; k++) {
        void *list = w->list;
        cut = cut || (q->parts[k].cut && w->e->task->kind != GAL_TASK_PERPLEXITY);
        if (a->parts[k].known) continue;
        if (gal_grow(&list, &w->cap_list, w->n_list + 1, sizeof *w->list))
            err = gal_fail(diag, GAL_ENOMEM, "no memory for a list of parts");
        else
            w->list = list;
        if (!err) w->list[w->n_list++] = (todo){ i, (int64_t)k, &q->parts[k] };
    }
    a->cut = cut;
    return err;
}

/* ---- computing ----------------------------------------------------------------------------------------------------
 */

static gal_err run_likelihoods(work *w, const todo *list, size_t n, gal_diag *diag) {
    const gal_part *parts[GAL_SCORE_BATCH] = { 0 };
    gal_scored results[GAL_SCORE_BATCH];
    for (size_t i = 0; i < n; i++) parts[i] = list[i].p;
    gal_err err = gal_scorer_run(w->scorer, parts, n, results, diag);
    for (size_t i = 0; i < n && !err; i++) {
        gal_answer_part *p = &w->r->answers[list[i].question].parts[list[i].part];
        p->loglikelihood = results[i].loglikelihood;
        p->greedy = results[i].greedy;
        p->known = true;
        w->r->tokens += p->tokens;
        note(w, list[i].question);
    }
    return err;
}

static gal_err take_said(work *w, const todo *one, gal_buf *text, int64_t tokens, gal_diag *diag) {
    gal_answer *a = &w->r->answers[one->question];
    const gal_question *q = w->q;
    while (q->record != (size_t)one->question) q++;
    gal_err err = gal_match_is(w->match, text->data ? text->data : "", text->len,
                               q->answer.data ? q->answer.data : "", q->answer.len, &a->correct, diag);
    if (err) return err;
    if (!gal_answer_says(a, text->data, text->len))
        return gal_fail(diag, GAL_ENOMEM, "no memory for what a model says");
    a->tokens = tokens;
    w->r->tokens += tokens;
    note(w, one->question);
    return GAL_OK;
}

static gal_err run_said(work *w, const todo *list, size_t n, gal_diag *diag) {
    const gal_part *parts[GAL_SCORE_BATCH] = { 0 };
    gal_buf texts[GAL_SCORE_BATCH] = { { 0 } };
    int64_t tokens[GAL_SCORE_BATCH] = { 0 };
    const gal_task *t = w->e->task;
    const gal_say_options how = {
        .t = w->s->t, .eos = w->s->eos, .n_eos = w->s->n_eos, .max_tokens = t->max_tokens, .until = &t->until
    };
    for (size_t i = 0; i < n; i++) parts[i] = list[i].p;
    gal_err err = gal_scorer_say(w->scorer, parts, n, &how, texts, tokens, diag);
    for (size_t i = 0; i < n && !err; i++) err = take_said(w, &list[i], &texts[i], tokens[i], diag);
    for (size_t i = 0; i < n; i++) gal_buf_free(&texts[i]);
    return err;
}

/* All that is on the list. GAL_EINTERRUPTED: progress wants no more. */
static gal_err run_list(work *w, gal_diag *diag) {
    const size_t batch = (size_t)gal_scorer_batch(w->scorer);
    gal_err err = GAL_OK;
    w->done_before = w->done;
    for (size_t i = 0; i < w->n_list && !err; i += batch) {
        w->at = i;
        const size_t n = GAL_MIN(w->n_list - i, batch);
        if (wants_stop(w)) return gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
        err = w->e->task->kind == GAL_EXACT_MATCH ? run_said(w, w->list + i, n, diag)
                                                  : run_likelihoods(w, w->list + i, n, diag);
        if (!err && gal_now_s() - w->saved_s > WRITE_EVERY_S) err = save(w, diag);
    }
    drop_questions(w);
    return err;
}

static gal_err run_all(work *w, gal_diag *diag) {
    const size_t batch = (size_t)gal_scorer_batch(w->scorer);
    gal_err err = GAL_OK;
    for (int64_t i = 0; i < w->r->n && !err; i++) {
        if (w->r->answers[i].known) continue;
        err = add_question(w, i, diag);
        if (!err && (w->n_q == QUESTIONS || w->n_list >= batch)) err = run_list(w, diag);
    }
    return err ? err : run_list(w, diag);
}

static gal_err compute(work *w, gal_diag *diag) {
    const gal_suite *s = w->s;
    const gal_score_options so = { .compute = s->compute,
                                   .exact = s->exact,
                                   .batch = s->batch ? s->batch : GAL_SCORE_BATCH,
                                   .context = w->ids.context,
                                   .stop = wants_stop,
                                   .user = w };
    gal_err err = gal_token_scratch_new(&w->ids.scratch, s->t, diag);
    if (!err && w->e->task->kind == GAL_EXACT_MATCH) err = gal_match_new(&w->match, w->e->task, diag);
    if (!err) err = gal_scorer_new(&w->scorer, s->dev, s->model, &so, diag);
    if (err) return err;
    gal_diag why = { 0 };
    err = run_all(w, &why);
    w->r->rows = gal_scorer_rows(w->scorer);
    w->r->batch = gal_scorer_batch(w->scorer);
    w->r->stopped = err == GAL_EINTERRUPTED;
    /* What is known is kept, whatever ended it. */
    gal_diag not_saved = { 0 };
    gal_err saved = save(w, &not_saved);
    if (err && !w->r->stopped) return gal_fail(diag, err, "%s", why.text);
    return saved ? gal_fail(diag, saved, "%s", not_saved.text) : GAL_OK;
}

gal_err gal_suite_run(gal_suite_result *r, const gal_suite *s, const gal_exam *e, gal_diag *diag) {
    const double began = gal_now_s();
    *r = (gal_suite_result){ .records = (int64_t)e->test.n };
    work *w = gal_alloc(sizeof *w);
    if (!w) return gal_fail(diag, GAL_ENOMEM, "no memory for an evaluation");
    *w = (work){ .s = s, .e = e, .r = r, .saved_s = began };
    r->n = s->limit ? GAL_MIN(s->limit, r->records) : r->records;
    r->answers = gal_alloc_array((size_t)r->n, sizeof *r->answers);
    w->unsaved = gal_alloc_array((size_t)r->n, sizeof *w->unsaved);
    gal_err err = r->answers && w->unsaved ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for answers");
    if (!err) err = gal_suite_ids(&w->ids, s, diag);
    r->context = w->ids.context;
    r->bos = w->ids.bos;
    if (!err) err = load(w, diag);
    if (!err && r->kept < r->n) err = compute(w, diag);
    for (int64_t i = 0; i < r->n && !err; i++) r->cut += r->answers[i].known && r->answers[i].cut;
    if (!err) err = gal_measure_answers(&r->measures, e->task, r->answers, r->n, diag);
    r->seconds = gal_now_s() - began;
    drop_questions(w);
    gal_scorer_free(w->scorer);
    gal_match_free(w->match);
    gal_token_scratch_free(w->ids.scratch);
    gal_free(w->list);
    gal_free(w->unsaved);
    gal_free(w);
    return err;
}

void gal_suite_result_free(gal_suite_result *r) {
    for (int64_t i = 0; r->answers && i < r->n; i++) gal_answer_free(&r->answers[i]);
    gal_free(r->answers);
    *r = (gal_suite_result){ 0 };
}
