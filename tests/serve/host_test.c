/* host_test.c - whom a request was meant for, and the numbers in it. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include "serve/host.h"

#include <string.h>

static void ours(void **state) {
    (void)state;
    static const char *const RIGHT[] = { "127.0.0.1",      "127.0.0.1:8081", "localhost:1",   "LocalHost",
                                         "a.localhost:80", "[::1]",          "[::1]:65535",   "192.168.1.20",
                                         "10.0.0.1:9",     "runs.example",   "Runs.Example:8" };
    for (size_t i = 0; i < GAL_LEN(RIGHT); i++)
        if (!gal__http_host_fits(RIGHT[i], "runs.example")) fail_msg("refused: %s", RIGHT[i]);
}

static void of_others(void **state) {
    (void)state;
    static const char *const WRONG[] = {
        "",
        ":80",
        "evil.example",
        "evil.example:8081",
        "localhost.evil.example",
        ".localhost",
        "127.0.0.1.evil.example",
        "127.0.0.1:",
        "127.0.0.1:a",
        "127.0.0.1:123456",
        "[::1",
        "[::1]x",
        "[evil]",
        "[127.0.0.1]",
        "::1",
        "127.0.0.1 ",
        "127.0.0.1@evil.example",
        "notlocalhost",
        "0x7f000001",
        "2130706433",
    };
    char longest[400];
    for (size_t i = 0; i < GAL_LEN(WRONG); i++)
        if (gal__http_host_fits(WRONG[i], "127.0.0.1")) fail_msg("let in: %s", WRONG[i]);
    assert_false(gal__http_host_fits(NULL, "127.0.0.1"));
    assert_false(gal__http_host_fits("runs.example", NULL));
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = 0;
    assert_false(gal__http_host_fits(longest, longest)); /* longer than any name can be */
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(ours), cmocka_unit_test(of_others) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
