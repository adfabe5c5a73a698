/* save.c - a model as a folder in Hugging Face layout. Each file is written whole or not at all; config.json comes
 * last, so that a folder without it is no model yet. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "formats/safetensors.h"
#include "models/model.h"

#include <string.h>

static gal_err read_far(void *dev, void *to, const void *from, size_t bytes, gal_diag *diag) {
    return gal_dev_download(dev, to, from, bytes, diag);
}

static gal_err save_weights(const gal_model *m, const char *path, gal_diag *diag) {
    static const char *const META[] = { "format", "pt" };
    gal_st_item *items = gal_alloc_array(m->n_weights, sizeof *items);
    if (!items) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for the list of %zu weights", path, m->n_weights);
    for (size_t i = 0; i < m->n_weights; i++) {
        const gal_w *w = &m->weights[i];
        GAL_ASSERT(w->data);
        gal_st_dtype dtype = gal_st_dtype_of(w->dtype);
        items[i] = (gal_st_item){
            .name = w->name, .dtype = dtype, .from = dtype, .ndim = w->ndim, .dim = w->dim, .data = w->data
        };
        if (m->dev) {
            items[i].read = read_far;
            items[i].user = m->dev;
        }
    }
    gal_err err = gal_safetensors_write(path, items, m->n_weights, META, 1, diag);
    gal_free(items);
    return err;
}

gal_err gal_model_save(const gal_model *m, const char *dir, gal_diag *diag) {
    GAL_ASSERT(m->config.layout == GAL_LAYOUT_HF); /* other layouts have other names and another order of rows */
    gal_config c = m->config;                      /* borrows layer_full */
    c.dtype = m->weights[0].dtype;
    gal_generation g;
    gal_generation_defaults(&g);
    g.bos = c.bos;
    g.pad = c.pad;
    g.n_eos = c.n_eos;
    memcpy(g.eos, c.eos, sizeof g.eos);
    gal_buf path = { 0 };
    gal_err err = GAL_OK;
    if (!gal_is_dir(dir)) err = gal_fail(diag, GAL_EIO, "%s: no such folder", dir);
    static const char *const FILES[] = { "model.safetensors", "generation_config.json", "config.json" };
    for (size_t i = 0; !err && i < GAL_LEN(FILES); i++) {
        if (!gal_path_join(&path, dir, FILES[i]))
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
        else if (i == 0)
            err = save_weights(m, path.data, diag);
        else if (i == 1)
            err = gal_generation_write(&g, path.data, diag);
        else
            err = gal_config_write(&c, path.data, diag);
    }
    gal_buf_free(&path);
    return err;
}
