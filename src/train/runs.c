/* runs.c - see runs.h. SPDX-License-Identifier: Apache-2.0 */
#include "train/runs.h"

#include "base/file.h"
#include "base/lock.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static gal_err no_memory(gal_diag *diag) { return gal_fail(diag, GAL_ENOMEM, "no memory for the list of runs"); }

bool gal_is_run(const char *path) {
    static const char *const SIGNS[] = { "metrics.sqlite", "config.yaml" };
    gal_buf sign = { 0 };
    bool found = false;
    for (size_t i = 0; !found && i < GAL_LEN(SIGNS); i++) {
        const char *name = gal_path_join(&sign, path, SIGNS[i]);
        found = name && gal_is_file(name);
    }
    gal_buf_free(&sign);
    return found;
}

gal_err gal_run_metrics(gal_metrics **m, const char *run, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_err err = gal_path_join(&path, run, "metrics.sqlite") ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory");
    if (!err && !gal_is_file(path.data))
        err = gal_fail(diag, GAL_EINPUT, "%s: no run of galerne: expected metrics.sqlite in it", run);
    if (!err) err = gal_metrics_open(m, path.data, false, diag);
    gal_buf_free(&path);
    return err;
}

gal_err gal_run_state(gal_metrics *m, const char *run, char *text, size_t bytes, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_metrics_get_fact(m, "state", text, bytes);
    gal_err err = gal_path_join(&path, run, "lock") ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory");
    if (!err && strcmp(text, "running") == 0 && !gal_lock_taken(path.data)) (void)snprintf(text, bytes, "broken");
    gal_buf_free(&path);
    return err;
}

/* ---- finding them ------------------------------------------------------------------------------------------------
 */

static gal_err keep(gal_run_list *list, const char *path, gal_diag *diag) {
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->paths[i], path) == 0) return GAL_OK;
    if (list->n == GAL_RUNS_MOST) {
        list->left_out++;
        return GAL_OK;
    }
    void *paths = list->paths;
    bool ok = !gal_grow(&paths, &list->cap, list->n + 1, sizeof *list->paths);
    list->paths = paths;
    if (!ok || !(list->paths[list->n] = gal_strdup(path))) return no_memory(diag);
    list->n++;
    return GAL_OK;
}

static gal_err find(gal_run_list *list, const char *place, int depth, gal_diag *diag) {
    char **names = NULL;
    size_t n = 0;
    gal_buf path = { 0 };
    gal_diag why = { 0 };
    if (gal_is_run(place)) return keep(list, place, diag);
    gal_err err = gal_list_dir(place, &names, &n, &why);
    if (err == GAL_ENOMEM) return no_memory(diag);
    err = GAL_OK; /* one that cannot be read holds nothing for us */
    for (size_t i = 0; !err && i < n; i++) {
        if (names[i][0] == '.') continue;
        if (!gal_path_join(&path, place, names[i]))
            err = no_memory(diag);
        else if (gal_is_dir(path.data) && (depth || gal_is_run(path.data)))
            err = find(list, path.data, depth - 1, diag);
    }
    gal_free_names(names, n);
    gal_buf_free(&path);
    return err;
}

gal_err gal_runs_find(gal_run_list *list, const char *place, gal_diag *diag) {
    if (!gal_is_dir(place)) return gal_fail(diag, GAL_EINPUT, "%s: no folder of runs here", place);
    return find(list, place, 1, diag);
}

void gal_run_list_free(gal_run_list *list) {
    for (size_t i = 0; i < list->n; i++) gal_free(list->paths[i]);
    gal_free(list->paths);
    *list = (gal_run_list){ 0 };
}
