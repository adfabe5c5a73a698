/* data_test.c - `galerne data tokenize` on a disk that is full, interrupted and killed: what it makes is there whole
 * or not at all, and the next call makes the bytes of one that nobody disturbed. SPDX-License-Identifier: Apache-2.0
 */
#include "crash/run.h"

#include "base/buf.h"
#include "base/file.h"
#include "support/disk.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#define FOLDER "data tokenize big.txt --tokenizer t.model --shard-tokens 20000 --threads 2 -o many --quiet"
#define ONE "data tokenize big.txt --tokenizer t.model --threads 2 -o one.shard --quiet"

static bool alone; /* in a mount namespace */
static char why_not[200];
static int entries; /* of the folder that nobody disturbed */

static int count(const char *dir) {
    char **names = NULL;
    size_t n = 0;
    CHECK_OK(gal_list_dir(dir, &names, &n, diag));
    gal_free_names(names, n);
    return (int)n;
}

static int setup(void **state) {
    (void)spot_setup(state);
    gal_buf text = { 0 }, big = { 0 };
    CHECK_OK(gal_read_file(&text, at("text.txt"), 1 << 20, diag));
    for (int i = 0; i < 400; i++) gal_buf_add(&big, text.data, text.len);
    assert_false(big.oom);
    put_file(spot, "big.txt", big.data, big.len);
    CHECK_OK(gal_read_file(&text, "tests/golden/text/tiny.model", 1 << 20, diag));
    put_file(spot, "t.model", text.data, text.len);
    gal_buf_free(&text);
    gal_buf_free(&big);
    alone = disk_alone();
    if (alone) {
        CHECK_OK(gal_make_dirs(at("probe"), diag));
        alone = disk_mount(at("probe"), "64k") && umount(at("probe")) == 0;
    }
    if (!alone) (void)snprintf(why_not, sizeof why_not, "no small tmpfs can be mounted here: %s", strerror(errno));
    assert_int_equal(run(ONE " -o whole.shard"), 0);
    assert_int_equal(run(FOLDER " -o whole"), 0);
    /* One document: it cannot be parted. */
    assert_int_equal(count(at("whole")), 1);
    assert_int_equal(
        run("data tokenize big.txt --tokenizer t.model --separator g --shard-tokens 20000 -o whole --quiet "
            "--force"),
        0);
    assert_true(count(at("whole")) > 20);
    entries = count(spot);
    return 0;
}

static void nothing_new(void) { assert_int_equal(count(spot), entries); }

static void same(const char *a, const char *b) {
    gal_buf x = { 0 }, y = { 0 };
    CHECK_OK(gal_read_file(&x, a, 1 << 28, diag));
    CHECK_OK(gal_read_file(&y, b, 1 << 28, diag));
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    gal_buf_free(&x);
    gal_buf_free(&y);
}

/* An undisturbed call makes what it made before; then it goes. */
static void make_whole(const char *words, const char *name) {
    int code = run(words);
    if (code) fail_msg("exit code %d: %s", code, output());
    if (strcmp(name, "many") == 0) {
        const int n = count(at("whole"));
        assert_int_equal(count(at("many")), n);
        for (int i = 0; i < n; i++) same(at("many/many-%05d.shard", i), at("whole/whole-%05d.shard", i));
    } else {
        same(at("%s", name), at("whole.shard"));
    }
    CHECK_OK(gal_remove_tree(at("%s", name), diag));
    nothing_new();
}

#define PARTS "data tokenize big.txt --tokenizer t.model --separator g --shard-tokens 20000 -o many --quiet "

static void full_disk(void **state) {
    (void)state;
    if (!alone) {
        print_message("skipped: %s\n", why_not);
        skip();
    }
    static const char *const WORDS[] = { "data tokenize big.txt --tokenizer t.model -o d/one.shard --quiet",
                                         "data tokenize big.txt --tokenizer t.model --separator g --shard-tokens "
                                         "20000 -o d/many --quiet" };
    static const char *const FILES[] = { "d/one.shard", "d/.unfinished-many/many-0" };
    CHECK_OK(gal_make_dirs(at("d"), diag));
    if (!disk_mount(at("d"), "200k")) fail_msg("d: %s", strerror(errno));
    for (int i = 0; i < 2; i++) {
        int code = run(WORDS[i]);
        if (code != 1 || !strstr(output(), FILES[i]) || !strstr(output(), "the disk is full: ") ||
            !strstr(output(), " bytes are needed, "))
            fail_msg("exit code %d: %s", code, output());
        assert_int_equal(count(at("d")), 0);
    }
    assert_int_equal(umount(at("d")), 0);
    CHECK_OK(gal_remove_tree(at("d"), diag));
}

/* Sends a signal while the third shard, or the file, is being made; how it ended. */
static int disturb(const char *words, bool folder, int signal_number) {
    for (int tries = 0; tries < 40; tries++) {
        pid_t pid = start(words);
        if (folder)
            for (int i = 0; i < 20000 && !exists(at(".unfinished-many/many-00002.shard")) && !exists(at("many")); i++)
                sleep_s(0.0002);
        else
            sleep_s(0.02 + 0.002 * tries);
        (void)kill(pid, signal_number);
        int code = finish(pid);
        if (code != 0) return code;
        CHECK_OK(gal_remove_tree(at(folder ? "many" : "one.shard"), diag)); /* it was faster */
    }
    fail_msg("never met in the middle: %s", words);
    return 0;
}

static void interrupted(void **state) {
    (void)state;
    int code = disturb(PARTS, true, SIGINT);
    if (code != 130) fail_msg("exit code %d: %s", code, output());
    nothing_new();
    make_whole(PARTS, "many");
    code = disturb(ONE, false, SIGINT);
    /* Before the program asks for signals it ends by them. */
    if (code != 130 && code != 1000 + SIGINT) fail_msg("exit code %d: %s", code, output());
    nothing_new();
    make_whole(ONE, "one.shard");
}

static void killed(void **state) {
    (void)state;
    assert_int_equal(disturb(PARTS, true, SIGKILL), 1000 + SIGKILL);
    assert_false(exists(at("many")));
    assert_true(exists(at(".unfinished-many")));
    make_whole(PARTS, "many"); /* and what was left is gone */
    assert_int_equal(disturb(ONE, false, SIGKILL), 1000 + SIGKILL);
    assert_false(exists(at("one.shard")));
    make_whole(ONE, "one.shard");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_disk),
        cmocka_unit_test(interrupted),
        cmocka_unit_test(killed),
    };
    return cmocka_run_group_tests_name("crash_data", tests, setup, spot_teardown);
}
