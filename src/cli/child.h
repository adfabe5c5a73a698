/* child.h - a program that is started, talked to by pipes, and never outlives its call. No shell takes part.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_CHILD_H
#define GAL_CLI_CHILD_H

#include "base/buf.h"

#include <sys/types.h>

typedef struct gal_child {
    pid_t pid, group; /* 0: none, or it has ended. It leads a group, which signals of the terminal do not reach */
    int status;       /* of one that has ended, as waitpid() gives it */
    int in, out;      /* its standard input and output; -1: closed. Writing to it never waits */
    int err;          /* its standard error, if that was asked for; -1: closed, or ours */
} gal_child;

/* Nothing that was started: what gal_child_end() may be called with. */
#define GAL_CHILD_NONE ((gal_child){ .in = -1, .out = -1, .err = -1 })

/* argv ends with NULL; argv[0] is a path, or a name in PATH. GAL_EFAIL with the reason, which begins with argv[0]. */
gal_err gal_child_start(gal_child *c, const char *const *argv, bool own_errors, gal_diag *diag);
/* From a process that was forked: it ends when the one that it came from does, however that ends. */
void gal_child_follow(void);
void gal_child_close(int *fd); /* leaves -1 */
bool gal_child_ended(gal_child *c);
/* What it said last of its standard error is kept up to a few KiB. One look at its pipes, waiting at most wait_ms:
 * false once there is nothing more to come from its output. */
bool gal_child_read(gal_child *c, gal_buf *out, gal_buf *errors, int wait_ms);
/* Closes the pipes, ends what is left of its group, and waits for it. */
void gal_child_end(gal_child *c);

#endif
