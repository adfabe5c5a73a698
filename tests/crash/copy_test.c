/* copy_test.c - a run directory copied while its training goes on, with cp and with tar, at random moments: what the
 * loader takes for a checkpoint in the copy has the bytes of a real one, torn ones are passed over and named, and the
 * copy goes on to the same end. SEED and COPIES in the environment. SPDX-License-Identifier: Apache-2.0 */
#include "crash/run.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/rng.h"
#include "train/checkpoint.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 120 };
#define SETTINGS "--quiet --set steps=120 --set save.every=1 --set eval.every=30 "

static long number(const char *name, long fallback) {
    const char *text = getenv(name);
    return text && *text ? strtol(text, NULL, 10) : fallback;
}

/* Files that vanish meanwhile make the copier complain; that is the point. */
static void copy(bool by_tar, const char *from, const char *to) {
    char command[1500];
    if (by_tar)
        (void)snprintf(command, sizeof command, "mkdir %s && tar cf - -C %s . | tar xf - -C %s", to, from, to);
    else
        (void)snprintf(command, sizeof command, "cp -r %s %s", from, to);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stderr) || chdir(spot) != 0) _exit(99);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(98);
    }
    assert_in_range(finish(pid), 0, 2);
}

/* What is torn is hidden, so that what is left can be compared. Returns how many were. */
static long hide_torn(const char *name) {
    char **names = NULL;
    size_t n = 0;
    long torn = 0;
    if (!exists(at("%s/checkpoints", name))) return 0;
    CHECK_OK(gal_list_dir(at("%s/checkpoints", name), &names, &n, diag));
    for (size_t i = 0; i < n; i++) {
        if (strncmp(names[i], "step-", 5) != 0) continue;
        gal_diag why = { 0 };
        if (!gal__checkpoint_check(at("%s/checkpoints/%s", name, names[i]), &why)) continue;
        assert_non_null(strstr(why.text, names[i])); /* it is named */
        assert_int_equal(
            rename(at("%s/checkpoints/%s", name, names[i]), at("%s/checkpoints/torn-%s", name, names[i])), 0);
        torn++;
    }
    gal_free_names(names, n);
    return torn;
}

static void show_torn(const char *name) {
    char **names = NULL;
    size_t n = 0;
    CHECK_OK(gal_list_dir(at("%s/checkpoints", name), &names, &n, diag));
    for (size_t i = 0; i < n; i++)
        if (strncmp(names[i], "torn-", 5) == 0)
            assert_int_equal(
                rename(at("%s/checkpoints/%s", name, names[i]), at("%s/checkpoints/%s", name, names[i] + 5)), 0);
    gal_free_names(names, n);
}

static void copied(void **state) {
    (void)state;
    long copies = number("COPIES", 4), torn = 0, none = 0, unread = 0, only_torn = 0, reset = 0, runs = 1;
    uint64_t seed = (uint64_t)number("SEED", (long)time(NULL));
    printf("SEED=%llu COPIES=%ld\n", (unsigned long long)seed, copies);
    assert_int_equal(run("train c.yaml -o whole " SETTINGS "--set save.keep=1000"), 0);
    pid_t pid = start("train c.yaml -o busy-1 " SETTINGS "--set save.keep=3");
    char busy[40] = "busy-1", words[300];
    wait_for_log(pid, busy, "step 2:");
    for (long i = 0; i < copies; i++) {
        sleep_s((double)gal_rng_below(seed, 1, (uint64_t)i, 1000) / 1000 * 0.1);
        siginfo_t info = { 0 };
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid) {
            assert_int_equal(finish(pid), 0);
            remove_folder(at("%s", busy));
            (void)snprintf(busy, sizeof busy, "busy-%ld", ++runs);
            (void)snprintf(words, sizeof words, "train c.yaml -o %s " SETTINGS "--set save.keep=3", busy);
            pid = start(words);
            wait_for_log(pid, busy, "step 2:");
        }
        (void)snprintf(words, sizeof words, "copy-%ld", i);
        copy(i % 2 != 0, busy, words);
    }
    (void)kill(pid, SIGKILL);
    (void)finish(pid);
    for (long i = 0; i < copies; i++) {
        char name[40];
        (void)snprintf(name, sizeof name, "copy-%ld", i);
        long t = hide_torn(name);
        long newest = check_checkpoints(name, "whole");
        torn += t;
        none += newest < 0;
        if (t) show_torn(name);
        if (!exists(at("%s/config.yaml", name))) continue; /* copied before the run was born */
        (void)snprintf(words, sizeof words, "runs show %s", name);
        unread += run(words) != 0;
        /* All of them in the long test; here the last. */
        if (copies < 20 && i + 1 < copies) continue;
        (void)snprintf(words, sizeof words, "train --resume %s", name);
        int code = run(words);
        if (newest < 0 && t > 0) {
            assert_int_equal(code, 3);
            assert_non_null(strstr(output(), "none of them whole"));
            only_torn++;
            continue;
        }
        if (code) fail_msg("%s: exit code %d: %s", name, code, output());
        reset += strstr(output(), "metrics.sqlite.damaged") != NULL;
        same_end(name, "whole", STEPS);
    }
    printf(
        "%ld copies: %ld torn checkpoints passed over, %ld copies without a whole one (%ld of them only torn ones), "
        "%ld with metrics that could not be read at once, %ld with metrics set aside\n",
        copies, torn, none, only_torn, unread, reset);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(copied) };
    return cmocka_run_group_tests_name("copies", tests, spot_setup, spot_teardown);
}
