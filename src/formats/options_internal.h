/* options_internal.h - what options.c and options_yaml.c share. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_FORMATS_OPTIONS_INTERNAL_H
#define GAL_FORMATS_OPTIONS_INTERNAL_H

#include "base/file.h"
#include "formats/options.h"

/* Where a value came from: the beginning of every message, and how its paths are meant. */
typedef struct gal__place {
    const char *text; /* "run.yaml:12:9" or "--set" */
    const char *dir;  /* paths are relative to it; NULL: left as they are */
    gal_err err;
} gal__place;

typedef struct gal__scalar {
    const char *text;
    size_t bytes;
    bool quoted;
    bool append; /* lists: keeps what is there */
} gal__scalar;

bool gal__settings_is_list(const gal_setting *s);
bool gal__settings_is_section(const gal_settings *t, const char *key);
const char *gal__settings_nearest(const gal_settings *t, const char *key);
gal_err gal__settings_unknown(const gal_settings *t, const char *key, const gal__place *at, gal_diag *diag);
/* "PLACE: KEY: expected ..., found FOUND" */
gal_err gal__settings_refuse(const gal_setting *s, const char *found, const gal__place *at, gal_diag *diag);
/* Whether a value unsets a setting (gal_settings.unset), and doing that. */
bool gal__settings_unsets(const gal_settings *t, const gal_setting *s, const gal__scalar *v);
gal_err gal__settings_unset(const gal_setting *s, void *config, const gal__place *at, gal_diag *diag);
gal_err gal__settings_assign(const gal_setting *s, void *config, const gal__scalar *v, const gal__place *at,
                             gal_diag *diag);
void gal__settings_note(const gal_settings *t, void *config, const gal_setting *s, int said); /* GAL_SAID_* */
void gal__settings_clear_list(const gal_setting *s, void *config);

#endif
