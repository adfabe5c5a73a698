/* test_numa.c - threads and memory over made-up nodes, and the calls on the machine that there is.
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* sched_getaffinity */
#include "base/numa.h"
#include "base/pool.h"
#include "support/test.h"

#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static gal_topology made;

/* Nodes with so many cores each, processors in order. */
static gal_topology *nodes_of(int n, const int *cores, const uint64_t *free_bytes) {
    memset(&made, 0, sizeof made);
    for (int i = 0; i < n; i++) {
        made.node[i].id = 10 * i;
        made.node[i].cores = cores[i];
        made.node[i].free_bytes = free_bytes ? free_bytes[i] : 0;
        for (int c = 0; c < cores[i]; c++) {
            gal_cpus_put(&made.node[i].cpus, made.cores + c);
            gal_cpus_put(&made.usable, made.cores + c);
        }
        made.cores += cores[i];
    }
    made.nodes = n;
    made.processors = made.cores;
    made.quota = INT_MAX;
    made.threads = made.cores;
    return &made;
}

static void threads_follow_cores(void **state) {
    (void)state;
    gal_topology *t = nodes_of(2, (const int[]){ 4, 4 }, NULL);
    static const int TWO[] = { 0, 1 }, FOUR[] = { 0, 0, 1, 1 };
    for (int i = 0; i < 2; i++) assert_int_equal(gal_numa_node_of(t, i, 2), TWO[i]);
    for (int i = 0; i < 4; i++) assert_int_equal(gal_numa_node_of(t, i, 4), FOUR[i]);
    for (int i = 0; i < 8; i++) assert_int_equal(gal_numa_node_of(t, i, 8), i / 4);
    t = nodes_of(3, (const int[]){ 6, 1, 1 }, NULL);
    for (int i = 0; i < 8; i++) assert_int_equal(gal_numa_node_of(t, i, 8), i < 6 ? 0 : i - 5);
    for (int threads = 1; threads < 100; threads++) { /* any number: in order, none beyond, shares by cores */
        int count[3] = { 0 }, last = 0;
        for (int i = 0; i < threads; i++) {
            int node = gal_numa_node_of(t, i, threads);
            assert_true(node >= last && node < 3);
            count[last = node]++;
        }
        assert_true(count[0] * 8 >= threads * 6 && count[0] * 8 < threads * 6 + 8);
    }
}

static void one_is_the_largest_or_freest(void **state) {
    (void)state;
    gal_topology *t = nodes_of(3, (const int[]){ 2, 5, 5 }, (const uint64_t[]){ 900, 100, 200 });
    t->quota = 3;
    assert_true(gal_numa_narrow(t, GAL_NUMA_AUTO));
    assert_int_equal(t->nodes, 3);
    assert_true(gal_numa_narrow(t, GAL_NUMA_ONE));
    assert_int_equal(t->nodes, 1);
    assert_int_equal(t->node[0].id, 20);
    assert_int_equal(t->cores, 5);
    assert_int_equal(t->threads, 3);
    assert_int_equal(t->processors, 5);
    assert_true(gal_cpus_has(&t->usable, 7) && !gal_cpus_has(&t->usable, 6));
    for (int i = 0; i < 7; i++) assert_int_equal(gal_numa_node_of(t, i, 7), 0);
    t = nodes_of(1, (const int[]){ 4 }, NULL);
    assert_false(gal_numa_narrow(t, GAL_NUMA_AUTO));
    assert_false(gal_numa_narrow(t, GAL_NUMA_ONE));
    assert_int_equal(t->threads, 4);
}

static gal_cpus mask_of_thread(void) {
    gal_cpus s = { { 0 } };
    assert_int_equal(sched_getaffinity(0, sizeof s, (cpu_set_t *)(void *)&s), 0);
    return s;
}

/* The memory policy of a place; -1 where it is not told. */
static int policy_at(void *address) {
    int mode = -1;
#if defined(SYS_get_mempolicy)
    enum { OF_ADDRESS = 2 };
    if (syscall(SYS_get_mempolicy, &mode, NULL, 0UL, address, (unsigned long)OF_ADDRESS) != 0) mode = -1;
#endif
    return mode;
}

/* The memory policy of this thread; -1 where the kernel or a container does not tell. */
static int policy(void) {
    int mode = -1;
#if defined(SYS_get_mempolicy)
    if (syscall(SYS_get_mempolicy, &mode, NULL, 0UL, NULL, 0UL) != 0) mode = -1;
#endif
    return mode;
}

enum { THREADS = 4 };
typedef struct met {
    atomic_int arrived;
    gal_cpus mask[THREADS];
    int policy[THREADS];
} met;

/* Each thread takes one chunk: it waits inside until all have one. */
static void meet(const void *args, int64_t chunk, void *scratch) {
    met *m = *(met *const *)args;
    (void)scratch;
    m->mask[chunk] = mask_of_thread();
    m->policy[chunk] = policy();
    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) < THREADS) (void)sched_yield();
}

static int mirror_of[THREADS];
static void note_mirror(const void *args, int64_t chunk, void *scratch) {
    mirror_of[chunk] = gal_scratch_mirror(scratch);
    meet(args, chunk, scratch);
}

static bool same(const gal_cpus *a, const gal_cpus *b) { return memcmp(a, b, sizeof *a) == 0; }

/* Two nodes made of this machine's processors, shared where there is only one. */
static gal_topology *two_halves(void) {
    gal_topology *t = &made;
    gal_topology_read(t, "");
    const int real = t->node[0].id;
    memset(t->node, 0, sizeof t->node);
    t->nodes = 2;
    for (int i = 0, k = 0; i < GAL_MAX_CPUS; i++) {
        if (!gal_cpus_has(&t->usable, i)) continue;
        gal_cpus_put(&t->node[k++ % 2].cpus, i);
        if (t->processors == 1) gal_cpus_put(&t->node[1].cpus, i);
    }
    t->node[0].id = t->node[1].id = real;
    t->node[0].cores = t->node[1].cores = 1;
    t->cores = 2;
    return t;
}

static void threads_are_bound_and_let_go(void **state) {
    (void)state;
    const gal_cpus before = mask_of_thread();
    const int mode = policy();
    gal_topology *t = two_halves();
    gal_pool *p = NULL;
    static met m;
    met *at = &m;
    assert_int_equal(gal_pool_new_on(&p, THREADS, t, true, NULL), GAL_OK);
    gal_pool_run(p, meet, &at, THREADS);
    int on[2] = { 0 };
    for (int i = 0; i < THREADS; i++) {
        if (same(&m.mask[i], &t->node[0].cpus)) on[0]++;
        if (same(&m.mask[i], &t->node[1].cpus)) on[1]++;
        assert_true(m.policy[i] == 3 || m.policy[i] == mode); /* interleaved, or it was refused */
        assert_int_equal(m.policy[i], m.policy[0]);
    }
    const gal_cpus own = mask_of_thread();
    assert_true(same(&own, &t->node[0].cpus));
    if (t->processors > 1) {
        assert_int_equal(on[0], THREADS / 2);
        assert_int_equal(on[1], THREADS / 2);
    }
    gal_pool_free(p);
    const gal_cpus after = mask_of_thread();
    assert_true(same(&after, &before));
    assert_int_equal(policy(), mode);
    if (m.policy[0] != 3) print_message("memory policies are not to be had here: threads alone were looked at\n");
}

static void not_placed_is_left_alone(void **state) {
    (void)state;
    const gal_cpus before = mask_of_thread();
    const int mode = policy();
    gal_pool *p = NULL;
    static met m;
    met *at = &m;
    gal_topology_read(&made, "");
    assert_int_equal(gal_pool_new_on(&p, THREADS, &made, false, NULL), GAL_OK);
    gal_pool_run(p, meet, &at, THREADS);
    for (int i = 0; i < THREADS; i++) {
        assert_true(same(&m.mask[i], &before));
        assert_int_equal(m.policy[i], mode);
    }
    gal_pool_free(p);
}

/* A thread's copy is its node's; nodes without threads have none, and one node needs no second copy. */
static void copies_follow_nodes(void **state) {
    (void)state;
    gal_topology *t = two_halves();
    gal_pool *p = NULL;
    static met m;
    met *at = &m;
    t->node[0].id = 3;
    t->node[1].id = 8;
    assert_int_equal(gal_pool_new_on(&p, THREADS, t, true, NULL), GAL_OK);
    assert_int_equal(gal_pool_mirrors(p), 1); /* nobody asked for more */
    gal_pool_mirror(p);
    assert_int_equal(gal_pool_mirrors(p), 2);
    assert_int_equal(gal_pool_mirror_node(p, 0), 3);
    assert_int_equal(gal_pool_mirror_node(p, 1), 8);
    gal_pool_run(p, note_mirror, &at, THREADS);
    int count[2] = { 0 };
    for (int i = 0; i < THREADS; i++) {
        assert_in_range(mirror_of[i], 0, 1);
        count[mirror_of[i]]++;
        if (t->processors > 1) assert_true(same(&m.mask[i], &t->node[mirror_of[i]].cpus));
    }
    assert_int_equal(count[0], THREADS / 2);
    gal_pool_free(p);
    assert_int_equal(gal_pool_new_on(&p, 1, t, true, NULL), GAL_OK);
    gal_pool_mirror(p);
    assert_int_equal(gal_pool_mirrors(p), 1);
    gal_pool_free(p);
    t = nodes_of(3, (const int[]){ 1, 0, 1 }, NULL); /* the middle one has memory alone */
    assert_int_equal(gal_pool_new_on(&p, 2, t, true, NULL), GAL_OK);
    gal_pool_mirror(p);
    assert_int_equal(gal_pool_mirrors(p), 2);
    assert_int_equal(gal_pool_mirror_node(p, 1), 20);
    gal_pool_free(p);
    assert_int_equal(gal_pool_new_on(&p, 2, t, false, NULL), GAL_OK); /* threads are anywhere */
    gal_pool_mirror(p);
    assert_int_equal(gal_pool_mirrors(p), 1);
    gal_pool_free(p);
}

/* Whole pages of a piece of memory prefer a node; what is no node, and less than a page, changes nothing. */
static void memory_is_put(void **state) {
    (void)state;
    enum { PAGES = 4, BYTES = PAGES * 65536 };
    gal_topology t;
    gal_topology_read(&t, "");
    char *m = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(m != MAP_FAILED);
    const int before = policy_at(m);
    gal_numa_put(m, BYTES, -1);
    gal_numa_put(m, BYTES, GAL_MAX_CPUS);
    gal_numa_put(m + 1, 4096, t.node[0].id);
    assert_int_equal(policy_at(m), before);
    gal_numa_put(m + 65536 - 5, 65536 + 10, t.node[0].id);
    const int now = policy_at(m + 65536);
    assert_int_equal(policy_at(m), before);
    assert_int_equal(policy_at(m + 2 * 65536), before);
    if (now < 0) {
        print_message("memory policies are not told here\n");
    } else if (now == before) { /* then nobody can */
        const unsigned long mask = 1;
        assert_int_not_equal(syscall(SYS_mbind, m + 65536, 65536UL, 1 /* preferred */, &mask, 65UL, 0U), 0);
        print_message("memory policies are not to be had here\n");
    } else {
        assert_int_equal(now, 1); /* preferred */
    }
    memset(m, 7, BYTES);
    assert_int_equal(munmap(m, BYTES), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_follow_cores),         cmocka_unit_test(one_is_the_largest_or_freest),
        cmocka_unit_test(threads_are_bound_and_let_go), cmocka_unit_test(not_placed_is_left_alone),
        cmocka_unit_test(copies_follow_nodes),          cmocka_unit_test(memory_is_put),
    };
    return cmocka_run_group_tests_name("base/numa", tests, NULL, NULL);
}
