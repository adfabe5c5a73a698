/* tasks.c - an evaluation under failures: what its file of answers holds afterwards is true, and another try ends
 * with the same numbers. SPDX-License-Identifier: Apache-2.0 */
#include "tasks.h"

#include "base/file.h"
#include "eval/suite.h"
#include "infer/lm.h"
#include "stages.h"
#include "support/check.h"

#include <stdio.h>
#include <string.h>

enum { KINDS = 4 };

static gal_lm *lm;
static char dir[300], results[320];
static double want[KINDS];
static bool known[KINDS];

static void put_task(int kind, const char *rest) {
    static const char *const NAMES[KINDS] = { "choice", "likelihood", "text", "said" };
    char text[600], file[40];
    (void)snprintf(text, sizeof text, "name: %s\ndata: { file: set.jsonl }\n%s", NAMES[kind], rest);
    (void)snprintf(file, sizeof file, "task-%d.yaml", kind);
    put_file(dir, file, text, strlen(text));
}

void prepare_tasks(const char *folder) {
    static const char SET[] = "{\"text\": \"the sea\", \"c\": [\"a\", \"boat\"], \"a\": 1}\n"
                              "{\"text\": \"grey wind\", \"c\": [\"salt\", \"rain\"], \"a\": \"salt\"}\n"
                              "{\"text\": \"sails home\", \"c\": [\"over\", \"on\"], \"a\": \"B\"}\n";
    gal_lm_options o;
    gal_diag diag = { 0 };
    gal_lm_options_init(&o);
    o.device.threads = 1;
    assert_int_equal(gal_lm_open(&lm, "tests/golden/gguf-mixed/model.gguf", &o, &diag), GAL_OK);
    gal_lm_settle(lm);
    (void)snprintf(dir, sizeof dir, "%s/tasks", folder);
    (void)snprintf(results, sizeof results, "%s/results.sqlite", dir);
    assert_int_equal(gal_remove_tree(dir, &diag), GAL_OK);
    assert_int_equal(gal_make_dirs(dir, &diag), GAL_OK);
    put_file(dir, "set.jsonl", SET, sizeof SET - 1);
    put_task(0, "prompt: \"{{ text }}\"\nchoices: \"{{ c }}\"\nanswer: \"{{ a }}\"\n"
                "shots: { count: 1, from: same_excluding, sampler: random }\nscoring: [raw, unconditional]\n");
    put_task(1, "kind: loglikelihood\nprompt: \"{{ text }}\"\nanswer: \"{{ c[0] }}\"\nbootstrap: 10\n");
    put_task(2, "kind: perplexity\nbootstrap: 10\n");
    put_task(3, "kind: exact_match\nprompt: \"{{ text }}\"\nanswer: \"{{ c[0] }}\"\nmax_tokens: 4\nuntil: [\"\\n\"]\n"
                "match: { articles: true, punctuation: true }\n");
}

static gal_err run_task(int kind, gal_answer_file *f, gal_diag *diag) {
    static const uint8_t FINGERPRINT[32] = { 7 };
    gal_task t = { 0 };
    gal_exam e = { 0 };
    gal_suite_result r = { 0 };
    char path[340];
    const gal_suite s = { .dev = lm->dev,
                          .model = lm->model,
                          .t = lm->tokenizer,
                          .compute = GAL_F32,
                          .batch = 3,
                          .context = 30,
                          .file = f,
                          .model_name = "m",
                          .fingerprint = FINGERPRINT };
    (void)snprintf(path, sizeof path, "%s/task-%d.yaml", dir, kind);
    gal_err err = gal_task_read(&t, path, diag);
    if (!err) err = gal_exam_open(&e, &t, diag);
    if (!err) err = gal_suite_run(&r, &s, &e, diag);
    if (!err && r.batch && r.batch < 3) stages_got_over = "fewer questions went side by side";
    if (!err) {
        assert_true(r.measures.questions == 3 && r.measures.n > 0);
        const double have = r.measures.v[r.measures.n - 1].value;
        if (!known[kind]) want[kind] = have; /* the first to get through */
        known[kind] = true;
        assert_memory_equal(&have, &want[kind], sizeof have);
    }
    gal_suite_result_free(&r);
    gal_exam_close(&e);
    gal_task_free(&t);
    return err;
}

gal_err run_tasks(gal_diag *diag) {
    gal_answer_file *f = NULL;
    gal_err err = gal_answer_file_open(&f, results, diag);
    for (int kind = 0; kind < KINDS && !err; kind++) err = run_task(kind, f, diag);
    gal_answer_file_close(f);
    return err;
}

void after_tasks(gal_err err, bool again) {
    gal_diag diag = { 0 };
    if (err && again && run_tasks(&diag)) fail_msg("%s", diag.text);
    gal_lm_close(lm);
    lm = NULL;
}
