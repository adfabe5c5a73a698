/* internal.h - what the files of this room share. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_INTERNAL_H
#define GAL_TEXT_INTERNAL_H

#include "text/joins.h"
#include "text/longest.h"
#include "text/split.h"
#include "text/tokenizer.h"

#include <string.h>

enum {
    GAL__MAX_PIECES = 1 << 22,     /* far above any vocabulary in use; keeps a rank within 32 bits */
    GAL__MAX_PIECE_BYTES = 8000,   /* exclusive, as in the reference library */
    GAL__MAX_MODEL_BYTES = 1 << 28 /* a larger file is no vocabulary */
};

static const char GAL__SPACE[] = "\xe2\x96\x81"; /* U+2581, how a piece spells a space */
enum { GAL__SPACE_BYTES = 3 };

/* From strings to ids: open addressing, at most half full. */
typedef struct gal__slot {
    int32_t id;   /* -1 free */
    uint32_t tag; /* hash of the piece */
} gal__slot;
typedef struct gal__table {
    gal__slot *slots;
    size_t mask;
    uint64_t *maybe; /* a bit for each hash that is there, by its upper bits: most of what is not there has none, and
                      * these bits stay in the cache */
    int shift;       /* of a hash, to its bit */
    bool by_steps;   /* hashes are those of gal__hash_byte(), which longest.c makes byte by byte */
} gal__table;
enum { GAL__STEPS = 0x51ed270b };
static inline uint64_t gal__hash_byte(uint64_t h, char c) { return (h ^ (uint8_t)c) * 0x9e3779b97f4a7c15U; }

/* From two neighbours to what they join to, for vocabularies that list their merges: open addressing, at most half
 * full. */
typedef struct gal__pair {
    int32_t left, right; /* left -1: free */
    int32_t id;
    uint32_t rank;
} gal__pair;
typedef struct gal__pairs {
    gal__pair *slots; /* NULL: pairs are found by the piece that they make */
    size_t mask;
    uint32_t ranks; /* all are below it */
} gal__pairs;

/* How images become tokens: one for each square of `patch` pixels, after the longer side was brought to `side`. */
typedef struct gal__images {
    int patch, side; /* 0: the vocabulary says nothing of images */
} gal__images;
enum { GAL__IMAGE_ROW = 4096 }; /* most tokens in a row of an image */

/* How audio becomes tokens: it is brought to `rate`, filled up to whole chunks (or to one window), cut into hops; one
 * token for each `hops` of them. */
typedef struct gal__sounds {
    int32_t rate;                     /* samples a second; 0: the vocabulary says nothing of audio */
    int64_t chunk, window, hop, hops; /* samples; chunk 0: no chunks */
    int64_t pads;                     /* -1, or that many [STREAMING_PAD] however long the audio is */
} gal__sounds;

/* What a Tekken file says in model_settings_builder. */
typedef struct gal__settings {
    bool present, efforts_known, json_schema;
    uint8_t efforts; /* bits by place in gal__effort_names */
    int effort;      /* where a request says none */
} gal__settings;

/* How ids become text, where a file says it (hf_steps.c). */
typedef struct gal__decoding {
    bool said, spaces, bytes; /* U+2581 becomes a space; byte pieces become bytes */
    bool bare;                /* the first token loses every U+2581 */
    uint32_t strip;           /* spaces that the whole text loses at its beginning */
} gal__decoding;

/* charsmap.c */
typedef struct gal__charsmap gal__charsmap;

/* hf.h */
typedef struct gal__hf gal__hf;
typedef struct gal__hf_work gal__hf_work;

struct gal_tokenizer {
    const char *kind;    /* "SentencePiece BPE" */
    bool bytes_are_text; /* pieces are bytes of text as they are, and text is cut by `split` (encode_bytes.c) */
    bool words_only;     /* what no word covers becomes no ids, as in Tekken; the patterns known by name cover all */
    bool whole_words;    /* a word that is a piece is not put together from others */
    gal__hf *hf;         /* how text is prepared and cut; NULL: in the short way that the fields here tell */
    gal__split *split;
    bool cuts; /* split is a pattern of which we know where text may be cut */
    gal__pairs pairs;
    gal__longest *longest; /* NULL: words are joined (merge.c) */
    int32_t *two;          /* pieces of two bytes of text, by their bytes; -1: none. NULL: look in `text` */
    int32_t size, unk, bos, eos, pad;
    bool no_bos; /* its prompts do not begin with bos */
    int version;
    bool of_file;   /* it was a SentencePiece file, and no part of a container */
    int told;       /* the version of templates that a file says, and not its pieces; 0: none does */
    char *sections; /* what it says of the next three, an object of JSON; NULL: nothing */
    gal__settings settings;
    gal__images images;
    gal__sounds sounds;
    gal__decoding decoding;
    gal__charsmap *charsmap; /* rules by which text is changed first; NULL: none */
    bool byte_fallback, add_dummy_prefix, remove_extra_whitespaces;
    bool users_apart;     /* USER pieces are not in `text` */
    bool each_unknown;    /* a run of unknown symbols is not one unknown id */
    bool has_unused;      /* some merge may have to be undone: the text is encoded as one segment */
    bool splits;          /* no piece holds a space after another character: words are encoded one by one */
    bool user_first[256]; /* bytes that begin a user-defined piece */
    size_t user_max;      /* longest user-defined piece, 0: none */
    size_t text_max;      /* longest piece that text can become */
    char *bytes;          /* all pieces, each ended by NUL */
    size_t *offsets;      /* size + 1 */
    float *scores;
    uint32_t *ranks; /* by falling score; equal scores share one */
    uint8_t *types;
    int32_t byte_ids[256];
    gal__table text, reserved; /* pieces that text can become; control, unknown and byte pieces */
    char *unk_surface;
    uint8_t sha256[32];
};

static inline const char *gal__piece(const gal_tokenizer *t, int32_t id, size_t *n) {
    *n = t->offsets[id + 1] - t->offsets[id] - 1;
    return t->bytes + t->offsets[id];
}

/* ---- joining (merge.c) -------------------------------------------------------------------------------------------
 */

enum { GAL__CACHE_SLOTS = 1 << 14, GAL__CACHE_KEY = 28, GAL__CACHE_IDS = 8, GAL__JOIN_BITS = 17 };

/* The ids of a short word, one cache line. */
typedef struct gal__cached {
    uint8_t key_bytes, ids;
    char key[GAL__CACHE_KEY + 2];
    int32_t id[GAL__CACHE_IDS];
} gal__cached;
_Static_assert(sizeof(gal__cached) == 64, "one cache line");

typedef struct gal__part {
    int32_t prev, next; /* -1 at the ends; a consumed symbol has bytes 0 */
    uint32_t at, bytes; /* in base; the top bit of `bytes` is never reached */
    int32_t id;         /* -2 not looked up yet, -1 no piece */
    bool frozen;        /* user-defined: never joined */
} gal__part;

struct gal_token_scratch {
    const gal_tokenizer *owner;
    gal__cached *cache;
    uint64_t *joins;       /* encode_bytes.c: joins that were looked up, by the two ids */
    gal__splitting *words; /* where the vocabulary has a pattern */
    const char *base;      /* what symbols are bytes of */
    char *norm;            /* SentencePiece: the segment with U+2581 for spaces and U+FFFD for bad bytes */
    size_t norm_cap;
    gal__part *symbols;
    size_t symbols_cap;
    gal__joins *queue;     /* of long words; made for the first one */
    uint32_t *unused_left; /* by id: bytes of the left part that made an UNUSED piece, 0 never */
    uint32_t *stack;       /* pairs (at, bytes), for undoing joins */
    size_t stack_cap;
    uint8_t *dead; /* longest.c: a bit for each place of a word after which nothing goes on */
    size_t dead_cap;
    gal_buf text, mapped; /* text that was changed before it is cut */
    gal__hf_work *hf;
};

gal_err gal__no_memory(gal_diag *diag); /* GAL_ENOMEM, "no memory for encoding" */
/* Room for n symbols. */
gal_err gal__symbols(gal_token_scratch *s, size_t n, gal_diag *diag);
/* Joins the first count symbols until none can be: the best pair first, the leftmost of equals. */
gal_err gal__merge(const gal_tokenizer *t, gal_token_scratch *s, int32_t count, gal_diag *diag);
/* The slot of a word of n <= GAL__CACHE_KEY bytes; *hit: it holds this word, and its ids were appended. */
gal__cached *gal__cache_find(gal_token_scratch *s, const char *word, size_t n, bool *hit, gal_ids *ids, gal_err *err,
                             gal_diag *diag);
/* Keeps the ids from place `before` on for the word, if they are few. */
void gal__cache_keep(gal__cached *c, const char *word, size_t n, const gal_ids *ids, size_t before);
/* encode_bytes.c   The text of a vocabulary whose pieces are bytes. */
gal_err gal__encode_bytes(const gal_tokenizer *t, gal_token_scratch *s, const char *text, size_t n, gal_ids *ids,
                          gal_diag *diag);
gal_err gal__mend(gal_buf *out, const char **text, size_t *n, gal_diag *diag); /* each bad byte becomes U+FFFD */
/* One word: of bytes; or of text with U+2581 for spaces (encode.c). */
gal_err gal__encode_word(const gal_tokenizer *t, gal_token_scratch *s, const char *word, size_t n, gal_ids *ids,
                         gal_diag *diag);
gal_err gal__encode_pieces(const gal_tokenizer *t, gal_token_scratch *s, const char *word, size_t n, gal_ids *ids,
                           gal_diag *diag);
/* encode.c   The longest user-defined piece at p, 0 if none; and whether the last character is a space, or spells
 * one. */
size_t gal__match_user(const gal_tokenizer *t, const char *p, size_t n, int32_t *id);
bool gal__ends_in_space(const char *p, size_t n);
/* hf_encode.c */
gal_err gal__encode_hf(const gal_tokenizer *t, gal_token_scratch *s, const char *text, size_t n, unsigned flags,
                       gal_ids *ids, gal_diag *diag);
const char *gal__hf_shown(const gal__hf *h, int32_t id, size_t *n);        /* what it decodes to; NULL: its piece */
void gal__hf_free(gal__hf *h);                                             /* NULL is allowed */
void gal__hf_work_free(gal__hf_work *w);                                   /* NULL is allowed */
size_t gal__cut_bytes(const gal_tokenizer *t, const char *text, size_t n); /* gal_encode_cut() for such */

/* ---- vocabularies of bytes (byte_vocab.c) -------------------------------------------------------------------------
 */

/* Patterns that are known by name. */
#define GAL__PATTERN_TEKKEN                                                                                          \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"                     \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|"                     \
    "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GAL__PATTERN_LLAMA3                                                                                          \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"         \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GAL__PATTERN_GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

typedef struct gal__merge_pair {
    int32_t left, right, id;
} gal__merge_pair;

/* As a file has it; borrowed while a tokenizer is made of it. */
typedef struct gal__byte_vocab {
    const char *kind;
    size_t count;
    const char *bytes;     /* of all pieces, one after another */
    const size_t *offsets; /* count + 1 */
    const uint8_t *types;  /* gal_piece_type: NORMAL is bytes of text, CONTROL a name */
    const char *pattern;
    size_t pattern_bytes;
    const gal__merge_pair *merges; /* in order; NULL: by the ids of what is made */
    size_t n_merges;
    bool whole_words, no_bos;
    bool words_only;            /* what the pattern does not match becomes no ids */
    int32_t unk, bos, eos, pad; /* -1: none */
    int version;
} gal__byte_vocab;
gal_err gal__tokenizer_from_bytes(gal_tokenizer **out, const gal__byte_vocab *v, const char *name, gal_diag *diag);
/* chat_settings.c   Reads the value of model_settings_builder. */
typedef struct gal__json gal__json;
void gal__settings_read(gal__json *j, gal__settings *s);
void gal__images_read(gal__json *j, gal__images *i); /* of image, or multimodal */
void gal__sounds_read(gal__json *j, gal__sounds *s); /* chat_sounds.c, of audio */
/* chat_told.c   All three, and their text: {"image": ... without the last brace. */
typedef struct gal__sections {
    gal__settings settings;
    gal__images images;
    gal__sounds sounds;
    gal_buf text;
} gal__sections;
/* The value of a member of tekken.json; false: its key is no such section's, and nothing was read. */
bool gal__section_read(gal__json *j, gal__sections *s, const char *key, size_t n);
gal_err gal__sections_give(gal_tokenizer *t, gal__sections *s, const char *name, gal_diag *diag);
/* What a SentencePiece file's name says; a version that is not known is none. */
gal_err gal__tell_by_name(gal_tokenizer *t, int version, bool images, const char *name, gal_diag *diag);
/* gpt2.c */
void gal__spell_byte(gal_buf *out, uint8_t byte);
bool gal__unspell(gal_buf *out, const char *s, size_t n); /* false: not in that alphabet; out NULL: only asked */
const char *gal__pre_of(const char *pattern, bool whole_words); /* NULL: it has no name */
/* tekken.c */
gal_err gal__tekken_open(gal_tokenizer **out, const char *bytes, size_t n, const char *name, gal_diag *diag);

/* merge_list.c   Whether both join alike; if not, what says where first. */
bool gal__same_merges(const gal_tokenizer *a, const gal_tokenizer *b, gal_diag *what);

/* Tables of tokenizer.c. */
const gal__pair *gal__pair_find(const gal__pairs *p, int32_t left, int32_t right); /* NULL: none */
void gal__pair_add(gal__pairs *p, const gal__merge_pair *m, uint32_t rank);        /* the first of equals counts */
bool gal__table_new(gal__table *table, size_t count);

/* memcmp() == 0 of few bytes, without the call. */
static inline bool gal__same(const char *a, const char *b, size_t n) {
    uint64_t x, y;
    uint32_t v, w;
    for (; n > 8; a += 8, b += 8, n -= 8) {
        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        if (x != y) return false;
    }
    if (n < 4) {
        for (size_t i = 0; i < n; i++)
            if (a[i] != b[i]) return false;
        return true;
    }
    memcpy(&v, a, 4);
    memcpy(&w, b, 4);
    if (v != w) return false;
    memcpy(&v, a + n - 4, 4);
    memcpy(&w, b + n - 4, 4);
    return v == w;
}

/* The piece of this hash and these bytes; -1: none. */
static inline int32_t gal__table_at(const gal_tokenizer *t, const gal__table *table, uint32_t h, const char *s,
                                    size_t n) {
    for (size_t i = h & table->mask;; i = (i + 1) & table->mask) {
        const gal__slot *x = &table->slots[i];
        if (x->id < 0) return -1;
        if (x->tag != h) continue;
        size_t m;
        const char *piece = gal__piece(t, x->id, &m);
        if (m == n && gal__same(piece, s, n)) return x->id;
    }
}

uint32_t gal__table_hash(const gal__table *table, const char *s, size_t n);
void gal__table_ask(const gal__table *table, uint32_t h); /* its line of memory will be needed soon */
/* Adds a piece of this hash; -1, or the one that is the same, which stays. */
int32_t gal__table_put(const gal_tokenizer *t, gal__table *table, uint32_t h, int32_t id);
uint32_t gal__piece_hash(const char *s, size_t n);
int32_t gal__table_find(const gal_tokenizer *t, const gal__table *table, const char *s, size_t n);
int gal__byte_of_piece(const char *s, size_t n); /* "<0x41>" -> 0x41; -1 if it is none */

/* ---- rules of a normaliser (charsmap.c) --------------------------------------------------------------------------
 */

/* name may be NULL; file stands in messages. GAL_EINPUT for a damaged table. */
gal_err gal__charsmap_new(gal__charsmap **out, const char *name, const void *bytes, size_t n, const char *file,
                          gal_diag *diag);
void gal__charsmap_free(gal__charsmap *m); /* NULL is allowed */
const char *gal__charsmap_name(const gal__charsmap *m);
const char *gal__charsmap_bytes(const gal__charsmap *m, size_t *n); /* the table as it was given */
/* Bytes of the longest rule that s begins with, and what it becomes, which ends in NUL; 0: none. open: n more bytes
 * might begin a longer one. */
size_t gal__charsmap_find(const gal__charsmap *m, const char *s, size_t n, const char **to, bool *open);
/* out becomes the text as the rules have it, each bad byte U+FFFD. t may be NULL: no pieces are user-defined. */
gal_err gal__charsmap_apply(const gal__charsmap *m, const gal_tokenizer *t, const char *text, size_t n, gal_buf *out,
                            gal_diag *diag);
size_t gal__charsmap_cut(const gal__charsmap *m, const gal_tokenizer *t, const char *text, size_t n);

/* A SentencePiece model file as read; strings point into the file's bytes. */
typedef struct gal__spm {
    gal_vocab vocab;
    const char **pieces;
    size_t *lengths;
    float *scores;
    uint8_t *types;
    size_t cap;
    char *bos, *eos, *pad, *unk_surface, *normalizer;
} gal__spm;
gal_err gal__spm_read(gal__spm *m, const uint8_t *bytes, size_t n, const char *name, gal_diag *diag);
void gal__spm_free(gal__spm *m);

#endif
