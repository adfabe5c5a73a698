/* child.c - see child.h. Between fork and exec nothing is called that a signal handler may not call.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/wait.h>
#include <unistd.h>

enum { ERRORS_KEPT = 4096 };

void gal_child_close(int *fd) {
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
}

/* By its path, or by its name in PATH; never by a shell, which execvp() would ask where a script does not say what it
 * is for. */
static bool find_program(char *path, size_t room, const char *program) {
    const char *in = strchr(program, '/') ? "" : getenv("PATH");
    for (const char *at = in ? in : "/usr/bin:/bin", *end; at; at = *end ? end + 1 : NULL) {
        end = at + strcspn(at, ":");
        const int n = snprintf(path, room, "%.*s%s%s", (int)(end - at), at, end > at ? "/" : "", program);
        if (n > 0 && (size_t)n < room && access(path, X_OK) == 0) return true;
    }
    return false;
}

void gal_child_follow(void) {
#ifdef __linux__
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a program that it then becomes keeps this */
#endif
}

/* The child's side: it does not come back. */
static _Noreturn void become(const char *path, const char *const *argv, int in, int out, int err) {
    gal_child_follow();
    (void)setpgid(0, 0);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)signal(SIGXFSZ, SIG_DFL);
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    if (dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 && (err < 0 || dup2(err, STDERR_FILENO) >= 0))
        (void)execv(path, (char *const *)(uintptr_t)argv); /* which changes nothing of argv */
    _exit(127);
}

gal_err gal_child_start(gal_child *c, const char *const *argv, bool own_errors, gal_diag *diag) {
    int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 };
    char path[4096];
    *c = GAL_CHILD_NONE;
    if (!find_program(path, sizeof path, argv[0]))
        return gal_fail(diag, GAL_EFAIL, "%s: it is not there, or no program", argv[0]);
    if (pipe(in) || pipe(out) || (own_errors && pipe(err)) || (c->pid = fork()) < 0) {
        const int why = errno;
        c->pid = 0;
        for (int i = 0; i < 2; i++) {
            gal_child_close(&in[i]);
            gal_child_close(&out[i]);
            gal_child_close(&err[i]);
        }
        return gal_fail(diag, GAL_EFAIL, "%s: %s", argv[0], strerror(why));
    }
    const int ends[] = { in[0], in[1], out[0], out[1], err[0], err[1] };
    for (size_t i = 0; i < GAL_LEN(ends); i++) /* of later programs, too */
        if (ends[i] >= 0) (void)fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    if (c->pid == 0) become(path, argv, in[0], out[1], err[1]);
    c->group = c->pid;
    (void)setpgid(c->group, c->group); /* here too: whoever comes first */
    gal_child_close(&in[0]);
    gal_child_close(&out[1]);
    gal_child_close(&err[1]);
    c->in = in[1];
    c->out = out[0];
    c->err = err[0];
    (void)fcntl(c->in, F_SETFL, O_NONBLOCK);
    return GAL_OK;
}

bool gal_child_ended(gal_child *c) {
    if (c->pid > 0 && waitpid(c->pid, &c->status, WNOHANG) == c->pid) c->pid = 0;
    return c->pid == 0;
}

static void take(int *fd, gal_buf *b) {
    char some[4096];
    const ssize_t n = read(*fd, some, sizeof some);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) gal_child_close(fd);
    if (n > 0) gal_buf_add(b, some, (size_t)n);
}

bool gal_child_read(gal_child *c, gal_buf *out, gal_buf *errors, int wait_ms) {
    const bool ended = gal_child_ended(c); /* before what it left is read */
    struct pollfd p[2] = { { .fd = c->out, .events = POLLIN }, { .fd = c->err, .events = POLLIN } };
    const int ready = poll(p, 2, ended ? 0 : wait_ms); /* which passes over -1 */
    if (ready <= 0) return !ended;                     /* a child of its own may hold its output for ever */
    if (c->err >= 0 && p[1].revents) {
        take(&c->err, errors);
        if (errors->len > ERRORS_KEPT) gal_buf_drop(errors, errors->len - ERRORS_KEPT);
    }
    if (c->out >= 0 && p[0].revents) take(&c->out, out);
    return c->out >= 0 || c->err >= 0;
}

void gal_child_end(gal_child *c) {
    gal_child_close(&c->in);
    gal_child_close(&c->out);
    gal_child_close(&c->err);
    if (c->group > 0) (void)kill(-c->group, SIGKILL); /* given up, or what it started and left */
    if (c->pid > 0) (void)waitpid(c->pid, &c->status, 0);
    c->pid = c->group = 0;
}
