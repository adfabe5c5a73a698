/* lock_test.c - two processes on one run directory: the second says who holds it and touches nothing; readers are not
 * kept out; a killed process holds nothing. SPDX-License-Identifier: Apache-2.0 */
#include "crash/run.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/lock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LONG_RUN                                                                                                     \
    "train c.yaml -o held --quiet --set steps=1000000 --set save.every=7 --set save.keep=1 --set eval.every=50"

/* Names, sizes, times and inodes of everything in a folder. */
static void list_tree(gal_buf *b, const char *dir) {
    char **names = NULL;
    size_t n = 0;
    CHECK_OK(gal_list_dir(dir, &names, &n, diag));
    for (size_t i = 0; i < n; i++) {
        char path[800];
        struct stat st;
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        assert_int_equal(lstat(path, &st), 0);
        gal_buf_printf(b, "%s %lld %lld.%09ld %lld\n", path, (long long)st.st_size, (long long)st.st_mtim.tv_sec,
                       st.st_mtim.tv_nsec, (long long)st.st_ino);
        if (S_ISDIR(st.st_mode)) list_tree(b, path);
    }
    gal_free_names(names, n);
}

static void refused(pid_t holder, const char *words) {
    char who[200], host[100] = "";
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    (void)snprintf(who, sizeof who, "galerne: held is held by process %ld on %s since 20", (long)holder, host);
    int code = run(words);
    if (code != 5) fail_msg("%s: exit code %d: %s", words, code, output());
    if (strncmp(output(), who, strlen(who)) != 0) fail_msg("%s: %s", words, output());
}

static void two_processes(void **state) {
    (void)state;
    gal_buf before = { 0 }, after = { 0 };
    pid_t pid = start(LONG_RUN);
    wait_for_log(pid, "held", "step 60:");
    /* Standing still, so that every change is the second process's. */
    assert_true(stop(pid));
    list_tree(&before, at("held"));
    refused(pid, "train --resume held");
    refused(pid, "train c.yaml -o held");
    list_tree(&after, at("held"));
    assert_string_equal(before.data, after.data);
    (void)kill(pid, SIGCONT);
    gal_buf_free(&before);
    gal_buf_free(&after);

    /* Readers, while checkpoints come and go. */
    for (int i = 0; i < 5; i++) {
        int code = run("runs show held");
        if (code || !strstr(output(), "held (running)")) fail_msg("runs show: exit code %d: %s", code, output());
        code = run("run held -p sea --max-tokens 3 --quiet");
        if (code) fail_msg("run: exit code %d: %s", code, output());
    }
    assert_int_equal(run("runs list ."), 0);
    assert_non_null(strstr(output(), "running"));

    (void)kill(pid, SIGKILL);
    assert_int_equal(finish(pid), 1000 + SIGKILL);
    assert_int_equal(run("runs show held"), 0);
    assert_non_null(strstr(output(), "held (broken)"));
    pid = start("train --resume held --quiet");
    wait_for_log(pid, "held", "going on from");
    (void)kill(pid, SIGINT);
    assert_int_equal(finish(pid), 130);
    assert_int_equal(run("runs show held"), 0);
    assert_non_null(strstr(output(), "held (stopped)"));
}

/* The lock itself: not twice, also within one process; not by who is no more; not by a file's existence. */
static void one_holder(void **state) {
    (void)state;
    gal_lock a = { 0 }, b = { 0 };
    gal_diag diag0 = { 0 };
    assert_false(gal_lock_taken(at("lock")));
    CHECK_OK(gal_lock_take(&a, at("lock"), "the folder", diag));
    assert_true(a.held);
    assert_true(gal_lock_taken(at("lock")));
    assert_int_equal(gal_lock_take(&b, at("lock"), "the folder", &diag0), GAL_EBUSY);
    assert_non_null(strstr(diag0.text, "the folder is held by process "));
    gal_lock_give(&a);
    assert_true(exists(at("lock")));
    assert_false(gal_lock_taken(at("lock")));
    CHECK_OK(gal_lock_take(&b, at("lock"), "the folder", diag));
    gal_lock_give(&b);
    gal_lock_give(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(one_holder), cmocka_unit_test(two_processes) };
    return cmocka_run_group_tests_name("locks", tests, spot_setup, spot_teardown);
}
