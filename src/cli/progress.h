/* progress.h - the one line that tells how a training goes. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_PROGRESS_H
#define GAL_CLI_PROGRESS_H

#include "galerne/train.h"

#include <stddef.h>

enum { GAL_PROGRESS_BYTES = 2400 };

/* The line of a step into text, of at least GAL_PROGRESS_BYTES. columns: of the terminal; the line stays one shorter,
 * so that it never wraps, and leaves out what is least missed: first the bar, then learning rate, speed, bits per
 * byte, time left. 0: no terminal; all of it, without the bar. Returns its length. */
size_t gal_cli_progress(char *text, const gal_train_event *e, int columns);

#endif
