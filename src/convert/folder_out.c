/* folder_out.c - the result as a folder in Hugging Face's or Mistral's own layout: tensors in one file or several
 * with an index, then what belongs to them, and what says that a model is here last. SPDX-License-Identifier:
 * Apache-2.0 */
#include "base/mem.h"
#include "convert/job.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "infer/vocab_config.h"

#include <stdio.h>
#include <string.h>

enum { NAME = 80 };

static const char *stem(const gal__job *j) { return j->o->to == GAL_LAYOUT_OWN ? "consolidated" : "model"; }

static void shard_name(char name[NAME], const gal__job *j, size_t shard, size_t count) {
    if (count == 1)
        (void)snprintf(name, NAME, "%s.safetensors", stem(j));
    else
        (void)snprintf(name, NAME, "%s-%05zu-of-%05zu.safetensors", stem(j), shard + 1, count);
}

/* ---- tensors ----------------------------------------------------------------------------------------------------
 */

/* Which file each tensor goes into: the next one whenever this one would become too long. Returns how many. */
static size_t divide(const gal__job *j, size_t *shard) {
    size_t files = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < gal_source_count(j->s); i++) {
        uint64_t more = gal__job_bytes(j, i);
        if (i > 0 && bytes + more > j->o->shard_bytes) {
            files++;
            bytes = 0;
        }
        bytes += more;
        shard[i] = files;
    }
    return files + 1;
}

static gal_st_dtype st_type(uint32_t type) {
    return type == GAL_BLOCK_F32 ? GAL_ST_F32 : type == GAL_BLOCK_F16 ? GAL_ST_F16 : GAL_ST_BF16;
}

static gal_err write_shard(gal__job *j, const char *dir, const char *name, const size_t *shard, size_t which,
                           gal_diag *diag) {
    static const char *const META[] = { "format", "pt" };
    size_t count = gal_source_count(j->s), n = 0;
    gal_st_item *items = gal_alloc_array(count, sizeof *items);
    gal__stream *streams = gal_alloc_array(count, sizeof *streams);
    gal_buf path = { 0 };
    gal_err err = items && streams && gal_path_join(&path, dir, name)
                      ? GAL_OK
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory for the list of %zu tensors", dir, count);
    for (size_t i = 0; !err && i < count; i++) {
        if (shard[i] != which) continue;
        const gal_source_tensor *t = gal_source_at(j->s, i);
        streams[n] = (gal__stream){ .job = j, .i = i };
        items[n] = (gal_st_item){ .name = t->name,
                                  .dtype = st_type(j->types[i]),
                                  .from = st_type(j->types[i]),
                                  .ndim = t->ndim,
                                  .dim = t->dim,
                                  .data = &streams[n],
                                  .read = gal__job_read,
                                  .user = &streams[n] };
        n++;
    }
    if (!err) err = gal_safetensors_write(path.data, items, n, META, 1, diag);
    gal_buf_free(&path);
    gal_free(items);
    gal_free(streams);
    return err;
}

static gal_err write_index(const gal__job *j, const char *dir, const size_t *shard, size_t count, gal_diag *diag) {
    char name[NAME];
    gal_buf path = { 0 }, text = { 0 };
    json_t *root = json_object(), *meta = json_object(), *map = json_object();
    bool bad = json_object_set_new(meta, "total_size", json_integer((json_int_t)j->total)) != 0;
    for (size_t i = 0; i < gal_source_count(j->s); i++) {
        shard_name(name, j, shard[i], count);
        bad |= json_object_set_new(map, gal_source_at(j->s, i)->name, json_string(name)) != 0;
    }
    bad |= json_object_set_new(root, "metadata", meta) != 0;
    bad |= json_object_set_new(root, "weight_map", map) != 0;
    (void)snprintf(name, sizeof name, "%s.safetensors.index.json", stem(j));
    gal_err err = bad || !gal_path_join(&path, dir, name)
                      ? gal_fail(diag, GAL_ENOMEM, "%s: no memory for the index", dir)
                      : gal__json_print(root, &text, path.data, diag);
    if (!err) err = gal_write_file(path.data, text.data, text.len, diag);
    json_decref(root);
    gal_buf_free(&path);
    gal_buf_free(&text);
    return err;
}

static gal_err write_tensors(gal__job *j, const char *dir, gal_diag *diag) {
    size_t *shard = gal_alloc_array(gal_source_count(j->s), sizeof *shard);
    if (!shard) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    size_t count = divide(j, shard);
    gal_err err = GAL_OK;
    for (size_t k = 0; !err && k < count; k++) {
        char name[NAME];
        shard_name(name, j, k, count);
        err = write_shard(j, dir, name, shard, k, diag);
    }
    if (!err && count > 1) err = write_index(j, dir, shard, count, diag);
    j->result.files = count;
    gal_free(shard);
    return err;
}

/* ---- what belongs to them ---------------------------------------------------------------------------------------
 */

/* Where the source says nothing more than its config does. */
static void generation_of(gal_generation *g, const gal__extras *e, const gal_config *c) {
    *g = e->generation;
    g->n_eos = gal__extras_eos(e, c, g->eos);
    if (g->bos < 0) g->bos = c->bos;
    if (g->pad < 0) g->pad = c->pad;
}

static gal_err write_generation(const gal__job *j, const gal__extras *e, const char *dir, gal_diag *diag) {
    gal_generation g;
    gal_buf path = { 0 };
    generation_of(&g, e, gal_source_config(j->s));
    gal_err err = gal_path_join(&path, dir, "generation_config.json")
                      ? GAL_OK
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err && !gal_exists(path.data)) err = gal_generation_write(&g, path.data, diag);
    gal_buf_free(&path);
    return err;
}

/* tokenizer.model is the name that others look for; by the other one Mistral's folders say the version. */
static gal_err write_pieces(const gal__job *j, const gal_tokenizer *t, const char *dir, gal_diag *diag) {
    char suffix[16], name[40] = "tokenizer.model";
    gal_buf path = { 0 }, bytes = { 0 };
    const bool all = gal_tokenizer_suffix(t, suffix);
    gal_err err = gal_tokenizer_print_spm(t, &bytes, diag);
    for (int i = 0; !err && i < 1 + (gal_tokenizer_told(t) > 0); i++) {
        if (i) (void)snprintf(name, sizeof name, "tokenizer.model%s", suffix);
        err = gal_path_join(&path, dir, name) ? gal_write_file(path.data, bytes.data, bytes.len, diag)
                                              : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    }
    if (!err && !all)
        gal__job_note(j, GAL_GGUF_CHAT_TEKKEN " is left out: a SentencePiece file says nothing of settings, images "
                                              "and audio");
    gal_buf_free(&path);
    gal_buf_free(&bytes);
    return err;
}

static gal_err write_vocabulary(const gal__job *j, const gal__extras *e, const char *dir, gal_diag *diag) {
    const gal_tokenizer *t = e->tokenizer;
    if (!gal_tokenizer_of_bytes(t)) return write_pieces(j, t, dir, diag);
    if (gal_tokenizer_told(t))
        gal__job_note(j, "tekken.json is not made anew: tokenizer.json has its pieces, and tokenizer_config.json, in "
                         "galerne_chat_version and galerne_chat_tekken, what templates need; mistral-common reads "
                         "neither");
    return gal__write_tokenizer_json(e, dir, diag);
}

static json_t *templates(const gal__extras *e) {
    if (e->chat.n_templates == 1 && !e->chat.templates[0].name) return json_string(e->chat.templates[0].text);
    json_t *list = json_array();
    for (size_t i = 0; list && i < e->chat.n_templates; i++) {
        const gal_model_template *t = &e->chat.templates[i];
        json_t *one = json_pack("{s:s, s:s}", "name", t->name ? t->name : "default", "template", t->text);
        if (!one || json_array_append_new(list, one)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* tokenizer_config.json, by which others know what kind of vocabulary tokenizer.model or tokenizer.json is. */
static gal_err write_tokenizer_config(const gal__job *j, const gal__extras *e, const char *dir, gal_diag *diag) {
    const gal_tokenizer *t = e->tokenizer;
    gal_buf path = { 0 }, text = { 0 };
    json_t *o = t ? gal_vocab_config(t, e->chat.add_bos != 0 && gal_tokenizer_begins(t), e->chat.add_eos == 1)
                  : json_object();
    bool bad = !o || !gal_path_join(&path, dir, "tokenizer_config.json");
    if (t)
        bad |= json_object_set_new(o, "model_max_length", json_integer(gal_source_config(j->s)->max_positions)) != 0;
    if (e->chat.n_templates) bad |= json_object_set_new(o, "chat_template", templates(e)) != 0;
    gal_err err = bad ? gal_fail(diag, GAL_ENOMEM, "%s: no memory for tokenizer_config.json", dir)
                      : gal__json_print(o, &text, path.data, diag);
    if (!err) err = gal_write_file(path.data, text.data, text.len, diag);
    json_decref(o);
    gal_buf_free(&path);
    gal_buf_free(&text);
    return err;
}

static bool has(const char *dir, const char *name, gal_err *err, gal_diag *diag) {
    gal_buf path = { 0 };
    if (!*err && !gal_path_join(&path, dir, name)) *err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    const bool there = !*err && gal_exists(path.data);
    gal_buf_free(&path);
    return there;
}

/* Where a folder has Mistral's own vocabulary alone, those who read Hugging Face's layout get theirs beside it; and
 * what a checkpoint of a training did not always say. */
static gal_err write_beside(const gal__job *j, const char *dir, gal_diag *diag) {
    gal__extras e = { 0 };
    gal_err err = GAL_OK;
    if (j->o->to != GAL_LAYOUT_HF) return GAL_OK;
    const bool pieces = has(dir, "tekken.json", &err, diag) && !has(dir, "tokenizer.json", &err, diag);
    const bool kind = has(gal_source_path(j->s), "trainer.json", &err, diag) &&
                      !has(dir, "tokenizer_config.json", &err, diag);
    if (err || (!pieces && !kind)) return err;
    err = gal__extras_read(&e, j, diag);
    if (!err && e.tokenizer && pieces) err = gal__write_tokenizer_json(&e, dir, diag);
    if (!err && e.tokenizer && !has(dir, "tokenizer_config.json", &err, diag) && !err)
        err = write_tokenizer_config(j, &e, dir, diag);
    gal__extras_free(&e);
    return err;
}

/* Of a GGUF file; between folders, files are copied. */
static gal_err write_extras(const gal__job *j, const char *dir, gal_diag *diag) {
    gal__extras e = { 0 };
    bool file = gal_source_model(j->s)->config.layout == GAL_LAYOUT_GGUF;
    gal_err err = GAL_OK;
    if (file) {
        err = gal__extras_read(&e, j, diag);
        if (!err && e.tokenizer) err = write_vocabulary(j, &e, dir, diag);
        if (!err && (e.tokenizer || e.chat.n_templates)) err = write_tokenizer_config(j, &e, dir, diag);
    } else {
        gal_generation_defaults(&e.generation);
        err = gal__copy_files(j, dir, diag);
        if (!err) err = write_beside(j, dir, diag);
    }
    if (!err) err = write_generation(j, &e, dir, diag);
    gal__extras_free(&e);
    return err;
}

static gal_err write_config(const gal__job *j, const char *dir, gal_diag *diag) {
    gal_config c = *gal_source_config(j->s); /* borrows layer_full */
    bool own = j->o->to == GAL_LAYOUT_OWN;
    gal_buf path = { 0 };
    c.dtype = gal__job_dtype(j);
    gal_err err = gal_path_join(&path, dir, own ? "params.json" : "config.json")
                      ? GAL_OK
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err) err = own ? gal_own_config_write(&c, path.data, diag) : gal_config_write(&c, path.data, diag);
    gal_buf_free(&path);
    return err;
}

gal_err gal__write_folder(gal__job *j, const char *dir, gal_diag *diag) {
    gal_err err = gal_make_dirs(dir, diag);
    if (!err) err = write_extras(j, dir, diag); /* what is wrong with them is told before the long part */
    if (!err) err = write_config(j, dir, diag);
    if (!err) err = write_tensors(j, dir, diag);
    return err ? err : gal_sync_dir(dir, diag);
}
