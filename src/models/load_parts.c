/* load_parts.c - text models inside models of more than text (formats.md 2, 3): under which names their tensors lie,
 * and which tensors beside them are left out. Nothing is left out without a note that counts it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "models/load.h"

#include <stdio.h>
#include <string.h>

/* Inside a wrapper a name that begins with `drop` begins with `prefix` in its place. */
static const struct {
    gal_layout layout;
    const char *prefix, *drop;
} FORMS[] = {
    { GAL_LAYOUT_HF, "language_model.", "" },
    { GAL_LAYOUT_HF, "model.language_model.", "model." },
    { GAL_LAYOUT_OWN, "mm_whisper_embeddings.", "" },
    { GAL_LAYOUT_OWN, "mm_streams_embeddings.embedding_module.", "" },
};

/* What is not text. */
static const char *const PARTS[] = {
    "vision_tower.",          "model.vision_tower.",      "audio_tower.",           "model.audio_tower.",
    "vision_encoder.",        "vision_language_adapter.", "patch_merger.",          "pre_mm_projector_norm.",
    "mm_streams_embeddings.", "mm_whisper_embeddings.",   "multi_modal_projector.", "model.multi_modal_projector.",
};

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }

const gal_st_tensor *gal__find_tensor(const gal_model *m, const gal_st_set *set, const char *name) {
    const gal_st_tensor *t = gal_st_set_find(set, name);
    for (size_t i = 0; i < GAL_LEN(FORMS) && !t && m->config.wrapper[0]; i++) {
        char longer[GAL__PLAIN + 64];
        if (FORMS[i].layout != m->config.layout || !begins(name, FORMS[i].drop)) continue;
        (void)snprintf(longer, sizeof longer, "%s%s", FORMS[i].prefix, name + strlen(FORMS[i].drop));
        t = gal_st_set_find(set, longer);
    }
    return t;
}

const char *gal__plain_name(const gal_model *m, const char *name, char out[GAL__PLAIN]) {
    for (size_t i = 0; i < GAL_LEN(FORMS) && m->config.wrapper[0]; i++) {
        if (FORMS[i].layout != m->config.layout || !begins(name, FORMS[i].prefix)) continue;
        int n = snprintf(out, GAL__PLAIN, "%s%s", FORMS[i].drop, name + strlen(FORMS[i].prefix));
        if (n < GAL__PLAIN) return out;
    }
    return name;
}

bool gal__leave_out(const gal_model *m, gal__left_out *l, const char *name) {
    _Static_assert(GAL_LEN(PARTS) <= GAL__PARTS, "room to count every part");
    for (size_t i = 0; i < GAL_LEN(PARTS) && m->config.wrapper[0]; i++) {
        if (!begins(name, PARTS[i])) continue;
        l->count[i]++;
        return true;
    }
    return false;
}

gal_err gal__note_left_out(gal_model *m, const gal__left_out *l, const char *dir, gal_diag *diag) {
    gal_buf b = { 0 };
    size_t named = 0;
    for (size_t i = 0; i < GAL_LEN(PARTS); i++) {
        if (!l->count[i]) continue;
        if (!named++)
            gal_buf_printf(&b, ": only the text model inside \"%s\" is read; left out: ", m->config.wrapper);
        else
            gal_buf_puts(&b, ", ");
        gal_buf_printf(&b, "%zu tensor%s %s*", l->count[i], l->count[i] == 1 ? "" : "s", PARTS[i]);
    }
    gal_err err = b.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory for a note", dir) : GAL_OK;
    if (!err && named) err = gal_model_add_note(m, dir, b.data, diag);
    gal_buf_free(&b);
    return err;
}
