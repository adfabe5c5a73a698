/* append.h - a text file that only grows, a line at a time. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_APPEND_H
#define GAL_BASE_APPEND_H

#include "base/err.h"

typedef struct gal_append gal_append;

/* Opens or makes path; half a line at its end, which a killed process or a copy may have left, is taken away. */
gal_err gal_append_open(gal_append **out, const char *path, gal_diag *diag);
/* text: one line with its newline. On failure (GAL_EIO) nothing of it stays in the file. */
gal_err gal_append_line(gal_append *a, const char *text, size_t n, gal_diag *diag);
void gal_append_close(gal_append *a);

#endif
