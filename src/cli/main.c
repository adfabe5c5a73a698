/* main.c - entry of the program: parse, run the command, report, leave with the right code.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/maps.h"
#include "cli/cli.h"
#include "cli/io.h"
#include "cli/screen.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/* A full disk must not pass for success: what is still buffered is written now, and counted. A reader that has gone
 * away
 * (`| head`) is no failure and is not talked about. */
static bool reader_gone(void) {
    struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };
    return errno == EPIPE || (poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP)) != 0);
}

static gal_err finish_output(gal_diag *diag) {
    errno = 0;
    bool bad = ferror(stdout) != 0;
    gal_cli_flush();
    if (ferror(stdout)) bad = true;
    int why = errno;
    if (!bad || reader_gone()) return GAL_OK;
    return gal_fail(diag, GAL_EIO, "standard output: %s", why ? strerror(why) : "could not be written");
}

int main(int argc, char **argv) {
    (void)signal(SIGPIPE, SIG_IGN); /* writing to a closed pipe fails instead, with EPIPE */
    (void)signal(SIGXFSZ, SIG_IGN); /* and beyond the largest file that is allowed, with EFBIG */
    /* What is large goes back to the system when it is given back. By itself the library would go on keeping blocks
     * of up to 32 MiB, and holes of them, after the first one. */
#ifdef __GLIBC__
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
    gal_cli_catch_faults();
    gal_cli cli = { 0 };
    gal_err err = gal_cli_parse(&cli, argc - 1, argv + 1);
    if (err == GAL_OK && cli.command) {
        err = gal_cli_auto_threads(&cli);
        if (err == GAL_OK) err = cli.command->run(&cli);
        if (err == GAL_OK) err = gal_maps_check(&cli.diag);
    } else if (err == GAL_OK) {
        gal_cli_print_commands(stdout);
    }
    gal_err late = finish_output(&cli.diag);
    if (err == GAL_OK) err = late;
    if (err && err != GAL_EINTERRUPTED) {
        gal_cli_complain("galerne", cli.diag.text[0] ? cli.diag.text : gal_err_name(err));
    }
    gal_cli_free(&cli);
    return gal_cli_exit_code(err);
}
