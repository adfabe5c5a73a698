/* sysfile.c - see sysfile.h. Owns nothing. SPDX-License-Identifier: Apache-2.0 */
#include "base/sysfile.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool read_text(char text[GAL__SYS_TEXT], const char *path) {
    int fd = gal_fault(GAL_FAULT_HINT) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    size_t len = 0;
    while (len < GAL__SYS_TEXT - 1) {
        size_t room = GAL__SYS_TEXT - 1 - len;
        ssize_t n = gal_fault_move(GAL_FAULT_HINT, &room) ? -1 : read(fd, text + len, room);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        len += (size_t)n;
    }
    text[len] = 0;
    (void)close(fd);
    return len > 0;
}

bool gal__sys_text(char text[GAL__SYS_TEXT], const char *root, const char *path, ...) {
    char at[PATH_MAX];
    int n = snprintf(at, sizeof at, "%s/", root);
    if (n < 0 || n >= (int)sizeof at) return false;
    va_list args;
    va_start(args, path);
    int more = vsnprintf(at + n, sizeof at - (size_t)n, path, args);
    va_end(args);
    return more >= 0 && more < (int)sizeof at - n && read_text(text, at);
}

uint64_t gal__sys_number(const char *text, uint64_t fallback) {
    return *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : fallback;
}

uint64_t gal__sys_after(const char *text, const char *key, uint64_t fallback) {
    size_t k = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, key, k) != 0) continue;
        return gal__sys_number(line + k + strspn(line + k, " \t:"), fallback);
    }
    return fallback;
}
