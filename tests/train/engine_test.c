/* engine_test.c - the ways to train: optimisers, precisions, curves, ramps, averages, policies of recomputing. Each
 * gives the same bytes however it is computed, killed and resumed; what contradicts itself is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"
#include "support/far.h"
#include "train/tiny.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "formats/safetensors.h"
#include "train/metrics.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *at(const char *name, const char *file) {
    static char path[4][600];
    static int turn;
    char *p = path[turn++ % 4];
    (void)snprintf(p, sizeof path[0], "%s/%s/%s", folder, name, file);
    return p;
}

static const struct {
    const char *name, *set;
    double falls; /* how far the loss falls at least in the eight steps */
} WAYS[] = {
    { "adam", "optimizer.name=adam optimizer.weight_decay=0.01 ", 0.3 },
    { "sgd", "optimizer.name=sgd optimizer.lr=0.3 optimizer.weight_decay=0 ", 0.02 },
    { "nesterov", "optimizer.name=sgd optimizer.lr=0.3 optimizer.momentum=0.9 optimizer.nesterov=true ", 0.05 },
    { "adafactor", "optimizer.name=adafactor optimizer.lr=0.02 ", 0.3 },
    { "relative", "optimizer.name=adafactor optimizer.lr=0.5 optimizer.relative=true optimizer.momentum=0.5 ", 0.1 },
    { "pure", "precision=bf16_pure ", 0.3 },
    { "stochastic", "precision=bf16_stochastic ema.decay=0.9 ", 0.3 },
    { "factor-bf16", "precision=bf16_stochastic optimizer.name=adafactor optimizer.lr=0.02 ", 0.3 },
    { "average", "ema.decay=0.5 ema.evaluate=true precision=bf16 log.norms_every=2 ", 0.3 },
    { "ramp", "batch.ramp=[3:2,6:3] batch.rows=1 ", 0.1 },
    { "every-other", "recompute=blocks recompute_every=2 precision=bf16 ", 0.3 },
    { "wsd", "schedule.name=wsd schedule.decay_steps=3 schedule.decay_shape=sqrt schedule.first_lr=1e-4 ", 0.3 },
};

/* Recorded and on two threads, eager and on one, killed and resumed, on a device whose memory is closed. */
static void same_bytes(void **state) {
    (void)state;
    far_use();
    for (size_t i = 0; i < GAL_LEN(WAYS); i++) {
        char other[60], set[300];
        listener l = { 0 };
        CHECK_OK(train(WAYS[i].name, WAYS[i].set, false, false, &l, diag));
        if (!(l.last_loss < l.first_loss - WAYS[i].falls))
            fail_msg("%s: the loss went from %g to %g", WAYS[i].name, l.first_loss, l.last_loss);
        gal_buf_free(&l.notes);
        (void)snprintf(other, sizeof other, "%s-eager", WAYS[i].name);
        (void)snprintf(set, sizeof set, "%seager=true device.threads=1", WAYS[i].set);
        CHECK_OK(train(other, set, false, false, NULL, diag));
        same_end(WAYS[i].name, other);
        (void)snprintf(other, sizeof other, "%s-killed", WAYS[i].name);
        train_killed(other, WAYS[i].set, 6, 0);
        CHECK_OK(train(other, "", true, false, NULL, diag));
        same_end(WAYS[i].name, other);
        (void)snprintf(other, sizeof other, "%s-far", WAYS[i].name);
        (void)snprintf(set, sizeof set, "%sdevice.name=far", WAYS[i].set);
        CHECK_OK(train(other, set, false, false, NULL, diag));
        same_end(WAYS[i].name, other);
    }
}

static void tensors_of(const char *name, const char *tensor, gal_st_dtype want, uint64_t least_bytes) {
    gal_safetensors *f = NULL;
    CHECK_OK(gal_safetensors_open(&f, at(name, "checkpoints/step-8/model.safetensors"), diag));
    const gal_st_tensor *x = gal_safetensors_find(f, tensor);
    assert_non_null(x);
    assert_int_equal(x->dtype, want);
    assert_true(x->bytes >= least_bytes);
    gal_safetensors_close(f);
}

/* Weights lie in a checkpoint as they are trained: f32, or bf16 alone; scales of norms always f32. */
static void what_is_saved(void **state) {
    (void)state;
    tensors_of("adam", "model.embed_tokens.weight", GAL_ST_F32, 1);
    tensors_of("average", "model.embed_tokens.weight", GAL_ST_F32, 1);
    tensors_of("pure", "model.embed_tokens.weight", GAL_ST_BF16, 1);
    tensors_of("stochastic", "model.layers.0.mlp.up_proj.weight", GAL_ST_BF16, 1);
    tensors_of("stochastic", "model.norm.weight", GAL_ST_F32, 1);
}

/* When the last step is made: a model of its own, whose numbers are the state of that name. */
static void average_is_a_model(void **state) {
    (void)state;
    static const char NAME[] = "model.layers.1.mlp.down_proj.weight";
    gal_safetensors *model = NULL, *states = NULL;
    assert_false(gal_exists(at("adam", "ema")));
    CHECK_OK(gal_safetensors_open(&model, at("average-killed", "ema/model.safetensors"), diag));
    CHECK_OK(gal_safetensors_open(&states, at("average", "checkpoints/step-8/optimizer.safetensors"), diag));
    const gal_st_tensor *x = gal_safetensors_find(model, NAME);
    char name[80];
    (void)snprintf(name, sizeof name, "ema.%s", NAME);
    const gal_st_tensor *y = gal_safetensors_find(states, name);
    assert_true(x && y && x->dtype == GAL_ST_F32 && x->bytes == y->bytes);
    assert_memory_equal(x->data, y->data, x->bytes);
    gal_safetensors_close(model);
    gal_safetensors_close(states);
    assert_true(gal_is_file(at("average", "ema/config.json")) && gal_is_file(at("average", "ema/tokenizer.model")));
}

static double of_best(const char *name, const char *key) {
    json_t *best = json_load_file(at(name, "checkpoints/best.json"), 0, NULL), *x = json_object_get(best, key);
    assert_non_null(x);
    double v = json_is_boolean(x) ? json_is_true(x) : json_number_value(x);
    json_decref(best);
    return v;
}

/* The average is what is evaluated: another score than that of the weights, whose training is the same. */
static void average_is_evaluated(void **state) {
    (void)state;
    CHECK_OK(train("weights", "ema.decay=0.5 precision=bf16", false, false, NULL, diag));
    same_end("average", "weights");
    assert_true(fabs(of_best("average", "nats_per_token") - of_best("weights", "nats_per_token")) > 1e-6);
}

/* A run that evaluates something else when it goes on: the best checkpoint is one of that, be it worse. An average of
 * nearly the first weights is worse than any weights that were trained. */
static void best_of_one_set(void **state) {
    (void)state;
    listener l = { .stop_at = 5 }, after = { 0 };
    gal_diag why = { 0 };
    assert_int_equal(train("set", "ema.decay=0.99999 eval.every=2", false, false, &l, &why), GAL_EINTERRUPTED);
    double before = of_best("set", "nats_per_token"), rows = of_best("set", "rows");
    assert_true(rows > 1 && of_best("set", "step") < 5 && of_best("set", "average") < 0.5);
    CHECK_OK(train("set", "ema.evaluate=true", true, false, &after, diag));
    assert_non_null(strstr(after.notes.data, "was found by evaluating something else"));
    assert_true(of_best("set", "step") > 5 && of_best("set", "average") > 0.5);
    assert_true(of_best("set", "nats_per_token") > before);
    gal_metrics *m = NULL;
    gal_metric_eval *evals = NULL;
    size_t n = 0;
    CHECK_OK(gal_metrics_open(&m, at("set", "metrics.sqlite"), false, diag));
    CHECK_OK(gal_metrics_evals(m, &evals, &n, diag));
    assert_int_equal(n, 4);
    const gal_metric_eval *best = gal_metrics_best(evals, n, NULL), *first = gal_metrics_best(evals, n, &evals[0]);
    assert_true(best->step == (int64_t)of_best("set", "step") && best->average && (double)best->rows == rows);
    assert_true(first->step < 5 && !first->average && first->nats < best->nats);
    gal_free(evals);
    gal_metrics_close(m);
    gal_buf_free(&l.notes);
    gal_buf_free(&after.notes);
}

/* Until something was evaluated that way, the one of before stays, and is the best again when the run evaluates as
 * before. One that somebody removed is not spoken of any more. */
static void best_is_kept(void **state) {
    (void)state;
    listener l = { .stop_at = 5 }, other = { .stop_at = 7 }, again = { .stop_at = 8 }, gone = { 0 };
    gal_diag why = { 0 };
    char path[60];
    assert_int_equal(train("kept", "steps=30 eval.every=2 save.keep=1", false, false, &l, &why), GAL_EINTERRUPTED);
    (void)snprintf(path, sizeof path, "checkpoints/step-%d", (int)of_best("kept", "step"));
    const char *set = "eval.rows=1 eval.every=0 save.every=1";
    assert_int_equal(train("kept", set, true, false, &other, &why), GAL_EINTERRUPTED);
    assert_true(gal_is_dir(at("kept", path)));
    set = "eval.rows=0 eval.every=0 save.every=1";
    assert_int_equal(train("kept", set, true, false, &again, &why), GAL_EINTERRUPTED);
    assert_null(strstr(again.notes.data, "the best checkpoint"));
    assert_true(gal_is_dir(at("kept", path)));
    CHECK_OK(gal_remove_tree(at("kept", path), diag));
    CHECK_OK(train("kept", "", true, false, &gone, diag));
    assert_non_null(strstr(gone.notes.data, "the best checkpoint, of step 4, is not there any more"));
    assert_true(of_best("kept", "step") > 29);
    /* The last is the best: what was best before it is not kept, the newest that a step was made from is. */
    CHECK_OK(train("newest", "save.every=1 eval.every=3 save.keep=1", false, false, NULL, diag));
    assert_true(of_best("newest", "step") > 7 && gal_is_dir(at("newest", "checkpoints/step-7")));
    assert_false(gal_exists(at("newest", "checkpoints/step-6")));
    gal_buf_free(&l.notes);
    gal_buf_free(&other.notes);
    gal_buf_free(&again.notes);
    gal_buf_free(&gone.notes);
}

/* So does another count of rows; a best.json that is damaged is made again of what was scored the same way. */
static void best_of_other_rows(void **state) {
    (void)state;
    listener l = { .stop_at = 5 }, after = { 0 }, again = { .stop_at = 7 };
    gal_diag why = { 0 };
    assert_int_equal(train("rows", "eval.every=2", false, false, &l, &why), GAL_EINTERRUPTED);
    assert_int_equal(train("rows", "eval.rows=1", true, false, &again, &why), GAL_EINTERRUPTED);
    assert_non_null(strstr(again.notes.data, "was found by evaluating something else"));
    assert_true(of_best("rows", "step") > 5 && of_best("rows", "rows") < 1.5);
    CHECK_OK(gal_write_file(at("rows", "checkpoints/best.json"), "{", 1, diag));
    CHECK_OK(train("rows", "eval.rows=1", true, false, &after, diag));
    assert_non_null(strstr(after.notes.data, "the best checkpoint is taken from the metrics"));
    assert_null(strstr(after.notes.data, "was found by evaluating something else"));
    gal_metrics *m = NULL;
    gal_metric_eval *evals = NULL;
    size_t n = 0;
    CHECK_OK(gal_metrics_open(&m, at("rows", "metrics.sqlite"), false, diag));
    CHECK_OK(gal_metrics_evals(m, &evals, &n, diag));
    const gal_metric_eval *best = gal_metrics_best(evals, n, NULL);
    assert_true(n == 4 && best->rows == 1 && best->step == (int64_t)of_best("rows", "step"));
    gal_free(evals);
    gal_metrics_close(m);
    gal_buf_free(&l.notes);
    gal_buf_free(&again.notes);
    gal_buf_free(&after.notes);
}

/* Writes a checkpoint's file anew, with the manifest that fits. */
static void replace_state(const char *dir, const char *text) {
    char path[700], hex[65];
    gal_buf manifest = { 0 };
    put_file(dir, "trainer.json", text, strlen(text));
    (void)snprintf(path, sizeof path, "%s/manifest.json", dir);
    CHECK_OK(gal_read_file(&manifest, path, 1 << 20, diag));
    json_t *root = json_loadb(manifest.data, manifest.len, 0, NULL);
    uint8_t digest[32];
    gal_sha256 h;
    gal_sha256_init(&h);
    gal_sha256_add(&h, text, strlen(text));
    gal_sha256_end(&h, digest);
    gal_hex(hex, digest, sizeof digest);
    size_t i;
    json_t *file;
    json_array_foreach(json_object_get(root, "files"), i, file) {
        if (strcmp(json_string_value(json_object_get(file, "name")), "trainer.json") != 0) continue;
        (void)json_object_set_new(file, "bytes", json_integer((json_int_t)strlen(text)));
        (void)json_object_set_new(file, "sha256", json_string(hex));
    }
    char *out = json_dumps(root, 0);
    put_file(dir, "manifest.json", out, strlen(out));
    free(out);
    json_decref(root);
    gal_buf_free(&manifest);
}

/* What the program wrote before there were other optimisers, curves and spikes: none of their keys. */
static void older_checkpoints(void **state) {
    (void)state;
    static const char *const YOUNG[] = { "batch.ramp",           "ema.decay",           "optimizer.name",
                                         "optimizer.momentum",   "optimizer.nesterov",  "optimizer.relative",
                                         "schedule.name",        "schedule.first_lr",   "schedule.cycle_steps",
                                         "schedule.decay_steps", "schedule.decay_shape" };
    listener l = { .stop_at = 4 };
    gal_diag why = { 0 };
    CHECK_OK(train("whole", "", false, false, NULL, diag));
    assert_int_equal(train("old", "", false, false, &l, &why), GAL_EINTERRUPTED);
    gal_buf_free(&l.notes);
    gal_buf text = { 0 };
    read_checkpoint(&text, "old", 4, "trainer.json");
    json_t *root = json_loadb(text.data, text.len, 0, NULL), *s = json_object_get(root, "schedule");
    for (size_t i = 0; i < GAL_LEN(YOUNG); i++)
        assert_int_equal(json_object_del(json_object_get(root, "settings"), YOUNG[i]), 0);
    static const char *const CURVE[] = { "curve", "first_lr", "cycle", "decay", "root" };
    for (size_t i = 0; i < GAL_LEN(CURVE); i++) assert_int_equal(json_object_del(s, CURVE[i]), 0);
    assert_int_equal(json_object_del(root, "spikes"), 0);
    assert_int_equal(json_object_del(root, "updates"), 0);
    char *out = json_dumps(root, JSON_REAL_PRECISION(17));
    replace_state(at("old", "checkpoints/step-4"), out);
    free(out);
    json_decref(root);
    gal_buf_free(&text);
    CHECK_OK(train("old", "", true, false, NULL, diag));
    gal_buf x = { 0 }, y = { 0 }; /* trainer.json has only the losses since */
    for (int i = 0; i < 2; i++) {
        gal_buf_clear(&x);
        gal_buf_clear(&y);
        read_checkpoint(&x, "whole", STEPS, i ? "model.safetensors" : "optimizer.safetensors");
        read_checkpoint(&y, "old", STEPS, i ? "model.safetensors" : "optimizer.safetensors");
        assert_int_equal(x.len, y.len);
        assert_memory_equal(x.data, y.data, x.len);
    }
    gal_buf_free(&x);
    gal_buf_free(&y);
}

/* Numbers in a state that no run has written. */
static void damaged_states(void **state) {
    (void)state;
    static const char *const BAD[] = { "\"count\": -1", "\"returns\": \"2\"", "\"applied\": 1e3",
                                       "\"in_a_row\": null", "\"back\": -2" };
    for (size_t i = 0; i < GAL_LEN(BAD); i++) {
        char name[30], key[30] = "";
        listener l = { .stop_at = 4 };
        gal_diag why = { 0 };
        (void)snprintf(name, sizeof name, "damaged-%zu", i);
        assert_int_equal(train(name, "", false, false, &l, &why), GAL_EINTERRUPTED);
        gal_buf_free(&l.notes);
        gal_buf text = { 0 }, made = { 0 };
        read_checkpoint(&text, name, 4, "trainer.json");
        gal_buf_putc(&text, 0);
        (void)sscanf(BAD[i], "%29[^:]", key);
        const char *from = strstr(text.data, key);
        assert_non_null(from);
        gal_buf_add(&made, text.data, (size_t)(from - text.data));
        gal_buf_puts(&made, BAD[i]);
        gal_buf_puts(&made, from + strcspn(from, ",\n}"));
        gal_buf_putc(&made, 0);
        replace_state(at(name, "checkpoints/step-4"), made.data);
        why = (gal_diag){ 0 };
        assert_int_equal(train(name, "", true, false, NULL, &why), GAL_EINPUT);
        assert_non_null(strstr(why.text, "expected a count"));
        gal_buf_free(&text);
        gal_buf_free(&made);
    }
}

/* Recomputing is no setting of the numbers. */
static void recompute_policies(void **state) {
    (void)state;
    static const char *const SETS[] = { "recompute=none",
                                        "recompute=blocks",
                                        "recompute=true",
                                        "recompute=false",
                                        "recompute=blocks recompute_every=2",
                                        "recompute=blocks recompute_every=3" };
    for (size_t i = 0; i < GAL_LEN(SETS); i++) {
        char name[40];
        (void)snprintf(name, sizeof name, "policy-%zu", i);
        CHECK_OK(train(name, SETS[i], false, false, NULL, diag));
        if (i) same_end("policy-0", name);
    }
}

/* Three stages of 1, 2 and 3 batches of a row: what each step read, and the count of tokens. */
static void ramp_is_kept(void **state) {
    (void)state;
    gal_metrics *m = NULL;
    gal_metric_step *steps = NULL;
    size_t n = 0;
    int64_t tokens = 0, row = 0;
    CHECK_OK(gal_metrics_open(&m, at("ramp-killed", "metrics.sqlite"), false, diag));
    CHECK_OK(gal_metrics_steps(m, &steps, &n, diag));
    assert_int_equal(n, STEPS);
    for (size_t i = 0; i < n; i++) {
        gal_metric_sample *s = NULL;
        size_t found = 0;
        int64_t rows = i < 2 ? 1 : i < 5 ? 2 : 3;
        CHECK_OK(gal_metrics_samples(m, steps[i].step, steps[i].step, &s, &found, diag));
        assert_int_equal(found, 1);
        assert_int_equal(s->rows, rows);
        assert_int_equal(s->row, row);
        assert_int_equal(s->epoch, 0);
        tokens += 24 * rows;
        row += rows;
        assert_int_equal(steps[i].tokens, tokens);
        gal_free(s);
    }
    gal_free(steps);
    gal_metrics_close(m);
}

/* By layer, of every other step: parts of the whole norm; updates move all of them. */
static void norms_are_logged(void **state) {
    (void)state;
    gal_metrics *m = NULL;
    gal_metric_step *steps = NULL;
    size_t n = 0;
    CHECK_OK(gal_metrics_open(&m, at("average", "metrics.sqlite"), false, diag));
    CHECK_OK(gal_metrics_steps(m, &steps, &n, diag));
    for (size_t i = 0; i < n; i++) {
        gal_metric_norm *norms = NULL;
        size_t parts = 0;
        double squares = 0;
        CHECK_OK(gal_metrics_norms_of(m, steps[i].step, &norms, &parts, diag));
        assert_int_equal(parts, steps[i].step % 2 ? 0 : 5); /* two layers, embedding, last norm, head */
        for (size_t k = 0; k < parts; k++) {
            squares += norms[k].grad * norms[k].grad;
            assert_true(norms[k].update > 0);
        }
        if (parts && fabs(sqrt(squares) - steps[i].grad_norm) > 0x1p-23 * steps[i].grad_norm)
            fail_msg("step %lld: parts of %g, norm %g", (long long)steps[i].step, sqrt(squares), steps[i].grad_norm);
        gal_free(norms);
    }
    gal_free(steps);
    gal_metrics_close(m);
}

static void refusals(void **state) {
    (void)state;
    static const char *const BAD[][2] = {
        { "optimizer.name=lion", "adafactor" },
        { "batch.ramp=[5]", "STEP:BATCHES" },
        { "batch.ramp=[1:2]", "STEP:BATCHES" },
        { "batch.ramp=[4:0]", "STEP:BATCHES" },
        { "batch.ramp=[4:2,4:3]", "rising" },
        { "batch.ramp=[4:2x]", "STEP:BATCHES" },
        { "batch.ramp=[4:1099511627776]", "too many rows" },
        { "ema.evaluate=true", "ema.decay" },
        { "precision=bf16_pure lora.rank=2 init=nowhere", "adapters" },
        { "recompute_every=0", "recompute_every" },
    };
    for (size_t i = 0; i < GAL_LEN(BAD); i++) {
        gal_diag why = { 0 };
        gal_err err = train("refused", BAD[i][0], false, false, NULL, &why);
        assert_true(err == GAL_EINPUT || err == GAL_EUSAGE);
        if (!strstr(why.text, BAD[i][1])) fail_msg("%s: said %s", BAD[i][0], why.text);
    }
}

/* A checkpoint has the states of its optimiser, and the settings that its numbers follow from. */
static void cannot_change(void **state) {
    (void)state;
    static const char *const BAD[][3] = { { "adam", "optimizer.name=adamw", "optimizer.name" },
                                          { "stochastic", "precision=bf16", "precision" },
                                          { "ramp", "batch.ramp=[2:2]", "batch.ramp" },
                                          { "average", "ema.decay=0.9", "ema.decay" },
                                          { "wsd", "schedule.name=cosine", "--extend" } };
    for (size_t i = 0; i < GAL_LEN(BAD); i++) {
        gal_diag why = { 0 };
        assert_int_equal(train(BAD[i][0], BAD[i][1], true, false, NULL, &why), GAL_EUSAGE);
        if (!strstr(why.text, BAD[i][2])) fail_msg("%s: said %s", BAD[i][1], why.text);
    }
}

/* With an argument, only the tests whose names fit it. */
int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes),         cmocka_unit_test(what_is_saved),
        cmocka_unit_test(average_is_a_model), cmocka_unit_test(average_is_evaluated),
        cmocka_unit_test(best_of_one_set),    cmocka_unit_test(best_of_other_rows),
        cmocka_unit_test(best_is_kept),       cmocka_unit_test(older_checkpoints),
        cmocka_unit_test(damaged_states),     cmocka_unit_test(recompute_policies),
        cmocka_unit_test(ramp_is_kept),       cmocka_unit_test(norms_are_logged),
        cmocka_unit_test(refusals),           cmocka_unit_test(cannot_change),
    };
    return cmocka_run_group_tests_name("train_engine", tests, tiny_setup, tiny_teardown);
}
