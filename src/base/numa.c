/* numa.c - see numa.h. Owns nothing. SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* sched_setaffinity, pthread_setaffinity_np, syscall: POSIX knows neither nodes nor processors  \
                     */
#include "base/numa.h"

#include "base/err.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/syscall.h>
#endif

/* Of <linux/mempolicy.h>. One node is preferred, not insisted on: a model that does not fit is slower, not killed. */
enum { POLICY_PREFERRED = 1, POLICY_INTERLEAVE = 3 };

bool gal_numa_narrow(gal_topology *t, gal_numa how) {
    if (t->nodes == 1) return false;
    if (how != GAL_NUMA_ONE) return true;
    const gal_memory_node *best = t->node;
    for (int i = 1; i < t->nodes; i++) {
        const gal_memory_node *n = &t->node[i];
        if (n->cores > best->cores || (n->cores == best->cores && n->free_bytes > best->free_bytes)) best = n;
    }
    const gal_memory_node only = *best;
    t->node[0] = only;
    t->nodes = 1;
    t->usable = only.cpus;
    t->processors = gal_cpus_count(&only.cpus);
    t->cores = only.cores;
    t->threads = GAL_MIN(t->cores, t->quota);
    return true;
}

int gal_numa_node_of(const gal_topology *t, int thread, int threads) {
    int64_t core = (int64_t)thread * t->cores / threads;
    for (int i = 0; i < t->nodes; i++) {
        if (core < t->node[i].cores) return i;
        core -= t->node[i].cores;
    }
    return t->nodes - 1;
}

#if defined(__linux__) && defined(SYS_set_mempolicy) && defined(SYS_get_mempolicy) && defined(SYS_mbind)
static bool get_policy(int *mode, gal_cpus *nodes) {
    return syscall(SYS_get_mempolicy, mode, nodes, (unsigned long)GAL_MAX_CPUS, NULL, 0UL) == 0;
}
static bool set_policy(int mode, const gal_cpus *nodes) {
    return syscall(SYS_set_mempolicy, mode, nodes, (unsigned long)GAL_MAX_CPUS) == 0;
}
void gal_numa_put(void *memory, size_t bytes, int node) {
    const long page = sysconf(_SC_PAGESIZE);
    gal_cpus nodes = { { 0 } };
    if (page <= 0 || node < 0 || node >= GAL_MAX_CPUS) return;
    const size_t size = (size_t)page, skip = (size - (uintptr_t)memory % size) % size;
    if (bytes < skip + size) return;
    gal_cpus_put(&nodes, node);
    (void)syscall(SYS_mbind, (char *)memory + skip, (bytes - skip) / size * size, POLICY_PREFERRED, &nodes,
                  (unsigned long)GAL_MAX_CPUS, 0UL);
}
#else
static bool get_policy(int *mode, gal_cpus *nodes) {
    (void)mode, (void)nodes;
    return false;
}
static bool set_policy(int mode, const gal_cpus *nodes) {
    (void)mode, (void)nodes;
    return false;
}
void gal_numa_put(void *memory, size_t bytes, int node) { (void)memory, (void)bytes, (void)node; }
#endif

void gal_numa_enter(gal_numa_before *before, const gal_topology *t, int threads) {
    gal_cpus nodes = { { 0 } };
    memset(before, 0, sizeof *before);
    for (int i = 0; i < t->nodes; i++)
        if (t->node[i].id < GAL_MAX_CPUS) gal_cpus_put(&nodes, t->node[i].id);
    before->bound = sched_getaffinity(0, sizeof before->cpus, (cpu_set_t *)(void *)&before->cpus) == 0;
    if (before->bound) gal_numa_bind(pthread_self(), &t->node[gal_numa_node_of(t, 0, threads)].cpus);
    before->took = get_policy(&before->mode, &before->nodes) &&
                   set_policy(t->nodes > 1 ? POLICY_INTERLEAVE : POLICY_PREFERRED, &nodes);
}

void gal_numa_leave(const gal_numa_before *before) {
    if (before->took) (void)set_policy(before->mode, &before->nodes);
    if (before->bound) gal_numa_bind(pthread_self(), &before->cpus);
}

void gal_numa_bind(pthread_t thread, const gal_cpus *cpus) {
    (void)pthread_setaffinity_np(thread, sizeof *cpus, (const cpu_set_t *)(const void *)cpus);
}
