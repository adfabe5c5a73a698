/* cmd_help.c - `galerne help`: text for the terminal, manual pages and completions, all from the tables of options.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static const char *const SHELLS[] = { "bash", "zsh", "fish", NULL };

static gal_err write_page(gal_cli *cli, const char *path, const gal_command *c, const char *shell) {
    FILE *f = fopen(path, "w");
    if (!f) return gal_fail(&cli->diag, GAL_EIO, "%s: %s", path, strerror(errno));
    if (shell) {
        gal_cli_print_completion(f, shell);
    } else {
        gal_cli_print_man(f, c);
    }
    bool bad = ferror(f) != 0;
    if (fclose(f) != 0) bad = true;
    return bad ? gal_fail(&cli->diag, GAL_EIO, "%s: could not be written", path) : GAL_OK;
}

/* DIR/man/galerne-NAME.1 and DIR/completions/; the names are what each shell looks for. The program's own page comes
 * last: the build takes it for the sign that all are there. */
static gal_err write_all(gal_cli *cli, const char *dir) {
    static const char *const FILES[] = { "galerne", "_galerne", "galerne.fish" };
    char path[PATH_MAX];
    if (strlen(dir) > sizeof path - 64) return gal_cli_usage(cli, "--write-all: the path is too long");
    for (size_t i = 0; SHELLS[i]; i++) {
        (void)snprintf(path, sizeof path, "%s/completions/%s", dir, FILES[i]);
        gal_err err = write_page(cli, path, NULL, SHELLS[i]);
        if (err) return err;
    }
    for (size_t i = 0; GAL_COMMANDS[i]; i++) {
        (void)snprintf(path, sizeof path, "%s/man/galerne-%s.1", dir, GAL_COMMANDS[i]->name);
        gal_err err = write_page(cli, path, GAL_COMMANDS[i], NULL);
        if (err) return err;
    }
    (void)snprintf(path, sizeof path, "%s/man/galerne.1", dir);
    return write_page(cli, path, NULL, NULL);
}

static gal_err run(gal_cli *cli) {
    const gal_command *about = NULL;
    if (cli->n_operands) {
        const char *name = cli->operands[0];
        about = gal_cli_find(name);
        if (!about) {
            const char *near = gal_cli_nearest_command(name);
            if (near) return gal_cli_usage(cli, "unknown command '%.80s'; did you mean %s?", name, near);
            return gal_cli_usage(cli, "unknown command '%.80s'; 'galerne help' lists them", name);
        }
    }
    if (gal_cli_given(cli, "write-all")) return write_all(cli, gal_cli_string(cli, "write-all"));
    if (gal_cli_given(cli, "completion")) {
        gal_cli_print_completion(stdout, gal_cli_string(cli, "completion"));
    } else if (gal_cli_given(cli, "man")) {
        gal_cli_print_man(stdout, about);
    } else if (about) {
        gal_cli_print_help(stdout, about);
    } else {
        gal_cli_print_commands(stdout);
    }
    return GAL_OK;
}

static const gal_option OPTIONS[] = {
    { .name = "man", .help = "print the manual page instead, in the form that man(1) reads" },
    { .name = "completion",
      .kind = GAL_V_CHOICE,
      .value = "SHELL",
      .choices = SHELLS,
      .help = "print the completion of a shell" },
    { .name = "write-all",
      .kind = GAL_V_DIR,
      .value = "DIR",
      .help = "write all manual pages and completions into DIR/man and DIR/completions, which exist" },
};

const gal_command gal_cmd_help = {
    .name = "help",
    .summary = "list the commands, or explain one",
    .operands = "[COMMAND]",
    .max_operands = 1,
    .examples = "galerne help run\ngalerne help --man run | man -l -\ngalerne help --completion fish | source",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
