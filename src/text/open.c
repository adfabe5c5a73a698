/* open.c - from a path or bytes to a tokenizer. A file's kind is told by its content; names only tell which file of a
 * folder to read. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "text/hf.h"
#include "text/json_pull.h"

#include <string.h>

enum { MOST_BESIDE = 1 << 26 }; /* bytes of a file beside a tokenizer.json */

static bool starts_like_json(const uint8_t *p, size_t n) {
    size_t i = n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (i < n && (p[i] == ' ' || p[i] == '\n' || p[i] == '\r' || p[i] == '\t')) i++;
    /* A model file may begin with 0x0A too, but its second byte is then a length, and '{' no field that follows it.
     */
    return i < n && p[i] == '{' &&
           (i + 1 == n || p[i + 1] == '"' || p[i + 1] == ' ' || p[i + 1] == '\n' || p[i + 1] == '\r' ||
            p[i + 1] == '\t' || p[i + 1] == '}');
}

static bool holds(const uint8_t *p, size_t n, const char *word) {
    size_t m = strlen(word), look = GAL_MIN(n, (size_t)4096);
    for (size_t i = 0; i + m <= look; i++)
        if (memcmp(p + i, word, m) == 0) return true;
    return false;
}

static bool is_tekken(const uint8_t *p, size_t n) {
    return holds(p, n, "\"default_vocab_size\"") || holds(p, n, "\"token_bytes\"");
}

static bool is_hf(const uint8_t *p, size_t n) {
    static const char *const KEYS[] = { "\"added_tokens\"", "\"truncation\"", "\"pre_tokenizer\"", "\"normalizer\"",
                                        "\"merges\"" };
    bool found = false;
    if (n && starts_like_json(p, n) && !is_tekken(p, n))
        for (size_t i = 0; i < GAL_LEN(KEYS); i++) found = found || holds(p, n, KEYS[i]);
    return found;
}

gal_err gal_tokenizer_open_bytes(gal_tokenizer **out, const void *bytes, size_t n, const char *name, gal_diag *diag) {
    const uint8_t *p = bytes;
    if (n > GAL__MAX_MODEL_BYTES)
        return gal_fail(diag, GAL_EINPUT, "%s: %zu bytes; a vocabulary has at most %d", name, n,
                        GAL__MAX_MODEL_BYTES);
    if (n >= 4 && memcmp(p, "GGUF", 4) == 0)
        return gal_fail(diag, GAL_EINPUT, "%s: a GGUF file: expected a vocabulary by itself", name);
    if (is_hf(p, n)) return gal__hf_open(out, bytes, n, NULL, name, diag);
    if (n && starts_like_json(p, n)) {
        gal_tokenizer *t = NULL;
        if (!is_tekken(p, n))
            return gal_fail(diag, GAL_EINPUT,
                            "%s: a JSON file that is no vocabulary: expected tekken.json, tokenizer.json or a "
                            "SentencePiece model",
                            name);
        gal_err e = gal__tekken_open(&t, bytes, n, name, diag);
        if (!e) *out = t;
        return e;
    }
    gal__spm m;
    gal_err err = gal__spm_read(&m, p, n, name, diag);
    if (err) return err;
    gal_tokenizer *t = NULL;
    err = gal_tokenizer_from_vocab(&t, &m.vocab, name, diag);
    gal__spm_free(&m);
    if (err) return err;
    gal_sha256_of(bytes, n, t->sha256);
    t->of_file = true;
    *out = t;
    return GAL_OK;
}

int gal_tokenizer_file_version(const char *name) {
    const char *tail = NULL;
    for (const char *p = strstr(name, ".model"); p; p = strstr(p + 1, ".model")) tail = p + 6;
    if (!tail) return 0;
    if (*tail == 0) return strcmp(name, "tokenizer.model") == 0 ? 1 : 0;
    if (tail[0] != '.' || tail[1] != 'v' || tail[2] < '1' || tail[2] > '9') return 0;
    int v = 0;
    for (tail += 2; *tail >= '0' && *tail <= '9' && v < 1000; tail++) v = 10 * v + (*tail - '0');
    return *tail == 0 || *tail == 'm' ? v : 0;
}

/* Whether the name says the version; "tokenizer.model" may be of any. */
static bool told(const char *name) {
    return gal_tokenizer_file_version(name) > 0 && strcmp(name, "tokenizer.model") != 0;
}

/* A file of the same folder; it need not be there. */
static gal_err read_beside(gal_buf *out, const char *path, const char *name, gal_diag *diag) {
    const char *slash = strrchr(path, '/');
    gal_buf at = { 0 };
    if (slash) gal_buf_add(&at, path, (size_t)(slash + 1 - path));
    gal_buf_puts(&at, name);
    gal_err err = at.oom ? gal_fail(diag, GAL_ENOMEM, "no memory for a path") : GAL_OK;
    if (!err && gal_is_file(at.data)) err = gal_read_file(out, at.data, MOST_BESIDE, diag);
    gal_buf_free(&at);
    return err;
}

gal_err gal_tokenizer_in(gal_buf *path, const char *dir, gal_diag *diag) {
    char **names = NULL;
    size_t count = 0;
    gal_buf_clear(path);
    gal_err err = gal_list_dir(dir, &names, &count, diag);
    if (err) return err;
    const char *best = NULL;
    int version = 0;
    bool tekken = false, json = false;
    for (size_t i = 0; i < count; i++) {
        int v = 2 * gal_tokenizer_file_version(names[i]) + told(names[i]); /* of two of V1, the one that says so */
        if (v > version) {
            version = v;
            best = names[i];
        }
        tekken = tekken || strcmp(names[i], "tekken.json") == 0;
        json = json || strcmp(names[i], "tokenizer.json") == 0;
    }
    if (tekken) best = "tekken.json"; /* where there are several, this is the one that the makers read */
    if (!best && json) best = "tokenizer.json";
    if (best && !gal_path_join(path, dir, best)) err = gal_fail(diag, GAL_ENOMEM, "no memory for a path");
    gal_free_names(names, count);
    return err;
}

static bool is(const char *key, size_t n, const char *word) { return strlen(word) == n && memcmp(key, word, n) == 0; }

static void name_end(gal__json *j, const gal_tokenizer *t, int32_t *id) {
    const char *s;
    size_t n;
    if (gal__json_string(j, &s, &n) && n && *id < 0) *id = gal_tokenizer_find(t, s, n);
}

/* The name of a piece, or an object with it; where the vocabulary's own file says one, that one stays. */
static void read_end(gal__json *j, const gal_tokenizer *t, int32_t *id) {
    const char *key;
    size_t n;
    bool first = true;
    if (gal__json_peek(j) == '"') {
        name_end(j, t, id);
    } else if (gal__json_peek(j) != '{') {
        gal__json_skip(j);
    } else if (gal__json_enter(j, '{')) {
        while (gal__json_member(j, &first, &key, &n))
            if (is(key, n, "content") && gal__json_peek(j) == '"')
                name_end(j, t, id);
            else
                gal__json_skip(j);
    }
}

/* What a SentencePiece file cannot say and its folder does, as beside a tokenizer.json: whether prompts begin with
 * BOS, a BOS or EOS that is no control piece, and, from a training of ours, the version that the file's own name
 * said. */
static gal_err obey_config(gal_tokenizer *t, const char *path, gal_diag *diag) {
    const char *slash = strrchr(path, '/'), *key;
    gal_buf config = { 0 }, name = { 0 };
    bool first = true, begins = true, images = false;
    int64_t version = 0;
    size_t n;
    gal_err err = read_beside(&config, path, "tokenizer_config.json", diag);
    gal_buf_printf(&name, "%.*stokenizer_config.json", slash ? (int)(slash + 1 - path) : 0, path);
    if (!err && name.oom) err = gal_fail(diag, GAL_ENOMEM, "no memory for a path");
    if (!err && config.len) {
        gal__json j = gal__json_begin(config.data, config.len, name.data, diag);
        if (gal__json_enter(&j, '{')) {
            while (gal__json_member(&j, &first, &key, &n)) {
                const char begin = gal__json_peek(&j);
                images = images || (is(key, n, "galerne_chat_tekken") && begin == '"');
                if (is(key, n, "add_bos_token") && (begin == 't' || begin == 'f'))
                    (void)gal__json_truth(&j, &begins);
                else if (is(key, n, "bos_token"))
                    read_end(&j, t, &t->bos);
                else if (is(key, n, "eos_token"))
                    read_end(&j, t, &t->eos);
                else if (!is(key, n, "galerne_chat_version"))
                    gal__json_skip(&j);
                else if (gal__json_whole(&j, &version) && (version < 1 || version > 99))
                    (void)gal__json_fail(&j, "galerne_chat_version: expected a whole number from 1 to 15");
            }
        }
        if (!j.err) (void)gal__json_end(&j);
        err = j.err;
        gal__json_free(&j);
    }
    if (!err && !begins) t->no_bos = true;
    if (!err && version && !gal_tokenizer_told(t)) err = gal__tell_by_name(t, (int)version, images, path, diag);
    gal_buf_free(&config);
    gal_buf_free(&name);
    return err;
}

static gal_err open_folder(gal_tokenizer **out, const char *dir, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_err err = gal_tokenizer_in(&path, dir, diag);
    if (!err && !path.len)
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: no vocabulary in this folder; expected tekken.json, tokenizer.model or tokenizer.json",
                       dir);
    if (!err && gal_is_dir(path.data))
        err = gal_fail(diag, GAL_EINPUT, "%s: is a folder, expected a file", path.data);
    gal_tokenizer *t = NULL;
    if (!err) err = gal_tokenizer_open(&t, path.data, diag);
    if (!err && !gal_tokenizer_of_bytes(t)) err = obey_config(t, path.data, diag);
    if (err)
        gal_tokenizer_free(t);
    else
        *out = t;
    gal_buf_free(&path);
    return err;
}

static gal_err open_hf(gal_tokenizer **out, const gal_buf *b, const char *path, gal_diag *diag) {
    gal_buf config = { 0 }, map = { 0 };
    gal_err err = read_beside(&config, path, "tokenizer_config.json", diag);
    if (!err) err = read_beside(&map, path, "special_tokens_map.json", diag);
    const gal__hf_beside beside = { config.data, map.data, config.len, map.len };
    if (!err) err = gal__hf_open(out, b->data, b->len, &beside, path, diag);
    gal_buf_free(&config);
    gal_buf_free(&map);
    return err;
}

gal_err gal_tokenizer_open(gal_tokenizer **out, const char *path, gal_diag *diag) {
    if (gal_is_dir(path)) return open_folder(out, path, diag);
    gal_buf b = { 0 };
    gal_err err = gal_read_file(&b, path, GAL__MAX_MODEL_BYTES, diag);
    if (!err && is_hf((const uint8_t *)b.data, b.len))
        err = open_hf(out, &b, path, diag);
    else if (!err)
        err = gal_tokenizer_open_bytes(out, b.data ? b.data : "", b.len, path, diag);
    gal_buf_free(&b);
    if (err || (*out)->bytes_are_text) return err;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const size_t n = strlen(name);
    /* "x.model.v7m1": images, cut in this one way */
    if (told(name))
        err = gal__tell_by_name(*out, gal_tokenizer_file_version(name), n > 2 && strcmp(name + n - 2, "m1") == 0,
                                path, diag);
    if (err) {
        gal_tokenizer_free(*out);
        *out = NULL;
    }
    return err;
}

gal_err gal_tokenizer_hash_as_file(gal_tokenizer *t, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_tokenizer *alone = NULL;
    gal_diag why = { 0 };
    gal_err err = t->bytes_are_text ? gal_tokenizer_print_hf(t, &b, &why) : gal_tokenizer_print_spm(t, &b, &why);
    if (!err) err = gal_tokenizer_open_bytes(&alone, b.data, b.len, "a vocabulary", &why);
    if (!err) memcpy(t->sha256, alone->sha256, sizeof t->sha256);
    gal_tokenizer_free(alone);
    gal_buf_free(&b);
    return err && err != GAL_EINPUT ? gal_fail(diag, err, "%s", why.text) : GAL_OK;
}
