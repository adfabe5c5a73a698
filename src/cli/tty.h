/* tty.h - the terminal while a line is edited: what its driver does with bytes, what it was asked for, and that it
 * gets back what it had, however the program ends or stops. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_TTY_H
#define GAL_CLI_TTY_H

#include <stdbool.h>

/* Remembers how standard input's terminal is set and from then on meets signals: of a window that changed, of being
 * stopped and continued, and those that would end the program. */
void gal_tty_open(void);
/* While a line is edited: pasted text is asked to come between marks (paste), and what the editor made of the
 * terminal is undone when the program stops or ends, and made again when it goes on. on: once the editor has set it.
 */
void gal_tty_editing(bool on, bool paste);

/* Until input waits (1), that many milliseconds have passed (0; below 0: no limit) or a signal came (-1). */
int gal_tty_wait(int milliseconds);
bool gal_tty_resized(void);   /* since it was asked last */
bool gal_tty_continued(void); /* the same; the terminal is set as the editor had it */
void gal_tty_fresh(void);     /* forgets both */

/* The signal that the terminal's driver would make of a key, 0: none; and sending it to all of a pipeline. */
int gal_tty_means(unsigned key);
void gal_tty_act(int signal_number);

/* ---- for signal handlers --------------------------------------------------------------------------------------- */

void gal_tty_restore(void); /* the terminal as it was, unless it is another program's now */
void gal_tty_wake(void);    /* gal_tty_wait() returns */

#endif
