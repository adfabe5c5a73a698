/* chat_told.c - what a model's files say of its templates besides the pieces: their version, and the sections of
 * tekken.json that they need. Kept as they are written, too, so that other containers can carry them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/chat.h"
#include "text/internal.h"
#include "text/json_pull.h"

#include <stdio.h>

#define SPM_IMAGES "{\"image\": {\"image_patch_size\": 16, \"max_image_size\": 1024}}"

static const char *section(const char *key, size_t n) {
    static const char *const NAMES[] = { "model_settings_builder", "image", "multimodal", "audio" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++)
        if (n == strlen(NAMES[i]) && memcmp(key, NAMES[i], n) == 0) return NAMES[i];
    return NULL;
}

bool gal__section_read(gal__json *j, gal__sections *s, const char *key, size_t n) {
    const char *name = section(key, n); /* key is gone with the next string */
    if (!name) return false;
    if (gal__json_null(j)) return true;
    (void)gal__json_peek(j);
    const char *from = j->p;
    if (*name == 'a')
        gal__sounds_read(j, &s->sounds);
    else if (strcmp(name, "model_settings_builder") == 0)
        gal__settings_read(j, &s->settings);
    else
        gal__images_read(j, &s->images);
    if (j->err) return true;
    const size_t bytes = (size_t)(j->p - from);
    if (!gal_utf8_valid(from, bytes) || memchr(from, 0, bytes)) {
        (void)gal__json_fail(j, "%s: expected text in UTF-8", name);
        return true;
    }
    gal_buf_printf(&s->text, "%s\"%s\": ", s->text.len ? ", " : "{", name);
    gal_buf_add(&s->text, from, bytes);
    return true;
}

gal_err gal__sections_give(gal_tokenizer *t, gal__sections *s, const char *name, gal_diag *diag) {
    char *text = NULL;
    if (s->text.len) {
        gal_buf_putc(&s->text, '}');
        text = s->text.oom ? NULL : gal_strndup(s->text.data, s->text.len);
        if (!text) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for what it says of templates", name);
    }
    gal_free(t->sections);
    t->sections = text;
    t->settings = s->settings;
    t->images = s->images;
    t->sounds = s->sounds;
    return GAL_OK;
}

gal_err gal_tokenizer_tell(gal_tokenizer *t, int version, const char *sections, size_t n, const char *name,
                           gal_diag *diag) {
    char named[16];
    (void)snprintf(named, sizeof named, "V%d", version);
    if (version && !gal_chat_template(named))
        return gal_fail(diag, GAL_EINPUT, "%s: expected a template's version, 1, 2, 3, 7, 11, 13 or 15, found %d",
                        name, version);
    if (sections) {
        gal__sections s = { 0 };
        const char *key;
        size_t bytes;
        bool first = true;
        gal__json j = gal__json_begin(sections, n, name, diag);
        if (gal__json_enter(&j, '{'))
            while (gal__json_member(&j, &first, &key, &bytes))
                if (!gal__section_read(&j, &s, key, bytes)) gal__json_skip(&j);
        (void)gal__json_end(&j);
        gal_err err = j.err ? j.err : gal__sections_give(t, &s, name, diag);
        gal__json_free(&j);
        gal_buf_free(&s.text);
        if (err) return err;
    }
    if (version) t->version = t->told = version;
    return GAL_OK;
}

gal_err gal__tell_by_name(gal_tokenizer *t, int version, bool images, const char *name, gal_diag *diag) {
    char named[16];
    (void)snprintf(named, sizeof named, "V%d", version);
    return gal_tokenizer_tell(t, gal_chat_template(named), images ? SPM_IMAGES : NULL, sizeof SPM_IMAGES - 1, name,
                              diag);
}

int gal_tokenizer_told(const gal_tokenizer *t) { return t->told; }
const char *gal_tokenizer_sections(const gal_tokenizer *t) { return t->sections; }

bool gal_tokenizer_suffix(const gal_tokenizer *t, char out[16]) {
    const bool images = t->images.patch == 16 && t->images.side == 1024;
    (void)snprintf(out, 16, ".v%d%s", t->told, images ? "m1" : "");
    return !t->sections || (images && !t->sounds.rate && !t->settings.present);
}
