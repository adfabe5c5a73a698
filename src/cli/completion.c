/* completion.c - what bash, zsh and fish need to complete a command line, from the tables of options.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <string.h>

typedef void (*option_fn)(FILE *out, const gal_command *c, const gal_option *o);

static void each_option(FILE *out, const gal_command *c, option_fn fn) {
    for (size_t i = 0; i < c->n_options; i++) fn(out, c, &c->options[i]);
    for (size_t i = 0; i < GAL_N_GLOBAL_OPTIONS; i++) fn(out, c, &GAL_GLOBAL_OPTIONS[i]);
}

static void command_names(FILE *out) {
    for (size_t i = 0; GAL_COMMANDS[i]; i++) fprintf(out, "%s%s", i ? " " : "", GAL_COMMANDS[i]->name);
}

static void choice_words(FILE *out, const gal_option *o, const char *separator) {
    for (size_t i = 0; o->choices[i]; i++) fprintf(out, "%s%s", i ? separator : "", o->choices[i]);
}

/* ---- bash
 * ---------------------------------------------------------------------------------------------------------- */

static void bash_word(FILE *out, const gal_command *c, const gal_option *o) {
    (void)c;
    fprintf(out, " --%s", o->name);
}

/* One branch for the word after an option that takes a value. */
static void bash_value(FILE *out, const gal_command *c, const gal_option *o) {
    if (o->kind == GAL_V_NONE) return;
    fprintf(out, "        %s:--%s", c->name, o->name);
    if (o->letter) fprintf(out, "|%s:-%c", c->name, o->letter);
    if (o->kind == GAL_V_FILE) {
        fputs(") mapfile -t COMPREPLY < <(compgen -f -- \"$word\") ;;\n", out);
    } else if (o->kind == GAL_V_DIR) {
        fputs(") mapfile -t COMPREPLY < <(compgen -d -- \"$word\") ;;\n", out);
    } else if (o->kind == GAL_V_CHOICE) {
        fputs(") mapfile -t COMPREPLY < <(compgen -W '", out);
        choice_words(out, o, " ");
        fputs("' -- \"$word\") ;;\n", out);
    } else {
        fputs(") COMPREPLY=() ;;\n", out);
    }
}

static void bash(FILE *out) {
    fputs(
        "# bash completion for galerne\n_galerne() {\n"
        "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} words\n"
        "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        mapfile -t COMPREPLY < <(compgen -W '",
        out);
    command_names(out);
    fputs("' -- \"$word\")\n        return\n    fi\n    case $command:$before in\n", out);
    for (size_t i = 0; GAL_COMMANDS[i]; i++) each_option(out, GAL_COMMANDS[i], bash_value);
    fputs("        help:help) mapfile -t COMPREPLY < <(compgen -W '", out);
    command_names(out);
    fputs("' -- \"$word\") ;;\n        *)\n            case $command in\n", out);
    for (size_t i = 0; GAL_COMMANDS[i]; i++) {
        fprintf(out, "                %s) words='", GAL_COMMANDS[i]->name);
        each_option(out, GAL_COMMANDS[i], bash_word);
        fputs("' ;;\n", out);
    }
    fputs("                *) words='' ;;\n            esac\n"
          "            if [[ $word == -* ]]; then\n"
          "                mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
          "            else\n                mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n            fi ;;\n"
          "    esac\n}\ncomplete -o filenames -F _galerne galerne\n",
          out);
}

/* ---- zsh
 * ----------------------------------------------------------------------------------------------------------- */

/* Text inside single quotes and inside the brackets of _arguments. */
static void zsh_text(FILE *out, const char *s) {
    for (; *s; s++) {
        if (*s == '\'') {
            fputs("'\\''", out);
        } else {
            if (*s == '[' || *s == ']' || *s == ':' || *s == '\\') putc('\\', out);
            putc(*s, out);
        }
    }
}

static void zsh_spec(FILE *out, const gal_option *o, const char *dashes, const char *name) {
    fprintf(out, "                '%s%s%s[", o->repeat ? "*" : "", dashes, name);
    zsh_text(out, o->help);
    putc(']', out);
    if (o->kind != GAL_V_NONE) {
        putc(':', out);
        zsh_text(out, o->value);
        putc(':', out);
        if (o->kind == GAL_V_FILE) fputs("_files", out);
        if (o->kind == GAL_V_DIR) fputs("_files -/", out);
        if (o->kind == GAL_V_CHOICE) {
            putc('(', out);
            choice_words(out, o, " ");
            putc(')', out);
        }
    }
    fputs("' \\\n", out);
}

static void zsh_option(FILE *out, const gal_command *c, const gal_option *o) {
    (void)c;
    const char letter[2] = { o->letter, 0 };
    if (o->letter) zsh_spec(out, o, "-", letter);
    zsh_spec(out, o, "--", o->name);
}

static void zsh(FILE *out) {
    fputs("#compdef galerne\n_galerne() {\n    if (( CURRENT == 2 )); then\n        local -a commands=(\n", out);
    for (size_t i = 0; GAL_COMMANDS[i]; i++) {
        fprintf(out, "            '%s:", GAL_COMMANDS[i]->name);
        zsh_text(out, GAL_COMMANDS[i]->summary);
        fputs("'\n", out);
    }
    fputs("        )\n        _describe command commands\n        return\n    fi\n"
          "    local command=$words[2]\n    (( CURRENT-- ))\n    shift words\n    case $command in\n",
          out);
    for (size_t i = 0; GAL_COMMANDS[i]; i++) {
        fprintf(out, "        %s)\n            _arguments \\\n", GAL_COMMANDS[i]->name);
        each_option(out, GAL_COMMANDS[i], zsh_option);
        if (strcmp(GAL_COMMANDS[i]->name, "help") == 0) {
            fputs("                '1:command:(", out);
            command_names(out);
            fputs(")' ;;\n", out);
        } else {
            fputs("                '*:file:_files' ;;\n", out);
        }
    }
    fputs("    esac\n}\n_galerne \"$@\"\n", out);
}

/* ---- fish
 * ---------------------------------------------------------------------------------------------------------- */

static void fish_text(FILE *out, const char *s) {
    putc('\'', out);
    for (; *s; s++) {
        if (*s == '\'' || *s == '\\') putc('\\', out);
        putc(*s, out);
    }
    putc('\'', out);
}

static void fish_option(FILE *out, const gal_command *c, const gal_option *o) {
    /* The option is spelled out in a comment: fish has no dashes in its own form. */
    fprintf(out, "# --%s\ncomplete -c galerne -n '__fish_seen_subcommand_from %s' -l %s", o->name, c->name, o->name);
    if (o->letter) fprintf(out, " -s %c", o->letter);
    if (o->kind == GAL_V_FILE) fputs(" -r -F", out);
    if (o->kind == GAL_V_DIR) fputs(" -x -a '(__fish_complete_directories)'", out);
    if (o->kind == GAL_V_CHOICE) {
        fputs(" -x -a '", out);
        choice_words(out, o, " ");
        putc('\'', out);
    }
    if (o->kind == GAL_V_INT || o->kind == GAL_V_FLOAT || o->kind == GAL_V_STRING) fputs(" -x", out);
    fputs(" -d ", out);
    fish_text(out, o->help);
    putc('\n', out);
}

static void fish(FILE *out) {
    fputs("# fish completion for galerne\n", out);
    for (size_t i = 0; GAL_COMMANDS[i]; i++) {
        fprintf(out, "complete -c galerne -f -n __fish_use_subcommand -a %s -d ", GAL_COMMANDS[i]->name);
        fish_text(out, GAL_COMMANDS[i]->summary);
        putc('\n', out);
    }
    fputs("complete -c galerne -f -n '__fish_seen_subcommand_from help' -a '", out);
    command_names(out);
    fputs("'\n", out);
    for (size_t i = 0; GAL_COMMANDS[i]; i++) each_option(out, GAL_COMMANDS[i], fish_option);
}

void gal_cli_print_completion(FILE *out, const char *shell) {
    if (strcmp(shell, "bash") == 0) {
        bash(out);
    } else if (strcmp(shell, "zsh") == 0) {
        zsh(out);
    } else {
        fish(out);
    }
}
