/* load.c - a configuration from a file and from assignments on top of it, and which of the two is to blame for one
 * that cannot be. SPDX-License-Identifier: Apache-2.0 */
#include "train/loop.h"

#include <stdio.h>
#include <string.h>

#define NOBODY SIZE_MAX

typedef struct loaded {
    const char *path, *const *set;
    size_t n_set;
    gal_train_judge *judge;
    void *user;
} loaded;

static const char *name_of(const char *path) { return path ? path : "configuration"; }

/* The preset's sizes; of the assignments the last that names one did so. */
static gal_err take_preset(gal_train_config *out, const char *name, const loaded *l, size_t n, size_t without,
                           gal_diag *diag) {
    static const char KEY[] = "model.preset=";
    char where[300];
    gal_diag why = { 0 };
    (void)snprintf(where, sizeof where, "%.299s", name_of(l->path));
    gal_err wrong = GAL_EINPUT;
    for (size_t i = 0; i < n; i++) {
        if (i == without || strncmp(l->set[i], KEY, sizeof KEY - 1) != 0) continue;
        (void)snprintf(where, sizeof where, "--set %.200s", l->set[i]);
        wrong = GAL_EUSAGE;
    }
    return gal_train_config_preset(out, name, where, &why) ? gal_fail(diag, wrong, "%s", why.text) : GAL_OK;
}

/* With the first n assignments but for one. */
static gal_err load(gal_train_config *out, const loaded *l, size_t n, size_t without, gal_diag *diag) {
    char preset[GAL_PRESET_NAME] = "";
    for (int pass = 0;; pass++) {
        gal_err err = gal_train_config_defaults(out, diag);
        if (err) return err;
        if (pass) err = take_preset(out, preset, l, n, without, diag);
        if (!err && l->path) err = gal_settings_read(&GAL_TRAIN_SETTINGS, out, l->path, diag);
        for (size_t i = 0; !err && i < n; i++)
            if (i != without) err = gal_settings_set(&GAL_TRAIN_SETTINGS, out, l->set[i], diag);
        if (!err && (pass || !out->model.preset[0])) return GAL_OK;
        /* A preset's sizes lie below all that the file says, and the file names it. */
        if (!err) (void)snprintf(preset, sizeof preset, "%s", out->model.preset);
        gal_train_config_free(out);
        if (err) return err;
    }
}

gal_err gal_train_config_load(gal_train_config *out, const char *path, const char *const *set, size_t n_set,
                              gal_diag *diag) {
    const loaded l = { .path = path, .set = set, .n_set = n_set };
    return load(out, &l, n_set, NOBODY, diag);
}

/* ---- who is to blame ---------------------------------------------------------------------------------------------
 */

static gal_err judge_again(const loaded *l, size_t n, size_t without, gal_diag *diag) {
    gal_train_config c;
    *diag = (gal_diag){ 0 };
    gal_err err = load(&c, l, n, without, diag);
    if (err) return err;
    err = l->judge(&c, name_of(l->path), l->user, diag);
    gal_train_config_free(&c);
    return err;
}

/* Whether it was the command line, and then what of it; *who is "" where the file says that by itself. */
static gal_err blame(char *who, size_t size, const loaded *l, const gal_diag *found, gal_diag *other) {
    gal_err err = GAL_EINPUT;
    size_t n = l->n_set;
    for (; n > 0; n--) {
        err = judge_again(l, l->n_set, n - 1, other);
        if (!err || err == GAL_ENOMEM) break;
    }
    if (err == GAL_ENOMEM) return err;
    if (n > 0) {
        (void)snprintf(who, size, "--set %.200s", l->set[n - 1]);
        return GAL_OK;
    }
    err = judge_again(l, 0, NOBODY, other);
    if (err == GAL_ENOMEM) return err;
    const bool same = err && strcmp(other->text, found->text) == 0;
    (void)snprintf(who, size, "%s", same ? "" : "--set");
    return GAL_OK;
}

gal_err gal_train_config_judge(const gal_train_config *c, const char *path, const char *const *set, size_t n_set,
                               gal_train_judge *judge, void *user, gal_diag *diag) {
    const loaded l = { path, set, n_set, judge, user };
    gal_diag found = { 0 }, other = { 0 };
    char who[300] = "";
    gal_err err = judge(c, name_of(path), user, &found);
    if (err == GAL_EINPUT && n_set) {
        gal_err failed = blame(who, sizeof who, &l, &found, &other);
        if (failed) return gal_fail(diag, failed, "%s", other.text);
    }
    if (!err) return GAL_OK;
    other = (gal_diag){ 0 };
    if (who[0]) (void)judge(c, who, user, &other);
    /* A file that is missing is told in its own name, whoever named it. */
    const bool theirs = who[0] && strncmp(other.text, who, strlen(who)) == 0;
    return gal_fail(diag, theirs ? GAL_EUSAGE : err, "%s", theirs ? other.text : found.text);
}
