/* rundir.c - the run directory as a place: its lock, its log, its configuration, and clearing away what killed runs
 * left behind. Invariant: nothing is touched before the lock is held. SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

void gal__run_log(gal_trainer *t, const char *fmt, ...) {
    char text[1000];
    va_list ap;
    if (!t->log) return;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text - 1, fmt, ap);
    va_end(ap);
    size_t used = GAL_MIN((size_t)GAL_MAX(n, 0), sizeof text - 2);
    text[used] = '\n';
    (void)gal_append_line(t->log, text, used + 1, &t->log_diag);
}

gal_err gal__run_write(const gal_trainer *t, const char *name, const gal_buf *text, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_err err = !text->oom && gal_path_join(&path, t->dir, name)
                      ? gal_write_file(path.data, text->data, text->len, diag)
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    gal_buf_free(&path);
    return err;
}

gal_err gal__run_write_config(const gal_trainer *t, gal_diag *diag) {
    gal_buf text = { 0 };
    gal_buf_puts(&text, "# The complete configuration of this run.\n");
    gal_settings_dump(&GAL_TRAIN_SETTINGS, t->config, &text);
    gal_err err = gal__run_write(t, "config.yaml", &text, diag);
    gal_buf_free(&text);
    return err;
}

/* gal_write_atomic()'s "NAME.tmp.HEX". */
static bool is_temporary(const char *name) {
    const char *at = strstr(name, ".tmp.");
    return at && at[5] && at[5 + strspn(at + 5, "0123456789abcdef")] == 0;
}

static gal_err clean_folder(const char *dir, gal_diag *diag) {
    char **names = NULL;
    size_t n = 0;
    gal_buf path = { 0 };
    if (!gal_is_dir(dir)) return GAL_OK;
    gal_err err = gal_list_dir(dir, &names, &n, diag);
    for (size_t i = 0; !err && i < n; i++)
        if (is_temporary(names[i]))
            err = gal_path_join(&path, dir, names[i]) ? gal_remove_tree(path.data, diag)
                                                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    gal_free_names(names, n);
    gal_buf_free(&path);
    return err;
}

/* Nobody else writes here, so temporaries are of runs that were killed. */
static gal_err clean(const gal_trainer *t, gal_diag *diag) {
    static const char *const PLACES[] = { "checkpoints", "data", "plots", "samples", "" };
    gal_buf path = { 0 };
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < GAL_LEN(PLACES); i++) {
        if (!gal_path_join(&path, t->dir, PLACES[i])) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
        if (!err && (i == 0 || !PLACES[i][0])) err = gal__checkpoint_clean(path.data, diag);
        if (!err) err = clean_folder(path.data, diag);
    }
    gal_buf_free(&path);
    return err;
}

/* Metrics that were torn in copying are set aside; a run is whole without its past losses. */
static gal_err open_metrics(gal_trainer *t, const char *path, gal_diag *diag) {
    gal_diag why = { 0 };
    gal_buf aside = { 0 }, journal = { 0 };
    gal_err err = gal_metrics_open(&t->metrics, path, true, &why);
    if (err != GAL_EINPUT) return err ? gal_fail(diag, err, "%s", why.text) : GAL_OK;
    gal_buf_printf(&aside, "%s.damaged", path);
    gal_buf_printf(&journal, "%s-journal", path);
    err = aside.oom || journal.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory", path)
                                   : gal_rename(path, aside.data, diag);
    if (!err) err = gal_remove_tree(journal.data, diag);
    if (!err) err = gal_metrics_open(&t->metrics, path, true, diag);
    if (!err) gal__train_note(t, "%s; kept as %s, the losses before are not in the new one", why.text, aside.data);
    gal_buf_free(&aside);
    gal_buf_free(&journal);
    return err;
}

gal_err gal__run_open(gal_trainer *t, gal_diag *diag) {
    gal_buf path = { 0 };
    t->made_dir = !gal_is_dir(t->dir);
    gal_err err = gal_make_dirs(t->dir, diag);
    if (!err && !gal_path_join(&path, t->dir, "lock")) err = gal_fail(diag, GAL_ENOMEM, "no memory");
    if (!err) err = gal_lock_take(&t->lock, path.data, t->dir, diag);
    t->mine = !err;
    if (!err && !gal_path_join(&path, t->dir, "config.yaml")) err = gal_fail(diag, GAL_ENOMEM, "no memory");
    if (!err && !t->resuming && gal_is_file(path.data))
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: holds a run already; --resume goes on with it, another directory starts anew", t->dir);
    if (!err && !gal_path_join(&path, t->dir, "checkpoints")) err = gal_fail(diag, GAL_ENOMEM, "no memory");
    if (!err) err = gal_make_dirs(path.data, diag);
    if (!err) err = clean(t, diag);
    if (!err && !gal_path_join(&path, t->dir, "log.txt")) err = gal_fail(diag, GAL_ENOMEM, "no memory");
    if (!err) err = gal_append_open(&t->log, path.data, diag);
    if (!err && !gal_path_join(&path, t->dir, "metrics.sqlite")) err = gal_fail(diag, GAL_ENOMEM, "no memory");
    if (!err) err = open_metrics(t, path.data, diag);
    if (!err && !t->lock.held)
        gal__train_note(t, "%s: this file system knows no locks: a second process would not be kept out", t->dir);
    gal_buf_free(&path);
    return err;
}

void gal__run_close(gal_trainer *t, bool leave_nothing) {
    if (t->metrics) (void)gal_metrics_flush(t->metrics, NULL);
    gal_metrics_close(t->metrics);
    gal_append_close(t->log);
    if (leave_nothing && t->mine && t->made_dir) (void)gal_remove_tree(t->dir, NULL);
    gal_lock_give(&t->lock);
}
