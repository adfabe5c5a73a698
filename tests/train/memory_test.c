/* memory_test.c - the memory that a training says it will take, before its first step, beside what the process was
 * resident with at most: a model of ten million weights, in f32 and bf16, with and without recomputing, with longer
 * steps, rows ahead and averages. Each in a process of its own. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"
#include "train/tiny.h"

#include "base/asan.h"
#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of what was resident. */
#define SLACK 0.10

#define SHAPE                                                                                                        \
    "model.vocab=8192 model.width=288 model.hidden=768 model.layers=6 model.heads=6 model.kv_heads=6 "               \
    "model.window=0 "                                                                                                \
    "batch.sequence=512 batch.rows=2 steps=2 save.every=0 "

/* Weights of 256 numbers, twelve thousand of them. */
#define MANY                                                                                                         \
    "model.family=gopher model.width=16 model.heads=2 model.kv_heads=2 model.hidden=16 model.experts=512 "           \
    "model.routed_every=1 ema.decay=0.9 batch.sequence=64"

/* In a process of its own; what the last line of the log says of it. */
static void measure(const char *name, const char *set, bool resume, const char *what) {
    const pid_t child = fork();
    char path[500];
    assert_true(child >= 0);
    if (child == 0) _exit(train(name, set, resume, resume, NULL, NULL) ? 1 : 0);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    gal_buf log = { 0 };
    (void)snprintf(path, sizeof path, "%s/%s/log.txt", folder, name);
    CHECK_OK(gal_read_file(&log, path, 1 << 20, diag));
    static const char AT_MOST[] = ": at most ", SAID[] = " MB of memory were resident, the forecast was ";
    char *end = strstr(log.data, AT_MOST);
    for (char *next = end; next; next = strstr(next + 1, AT_MOST)) end = next;
    assert_non_null(end);
    assert_int_equal(strstr(end, ": going on from ") != NULL, 0);
    if (resume) assert_true(strstr(log.data, ": going on from ") && strstr(log.data, ": going on from ") < end);
    const double took = strtod(end + strlen(AT_MOST), &end);
    assert_memory_equal(end, SAID, strlen(SAID));
    const double said = strtod(end + strlen(SAID), NULL);
    print_message("%-50s %7.1f MB resident, forecast %7.1f: %+.1f %%\n", what, took, said, 100 * (said / took - 1));
    if (!(fabs(said - took) <= SLACK * took)) fail_msg("%s: forecast %g MB, took %g MB", what, said, took);
    gal_buf_free(&log);
}

static void forecast(void **state) {
    (void)state;
    static const char *const SETS[] = {
        "",
        "recompute=blocks",
        "precision=bf16",
        "precision=bf16 recompute=blocks recompute_every=2",
        "batch.rows=5",
        "precision=bf16_stochastic ema.decay=0.9 batch.rows=1",
        "optimizer.name=sgd batch.rows=1 batch.accumulate=3",
        "model.family=gopher model.experts=8 model.hidden=288 batch.rows=4",
        "model.experts=64 model.hidden=128 model.layers=2 batch.sequence=64",
        MANY,
    };
#if GAL_ASAN || defined(__SANITIZE_THREAD__)
    print_message("skipped: sanitizers keep memory of their own\n");
    skip(); /* resident memory is then not the program's own; the build without them checks */
#endif
    for (size_t i = 0; i < GAL_LEN(SETS); i++) {
        char name[40], set[512], what[200];
        (void)snprintf(name, sizeof name, "memory-%zu", i);
        (void)snprintf(set, sizeof set, SHAPE "%s", SETS[i]);
        measure(name, set, false, SETS[i]);
        if (i % 5) continue; /* a run that goes on says it again */
        (void)snprintf(what, sizeof what, "%s, resumed", SETS[i]);
        measure(name, "steps=4", true, what);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(forecast) };
    return cmocka_run_group_tests_name("train_memory", tests, tiny_setup, tiny_teardown);
}
