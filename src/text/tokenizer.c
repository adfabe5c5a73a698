/* tokenizer.c - the vocabulary: checked, sorted by score, and found by piece. Invariant: after opening, every piece
 * is valid UTF-8 without U+0000, unique within its table, and every byte has its piece when byte_fallback is set.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "base/mem.h"
#include "base/util.h"
#include "text/hf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

uint32_t gal__piece_hash(const char *s, size_t n) {
    uint64_t h = 0x9e3779b97f4a7c15U ^ n, v;
    for (; n >= 8; s += 8, n -= 8) {
        memcpy(&v, s, 8);
        h = (h ^ v) * 0xff51afd7ed558ccdU;
        h ^= h >> 32;
    }
    v = 0;
    if (n >= 4) { /* the last four bytes overlap the first */
        uint32_t low, high;
        memcpy(&low, s, 4);
        memcpy(&high, s + n - 4, 4);
        v = (uint64_t)high << 32 | low;
    } else {
        for (size_t i = 0; i < n; i++) v = v << 8 | (uint8_t)s[i];
    }
    h = (h ^ v) * 0xff51afd7ed558ccdU;
    h ^= h >> 32;
    h *= 0xc4ceb9fe1a85ec53U;
    return (uint32_t)(h >> 32);
}

uint32_t gal__table_hash(const gal__table *table, const char *s, size_t n) {
    if (!table->by_steps) return gal__piece_hash(s, n);
    uint64_t h = GAL__STEPS;
    for (size_t i = 0; i < n; i++) h = gal__hash_byte(h, s[i]);
    return (uint32_t)(h >> 32);
}

int32_t gal__table_find(const gal_tokenizer *t, const gal__table *table, const char *s, size_t n) {
    const uint32_t h = gal__table_hash(table, s, n), bit = h >> table->shift;
    if (!(table->maybe[bit / 64] >> bit % 64 & 1)) return -1;
    return gal__table_at(t, table, h, s, n);
}

bool gal__table_new(gal__table *table, size_t count) {
    size_t slots = 64;
    table->shift = 32 - 9; /* 8 bits for each slot that may be taken */
    for (; slots < 2 * count; slots *= 2) table->shift -= table->shift > 0;
    table->mask = slots - 1;
    table->slots = gal_alloc_array(slots, sizeof *table->slots);
    table->maybe = gal_alloc_array(((size_t)1 << (32 - table->shift)) / 64, sizeof *table->maybe);
    if (!table->slots || !table->maybe) return false;
    for (size_t i = 0; i < slots; i++) table->slots[i].id = -1;
    return true;
}

void gal__table_ask(const gal__table *table, uint32_t h) {
    __builtin_prefetch(&table->slots[h & table->mask]);
    __builtin_prefetch(&table->maybe[(h >> table->shift) / 64]);
}

int32_t gal__table_put(const gal_tokenizer *t, gal__table *table, uint32_t h, int32_t id) {
    size_t n, i = h & table->mask;
    const char *s = gal__piece(t, id, &n);
    for (; table->slots[i].id >= 0; i = (i + 1) & table->mask) {
        size_t m;
        if (table->slots[i].tag != h) continue;
        const char *other = gal__piece(t, table->slots[i].id, &m);
        if (m == n && gal__same(other, s, n)) return table->slots[i].id;
    }
    table->slots[i] = (gal__slot){ id, h };
    table->maybe[(h >> table->shift) / 64] |= (uint64_t)1 << (h >> table->shift) % 64;
    return -1;
}

int gal__byte_of_piece(const char *s, size_t n) {
    static const char DIGITS[] = "0123456789ABCDEF";
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>' || !s[3] || !s[4]) return -1;
    const char *hi = strchr(DIGITS, s[3]), *lo = strchr(DIGITS, s[4]);
    return hi && lo ? (int)((hi - DIGITS) * 16 + (lo - DIGITS)) : -1;
}

static bool from_text(uint8_t type) {
    return type == GAL_PIECE_NORMAL || type == GAL_PIECE_USER || type == GAL_PIECE_UNUSED;
}
static bool in_text(const gal_tokenizer *t, int32_t id) {
    return from_text(t->types[id]) && !(t->users_apart && t->types[id] == GAL_PIECE_USER);
}

/* One piece's own rules; the tables see to uniqueness. */
static gal_err check_piece(const gal_tokenizer *t, int32_t id, const char *name, gal_diag *diag) {
    size_t n;
    const char *s = gal__piece(t, id, &n);
    if (n == 0) return gal_fail(diag, GAL_EINPUT, "%s: piece %d is empty", name, (int)id);
    if (n >= GAL__MAX_PIECE_BYTES)
        return gal_fail(diag, GAL_EINPUT, "%s: piece %d has %zu bytes; fewer than %d are possible", name, (int)id, n,
                        GAL__MAX_PIECE_BYTES);
    if (memchr(s, 0, n)) return gal_fail(diag, GAL_EINPUT, "%s: piece %d holds U+0000", name, (int)id);
    uint32_t cp;
    for (size_t i = 0; i < n;) {
        int len = gal_utf8_next(s + i, n - i, &cp);
        if (!len) return gal_fail(diag, GAL_EINPUT, "%s: piece %d is not valid UTF-8", name, (int)id);
        i += (size_t)len;
    }
    if (!isfinite(t->scores[id]))
        return gal_fail(diag, GAL_EINPUT, "%s: the score of piece %d is not a number", name, (int)id);
    if (t->types[id] < GAL_PIECE_NORMAL || t->types[id] > GAL_PIECE_BYTE)
        return gal_fail(diag, GAL_EINPUT, "%s: piece %d has the unknown type %d", name, (int)id, t->types[id]);
    if (t->types[id] == GAL_PIECE_BYTE && gal__byte_of_piece(s, n) < 0)
        return gal_fail(diag, GAL_EINPUT, "%s: byte piece %d is '%s', expected '<0x00>' to '<0xFF>'", name, (int)id,
                        s);
    if (t->types[id] == GAL_PIECE_BYTE && !t->byte_fallback)
        return gal_fail(diag, GAL_EINPUT, "%s: piece %d is a byte piece although byte_fallback is off", name,
                        (int)id);
    return GAL_OK;
}

/* What a piece says about how text may be cut. */
static void note_text_piece(gal_tokenizer *t, int32_t id) {
    size_t n;
    const char *s = gal__piece(t, id, &n);
    t->text_max = GAL_MAX(t->text_max, n);
    if (t->types[id] == GAL_PIECE_UNUSED) t->has_unused = true;
    if (t->types[id] == GAL_PIECE_USER) {
        t->user_first[(uint8_t)s[0]] = true;
        t->user_max = GAL_MAX(t->user_max, n);
    }
    bool word = false;
    for (size_t i = 0; i < n; i++) {
        bool space = n - i >= GAL__SPACE_BYTES && memcmp(s + i, GAL__SPACE, GAL__SPACE_BYTES) == 0;
        if (space && word) t->splits = false;
        if (space) i += GAL__SPACE_BYTES - 1;
        word = word || !space;
    }
}

static gal_err index_pieces(gal_tokenizer *t, bool no_unknown, const char *name, gal_diag *diag) {
    if (!gal__table_new(&t->text, (size_t)t->size) || !gal__table_new(&t->reserved, (size_t)t->size))
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %d pieces", name, (int)t->size);
    t->unk = -1;
    t->splits = true;
    for (int b = 0; b < 256; b++) t->byte_ids[b] = -1;
    for (int32_t id = 0; id < t->size; id++) {
        gal_err err = check_piece(t, id, name, diag);
        if (err) return err;
        size_t n;
        const char *s = gal__piece(t, id, &n);
        gal__table *table = in_text(t, id) ? &t->text : &t->reserved;
        int32_t other = gal__table_put(t, table, gal__table_hash(table, s, n), id);
        if (other >= 0)
            return gal_fail(diag, GAL_EINPUT, "%s: pieces %d and %d are both '%.100s'", name, (int)other, (int)id, s);
        if (in_text(t, id)) note_text_piece(t, id);
        if (t->types[id] == GAL_PIECE_BYTE) t->byte_ids[gal__byte_of_piece(s, n)] = id;
        if (t->types[id] != GAL_PIECE_UNKNOWN) continue;
        if (t->unk >= 0)
            return gal_fail(diag, GAL_EINPUT, "%s: pieces %d and %d are both the unknown piece", name, (int)t->unk,
                            (int)id);
        t->unk = id;
    }
    for (int32_t id = 0; t->users_apart && id < t->size; id++) {
        size_t n;
        const char *s = gal__piece(t, id, &n);
        const int32_t other = t->types[id] == GAL_PIECE_USER ? gal__table_find(t, &t->text, s, n) : -1;
        if (other >= 0)
            return gal_fail(diag, GAL_EINPUT, "%s: pieces %d and %d are both '%.100s'", name, (int)other, (int)id, s);
    }
    if (t->unk < 0 && !no_unknown) return gal_fail(diag, GAL_EINPUT, "%s: it has no unknown piece", name);
    for (int b = 0; t->byte_fallback && b < 256; b++)
        if (t->byte_ids[b] < 0)
            return gal_fail(
                diag, GAL_EINPUT,
                "%s: the vocabulary inside has no piece for byte 0x%02X, which falling back to bytes needs", name, b);
    t->splits = t->splits && !t->has_unused;
    return GAL_OK;
}

typedef struct scored {
    float score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b) {
    const scored *x = a, *y = b;
    if (x->score > y->score) return -1;
    if (x->score < y->score) return 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static gal_err rank_pieces(gal_tokenizer *t, const char *name, gal_diag *diag) {
    scored *order = gal_alloc_array((size_t)t->size, sizeof *order);
    if (!order) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %d pieces", name, (int)t->size);
    for (int32_t id = 0; id < t->size; id++) order[id] = (scored){ t->scores[id], id };
    qsort(order, (size_t)t->size, sizeof *order, by_score);
    uint32_t rank = 0;
    for (int32_t i = 0; i < t->size; i++) {
        if (i > 0 && order[i].score < order[i - 1].score) rank++;
        t->ranks[order[i].id] = rank;
    }
    gal_free(order);
    return GAL_OK;
}

static int32_t control_id(const gal_tokenizer *t, const char *piece) {
    int32_t id = gal_tokenizer_find(t, piece, strlen(piece));
    return id >= 0 && t->types[id] == GAL_PIECE_CONTROL ? id : -1;
}

/* What a text begins or ends with. */
static int32_t end_id(const gal_tokenizer *t, const gal_vocab *v, const char *said, const char *usual) {
    if (said && v->any_ends) return gal_tokenizer_find(t, said, strlen(said));
    return control_id(t, said ? said : usual);
}

static gal_err copy_vocab(gal_tokenizer *t, const gal_vocab *v, const char *name, gal_diag *diag) {
    size_t total = 0, count = v->count;
    for (size_t i = 0; i < count; i++) total += (v->lengths ? v->lengths[i] : strlen(v->pieces[i])) + 1;
    t->bytes = gal_alloc(total);
    t->offsets = gal_alloc_array(count + 1, sizeof *t->offsets);
    t->scores = gal_alloc_array(count, sizeof *t->scores);
    t->ranks = gal_alloc_array(count, sizeof *t->ranks);
    t->types = gal_alloc_array(count, sizeof *t->types);
    t->unk_surface = gal_strdup(v->unk_surface ? v->unk_surface : " \xe2\x81\x87 ");
    if (!t->bytes || !t->offsets || !t->scores || !t->ranks || !t->types || !t->unk_surface)
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %zu pieces", name, count);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        size_t n = v->lengths ? v->lengths[i] : strlen(v->pieces[i]);
        t->offsets[i] = at;
        memcpy(t->bytes + at, v->pieces[i], n);
        at += n + 1;
    }
    t->offsets[count] = at;
    memcpy(t->scores, v->scores, count * sizeof *t->scores);
    memcpy(t->types, v->types, count * sizeof *t->types);
    t->size = (int32_t)count;
    t->byte_fallback = v->byte_fallback;
    t->add_dummy_prefix = v->add_dummy_prefix;
    t->users_apart = v->users_apart;
    t->remove_extra_whitespaces = v->remove_extra_whitespaces;
    return GAL_OK;
}

static void hash_vocab(gal_tokenizer *t) {
    gal_sha256 h;
    gal_sha256_init(&h);
    gal_sha256_add(&h, t->bytes, t->offsets[t->size]);
    gal_sha256_add(&h, t->scores, (size_t)t->size * sizeof *t->scores);
    gal_sha256_add(&h, t->types, (size_t)t->size);
    size_t n = 0;
    const char *rules = t->charsmap ? gal__charsmap_bytes(t->charsmap, &n) : NULL;
    if (rules) gal_sha256_add(&h, rules, n);
    gal_sha256_end(&h, t->sha256);
}

int gal_vocab_missing_byte(const gal_vocab *v) {
    bool there[256] = { false };
    for (size_t i = 0; i < v->count; i++) {
        size_t n = v->lengths ? v->lengths[i] : strlen(v->pieces[i]);
        int byte = v->types[i] == GAL_PIECE_BYTE ? gal__byte_of_piece(v->pieces[i], n) : -1;
        if (byte >= 0) there[byte] = true;
    }
    for (int b = 0; b < 256; b++)
        if (!there[b]) return b;
    return -1;
}

gal_err gal_tokenizer_from_vocab(gal_tokenizer **out, const gal_vocab *v, const char *name, gal_diag *diag) {
    if (v->count == 0 || v->count > GAL__MAX_PIECES)
        return gal_fail(diag, GAL_EINPUT, "%s: %zu pieces; 1 to %d are possible", name, v->count, GAL__MAX_PIECES);
    gal_tokenizer *t = gal_alloc(sizeof *t);
    if (!t) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for a tokenizer", name);
    gal_err err = copy_vocab(t, v, name, diag);
    if (!err) err = index_pieces(t, v->no_unknown, name, diag);
    if (!err) err = rank_pieces(t, name, diag);
    if (!err && v->charsmap_bytes)
        err = gal__charsmap_new(&t->charsmap, v->normalizer, v->charsmap, v->charsmap_bytes, name, diag);
    if (err) {
        gal_tokenizer_free(t);
        return err;
    }
    t->bos = end_id(t, v, v->bos, "<s>");
    t->no_bos = v->no_bos;
    t->kind = "SentencePiece BPE";
    t->eos = end_id(t, v, v->eos, "</s>");
    t->pad = control_id(t, v->pad ? v->pad : "<pad>");
    t->version = control_id(t, "[SYSTEM_PROMPT]") >= 0 ? 7
                 : control_id(t, "[PREFIX]") >= 0      ? 3
                 : control_id(t, "[INST]") >= 0        ? 2
                                                       : 1;
    hash_vocab(t);
    *out = t;
    return GAL_OK;
}

void gal_tokenizer_free(gal_tokenizer *t) {
    if (!t) return;
    gal_free(t->bytes);
    gal_free(t->offsets);
    gal_free(t->scores);
    gal_free(t->ranks);
    gal_free(t->types);
    gal_free(t->unk_surface);
    gal__charsmap_free(t->charsmap);
    gal_free(t->sections);
    gal_free(t->text.slots);
    gal_free(t->text.maybe);
    gal_free(t->reserved.slots);
    gal_free(t->reserved.maybe);
    gal_free(t->pairs.slots);
    gal_free(t->two);
    gal__longest_free(t->longest);
    gal__split_free(t->split);
    gal__hf_free(t->hf);
    gal_free(t);
}

int32_t gal_tokenizer_size(const gal_tokenizer *t) { return t->size; }
int32_t gal_tokenizer_bos(const gal_tokenizer *t) { return t->bos; }
bool gal_tokenizer_begins(const gal_tokenizer *t) { return t->bos >= 0 && !t->no_bos; }
int32_t gal_tokenizer_eos(const gal_tokenizer *t) { return t->eos; }
int32_t gal_tokenizer_unk(const gal_tokenizer *t) { return t->unk; }
int32_t gal_tokenizer_pad(const gal_tokenizer *t) { return t->pad; }
bool gal_tokenizer_adds_space(const gal_tokenizer *t) { return t->add_dummy_prefix; }
bool gal_tokenizer_of_bytes(const gal_tokenizer *t) { return t->bytes_are_text; }
bool gal_tokenizer_whole_words(const gal_tokenizer *t) { return t->whole_words; }
const char *gal_tokenizer_pattern(const gal_tokenizer *t) { return t->split ? gal__split_pattern(t->split) : NULL; }
bool gal_tokenizer_joins_spaces(const gal_tokenizer *t) { return t->remove_extra_whitespaces; }
const char *gal_tokenizer_normalizer(const gal_tokenizer *t) {
    return t->charsmap ? gal__charsmap_name(t->charsmap) : "identity";
}
const void *gal_tokenizer_charsmap(const gal_tokenizer *t, size_t *n) {
    *n = 0;
    return t->charsmap ? gal__charsmap_bytes(t->charsmap, n) : NULL;
}
int gal_tokenizer_version(const gal_tokenizer *t) { return t->version; }
void gal_tokenizer_sha256(const gal_tokenizer *t, uint8_t out[32]) { memcpy(out, t->sha256, 32); }

const char *gal_tokenizer_file(const gal_tokenizer *t) {
    if (t->bytes_are_text && !t->pairs.slots) return "tekken.json";
    return t->bytes_are_text || t->pairs.slots ? "tokenizer.json" : "tokenizer.model";
}

const char *gal_tokenizer_kind(const gal_tokenizer *t) { return t->kind; }

const char *gal_tokenizer_piece(const gal_tokenizer *t, int32_t id, size_t *n) {
    GAL_ASSERT(id >= 0 && id < t->size);
    return gal__piece(t, id, n);
}

gal_piece_type gal_tokenizer_type(const gal_tokenizer *t, int32_t id) {
    GAL_ASSERT(id >= 0 && id < t->size);
    return (gal_piece_type)t->types[id];
}

float gal_tokenizer_score(const gal_tokenizer *t, int32_t id) {
    GAL_ASSERT(id >= 0 && id < t->size);
    return t->scores[id];
}

int32_t gal_tokenizer_find(const gal_tokenizer *t, const char *piece, size_t n) {
    int32_t id = gal__table_find(t, &t->reserved, piece, n);
    return id >= 0 ? id : gal__table_find(t, &t->text, piece, n);
}

size_t gal_tokenizer_text_bytes(const gal_tokenizer *t, int32_t id) {
    GAL_ASSERT(id >= 0 && id < t->size);
    size_t n, m = 0, bytes = 0;
    const char *s = gal__piece(t, id, &n), *changed = t->hf ? gal__hf_shown(t->hf, id, &m) : NULL;
    if (changed) {
        s = changed;
        n = m;
    }
    if (t->types[id] == GAL_PIECE_BYTE) return 1;
    if (!from_text(t->types[id])) return 0;
    if (t->bytes_are_text) return n;
    for (size_t i = 0; i < n; bytes++) {
        bool space = n - i >= GAL__SPACE_BYTES && memcmp(s + i, GAL__SPACE, GAL__SPACE_BYTES) == 0;
        i += space ? GAL__SPACE_BYTES : 1;
    }
    return bytes;
}

/* ---- two vocabularies --------------------------------------------------------------------------------------------
 */

static bool differ(gal_diag *what, const char *rule, bool a, bool b) {
    if (a != b)
        (void)gal_fail(what, GAL_EINPUT, "%s: %s in the first, %s in the second", rule, a ? "on" : "off",
                       b ? "on" : "off");
    return a != b;
}

static bool same_piece(const gal_tokenizer *a, const gal_tokenizer *b, int32_t id, gal_diag *what) {
    size_t n, m;
    const char *s = gal__piece(a, id, &n), *t = gal__piece(b, id, &m);
    uint8_t ta = a->types[id], tb = b->types[id];
    bool text = from_text(ta) || from_text(tb);
    if (n != m || memcmp(s, t, n) != 0) {
        (void)gal_fail(what, GAL_EINPUT, "id %d is '%.100s' in the first and '%.100s' in the second", (int)id, s, t);
    } else if (text && ta != tb) {
        (void)gal_fail(what, GAL_EINPUT, "id %d, '%.100s', is of type %d in the first and %d in the second", (int)id,
                       s, ta, tb);
    } else if (text && a->scores[id] != b->scores[id] && a->ranks[id] != b->ranks[id]) {
        (void)gal_fail(what, GAL_EINPUT, "id %d, '%.100s', has the score %g in the first and %g in the second",
                       (int)id, s, (double)a->scores[id], (double)b->scores[id]);
    } else {
        return true;
    }
    return false;
}

static bool same_pattern(const gal_tokenizer *a, const gal_tokenizer *b, gal_diag *what) {
    const char *x = gal_tokenizer_pattern(a), *y = gal_tokenizer_pattern(b);
    if ((!x && !y) || (x && y && strcmp(x, y) == 0)) return true;
    (void)gal_fail(what, GAL_EINPUT, "text is cut into words by different patterns");
    return false;
}

static bool same_rules(const gal_tokenizer *a, const gal_tokenizer *b, gal_diag *what) {
    gal_buf x = { 0 }, y = { 0 };
    if (a->hf) gal__hf_describe(a->hf, &x);
    if (b->hf) gal__hf_describe(b->hf, &y);
    const bool oom = x.oom || y.oom;
    const bool same = !oom && x.len == y.len && (x.len == 0 || memcmp(x.data, y.data, x.len) == 0);
    gal_buf_free(&x);
    gal_buf_free(&y);
    if (oom)
        (void)gal_fail(what, GAL_ENOMEM, "no memory for comparing vocabularies");
    else if (!same)
        (void)gal_fail(what, GAL_EINPUT, "text is prepared and cut by different rules");
    return same;
}

/* By the rules and not their name. */
static bool same_charsmap(const gal_tokenizer *a, const gal_tokenizer *b, gal_diag *what) {
    size_t n = 0, m = 0;
    const void *x = gal_tokenizer_charsmap(a, &n), *y = gal_tokenizer_charsmap(b, &m);
    if (n == m && (n == 0 || memcmp(x, y, n) == 0)) return true;
    (void)gal_fail(what, GAL_EINPUT, "text is normalised by '%.64s' in the first and by '%.64s' in the second",
                   gal_tokenizer_normalizer(a), gal_tokenizer_normalizer(b));
    return false;
}

bool gal_tokenizer_same(const gal_tokenizer *a, const gal_tokenizer *b, gal_diag *what) {
    if (differ(what, "pieces of bytes", a->bytes_are_text, b->bytes_are_text) ||
        differ(what, "dropping what no word covers", a->words_only, b->words_only) ||
        differ(what, "whole words before merges", a->whole_words, b->whole_words) || !same_pattern(a, b, what) ||
        differ(what, "one unknown id for a run", !a->each_unknown, !b->each_unknown) || !same_rules(a, b, what) ||
        !same_charsmap(a, b, what))
        return false;
    if (differ(what, "byte fallback", a->byte_fallback, b->byte_fallback) ||
        differ(what, "a space before the text", a->add_dummy_prefix, b->add_dummy_prefix) ||
        differ(what, "removing extra spaces", a->remove_extra_whitespaces, b->remove_extra_whitespaces))
        return false;
    int32_t common = GAL_MIN(a->size, b->size);
    for (int32_t id = 0; id < common; id++)
        if (!same_piece(a, b, id, what)) return false;
    const gal_tokenizer *longer = a->size > b->size ? a : b;
    for (int32_t id = common; id < longer->size; id++) {
        if (longer->types[id] == GAL_PIECE_CONTROL || longer->types[id] == GAL_PIECE_UNUSED) continue;
        (void)gal_fail(what, GAL_EINPUT, "id %d, '%.100s', is in the %s only", (int)id,
                       longer->bytes + longer->offsets[id], longer == a ? "first" : "second");
        return false;
    }
    if (!gal__same_merges(a, b, what)) return false;
    if (a->bos == b->bos) return true;
    (void)gal_fail(what, GAL_EINPUT, "texts begin with id %d in the first and with id %d in the second (-1: none)",
                   (int)a->bos, (int)b->bos);
    return false;
}
