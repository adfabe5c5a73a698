/* init_test.c - all weights trained from a model of any layout and format: what training takes is, to the bit, what a
 * conversion to f32 in Hugging Face's layout gives; before the first update the run is that model; a run that was
 * stopped goes on to the same bytes; vocabularies out of GGUF files come along. SPDX-License-Identifier: Apache-2.0
 */
#include "support/check.h"
#include "support/models.h"
#include "train/tiny.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/pool.h"
#include "convert/convert.h"
#include "convert/quantise.h"
#include "formats/gguf.h"
#include "infer/chat_template.h"
#include "infer/lm.h"
#include "models/lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sums over a head's numbers go in another order between layouts (mistral.md 2). */
#define LAYOUT_SLACK 2e-4

static char base[400], vocabulary[500];

static const char *at(const char *name) {
    static char path[8][600];
    static int turn;
    turn = (turn + 1) % 8;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

#define SHAPE "model.width=32 model.heads=2 model.hidden=64 model.window=0 "

static int setup(void **state) {
    tiny_setup(state);
    CHECK_OK(train("first", SHAPE, false, false, NULL, diag));
    (void)snprintf(base, sizeof base, "%s/first/checkpoints/step-8", folder);
    (void)snprintf(vocabulary, sizeof vocabulary, "tokenizer.path=%s/tokenizer.model", base);
    convert_model(base, at("own"), GAL_LAYOUT_OWN, GAL_CONVERT_SAME, false);
    convert_model(base, at("own16"), GAL_LAYOUT_OWN, GAL_CONVERT_BF16, false);
    convert_model(base, at("f32.gguf"), GAL_LAYOUT_GGUF, GAL_CONVERT_SAME, false);
    convert_model(base, at("f16.gguf"), GAL_LAYOUT_GGUF, GAL_CONVERT_F16, false);
    convert_model(base, at("bf16.gguf"), GAL_LAYOUT_GGUF, GAL_CONVERT_BF16, false);
    quantise_model(at("f32.gguf"), at("q8.gguf"), "Q8_0");
    quantise_model(at("f32.gguf"), at("q4.gguf"), "Q4_0");
    convert_model("tests/golden/mixtral-base", at("moe.gguf"), GAL_LAYOUT_GGUF, GAL_CONVERT_SAME, false);
    CHECK_OK(gal_make_dirs(at("holder"), diag));
    gal_buf file = { 0 };
    CHECK_OK(gal_read_file(&file, at("q8.gguf"), 1 << 26, diag));
    put_file(at("holder"), "m.gguf", file.data, file.len);
    gal_buf_free(&file);
    return 0;
}

/* ---- what training takes -----------------------------------------------------------------------------------------
 */

static void same_in(const char *a, const char *b, const char *name) {
    gal_buf x = { 0 }, y = { 0 };
    assert_non_null(gal_path_join(&x, a, name));
    assert_non_null(gal_path_join(&y, b, name));
    same_file(x.data, y.data);
    gal_buf_free(&x);
    gal_buf_free(&y);
}

/* Names, shapes and bits of every weight; in files the order may be another one. updated: an update that moves
 * nothing makes 0 of -0. */
static void same_weights(const char *a, const char *b, bool updated) {
    gal_model *x = NULL, *y = NULL;
    CHECK_OK(gal_model_load(&x, a, diag));
    CHECK_OK(gal_model_load(&y, b, diag));
    assert_int_equal(x->n_weights, y->n_weights);
    for (size_t i = 0; i < x->n_weights; i++) {
        const gal_w *v = &x->weights[i], *w = gal_model_weight(y, v->name);
        assert_non_null(w);
        assert_int_equal(v->dtype, GAL_F32);
        assert_int_equal(w->dtype, GAL_F32);
        assert_int_equal(gal_wbytes(v), gal_wbytes(w));
        bool same = updated || memcmp(v->data, w->data, gal_wbytes(v)) == 0;
        for (int64_t k = 0; updated && same && k < gal_wcount(v); k++)
            same = !(((float *)v->data)[k] < ((float *)w->data)[k]) &&
                   !(((float *)v->data)[k] > ((float *)w->data)[k]);
        if (!same) fail_msg("%s of %s and %s differ", v->name, a, b);
    }
    gal_model_free(x);
    gal_model_free(y);
}

static void taken(void **state) {
    (void)state;
    static const char *const MODELS[] = { "tests/golden/gguf-mixed/model.gguf",
                                          "tests/golden/gguf-mistral3/model.gguf",
                                          "tests/golden/gguf-mistral3-q/model.gguf",
                                          "tests/golden/own-yarn",
                                          "tests/golden/own-fp8",
                                          "tests/golden/ministral-fp8",
                                          "tests/golden/mixtral-base",
                                          "tests/golden/mixtral-fp8",
                                          "tests/golden/gopher-base",
                                          "tests/golden/routed-sbase",
                                          "tests/golden/mistral-tied",
                                          "tests/golden/mistral-layers",
                                          "tests/golden/lora-peft",
                                          "moe.gguf",
                                          "q8.gguf",
                                          "own16" };
    for (size_t i = 0; i < GAL_LEN(MODELS); i++) {
        const char *from = strchr(MODELS[i], '/') ? MODELS[i] : at(MODELS[i]);
        gal_model *m = NULL;
        CHECK_OK(gal_make_dirs(at("taken"), diag));
        CHECK_OK(gal_model_load(&m, from, diag));
        CHECK_OK(gal_model_own(&m, 1, diag));
        CHECK_OK(gal_model_save(m, at("taken"), diag));
        gal_model_free(m);
        convert_model(from, at("wanted"), GAL_LAYOUT_HF, GAL_CONVERT_F32, false);
        same_weights(at("taken"), at("wanted"), false);
        same_in(at("taken"), at("wanted"), "config.json");
    }
}

/* ---- runs --------------------------------------------------------------------------------------------------------
 */

static gal_err train_from(const char *name, const char *init, const char *more, listener *l, gal_diag *diag) {
    char set[1200];
    (void)snprintf(set, sizeof set, "init=%s %s", init, more);
    return train(name, set, false, false, l, diag);
}

#define STILL "steps=1 schedule.warmup=0 optimizer.lr=0 "

/* A step that moves nothing, from each: the checkpoint is that model, and so says what is sampled from it. */
static void begins_as_it_was(void **state) {
    (void)state;
    static const struct {
        const char *init, *says;
    } CASES[] = { { "own", "init: *own: all are trained in f32; checkpoints have Hugging Face's layout" },
                  { "own16", "all are trained" },
                  { "f32.gguf", "f32.gguf: all are trained" },
                  { "f16.gguf", "f16.gguf: all are trained" },
                  { "bf16.gguf", "bf16.gguf: all are trained" },
                  { "q8.gguf", "weights (Q8_0) are dequantised, all are trained" },
                  { "q4.gguf", "are dequantised, all are trained" },
                  { "holder", "are dequantised, all are trained" },
                  { "adapted", "adapters are merged, all are trained" } };
    rows *a = malloc(sizeof *a), *b = malloc(sizeof *b);
    assert_true(a && b);
    CHECK_OK(train_from("adapted", base, "lora.rank=2 optimizer.lr=2e-2", NULL, diag));
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        char name[40];
        listener l = { 0 };
        const char *init = at(CASES[i].init);
        (void)snprintf(name, sizeof name, "still-%zu", i);
        CHECK_OK(train_from(name, init, STILL, &l, diag));
        const char *says = strchr(CASES[i].says, '*');
        if (!strstr(l.notes.data, says ? says + 1 : CASES[i].says)) fail_msg("%s: %s", init, l.notes.data);
        gal_buf_free(&l.notes);
        convert_model(init, at("wanted"), GAL_LAYOUT_HF, GAL_CONVERT_F32, false);
        char step[700];
        (void)snprintf(step, sizeof step, "%s/checkpoints/step-1", at(name));
        same_weights(step, at("wanted"), true);
        logits(a, step, NULL);
        logits(b, at("wanted"), NULL);
        assert_int_equal(a->n, b->n);
        assert_memory_equal(a->x, b->x, (size_t)(a->n * a->vocab) * sizeof(float));
        logits(b, init, NULL);
        for (int64_t k = 0; k < a->n * a->vocab; k++)
            if (!(fabs((double)a->x[k] - (double)b->x[k]) <= LAYOUT_SLACK))
                fail_msg("%s: logit %lld: %g, of the checkpoint %g", init, (long long)k, (double)b->x[k],
                         (double)a->x[k]);
    }
    free(a);
    free(b);
}

/* The same model in another layout trains to the same bytes; with other numbers to others, and on to the byte after a
 * stop. */
static void trains_the_same(void **state) {
    (void)state;
    CHECK_OK(train_from("from-hf", base, vocabulary, NULL, diag));
    CHECK_OK(train_from("from-own", at("own"), vocabulary, NULL, diag));
    same_end("from-hf", "from-own");
    CHECK_OK(train_from("from-gguf", at("f32.gguf"), vocabulary, NULL, diag));
    gal_buf x = { 0 }, y = { 0 };
    read_checkpoint(&x, "from-hf", STEPS, "model.safetensors");
    read_checkpoint(&y, "from-gguf", STEPS, "model.safetensors");
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    gal_buf_free(&x);
    gal_buf_free(&y);
    static const char *const MORE[] = { "", "precision=bf16 ", "precision=bf16_stochastic recompute=true " };
    for (size_t i = 0; i < GAL_LEN(MORE); i++) {
        char whole[40], stopped[40];
        listener l = { .stop_at = 3 }, all = { 0 };
        gal_diag why = { 0 };
        (void)snprintf(whole, sizeof whole, "q8-%zu", i);
        (void)snprintf(stopped, sizeof stopped, "q8-%zu-stopped", i);
        CHECK_OK(train_from(whole, at("q8.gguf"), MORE[i], &all, diag));
        assert_true(all.last_loss < all.first_loss);
        assert_int_equal(train_from(stopped, at("q8.gguf"), MORE[i], &l, &why), GAL_EINTERRUPTED);
        CHECK_OK(train(stopped, "", true, false, NULL, diag));
        same_end(whole, stopped);
        gal_buf_free(&l.notes);
        gal_buf_free(&all.notes);
    }
}

/* ---- vocabularies ------------------------------------------------------------------------------------------------
 */

static char *find(gal_buf *b, const char *what, size_t n) {
    for (size_t i = 0; i + n <= b->len; i++)
        if (memcmp(b->data + i, what, n) == 0) return b->data + i;
    fail_msg("not found");
    abort(); /* which fail_msg() does not say of itself */
}

/* A vocabulary of bytes whose first piece has a name of its own, and whose texts do not begin with it: tokenizer.json
 * has no place for that. */
static void names_go_along(void **state) {
    (void)state;
    static const char KEY[] = "tokenizer.ggml.add_bos_token", PIECE[] = "\3\0\0\0\0\0\0\0<s>";
    gal_buf file = { 0 };
    gal_tokenizer *inside = NULL, *own = NULL, *kept = NULL;
    convert_model("tests/golden/chatter", at("bytes.gguf"), GAL_LAYOUT_GGUF, GAL_CONVERT_SAME, false);
    CHECK_OK(gal_read_file(&file, at("bytes.gguf"), 1 << 26, diag));
    find(&file, KEY, sizeof KEY - 1)[sizeof KEY - 1 + 4] = 0;
    memcpy(find(&file, PIECE, sizeof PIECE - 1) + 8, "<B>", 3);
    put_file(folder, "bytes.gguf", file.data, file.len);
    gal_buf_free(&file);
    CHECK_OK(train_from("bytes", at("bytes.gguf"), STILL "batch.rows=1", NULL, diag));
    CHECK_OK(gal_gguf_tokenizer(&inside, at("bytes.gguf"), diag));
    CHECK_OK(gal_tokenizer_open(&own, at("bytes"), diag));
    CHECK_OK(gal_tokenizer_open(&kept, at("bytes/checkpoints/step-1"), diag));
    for (int i = 0; i < 2; i++) {
        const gal_tokenizer *t = i ? kept : own;
        assert_true(gal_tokenizer_same(inside, t, NULL));
        assert_true(gal_tokenizer_bos(inside) >= 0 && !gal_tokenizer_begins(t));
        assert_int_equal(gal_tokenizer_bos(t), gal_tokenizer_bos(inside));
        assert_int_equal(gal_tokenizer_eos(t), gal_tokenizer_eos(inside));
        assert_int_equal(gal_tokenizer_told(t), gal_tokenizer_told(inside));
    }
    gal_tokenizer_free(inside);
    gal_tokenizer_free(own);
    gal_tokenizer_free(kept);
    CHECK_OK(train("bytes", "steps=2 optimizer.lr=1e-3", true, true, NULL, diag)); /* its shards are its own still */
}

/* A run on plain text keeps how its model talks. */
static void talk_goes_along(void **state) {
    (void)state;
    static const char TEMPLATE[] = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}";
    gal_buf text = { 0 };
    put_file(base, "chat_template.jinja", TEMPLATE, sizeof TEMPLATE - 1);
    convert_model(base, at("talks.gguf"), GAL_LAYOUT_GGUF, GAL_CONVERT_SAME, false);
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "talks-hf" : "talks-gguf";
        CHECK_OK(train_from(name, i ? base : at("talks.gguf"), STILL, NULL, diag));
        gal_buf_clear(&text);
        read_checkpoint(&text, name, 1, "chat_template.jinja");
        assert_int_equal(text.len, sizeof TEMPLATE - 1);
        assert_memory_equal(text.data, TEMPLATE, text.len);
    }
    gal_buf_free(&text);
}

/* ---- what cannot be ----------------------------------------------------------------------------------------------
 */

static void refused(void **state) {
    (void)state;
    gal_diag why = { 0 };
    /* Beside adapters the weights stay as they are, and one set of adapters is enough. */
    assert_int_equal(train_from("no", at("adapted"), "lora.rank=2", NULL, &why), GAL_EINPUT);
    if (!strstr(why.text, "has adapters: merge them")) fail_msg("%s", why.text);
    assert_false(gal_exists(at("no")));
    /* A number that training would spread. */
    gal_buf file = { 0 };
    CHECK_OK(gal_read_file(&file, at("f32.gguf"), 1 << 26, diag));
    memcpy(file.data + file.len - 4, "\xff\xff\xff\x7f", 4);
    put_file(folder, "nan.gguf", file.data, file.len);
    gal_buf_free(&file);
    why = (gal_diag){ 0 };
    assert_int_equal(train_from("no", at("nan.gguf"), "", NULL, &why), GAL_EINPUT);
    if (!strstr(why.text, "nan.gguf")) fail_msg("%s", why.text);
    why = (gal_diag){ 0 };
    assert_int_equal(train_from("no", at("nowhere.gguf"), "", NULL, &why), GAL_EINPUT);
    why = (gal_diag){ 0 };
    assert_int_equal(train_from("no", "tests/golden/mistral-base", "", NULL, &why), GAL_EINPUT);
    if (!strstr(why.text, "expected tekken.json, tokenizer.model or tokenizer.json")) fail_msg("%s", why.text);
    assert_false(gal_exists(at("no")));
}

/* Frequencies of its own, which config.json has no key for: said before anything is computed. */
static void beyond_config(void **state) {
    (void)state;
    gal_model *m = NULL;
    gal_gguf *g = NULL;
    gal_gguf_writer *w = NULL;
    gal_diag why = { 0 };
    float divisors[64];
    int64_t n = 0;
    CHECK_OK(gal_model_load(&m, at("f32.gguf"), diag));
    n = m->config.K / 2;
    for (int64_t i = 0; i < n; i++) divisors[i] = 1.0f + (float)i;
    CHECK_OK(gal_gguf_open(&g, at("f32.gguf"), diag));
    CHECK_OK(gal_gguf_writer_new(&w, diag));
    for (size_t i = 0; i < gal_gguf_keys(g); i++) gal_gguf_put_value(w, gal_gguf_key_at(g, i));
    for (size_t i = 0; i < gal_gguf_count(g); i++) {
        const gal_gguf_tensor *t = gal_gguf_at(g, i);
        gal_gguf_put_tensor(w, &(gal_gguf_item){ t->name, t->type, t->ndim, t->dim, t->data, NULL, NULL });
    }
    gal_gguf_put_tensor(w, &(gal_gguf_item){ "rope_freqs.weight", 0, 1, &n, divisors, NULL, NULL });
    CHECK_OK(gal_gguf_write(w, at("divided.gguf"), diag));
    gal_gguf_writer_free(w);
    gal_gguf_close(g);
    gal_model_free(m);
    assert_int_equal(train_from("no", at("divided.gguf"), "", NULL, &why), GAL_EINPUT);
    if (!strstr(why.text, "no key for divisors of rotary frequencies, and checkpoints have Hugging Face's layout"))
        fail_msg("%s", why.text);
    assert_false(gal_exists(at("no")));
    CHECK_OK(train_from("beside", at("divided.gguf"), "lora.rank=2 " STILL, NULL, diag));
}

/* Ctrl-C while conversations are read: nothing was made, and nothing is left. */
static void stopped_while_reading(void **state) {
    (void)state;
    static const char CHATS[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "
                                "\"content\": \"b\"}]}\n";
    char set[400];
    listener l = { .stop_at = -1 };
    gal_diag why = { 0 };
    put_file(folder, "chats.jsonl", CHATS, sizeof CHATS - 1);
    (void)snprintf(set, sizeof set, "data.text=[] data.chat=%s/chats.jsonl", folder);
    assert_int_equal(train_from("early", "tests/golden/chatter", set, &l, &why), GAL_EINTERRUPTED);
    assert_string_equal(why.text, "stopped before the first step");
    assert_null(l.notes.data ? strstr(l.notes.data, "no plot") : NULL);
    assert_false(gal_exists(at("early")));
    gal_buf_free(&l.notes);
}

/* With an argument, only the tests whose names fit it. */
/* ---- a baseline that is not there --------------------------------------------------------------------------------
 */

#define POLICY                                                                                                       \
    "model.family=gopher model.kv_heads=0 model.width=32 model.heads=2 model.hidden=64 model.window=0 "              \
    "model.experts=4 model.routed_every=1 model.router=rlr "

static bool of_baseline(const gal_w *w) { return strstr(w->name, ".moe.value_") != NULL; }

/* `from` without what it has of baselines, but for `keep` weights of them. */
static void strip(const char *from, const char *to, size_t keep) {
    gal_model *m = NULL;
    CHECK_OK(gal_model_load(&m, from, diag));
    assert_false(m->config.no_baseline);
    size_t n = 0;
    for (size_t i = 0; i < m->n_weights; i++) {
        const gal_w w = m->weights[i];
        if (of_baseline(&w) && !keep) {
            gal_free(w.name); /* its numbers are mapped */
            continue;
        }
        keep -= of_baseline(&w);
        m->weights[n++] = w;
    }
    assert_true(n < m->n_weights);
    m->n_weights = n;
    CHECK_OK(gal_make_dirs(to, diag));
    CHECK_OK(gal_model_save(m, to, diag));
    gal_model_free(m);
    static const char *const FILES[] = { "tokenizer.model" };
    gal_buf path = { 0 }, bytes = { 0 };
    assert_non_null(gal_path_join(&path, from, FILES[0]));
    CHECK_OK(gal_read_file(&bytes, path.data, 1 << 20, diag));
    put_file(to, FILES[0], bytes.data, bytes.len);
    gal_buf_free(&path);
    gal_buf_free(&bytes);
}

static void without_baseline(void **state) {
    (void)state;
    CHECK_OK(train("policy", POLICY, false, false, NULL, diag));
    char whole[400], step[500];
    (void)snprintf(whole, sizeof whole, "%s/policy/checkpoints/step-8", folder);
    strip(whole, at("bare"), 0);
    strip(whole, at("torn"), 1);
    rows *a = malloc(sizeof *a), *b = malloc(sizeof *b);
    assert_true(a && b);
    logits(a, whole, NULL);
    logits(b, at("bare"), NULL);
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->x, b->x, (size_t)(a->n * a->vocab) * sizeof(float));
    convert_model(at("bare"), at("bare-16"), GAL_LAYOUT_HF, GAL_CONVERT_BF16, false);
    gal_model *m = NULL;
    CHECK_OK(gal_model_load(&m, at("bare-16"), diag));
    assert_true(m->config.no_baseline);
    gal_model_free(m);
    gal_diag why = { 0 };
    assert_int_equal(gal_model_load(&m, at("torn"), &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "moe.value_down.weight\" of shape [1, 4] is missing"));
    /* Trained, it gets new ones, as fresh ones are drawn, and all else is as before. */
    listener l = { 0 };
    CHECK_OK(train_from("anew", at("bare"), POLICY STILL, &l, diag));
    assert_non_null(strstr(l.notes.data, "the router's baseline is not there and begins anew, all are trained"));
    gal_buf_free(&l.notes);
    (void)snprintf(step, sizeof step, "%s/checkpoints/step-1", at("anew"));
    gal_model *x = NULL;
    CHECK_OK(gal_model_load(&m, step, diag));
    CHECK_OK(gal_model_load(&x, whole, diag));
    assert_int_equal(m->n_weights, x->n_weights);
    for (size_t i = 0; i < m->n_weights; i++) {
        const gal_w *v = &m->weights[i], *w = &x->weights[i];
        assert_string_equal(v->name, w->name);
        double far = 0, size = 0;
        for (int64_t k = 0; k < gal_wcount(v); k++) {
            far = fmax(far, fabs((double)((float *)v->data)[k] - (double)((float *)w->data)[k]));
            size = fmax(size, fabs((double)((float *)v->data)[k]));
        }
        assert_true(of_baseline(v) ? far > 0 && size > 0 : !(far > 0));
    }
    gal_model_free(m);
    gal_model_free(x);
    why = (gal_diag){ 0 };
    assert_int_equal(train_from("bare-beside", at("bare"), POLICY "lora.rank=2", NULL, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "has no baseline (moe.value_up, moe.value_down)"));
    free(a);
    free(b);
}

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taken),          cmocka_unit_test(begins_as_it_was), cmocka_unit_test(trains_the_same),
        cmocka_unit_test(names_go_along), cmocka_unit_test(talk_goes_along),  cmocka_unit_test(refused),
        cmocka_unit_test(beyond_config),  cmocka_unit_test(without_baseline), cmocka_unit_test(stopped_while_reading)
    };
    return cmocka_run_group_tests_name("train_init", tests, setup, tiny_teardown);
}
