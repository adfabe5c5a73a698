/* tiny.c - see tiny.h. SPDX-License-Identifier: Apache-2.0 */
#include "train/tiny.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "support/check.h"
#include "support/words.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

char folder[256];

/* A text with words, lines and documents of very different lengths. */
int tiny_setup(void **state) {
    (void)state;
    static const char *const WORDS[] = { "sea",  "wind",  "salt",   "gull", "the", "a",    "over",  "grey",
                                         "boat", "sails", "slowly", "home", "and", "rain", "falls", "on" };
    gal_buf text = { 0 };
    make_folder(folder);
    for (uint64_t i = 0; i < 3000; i++) {
        uint64_t r = gal_rng_below(1, 2, i, 400);
        if (r == 0) gal_buf_puts(&text, "\n#@ doc\n");
        gal_buf_puts(&text, WORDS[r % GAL_LEN(WORDS)]);
        gal_buf_putc(&text, r % 11 == 0 ? '\n' : ' ');
    }
    assert_false(text.oom);
    put_file(folder, "text.txt", text.data, text.len);
    put_file(folder, "byte.txt", "x", 1);
    gal_buf_free(&text);
    return 0;
}

int tiny_teardown(void **state) {
    (void)state;
    remove_folder(folder);
    return 0;
}

static void on_event(void *user, const gal_train_event *e) {
    listener *l = user;
    if (e->kind == GAL_TRAIN_NOTE) gal_buf_printf(&l->notes, "%s\n", e->text);
    if (e->kind != GAL_TRAIN_STEP) return;
    if (l->step == 0) {
        l->first_loss = e->loss;
        l->first_norm = e->grad_norm;
    }
    l->step = e->step;
    l->last_loss = e->loss;
    if (e->step == l->kill_at && l->let_live-- == 0) (void)raise(SIGKILL);
}

static bool wants_stop(void *user) {
    const listener *l = user;
    return l->stop_at && l->step >= l->stop_at;
}

gal_err train(const char *name, const char *settings, bool resume, bool extend, listener *l, gal_diag *diag) {
    char run[400], text[400], list[1200];
    (void)snprintf(run, sizeof run, "%s/%s", folder, name);
    (void)snprintf(text, sizeof text, "data.text=%s/text.txt", folder);
    const char *set[40] = { text,
                            "data.separator=#@ ",
                            "data.valid_fraction=0.1",
                            "tokenizer.train_size=300",
                            "model.width=24",
                            "model.layers=2",
                            "model.heads=3",
                            "model.kv_heads=1",
                            "model.window=9",
                            "batch.rows=2",
                            "batch.sequence=24",
                            "steps=8",
                            "schedule.warmup=2",
                            "optimizer.lr=1e-2",
                            "save.every=4",
                            "save.keep=3",
                            "device.threads=2" };
    size_t n = resume ? 0 : 17;
    (void)snprintf(list, sizeof list, "%s", settings);
    n = split_words(list, set, n, GAL_LEN(set));
    if (strstr(settings, "init=")) n = drop_words(set, n, "model."); /* a model has its sizes */
    listener own = { 0 };
    gal_train_options o = {
        .run = run, .resume = resume, .extend = extend, .progress = on_event, .stop = wants_stop, .user = l ? l : &own
    };
    gal_err err = gal_train(NULL, set, n, &o, diag);
    gal_buf_free(&own.notes);
    return err;
}

void train_killed(const char *name, const char *settings, int64_t step, int64_t let_live) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        listener l = { .kill_at = step, .let_live = let_live };
        (void)train(name, settings, false, false, &l, NULL);
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

void read_checkpoint(gal_buf *out, const char *name, int step, const char *file) {
    char path[500];
    (void)snprintf(path, sizeof path, "%s/%s/checkpoints/step-%d/%s", folder, name, step, file);
    CHECK_OK(gal_read_file(out, path, 1 << 26, diag));
}

void same_end(const char *a, const char *b) {
    static const char *const FILES[] = { "model.safetensors", "optimizer.safetensors", "trainer.json",
                                         "config.json" };
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        gal_buf x = { 0 }, y = { 0 };
        read_checkpoint(&x, a, STEPS, FILES[i]);
        read_checkpoint(&y, b, STEPS, FILES[i]);
        assert_int_equal(x.len, y.len);
        if (memcmp(x.data, y.data, x.len) != 0) fail_msg("%s of %s and %s differ", FILES[i], a, b);
        gal_buf_free(&x);
        gal_buf_free(&y);
    }
}
