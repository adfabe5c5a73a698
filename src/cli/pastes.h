/* pastes.h - what was pasted into a line, which shows a mark for it: "[paste 1: 12 lines]".
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_PASTES_H
#define GAL_CLI_PASTES_H

#include "base/buf.h"

enum { GAL_MARK_ROOM = 64 };

typedef struct gal_paste {
    char mark[GAL_MARK_ROOM];
    gal_buf text;
} gal_paste;

typedef struct gal_pastes {
    gal_paste *item;
    size_t n, cap, bytes, number;
} gal_pastes; /* {0}: none yet */

/* Of what a terminal sends: line ends become \n, other control characters but the tab go. */
void gal_paste_clean(gal_buf *text);
/* One short line of characters that can stand in a line as they are. */
bool gal_paste_is_plain(const gal_buf *text);

/* Takes text over and gives its mark, one that does not stand in line; NULL: no room. */
const char *gal_pastes_add(gal_pastes *p, gal_buf *text, const char *line);
/* That whose mark begins here, or NULL. */
const gal_paste *gal_pastes_at(const gal_pastes *p, const char *line, size_t n);
/* The line with pastes in the place of their marks. */
void gal_pastes_expand(const gal_pastes *p, const char *line, size_t n, gal_buf *out);
/* Whether something in the line looks like a mark. */
bool gal_pastes_marked(const char *line);
void gal_pastes_free(gal_pastes *p);

#endif
