/* database.h - a SQLite file that survives a kill: opening with a check of what a torn copy may have left, errors as
 * ours, a journal that leaves one whole file behind. Refuses what is no regular file.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TRAIN_DATABASE_H
#define GAL_TRAIN_DATABASE_H

#include "base/err.h"

#include <sqlite3.h>

/* How long a call waits for another process that holds the file. */
enum { GAL_DB_PATIENCE_MS = 5000 };

typedef struct gal_db {
    sqlite3 *db;
    char *path;
} gal_db; /* {0}: none */

/* write: makes the file if it is not there. GAL_EINPUT: it is no database, or damaged. On failure nothing is held. */
gal_err gal_db_open(gal_db *out, const char *path, bool write, gal_diag *diag);
void gal_db_close(gal_db *d); /* leaves {0} */
/* Of SQLite's last error: GAL_EBUSY, GAL_EINPUT for damage, GAL_ENOMEM, a full disk with its bytes; else err. */
gal_err gal_db_fail(const gal_db *d, gal_err err, gal_diag *diag);
/* Statements without results. */
gal_err gal_db_run(const gal_db *d, const char *sql, gal_diag *diag);

#endif
