/* disk_test.c - a disk that fills up under a training, in a checkpoint, in the metrics, in a shard, in the log, and
 * anywhere: the message names the file and says how much is needed or available, nothing unfinished stays, the last
 * checkpoint is whole, and when there is room again the run ends in the bytes of the one that had room all along.
 *
 * The disk is a small tmpfs in a mount namespace of this process (root, or a user namespace); it lies where only one
 * of the four can fill it, and a ballast file takes the last page while the training stands still.
 * SPDX-License-Identifier: Apache-2.0 */
#include "crash/run.h"

#include "base/buf.h"
#include "base/file.h"
#include "support/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

enum { STEPS = 160 };
#define SETTINGS "--quiet --set steps=160 --set save.every=8 --set save.keep=2 --set eval.every=32 "

static bool alone; /* in a mount namespace */
static char why_not[200];

static int setup(void **state) {
    (void)spot_setup(state);
    alone = disk_alone();
    if (alone) {
        CHECK_OK(gal_make_dirs(at("probe"), diag));
        alone = disk_mount(at("probe"), "64k") && umount(at("probe")) == 0;
    }
    if (!alone) (void)snprintf(why_not, sizeof why_not, "no small tmpfs can be mounted here: %s", strerror(errno));
    if (alone) assert_int_equal(run("train c.yaml -o whole " SETTINGS "--set save.keep=1000"), 0);
    return 0;
}

static void need_disk(void) {
    if (alone) return;
    print_message("skipped: %s\n", why_not);
    skip();
}

/* A new tmpfs at spot/NAME. */
static void disk(const char *name, const char *size) {
    CHECK_OK(gal_make_dirs(at("%s", name), diag));
    if (!disk_mount(at("%s", name), size)) fail_msg("%s: %s", name, strerror(errno));
}

static void fill(const char *dir) {
    static const char page[4096] = { 1 };
    int fd = open(at("%s/ballast", dir), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    assert_true(fd >= 0);
    while (write(fd, page, sizeof page) > 0) continue;
    assert_int_equal(errno, ENOSPC);
    (void)close(fd);
}

/* Lets a run go to its twentieth step, fills the disk at `full`, and returns how the run ended. */
static int starve(const char *words, const char *name, const char *full) {
    pid_t pid = start(words);
    wait_for_log(pid, name, "step 20:");
    if (!stop(pid)) fail_msg("%s: ended too early: %s", name, output());
    fill(full);
    (void)kill(pid, SIGCONT);
    return finish(pid);
}

static void said(int code, const char *file, const char *numbers) {
    const char *text = output();
    if (code != 1 || strncmp(text, "galerne: ", 9) != 0 || !strstr(text, file) || !strstr(text, "the disk is full") ||
        !strstr(text, "No space left on device") || !strstr(text, numbers) || !strstr(text, "are available"))
        fail_msg("exit code %d: %s", code, text);
    printf("%s", text);
}

static void go_on(const char *name, const char *full) {
    char words[200];
    assert_int_equal(unlink(at("%s/ballast", full)), 0);
    (void)snprintf(words, sizeof words, "train --resume %s --quiet", name);
    int code = run(words);
    if (code) fail_msg("%s: resumed: exit code %d: %s", name, code, output());
    same_run(name, "whole", STEPS);
}

static void in_a_checkpoint(void **state) {
    (void)state;
    need_disk();
    disk("ck/checkpoints", "3m");
    int code = starve("train c.yaml -o ck " SETTINGS, "ck", "ck/checkpoints");
    said(code, "ck/checkpoints/step-", "a checkpoint takes about ");
    assert_int_equal(leftovers("ck"), 0);
    assert_true(check_checkpoints("ck", "whole") >= 16);
    /* Still full: said before any step is made. */
    code = run("train --resume ck --quiet");
    if (code != 1 || !strstr(output(), "the disk is full") || !strstr(output(), "are available"))
        fail_msg("still full: exit code %d: %s", code, output());
    go_on("ck", "ck/checkpoints");
}

static void in_the_metrics(void **state) {
    (void)state;
    need_disk();
    disk("mt", "2m");
    CHECK_OK(gal_make_dirs(at("mt-checkpoints"), diag));
    assert_int_equal(symlink("../mt-checkpoints", at("mt/checkpoints")), 0);
    assert_int_equal(symlink("../mt-log.txt", at("mt/log.txt")), 0);
    said(starve("train c.yaml -o mt " SETTINGS, "mt", "mt"), "mt/metrics.sqlite", "cannot write");
    assert_int_equal(leftovers("mt"), 0);
    assert_true(check_checkpoints("mt", "whole") >= 16);
    go_on("mt", "mt");
}

static void in_a_shard(void **state) {
    (void)state;
    need_disk();
    disk("sh", "8k");
    int code = run("train c.yaml -o sh-run " SETTINGS "--set data.shards=sh");
    said(code, "sh/train.shard", "bytes are needed, ");
    assert_int_equal(leftovers("sh"), 0);
    assert_false(exists(at("sh/train.shard")));
    assert_false(exists(at("sh-run"))); /* it was never born */
    assert_int_equal(mount("none", at("sh"), "tmpfs", MS_REMOUNT, "size=1m"), 0);
    assert_int_equal(run("train c.yaml -o sh-run " SETTINGS "--set data.shards=sh"), 0);
    same_run("sh-run", "whole", STEPS);
}

static void in_the_log(void **state) {
    (void)state;
    need_disk();
    gal_buf log = { 0 };
    disk("lg", "64k");
    CHECK_OK(gal_make_dirs(at("lg-run"), diag));
    assert_int_equal(symlink("../lg/log.txt", at("lg-run/log.txt")), 0);
    said(starve("train c.yaml -o lg-run " SETTINGS, "lg-run", "lg"), "lg-run/log.txt", "bytes are needed, ");
    CHECK_OK(gal_read_file(&log, at("lg/log.txt"), 1 << 20, diag));
    assert_int_equal(log.data[log.len - 1], '\n'); /* no half line */
    gal_buf_free(&log);
    /* What was learnt up to then is saved, whenever the last save was; it may be between the reference's saves. */
    long step = -1;
    char **names = NULL;
    size_t n = 0;
    CHECK_OK(gal_list_dir(at("lg-run/checkpoints"), &names, &n, diag));
    for (size_t i = 0; i < n; i++)
        if (strncmp(names[i], "step-", 5) == 0 && strtol(names[i] + 5, NULL, 10) > step)
            step = strtol(names[i] + 5, NULL, 10);
    gal_free_names(names, n);
    assert_true(step >= 20);
    go_on("lg-run", "lg");
}

/* Everything on one disk: whichever is first. */
static void anywhere(void **state) {
    (void)state;
    need_disk();
    disk("all", "4m");
    int code = starve("train c.yaml -o all " SETTINGS, "all", "all");
    said(code, "all/", "");
    assert_int_equal(leftovers("all"), 0);
    assert_true(check_checkpoints("all", "whole") >= 16);
    go_on("all", "all");
}

static int teardown(void **state) {
    static const char *const DISKS[] = { "ck/checkpoints", "mt", "sh", "lg", "all" };
    for (size_t i = 0; alone && i < GAL_LEN(DISKS); i++) (void)umount(at("%s", DISKS[i]));
    return spot_teardown(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_a_checkpoint), cmocka_unit_test(in_the_metrics), cmocka_unit_test(in_a_shard),
        cmocka_unit_test(in_the_log),      cmocka_unit_test(anywhere),
    };
    return cmocka_run_group_tests_name("full disks", tests, setup, teardown);
}
