/* options_yaml.c - walks libyaml's events over a table of settings. Refuses what a flat table cannot mean: deeper
 * nesting, anchors, tags, second documents. SPDX-License-Identifier: Apache-2.0 */
#include "formats/options_internal.h"

#include "base/fault.h"
#include "base/mem.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { CONFIG_MAX_BYTES = 1 << 20, KEY_BYTES = 128, PLACE_BYTES = 400 };

typedef struct walker {
    const gal_settings *t;
    void *config;
    const char *name, *dir;
    gal_err err_class;
    uint32_t *seen; /* line of each row's first value, 0: not yet */
    yaml_parser_t parser;
    yaml_event_t ev;
    bool have_ev;
    char place_text[PLACE_BYTES];
    gal_diag *diag;
} walker;

static gal__place place_of(walker *w, yaml_mark_t mark) {
    (void)snprintf(w->place_text, sizeof w->place_text, "%.300s:%zu:%zu", w->name, mark.line + 1, mark.column + 1);
    return (gal__place){ .text = w->place_text, .dir = w->dir, .err = w->err_class };
}

static gal_err next(walker *w) {
    if (w->have_ev) yaml_event_delete(&w->ev);
    w->have_ev = false;
    if (!yaml_parser_parse(&w->parser, &w->ev)) {
        gal__place at = place_of(w, w->parser.problem_mark);
        if (w->parser.error == YAML_MEMORY_ERROR) return gal_fail(w->diag, GAL_ENOMEM, "%s: no memory", at.text);
        const char *why = w->parser.problem ? w->parser.problem : "bad text";
        /* What is no text at all has a place in bytes only. */
        if (w->parser.error == YAML_READER_ERROR)
            return gal_fail(w->diag, at.err, "%.300s: byte %zu: no YAML: %s", w->name, w->parser.problem_offset, why);
        return gal_fail(w->diag, at.err, "%s: no YAML: %s", at.text, why);
    }
    w->have_ev = true;
    const unsigned char *anchor = NULL, *tag = NULL;
    if (w->ev.type == YAML_SCALAR_EVENT) {
        anchor = w->ev.data.scalar.anchor;
        tag = w->ev.data.scalar.tag;
    } else if (w->ev.type == YAML_MAPPING_START_EVENT) {
        anchor = w->ev.data.mapping_start.anchor;
        tag = w->ev.data.mapping_start.tag;
    } else if (w->ev.type == YAML_SEQUENCE_START_EVENT) {
        anchor = w->ev.data.sequence_start.anchor;
        tag = w->ev.data.sequence_start.tag;
    }
    if (anchor || tag || w->ev.type == YAML_ALIAS_EVENT) {
        gal__place at = place_of(w, w->ev.start_mark);
        return gal_fail(w->diag, at.err, "%s: anchors, aliases and tags are not understood here; write the value out",
                        at.text);
    }
    return GAL_OK;
}

static gal__scalar scalar_of(const yaml_event_t *ev) {
    return (gal__scalar){ .text = (const char *)ev->data.scalar.value,
                          .bytes = ev->data.scalar.length,
                          .quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE };
}

static bool is_null(const gal__scalar *v) {
    return !v->quoted && (v->bytes == 0 || strcmp(v->text, "~") == 0 || strcmp(v->text, "null") == 0);
}

static gal_err read_list(walker *w, const gal_setting *s) {
    gal__place at = place_of(w, w->ev.start_mark);
    if (!gal__settings_is_list(s)) return gal__settings_refuse(s, "a list", &at, w->diag);
    gal__settings_clear_list(s, w->config);
    for (;;) {
        gal_err err = next(w);
        if (err) return err;
        if (w->ev.type == YAML_SEQUENCE_END_EVENT) return GAL_OK;
        at = place_of(w, w->ev.start_mark);
        if (w->ev.type != YAML_SCALAR_EVENT) return gal__settings_refuse(s, "a list inside the list", &at, w->diag);
        gal__scalar v = scalar_of(&w->ev);
        v.append = true;
        err = gal__settings_assign(s, w->config, &v, &at, w->diag);
        if (err) return err;
    }
}

/* The value of a known key, whose line is `line`. */
static gal_err read_value(walker *w, const gal_setting *s, size_t line) {
    gal__place at = place_of(w, w->ev.start_mark);
    size_t row = (size_t)(s - w->t->rows);
    if (w->seen[row])
        return gal_fail(w->diag, at.err, "%s: %s: given twice, first in line %u", at.text, s->key,
                        (unsigned)w->seen[row]);
    w->seen[row] = (uint32_t)line;
    gal__settings_note(w->t, w->config, s, w->err_class == GAL_EUSAGE ? GAL_SAID_BY_SET : GAL_SAID_IN_FILE);
    if (w->ev.type == YAML_SEQUENCE_START_EVENT) return read_list(w, s);
    if (w->ev.type == YAML_MAPPING_START_EVENT) return gal__settings_refuse(s, "a section", &at, w->diag);
    gal__scalar v = scalar_of(&w->ev);
    if (is_null(&v)) return gal__settings_refuse(s, "no value", &at, w->diag);
    if (gal__settings_unsets(w->t, s, &v)) return gal__settings_unset(s, w->config, &at, w->diag);
    return gal__settings_assign(s, w->config, &v, &at, w->diag);
}

static gal_err read_section(walker *w, const char *prefix);

static gal_err read_pair(walker *w, const char *prefix) {
    gal__place at = place_of(w, w->ev.start_mark);
    size_t line = w->ev.start_mark.line + 1;
    if (w->ev.type != YAML_SCALAR_EVENT) return gal_fail(w->diag, at.err, "%s: expected a key", at.text);
    gal__scalar k = scalar_of(&w->ev);
    char key[KEY_BYTES];
    int n = snprintf(key, sizeof key, "%s%s%.100s", prefix, prefix[0] ? "." : "", k.text);
    if (n < 0 || (size_t)n >= sizeof key || strlen(k.text) != k.bytes || k.bytes > 100)
        return gal_fail(w->diag, at.err, "%s: unknown key %.60s...", at.text, k.text);
    const gal_setting *s = gal_settings_find(w->t, key);
    if (!s && !gal__settings_is_section(w->t, key)) return gal__settings_unknown(w->t, key, &at, w->diag);
    gal_err err = next(w);
    if (err) return err;
    if (s) return read_value(w, s, line);
    if (w->ev.type == YAML_MAPPING_START_EVENT) return read_section(w, key);
    if (w->ev.type == YAML_SCALAR_EVENT) {
        gal__scalar v = scalar_of(&w->ev);
        if (is_null(&v)) return GAL_OK; /* a section whose lines are all comments */
    }
    at = place_of(w, w->ev.start_mark);
    return gal_fail(w->diag, at.err, "%s: %s: expected a section of keys, found %s", at.text, key,
                    w->ev.type == YAML_SCALAR_EVENT ? "a single value" : "a list");
}

static gal_err read_section(walker *w, const char *prefix) {
    for (;;) {
        gal_err err = next(w);
        if (err) return err;
        if (w->ev.type == YAML_MAPPING_END_EVENT) return GAL_OK;
        err = read_pair(w, prefix);
        if (err) return err;
    }
}

static gal_err read_document(walker *w) {
    gal_err err = next(w); /* stream start */
    if (!err) err = next(w);
    if (err) return err;
    if (w->ev.type == YAML_STREAM_END_EVENT) return GAL_OK; /* an empty file: all defaults */
    err = next(w);
    if (err) return err;
    gal__place at = place_of(w, w->ev.start_mark);
    if (w->ev.type == YAML_SCALAR_EVENT) {
        gal__scalar v = scalar_of(&w->ev);
        if (!is_null(&v)) return gal_fail(w->diag, at.err, "%s: expected lines of \"key: value\"", at.text);
    } else if (w->ev.type != YAML_MAPPING_START_EVENT) {
        return gal_fail(w->diag, at.err, "%s: expected lines of \"key: value\", found a list", at.text);
    } else {
        err = read_section(w, "");
        if (err) return err;
    }
    err = next(w); /* document end */
    if (!err) err = next(w);
    if (err) return err;
    at = place_of(w, w->ev.start_mark);
    if (w->ev.type != YAML_STREAM_END_EVENT)
        return gal_fail(w->diag, at.err, "%s: a second document; one is expected", at.text);
    return GAL_OK;
}

static gal_err walk(walker *w, const char *text, size_t bytes) {
    w->seen = gal_alloc_array(w->t->count + 1, sizeof *w->seen);
    if (!w->seen || !yaml_parser_initialize(&w->parser)) {
        gal_free(w->seen);
        return gal_fail(w->diag, GAL_ENOMEM, "%s: no memory", w->name);
    }
    yaml_parser_set_input_string(&w->parser, (const unsigned char *)text, bytes);
    yaml_parser_set_encoding(&w->parser, YAML_UTF8_ENCODING);
    gal_err err = read_document(w);
    if (w->have_ev) yaml_event_delete(&w->ev);
    yaml_parser_delete(&w->parser);
    gal_free(w->seen);
    return err;
}

gal_err gal_settings_parse(const gal_settings *t, void *config, const char *text, size_t bytes, const char *name,
                           const char *dir, gal_diag *diag) {
    walker w = { .t = t, .config = config, .name = name, .dir = dir, .err_class = GAL_EINPUT, .diag = diag };
    return walk(&w, text ? text : "", bytes);
}

/* A folder's path from the root: a configuration that is written elsewhere must still name the same files. */
static gal_err absolute(char **out, const char *dir, gal_diag *diag) {
    char full[PATH_MAX];
    if (gal_fault(GAL_FAULT_LOOK) || !realpath(dir, full))
        return gal_fail(diag, GAL_EINPUT, "%s: %s", dir, strerror(errno));
    *out = gal_strdup(full);
    return *out ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
}

gal_err gal_settings_read(const gal_settings *t, void *config, const char *path, gal_diag *diag) {
    gal_buf text = { 0 };
    gal_err err = gal_read_file(&text, path, CONFIG_MAX_BYTES, diag);
    if (!err) {
        const char *slash = strrchr(path, '/');
        char *dir = slash ? gal_strndup(path, (size_t)(slash - path) + (slash == path)) : gal_strdup(".");
        char *full = NULL;
        err = dir ? absolute(&full, dir, diag) : gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
        if (!err) err = gal_settings_parse(t, config, text.data, text.len, path, full, diag);
        gal_free(full);
        gal_free(dir);
    }
    gal_buf_free(&text);
    return err;
}

static gal_err set_in(const gal_settings *t, void *config, const char *assignment, const char *dir, gal_diag *diag) {
    const char *eq = strchr(assignment, '=');
    if (!eq) return gal_fail(diag, GAL_EUSAGE, "--set %.100s: expected key=value", assignment);
    char name[PLACE_BYTES], key[KEY_BYTES];
    (void)snprintf(name, sizeof name, "--set %.200s", assignment);
    gal__place at = { .text = name, .dir = dir, .err = GAL_EUSAGE };
    size_t n = (size_t)(eq - assignment);
    if (n >= sizeof key) return gal_fail(diag, GAL_EUSAGE, "%s: unknown key", name);
    memcpy(key, assignment, n);
    key[n] = 0;
    const gal_setting *s = gal_settings_find(t, key);
    if (!s) {
        if (!gal__settings_is_section(t, key)) return gal__settings_unknown(t, key, &at, diag);
        return gal_fail(diag, GAL_EUSAGE, "%s: %s is a section; name a key in it", name, key);
    }
    if (gal__settings_is_list(s) && eq[1] == '[') {
        gal_buf b = { 0 };
        gal_buf_printf(&b, "{ \"%s\": %s }", key, eq + 1);
        gal_err err = b.oom ? gal_fail(diag, GAL_ENOMEM, "--set: no memory") : GAL_OK;
        walker w = { .t = t, .config = config, .name = name, .dir = dir, .err_class = GAL_EUSAGE, .diag = diag };
        if (!err) err = walk(&w, b.data, b.len);
        gal_buf_free(&b);
        return err;
    }
    gal__scalar v = { .text = eq + 1, .bytes = strlen(eq + 1) };
    gal__settings_note(t, config, s, GAL_SAID_BY_SET);
    if (gal__settings_unsets(t, s, &v)) return gal__settings_unset(s, config, &at, diag);
    return gal__settings_assign(s, config, &v, &at, diag);
}

gal_err gal_settings_set(const gal_settings *t, void *config, const char *assignment, gal_diag *diag) {
    char *here = NULL;
    gal_err err = absolute(&here, ".", diag);
    if (!err) err = set_in(t, config, assignment, here, diag);
    gal_free(here);
    return err;
}
