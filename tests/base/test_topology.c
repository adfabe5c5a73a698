/* test_topology.c - processors, cores, nodes and a container's limits from made-up files of the kernel.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/cgroup.h"
#include "base/file.h"
#include "base/topology.h"
#include "support/test.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static char root[] = "galerne-test-topology.XXXXXX";

static int set_up(void **state) {
    (void)state;
    memcpy(root + sizeof root - 7, "XXXXXX", 6);
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    return gal_remove_tree(root, NULL) == GAL_OK ? 0 : -1;
}

/* ROOT/path with its folders. */
static void put(const char *path, const char *text) {
    char at[512];
    assert_true(snprintf(at, sizeof at, "%s/%s", root, path) < (int)sizeof at);
    for (char *slash = strchr(at, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (!gal_is_dir(at)) assert_int_equal(gal_make_dirs(at, NULL), GAL_OK);
        *slash = '/';
    }
    gal_diag diag = { 0 };
    if (gal_write_file(at, text, strlen(text), &diag)) fail_msg("%s", diag.text);
}

static void put_cpu(int cpu, const char *what, const char *text) {
    char path[96];
    (void)snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/%s", cpu, what);
    put(path, text);
}

static void put_siblings(int cpu, int a, int b) {
    char text[32];
    (void)snprintf(text, sizeof text, a == b ? "%d\n" : "%d,%d\n", a, b);
    put_cpu(cpu, "topology/thread_siblings_list", text);
}

static void put_node(int node, const char *cpus, const char *meminfo) {
    char path[64];
    (void)snprintf(path, sizeof path, "sys/devices/system/node/node%d/cpulist", node);
    put(path, cpus);
    (void)snprintf(path, sizeof path, "sys/devices/system/node/node%d/meminfo", node);
    put(path, meminfo);
}

static void put_status(const char *cpus, const char *mems) {
    char text[256];
    (void)snprintf(text, sizeof text, "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t%s\nMems_allowed_list:\t%s\n",
                   cpus, mems);
    put("proc/thread-self/status", text);
}

static gal_topology seen;

static const gal_topology *look(void) {
    gal_topology *t = &seen;
    gal_topology_read(t, root);
    int cores = 0;
    for (int i = 0; i < t->nodes; i++) cores += t->node[i].cores;
    assert_int_equal(cores, t->cores);
    assert_true(t->threads >= 1 && t->threads <= t->processors && t->nodes >= 1);
    return t;
}

static void lists(void **state) {
    (void)state;
    gal_cpus s;
    assert_true(gal_cpus_parse(&s, "0-3,8,10-11\n"));
    assert_int_equal(gal_cpus_count(&s), 7);
    assert_true(gal_cpus_has(&s, 3) && !gal_cpus_has(&s, 4) && gal_cpus_has(&s, 8) && gal_cpus_has(&s, 11));
    assert_true(gal_cpus_parse(&s, "\n") && gal_cpus_count(&s) == 0);
    assert_true(gal_cpus_parse(&s, "2040-999999") && gal_cpus_count(&s) == GAL_MAX_CPUS - 2040);
    static const char *const WRONG[] = { "x",      "-3",  "3-",        "5-3", "1,,2",           "0-3:2/4",   "1;2",
                                         "0x3,40", "1 2", "0-1-2,3-4", ",",   "12345678901234", "0-12345678" };
    for (size_t i = 0; i < GAL_LEN(WRONG); i++) {
        if (gal_cpus_parse(&s, WRONG[i])) fail_msg("'%s' was taken for a list", WRONG[i]);
        assert_int_equal(gal_cpus_count(&s), 0);
    }
}

/* One socket of 4 cores with two siblings each: 0 and 4, 1 and 5, ... */
static void put_smt(void) {
    put("sys/devices/system/cpu/online", "0-7\n");
    for (int i = 0; i < 8; i++) put_siblings(i, i % 4, i % 4 + 4);
}

static void siblings_count_once(void **state) {
    (void)state;
    put_smt();
    const gal_topology *t = look();
    assert_int_equal(t->processors, 8);
    assert_int_equal(t->cores, 4);
    assert_int_equal(t->threads, 4);
    assert_int_equal(t->quota, INT_MAX);
    assert_int_equal(t->nodes, 1);
    put_status("1,5,6", "0"); /* both of one core, one of another */
    t = look();
    assert_int_equal(t->processors, 3);
    assert_int_equal(t->threads, 2);
    assert_true(gal_cpus_has(&t->usable, 6) && !gal_cpus_has(&t->usable, 2));
}

static void processors_that_are_off_do_not_count(void **state) {
    (void)state;
    put_smt();
    put("sys/devices/system/cpu/online", "0-2,4\n"); /* the kernel lists siblings that run */
    put_siblings(1, 1, 1);
    put_siblings(2, 2, 2);
    put_status("0-7", "0"); /* masks may hold what is off */
    const gal_topology *t = look();
    assert_int_equal(t->processors, 4);
    assert_int_equal(t->threads, 3);
}

static void two_nodes(void **state) {
    (void)state;
    put("sys/devices/system/cpu/online", "0-15\n");
    for (int i = 0; i < 16; i++) put_siblings(i, i % 8, i % 8 + 8);
    put("sys/devices/system/node/online", "0-2\n");
    put_node(0, "0-3,8-11\n", "Node 0 MemTotal: 9 kB\nNode 0 MemFree:    1000 kB\n");
    put_node(1, "4-7,12-15\n", "garbage");
    put_node(2, "\n", "Node 2 MemFree: 7 kB\n"); /* memory alone */
    const gal_topology *t = look();
    assert_int_equal(t->nodes, 2);
    assert_int_equal(t->cores, 8);
    assert_int_equal(t->node[0].cores, 4);
    assert_int_equal(t->node[0].free_bytes, 1024000);
    assert_int_equal(t->node[1].id, 1);
    assert_int_equal(t->node[1].free_bytes, 0);
    assert_true(gal_cpus_has(&t->node[1].cpus, 13) && !gal_cpus_has(&t->node[1].cpus, 3));
    put_status("4-6,12-14", "1"); /* a cpuset on the second */
    t = look();
    assert_int_equal(t->nodes, 1);
    assert_int_equal(t->node[0].id, 1);
    assert_int_equal(t->threads, 3);
    put_status("0-15", "0"); /* processors of both, memory of one: nodes no longer say where threads may be */
    t = look();
    assert_int_equal(t->nodes, 1);
    assert_int_equal(t->node[0].cores, 8);
    assert_int_equal(gal_cpus_count(&t->node[0].cpus), 16);
}

static void slow_cores_do_not_count(void **state) {
    (void)state;
    static const char *const CAPACITY[] = { "250\n", "250\n", "250\n", "250\n", "800\n", "800\n", "800\n", "1024\n" };
    put("sys/devices/system/cpu/online", "0-7\n");
    for (int i = 0; i < 8; i++) put_cpu(i, "cpu_capacity", CAPACITY[i]);
    assert_int_equal(look()->threads, 4);
    put_status("0-3", "0"); /* nothing else is to be had */
    assert_int_equal(look()->threads, 4);
    put_status("0-4", "0");
    assert_int_equal(look()->threads, 1);
    put_status("0-7", "0");
    put_cpu(2, "cpu_capacity", "fast\n"); /* then nothing is known of that machine */
    assert_int_equal(look()->threads, 8);
}

/* Two cores with siblings, four small ones. */
static void intel_hybrid(void **state) {
    (void)state;
    put("sys/devices/system/cpu/online", "0-7\n");
    for (int i = 0; i < 8; i++) put_siblings(i, i < 4 ? i / 2 * 2 : i, i < 4 ? i / 2 * 2 + 1 : i);
    for (int i = 0; i < 8; i++) put_cpu(i, "cpu_capacity", i < 4 ? "1024" : "600");
    put("sys/devices/cpu_core/cpus", "0-3\n");
    put("sys/devices/cpu_atom/cpus", "4-7\n");
    const gal_topology *t = look();
    assert_int_equal(t->processors, 8);
    assert_int_equal(t->threads, 2);
    put_status("4-7", "0");
    assert_int_equal(look()->threads, 4);
}

static void containers(void **state) {
    (void)state;
    put_smt();
    put("proc/self/cgroup", "0::/a/b\n");
    put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    assert_int_equal(look()->quota, INT_MAX);
    put("sys/fs/cgroup/a/b/cpu.max", "250000 100000\n");
    assert_int_equal(look()->quota, 3);
    assert_int_equal(look()->threads, 3);
    put("sys/fs/cgroup/a/cpu.max", "100000 100000\n"); /* a group above */
    assert_int_equal(look()->threads, 1);
    put("sys/fs/cgroup/a/cpu.max", "1 100000\n");
    assert_int_equal(look()->threads, 1);
    put("sys/fs/cgroup/a/cpu.max", "100000 0\n"); /* no period: no limit */
    assert_int_equal(look()->threads, 3);
    put("sys/fs/cgroup/a/cpu.max", "lots\n");
    assert_int_equal(look()->threads, 3);
    /* A path of the host's, which is not there: the mount's root is the container. */
    put("proc/self/cgroup", "0::/docker/0123\n");
    put("sys/fs/cgroup/cpu.max", "200000 100000\n");
    assert_int_equal(look()->threads, 2);
    /* Version 1, with a cpuset-> */
    put("proc/self/cgroup", "5:cpuacct,cpu:/x\n4:memory:/\n1:name=systemd:/\n");
    put("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
    assert_int_equal(look()->threads, 4);
    put("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "350000\n");
    put_status("2-7", "0"); /* cores 2 and 3 whole, half of 0 and 1 */
    assert_int_equal(look()->threads, 4);
    put_status("2,3,6,7", "0");
    assert_int_equal(look()->threads, 2);
}

static void a_thousand_processors(void **state) {
    (void)state;
    char text[1400 * 5], *at = text;
    put("sys/devices/system/cpu/online", "0-1023\n");
    for (int i = 0; i < 512; i++) put_siblings(i, i, i + 512); /* the others' files are not needed */
    put("sys/devices/system/node/online", "0-1\n");
    put_node(0, "0-255,512-767", "");
    put_node(1, "256-511,768-1023", "");
    const gal_topology *t = look();
    assert_int_equal(t->processors, 1024);
    assert_int_equal(t->threads, 512);
    assert_int_equal(t->nodes, 2);
    assert_int_equal(t->node[1].cores, 256);
    for (int i = 0; i < 1023; i += 2) at += snprintf(at, 8, "%s%d", i ? "," : "", i);
    put("sys/devices/system/cpu/online", text);
    assert_int_equal(look()->threads, 256);
}

static void nothing_and_garbage(void **state) {
    (void)state;
    const gal_topology *t = look(); /* an empty root */
    assert_int_equal(t->processors, 1);
    assert_int_equal(t->nodes, 1);
    put("sys/devices/system/cpu/online", "0-1\n");
    assert_int_equal(look()->threads, 2);
    static const char *const FILES[] = { "proc/thread-self/status",
                                         "proc/self/status",
                                         "proc/self/cgroup",
                                         "sys/fs/cgroup/cpu.max",
                                         "sys/devices/cpu_core/cpus",
                                         "sys/devices/system/cpu/cpu0/cpu_capacity",
                                         "sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
                                         "sys/devices/system/node/online",
                                         "sys/devices/system/node/node0/cpulist",
                                         "sys/devices/system/node/node0/meminfo" };
    static const char *const WORDS[] = { "",       "\n",
                                         "-1",     "99999999999999999999999",
                                         "0-",     "::",
                                         "a:b\n:", "\nCpus_allowed_list:\tnone\nMems_allowed_list:",
                                         "0::/\n", "18446744073709551615 1" };
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        for (size_t j = 0; j < GAL_LEN(WORDS); j++) {
            for (size_t k = 0; k <= i; k++) put(FILES[k], WORDS[(j + i - k) % GAL_LEN(WORDS)]);
            t = look();
            assert_int_equal(t->processors, 2);
            assert_int_equal(t->nodes, 1);
        }
    }
    put("sys/devices/system/cpu/online", "these are no processors\n");
    assert_int_equal(look()->processors, 1);
}

static void the_machine_itself(void **state) {
    (void)state;
    const gal_topology *t = &seen;
    gal_topology_read(&seen, "");
    assert_true(t->processors >= 1 && t->cores >= 1 && t->cores <= t->processors && t->quota >= 1 && t->nodes >= 1);
    assert_true(t->threads <= t->cores && t->threads >= 1);
    assert_int_equal(t->processors, gal_cpus_count(&t->usable));
}

int main(void) {
#define WITH_FILES(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),
        WITH_FILES(siblings_count_once),
        WITH_FILES(processors_that_are_off_do_not_count),
        WITH_FILES(two_nodes),
        WITH_FILES(slow_cores_do_not_count),
        WITH_FILES(intel_hybrid),
        WITH_FILES(containers),
        WITH_FILES(a_thousand_processors),
        WITH_FILES(nothing_and_garbage),
        cmocka_unit_test(the_machine_itself),
    };
    return cmocka_run_group_tests_name("base/topology", tests, NULL, NULL);
}
