/* lines.h - lines and longer messages from a person at a terminal, with editing and history where the build has a
 * library for it, or from a pipe. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_LINES_H
#define GAL_CLI_LINES_H

#include "base/buf.h"

typedef struct gal_lines gal_lines;

/* history: a file that is read now and written by close, NULL: none. */
gal_err gal_lines_open(gal_lines **out, const char *history, gal_diag *diag);
/* $XDG_STATE_HOME/galerne/NAME or ~/.local/state/galerne/NAME, its folder made; NULL when there is no place for it.
 */
const char *gal_lines_history(gal_buf *b, const char *name);
void gal_lines_close(gal_lines *l);
/* Words that Tab completes at the beginning of a line: word(i), NULL after the last. */
void gal_lines_complete(gal_lines *l, const char *(*word)(size_t i));
bool gal_lines_terminal(const gal_lines *l);

/* NULL at the end of input, after Ctrl-C and once the program is to end; n bytes, without the newline; valid until
 * the next call. The prompt is shown at a terminal only. */
const char *gal_lines_next(gal_lines *l, const char *prompt, size_t *n);
/* After NULL: whether something had been typed by then. */
bool gal_lines_had_text(const gal_lines *l);

/* A message: one line, or several of them where a line ends with a backslash, stands between """ and """, or was
 * pasted. n: its bytes. prompt for the first line, more for the others. */
const char *gal_lines_message(gal_lines *l, const char *prompt, const char *more, size_t *n);

#endif
