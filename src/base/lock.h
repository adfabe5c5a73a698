/* lock.h - one process at a time. The kernel keeps the lock, not the file's existence: whoever was killed holds
 * nothing. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_LOCK_H
#define GAL_BASE_LOCK_H

#include "base/err.h"

typedef struct gal_lock {
    bool held;
    int fd;
} gal_lock; /* {0}: not taken */

/* Makes path if need be, locks it and writes into it who holds it. If somebody does already: GAL_EBUSY with
 * "WHAT is held by process N on HOST since ...", and nothing was touched. Where the file system knows no locks,
 * GAL_OK with held false. */
gal_err gal_lock_take(gal_lock *l, const char *path, const char *what, gal_diag *diag);
void gal_lock_give(gal_lock *l); /* the file stays, empty; {0} is allowed */
/* Whether somebody holds it now, this process included; takes nothing. */
bool gal_lock_taken(const char *path);

#endif
