/* database.c - see database.h. SPDX-License-Identifier: Apache-2.0 */
#include "train/database.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>

gal_err gal_db_fail(const gal_db *d, gal_err err, gal_diag *diag) {
    int code = d->db ? sqlite3_errcode(d->db) : SQLITE_NOMEM;
    int why = d->db ? sqlite3_system_errno(d->db) : 0;
    if (code == SQLITE_FULL || (code == SQLITE_IOERR && why == ENOSPC))
        return gal_fail_write(diag, d->path, why == EDQUOT ? why : ENOSPC, 0);
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED) err = GAL_EBUSY;
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) err = GAL_EINPUT;
    if (code == SQLITE_NOMEM || (d->db && sqlite3_extended_errcode(d->db) == SQLITE_IOERR_NOMEM)) err = GAL_ENOMEM;
    return gal_fail(diag, err, "%s: %s", d->path, d->db ? sqlite3_errmsg(d->db) : "no memory");
}

gal_err gal_db_run(const gal_db *d, const char *sql, gal_diag *diag) {
    return sqlite3_exec(d->db, sql, NULL, NULL, NULL) == SQLITE_OK ? GAL_OK : gal_db_fail(d, GAL_EIO, diag);
}

/* A copy that was taken in the middle of a write may be torn. */
static gal_err check(const gal_db *d, gal_diag *diag) {
    sqlite3_stmt *s = NULL;
    gal_err err = GAL_OK;
    if (sqlite3_prepare_v2(d->db, "PRAGMA quick_check(1)", -1, &s, NULL) != SQLITE_OK ||
        sqlite3_step(s) != SQLITE_ROW) {
        err = gal_db_fail(d, GAL_EIO, diag);
    } else {
        const char *text = (const char *)sqlite3_column_text(s, 0);
        if (!text || strcmp(text, "ok") != 0)
            err = gal_fail(diag, GAL_EINPUT, "%s: damaged: %s", d->path, text ? text : "no memory");
    }
    (void)sqlite3_finalize(s);
    return err;
}

static gal_err open_file(gal_db *d, const char *path, bool write, gal_diag *diag) {
    d->path = gal_strdup(path);
    if (!d->path) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    if (gal_exists(path) && !gal_is_file(path))
        return gal_fail(diag, GAL_EINPUT, "%s: expected a database, found no regular file", path);
    /* A reader too must be able to write: what a killed program left half done is undone by whoever opens next. */
    int flags = SQLITE_OPEN_READWRITE | (write ? SQLITE_OPEN_CREATE : 0);
    if (sqlite3_open_v2(path, &d->db, flags, NULL) != SQLITE_OK)
        return gal_db_fail(d, write ? GAL_EIO : GAL_EINPUT, diag);
    (void)sqlite3_busy_timeout(d->db, GAL_DB_PATIENCE_MS);
    gal_err err = write ? check(d, diag) : GAL_OK;
    /* A journal that is deleted after each write, not a write-ahead log: outside those milliseconds the one file is
     * whole by itself, so that a folder copied meanwhile holds a readable one. EXTRA: what was written is still there
     * after a power cut. */
    if (!err && write) err = gal_db_run(d, "PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA;", diag);
    return err;
}

gal_err gal_db_open(gal_db *out, const char *path, bool write, gal_diag *diag) {
    *out = (gal_db){ 0 };
    gal_err err = open_file(out, path, write, diag);
    if (err) gal_db_close(out);
    return err;
}

void gal_db_close(gal_db *d) {
    (void)sqlite3_close(d->db);
    gal_free(d->path);
    *d = (gal_db){ 0 };
}
