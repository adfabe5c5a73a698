/* tokenizer.h - text to token ids and back. Owns the vocabulary; refuses models whose rules it lacks, by name.
 *
 * Kinds: SentencePiece BPE with byte fallback (Kudo and Richardson, "SentencePiece", EMNLP 2018), as the v1, v2, v3
 * and v7 vocabularies of Mistral are; Tekken, GPT-2's way in GGUF files, and tokenizer.json (BPE over bytes or with
 * bytes to fall back to). Results equal the reference libraries'. A tokenizer is constant after opening: any number
 * of threads may use one, each with its own scratch. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_TOKENIZER_H
#define GAL_TEXT_TOKENIZER_H

#include "base/buf.h"

typedef struct gal_tokenizer gal_tokenizer;
typedef struct gal_token_scratch gal_token_scratch;

/* The numbers are those of the file format. */
typedef enum gal_piece_type {
    GAL_PIECE_NORMAL = 1,
    GAL_PIECE_UNKNOWN = 2,
    GAL_PIECE_CONTROL = 3, /* never matched in text */
    GAL_PIECE_USER = 4,    /* matched first and never merged with its neighbours */
    GAL_PIECE_UNUSED = 5,
    GAL_PIECE_BYTE = 6 /* "<0x00>" to "<0xFF>" */
} gal_piece_type;

/* A growing array of ids. {0} is an empty one. */
typedef struct gal_ids {
    int32_t *data;
    size_t len, cap;
} gal_ids;

gal_err gal_ids_add(gal_ids *ids, int32_t id, gal_diag *diag); /* GAL_ENOMEM leaves ids as they were */
void gal_ids_free(gal_ids *ids);

/* path: a file, told by its content and never by its name, or a folder, in which tekken.json is taken, or else the
 * vocabulary of the highest version (tokenizer.model.v7 before tokenizer.model), or else tokenizer.json. Of the
 * latter's folder, tokenizer_config.json and special_tokens_map.json are read, too; of a folder with a SentencePiece
 * file, of the former whether prompts begin with BOS, and a BOS or EOS that the file itself does not say. GAL_EINPUT
 * if it is missing, damaged or of a kind not known. */
gal_err gal_tokenizer_open(gal_tokenizer **out, const char *path, gal_diag *diag);
/* Which file of a folder that is; path stays empty where there is none. */
gal_err gal_tokenizer_in(gal_buf *path, const char *dir, gal_diag *diag);
/* Of a SentencePiece file's name in a folder: 1 for "tokenizer.model", 7 for "x.model.v7" or "x.model.v7m1"; 0: no
 * such name. */
int gal_tokenizer_file_version(const char *name);
/* The same from a file's bytes, which are copied; name stands in messages. */
gal_err gal_tokenizer_open_bytes(gal_tokenizer **out, const void *bytes, size_t n, const char *name, gal_diag *diag);

/* A SentencePiece BPE vocabulary from arrays, for containers that carry one. */
typedef struct gal_vocab {
    size_t count;
    const char *const *pieces; /* UTF-8; need not end in NUL */
    const size_t *lengths;     /* bytes; NULL: every piece ends in NUL */
    const float *scores;
    const uint8_t *types; /* gal_piece_type */
    bool byte_fallback, add_dummy_prefix, remove_extra_whitespaces;
    bool no_bos;                 /* prompts of its model do not begin with bos */
    bool no_unknown;             /* there need be no unknown piece: a character without one vanishes */
    bool users_apart;            /* user-defined pieces are found before any are joined, and not by joining */
    bool any_ends;               /* bos and eos may be pieces of any type, which SentencePiece's may not */
    const char *bos, *eos, *pad; /* control pieces; NULL: <s>, </s>, <pad> */
    const char *unk_surface;     /* what an unknown id decodes to; NULL: " \u2047 " */
    const char *normalizer;      /* name of the rules by which text is changed first; may be NULL */
    const void *charsmap;        /* these rules, as SentencePiece's precompiled_charsmap; 0 bytes: none */
    size_t charsmap_bytes;
} gal_vocab;
gal_err gal_tokenizer_from_vocab(gal_tokenizer **out, const gal_vocab *vocab, const char *name, gal_diag *diag);
/* The first byte that has no piece of its own, which byte_fallback asks for; -1: all have. */
int gal_vocab_missing_byte(const gal_vocab *vocab);

/* A vocabulary whose pieces are bytes, spelled as GPT-2's spells them, with its list of merges. Borrowed for the
 * call. */
typedef struct gal_byte_vocab {
    size_t count;
    const char *const *pieces; /* UTF-8 */
    const size_t *lengths;
    const uint8_t *types; /* GAL_PIECE_NORMAL: bytes of text; others are names as they stand */
    size_t n_merges;      /* "left right", the first of them first */
    const char *const *merges;
    const size_t *merge_lengths;
    const char *pre;     /* how GGUF files name the pattern that cuts words ("tekken"), or NULL and the next two */
    const char *pattern; /* a regular expression (text/split.h) */
    bool whole_words;    /* a word that is a piece is not put together by merges */
    bool match_user;     /* text becomes GAL_PIECE_USER before anything else */
    bool no_bos;
    int32_t unk, bos, eos, pad; /* -1: none */
} gal_byte_vocab;
gal_err gal_tokenizer_from_bytes(gal_tokenizer **out, const gal_byte_vocab *vocab, const char *name, gal_diag *diag);
void gal_tokenizer_free(gal_tokenizer *t);

int32_t gal_tokenizer_size(const gal_tokenizer *t);
int32_t gal_tokenizer_bos(const gal_tokenizer *t); /* -1: none; also the next three */
int32_t gal_tokenizer_eos(const gal_tokenizer *t);
bool gal_tokenizer_begins(const gal_tokenizer *t); /* prompts begin with bos */
int32_t gal_tokenizer_unk(const gal_tokenizer *t);
int32_t gal_tokenizer_pad(const gal_tokenizer *t);
/* Mistral's version of templates: what is told (below), else what the control pieces suggest. */
int gal_tokenizer_version(const gal_tokenizer *t);
/* chat_told.c   What files say of the templates of conversations, besides pieces: tekken.json, the suffix of a
 * SentencePiece file's name, or what gal_tokenizer_tell() was given by a container. The version; 0: nothing says it.
 */
int gal_tokenizer_told(const gal_tokenizer *t);
/* The sections of tekken.json that they need (model_settings_builder, image, audio), an object of JSON; NULL: none.
 */
const char *gal_tokenizer_sections(const gal_tokenizer *t);
/* version 0, sections NULL: leaves what is there; name: of file and key, for messages. GAL_EINPUT for what is none.
 */
gal_err gal_tokenizer_tell(gal_tokenizer *t, int version, const char *sections, size_t n, const char *name,
                           gal_diag *diag);
/* ".v7", ".v7m1": the end of a SentencePiece file's name that says so. Meant for versions that are told; false: the
 * sections say more than it does. */
bool gal_tokenizer_suffix(const gal_tokenizer *t, char out[16]);
/* SHA-256 of the vocabulary: of the bytes that a SentencePiece model came from, of pieces and rules for others. */
void gal_tokenizer_sha256(const gal_tokenizer *t, uint8_t out[32]);
/* open.c: of one that came out of a container: its hash becomes that of the file that would hold it alone, which is
 * what a training from that container keeps. Unchanged where no file can. */
gal_err gal_tokenizer_hash_as_file(gal_tokenizer *t, gal_diag *diag);
/* What its file is called in a folder: "tekken.json", "tokenizer.json" or "tokenizer.model". */
const char *gal_tokenizer_file(const gal_tokenizer *t);
/* "SentencePiece BPE"; never NULL. */
const char *gal_tokenizer_kind(const gal_tokenizer *t);
/* The piece as the file spells it (a space is U+2581), ended by NUL; *n its bytes. Asserts 0 <= id < size. */
const char *gal_tokenizer_piece(const gal_tokenizer *t, int32_t id, size_t *n);
gal_piece_type gal_tokenizer_type(const gal_tokenizer *t, int32_t id);
float gal_tokenizer_score(const gal_tokenizer *t, int32_t id);
/* The id of a whole piece, control pieces included; -1 if there is none. */
int32_t gal_tokenizer_find(const gal_tokenizer *t, const char *piece, size_t n);

/* How text is prepared: a space before it, runs of spaces made one. */
bool gal_tokenizer_adds_space(const gal_tokenizer *t);
bool gal_tokenizer_joins_spaces(const gal_tokenizer *t);
/* The name of the rules by which text is changed before that, "identity" without any; and these rules, as a
 * SentencePiece model has them (precompiled_charsmap), NULL without any. */
const char *gal_tokenizer_normalizer(const gal_tokenizer *t);
const void *gal_tokenizer_charsmap(const gal_tokenizer *t, size_t *n);
/* Whether pieces are bytes of text (Tekken, GPT-2's way), and not text with U+2581 for spaces. */
bool gal_tokenizer_of_bytes(const gal_tokenizer *t);
/* The pattern that cuts text into words; NULL: none. */
const char *gal_tokenizer_pattern(const gal_tokenizer *t);
bool gal_tokenizer_whole_words(const gal_tokenizer *t); /* a word that is a piece is not put together by merges */

/* Two pieces that become one. The first in a list counts before those after it. */
typedef struct gal_merge {
    int32_t left, right, id;
} gal_merge;
typedef struct gal_merges {
    gal_merge *at;
    size_t len, cap;
} gal_merges;
/* What a vocabulary of bytes, or one that lists its merges, joins; empty for others. The caller frees it. */
gal_err gal_tokenizer_merges(const gal_tokenizer *t, gal_merges *out, gal_diag *diag);
void gal_merges_free(gal_merges *m);

/* hf_write.c   The piece as vocabularies of bytes spell it in GPT-2's alphabet; names and other pieces as they are.
 */
void gal_tokenizer_spell(const gal_tokenizer *t, int32_t id, gal_buf *out);
/* Whether text becomes this token before anything else, without being one of the special ones. */
bool gal_tokenizer_matches(const gal_tokenizer *t, int32_t id);
/* merge_list.c   Whether joining by scores, as SentencePiece does, gives the same ids; if not, why. */
gal_err gal_tokenizer_by_scores(const gal_tokenizer *t, gal_diag *diag);
/* How GGUF files name what cuts words ("tekken"). GAL_EINPUT: they cannot say it, and why. */
gal_err gal_tokenizer_pre(const gal_tokenizer *t, const char **pre, gal_diag *diag);
/* Appends a tokenizer.json of a vocabulary of bytes that opens to the same ids. GAL_EINPUT for others. */
gal_err gal_tokenizer_print_hf(const gal_tokenizer *t, gal_buf *out, gal_diag *diag);

/* spm_write.c: appends a SentencePiece model file that opens to the same ids. GAL_EINPUT for a vocabulary that such a
 * file cannot hold. */
gal_err gal_tokenizer_print_spm(const gal_tokenizer *t, gal_buf *out, gal_diag *diag);

/* Memory that encoding reuses from call to call; belongs to one thread and to this tokenizer. */
gal_err gal_token_scratch_new(gal_token_scratch **out, const gal_tokenizer *t, gal_diag *diag);
void gal_token_scratch_free(gal_token_scratch *s);

/* What text a token stands for: its bytes, 0 for control and unknown pieces. The space that encoding puts before a
 * text counts as one byte of its first piece, see gal_tokenizer_adds_space(). */
size_t gal_tokenizer_text_bytes(const gal_tokenizer *t, int32_t id);
/* Whether two vocabularies give the same ids for every text: rules, pieces, types, order of scores, merges. One may
 * be longer by control and unused pieces (rows that pad an embedding). If not, what (may be NULL) gets the first
 * difference. */
bool gal_tokenizer_same(const gal_tokenizer *a, const gal_tokenizer *b, gal_diag *what);

/* difference.c   Where two vocabularies of one model, a as its makers read it, first disagree: pieces, special
 * tokens, first and last piece, then the ids of a few texts. */
typedef struct gal_difference {
    int32_t id;   /* of the piece, in a where it has it; -1: of none */
    gal_buf what; /* a sentence; empty: they agree. The caller frees it */
} gal_difference;
gal_err gal_tokenizer_difference(gal_difference *d, const gal_tokenizer *a, const gal_tokenizer *b, gal_diag *diag);

enum { GAL_ENCODE_BOS = 1, GAL_ENCODE_EOS = 2, GAL_ENCODE_CONTINUES = 4 };

/* Appends the ids of n bytes of text, which may hold U+0000 and invalid UTF-8 (each bad byte reads as U+FFFD).
 * Control pieces spelled in the text stay ordinary text. flags: GAL_ENCODE_*. s NULL: memory is taken for this call.
 * O(n log n). On an error ids keep their old length. */
gal_err gal_encode(const gal_tokenizer *t, gal_token_scratch *s, const char *text, size_t n, unsigned flags,
                   gal_ids *ids, gal_diag *diag);

/* Bytes of the longest prefix of a text after which its encoding may be cut: its ids, followed by those of the rest
 * encoded with GAL_ENCODE_CONTINUES (no space is put before it), are the ids of the whole, whatever follows the n
 * bytes. 0 if there is no such place, or if the vocabulary's rules allow none. */
size_t gal_encode_cut(const gal_tokenizer *t, const char *text, size_t n);

/* Appends the text of ids: control pieces vanish, the first piece loses the space that encoding put before the text,
 * runs of byte pieces become characters, and each byte that cannot becomes U+FFFD. GAL_EINPUT for an id outside. */
gal_err gal_decode(const gal_tokenizer *t, const int32_t *ids, size_t n, gal_buf *out, gal_diag *diag);

/* Decodes ids one at a time; what it gives out, joined, is what gal_decode gives. */
typedef struct gal_stream gal_stream;

typedef struct gal_stream_options {
    bool keep_prefix_space;   /* text that continues a prompt: the first piece keeps its space */
    const char *const *stops; /* strings that end the text; copied; an empty one is ignored */
    size_t stop_count;
} gal_stream_options;

/* options NULL: none. The tokenizer must outlive the stream. */
gal_err gal_stream_new(gal_stream **out, const gal_tokenizer *t, const gal_stream_options *options, gal_diag *diag);
void gal_stream_free(gal_stream *s);
/* Feeds one id; *text then holds *n bytes that may be shown (valid until the next call, 0 bytes are usual): whole
 * characters only, and nothing that may become part of a stop string. After a stop string no more comes. */
gal_err gal_stream_feed(gal_stream *s, int32_t id, const char **text, size_t *n, gal_diag *diag);
/* The end of the ids: gives what was held back. */
gal_err gal_stream_end(gal_stream *s, const char **text, size_t *n, gal_diag *diag);
/* Index of the stop string that was met, -1 if none; the text given out ends just before it. */
int gal_stream_stopped(const gal_stream *s);

#endif
