/* disk.c - see disk.h. SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* unshare */
#include "support/disk.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static bool put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) (void)close(fd);
    return ok;
}

bool disk_alone(void) {
    uid_t uid = getuid();
    gid_t gid = getgid();
    if (unshare(CLONE_NEWNS) != 0) {
        char map[60];
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
        (void)put("/proc/self/setgroups", "deny");
        (void)snprintf(map, sizeof map, "0 %lu 1", (unsigned long)uid);
        if (!put("/proc/self/uid_map", map)) return false;
        (void)snprintf(map, sizeof map, "0 %lu 1", (unsigned long)gid);
        if (!put("/proc/self/gid_map", map)) return false;
    }
    return mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0;
}

bool disk_mount(const char *path, const char *size) {
    char option[40];
    (void)snprintf(option, sizeof option, "size=%s", size);
    return mount("none", path, "tmpfs", 0, option) == 0;
}
