/* pool.c - see pool.h. Owns the threads; refuses to give any meaning to which thread runs which chunk.
 *
 * One protocol for everything. `ticket` is the number of the job at hand and its next chunk in one word: whoever adds
 * 1 to it and finds that chunk below the job's size owns the chunk. A job is over when its chunks are, whoever did
 * them. The thread that ends the last one goes on alone (advance): it runs jobs of a single chunk by itself, then
 * hands out the next larger job under the next number, or sets `done`.
 *
 * So nobody waits for a thread that owns no chunk: one that sleeps, wakes up late, or was taken off its processor by
 * the kernel finds the job of the moment when it comes back, whichever that is.
 *
 * Invariant: run, args and the list change only while no chunk of the job at hand is owned or left to own, and only
 * the owner of a chunk, or who advances, reads them. `size` repeats the job's number, so that a ticket of an earlier
 * job is never taken for a chunk of a later one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"

#include "base/fault.h"
#include "base/mem.h"
#include "base/numa.h"
#include "base/sigmask.h"
#include "base/util.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* How long a thread looks for work before it sleeps: longer than the gap between two ops of a small model, and than a
 * chunk of decoding; waking up costs about as much. Where there are more threads than processors, whoever spins keeps
 * the one off that is waited for. */
#define SPIN_S 100e-6
#define SPIN_CROWDED_S 5e-6
enum { SPINS_A_LOOK = 16 }; /* between two looks at the clock */

typedef struct worker {
    gal_pool *pool;
    pthread_t thread;
    void *scratch;
    int node;      /* of gal_pool.node_id */
    uint32_t seen; /* the last job in which nothing was left to take */
} worker;

struct gal_pool {
    int threads; /* with the caller, which is worker[0] */
    int started; /* fewer if a pool could not be made whole */
    double spin_s;
    /* What is being run; see the invariant. */
    gal_chunk_fn run;
    const void *args;
    const gal_job *job, *job_end;
    bool busy;                  /* the caller's alone: a list is being run */
    gal_numa_before *before;    /* of the thread that made the pool; NULL: nothing was placed */
    int mirrors;                /* copies of what each node has its own of */
    int node_id[GAL_MAX_NODES]; /* [nodes] the kernel's numbers; nodes: where threads are, in their order */
    int nodes;
    pthread_t maker;
    /* Each on its own cache line: all threads write ticket and left, all read ticket. */
    _Alignas(64) _Atomic uint64_t ticket; /* job << 32 | next chunk */
    _Alignas(64) _Atomic uint64_t size;   /* job << 32 | chunks */
    _Alignas(64) _Atomic int64_t left;    /* chunks that are not done */
    _Alignas(64) atomic_bool done, stop;
    atomic_bool caller_sleeps;
    atomic_int sleepers; /* without the caller */
    pthread_mutex_t lock;
    pthread_cond_t wake, over; /* of the workers, of the caller */
    worker worker[];
};

static void pause_cpu(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint32_t job_now(const gal_pool *p) { return (uint32_t)(atomic_load(&p->ticket) >> 32); }

/* Wakes as many as n chunks are worth. Sequentially consistent with what sleepers do: either this thread sees the
 * sleeper, or the sleeper sees what was written before. */
static void wake_for(gal_pool *p, int64_t n) {
    int asleep = atomic_load(&p->sleepers);
    int64_t need = n - (p->threads - asleep); /* those who are awake take one each */
    bool caller = atomic_load(&p->caller_sleeps);
    if (!caller && (!asleep || need <= 0)) return;
    pthread_mutex_lock(&p->lock);
    if (caller) pthread_cond_signal(&p->over);
    if (need >= asleep)
        pthread_cond_broadcast(&p->wake);
    else
        for (int64_t i = 0; i < need; i++) pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

static void hand_out(gal_pool *p, int64_t n) {
    GAL_ASSERT(n <= INT32_MAX);
    const uint64_t job = (uint64_t)(job_now(p) + 1) << 32;
    atomic_store_explicit(&p->left, n, memory_order_relaxed);
    atomic_store_explicit(&p->size, job | (uint64_t)n, memory_order_relaxed);
    atomic_store(&p->ticket, job);
    wake_for(p, n);
}

/* Goes on with the list while no chunk is owned. */
static void advance(gal_pool *p, void *scratch) {
    while (p->job < p->job_end) {
        const gal_job *j = p->job++;
        int64_t n = j->chunks(j->args);
        if (n == 1) j->run(j->args, 0, scratch);
        if (n <= 1) continue;
        p->run = j->run;
        p->args = j->args;
        hand_out(p, n);
        return;
    }
    atomic_store(&p->done, true);
    wake_for(p, 0);
}

/* Takes chunks until there are none to take. */
static void take_part(gal_pool *p, worker *w) {
    int64_t did = 0;
    for (;;) {
        const uint64_t ticket = atomic_fetch_add_explicit(&p->ticket, 1, memory_order_acquire);
        const uint64_t size = atomic_load_explicit(&p->size, memory_order_relaxed);
        const uint32_t job = (uint32_t)(ticket >> 32), chunk = (uint32_t)ticket;
        if (job == (uint32_t)(size >> 32) && chunk < (uint32_t)size) {
            p->run(p->args, chunk, w->scratch);
            did++;
            continue;
        }
        w->seen = job;
        if (!did || atomic_fetch_sub_explicit(&p->left, did, memory_order_acq_rel) != did) return;
        did = 0;
        advance(p, w->scratch);
    }
}

/* Something is there to be done; or, for the caller, all is; or, for a worker, no more will come: it may have seen
 * the last ticket already. */
static bool may_go(const gal_pool *p, const worker *w) {
    return job_now(p) != w->seen || atomic_load(w == p->worker ? &p->done : &p->stop);
}

static void wait_for_work(gal_pool *p, const worker *w) {
    const double begin_s = gal_now_s();
    do {
        for (int i = 0; i < SPINS_A_LOOK; i++) {
            if (may_go(p, w)) return;
            pause_cpu();
        }
    } while (gal_now_s() - begin_s < p->spin_s);
    pthread_mutex_lock(&p->lock);
    if (w == p->worker) {
        atomic_store(&p->caller_sleeps, true);
        while (!may_go(p, w)) pthread_cond_wait(&p->over, &p->lock);
        atomic_store(&p->caller_sleeps, false);
    } else {
        atomic_fetch_add(&p->sleepers, 1);
        while (!may_go(p, w)) pthread_cond_wait(&p->wake, &p->lock);
        atomic_fetch_sub(&p->sleepers, 1);
    }
    pthread_mutex_unlock(&p->lock);
}

static void *work(void *arg) {
    worker *w = arg;
    gal_pool *p = w->pool;
    for (;;) {
        wait_for_work(p, w);
        if (atomic_load_explicit(&p->stop, memory_order_relaxed)) return NULL;
        take_part(p, w);
    }
}

void gal_pool_run_list(gal_pool *p, const gal_job *jobs, size_t count) {
    worker *w = p->worker;
    if (count == 0) return;
    if (p->threads == 1) {
        for (size_t j = 0; j < count; j++) {
            int64_t n = jobs[j].chunks(jobs[j].args);
            for (int64_t i = 0; i < n; i++) jobs[j].run(jobs[j].args, i, w->scratch);
        }
        return;
    }
    GAL_ASSERT(!p->busy); /* one list at a time */
    p->busy = true;
    p->job = jobs;
    p->job_end = jobs + count;
    atomic_store_explicit(&p->done, false, memory_order_relaxed);
    advance(p, w->scratch);
    /* Once done is set, no other thread hands anything out. */
    while (!atomic_load(&p->done)) {
        take_part(p, w);
        if (!atomic_load(&p->done)) wait_for_work(p, w);
    }
    p->busy = false;
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

uint32_t gal_pool_handed_out(const gal_pool *p) { return job_now(p); }

/* The lock and the conditions, of which the first `made` exist. */
static void end_locks(gal_pool *p, int made) {
    if (made > 2) (void)pthread_cond_destroy(&p->over);
    if (made > 1) (void)pthread_cond_destroy(&p->wake);
    if (made > 0) (void)pthread_mutex_destroy(&p->lock);
}

static bool make_locks(gal_pool *p) {
    int made = 0;
    if (pthread_mutex_init(&p->lock, NULL) == 0) made = 1;
    if (made == 1 && pthread_cond_init(&p->wake, NULL) == 0) made = 2;
    if (made == 2 && pthread_cond_init(&p->over, NULL) == 0) made = 3;
    if (made < 3) end_locks(p, made);
    return made == 3;
}

void gal_pool_free(gal_pool *p) {
    if (!p) return;
    atomic_store_explicit(&p->stop, true, memory_order_relaxed);
    hand_out(p, 0);
    wake_for(p, p->threads); /* all of them */
    for (int i = 1; i < p->started; i++) (void)pthread_join(p->worker[i].thread, NULL);
    for (int i = 0; i < p->threads; i++) gal_free(p->worker[i].scratch);
    if (p->before && pthread_equal(p->maker, pthread_self())) gal_numa_leave(p->before);
    gal_free(p->before);
    end_locks(p, 3);
    gal_free(p);
}

/* Starts the workers; signals from outside are the caller's thread's. Returns how many threads there are, the
 * caller's included. */
static int start_workers(gal_pool *p, int *why) {
    sigset_t before;
    gal_sigmask_hold(&before);
    int started = 1;
    for (; started < p->threads; started++) {
        worker *w = &p->worker[started];
        *why = gal_fault(GAL_FAULT_THREAD) ? errno : pthread_create(&w->thread, NULL, work, w);
        if (*why) break;
    }
    gal_sigmask_back(&before);
    return started;
}

/* Nodes in the order of their threads, which is that of the topology; one without a thread has no copy of anything.
 */
static void place(gal_pool *p, const gal_topology *t, int started) {
    int last = -1;
    for (int i = 0; p->before && i < started; i++) {
        const int node = gal_numa_node_of(t, i, p->threads);
        if (i > 0) gal_numa_bind(p->worker[i].thread, &t->node[node].cpus);
        if (node != last) p->node_id[p->nodes++] = t->node[node].id;
        last = node;
        p->worker[i].node = p->nodes - 1;
    }
}

void gal_pool_mirror(gal_pool *p) {
    if (p->nodes < 2) return;
    p->mirrors = p->nodes;
    for (int i = 0; i < p->threads; i++)
        *(int *)(void *)((char *)p->worker[i].scratch + GAL_SCRATCH_BYTES) = p->worker[i].node;
}

int gal_pool_mirrors(const gal_pool *p) { return p->mirrors; }

int gal_pool_mirror_node(const gal_pool *p, int i) {
    GAL_ASSERT(i >= 0 && i < p->nodes);
    return p->node_id[i];
}

static gal_err make(gal_pool *p, const gal_topology *t, bool placed, gal_diag *diag) {
    if (placed) {
        p->before = gal_alloc(sizeof *p->before);
        if (!p->before) return gal_fail(diag, GAL_ENOMEM, "no memory for a pool of %d threads", p->threads);
        p->maker = pthread_self();
        gal_numa_enter(p->before, t, p->threads);
    }
    for (int i = 0; i < p->threads; i++) {
        worker *w = &p->worker[i];
        w->pool = p;
        w->scratch = gal_alloc(GAL_SCRATCH_BYTES + sizeof(int));
        if (!w->scratch)
            return gal_fail(diag, GAL_ENOMEM, "no memory for the scratch of %d threads, %d bytes each", p->threads,
                            (int)GAL_SCRATCH_BYTES);
    }
    int why = 0;
    p->started = start_workers(p, &why);
    place(p, t, p->started);
    if (p->started < p->threads)
        return gal_fail(diag, GAL_ENOMEM, "cannot start thread %d of %d: %s", p->started + 1, p->threads,
                        strerror(why));
    return GAL_OK;
}

gal_err gal_pool_new_on(gal_pool **out, int threads, const gal_topology *t, bool placed, gal_diag *diag) {
    if (threads < 0 || threads > GAL_MAX_THREADS)
        return gal_fail(diag, GAL_EUSAGE, "threads: expected 0 to %d, found %d", GAL_MAX_THREADS, threads);
    if (threads == 0) threads = GAL_MIN(t->threads, GAL_MAX_THREADS);
    gal_pool *p = gal_alloc(sizeof *p + (size_t)threads * sizeof(worker));
    if (!p) return gal_fail(diag, GAL_ENOMEM, "no memory for a pool of %d threads", threads);
    p->threads = threads;
    p->mirrors = 1;
    p->started = 1;
    p->spin_s = threads > GAL_MIN(t->processors, t->quota) ? SPIN_CROWDED_S : SPIN_S;
    if (!make_locks(p)) {
        gal_free(p);
        return gal_fail(diag, GAL_ENOMEM, "no memory for a pool of %d threads", threads);
    }
    gal_err err = make(p, t, placed, diag);
    if (err)
        gal_pool_free(p);
    else
        *out = p;
    return err;
}

gal_err gal_pool_new(gal_pool **out, int threads, gal_diag *diag) {
    gal_topology t;
    gal_topology_read(&t, "");
    return gal_pool_new_on(out, threads, &t, threads != 1 && gal_numa_narrow(&t, GAL_NUMA_AUTO), diag);
}
