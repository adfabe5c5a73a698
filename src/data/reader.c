/* reader.c - see reader.h. A window of the current file's bytes: [at, len) is not given out yet. Invariant: no piece
 * crosses the end of a file or a separator. SPDX-License-Identifier: Apache-2.0 */
#include "data/reader.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "text/json_pull.h"

#include <string.h>
#include <strings.h>

enum { STEP = 1 << 16 };

struct gal_reader {
    const char *const *paths;
    size_t n_paths, next; /* the file after the current one */
    gal_reader_options o;
    size_t separator; /* bytes */
    gal_unpack *file; /* NULL: between files */
    gal_text_format format;
    char *window;
    size_t at, len, cap;
    bool file_ended; /* nothing comes after the window */
    bool dropping;   /* within a separator's line */
    bool line_began; /* the bytes before `at` belong to the line that goes on there */
    bool inside;     /* a document has begun */
    uint64_t base;   /* of the window, in the file's text */
    char tail[4];    /* of a document that goes on: the beginning of a character */
    size_t n_tail;
    bool invalid;         /* the document is counted as such */
    bool half;            /* a line's text had half a surrogate pair */
    uint64_t line;        /* of this file */
    uint64_t files_bytes; /* of files that are done */
    gal_buf text, spare;  /* of a line of JSON */
    size_t given;         /* of text */
    gal_reader_state state;
};

/* ---- the window --------------------------------------------------------------------------------------------------
 */

/* More bytes behind the window, or file_ended. */
static gal_err widen(gal_reader *r, gal_diag *diag) {
    if (r->at && (r->at == r->len || r->at >= r->cap / 2)) {
        memmove(r->window, r->window + r->at, r->len - r->at);
        r->base += r->at;
        r->len -= r->at;
        r->at = 0;
    }
    void *p = r->window;
    if (gal_grow(&p, &r->cap, r->len + STEP, 1))
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %zu bytes of text", gal_unpack_name(r->file),
                        r->len + STEP);
    r->window = p;
    size_t n = 0;
    gal_err err = gal_unpack_read(r->file, r->window + r->len, r->cap - r->len, &n, diag);
    if (err) return err;
    r->len += n;
    r->file_ended = n == 0;
    r->state.file_bytes = r->files_bytes + gal_unpack_taken(r->file);
    return GAL_OK;
}

/* ---- files -------------------------------------------------------------------------------------------------------
 */

static bool ends_in(const char *name, size_t n, const char *end) {
    size_t m = strlen(end);
    return n > m && strncasecmp(name + n - m, end, m) == 0;
}

bool gal_reader_named_jsonl(const char *name) {
    static const char *const PACKED[] = { ".gz", ".zst" };
    size_t n = strlen(name);
    for (size_t i = 0; i < GAL_LEN(PACKED); i++)
        if (ends_in(name, n, PACKED[i])) n -= strlen(PACKED[i]);
    return ends_in(name, n, ".jsonl") || ends_in(name, n, ".ndjson");
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* Of the window's first bytes. *more: that cannot be told yet. */
static bool looks_like_json(const gal_reader *r, bool *more) {
    size_t i = r->at;
    while (i < r->len && is_space(r->window[i])) i++;
    bool object = i < r->len && r->window[i] == '{';
    if (object) i++;
    while (object && i < r->len && is_space(r->window[i])) i++;
    *more = i == r->len && !r->file_ended && r->len - r->at < STEP;
    return object && i < r->len && (r->window[i] == '"' || r->window[i] == '}');
}

static gal_err begin_file(gal_reader *r, gal_diag *diag) {
    bool more = true, json = false;
    gal_err err = GAL_OK;
    r->at = r->len = 0;
    r->base = 0;
    r->file_ended = r->dropping = r->line_began = false;
    r->line = 0;
    /* The three bytes with which some programs begin a text are none of an object; of plain text all is kept. */
    while (!err && !r->file_ended && r->len < 3) err = widen(r, diag);
    if (!err && r->len >= 3 && memcmp(r->window, "\xef\xbb\xbf", 3) == 0) r->at = 3;
    while (!err && more) {
        json = looks_like_json(r, &more);
        if (more) err = widen(r, diag);
    }
    r->format = r->o.format;
    if (r->format == GAL_TEXT_AUTO)
        r->format = json || gal_reader_named_jsonl(gal_unpack_name(r->file)) ? GAL_TEXT_JSONL : GAL_TEXT_PLAIN;
    if (r->format == GAL_TEXT_PLAIN) r->at = 0;
    return err;
}

static void end_file(gal_reader *r) {
    r->files_bytes += gal_unpack_taken(r->file);
    r->state.file_bytes = r->files_bytes;
    gal_unpack_close(r->file);
    r->file = NULL;
}

/* ---- plain text --------------------------------------------------------------------------------------------------
 */

/* Whether the line at `at` begins with the separator; all of it must be in the window, or the file must end there. */
static bool at_separator(const gal_reader *r, size_t at) {
    return r->len - at >= r->separator && memcmp(r->window + at, r->o.separator, r->separator) == 0;
}

/* The bytes from r->at on that belong to the document, up to the next separator or the window's end; less where the
 * beginning of a line is too short to tell. */
static size_t run_of(gal_reader *r, bool *separator) {
    size_t at = r->at, most = GAL_MIN(r->len, r->at + GAL_READER_PIECE);
    *separator = false;
    if (!r->separator) return most - at;
    while (at < most) {
        if (!r->line_began) {
            if (r->len - at < r->separator && !r->file_ended) break;
            *separator = at_separator(r, at);
            if (*separator) break;
        }
        const char *nl = memchr(r->window + at, '\n', most - at);
        r->line_began = !nl;
        at = nl ? (size_t)(nl - r->window) + 1 : most;
    }
    return at - r->at;
}

/* Passes over the rest of a separator's line. */
static gal_err drop_line(gal_reader *r, gal_diag *diag) {
    while (r->dropping) {
        const char *nl = r->len > r->at ? memchr(r->window + r->at, '\n', r->len - r->at) : NULL;
        r->at = nl ? (size_t)(nl - r->window) + 1 : r->len;
        r->dropping = !nl && !r->file_ended;
        gal_err err = r->dropping ? widen(r, diag) : GAL_OK;
        if (err) return err;
    }
    return GAL_OK;
}

/* The document has what is no UTF-8, at a place of the file. */
static gal_err meet_invalid(gal_reader *r, const char *unit, uint64_t at, gal_diag *diag) {
    const char *name = gal_unpack_name(r->file);
    if (r->o.refuse_invalid)
        return gal_fail(diag, GAL_EINPUT, "%s: %s %llu: expected UTF-8, found what is none", name, unit,
                        (unsigned long long)at);
    r->invalid = true;
    if (r->state.invalid++ == 0)
        (void)gal_fail(&r->state.first_invalid, GAL_EINPUT, "%s: %s %llu", name, unit, (unsigned long long)at);
    return GAL_OK;
}

/* Where the first byte of a piece lies that is no UTF-8, n: nowhere; below 0: the character had begun in the pieces
 * before. One that may go on in the next piece is kept as tail. */
static int64_t find_invalid(gal_reader *r, const char *text, size_t n, bool ends) {
    size_t i = 0;
    if (r->n_tail) {
        char both[2 * sizeof r->tail];
        uint32_t cp;
        const size_t more = GAL_MIN(n, sizeof r->tail - r->n_tail), all = r->n_tail + more;
        memcpy(both, r->tail, r->n_tail);
        memcpy(both + r->n_tail, text, more);
        const int len = gal_utf8_next(both, all, &cp);
        const bool open = !len && !ends && gal_utf8_complete(both, all) == 0;
        if (!len && !open) return -(int64_t)r->n_tail;
        if (open) memcpy(r->tail, both, all);
        i = open ? n : (size_t)len - r->n_tail;
        r->n_tail = open ? all : 0;
    }
    const size_t whole = ends ? n : i + gal_utf8_complete(text + i, n - i);
    const size_t bad = i + gal_utf8_bad(text + i, whole - i);
    if (bad < whole) return (int64_t)bad;
    if (n > whole) {
        r->n_tail = n - whole;
        memcpy(r->tail, text + whole, r->n_tail);
    }
    return (int64_t)n;
}

/* at: of the text's first byte in its file, where it is plain. */
static gal_err give(gal_reader *r, const char *text, size_t n, bool ends, uint64_t at, gal_piece *out,
                    gal_diag *diag) {
    gal_err err = GAL_OK;
    *out = (gal_piece){ text, n, ends };
    if (!r->inside) {
        r->state.documents += n > 0;
        r->n_tail = 0;
        r->invalid = false;
    }
    if (r->format == GAL_TEXT_PLAIN && !r->invalid) {
        const int64_t bad = find_invalid(r, text, n, ends);
        if (bad < (int64_t)n) err = meet_invalid(r, "byte", at + (uint64_t)bad, diag);
    } else if (r->half && !r->invalid) {
        err = meet_invalid(r, "line", r->line, diag);
    }
    r->state.text_bytes += n;
    r->inside = !ends;
    return err;
}

/* *found: a piece; without one the file ended. */
static gal_err next_plain(gal_reader *r, gal_piece *out, bool *found, gal_diag *diag) {
    for (;;) {
        gal_err err = drop_line(r, diag);
        if (err) return err;
        bool separator;
        size_t n = run_of(r, &separator);
        const char *text = r->window + r->at;
        r->at += n;
        if (separator) r->dropping = true;
        *found = n || (separator && r->inside);
        if (*found) return give(r, text, n, separator, r->base + r->at - n, out, diag);
        if (separator) continue;
        if (r->file_ended && r->at == r->len) {
            *found = r->inside;
            return r->inside ? give(r, r->window, 0, true, r->base + r->at, out, diag) : GAL_OK;
        }
        err = widen(r, diag);
        if (err) return err;
    }
}

/* ---- lines of JSON -----------------------------------------------------------------------------------------------
 */

/* The next line without its end; *n 0 for an empty one. *found false: there is none. */
static gal_err next_line(gal_reader *r, const char **line, size_t *n, bool *found, gal_diag *diag) {
    size_t looked = 0;
    const char *nl = NULL;
    for (;;) {
        size_t have = r->len - r->at;
        if (have > looked) nl = memchr(r->window + r->at + looked, '\n', have - looked);
        if (nl || r->file_ended) break;
        looked = have;
        if (have > GAL_READER_LINE)
            return gal_fail(diag, GAL_EINPUT, "%s: line %llu: longer than %d bytes, which is the limit here",
                            gal_unpack_name(r->file), (unsigned long long)r->line + 1, GAL_READER_LINE);
        gal_err err = widen(r, diag);
        if (err) return err;
    }
    *line = r->window + r->at;
    *n = nl ? (size_t)(nl - *line) : r->len - r->at;
    *found = nl || *n;
    r->at += *n + (nl != NULL);
    if (*found) {
        r->line++;
        r->state.lines++;
    }
    while (*n && is_space((*line)[*n - 1])) --*n;
    return GAL_OK;
}

/* The field's text into r->text; of a field that is given twice the last one, as other readers have it. */
static gal_err parse_line(gal_reader *r, const char *line, size_t n, gal_diag *diag) {
    const char *field = r->o.field ? r->o.field : "text", *key, *s;
    size_t key_bytes, bytes, m = strlen(field);
    bool first = true, found = false;
    gal__json j = gal__json_begin(line, n, gal_unpack_name(r->file), diag);
    j.line = (int64_t)r->line;
    j.text = r->spare; /* its memory serves every line */
    if (gal__json_enter(&j, '{')) {
        while (gal__json_member(&j, &first, &key, &key_bytes)) {
            if (key_bytes != m || memcmp(key, field, m) != 0) {
                gal__json_skip(&j);
            } else if (gal__json_peek(&j) != '"') {
                if (!j.err) (void)gal__json_fail(&j, "expected a string as \"%.100s\"", field);
            } else if (gal__json_string(&j, &s, &bytes)) {
                found = true;
                r->half = j.lone;
                if (j.lone && r->o.refuse_invalid)
                    (void)gal__json_fail(&j, "expected \"%.100s\" in UTF-8, found half a surrogate pair", field);
                gal_buf_clear(&r->text);
                gal_buf_add(&r->text, s, bytes);
            }
        }
    }
    if (!j.err) (void)gal__json_end(&j);
    if (!j.err && !found) (void)gal__json_fail(&j, "expected an object with \"%.100s\"", field);
    r->spare = j.text;
    if (!j.err && r->text.oom)
        return gal_fail(diag, GAL_ENOMEM, "%s: line %llu: no memory for its text", j.name,
                        (unsigned long long)r->line);
    return j.err;
}

/* What is left of the line's text, or a piece of it. */
static gal_err give_text(gal_reader *r, gal_piece *out, gal_diag *diag) {
    size_t at = r->given, n = GAL_MIN(r->text.len - at, (size_t)GAL_READER_PIECE);
    r->given += n;
    return give(r, r->text.data + at, n, r->given == r->text.len, 0, out, diag);
}

static gal_err next_json(gal_reader *r, gal_piece *out, bool *found, gal_diag *diag) {
    *found = r->given < r->text.len;
    if (*found) return give_text(r, out, diag);
    for (;;) {
        const char *line = NULL;
        size_t n = 0;
        gal_err err = next_line(r, &line, &n, found, diag);
        if (err || !*found) return err;
        if (n == 0) continue;
        gal_diag why = { 0 };
        gal_buf_clear(&r->text);
        r->given = 0;
        if (r->o.objects) {
            gal_buf_add(&r->text, line, n);
            err = r->text.oom ? gal_fail(&why, GAL_ENOMEM, "no memory for a line of %zu bytes", n) : GAL_OK;
        } else {
            err = parse_line(r, line, n, &why);
        }
        if (err == GAL_EINPUT && r->o.skip_bad) {
            if (r->state.bad_lines++ == 0) r->state.first_bad = why;
            gal_buf_clear(&r->text); /* its text may have been there, and what follows it not */
            continue;
        }
        if (err) return gal_fail(diag, err, "%s", why.text);
        if (r->text.len == 0) continue;
        return give_text(r, out, diag);
    }
}

/* ---- all of them -------------------------------------------------------------------------------------------------
 */

gal_err gal_reader_next(gal_reader *r, gal_piece *out, bool *more, gal_diag *diag) {
    for (;;) {
        gal_err err = GAL_OK;
        if (!r->file) {
            *more = r->next < r->n_paths;
            if (!*more) return GAL_OK;
            err = gal_unpack_open(&r->file, r->paths[r->next++], r->o.stop, r->o.user, diag);
            if (!err) err = begin_file(r, diag);
            if (err) return err;
        }
        *more = false;
        err = r->format == GAL_TEXT_JSONL ? next_json(r, out, more, diag) : next_plain(r, out, more, diag);
        if (err || *more) return err;
        end_file(r);
    }
}

static gal_err make(gal_reader **out, const gal_reader_options *options, gal_diag *diag) {
    gal_reader *r = gal_alloc(sizeof *r);
    if (!r) return gal_fail(diag, GAL_ENOMEM, "no memory to read text");
    r->o = *options;
    r->separator = options->separator ? strlen(options->separator) : 0;
    *out = r;
    return GAL_OK;
}

gal_err gal_reader_open(gal_reader **out, const char *const *paths, size_t n, const gal_reader_options *options,
                        gal_diag *diag) {
    gal_reader *r = NULL;
    gal_err err = make(&r, options, diag);
    if (err) return err;
    r->paths = paths;
    r->n_paths = n;
    bool known = true;
    for (size_t i = 0; !err && i < n; i++) {
        gal_unpack *u = NULL;
        err = gal_unpack_open(&u, paths[i], NULL, NULL, diag);
        if (err) break;
        known = known && strcmp(paths[i], "-") != 0;
        r->state.total_bytes += gal_unpack_size(u);
        gal_unpack_close(u);
    }
    if (!known) r->state.total_bytes = 0;
    if (err) {
        gal_reader_close(r);
        return err;
    }
    *out = r;
    return GAL_OK;
}

gal_err gal_reader_open_bytes(gal_reader **out, const void *bytes, size_t n, const char *name,
                              const gal_reader_options *options, gal_diag *diag) {
    gal_reader *r = NULL;
    gal_err err = make(&r, options, diag);
    if (!err) err = gal_unpack_open_bytes(&r->file, bytes, n, name, diag);
    if (!err) err = begin_file(r, diag);
    if (err) {
        gal_reader_close(r);
        return err;
    }
    r->state.total_bytes = n;
    *out = r;
    return GAL_OK;
}

void gal_reader_close(gal_reader *r) {
    if (!r) return;
    gal_unpack_close(r->file);
    gal_free(r->window);
    gal_buf_free(&r->text);
    gal_buf_free(&r->spare);
    gal_free(r);
}

const char *gal_reader_place(const gal_reader *r, uint64_t *line) {
    *line = r->line;
    return r->file ? gal_unpack_name(r->file) : "";
}

const gal_reader_state *gal_reader_so_far(const gal_reader *r) { return &r->state; }
