/* chat.c - see chat.h. SPDX-License-Identifier: Apache-2.0 */
#include "formats/chat.h"

#include "base/file.h"
#include "base/mem.h"
#include "formats/json.h"

#include <string.h>

enum { MOST_BYTES = 64 << 20 };

static gal_err no_memory(gal_diag *diag) { return gal_fail(diag, GAL_ENOMEM, "no memory for a chat template"); }

/* from lives for ever. */
static gal_err add_template(gal_chat *c, const char *name, const char *text, size_t n, const char *from,
                            gal_diag *diag) {
    gal_model_template *more = gal_realloc(c->templates, (c->n_templates + 1) * sizeof *more);
    if (!more) return no_memory(diag);
    c->templates = more;
    gal_model_template t = { .name = name ? gal_strdup(name) : NULL, .text = gal_strndup(text, n), .from = from };
    if (!t.text || (name && !t.name)) {
        gal_free(t.name);
        gal_free(t.text);
        return no_memory(diag);
    }
    more[c->n_templates++] = t;
    return GAL_OK;
}

/* ---- folders ----------------------------------------------------------------------------------------------------
 */

/* "chat_template" of a JSON file: a text, or a list of {name, template}, of which "default" has no name here. */
static gal_err read_templates(gal_chat *c, const json_t *v, const char *path, const char *from, gal_diag *diag) {
    if (json_is_string(v)) return add_template(c, NULL, json_string_value(v), json_string_length(v), from, diag);
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
        err = add_template(c, strcmp(name, "default") == 0 ? NULL : name, json_string_value(text),
                           json_string_length(text), from, diag);
    }
    return err;
}

static int truth(const json_t *root, const char *key) {
    const json_t *v = json_object_get(root, key);
    return json_is_boolean(v) ? json_is_true(v) : -1;
}

/* A file of JSON that may be absent; template: only where none was found yet. */
static gal_err read_json(gal_chat *c, const char *dir, const char *name, gal_diag *diag) {
    gal_buf path = { 0 };
    json_t *root = NULL;
    gal_err err = gal_path_join(&path, dir, name) ? GAL_OK : no_memory(diag);
    if (!err && gal_exists(path.data)) err = gal__json_read_reals(&root, path.data, MOST_BYTES, diag);
    if (!err && root) {
        if (c->add_bos < 0) c->add_bos = truth(root, "add_bos_token");
        if (c->add_eos < 0) c->add_eos = truth(root, "add_eos_token");
        if (!c->n_templates) err = read_templates(c, json_object_get(root, "chat_template"), path.data, name, diag);
    }
    json_decref(root);
    gal_buf_free(&path);
    return err;
}

static gal_err read_jinja(gal_chat *c, const char *dir, gal_diag *diag) {
    gal_buf path = { 0 }, text = { 0 };
    gal_err err = gal_path_join(&path, dir, "chat_template.jinja") ? GAL_OK : no_memory(diag);
    bool there = !err && gal_exists(path.data);
    if (there) err = gal_read_file(&text, path.data, MOST_BYTES, diag);
    if (there && !err && text.len && memchr(text.data, 0, text.len))
        err = gal_fail(diag, GAL_EINPUT, "%s: expected text, found U+0000", path.data);
    if (there && !err) err = add_template(c, NULL, text.len ? text.data : "", text.len, "chat_template.jinja", diag);
    gal_buf_free(&path);
    gal_buf_free(&text);
    return err;
}

/* ---- GGUF files -------------------------------------------------------------------------------------------------
 */

static int flag(const gal_gguf *g, const char *key, gal_err *err, gal_diag *diag) {
    bool value = false, found = false;
    if (!*err) *err = gal_gguf_bool(g, key, &value, &found, diag);
    return found ? value : -1;
}

static gal_err read_keys(gal_chat *c, const gal_gguf *g, const char *path, gal_diag *diag) {
    static const char KEY[] = "tokenizer.chat_template";
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < gal_gguf_keys(g); i++) {
        const gal_gguf_value *v = gal_gguf_key_at(g, i);
        const char *tail = v->key + sizeof KEY - 1;
        if (strncmp(v->key, KEY, sizeof KEY - 1) != 0 || (*tail && (*tail != '.' || !tail[1]))) continue;
        const char *text = NULL;
        size_t n = 0;
        err = gal_gguf_string(g, v->key, &text, &n, NULL, diag);
        char shown[GAL__SHOW];
        if (!err && n && memchr(text, 0, n))
            err = gal_fail(diag, GAL_EINPUT, "%s: %s: expected text, found U+0000", path, gal__show(shown, v->key));
        if (!err) err = add_template(c, *tail ? tail + 1 : NULL, text, n, KEY, diag);
    }
    c->add_bos = flag(g, "tokenizer.ggml.add_bos_token", &err, diag);
    c->add_eos = flag(g, "tokenizer.ggml.add_eos_token", &err, diag);
    return err;
}

gal_err gal_chat_of_file(gal_chat *c, const gal_gguf *g, const char *path, gal_diag *diag) {
    *c = (gal_chat){ .add_bos = -1, .add_eos = -1 };
    return read_keys(c, g, path, diag);
}

gal_err gal_chat_of_folder(gal_chat *c, const char *dir, gal_diag *diag) {
    *c = (gal_chat){ .add_bos = -1, .add_eos = -1 };
    gal_err err = read_jinja(c, dir, diag);
    if (!err) err = read_json(c, dir, "tokenizer_config.json", diag);
    if (!err) err = read_json(c, dir, "chat_template.json", diag);
    return err;
}

const char *gal_chat_default(const gal_chat *c) {
    for (size_t i = 0; i < c->n_templates; i++)
        if (!c->templates[i].name) return c->templates[i].text;
    return NULL;
}

void gal_chat_free(gal_chat *c) {
    for (size_t i = 0; i < c->n_templates; i++) {
        gal_free(c->templates[i].name);
        gal_free(c->templates[i].text);
    }
    gal_free(c->templates);
    *c = (gal_chat){ .add_bos = -1, .add_eos = -1 };
}
