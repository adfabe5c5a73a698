/* pool.h - a fixed set of threads that run the chunks of a job. The caller's thread is one of them.
 *
 * A job is `chunks` independent calls; which thread runs which chunk is not defined, so a chunk must not depend on
 * it: all results are a function of the chunk's number. Each thread owns a scratch buffer.
 * One job at a time; one thread may submit. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_POOL_H
#define GAL_BASE_POOL_H

#include "base/err.h"
#include "base/topology.h"

typedef struct gal_pool gal_pool;

/* scratch: the running thread's buffer of GAL_SCRATCH_BYTES, 64-byte aligned, contents undefined. */
typedef void (*gal_chunk_fn)(const void *args, int64_t chunk, void *scratch);

enum { GAL_SCRATCH_BYTES = 4 << 20, GAL_MAX_THREADS = 1024 };

/* Which of several copies of something lies near the thread: behind its scratch, in pools that have mirrors. Nobody
 * else may ask. */
static inline int gal_scratch_mirror(const void *scratch) {
    return *(const int *)(const void *)((const char *)scratch + GAL_SCRATCH_BYTES);
}

/* One entry of a list of jobs that the threads walk together. */
typedef struct gal_job {
    gal_chunk_fn run;
    int64_t (*chunks)(const void *args); /* how many pieces; asked when the job is reached */
    const void *args;
} gal_job;

/* What one thread did of a job: how many chunks, from when to when, and how long inside of them. Times are
 * gal_now_s()'s. */
typedef struct gal_busy {
    _Alignas(64) int64_t chunks; /* 0: the rest means nothing */
    double begin_s, end_s, busy_s;
} gal_busy;

/* On the machine, as GAL_NUMA_AUTO says (numa.h). threads 0: gal_topology.threads. On GAL_ENOMEM nothing is held. */
gal_err gal_pool_new(gal_pool **out, int threads, gal_diag *diag);
/* On this topology. placed: each thread is bound to a node of it, the caller's until it frees the pool, and memory
 * that they ask for comes from these nodes. */
gal_err gal_pool_new_on(gal_pool **out, int threads, const gal_topology *t, bool placed, gal_diag *diag);
/* From now on each thread has a copy of its node's of what is there several times; one that was placed alone. */
void gal_pool_mirror(gal_pool *p);
/* How many copies, 1 unless there is more than one node with threads; and the kernel's number of the i-th's node. */
int gal_pool_mirrors(const gal_pool *p);
int gal_pool_mirror_node(const gal_pool *p, int i);
void gal_pool_free(gal_pool *p);
int gal_pool_threads(const gal_pool *p);
/* Returns when all chunks are done. */
void gal_pool_run(gal_pool *p, gal_chunk_fn run, const void *args, int64_t chunks);
/* The same, and what each of the pool's threads did of it into busy[gal_pool_threads(p)]. */
void gal_pool_run_timed(gal_pool *p, gal_chunk_fn run, const void *args, int64_t chunks, gal_busy *busy);
/* Runs the jobs in order, each after the one before it is whole, with one wake-up of the threads. */
void gal_pool_run_list(gal_pool *p, const gal_job *jobs, size_t count);
/* Jobs of more than one chunk so far, each of which is a barrier: all later jobs wait for it. Modulo 2^32; for tests
 * and measurements, asked by the thread that submits. */
uint32_t gal_pool_handed_out(const gal_pool *p);

#endif
