/* pool.c - see pool.h. Owns the threads; refuses to give any meaning to which thread runs which chunk.
 *
 * One protocol for everything. `phase` counts jobs that were handed to the threads. A worker waits until phase is
 * no longer what it saw last, takes chunks from `next` until there are none, and arrives. Whoever arrives last goes
 * on alone (advance): it runs jobs of a single chunk by itself, then hands out the next larger job by raising phase,
 * or sets `done`.
 *
 * Invariant: run, args, chunks and the list change only while every other thread has arrived and waits for the next
 * phase. So phase cannot move twice past a slow thread, and plain fields need no lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"

#include "base/cgroup.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/util.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

/* A pause is 40 to 140 cycles: idle threads give up after about 0.1 ms, the gap between two ops of a small model.
 * Threads that wait for each other inside a run yield instead, because processors may be shared with others. */
enum { SPINS_IDLE = 3000, SPINS_BUSY = 1000 };

typedef struct worker {
    gal_pool *pool;
    pthread_t thread;
    void *scratch;
} worker;

struct gal_pool {
    int threads; /* with the caller, whose scratch is worker[0]'s */
    /* What is being run; see the invariant. */
    gal_chunk_fn run;
    const void *args;
    int64_t chunks;
    const gal_job *job, *job_end;
    /* Each on its own cache line: all threads write next and arrived, all read phase. */
    _Alignas(64) _Atomic int64_t next;
    _Alignas(64) atomic_int arrived;
    _Alignas(64) _Atomic uint64_t phase;
    atomic_bool done, busy, stop;
    atomic_int sleepers;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    worker worker[];
};

static void pause_cpu(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void hand_out(gal_pool *p) {
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
    /* Sequentially consistent with sleepers, here and in wait_for_work: either this thread sees the sleeper or the
     * sleeper sees the new phase. */
    atomic_fetch_add(&p->phase, 1);
    if (atomic_load(&p->sleepers) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
}

/* Goes on with the list while every other thread waits. */
static void advance(gal_pool *p, void *scratch) {
    while (p->job < p->job_end) {
        const gal_job *j = p->job++;
        int64_t n = j->chunks(j->args);
        if (n == 1) j->run(j->args, 0, scratch);
        if (n <= 1) continue;
        p->run = j->run;
        p->args = j->args;
        p->chunks = n;
        hand_out(p);
        return;
    }
    atomic_store_explicit(&p->busy, false, memory_order_relaxed);
    atomic_store_explicit(&p->done, true, memory_order_release);
}

/* Takes part in the job at hand and arrives. */
static void take_part(gal_pool *p, void *scratch) {
    for (;;) {
        int64_t i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (i >= p->chunks) break;
        p->run(p->args, i, scratch);
    }
    if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) == p->threads - 1) advance(p, scratch);
}

static void wait_for_work(gal_pool *p, uint64_t seen) {
    for (int spins = 0;; spins++) {
        if (atomic_load_explicit(&p->phase, memory_order_acquire) != seen) return;
        bool busy = atomic_load_explicit(&p->busy, memory_order_relaxed);
        if (busy && spins >= SPINS_BUSY) {
            (void)sched_yield();
            spins = SPINS_BUSY;
        } else if (spins >= SPINS_IDLE) {
            break;
        } else {
            pause_cpu();
        }
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->phase) == seen) pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void *work(void *arg) {
    const worker *w = arg;
    gal_pool *p = w->pool;
    for (uint64_t seen = 0;; seen++) {
        wait_for_work(p, seen);
        if (atomic_load_explicit(&p->stop, memory_order_relaxed)) return NULL;
        take_part(p, w->scratch);
    }
}

void gal_pool_run_list(gal_pool *p, const gal_job *jobs, size_t count) {
    void *scratch = p->worker[0].scratch;
    if (count == 0) return;
    if (p->threads == 1) {
        for (size_t j = 0; j < count; j++) {
            int64_t n = jobs[j].chunks(jobs[j].args);
            for (int64_t i = 0; i < n; i++) jobs[j].run(jobs[j].args, i, scratch);
        }
        return;
    }
    GAL_ASSERT(!atomic_load_explicit(&p->busy, memory_order_relaxed)); /* one job at a time */
    p->job = jobs;
    p->job_end = jobs + count;
    atomic_store_explicit(&p->done, false, memory_order_relaxed);
    atomic_store_explicit(&p->busy, true, memory_order_relaxed);
    uint64_t seen = atomic_load_explicit(&p->phase, memory_order_relaxed);
    advance(p, scratch);
    for (int spins = 0;;) {
        /* done first: once it is set, phase cannot move before this thread starts another run. */
        if (atomic_load_explicit(&p->done, memory_order_acquire)) return;
        if (atomic_load_explicit(&p->phase, memory_order_acquire) != seen) {
            seen++;
            take_part(p, scratch);
            spins = 0;
        } else if (spins < SPINS_BUSY) {
            spins++;
            pause_cpu();
        } else {
            (void)sched_yield();
        }
    }
}

/* gal_pool_run is a list of one job, whose count is known already. */
typedef struct single {
    gal_chunk_fn run;
    const void *args;
    int64_t chunks;
} single;

static int64_t single_chunks(const void *args) { return ((const single *)args)->chunks; }

static void single_run(const void *args, int64_t chunk, void *scratch) {
    const single *s = args;
    s->run(s->args, chunk, scratch);
}

void gal_pool_run(gal_pool *p, gal_chunk_fn run, const void *args, int64_t chunks) {
    if (p->threads == 1 || chunks <= 1) {
        for (int64_t i = 0; i < chunks; i++) run(args, i, p->worker[0].scratch);
        return;
    }
    const single s = { run, args, chunks };
    const gal_job job = { single_run, single_chunks, &s };
    gal_pool_run_list(p, &job, 1);
}

typedef struct timed {
    const gal_pool *pool;
    gal_chunk_fn run;
    const void *args;
    gal_busy *busy;
} timed;

static void timed_run(const void *args, int64_t chunk, void *scratch) {
    const timed *t = args;
    gal_busy *b = t->busy;
    for (int i = 0; t->pool->worker[i].scratch != scratch; i++) b++;
    double begin = gal_now_s();
    t->run(t->args, chunk, scratch);
    b->end_s = gal_now_s();
    if (b->chunks++ == 0) b->begin_s = begin;
    b->busy_s += b->end_s - begin;
}

void gal_pool_run_timed(gal_pool *p, gal_chunk_fn run, const void *args, int64_t chunks, gal_busy *busy) {
    const timed t = { p, run, args, busy };
    memset(busy, 0, (size_t)p->threads * sizeof *busy);
    gal_pool_run(p, timed_run, &t, chunks);
}

int gal_pool_threads(const gal_pool *p) { return p->threads; }

/* Ends the first `started` threads (the caller's own among them) and frees everything. */
static void tear_down(gal_pool *p, int started) {
    atomic_store_explicit(&p->stop, true, memory_order_relaxed);
    hand_out(p);
    for (int i = 1; i < started; i++) (void)pthread_join(p->worker[i].thread, NULL);
    for (int i = 0; i < p->threads; i++) gal_free(p->worker[i].scratch);
    (void)pthread_cond_destroy(&p->wake);
    (void)pthread_mutex_destroy(&p->lock);
    gal_free(p);
}

void gal_pool_free(gal_pool *p) {
    if (p) tear_down(p, p->threads);
}

/* Starts the workers with every signal blocked that comes from outside: those belong to the caller's thread. What an
 * instruction raises is its own thread's, and blocked it would end the process past any handler. Returns how many
 * threads there are, the caller's included. */
static int start_workers(gal_pool *p, int *why) {
    sigset_t all, before;
    static const int OWN[] = { SIGBUS, SIGSEGV, SIGFPE, SIGILL };
    (void)sigfillset(&all);
    for (size_t i = 0; i < GAL_LEN(OWN); i++) (void)sigdelset(&all, OWN[i]);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int started = 1;
    for (; started < p->threads; started++) {
        worker *w = &p->worker[started];
        *why = gal_fault(GAL_FAULT_THREAD) ? errno : pthread_create(&w->thread, NULL, work, w);
        if (*why) break;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

gal_err gal_pool_new(gal_pool **out, int threads, gal_diag *diag) {
    if (threads < 0 || threads > GAL_MAX_THREADS)
        return gal_fail(diag, GAL_EUSAGE, "threads: expected 0 to %d, found %d", GAL_MAX_THREADS, threads);
    if (threads == 0) threads = GAL_MIN(gal__processors(), GAL_MAX_THREADS);
    gal_pool *p = gal_alloc(sizeof *p + (size_t)threads * sizeof(worker));
    if (!p) return gal_fail(diag, GAL_ENOMEM, "no memory for a pool of %d threads", threads);
    p->threads = threads;
    if (pthread_mutex_init(&p->lock, NULL) != 0) {
        gal_free(p);
        return gal_fail(diag, GAL_ENOMEM, "no memory for a pool of %d threads", threads);
    }
    if (pthread_cond_init(&p->wake, NULL) != 0) {
        (void)pthread_mutex_destroy(&p->lock);
        gal_free(p);
        return gal_fail(diag, GAL_ENOMEM, "no memory for a pool of %d threads", threads);
    }
    for (int i = 0; i < threads; i++) {
        worker *w = &p->worker[i];
        w->pool = p;
        w->scratch = gal_alloc(GAL_SCRATCH_BYTES);
        if (!w->scratch) {
            tear_down(p, 1);
            return gal_fail(diag, GAL_ENOMEM, "no memory for the scratch of %d threads, %d bytes each", threads,
                            (int)GAL_SCRATCH_BYTES);
        }
    }
    int why = 0, started = start_workers(p, &why);
    if (started < threads) {
        tear_down(p, started);
        return gal_fail(diag, GAL_ENOMEM, "cannot start thread %d of %d: %s", started + 1, threads, strerror(why));
    }
    *out = p;
    return GAL_OK;
}
