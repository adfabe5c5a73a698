/* signal_test.c - Ctrl-C in the middle of a step, of a save and of an evaluation: it saves and leaves with 130; a
 * second one leaves at once; and in the end the bytes and the losses are those of the run that nobody interrupted.
 *
 * The process is stopped first (SIGSTOP), and only a state that shows where it is counts: the signal then lands
 * there. SPDX-License-Identifier: Apache-2.0 */
#include "crash/run.h"

#include "base/util.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { STEPS = 12 };
#define SETTINGS "--set steps=12 --set save.every=3 --set eval.every=4 --set batch.accumulate=25 "

static const char *how = "--quiet";
static const char STOPPING[] = "\nstopping after this step, and saving; Ctrl-C again stops at once, without saving\n";

typedef enum place { IN_STEP, IN_SAVE, IN_EVALUATION } place;

/* Where a process that stands still is; true if it is at `where` of `step` (a save: the save of that step). */
static bool stands(const char *run, place where, long step) {
    char made[60], seen[60];
    (void)snprintf(made, sizeof made, "step %ld: loss", step);
    (void)snprintf(seen, sizeof seen, "step %ld: validation", step);
    bool saving = exists(at("%s/checkpoints/.unfinished-step-%ld", run, step));
    bool saved = exists(at("%s/checkpoints/step-%ld", run, step));
    switch (where) {
    case IN_SAVE:
        return saving && !saved;
    case IN_EVALUATION:
        return saved && !saving && !log_holds(run, seen);
    case IN_STEP: {
        char next[60];
        (void)snprintf(next, sizeof next, "step %ld: loss", step + 1);
        return log_holds(run, made) && !log_holds(run, next);
    }
    }
    return false;
}

/* Starts a run and stops it at the place; after a miss, again from the beginning. */
static pid_t start_and_stop_at(const char *run, place where, long step, int *misses) {
    char words[300];
    for (*misses = 0; *misses < 40; ++*misses) {
        if (exists(at("%s", run))) remove_folder(at("%s", run));
        (void)snprintf(words, sizeof words, "train c.yaml -o %s %s " SETTINGS, run, how);
        pid_t pid = start(words);
        char before[60];
        (void)snprintf(before, sizeof before, "step %ld: loss", where == IN_STEP ? step : step - 1);
        wait_for_log(pid, run, before);
        for (double end = gal_now_s() + 60; gal_now_s() < end && !stands(run, where, step);) sleep_s(0.0002);
        if (!stop(pid)) {
            (void)finish(pid);
            continue;
        }
        if (stands(run, where, step)) return pid;
        (void)kill(pid, SIGKILL);
        (void)finish(pid);
    }
    fail_msg("%s: never found at its place", run);
    return -1;
}

static void go_on(const char *run) {
    char words[200];
    (void)snprintf(words, sizeof words, "train --resume %s --quiet", run);
    int code = 0;
    pid_t pid = start(words);
    code = finish(pid);
    if (code) fail_msg("%s: resumed: exit code %d: %s", run, code, output());
    same_run(run, "whole", STEPS);
}

static void interrupt(const char *run, place where, long step, long saved_at) {
    int misses = 0;
    char said[100];
    pid_t pid = start_and_stop_at(run, where, step, &misses);
    (void)kill(pid, SIGINT);
    (void)kill(pid, SIGCONT);
    int code = finish(pid);
    if (code != 130) fail_msg("%s: exit code %d: %s", run, code, output());
    (void)snprintf(said, sizeof said, "stopped and saved at step %ld of 12; --resume %s goes on", saved_at, run);
    if (!strstr(output(), said)) fail_msg("%s: expected '%s', found: %s", run, said, output());
    const char *told = strstr(output(), "stopping"), *answer = strstr(output(), STOPPING);
    if (!how[0] && (!answer || answer + 1 != told || !strstr(told, said) || strstr(told + 1, "stopping")))
        fail_msg("%s: not said once, and before: %s", run, output());
    if (how[0] && told) fail_msg("%s: not quiet: %s", run, output());
    assert_int_equal(check_checkpoints(run, "each"), saved_at);
    assert_int_equal(leftovers(run), 0);
    go_on(run);
    printf("%s: at its place after %d misses\n", run, misses);
}

/* A checkpoint after every step, to compare with, and the run that nobody interrupts. */
static void references(void **state) {
    (void)state;
    assert_int_equal(run("train c.yaml -o whole --quiet " SETTINGS "--set save.keep=1000"), 0);
    assert_int_equal(run("train c.yaml -o each --quiet " SETTINGS "--set save.keep=1000 --set save.every=1"), 0);
}

static void in_a_step(void **state) {
    (void)state;
    interrupt("in-step", IN_STEP, 1, 2); /* no save is due there */
}

static void in_a_save(void **state) {
    (void)state;
    interrupt("in-save", IN_SAVE, 4, 4); /* an evaluation is due then, and owed */
}

static void in_an_evaluation(void **state) {
    (void)state;
    interrupt("in-evaluation", IN_EVALUATION, 8, 8);
}

static void in_the_last_evaluation(void **state) {
    (void)state;
    interrupt("in-last-evaluation", IN_EVALUATION, STEPS, STEPS);
}

static void twice(void **state) {
    (void)state;
    int misses = 0;
    pid_t pid = start_and_stop_at("twice", IN_STEP, 7, &misses);
    (void)kill(pid, SIGINT);
    (void)kill(pid, SIGCONT);
    sleep_s(0.004); /* two signals that wait together would be one */
    (void)kill(pid, SIGINT);
    assert_int_equal(finish(pid), 130);
    /* At once: nothing was saved after step 6, unless the step ended between the two. */
    assert_int_equal(check_checkpoints("twice", "each"), strstr(output(), "saved at step 8") ? 8 : 6);
    go_on("twice");
}

/* The answer comes at once, and once. */
static void aloud(void **state) {
    (void)state;
    how = "";
    interrupt("aloud", IN_STEP, 1, 2);
    how = "--quiet";
}

static void while_setting_up(void **state) {
    (void)state;
    pid_t pid = start("train c.yaml -o early --set batch.rows=16 --set batch.accumulate=100");
    for (double end = gal_now_s() + 60; gal_now_s() < end && !exists(at("early/log.txt"));) sleep_s(0.0002);
    (void)kill(pid, SIGINT);
    assert_int_equal(finish(pid), 130);
    if (!strstr(output(), "stopping before the next step; Ctrl-C again stops at once\n") ||
        !strstr(output(), "galerne: stopped before the first step"))
        fail_msg("%s", output());
    assert_false(exists(at("early")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references),
        cmocka_unit_test(in_a_step),
        cmocka_unit_test(in_a_save),
        cmocka_unit_test(in_an_evaluation),
        cmocka_unit_test(in_the_last_evaluation),
        cmocka_unit_test(twice),
        cmocka_unit_test(aloud),
        cmocka_unit_test(while_setting_up),
    };
    return cmocka_run_group_tests_name("signals", tests, spot_setup, spot_teardown);
}
