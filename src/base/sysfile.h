/* sysfile.h - small files in which the kernel tells about the machine (/proc, /sys), below a root that tests replace.
 * What is absent, cut off or odd is "unknown": these never guess, never fail and allocate nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_SYSFILE_H
#define GAL_BASE_SYSFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { GAL__SYS_TEXT = 8192 };

/* The beginning of ROOT/path as a string; false if there is nothing to be read. root "": the machine's own. */
bool gal__sys_text(char text[GAL__SYS_TEXT], const char *root, const char *path, ...) GAL_PRINTF(3, 4);
/* The number after `key` at the start of a line; fallback if there is none. */
uint64_t gal__sys_after(const char *text, const char *key, uint64_t fallback);
/* The number that a text begins with ("max" and the like: fallback). */
uint64_t gal__sys_number(const char *text, uint64_t fallback);

#endif
