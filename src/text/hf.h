/* hf.h - tokenizer.json of Hugging Face's layout (formats.md 5.6): BPE over bytes or with bytes to fall back to. What
 * it says of preparing and cutting a text becomes a gal__hf; where that is no more than what other vocabularies do,
 * none is made and they share the short way (encode.c, encode_bytes.c).
 *
 *   text -> added tokens -> rules (normalizer) -> added tokens -> steps (pre_tokenizer) -> words -> ids
 *
 * Everything else is refused by name. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_HF_H
#define GAL_TEXT_HF_H

#include "text/internal.h"
#include "text/json_tree.h"

/* How a text is changed. */
typedef enum gal__rule_kind {
    GAL__RULE_PREPEND, /* `to` before a text that is not empty */
    GAL__RULE_REPLACE, /* `from` by `to` */
    GAL__RULE_DOUBLE,  /* U+2581 at the beginning is doubled */
    GAL__RULE_TRIM,    /* no spaces at the ends */
    GAL__RULE_RUNS     /* a run of spaces becomes one */
} gal__rule_kind;
typedef struct gal__rule {
    gal__rule_kind kind;
    gal__string from, to;
} gal__rule;

typedef enum gal__how { GAL__ISOLATED, GAL__REMOVED, GAL__CONTIGUOUS, GAL__WITH_PREVIOUS, GAL__WITH_NEXT } gal__how;

/* How it is cut. */
typedef enum gal__step_kind {
    GAL__STEP_SPLIT,  /* at the matches of a pattern or of a string */
    GAL__STEP_SPACES, /* Metaspace: U+2581 for spaces, and one before */
    GAL__STEP_PREFIX  /* ByteLevel's add_prefix_space: a space before each word that has none */
} gal__step_kind;
typedef enum gal__scheme { GAL__NEVER, GAL__FIRST, GAL__ALWAYS } gal__scheme;
typedef struct gal__step {
    gal__step_kind kind;
    gal__split *pattern; /* owned; NULL: `literal` */
    gal__string literal;
    gal__how how;
    bool invert;
    gal__scheme scheme; /* of SPACES */
    bool cut;           /* of SPACES: before each U+2581 */
} gal__step;

/* A token that text becomes before anything else, or, if special, that never comes out of text. */
typedef struct gal__added {
    gal__string content,
        match; /* its name, and what of the text becomes it: the same after the rules, if normalized */
    int32_t id;
    bool special, single_word, lstrip, rstrip, normalized;
} gal__added;

/* Finds the longest of several strings. */
typedef struct gal__finder {
    const gal__added **by_text; /* by length, then bytes */
    size_t count;
    size_t *lengths, n_lengths; /* that occur, the longest first */
    bool first[256];
} gal__finder;

enum { GAL__HF_RULES = 16, GAL__HF_STEPS = 16 };

typedef struct gal__hf {
    gal__pool pool; /* of all strings */
    gal__rule rules[GAL__HF_RULES];
    gal__step steps[GAL__HF_STEPS];
    size_t n_rules, n_steps;
    gal__added *added;
    size_t n_added, added_cap;
    bool ascending;             /* added, by id */
    gal__finder raw, prepared;  /* in the text as it is, and after the rules */
    const gal__added **changed; /* by id: those that the rules change; the others' text is their piece */
    size_t n_changed;
} gal__hf;

/* hf_encode.c */
gal_err gal__hf_prepare(gal__hf *h, const char *name, gal_diag *diag); /* makes the finders, of `added` */
bool gal__hf_matches(const gal__hf *h);                                /* some text becomes an added token */
/* hf_make.c   What two of them must have in common to do the same, as text. */
void gal__hf_describe(const gal__hf *h, gal_buf *out);

/* ---- reading (hf_read.c, hf_steps.c, hf_config.c)
 * ------------------------------------------------------------------
 */

typedef struct gal__hf_piece {
    size_t at;
    uint32_t bytes;
    int32_t id;
} gal__hf_piece;
typedef struct gal__hf_merge {
    size_t at; /* "left right" */
    uint32_t left, bytes;
} gal__hf_merge;

typedef struct gal__hf_file {
    const char *name;
    gal_diag *diag;
    gal__pool pool; /* of the trees below */
    gal_buf text;   /* of pieces and merges */
    gal__hf_piece *vocab;
    gal__hf_merge *merges;
    size_t n_vocab, vocab_cap, n_merges, merges_cap;
    gal_buf model, unk;              /* type, unk_token */
    bool has_model, listed, has_unk; /* `listed`: the vocabulary is an array */
    bool byte_fallback, ignore_merges, fuse_unk, dropout, affixes;
    const gal__value *added, *normalizer, *pre_tokenizer, *post_processor, *decoder; /* NULL: none */
    /* what the steps come to */
    bool byte_level, begins, says_begin, fused;
    gal__decoding decoding;
    gal__string first;                  /* the special token that post_processor puts first */
    gal__string bos, eos, pad, unknown; /* names in the files beside it; s NULL: not said */
    const char *bos_in, *eos_in;        /* which file says the first two; NULL: tokenizer.json itself */
    bool no_bos, no_eos;                /* tokenizer_config.json says that there is none (null) */
    int told;                           /* gal_tokenizer_tell(), */
    gal__string sections;               /* of the tree; s NULL: none */
} gal__hf_file;

gal_err gal__hf_read(gal__hf_file *f, const char *bytes, size_t n);
void gal__hf_file_free(gal__hf_file *f);
gal_err gal__hf_steps(gal__hf *h, gal__hf_file *f);
gal_err gal__hf_added(gal__hf *h, const gal__hf_file *f);
/* Files beside it; NULL bytes: there is none. */
typedef struct gal__hf_beside {
    const char *config, *map; /* tokenizer_config.json, special_tokens_map.json */
    size_t config_bytes, map_bytes;
} gal__hf_beside;
gal_err gal__hf_config(gal__hf *h, gal__hf_file *f, const gal__hf_beside *beside);
int gal__version_by_names(const gal_tokenizer *t);
/* hf_make.c   Lets text become the pieces of type USER. */
gal_err gal__hf_match_users(gal_tokenizer *t, const char *name, gal_diag *diag);
gal_err gal__hf_open(gal_tokenizer **out, const char *bytes, size_t n, const gal__hf_beside *beside, const char *name,
                     gal_diag *diag);

#endif
