/* layout.c - what a MODEL operand means: which file or folder, in which layout. A layout is there when its
 * description and its weights are both there; of several in one folder Hugging Face's is read before Mistral's own,
 * and that before a GGUF file. Names alone decide: whether the files are good is for reading them to say.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "models/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TRIES = 100 };

static const char *const NAMES[GAL_LAYOUTS] = { "hf", "own", "gguf" };

const char *gal_layout_name(gal_layout l) { return l < GAL_LAYOUTS ? NAMES[l] : "any"; }

bool gal_layout_named(gal_layout *out, const char *name) {
    *out = GAL_LAYOUT_ANY;
    for (int i = 0; name && i < GAL_LAYOUTS; i++)
        if (strcmp(name, NAMES[i]) == 0) *out = (gal_layout)i;
    return !name || *out != GAL_LAYOUT_ANY;
}

/* A folder being looked at. Errors stick: what could not be asked must not count as absent. */
typedef struct look {
    const char *dir;
    gal_diag *diag;
    gal_err err;
} look;

static bool inside(look *l, const char *name, bool (*is)(const char *)) {
    gal_buf path = { 0 };
    const char *full = gal_path_join(&path, l->dir, name);
    bool there = full && is(full);
    if (!full && !l->err) l->err = gal_fail(l->diag, GAL_ENOMEM, "%s: no memory", l->dir);
    gal_buf_free(&path);
    return there;
}

/* Of "name-00002-of-00005.gguf" the 2, else 1: the first part stands for all. */
static int64_t part_of(const char *name) {
    enum { TAIL = 20, DIGITS = 5 };
    size_t n = strlen(name);
    char digits[DIGITS + 1] = "";
    int64_t no;
    if (n < TAIL || name[n - TAIL] != '-' || memcmp(name + n - TAIL + 6, "-of-", 4) != 0) return 1;
    memcpy(digits, name + n - TAIL + 1, DIGITS);
    return gal_parse_i64(digits, &no) ? no : 1;
}

/* The GGUF files of a folder: how many, and the path of the first. Not those of picture encoders, which others keep
 * beside a text model as mmproj*.gguf. */
static gal_err find_gguf(gal_buf *at, size_t *count, const char *dir, gal_diag *diag) {
    char **names = NULL;
    size_t n = 0;
    *count = 0;
    gal_err err = gal_list_dir(dir, &names, &n, diag);
    for (size_t i = 0; i < n && !err; i++) {
        size_t k = strlen(names[i]);
        if (k < 6 || strcmp(names[i] + k - 5, ".gguf") != 0 || strstr(names[i], "mmproj") || part_of(names[i]) != 1)
            continue;
        if ((*count)++ == 0 && !gal_path_join(at, dir, names[i]))
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    }
    gal_free_names(names, n);
    return err;
}

static const struct {
    const char *name, *description, *stem;
} FOLDERS[] = { [GAL_LAYOUT_HF] = { "Hugging Face's layout", "config.json", "model" },
                [GAL_LAYOUT_OWN] = { "Mistral's own layout", "params.json", "consolidated" } };

static bool described(look *l, gal_layout layout) { return inside(l, FOLDERS[layout].description, gal_exists); }

static bool whole(look *l, gal_layout layout) {
    bool weights = false;
    if (l->err || !described(l, layout)) return false;
    if (!l->err) l->err = gal_st_set_exists(&weights, l->dir, FOLDERS[layout].stem, l->diag);
    return weights;
}

gal_err gal_model_layouts(bool there[GAL_LAYOUTS], const char *dir, gal_diag *diag) {
    size_t count = 0;
    gal_buf at = { 0 };
    look l = { .dir = dir, .diag = diag };
    l.err = find_gguf(&at, &count, dir, diag);
    there[GAL_LAYOUT_HF] = whole(&l, GAL_LAYOUT_HF);
    there[GAL_LAYOUT_OWN] = whole(&l, GAL_LAYOUT_OWN);
    there[GAL_LAYOUT_GGUF] = count > 0;
    gal_buf_free(&at);
    return l.err;
}

/* No whole layout, one without its weights, or several GGUF files. */
static gal_err choose_poor(look *l, gal_layout *out, size_t count) {
    *out = described(l, GAL_LAYOUT_HF) ? GAL_LAYOUT_HF : GAL_LAYOUT_OWN; /* loading it says what is missing */
    if (described(l, *out) || l->err) return l->err;
    if (count)
        return gal_fail(l->diag, GAL_EINPUT, "%s: holds %zu GGUF files: name the one that is meant", l->dir, count);
    return gal_fail(l->diag, GAL_EINPUT,
                    "%s: not a model: looked for config.json, params.json, a GGUF file and checkpoints/step-N in it",
                    l->dir);
}

/* In a folder the layout to read; at holds a GGUF file's path if it is that. A run directory's checkpoints come
 * before a GGUF file that lies beside them. *unread: the folder could not be listed, so nobody knows what it holds.
 */
static gal_err choose(gal_buf *at, gal_layout *out, bool *unread, const char *dir, gal_layout want, gal_diag *diag) {
    size_t count = 0;
    look l = { .dir = dir, .diag = diag };
    bool any = want == GAL_LAYOUT_ANY;
    *out = want;
    if (any && whole(&l, GAL_LAYOUT_HF)) *out = GAL_LAYOUT_HF;
    if (*out == GAL_LAYOUT_ANY && whole(&l, GAL_LAYOUT_OWN)) *out = GAL_LAYOUT_OWN;
    if (l.err) return l.err;
    if (*out == GAL_LAYOUT_HF || *out == GAL_LAYOUT_OWN) {
        if (any || described(&l, *out) || l.err) return l.err;
        return gal_fail(diag, GAL_EINPUT, "%s: expected %s: %s is missing", dir, FOLDERS[want].name,
                        FOLDERS[want].description);
    }
    *out = GAL_LAYOUT_GGUF;
    bool run = any && inside(&l, "checkpoints", gal_is_dir);
    if (!run && !l.err) l.err = find_gguf(at, &count, dir, diag);
    *unread = l.err != GAL_OK;
    if (l.err || count == 1) return l.err;
    if (!any)
        return gal_fail(diag, GAL_EINPUT, "%s: expected one GGUF file (*.gguf), found %zu: name the file itself", dir,
                        count);
    gal_buf_clear(at);
    return choose_poor(&l, out, count);
}

static gal_err resolve(gal_buf *at, gal_layout *layout, bool *unread, const char *path, gal_layout want,
                       gal_diag *diag) {
    struct stat st;
    gal_err err = GAL_OK;
    gal_buf_clear(at);
    *unread = false;
    if (gal_is_file(path)) {
        if (want != GAL_LAYOUT_ANY && want != GAL_LAYOUT_GGUF)
            return gal_fail(diag, GAL_EINPUT, "%s: expected a folder in %s, found a file", path, FOLDERS[want].name);
        *layout = GAL_LAYOUT_GGUF;
    } else if (stat(path, &st) != 0) {
        return errno == ENOENT
                   ? gal_fail(diag, GAL_EINPUT, "%s: no such file or folder", path)
                   : gal_fail(diag, GAL_EINPUT, "%s: expected a model's folder: %s", path, strerror(errno));
    } else if (!S_ISDIR(st.st_mode)) {
        return gal_fail(diag, GAL_EINPUT, "%s: expected a model's folder (config.json and weights), found no folder",
                        path);
    } else {
        err = choose(at, layout, unread, path, want, diag);
    }
    if (!err && !at->len) gal_buf_puts(at, path);
    return !err && at->oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory", path) : err;
}

gal_err gal__resolve(gal_buf *at, gal_layout *layout, const char *path, gal_layout want, gal_diag *diag) {
    bool unread;
    return resolve(at, layout, &unread, path, want, diag);
}

/* Of "step-N" the N, else -1: a folder still being written has another name. */
static int64_t step_of(const char *name) {
    int64_t n;
    if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9' || !gal_parse_i64(name + 5, &n)) return -1;
    return n;
}

/* Takes checkpoints/name for dir if it is a folder (any more); *taken tells. */
static gal_err consider(gal_buf *dir, bool *taken, const char *checkpoints, const char *name, gal_diag *diag) {
    gal_buf at = { 0 };
    bool fits = gal_path_join(&at, checkpoints, name);
    *taken = fits && gal_is_dir(at.data);
    if (*taken) {
        gal_buf_clear(dir);
        gal_buf_add(dir, at.data, at.len);
        fits = !dir->oom;
    }
    gal_buf_free(&at);
    return fits ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "%s: no memory", checkpoints);
}

/* Into dir, which is empty if there is none. *again: one that is newer was removed meanwhile. What the newest lacks
 * is for loading to say: an older one in its place would be no answer. */
static gal_err look_for_newest(gal_buf *dir, bool *again, const char *checkpoints, gal_diag *diag) {
    char **names = NULL;
    size_t count = 0;
    gal_buf_clear(dir);
    gal_err err = gal_list_dir(checkpoints, &names, &count, diag);
    int64_t newest = -1, lost = -1;
    for (size_t i = 0; !err && i < count; i++) {
        int64_t n = step_of(names[i]);
        bool taken = false;
        if (n <= newest) continue;
        err = consider(dir, &taken, checkpoints, names[i], diag);
        if (taken)
            newest = n;
        else
            lost = GAL_MAX(lost, n);
    }
    *again = lost > newest;
    gal_free_names(names, count);
    return err;
}

/* Into dir, which is empty if there is none. A training that removes a checkpoint has written a newer one before. */
static gal_err newest_checkpoint(gal_buf *dir, const char *checkpoints, gal_diag *diag) {
    bool again = true;
    gal_err err = GAL_OK;
    gal_buf_clear(dir);
    if (!gal_is_dir(checkpoints)) return GAL_OK;
    for (int left = TRIES; !err && again && left > 0; left--) err = look_for_newest(dir, &again, checkpoints, diag);
    return err || dir->len ? err : consider(dir, &again, checkpoints, "best", diag);
}

gal_err gal_model_find_as(const char *path, gal_layout want, gal_buf *dir, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_diag why = { 0 };
    gal_layout layout;
    bool unread;
    gal_err err = resolve(&b, &layout, &unread, path, want, &why);
    if (!err) {
        gal_buf_clear(dir);
        gal_buf_puts(dir, b.data);
        if (dir->oom) err = gal_fail(&why, GAL_ENOMEM, "%s: no memory", path);
    } else if (err == GAL_EINPUT && !unread) {
        gal_diag looking = { 0 };
        look l = { .dir = path, .diag = &looking };
        bool adapter = inside(&l, "adapter_config.json", gal_exists);
        gal_buf_clear(dir);
        gal_err looked = l.err;
        if (adapter)
            gal_buf_puts(dir, path); /* an adapter alone stands for its base, too: gal_lora_base() */
        else if (!looked)
            looked = gal_path_join(&b, path, "checkpoints") ? newest_checkpoint(dir, b.data, &looking)
                                                            : gal_fail(&looking, GAL_ENOMEM, "%s: no memory", path);
        if (!looked && dir->oom) looked = gal_fail(&looking, GAL_ENOMEM, "%s: no memory", path);
        if (looked) why = looking;
        err = looked ? looked : dir->len ? GAL_OK : err;
    }
    gal_buf_free(&b);
    return err ? gal_fail(diag, err, "%s", why.text) : GAL_OK;
}

gal_err gal_model_find(const char *path, gal_buf *dir, gal_diag *diag) {
    return gal_model_find_as(path, GAL_LAYOUT_ANY, dir, diag);
}
