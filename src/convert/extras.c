/* extras.c - what a model's folder or GGUF file says besides its tensors: vocabulary, chat templates, sampling.
 * Refuses damaged files; a vocabulary of a kind that we do not read is left out with a note. SPDX-License-Identifier:
 * Apache-2.0 */
#include "base/mem.h"
#include "convert/job.h"
#include "formats/gguf.h"
#include "formats/json.h"
#include "infer/lm.h"

#include <string.h>

enum { MOST_BYTES = 64 << 20 };

static gal_err no_memory(gal_diag *diag) { return gal_fail(diag, GAL_ENOMEM, "no memory for a chat template"); }

static gal_err add_template(gal__extras *e, const char *name, const char *text, size_t n, gal_diag *diag) {
    gal__template *more = gal_realloc(e->templates, (e->n_templates + 1) * sizeof *more);
    if (!more) return no_memory(diag);
    e->templates = more;
    gal__template t = { .name = name ? gal_strdup(name) : NULL, .text = gal_strndup(text, n) };
    if (!t.text || (name && !t.name)) {
        gal_free(t.name);
        gal_free(t.text);
        return no_memory(diag);
    }
    more[e->n_templates++] = t;
    return GAL_OK;
}

/* ---- folders ----------------------------------------------------------------------------------------------------
 */

/* "chat_template" of a JSON file: a text, or a list of {name, template}, of which "default" has no name here. */
static gal_err read_templates(gal__extras *e, const json_t *v, const char *path, gal_diag *diag) {
    if (json_is_string(v)) return add_template(e, NULL, json_string_value(v), json_string_length(v), diag);
    if (!v || json_is_null(v)) return GAL_OK;
    if (!json_is_array(v))
        return gal_fail(diag, GAL_EINPUT, "%s: chat_template: expected a string or a list, found %s", path,
                        gal__json_kind(v));
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < json_array_size(v); i++) {
        const json_t *one = json_array_get(v, i), *text = json_object_get(one, "template");
        const char *name = json_string_value(json_object_get(one, "name"));
        if (!name || !json_is_string(text))
            return gal_fail(diag, GAL_EINPUT, "%s: chat_template: entry %zu: expected a name and a template", path,
                            i);
        err = add_template(e, strcmp(name, "default") == 0 ? NULL : name, json_string_value(text),
                           json_string_length(text), diag);
    }
    return err;
}

static int truth(const json_t *root, const char *key) {
    const json_t *v = json_object_get(root, key);
    return json_is_boolean(v) ? json_is_true(v) : -1;
}

/* A file of JSON that may be absent; template: only where none was found yet. */
static gal_err read_json(gal__extras *e, const char *dir, const char *name, gal_diag *diag) {
    gal_buf path = { 0 };
    json_t *root = NULL;
    gal_err err = gal_path_join(&path, dir, name) ? GAL_OK : no_memory(diag);
    if (!err && gal_exists(path.data)) err = gal__json_read(&root, path.data, MOST_BYTES, diag);
    if (!err && root) {
        if (e->add_bos < 0) e->add_bos = truth(root, "add_bos_token");
        if (e->add_eos < 0) e->add_eos = truth(root, "add_eos_token");
        if (!e->n_templates) err = read_templates(e, json_object_get(root, "chat_template"), path.data, diag);
    }
    json_decref(root);
    gal_buf_free(&path);
    return err;
}

static gal_err read_jinja(gal__extras *e, const char *dir, gal_diag *diag) {
    gal_buf path = { 0 }, text = { 0 };
    gal_err err = gal_path_join(&path, dir, "chat_template.jinja") ? GAL_OK : no_memory(diag);
    bool there = !err && gal_exists(path.data);
    if (there) err = gal_read_file(&text, path.data, MOST_BYTES, diag);
    if (there && !err && text.len && memchr(text.data, 0, text.len))
        err = gal_fail(diag, GAL_EINPUT, "%s: expected text, found U+0000", path.data);
    if (there && !err) err = add_template(e, NULL, text.len ? text.data : "", text.len, diag);
    gal_buf_free(&path);
    gal_buf_free(&text);
    return err;
}

static gal_err read_generation(gal__extras *e, const char *dir, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_err err = gal_path_join(&path, dir, "generation_config.json") ? GAL_OK : no_memory(diag);
    if (!err && gal_exists(path.data)) err = gal_generation_read(&e->generation, path.data, diag);
    gal_buf_free(&path);
    return err;
}

/* Which vocabularies the folder has. */
static gal_err look_for_vocabulary(const char *dir, bool *ours, const char **other, gal_diag *diag) {
    char **names = NULL;
    size_t n = 0;
    gal_err err = gal_list_dir(dir, &names, &n, diag);
    for (size_t i = 0; !err && i < n; i++) {
        const char *model = strstr(names[i], ".model");
        if (model && (strcmp(names[i], "tokenizer.model") == 0 || strncmp(model, ".model.v", 8) == 0)) *ours = true;
        if (strcmp(names[i], "tekken.json") == 0) *other = "tekken.json";
        if (strcmp(names[i], "tokenizer.json") == 0 && !*other) *other = "tokenizer.json";
    }
    gal_free_names(names, n);
    return err;
}

static gal_err read_folder(gal__extras *e, const gal__job *j, gal_diag *diag) {
    const char *dir = gal_source_path(j->s), *other = NULL;
    bool ours = false;
    gal_err err = look_for_vocabulary(dir, &ours, &other, diag);
    if (!err && other && (!ours || strcmp(other, "tekken.json") == 0))
        gal__job_note(j, "%s/%s is left out: this kind of vocabulary is not supported yet", dir, other);
    else if (!err && ours)
        err = gal_tokenizer_open(&e->tokenizer, dir, diag);
    if (!err) err = read_generation(e, dir, diag);
    if (!err) err = read_jinja(e, dir, diag);
    if (!err) err = read_json(e, dir, "tokenizer_config.json", diag);
    if (!err) err = read_json(e, dir, "chat_template.json", diag);
    return err;
}

/* ---- GGUF files -------------------------------------------------------------------------------------------------
 */

static int flag(const gal_gguf *g, const char *key, gal_err *err, gal_diag *diag) {
    bool value = false, found = false;
    if (!*err) *err = gal_gguf_bool(g, key, &value, &found, diag);
    return found ? value : -1;
}

static gal_err read_keys(gal__extras *e, const gal_gguf *g, gal_diag *diag) {
    static const char KEY[] = "tokenizer.chat_template";
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < gal_gguf_keys(g); i++) {
        const gal_gguf_value *v = gal_gguf_key_at(g, i);
        const char *tail = v->key + sizeof KEY - 1;
        if (strncmp(v->key, KEY, sizeof KEY - 1) != 0 || (*tail && (*tail != '.' || !tail[1]))) continue;
        const char *text = NULL;
        size_t n = 0;
        err = gal_gguf_string(g, v->key, &text, &n, NULL, diag);
        if (!err && n && memchr(text, 0, n))
            err = gal_fail(diag, GAL_EINPUT, "%s: expected text, found U+0000", v->key);
        if (!err) err = add_template(e, *tail ? tail + 1 : NULL, text, n, diag);
    }
    e->add_bos = flag(g, "tokenizer.ggml.add_bos_token", &err, diag);
    e->add_eos = flag(g, "tokenizer.ggml.add_eos_token", &err, diag);
    return err;
}

static gal_err read_file(gal__extras *e, const gal__job *j, gal_diag *diag) {
    const char *path = gal_source_path(j->s), *kind = "";
    size_t n = 0;
    bool found = false;
    gal_gguf *g = NULL;
    gal_err err = gal_gguf_open(&g, path, diag);
    if (!err) err = gal_gguf_generation(&e->generation, g, path, diag);
    if (!err) err = read_keys(e, g, diag);
    if (!err) err = gal_gguf_string(g, "tokenizer.ggml.model", &kind, &n, &found, diag);
    if (!err && found && n == 4 && memcmp(kind, "gpt2", 4) == 0)
        gal__job_note(j, "%s: its vocabulary is left out: the kind \"gpt2\" is not supported yet", path);
    else if (!err)
        err = gal_gguf_tokenizer(&e->tokenizer, path, diag);
    gal_gguf_close(g);
    return err;
}

gal_err gal__extras_read(gal__extras *e, const gal__job *j, gal_diag *diag) {
    *e = (gal__extras){ .add_bos = -1, .add_eos = -1 };
    gal_generation_defaults(&e->generation);
    bool file = gal_source_model(j->s)->config.layout == GAL_LAYOUT_GGUF;
    return file ? read_file(e, j, diag) : read_folder(e, j, diag);
}

void gal__extras_free(gal__extras *e) {
    for (size_t i = 0; i < e->n_templates; i++) {
        gal_free(e->templates[i].name);
        gal_free(e->templates[i].text);
    }
    gal_free(e->templates);
    gal_tokenizer_free(e->tokenizer);
    *e = (gal__extras){ 0 };
}

int32_t gal__extras_eos(const gal__extras *e, const gal_config *c, int32_t ids[GAL_MAX_EOS]) {
    const gal_generation *g = &e->generation;
    int32_t n = g->n_eos > 0 ? g->n_eos : c->n_eos;
    for (int32_t i = 0; i < n; i++) ids[i] = g->n_eos > 0 ? g->eos[i] : c->eos[i];
    if (n == 0 && e->tokenizer && gal_tokenizer_eos(e->tokenizer) >= 0) ids[n++] = gal_tokenizer_eos(e->tokenizer);
    return n;
}
