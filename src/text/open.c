/* open.c - from a path or bytes to a tokenizer. A file's kind is told by its content; names only tell which file of a
 * folder to read. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "text/internal.h"

#include <string.h>

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

gal_err gal_tokenizer_open_bytes(gal_tokenizer **out, const void *bytes, size_t n, const char *name, gal_diag *diag) {
    const uint8_t *p = bytes;
    if (n > GAL__MAX_MODEL_BYTES)
        return gal_fail(diag, GAL_EINPUT, "%s: %zu bytes; a vocabulary has at most %d", name, n,
                        GAL__MAX_MODEL_BYTES);
    if (n >= 4 && memcmp(p, "GGUF", 4) == 0)
        return gal_fail(diag, GAL_EINPUT, "%s: a GGUF file: expected a vocabulary by itself", name);
    if (n && starts_like_json(p, n)) {
        if (holds(p, n, "\"default_vocab_size\"") || holds(p, n, "\"token_bytes\"")) {
            gal_tokenizer *t = NULL;
            gal_err e = gal__tekken_open(&t, bytes, n, name, diag);
            if (!e) *out = t;
            return e;
        }
        const char *kind = holds(p, n, "\"default_vocab_size\"") || holds(p, n, "\"token_bytes\"")
                               ? "a Tekken vocabulary (tekken.json)"
                           : holds(p, n, "\"added_tokens\"") || holds(p, n, "\"truncation\"") ? "a tokenizer.json"
                                                                                              : "a JSON file";
        return gal_fail(diag, GAL_EINPUT, "%s: %s is not supported yet; expected a SentencePiece model", name, kind);
    }
    gal__spm m;
    gal_err err = gal__spm_read(&m, p, n, name, diag);
    if (err) return err;
    gal_tokenizer *t = NULL;
    err = gal_tokenizer_from_vocab(&t, &m.vocab, name, diag);
    gal__spm_free(&m);
    if (err) return err;
    gal_sha256_of(bytes, n, t->sha256);
    *out = t;
    return GAL_OK;
}

/* Version of "tokenizer.model" (1), "x.model.v7" or "x.model.v7m1" (7); 0 for other names. */
static int version_of_name(const char *name) {
    const char *tail = NULL;
    for (const char *p = strstr(name, ".model"); p; p = strstr(p + 1, ".model")) tail = p + 6;
    if (!tail) return 0;
    if (*tail == 0) return strcmp(name, "tokenizer.model") == 0 ? 1 : 0;
    if (tail[0] != '.' || tail[1] != 'v' || tail[2] < '1' || tail[2] > '9') return 0;
    int v = 0;
    for (tail += 2; *tail >= '0' && *tail <= '9' && v < 1000; tail++) v = 10 * v + (*tail - '0');
    return *tail == 0 || *tail == 'm' ? v : 0;
}

static gal_err open_folder(gal_tokenizer **out, const char *dir, gal_diag *diag) {
    char **names = NULL;
    size_t count = 0;
    gal_err err = gal_list_dir(dir, &names, &count, diag);
    if (err) return err;
    const char *best = NULL;
    int version = 0;
    bool tekken = false, json = false;
    for (size_t i = 0; i < count; i++) {
        int v = version_of_name(names[i]);
        if (v > version) {
            version = v;
            best = names[i];
        }
        tekken = tekken || strcmp(names[i], "tekken.json") == 0;
        json = json || strcmp(names[i], "tokenizer.json") == 0;
    }
    gal_buf path = { 0 };
    if (tekken) best = "tekken.json"; /* where there are several, this is the one that the makers read */
    if (!best && json)
        err = gal_fail(diag, GAL_EINPUT, "%s: its only vocabulary is tokenizer.json, which is not supported yet",
                       dir);
    else if (!best)
        err = gal_fail(diag, GAL_EINPUT, "%s: no vocabulary in this folder; expected tokenizer.model", dir);
    else if (!gal_path_join(&path, dir, best))
        err = gal_fail(diag, GAL_ENOMEM, "no memory for a path");
    else if (gal_is_dir(path.data))
        err = gal_fail(diag, GAL_EINPUT, "%s: is a folder, expected a file", path.data);
    else
        err = gal_tokenizer_open(out, path.data, diag);
    gal_buf_free(&path);
    gal_free_names(names, count);
    return err;
}

gal_err gal_tokenizer_open(gal_tokenizer **out, const char *path, gal_diag *diag) {
    if (gal_is_dir(path)) return open_folder(out, path, diag);
    gal_buf b = { 0 };
    gal_err err = gal_read_file(&b, path, GAL__MAX_MODEL_BYTES, diag);
    if (!err) err = gal_tokenizer_open_bytes(out, b.data ? b.data : "", b.len, path, diag);
    gal_buf_free(&b);
    const size_t n = strlen(path);
    if (!err && !(*out)->bytes_are_text && n > 2 && strcmp(path + n - 2, "m1") == 0 && path[n - 3] >= '0' &&
        path[n - 3] <= '9' && strstr(path, ".model.v"))
        (*out)->images = (gal__images){ .patch = 16, .side = 1024 }; /* "x.model.v7m1": images, cut in this one way */
    return err;
}
