/* byte_vocab.c - a tokenizer from a vocabulary whose pieces are bytes. Invariant: every byte is a piece, and all
 * pieces that text can become are different. SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "base/mem.h"
#include "base/util.h"
#include "text/internal.h"
#include "text/scan.h"

#include <string.h>

/* Those of which gal__cut_bytes() may say where text can be cut. */
static const char *const KNOWN[] = { GAL__PATTERN_TEKKEN, GAL__PATTERN_LLAMA3, GAL__PATTERN_GPT2 };

static gal_err copy(gal_tokenizer *t, const gal__byte_vocab *v, const char *name, gal_diag *diag) {
    const size_t count = v->count;
    t->bytes = gal_alloc(v->offsets[count] + count);
    t->offsets = gal_alloc_array(count + 1, sizeof *t->offsets);
    t->scores = gal_alloc_array(count, sizeof *t->scores);
    t->ranks = gal_alloc_array(count, sizeof *t->ranks);
    t->types = gal_alloc_array(count, sizeof *t->types);
    t->unk_surface = gal_strdup("");
    if (!t->bytes || !t->offsets || !t->scores || !t->ranks || !t->types || !t->unk_surface)
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %zu pieces", name, count);
    for (size_t i = 0; i < count; i++) {
        const size_t n = v->offsets[i + 1] - v->offsets[i];
        t->offsets[i] = v->offsets[i] + i;
        memcpy(t->bytes + t->offsets[i], v->bytes + v->offsets[i], n);
        t->types[i] = v->types[i];
        t->ranks[i] = (uint32_t)i;
    }
    t->offsets[count] = v->offsets[count] + count;
    t->size = (int32_t)count;
    return GAL_OK;
}

enum { AHEAD = 16 };

static uint32_t hash_of_piece(const gal_tokenizer *t, int32_t id) {
    size_t n;
    const char *s = gal__piece(t, id, &n);
    const gal__table *table = t->types[id] == GAL_PIECE_NORMAL ? &t->text : &t->reserved;
    const uint32_t h = gal__table_hash(table, s, n);
    gal__table_ask(table, h);
    return h;
}

/* The lines of the table are far apart: each is asked for while those before it are on their way. */
static gal_err fill_tables(gal_tokenizer *t, const char *name, gal_diag *diag) {
    uint32_t hashes[AHEAD];
    for (int32_t id = 0; id < GAL_MIN(AHEAD, t->size); id++) hashes[id] = hash_of_piece(t, id);
    for (int32_t id = 0; id < t->size; id++) {
        const uint32_t h = hashes[id % AHEAD];
        gal__table *table = t->types[id] == GAL_PIECE_NORMAL ? &t->text : &t->reserved;
        if (id + AHEAD < t->size) hashes[id % AHEAD] = hash_of_piece(t, id + AHEAD);
        const int32_t other = gal__table_put(t, table, h, id);
        if (other >= 0)
            return gal_fail(diag, GAL_EINPUT, "%s: pieces %d and %d are the same bytes", name, (int)other, (int)id);
    }
    return GAL_OK;
}

static gal_err index_pieces(gal_tokenizer *t, bool by_steps, const char *name, gal_diag *diag) {
    size_t texts = 0;
    for (int32_t id = 0; id < t->size; id++) texts += t->types[id] == GAL_PIECE_NORMAL;
    if (!gal__table_new(&t->text, texts) || !gal__table_new(&t->reserved, (size_t)t->size - texts))
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %d pieces", name, (int)t->size);
    t->text.by_steps = by_steps;
    t->two = gal_alloc_array(1 << 16, sizeof *t->two);
    if (!t->two) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for its pairs", name);
    for (int b = 0; b < 256; b++) t->byte_ids[b] = -1;
    for (int b = 0; b < 1 << 16; b++) t->two[b] = -1;
    for (int32_t id = 0; id < t->size; id++) {
        size_t n;
        const char *s = gal__piece(t, id, &n);
        if (n == 0 || n >= GAL__MAX_PIECE_BYTES)
            return gal_fail(diag, GAL_EINPUT, "%s: piece %d has %zu bytes, expected 1 to %d", name, (int)id, n,
                            GAL__MAX_PIECE_BYTES - 1);
        if (t->types[id] != GAL_PIECE_NORMAL) continue;
        t->text_max = GAL_MAX(t->text_max, n);
        if (n == 1) t->byte_ids[(uint8_t)*s] = id;
        if (n == 2) t->two[(uint8_t)s[0] << 8 | (uint8_t)s[1]] = id;
    }
    gal_err err = fill_tables(t, name, diag);
    for (int b = 0; b < 256 && !err; b++)
        if (t->byte_ids[b] < 0) err = gal_fail(diag, GAL_EINPUT, "%s: no piece is the byte 0x%02X", name, b);
    return err;
}

static gal_err index_merges(gal_tokenizer *t, const gal__byte_vocab *v, const char *name, gal_diag *diag) {
    size_t slots = 16;
    while (slots < 2 * v->n_merges) slots *= 2;
    t->pairs.slots = gal_alloc_array(slots, sizeof *t->pairs.slots);
    if (!t->pairs.slots) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %zu merges", name, v->n_merges);
    t->pairs.mask = slots - 1;
    t->pairs.ranks = (uint32_t)v->n_merges + 1;
    for (size_t i = 0; i < slots; i++) t->pairs.slots[i].left = -1;
    for (size_t i = 0; i < v->n_merges; i++) gal__pair_add(&t->pairs, &v->merges[i], (uint32_t)i);
    return GAL_OK;
}

static void hash(gal_tokenizer *t, const gal__byte_vocab *v) {
    gal_sha256 h;
    gal_sha256_init(&h);
    gal_sha256_add(&h, t->bytes, t->offsets[t->size]);
    gal_sha256_add(&h, t->types, (size_t)t->size);
    gal_sha256_add(&h, v->pattern, v->pattern_bytes);
    if (t->words_only) gal_sha256_add(&h, "only", 4);
    if (v->merges) gal_sha256_add(&h, v->merges, v->n_merges * sizeof *v->merges);
    gal_sha256_end(&h, t->sha256);
}

gal_err gal__tokenizer_from_bytes(gal_tokenizer **out, const gal__byte_vocab *v, const char *name, gal_diag *diag) {
    if (v->count < 256 || v->count > GAL__MAX_PIECES || v->n_merges > GAL__MAX_PIECES)
        return gal_fail(diag, GAL_EINPUT, "%s: %zu pieces and %zu merges; 256 to %d are possible", name, v->count,
                        v->n_merges, GAL__MAX_PIECES);
    gal_tokenizer *t = gal_alloc(sizeof *t);
    if (!t) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for a tokenizer", name);
    t->kind = v->kind;
    t->bytes_are_text = true;
    t->whole_words = v->whole_words;
    t->words_only = v->words_only && !gal__scanner_of(v->pattern, v->pattern_bytes);
    gal_err err = copy(t, v, name, diag);
    if (!err) err = index_pieces(t, !v->merges, name, diag);
    if (!err && v->merges) err = index_merges(t, v, name, diag);
    if (!err && !v->merges) err = gal__longest_new(&t->longest, t, name, diag);
    if (!err) err = gal__split_new(&t->split, v->pattern, v->pattern_bytes, name, diag);
    if (err) {
        gal_tokenizer_free(t);
        return err;
    }
    for (size_t i = 0; i < GAL_LEN(KNOWN); i++)
        t->cuts = t->cuts ||
                  (strlen(KNOWN[i]) == v->pattern_bytes && memcmp(KNOWN[i], v->pattern, v->pattern_bytes) == 0);
    t->unk = v->unk;
    t->bos = v->bos;
    t->eos = v->eos;
    t->pad = v->pad;
    t->version = v->version;
    t->no_bos = v->no_bos;
    hash(t, v);
    *out = t;
    return GAL_OK;
}
