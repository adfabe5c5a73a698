/* torture_test.c - every allocation, and every call to the system that can fail, made to fail in turn: alone, and
 * with all later ones. A run must end with the right error and a message, or (where the failure may be got over) as
 * if nothing had been; hold nothing; leave no temporary and no half file; and what it worked on must work afterwards.
 *
 * test_torture [--full] [--seed N] [--only STAGE]: without --full, a stage with more places than its share takes the
 * first ones and then strides over the rest from a place that follows from the seed, which is printed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include "base/fault.h"
#include "base/util.h"
#include "faults.h"
#include "stages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    AGAIN_EVERY = 8, /* how often the slow half of after() runs */
    CALLS_SHARE = 4  /* there are more ways in which calls fail */
};

static bool full;
static int64_t seed = -1;
static const char *only;

/* ---- what may come of a failure ----------------------------------------------------------------------------------
 */

/* What a failed call may become: an error, a second one where the place decides, or nothing (harmless) because... */
static const struct {
    const char *name;
    gal_err err[2];
    const char *harmless; /* ... of this */
} CALLS[GAL_FAULTS_COUNT] = {
    [GAL_FAULT_OPEN] = { "open", { GAL_EINPUT, GAL_EIO }, NULL },
    [GAL_FAULT_READ] = { "read", { GAL_EINPUT, GAL_EINPUT }, NULL },
    [GAL_FAULT_MAP] = { "map", { GAL_EINPUT, GAL_ENOMEM }, NULL },
    [GAL_FAULT_LIST] = { "list", { GAL_EINPUT, GAL_EIO }, NULL },
    [GAL_FAULT_LOOK] = { "look",
                         { GAL_EINPUT, GAL_EIO },
                         "a file of which nobody knows whether it is there is opened" },
    [GAL_FAULT_CREATE] = { "create", { GAL_EIO, GAL_EIO }, NULL },
    [GAL_FAULT_WRITE] = { "write", { GAL_EIO, GAL_EIO }, NULL },
    [GAL_FAULT_SYNC] = { "sync", { GAL_EIO, GAL_EIO }, NULL },
    [GAL_FAULT_CLOSE] = { "close", { GAL_EIO, GAL_EIO }, NULL },
    [GAL_FAULT_RENAME] = { "rename", { GAL_EIO, GAL_EIO }, NULL },
    [GAL_FAULT_MKDIR] = { "mkdir", { GAL_EIO, GAL_EIO }, "the folder is there" },
    [GAL_FAULT_REMOVE] = { "remove", { GAL_EIO, GAL_EIO }, NULL },
    [GAL_FAULT_LOCK] = { "lock", { GAL_EIO, GAL_EIO }, NULL },
    [GAL_FAULT_THREAD] = { "thread", { GAL_ENOMEM, GAL_ENOMEM }, NULL },
    [GAL_FAULT_HINT] = { "hint", { GAL_OK, GAL_OK }, "nobody depends on it" },
};

#ifdef GAL_FAULTS
#define BIT(kind) (1u << GAL_FAULT_##kind)
#define READING (BIT(OPEN) | BIT(READ) | BIT(MAP) | BIT(LIST) | BIT(LOOK) | BIT(HINT))
#define WRITING                                                                                                      \
    (BIT(CREATE) | BIT(WRITE) | BIT(SYNC) | BIT(CLOSE) | BIT(RENAME) | BIT(MKDIR) | BIT(REMOVE) | BIT(LOCK))

/* How calls fail: why, alone or with all later ones, and which of them. */
static const struct {
    int why;
    bool sticky;
    unsigned kinds;
} WAYS[] = {
    { EIO, false, READING | WRITING },
    { EIO, true, READING },
    { EIO, true, WRITING },
    { ENOSPC, true, BIT(CREATE) | BIT(WRITE) | BIT(SYNC) | BIT(CLOSE) | BIT(RENAME) | BIT(MKDIR) },
    { EMFILE, true, BIT(OPEN) | BIT(LIST) | BIT(CREATE) },
    { ENOMEM, false, BIT(OPEN) | BIT(MAP) | BIT(LIST) | BIT(LOOK) },
    { EAGAIN, false, BIT(THREAD) },
    { EAGAIN, true, BIT(THREAD) },
    { EINTR, false, BIT(OPEN) | BIT(READ) | BIT(CREATE) | BIT(WRITE) | BIT(SYNC) | BIT(HINT) },
    { GAL_FAULT_SHORT, false, BIT(READ) | BIT(WRITE) | BIT(HINT) },
    { GAL_FAULT_SHORT, true, BIT(READ) | BIT(WRITE) | BIT(HINT) },
};
#endif

static const char *judge(const fault_plan *p, const fault_report *r, gal_err err, const gal_diag *diag) {
    if (err && (diag->err != err || !diag->text[0])) return "an error without its message";
    if (!r->hits) return err ? "an error though nothing failed" : NULL;
    if (!err && stages_got_over) return NULL;
    if (p->what == FAULT_ALLOCATION) {
        if (err) return err == GAL_ENOMEM ? NULL : "expected the error of a lack of memory";
        /* SQLite goes on without some of its memory (caches). */
        return r->owner == OWNER_SQLITE ? NULL : "a failed allocation was taken for success";
    }
    if (p->why == EINTR || p->why == GAL_FAULT_SHORT)
        return err && r->owner == OWNER_GALERNE ? "a call that has only to be repeated was an error" : NULL;
    /* SQLite asks for files that need not be there, and tries again. */
    if (!err)
        return CALLS[r->kind].harmless || r->owner == OWNER_SQLITE ? NULL : "a failed call was taken for success";
    if ((p->why == ENOMEM && err == GAL_ENOMEM) || (p->why == EMFILE && err == GAL_EFAIL)) return NULL;
    /* Of those that failed later, too, any may have become the error. */
    bool any = p->sticky || r->owner == OWNER_SQLITE;
    if (any && (err == GAL_EIO || err == GAL_EINPUT)) return NULL;
    return err == CALLS[r->kind].err[0] || err == CALLS[r->kind].err[1] ? NULL : "expected another error";
}

/* ---- one run -----------------------------------------------------------------------------------------------------
 */

typedef struct holdings {
    long blocks;
    int files, threads;
} holdings;

static holdings now(void) { return (holdings){ faults_held(), open_files(), running_threads() }; }

static int complaints;

static void complain(const stage *s, const fault_plan *p, const fault_report *r, const char *what,
                     const gal_diag *diag) {
    static const char *const OWNER[] = { "ours", "jansson's", "SQLite's" };
    const char *kind = p->what == FAULT_ALLOCATION ? "allocation" : CALLS[r->kind].name;
    (void)fprintf(stderr, "%s: %s %ld%s (%s, %s): %s [%s: %s]\n", s->name, kind, p->at, p->sticky ? " and later" : "",
                  OWNER[r->owner], p->why > 0 ? strerror(p->why) : "short", what, gal_err_name(diag->err),
                  diag->text);
    faults_print_place(stderr);
    complaints++;
}

static fault_report once(const stage *s, fault_plan p, bool again) {
    gal_diag diag = { 0 };
    holdings before = now();
    s->prepare();
    stages_got_over = NULL;
    faults_arm(p);
    gal_err err = s->run(&diag);
    fault_report r = faults_disarm();
    const char *wrong = judge(&p, &r, err, &diag);
    if (wrong) complain(s, &p, &r, wrong, &diag);
    stages_check_files(p.what == FAULT_CALL && p.sticky);
    s->after(err, again);
    /* A thread that was joined may stand in the system's list for a moment yet; under an emulator it often does. */
    for (int i = 0; i < 100 && running_threads() > before.threads; i++)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    holdings left = now();
    if (left.blocks != before.blocks) complain(s, &p, &r, "memory was not freed", &diag);
    if (left.files != before.files) complain(s, &p, &r, "a file was not closed", &diag);
    if (left.threads != before.threads) complain(s, &p, &r, "a thread was not ended", &diag);
    if (complaints > 60) fail_msg("too many complaints; the rest is not tried");
    return r;
}

/* ---- all runs of a stage -----------------------------------------------------------------------------------------
 */

static void torture(const stage *s, fault_plan p) {
    p.at = -1;
    long share = p.what == FAULT_ALLOCATION ? s->quick : s->quick / CALLS_SHARE;
#ifdef GAL_THIN_TESTS
    share = GAL_MAX(share / 8, 2);
#endif
    long count = once(s, p, false).counted, runs = full ? count : GAL_MIN(share, count);
    long first = GAL_MIN(runs / 2, count), rest = runs - first;
    double stride = rest ? (double)(count - first) / (double)rest : 1.0;
    /* Another place in each stride for each seed and each way. */
    uint64_t mix = (uint64_t)seed * 2654435761u + (uint64_t)p.sticky * 77 + (uint64_t)(p.why + 1) * 13;
    double offset = runs < count ? stride * (double)(mix % 1000) / 1000 : 0;
    for (long i = 0; i < runs; i++) {
        p.at = i < first ? i : first + (long)((double)(i - first) * stride + offset);
        (void)once(s, p, i % AGAIN_EVERY == 0);
    }
    print_message("%-10s %s%s %s: %ld of %ld places\n", s->name, p.what == FAULT_ALLOCATION ? "allocations" : "calls",
                  p.sticky ? " from one on" : "",
                  p.what == FAULT_ALLOCATION ? ""
                  : p.why > 0                ? strerror(p.why)
                                             : "short",
                  runs, count);
}

static void allocations(void **state) {
    (void)state;
    complaints = 0;
    for (size_t i = 0; i < N_STAGES; i++) {
        if (only && strcmp(only, STAGES[i].name) != 0) continue;
        double begin = gal_now_s();
        torture(&STAGES[i], (fault_plan){ FAULT_ALLOCATION, 0, false, 0, 0 });
        torture(&STAGES[i], (fault_plan){ FAULT_ALLOCATION, 0, true, 0, 0 });
        print_message("%-10s %.2f s\n", STAGES[i].name, gal_now_s() - begin);
    }
    assert_int_equal(complaints, 0);
}

static void calls(void **state) {
    (void)state;
#ifdef GAL_FAULTS
    complaints = 0;
    for (size_t i = 0; i < N_STAGES; i++) {
        if (only && strcmp(only, STAGES[i].name) != 0) continue;
        double begin = gal_now_s();
        for (size_t w = 0; w < GAL_LEN(WAYS); w++)
            torture(&STAGES[i], (fault_plan){ FAULT_CALL, 0, WAYS[w].sticky, WAYS[w].why, WAYS[w].kinds });
        print_message("%-10s %.2f s\n", STAGES[i].name, gal_now_s() - begin);
    }
    assert_int_equal(complaints, 0);
#else
    print_message("skipped: this build has no places for faults (cmake -DGAL_FAULTS=ON)\n");
    skip();
#endif
}

static int setup(void **state) {
    (void)state;
    stages_open();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    stages_close();
    return 0;
}

#ifdef __SANITIZE_ADDRESS__
/* Megabytes of threads' scratch are freed in each of a thousand runs: to keep all of it would be all the time spent.
 */
GAL_API const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "quarantine_size_mb=16"; }
#endif

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--full") == 0) full = true;
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) (void)gal_parse_i64(argv[++i], &seed);
        if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) only = argv[++i];
    }
    if (seed < 0) seed = gal_unix_time_s() % 100000;
    print_message("seed %lld\n", (long long)seed);
    faults_install();
    const struct CMUnitTest tests[] = { cmocka_unit_test(allocations), cmocka_unit_test(calls) };
    return cmocka_run_group_tests_name("torture", tests, setup, teardown);
}
