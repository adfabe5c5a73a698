/* task.c - see task.h. SPDX-License-Identifier: Apache-2.0 */
#include "eval/task.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "data/reader.h"
#include "text/template.h"

#include <stddef.h>
#include <string.h>

enum { TASK_MAX_BYTES = 1 << 20 };

const char *const GAL_TASK_KINDS[] = { "multiple_choice", "loglikelihood", "perplexity", "exact_match", NULL };
const char *const GAL_SCORING_NAMES[] = { "acc", "acc_norm", "acc_bytes", "acc_token", "acc_mutual_info" };
static const char *const SCORINGS[] = { "raw", "char", "byte", "token", "unconditional" };

#define F(field) offsetof(gal_task, field)
static const gal_setting ROWS[] = {
    { .key = "name", .type = GAL_S_STRING, .offset = F(name), .fallback = "", .help = "of the task, in reports" },
    { .key = "version",
      .type = GAL_S_STRING,
      .offset = F(version),
      .fallback = "",
      .help = "of the task, in reports" },
    { .key = "kind",
      .type = GAL_S_CHOICE,
      .offset = F(kind),
      .fallback = "multiple_choice",
      .choices = "multiple_choice loglikelihood perplexity exact_match",
      .help = "what is asked" },
    { .key = "data.file",
      .type = GAL_S_PATH,
      .offset = F(data.file),
      .fallback = "",
      .help = "the records, as they are or compressed (gzip, Zstandard)" },
    { .key = "data.format",
      .type = GAL_S_CHOICE,
      .offset = F(data.format),
      .fallback = "auto",
      .choices = "auto jsonl text",
      .help = "an object of JSON a line, or texts; auto: by the name, .jsonl or not" },
    { .key = "data.separator",
      .type = GAL_S_STRING,
      .offset = F(data.separator),
      .fallback = "",
      .help = "of texts: a line that begins with it starts another one, and is dropped; none: the file is one text" },
    { .key = "description",
      .type = GAL_S_STRING,
      .offset = F(description),
      .fallback = "",
      .help = "template of what stands before everything" },
    { .key = "prompt",
      .type = GAL_S_STRING,
      .offset = F(prompt),
      .fallback = "",
      .help = "template of the question" },
    { .key = "delimiter",
      .type = GAL_S_STRING,
      .offset = F(delimiter),
      .fallback = " ",
      .help = "between a question and its answer" },
    { .key = "answer",
      .type = GAL_S_STRING,
      .offset = F(answer),
      .fallback = "",
      .help = "template of the answer: a text; of choices also an index from 0, or a letter" },
    { .key = "choices",
      .type = GAL_S_STRINGS,
      .offset = F(choices),
      .help = "a template for each choice, or one whose value is their list" },
    { .key = "continuation",
      .type = GAL_S_STRING,
      .offset = F(continuation),
      .fallback = "",
      .help = "template of a text that is scored after each choice; the choices are then the prompts" },
    { .key = "text",
      .type = GAL_S_STRING,
      .offset = F(text),
      .fallback = "{{ text }}",
      .help = "of perplexity: template of the text" },
    { .key = "shots.count",
      .type = GAL_S_INT,
      .offset = F(shots.count),
      .fallback = "0",
      .min = 0,
      .max = 1000,
      .help = "questions with their answers before the one that is asked" },
    { .key = "shots.file",
      .type = GAL_S_PATH,
      .offset = F(shots.file),
      .fallback = "",
      .help = "where they come from; never data.file" },
    { .key = "shots.from",
      .type = GAL_S_CHOICE,
      .offset = F(shots.from),
      .fallback = "other",
      .choices = "other same_excluding",
      .help = "same_excluding: from data.file, without the record that is asked" },
    { .key = "shots.sampler",
      .type = GAL_S_CHOICE,
      .offset = F(shots.sampler),
      .fallback = "first_n",
      .choices = "first_n random",
      .help = "the first ones, or others for each question" },
    { .key = "shots.seed",
      .type = GAL_S_INT,
      .offset = F(shots.seed),
      .fallback = "1234",
      .min = 0,
      .max = 4294967295.0,
      .help = "of sampler random" },
    { .key = "shots.separator",
      .type = GAL_S_STRING,
      .offset = F(shots.separator),
      .fallback = "\n\n",
      .help = "after each of them" },
    { .key = "scoring",
      .type = GAL_S_STRINGS,
      .offset = F(scoring),
      .help = "of choices: raw, char, byte, token, unconditional; none: the first four" },
    { .key = "until",
      .type = GAL_S_STRINGS,
      .offset = F(until),
      .help = "of exact_match: texts that end what the model says" },
    { .key = "max_tokens",
      .type = GAL_S_INT,
      .offset = F(max_tokens),
      .fallback = "256",
      .min = 1,
      .max = 1e6,
      .help = "of exact_match: most tokens that the model says" },
    { .key = "match.strip",
      .type = GAL_S_BOOL,
      .offset = F(match.strip),
      .fallback = "true",
      .help = "white space around both does not count" },
    { .key = "match.lower",
      .type = GAL_S_BOOL,
      .offset = F(match.lower),
      .fallback = "false",
      .help = "capitals do not count" },
    { .key = "match.punctuation",
      .type = GAL_S_BOOL,
      .offset = F(match.punctuation),
      .fallback = "false",
      .help = "punctuation (of ASCII) is dropped" },
    { .key = "match.articles",
      .type = GAL_S_BOOL,
      .offset = F(match.articles),
      .fallback = "false",
      .help = "the words a, an, the are dropped, and runs of white space are one space" },
    { .key = "match.answer",
      .type = GAL_S_STRING,
      .offset = F(match.answer),
      .fallback = "",
      .help = "template of what the model should say, where that is not the answer that the shots show" },
    { .key = "match.extract",
      .type = GAL_S_STRING,
      .offset = F(match.extract),
      .fallback = "",
      .help = "regular expression: what it matches of what the model says is the answer, or its first group" },
    { .key = "match.select",
      .type = GAL_S_CHOICE,
      .offset = F(match.select),
      .fallback = "first",
      .choices = "first last",
      .help = "which match of match.extract" },
    { .key = "bootstrap",
      .type = GAL_S_INT,
      .offset = F(bootstrap),
      .fallback = "1000",
      .min = 0,
      .max = 1e6,
      .help = "of loglikelihood and perplexity: draws for the intervals of perplexities; 0: none" },
};

/* Keys, or sections of them, that only some kinds of task use. */
enum {
    OF_CHOICES = 1 << GAL_MULTIPLE_CHOICE,
    OF_LIKELIHOODS = 1 << GAL_LOGLIKELIHOOD,
    OF_TEXTS = 1 << GAL_TASK_PERPLEXITY,
    OF_MATCHES = 1 << GAL_EXACT_MATCH,
    OF_QUESTIONS = OF_CHOICES | OF_LIKELIHOODS | OF_MATCHES
};
static const struct {
    const char *key;
    int kinds;
} USES[] = { { "description", OF_QUESTIONS },
             { "prompt", OF_QUESTIONS },
             { "delimiter", OF_QUESTIONS },
             { "answer", OF_QUESTIONS },
             { "choices", OF_CHOICES },
             { "continuation", OF_CHOICES },
             { "text", OF_TEXTS },
             { "shots.", OF_QUESTIONS },
             { "scoring", OF_CHOICES },
             { "until", OF_MATCHES },
             { "max_tokens", OF_MATCHES },
             { "match.", OF_MATCHES },
             { "bootstrap", OF_LIKELIHOODS | OF_TEXTS } };

static bool of_kind(const gal_task *t, const char *key) {
    for (size_t i = 0; i < GAL_LEN(USES); i++) {
        const size_t n = strlen(USES[i].key);
        const bool section = USES[i].key[n - 1] == '.';
        if (section ? strncmp(USES[i].key, key, n) == 0 : strcmp(USES[i].key, key) == 0)
            return (USES[i].kinds >> t->kind & 1) != 0;
    }
    return true;
}

/* Whether some of its records are texts, which a separator may cut. */
static bool has_texts(const gal_task *t) {
    const bool others = t->shots.count && t->shots.from == GAL_SHOTS_OTHER && t->shots.file[0];
    return !gal_task_lines(t, t->data.file) || (others && !gal_task_lines(t, t->shots.file));
}

static bool applies(const void *config, const gal_setting *row) {
    const gal_task *t = config;
    return of_kind(t, row->key) && (strcmp(row->key, "data.separator") != 0 || has_texts(t));
}

_Static_assert(GAL_LEN(ROWS) <= GAL_TASK_SETTINGS_MOST, "each row has its place in gal_task.said");

const gal_settings GAL_TASK_SETTINGS = {
    .rows = ROWS, .count = GAL_LEN(ROWS), .bytes = sizeof(gal_task), .said = F(said), .applies = applies
};

bool gal_task_lines(const gal_task *t, const char *path) {
    if (t->data.format != GAL_RECORDS_AUTO) return t->data.format == GAL_RECORDS_JSONL;
    return gal_reader_named_jsonl(path);
}

static gal_err missing(const gal_task *t, const char *key, const char *what, gal_diag *diag) {
    return gal_fail(diag, GAL_EINPUT, "%s: %s: missing; a task of kind %s needs %s", t->path, key,
                    GAL_TASK_KINDS[t->kind], what);
}

/* Whoever writes a key that has no effect believes that it has one. */
static gal_err check_strays(const gal_task *t, gal_diag *diag) {
    for (size_t i = 0; i < GAL_LEN(ROWS); i++) {
        const char *key = ROWS[i].key;
        if (!t->said[i] || applies(t, &ROWS[i])) continue;
        if (of_kind(t, key))
            return gal_fail(diag, GAL_EINPUT, "%s: %s: of no use where each record is a line of JSON", t->path, key);
        return gal_fail(diag, GAL_EINPUT, "%s: %s: of no use in a task of kind %s", t->path, key,
                        GAL_TASK_KINDS[t->kind]);
    }
    return GAL_OK;
}

static gal_err check_keys(const gal_task *t, gal_diag *diag) {
    const bool whole = t->kind == GAL_TASK_PERPLEXITY;
    if (!t->name[0]) return gal_fail(diag, GAL_EINPUT, "%s: name: missing", t->path);
    if (strlen(t->name) > 100 || strpbrk(t->name, "\n\r\t,/"))
        return gal_fail(diag, GAL_EINPUT, "%s: name: expected at most 100 bytes without commas, slashes and tabs",
                        t->path);
    if (!t->data.file[0]) return gal_fail(diag, GAL_EINPUT, "%s: data.file: missing", t->path);
    gal_err err = check_strays(t, diag);
    if (err) return err;
    if (t->kind == GAL_EXACT_MATCH && !t->prompt[0]) return missing(t, "prompt", "one", diag);
    if (!whole && !t->answer[0]) return missing(t, "answer", "one", diag);
    if (whole && !t->text[0]) return missing(t, "text", "one", diag);
    if (t->kind == GAL_MULTIPLE_CHOICE && !t->choices.n) return missing(t, "choices", "them", diag);
    if (t->continuation[0] && t->prompt[0])
        return gal_fail(diag, GAL_EINPUT, "%s: prompt: of no use beside continuation: the choices are the prompts",
                        t->path);
    return GAL_OK;
}

/* Questions that were seen with their answers are no test. */
static gal_err check_shots(const gal_task *t, gal_diag *diag) {
    const bool same = t->shots.from == GAL_SHOTS_SAME_EXCLUDING;
    if (same && t->shots.file[0])
        return gal_fail(diag, GAL_EINPUT, "%s: shots.file: of no use beside shots.from: same_excluding", t->path);
    if (!t->shots.count || same) return GAL_OK;
    if (!t->shots.file[0])
        return gal_fail(diag, GAL_EINPUT,
                        "%s: shots.file: missing; shots.count is %lld (or shots.from: same_excluding)", t->path,
                        (long long)t->shots.count);
    if (gal_exists(t->data.file) && gal_same_file(t->shots.file, t->data.file))
        return gal_fail(diag, GAL_EINPUT,
                        "%s: shots.file: is data.file, whose answers must not be seen; expected another file, or "
                        "shots.from: same_excluding",
                        t->path);
    return GAL_OK;
}

static gal_err check_template(const gal_task *t, const char *key, const char *source, gal_diag *diag) {
    gal_buf name = { 0 };
    gal_buf_printf(&name, "%s: %s", t->path, key);
    gal_err err = name.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->path)
                           : gal_template_check(source, name.data, diag);
    gal_buf_free(&name);
    return err;
}

static gal_err check_templates(const gal_task *t, gal_diag *diag) {
    gal_err err = check_template(t, "description", t->description, diag);
    if (!err) err = check_template(t, "prompt", t->prompt, diag);
    if (!err) err = check_template(t, "answer", t->answer, diag);
    if (!err) err = check_template(t, "text", t->text, diag);
    if (!err) err = check_template(t, "match.answer", t->match.answer, diag);
    if (!err) err = check_template(t, "continuation", t->continuation, diag);
    for (size_t i = 0; i < t->choices.n && !err; i++) err = check_template(t, "choices", t->choices.v[i], diag);
    return err;
}

static gal_err check_scoring(gal_task *t, gal_diag *diag) {
    for (size_t i = 0; i < t->scoring.n; i++) {
        size_t s = 0;
        while (s < GAL_SCORINGS && strcmp(SCORINGS[s], t->scoring.v[i]) != 0) s++;
        if (s == GAL_SCORINGS)
            return gal_fail(diag, GAL_EINPUT,
                            "%s: scoring: expected some of raw, char, byte, token, unconditional, found \"%.60s\"",
                            t->path, t->scoring.v[i]);
        if (s == GAL_SCORE_UNCONDITIONAL && t->continuation[0])
            return gal_fail(
                diag, GAL_EINPUT,
                "%s: scoring: unconditional: of no use beside continuation, which is as likely without any "
                "of the choices",
                t->path);
        t->scores[s] = true;
    }
    for (size_t s = 0; !t->scoring.n && s < GAL_SCORE_UNCONDITIONAL; s++) t->scores[s] = true;
    return GAL_OK;
}

gal_err gal_task_parse(gal_task *t, const char *text, size_t bytes, const char *path, const char *dir,
                       gal_diag *diag) {
    gal_err err = gal_settings_defaults(&GAL_TASK_SETTINGS, t, diag);
    if (!err && !(t->path = gal_strdup(path))) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    if (!err) err = gal_settings_parse(&GAL_TASK_SETTINGS, t, text, bytes, path, dir, diag);
    if (!err) err = check_keys(t, diag);
    if (!err) err = check_shots(t, diag);
    if (!err) err = check_templates(t, diag);
    if (!err) err = check_scoring(t, diag);
    gal_sha256_of(text, bytes, t->sha256);
    return err;
}

gal_err gal_task_read(gal_task *t, const char *path, gal_diag *diag) {
    gal_buf text = { 0 };
    *t = (gal_task){ 0 };
    gal_err err = gal_read_file(&text, path, TASK_MAX_BYTES, diag);
    const char *slash = strrchr(path, '/');
    char *dir = slash ? gal_strndup(path, (size_t)(slash - path) + (slash == path)) : gal_strdup(".");
    if (!err && !dir) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    if (!err) err = gal_task_parse(t, text.data ? text.data : "", text.len, path, dir, diag);
    gal_free(dir);
    gal_buf_free(&text);
    return err;
}

void gal_task_free(gal_task *t) {
    gal_free(t->path);
    gal_settings_free(&GAL_TASK_SETTINGS, t);
}
