/* parse.c - the command line against the tables of options. Owns the list of given options; refuses, with the nearest
 * name, whatever the tables do not hold. Invariant: a value that was accepted lies within its option's range.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct gal_given {
    const gal_option *option;
    const char *text; /* NULL for a switch */
    int64_t i;
    double f;
} gal_given;

static const char *const NUMA[] = { "auto", "one", "mirror", NULL };
static const char *const CPU_LEVELS[] = { "ref", "sse42", "avx", "avx2", "avx512", "neon", NULL };

const gal_option GAL_GLOBAL_OPTIONS[] = {
    { .name = "device",
      .kind = GAL_V_STRING,
      .value = "DEVICE",
      .help = "what to compute on: cpu, cuda, or cuda:N for the GPU of that number; cpu if not given" },
    { .name = "cpu",
      .kind = GAL_V_CHOICE,
      .value = "LEVEL",
      .choices = CPU_LEVELS,
      .help = "kernels to compute with; the best that the processor has if not given" },
    { .name = "threads",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 0,
      .max = 1024,
      .fallback = "0",
      .word = "auto",
      .help =
          "threads to compute with; 0: one for each fast core, within a container's limit; auto: what bench MODEL "
          "--threads auto found to be best. Results do not depend on it" },
    { .name = "numa",
      .kind = GAL_V_CHOICE,
      .value = "HOW",
      .choices = NUMA,
      .fallback = "auto",
      .help =
          "of a machine with several memory nodes: auto spreads threads and memory over all, one keeps to a node, "
          "mirror is auto with a copy of the packed weights for each node" },
    { .name = "json", .help = "print one machine-readable object (or one a line) on standard output" },
    { .name = "quiet", .help = "no progress and no statistics on standard error" },
    { .name = "help", .letter = 'h', .help = "explain the command" },
};
const size_t GAL_N_GLOBAL_OPTIONS = GAL_LEN(GAL_GLOBAL_OPTIONS);

/* ---- nearest names --------------------------------------------------------------------------------------------- */

enum { NAME_MAX_CHARS = 40 };

/* Edit distance with swaps of neighbours counted once (Damerau, restricted form). */
static int distance(const char *a, const char *b) {
    size_t na = strlen(a), nb = strlen(b);
    if (na > NAME_MAX_CHARS || nb > NAME_MAX_CHARS) return NAME_MAX_CHARS;
    int d[3][NAME_MAX_CHARS + 1] = { { 0 } };
    for (size_t j = 0; j <= nb; j++) d[0][j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int *now = d[i % 3], *up = d[(i + 2) % 3], *up2 = d[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int best = up[j - 1] + (a[i - 1] != b[j - 1]);
            best = GAL_MIN(best, up[j] + 1);
            best = GAL_MIN(best, now[j - 1] + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) best = GAL_MIN(best, up2[j - 2] + 1);
            now[j] = best;
        }
    }
    return d[na % 3][nb];
}

typedef struct nearest {
    const char *name;
    int distance;
} nearest;

static void consider(nearest *n, const char *given, const char *name) {
    int d = distance(given, name);
    if (strlen(given) >= 3 && strncmp(given, name, strlen(given)) == 0) d = 1; /* an abbreviation */
    if (d < n->distance) *n = (nearest){ name, d };
}

static nearest nearest_start(const char *given) { return (nearest){ NULL, GAL_MAX(2, (int)strlen(given) / 3) + 1 }; }

const char *gal_cli_nearest(const char *name, const char *(*at)(size_t i)) {
    nearest n = nearest_start(name);
    for (size_t i = 0; at(i); i++) consider(&n, name, at(i));
    return n.name;
}

static const char *command_at(size_t i) { return GAL_COMMANDS[i] ? GAL_COMMANDS[i]->name : NULL; }

const char *gal_cli_nearest_command(const char *name) { return gal_cli_nearest(name, command_at); }

const gal_command *gal_cli_find(const char *name) {
    for (size_t i = 0; GAL_COMMANDS[i]; i++) {
        if (strcmp(GAL_COMMANDS[i]->name, name) == 0) return GAL_COMMANDS[i];
    }
    return NULL;
}

/* ---- tables -----------------------------------------------------------------------------------------------------
 */

/* Options of the command first: a command may give a global name a meaning of its own. */
static const gal_option *find_option(const gal_command *c, const char *name, size_t len) {
    for (size_t i = 0; c && i < c->n_options; i++) {
        const char *n = c->options[i].name;
        if (strlen(n) == len && memcmp(n, name, len) == 0) return &c->options[i];
    }
    for (size_t i = 0; i < GAL_N_GLOBAL_OPTIONS; i++) {
        const char *n = GAL_GLOBAL_OPTIONS[i].name;
        if (strlen(n) == len && memcmp(n, name, len) == 0) return &GAL_GLOBAL_OPTIONS[i];
    }
    return NULL;
}

static const gal_option *find_letter(const gal_command *c, char letter) {
    for (size_t i = 0; c && i < c->n_options; i++) {
        if (c->options[i].letter == letter) return &c->options[i];
    }
    return letter == 'h' ? find_option(NULL, "help", 4) : NULL;
}

gal_err gal_cli_usage(gal_cli *cli, const char *fmt, ...) {
    char text[900];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = 0;
    va_end(ap);
    if (!cli->command) return gal_fail(&cli->diag, GAL_EUSAGE, "%s", text);
    return gal_fail(&cli->diag, GAL_EUSAGE, "%s: %s", cli->command->name, text);
}

static gal_err unknown_option(gal_cli *cli, const char *arg) {
    size_t len = strcspn(arg, "=");
    if (strncmp(arg, "--", 2) != 0) {
        return gal_cli_usage(cli, "unknown option %.2s; 'galerne help%s%s' lists the options", arg,
                             cli->command ? " " : "", cli->command ? cli->command->name : "");
    }
    char name[NAME_MAX_CHARS + 1] = { 0 };
    memcpy(name, arg + 2, GAL_MIN(len - 2, (size_t)NAME_MAX_CHARS));
    nearest n = nearest_start(name);
    for (size_t i = 0; cli->command && i < cli->command->n_options; i++) {
        consider(&n, name, cli->command->options[i].name);
    }
    for (size_t i = 0; i < GAL_N_GLOBAL_OPTIONS; i++) consider(&n, name, GAL_GLOBAL_OPTIONS[i].name);
    if (n.name)
        return gal_cli_usage(cli, "unknown option %.*s; did you mean --%s?", (int)GAL_MIN(len, 80), arg, n.name);
    return gal_cli_usage(cli, "unknown option %.*s; 'galerne help%s%s' lists the options", (int)GAL_MIN(len, 80), arg,
                         cli->command ? " " : "", cli->command ? cli->command->name : "");
}

/* ---- values -----------------------------------------------------------------------------------------------------
 */

static gal_err choices_error(gal_cli *cli, const gal_option *o, const char *text) {
    char list[200] = "";
    size_t used = 0;
    for (size_t i = 0; o->choices[i]; i++) {
        int n = snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", o->choices[i]);
        if (n < 0 || (size_t)n >= sizeof list - used) break;
        used += (size_t)n;
    }
    return gal_cli_usage(cli, "--%s: expected one of %s, found '%.80s'", o->name, list, text);
}

static bool in_range(const gal_option *o, double x) { return !(o->min < o->max) || (x >= o->min && x <= o->max); }

static gal_err parse_number(gal_cli *cli, gal_given *g) {
    const gal_option *o = g->option;
    bool whole = o->kind == GAL_V_INT;
    if (o->word && strcmp(o->word, g->text) == 0) {
        g->i = GAL_CLI_AUTO;
        return GAL_OK;
    }
    char *end = NULL;
    errno = 0;
    if (whole) {
        g->i = strtoll(g->text, &end, 10);
        g->f = (double)g->i;
    } else {
        g->f = strtod(g->text, &end);
    }
    bool space = g->text[0] == ' ' || (g->text[0] >= '\t' && g->text[0] <= '\r');
    if (end == g->text || *end || errno || space || !isfinite(g->f)) {
        return gal_cli_usage(cli, "--%s: expected %s%s%s, found '%.80s'", o->name,
                             whole ? "a whole number" : "a number", o->word ? " or " : "", o->word ? o->word : "",
                             g->text);
    }
    if (!in_range(o, g->f)) {
        return gal_cli_usage(cli, "--%s: expected %.15g to %.15g, found %.80s", o->name, o->min, o->max, g->text);
    }
    return GAL_OK;
}

static gal_err parse_value(gal_cli *cli, gal_given *g) {
    if (g->option->kind == GAL_V_INT || g->option->kind == GAL_V_FLOAT) return parse_number(cli, g);
    if (g->option->kind == GAL_V_CHOICE) {
        for (size_t i = 0; g->option->choices[i]; i++) {
            if (strcmp(g->option->choices[i], g->text) == 0) return GAL_OK;
        }
        return choices_error(cli, g->option, g->text);
    }
    return GAL_OK;
}

/* ---- the walk over argv ------------------------------------------------------------------------------------------
 */

/* One option at argv[*i]; *i moves to its last word. */
static gal_err take_option(gal_cli *cli, int argc, char **argv, int *i) {
    const char *arg = argv[*i], *text = NULL;
    const gal_option *o;
    if (arg[1] == '-') {
        size_t len = strcspn(arg + 2, "=");
        o = find_option(cli->command, arg + 2, len);
        if (arg[2 + len] == '=') text = arg + 3 + len;
    } else {
        o = find_letter(cli->command, arg[1]);
        if (o && arg[2]) text = arg + 2;
    }
    if (!o) return unknown_option(cli, arg);
    if (o->kind == GAL_V_NONE) {
        if (text) return gal_cli_usage(cli, "--%s takes no value", o->name);
    } else if (!text) {
        if (*i + 1 >= argc) return gal_cli_usage(cli, "--%s needs a value (%s)", o->name, o->value);
        text = argv[++*i];
    }
    gal_given *g = &cli->given[cli->n_given];
    *g = (gal_given){ .option = o, .text = text };
    gal_err err = text ? parse_value(cli, g) : GAL_OK;
    if (err == GAL_OK) cli->n_given++;
    return err;
}

static gal_err take_command(gal_cli *cli, const char *name) {
    cli->command = gal_cli_find(name);
    if (cli->command) return GAL_OK;
    const char *near = gal_cli_nearest_command(name);
    if (near) return gal_fail(&cli->diag, GAL_EUSAGE, "unknown command '%.80s'; did you mean %s?", name, near);
    return gal_fail(&cli->diag, GAL_EUSAGE, "unknown command '%.80s'; 'galerne help' lists them", name);
}

static gal_err check_operands(gal_cli *cli) {
    const gal_command *c = cli->command;
    if (cli->n_operands < c->min_operands) {
        return gal_cli_usage(cli, "operand missing; usage: galerne %s %s", c->name, c->operands);
    }
    if (c->max_operands >= 0 && cli->n_operands > c->max_operands) {
        return gal_cli_usage(cli, "unexpected operand '%.80s'; usage: galerne %s %s", cli->operands[c->max_operands],
                             c->name, c->operands);
    }
    return GAL_OK;
}

/* `galerne X --help` becomes `galerne help X`. */
static void turn_into_help(gal_cli *cli, const char **operands) {
    const gal_command *asked = cli->command;
    const gal_command *help = gal_cli_find("help");
    GAL_ASSERT(help);
    cli->n_operands = 0;
    if (asked && asked != help) {
        operands[0] = asked->name;
        cli->n_operands = 1;
    }
    cli->command = help;
    cli->n_given = 0;
}

gal_err gal_cli_parse(gal_cli *cli, int argc, char **argv) {
    size_t n = (size_t)GAL_MAX(argc, 0);
    /* One block: room for every word as an option, then for every word as an operand. */
    char *block = gal_alloc_array(n + 2, sizeof(gal_given) + sizeof(char *));
    if (!block) return gal_fail(&cli->diag, GAL_ENOMEM, "no memory for the command line");
    cli->given = (gal_given *)(void *)block;
    const char **operands = (const char **)(void *)(block + (n + 2) * sizeof(gal_given));
    cli->operands = operands;
    bool options_end = false, help = false;
    for (int i = 0; i < argc; i++) {
        gal_err err = GAL_OK;
        if (!options_end && strcmp(argv[i], "--") == 0) {
            options_end = true;
        } else if (!options_end && argv[i][0] == '-' && argv[i][1]) {
            if (!cli->command && strcmp(argv[i], "--version") == 0) {
                err = take_command(cli, "version");
            } else {
                err = take_option(cli, argc, argv, &i);
            }
        } else if (!cli->command) {
            err = take_command(cli, argv[i]);
        } else {
            operands[cli->n_operands++] = argv[i];
        }
        if (err) return err;
    }
    for (size_t i = 0; i < cli->n_given; i++) help |= strcmp(cli->given[i].option->name, "help") == 0;
    if (help) {
        turn_into_help(cli, operands);
        return GAL_OK;
    }
    if (!cli->command) return GAL_OK;
    cli->json = gal_cli_given(cli, "json");
    cli->quiet = gal_cli_given(cli, "quiet");
    cli->device.device = gal_cli_string(cli, "device");
    cli->device.cpu = gal_cli_string(cli, "cpu");
    cli->device.threads = (int)gal_cli_int(cli, "threads");
    cli->device.numa = gal_cli_string(cli, "numa");
    return check_operands(cli);
}

void gal_cli_free(gal_cli *cli) {
    gal_free(cli->given);
    *cli = (gal_cli){ 0 };
}

/* ---- accessors ----------------------------------------------------------------------------------------------------
 */

static const gal_given *last_given(const gal_cli *cli, const char *name) {
    for (size_t i = cli->n_given; i-- > 0;) {
        if (strcmp(cli->given[i].option->name, name) == 0) return &cli->given[i];
    }
    return NULL;
}

static const gal_option *must_find(const gal_cli *cli, const char *name) {
    const gal_option *o = find_option(cli->command, name, strlen(name));
    GAL_ASSERT(o != NULL);
    return o;
}

bool gal_cli_given(const gal_cli *cli, const char *name) {
    (void)must_find(cli, name);
    return last_given(cli, name) != NULL;
}

int64_t gal_cli_int(const gal_cli *cli, const char *name) {
    const gal_option *o = must_find(cli, name);
    GAL_ASSERT(o->kind == GAL_V_INT);
    const gal_given *g = last_given(cli, name);
    if (g) return g->i;
    return o->fallback ? strtoll(o->fallback, NULL, 10) : 0;
}

double gal_cli_float(const gal_cli *cli, const char *name) {
    const gal_option *o = must_find(cli, name);
    GAL_ASSERT(o->kind == GAL_V_FLOAT);
    const gal_given *g = last_given(cli, name);
    if (g) return g->f;
    return o->fallback ? strtod(o->fallback, NULL) : 0.0;
}

const char *gal_cli_string(const gal_cli *cli, const char *name) {
    const gal_option *o = must_find(cli, name);
    GAL_ASSERT(o->kind >= GAL_V_STRING);
    const gal_given *g = last_given(cli, name);
    return g ? g->text : o->fallback;
}

size_t gal_cli_count(const gal_cli *cli, const char *name) {
    (void)must_find(cli, name);
    size_t n = 0;
    for (size_t i = 0; i < cli->n_given; i++) n += strcmp(cli->given[i].option->name, name) == 0;
    return n;
}

const char *gal_cli_nth(const gal_cli *cli, const char *name, size_t i) {
    (void)must_find(cli, name);
    for (size_t j = 0; j < cli->n_given; j++) {
        if (strcmp(cli->given[j].option->name, name) == 0 && i-- == 0) return cli->given[j].text;
    }
    return NULL;
}

int gal_cli_exit_code(gal_err err) {
    switch (err) {
    case GAL_OK:
        return 0;
    case GAL_EUSAGE:
        return 2;
    case GAL_EINPUT:
        return 3;
    case GAL_ENOMEM:
    case GAL_EDEVICE:
        return 4;
    case GAL_EBUSY:
        return 5;
    case GAL_EINTERRUPTED:
        return 130;
    case GAL_EFAIL:
    case GAL_EIO:
    case GAL_ERECORD:
        break;
    }
    return 1;
}
