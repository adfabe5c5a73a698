/* test_pool.c - the thread pool: every chunk once, jobs in order, the same results for any number of threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/pool.h"
#include "base/util.h"
#include "support/test.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void each_chunk_once(const void *args, int64_t i, void *scratch) {
    atomic_int *const *hits = args;
    memset(scratch, (int)i, 64);
    atomic_fetch_add(&(*hits)[i], 1);
}

static void every_chunk_runs_once(void **state) {
    (void)state;
    static atomic_int hits[1000];
    for (int threads = 1; threads <= 5; threads++) {
        gal_pool *p = NULL;
        assert_int_equal(gal_pool_new(&p, threads, NULL), GAL_OK);
        assert_int_equal(gal_pool_threads(p), threads);
        for (int n = 0; n <= 1000; n = n * 2 + 1) {
            atomic_int *h = hits;
            for (int i = 0; i < 1000; i++) atomic_store(&hits[i], 0);
            gal_pool_run(p, each_chunk_once, &h, n);
            for (int i = 0; i < 1000; i++) assert_int_equal(atomic_load(&hits[i]), i < n);
        }
        gal_pool_free(p);
    }
    gal_pool_free(NULL);
}

/* Partial sums by chunk, added in a fixed order: the bytes must not depend on the threads. */
typedef struct sum {
    const double *x;
    double *part;
    int64_t n, chunk;
} sum;

static void sum_chunk(const void *args, int64_t i, void *scratch) {
    const sum *s = args;
    (void)scratch;
    double total = 0;
    for (int64_t k = i * s->chunk; k < GAL_MIN(s->n, (i + 1) * s->chunk); k++) total += s->x[k];
    s->part[i] = total;
}

static void threads_do_not_change_results(void **state) {
    (void)state;
    enum { N = 100003, CHUNK = 997, PARTS = (N + CHUNK - 1) / CHUNK };
    static double x[N], part[4][PARTS];
    for (int i = 0; i < N; i++) x[i] = sin(i) * pow(10.0, i % 17);
    for (int t = 1; t <= 3; t++) {
        gal_pool *p = NULL;
        assert_int_equal(gal_pool_new(&p, t, NULL), GAL_OK);
        sum s = { x, part[t], N, CHUNK };
        gal_pool_run(p, sum_chunk, &s, PARTS);
        gal_pool_free(p);
        assert_memory_equal(part[1], part[t], sizeof part[1]);
    }
}

/* A chain of jobs over plain memory: job j reads all that job j - 1 wrote, so a barrier that lets one thread pass
 * early, or hides a write, changes the values. */
enum { WIDTH = 24, JOBS = 6000 };
typedef struct link {
    const uint64_t *from;
    uint64_t *to;
    int64_t chunks; /* WIDTH is split into so many */
    int number;
} link;

static int64_t link_chunks(const void *args) { return ((const link *)args)->chunks; }

static void link_run(const void *args, int64_t i, void *scratch) {
    const link *l = args;
    (void)scratch;
    for (int64_t k = i * WIDTH / l->chunks; k < (i + 1) * WIDTH / l->chunks; k++) {
        uint64_t h = (uint64_t)l->number + (uint64_t)k;
        for (int j = 0; j < WIDTH; j++) h = h * 6364136223846793005u + l->from[j];
        l->to[k] = h;
    }
}

static void jobs_of_a_list_run_in_order(void **state) {
    (void)state;
    static link links[JOBS];
    static gal_job jobs[JOBS];
    static uint64_t data[2][WIDTH], want[WIDTH];
    for (int j = 0; j < JOBS; j++) {
        static const int CHUNKS[] = { 24, 1, 2, 3, 1, 1, 8, 5 };
        links[j] = (link){ data[j % 2], data[1 - j % 2], CHUNKS[j % 8], j };
        jobs[j] = (gal_job){ link_run, link_chunks, &links[j] };
    }
    for (int threads = 1; threads <= 4; threads++) {
        gal_pool *p = NULL;
        assert_int_equal(gal_pool_new(&p, threads, NULL), GAL_OK);
        memset(data, 0, sizeof data);
        /* One list, then many short ones, then single runs. */
        gal_pool_run_list(p, jobs, JOBS / 2);
        for (int j = JOBS / 2; j < JOBS - 1000; j += 4) gal_pool_run_list(p, jobs + j, 4);
        for (int j = JOBS - 1000; j < JOBS; j++) gal_pool_run(p, link_run, &links[j], links[j].chunks);
        gal_pool_run_list(p, jobs, 0);
        gal_pool_free(p);
        if (threads == 1) memcpy(want, data[0], sizeof want);
        assert_memory_equal(want, data[0], sizeof want);
    }
}

/* A count that an earlier job of the same list writes. */
static int64_t late_count(const void *args) { return **(int64_t *const *)args; }
static void set_count(const void *args, int64_t i, void *scratch) {
    (void)i, (void)scratch;
    **(int64_t *const *)args = 7;
}
static atomic_int late_runs;
static void count_run(const void *args, int64_t i, void *scratch) {
    (void)args, (void)i, (void)scratch;
    atomic_fetch_add(&late_runs, 1);
}
static int64_t one_chunk(const void *args) {
    (void)args;
    return 1;
}

static void counts_are_asked_when_reached(void **state) {
    (void)state;
    int64_t n = 0, *at = &n;
    const gal_job jobs[] = { { count_run, late_count, &at },
                             { set_count, one_chunk, &at },
                             { count_run, late_count, &at } };
    for (int threads = 1; threads <= 3; threads++) {
        gal_pool *p = NULL;
        assert_int_equal(gal_pool_new(&p, threads, NULL), GAL_OK);
        n = 0;
        atomic_store(&late_runs, 0);
        gal_pool_run_list(p, jobs, 3);
        assert_int_equal(atomic_load(&late_runs), 7);
        gal_pool_free(p);
    }
}

/* A worker that is taken off its processor while it owns nothing: a handler keeps it until it is let go. */
static pthread_t helper;
static atomic_bool held, let_go;

static void nap(long us) { (void)nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL); }

static void hold(int number) {
    (void)number;
    atomic_store(&held, true);
    for (int i = 0; i < 10000 && !atomic_load(&let_go); i++) nap(1000);
}

static atomic_int arrivals;
static void meet_run(const void *args, int64_t i, void *scratch) {
    (void)scratch, (void)i;
    /* Each of two threads takes one chunk and waits for the other. */
    if (!pthread_equal(pthread_self(), *(const pthread_t *)args)) helper = pthread_self();
    atomic_fetch_add(&arrivals, 1);
    while (atomic_load(&arrivals) < 2) nap(100);
}

static void nobody_waits_for_an_absent_thread(void **state) {
    (void)state;
    gal_pool *p = NULL;
    pthread_t self = pthread_self();
    struct sigaction how = { .sa_handler = hold }, before;
    assert_int_equal(gal_pool_new(&p, 2, NULL), GAL_OK);
    gal_pool_run(p, meet_run, &self, 2);
    assert_int_equal(sigaction(SIGFPE, &how, &before), 0); /* one that workers do not block */
    assert_int_equal(pthread_kill(helper, SIGFPE), 0);
    while (!atomic_load(&held)) nap(100);
    static atomic_int hits[1000];
    atomic_int *h = hits;
    for (int round = 1; round <= 3; round++) {
        gal_pool_run(p, each_chunk_once, &h, 1000);
        for (int i = 0; i < 1000; i++) assert_int_equal(atomic_load(&hits[i]), round);
    }
    assert_false(atomic_load(&let_go));
    atomic_store(&let_go, true);
    for (int i = 0; i < 100; i++) gal_pool_run(p, each_chunk_once, &h, 1000); /* it comes back into whatever runs */
    for (int i = 0; i < 1000; i++) assert_int_equal(atomic_load(&hits[i]), 103);
    gal_pool_free(p);
    assert_int_equal(sigaction(SIGFPE, &before, NULL), 0);
}

/* Fast and slow processors: one of four threads needs ten times as long for a chunk. */
enum { UNEVEN = 60, CHUNK_US = 2000, SLOWER = 10 };
static void *_Atomic slow_one;
static void uneven_run(const void *args, int64_t i, void *scratch) {
    (void)args, (void)i;
    void *none = NULL;
    bool slow = atomic_compare_exchange_strong(&slow_one, &none, scratch) || none == scratch;
    for (int k = 0; k < (slow ? SLOWER : 1); k++) nap(CHUNK_US);
}

static void a_slow_thread_gets_less_to_do(void **state) {
    (void)state;
    gal_pool *p = NULL;
    gal_busy busy[4];
    assert_int_equal(gal_pool_new(&p, 4, NULL), GAL_OK);
    /* Dealt out evenly the slow one's 15 chunks would last 150 times a chunk; taken as they come, all end after about
     * 60 / 3.1 = 20, and a slow chunk may end last: 30. Other work on the machine may disturb a round. */
    bool good = false;
    for (int round = 0; round < 10 && !good; round++) {
        atomic_store(&slow_one, NULL);
        double begin = gal_now_s();
        gal_pool_run_timed(p, uneven_run, NULL, UNEVEN, busy);
        double took = gal_now_s() - begin;
        int64_t all = 0, least = UNEVEN;
        for (int t = 0; t < 4; t++) {
            all += busy[t].chunks;
            least = GAL_MIN(least, busy[t].chunks);
        }
        assert_int_equal(all, UNEVEN);
        good = least <= 5 && took < 75e-6 * CHUNK_US;
    }
    assert_true(good);
    gal_pool_free(p);
}

static void jobs_of_one_chunk_are_not_handed_out(void **state) {
    (void)state;
    static link links[6];
    static uint64_t data[2][WIDTH];
    gal_job jobs[6];
    static const int CHUNKS[] = { 1, 4, 1, 1, 2, 1 };
    for (int j = 0; j < 6; j++) {
        links[j] = (link){ data[j % 2], data[1 - j % 2], CHUNKS[j], j };
        jobs[j] = (gal_job){ link_run, link_chunks, &links[j] };
    }
    gal_pool *p = NULL;
    assert_int_equal(gal_pool_new(&p, 3, NULL), GAL_OK);
    uint32_t before = gal_pool_handed_out(p);
    gal_pool_run_list(p, jobs, 6);
    assert_int_equal(gal_pool_handed_out(p) - before, 2);
    gal_pool_run(p, link_run, &links[0], 1);
    assert_int_equal(gal_pool_handed_out(p) - before, 2);
    gal_pool_run(p, link_run, &links[1], 4);
    assert_int_equal(gal_pool_handed_out(p) - before, 3);
    gal_pool_free(p);
}

/* Threads that fell asleep between lists, and more of them than processors. */
static void sleepers_come_back(void **state) {
    (void)state;
    static atomic_int hits[1000];
    atomic_int *h = hits;
    for (int i = 0; i < 1000; i++) atomic_store(&hits[i], 0);
    gal_pool *p = NULL;
    assert_int_equal(gal_pool_new(&p, 16, NULL), GAL_OK);
    for (int round = 1; round <= 200; round++) {
        if (round % 4 == 0) nap(1000);
        gal_pool_run(p, each_chunk_once, &h, round % 3 ? 1000 : 3);
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(atomic_load(&hits[i]), i < 3 ? 200 : 134);
    gal_pool_free(p);
}

/* The end comes while threads are looking for work, asleep, or on their way to either. */
static void pools_end(void **state) {
    (void)state;
    static atomic_int hits[1000];
    atomic_int *h = hits;
    for (int i = 0; i < 2000; i++) {
        gal_pool *p = NULL;
        assert_int_equal(gal_pool_new(&p, 2 + i % 3, NULL), GAL_OK);
        for (int k = 0; k < i % 4; k++) gal_pool_run(p, each_chunk_once, &h, 3);
        if (i % 16 == 0) nap(300);
        gal_pool_free(p);
    }
}

static void *fail_after(void *user, void *ptr, size_t old_bytes, size_t bytes) {
    int *left = user;
    (void)old_bytes;
    if (bytes == 0) {
        free(ptr);
        return NULL;
    }
    return (*left)-- > 0 ? realloc(ptr, bytes) : NULL;
}

static void no_memory_is_reported(void **state) {
    (void)state;
    bool made = false;
    for (int k = 0; !made; k++) {
        int left = k;
        gal_pool *p = NULL;
        gal_diag diag = { GAL_OK, "" };
        gal_set_alloc_hook(fail_after, &left);
        gal_err err = gal_pool_new(&p, 3, &diag);
        made = err == GAL_OK;
        if (!made) {
            assert_int_equal(err, GAL_ENOMEM);
            assert_null(p);
            assert_true(diag.text[0] != 0);
        }
        gal_pool_free(p);
        gal_set_alloc_hook(NULL, NULL);
        assert_true(k < 10);
    }
    assert_int_equal(gal_pool_new(&(gal_pool *){ NULL }, -1, NULL), GAL_EUSAGE);
    gal_pool *p = NULL;
    assert_int_equal(gal_pool_new(&p, 0, NULL), GAL_OK);
    assert_true(gal_pool_threads(p) >= 1);
    gal_pool_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_chunk_runs_once),
        cmocka_unit_test(threads_do_not_change_results),
        cmocka_unit_test(jobs_of_a_list_run_in_order),
        cmocka_unit_test(counts_are_asked_when_reached),
        cmocka_unit_test(nobody_waits_for_an_absent_thread),
        cmocka_unit_test(a_slow_thread_gets_less_to_do),
        cmocka_unit_test(jobs_of_one_chunk_are_not_handed_out),
        cmocka_unit_test(sleepers_come_back),
        cmocka_unit_test(pools_end),
        cmocka_unit_test(no_memory_is_reported),
    };
    return cmocka_run_group_tests_name("base/pool", tests, NULL, NULL);
}
