/* cli.h - how the program is put together: one table of options per command makes the parser, `galerne help COMMAND`,
 * the man pages and the completions of three shells.
 *
 * To add a command: a file cmd_NAME.c with a gal_command, its name in commands.c, its file in CMakeLists.txt. Only
 * src/cli prints, exits or reads the environment. Results go to standard output; progress, logs and errors to
 * standard error. An error is one line that begins with "galerne: ". SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_CLI_H
#define GAL_CLI_CLI_H

#include "base/err.h"

#include <signal.h>
#include <stdio.h>

typedef enum gal_value_kind {
    GAL_V_NONE, /* a switch: present or not */
    GAL_V_INT,
    GAL_V_FLOAT,
    GAL_V_STRING,
    GAL_V_FILE, /* like STRING; shells complete file names */
    GAL_V_DIR,
    GAL_V_CHOICE
} gal_value_kind;

typedef struct gal_option {
    const char *name; /* long name without the dashes */
    char letter;      /* 'p', 'o', 'h', or 0 */
    gal_value_kind kind;
    const char *value;          /* what help calls the value: "N", "FILE"; NULL for a switch */
    const char *help;           /* a phrase, no full stop */
    const char *fallback;       /* value when the option is absent, as text; NULL: none */
    double min, max;            /* INT and FLOAT, inclusive; both 0: any */
    const char *const *choices; /* CHOICE: ended by NULL */
    const char *word;           /* INT: a word that may stand for GAL_CLI_AUTO; NULL: none */
    bool repeat;                /* may be given several times; otherwise the last one counts */
} gal_option;

enum { GAL_CLI_AUTO = -1 };

typedef struct gal_cli gal_cli;

typedef struct gal_command {
    const char *name;
    const char *summary;            /* one phrase, no full stop */
    const char *operands;           /* as help shows them: "MODEL [TEXT]"; "" for none */
    int min_operands, max_operands; /* max -1: any number */
    const char *text;               /* paragraphs, an empty line between them; may be NULL */
    const char *examples;           /* one command line each; may be NULL */
    const gal_option *options;
    size_t n_options;
    gal_err (*run)(gal_cli *cli); /* the message of a failure goes into cli->diag */
} gal_command;

/* What a command gets: the parsed command line. */
struct gal_cli {
    const gal_command *command;
    int n_operands;
    const char *const *operands;
    gal_device_options device; /* --device, --cpu, --threads, --numa */
    bool json, quiet;
    gal_diag diag;
    struct gal_given *given; /* options in the order of the command line; see the accessors */
    size_t n_given;
    char cache[1024]; /* gal_cli_cache_folder() */
};

/* ---- reading options. A name that the command's table lacks, or of another kind, is a bug of the caller. ------- */

bool gal_cli_given(const gal_cli *cli, const char *name); /* on the command line, not by default */
/* Value or default; 0 or NULL where there is neither. */
int64_t gal_cli_int(const gal_cli *cli, const char *name);
double gal_cli_float(const gal_cli *cli, const char *name);
const char *gal_cli_string(const gal_cli *cli, const char *name); /* STRING, FILE, DIR, CHOICE */
/* Repeatable options: how many were given, and the i-th one's text. */
size_t gal_cli_count(const gal_cli *cli, const char *name);
const char *gal_cli_nth(const gal_cli *cli, const char *name, size_t i);

/* A usage error "COMMAND: message"; returns GAL_EUSAGE. */
gal_err gal_cli_usage(gal_cli *cli, const char *fmt, ...) GAL_PRINTF(2, 3);

/* ---- signals --------------------------------------------------------------------------------------------------- */

/* From here on Ctrl-C, SIGTERM and, unless it was ignored, SIGHUP are counted instead of ending the program; the
 * second one before a reset ends it at once with code 130. Commands that can stop cleanly call it and look at
 * gal_cli_interrupted(). */
void gal_cli_catch_interrupts(void);
/* What the first of them writes to standard error, at once and as it is: a text that stays, NULL: nothing. */
void gal_cli_say_at_interrupt(const char *text);
/* Whether a call that such a signal meets goes on (a write) or ends (a read that waits for the user). */
void gal_cli_go_on_after_interrupts(bool on);
int gal_cli_interrupted(void);       /* how many so far */
bool gal_cli_wants_stop(void *user); /* whether there was one, for those who ask all the time; user: of no use */
bool gal_cli_terminated(void);       /* whether one was SIGTERM or SIGHUP, which end a conversation, too */
void gal_cli_reset_interrupts(void); /* but for those */
/* While it is on, a terminal does not show what is typed: it would stand within what is printed. What is typed is
 * kept for the next line. Ends with the program, however that ends by a signal. */
void gal_cli_hush(bool on);

/* From here on reading a mapped file that shrank ends the program with code 3 and a message that names the file. Any
 * other SIGBUS ends it as before. Called once, by main(). */
void gal_cli_catch_faults(void);
/* A folder in the making, which is removed if that happens; NULL: none any more. */
void gal_cli_remove_at_fault(const char *folder);

/* ---- tables and what is made from them --------------------------------------------------------------------------
 */

extern const gal_option GAL_GLOBAL_OPTIONS[]; /* understood by every command */
extern const size_t GAL_N_GLOBAL_OPTIONS;
extern const gal_command *const GAL_COMMANDS[]; /* in the order of help, ended by NULL */

const gal_command *gal_cli_find(const char *name);     /* NULL: no such command */
const char *gal_cli_nearest_command(const char *name); /* NULL: nothing is near */
/* The same of any list of names: at(i) is the i-th, NULL after the last. */
const char *gal_cli_nearest(const char *name, const char *(*at)(size_t i));
/* argv without the program's name; its first operand is the command. Fills cli, which the caller zeroed; *command
 * stays NULL when there is none (`galerne` alone). --help anywhere gives the command `help` with the command as
 * operand. */
gal_err gal_cli_parse(gal_cli *cli, int argc, char **argv);
void gal_cli_free(gal_cli *cli);
int gal_cli_exit_code(gal_err err); /* 0 to 5 or 130: architecture of exit codes in one place */

void gal_cli_print_commands(FILE *out);
void gal_cli_print_help(FILE *out, const gal_command *c);
void gal_cli_print_man(FILE *out, const gal_command *c); /* NULL: the page of the program itself */
/* shell: "bash", "zsh" or "fish". */
void gal_cli_print_completion(FILE *out, const char *shell);

#endif
