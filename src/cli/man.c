/* man.c - manual pages (man(7) macros) from the tables of options. Everything that comes from a table is escaped.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <ctype.h>
#include <string.h>

/* Hyphens become minus signs, which can be copied from the page; a line never begins with a control character. */
static void put_text(FILE *out, const char *s) {
    bool start = true;
    for (; *s; s++) {
        if (start && (*s == '.' || *s == '\'')) fputs("\\&", out);
        start = false;
        if (*s == '\\') {
            fputs("\\e", out);
        } else if (*s == '-') {
            fputs("\\-", out);
        } else if (s[0] == '\n' && s[1] == '\n') {
            fputs("\n.PP\n", out);
            s++;
            start = true;
        } else {
            putc(*s, out);
            start = *s == '\n';
        }
    }
}

static void put_option(FILE *out, const gal_option *o) {
    fputs(".TP\n", out);
    if (o->letter) fprintf(out, "\\fB\\-%c\\fR, ", o->letter);
    fputs("\\fB\\-\\-", out);
    put_text(out, o->name);
    fputs("\\fR", out);
    if (o->value) fprintf(out, " \\fI%s\\fR", o->value);
    putc('\n', out);
    put_text(out, o->help);
    for (size_t i = 0; o->kind == GAL_V_CHOICE && o->choices[i]; i++) {
        fputs(i ? ", " : ": ", out);
        put_text(out, o->choices[i]);
    }
    fputs(".\n", out);
    if (o->min < o->max && o->max < 1e15) fprintf(out, "From %.15g to %.15g.\n", o->min, o->max);
    if (o->fallback) {
        fputs("Default: ", out);
        put_text(out, o->fallback);
        fputs(".\n", out);
    }
    if (o->repeat) fputs("May be repeated.\n", out);
}

static void put_title(FILE *out, const char *name, const char *summary) {
    fputs(".TH GALERNE", out);
    if (name) putc('-', out);
    for (const char *p = name; p && *p; p++) putc(toupper((unsigned char)*p), out);
    fprintf(out, " 1 \"\" \"galerne %s\" \"User commands\"\n.SH NAME\ngalerne%s%s \\- ", gal_version(),
            name ? "\\-" : "", name ? name : "");
    put_text(out, summary);
    putc('\n', out);
}

static void program_page(FILE *out) {
    put_title(out, NULL, "train, run and study language models");
    fputs(".SH SYNOPSIS\n.B galerne\n\\fICOMMAND\\fR [\\fIoperands\\fR] [\\fIoptions\\fR]\n.SH COMMANDS\n", out);
    for (size_t i = 0; GAL_COMMANDS[i]; i++) {
        fprintf(out, ".TP\n\\fB%s\\fR (see \\fBgalerne\\-%s\\fR(1))\n", GAL_COMMANDS[i]->name, GAL_COMMANDS[i]->name);
        put_text(out, GAL_COMMANDS[i]->summary);
        fputs(".\n", out);
    }
    fputs(".SH OPTIONS\nEvery command understands:\n", out);
    for (size_t i = 0; i < GAL_N_GLOBAL_OPTIONS; i++) put_option(out, &GAL_GLOBAL_OPTIONS[i]);
}

static void command_page(FILE *out, const gal_command *c) {
    put_title(out, c->name, c->summary);
    fprintf(out, ".SH SYNOPSIS\n\\fBgalerne %s\\fR ", c->name);
    put_text(out, c->operands);
    fputs(" [\\fIoptions\\fR]\n", out);
    if (c->text) {
        fputs(".SH DESCRIPTION\n", out);
        put_text(out, c->text);
        putc('\n', out);
    }
    fputs(".SH OPTIONS\n", out);
    for (size_t i = 0; i < c->n_options; i++) put_option(out, &c->options[i]);
    for (size_t i = 0; i < GAL_N_GLOBAL_OPTIONS; i++) put_option(out, &GAL_GLOBAL_OPTIONS[i]);
    if (c->examples) {
        fputs(".SH EXAMPLES\n.nf\n", out);
        put_text(out, c->examples);
        fputs("\n.fi\n", out);
    }
}

void gal_cli_print_man(FILE *out, const gal_command *c) {
    if (c) {
        command_page(out, c);
    } else {
        program_page(out);
    }
    fputs(".SH EXIT STATUS\n"
          "0 done; 1 failed; 2 a mistake on the command line; 3 bad or missing input; 4 out of memory, or no such "
          "device; 130 interrupted.\n",
          out);
    fprintf(out, ".SH SEE ALSO\n.BR galerne%s (1)\n", c ? "" : "\\-help");
}
