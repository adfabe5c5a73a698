/* screen_test.c - what is written while a signal comes arrives whole. SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/screen.h"
#include "support/test.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Pieces that a pipe takes as a whole or not at all, more of them than it holds; then one larger than any buffer. */
enum { PIECE = 3000, PIECES = 60, LARGE = 200000, ALL = PIECES * PIECE + LARGE };

static char letter(size_t i) { return (char)('a' + i % 26); }

/* The child: what a command does. */
static void write_all(void) {
    static char text[ALL];
    for (size_t i = 0; i < ALL; i++) text[i] = letter(i);
    gal_cli_catch_interrupts();
    gal_cli_gather_output();
    for (int i = 0; i < PIECES; i++) {
        (void)fwrite(text + (size_t)(i * PIECE), 1, PIECE, stdout);
        gal_cli_flush();
    }
    gal_cli_write(text + (size_t)PIECES * PIECE, LARGE);
    _exit(ferror(stdout) ? 2 : gal_cli_interrupted() == 1 ? 0 : 3);
}

static void pause_ms(long ms) {
    const struct timespec t = { .tv_nsec = ms * 1000000 };
    (void)nanosleep(&t, NULL);
}

/* The reader waits until the pipe is full, interrupts once, and only then goes on; `first`: what it reads before. */
static void interrupted_after(size_t first) {
    static char got[ALL + 1];
    int ends[2], status = 0;
    size_t n = 0;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        (void)close(ends[0]);
        (void)dup2(ends[1], STDOUT_FILENO);
        write_all();
    }
    (void)close(ends[1]);
    bool sent = false;
    for (;;) {
        const ssize_t r = read(ends[0], got + n, n < first ? first - n : sizeof got - n);
        if (r <= 0) break;
        n += (size_t)r;
        if (sent || n < first) continue;
        sent = true;
        pause_ms(100);
        assert_int_equal(kill(child, SIGINT), 0);
        pause_ms(50);
    }
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(n, ALL);
    for (size_t i = 0; i < ALL; i++)
        if (got[i] != letter(i)) fail_msg("byte %zu: expected %c, found %c", i, letter(i), got[i]);
}

static void test_pieces(void **state) {
    (void)state;
    interrupted_after(1);
}

static void test_large(void **state) {
    (void)state;
    interrupted_after(PIECES * PIECE + 10000);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_pieces), cmocka_unit_test(test_large) };
    return cmocka_run_group_tests_name("cli_screen", tests, NULL, NULL);
}
