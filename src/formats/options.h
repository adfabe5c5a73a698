/* options.h - run configuration: one table of settings reads YAML, takes key=value from a command line, writes the
 * complete configuration back and lists itself for the documentation.
 *
 * A row names a field of the caller's struct by a dotted key ("optimizer.lr"). In a file the part before the dot is a
 * section; the dotted form is understood too. Everything in a file is checked: unknown keys, wrong types, impossible
 * values and keys given twice are refused with file, line, column, key and what was expected. Anchors, aliases, tags
 * and second documents are refused: a configuration that needs them hides what it says.
 *
 * Numbers are decimal: 1e-3, 0.1, 3e5; whole numbers may be written 1e6. Paths in a file are relative to the file's
 * folder, on a command line to the current one; both are kept from the root on. SPDX-License-Identifier: Apache-2.0
 */
#ifndef GAL_FORMATS_OPTIONS_H
#define GAL_FORMATS_OPTIONS_H

#include "base/buf.h"

typedef enum gal_setting_type {
    GAL_S_INT,     /* int64_t */
    GAL_S_FLOAT,   /* double */
    GAL_S_BOOL,    /* bool */
    GAL_S_STRING,  /* char *, owned by the struct, never NULL */
    GAL_S_PATH,    /* the same; "" means: none */
    GAL_S_CHOICE,  /* int: place in choices */
    GAL_S_STRINGS, /* gal_strings: a list, or one string */
    GAL_S_PATHS,
    GAL_S_LABELLED /* gal_strings of LABEL:PATH, the label without a colon; the path alone is made absolute */
} gal_setting_type;

typedef struct gal_strings {
    char **v; /* owned */
    size_t n;
} gal_strings;

typedef struct gal_setting {
    const char *key;
    gal_setting_type type;
    size_t offset;        /* of the field */
    const char *fallback; /* as text; for lists NULL: an empty one */
    double min, max;      /* INT, FLOAT: inclusive */
    const char *choices;  /* CHOICE: "f32 bf16" */
    const char *help;     /* a phrase with its unit */
} gal_setting;

/* Where a setting was said last. */
enum { GAL_SAID_NOWHERE, GAL_SAID_IN_FILE, GAL_SAID_BY_SET };

typedef struct gal_settings {
    const gal_setting *rows;
    size_t count;
    size_t bytes; /* of the struct */
    size_t said;  /* offset of uint8_t[count] in it, GAL_SAID_* of each row; 0: that is not kept */
    bool unset;   /* a text or list that is none by default is unset by an empty text, and by none without quotes */
    bool (*applies)(const void *config, const gal_setting *row); /* only such rows are dumped; NULL: all */
} gal_settings;

/* Fills the struct (undefined before) with the defaults. On failure nothing is held. */
gal_err gal_settings_defaults(const gal_settings *t, void *config, gal_diag *diag);
void gal_settings_free(const gal_settings *t, void *config); /* leaves zeros */
/* Sets what a YAML file says, GAL_EINPUT. config holds defaults or earlier values. */
gal_err gal_settings_read(const gal_settings *t, void *config, const char *path, gal_diag *diag);
/* The same from memory; name stands in messages, paths are relative to dir ("" or NULL: left as they are). */
gal_err gal_settings_parse(const gal_settings *t, void *config, const char *text, size_t bytes, const char *name,
                           const char *dir, gal_diag *diag);
/* One "key=value", GAL_EUSAGE; a list as [a, b] or a single value. */
gal_err gal_settings_set(const gal_settings *t, void *config, const char *assignment, gal_diag *diag);
/* The complete configuration as YAML that gal_settings_parse() reads back to the same values. Rows that do not apply
 * are left out. */
void gal_settings_dump(const gal_settings *t, const void *config, gal_buf *out);
/* One value as it would stand in the dump. */
void gal_settings_print(const gal_setting *row, const void *config, gal_buf *out);
/* A Markdown table of keys, types, defaults and meanings. */
void gal_settings_list(const gal_settings *t, gal_buf *out);
bool gal_settings_applies(const gal_settings *t, const void *config, const gal_setting *row);
int gal_settings_said(const gal_settings *t, const void *config, const char *key); /* GAL_SAID_* */
const gal_setting *gal_settings_find(const gal_settings *t, const char *key);      /* NULL: none */

#endif
