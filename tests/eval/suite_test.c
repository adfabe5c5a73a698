/* suite_test.c - an evaluation that is stopped wherever it asks, and goes on from what was kept, has the answers and
 * measures of one that nobody stops. SPDX-License-Identifier: Apache-2.0 */
#include "../infer/tiny.h"
#include "base/file.h"
#include "eval/suite.h"
#include "infer/lm.h"
#include "support/check.h"

#include <stdio.h>
#include <string.h>

enum { MOST_STOPS = 2000 };

static char folder[256];

/* Three choices and texts of many windows, two parts at a time: both are cut in their midst. */
static const char QUESTIONS[] =
    "{\"q\": \"Who came back?\", \"c\": [\"Catherine\", \"He\", \"The dogs\"], \"a\": 1}\n"
    "{\"q\": \"What was cold?\", \"c\": [\"the hearth\", \"it\", \"wind\"], \"a\": 0}\n"
    "{\"q\": \"It was so cold on the moor that night, with the wind from the north and no moon, that nobody "
    "would have gone out, and yet there was a knock at the door. Who?\", \"c\": [\"He\", \"I\", \"we two\"], \"a\": "
    "0}\n"
    "{\"q\": \"Where to?\", \"c\": [\"the moor\", \"no\", \"up, up\"], \"a\": 2}\n";
static const char *const TASKS[] = {
    "name: t\nkind: multiple_choice\ndata: { file: q.jsonl }\nprompt: \"{{ q }}\"\nchoices: \"{{ c }}\"\nanswer: "
    "\"{{ a }}\"\n",
    "name: t\nkind: loglikelihood\ndata: { file: q.jsonl }\nprompt: \"{{ q }}\"\nanswer: \"{{ c[0] }}\"\n",
    "name: t\nkind: perplexity\ndata: { file: text.txt }\n",
    "name: t\nkind: exact_match\ndata: { file: q.jsonl }\nprompt: \"{{ q }}\"\nanswer: \"{{ c[0] }}\"\nmax_tokens: "
    "3\n",
};

typedef struct stopper {
    int64_t asked, at; /* at 0: never */
} stopper;

static bool stop(void *user, const gal_task *t, int64_t done, int64_t of, double share) {
    (void)t, (void)done, (void)of, (void)share;
    stopper *s = user;
    return ++s->asked == s->at;
}

static void same_results(const gal_suite_result *a, const gal_suite_result *b) {
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->cut, b->cut);
    assert_int_equal(a->measures.n, b->measures.n);
    for (size_t i = 0; i < a->measures.n; i++)
        assert_memory_equal(&a->measures.v[i].value, &b->measures.v[i].value, 4 * sizeof(double));
    for (int64_t i = 0; i < a->n; i++) {
        const gal_answer *x = &a->answers[i], *y = &b->answers[i];
        assert_true(x->known && y->known);
        assert_int_equal(x->n, y->n);
        for (int64_t k = 0; k < x->n; k++) {
            const gal_answer_part *p = &x->parts[k], *q = &y->parts[k];
            assert_memory_equal(&p->loglikelihood, &q->loglikelihood, sizeof p->loglikelihood);
            assert_int_equal(p->tokens, q->tokens);
            assert_int_equal(p->bytes, q->bytes);
            assert_int_equal(p->chars, q->chars);
        }
    }
}

static void goes_on(const gal_suite *usual, const char *text) {
    char path[300];
    gal_task t = { 0 };
    gal_exam e = { 0 };
    gal_suite_result whole = { 0 }, last = { 0 };
    stopper s = { 0 };
    gal_suite suite = *usual;
    suite.progress = stop;
    suite.user = &s;
    CHECK_OK(gal_task_parse(&t, text, strlen(text), "t.yaml", folder, diag));
    CHECK_OK(gal_exam_open(&e, &t, diag));
    CHECK_OK(gal_suite_run(&whole, &suite, &e, diag));
    assert_false(whole.stopped);
    if (strstr(text, "choice")) assert_int_equal(whole.cut, 1);

    (void)snprintf(path, sizeof path, "%s/r.sqlite", folder);
    int64_t stops = 0;
    do { /* each time one question later, so that there is progress in the end */
        gal_suite_result_free(&last);
        CHECK_OK(gal_answer_file_open(&suite.file, path, diag));
        s = (stopper){ .at = ++stops };
        CHECK_OK(gal_suite_run(&last, &suite, &e, diag));
        gal_answer_file_close(suite.file);
    } while (last.stopped && stops < MOST_STOPS);
    assert_true(stops > 3 && stops < MOST_STOPS);
    same_results(&last, &whole);

    gal_suite_result_free(&last);
    CHECK_OK(gal_answer_file_open(&suite.file, path, diag));
    CHECK_OK(gal_suite_run(&last, &suite, &e, diag));
    assert_true(last.kept == last.n && last.rows == 0);
    same_results(&last, &whole);
    gal_answer_file_close(suite.file);
    assert_int_equal(remove(path), 0);
    gal_suite_result_free(&last);
    gal_suite_result_free(&whole);
    gal_exam_close(&e);
    gal_task_free(&t);
}

static void stopped_anywhere(void **state) {
    (void)state;
    static const uint8_t FINGERPRINT[32] = { 1 };
    gal_buf dir = { 0 }, novel = { 0 };
    gal_model *m = NULL;
    gal_tokenizer *t = NULL;
    const gal_lm_options lo = { 0 };
    gal_dev *dev = tiny_dev(NULL, 2);
    CHECK_OK(gal_lm_load(&m, &t, NULL, &dir, "tests/golden/gguf-mixed/model.gguf", diag));
    CHECK_OK(gal_lm_bring(m, dev, &lo, diag));
    make_folder(folder);
    put_file(folder, "q.jsonl", QUESTIONS, sizeof QUESTIONS - 1);
    CHECK_OK(gal_read_file(&novel, "examples/text/wuthering-heights.txt", 1 << 24, diag));
    put_file(folder, "text.txt", novel.data, 1000);
    const gal_suite suite = { .dev = dev,
                              .model = m,
                              .t = t,
                              .eos = (const int32_t[]){ 2 },
                              .n_eos = 1,
                              .compute = GAL_F32,
                              .batch = 2,
                              .context = 48,
                              .model_name = "m",
                              .fingerprint = FINGERPRINT };
    for (size_t i = 0; i < GAL_LEN(TASKS); i++) goes_on(&suite, TASKS[i]);
    remove_folder(folder);
    gal_buf_free(&novel);
    gal_buf_free(&dir);
    gal_tokenizer_free(t);
    gal_model_free(m);
    gal_dev_close(dev);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(stopped_anywhere) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
