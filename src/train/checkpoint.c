/* checkpoint.c - writing, keeping and finding checkpoints; what is in trainer.json is in checkpoint_state.c.
 *
 *   checkpoints/step-N/  config.json generation_config.json model.safetensors   the public layout, or
 *                        adapter_config.json adapter_model.safetensors          PEFT's, of adapters
 *                        tokenizer.model                                        or another file with the vocabulary
 *                        optimizer.safetensors trainer.json                     what training goes on from
 *                        manifest.json                                          written last
 *
 * Invariant: a folder named step-N is whole. It is written under another name, every file synced, and renamed last;
 * an old one is renamed before it is removed, and only after the new one is on disk.
 * SPDX-License-Identifier: Apache-2.0 */
#include "train/checkpoint.h"

#include "base/hash.h"
#include "base/maps.h"
#include "base/mem.h"
#include "base/util.h"
#include "formats/json.h"
#include "formats/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const FILES[] = { "config.json",
                                     "generation_config.json",
                                     "model.safetensors",
                                     "adapter_config.json",
                                     "adapter_model.safetensors",
                                     "tokenizer.model",
                                     "tekken.json",
                                     "tokenizer.json",
                                     GAL__TRAIN_TEMPLATE,
                                     GAL__TRAIN_TOLD,
                                     "optimizer.safetensors",
                                     "trainer.json" };
enum { MANIFEST_MAX_BYTES = 1 << 20, TEMPLATE_MAX_BYTES = 1 << 26 };
/* Names of folders in the making and on their way out; what a killed run leaves of them is cleared away. */
#define UNFINISHED ".unfinished-"
#define REMOVED ".removed-"

/* ---- optimiser state ---------------------------------------------------------------------------------------------
 */

static gal_err read_far(void *dev, void *to, const void *from, size_t bytes, gal_diag *diag) {
    return gal_dev_download(dev, to, from, bytes, diag);
}

static gal_err save_states(const gal_trainer *t, const char *path, gal_diag *diag) {
    size_t n = t->opt->n_pools;
    gal_st_item *items = gal_alloc_array(n, sizeof *items);
    gal_buf *names = gal_alloc_array(n, sizeof *names);
    bool ok = items && names;
    for (size_t i = 0; ok && i < n; i++) {
        const gal_optim_pool *p = &t->opt->pool[i];
        gal_buf_printf(&names[i], "%s.%s", p->state, p->w->name);
        ok = !names[i].oom;
        items[i] = (gal_st_item){ .name = names[i].data,
                                  .dtype = GAL_ST_F32,
                                  .from = GAL_ST_F32,
                                  .ndim = p->ndim,
                                  .dim = p->dim,
                                  .data = p->data,
                                  .read = t->dev->far ? read_far : NULL,
                                  .user = t->dev };
    }
    gal_err err = ok ? gal_safetensors_write(path, items, n, NULL, 0, diag)
                     : gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    for (size_t i = 0; names && i < n; i++) gal_buf_free(&names[i]);
    gal_free(names);
    gal_free(items);
    return err;
}

static gal_err load_tensor(gal_dev *dev, const gal_safetensors *f, const char *path, const char *name,
                           gal_dtype dtype, int ndim, const int64_t *dim, void *to, gal_diag *diag) {
    const gal_st_tensor *x = gal_safetensors_find(f, name);
    uint64_t bytes = gal_dtype_bytes(dtype);
    for (int i = 0; i < ndim; i++) bytes *= (uint64_t)dim[i];
    if (!x) return gal_fail(diag, GAL_EINPUT, "%s: expected a tensor %s, found none", path, name);
    bool fits = x->dtype == gal_st_dtype_of(dtype) && x->bytes == bytes && x->ndim == ndim;
    for (int i = 0; fits && i < x->ndim; i++) fits = x->dim[i] == dim[i];
    if (!fits)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: %s: expected %s of %llu bytes in the shape of the model, found %s of %llu", path, name,
                        gal_st_dtype_name(gal_st_dtype_of(dtype)), (unsigned long long)bytes,
                        gal_st_dtype_name(x->dtype), (unsigned long long)x->bytes);
    gal_err err = gal_dev_upload(dev, to, x->data, (size_t)bytes, diag);
    gal_maps_forget_at(x->data, (size_t)bytes); /* copied; the file is three times the weights */
    return err;
}

/* A weight; rows of an adapter's are in Hugging Face's order in the file. */
static gal_err load_weight(const gal_trainer *t, const gal_safetensors *f, const char *path, const gal_optim_slot *s,
                           gal_diag *diag) {
    const gal_layout layout = t->model->config.layout;
    if (!s->w->rotary || !t->lora.rank || layout == GAL_LAYOUT_HF)
        return load_tensor(t->dev, f, path, s->w->name, s->master_dt, s->w->ndim, s->w->dim, s->master, diag);
    size_t bytes = (size_t)gal_wcount(s->w) * sizeof(float);
    float *x = gal_alloc(bytes), *y = gal_alloc(bytes);
    gal_dev plain = { .far = NULL };
    gal_err err = x && y ? load_tensor(&plain, f, path, s->w->name, GAL_F32, s->w->ndim, s->w->dim, x, diag)
                         : gal_fail(diag, GAL_ENOMEM, "%s: no memory for %s", path, s->w->name);
    if (!err) gal_lora_rows(s->w, GAL_LAYOUT_HF, layout, x, y);
    if (!err) err = gal_dev_upload(t->dev, s->master, y, bytes, diag);
    gal_free(x);
    gal_free(y);
    return err;
}

gal_err gal__checkpoint_load_tensors(gal_trainer *t, const char *dir, gal_diag *diag) {
    gal_buf weights = { 0 }, states = { 0 }, name = { 0 };
    gal_safetensors *w = NULL, *o = NULL;
    gal_err err = gal_path_join(&weights, dir, t->lora.rank ? "adapter_model.safetensors" : "model.safetensors") &&
                          gal_path_join(&states, dir, "optimizer.safetensors")
                      ? GAL_OK
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err) err = gal_safetensors_open(&w, weights.data, diag);
    if (!err) err = gal_safetensors_open(&o, states.data, diag);
    for (size_t i = 0; !err && i < t->opt->n; i++) err = load_weight(t, w, weights.data, &t->opt->slot[i], diag);
    for (size_t i = 0; !err && i < t->opt->n_pools; i++) {
        const gal_optim_pool *p = &t->opt->pool[i];
        gal_buf_clear(&name);
        gal_buf_printf(&name, "%s.%s", p->state, p->w->name);
        err = name.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir)
                       : load_tensor(t->dev, o, states.data, name.data, GAL_F32, p->ndim, p->dim, p->data, diag);
    }
    if (!err) err = gal_optim_refresh(t->opt, diag);
    gal_safetensors_close(w);
    gal_safetensors_close(o);
    gal_buf_free(&weights);
    gal_buf_free(&states);
    gal_buf_free(&name);
    return err;
}

uint64_t gal__checkpoint_bytes(const gal_trainer *t) {
    uint64_t bytes = t->tok_bytes.len + (1 << 16);
    /* 200: a tensor's line in the header of its file */
    for (size_t i = 0; i < t->opt->n; i++)
        bytes += (uint64_t)gal_wcount(t->opt->slot[i].w) * gal_dtype_bytes(t->opt->slot[i].master_dt) + 200;
    for (size_t i = 0; i < t->opt->n_pools; i++) {
        const gal_optim_pool *p = &t->opt->pool[i];
        uint64_t count = 1;
        for (int k = 0; k < p->ndim; k++) count *= (uint64_t)p->dim[k];
        bytes += count * sizeof(float) + 200;
    }
    return bytes;
}

/* ---- the manifest ------------------------------------------------------------------------------------------------
 */

static gal_err hash_file(const char *path, uint64_t *bytes, char hex[65], gal_diag *diag) {
    gal_map m = { 0 };
    gal_err err = gal_map_open(&m, path, diag);
    if (err) return err;
    /* Given back piece by piece: a checkpoint is three times the weights, and mapped pages count as resident. */
    enum { PIECE = 8 << 20 };
    uint8_t digest[32];
    gal_sha256 h;
    gal_sha256_init(&h);
    for (size_t from = 0; from < m.bytes; from += PIECE) {
        size_t n = GAL_MIN(m.bytes - from, (size_t)PIECE);
        gal_sha256_add(&h, m.data + from, n);
        gal_map_forget(&m, from, n);
    }
    gal_sha256_end(&h, digest);
    gal_hex(hex, digest, sizeof digest);
    *bytes = m.bytes;
    gal_map_close(&m);
    return GAL_OK;
}

static gal_err write_manifest(const gal_trainer *t, const char *dir, gal_diag *diag) {
    gal_buf out = { 0 }, path = { 0 };
    gal_err err = GAL_OK;
    gal_buf_printf(&out,
                   "{\n  \"format\": \"galerne checkpoint\",\n  \"version\": 1,\n  \"step\": %lld,\n  \"files\": [",
                   (long long)t->step);
    const char *comma = "";
    for (size_t i = 0; !err && i < GAL_LEN(FILES); i++) {
        uint64_t bytes = 0;
        char hex[65] = "";
        if (!gal_path_join(&path, dir, FILES[i])) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
        if (err || !gal_is_file(path.data)) continue;
        err = hash_file(path.data, &bytes, hex, diag);
        gal_buf_printf(&out, "%s\n    {\"name\": \"%s\", \"bytes\": %llu, \"sha256\": \"%s\"}", comma, FILES[i],
                       (unsigned long long)bytes, hex);
        comma = ",";
    }
    gal_buf_puts(&out, "\n  ]\n}\n");
    if (!err && (out.oom || !gal_path_join(&path, dir, "manifest.json")))
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err) err = gal_write_file(path.data, out.data, out.len, diag);
    gal_buf_free(&out);
    gal_buf_free(&path);
    return err;
}

static gal_err check_entry(const char *dir, const json_t *entry, gal_diag *diag) {
    const char *name = json_string_value(json_object_get(entry, "name"));
    const char *sha = json_string_value(json_object_get(entry, "sha256"));
    json_int_t want = json_integer_value(json_object_get(entry, "bytes"));
    if (!name || !sha || strchr(name, '/'))
        return gal_fail(diag, GAL_EINPUT, "%s: manifest.json: an entry without name or hash", dir);
    gal_buf path = { 0 };
    uint64_t bytes = 0;
    char hex[65] = "";
    gal_err err = gal_path_join(&path, dir, name) ? hash_file(path.data, &bytes, hex, diag)
                                                  : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err && (want < 0 || bytes != (uint64_t)want))
        err = gal_fail(diag, GAL_EINPUT, "%s: expected %lld bytes, found %llu", path.data, (long long)want,
                       (unsigned long long)bytes);
    if (!err && strcmp(hex, sha) != 0)
        err = gal_fail(diag, GAL_EINPUT, "%s: damaged: expected SHA-256 %.16s..., found %.16s...", path.data, sha,
                       hex);
    gal_buf_free(&path);
    return err;
}

gal_err gal__checkpoint_check(const char *dir, gal_diag *diag) {
    gal_buf path = { 0 }, text = { 0 };
    gal_err err = gal_path_join(&path, dir, "manifest.json")
                      ? gal_read_file(&text, path.data, MANIFEST_MAX_BYTES, diag)
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    json_error_t je;
    json_t *root = err ? NULL : json_loadb(text.data ? text.data : "", text.len, 0, &je);
    if (!err && !root && gal_json_no_memory(&je, text.data ? text.data : "", text.len))
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", path.data);
    const json_t *files = json_object_get(root, "files");
    if (!err && json_array_size(files) == 0)
        err = gal_fail(diag, GAL_EINPUT, "%s: expected a list of files, found none", path.data);
    for (size_t i = 0; !err && i < json_array_size(files); i++)
        err = check_entry(dir, json_array_get(files, i), diag);
    json_decref(root);
    gal_buf_free(&path);
    gal_buf_free(&text);
    return err;
}

/* ---- writing -----------------------------------------------------------------------------------------------------
 */

/* How the run talks, if it says so, and what kind of vocabulary it has. */
static gal_err save_told(const gal_trainer *t, const char *dir, gal_diag *diag) {
    gal_buf from = { 0 }, to = { 0 }, text = { 0 };
    gal_err err = gal_path_join(&from, t->dir, GAL__TRAIN_TEMPLATE) && gal_path_join(&to, dir, GAL__TRAIN_TEMPLATE)
                      ? GAL_OK
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err && gal_is_file(from.data)) {
        err = gal_read_file(&text, from.data, TEMPLATE_MAX_BYTES, diag);
        if (!err) err = gal_write_file(to.data, text.data, text.len, diag);
    }
    gal_buf_clear(&text);
    if (!err) err = gal__train_told(t, &text, diag);
    if (!err && !gal_path_join(&to, dir, GAL__TRAIN_TOLD)) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err && text.len) err = gal_write_file(to.data, text.data, text.len, diag);
    gal_buf_free(&from);
    gal_buf_free(&to);
    gal_buf_free(&text);
    return err;
}

/* A model with its vocabulary, as others read it: weights, or their averages. */
static gal_err save_model(gal_trainer *t, gal_optim_view view, const char *dir, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_err err = gal_remove_tree(dir, diag);
    if (!err) err = gal_make_dirs(dir, diag);
    if (!err) {
        gal_optim_show(t->opt, view);
        err = t->lora.rank ? gal_lora_save(t->model, t->model->adapters, &t->lora, dir, diag)
                           : gal_model_save(t->model, dir, diag);
        gal_optim_show(t->opt, GAL_VIEW_WORK);
    }
    if (!err && !gal_path_join(&path, dir, gal_tokenizer_file(t->tok)))
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err) err = gal_write_file(path.data, t->tok_bytes.data, t->tok_bytes.len, diag);
    if (!err) err = save_told(t, dir, diag);
    gal_buf_free(&path);
    return err;
}

static gal_err save_into(gal_trainer *t, const char *dir, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_err err = save_model(t, GAL_VIEW_MASTER, dir, diag);
    if (!err && !gal_path_join(&path, dir, "optimizer.safetensors"))
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err) err = save_states(t, path.data, diag);
    if (!err && !gal_path_join(&path, dir, "trainer.json")) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err) err = gal__checkpoint_write_state(t, path.data, diag);
    if (!err) err = write_manifest(t, dir, diag);
    if (!err) err = gal_sync_dir(dir, diag);
    gal_buf_free(&path);
    return err;
}

/* Under another name first, so that no half of it is ever seen as a checkpoint. */
static gal_err remove_checkpoint(const char *dir, const char *name, gal_diag *diag) {
    gal_buf from = { 0 }, to = { 0 };
    gal_buf_printf(&from, "%s/%s", dir, name);
    gal_buf_printf(&to, "%s/" REMOVED "%s", dir, name);
    gal_err err = from.oom || to.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir) : GAL_OK;
    if (!err) err = gal_remove_tree(to.data, diag);
    if (!err) err = gal_rename(from.data, to.data, diag);
    if (!err) err = gal_remove_tree(to.data, diag);
    gal_buf_free(&from);
    gal_buf_free(&to);
    return err;
}

/* What was wrong with a save, once what it wrote is gone again: the cause, and whether there is room at all. */
static gal_err tell_failure(const gal_trainer *t, const char *dir, const char *name, const gal_diag *why,
                            gal_diag *diag) {
    uint64_t need = gal__checkpoint_bytes(t), available = 0;
    if (why->err != GAL_EIO || !gal_disk_available(dir, &available) || available >= need)
        return gal_fail(diag, why->err, "%s", why->text);
    return gal_fail(diag, GAL_EIO,
                    "%s/%s: the disk is full: a checkpoint takes about %llu bytes, %llu bytes are available (%s)",
                    dir, name, (unsigned long long)need, (unsigned long long)available, why->text);
}

gal_err gal__checkpoint_save(gal_trainer *t, const char *dir, const char *name, gal_diag *diag) {
    gal_buf tmp = { 0 }, final = { 0 };
    gal_diag why = { 0 };
    gal_buf_printf(&tmp, "%s/" UNFINISHED "%s", dir, name);
    gal_buf_printf(&final, "%s/%s", dir, name);
    gal_err err = tmp.oom || final.oom ? gal_fail(&why, GAL_ENOMEM, "%s: no memory", dir)
                                       : save_into(t, tmp.data, &why);
    /* One of this name is there if it was not whole when the run was taken up before it. */
    if (!err && gal_is_dir(final.data)) err = remove_checkpoint(dir, name, &why);
    if (!err) err = gal_rename(tmp.data, final.data, &why);
    if (err) {
        if (!tmp.oom) (void)gal_remove_tree(tmp.data, NULL);
        (void)tell_failure(t, dir, name, &why, diag);
    }
    gal_buf_free(&tmp);
    gal_buf_free(&final);
    return err;
}

gal_err gal__checkpoint_write_average(gal_trainer *t, gal_diag *diag) {
    static const char *const NAMES[] = { GAL__AVERAGE, UNFINISHED GAL__AVERAGE, REMOVED GAL__AVERAGE };
    gal_buf path[GAL_LEN(NAMES)] = { { 0 } };
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < GAL_LEN(NAMES); i++)
        if (!gal_path_join(&path[i], t->dir, NAMES[i])) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    if (!err) err = save_model(t, GAL_VIEW_EMA, path[1].data, diag);
    if (!err) err = gal_sync_dir(path[1].data, diag);
    if (!err) err = gal_remove_tree(path[2].data, diag);
    if (!err && gal_is_dir(path[0].data)) err = gal_rename(path[0].data, path[2].data, diag);
    if (!err) err = gal_rename(path[1].data, path[0].data, diag);
    if (!err) err = gal_remove_tree(path[2].data, diag);
    if (err && path[1].data) (void)gal_remove_tree(path[1].data, NULL);
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) gal_buf_free(&path[i]);
    return err;
}

static int64_t step_of(const char *name) {
    int64_t step = 0;
    return strncmp(name, "step-", 5) == 0 && gal_parse_i64(name + 5, &step) && step >= 0 ? step : -1;
}

static int newer_first(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* The steps of a run's checkpoints, newest first. */
static gal_err list_steps(const char *dir, int64_t **steps, size_t *count, gal_diag *diag) {
    char **names = NULL;
    size_t n = 0;
    gal_err err = gal_list_dir(dir, &names, &n, diag);
    if (err) return err;
    int64_t *list = gal_alloc_array(n + 1, sizeof *list);
    *count = 0;
    for (size_t i = 0; list && i < n; i++)
        if (step_of(names[i]) >= 0) list[(*count)++] = step_of(names[i]);
    gal_free_names(names, n);
    if (!list) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    qsort(list, *count, sizeof *list, newer_first);
    *steps = list;
    return GAL_OK;
}

gal_err gal__checkpoint_is_there(const gal_trainer *t, int64_t step, bool *there, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_buf_printf(&path, "%s/checkpoints/step-%lld", t->dir, (long long)step);
    *there = !path.oom && gal_is_dir(path.data);
    gal_err err = path.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir) : GAL_OK;
    gal_buf_free(&path);
    return err;
}

gal_err gal__checkpoint_count(const char *dir, int64_t *count, gal_diag *diag) {
    int64_t *steps = NULL;
    size_t n = 0;
    gal_err err = list_steps(dir, &steps, &n, diag);
    if (!err) *count = (int64_t)n;
    gal_free(steps);
    return err;
}

/* The newest of the steps that a spike leads back to (spike.c); -1: none. */
static int64_t newest_good(const gal_trainer *t, const int64_t *steps, size_t n) {
    if (t->spikes.back) return t->spikes.back;
    for (size_t i = 0; i < n; i++)
        if (steps[i] < t->spikes.applied) return steps[i];
    return -1;
}

/* Only checkpoints up to this step count: later ones were passed over because they are not whole, and a later save
 * replaces them. The one just saved is not known to be good: the newest that is stays, be it one too many. */
gal_err gal__checkpoint_remove_old(gal_trainer *t, gal_diag *diag) {
    int64_t *steps = NULL;
    size_t n = 0;
    int64_t kept = 0;
    gal_buf dir = { 0 };
    char name[40];
    gal_err err = gal_path_join(&dir, t->dir, "checkpoints") ? list_steps(dir.data, &steps, &n, diag)
                                                             : gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    const int64_t good = err ? -1 : newest_good(t, steps, n);
    for (size_t i = 0; !err && i < n; i++) {
        if (steps[i] > t->step || ++kept <= t->config->save.keep) continue;
        if (steps[i] == t->best_step || steps[i] == good) continue;
        (void)snprintf(name, sizeof name, "step-%lld", (long long)steps[i]);
        err = remove_checkpoint(dir.data, name, diag);
    }
    gal_free(steps);
    gal_buf_free(&dir);
    return err;
}

gal_err gal__checkpoint_drop_after(gal_trainer *t, gal_diag *diag) {
    int64_t *steps = NULL;
    size_t n = 0;
    gal_buf dir = { 0 };
    char name[40];
    gal_err err = gal_path_join(&dir, t->dir, "checkpoints") ? list_steps(dir.data, &steps, &n, diag)
                                                             : gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    for (size_t i = 0; !err && i < n && steps[i] > t->step; i++) {
        (void)snprintf(name, sizeof name, "step-%lld", (long long)steps[i]);
        err = remove_checkpoint(dir.data, name, diag);
    }
    gal_free(steps);
    gal_buf_free(&dir);
    return err;
}

gal_err gal__checkpoint_write(gal_trainer *t, gal_buf *path, gal_diag *diag) {
    gal_buf dir = { 0 };
    char name[40];
    (void)snprintf(name, sizeof name, "step-%lld", (long long)t->step);
    gal_buf_clear(path);
    gal_err err = gal_path_join(&dir, t->dir, "checkpoints") && gal_path_join(path, dir.data, name)
                      ? GAL_OK
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    if (!err)
        err = gal__train_flush(t, diag); /* first: whoever goes on from the checkpoint finds all rows before it */
    if (!err) err = gal__checkpoint_save(t, dir.data, name, diag);
    if (!err) err = gal__checkpoint_remove_old(t, diag);
    gal_buf_free(&dir);
    return err;
}

gal_err gal__checkpoint_clean(const char *dir, gal_diag *diag) {
    char **names = NULL;
    size_t n = 0;
    gal_buf path = { 0 };
    gal_err err = gal_list_dir(dir, &names, &n, diag);
    for (size_t i = 0; !err && i < n; i++) {
        bool left = strncmp(names[i], UNFINISHED, strlen(UNFINISHED)) == 0 ||
                    strncmp(names[i], REMOVED, strlen(REMOVED)) == 0 || strcmp(names[i], GAL__REHEARSAL) == 0;
        if (!left) continue;
        err = gal_path_join(&path, dir, names[i]) ? gal_remove_tree(path.data, diag)
                                                  : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    }
    gal_free_names(names, n);
    gal_buf_free(&path);
    return err;
}

gal_err gal__checkpoint_newest(const char *run, int64_t most, gal_buf *path, gal_buf *notes, gal_diag *diag) {
    gal_buf dir = { 0 };
    int64_t *steps = NULL;
    size_t n = 0, i = 0;
    gal_err err = gal_path_join(&dir, run, "checkpoints") ? list_steps(dir.data, &steps, &n, diag)
                                                          : gal_fail(diag, GAL_ENOMEM, "%s: no memory", run);
    gal_diag why = { 0 };
    size_t newer = 0;
    while (!err && newer < n && steps[newer] > most) newer++;
    if (newer) memmove(steps, steps + newer, (n -= newer) * sizeof *steps);
    for (; !err && i < n; i++) {
        why = (gal_diag){ 0 };
        gal_buf_clear(path);
        gal_buf_printf(path, "%s/step-%lld", dir.data, (long long)steps[i]);
        if (path->oom) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", run);
        if (err) break;
        gal_err found = gal__checkpoint_check(path->data, &why);
        if (!found) break;
        /* Only what is wrong with the checkpoint itself is a reason to go back to an older one. */
        if (found != GAL_EINPUT) err = gal_fail(diag, found, "%s", why.text);
        gal_buf_printf(notes, "passed over step-%lld: %s\n", (long long)steps[i], why.text);
    }
    if (!err && i == n && n)
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: expected a whole checkpoint to go on from, found %zu, none of them whole: %s", dir.data,
                       n, why.text);
    if (!err && !n) gal_buf_clear(path);
    gal_free(steps);
    gal_buf_free(&dir);
    return err;
}
