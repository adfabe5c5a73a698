/* tekken.c - Mistral's tekken.json (formats.md 5.5): ranks with their bytes in base64, special tokens before them.
 * 20 MB of JSON are read once, front to back. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/internal.h"
#include "text/json_pull.h"

#include <stdio.h>
#include <string.h>

enum { VERSION_BYTES = 8, OLD = 7 }; /* files up to version 7 need not list their special tokens */

static const char *const OLD_NAMES[] = {
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
};

/* Pieces one after another, by rank. */
typedef struct pieces {
    gal_buf bytes;
    size_t *ends;
    size_t len, cap;
} pieces;

typedef struct reader {
    gal__json j;
    gal_buf pattern;
    char version[VERSION_BYTES];
    int64_t size, specials; /* of the vocabulary with its special tokens, and these; -1: not said */
    pieces vocab, special;
    int32_t *ranks; /* of the special ones in the file's order */
    size_t ranks_cap;
    bool has_specials;
    gal__sections sections;
} reader;

static gal_err add(reader *r, pieces *p) {
    void *ends = p->ends;
    if (p->bytes.oom || (p->len == p->cap && gal_grow(&ends, &p->cap, p->len + 1, sizeof *p->ends) != 0)) {
        r->j.err = gal_fail(r->j.diag, GAL_ENOMEM, "%s: no memory for %zu pieces", r->j.name, p->len + 1);
        return r->j.err;
    }
    p->ends = ends;
    p->ends[p->len++] = p->bytes.len;
    return GAL_OK;
}

static bool is(const char *key, size_t n, const char *word) { return n == strlen(word) && memcmp(key, word, n) == 0; }

static void read_config(reader *r) {
    const char *key, *s;
    size_t n;
    bool first = true;
    if (!gal__json_enter(&r->j, '{')) return;
    while (gal__json_member(&r->j, &first, &key, &n)) {
        if (is(key, n, "pattern")) {
            if (!gal__json_string(&r->j, &s, &n)) return;
            gal_buf_clear(&r->pattern);
            gal_buf_add(&r->pattern, s, n);
            if (r->pattern.oom)
                r->j.err = gal_fail(r->j.diag, GAL_ENOMEM, "%s: no memory for its pattern", r->j.name);
        } else if (is(key, n, "version")) {
            if (!gal__json_string(&r->j, &s, &n)) return;
            (void)snprintf(r->version, sizeof r->version, "%.*s", (int)GAL_MIN(n, (size_t)VERSION_BYTES - 1), s);
        } else if (is(key, n, "default_vocab_size")) {
            (void)gal__json_whole(&r->j, &r->size);
        } else if (is(key, n, "default_num_special_tokens")) {
            (void)gal__json_whole(&r->j, &r->specials);
        } else {
            gal__json_skip(&r->j);
        }
    }
}

/* 64: none. */
static const uint8_t DIGIT[256] = {
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 62, 64, 64, 64, 63, 52, 53, 54, 55,
    56, 57, 58, 59, 60, 61, 64, 64, 64, 64, 64, 64, 64, 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12,
    13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 64, 64, 64, 64, 64, 64, 26, 27, 28, 29, 30, 31, 32,
    33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
};

static bool base64(gal_buf *out, const char *s, size_t n) {
    char bytes[96];
    size_t len = 0;
    if (n % 4 != 0 || n == 0) return false;
    for (size_t i = 0; i < n; i += 4) {
        const uint8_t *d = (const uint8_t *)s + i;
        const uint32_t v = (uint32_t)DIGIT[d[0]] << 18 | (uint32_t)DIGIT[d[1]] << 12 | (uint32_t)DIGIT[d[2]] << 6 |
                           DIGIT[d[3]];
        const int pad = i + 4 == n && d[3] == '=' ? 1 + (d[2] == '=') : 0;
        if (DIGIT[d[0]] > 63 || DIGIT[d[1]] > 63 || (DIGIT[d[2]] > 63 && pad < 2) || (DIGIT[d[3]] > 63 && !pad))
            return false;
        bytes[len++] = (char)(v >> 16);
        if (pad < 2) bytes[len++] = (char)(v >> 8);
        if (pad < 1) bytes[len++] = (char)v;
        if (len < sizeof bytes) continue;
        gal_buf_add(out, bytes, len);
        len = 0;
    }
    gal_buf_add(out, bytes, len);
    return true;
}

#define EXACTLY(j, what) gal__json_exactly(j, what, sizeof(what) - 1)

/* {"rank": 7, "token_bytes": "...", "token_str": ...}, as every piece of the known files is written. false: it is
 * written otherwise, and nothing was read. */
static bool read_usual(reader *r, int64_t *rank, bool *has) {
    gal__json *j = &r->j;
    const char *from = j->p;
    bool good = EXACTLY(j, "{") && EXACTLY(j, "\"rank\":") && gal__json_peek(j) == '0' && *j->p != '-';
    *rank = 0;
    if (good && *j->p == '0' && j->end - j->p > 1 && j->p[1] >= '0') good = false;
    for (int i = 0; good && i < 10 && j->p < j->end && *j->p >= '0' && *j->p <= '9'; i++)
        *rank = 10 * *rank + (*j->p++ - '0');
    good = good && EXACTLY(j, ",") && EXACTLY(j, "\"token_bytes\":") && EXACTLY(j, "\"");
    const char *s = j->p, *end = good ? memchr(s, '"', GAL_MIN((size_t)(j->end - s), (size_t)1024)) : NULL;
    if (end) {
        j->p = end + 1;
        good = EXACTLY(j, ",") && EXACTLY(j, "\"token_str\":");
        if (good) gal__json_skip(j);
        good = good && EXACTLY(j, "}");
    }
    const size_t before = r->vocab.bytes.len;
    if (good && end) *has = base64(&r->vocab.bytes, s, (size_t)(end - s));
    if (good && end && *has) return true;
    r->vocab.bytes.len = before;
    if (!j->err) j->p = from;
    return false;
}

static void read_piece(reader *r) {
    const char *key, *s;
    size_t n;
    int64_t rank = -1;
    bool first = true, has = false;
    const size_t before = r->vocab.bytes.len;
    const bool usual = read_usual(r, &rank, &has);
    if (!usual && !gal__json_enter(&r->j, '{')) return;
    if (!usual) rank = -1;
    while (!usual && gal__json_member(&r->j, &first, &key, &n)) {
        if (is(key, n, "rank")) {
            if (!gal__json_whole(&r->j, &rank)) return;
        } else if (is(key, n, "token_bytes")) {
            if (!gal__json_string(&r->j, &s, &n)) return;
            r->vocab.bytes.len = before;
            has = base64(&r->vocab.bytes, s, n);
        } else {
            gal__json_skip(&r->j);
        }
    }
    if (r->j.err) return;
    if (r->vocab.bytes.oom) {
        (void)add(r, &r->vocab); /* says so */
        return;
    }
    if (rank != (int64_t)r->vocab.len)
        (void)gal__json_fail(&r->j, "vocab: expected rank %zu, found %lld", r->vocab.len, (long long)rank);
    else if (!has)
        (void)gal__json_fail(&r->j, "vocab: rank %lld: expected token_bytes in base64", (long long)rank);
    else if (rank < 256 && (r->vocab.bytes.len != before + 1 || (uint8_t)r->vocab.bytes.data[before] != rank))
        (void)gal__json_fail(&r->j, "vocab: rank %lld: expected the byte 0x%02X", (long long)rank, (unsigned)rank);
    else if (r->vocab.len >= GAL__MAX_PIECES)
        (void)gal__json_fail(&r->j, "vocab: more than %d pieces", GAL__MAX_PIECES);
    else
        (void)add(r, &r->vocab);
}

static void read_special(reader *r) {
    const char *key, *s;
    size_t n;
    int64_t rank = -1;
    bool first = true, has = false;
    if (!gal__json_enter(&r->j, '{')) return;
    const size_t before = r->special.bytes.len;
    while (gal__json_member(&r->j, &first, &key, &n)) {
        if (is(key, n, "rank")) {
            if (!gal__json_whole(&r->j, &rank)) return;
        } else if (is(key, n, "token_str")) {
            if (!gal__json_string(&r->j, &s, &n)) return;
            r->special.bytes.len = before;
            gal_buf_add(&r->special.bytes, s, n);
            has = n > 0;
        } else {
            gal__json_skip(&r->j);
        }
    }
    if (r->j.err) return;
    if (r->special.bytes.oom) {
        (void)add(r, &r->special); /* says so */
        return;
    }
    void *ranks = r->ranks;
    if (rank < 0 || rank >= GAL__MAX_PIECES) {
        (void)gal__json_fail(&r->j, "special_tokens: token %zu: expected a rank from 0 to %d, found %lld",
                             r->special.len, GAL__MAX_PIECES - 1, (long long)rank);
    } else if (!has) {
        (void)gal__json_fail(&r->j, "special_tokens: rank %lld: expected token_str", (long long)rank);
    } else if (r->special.len == r->ranks_cap &&
               gal_grow(&ranks, &r->ranks_cap, r->special.len + 1, sizeof *r->ranks) != 0) {
        r->j.err = gal_fail(r->j.diag, GAL_ENOMEM, "%s: no memory for its special tokens", r->j.name);
    } else {
        r->ranks = ranks;
        r->ranks[r->special.len] = (int32_t)rank;
        (void)add(r, &r->special);
    }
}

static void read_list(reader *r, void (*one)(reader *)) {
    bool first = true;
    if (!gal__json_enter(&r->j, '[')) return;
    while (gal__json_element(&r->j, &first)) one(r);
}

static void read_file(reader *r) {
    const char *key;
    size_t n;
    bool first = true;
    if (!gal__json_enter(&r->j, '{')) return;
    while (gal__json_member(&r->j, &first, &key, &n)) {
        if (is(key, n, "config")) {
            read_config(r);
        } else if (is(key, n, "vocab") && !r->vocab.len) {
            read_list(r, read_piece);
        } else if (is(key, n, "special_tokens") && !gal__json_null(&r->j)) {
            r->has_specials = true;
            read_list(r, read_special);
        } else if (!is(key, n, "special_tokens") && !gal__section_read(&r->j, &r->sections, key, n)) {
            gal__json_skip(&r->j);
        }
    }
    (void)gal__json_end(&r->j);
}

/* The version in "v11", 0 if it is none that is known. */
static int version_of(const char *s) {
    static const int KNOWN[] = { 1, 2, 3, 7, 11, 13, 15 };
    int64_t v = 0;
    if (s[0] != 'v' || !gal_parse_i64(s + 1, &v)) return 0;
    for (size_t i = 0; i < GAL_LEN(KNOWN); i++)
        if (v == KNOWN[i]) return KNOWN[i];
    return 0;
}

/* What config and lists say must fit together. */
static void check(reader *r, int version) {
    gal__json *j = &r->j;
    if (j->err) return;
    if (!version)
        (void)gal__json_fail(j, "config.version: expected v1, v2, v3, v7, v11, v13 or v15, found \"%s\"", r->version);
    else if (!r->pattern.len)
        (void)gal__json_fail(j, "config.pattern is missing");
    else if (r->specials < 0 || r->specials > GAL__MAX_PIECES)
        (void)gal__json_fail(j, "config.default_num_special_tokens: expected 0 to %d, found %lld", GAL__MAX_PIECES,
                             (long long)r->specials);
    else if (r->size < r->specials + 256 || r->size > GAL__MAX_PIECES)
        (void)gal__json_fail(j, "config.default_vocab_size: expected %lld to %d, found %lld",
                             (long long)r->specials + 256, GAL__MAX_PIECES, (long long)r->size);
    else if ((int64_t)r->vocab.len < r->size - r->specials)
        (void)gal__json_fail(j, "vocab: %zu pieces; default_vocab_size and default_num_special_tokens need %lld",
                             r->vocab.len, (long long)(r->size - r->specials));
    else if (!r->has_specials && version > OLD)
        (void)gal__json_fail(j, "special_tokens is missing, which only files up to version %d may do", OLD);
    else if (!r->has_specials && r->specials < (int64_t)GAL_LEN(OLD_NAMES))
        (void)gal__json_fail(
            j, "config.default_num_special_tokens: expected %zu or more, as special_tokens is missing, found %lld",
            GAL_LEN(OLD_NAMES), (long long)r->specials);
    else if ((int64_t)r->special.len > r->specials)
        (void)gal__json_fail(j, "special_tokens: %zu, more than default_num_special_tokens, %lld", r->special.len,
                             (long long)r->specials);
}

/* Names for all special tokens, by rank: the list's, or the old files' own, and <SPECIAL_n>. */
static void fill_specials(reader *r) {
    const size_t count = (size_t)r->specials;
    int32_t *listed = gal_alloc_array(count + 1, sizeof *listed); /* 0: none has this rank; else its place + 1 */
    pieces all = { 0 };
    if (!listed) r->j.err = gal_fail(r->j.diag, GAL_ENOMEM, "%s: no memory for %zu pieces", r->j.name, count);
    for (size_t i = 0; i < r->special.len && !r->j.err; i++) {
        const int32_t rank = r->ranks[i];
        if ((size_t)rank >= count)
            (void)gal__json_fail(&r->j, "special_tokens: rank %d: expected 0 to %lld", (int)rank,
                                 (long long)r->specials - 1);
        else if (listed[rank])
            (void)gal__json_fail(&r->j, "special_tokens: two of rank %d", (int)rank);
        else
            listed[rank] = (int32_t)i + 1;
    }
    for (size_t i = 0; !r->j.err && i < count; i++) {
        char name[32];
        const size_t k = (size_t)listed[i], from = k > 1 ? r->special.ends[k - 2] : 0;
        (void)snprintf(name, sizeof name, "<SPECIAL_%zu>", i);
        if (k)
            gal_buf_add(&all.bytes, r->special.bytes.data + from, r->special.ends[k - 1] - from);
        else
            gal_buf_puts(&all.bytes, !r->has_specials && i < GAL_LEN(OLD_NAMES) ? OLD_NAMES[i] : name);
        (void)add(r, &all);
    }
    gal_free(listed);
    gal_buf_free(&r->special.bytes);
    gal_free(r->special.ends);
    r->special = all;
}

static int32_t id_of(const reader *r, const char *name) {
    size_t from = 0, n = strlen(name);
    for (size_t i = 0; i < r->special.len; from = r->special.ends[i++])
        if (r->special.ends[i] - from == n && memcmp(r->special.bytes.data + from, name, n) == 0) return (int32_t)i;
    return -1;
}

static gal_err make(reader *r, gal_tokenizer **out, int version) {
    const size_t count = (size_t)r->size, specials = (size_t)r->specials, used = count - specials;
    GAL_ASSERT(used > 0 && r->vocab.ends && (!specials || r->special.ends));
    const size_t first = specials ? r->special.ends[specials - 1] : 0;
    size_t *offsets = gal_alloc_array(count + 1, sizeof *offsets);
    uint8_t *types = gal_alloc_array(count, sizeof *types);
    gal_buf all = { 0 };
    gal_buf_add(&all, r->special.bytes.data ? r->special.bytes.data : "", first);
    gal_buf_add(&all, r->vocab.bytes.data, r->vocab.ends[used - 1]);
    gal_err err = GAL_OK;
    if (!offsets || !types || all.oom)
        err = gal_fail(r->j.diag, GAL_ENOMEM, "%s: no memory for %zu pieces", r->j.name, count);
    for (size_t i = 0; i < count && !err; i++) {
        offsets[i + 1] = i < specials ? r->special.ends[i] : first + r->vocab.ends[i - specials];
        types[i] = i < specials ? GAL_PIECE_CONTROL : GAL_PIECE_NORMAL;
    }
    const gal__byte_vocab v = { .kind = "Tekken",
                                .count = count,
                                .bytes = all.data,
                                .offsets = offsets,
                                .types = types,
                                .pattern = r->pattern.data,
                                .pattern_bytes = r->pattern.len,
                                .whole_words = true,
                                .words_only = true,
                                .unk = id_of(r, "<unk>"),
                                .bos = id_of(r, "<s>"),
                                .eos = id_of(r, "</s>"),
                                .pad = id_of(r, "<pad>"),
                                .version = version };
    gal_tokenizer *t = NULL;
    if (!err) err = gal__tokenizer_from_bytes(&t, &v, r->j.name, r->j.diag);
    if (!err) t->told = version;
    if (!err) err = gal__sections_give(t, &r->sections, r->j.name, r->j.diag);
    if (err)
        gal_tokenizer_free(t);
    else
        *out = t;
    gal_free(offsets);
    gal_free(types);
    gal_buf_free(&all);
    return err;
}

gal_err gal__tekken_open(gal_tokenizer **out, const char *bytes, size_t n, const char *name, gal_diag *diag) {
    reader r = { .j = gal__json_begin(bytes, n, name, diag), .size = -1, .specials = -1 };
    read_file(&r);
    const int version = version_of(r.version);
    check(&r, version);
    if (!r.j.err) fill_specials(&r);
    if (!r.j.err && r.pattern.oom) r.j.err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for its pattern", name);
    gal_err err = r.j.err ? r.j.err : make(&r, out, version);
    gal__json_free(&r.j);
    gal_buf_free(&r.pattern);
    gal_buf_free(&r.vocab.bytes);
    gal_buf_free(&r.special.bytes);
    gal_buf_free(&r.sections.text);
    gal_free(r.vocab.ends);
    gal_free(r.special.ends);
    gal_free(r.ranks);
    return err;
}
