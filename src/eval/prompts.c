/* prompts.c - see prompts.h. SPDX-License-Identifier: Apache-2.0 */
#include "eval/prompts.h"

#include "base/mem.h"
#include "base/util.h"
#include "text/template.h"

#include <stdio.h>
#include <string.h>

gal__source gal__source_of(const gal_exam *e, const gal_records *set, size_t i) {
    gal__source s = { .e = e, .r = &set->v[i] };
    (void)gal_record_where(set, i, s.where);
    return s;
}

static const char *name_of(gal__source *s, const char *key) {
    (void)snprintf(s->name, sizeof s->name, "%.280s: %s", s->e->task->path, key);
    return s->name;
}

gal_err gal__render(gal__source *s, const char *key, const char *template, gal_buf *out, gal_diag *diag) {
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

void gal__strings_free(gal_strings *l) {
    for (size_t i = 0; i < l->n; i++) gal_free(l->v[i]);
    gal_free(l->v);
    *l = (gal_strings){ 0 };
}

static gal_err value(gal__source *s, const char *key, const char *template, gal_template_kind *kind, gal_strings *out,
                     gal_diag *diag) {
    return gal_template_value(template, name_of(s, key), s->r->json, s->r->bytes, s->where, kind, add_item, out,
                              diag);
}

/* One template is all choices, several are one each. */
static gal_err check_choice(const gal__source *s, const gal_strings *given, gal_template_kind kind,
                            const gal_strings *found, gal_diag *diag) {
    if (given->n == 1 && kind == GAL_TEMPLATE_OTHER)
        return gal_fail(diag, GAL_EINPUT, "%s: choices: expected a list, found none", s->where);
    if (given->n == 1 && kind != GAL_TEMPLATE_LIST)
        return gal_fail(diag, GAL_EINPUT, "%s: choices: expected a list of at least two, found 1: \"%.60s\"",
                        s->where, found->v[0]);
    if (given->n > 1 && (kind == GAL_TEMPLATE_LIST || kind == GAL_TEMPLATE_OTHER))
        return gal_fail(diag, GAL_EINPUT, "%s: choices: expected a text in each place, found %s", s->where,
                        kind == GAL_TEMPLATE_LIST ? "a list" : "none");
    return GAL_OK;
}

gal_err gal__read_choices(gal__source *s, gal_strings *out, gal_diag *diag) {
    const gal_strings *given = &s->e->task->choices;
    gal_template_kind kind = GAL_TEMPLATE_LIST;
    gal_err err = GAL_OK;
    for (size_t i = 0; i < given->n && !err; i++) {
        err = value(s, "choices", given->v[i], &kind, out, diag);
        if (!err) err = check_choice(s, given, kind, out, diag);
    }
    for (size_t i = 0; i < out->n && !err; i++)
        if (!out->v[i][0]) err = gal_fail(diag, GAL_EINPUT, "%s: choices: choice %zu is empty", s->where, i);
    if (!err && out->n < 2)
        err = gal_fail(diag, GAL_EINPUT, "%s: choices: expected at least two, found %zu", s->where, out->n);
    return err;
}

/* An index, or one of the choices, or a number or letter that is spelled and none of them. */
gal_err gal__read_right(gal__source *s, const gal_strings *choices, int64_t *right, gal_diag *diag) {
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
    gal__strings_free(&found);
    return err;
}

static gal_err read_answer(gal__source *s, gal_buf *out, gal_diag *diag) {
    if (s->e->task->kind != GAL_MULTIPLE_CHOICE) return gal__render(s, "answer", s->e->task->answer, out, diag);
    if (s->e->task->continuation[0]) return gal__render(s, "continuation", s->e->task->continuation, out, diag);
    gal_strings choices = { 0 };
    int64_t right = 0;
    gal_err err = gal__read_choices(s, &choices, diag);
    if (!err) err = gal__read_right(s, &choices, &right, diag);
    if (!err) gal_buf_puts(out, choices.v[right]);
    gal__strings_free(&choices);
    return err;
}

/* ---- what stands before an answer
 * ----------------------------------------------------------------------------------
 */

/* A message of a conversation, after others. */
static void add_turn(gal_buf *out, const char *role, const char *text, size_t n) {
    gal_buf_printf(out, "%s{\"role\": \"%s\", \"content\": ", out->len ? ", " : "", role);
    gal_buf_json(out, text ? text : "", n);
    gal_buf_putc(out, '}');
}

/* A question; of contexts, the right one of them. */
static gal_err add_asked(gal__source *s, gal_buf *out, gal_diag *diag) {
    const gal_task *t = s->e->task;
    if (!t->continuation[0]) return gal__render(s, "prompt", t->prompt, out, diag);
    gal_strings contexts = { 0 };
    int64_t right = 0;
    gal_err err = gal__read_choices(s, &contexts, diag);
    if (!err) err = gal__read_right(s, &contexts, &right, diag);
    if (!err) gal_buf_puts(out, contexts.v[right]);
    gal__strings_free(&contexts);
    return err;
}

/* As text, with all that stands between; or as two turns. */
static gal_err add_shot(const gal_exam *e, size_t i, bool turns, gal_buf *out, gal_diag *diag) {
    gal__source s = gal__source_of(e, e->from, i);
    gal_buf asked = { 0 }, answer = { 0 };
    gal_err err = add_asked(&s, &asked, diag);
    if (!err) err = read_answer(&s, &answer, diag);
    if (!err && turns) {
        add_turn(out, "user", asked.data, asked.len);
        add_turn(out, "assistant", answer.data, answer.len);
    } else if (!err) {
        gal_buf_add(out, asked.data, asked.len);
        gal_buf_puts(out, e->task->delimiter);
        gal_buf_add(out, answer.data, answer.len);
        gal_buf_puts(out, e->task->shots.separator);
    }
    if (asked.oom || answer.oom) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for a prompt", e->task->path);
    gal_buf_free(&asked);
    gal_buf_free(&answer);
    return err;
}

static gal_err add_shots(const gal_exam *e, size_t record, bool turns, gal_buf *out, gal_diag *diag) {
    const size_t count = e->from ? (size_t)e->task->shots.count : 0;
    gal_err err = GAL_OK;
    for (size_t i = 0; i < count && !err; i++)
        err = add_shot(e, e->shots[(e->n_chosen == 1 ? 0 : record) * count + i], turns, out, diag);
    return err;
}

/* As one text. */
static gal_err plain(gal__source *s, size_t record, const char *context, gal_buf *out, gal_diag *diag) {
    const gal_task *t = s->e->task;
    gal_err err = gal__render(s, "description", t->description, out, diag);
    if (!err) err = add_shots(s->e, record, false, out, diag);
    if (context)
        gal_buf_puts(out, context);
    else if (!err)
        err = gal__render(s, "prompt", t->prompt, out, diag);
    return err;
}

/* The description is the system's, the question the user's, with the shots before it in the same turn or in turns of
 * their own. */
static gal_err conversation(gal__source *s, size_t record, gal_exam_form form, const char *context, gal_buf *out,
                            gal_diag *diag) {
    const gal_task *t = s->e->task;
    const bool turns = form == GAL_EXAM_TURNS;
    gal_buf text = { 0 };
    gal_err err = gal__render(s, "description", t->description, &text, diag);
    if (!err && text.len) add_turn(out, "system", text.data, text.len);
    gal_buf_clear(&text);
    if (!err) err = add_shots(s->e, record, turns, turns ? out : &text, diag);
    if (context)
        gal_buf_puts(&text, context);
    else if (!err)
        err = gal__render(s, "prompt", t->prompt, &text, diag);
    if (!err) add_turn(out, "user", text.data, text.len);
    if (text.oom) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for a prompt", t->path);
    gal_buf_free(&text);
    return err;
}

gal_err gal__exam_before(const gal_exam *e, size_t record, gal_exam_form form, const char *context, gal_buf *out,
                         gal_diag *diag) {
    gal__source s = gal__source_of(e, &e->test, record);
    gal_err err = form == GAL_EXAM_TEXT ? plain(&s, record, context, out, diag)
                                        : conversation(&s, record, form, context, out, diag);
    if (!err && out->oom) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for a prompt", e->task->path);
    return err;
}

gal_err gal_exam_prompt(const gal_exam *e, size_t record, gal_buf *out, gal_diag *diag) {
    return gal__exam_before(e, record, GAL_EXAM_TEXT, e->task->continuation[0] ? "" : NULL, out, diag);
}
