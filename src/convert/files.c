/* files.c - files that belong to a model in either layout of folders: vocabularies, templates, sampling, the licence.
 * Copied byte for byte; all others are named as left out. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "convert/job.h"

#include <string.h>

enum { MOST_BYTES = 1 << 29, MOST_NAMED = 16 };

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }

static bool ends(const char *s, const char *with) {
    size_t n = strlen(s), k = strlen(with);
    return n >= k && strcmp(s + n - k, with) == 0;
}

static bool belongs(const char *name) {
    static const char *const WHOLE[] = { "tekken.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
                                         "merges.txt",  "generation_config.json",  "SYSTEM_PROMPT.txt" };
    static const char *const HEADS[] = { "tokenizer", "chat_template.", "LICENSE", "NOTICE", "README" };
    for (size_t i = 0; i < GAL_LEN(WHOLE); i++)
        if (strcmp(name, WHOLE[i]) == 0) return true;
    for (size_t i = 0; i < GAL_LEN(HEADS); i++)
        if (begins(name, HEADS[i])) return true;
    return strstr(name, ".model.v") != NULL;
}

/* Weights and what describes them, which are written anew. */
static bool is_model(const char *name) {
    return ends(name, ".safetensors") || ends(name, ".safetensors.index.json") || strcmp(name, "config.json") == 0 ||
           strcmp(name, "params.json") == 0;
}

/* What a GGUF file says in its own way (extras.c). */
static bool is_read(const char *name) {
    static const char *const NAMES[] = { "tekken.json",         "tokenizer.json",        "special_tokens_map.json",
                                         "tokenizer.model",     "tokenizer_config.json", "generation_config.json",
                                         "chat_template.jinja", "chat_template.json" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++)
        if (strcmp(name, NAMES[i]) == 0) return true;
    return strstr(name, ".model.v") != NULL;
}

static gal_err copy(const char *from, const char *to, gal_diag *diag) {
    gal_buf bytes = { 0 };
    gal_err err = gal_read_file(&bytes, from, MOST_BYTES, diag);
    if (!err) err = gal_write_file(to, bytes.data ? bytes.data : "", bytes.len, diag);
    gal_buf_free(&bytes);
    return err;
}

gal_err gal__copy_files(const gal__job *j, const char *dir, gal_diag *diag) {
    const char *source = gal_source_path(j->s);
    char **names = NULL;
    size_t count = 0, left = 0;
    gal_buf from = { 0 }, to = { 0 };
    gal_err err = gal_list_dir(source, &names, &count, diag);
    for (size_t i = 0; !err && i < count; i++) {
        if (names[i][0] == '.' || is_model(names[i]) || (!dir && is_read(names[i]))) continue;
        if (!gal_path_join(&from, source, names[i]) || !gal_path_join(&to, dir ? dir : "", names[i]))
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", source);
        else if (dir && belongs(names[i]) && gal_is_file(from.data))
            err = copy(from.data, to.data, diag);
        else if (left++ < MOST_NAMED)
            gal__job_note(j, "%s is left out", from.data);
    }
    if (!err && left > MOST_NAMED) gal__job_note(j, "%s: %zu more are left out", source, left - MOST_NAMED);
    gal_free_names(names, count);
    gal_buf_free(&from);
    gal_buf_free(&to);
    return err;
}
