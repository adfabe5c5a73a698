/* load_gguf.c - a model from a GGUF file. f32, f16 and bf16 stay in the mapped file; blocks are widened to f32, the
 * definition of what they mean. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "formats/gguf.h"
#include "models/load.h"
#include "tensor/blocks.h"

#include <inttypes.h>
#include <string.h>

static void close_file(void *files) { gal_gguf_close(files); }
static gal_err bring_file(void *files, gal_bring *how, gal_diag *diag) { return gal_gguf_bring(files, how, diag); }

static bool in_place(const gal_gguf_tensor *t, gal_dtype *dtype) {
    if (t->type != GAL_BLOCK_F32 && t->type != GAL_BLOCK_F16 && t->type != GAL_BLOCK_BF16) return false;
    *dtype = t->type == GAL_BLOCK_F32 ? GAL_F32 : t->type == GAL_BLOCK_F16 ? GAL_F16 : GAL_BF16;
    return (uintptr_t)t->data % gal_dtype_bytes(*dtype) == 0;
}

static gal_err take(gal_w *w, const gal_gguf_tensor *t, gal_diag *diag) {
    gal_err err = gal__check_shape(w, t->file, t->ndim, t->dim, diag);
    if (err) return err;
    const gal_block_info *info = gal_block_info_of(t->type);
    w->file = t->file;
    if (in_place(t, &w->dtype)) {
        w->data = (void *)(uintptr_t)t->data; /* read-only; gal_w has one pointer for both kinds of memory */
        w->owned = false;
        return GAL_OK;
    }
    if (!info || !info->reads)
        return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": its type %s cannot be computed with", t->file, w->name,
                        gal_gguf_type_name(t->type));
    w->dtype = GAL_F32;
    w->data = gal_alloc(gal_wbytes(w));
    if (!w->data)
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for tensor \"%s\": %zu bytes", t->file, w->name,
                        gal_wbytes(w));
    w->owned = true;
    w->stored = info->name;
    gal_block_dequantise(t->type, t->data, w->data, gal_wcount(w));
    return GAL_OK;
}

static gal_err take_all(gal_model *m, const char *path, const gal_gguf *g, gal_diag *diag) {
    for (size_t i = 0; i < m->n_weights; i++) {
        const gal_gguf_tensor *t = gal_gguf_find(g, m->weights[i].name);
        if (!t)
            return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\" is missing; the metadata ask for it", path,
                            m->weights[i].name);
        gal_err err = take(&m->weights[i], t, diag);
        if (err) return err;
    }
    if (gal_gguf_count(g) == m->n_weights) return GAL_OK;
    for (size_t i = 0; i < gal_gguf_count(g); i++) /* some tensor belongs to no weight; rope_freqs is the config's */
        if (!gal_model_weight(m, gal_gguf_at(g, i)->name) &&
            strcmp(gal_gguf_at(g, i)->name, "rope_freqs.weight") != 0)
            return gal_fail(diag, GAL_EINPUT,
                            "%s: tensor \"%s\" belongs to no weight of the model: expected the %zu tensors that the "
                            "metadata ask for",
                            gal_gguf_at(g, i)->file, gal_gguf_at(g, i)->name, m->n_weights);
    return GAL_OK;
}

gal_err gal__load_gguf(gal_model **out, const char *path, gal_diag *diag) {
    gal_gguf *g = NULL;
    gal_config config;
    gal_config_defaults(&config);
    gal_model *m = NULL;
    gal_err err = gal_gguf_open(&g, path, diag);
    if (err) return err;
    err = gal_gguf_config(&config, g, path, diag);
    if (!err) err = gal_model_build(&m, &config, diag);
    gal_config_free(&config); /* what the model did not take over */
    if (err) {
        gal_gguf_close(g);
        return err;
    }
    m->files = g;
    m->files_free = close_file;
    m->files_bring = bring_file;
    err = take_all(m, path, g, diag);
    if (err)
        gal_model_free(m);
    else
        *out = m;
    return err;
}
