/* gguf_vocab.c - the vocabulary that a GGUF file carries (formats.md 4.2). SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "formats/gguf.h"
#include "infer/lm.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Memory for the arrays of a gal_vocab. */
typedef struct arrays {
    const char **pieces;
    size_t *lengths;
    float *scores;
    uint8_t *types;
    uint8_t *charsmap;
    const char **merges;
    size_t *merge_lengths;
    gal_buf control[3]; /* bos, eos, pad: text of the pieces */
} arrays;

static void forget(arrays *a) {
    gal_free(a->pieces);
    gal_free(a->lengths);
    gal_free(a->scores);
    gal_free(a->types);
    gal_free(a->charsmap);
    gal_free(a->merges);
    gal_free(a->merge_lengths);
    for (int i = 0; i < 3; i++) gal_buf_free(&a->control[i]);
}

/* An array of `count` entries; absent is as bad as another length. */
static gal_err array_of(const gal_gguf *g, const char *path, const char *key, gal_gguf_want want, uint64_t count,
                        const gal_gguf_value **out, gal_diag *diag) {
    gal_err err = gal_gguf_array(g, key, want, out, NULL, diag);
    if (!err && (*out)->count != count)
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: %s: expected %" PRIu64 " entries, as tokenizer.ggml.tokens has, found %" PRIu64, path,
                       key, count, (*out)->count);
    return err;
}

/* Names for rows of the embedding that no text has: "[PAD7]" as piece 7. Converters fill vocabularies up with them.
 */
static bool is_filler(const arrays *a, size_t i) {
    char name[32];
    int n = snprintf(name, sizeof name, "[PAD%zu]", i);
    return a->types[i] == GAL_PIECE_UNUSED && n > 0 && a->lengths[i] == (size_t)n &&
           memcmp(a->pieces[i], name, (size_t)n) == 0;
}

/* scored: with scores, too. */
static gal_err fill_pieces(arrays *a, const gal_gguf *g, const char *path, bool scored, size_t *count,
                           gal_diag *diag) {
    const gal_gguf_value *tokens, *scores = NULL, *types;
    gal_err err = gal_gguf_array(g, "tokenizer.ggml.tokens", GAL_GGUF_STRINGS, &tokens, NULL, diag);
    if (err) return err;
    if (scored) err = array_of(g, path, "tokenizer.ggml.scores", GAL_GGUF_FLOATS, tokens->count, &scores, diag);
    if (!err) err = array_of(g, path, "tokenizer.ggml.token_type", GAL_GGUF_INTS, tokens->count, &types, diag);
    if (err) return err;
    *count = (size_t)tokens->count;
    a->pieces = gal_alloc_array(*count + 1, sizeof *a->pieces);
    a->lengths = gal_alloc_array(*count + 1, sizeof *a->lengths);
    a->scores = gal_alloc_array(*count + 1, sizeof *a->scores);
    a->types = gal_alloc(*count + 1);
    if (!a->pieces || !a->lengths || !a->scores || !a->types)
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for a vocabulary of %zu pieces", path, *count);
    for (size_t i = 0; i < *count; i++) {
        int64_t type = gal_gguf_int_at(types, i);
        a->pieces[i] = gal_gguf_string_at(tokens, i, &a->lengths[i]);
        if (scored) a->scores[i] = (float)gal_gguf_float_at(scores, i);
        if (type < GAL_PIECE_NORMAL || type > GAL_PIECE_BYTE)
            return gal_fail(diag, GAL_EINPUT,
                            "%s: tokenizer.ggml.token_type: entry %zu: expected 1 to 6, found %" PRId64, path, i,
                            type);
        a->types[i] = (uint8_t)type;
    }
    while (*count > 1 && is_filler(a, *count - 1)) --*count;
    return GAL_OK;
}

static gal_err fill_merges(arrays *a, const gal_gguf_value *merges, size_t *count, const char *path, gal_diag *diag) {
    *count = (size_t)merges->count;
    a->merges = gal_alloc_array(*count + 1, sizeof *a->merges);
    a->merge_lengths = gal_alloc_array(*count + 1, sizeof *a->merge_lengths);
    if (!a->merges || !a->merge_lengths)
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %zu merges", path, *count);
    for (size_t i = 0; i < *count; i++) a->merges[i] = gal_gguf_string_at(merges, i, &a->merge_lengths[i]);
    return GAL_OK;
}

/* The text of the piece that a key names by id; NULL: the key is absent. */
static gal_err control_piece(arrays *a, int i, const char **out, const gal_gguf *g, const char *path, const char *key,
                             size_t count, gal_diag *diag) {
    int32_t id;
    gal_err err = gal_gguf_id(g, key, (int64_t)count, &id, path, diag);
    *out = NULL;
    if (err || id < 0) return err;
    gal_buf_add(&a->control[i], a->pieces[id], a->lengths[id]);
    gal_buf_putc(&a->control[i], 0);
    if (a->control[i].oom) return gal_fail(diag, GAL_ENOMEM, "%s: %s: no memory", path, key);
    *out = a->control[i].data;
    return GAL_OK;
}

static gal_err flag(const gal_gguf *g, const char *key, bool *out, gal_diag *diag) {
    bool found = false;
    return gal_gguf_bool(g, key, out, &found, diag);
}

static bool is_of_pieces(const gal_gguf *g) {
    const char *kind = NULL;
    size_t n = 0;
    bool found = false;
    return !gal_gguf_string(g, "tokenizer.ggml.model", &kind, &n, &found, NULL) && found && n == 5 &&
           memcmp(kind, "llama", 5) == 0;
}

/* The rules of a normaliser, where there are some. */
static gal_err fill_charsmap(arrays *a, const gal_gguf *g, const char *path, size_t *bytes, gal_diag *diag) {
    static const char KEY[] = GAL_GGUF_CHARSMAP;
    const gal_gguf_value *v = NULL;
    bool found = false;
    gal_err err = gal_gguf_array(g, KEY, GAL_GGUF_INTS, &v, &found, diag);
    if (err || !found) return err;
    a->charsmap = gal_alloc((size_t)v->count);
    if (!a->charsmap) return gal_fail(diag, GAL_ENOMEM, "%s: %s: no memory", path, KEY);
    for (uint64_t i = 0; i < v->count; i++) {
        const int64_t x = gal_gguf_int_at(v, i);
        if (x < INT8_MIN || x > UINT8_MAX)
            return gal_fail(diag, GAL_EINPUT, "%s: %s: expected bytes, found %" PRId64 " as element %" PRIu64, path,
                            KEY, x, i);
        a->charsmap[i] = (uint8_t)x;
    }
    *bytes = (size_t)v->count;
    return GAL_OK;
}

static gal_err of_pieces(gal_tokenizer **out, const gal_gguf *g, const char *path, gal_diag *diag) {
    arrays a = { 0 };
    gal_vocab v = { .byte_fallback = true, .add_dummy_prefix = true, .any_ends = true };
    gal_err err = fill_pieces(&a, g, path, true, &v.count, diag);
    if (!err) err = control_piece(&a, 0, &v.bos, g, path, "tokenizer.ggml.bos_token_id", v.count, diag);
    if (!err) err = control_piece(&a, 1, &v.eos, g, path, "tokenizer.ggml.eos_token_id", v.count, diag);
    if (!err) err = control_piece(&a, 2, &v.pad, g, path, "tokenizer.ggml.padding_token_id", v.count, diag);
    if (!err) err = gal_gguf_check_ids(g, (int64_t)v.count, path, diag);
    bool begins = true;
    if (!err) err = flag(g, "tokenizer.ggml.add_bos_token", &begins, diag);
    v.no_bos = !begins;
    if (!err) err = flag(g, "tokenizer.ggml.add_space_prefix", &v.add_dummy_prefix, diag);
    if (!err) err = flag(g, "tokenizer.ggml.remove_extra_whitespaces", &v.remove_extra_whitespaces, diag);
    if (!err) err = fill_charsmap(&a, g, path, &v.charsmap_bytes, diag);
    v.charsmap = a.charsmap;
    v.pieces = a.pieces;
    v.lengths = a.lengths;
    v.scores = a.scores;
    v.types = a.types;
    if (!err) err = gal_tokenizer_from_vocab(out, &v, path, diag);
    forget(&a);
    return err;
}

static gal_err of_bytes(gal_tokenizer **out, const gal_gguf *g, const char *path, gal_diag *diag) {
    arrays a = { 0 };
    const gal_gguf_value *merges;
    const char *pre = NULL;
    size_t n = 0;
    bool begins = true, found = false;
    char name[64] = "gpt-2"; /* what files without the key mean */
    gal_byte_vocab v = { 0 };
    gal_err err = fill_pieces(&a, g, path, false, &v.count, diag);
    if (!err) err = gal_gguf_array(g, "tokenizer.ggml.merges", GAL_GGUF_STRINGS, &merges, NULL, diag);
    if (!err) err = fill_merges(&a, merges, &v.n_merges, path, diag);
    if (!err) err = gal_gguf_check_ids(g, (int64_t)v.count, path, diag);
    if (!err) err = gal_gguf_string(g, "tokenizer.ggml.pre", &pre, &n, &found, diag);
    if (!err && found) (void)snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), pre);
    if (!err) err = gal_gguf_id(g, "tokenizer.ggml.bos_token_id", (int64_t)v.count, &v.bos, path, diag);
    if (!err) err = gal_gguf_id(g, "tokenizer.ggml.eos_token_id", (int64_t)v.count, &v.eos, path, diag);
    if (!err) err = gal_gguf_id(g, "tokenizer.ggml.padding_token_id", (int64_t)v.count, &v.pad, path, diag);
    if (!err) err = gal_gguf_id(g, "tokenizer.ggml.unknown_token_id", (int64_t)v.count, &v.unk, path, diag);
    if (!err) err = flag(g, "tokenizer.ggml.add_bos_token", &begins, diag);
    v.no_bos = !begins;
    v.pre = name;
    v.pieces = a.pieces;
    v.lengths = a.lengths;
    v.types = a.types;
    v.merges = a.merges;
    v.merge_lengths = a.merge_lengths;
    for (size_t i = 0; i < v.count && !err; i++) /* names that text does not become */
        if (a.types[i] != GAL_PIECE_NORMAL && a.types[i] != GAL_PIECE_USER) a.types[i] = GAL_PIECE_CONTROL;
    v.match_user = true;
    if (!err) err = gal_tokenizer_from_bytes(out, &v, path, diag);
    forget(&a);
    return err;
}

/* What our conversions say of templates. */
static gal_err read_told(gal_tokenizer *t, const gal_gguf *g, const char *path, gal_diag *diag) {
    uint64_t version = 0;
    const char *sections = NULL;
    size_t n = 0;
    bool found = false;
    gal_buf name = { 0 };
    gal_err err = gal_gguf_uint(g, GAL_GGUF_CHAT_VERSION, &version, &found, diag);
    if (!err && found && (version < 1 || version > 99))
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: " GAL_GGUF_CHAT_VERSION ": expected 1, 2, 3, 7, 11, 13 or 15, found %" PRIu64, path,
                       version);
    if (!err && found) {
        gal_buf_printf(&name, "%s: " GAL_GGUF_CHAT_VERSION, path);
        err = name.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory", path)
                       : gal_tokenizer_tell(t, (int)version, NULL, 0, name.data, diag);
    }
    found = false;
    if (!err) err = gal_gguf_string(g, GAL_GGUF_CHAT_TEKKEN, &sections, &n, &found, diag);
    if (!err && found) {
        gal_buf_clear(&name);
        gal_buf_printf(&name, "%s: " GAL_GGUF_CHAT_TEKKEN, path);
        err = name.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory", path)
                       : gal_tokenizer_tell(t, 0, sections, n, name.data, diag);
    }
    gal_buf_free(&name);
    return err;
}

static gal_err of_kind(gal_tokenizer **out, const gal_gguf *g, const char *path, gal_diag *diag) {
    const char *kind = NULL;
    size_t n = 0;
    gal_err err = gal_gguf_string(g, "tokenizer.ggml.model", &kind, &n, NULL, diag);
    if (err) return err;
    if (n == 5 && memcmp(kind, "llama", 5) == 0) return of_pieces(out, g, path, diag);
    if (n == 4 && memcmp(kind, "gpt2", 4) == 0) return of_bytes(out, g, path, diag);
    return gal_fail(
        diag, GAL_EINPUT,
        "%s: tokenizer.ggml.model: expected \"llama\" or \"gpt2\", found \"%.*s\", which is not supported", path,
        (int)(n < 40 ? n : 40), kind);
}

static gal_err from_file(gal_tokenizer **out, const gal_gguf *g, const char *path, gal_diag *diag) {
    gal_tokenizer *t = NULL;
    gal_err err = of_kind(&t, g, path, diag);
    if (!err) err = read_told(t, g, path, diag);
    if (err)
        gal_tokenizer_free(t);
    else
        *out = t;
    return err;
}

/* How a file says that it has no vocabulary, in two spellings. */
static bool says_none(const gal_gguf *g) {
    const char *s = NULL;
    size_t n = 0;
    bool found = false;
    gal_err err = gal_gguf_string(g, "tokenizer.ggml.model", &s, &n, &found, NULL);
    return !err && found && ((n == 4 && memcmp(s, "none", 4) == 0) || (n == 8 && memcmp(s, "no_vocab", 8) == 0));
}

gal_err gal_gguf_tokenizer(gal_tokenizer **out, const char *path, gal_diag *diag) {
    gal_gguf *g = NULL;
    *out = NULL;
    gal_err err = gal_gguf_open(&g, path, diag);
    /* A file of weights alone is one too. */
    if (!err && gal_gguf_get(g, "tokenizer.ggml.model") && !says_none(g)) err = from_file(out, g, path, diag);
    gal_gguf_close(g);
    return err;
}

int gal_gguf_missing_byte(const char *path) {
    gal_gguf *g = NULL;
    arrays a = { 0 };
    gal_vocab v = { 0 };
    int byte = -1;
    if (!gal_gguf_open(&g, path, NULL) && is_of_pieces(g) && !fill_pieces(&a, g, path, true, &v.count, NULL)) {
        v.pieces = a.pieces;
        v.lengths = a.lengths;
        v.types = a.types;
        byte = gal_vocab_missing_byte(&v);
    }
    forget(&a);
    gal_gguf_close(g);
    return byte;
}
