/* hf_write.c - a vocabulary of bytes in the two spellings that others read: a tokenizer.json, and the parts of a GGUF
 * file. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/hf.h"

#include <string.h>

/* Nothing but a pattern and added tokens. */
static bool plain(const gal_tokenizer *t) {
    const gal__hf *h = t->hf;
    return t->bytes_are_text &&
           (!h || (h->n_rules == 0 && h->n_steps == 1 && h->steps[0].pattern && h->steps[0].how == GAL__ISOLATED));
}

static gal_err refuse(const gal_tokenizer *t, const char *what, gal_diag *diag) {
    return gal_fail(diag, GAL_EINPUT, "a vocabulary of the kind \"%s\"%s cannot be written as %s", t->kind,
                    t->hf ? " with its own steps" : "", what);
}

void gal_tokenizer_spell(const gal_tokenizer *t, int32_t id, gal_buf *out) {
    size_t n;
    const char *s = gal__piece(t, id, &n);
    if (!t->bytes_are_text || t->types[id] != GAL_PIECE_NORMAL)
        gal_buf_add(out, s, n);
    else
        for (size_t i = 0; i < n; i++) gal__spell_byte(out, (uint8_t)s[i]);
}

gal_err gal_tokenizer_pre(const gal_tokenizer *t, const char **pre, gal_diag *diag) {
    *pre = NULL;
    if (!plain(t)) return refuse(t, "the vocabulary of a GGUF file", diag);
    for (size_t i = 0; t->hf && i < t->hf->n_added; i++) {
        const gal__added *a = &t->hf->added[i];
        if (!a->special && (a->single_word || a->lstrip || a->rstrip))
            return gal_fail(diag, GAL_EINPUT,
                            "token %d, '%.60s', has single_word, lstrip or rstrip, which a GGUF file cannot say",
                            (int)a->id, a->content.s);
    }
    *pre = gal__pre_of(gal_tokenizer_pattern(t), t->whole_words);
    if (*pre) return GAL_OK;
    return gal_fail(
        diag, GAL_EINPUT,
        "the pattern that cuts words has no name in GGUF files%s: expected that of Tekken, Llama 3 or GPT-2, "
        "found '%.120s'",
        t->whole_words ? " (with ignore_merges)" : "", gal_tokenizer_pattern(t));
}

bool gal_tokenizer_matches(const gal_tokenizer *t, int32_t id) {
    for (size_t i = 0; t->hf && i < t->hf->n_added; i++)
        if (t->hf->added[i].id == id) return !t->hf->added[i].special;
    return false;
}

static void put_added(gal_buf *b, int32_t id, const char *s, size_t n, const gal__added *a, bool *first) {
    static const char *const WORDS[] = { "false", "true" };
    gal_buf_printf(b, "%s\n    {\"id\": %d, \"content\": ", *first ? "" : ",", (int)id);
    gal_buf_json(b, s, n);
    gal_buf_printf(b, ", \"single_word\": %s, \"lstrip\": %s, \"rstrip\": %s, \"normalized\": %s, \"special\": %s}",
                   WORDS[a && a->single_word], WORDS[a && a->lstrip], WORDS[a && a->rstrip],
                   WORDS[a && a->normalized], WORDS[!a]);
    *first = false;
}

/* In the order of their ids, which readers give them again. */
static void put_all_added(gal_buf *b, const gal_tokenizer *t) {
    bool first = true;
    gal_buf_puts(b, "  \"added_tokens\": [");
    for (int32_t id = 0; id < t->size; id++) {
        const gal__added *a = NULL;
        size_t n;
        const char *s = gal__piece(t, id, &n);
        if (t->types[id] == GAL_PIECE_NORMAL && !gal_tokenizer_matches(t, id)) continue;
        for (size_t i = 0; t->hf && i < t->hf->n_added && !a; i++)
            if (t->hf->added[i].id == id && !t->hf->added[i].special) a = &t->hf->added[i];
        put_added(b, id, a ? a->content.s : s, a ? a->content.n : n, a, &first);
    }
    gal_buf_puts(b, "\n  ],\n");
}

static void put_rules(gal_buf *b, const gal_tokenizer *t) {
    gal_buf name = { 0 };
    const char *pattern = gal_tokenizer_pattern(t);
    if (t->bos >= 0) gal_tokenizer_spell(t, t->bos, &name);
    const char *bos = name.data;
    const size_t n = name.len;
    b->oom = b->oom || name.oom;
    gal_buf_puts(b, "  \"normalizer\": null,\n  \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [\n"
                    "    {\"type\": \"Split\", \"pattern\": {\"Regex\": ");
    gal_buf_json(b, pattern, strlen(pattern));
    gal_buf_printf(b, "}, \"behavior\": \"%s\", \"invert\": %s},\n", t->words_only ? "Removed" : "Isolated",
                   t->words_only ? "true" : "false"); /* what is no match is removed */
    gal_buf_puts(b,
                 "    {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": "
                 "false}\n  ]},\n  \"post_processor\": ");
    if (bos && !t->no_bos) {
        gal_buf_puts(b, "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": ");
        gal_buf_json(b, bos, n);
        gal_buf_puts(b, ", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], \"pair\": "
                        "[{\"SpecialToken\": {\"id\": ");
        gal_buf_json(b, bos, n);
        gal_buf_puts(b,
                     ", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"Sequence\": {\"id\": "
                     "\"B\", \"type_id\": 1}}], \"special_tokens\": {");
        gal_buf_json(b, bos, n);
        gal_buf_puts(b, ": {\"id\": ");
        gal_buf_json(b, bos, n);
        gal_buf_printf(b, ", \"ids\": [%d], \"tokens\": [", (int)t->bos);
        gal_buf_json(b, bos, n);
        gal_buf_puts(b, "]}}},\n");
    } else {
        gal_buf_puts(b,
                     "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": false, \"use_regex\": "
                     "true},\n");
    }
    gal_buf_puts(b, "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, "
                    "\"use_regex\": true},\n");
    gal_buf_free(&name);
}

static void put_spelled(gal_buf *b, const gal_tokenizer *t, int32_t id, gal_buf *room) {
    gal_buf_clear(room);
    gal_tokenizer_spell(t, id, room);
    gal_buf_json(b, room->data ? room->data : "", room->len);
    b->oom = b->oom || room->oom;
}

static void put_model(gal_buf *b, const gal_tokenizer *t, const gal_merges *m) {
    gal_buf room = { 0 };
    gal_buf_printf(
        b,
        "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
        "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n"
        "    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n    \"ignore_merges\": %s,\n    \"vocab\": {",
        t->whole_words ? "true" : "false");
    for (int32_t id = 0; id < t->size; id++) {
        gal_buf_puts(b, id ? ",\n      " : "\n      ");
        put_spelled(b, t, id, &room);
        gal_buf_printf(b, ": %d", (int)id);
    }
    gal_buf_puts(b, "\n    },\n    \"merges\": [");
    for (size_t i = 0; i < m->len; i++) {
        gal_buf_puts(b, i ? ",\n      [" : "\n      [");
        put_spelled(b, t, m->at[i].left, &room);
        gal_buf_putc(b, ',');
        put_spelled(b, t, m->at[i].right, &room);
        gal_buf_putc(b, ']');
    }
    gal_buf_puts(b, "\n    ]\n  }\n}\n");
    gal_buf_free(&room);
}

/* One spelling for two pieces would be one id. */
static gal_err check_names(const gal_tokenizer *t, gal_diag *diag) {
    for (int32_t id = 0; id < t->size; id++) {
        if (t->types[id] == GAL_PIECE_NORMAL) continue;
        gal_buf bytes = { 0 };
        size_t n;
        const char *s = gal__piece(t, id, &n);
        const int32_t other = gal__unspell(&bytes, s, n) ? gal__table_find(t, &t->text, bytes.data, bytes.len) : -1;
        const bool oom = bytes.oom;
        gal_buf_free(&bytes);
        if (oom) return gal_fail(diag, GAL_ENOMEM, "no memory for a vocabulary of %d pieces", (int)t->size);
        if (other >= 0)
            return gal_fail(diag, GAL_EINPUT,
                            "pieces %d and %d are both spelled '%.60s', which a tokenizer.json cannot say",
                            (int)other, (int)id, s);
    }
    return GAL_OK;
}

gal_err gal_tokenizer_print_hf(const gal_tokenizer *t, gal_buf *out, gal_diag *diag) {
    gal_merges m = { 0 };
    if (!plain(t)) return refuse(t, "a tokenizer.json", diag);
    gal_err err = check_names(t, diag);
    if (!err) err = gal_tokenizer_merges(t, &m, diag);
    if (!err) {
        gal_buf_puts(out, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
        put_all_added(out, t);
        put_rules(out, t);
        put_model(out, t, &m);
        if (out->oom) err = gal_fail(diag, GAL_ENOMEM, "no memory for a vocabulary of %d pieces", (int)t->size);
    }
    gal_merges_free(&m);
    return err;
}
