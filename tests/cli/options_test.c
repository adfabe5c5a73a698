/* options_test.c - the tables of options, and that help, manual pages and completions hold every option of every
 * command; the pages that the build wrote are those of the tables. SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "support/test.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* What a printer prints, to be freed. */
static char *text_of(void (*print)(FILE *out, const void *what), const void *what) {
    FILE *f = tmpfile();
    assert_non_null(f);
    print(f, what);
    long n = ftell(f);
    assert_true(n > 0);
    char *text = malloc((size_t)n + 1);
    assert_non_null(text);
    rewind(f);
    assert_int_equal(fread(text, 1, (size_t)n, f), n);
    text[n] = 0;
    assert_int_equal(fclose(f), 0);
    return text;
}

static void help(FILE *out, const void *c) { gal_cli_print_help(out, c); }
static void man(FILE *out, const void *c) { gal_cli_print_man(out, c); }
static void completion(FILE *out, const void *shell) { gal_cli_print_completion(out, shell); }

static void each(void (*fn)(const gal_command *c, const gal_option *o, void *user), void *user) {
    for (size_t i = 0; GAL_COMMANDS[i]; i++) {
        const gal_command *c = GAL_COMMANDS[i];
        for (size_t j = 0; j < c->n_options; j++) fn(c, &c->options[j], user);
        for (size_t j = 0; j < GAL_N_GLOBAL_OPTIONS; j++) fn(c, &GAL_GLOBAL_OPTIONS[j], user);
    }
}

static void check_option(const gal_command *c, const gal_option *o, void *user) {
    int *n = user;
    ++*n;
    assert_true(o->name && o->help);
    for (const char *p = o->name; *p; p++)
        assert_true(islower((unsigned char)*p) || isdigit((unsigned char)*p) || *p == '-');
    assert_true(!o->letter || strchr("poh", o->letter)); /* the only short forms */
    assert_true((o->kind == GAL_V_NONE) == (o->value == NULL));
    assert_true((o->kind == GAL_V_CHOICE) == (o->choices != NULL));
    assert_true(o->help[strlen(o->help) - 1] != '.');
    assert_int_equal(gal_cli_find(c->name) == c, 1);
    for (size_t j = 0; j < GAL_N_GLOBAL_OPTIONS; j++) {
        assert_true(o == &GAL_GLOBAL_OPTIONS[j] || strcmp(o->name, GAL_GLOBAL_OPTIONS[j].name) != 0);
    }
    if (!o->fallback) return;
    char text[200]; /* a default is a value that the parser takes */
    (void)snprintf(text, sizeof text, "--%s=%s", o->name, o->fallback);
    char name[32], operand[] = "x";
    (void)snprintf(name, sizeof name, "%s", c->name);
    char *argv[] = { name, text, operand, operand };
    gal_cli cli = { 0 };
    assert_in_range(c->min_operands, 0, 2);
    gal_err err = gal_cli_parse(&cli, 2 + c->min_operands, argv);
    if (err) fail_msg("%s", cli.diag.text);
    gal_cli_free(&cli);
}

static void test_tables(void **state) {
    (void)state;
    int n = 0;
    each(check_option, &n);
    assert_true(n > 40);
}

static void find_in_help(const gal_command *c, const gal_option *o, void *user) {
    (void)user;
    char want[80], escaped[160] = "\\-\\-";
    (void)snprintf(want, sizeof want, "--%s", o->name);
    size_t n = strlen(escaped);
    for (const char *p = o->name; *p && n + 3 < sizeof escaped; p++) {
        if (*p == '-') escaped[n++] = '\\';
        escaped[n++] = *p;
    }
    escaped[n] = 0;
    char *h = text_of(help, c), *m = text_of(man, c);
    if (!strstr(h, want)) fail_msg("help %s lacks %s", c->name, want);
    if (!strstr(m, escaped)) fail_msg("galerne-%s(1) lacks %s", c->name, want);
    free(h);
    free(m);
}

static void test_help_and_man(void **state) {
    (void)state;
    each(find_in_help, NULL);
}

/* The part of a shell's completion that belongs to a command holds each of its options. */
static void test_completions(void **state) {
    (void)state;
    char *bash = text_of(completion, "bash"), *zsh = text_of(completion, "zsh"), *fish = text_of(completion, "fish");
    for (size_t i = 0; GAL_COMMANDS[i]; i++) {
        const gal_command *c = GAL_COMMANDS[i];
        char mark[64], want[160];
        (void)snprintf(mark, sizeof mark, "                %s) words='", c->name);
        const char *in_bash = strstr(bash, mark);
        (void)snprintf(mark, sizeof mark, "        %s)\n            _arguments", c->name);
        const char *in_zsh = strstr(zsh, mark);
        assert_true(in_bash && in_zsh);
        const char *bash_end = strstr(in_bash, ";;"), *zsh_end = strstr(in_zsh, ";;");
        for (size_t j = 0; j < c->n_options + GAL_N_GLOBAL_OPTIONS; j++) {
            const gal_option *o = j < c->n_options ? &c->options[j] : &GAL_GLOBAL_OPTIONS[j - c->n_options];
            (void)snprintf(want, sizeof want, " --%s", o->name);
            const char *at = strstr(in_bash, want);
            if (!at || at > bash_end) fail_msg("bash: %s lacks%s", c->name, want);
            (void)snprintf(want, sizeof want, "--%s[", o->name);
            at = strstr(in_zsh, want);
            if (!at || at > zsh_end) fail_msg("zsh: %s lacks --%s", c->name, o->name);
            (void)snprintf(want, sizeof want, "__fish_seen_subcommand_from %s' -l %s ", c->name, o->name);
            if (!strstr(fish, want)) fail_msg("fish: %s lacks --%s", c->name, o->name);
        }
    }
    free(bash);
    free(zsh);
    free(fish);
}

static void same_as_file(const char *dir, const char *name, char *text) {
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("%s was not built", path);
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        if (getc(f) != (unsigned char)text[i]) fail_msg("%s differs from the tables at byte %zu", path, i);
    }
    assert_int_equal(getc(f), EOF);
    assert_int_equal(fclose(f), 0);
    free(text);
}

static void test_built_pages(void **state) {
    (void)state;
    const char *dir = GAL_TEST_BUILD_DIR;
    same_as_file(dir, "man/galerne.1", text_of(man, NULL));
    for (size_t i = 0; GAL_COMMANDS[i]; i++) {
        char name[80];
        (void)snprintf(name, sizeof name, "man/galerne-%s.1", GAL_COMMANDS[i]->name);
        same_as_file(dir, name, text_of(man, GAL_COMMANDS[i]));
    }
    same_as_file(dir, "completions/galerne", text_of(completion, "bash"));
    same_as_file(dir, "completions/_galerne", text_of(completion, "zsh"));
    same_as_file(dir, "completions/galerne.fish", text_of(completion, "fish"));
}

static void test_values(void **state) {
    (void)state;
    char *argv[] = {
        (char[]){ "--threads" }, (char[]){ "2" },         (char[]){ "run" },     (char[]){ "--stop" },
        (char[]){ "a" },         (char[]){ "m" },         (char[]){ "-p" },      (char[]){ "--not-an-option" },
        (char[]){ "--stop=b" },  (char[]){ "--top-k=3" }, (char[]){ "--top-k" }, (char[]){ "4" }
    };
    gal_cli cli = { 0 };
    if (gal_cli_parse(&cli, (int)GAL_LEN(argv), argv)) fail_msg("%s", cli.diag.text);
    assert_int_equal(cli.device.threads, 2);
    assert_int_equal(cli.n_operands, 1);
    assert_string_equal(cli.operands[0], "m");
    assert_string_equal(gal_cli_string(&cli, "prompt"), "--not-an-option");
    assert_int_equal(gal_cli_count(&cli, "stop"), 2);
    assert_string_equal(gal_cli_nth(&cli, "stop", 1), "b");
    assert_int_equal(gal_cli_int(&cli, "top-k"), 4);
    assert_false(gal_cli_given(&cli, "top-p"));
    assert_string_equal(gal_cli_string(&cli, "dtype"), "f32");
    gal_cli_free(&cli);
}

static void test_exit_codes(void **state) {
    (void)state;
    static const int WANT[] = { 0, 1, 2, 3, 4, 4, 1, 130, 1, 5 };
    for (size_t i = 0; i < GAL_LEN(WANT); i++) assert_int_equal(gal_cli_exit_code((gal_err)i), WANT[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_tables),      cmocka_unit_test(test_help_and_man),
                                        cmocka_unit_test(test_completions), cmocka_unit_test(test_built_pages),
                                        cmocka_unit_test(test_values),      cmocka_unit_test(test_exit_codes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
