/* topology.h - the processors that this process may use, and how many threads are worth starting on them, from the
 * kernel's files below a root (sysfile.h) that tests replace. Never fails: what cannot be read counts as a plain
 * machine, of one node, whose processors are all alike. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_TOPOLOGY_H
#define GAL_BASE_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

enum { GAL_MAX_CPUS = 2048, GAL_MAX_NODES = 32 };

/* A set of processors by the kernel's numbers, in the layout of its masks; larger numbers are left out. */
typedef struct gal_cpus {
    uint64_t bits[GAL_MAX_CPUS / 64];
} gal_cpus;

static inline bool gal_cpus_has(const gal_cpus *s, int cpu) { return s->bits[cpu / 64] >> (cpu % 64) & 1; }
static inline void gal_cpus_put(gal_cpus *s, int cpu) { s->bits[cpu / 64] |= UINT64_C(1) << (cpu % 64); }
int gal_cpus_count(const gal_cpus *s);
/* "0-3,8" as the kernel writes lists, "" for none; false, and *out empty, for anything else. */
bool gal_cpus_parse(gal_cpus *out, const char *text);

/* Memory and the processors that are near to it. */
typedef struct gal_memory_node {
    int id;        /* the kernel's */
    int cores;     /* as gal_topology.cores, of this node */
    gal_cpus cpus; /* usable ones */
    uint64_t free_bytes;
} gal_memory_node;

typedef struct gal_topology {
    gal_cpus usable; /* in this thread's mask, and running */
    int processors;  /* how many those are, at least 1 */
    int quota;       /* processors' worth of time that a container has; INT_MAX: no limit */
    /* Of these: siblings, which share the units that compute, counted once; where there are fast and slow ones, only
     * the fast ones, unless there are none. */
    int cores;
    int threads; /* to begin with: the smaller of cores and quota */
    int nodes;   /* with usable processors and allowed memory; 1 where nothing is known of nodes */
    gal_memory_node node[GAL_MAX_NODES];
} gal_topology;

void gal_topology_read(gal_topology *out, const char *root);

#endif
