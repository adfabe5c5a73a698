/* load.c - a model from a folder in Hugging Face layout (formats.md 2). Refuses folders that lack a weight or hold
 * one of another shape or of a type that we do not compute with. Weights stay in the mapped files, read-only; what
 * lies there unaligned, or in f64, is copied. SPDX-License-Identifier: Apache-2.0 */
#include "models/load.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "formats/safetensors.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_NOTES = 32, SHAPE_TEXT = 128, TRIES = 100 };

static void close_set(void *files) { gal_st_set_close(files); }
static gal_err bring_set(void *files, gal_bring *how, gal_diag *diag) { return gal_st_set_bring(files, how, diag); }

static const char *shape_text(char buf[SHAPE_TEXT], int ndim, const int64_t *dim) {
    size_t n = 0;
    buf[n++] = '[';
    for (int i = 0; i < ndim && n < SHAPE_TEXT - 32; i++)
        n += (size_t)snprintf(buf + n, SHAPE_TEXT - n, "%s%" PRId64, i ? ", " : "", dim[i]);
    buf[n++] = ']';
    buf[n] = 0;
    return buf;
}

gal_err gal__check_shape(const gal_w *w, const char *file, int ndim, const int64_t *dim, gal_diag *diag) {
    char want[SHAPE_TEXT], have[SHAPE_TEXT];
    bool same = ndim == w->ndim;
    for (int i = 0; same && i < w->ndim; i++) same = dim[i] == w->dim[i];
    if (same) return GAL_OK;
    return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": expected shape %s, found %s", file, w->name,
                    shape_text(want, w->ndim, w->dim), shape_text(have, ndim, dim));
}

/* Points w at the tensor's place in the mapped file, or copies it where it cannot be used as it lies. */
static gal_err take(gal_w *w, const gal_st_tensor *t, gal_diag *diag) {
    gal_err err = gal__check_shape(w, t->file, t->ndim, t->dim, diag);
    if (err) return err;
    gal_dtype dtype;
    if (!gal_st_dtype_ours(t->dtype, &dtype))
        return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": expected F32, F16, BF16 or F64, found %s", t->file,
                        w->name, gal_st_dtype_name(t->dtype));
    bool wide = dtype == GAL_F64;
    w->file = t->file;
    w->dtype = wide ? GAL_F32 : dtype;
    if (!wide && (uintptr_t)t->data % gal_dtype_bytes(dtype) == 0) {
        w->data = (void *)(uintptr_t)t->data; /* read-only; gal_w has one pointer for both kinds of memory */
        w->owned = false;
        return GAL_OK;
    }
    uint8_t *copy = gal_alloc((size_t)t->bytes);
    if (!copy)
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for tensor \"%s\": %" PRIu64 " bytes", t->file, w->name,
                        t->bytes);
    memcpy(copy, t->data, (size_t)t->bytes);
    w->data = copy;
    w->owned = true;
    if (!wide) return GAL_OK;
    float *narrow = gal_alloc(gal_wbytes(w));
    if (!narrow) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for tensor \"%s\"", t->file, w->name);
    gal_convert(narrow, GAL_F32, copy, GAL_F64, gal_wcount(w));
    w->data = narrow;
    gal_free(copy);
    return GAL_OK;
}

gal_err gal_model_add_note(gal_model *m, const char *file, const char *what, gal_diag *diag) {
    if (m->n_notes == MAX_NOTES) return GAL_OK;
    if (!m->notes) m->notes = gal_alloc_array(MAX_NOTES, sizeof *m->notes);
    gal_buf b = { 0 };
    gal_buf_printf(&b, "%s%s", file, what);
    if (!m->notes || b.oom) {
        gal_buf_free(&b);
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for a note", file);
    }
    m->notes[m->n_notes++] = b.data;
    return GAL_OK;
}

static int by_name(const void *a, const void *b) {
    const gal_w *x = *(gal_w *const *)a, *y = *(gal_w *const *)b;
    return strcmp(x->name, y->name);
}

static bool ends_with(const char *s, const char *tail) {
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

/* Refuses a tensor that no weight asked for: a model without it would be another one (fewer layers than the file has,
 * biases that are left out). Not needed: rotary frequencies of old files, which follow from the config; a head beside
 * a config that ties it to the embedding, which is said. */
static gal_err refuse_extra(gal_model *m, const gal_st_set *set, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < gal_st_set_notes(set); i++)
        err = gal_model_add_note(m, gal_st_set_note(set, i), "", diag);
    gal_w **sorted = gal_alloc_array(m->n_weights, sizeof(void *));
    if (!sorted) return gal_fail(diag, GAL_ENOMEM, "no memory for a table of %zu weights", m->n_weights);
    for (size_t i = 0; i < m->n_weights; i++) sorted[i] = &m->weights[i];
    qsort(sorted, m->n_weights, sizeof(void *), by_name);
    for (size_t i = 0; !err && i < gal_st_set_count(set); i++) {
        const gal_st_tensor *t = gal_st_set_at(set, i);
        char name[128];
        (void)snprintf(name, sizeof name, "%.120s", t->name);
        gal_w key = { .name = name }, *p = &key;
        if (strlen(t->name) < sizeof name - 8 && bsearch(&p, sorted, m->n_weights, sizeof(void *), by_name)) continue;
        if (ends_with(t->name, ".rotary_emb.inv_freq")) continue;
        for (char *c = name; *c; c++)
            if ((unsigned char)*c < 0x20) *c = '?';
        if (strcmp(name, "lm_head.weight") == 0)
            err = gal_model_add_note(
                m, t->file, ": tensor \"lm_head.weight\" is not used: config.json ties it to the embedding", diag);
        else
            err = gal_fail(
                diag, GAL_EINPUT,
                "%s: tensor \"%s\" belongs to no weight of the model: expected the %zu tensors that config.json "
                "asks for",
                t->file, name, m->n_weights);
    }
    gal_free(sorted);
    return err;
}

static gal_err take_all(gal_model *m, const char *dir, const gal_st_set *set, gal_diag *diag) {
    for (size_t i = 0; i < m->n_weights; i++) {
        gal_w *w = &m->weights[i];
        const gal_st_tensor *t = gal_st_set_find(set, w->name);
        char shape[SHAPE_TEXT];
        if (!t)
            return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\" of shape %s is missing; config.json asks for it",
                            dir, w->name, shape_text(shape, w->ndim, w->dim));
        gal_err err = take(w, t, diag);
        if (err) return err;
    }
    return refuse_extra(m, set, diag);
}

/* GAL_OK if dir is a folder with a config.json, whose path is left in b. */
static gal_err find_config(const char *dir, gal_buf *b, gal_diag *diag) {
    struct stat st;
    if (stat(dir, &st) != 0)
        return errno == ENOENT
                   ? gal_fail(diag, GAL_EINPUT, "%s: no such file or folder", dir)
                   : gal_fail(diag, GAL_EINPUT, "%s: expected a model's folder: %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return gal_fail(diag, GAL_EINPUT, "%s: expected a model's folder (config.json and weights), found %s", dir,
                        S_ISREG(st.st_mode) ? "a file" : "no folder");
    if (!gal_path_join(b, dir, "config.json")) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (gal_exists(b->data)) return GAL_OK; /* if it is no file, reading it will say what it is */
    if (!gal_path_join(b, dir, "params.json")) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (gal_is_file(b->data))
        return gal_fail(diag, GAL_EINPUT,
                        "%s: this folder has Mistral's own layout (params.json), which is not supported yet: "
                        "expected config.json",
                        dir);
    return gal_fail(diag, GAL_EINPUT, "%s: not a model: looked for config.json and checkpoints/step-N in it", dir);
}

/* Few enough weights that reading them all at once is not felt. */
static bool small(const gal_model *m) {
    size_t bytes = 0;
    for (size_t i = 0; i < m->n_weights; i++) bytes += gal_wbytes(&m->weights[i]);
    return bytes <= GAL_FINITE_BYTES;
}

static gal_err load_folder(gal_model **out, const char *dir, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_config config;
    gal_config_defaults(&config);
    gal_model *m = NULL;
    gal_st_set *set = NULL;
    gal_err err = find_config(dir, &path, diag);
    if (!err) err = gal_config_read(&config, path.data, diag);
    if (!err) err = gal_model_build(&m, &config, diag);
    if (!err) err = gal_st_set_open(&set, dir, diag);
    if (!err) {
        m->files = set;
        m->files_free = close_set;
        m->files_bring = bring_set;
        err = take_all(m, dir, set, diag);
    }
    gal_buf_free(&path);
    gal_config_free(&config);
    if (err)
        gal_model_free(m);
    else
        *out = m;
    return err;
}

gal_err gal_model_load(gal_model **out, const char *path, gal_diag *diag) {
    gal_model *m = NULL;
    gal_err err = gal_is_file(path) ? gal__load_gguf(&m, path, diag) : load_folder(&m, path, diag);
    if (!err && small(m)) err = gal_model_check_finite(m, diag);
    if (err)
        gal_model_free(m);
    else
        *out = m;
    return err;
}

uint64_t gal_model_mapped_bytes(const gal_model *m) {
    uint64_t sum = 0;
    if (m->files_read) return 0;
    for (size_t i = 0; i < m->n_weights; i++) sum += m->weights[i].owned ? 0 : gal_wbytes(&m->weights[i]);
    return sum;
}

gal_err gal_model_bring(gal_model *m, gal_bring *how, gal_diag *diag) {
    uint64_t mapped = gal_model_mapped_bytes(m), available = gal_memory_available();
    if (how->read && mapped > available)
        return gal_fail(diag, GAL_ENOMEM,
                        "reading the weights into memory needs %" PRIu64 " bytes, %" PRIu64 " are available; mapped, "
                        "they are read as they are needed",
                        mapped, available);
    gal_err err = m->files ? m->files_bring(m->files, how, diag) : GAL_OK;
    m->files_read = how->read && !err;
    return err;
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

gal_err gal_model_find(const char *path, gal_buf *dir, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_diag why = { 0 };
    gal_err err = gal_is_file(path) ? GAL_OK : find_config(path, &b, &why);
    if (!err) {
        gal_buf_clear(dir);
        gal_buf_puts(dir, path);
        if (dir->oom) err = gal_fail(&why, GAL_ENOMEM, "%s: no memory", path);
    } else if (err == GAL_EINPUT) {
        gal_diag looking = { 0 };
        gal_err looked = gal_path_join(&b, path, "checkpoints")
                             ? newest_checkpoint(dir, b.data, &looking)
                             : gal_fail(&looking, GAL_ENOMEM, "%s: no memory", path);
        if (looked) why = looking;
        err = looked ? looked : dir->len ? GAL_OK : err;
    }
    gal_buf_free(&b);
    return err ? gal_fail(diag, err, "%s", why.text) : GAL_OK;
}
