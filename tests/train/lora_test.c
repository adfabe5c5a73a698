/* lora_test.c - training adapters beside a frozen model: the loss begins at the base's own and falls, the base keeps
 * its bytes, a run that was stopped goes on to the same bytes, and the run is a model. Bases in Hugging Face's
 * layout, in Mistral's own, in GGUF with f32 and with blocks; on a device whose memory is closed to the host.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/util.h"
#include "convert/convert.h"
#include "convert/quantise.h"
#include "infer/lm.h"
#include "support/check.h"
#include "support/far.h"
#include "support/models.h"
#include "support/words.h"
#include "train/loop.h"
#include "train/metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char folder[256];
static char base[400];

static const char *at(const char *name) {
    static char path[6][500];
    static int turn;
    turn = (turn + 1) % 6;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

typedef struct listener {
    int64_t stop_at, step;
    double first_loss, last_loss;
} listener;

static void on_event(void *user, const gal_train_event *e) {
    listener *l = user;
    if (e->kind != GAL_TRAIN_STEP) return;
    if (l->step == 0) l->first_loss = e->loss;
    l->step = e->step;
    l->last_loss = e->loss;
}

static bool wants_stop(void *user) {
    const listener *l = user;
    return l->stop_at && l->step >= l->stop_at;
}

/* Settings separated by spaces; init NULL: a fresh model. */
static gal_err train(const char *name, const char *init, const char *settings, bool resume, listener *l,
                     gal_diag *diag) {
    char text[400], from[600], tokenizer[600], list[512];
    (void)snprintf(text, sizeof text, "data.text=%s/text.txt", folder);
    const char *set[40] = { text,
                            "data.valid_fraction=0.1",
                            "tokenizer.train_size=300",
                            "model.width=32",
                            "model.layers=2",
                            "model.heads=2",
                            "model.kv_heads=1",
                            "model.hidden=64",
                            "batch.rows=2",
                            "batch.sequence=24",
                            "steps=8",
                            "optimizer.lr=2e-2",
                            "device.threads=2" };
    size_t n = resume ? 0 : 13;
    if (init) {
        n = drop_words(set, n, "model.");
        (void)snprintf(from, sizeof from, "init=%s", init);
        (void)snprintf(tokenizer, sizeof tokenizer, "tokenizer.path=%s/tokenizer.model", base);
        set[n++] = from;
        set[n++] = tokenizer;
    }
    (void)snprintf(list, sizeof list, "%s", settings);
    n = split_words(list, set, n, GAL_LEN(set));
    listener own = { 0 };
    gal_train_options o = {
        .run = at(name), .resume = resume, .progress = on_event, .stop = wants_stop, .user = l ? l : &own
    };
    return gal_train(NULL, set, n, &o, diag);
}

static int setup(void **state) {
    (void)state;
    static const char *const WORDS[] = { "sea",  "wind",  "salt",   "gull", "the", "a",    "over",  "grey",
                                         "boat", "sails", "slowly", "home", "and", "rain", "falls", "on" };
    gal_buf text = { 0 };
    make_folder(folder);
    for (uint64_t i = 0; i < 3000; i++) {
        uint64_t r = gal_rng_below(1, 2, i, 400);
        gal_buf_puts(&text, WORDS[r % GAL_LEN(WORDS)]);
        gal_buf_putc(&text, r % 11 == 0 ? '\n' : ' ');
    }
    put_file(folder, "first.txt", text.data, text.len);
    gal_buf_clear(&text);
    for (uint64_t i = 0; i < 3000; i++) { /* the same words, in an order */
        gal_buf_puts(&text, WORDS[i % 5]);
        gal_buf_putc(&text, i % 5 == 4 ? '\n' : ' ');
    }
    put_file(folder, "text.txt", text.data, text.len);
    gal_buf_free(&text);
    char first[400];
    (void)snprintf(first, sizeof first, "steps=60 data.text=%s/first.txt", folder);
    (void)snprintf(base, sizeof base, "%s/first/checkpoints/step-60", folder);
    CHECK_OK(train("first", NULL, first, false, NULL, diag));
    convert_model(base, at("own"), GAL_LAYOUT_OWN, GAL_CONVERT_SAME, false);
    convert_model(base, at("f32.gguf"), GAL_LAYOUT_GGUF, GAL_CONVERT_SAME, false);
    quantise_model(at("f32.gguf"), at("q8.gguf"), "Q8_0");
    quantise_model(at("f32.gguf"), at("q4.gguf"), "Q4_0");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    remove_folder(folder);
    return 0;
}

static void read_file(gal_buf *out, const char *run, const char *file) {
    char path[600];
    (void)snprintf(path, sizeof path, "%s/%s/checkpoints/step-8/%s", folder, run, file);
    CHECK_OK(gal_read_file(out, path, 1 << 26, diag));
}

static void same_end(const char *a, const char *b) {
    static const char *const FILES[] = { "adapter_model.safetensors", "adapter_config.json", "optimizer.safetensors",
                                         "trainer.json" };
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        gal_buf x = { 0 }, y = { 0 };
        read_file(&x, a, FILES[i]);
        read_file(&y, b, FILES[i]);
        if (x.len != y.len || memcmp(x.data, y.data, x.len) != 0) fail_msg("%s of %s and %s differ", FILES[i], a, b);
        gal_buf_free(&x);
        gal_buf_free(&y);
    }
}

static double apart(const rows *a, const rows *b) {
    double worst = 0;
    assert_true(a->n == b->n && a->vocab == b->vocab);
    for (int64_t i = 0; i < a->n * a->vocab; i++) {
        double d = fabs((double)a->x[i] - (double)b->x[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

#define RANK "lora.rank=3 lora.alpha=6 "

static void learns(void **state) {
    (void)state;
    static const char *const OTHERS[][2] = { { "eager", RANK "eager=true" },
                                             { "one", RANK "device.threads=1" },
                                             { "recompute", RANK "recompute=true" },
                                             { "named", RANK } };
    listener whole = { 0 }, l = { 0 };
    gal_buf before = { 0 }, after = { 0 };
    char path[500];
    (void)snprintf(path, sizeof path, "%s/model.safetensors", base);
    CHECK_OK(gal_read_file(&before, path, 1 << 26, diag));
    CHECK_OK(train("whole", base, "", false, &whole, diag));
    CHECK_OK(train("lora", base, RANK, false, &l, diag));
    CHECK_OK(gal_read_file(&after, path, 1 << 26, diag));
    assert_true(before.len == after.len && memcmp(before.data, after.data, before.len) == 0);
    gal_buf_free(&before);
    gal_buf_free(&after);
    print_message("loss of the base %.6f, of base and fresh adapters %.6f, after 8 steps %.6f\n", whole.first_loss,
                  l.first_loss, l.last_loss);
    assert_true(fabs(whole.first_loss - l.first_loss) < 1e-9);
    assert_true(l.last_loss < l.first_loss - 0.2);
    for (size_t i = 0; i < GAL_LEN(OTHERS); i++) {
        CHECK_OK(train(OTHERS[i][0], base, OTHERS[i][1], false, NULL, diag));
        same_end("lora", OTHERS[i][0]);
    }
    /* Metrics say how much is trained. */
    gal_metrics *m = NULL;
    char all[32], some[32];
    CHECK_OK(gal_metrics_open(&m, at("lora/metrics.sqlite"), false, diag));
    gal_metrics_get_fact(m, "parameters", all, sizeof all);
    gal_metrics_get_fact(m, "trained_parameters", some, sizeof some);
    gal_metrics_close(m);
    /* q 32x32, k and v 16x32, o 32x32, gate and up 64x32, down 32x64: rank 3 times the sums of sides, two layers */
    int64_t n_some = 0, n_all = 0;
    assert_true(gal_parse_i64(some, &n_some) && gal_parse_i64(all, &n_all));
    assert_int_equal(n_some, 2 * 3 * (64 + 48 + 48 + 64 + 96 + 96 + 96));
    assert_true(n_all > 10 * n_some);
}

static void goes_on(void **state) {
    (void)state;
    listener l = { .stop_at = 3 };
    gal_diag why = { 0 };
    assert_int_equal(train("stopped", base, RANK, false, &l, &why), GAL_EINTERRUPTED);
    CHECK_OK(train("stopped", NULL, "", true, NULL, diag));
    same_end("lora", "stopped");
    /* Adapters of another base would be adapters of nothing. */
    char set[600];
    why = (gal_diag){ 0 };
    (void)snprintf(set, sizeof set, "init=%s", at("own"));
    assert_int_equal(train("stopped", NULL, set, true, NULL, &why), GAL_EUSAGE);
    if (!strstr(why.text, "init cannot change when a run is resumed")) fail_msg("%s", why.text);
}

/* Bases in other layouts train to the same adapters, whose rows are PEFT's; a run is base and adapter. */
static void other_bases(void **state) {
    (void)state;
    static const struct {
        const char *run, *base, *more;
        double slack; /* beside the adapters on the f32 base, in logits; < 0: blocks are another model */
    } RUNS[] = { { "on-own", "own", "", 1e-4 },
                 { "on-gguf", "f32.gguf", "", 1e-4 },
                 { "on-far", NULL, "device.name=far", 1e-12 },
                 { "on-q8", "q8.gguf", "", -1 },
                 { "on-q4", "q4.gguf", "recompute=true", -1 },
                 { "bf16-on-q8", "q8.gguf", "precision=bf16", -1 } };
    rows *plain = malloc(sizeof *plain), *want = malloc(sizeof *want), *have = malloc(sizeof *have);
    assert_true(plain && want && have);
    logits(plain, base, NULL);
    logits(want, at("lora"), NULL);
    logits(have, base, &(gal_lm_adapter){ at("lora/checkpoints/step-8"), 1 });
    assert_true(apart(want, have) == 0);
    assert_true(apart(want, plain) > 0.1);
    for (size_t i = 0; i < GAL_LEN(RUNS); i++) {
        char set[200];
        listener l = { 0 };
        (void)snprintf(set, sizeof set, RANK "%s", RUNS[i].more);
        CHECK_OK(train(RUNS[i].run, RUNS[i].base ? at(RUNS[i].base) : base, set, false, &l, diag));
        assert_true(l.last_loss < l.first_loss - 0.2);
        char step[600];
        (void)snprintf(step, sizeof step, "%s/checkpoints/step-8", at(RUNS[i].run));
        const gal_lm_adapter adapter = { step, 1 };
        logits(have, at(RUNS[i].run), NULL);
        logits(plain, RUNS[i].base ? at(RUNS[i].base) : base, &adapter);
        assert_true(apart(have, plain) == 0); /* the run stands for its base and its adapter */
        double d = apart(want, have);
        print_message("%s: logits %.2e from those of the run on the f32 base\n", RUNS[i].run, d);
        if (RUNS[i].slack < 0) continue;
        if (!(d <= RUNS[i].slack)) fail_msg("%s: %g", RUNS[i].run, d);
        /* A checkpoint's adapter means the same on the base in Hugging Face's layout. */
        logits(have, base, &adapter);
        if (!(apart(want, have) <= RUNS[i].slack)) fail_msg("%s: its adapter on the f32 base", RUNS[i].run);
    }
    /* Stopped and taken up where rows of q and k stand in another order. */
    listener l = { .stop_at = 5 };
    gal_diag why = { 0 };
    assert_int_equal(train("on-gguf-2", at("f32.gguf"), RANK, false, &l, &why), GAL_EINTERRUPTED);
    CHECK_OK(train("on-gguf-2", NULL, "", true, NULL, diag));
    same_end("on-gguf", "on-gguf-2");
    /* Merged, the run is a plain model. */
    convert_model(at("lora"), at("merged"), GAL_LAYOUT_HF, GAL_CONVERT_SAME, false);
    logits(have, at("merged"), NULL);
    double d = apart(want, have);
    print_message("merged into bf16: %.2e\n", d);
    assert_true(d > 0 && d < 0.2);
    /* On request into blocks of the base's own kind. */
    convert_model(at("on-q8"), at("re.gguf"), GAL_LAYOUT_GGUF, GAL_CONVERT_SAME, true);
    gal_model *m = NULL;
    CHECK_OK(gal_model_load(&m, at("re.gguf"), diag));
    for (size_t i = 0; i < m->n_weights; i++)
        if (m->weights[i].ndim == 2) assert_string_equal(gal_wformat(&m->weights[i]), "Q8_0");
    gal_model_free(m);
    logits(want, at("on-q8"), NULL);
    logits(have, at("re.gguf"), NULL);
    d = apart(want, have);
    print_message("merged into Q8_0: %.2e\n", d);
    assert_true(d > 0 && d < 0.3);
    free(plain);
    free(want);
    free(have);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *init, *set, *says;
    } CASES[] = {
        { NULL, RANK, "lora.rank: adapters need a model to be trained beside: init is empty" },
        { base, RANK "lora.targets=[q,w]", "lora.targets: expected some of q k v o gate up down, found w" },
        { base, RANK "lora.targets=[q,q]", "lora.targets: q is named twice" },
        { "tests/golden/mixtral-base", RANK "lora.targets=gate",
          "no gate_proj that can be adapted (experts are not)" },
        { "tests/golden/lora-peft", RANK, "has adapters: merge them with galerne convert first" },
    };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        gal_diag why = { 0 };
        const gal_err err = train("no", CASES[i].init, CASES[i].set, false, NULL, &why);
        assert_int_equal(err, strncmp(why.text, "--set ", 6) == 0 ? GAL_EUSAGE : GAL_EINPUT);
        if (!strstr(why.text, CASES[i].says)) fail_msg("expected \"%s\" in: %s", CASES[i].says, why.text);
        assert_false(gal_exists(at("no")));
    }
}

int main(void) {
    far_use();
    const struct CMUnitTest tests[] = { cmocka_unit_test(learns), cmocka_unit_test(goes_on),
                                        cmocka_unit_test(other_bases), cmocka_unit_test(refused) };
    return cmocka_run_group_tests_name("train_lora", tests, setup, teardown);
}
