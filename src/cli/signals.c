/* signals.c - Ctrl-C as a flag. Owns the process's handlers of SIGINT and SIGTERM once a command asked for them; the
 * invariant is that a second signal always ends the program. SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <unistd.h>

static volatile sig_atomic_t interrupts;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    if (++interrupts > 1) _exit(130);
}

void gal_cli_catch_interrupts(void) {
    struct sigaction a = { .sa_handler = on_interrupt };
    sigemptyset(&a.sa_mask);
    (void)sigaction(SIGINT, &a, NULL); /* no SA_RESTART: a read that waits for the user returns */
    (void)sigaction(SIGTERM, &a, NULL);
}

int gal_cli_interrupted(void) { return (int)interrupts; }

void gal_cli_reset_interrupts(void) { interrupts = 0; }
