/* numa.h - threads and memory on machines whose memory is in several nodes, by the kernel's calls, without a library.
 * Everything here is a hint: what the kernel refuses is left as it was. Linux only; elsewhere nothing happens.
 *
 * The calling thread is bound too, because it computes as the others do, and what it asks memory for is used by all.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_NUMA_H
#define GAL_BASE_NUMA_H

#include <pthread.h>

#include "base/topology.h"

typedef enum gal_numa {
    GAL_NUMA_AUTO,  /* of several nodes: threads spread over them, memory taken from all in turn */
    GAL_NUMA_ONE,   /* threads on one node, memory from it while it has any */
    GAL_NUMA_MIRROR /* as AUTO, and packed weights are there once for each node (gal_pool_mirrors()) */
} gal_numa;

/* What becomes of a topology: ONE leaves a single node of it, with the most cores and, of equals, the most free
 * memory; then its cores are all there are. True: threads and memory are to be placed, so there are several nodes, or
 * there were. */
bool gal_numa_narrow(gal_topology *t, gal_numa how);
/* Index of the node that a thread runs on: each node has its part of the threads, by its cores, neighbours together.
 */
int gal_numa_node_of(const gal_topology *t, int thread, int threads);

/* What the calling thread had. */
typedef struct gal_numa_before {
    bool bound, took;
    gal_cpus cpus, nodes;
    int mode;
} gal_numa_before;

/* Binds the calling thread, of number 0 of so many, and sets where memory that it asks for comes from; threads that
 * it starts inherit that. */
void gal_numa_enter(gal_numa_before *before, const gal_topology *t, int threads);
void gal_numa_leave(const gal_numa_before *before); /* the same thread */
void gal_numa_bind(pthread_t thread, const gal_cpus *cpus);
/* The whole pages of memory that nobody wrote to yet shall come from a node of the kernel's number. */
void gal_numa_put(void *memory, size_t bytes, int node);

#endif
