/* train_test.c - whole trainings of a tiny model: the same bytes however they are computed, stopped, killed and
 * resumed; what is refused. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"
#include "support/far.h"
#include "train/tiny.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/loop.h"
#include "train/metrics.h"
#include "train/plot.h"

#include <fcntl.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void same_bytes(void **state) {
    (void)state;
    listener l = { 0 };
    CHECK_OK(train("plain", "", false, false, &l, diag));
    assert_true(l.last_loss < l.first_loss - 0.3); /* it learns */
    assert_int_equal(l.step, STEPS);
    gal_buf_free(&l.notes);
    CHECK_OK(train("again", "", false, false, NULL, diag));
    same_end("plain", "again");
    CHECK_OK(train("eager", "eager=true", false, false, NULL, diag));
    same_end("plain", "eager");
    CHECK_OK(train("one", "device.threads=1", false, false, NULL, diag));
    same_end("plain", "one");
    CHECK_OK(train("three", "device.threads=3", false, false, NULL, diag));
    same_end("plain", "three");
    CHECK_OK(train("recompute", "recompute=true", false, false, NULL, diag));
    same_end("plain", "recompute");
}

/* The losses of the last step's routers, from the run's own log. */
static void router_losses(const char *name, double *balance, double *z) {
    char path[500];
    gal_buf log = { 0 };
    (void)snprintf(path, sizeof path, "%s/%s/log.txt", folder, name);
    CHECK_OK(gal_read_file(&log, path, 1 << 20, diag));
    gal_buf_putc(&log, 0);
    const char *at = strstr(log.data, "step 8: loss");
    at = at ? strstr(at, "routers' balance ") : NULL;
    if (!at) fail_msg("%s: no losses of routers", path);
    char *end = NULL;
    *balance = strtod(at + strlen("routers' balance "), &end);
    assert_non_null(strstr(end, ", z ") == end ? end : NULL);
    *z = strtod(end + 4, &end);
    gal_buf_free(&log);
}

#define SPARSE "model.experts=4 model.experts_used=2 model.hidden=20 router.balance=0.05 "
static void experts(void **state) {
    (void)state;
    static const char *const OTHERS[][2] = { { "moe-eager", "eager=true" },
                                             { "moe-one", "device.threads=1" },
                                             { "moe-seven", "device.threads=7" },
                                             { "moe-recompute", "recompute=true" } };
    listener l = { 0 };
    double balance, z, loose, loose_z;
    CHECK_OK(train("moe", SPARSE, false, false, &l, diag));
    assert_true(l.last_loss < l.first_loss - 0.3);
    gal_buf_free(&l.notes);
    router_losses("moe", &balance, &z);
    assert_true(balance > 1.9 && balance < 4 && z > 0);
    for (size_t i = 0; i < GAL_LEN(OTHERS); i++) {
        char set[200];
        (void)snprintf(set, sizeof set, SPARSE "%s", OTHERS[i][1]);
        CHECK_OK(train(OTHERS[i][0], set, false, false, NULL, diag));
        same_end("moe", OTHERS[i][0]);
    }
    gal_diag why = { 0 };
    assert_int_equal(train("moe-bad", SPARSE "model.experts_used=5", false, false, NULL, &why), GAL_EUSAGE);
    assert_non_null(strstr(why.text, "model.experts_used: expected at most model.experts 4, found 5"));
    /* Both losses pull: they end lower than without their factors. */
    CHECK_OK(train("moe-pulled", SPARSE "router.balance=3 router.z=1 optimizer.clip=0", false, false, NULL, diag));
    CHECK_OK(train("moe-loose", SPARSE "router.balance=0 router.z=0 optimizer.clip=0", false, false, NULL, diag));
    router_losses("moe-pulled", &balance, &z);
    router_losses("moe-loose", &loose, &loose_z);
    if (!(balance < loose && z < loose_z)) fail_msg("balance %g and %g, z %g and %g", balance, loose, z, loose_z);
    /* A mean over batches: two halves of the rows, taken one after the other. */
    CHECK_OK(train("moe-halves", SPARSE "batch.rows=1 batch.accumulate=2", false, false, NULL, diag));
    router_losses("moe-halves", &balance, &z);
    assert_true(balance > 1.9 && balance < 4);
    /* On a device whose memory is closed to the host. */
    far_use();
    CHECK_OK(train("moe-far", SPARSE "device.name=far", false, false, NULL, diag));
    same_end("moe", "moe-far");
}

static void stop_and_resume(void **state) {
    (void)state;
    listener l = { .stop_at = 3 };
    gal_diag diag0 = { 0 };
    assert_int_equal(train("stopped", "save.every=0", false, false, &l, &diag0), GAL_EINTERRUPTED);
    assert_int_equal(l.step, 3);
    gal_buf_free(&l.notes);
    CHECK_OK(train("stopped", "", true, false, NULL, diag));
    same_end("plain", "stopped");
}

static void kill_and_resume(void **state) {
    (void)state;
    train_killed("killed", "", 6, 0);
    listener l = { 0 };
    CHECK_OK(train("killed", "", true, false, &l, diag));
    assert_non_null(strstr(l.notes.data, "step-4"));
    gal_buf_free(&l.notes);
    same_end("plain", "killed");
}

/* The losses of before are told to be lost, or set aside if there is no database; the run itself is whole. */
static void lost_metrics(void **state) {
    (void)state;
    enum { EMPTIED, REMOVED, OVERWRITTEN, A_FOLDER, WAYS };
    for (int way = 0; way < WAYS; way++) {
        char name[20], dir[400], path[500];
        const char *told = way < OVERWRITTEN ? "metrics.sqlite: expected the losses of 4 steps, found none"
                                             : "metrics.sqlite.damaged";
        gal_diag diag0 = { 0 };
        listener before = { .stop_at = 4 }, after = { 0 };
        (void)snprintf(name, sizeof name, "lost-%d", way);
        (void)snprintf(dir, sizeof dir, "%s/%s", folder, name);
        (void)snprintf(path, sizeof path, "%s/metrics.sqlite", dir);
        assert_int_equal(train(name, "", false, false, &before, &diag0), GAL_EINTERRUPTED);
        CHECK_OK(gal_remove_tree(path, diag));
        if (way == EMPTIED) put_file(dir, "metrics.sqlite", "", 0);
        if (way == OVERWRITTEN) put_file(dir, "metrics.sqlite", "no database", 11);
        if (way == A_FOLDER) CHECK_OK(gal_make_dirs(path, diag));
        CHECK_OK(train(name, "", true, false, &after, diag));
        if (!strstr(after.notes.data, told)) fail_msg("%s: not told: %s", told, after.notes.data);
        same_end("plain", name);
        gal_buf_free(&before.notes);
        gal_buf_free(&after.notes);
    }
}

/* A damaged newest checkpoint is named and passed over; the one before it is taken. */
static void damaged_checkpoint(void **state) {
    (void)state;
    char dir[400], path[500];
    gal_buf bytes = { 0 };
    CHECK_OK(train("hurt", "", false, false, NULL, diag));
    read_checkpoint(&bytes, "hurt", STEPS, "model.safetensors");
    bytes.data[bytes.len / 2] ^= 1;
    (void)snprintf(dir, sizeof dir, "%s/hurt/checkpoints/step-%d", folder, STEPS);
    put_file(dir, "model.safetensors", bytes.data, bytes.len);
    listener l = { 0 };
    CHECK_OK(train("hurt", "", true, false, &l, diag));
    assert_non_null(strstr(l.notes.data, "passed over step-8"));
    assert_non_null(strstr(l.notes.data, "damaged"));
    gal_buf_free(&l.notes);
    gal_buf_free(&bytes);
    same_end("plain", "hurt");
    (void)snprintf(path, sizeof path, "%s/hurt/data/train.shard", folder);
    CHECK_OK(gal_read_file(&bytes, path, 1 << 26, diag));
    bytes.data[300] ^= 1;
    CHECK_OK(gal_write_file(path, bytes.data, bytes.len, diag));
    gal_diag diag0 = { 0 };
    assert_int_equal(train("hurt", "", true, false, NULL, &diag0), GAL_EINPUT);
    assert_non_null(strstr(diag0.text, "train.shard"));
    gal_buf_free(&bytes);
}

static void extending(void **state) {
    (void)state;
    gal_diag diag0 = { 0 };
    assert_int_equal(train("plain", "steps=12", true, false, NULL, &diag0), GAL_EUSAGE);
    assert_non_null(strstr(diag0.text, "--extend"));
    assert_non_null(strstr(diag0.text, "steps was 8, now 12"));
    diag0 = (gal_diag){ 0 };
    assert_int_equal(train("plain", "batch.rows=3", true, true, NULL, &diag0), GAL_EUSAGE);
    assert_non_null(strstr(diag0.text, "batch.rows"));
    listener l = { 0 };
    CHECK_OK(train("again", "steps=12", true, true, &l, diag));
    assert_int_equal(l.step, 12);
    assert_non_null(strstr(l.notes.data, "old curve: 8 steps"));
    assert_non_null(strstr(l.notes.data, "new curve: 12 steps"));
    gal_buf_free(&l.notes);
    diag0 = (gal_diag){ 0 };
    assert_int_equal(train("plain", "", false, false, NULL, &diag0), GAL_EINPUT);
    assert_non_null(strstr(diag0.text, "holds a run already"));
}

static void same_scores(const char *a, const char *b) {
    char path[500];
    gal_buf x = { 0 }, y = { 0 };
    (void)snprintf(path, sizeof path, "%s/%s/checkpoints/best.json", folder, a);
    CHECK_OK(gal_read_file(&x, path, 1 << 20, diag));
    (void)snprintf(path, sizeof path, "%s/%s/checkpoints/best.json", folder, b);
    CHECK_OK(gal_read_file(&y, path, 1 << 20, diag));
    assert_string_equal(x.data, y.data);
    gal_buf_free(&x);
    gal_buf_free(&y);
}

/* On a device whose memory is closed to the host: the CPU's bytes, recorded, eager, recomputed, stopped and resumed;
 * the same losses on the validation text. */
static void far_device(void **state) {
    (void)state;
    far_use();
    CHECK_OK(train("cpu", "", false, false, NULL, diag)); /* "plain" has been extended by now */
    CHECK_OK(train("far", "device.name=far", false, false, NULL, diag));
    same_end("cpu", "far");
    same_scores("cpu", "far");
    CHECK_OK(train("far-eager", "device.name=far eager=true recompute=true", false, false, NULL, diag));
    same_end("cpu", "far-eager");
    listener l = { .stop_at = 3 };
    gal_diag diag0 = { 0 };
    assert_int_equal(train("far-stopped", "device.name=far", false, false, &l, &diag0), GAL_EINTERRUPTED);
    gal_buf_free(&l.notes);
    CHECK_OK(train("far-stopped", "", true, false, NULL, diag));
    same_end("cpu", "far-stopped");
    CHECK_OK(train("far-bf16", "precision=bf16 device.name=far", false, false, NULL, diag));
    same_end("bf16", "far-bf16");
    diag0 = (gal_diag){ 0 };
    assert_int_equal(train("gpu", "device.name=gpu", false, false, NULL, &diag0), GAL_EUSAGE);
    assert_non_null(strstr(diag0.text, "cuda:N"));
}

/* On a GPU: every way gives the same bytes, and losses near the CPU's. */
static void cuda(void **state) {
    (void)state;
    gal_dev *dev = NULL;
    gal_diag why = { 0 };
    if (gal_dev_open(&dev, &(gal_device_options){ .device = "cuda", .threads = 1 }, &why)) {
        print_message("skipped: %s\n", why.text);
        skip();
    }
    gal_dev_close(dev);
    listener near = { 0 }, gpu = { 0 };
    CHECK_OK(train("near", "", false, false, &near, diag));
    CHECK_OK(train("gpu", "device.name=cuda", false, false, &gpu, diag));
    /* f32 sums in another order; each update carries the difference on. */
    assert_true(fabs(gpu.first_loss - near.first_loss) <= 96 * (double)FLT_EPSILON * near.first_loss);
    assert_true(fabs(gpu.last_loss - near.last_loss) <= 1e-3 * near.last_loss);
    print_message("last loss %.6f, the CPU's %.6f\n", gpu.last_loss, near.last_loss);
    gal_buf_free(&near.notes);
    gal_buf_free(&gpu.notes);
    CHECK_OK(train("gpu-again", "device.name=cuda", false, false, NULL, diag));
    same_end("gpu", "gpu-again");
    same_scores("gpu", "gpu-again");
    CHECK_OK(train("gpu-eager", "device.name=cuda eager=true recompute=true", false, false, NULL, diag));
    same_end("gpu", "gpu-eager");
    listener l = { .stop_at = 3 };
    gal_diag diag0 = { 0 };
    assert_int_equal(train("gpu-stopped", "device.name=cuda", false, false, &l, &diag0), GAL_EINTERRUPTED);
    gal_buf_free(&l.notes);
    CHECK_OK(train("gpu-stopped", "", true, false, NULL, diag));
    same_end("gpu", "gpu-stopped");
    CHECK_OK(train("gpu-bf16", "precision=bf16 device.name=cuda", false, false, NULL, diag));
    CHECK_OK(train("gpu-bf16-eager", "precision=bf16 device.name=cuda eager=true", false, false, NULL, diag));
    same_end("gpu-bf16", "gpu-bf16-eager");
}

/* 1 x 4 rows and 4 x 1 rows: the same loss and gradient up to rounding, though rows have different numbers of
 * targets. */
static void accumulation(void **state) {
    (void)state;
    listener a = { 0 }, b = { 0 };
    CHECK_OK(train("wide", "batch.rows=4 steps=2", false, false, &a, diag));
    CHECK_OK(train("deep", "batch.rows=1 batch.accumulate=4 steps=2", false, false, &b, diag));
    /* Both are sums of the same 96 terms of one sign in another order; a norm's terms are sums of as many. */
    double loss_eps = 96 * (double)FLT_EPSILON, norm_eps = 4 * loss_eps;
    assert_true(fabs(a.first_loss - b.first_loss) <= loss_eps * a.first_loss);
    assert_true(fabs(a.first_norm - b.first_norm) <= norm_eps * a.first_norm);
    assert_true(fabs(a.last_loss - b.last_loss) <= 1e-3 * a.last_loss);
    gal_buf_free(&a.notes);
    gal_buf_free(&b.notes);
}

static void bf16(void **state) {
    (void)state;
    listener l = { 0 };
    CHECK_OK(train("bf16", "precision=bf16", false, false, &l, diag));
    assert_true(l.last_loss < l.first_loss - 0.3);
    gal_buf_free(&l.notes);
    CHECK_OK(train("bf16-one", "precision=bf16 device.threads=1 eager=true", false, false, NULL, diag));
    same_end("bf16", "bf16-one");
}

static void too_small(void **state) {
    (void)state;
    char set[400];
    gal_diag diag0 = { 0 };
    (void)snprintf(set, sizeof set, "data.text=%s/byte.txt", folder);
    assert_int_equal(train("byte", set, false, false, NULL, &diag0), GAL_EINPUT);
    assert_non_null(strstr(diag0.text, "1 bytes of text in 1 documents"));
    assert_non_null(strstr(diag0.text, "25 tokens"));
    diag0 = (gal_diag){ 0 };
    assert_int_equal(train("long", "batch.sequence=8000", false, false, NULL, &diag0), GAL_EINPUT);
    assert_non_null(strstr(diag0.text, "8001"));
    diag0 = (gal_diag){ 0 };
    assert_int_equal(train("huge", "model.width=131072 model.heads=2 model.layers=4000", false, false, NULL, &diag0),
                     GAL_ENOMEM);
    assert_non_null(strstr(diag0.text, "available"));
}

/* What a rehearsal forecasts for a batch is what the batch takes, within a quarter: few logits, and more than exist
 * at once. */
static void forecast(void **state) {
    (void)state;
    static const char *const SETTINGS[] = {
        "steps=1 schedule.warmup=0 batch.rows=5",
        "steps=1 schedule.warmup=0 batch.rows=16 model.vocab=100000 model.width=8 model.heads=1 model.tied=true",
        "steps=1 schedule.warmup=0 batch.rows=6 recompute=true",
    };
    for (size_t i = 0; i < GAL_LEN(SETTINGS); i++) {
        char name[40], path[500];
        gal_buf log = { 0 };
        (void)snprintf(name, sizeof name, "forecast-%zu", i);
        CHECK_OK(train(name, SETTINGS[i], false, false, NULL, diag));
        (void)snprintf(path, sizeof path, "%s/%s/log.txt", folder, name);
        CHECK_OK(gal_read_file(&log, path, 1 << 20, diag));
        gal_buf_putc(&log, 0);
        static const char TOOK[] = "rehearsal: activations took ", FORECAST[] = " MB, the forecast was ";
        char *end = strstr(log.data, TOOK);
        assert_non_null(end);
        double took = strtod(end + strlen(TOOK), &end);
        assert_memory_equal(end, FORECAST, strlen(FORECAST));
        double said = strtod(end + strlen(FORECAST), NULL);
        if (!(fabs(said - took) <= 0.25 * took)) fail_msg("%s: forecast %g MB, took %g MB", SETTINGS[i], said, took);
        gal_buf_free(&log);
    }
}

/* The plotting library would crash. */
static void plot_without_a_current_folder(void **state) {
    (void)state;
    char gone[256], run[400];
    gal_diag diag0 = { 0 };
    int back = open(".", O_RDONLY | O_DIRECTORY);
    assert_true(back >= 0);
    (void)snprintf(run, sizeof run, "%s/eager", folder);
    make_folder(gone);
    assert_int_equal(chdir(gone), 0);
    remove_folder(gone);
    gal_err err = gal_plot_run(run, &diag0);
    assert_int_equal(fchdir(back), 0);
    assert_int_equal(close(back), 0);
    assert_int_equal(err, GAL_EFAIL);
    assert_non_null(strstr(diag0.text, "current folder"));
}

static void what_is_written(void **state) {
    (void)state;
    static const char *const FILES[] = { "config.yaml",          "metrics.sqlite", "log.txt",
                                         "tokenizer.model",      "plots/loss.png", "plots/loss.svg",
                                         "checkpoints/best.json" };
    char path[500];
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        (void)snprintf(path, sizeof path, "%s/eager/%s", folder, FILES[i]);
        if (!gal_is_file(path)) fail_msg("no %s", FILES[i]);
    }
    gal_metrics *m = NULL;
    gal_metric_step *steps = NULL;
    size_t n = 0;
    (void)snprintf(path, sizeof path, "%s/killed/metrics.sqlite", folder);
    CHECK_OK(gal_metrics_open(&m, path, false, diag));
    CHECK_OK(gal_metrics_steps(m, &steps, &n, diag));
    assert_int_equal(n, STEPS); /* each step once, though some were made twice */
    for (size_t i = 0; i < n; i++) assert_int_equal(steps[i].step, i + 1);
    gal_metrics_close(m);
    gal_free(steps);
}

/* With an argument, only the tests whose names fit it. */
int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes),
        cmocka_unit_test(experts),
        cmocka_unit_test(stop_and_resume),
        cmocka_unit_test(kill_and_resume),
        cmocka_unit_test(bf16),
        cmocka_unit_test(far_device),
        cmocka_unit_test(cuda),
        cmocka_unit_test(damaged_checkpoint),
        cmocka_unit_test(lost_metrics),
        cmocka_unit_test(extending),
        cmocka_unit_test(accumulation),
        cmocka_unit_test(too_small),
        cmocka_unit_test(what_is_written),
        cmocka_unit_test(plot_without_a_current_folder),
        cmocka_unit_test(forecast),
    };
    return cmocka_run_group_tests_name("train", tests, tiny_setup, tiny_teardown);
}
