/* screen.h - what standard output is: a terminal with colours or not, how wide, and text that it must not obey.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_SCREEN_H
#define GAL_CLI_SCREEN_H

#include "base/err.h"

#include <stdio.h>

/* A terminal, NO_COLOR is not set (no-color.org) and TERM is not dumb. */
bool gal_cli_colours(FILE *out);
bool gal_cli_is_terminal(FILE *out);
int gal_cli_width(FILE *out); /* columns now; 80 where nobody knows */

/* Before the first output of a command that shows text piece by piece while it catches Ctrl-C: pieces are gathered,
 * and written by gal_cli_flush(), which Ctrl-C does not cut short. gal_cli_write(): n bytes, which may be many, and
 * what was gathered before. */
void gal_cli_gather_output(void);
void gal_cli_flush(void);
void gal_cli_write(const char *s, size_t n);

/* Appends text for eyes: newlines and tabs stay (unless line is set), what else a terminal would obey, or would turn
 * other text around by, is spelled \u001b, bytes that are no character <FF>. */
typedef enum gal_safe { GAL_SAFE_TEXT, GAL_SAFE_LINE } gal_safe;
void gal_cli_print_safe(FILE *out, gal_safe how, const char *s, size_t n);
/* "WHO: TEXT" as one safe line of standard error: names and texts of files stand in it. WHO NULL: the text alone. */
void gal_cli_complain(const char *who, const char *text);

#endif
