/* topology.c - see topology.h. Owns nothing; trusts no file: a list that is no list, or a number that is none, is as
 * absent. SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* sched_getaffinity: POSIX has no call for the processors of a thread */
#include "base/topology.h"

#include "base/cgroup.h"
#include "base/sysfile.h"

#include <limits.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

int gal_cpus_count(const gal_cpus *s) {
    int n = 0;
    for (int i = 0; i < GAL_MAX_CPUS; i++) n += gal_cpus_has(s, i);
    return n;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* A number of at most six digits; NULL: there is none. */
static const char *number(const char *s, int *out) {
    int n = 0, digits = 0;
    for (; is_digit(*s) && digits < 7; s++, digits++) n = n * 10 + (*s - '0');
    *out = n;
    return digits > 0 && digits < 7 ? s : NULL;
}

static bool parse(gal_cpus *out, const char *s) {
    while (*s && *s != '\n') {
        int from, to;
        s = number(s, &from);
        if (!s) return false;
        to = from;
        if (*s == '-') s = number(s + 1, &to);
        if (!s || to < from || (*s && *s != ',' && *s != '\n')) return false;
        for (int i = from; i <= GAL_MIN(to, GAL_MAX_CPUS - 1); i++) gal_cpus_put(out, i);
        if (*s == ',') s++;
    }
    return true;
}

bool gal_cpus_parse(gal_cpus *out, const char *text) {
    memset(out, 0, sizeof *out);
    if (parse(out, text)) return true;
    memset(out, 0, sizeof *out);
    return false;
}

/* A file that is a list, not empty. */
static bool list_in(gal_cpus *out, const char *root, const char *path) {
    char text[GAL__SYS_TEXT];
    return gal__sys_text(text, root, "%s", path) && gal_cpus_parse(out, text) && gal_cpus_count(out) > 0;
}

/* The line of /proc/.../status that begins with key. */
static bool list_of_status(gal_cpus *out, const char *root, const char *key) {
    char text[GAL__SYS_TEXT];
    if (!gal__sys_text(text, root, "proc/thread-self/status") && !gal__sys_text(text, root, "proc/self/status"))
        return false;
    const char *at = strstr(text, key);
    return at && gal_cpus_parse(out, at + strlen(key) + strspn(at + strlen(key), " \t")) && gal_cpus_count(out) > 0;
}

static void meet(gal_cpus *a, const gal_cpus *b) {
    for (int i = 0; i < GAL_MAX_CPUS / 64; i++) a->bits[i] &= b->bits[i];
}

/* What is in both, unless that is nothing. */
static void prefer(gal_cpus *a, const gal_cpus *b) {
    gal_cpus both = *a;
    meet(&both, b);
    if (gal_cpus_count(&both) > 0) *a = both;
}

static bool own_mask(gal_cpus *out, const char *root) {
    if (*root) return list_of_status(out, root, "\nCpus_allowed_list:");
    memset(out, 0, sizeof *out);
    return sched_getaffinity(0, sizeof *out, (cpu_set_t *)(void *)out) == 0 && gal_cpus_count(out) > 0;
}

static void find_usable(gal_cpus *out, const char *root) {
    gal_cpus online;
    bool known = list_in(&online, root, "sys/devices/system/cpu/online");
    if (own_mask(out, root)) {
        if (known) prefer(out, &online);
        return;
    }
    if (known) {
        *out = online;
        return;
    }
    long n = *root ? 1 : sysconf(_SC_NPROCESSORS_ONLN);
    memset(out, 0, sizeof *out);
    for (int i = 0; i < GAL_MIN(GAL_MAX(n, 1), GAL_MAX_CPUS); i++) gal_cpus_put(out, i);
}

static uint64_t capacity_of(const char *root, int cpu, uint64_t fallback) {
    char text[GAL__SYS_TEXT];
    return gal__sys_text(text, root, "sys/devices/system/cpu/cpu%d/cpu_capacity", cpu)
               ? gal__sys_number(text, fallback)
               : fallback;
}

/* The fast ones of a set: Intel's kernel driver names them; elsewhere each processor has a capacity, and those with
 * less than half of the largest would be waited for more than they help. */
static void keep_fast(gal_cpus *s, const char *root) {
    gal_cpus named, fast = { { 0 } };
    if (list_in(&named, root, "sys/devices/cpu_core/cpus")) {
        prefer(s, &named);
        return;
    }
    static const uint64_t UNKNOWN = UINT64_MAX / 2;
    uint64_t most = 0;
    for (int i = 0; i < GAL_MAX_CPUS; i++) {
        if (!gal_cpus_has(s, i)) continue;
        uint64_t c = capacity_of(root, i, UNKNOWN);
        if (c >= UNKNOWN) return; /* most machines: the first has none */
        most = GAL_MAX(most, c);
    }
    for (int i = 0; i < GAL_MAX_CPUS; i++)
        if (gal_cpus_has(s, i) && 2 * capacity_of(root, i, most) >= most) gal_cpus_put(&fast, i);
    prefer(s, &fast);
}

/* One processor of each core of a set. */
static void drop_siblings(gal_cpus *s, const char *root) {
    for (int i = 0; i < GAL_MAX_CPUS; i++) {
        if (!gal_cpus_has(s, i)) continue;
        char text[GAL__SYS_TEXT];
        gal_cpus core;
        if (!gal__sys_text(text, root, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i) ||
            !gal_cpus_parse(&core, text) || !gal_cpus_has(&core, i))
            continue;
        for (int j = i + 1; j < GAL_MAX_CPUS; j++)
            if (gal_cpus_has(&core, j)) s->bits[j / 64] &= ~(UINT64_C(1) << (j % 64));
    }
}

static int common(const gal_cpus *a, const gal_cpus *b) {
    gal_cpus both = *a;
    meet(&both, b);
    return gal_cpus_count(&both);
}

/* "Node 0 MemFree: 1234 kB" */
static uint64_t free_bytes_of(const char *meminfo) {
    static const char KEY[] = "MemFree:";
    const char *at = strstr(meminfo, KEY);
    if (!at) return 0;
    at += sizeof KEY - 1;
    uint64_t kib = gal__sys_number(at + strspn(at, " \t"), 0);
    return kib <= UINT64_MAX / 1024 ? kib * 1024 : 0;
}

/* False: a node without any of these cores. */
static bool read_node(gal_memory_node *n, int id, const gal_topology *t, const gal_cpus *cores, const char *root) {
    char text[GAL__SYS_TEXT];
    if (!gal__sys_text(text, root, "sys/devices/system/node/node%d/cpulist", id) || !gal_cpus_parse(&n->cpus, text))
        return false;
    meet(&n->cpus, &t->usable);
    n->id = id;
    n->cores = common(&n->cpus, cores);
    n->free_bytes = 0;
    if (gal__sys_text(text, root, "sys/devices/system/node/node%d/meminfo", id)) n->free_bytes = free_bytes_of(text);
    return n->cores > 0;
}

/* Nodes with cores and memory that are ours, of the kernel's numbers in a set. */
static bool find_nodes(gal_cpus *ids, const char *root) {
    gal_cpus allowed;
    if (!list_in(ids, root, "sys/devices/system/node/online")) return false;
    if (list_of_status(&allowed, root, "\nMems_allowed_list:")) meet(ids, &allowed);
    return true;
}

static void read_nodes(gal_topology *t, const gal_cpus *cores, const char *root) {
    gal_cpus ids;
    int covered = 0;
    if (find_nodes(&ids, root)) {
        for (int id = 0; id < GAL_MAX_CPUS && t->nodes < GAL_MAX_NODES; id++)
            if (gal_cpus_has(&ids, id) && read_node(&t->node[t->nodes], id, t, cores, root))
                covered += t->node[t->nodes++].cores;
    }
    if (covered == t->cores) return;
    t->nodes = 1; /* nothing is known, or what is known does not fit together */
    t->node[0] = (gal_memory_node){ .cores = t->cores, .cpus = t->usable };
}

void gal_topology_read(gal_topology *out, const char *root) {
    memset(out, 0, sizeof *out);
    find_usable(&out->usable, root);
    out->processors = gal_cpus_count(&out->usable);
    out->quota = gal__quota(root);
    gal_cpus cores = out->usable;
    keep_fast(&cores, root);
    drop_siblings(&cores, root);
    out->cores = gal_cpus_count(&cores);
    out->threads = GAL_MIN(out->cores, out->quota);
    read_nodes(out, &cores, root);
}
