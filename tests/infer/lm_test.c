/* lm_test.c - the public handle: opening, information, text, greedy continuations of the golden models, refusals.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "galerne/infer.h"
#include "infer/lm.h"
#include "models/golden.h"
#include "support/check.h"
#include "support/far.h"
#include "tensor/blocks.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct taken {
    int32_t ids[64];
    int n;
} taken;

static int take(void *user, int32_t id, const char *text, size_t bytes) {
    taken *t = user;
    (void)text;
    (void)bytes;
    if (id >= 0 && t->n < 64) t->ids[t->n++] = id;
    return 0;
}

/* The handle's whole way, prompt in chunks of 5, recorded and eager, and on a device whose memory is closed to the
 * host, continues as the reference does. */
static void test_greedy(void **state) {
    (void)state;
    far_use();
    static const char *const FOLDERS[] = { "tests/golden/mistral-base",   "tests/golden/mistral-window",
                                           "tests/golden/mistral-nemo",   "tests/golden/mistral-tied",
                                           "tests/golden/mistral-layers", "tests/golden/mistral-yarn" };
    for (size_t i = 0; i < GAL_LEN(FOLDERS); i++) {
        golden g;
        golden_open(&g, FOLDERS[i]);
        for (int way = 0; way < 3; way++) {
            gal_lm_options lo;
            gal_lm_options_init(&lo);
            lo.chunk = 5;
            lo.cache = GAL_F32;
            lo.eager = way == 1;
            lo.device.device = way == 2 ? "far" : "cpu";
            gal_lm *lm = NULL;
            CHECK_OK(gal_lm_open(&lm, FOLDERS[i], &lo, diag));
            gal_generate_options o;
            gal_generate_options_init(&o, lm);
            o.sampling.temperature = 0.0;
            o.max_tokens = 24;
            o.ignore_eos = 1;
            const gal_npy *want = npz_find(&g.z, "greedy");
            assert_non_null(want);
            for (int64_t b = 0; b < g.B; b++) {
                int32_t prompt[12];
                for (int j = 0; j < 12; j++) prompt[j] = (int32_t)g.ids[b * g.T + j];
                taken t = { .n = 0 };
                CHECK_OK(gal_lm_generate_ids(lm, prompt, 12, &o, take, &t, NULL, diag));
                assert_int_equal(t.n, 24);
                for (int j = 0; j < 24; j++) assert_int_equal(t.ids[j], ((const int64_t *)want->data)[b * 24 + j]);
            }
            gal_lm_close(lm);
        }
        golden_close(&g);
    }
}

static void test_info_and_refusals(void **state) {
    (void)state;
    gal_lm *lm = NULL;
    gal_lm_info info;
    CHECK_OK(gal_lm_open(&lm, "tests/golden/mistral-window", NULL, diag));
    gal_lm_get_info(lm, &info);
    assert_int_equal(info.window, 5);
    assert_int_equal(info.tokens, 0);
    assert_true(info.params > 0 && info.context > 0 && info.context <= info.max_positions);
    gal_diag diag = { 0 };
    gal_generate_options o;
    gal_generate_options_init(&o, lm);
    assert_int_equal(gal_lm_generate(lm, "x", 1, &o, take, NULL, NULL, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "tokenizer"));
    int32_t *ids = NULL;
    size_t n = 0;
    assert_int_equal(gal_lm_encode(lm, "x", 1, &ids, &n, NULL), GAL_EINPUT);
    assert_int_equal(gal_lm_generate_ids(lm, NULL, 0, &o, take, NULL, NULL, NULL), GAL_EUSAGE);
    o.sampling.top_p = 2.0;
    assert_int_equal(gal_lm_generate_ids(lm, (const int32_t[]){ 1 }, 1, &o, take, NULL, NULL, NULL), GAL_EUSAGE);
    gal_lm_close(lm);
    gal_lm_close(NULL);
    lm = NULL;
    assert_int_equal(gal_lm_open(&lm, "tests/nowhere", NULL, NULL), GAL_EINPUT);
    gal_lm_options lo;
    gal_lm_options_init(&lo);
    lo.device.cpu = "sse9";
    assert_int_equal(gal_lm_open(&lm, "tests/golden/mistral-base", &lo, NULL), GAL_EUSAGE);
    gal_lm_options_init(&lo);
    lo.compute = GAL_F16;
    assert_int_equal(gal_lm_open(&lm, "tests/golden/mistral-base", &lo, NULL), GAL_EUSAGE);
    gal_lm_options_init(&lo);
    lo.context = 1 << 20;
    assert_int_equal(gal_lm_open(&lm, "tests/golden/mistral-base", &lo, NULL), GAL_ENOMEM);
    assert_null(lm);
}

typedef struct rows {
    int64_t n, V;
    float first[1024];
} rows;

static gal_err keep_rows(void *user, const float *x, int64_t n, gal_diag *diag) {
    rows *r = user;
    (void)diag;
    if (r->n == 0) memcpy(r->first, x, (size_t)r->V * sizeof *x);
    r->n += n;
    return r->n > 20 ? GAL_EINTERRUPTED : GAL_OK;
}

static void test_logits(void **state) {
    (void)state;
    gal_lm *lm = NULL;
    gal_lm_options lo;
    gal_lm_options_init(&lo);
    lo.chunk = 4;
    CHECK_OK(gal_lm_open(&lm, "tests/golden/mistral-base", &lo, diag));
    gal_lm_info info;
    gal_lm_get_info(lm, &info);
    rows r = { .V = info.vocab };
    assert_true(info.vocab <= 1024);
    int32_t ids[30];
    for (int i = 0; i < 30; i++) ids[i] = i;
    CHECK_OK(gal_lm_logits(lm, ids, 10, keep_rows, &r, diag));
    assert_int_equal(r.n, 10);
    rows again = { .V = info.vocab };
    assert_int_equal(gal_lm_logits(lm, ids, 30, keep_rows, &again, NULL), GAL_EINTERRUPTED);
    assert_int_equal(again.n, 24);
    assert_memory_equal(r.first, again.first, (size_t)info.vocab * sizeof(float));
    gal_lm_close(lm);
}

static const char *const PARTS[][2] = { { "tests/golden/mistral-base", "config.json" },
                                        { "tests/golden/mistral-base", "model.safetensors" },
                                        { "tests/golden/mistral-base", "generation_config.json" },
                                        { "tests/golden/text", "tiny.model" } };

/* A model with a tokenizer, to be linked from. */
static void put_source(const char *run) {
    char path[300];
    gal_buf b = { 0 };
    for (size_t i = 0; i < GAL_LEN(PARTS); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", PARTS[i][0], PARTS[i][1]);
        CHECK_OK(gal_read_file(&b, path, 1 << 26, diag));
        put_file(run, PARTS[i][1], b.data, b.len);
    }
    gal_buf_free(&b);
}

static void put_checkpoint(const char *run, int step) {
    char part[300], whole[300], from[300], to[400];
    (void)snprintf(part, sizeof part, "%s/run/checkpoints/.part", run);
    (void)snprintf(whole, sizeof whole, "%s/run/checkpoints/step-%d", run, step);
    CHECK_OK(gal_make_dirs(part, diag));
    for (size_t i = 0; i < GAL_LEN(PARTS); i++) {
        (void)snprintf(from, sizeof from, "%s/%s", run, PARTS[i][1]);
        (void)snprintf(to, sizeof to, "%s/%s", part, i == 3 ? "tokenizer.model" : PARTS[i][1]);
        assert_int_equal(link(from, to), 0);
    }
    assert_int_equal(rename(part, whole), 0);
}

/* As a training that keeps one checkpoint. */
static void replace_checkpoints(const char *run, double every_s) {
    struct timespec t = { .tv_sec = (time_t)every_s, .tv_nsec = (long)((every_s - (double)(time_t)every_s) * 1e9) };
    char old[300], gone[300];
    for (int step = 1;; step++) {
        put_checkpoint(run, step + 1);
        (void)snprintf(old, sizeof old, "%s/run/checkpoints/step-%d", run, step);
        (void)snprintf(gone, sizeof gone, "%s/run/checkpoints/.removed", run);
        assert_int_equal(rename(old, gone), 0);
        CHECK_OK(gal_remove_tree(gone, diag));
        (void)nanosleep(&t, NULL);
    }
}

static double load_all(const char *run) {
    gal_model *m = NULL;
    gal_tokenizer *t = NULL;
    gal_generation g;
    gal_buf dir = { 0 };
    double begin = gal_now_s();
    CHECK_OK(gal_lm_load(&m, &t, &g, &dir, run, diag));
    double end = gal_now_s();
    assert_non_null(m);
    assert_non_null(t);
    assert_true(g.n_eos > 0);
    gal_tokenizer_free(t);
    gal_model_free(m);
    gal_buf_free(&dir);
    return end - begin;
}

/* A run that is read while its checkpoints come and go: always all parts of one of them. */
static void test_read_while_trained(void **state) {
    (void)state;
    char at[256], run[300];
    make_folder(at);
    put_source(at);
    put_checkpoint(at, 1);
    (void)snprintf(run, sizeof run, "%s/run", at);
    double typical = GAL_MAX(load_all(run), load_all(run));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        replace_checkpoints(at, typical);
        _exit(1);
    }
    for (double end = gal_now_s() + 0.5; gal_now_s() < end;) (void)load_all(run);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    remove_folder(at);
}

/* ---- weights that are not finite --------------------------------------------------------------------------------
 */

static void look_again(gal_model *m) {
    for (size_t i = 0; i < m->n_warnings; i++) gal_free(m->warnings[i]);
    m->n_warnings = 0;
    m->spoilt = NULL;
    m->finite_checked = false;
    CHECK_OK(gal_model_check_finite(m, diag));
}

/* How many of some prompts can be continued. */
static int continued(gal_lm *lm) {
    gal_generate_options o;
    int n = 0;
    gal_generate_options_init(&o, lm);
    o.max_tokens = 1;
    for (int32_t id = 3; id < 7; id++) {
        gal_diag why = { 0 };
        taken t = { .n = 0 };
        gal_err err = gal_lm_generate_ids(lm, (const int32_t[]){ 1, id }, 2, &o, take, &t, NULL, &why);
        assert_true(err == GAL_OK || err == GAL_EINPUT);
        n += !err;
    }
    return n;
}

static gal_lm *open_eager(const char *path) {
    gal_lm_options lo;
    gal_lm *lm = NULL;
    gal_lm_options_init(&lo);
    lo.eager = 1; /* weights change their places */
    lo.device.threads = 1;
    CHECK_OK(gal_lm_open(&lm, path, &lo, diag));
    return lm;
}

/* A weight's numbers where they may be written to; returns where they were. */
static void *make_own(gal_w *w) {
    void *mapped = w->data;
    w->data = gal_alloc(gal_wbytes(w));
    assert_non_null(w->data);
    memcpy(w->data, mapped, gal_wbytes(w));
    return mapped;
}

static void give_back(gal_w *w, void *mapped) {
    gal_free(w->data);
    w->data = mapped;
}

/* What is said to spoil a model does: no prompt goes on. A NaN that every token meets is always found out. */
static void test_spoilt(void **state) {
    (void)state;
    static const float BAD[] = { NAN, INFINITY, -INFINITY };
    static const char *const FOLDERS[] = { "tests/golden/mistral-base", "tests/golden/mistral-tied",
                                           "tests/golden/mixtral-base" };
    for (size_t f = 0; f < GAL_LEN(FOLDERS); f++) {
        gal_lm *lm = open_eager(FOLDERS[f]);
        gal_model *m = lm->model;
        for (size_t i = 0; i < m->n_weights * GAL_LEN(BAD); i++) {
            gal_w *w = &m->weights[i / GAL_LEN(BAD)];
            void *mapped = make_own(w);
            const float bad = BAD[i % GAL_LEN(BAD)];
            int64_t at = gal_wcount(w) / 2;
            gal_convert((char *)w->data + (size_t)at * gal_dtype_bytes(w->dtype), w->dtype, &bad, GAL_F32, 1);
            look_again(m);
            bool some = w->of_expert || (w->role == GAL_W_EMBED && !m->config.tied),
                 scores = w->dim[0] == m->config.V || w->dim[0] == m->config.experts;
            assert_int_equal(m->n_warnings, 1);
            if ((m->spoilt == w) != (!some && (isnan(bad) || !scores))) fail_msg("%s with %g", w->name, (double)bad);
            int n = continued(lm);
            if (m->spoilt && n) fail_msg("%s, %s with %g: %d prompts went on", FOLDERS[f], w->name, (double)bad, n);
            give_back(w, mapped);
        }
        look_again(m);
        assert_true(!m->spoilt && m->n_warnings == 0 && continued(lm) == 4);
        gal_lm_close(lm);
    }
}

/* In blocks, too: how many numbers are not finite, and where the first is. */
static void test_not_finite_blocks(void **state) {
    (void)state;
    static const char *const FILES[] = { "tests/golden/gguf-mixed/model.gguf",
                                         "tests/golden/gguf-mistral3-q/model.gguf", "tests/golden/ministral-fp8" };
    for (size_t f = 0; f < GAL_LEN(FILES); f++) {
        gal_lm *lm = open_eager(FILES[f]);
        gal_model *m = lm->model;
        for (size_t i = 0; i < m->n_weights; i++) {
            gal_w *w = &m->weights[i];
            if (w->dtype != GAL_BLOCKS) continue;
            const int64_t cols = w->dim[w->ndim - 1], row = gal_wcount(w) / cols - 1;
            const size_t bytes = gal_code_bytes(&w->code, cols), last = (size_t)row * bytes;
            float x[1024];
            assert_true(cols <= 1024);
            void *mapped = make_own(w);
            memset((uint8_t *)w->data + last, 0xff, bytes);
            gal_wread(w, row, 1, x);
            long long nan = 0, infinite = 0, first = -1;
            for (int64_t c = cols - 1; c >= 0; c--) {
                nan += isnan(x[c]);
                infinite += isinf(x[c]) != 0;
                if (!isfinite(x[c])) first = row * cols + c;
            }
            char want[160], of[80] = "";
            if (infinite) (void)snprintf(of, sizeof of, "%s%lld infinite", nan ? " and " : "", infinite);
            if (nan)
                (void)snprintf(want, sizeof want, "found %lld NaN%s among %lld, the first at index %lld", nan, of,
                               (long long)gal_wcount(w), first);
            else
                (void)snprintf(want, sizeof want, "found %s among %lld, the first at index %lld", of,
                               (long long)gal_wcount(w), first);
            look_again(m);
            assert_int_equal(m->n_warnings, 1);
            if (!strstr(m->warnings[0], want))
                fail_msg("%s: expected '%s' in '%s'", gal_wformat(w), want, m->warnings[0]);
            give_back(w, mapped);
        }
        look_again(m);
        assert_int_equal(m->n_warnings, 0);
        gal_lm_close(lm);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_greedy), cmocka_unit_test(test_info_and_refusals),
                                        cmocka_unit_test(test_logits), cmocka_unit_test(test_read_while_trained),
                                        cmocka_unit_test(test_spoilt), cmocka_unit_test(test_not_finite_blocks) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
