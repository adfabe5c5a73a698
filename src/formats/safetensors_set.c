/* safetensors_set.c - the weights of a folder: one file, or shards with an index (formats.md 2).
 * Refuses an index that names files outside the folder, files that are missing, and tensors that their shard lacks.
 * Where there is an index, only what it names is used; the rest is noted. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "formats/json.h"
#include "formats/safetensors.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_INDEX = 100000000, MAX_SHARDS = 10000, MAX_NOTES = 32 };

struct gal_st_set {
    char *stem;
    gal_safetensors **shards;
    size_t n_shards, cap_shards;
    const gal_st_tensor **tensors; /* [count] sorted by name */
    size_t count;
    char **notes;
    size_t n_notes, cap_notes;
};

static int by_name(const void *a, const void *b) {
    const gal_st_tensor *x = *(const gal_st_tensor *const *)a, *y = *(const gal_st_tensor *const *)b;
    return strcmp(x->name, y->name);
}

static gal_err add_shard(gal_st_set *s, const char *dir, const char *name, gal_diag *diag) {
    void *items = s->shards;
    if (gal_grow(&items, &s->cap_shards, s->n_shards + 1, sizeof *s->shards))
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    s->shards = items;
    gal_buf path = { 0 };
    gal_err err = gal_path_join(&path, dir, name) ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err) err = gal_safetensors_open(&s->shards[s->n_shards], path.data, diag);
    if (!err) s->n_shards++;
    gal_buf_free(&path);
    return err;
}

/* tensor NULL: the whole file. */
static gal_err note(gal_st_set *s, const char *file, const char *tensor, gal_diag *diag) {
    if (s->n_notes == MAX_NOTES) return GAL_OK;
    void *items = s->notes;
    gal_buf b = { 0 };
    char shown[GAL__SHOW];
    gal_buf_puts(&b, file);
    if (tensor) gal_buf_printf(&b, ": tensor \"%s\"", gal__show(shown, tensor));
    gal_buf_printf(&b, " is not in %s.safetensors.index.json; it is not used", s->stem);
    if (b.oom || gal_grow(&items, &s->cap_notes, s->n_notes + 1, sizeof *s->notes)) {
        gal_buf_free(&b);
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory", file);
    }
    s->notes = items;
    s->notes[s->n_notes++] = b.data;
    return GAL_OK;
}

/* A file directly inside the folder: the index is not allowed to point anywhere else. */
static bool plain_name(const char *name) {
    return name[0] && !strchr(name, '/') && !strchr(name, '\\') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Opens each file that the map names, once. number: file name -> its place in s->shards. */
static gal_err open_shards(gal_st_set *s, const char *dir, const char *index, json_t *map, json_t *number,
                           gal_diag *diag) {
    const char *name;
    json_t *v;
    char shown[GAL__SHOW], shown2[GAL__SHOW];
    json_object_foreach(map, name, v) {
        const char *file = json_string_value(v);
        if (!file)
            return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": expected a file name, found %s", index,
                            gal__show(shown, name), gal__json_kind(v));
        if (!plain_name(file))
            return gal_fail(diag, GAL_EINPUT,
                            "%s: tensor \"%s\": expected the plain name of a file in this folder, found "
                            "\"%s\"",
                            index, gal__show(shown, name), gal__show(shown2, file));
        if (json_object_get(number, file)) continue;
        if (s->n_shards == MAX_SHARDS)
            return gal_fail(diag, GAL_EINPUT, "%s: expected at most %d files, found more", index, MAX_SHARDS);
        gal_buf path = { 0 };
        const char *full = gal_path_join(&path, dir, file);
        bool there = full && gal_exists(full);
        gal_buf_free(&path);
        if (!full) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
        if (!there)
            return gal_fail(diag, GAL_EINPUT, "%s: the file \"%s\" that it names for tensor \"%s\" is missing", index,
                            gal__show(shown2, file), gal__show(shown, name));
        gal_err err = add_shard(s, dir, file, diag);
        if (err) return err;
        if (json_object_set_new(number, file, json_integer((json_int_t)s->n_shards - 1)))
            return gal_fail(diag, GAL_ENOMEM, "%s: no memory", index);
    }
    return GAL_OK;
}

static gal_err take_mapped(gal_st_set *s, const char *index, json_t *map, const json_t *number, gal_diag *diag) {
    s->tensors = gal_alloc_array(json_object_size(map), sizeof *s->tensors);
    if (!s->tensors) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", index);
    const char *name;
    json_t *v;
    char shown[GAL__SHOW];
    json_object_foreach(map, name, v) {
        const char *file = json_string_value(v);
        json_int_t at = json_integer_value(json_object_get(number, file));
        const gal_st_tensor *t = gal_safetensors_find(s->shards[at], name);
        if (!t)
            return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\" expected in \"%s\", not found there", index,
                            gal__show(shown, name), file);
        s->tensors[s->count++] = t;
    }
    if (s->count) qsort(s->tensors, s->count, sizeof *s->tensors, by_name);
    for (size_t i = 0; i < s->n_shards; i++)
        for (size_t j = 0; j < gal_safetensors_count(s->shards[i]); j++) {
            const gal_st_tensor *t = gal_safetensors_at(s->shards[i], j);
            const gal_st_tensor *used = gal_st_set_find(s, t->name);
            gal_err err = used == t ? GAL_OK : note(s, t->file, t->name, diag);
            if (err) return err;
        }
    return GAL_OK;
}

/* single: the file that would be read if there were no index. */
static gal_err open_index(gal_st_set *s, const char *dir, const char *index, const char *single, gal_diag *diag) {
    json_t *root = NULL, *number = json_object();
    gal_err err = number ? gal__json_read(&root, index, MAX_INDEX, diag)
                         : gal_fail(diag, GAL_ENOMEM, "%s: no memory", index);
    json_t *map = json_object_get(root, "weight_map");
    if (!err && !json_is_object(map))
        err = gal_fail(diag, GAL_EINPUT, "%s: expected an object as \"weight_map\", found %s", index,
                       gal__json_kind(map));
    if (!err) err = open_shards(s, dir, index, map, number, diag);
    if (!err) err = take_mapped(s, index, map, number, diag);
    const char *slash = strrchr(single, '/'), *name = slash ? slash + 1 : single;
    if (!err && gal_exists(single) && !json_object_get(number, name)) err = note(s, single, NULL, diag);
    json_decref(number);
    json_decref(root);
    return err;
}

static gal_err open_single(gal_st_set *s, const char *dir, const char *name, gal_diag *diag) {
    gal_err err = add_shard(s, dir, name, diag);
    if (err) return err;
    size_t n = gal_safetensors_count(s->shards[0]);
    s->tensors = gal_alloc_array(n, sizeof *s->tensors);
    if (!s->tensors) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    for (size_t i = 0; i < n; i++) s->tensors[i] = gal_safetensors_at(s->shards[0], i);
    s->count = n;
    return GAL_OK;
}

/* Weights in a form that is not read, which is what a folder without the other may hold. */
static const char *pickle_among(char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const char *tail = strrchr(names[i], '.');
        if (!tail) continue;
        if (strcmp(tail, ".pth") == 0 || strcmp(tail, ".pt") == 0) return names[i];
        if (strcmp(tail, ".bin") == 0 && strncmp(names[i], "pytorch_model", 13) == 0) return names[i];
    }
    return NULL;
}

static gal_err nothing_here(const char *dir, const char *stem, gal_diag *diag) {
    char **names = NULL, shown[GAL__SHOW];
    size_t count = 0, stem_bytes = strlen(stem);
    gal_err err = gal_list_dir(dir, &names, &count, diag);
    if (err) return err;
    const char *pickle = pickle_among(names, count), *part = NULL;
    for (size_t i = 0; i < count && !part; i++)
        if (strncmp(names[i], stem, stem_bytes) == 0 && strncmp(names[i] + stem_bytes, "-0", 2) == 0) part = names[i];
    if (part)
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: %s is one of several files of weights, but %s.safetensors.index.json, which tells what "
                       "lies in which, is missing",
                       dir, gal__show(shown, part), stem);
    else if (pickle)
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: the weights are a pickle (%s), which can run programs when it is read and is never read "
                       "here: fetch the same model's %s.safetensors, or convert it where it can be trusted",
                       dir, gal__show(shown, pickle), stem);
    else
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: no weights here: looked for %s.safetensors and %s.safetensors.index.json", dir, stem,
                       stem);
    gal_free_names(names, count);
    return err;
}

/* "model.safetensors", "model.safetensors.index.json" inside dir into the two. */
static bool join_names(gal_buf *name, gal_buf *single, gal_buf *index, const char *dir, const char *stem) {
    gal_buf_printf(name, "%s.safetensors", stem);
    if (name->oom || !gal_path_join(single, dir, name->data) || !gal_path_join(index, dir, name->data)) return false;
    gal_buf_puts(index, ".index.json");
    return !index->oom;
}

gal_err gal_st_set_exists(bool *there, const char *dir, const char *stem, gal_diag *diag) {
    gal_buf name = { 0 }, single = { 0 }, index = { 0 };
    bool fits = join_names(&name, &single, &index, dir, stem);
    *there = fits && (gal_exists(single.data) || gal_exists(index.data));
    gal_buf_free(&name);
    gal_buf_free(&single);
    gal_buf_free(&index);
    return fits ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
}

gal_err gal_st_set_open(gal_st_set **out, const char *dir, const char *stem, gal_diag *diag) {
    gal_st_set *s = gal_alloc(sizeof *s);
    gal_buf name = { 0 }, single = { 0 }, index = { 0 };
    gal_err err = GAL_OK;
    if (s) s->stem = gal_strdup(stem);
    if (!s || !s->stem || !join_names(&name, &single, &index, dir, stem))
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    else if (gal_exists(index.data))
        err = open_index(s, dir, index.data, single.data, diag);
    else if (gal_exists(single.data))
        err = open_single(s, dir, name.data, diag);
    else
        err = nothing_here(dir, stem, diag);
    gal_buf_free(&name);
    gal_buf_free(&single);
    gal_buf_free(&index);
    if (err)
        gal_st_set_close(s);
    else
        *out = s;
    return err;
}

void gal_st_set_close(gal_st_set *s) {
    if (!s) return;
    for (size_t i = 0; i < s->n_shards; i++) gal_safetensors_close(s->shards[i]);
    for (size_t i = 0; i < s->n_notes; i++) gal_free(s->notes[i]);
    gal_free(s->shards);
    gal_free(s->tensors);
    gal_free(s->notes);
    gal_free(s->stem);
    gal_free(s);
}

gal_err gal_st_set_bring(gal_st_set *s, gal_bring *how, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; i < s->n_shards; i++) how->total += gal_safetensors_bytes(s->shards[i]);
    for (size_t i = 0; !err && i < s->n_shards; i++) err = gal_safetensors_bring(s->shards[i], how, diag);
    return err;
}

size_t gal_st_set_count(const gal_st_set *s) { return s->count; }

const gal_st_tensor *gal_st_set_at(const gal_st_set *s, size_t i) {
    GAL_ASSERT(i < s->count);
    return s->tensors[i];
}

const gal_st_tensor *gal_st_set_find(const gal_st_set *s, const char *name) {
    gal_st_tensor key = { .name = name };
    const gal_st_tensor *p = &key;
    const gal_st_tensor **found = s->count ? bsearch(&p, s->tensors, s->count, sizeof p, by_name) : NULL;
    return found ? *found : NULL;
}

size_t gal_st_set_notes(const gal_st_set *s) { return s->n_notes; }

const char *gal_st_set_note(const gal_st_set *s, size_t i) {
    GAL_ASSERT(i < s->n_notes);
    return s->notes[i];
}
