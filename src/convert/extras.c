/* extras.c - what a model's folder or GGUF file says besides its tensors: vocabulary, chat templates, sampling.
 * Refuses damaged files; a vocabulary of a kind that we do not read is left out with a note. SPDX-License-Identifier:
 * Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "convert/job.h"
#include "formats/gguf.h"
#include "formats/json.h"
#include "infer/lm.h"

#include <string.h>

/* ---- folders ----------------------------------------------------------------------------------------------------
 */

static gal_err read_generation(gal__extras *e, const gal__job *j, const char *dir, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_err err = gal_path_join(&path, dir, "generation_config.json")
                      ? GAL_OK
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err && gal_exists(path.data)) {
        err = gal_generation_read(&e->generation, path.data, diag);
        if (!err) err = gal_generation_check(&e->generation, gal_source_config(j->s)->V, path.data, diag);
    }
    gal_buf_free(&path);
    return err;
}

/* Which vocabularies the folder has: any, and besides tokenizer.json. */
static gal_err look_for_vocabulary(const char *dir, bool *any, bool *own, gal_diag *diag) {
    char **names = NULL;
    size_t n = 0;
    gal_err err = gal_list_dir(dir, &names, &n, diag);
    for (size_t i = 0; !err && i < n; i++) {
        if (gal_tokenizer_file_version(names[i])) *own = true;
        if (strcmp(names[i], "tekken.json") == 0) *own = true;
        if (strcmp(names[i], "tokenizer.json") == 0) *any = true;
    }
    *any = *any || *own;
    gal_free_names(names, n);
    return err;
}

static gal_err read_folder(gal__extras *e, const gal__job *j, gal_diag *diag) {
    const char *dir = gal_source_path(j->s);
    bool any = false, own = false;
    gal_diag why = { 0 };
    gal_err err = look_for_vocabulary(dir, &any, &own, diag);
    if (!err && any) err = gal_tokenizer_open(&e->tokenizer, dir, &why);
    if (err == GAL_EINPUT && any && !own) {
        gal__job_note(j, "its vocabulary is left out: %s", why.text); /* others have vocabularies of many kinds */
        err = GAL_OK;
    } else if (err && any) {
        err = gal_fail(diag, err, "%s", why.text);
    }
    if (!err) err = read_generation(e, j, dir, diag);
    if (!err) err = gal_chat_of_folder(&e->chat, dir, diag);
    return err;
}

/* ---- GGUF files -------------------------------------------------------------------------------------------------
 */

/* They come into JSON, which holds nothing but Unicode. Names are parts of keys, whose bytes were checked; so were
 * those of the vocabulary. */
static gal_err check_templates(const gal_chat *c, const char *path, gal_diag *diag) {
    for (size_t i = 0; i < c->n_templates; i++) {
        const gal_model_template *t = &c->templates[i];
        char shown[GAL__SHOW];
        if (!gal_utf8_valid(t->text, strlen(t->text)))
            return gal_fail(diag, GAL_EINPUT,
                            "%s: tokenizer.chat_template%s%s: expected text in UTF-8, found other bytes", path,
                            t->name ? "." : "", t->name ? gal__show(shown, t->name) : "");
    }
    return GAL_OK;
}

static gal_err read_file(gal__extras *e, const gal__job *j, gal_diag *diag) {
    const char *path = gal_source_path(j->s), *kind = "";
    size_t n = 0;
    bool found = false;
    gal_gguf *g = NULL;
    gal_err err = gal_gguf_open(&g, path, diag);
    if (!err) err = gal_gguf_generation(&e->generation, g, path, diag);
    if (!err) err = gal_chat_of_file(&e->chat, g, path, diag);
    if (!err) err = check_templates(&e->chat, path, diag);
    if (!err) err = gal_gguf_string(g, "tokenizer.ggml.model", &kind, &n, &found, diag);
    gal_diag why = { 0 };
    if (!err) err = gal_gguf_tokenizer(&e->tokenizer, path, &why);
    if (err == GAL_EINPUT && why.text[0] && found && n == 4 && memcmp(kind, "gpt2", 4) == 0) {
        gal__job_note(j, "its vocabulary is left out: %s", why.text);
        err = GAL_OK;
    } else if (err && why.text[0]) {
        err = gal_fail(diag, err, "%s", why.text);
    }
    gal_gguf_close(g);
    return err;
}

gal_err gal__extras_read(gal__extras *e, const gal__job *j, gal_diag *diag) {
    *e = (gal__extras){ .chat = { .add_bos = -1, .add_eos = -1 } };
    gal_generation_defaults(&e->generation);
    bool file = gal_source_model(j->s)->config.layout == GAL_LAYOUT_GGUF;
    return file ? read_file(e, j, diag) : read_folder(e, j, diag);
}

void gal__extras_free(gal__extras *e) {
    gal_chat_free(&e->chat);
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
