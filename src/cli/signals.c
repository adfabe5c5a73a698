/* signals.c - Ctrl-C as a flag, and a file that shrank as a message. Owns the process's handlers: of SIGINT, SIGTERM
 * and SIGHUP once a command asked for them, where the invariant is that a second signal always ends the program; of
 * SIGBUS from the start. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/maps.h"
#include "cli/cli.h"
#include "cli/tty.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static volatile sig_atomic_t interrupts, terminated;
static _Atomic(const char *) last_words;

static void on_interrupt(int signal_number) {
    const int kept = errno;
    if (signal_number != SIGINT) terminated = 1;
    if (++interrupts > 1) {
        gal_tty_restore();
        gal_write_abandon();
        _exit(130);
    }
    const char *text = atomic_load(&last_words);
    if (text) {
        const ssize_t done = write(STDERR_FILENO, text, strlen(text));
        (void)done;
    }
    gal_tty_wake();
    errno = kept;
}

void gal_cli_say_at_interrupt(const char *text) { atomic_store(&last_words, text); }

static void handle(int flags) {
    struct sigaction a = { .sa_handler = on_interrupt, .sa_flags = flags };
    sigemptyset(&a.sa_mask);
    (void)sigaction(SIGINT, &a, NULL);
    (void)sigaction(SIGTERM, &a, NULL);
    struct sigaction before; /* nohup: the program goes on without its terminal */
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN) (void)sigaction(SIGHUP, &a, NULL);
}

static bool caught;

void gal_cli_catch_interrupts(void) {
    caught = true;
    handle(0); /* no SA_RESTART: a read that waits for the user returns */
}

void gal_cli_go_on_after_interrupts(bool on) {
    if (caught) handle(on ? SA_RESTART : 0);
}

int gal_cli_interrupted(void) { return (int)interrupts; }

bool gal_cli_wants_stop(void *user) {
    (void)user;
    return interrupts > 0;
}

bool gal_cli_terminated(void) { return terminated != 0; }

void gal_cli_reset_interrupts(void) {
    interrupts = 0;
    if (terminated) interrupts = 1;
}

/* ---- a map whose file shrank: nothing here may allocate, lock or print through stdio -----------------------------
 */

typedef struct line {
    char text[4096 + 256]; /* the longest path and the words around it */
    size_t n;
} line;

static void add(line *l, const char *s) {
    for (; *s && l->n < sizeof l->text; s++) l->text[l->n++] = *s;
}

static void add_number(line *l, unsigned long long x) {
    char digits[24];
    size_t n = sizeof digits;
    digits[--n] = 0;
    do digits[--n] = (char)('0' + x % 10);
    while (x /= 10);
    add(l, digits + n);
}

/* What the program was making. The thread that faulted was reading a map: it holds no lock of the allocator's, so
 * that removing a folder, which allocates, cannot wait for itself. */
static char unfinished[4096];

void gal_cli_remove_at_fault(const char *folder) {
    (void)snprintf(unfinished, sizeof unfinished, "%s", folder ? folder : "");
}

static void on_bus_error(int signal_number, siginfo_t *info, void *context) {
    (void)context;
    gal_map_place place;
    /* Sent by somebody (no address comes with it), or the fault of no map: it ends the program as it always did, as
     * soon as this function returns. */
    if (info->si_code <= 0 || !gal_maps_find(info->si_addr, &place)) {
        gal_tty_restore();
        (void)signal(signal_number, SIG_DFL);
        (void)raise(signal_number);
        return;
    }
    static atomic_flag told = ATOMIC_FLAG_INIT;
    while (atomic_flag_test_and_set(&told)) (void)pause(); /* another thread met it too, and will end us */
    line l = { .n = 0 };
    struct stat st;
    add(&l, "galerne: ");
    add(&l, place.path);
    add(&l, ": byte ");
    add_number(&l, place.offset);
    add(&l, " cannot be read any more: expected the ");
    add_number(&l, place.bytes);
    add(&l, " bytes that the file had when it was opened, found ");
    if (stat(place.path, &st) == 0 && st.st_size >= 0 && (unsigned long long)st.st_size < place.bytes) {
        add_number(&l, (unsigned long long)st.st_size);
    } else {
        add(&l, "fewer, or a device that failed");
    }
    add(&l, "\n");
    ssize_t done = write(STDERR_FILENO, l.text, l.n);
    (void)done;
    gal_tty_restore();
    gal_write_abandon();
    if (unfinished[0]) (void)gal_remove_tree(unfinished, NULL);
    _exit(gal_cli_exit_code(GAL_EINPUT));
}

void gal_cli_catch_faults(void) {
    struct sigaction a = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO };
    sigemptyset(&a.sa_mask);
    (void)sigaction(SIGBUS, &a, NULL);
}
