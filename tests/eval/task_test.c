/* task_test.c - task files that must be refused and where they say it, records, shots as Python draws them, questions
 * as ids, answers in a file, measures by hand. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "eval/answers.h"
#include "eval/match.h"
#include "eval/measures.h"
#include "eval/questions.h"
#include "eval/shots.h"
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char GOOD[] = "name: t\nkind: multiple_choice\ndata: { file: d.jsonl }\nprompt: \"{{ q }}\"\n"
                           "choices: \"{{ c }}\"\nanswer: \"{{ a }}\"\n";

/* ---- files ------------------------------------------------------------------------------------------------------
 */

static void refuse_task(const char *text, const char *say) {
    gal_task t = { 0 };
    gal_diag diag = { 0 };
    const gal_err err = gal_task_parse(&t, text, strlen(text), "t.yaml", ".", &diag);
    gal_task_free(&t);
    if (err != GAL_EINPUT || !strstr(diag.text, say))
        fail_msg("%s\n%s: %s\nexpected: %s", text, gal_err_name(err), diag.text, say);
}

/* And what is written of it is read again. */
static void take_task(const char *text) {
    gal_task t = { 0 }, again = { 0 };
    gal_diag diag = { 0 };
    gal_buf all = { 0 };
    if (gal_task_parse(&t, text, strlen(text), "t.yaml", ".", &diag)) fail_msg("%s\n%s", text, diag.text);
    gal_settings_dump(&GAL_TASK_SETTINGS, &t, &all);
    if (gal_task_parse(&again, all.data, all.len, "t.yaml", ".", &diag)) fail_msg("%s\n%s", all.data, diag.text);
    gal_buf_free(&all);
    gal_task_free(&again);
    gal_task_free(&t);
}

static void bad_files(void **state) {
    (void)state;
#define CHOICE "name: t\ndata: { file: d }\n"
    static const char *const BAD[][2] = {
        { "", "t.yaml: name: missing" },
        { "name: t\n", "t.yaml: data.file: missing" },
        { "name: a,b\ndata: { file: d }\n", "t.yaml: name: expected" },
        { CHOICE "choices: [a, b]\n", "t.yaml: answer: missing; a task of kind multiple_choice" },
        { CHOICE "answer: x\n", "t.yaml: choices: missing" },
        { CHOICE "kind: exact_match\nanswer: x\n", "t.yaml: prompt: missing" },
        { CHOICE "kind: quiz\n", "t.yaml:3:7: kind: expected one of" },
        { CHOICE "promt: x\n", "t.yaml:3:1: unknown key promt; did you mean prompt" },
        { CHOICE "name: u\n", "t.yaml:3:7: name: given twice, first in line 1" },
        { CHOICE "kind: perplexity\nprompt: x\n", "t.yaml: prompt: of no use in a task of kind perplexity" },
        { CHOICE "kind: perplexity\nshots: { count: 1, file: e }\n", "t.yaml: shots.count: of no use" },
        { CHOICE "kind: perplexity\nchoices: [a, b]\n", "t.yaml: choices: of no use" },
        { CHOICE "kind: perplexity\ntext: \"\"\n", "t.yaml: text: missing" },
        { CHOICE "answer: x\nchoices: [a, b]\nuntil: [x]\n", "t.yaml: until: of no use" },
        { CHOICE "answer: x\nchoices: [a, b]\nmatch: { answer: x }\n", "t.yaml: match.answer: of no use" },
        { CHOICE "answer: x\nchoices: [a, b]\nscoring: [raw, words]\n", "found \"words\"" },
        { CHOICE "answer: x\nchoices: [a, b]\nprompt: \"{{ q\"\n", "t.yaml: prompt:1:1: '{{' without its end" },
        { CHOICE "answer: x\nchoices: [a, \"{% for %}\"]\n", "t.yaml: choices:1:" },
        { CHOICE "answer: x\nchoices: [a, b]\ndescription: \"{% if %}x\"\n", "t.yaml: description:1:" },
        { CHOICE "answer: x\nchoices: [a, b]\nshots: { count: 2 }\n", "t.yaml: shots.file: missing" },
        { CHOICE "answer: x\nchoices: [a, b]\nshots: { count: -1 }\n", "t.yaml:5:17: shots.count: expected" },
        { CHOICE "answer: x\nchoices: [a, b]\nshots: { count: 1, file: e, from: same_excluding }\n",
          "t.yaml: shots.file: of no use" },
        { CHOICE "answer: x\nchoices: [a, b]\ncontinuation: c\nprompt: p\n",
          "t.yaml: prompt: of no use beside continuation" },
        { CHOICE "answer: x\nchoices: [a, b]\ncontinuation: c\nscoring: [raw, unconditional]\n",
          "t.yaml: scoring: unconditional: of no use beside continuation" },
        { CHOICE "answer: x\nchoices: [a, b]\ncontinuation: \"{{ c\"\n", "t.yaml: continuation:1:1:" },
        { CHOICE "kind: loglikelihood\nanswer: x\ncontinuation: c\n", "t.yaml: continuation: of no use in a task" },
        { "- a\n", "t.yaml:1:1: expected lines of" },
        { "name: &x t\n", "anchors" },
    };
    for (size_t i = 0; i < GAL_LEN(BAD); i++) refuse_task(BAD[i][0], BAD[i][1]);
}

/* Each key in a task of each kind: what has no effect there is refused, and all else is read. */
static void keys_of_kinds(void **state) {
    (void)state;
    static const char *const TASKS[][2] = {
        { "multiple_choice", "kind: multiple_choice\nanswer: x\nchoices: [a, b]\n" },
        { "loglikelihood", "kind: loglikelihood\nanswer: x\n" },
        { "perplexity", "kind: perplexity\n" },
        { "exact_match", "kind: exact_match\nanswer: x\nprompt: x\n" },
    };
    enum { C = 1, L = 2, P = 4, E = 8, ALL = C | L | P | E, ASKED = C | L | E };
    static const struct {
        const char *key, *value;
        int kinds;
    } KEYS[] = {
        { "version", "x", ALL },          { "data.format", "text", ALL },
        { "data.separator", "x", ALL },   { "description", "x", ASKED },
        { "prompt", "x", ASKED },         { "delimiter", "x", ASKED },
        { "answer", "x", ASKED },         { "choices", "[a, b]", C },
        { "continuation", "x", C },       { "text", "x", P },
        { "shots.count", "0", ASKED },    { "shots.file", "e", ASKED },
        { "shots.from", "other", ASKED }, { "shots.sampler", "random", ASKED },
        { "shots.seed", "1", ASKED },     { "shots.separator", "x", ASKED },
        { "scoring", "[raw]", C },        { "until", "[x]", E },
        { "max_tokens", "1", E },         { "match.strip", "false", E },
        { "match.lower", "true", E },     { "match.punctuation", "true", E },
        { "match.articles", "true", E },  { "match.answer", "x", E },
        { "match.extract", "x", E },      { "match.select", "last", E },
        { "bootstrap", "1", L | P },
    };
    assert_int_equal(GAL_LEN(KEYS) + 3, GAL_TASK_SETTINGS.count); /* name, kind and data.file are in each */
    for (size_t k = 0; k < GAL_LEN(KEYS) * GAL_LEN(TASKS); k++) {
        const size_t i = k / GAL_LEN(TASKS), kind = k % GAL_LEN(TASKS);
        char text[300], line[60], say[100];
        (void)snprintf(line, sizeof line, "\n%s: ", KEYS[i].key);
        if (strstr(TASKS[kind][1], line)) continue; /* it needs this one */
        (void)snprintf(text, sizeof text, "name: t\ndata.file: d\n%s%s: %s\n", TASKS[kind][1], KEYS[i].key,
                       KEYS[i].value);
        (void)snprintf(say, sizeof say, "t.yaml: %s: of no use in a task of kind %s", KEYS[i].key, TASKS[kind][0]);
        if (KEYS[i].kinds >> kind & 1)
            take_task(text);
        else
            refuse_task(text, say);
    }
    /* A separator cuts texts; shots may be some where the questions are none. */
#define SEPARATED "name: t\nkind: loglikelihood\nanswer: x\ndata: { separator: x, "
#define NO_USE "t.yaml: data.separator: of no use where each record is a line of JSON"
    refuse_task(SEPARATED "file: d.jsonl }\n", NO_USE);
    refuse_task(SEPARATED "file: d.jsonl.gz }\n", NO_USE);
    refuse_task(SEPARATED "file: d, format: jsonl }\n", NO_USE);
    refuse_task(SEPARATED "file: d.jsonl }\nshots: { file: e }\n", NO_USE);
    refuse_task(SEPARATED "file: d.jsonl }\nshots: { file: e.jsonl, count: 1 }\n", NO_USE);
    take_task(SEPARATED "file: d.jsonl }\nshots: { file: e, count: 1 }\n");
    take_task(SEPARATED "file: d.jsonl, format: text }\n");
    take_task(SEPARATED "file: d }\n");
}

/* Writes a task and its records, and opens both. */
static gal_err open_exam(gal_exam *e, gal_task *t, const char *folder, const char *task, const char *records,
                         const char *shots, gal_diag *diag) {
    char path[300];
    put_file(folder, "t.yaml", task, strlen(task));
    put_file(folder, "d.jsonl", records, strlen(records));
    if (shots) put_file(folder, "s.jsonl", shots, strlen(shots));
    (void)snprintf(path, sizeof path, "%s/t.yaml", folder);
    *e = (gal_exam){ 0 };
    gal_err err = gal_task_read(t, path, diag);
    return err ? err : gal_exam_open(e, t, diag);
}

static void close_exam(gal_exam *e, gal_task *t) {
    gal_exam_close(e);
    gal_task_free(t);
}

static void refuse_records(const char *task, const char *records, const char *shots, const char *say) {
    char folder[256];
    gal_task t = { 0 };
    gal_exam e;
    gal_diag why = { 0 };
    make_folder(folder);
    gal_err err = open_exam(&e, &t, folder, task, records, shots, &why);
    if (!err) {
        gal_question q = { 0 };
        gal_tokenizer *k = NULL;
        CHECK_OK(gal_tokenizer_open(&k, "tests/golden/text/tiny.model", diag));
        const gal_exam_ids how = { .t = k, .context = 50, .prefix = 1, .bos = true };
        err = gal_exam_question(&e, 0, &how, &q, &why);
        gal_question_free(&q);
        gal_tokenizer_free(k);
    }
    if (err != GAL_EINPUT || !strstr(why.text, say))
        fail_msg("%s\n%s: %s\nexpected: %s", records, gal_err_name(err), why.text, say);
    close_exam(&e, &t);
    remove_folder(folder);
}

static void bad_records(void **state) {
    (void)state;
#define RECORD "{\"q\": \"x\", \"c\": [\"a\", \"b\"], \"a\": 1}\n"
#define WITH(rest)                                                                                                   \
    "name: t\ndata: { file: d.jsonl }\nprompt: \"{{ q }}\"\nchoices: \"{{ c }}\"\nanswer: \"{{ a }}\"\n" rest
    refuse_records(GOOD, "", NULL, "d.jsonl: expected text, found none");
    refuse_records(GOOD, "\n \n", NULL, "d.jsonl: no records");
    refuse_records(GOOD, RECORD "[1]\n", NULL, "d.jsonl: line 2: expected an object of JSON, found");
    refuse_records(GOOD, RECORD "{\"q\": \n", NULL, "line 2");
    refuse_records(GOOD, RECORD "{\"q\": 1} x\n", NULL, "line 2");
    refuse_records(GOOD, "{\"c\": [\"a\", \"b\"], \"a\": 1}\n", NULL, "'q' is undefined (");
    refuse_records(GOOD, "{\"q\": \"x\", \"a\": 1}\n", NULL, "line 1");
    refuse_records(GOOD, "{\"q\": \"x\", \"c\": \"ab\", \"a\": 1}\n", NULL, "choices: expected a list");
    refuse_records(GOOD, "{\"q\": \"x\", \"c\": null, \"a\": 1}\n", NULL, "choices: expected a list, found none");
    refuse_records(GOOD, "{\"q\": \"x\", \"c\": [\"a\"], \"a\": 0}\n", NULL, "expected at least two, found 1");
    refuse_records("name: t\ndata: { file: d.jsonl }\nprompt: \"{{ q }}\"\nchoices: [a]\nanswer: a\n", RECORD, NULL,
                   "line 1: choices: expected a list of at least two, found 1: \"a\"");
    refuse_records(
        "name: t\ndata: { file: d.jsonl }\nprompt: x\nchoices: [\"{{ c[0] }}\", \"{{ e }}\", b]\nanswer: a\n",
        "{\"c\": [\"a\"], \"e\": null}\n", NULL, "line 1: choices: expected a text in each place, found none");
    refuse_records("name: t\ndata: { file: d.jsonl }\nprompt: x\nchoices: [a, b]\nanswer: \"{{ nope }}\"\n", RECORD,
                   NULL, "t.yaml: answer:1:4: 'nope' is undefined (");
    refuse_records("name: t\ndata: { file: d.jsonl }\nprompt: x\nchoices: \"{{ [q, nope] }}\"\nanswer: a\n", RECORD,
                   NULL, "t.yaml: choices:1:8: 'nope' is undefined (");
    refuse_records(GOOD, "{\"q\": \"x\", \"c\": [\"a\", \"\"], \"a\": 0}\n", NULL, "choice 1 is empty");
    refuse_records(GOOD, "{\"q\": \"x\", \"c\": [\"a\", [1]], \"a\": 0}\n", NULL, "expected texts in the list");
    refuse_records(GOOD, "{\"q\": \"x\", \"c\": [\"a\", \"b\"], \"a\": 2}\n", NULL, "expected one of 2 choices");
    refuse_records(GOOD, "{\"q\": \"x\", \"c\": [\"a\", \"b\"], \"a\": -1}\n", NULL, "expected one of 2 choices");
    refuse_records(GOOD, "{\"q\": \"x\", \"c\": [\"a\", \"b\"], \"a\": \"C\"}\n", NULL, "expected one of 2 choices");
    refuse_records(GOOD, "{\"q\": \"x\", \"c\": [\"a\", \"b\"], \"a\": null}\n", NULL, "expected one of 2 choices");
    refuse_records(WITH("delimiter: \"\"\n"), "{\"q\": \"x\", \"c\": [\"a\", \"b\\u0000\"], \"a\": 0}\n", NULL,
                   "zero byte");
    refuse_records(WITH("shots: { count: 1, file: d.jsonl }\n"), RECORD, NULL, "shots.file: is data.file");
    refuse_records(WITH("shots: { count: 1, file: ./d.jsonl }\n"), RECORD, NULL, "shots.file: is data.file");
    refuse_records(WITH("shots: { count: 3, file: s.jsonl }\n"), RECORD, RECORD, "1 records; 3 shots were asked for");
    refuse_records(WITH("shots: { count: 1, from: same_excluding }\n"), RECORD, NULL, "beside the question itself");
    refuse_records(WITH("shots: { count: 1, from: same_excluding, sampler: random }\n"), RECORD RECORD, NULL,
                   "beside the question itself");
    refuse_records(WITH("shots: { count: 1, file: s.jsonl }\n"), RECORD, "{\"q\": \"y\", \"c\": [\"a\", \"b\"]}\n",
                   "s.jsonl: line 1");
    refuse_records("name: t\nkind: perplexity\ndata: { file: d.jsonl }\n", "{\"text\": \"\"}\n", NULL, "is empty");
    refuse_records("name: t\nkind: loglikelihood\ndata: { file: d.jsonl }\nanswer: \"{{ a }}\"\n", "{\"a\": \"\"}\n",
                   NULL, "answer: is empty");
    refuse_records(
        "name: t\nkind: exact_match\nmax_tokens: 60\ndata: { file: d.jsonl }\nprompt: x\nanswer: \"{{ a }}\"\n",
        "{\"a\": \"1\"}\n", NULL, "max_tokens: 60 leave no room");
}

/* ---- shots ------------------------------------------------------------------------------------------------------
 */

static void as_python_draws(void **state) {
    (void)state;
    /* r = random.Random(1234); [r.randrange(1000) for _ in range(5)], r.sample(range(10), 3),
     * r.sample(range(1000), 7), r.sample(range(100), 6), r.sample(range(2000), 30)[:8] */
    static const uint32_t BELOW[] = { 989, 796, 451, 119, 7 };
    static const uint32_t A[] = { 1, 0, 9 }, B[] = { 100, 784, 363, 242, 17, 31, 807 },
                          C[] = { 2, 44, 82, 79, 61, 78 }, D[] = { 949, 304, 186, 374, 1461, 234, 1731, 29 };
    uint32_t out[31];
    gal_python_random r;
    gal_python_seed(&r, 1234);
    for (size_t i = 0; i < GAL_LEN(BELOW); i++) assert_int_equal(gal_python_below(&r, 1000), BELOW[i]);
    CHECK_OK(gal_python_sample(&r, 10, 3, out, diag));
    assert_memory_equal(out, A, sizeof A);
    CHECK_OK(gal_python_sample(&r, 1000, 7, out, diag));
    assert_memory_equal(out, B, sizeof B);
    CHECK_OK(gal_python_sample(&r, 100, 6, out, diag));
    assert_memory_equal(out, C, sizeof C);
    CHECK_OK(gal_python_sample(&r, 2000, 30, out, diag));
    assert_memory_equal(out, D, sizeof D);
}

/* The prompt of each question, with the question itself never among its shots. */
static void never_the_question(void **state) {
    (void)state;
    static const char *const SAMPLERS[] = { "first_n", "random" };
    static const char RECORDS[] =
        "{\"q\": \"q0\", \"a\": \"a0\"}\n{\"q\": \"q1\", \"a\": \"a1\"}\n{\"q\": \"q2\", \"a\": "
        "\"a2\"}\n{\"q\": \"q3\", \"a\": \"a3\"}\n{\"q\": \"q1\", \"a\": \"a1\"}\n";
    for (size_t s = 0; s < 2; s++) {
        char folder[256], task[400];
        gal_task t = { 0 };
        gal_exam e;
        make_folder(folder);
        (void)snprintf(task, sizeof task,
                       "name: t\nkind: loglikelihood\ndata: { file: d.jsonl }\ndescription: \"D. \"\n"
                       "prompt: \"<{{ q }}>\"\ndelimiter: \"=\"\nanswer: \"{{ a }}\"\n"
                       "shots: { count: 3, from: same_excluding, sampler: %s, separator: \";\" }\n",
                       SAMPLERS[s]);
        CHECK_OK(open_exam(&e, &t, folder, task, RECORDS, NULL, diag));
        for (size_t i = 0; i < 5; i++) {
            gal_buf b = { 0 };
            char own[8], end[8];
            const int number = i == 4 ? 1 : (int)i;
            CHECK_OK(gal_exam_prompt(&e, i, &b, diag));
            (void)snprintf(own, sizeof own, "<q%d>=", number);
            (void)snprintf(end, sizeof end, ";<q%d>", number);
            assert_null(strstr(b.data, own));
            assert_memory_equal(b.data, "D. ", 3);
            assert_string_equal(b.data + b.len - strlen(end), end);
            assert_int_equal(b.len, 3 + 3 * 8 + 4);
            if (s == 0 && i == 0) assert_string_equal(b.data, "D. <q1>=a1;<q2>=a2;<q3>=a3;<q0>");
            gal_buf_free(&b);
        }
        close_exam(&e, &t);
        remove_folder(folder);
    }
}

/* ---- ids --------------------------------------------------------------------------------------------------------
 */

static void check_pair(const gal_exam_ids *how, const char *prompt, const char *continuation, int64_t moved) {
    gal_part p = { 0 };
    gal_ids before = { 0 }, all = { 0 };
    gal_buf both = { 0 };
    const unsigned bos = how->bos ? GAL_ENCODE_BOS : 0u;
    CHECK_OK(gal_part_pair(&p, how, prompt, strlen(prompt), continuation, strlen(continuation), "here", diag));
    gal_buf_puts(&both, prompt);
    gal_buf_puts(&both, continuation);
    CHECK_OK(gal_encode(how->t, NULL, prompt, strlen(prompt) - (size_t)moved, bos, &before, diag));
    CHECK_OK(gal_encode(how->t, NULL, both.data, both.len, bos, &all, diag));
    const int64_t skip = GAL_MAX((int64_t)all.len - how->context - 1, (int64_t)0);
    assert_int_equal(p.n, (int64_t)all.len - skip);
    assert_int_equal(p.first, (int64_t)before.len - skip);
    assert_int_equal(p.cut, skip > 0);
    for (int64_t i = 0; i < p.n; i++)
        assert_int_equal(p.ids[i], i < p.first ? before.data[i + skip] : all.data[i + skip]);
    gal_free(p.ids);
    gal_buf_free(&both);
    gal_ids_free(&before);
    gal_ids_free(&all);
}

static void pairs(void **state) {
    (void)state;
    static const char *const MODELS[] = { "tiny.model", "tiny-tekken.json", "rules-bytes.model" };
    for (size_t i = 0; i < GAL_LEN(MODELS); i++) {
        char path[100];
        gal_tokenizer *t = NULL;
        (void)snprintf(path, sizeof path, "tests/golden/text/%s", MODELS[i]);
        CHECK_OK(gal_tokenizer_open(&t, path, diag));
        for (int bos = 0; bos < 2; bos++) {
            gal_exam_ids how = { .t = t, .context = 100, .prefix = gal_tokenizer_bos(t), .bos = bos != 0 };
            check_pair(&how, "The answer is:", " yes", 0);
            check_pair(&how, "The answer is: ", "yes", 1);
            check_pair(&how, "Lines\n\n \t", "and more", 4);
            check_pair(&how, "No break\xc2\xa0", "here", 2);
            check_pair(&how, "hel", "lo there, joined", 0);
            how.context = 12;
            check_pair(&how, "A long beginning that does not fit, not at all.", " no", 0);
        }
        /* With nothing before it. */
        gal_exam_ids how = { .t = t, .context = 100, .prefix = 1 };
        gal_part p = { 0 };
        gal_ids ids = { 0 };
        CHECK_OK(gal_part_pair(&p, &how, "", 0, " yes", 4, "here", diag));
        CHECK_OK(gal_encode(t, NULL, " yes", 4, 0, &ids, diag));
        assert_int_equal(p.first, 1);
        assert_int_equal(p.ids[0], 1);
        assert_int_equal(p.n, (int64_t)ids.len + 1);
        assert_memory_equal(p.ids + 1, ids.data, ids.len * sizeof *ids.data);
        gal_free(p.ids);
        gal_ids_free(&ids);
        gal_diag diag = { 0 };
        how.prefix = -1;
        assert_int_equal(gal_part_pair(&p, &how, "", 0, " yes", 4, "here", &diag), GAL_EINPUT);
        diag = (gal_diag){ 0 };
        how.context = 2;
        assert_int_equal(gal_part_pair(&p, &how, "x", 1, " yes and very much of it", 24, "here", &diag), GAL_EINPUT);
        assert_non_null(strstr(diag.text, "more than the context of 2"));
        gal_tokenizer_free(t);
    }
}

static void same_ids(const gal_part *p, const gal_ids *all, size_t before) {
    assert_int_equal(p->n, all->len);
    assert_int_equal(p->first, before);
    assert_memory_equal(p->ids, all->data, all->len * sizeof *all->data);
}

/* The ids of a text, and of its first n bytes. */
static void expect_part(const gal_part *p, const gal_tokenizer *t, const char *text, size_t n) {
    gal_ids all = { 0 }, before = { 0 };
    CHECK_OK(gal_encode(t, NULL, text, strlen(text), GAL_ENCODE_BOS, &all, diag));
    CHECK_OK(gal_encode(t, NULL, text, n, GAL_ENCODE_BOS, &before, diag));
    same_ids(p, &all, before.len);
    gal_ids_free(&all);
    gal_ids_free(&before);
}

/* The choices stand before; a shot is its right one. They are measured by their own length. */
static void contexts(void **state) {
    (void)state;
    static const char TASK[] = "name: t\ndata: { file: d.jsonl }\nchoices: \"{{ c }}\"\ncontinuation: \"{{ d }}\"\n"
                               "answer: \"{{ a }}\"\ndescription: \"D. \"\n"
                               "shots: { count: 1, file: s.jsonl, separator: \"; \" }\n";
    char folder[256];
    gal_task t = { 0 };
    gal_exam e;
    gal_tokenizer *k = NULL;
    gal_question q = { 0 };
    make_folder(folder);
    CHECK_OK(gal_tokenizer_open(&k, "tests/golden/text/tiny.model", diag));
    CHECK_OK(open_exam(&e, &t, folder, TASK,
                       "{\"c\": [\"the wind\", \"\\u00e9 sea\"], \"d\": \"is dark\", \"a\": 1}\n",
                       "{\"c\": [\"one\", \"two\"], \"d\": \"words\", \"a\": \"A\"}\n", diag));
    const gal_exam_ids how = { .t = k, .context = 100, .prefix = 1, .bos = true };
    CHECK_OK(gal_exam_question(&e, 0, &how, &q, diag));
    assert_int_equal(q.n, 2);
    assert_int_equal(q.choices, 2);
    assert_int_equal(q.right, 1);
    static const char FIRST[] = "D. one words; the wind is dark", SECOND[] = "D. one words; \xc3\xa9 sea is dark";
    expect_part(&q.parts[0], k, FIRST, sizeof FIRST - 1 - strlen(" is dark"));
    expect_part(&q.parts[1], k, SECOND, sizeof SECOND - 1 - strlen(" is dark"));
    assert_int_equal(q.parts[1].bytes, 6);
    assert_int_equal(q.parts[1].chars, 5);
    gal_question_free(&q);
    gal_tokenizer_free(k);
    close_exam(&e, &t);
    remove_folder(folder);
    refuse_records("name: t\ndata: { file: d.jsonl }\nchoices: [a, b]\ncontinuation: \"{{ d }}\"\nanswer: a\n",
                   "{\"d\": \"\"}\n", NULL, "d.jsonl: line 1: continuation: is empty");
}

/* By a template: what it writes, then the choice without a delimiter; the white space that it ends in is scored (of a
 * line's end at the template's own end Jinja makes nothing). */
static void conversations(void **state) {
    (void)state;
    static const char TEMPLATE[] =
        "{% for m in messages %}|{{ m.role }}|{{ m.content }}\n{% endfor %}|assistant|\n\n";
    static const char TASK[] = "name: t\ndata: { file: d.jsonl }\nprompt: \"{{ q }}\"\nchoices: [yes, no]\n"
                               "answer: \"{{ a }}\"\ndescription: \"D.\"\ndelimiter: \"=\"\n"
                               "shots: { count: 1, file: s.jsonl, separator: \";\" }\n";
    static const char *const TEXTS[][2] = { { "|system|D.\n|user|q0\n|assistant|no\n|user|q1\n|assistant|\nyes",
                                              "|system|D.\n|user|q0\n|assistant|no\n|user|q1\n|assistant|\nno" },
                                            { "|system|D.\n|user|q0=no;q1\n|assistant|\nyes",
                                              "|system|D.\n|user|q0=no;q1\n|assistant|\nno" } };
    char folder[256], path[300];
    gal_task t = { 0 };
    gal_exam e;
    gal_tokenizer *k = NULL;
    gal_chat_format *f = NULL;
    make_folder(folder);
    CHECK_OK(gal_tokenizer_open(&k, "tests/golden/text/tiny.model", diag));
    put_file(folder, "t.jinja", TEMPLATE, sizeof TEMPLATE - 1);
    (void)snprintf(path, sizeof path, "%s/t.jinja", folder);
    CHECK_OK(gal_chat_format_open(&f, k, folder, path, diag));
    CHECK_OK(open_exam(&e, &t, folder, TASK, "{\"q\": \"q1\", \"a\": 0}\n", "{\"q\": \"q0\", \"a\": 1}\n", diag));
    for (size_t one = 0; one < 2; one++) {
        const gal_exam_ids how = { .t = k, .context = 200, .prefix = 1, .chat = f, .turns = one == 0 };
        gal_question q = { 0 };
        CHECK_OK(gal_exam_question(&e, 0, &how, &q, diag));
        for (size_t i = 0; i < 2; i++)
            expect_part(&q.parts[i], k, TEXTS[one][i], (size_t)(strrchr(TEXTS[one][i], '\n') - TEXTS[one][i]));
        assert_int_equal(q.parts[0].bytes, 3);
        gal_question_free(&q);
    }
    gal_chat_format_free(f);
    gal_tokenizer_free(k);
    close_exam(&e, &t);
    remove_folder(folder);
}

/* By one of Mistral's: the ids of the conversation, then those of the answer. */
static void native_conversations(void **state) {
    (void)state;
    gal_tokenizer *k = NULL;
    gal_chat_format *f = NULL;
    gal_ids before = { 0 }, all = { 0 }, want = { 0 };
    static const char MESSAGES[] = "{\"role\": \"user\", \"content\": \"a b\"}";
    CHECK_OK(gal_tokenizer_open(&k, "tests/golden/text/chat.model", diag));
    CHECK_OK(gal_chat_format_open(&f, k, "tests/golden/text/chat.model", "V7", diag));
    CHECK_OK(gal_chat_format_pair(f, k, NULL, MESSAGES, "the sea", 7, &before, &all, diag));
    CHECK_OK(gal_chat_format_messages(f, k, NULL, MESSAGES, &want, diag));
    assert_int_equal(before.len, want.len);
    assert_memory_equal(before.data, want.data, want.len * sizeof *want.data);
    CHECK_OK(gal_encode(k, NULL, "the sea", 7, 0, &want, diag));
    assert_int_equal(all.len, want.len);
    assert_memory_equal(all.data, want.data, want.len * sizeof *want.data);
    gal_ids_free(&before);
    gal_ids_free(&all);
    gal_ids_free(&want);
    gal_chat_format_free(f);
    gal_tokenizer_free(k);
}

/* Each token of a text counts once, after as much as the context holds of what is before it in its window. */
static void windows(void **state) {
    (void)state;
    static const int64_t CONTEXTS[] = { 2, 3, 7, 16, 1000 };
    char folder[256];
    gal_task t = { 0 };
    gal_exam e;
    gal_tokenizer *k = NULL;
    make_folder(folder);
    CHECK_OK(gal_tokenizer_open(&k, "tests/golden/text/tiny.model", diag));
    CHECK_OK(open_exam(&e, &t, folder, "name: t\nkind: perplexity\ndata: { file: d.jsonl }\n",
                       "{\"text\": \"Some words, of which a few are \\u00e9trange, and more of them at the end.\"}\n",
                       NULL, diag));
    for (size_t c = 0; c < GAL_LEN(CONTEXTS); c++) {
        const int64_t M = CONTEXTS[c];
        const gal_exam_ids how = { .t = k, .context = M, .prefix = 1 };
        gal_question q = { 0 };
        gal_ids ids = { 0 };
        CHECK_OK(gal_exam_question(&e, 0, &how, &q, diag));
        CHECK_OK(gal_ids_add(&ids, 1, diag));
        static const char TEXT[] = "Some words, of which a few are \xc3\xa9trange, and more of them at the end.";
        CHECK_OK(gal_encode(k, NULL, TEXT, sizeof TEXT - 1, 0, &ids, diag));
        assert_int_equal(q.bytes, sizeof TEXT - 1);
        assert_int_equal(q.words, 15);
        int64_t done = 1; /* in ids */
        for (size_t i = 0; i < q.n; i++) {
            const gal_part *p = &q.parts[i];
            const int64_t end = done + p->n - p->first;
            assert_true(p->n <= M + 1 && p->first >= 1);
            assert_int_equal(p->n, GAL_MIN(end, M + 1));
            assert_memory_equal(p->ids, ids.data + end - p->n, (size_t)p->n * sizeof *p->ids);
            if (i + 1 < q.n) assert_int_equal(p->n - p->first, M);
            done = end;
        }
        assert_int_equal(done, (int64_t)ids.len);
        gal_ids_free(&ids);
        gal_question_free(&q);
    }
    gal_tokenizer_free(k);
    close_exam(&e, &t);
    remove_folder(folder);
}

static void words(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t words;
    } CASES[] = { { "", 1 },
                  { "a", 1 },
                  { "a b", 2 },
                  { " a  b ", 4 },
                  { "\n\n", 2 },
                  { "a\xc2\xa0"
                    "b",
                    2 },
                  { "a\x1f"
                    "b",
                    2 },
                  { "\xe3\x80\x80x", 2 },
                  { "a\xff b", 2 } };
    for (size_t i = 0; i < GAL_LEN(CASES); i++)
        assert_int_equal(gal_count_words(CASES[i].text, strlen(CASES[i].text)), CASES[i].words);
}

/* ---- what is said -----------------------------------------------------------------------------------------------
 */

static void check_match(const char *rules, const char *said, const char *answer, bool want) {
    char text[400];
    gal_task t = { 0 };
    gal_match *m = NULL;
    bool same = !want;
    (void)snprintf(text, sizeof text,
                   "name: t\nkind: exact_match\ndata: { file: d }\nprompt: x\nanswer: x\nmatch: { %s }\n", rules);
    CHECK_OK(gal_task_parse(&t, text, strlen(text), "t.yaml", ".", diag));
    CHECK_OK(gal_match_new(&m, &t, diag));
    CHECK_OK(gal_match_is(m, said, strlen(said), answer, strlen(answer), &same, diag));
    if (same != want) fail_msg("%s: \"%s\" and \"%s\"", rules, said, answer);
    gal_match_free(m);
    gal_task_free(&t);
}

static void matches(void **state) {
    (void)state;
    check_match("", " Paris\n", "Paris", true);
    check_match("strip: false", " Paris", "Paris", false);
    check_match("", "paris", "Paris", false);
    check_match("lower: true", "\xc3\x89t\xc3\x89", "\xc3\xa9t\xc3\xa9", true);
    check_match("", "Paris.", "Paris", false);
    check_match("punctuation: true", "Paris.", "Paris", true);
    check_match("articles: true", "the  Tower of a city", "Tower of city", true);
    check_match("articles: true", "theory", "ory", false);
    check_match("lower: true, articles: true, punctuation: true", "The \"Tower\"!", "tower", true);
    check_match("extract: '#### (-?[0-9]+)'", "so 3 + 4 is\n#### 7", "7", true);
    check_match("extract: '[0-9]+'", "3 and 4", "3", true);
    check_match("extract: '[0-9]+', select: last", "3 and 4", "4", true);
    check_match("extract: '[0-9]+'", "none", "", true);
    check_match("extract: 'x*', select: last", "\xc3\xa9\xc3\xa9", "", true);
    check_match("extract: '(a)|(b)', select: last", "a b", "b", true);
    gal_task t = { 0 };
    gal_match *m = NULL;
    gal_diag why = { 0 };
    static const char BAD[] =
        "name: t\nkind: exact_match\ndata: { file: d }\nprompt: x\nanswer: x\nmatch: { extract: '(' }\n";
    CHECK_OK(gal_task_parse(&t, BAD, strlen(BAD), "t.yaml", ".", diag));
    assert_int_equal(gal_match_new(&m, &t, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "t.yaml: match.extract: no regular expression"));
    gal_task_free(&t);
}

/* ---- answers ----------------------------------------------------------------------------------------------------
 */

static void kept(void **state) {
    (void)state;
    char folder[256], path[300];
    gal_answer_file *f = NULL;
    make_folder(folder);
    (void)snprintf(path, sizeof path, "%s/r.sqlite", folder);
    gal_answer_part parts[3] = { { -1.0 / 3.0, 2, 5, 4, true, true },
                                 { -7.25, 1, 3, 3, false, true },
                                 { .known = false } };
    const gal_answer whole = { .choices = 2, .right = 1, .parts = parts, .n = 2, .known = true };
    const gal_answer part = { .choices = 3, .right = 2, .parts = parts, .n = 3 };
    const gal_answer said = {
        .said = (char *)(uintptr_t) "it's\0\xc3\xa9", .said_bytes = 7, .tokens = 4, .correct = true, .known = true
    };
    const gal_answer_run runs[2] = { { "aa", "m", "t", "{}" }, { "bb", "m", "t", "{}" } };
    CHECK_OK(gal_answer_file_open(&f, path, diag));
    CHECK_OK(gal_answer_file_run(f, &runs[0], false, diag));
    CHECK_OK(gal_answer_file_begin(f, diag));
    CHECK_OK(gal_answer_file_put(f, 0, &whole, diag));
    CHECK_OK(gal_answer_file_put(f, 3, &part, diag));
    CHECK_OK(gal_answer_file_put(f, 4, &said, diag));
    CHECK_OK(gal_answer_file_end(f, GAL_OK, diag));
    CHECK_OK(gal_answer_file_begin(f, diag)); /* taken back */
    CHECK_OK(gal_answer_file_put(f, 1, &whole, diag));
    assert_int_equal(gal_answer_file_end(f, GAL_EFAIL, NULL), GAL_EFAIL);
    gal_answer_file_close(f);
    CHECK_OK(gal_answer_file_open(&f, path, diag));
    for (int pass = 0; pass < 4; pass++) {
        gal_answer got[5] = { { 0 } };
        const int n = pass == 2 ? 2 : 5;
        CHECK_OK(gal_answer_file_run(f, &runs[pass == 1], pass == 3, diag));
        CHECK_OK(gal_answer_file_load(f, got, n, diag));
        if (pass == 0) {
            assert_true(got[0].known && got[0].n == 2 && got[0].choices == 2 && got[0].right == 1 && !got[0].said);
            assert_memory_equal(&got[0].parts[0].loglikelihood, &parts[0].loglikelihood, sizeof(double));
            assert_true(got[0].parts[0].greedy && got[0].parts[0].known && got[0].parts[0].bytes == 5);
            assert_true(!got[1].known && !got[1].parts);
            assert_true(!got[3].known && got[3].n == 3 && got[3].parts[1].known && !got[3].parts[2].known);
            assert_int_equal(got[4].said_bytes, said.said_bytes);
            assert_memory_equal(got[4].said, said.said, said.said_bytes + 1);
            assert_true(got[4].correct && got[4].tokens == 4 && got[4].known);
        } else if (pass != 2) {
            for (int i = 0; i < 5; i++) assert_true(!got[i].known && !got[i].parts); /* another run; forgotten */
        }
        for (int i = 0; i < 5; i++) gal_answer_free(&got[i]);
    }
    gal_answer_file_close(f);
    remove_folder(folder);
}

static void refuse_file(const char *folder, const char *name, const char *say) {
    char path[300];
    gal_answer_file *f = NULL;
    gal_diag diag = { 0 };
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    const gal_err err = gal_answer_file_open(&f, path, &diag);
    if (err != GAL_EINPUT || !strstr(diag.text, say)) fail_msg("%s: %s: %s", name, gal_err_name(err), diag.text);
}

static void damaged(void **state) {
    (void)state;
    char folder[256], path[300];
    gal_answer_file *f = NULL;
    gal_buf b = { 0 };
    make_folder(folder);
    (void)snprintf(path, sizeof path, "%s/r.sqlite", folder);
    const gal_answer_run run = { "aa", "m", "t", "{}" };
    gal_answer_part parts[1] = { { -1.0, 2, 5, 4, true, true } };
    const gal_answer a = { .parts = parts, .n = 1, .known = true };
    CHECK_OK(gal_answer_file_open(&f, path, diag));
    CHECK_OK(gal_answer_file_run(f, &run, false, diag));
    CHECK_OK(gal_answer_file_begin(f, diag));
    for (int i = 0; i < 200; i++) CHECK_OK(gal_answer_file_put(f, i, &a, diag));
    CHECK_OK(gal_answer_file_end(f, GAL_OK, diag));
    gal_answer_file_close(f);
    put_file(folder, "text.sqlite", "this is no database at all, but a text of some length", 53);
    refuse_file(folder, "text.sqlite", "text.sqlite: ");
    refuse_file(folder, ".", "no regular file");
    CHECK_OK(gal_read_file(&b, path, 1 << 24, diag));
    for (size_t i = 4096; i + 64 < b.len; i += 512) memset(b.data + i, 0xa5, 64);
    put_file(folder, "torn.sqlite", b.data, b.len);
    refuse_file(folder, "torn.sqlite", "torn.sqlite: ");
    CHECK_OK(gal_read_file(&b, path, 1 << 24, diag));
    memcpy(b.data + 68, "\0\0\0\1", 4); /* application_id */
    put_file(folder, "other.sqlite", b.data, b.len);
    refuse_file(folder, "other.sqlite", "another program's");
    gal_buf_free(&b);
    remove_folder(folder);
}

/* ---- measures ---------------------------------------------------------------------------------------------------
 */

static gal_measure measure(const gal_measures *m, const char *name) {
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->v[i].name, name) == 0) return m->v[i];
    fail_msg("no %s", name);
    return (gal_measure){ 0 };
}

static void near(double have, double want) {
    if (!(fabs(have - want) <= 1e-12 * fmax(1.0, fabs(want)))) fail_msg("%.15g, expected %.15g", have, want);
}

static void of_choices(void **state) {
    (void)state;
    /* raw takes 1, char and byte differ, token and unconditional too; equal ones: the first. */
    gal_answer_part p[2][6] = {
        { { -6.0, 3, 8, 4, 0, 1 },
          { -5.0, 1, 3, 3, 0, 1 },
          { -7.0, 2, 10, 10, 0, 1 },
          { -9.0, 3, 8, 4, 0, 1 },
          { -5.5, 1, 3, 3, 0, 1 },
          { -8.0, 2, 10, 10, 0, 1 } },
        { { -4.0, 1, 2, 2, 0, 1 },
          { -4.0, 1, 2, 2, 0, 1 },
          { -9.0, 1, 2, 2, 0, 1 },
          { -1.0, 1, 2, 2, 0, 1 },
          { -1.0, 1, 2, 2, 0, 1 },
          { -1.0, 1, 2, 2, 0, 1 } },
    };
    const gal_answer a[3] = { { .choices = 3, .right = 1, .parts = p[0], .n = 6, .known = true },
                              { .choices = 3, .right = 0, .parts = p[1], .n = 6, .known = true },
                              { .choices = 3, .right = 0, .parts = p[1], .n = 6, .known = false } };
    assert_int_equal(gal_answer_choice(&a[0], GAL_SCORE_RAW), 1);
    assert_int_equal(gal_answer_choice(&a[0], GAL_SCORE_CHAR), 2);
    assert_int_equal(gal_answer_choice(&a[0], GAL_SCORE_BYTE), 2);
    assert_int_equal(gal_answer_choice(&a[0], GAL_SCORE_TOKEN), 0);
    assert_int_equal(gal_answer_choice(&a[0], GAL_SCORE_UNCONDITIONAL), 0);
    assert_int_equal(gal_answer_choice(&a[1], GAL_SCORE_RAW), 0);
    gal_task t = { 0 };
    gal_measures m;
    char text[600];
    (void)snprintf(text, sizeof text, "%sscoring: [raw, char, token, unconditional]\n", GOOD);
    CHECK_OK(gal_task_parse(&t, text, strlen(text), "t.yaml", ".", diag));
    CHECK_OK(gal_measure_answers(&m, &t, a, 3, diag));
    assert_int_equal(m.questions, 2);
    assert_int_equal(m.n, 4);
    near(measure(&m, "acc").value, 1.0);
    near(measure(&m, "acc").error, 0.0);
    near(measure(&m, "acc_norm").value, 0.5);
    near(measure(&m, "acc_norm").error, sqrt(0.5) / sqrt(2.0)); /* sample deviation / sqrt(n) */
    /* Wilson at 1 of 1 ... 2 of 2: 2 / (2 + z^2) */
    near(measure(&m, "acc").low, 2.0 / (2.0 + 1.959963984540054 * 1.959963984540054));
    near(measure(&m, "acc").high, 1.0);
    gal_task_free(&t);
}

static void of_texts(void **state) {
    (void)state;
    gal_answer_part p[3][2] = { { { -10.0, 4, 0, 0, 0, 1 }, { -2.0, 1, 0, 0, 0, 1 } },
                                { { -20.0, 8, 0, 0, 0, 1 }, { .known = 0 } },
                                { { -1.0, 1, 0, 0, 0, 1 }, { .known = 0 } } };
    const gal_answer a[3] = { { .parts = p[0], .n = 2, .bytes = 20, .words = 4, .known = true },
                              { .parts = p[1], .n = 1, .bytes = 44, .words = 9, .known = true },
                              { .parts = p[2], .n = 1, .bytes = 2, .words = 1, .known = true } };
    static const char TASK[] = "name: t\nkind: perplexity\ndata: { file: d }\nbootstrap: 400\n";
    gal_task t = { 0 };
    gal_measures m, again;
    CHECK_OK(gal_task_parse(&t, TASK, strlen(TASK), "t.yaml", ".", diag));
    CHECK_OK(gal_measure_answers(&m, &t, a, 3, diag));
    near(measure(&m, "bits_per_byte").value, 33.0 / 66.0 / log(2.0));
    near(measure(&m, "byte_perplexity").value, exp(0.5));
    near(measure(&m, "word_perplexity").value, exp(33.0 / 14.0));
    near(measure(&m, "token_perplexity").value, exp(33.0 / 14.0));
    const gal_measure b = measure(&m, "bits_per_byte");
    /* All draws of three out of three, each as likely as another: the interval's ends lie within what can come. */
    assert_true(b.low >= 20.0 / 44.0 / log(2.0) - 1e-6 && b.high <= 12.0 / 20.0 / log(2.0) + 1e-6);
    assert_true(b.low < b.value && b.value < b.high && b.error > 0.0);
    CHECK_OK(gal_measure_answers(&again, &t, a, 3, diag));
    assert_memory_equal(&again.v[0].low, &m.v[0].low, sizeof(double));
    CHECK_OK(gal_measure_answers(&again, &t, a, 1, diag));
    assert_true(isnan(again.v[0].error) && isnan(again.v[0].low));
    CHECK_OK(gal_measure_answers(&again, &t, a, 0, diag));
    assert_int_equal(again.n, 0);
    gal_task_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files),
        cmocka_unit_test(keys_of_kinds),
        cmocka_unit_test(bad_records),
        cmocka_unit_test(as_python_draws),
        cmocka_unit_test(never_the_question),
        cmocka_unit_test(pairs),
        cmocka_unit_test(contexts),
        cmocka_unit_test(conversations),
        cmocka_unit_test(native_conversations),
        cmocka_unit_test(windows),
        cmocka_unit_test(words),
        cmocka_unit_test(matches),
        cmocka_unit_test(kept),
        cmocka_unit_test(damaged),
        cmocka_unit_test(of_choices),
        cmocka_unit_test(of_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
