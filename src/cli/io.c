/* io.c - see io.h. SPDX-License-Identifier: Apache-2.0 */
#include "cli/io.h"
#include "cli/screen.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "formats/gguf.h"
#include "infer/lm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STDIN_LIMIT = 1 << 30, TEXT_LIMIT = 1 << 30 };

gal_err gal_cli_read_stdin(gal_buf *b, gal_diag *diag) {
    gal_buf_clear(b);
    char block[8192];
    errno = 0;
    for (size_t n; (n = fread(block, 1, sizeof block, stdin)) > 0;) {
        gal_buf_add(b, block, n);
        if (b->len > STDIN_LIMIT)
            return gal_fail(diag, GAL_EINPUT, "standard input: more than %d bytes", STDIN_LIMIT);
        if (b->oom) return gal_fail(diag, GAL_ENOMEM, "no memory for %zu bytes of standard input", b->len);
    }
    if (ferror(stdin)) return gal_fail(diag, GAL_EINPUT, "standard input: %s", strerror(errno));
    return GAL_OK;
}

static bool is_gap(char c) { return c == ' ' || c == ',' || (c >= '\t' && c <= '\r'); }

gal_err gal_cli_ids(gal_ids *ids, const char *text, size_t n, gal_err err, const char *what, gal_diag *diag) {
    size_t before = ids->len;
    for (size_t i = 0; i < n;) {
        if (is_gap(text[i])) {
            i++;
            continue;
        }
        char word[24];
        size_t len = 0;
        while (i + len < n && !is_gap(text[i + len])) len++;
        size_t kept = GAL_MIN(len, sizeof word - 1);
        memcpy(word, text + i, kept);
        word[kept] = 0;
        int64_t id = -1;
        if (len != kept || !gal_parse_i64(word, &id) || id < 0 || id > INT32_MAX) {
            return gal_fail(diag, err, "%s: expected token ids (whole numbers from 0), found '%s'", what, word);
        }
        gal_err e = gal_ids_add(ids, (int32_t)id, diag);
        if (e) return e;
        i += len;
    }
    return ids->len > before ? GAL_OK : gal_fail(diag, err, "%s: no ids were given", what);
}

gal_err gal_cli_ids_option(gal_cli *cli, const char *option, gal_ids *ids) {
    const char *text = gal_cli_string(cli, option);
    if (!text) return gal_cli_usage(cli, "--%s is missing", option);
    if (strcmp(text, "-") != 0) {
        char what[80];
        (void)snprintf(what, sizeof what, "%s: --%s", cli->command->name, option);
        return gal_cli_ids(ids, text, strlen(text), GAL_EUSAGE, what, &cli->diag);
    }
    gal_buf b = { 0 };
    gal_err err = gal_cli_read_stdin(&b, &cli->diag);
    if (!err) err = gal_cli_ids(ids, b.len ? b.data : "", b.len, GAL_EINPUT, "standard input", &cli->diag);
    gal_buf_free(&b);
    return err;
}

gal_err gal_cli_text_ids(gal_cli *cli, gal_ids *ids, int32_t *bos, const char *path, const gal_tokenizer *t,
                         const char *model, const char *instead) {
    gal_buf text = { 0 };
    if (!t)
        return gal_fail(&cli->diag, GAL_EINPUT, "%s: no tokenizer here, which a text needs%s%s", model,
                        instead ? "; " : "", instead ? instead : "");
    gal_err err = strcmp(path, "-") == 0 ? gal_cli_read_stdin(&text, &cli->diag)
                                         : gal_read_file(&text, path, TEXT_LIMIT, &cli->diag);
    if (!err && !text.len) err = gal_fail(&cli->diag, GAL_EINPUT, "%s: the text is empty", path);
    if (!err) err = gal_encode(t, NULL, text.data, text.len, 0, ids, &cli->diag);
    *bos = gal_tokenizer_bos(t);
    gal_buf_free(&text);
    return err;
}

const char *gal_cli_count_text(char *text, size_t room, int64_t n) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)n);
    size_t out = 0;
    for (int i = 0; i < len && out + 2 < room; i++) {
        if (i > 0 && (len - i) % 3 == 0) text[out++] = ',';
        text[out++] = digits[i];
    }
    text[out] = 0;
    return text;
}

const char *gal_cli_bytes_text(char *text, size_t room, uint64_t bytes) {
    static const char *const UNITS[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB" };
    double x = (double)bytes;
    size_t u = 0;
    while (x >= 1024.0 && u + 1 < GAL_LEN(UNITS)) {
        x /= 1024.0;
        u++;
    }
    (void)snprintf(text, room, u ? "%.1f %s" : "%.0f %s", x, UNITS[u]);
    return text;
}

gal_err gal_cli_open_tokenizer(gal_tokenizer **out, const char *path, gal_layout layout, gal_diag *diag) {
    gal_diag first = { 0 }, second = { 0 };
    gal_buf dir = { 0 };
    gal_err err;
    if (gal_is_dir(path) && layout != GAL_LAYOUT_ANY) {
        char why[GAL_LM_WHY];
        err = gal_lm_load_as(NULL, out, NULL, &dir, path, layout, diag);
        if (!err && !*out) err = gal_fail(diag, GAL_EINPUT, "%s: %s", dir.data, gal_lm_no_tokenizer(why, dir.data));
        gal_buf_free(&dir);
        return err;
    }
    if (gal_is_gguf(path)) {
        err = gal_gguf_tokenizer(out, path, diag);
        return err || *out ? err : gal_fail(diag, GAL_EINPUT, "%s: no vocabulary in this GGUF file", path);
    }
    err = gal_tokenizer_open(out, path, &first);
    if (!err || !gal_is_dir(path)) return err ? gal_fail(diag, err, "%s", first.text) : GAL_OK;
    gal_err found = gal_lm_load(NULL, out, NULL, &dir, path, &second);
    const bool file = dir.len > 0 && gal_is_file(dir.data); /* the folder's one GGUF file, which says more */
    gal_buf_free(&dir);
    if (found && file) return gal_fail(diag, found, "%s", second.text);
    return found || !*out ? gal_fail(diag, err, "%s", first.text) : GAL_OK;
}

/* Nothing is shown of what is over in a moment. */
int gal_cli_show_reading(void *user, uint64_t done, uint64_t total) {
    gal_reading *r = user;
    double now = gal_now_s();
    if (r->began_s == 0.0) r->began_s = r->shown_s = now;
    bool shown = r->shown_s > r->began_s, whole = done >= total;
    if (!r->cli->quiet && isatty(STDERR_FILENO) && (whole ? shown : now - r->shown_s > (shown ? 0.1 : 0.5))) {
        char a[40], b[40];
        if (whole)
            fprintf(stderr, "\r%60s\r", "");
        else
            fprintf(stderr, "\rreading weights: %s of %s, %.2f GB/s   ", gal_cli_bytes_text(a, sizeof a, done),
                    gal_cli_bytes_text(b, sizeof b, total), (double)done / (now - r->began_s) / 1e9);
        r->shown_s = now;
    }
    return gal_cli_interrupted() > 0;
}

const char *gal_cli_cache_folder(gal_cli *cli) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = 0;
    if (cache && cache[0] == '/')
        n = snprintf(cli->cache, sizeof cli->cache, "%s/galerne", cache);
    else if (home && home[0] == '/')
        n = snprintf(cli->cache, sizeof cli->cache, "%s/.cache/galerne", home);
    return n > 0 && (size_t)n < sizeof cli->cache ? cli->cache : NULL;
}

void gal_cli_warn(const gal_cli *cli, const gal_model *m) {
    for (size_t i = 0; i < m->n_warnings; i++) gal_cli_complain("warning", m->warnings[i]);
    for (size_t i = 0; i < m->n_notes && !cli->quiet; i++) gal_cli_complain(NULL, m->notes[i]);
}

const char *const GAL_CLI_LAYOUTS[] = { "hf", "own", "gguf", NULL };

gal_layout gal_cli_layout(const gal_cli *cli) {
    gal_layout l;
    (void)gal_layout_named(&l, gal_cli_string(cli, "layout")); /* the table of choices refused other names */
    return l;
}

gal_err gal_cli_loras(gal_cli *cli, gal_loras *out) {
    size_t n = gal_cli_count(cli, "lora");
    if (n > GAL_CLI_LORAS) return gal_cli_usage(cli, "--lora: at most %d of them", GAL_CLI_LORAS);
    for (size_t i = 0; i < n; i++) {
        const char *text = gal_cli_nth(cli, "lora", i), *colon = strrchr(text, ':');
        double strength = 1;
        size_t len = strlen(text);
        /* A folder's own name may have a colon in it. */
        if (colon && !gal_is_dir(text)) {
            if (!gal_parse_f64(colon + 1, &strength))
                return gal_cli_usage(cli, "--lora: expected DIR or DIR:SCALE, found '%s'", text);
            len = (size_t)(colon - text);
        }
        if (!len) return gal_cli_usage(cli, "--lora: expected DIR or DIR:SCALE, found '%s'", text);
        out->path[i] = gal_strndup(text, len);
        if (!out->path[i]) return gal_fail(&cli->diag, GAL_ENOMEM, "no memory for a path");
        out->list[i] = (gal_lm_adapter){ .path = out->path[i], .strength = strength };
        out->n++;
    }
    return GAL_OK;
}

void gal_cli_loras_free(gal_loras *l) {
    for (size_t i = 0; i < l->n; i++) gal_free(l->path[i]);
    *l = (gal_loras){ 0 };
}

size_t gal_cli_lora_inputs(const gal_loras *l, gal_input *inputs, size_t n) {
    for (size_t i = 0; i < l->n; i++) inputs[n++] = (gal_input){ "adapter", l->path[i] };
    return n;
}

/* ---- an output that is an input ---------------------------------------------------------------------------------
 */

bool gal_cli_ends_with(const char *name, const char *end) {
    size_t n = strlen(name), k = strlen(end);
    return n >= k && strcmp(name + n - k, end) == 0;
}

/* Of "model-00001-of-00003.gguf" the bytes before the number, else 0: its parts are one model. */
static size_t split_stem(const char *name) {
    enum { TAIL = 20 }; /* -00001-of-00003.gguf */
    size_t n = strlen(name);
    return n > TAIL && name[n - TAIL] == '-' && strncmp(name + n - 14, "-of-", 4) == 0 &&
                   gal_cli_ends_with(name, ".gguf")
               ? n - TAIL
               : 0;
}

/* The entry of a folder that `output` is, into found; split: only the parts of that file. */
static gal_err find_entry(gal_buf *found, const char *dir, const char *split, const char *output, gal_diag *diag) {
    char **names = NULL;
    size_t n = 0, stem = split ? split_stem(split) : 0;
    gal_err err = gal_list_dir(dir, &names, &n, diag);
    bool is = false;
    for (size_t i = 0; !err && !is && i < n; i++) {
        if (split && (split_stem(names[i]) != stem || strncmp(names[i], split, stem) != 0)) continue;
        if (!split && (gal_cli_ends_with(names[i], ".gguf") || gal_cli_ends_with(names[i], ".npy") ||
                       gal_cli_ends_with(names[i], ".dat")))
            continue;
        if (!gal_path_join(found, dir, names[i]))
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
        else
            is = gal_same_file(found->data, output);
    }
    if (!is) gal_buf_clear(found);
    gal_free_names(names, n);
    return err;
}

/* Into found the file of the input at `path` that output is, empty if it is none. */
static gal_err find_in(gal_buf *found, const char *output, const char *path, gal_diag *diag) {
    gal_buf dir = { 0 };
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    gal_err err = GAL_OK;
    if (gal_is_dir(path)) {
        err = find_entry(found, path, NULL, output, diag);
    } else if (gal_same_file(path, output)) {
        gal_buf_puts(found, path);
    } else if (split_stem(name)) {
        gal_buf_add(&dir, slash ? path : ".", slash ? (size_t)(slash - path) + 1 : 1);
        err = dir.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory", path)
                      : find_entry(found, dir.data, name, output, diag);
    }
    if (!err && found->oom) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    gal_buf_free(&dir);
    return err;
}

static gal_err spare(gal_cli *cli, const char *output, gal_layout layout, const gal_input *in) {
    gal_buf at = { 0 }, found = { 0 };
    gal_err err = GAL_OK;
    /* The folder or file that a MODEL means; what is no model stands for itself, and reading it will say so. */
    if (gal_model_find_as(in->path, layout, &at, &(gal_diag){ 0 })) {
        gal_buf_clear(&at);
        gal_buf_puts(&at, in->path);
    }
    if (at.oom)
        err = gal_fail(&cli->diag, GAL_ENOMEM, "%s: no memory", in->path);
    else if (gal_is_dir(output) && gal_within(at.data, output))
        err = gal_fail(&cli->diag, GAL_EUSAGE, "%s: is the %s itself or holds it: expected another place to write to",
                       output, in->what);
    else if (gal_is_file(output))
        err = find_in(&found, output, at.data, &cli->diag);
    if (!err && found.len)
        err = gal_fail(&cli->diag, GAL_EUSAGE, "%s: is %sthe %s%s (%s): expected another file to write", output,
                       gal_is_dir(at.data) ? "a file of " : "", in->what, gal_is_dir(at.data) ? "" : " itself",
                       found.data);
    gal_buf_free(&at);
    gal_buf_free(&found);
    return err;
}

gal_err gal_cli_spare_inputs(gal_cli *cli, const char *output, gal_layout layout, const gal_input *inputs, size_t n) {
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < n; i++)
        if (inputs[i].path && inputs[i].path[0] && strcmp(inputs[i].path, "-") != 0)
            err = spare(cli, output, layout, &inputs[i]);
    return err;
}

gal_err gal_cli_output_file(gal_cli *cli, const char *option, const char *output, gal_layout layout,
                            const gal_input *inputs, size_t n) {
    if (strcmp(output, "-") == 0)
        return gal_cli_usage(cli, "%s -: expected a FILE, for what is written cannot go to standard output", option);
    if (gal_is_dir(output)) return gal_cli_usage(cli, "%s %s: is a folder, expected a file to write", option, output);
    return gal_cli_spare_inputs(cli, output, layout, inputs, n);
}
