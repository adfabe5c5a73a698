/* tty.c - the terminal while a line is edited. Owns the handlers of SIGWINCH, SIGTSTP, SIGCONT and of signals that
 * nobody else meets; the invariant is that the terminal is never left in the editor's mode, nor asked for paste
 * marks, by a program that stopped or ended. SPDX-License-Identifier: Apache-2.0 */
#include "cli/tty.h"

#include "base/util.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

static volatile sig_atomic_t editing, marks, hushed, resized, continued;
static struct termios before, edited, before_hush; /* written while the flags above them are off */
static int wakes[2] = { -1, -1 };

/* A program in the background that set the terminal would be stopped for it, and disturb whoever has it. */
static bool ours(void) { return tcgetpgrp(STDIN_FILENO) == getpgrp(); }

static void say(const char *text, size_t n) {
    const ssize_t done = write(STDERR_FILENO, text, n);
    (void)done;
}

static void ask_for_marks(bool on) {
    static const char ON[] = "\x1b[?2004h", OFF[] = "\x1b[?2004l";
    say(on ? ON : OFF, sizeof ON - 1);
}

void gal_tty_wake(void) {
    if (wakes[1] < 0) return;
    const ssize_t done = write(wakes[1], "", 1); /* full: it is awake already */
    (void)done;
}

void gal_tty_restore(void) {
    if (!(editing || hushed) || !ours()) return;
    if (editing && marks) ask_for_marks(false);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, editing ? &before : &before_hush);
}

static void quiet(void) {
    struct termios now = before_hush;
    now.c_lflag &= ~(tcflag_t)ECHO;
    hushed = tcsetattr(STDIN_FILENO, TCSANOW, &now) == 0;
}

void gal_cli_hush(bool on) {
    if (on && !hushed && tcgetattr(STDIN_FILENO, &before_hush) == 0) {
        quiet();
    } else if (!on && hushed) {
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &before_hush);
        hushed = 0;
    }
}

/* ---- signals ------------------------------------------------------------------------------------------------------
 */

static void on_resize(int signal_number) {
    const int kept = errno;
    (void)signal_number;
    resized = 1;
    gal_tty_wake();
    errno = kept;
}

static void on_continue(int signal_number) {
    const int kept = errno;
    (void)signal_number;
    if (hushed && ours()) quiet();
    continued = 1;
    gal_tty_wake();
    errno = kept;
}

static void on_stop(int signal_number) {
    const int kept = errno;
    struct sigaction by_default = { .sa_handler = SIG_DFL }, mine;
    sigset_t set, blocked;
    sigemptyset(&by_default.sa_mask);
    sigemptyset(&set);
    sigaddset(&set, signal_number);
    gal_tty_restore();
    (void)sigaction(signal_number, &by_default, &mine);
    (void)raise(signal_number);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, &blocked); /* it stops here */
    (void)pthread_sigmask(SIG_SETMASK, &blocked, NULL);
    (void)sigaction(signal_number, &mine, NULL);
    on_continue(SIGCONT);
    errno = kept;
}

static void on_end(int signal_number) {
    gal_tty_restore();
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

static void meet(int signal_number, void (*handler)(int)) {
    struct sigaction now, a = { .sa_handler = handler, .sa_flags = SA_RESTART };
    sigemptyset(&a.sa_mask);
    if (sigaction(signal_number, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL)
        (void)sigaction(signal_number, &a, NULL);
}

void gal_tty_open(void) {
    static const int ENDS[] = { SIGQUIT, SIGABRT, SIGSEGV, SIGFPE, SIGILL,  SIGBUS, SIGALRM, SIGUSR1, SIGUSR2,
                                SIGPIPE, SIGXCPU, SIGXFSZ, SIGSYS, SIGTRAP, SIGINT, SIGTERM, SIGHUP };
    if (wakes[0] >= 0) return;
    if (tcgetattr(STDIN_FILENO, &before) || pipe(wakes)) return;
    for (int i = 0; i < 2; i++) {
        (void)fcntl(wakes[i], F_SETFL, O_NONBLOCK);
        (void)fcntl(wakes[i], F_SETFD, FD_CLOEXEC);
    }
    meet(SIGWINCH, on_resize);
    meet(SIGTSTP, on_stop);
    meet(SIGCONT, on_continue);
    for (size_t i = 0; i < GAL_LEN(ENDS); i++) meet(ENDS[i], on_end);
}

/* ---- a line -------------------------------------------------------------------------------------------------------
 */

void gal_tty_editing(bool on, bool paste) {
    if (on && !editing && wakes[0] >= 0 && tcgetattr(STDIN_FILENO, &edited) == 0) {
        marks = paste;
        editing = 1;
        if (marks) ask_for_marks(true);
    } else if (!on && editing) {
        if (marks) ask_for_marks(false);
        editing = 0;
    }
}

int gal_tty_wait(int milliseconds) {
    struct pollfd p[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = wakes[0], .events = POLLIN } };
    const int n = poll(p, 2, milliseconds);
    char some[64];
    if (n > 0 && p[1].revents) {
        while (read(wakes[0], some, sizeof some) > 0) {}
        return -1;
    }
    return n < 0 ? -1 : n > 0;
}

bool gal_tty_resized(void) {
    const bool was = resized;
    resized = 0;
    return was;
}

bool gal_tty_continued(void) {
    const bool was = continued;
    continued = 0;
    if (!was || !editing) return was;
    /* in the background this stops the program until it is in the foreground */
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &edited);
    if (marks) ask_for_marks(true);
    return true;
}

void gal_tty_fresh(void) { resized = continued = 0; }

int gal_tty_means(unsigned key) {
    static const int INDEX[] = { VINTR, VQUIT, VSUSP }, MEANS[] = { SIGINT, SIGQUIT, SIGTSTP };
    for (size_t i = 0; i < GAL_LEN(INDEX) && (before.c_lflag & ISIG); i++)
        if (key && key == before.c_cc[INDEX[i]]) return MEANS[i]; /* 0: there is no such key */
    return 0;
}

void gal_tty_act(int signal_number) { (void)kill(0, signal_number); }
