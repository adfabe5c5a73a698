/* bpe_train.c - learns merges: again and again the most frequent pair of adjacent symbols becomes one symbol. Counts
 * of pairs are kept up to date by looking only at the words that hold the pair; a heap finds the next one.
 *
 * Invariant: after each merge every pair's count is the number of its places in the text, and the heap holds an entry
 * of at least that count. Ties: older left symbol, then older right one. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/rng.h"
#include "base/util.h"
#include "text/bpe_internal.h"
#include "text/internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct pair {
    uint64_t key; /* left << 32 | right */
    uint64_t count;
    uint32_t *where; /* words that hold it or once did; may repeat */
    size_t len, cap;
    size_t touched; /* number of the merge that last raised its count */
} pair;

typedef struct entry {
    uint64_t count, key;
    size_t pair;
} entry;

typedef struct run {
    size_t at; /* in sequence */
    uint32_t len;
    uint64_t count;
} run;

struct gal_bpe_trainer {
    gal_bpe_options o;
    gal__words words;
    gal_bpe_lines lines;
    gal__charsmap *map;   /* NULL: text is counted as it is */
    gal_buf line;         /* as map has it */
    bool ends_are_spaces; /* of lines */
    double keep;          /* share of the lines that count */
    uint64_t text_bytes;  /* added since the last beginning */
    uint64_t fitted;      /* of them, as many as memory holds; 0: it has held all so far */
    uint64_t held;        /* bytes, while merging */
    gal__pieces pieces;
    int32_t *symbol_of; /* by code point; -1: left to byte pieces */
    int32_t *sequence;  /* all words as symbols, one after the other */
    run *runs;          /* one a word */
    pair *pairs;
    size_t pairs_len, pairs_cap;
    uint32_t *slots; /* of pairs: index + 1 */
    size_t mask;
    entry *heap;
    size_t heap_len, heap_cap;
    size_t *raised; /* pairs whose count this merge raised */
    size_t raised_len, raised_cap;
    uint32_t *names; /* pieces by their bytes: index + 1 */
    size_t names_mask, merges;
    bool ran;
};

enum { CODE_POINTS = 0x110000, SAMPLE_STREAM = 1 };
/* What training holds beside words, symbols and pairs: counts and symbols of all code points; a piece and its name.
 */
enum { FIXED_BYTES = 20 << 20, BYTES_A_PIECE = 256, BLOCK_BYTES = 128, LEAST_WORDS = 8 << 20 };

static gal_err no_memory(gal_diag *diag) {
    return gal_fail(diag, GAL_ENOMEM, "no memory for training the vocabulary");
}

void gal_bpe_options_init(gal_bpe_options *o) {
    *o = (gal_bpe_options){ .vocab_size = 32000,
                            .character_coverage = 0.9995,
                            .max_piece_chars = 16,
                            .memory_bytes = (uint64_t)4 << 30,
                            .split_digits = true,
                            .split_scripts = true };
}

static uint64_t fixed_bytes(const gal_bpe_options *o) {
    return FIXED_BYTES + (uint64_t)GAL_MAX(o->vocab_size, 0) * BYTES_A_PIECE;
}

static size_t fixed_pieces(const gal_bpe_options *o) { return 3 + o->control_count + 256; }

static gal_err check_options(const gal_bpe_options *o, gal_diag *diag) {
    if (!(o->character_coverage > 0.0 && o->character_coverage <= 1.0))
        return gal_fail(diag, GAL_EUSAGE, "character_coverage %g; expected above 0 and at most 1",
                        o->character_coverage);
    if (o->max_piece_chars < 1 || o->max_piece_chars > 64)
        return gal_fail(diag, GAL_EUSAGE, "max_piece_chars %d; expected 1 to 64", (int)o->max_piece_chars);
    uint64_t least = fixed_bytes(o) + LEAST_WORDS;
    if (o->memory_bytes < least)
        return gal_fail(diag, GAL_EUSAGE, "%llu bytes of memory; a vocabulary of %d pieces needs at least %llu",
                        (unsigned long long)o->memory_bytes, (int)o->vocab_size, (unsigned long long)least);
    for (size_t i = 0; i < o->control_count; i++) {
        const char *s = o->control[i];
        size_t n = strlen(s);
        uint32_t cp;
        bool ok = n > 1 && n < 256 && gal__byte_of_piece(s, n) < 0 && strcmp(s, "<unk>") != 0 &&
                  strcmp(s, "<s>") != 0 && strcmp(s, "</s>") != 0;
        for (size_t k = 0; k < i; k++) ok = ok && strcmp(s, o->control[k]) != 0;
        for (size_t k = 0; k < n && ok;) {
            int len = gal_utf8_next(s + k, n - k, &cp);
            ok = len > 0 && (size_t)len < n; /* one character alone would also be text */
            k += (size_t)len;
        }
        if (!ok)
            return gal_fail(diag, GAL_EUSAGE, "control piece '%.100s' is empty, too short, not UTF-8, or taken", s);
    }
    if (o->vocab_size < 0 || (size_t)o->vocab_size <= fixed_pieces(o) || o->vocab_size > GAL__MAX_PIECES)
        return gal_fail(diag, GAL_EUSAGE, "vocabulary size %d; expected %zu to %d", (int)o->vocab_size,
                        fixed_pieces(o) + 1, GAL__MAX_PIECES);
    return GAL_OK;
}

static gal_err make_map(gal_bpe_trainer *t, gal_diag *diag) {
    const char *name = GAL_NORMALIZERS[t->o.normalizer], *to = NULL;
    gal_buf table = { 0 };
    bool open;
    gal_err err = gal_normalizer_table(&table, t->o.normalizer, diag);
    if (!err) err = gal__charsmap_new(&t->map, name, table.data, table.len, name, diag);
    t->ends_are_spaces = !err && gal__charsmap_find(t->map, "\n", 1, &to, &open) > 0;
    gal_buf_free(&table);
    return err;
}

gal_err gal_bpe_trainer_new(gal_bpe_trainer **out, const gal_bpe_options *o, gal_diag *diag) {
    gal_err err = check_options(o, diag);
    if (err) return err;
    gal_bpe_trainer *t = gal_alloc(sizeof *t);
    if (!t) return no_memory(diag);
    t->o = *o;
    t->keep = 1.0;
    err = o->normalizer ? make_map(t, diag) : GAL_OK;
    if (err) {
        gal_bpe_trainer_free(t);
        return err;
    }
    *out = t;
    return GAL_OK;
}

/* Everything but the words. */
static void forget_merges(gal_bpe_trainer *t) {
    gal_buf_free(&t->pieces.bytes);
    gal_free(t->pieces.symbols);
    t->pieces = (gal__pieces){ 0 };
    for (size_t i = 0; i < t->pairs_len; i++) gal_free(t->pairs[i].where);
    void **const blocks[] = {
        (void **)&t->symbol_of, (void **)&t->sequence, (void **)&t->runs,   (void **)&t->pairs,
        (void **)&t->slots,     (void **)&t->heap,     (void **)&t->raised, (void **)&t->names
    };
    for (size_t i = 0; i < GAL_LEN(blocks); i++) {
        gal_free(*blocks[i]);
        *blocks[i] = NULL;
    }
    t->pairs_len = t->pairs_cap = t->mask = t->heap_len = t->heap_cap = t->raised_len = t->raised_cap = 0;
    t->names_mask = t->merges = 0;
}

void gal_bpe_trainer_free(gal_bpe_trainer *t) {
    if (!t) return;
    gal__words_free(&t->words);
    forget_merges(t);
    gal__charsmap_free(t->map);
    gal_buf_free(&t->line);
    gal_free(t);
}

/* ---- counting within bounds ---- */

static uint64_t words_bytes(const gal__words *w) {
    return w->bytes.cap + w->cap * sizeof *w->words + (w->mask + 1) * sizeof *w->slots;
}

/* What the words counted so far take: while counting (a table that doubles exists twice for a moment), or once they
 * are laid out as symbols with at least one place for each. */
static uint64_t memory_need(const gal_bpe_trainer *t) {
    const gal__words *w = &t->words;
    uint64_t counting = words_bytes(w), places = w->bytes.len * (sizeof *t->sequence + sizeof *t->pairs->where);
    return fixed_bytes(&t->o) + counting + GAL_MAX(counting, places + w->len * sizeof *t->runs);
}

/* gal_grow() that never holds more than memory_bytes. Beyond it the text has to come again, in a smaller part:
 * GAL_ENOMEM without a message, and fitted is set. */
static gal_err grow(gal_bpe_trainer *t, void **items, size_t *cap, size_t need, size_t size, gal_diag *diag) {
    if (need <= *cap) return GAL_OK;
    uint64_t old = *cap * size, fresh = GAL_MAX(need, GAL_MAX(2 * *cap, (size_t)8)) * size;
    if (t->held + fresh + BLOCK_BYTES > t->o.memory_bytes) {
        t->fitted = GAL_MAX(t->text_bytes / 2, (uint64_t)1);
        return GAL_ENOMEM;
    }
    if (gal_grow(items, cap, need, size) != 0) return no_memory(diag);
    t->held += fresh - old + (old ? 0 : BLOCK_BYTES);
    return GAL_OK;
}

/* Where a line's end is a space, it is the one before the next line's first word. */
static gal_err add_line(gal_bpe_trainer *t, const char *line, size_t n, bool begins, gal_diag *diag) {
    if (!t->map) return gal__words_add(&t->words, &t->o, line, n, begins, diag);
    if (t->ends_are_spaces && n && line[n - 1] == '\n') n--;
    gal_err err = gal__charsmap_apply(t->map, NULL, line, n, &t->line, diag);
    if (err) return err;
    return gal__words_add(&t->words, &t->o, t->line.data, t->line.len, begins || t->ends_are_spaces, diag);
}

/* Once memory is full the rest of the text is only measured. */
static gal_err add(gal_bpe_trainer *t, const char *text, size_t n, bool begins, gal_diag *diag) {
    GAL_ASSERT(!t->ran);
    gal_err err = GAL_OK;
    t->text_bytes += n;
    for (size_t at = 0; at < n && !err && !t->fitted;) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t line = end ? (size_t)(end - text) + 1 - at : n - at;
        if (t->keep == 1.0 || gal_rng_uniform(t->o.sample_seed, SAMPLE_STREAM, t->lines.all) < t->keep) {
            t->lines.counted++;
            err = add_line(t, text + at, line, begins && at == 0, diag);
        }
        t->lines.all++;
        at += line;
        if (memory_need(t) > t->o.memory_bytes) t->fitted = GAL_MAX(t->text_bytes - (n - at), (uint64_t)1);
    }
    return err;
}

gal_err gal_bpe_trainer_add(gal_bpe_trainer *t, const char *text, size_t n, gal_diag *diag) {
    return add(t, text, n, true, diag);
}

gal_err gal_bpe_trainer_add_more(gal_bpe_trainer *t, const char *text, size_t n, gal_diag *diag) {
    return add(t, text, n, false, diag);
}

/* As much as fitted, less a tenth, drawn from the whole; what is drawn holds more different words than a beginning,
 * so it may take another turn. */
bool gal_bpe_trainer_again(gal_bpe_trainer *t) {
    if (!t->fitted) return false;
    t->keep *= 0.9 * (double)t->fitted / (double)t->text_bytes;
    t->text_bytes = t->fitted = 0;
    t->lines = (gal_bpe_lines){ 0 };
    gal__words_free(&t->words);
    forget_merges(t);
    t->ran = false;
    return true;
}

gal_bpe_lines gal_bpe_trainer_lines(const gal_bpe_trainer *t) { return t->lines; }

/* ---- pieces ---- */

/* The slot of names where a piece of these bytes is, or belongs. */
static size_t name_slot(const gal_bpe_trainer *t, const char *s, size_t n, uint32_t h) {
    size_t i = h & t->names_mask;
    for (; t->names[i]; i = (i + 1) & t->names_mask) {
        const gal__symbol *p = &t->pieces.symbols[t->names[i] - 1];
        if (p->hash == h && p->bytes == n && memcmp(t->pieces.bytes.data + p->at, s, n) == 0) break;
    }
    return i;
}

static gal_err add_piece(gal_bpe_trainer *t, const char *s, size_t n, uint32_t chars, gal_diag *diag) {
    gal__pieces *p = &t->pieces;
    void *mem = p->symbols;
    if (p->len == p->cap && gal_grow(&mem, &p->cap, p->len + 1, sizeof *p->symbols) != 0) return no_memory(diag);
    p->symbols = mem;
    uint32_t h = gal__piece_hash(s, n);
    size_t slot = name_slot(t, s, n, h), at = p->bytes.len;
    gal_buf_add(&p->bytes, s, n);
    if (p->bytes.oom) return no_memory(diag);
    p->symbols[p->len] = (gal__symbol){ at, (uint32_t)n, chars, h };
    t->names[slot] = (uint32_t)++p->len;
    return GAL_OK;
}

/* ---- characters ---- */

typedef struct char_count {
    uint64_t count;
    uint32_t cp;
} char_count;

static int by_count(const void *a, const void *b) {
    const char_count *x = a, *y = b;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    return x->cp < y->cp ? -1 : x->cp > y->cp;
}

static size_t count_chars(const gal_bpe_trainer *t, uint64_t *counts, uint64_t *total) {
    size_t distinct = 0;
    for (size_t w = 0; w < t->words.len; w++) {
        const gal__word *word = &t->words.words[w];
        const char *s = t->words.bytes.data + word->at;
        uint32_t cp;
        for (size_t i = 0; i < word->bytes;) {
            i += (size_t)gal_utf8_next(s + i, word->bytes - i, &cp);
            distinct += counts[cp] == 0;
            counts[cp] += word->count;
            *total += word->count;
        }
    }
    return distinct;
}

/* The most frequent characters become the first symbols. */
static gal_err choose_chars(gal_bpe_trainer *t, gal_diag *diag) {
    uint64_t total = 0, covered = 0;
    uint64_t *counts = gal_alloc_array(CODE_POINTS, sizeof *counts);
    if (!counts) return no_memory(diag);
    size_t distinct = count_chars(t, counts, &total), k = 0, names = 1024;
    while (names < 2 * (distinct + (size_t)t->o.vocab_size)) names *= 2;
    char_count *order = gal_alloc_array(distinct, sizeof *order);
    t->symbol_of = gal_alloc_array(CODE_POINTS, sizeof *t->symbol_of);
    t->names = gal_alloc_array(names, sizeof *t->names);
    t->names_mask = names - 1;
    gal_err err = order && t->symbol_of && t->names ? GAL_OK : no_memory(diag);
    for (uint32_t cp = 0; cp < CODE_POINTS && !err; cp++) {
        t->symbol_of[cp] = -1;
        if (counts[cp]) order[k++] = (char_count){ counts[cp], cp };
    }
    if (!err) qsort(order, k, sizeof *order, by_count);
    for (size_t i = 0; i < k && !err; i++) {
        if ((double)covered >= t->o.character_coverage * (double)total) break;
        char utf8[4];
        size_t n = (size_t)gal_utf8_put(utf8, order[i].cp);
        t->symbol_of[order[i].cp] = (int32_t)t->pieces.len;
        covered += order[i].count;
        err = add_piece(t, utf8, n, 1, diag);
    }
    t->pieces.chars = t->pieces.len;
    gal_free(order);
    gal_free(counts);
    return err;
}

/* ---- pairs ---- */

static bool sooner(const entry *a, const entry *b) {
    return a->count != b->count ? a->count > b->count : a->key < b->key;
}

static gal_err push(gal_bpe_trainer *t, size_t index, gal_diag *diag) {
    void *p = t->heap;
    gal_err err = grow(t, &p, &t->heap_cap, t->heap_len + 1, sizeof *t->heap, diag);
    if (err) return err;
    t->heap = p;
    entry e = { t->pairs[index].count, t->pairs[index].key, index };
    size_t i = t->heap_len++;
    for (; i > 0 && sooner(&e, &t->heap[(i - 1) / 2]); i = (i - 1) / 2) t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = e;
    return GAL_OK;
}

static entry pop(gal_bpe_trainer *t) {
    entry top = t->heap[0], last = t->heap[--t->heap_len];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= t->heap_len) break;
        if (child + 1 < t->heap_len && sooner(&t->heap[child + 1], &t->heap[child])) child++;
        if (!sooner(&t->heap[child], &last)) break;
        t->heap[i] = t->heap[child];
        i = child;
    }
    t->heap[i] = last;
    return top;
}

static size_t pair_slot(const gal_bpe_trainer *t, uint64_t key) {
    uint64_t h = key * 0x9e3779b97f4a7c15U;
    size_t i = (h ^ h >> 29) & t->mask;
    while (t->slots[i] && t->pairs[t->slots[i] - 1].key != key) i = (i + 1) & t->mask;
    return i;
}

static gal_err grow_pairs(gal_bpe_trainer *t, gal_diag *diag) {
    void *p = t->pairs;
    gal_err err = grow(t, &p, &t->pairs_cap, t->pairs_len + 1, sizeof *t->pairs, diag);
    if (err) return err;
    t->pairs = p;
    if (t->mask && 2 * (t->pairs_len + 1) <= t->mask) return GAL_OK;
    /* Twice the slots, which are filled anew: nothing is copied. */
    void *slots = NULL;
    size_t count = 0, want = t->mask ? 2 * (t->mask + 1) : 1 << 16;
    err = grow(t, &slots, &count, want, sizeof *t->slots, diag);
    if (err) return err;
    if (t->slots) t->held -= (t->mask + 1) * sizeof *t->slots + BLOCK_BYTES;
    gal_free(t->slots);
    GAL_ASSERT(slots); /* want is never 0 */
    t->slots = slots;
    memset(t->slots, 0, want * sizeof *t->slots);
    t->mask = want - 1;
    for (size_t i = 0; i < t->pairs_len; i++) t->slots[pair_slot(t, t->pairs[i].key)] = (uint32_t)i + 1;
    return GAL_OK;
}

static uint64_t pair_key(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }

/* One more place (count times) of the pair, in the given word. */
static gal_err raise_pair(gal_bpe_trainer *t, int32_t left, int32_t right, uint32_t word, uint64_t count,
                          gal_diag *diag) {
    if (left < 0 || right < 0) return GAL_OK;
    const gal__symbol *s = t->pieces.symbols;
    if (s[left].chars + s[right].chars > (uint32_t)t->o.max_piece_chars) return GAL_OK;
    gal_err err = grow_pairs(t, diag);
    if (err) return err;
    uint64_t key = pair_key(left, right);
    size_t slot = pair_slot(t, key);
    if (!t->slots[slot]) {
        t->pairs[t->pairs_len] = (pair){ .key = key, .touched = SIZE_MAX };
        t->slots[slot] = (uint32_t)++t->pairs_len;
    }
    size_t index = t->slots[slot] - 1;
    pair *p = &t->pairs[index];
    p->count += count;
    if (p->len == 0 || p->where[p->len - 1] != word) {
        void *mem = p->where;
        err = grow(t, &mem, &p->cap, p->len + 1, sizeof *p->where, diag);
        if (err) return err;
        p->where = mem;
        p->where[p->len++] = word;
    }
    if (p->touched == t->merges) return GAL_OK;
    p->touched = t->merges;
    void *mem = t->raised;
    err = grow(t, &mem, &t->raised_cap, t->raised_len + 1, sizeof *t->raised, diag);
    if (err) return err;
    t->raised = mem;
    t->raised[t->raised_len++] = index;
    return GAL_OK;
}

static void lower_pair(gal_bpe_trainer *t, int32_t left, int32_t right, uint64_t count) {
    if (left < 0 || right < 0) return;
    size_t slot = pair_slot(t, pair_key(left, right));
    if (t->slots[slot]) t->pairs[t->slots[slot] - 1].count -= count;
}

static gal_err push_raised(gal_bpe_trainer *t, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; i < t->raised_len && !err; i++)
        if (t->pairs[t->raised[i]].count) err = push(t, t->raised[i], diag);
    t->raised_len = 0;
    t->merges++;
    return err;
}

static gal_err lay_out_words(gal_bpe_trainer *t, gal_diag *diag) {
    const gal__words *w = &t->words;
    t->sequence = gal_alloc_array(w->bytes.len + 1, sizeof *t->sequence);
    t->runs = gal_alloc_array(w->len, sizeof *t->runs);
    if (!t->sequence || !t->runs) return no_memory(diag);
    t->held = fixed_bytes(&t->o) + words_bytes(w) + w->bytes.len * sizeof *t->sequence + w->len * sizeof *t->runs;
    size_t at = 0;
    for (size_t k = 0; k < w->len; k++) {
        const char *s = w->bytes.data + w->words[k].at;
        run *r = &t->runs[k];
        *r = (run){ at, 0, w->words[k].count };
        uint32_t cp;
        for (size_t i = 0; i < w->words[k].bytes; r->len++) {
            i += (size_t)gal_utf8_next(s + i, w->words[k].bytes - i, &cp);
            t->sequence[at++] = t->symbol_of[cp];
        }
        for (size_t i = r->at + 1; i < at; i++) {
            gal_err err = raise_pair(t, t->sequence[i - 1], t->sequence[i], (uint32_t)k, r->count, diag);
            if (err) return err;
        }
    }
    return push_raised(t, diag);
}

/* Joins left and right to made wherever they meet in one word. */
static gal_err merge_word(gal_bpe_trainer *t, uint32_t word, int32_t left, int32_t right, int32_t made,
                          gal_diag *diag) {
    run *r = &t->runs[word];
    int32_t *s = t->sequence + r->at;
    uint32_t out = 0, i = 0;
    gal_err err = GAL_OK;
    for (; i < r->len && !err; out++) {
        if (s[i] != left || i + 1 >= r->len || s[i + 1] != right) {
            s[out] = s[i++];
            continue;
        }
        if (out > 0) {
            lower_pair(t, s[out - 1], left, r->count);
            err = raise_pair(t, s[out - 1], made, word, r->count, diag);
        }
        if (i + 2 < r->len) {
            lower_pair(t, right, s[i + 2], r->count);
            if (!err) err = raise_pair(t, made, s[i + 2], word, r->count, diag);
        }
        s[out] = made;
        i += 2;
    }
    r->len = out;
    return err;
}

/* A piece that spells a control or byte piece would be ambiguous. */
static bool reserved(const gal_bpe_trainer *t, const char *s, size_t n) {
    if (gal__byte_of_piece(s, n) >= 0) return true;
    static const char *const FIXED[] = { "<unk>", "<s>", "</s>", "<pad>" };
    for (size_t i = 0; i < GAL_LEN(FIXED); i++)
        if (strlen(FIXED[i]) == n && memcmp(FIXED[i], s, n) == 0) return true;
    for (size_t i = 0; i < t->o.control_count; i++)
        if (strlen(t->o.control[i]) == n && memcmp(t->o.control[i], s, n) == 0) return true;
    return false;
}

static gal_err merge_pair(gal_bpe_trainer *t, size_t index, gal_diag *diag) {
    char name[4 * 64];
    int32_t left = (int32_t)(t->pairs[index].key >> 32), right = (int32_t)(t->pairs[index].key & 0xffffffff);
    gal__symbol a = t->pieces.symbols[left], b = t->pieces.symbols[right];
    size_t n = (size_t)a.bytes + b.bytes;
    GAL_ASSERT(n <= sizeof name);
    memcpy(name, t->pieces.bytes.data + a.at, a.bytes);
    memcpy(name + a.bytes, t->pieces.bytes.data + b.at, b.bytes);
    /* Another split of the same piece: encoding joins it too, so the text follows, but no new piece is made. */
    uint32_t known = t->names[name_slot(t, name, n, gal__piece_hash(name, n))];
    int32_t made = known ? (int32_t)known - 1 : (int32_t)t->pieces.len;
    gal_err err = GAL_OK;
    t->pairs[index].count = 0;
    if (!known && reserved(t, name, n)) return GAL_OK;
    if (!known) err = add_piece(t, name, n, a.chars + b.chars, diag);
    uint32_t *where = t->pairs[index].where; /* the pair may move and grow while its own words are walked */
    size_t len = t->pairs[index].len, cap = t->pairs[index].cap;
    t->pairs[index].where = NULL;
    t->pairs[index].len = t->pairs[index].cap = 0;
    for (size_t i = 0; i < len && !err; i++) err = merge_word(t, where[i], left, right, made, diag);
    gal_free(where);
    if (cap) t->held -= cap * sizeof *where + BLOCK_BYTES;
    t->pairs[index].count = 0; /* overlapping places of "aa" in "aaa" were lowered twice */
    return err ? err : push_raised(t, diag);
}

static gal_err learn(gal_bpe_trainer *t, size_t target, gal_diag *diag) {
    size_t start = t->pieces.len, span = GAL_MAX(target - start, (size_t)1);
    gal_err err = GAL_OK;
    while (!err && t->pieces.len < target && t->heap_len) {
        entry e = pop(t);
        uint64_t now = t->pairs[e.pair].count;
        if (now == 0 || now > e.count) continue; /* gone, or a newer entry is in the heap */
        if (now < e.count) {
            err = push(t, e.pair, diag);
            continue;
        }
        err = merge_pair(t, e.pair, diag);
        if (!err && t->o.progress && (t->merges & 127) == 0 &&
            !t->o.progress(t->o.user, (double)(t->pieces.len - start) / (double)span))
            err = gal_fail(diag, GAL_EINTERRUPTED, "training the vocabulary was interrupted");
    }
    return err;
}

gal_err gal_bpe_trainer_run(gal_bpe_trainer *t, gal_buf *model, gal_diag *diag) {
    GAL_ASSERT(!t->ran);
    if (t->fitted) return GAL_OK; /* nothing whole to learn from; again() says so */
    t->ran = true;
    if (t->words.len == 0) return gal_fail(diag, GAL_EINPUT, "the text holds no words to learn from");
    gal_err err = choose_chars(t, diag);
    if (err) return err;
    size_t fixed = fixed_pieces(&t->o), size = (size_t)t->o.vocab_size;
    if (fixed + t->pieces.chars > size)
        return gal_fail(diag, GAL_EINPUT,
                        "a vocabulary of %zu cannot hold %zu fixed pieces and the text's %zu characters; expected at "
                        "least %zu, or a lower character coverage",
                        size, fixed, t->pieces.chars, fixed + t->pieces.chars);
    err = lay_out_words(t, diag);
    if (!err) err = learn(t, size - fixed, diag);
    if (t->fitted) return GAL_OK;
    if (err) return err;
    if (fixed + t->pieces.len < size && !t->o.take_possible)
        return gal_fail(diag, GAL_EINPUT,
                        "the text is too small for a vocabulary of %zu pieces; the largest possible is %zu", size,
                        fixed + t->pieces.len);
    err = gal__spm_write(model, &t->o, &t->pieces, t->map, diag);
    if (!err && t->o.progress) (void)t->o.progress(t->o.user, 1.0);
    return err;
}

gal_err gal_bpe_train(gal_buf *model, const char *text, size_t n, const gal_bpe_options *o, gal_diag *diag) {
    gal_bpe_trainer *t = NULL;
    gal_err err = gal_bpe_trainer_new(&t, o, diag);
    if (err) return err;
    do {
        err = gal_bpe_trainer_add(t, text, n, diag);
        if (!err) err = gal_bpe_trainer_run(t, model, diag);
    } while (!err && gal_bpe_trainer_again(t));
    gal_bpe_trainer_free(t);
    return err;
}
