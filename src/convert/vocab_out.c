/* vocab_out.c - vocabularies whose pieces are bytes, in either layout: GPT-2's alphabet and merges in a GGUF file, a
 * tokenizer.json in a folder. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "convert/job.h"
#include "formats/gguf.h"

#include <stdio.h>
#include <string.h>

/* Strings one after another. */
typedef struct strings {
    gal_buf text;
    size_t *ends;
    const char **at;
    size_t *lengths;
    size_t count;
} strings;

static bool strings_new(strings *s, size_t most) {
    *s = (strings){ 0 };
    s->ends = gal_alloc_array(most, sizeof *s->ends);
    s->at = gal_alloc_array(most, sizeof *s->at);
    s->lengths = gal_alloc_array(most, sizeof *s->lengths);
    return s->ends && s->at && s->lengths;
}

static void strings_end_one(strings *s) { s->ends[s->count++] = s->text.len; }

/* Once all are there: the text no longer moves. */
static bool strings_done(strings *s) {
    for (size_t i = 0, from = 0; i < s->count && !s->text.oom; from = s->ends[i++]) {
        s->at[i] = s->text.data + from;
        s->lengths[i] = s->ends[i] - from;
    }
    return !s->text.oom;
}

static void strings_free(strings *s) {
    gal_buf_free(&s->text);
    gal_free(s->ends);
    gal_free(s->at);
    gal_free(s->lengths);
}

static gal_err no_memory(size_t count, gal_diag *diag) {
    return gal_fail(diag, GAL_ENOMEM, "no memory for a vocabulary of %zu pieces", count);
}

/* Readers want as many pieces as the embedding has rows: the rest are names that no text has. */
static gal_err put_pieces(gal_gguf_writer *w, const gal_tokenizer *t, int64_t rows, gal_diag *diag) {
    const size_t own = (size_t)gal_tokenizer_size(t), count = GAL_MAX(own, (size_t)rows);
    strings s;
    int32_t *types = gal_alloc_array(count, sizeof *types);
    bool ok = strings_new(&s, count) && types;
    for (size_t i = 0; ok && i < count; i++) {
        if (i < own)
            gal_tokenizer_spell(t, (int32_t)i, &s.text);
        else
            gal_buf_printf(&s.text, "[PAD%zu]", i);
        types[i] = i >= own                               ? GAL_PIECE_UNUSED
                   : gal_tokenizer_matches(t, (int32_t)i) ? GAL_PIECE_USER
                                                          : (int32_t)gal_tokenizer_type(t, (int32_t)i);
        strings_end_one(&s);
    }
    ok = ok && strings_done(&s);
    if (ok) {
        gal_gguf_put_strings(w, "tokenizer.ggml.tokens", s.at, s.lengths, count);
        gal_gguf_put_numbers(w, "tokenizer.ggml.token_type", GAL_GGUF_I32, types, count);
    }
    strings_free(&s);
    gal_free(types);
    return ok ? GAL_OK : no_memory(count, diag);
}

static gal_err put_merges(gal_gguf_writer *w, const gal_tokenizer *t, gal_diag *diag) {
    gal_merges m = { 0 };
    gal_err err = gal_tokenizer_merges(t, &m, diag);
    if (err) return err;
    strings s;
    bool ok = strings_new(&s, m.len + 1);
    for (size_t i = 0; ok && i < m.len; i++) {
        gal_tokenizer_spell(t, m.at[i].left, &s.text);
        gal_buf_putc(&s.text, ' ');
        gal_tokenizer_spell(t, m.at[i].right, &s.text);
        strings_end_one(&s);
    }
    ok = ok && strings_done(&s);
    if (ok) gal_gguf_put_strings(w, "tokenizer.ggml.merges", s.at, s.lengths, m.len);
    const size_t count = m.len;
    strings_free(&s);
    gal_merges_free(&m);
    return ok ? GAL_OK : no_memory(count, diag);
}

gal_err gal__put_bytes(gal_gguf_writer *w, const gal__job *j, const gal__extras *e, gal_diag *diag) {
    const gal_tokenizer *t = e->tokenizer;
    const char *pre = NULL;
    gal_diag why = { 0 };
    gal_err err = gal_tokenizer_pre(t, &pre, &why);
    if (err) return gal_fail(diag, err, "%s: its vocabulary: %s", gal_source_path(j->s), why.text);
    gal_gguf_put_string(w, "tokenizer.ggml.model", "gpt2", 4);
    gal_gguf_put_string(w, "tokenizer.ggml.pre", pre, strlen(pre));
    err = put_pieces(w, t, gal_source_config(j->s)->V, diag);
    if (!err) err = put_merges(w, t, diag);
    gal_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", gal_tokenizer_begins(t) && e->chat.add_bos != 0);
    gal_gguf_put_bool(w, "tokenizer.ggml.add_eos_token", e->chat.add_eos == 1);
    return err;
}

gal_err gal__write_tokenizer_json(const gal__extras *e, const char *dir, gal_diag *diag) {
    gal_buf path = { 0 }, text = { 0 };
    gal_err err = gal_tokenizer_print_hf(e->tokenizer, &text, diag);
    if (!err && !gal_path_join(&path, dir, "tokenizer.json")) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err) err = gal_write_file(path.data, text.data, text.len, diag);
    gal_buf_free(&path);
    gal_buf_free(&text);
    return err;
}
