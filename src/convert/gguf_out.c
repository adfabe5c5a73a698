/* gguf_out.c - the result as a GGUF file: metadata made from config and vocabulary, or taken over from the GGUF file
 * that the model came from. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "convert/job.h"
#include "formats/gguf.h"

#include <stdio.h>
#include <string.h>

/* general.file_type of a file whose matrices are mostly of a type; all but these are named by quantisers. */
static uint32_t file_type(const gal__job *j) {
    gal_dtype d = gal__job_dtype(j);
    return d == GAL_F32 ? 0 : d == GAL_F16 ? 1 : 32;
}

static bool made_anew(const gal__job *j) {
    for (size_t i = 0; i < gal_source_count(j->s); i++)
        if (gal_source_at(j->s, i)->ndim > 1 && j->types[i] != gal_source_at(j->s, i)->type) return true;
    return false;
}

/* As they are, but for what says that the file is one of several, or of what it is made when that changed. */
static gal_err put_old(gal_gguf_writer *w, const gal__job *j, gal_diag *diag) {
    gal_gguf *g = NULL;
    gal_err err = gal_gguf_open(&g, gal_source_path(j->s), diag);
    for (size_t i = 0; !err && i < gal_gguf_keys(g); i++) {
        const gal_gguf_value *v = gal_gguf_key_at(g, i);
        bool kind = strcmp(v->key, "general.file_type") == 0 || strcmp(v->key, "general.quantization_version") == 0;
        if (strncmp(v->key, "split.", 6) != 0 && !kind) gal_gguf_put_value(w, v);
    }
    gal_gguf_close(g);
    return err;
}

/* Not one beyond the rows: readers refuse it. */
static void put_id(gal_gguf_writer *w, const char *key, int32_t id, int64_t rows) {
    if (id >= 0 && id < rows) gal_gguf_put_u32(w, key, (uint32_t)id);
}

/* Those that the vocabulary has pieces for: an embedding may have rows beyond them. */
static int32_t known_only(const gal__job *j, const gal_tokenizer *t, int32_t *eos, int32_t n) {
    int32_t left = 0;
    for (int32_t i = 0; i < n; i++)
        if (!t || eos[i] < gal_tokenizer_size(t))
            eos[left++] = eos[i];
        else
            gal__job_note(j, "id %d ends a text, too, which is no piece of its vocabulary: the file does not say it",
                          (int)eos[i]);
    return left;
}

/* Readers take the first as the vocabulary's. */
static void own_eos_first(const gal__job *j, const gal_tokenizer *t, int32_t *eos, int32_t n) {
    const int32_t own = t ? gal_tokenizer_eos(t) : -1;
    int32_t at = 0;
    while (at < n && eos[at] != own) at++;
    if (own >= 0 && n && at == n)
        gal__job_note(
            j, "its vocabulary ends texts with id %d, its configuration with id %d, which is what the file says",
            (int)own, (int)eos[0]);
    for (; at < n && at > 0; at--) {
        eos[at] = eos[at - 1];
        eos[at - 1] = own;
    }
}

static void put_ids(gal_gguf_writer *w, const gal__job *j, const gal__extras *e) {
    static const char *const KEYS[] = { "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id" };
    const gal_config *c = gal_source_config(j->s);
    const gal_tokenizer *t = e->tokenizer;
    int32_t eos[GAL_MAX_EOS], n = gal__extras_eos(e, c, eos),
                              pad = e->generation.pad >= 0 ? e->generation.pad : c->pad;
    if (pad < 0 && t && gal_tokenizer_of_bytes(t)) pad = gal_tokenizer_pad(t);
    /* A vocabulary without one has none, whatever id the configuration has by default. */
    put_id(w, "tokenizer.ggml.bos_token_id", t ? gal_tokenizer_bos(t) : c->bos, c->V);
    n = known_only(j, t, eos, n);
    own_eos_first(j, t, eos, n);
    for (int32_t i = 0; i < n && i < (int32_t)GAL_LEN(KEYS); i++) put_id(w, KEYS[i], eos[i], c->V);
    for (int32_t i = (int32_t)GAL_LEN(KEYS); i < n; i++)
        gal__job_note(j, "id %d ends a text, too, which the file cannot say: it has room for three", (int)eos[i]);
    if (t) put_id(w, "tokenizer.ggml.unknown_token_id", gal_tokenizer_unk(t), c->V);
    put_id(w, "tokenizer.ggml.padding_token_id", pad, c->V);
}

/* Readers want as many pieces as the embedding has rows: the rest are names that no text has. */
static gal_err put_pieces(gal_gguf_writer *w, const gal_tokenizer *t, int64_t rows, gal_diag *diag) {
    size_t own = (size_t)gal_tokenizer_size(t), count = GAL_MAX(own, (size_t)rows);
    const char **text = gal_alloc_array(count, sizeof *text);
    size_t *lengths = gal_alloc_array(count, sizeof *lengths);
    float *scores = gal_alloc_array(count, sizeof *scores);
    int32_t *types = gal_alloc_array(count, sizeof *types);
    char(*names)[32] = gal_alloc_array(count - own + 1, sizeof *names);
    bool ok = text && lengths && scores && types && names;
    for (size_t i = 0; ok && i < count; i++) {
        if (i < own) {
            text[i] = gal_tokenizer_piece(t, (int32_t)i, &lengths[i]);
            scores[i] = gal_tokenizer_score(t, (int32_t)i);
            types[i] = (int32_t)gal_tokenizer_type(t, (int32_t)i);
            continue;
        }
        (void)snprintf(names[i - own], sizeof *names, "[PAD%zu]", i);
        text[i] = names[i - own];
        lengths[i] = strlen(text[i]);
        scores[i] = -1000.0F;
        types[i] = GAL_PIECE_UNUSED;
    }
    if (ok) {
        gal_gguf_put_strings(w, "tokenizer.ggml.tokens", text, lengths, count);
        gal_gguf_put_numbers(w, "tokenizer.ggml.scores", GAL_GGUF_F32, scores, count);
        gal_gguf_put_numbers(w, "tokenizer.ggml.token_type", GAL_GGUF_I32, types, count);
    }
    gal_free(text);
    gal_free(lengths);
    gal_free(scores);
    gal_free(types);
    gal_free(names);
    return ok ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for a vocabulary of %zu pieces", count);
}

/* Pieces alone do not tell which template is a model's. */
static void put_told(gal_gguf_writer *w, const gal_tokenizer *t) {
    const char *sections = t ? gal_tokenizer_sections(t) : NULL;
    if (t && gal_tokenizer_told(t)) gal_gguf_put_u32(w, GAL_GGUF_CHAT_VERSION, (uint32_t)gal_tokenizer_told(t));
    if (sections) gal_gguf_put_string(w, GAL_GGUF_CHAT_TEKKEN, sections, strlen(sections));
}

static gal_err put_vocabulary(gal_gguf_writer *w, const gal__job *j, const gal__extras *e, gal_diag *diag) {
    const gal_tokenizer *t = e->tokenizer;
    const char *kind = t ? "llama" : "none";
    gal_err err = GAL_OK;
    if (t && gal_tokenizer_of_bytes(t)) {
        err = gal__put_bytes(w, j, e, diag);
        put_ids(w, j, e);
        return err;
    }
    gal_diag why = { 0 };
    if (t && (err = gal_tokenizer_by_scores(t, &why)) != GAL_OK)
        return gal_fail(diag, err, "%s: its vocabulary cannot be said in a GGUF file: %s", gal_source_path(j->s),
                        why.text);
    gal_gguf_put_string(w, "tokenizer.ggml.model", kind, strlen(kind));
    if (t) {
        gal_gguf_put_string(w, "tokenizer.ggml.pre", "default", 7);
        err = put_pieces(w, t, gal_source_config(j->s)->V, diag);
        gal_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", gal_tokenizer_begins(t) && e->chat.add_bos != 0);
        gal_gguf_put_bool(w, "tokenizer.ggml.add_eos_token", e->chat.add_eos == 1);
        gal_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", gal_tokenizer_adds_space(t));
        gal_gguf_put_bool(w, "tokenizer.ggml.remove_extra_whitespaces", gal_tokenizer_joins_spaces(t));
        size_t n = 0;
        const void *rules = gal_tokenizer_charsmap(t, &n);
        if (rules) gal_gguf_put_numbers(w, GAL_GGUF_CHARSMAP, GAL_GGUF_U8, rules, n);
    }
    put_ids(w, j, e);
    return err;
}

static gal_err put_templates(gal_gguf_writer *w, const gal__extras *e, gal_diag *diag) {
    const char **names = gal_alloc_array(e->chat.n_templates, sizeof *names);
    gal_buf key = { 0 };
    size_t named = 0;
    if (!names) return gal_fail(diag, GAL_ENOMEM, "no memory for the names of %zu templates", e->chat.n_templates);
    for (size_t i = 0; i < e->chat.n_templates; i++) {
        const gal_model_template *t = &e->chat.templates[i];
        gal_buf_clear(&key);
        gal_buf_printf(&key, t->name ? "tokenizer.chat_template.%s" : "tokenizer.chat_template",
                       t->name ? t->name : "");
        if (key.oom) break;
        gal_gguf_put_string(w, key.data, t->text, strlen(t->text));
        if (t->name) names[named++] = t->name;
    }
    if (named) gal_gguf_put_strings(w, "tokenizer.chat_templates", names, NULL, named);
    bool oom = key.oom;
    gal_buf_free(&key);
    gal_free(names);
    return oom ? gal_fail(diag, GAL_ENOMEM, "no memory for a template") : GAL_OK;
}

/* A text longer than the window is another one to a reader that knows of none. */
static void note_window(const gal__job *j) {
    const gal_config *c = gal_source_config(j->s);
    if (c->window && c->window < c->max_positions)
        gal__job_note(
            j,
            "the window of %lld tokens, %s.attention.sliding_window, is read here and not by llama.cpp, which "
            "looks back over all of the %lld positions",
            (long long)c->window, gal_gguf_architecture(c), (long long)c->max_positions);
}

static gal_err put_new(gal_gguf_writer *w, const gal__job *j, gal_diag *diag) {
    gal__extras e = { 0 };
    gal_err err = gal__extras_read(&e, j, diag);
    if (!err) note_window(j);
    if (!err) err = gal_gguf_put_config(w, gal_source_config(j->s), gal_source_path(j->s), diag);
    if (!err) {
        gal_gguf_put_generation(w, &e.generation);
        if (e.generation.max_new_tokens >= 0)
            gal__job_note(j, "max_new_tokens of generation_config.json is left out: no key of the file says it");
        err = put_vocabulary(w, j, &e, diag);
        put_told(w, e.tokenizer);
    }
    if (!err) err = put_templates(w, &e, diag);
    if (!err) err = gal__copy_files(j, NULL, diag);
    gal__extras_free(&e);
    return err;
}

static void put_divisors(gal_gguf_writer *w, const gal_config *c) {
    const int64_t half = c->K / 2;
    if (c->rope_divisors)
        gal_gguf_put_tensor(
            w, &(gal_gguf_item){ .name = "rope_freqs.weight", .ndim = 1, .dim = &half, .data = c->rope_divisors });
}

gal_err gal_source_put_metadata(gal_gguf_writer *w, const gal_source *s, void (*note)(void *user, const char *line),
                                void *user, gal_diag *diag) {
    gal_convert_options o = { .to = GAL_LAYOUT_GGUF, .note = note, .user = user };
    gal__job j = { .s = s, .o = &o };
    GAL_ASSERT(gal_source_config(s)->layout == GAL_LAYOUT_GGUF);
    put_divisors(w, gal_source_config(s));
    bool file = gal_source_model(s)->config.layout == GAL_LAYOUT_GGUF;
    return file ? put_old(w, &j, diag) : put_new(w, &j, diag);
}

/* Of what the tensors are made, as it was where nothing of that changed. */
static gal_err put_kind(gal_gguf_writer *w, const gal__job *j, gal_diag *diag) {
    static const char *const KEYS[] = { "general.file_type", "general.quantization_version" };
    gal_gguf *g = NULL;
    if (gal_source_model(j->s)->config.layout != GAL_LAYOUT_GGUF || made_anew(j)) {
        gal_gguf_put_u32(w, KEYS[0], file_type(j));
        return GAL_OK;
    }
    gal_err err = gal_gguf_open(&g, gal_source_path(j->s), diag);
    for (size_t i = 0; !err && i < GAL_LEN(KEYS); i++)
        if (gal_gguf_get(g, KEYS[i])) gal_gguf_put_value(w, gal_gguf_get(g, KEYS[i]));
    gal_gguf_close(g);
    return err;
}

gal_err gal__write_gguf(gal__job *j, const char *path, gal_diag *diag) {
    gal_gguf_writer *w = NULL;
    size_t count = gal_source_count(j->s);
    gal__stream *streams = gal_alloc_array(count, sizeof *streams);
    gal_err err = streams ? gal_gguf_writer_new(&w, diag) : gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    if (!err) err = gal_source_put_metadata(w, j->s, j->o->note, j->o->user, diag);
    if (!err) err = put_kind(w, j, diag);
    for (size_t i = 0; !err && i < count; i++) {
        const gal_source_tensor *t = gal_source_at(j->s, i);
        streams[i] = (gal__stream){ .job = j, .i = i };
        gal_gguf_put_tensor(w, &(gal_gguf_item){ .name = t->name,
                                                 .type = j->types[i],
                                                 .ndim = t->ndim,
                                                 .dim = t->dim,
                                                 .emit = gal__job_emit,
                                                 .user = &streams[i] });
    }
    if (!err) err = gal_gguf_write(w, path, diag);
    j->result.files = 1;
    gal_gguf_writer_free(w);
    gal_free(streams);
    return err;
}
