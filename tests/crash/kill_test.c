/* kill_test.c - a training that is killed (SIGKILL) at random moments, taken up, killed again ...: no checkpoint that
 * was whole is ever lost or torn, and the end has the bytes of the run that was not killed. It saves every other
 * step, so that many kills land inside saves.
 *
 * SEED and KILLS in the environment; both are printed. SPDX-License-Identifier: Apache-2.0 */
#include "crash/run.h"

#include "base/rng.h"
#include "base/util.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STEPS = 60 };
#define SETTINGS "--quiet --set steps=60 --set save.every=2 --set eval.every=6 "

static long number(const char *name, long fallback) {
    const char *text = getenv(name);
    return text && *text ? strtol(text, NULL, 10) : fallback;
}

/* settings: what the run is made with besides. */
static void kill_at_random(const char *settings, long kills) {
    uint64_t seed = (uint64_t)number("SEED", (long)time(NULL));
    printf("SEED=%llu KILLS=%ld\n", (unsigned long long)seed, kills);
    double begin = gal_now_s();
    char whole[60], words[400];
    (void)snprintf(whole, sizeof whole, "whole-%zu", strlen(settings));
    (void)snprintf(words, sizeof words, "train c.yaml -o %s " SETTINGS "--set save.keep=1000 %s", whole, settings);
    assert_int_equal(run(words), 0);
    double window_s = 0.6 * (gal_now_s() - begin); /* of the kill, from the start of the process */
    long newest = -1, done = 0, unborn = 0, inside = 0, runs = 1;
    char name[60];
    (void)snprintf(name, sizeof name, "run-%zu-1", strlen(settings));
    for (long i = 0; i < kills; done++) {
        bool born = exists(at("%s/config.yaml", name));
        if (born)
            (void)snprintf(words, sizeof words, "train --resume %s --quiet", name);
        else
            (void)snprintf(words, sizeof words, "train c.yaml -o %s " SETTINGS "%s", name, settings);
        pid_t pid = start(words);
        sleep_s(window_s * (double)gal_rng_below(seed, 1, (uint64_t)done, 1000) / 1000);
        (void)kill(pid, SIGKILL);
        int code = finish(pid);
        if (code == 0) { /* it was faster: the next one */
            same_run(name, whole, STEPS);
            (void)snprintf(name, sizeof name, "run-%zu-%ld", strlen(settings), ++runs);
            newest = -1;
            window_s *= 0.8; /* the machine has become faster than it was for the reference */
            continue;
        }
        if (code != 1000 + SIGKILL) fail_msg("kill %ld: exit code %d: %s", i, code, output());
        long now = check_checkpoints(name, whole);
        if (now < newest) fail_msg("kill %ld: the newest checkpoint was step %ld, now it is %ld", i, newest, now);
        newest = now;
        unborn += !exists(at("%s/config.yaml", name));
        inside += leftovers(name) > 0;
        i++;
    }
    if (exists(at("%s/config.yaml", name)))
        (void)snprintf(words, sizeof words, "train --resume %s --quiet", name);
    else
        (void)snprintf(words, sizeof words, "train c.yaml -o %s " SETTINGS "%s", name, settings);
    int code = run(words);
    if (code) fail_msg("after %ld kills: exit code %d: %s", kills, code, output());
    same_run(name, whole, STEPS);
    printf("%ld kills of %ld runs, %ld inside a save, %ld before the first step; all end in the same bytes\n", kills,
           runs, inside, unborn);
    if (kills >= 50) assert_true(inside > 0);
}

static void killed_at_random(void **state) {
    (void)state;
    kill_at_random("", number("KILLS", 5));
}

/* Weights without an f32 copy, averages, factored states, steps that grow, and losses two deviations above the mean
 * passed over. */
static void killed_with_all_of_it(void **state) {
    (void)state;
    kill_at_random("--set precision=bf16_stochastic --set ema.decay=0.9 --set optimizer.name=adafactor --set "
                   "batch.ramp=[20:2] --set spike.window=4 --set spike.sigmas=2 --set spike.skips=99 --set "
                   "log.norms_every=3",
                   (number("KILLS", 5) + 1) / 2);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(killed_at_random), cmocka_unit_test(killed_with_all_of_it) };
    return cmocka_run_group_tests_name("kills", tests, spot_setup, spot_teardown);
}
