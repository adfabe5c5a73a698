/* help.c - help on the terminal, from the tables of options. SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <string.h>

enum { WIDTH = 100, LEFT = 30 };

/* Words of text, wrapped at WIDTH and indented; the cursor stands at column `at`. Empty lines stay. */
static void wrap(FILE *out, const char *text, int indent, int at) {
    bool fresh = true; /* nothing on this line yet */
    while (*text) {
        if (*text == '\n' || *text == ' ') {
            if (text[0] == '\n' && text[1] == '\n') {
                fprintf(out, "\n\n%*s", indent, "");
                at = indent;
                fresh = true;
            }
            text++;
            continue;
        }
        int len = (int)strcspn(text, " \n");
        if (!fresh && at + 1 + len > WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
            fresh = true;
        }
        at += fprintf(out, "%s%.*s", fresh ? "" : " ", len, text);
        fresh = false;
        text += len;
    }
    putc('\n', out);
}

static void print_number(FILE *out, double x) {
    if (x >= 1e15) {
        fputs("any", out);
    } else {
        fprintf(out, "%.15g", x);
    }
}

static void print_option(FILE *out, const gal_option *o) {
    int at = o->letter ? fprintf(out, "  -%c, --%s", o->letter, o->name) : fprintf(out, "      --%s", o->name);
    if (o->value) at += fprintf(out, " %s", o->value);
    if (at >= LEFT - 1) {
        putc('\n', out);
        at = 0;
    }
    fprintf(out, "%*s", LEFT - at, "");
    char text[1200];
    size_t n = 0;
    FILE *t = fmemopen(text, sizeof text, "w");
    if (!t) return;
    fputs(o->help, t);
    if (o->kind == GAL_V_CHOICE) {
        for (size_t i = 0; o->choices[i]; i++) fprintf(t, "%s%s", i ? ", " : ": ", o->choices[i]);
    }
    bool range = o->min < o->max, repeat = o->repeat, fallback = o->fallback != NULL;
    if (range || repeat || fallback) fputs(" [", t);
    if (range) {
        print_number(t, o->min);
        fputs(" to ", t);
        print_number(t, o->max);
    }
    if (fallback) fprintf(t, "%sdefault %s", range ? "; " : "", o->fallback);
    if (repeat) fprintf(t, "%smay be repeated", range || fallback ? "; " : "");
    if (range || repeat || fallback) fputs("]", t);
    n = (size_t)GAL_MAX(ftell(t), 0);
    (void)fclose(t);
    text[GAL_MIN(n, sizeof text - 1)] = 0;
    wrap(out, text, LEFT, LEFT);
}

void gal_cli_print_commands(FILE *out) {
    fprintf(out,
            "galerne %s - train, run and study language models\n\n"
            "Usage: galerne COMMAND [operands] [--options]\n\nCommands:\n",
            gal_version());
    for (size_t i = 0; GAL_COMMANDS[i]; i++) {
        fprintf(out, "  %-10s  %s\n", GAL_COMMANDS[i]->name, GAL_COMMANDS[i]->summary);
    }
    fputs("\n'galerne help COMMAND' explains one of them.\n", out);
}

void gal_cli_print_help(FILE *out, const gal_command *c) {
    fprintf(out, "Usage: galerne %s", c->name);
    if (c->operands[0]) fprintf(out, " %s", c->operands);
    fprintf(out, " [options]\n\ngalerne %s: %s.\n", c->name, c->summary);
    if (c->text) {
        putc('\n', out);
        wrap(out, c->text, 0, 0);
    }
    if (c->n_options) fputs("\nOptions:\n", out);
    for (size_t i = 0; i < c->n_options; i++) print_option(out, &c->options[i]);
    fputs("\nOptions of every command:\n", out);
    for (size_t i = 0; i < GAL_N_GLOBAL_OPTIONS; i++) print_option(out, &GAL_GLOBAL_OPTIONS[i]);
    if (!c->examples) return;
    fputs("\nExamples:\n", out);
    for (const char *p = c->examples; *p;) {
        int len = (int)strcspn(p, "\n");
        fprintf(out, "  %.*s\n", len, p);
        p += len;
        if (*p) p++;
    }
}
