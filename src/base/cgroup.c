/* cgroup.c - reads /proc/meminfo and the limits of cgroups, versions 1 and 2.
 * Refuses to guess: a file that is absent or odd means "no limit". Allocates nothing, so that it can be asked
 * when memory is short. SPDX-License-Identifier: Apache-2.0 */
#include "base/cgroup.h"

#include "base/sysfile.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A whole file that is one number. */
static uint64_t number_in(const char *root, const char *dir, const char *name, uint64_t fallback) {
    char text[GAL__SYS_TEXT];
    return gal__sys_text(text, root, "%s/%s", dir, name) ? gal__sys_number(text, fallback) : fallback;
}

/* Calls see(root, dir, version, user) for this process's group of a controller and for every group above it. Inside a
 * container the path of /proc/self/cgroup may name a folder of the host that is not visible; the root of the mount
 * is then the container's own group, and it is always visited last. */
typedef void (*see_fn)(const char *root, const char *dir, int version, void *user);

static void visit_up(const char *root, const char *mount, const char *group, int version, see_fn see, void *user) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s%s", mount, group);
    if (n < 0 || n >= (int)sizeof path) return;
    size_t len = (size_t)n, base = strlen(mount);
    for (;;) {
        while (len > base && path[len - 1] == '/') path[--len] = 0;
        see(root, path, version, user);
        if (len <= base) return;
        while (len > base && path[len - 1] != '/') path[--len] = 0;
    }
}

static bool has_word(const char *list, const char *end, const char *word) {
    size_t w = strlen(word);
    for (const char *s = list; s < end;) {
        const char *comma = memchr(s, ',', (size_t)(end - s));
        const char *stop = comma ? comma : end;
        if ((size_t)(stop - s) == w && memcmp(s, word, w) == 0) return true;
        s = stop + 1;
    }
    return false;
}

static void visit_groups(const char *root, const char *controller, see_fn see, void *user) {
    char text[GAL__SYS_TEXT], mount[64];
    if (!gal__sys_text(text, root, "proc/self/cgroup")) return;
    char *next = NULL;
    for (char *line = text; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        char *list = strchr(line, ':');
        char *group = list ? strchr(list + 1, ':') : NULL;
        if (!group) continue;
        if (group == list + 1) {
            visit_up(root, "sys/fs/cgroup", group + 1, 2, see, user);
        } else if (has_word(list + 1, group, controller)) {
            (void)snprintf(mount, sizeof mount, "sys/fs/cgroup/%s", controller);
            visit_up(root, mount, group + 1, 1, see, user);
        }
    }
}

static void see_memory(const char *root, const char *dir, int version, void *user) {
    static const struct {
        const char *limit, *usage, *inactive, *active;
    } NAME[2] = { { "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file" },
                  { "memory.max", "memory.current", "inactive_file", "active_file" } };
    const char *limit_name = NAME[version - 1].limit;
    uint64_t limit = number_in(root, dir, limit_name, UINT64_MAX);
    uint64_t usage = number_in(root, dir, NAME[version - 1].usage, UINT64_MAX);
    if (limit == UINT64_MAX || usage == UINT64_MAX) return;
    char text[GAL__SYS_TEXT];
    if (gal__sys_text(text, root, "%s/memory.stat", dir)) {
        /* Pages of files count as usage but are given back under pressure. */
        uint64_t cache = gal__sys_after(text, NAME[version - 1].inactive, 0);
        cache += gal__sys_after(text, NAME[version - 1].active, 0);
        usage -= GAL_MIN(cache, usage);
    }
    uint64_t left = limit > usage ? limit - usage : 0;
    uint64_t *least = user;
    *least = GAL_MIN(*least, left);
}

uint64_t gal__memory_left(void) {
    uint64_t least = UINT64_MAX;
    char text[GAL__SYS_TEXT];
    if (gal__sys_text(text, "", "proc/meminfo")) {
        uint64_t kib = gal__sys_after(text, "MemAvailable:", UINT64_MAX);
        if (kib <= UINT64_MAX / 1024) least = kib * 1024;
    }
    if (least == UINT64_MAX) {
        long pages = sysconf(_SC_AVPHYS_PAGES), size = sysconf(_SC_PAGESIZE);
        if (pages > 0 && size > 0) least = (uint64_t)pages * (uint64_t)size;
    }
    visit_groups("", "memory", see_memory, &least);
    return least;
}

uint64_t gal__read_bytes(void) {
    char text[GAL__SYS_TEXT];
    return gal__sys_text(text, "", "proc/self/io") ? gal__sys_after(text, "read_bytes:", 0) : 0;
}

static void see_quota(const char *root, const char *dir, int version, void *user) {
    uint64_t quota = UINT64_MAX, period = 0;
    if (version == 1) {
        quota = number_in(root, dir, "cpu.cfs_quota_us", UINT64_MAX); /* -1 without a limit */
        period = number_in(root, dir, "cpu.cfs_period_us", 0);
    } else {
        char text[GAL__SYS_TEXT];
        if (!gal__sys_text(text, root, "%s/cpu.max", dir)) return;
        if (text[0] < '0' || text[0] > '9') return; /* "max 100000" */
        char *end;
        quota = strtoull(text, &end, 10);
        period = strtoull(end, NULL, 10);
    }
    if (quota == UINT64_MAX || period == 0) return;
    uint64_t whole = quota / period + (quota % period != 0);
    int *least = user;
    if (whole < (uint64_t)*least) *least = whole > 0 ? (int)whole : 1;
}

int gal__quota(const char *root) {
    int least = INT_MAX;
    visit_groups(root, "cpu", see_quota, &least);
    return least;
}
