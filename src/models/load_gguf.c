/* load_gguf.c - a model from a GGUF file. Weights stay in the mapped file, blocks too. SPDX-License-Identifier:
 * Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "formats/gguf.h"
#include "models/load.h"
#include "tensor/blocks.h"

#include <inttypes.h>
#include <string.h>

static void close_file(void *files) { gal_gguf_close(files); }
static gal_err bring_file(void *files, gal_bring *how, gal_diag *diag) { return gal_gguf_bring(files, how, diag); }

/* Whether a type is one of ours, for numbers that lie one by one. */
static bool plain(uint32_t type, gal_dtype *dtype) {
    *dtype = type == GAL_BLOCK_F32 ? GAL_F32 : type == GAL_BLOCK_F16 ? GAL_F16 : GAL_BF16;
    return type == GAL_BLOCK_F32 || type == GAL_BLOCK_F16 || type == GAL_BLOCK_BF16;
}

/* Memory of the model's own for a weight that cannot stay where it is: an odd address, or scales of a norm, which are
 * read by kernels that know no blocks. */
static gal_err move(gal_w *w, gal_dtype to, gal_diag *diag) {
    gal_w there = *w;
    there.dtype = to;
    void *copy = gal_alloc(gal_wbytes(&there));
    if (!copy) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for tensor \"%s\"", w->file, w->name);
    if (to == w->dtype)
        memcpy(copy, w->data, gal_wbytes(w));
    else
        gal_wread(w, 0, gal_wcount(w) / w->dim[w->ndim - 1], copy);
    w->data = copy;
    w->dtype = to;
    w->owned = true;
    return GAL_OK;
}

static gal_err check(const gal_w *w, const gal_gguf_tensor *t, gal_diag *diag) {
    gal_err err = gal__check_shape(w, t->file, t->ndim, t->dim, diag);
    if (err) return err;
    const gal_block_info *info = gal_block_info_of(t->type);
    if (!info || !info->reads)
        return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": its type %s cannot be computed with", t->file, w->name,
                        gal_gguf_type_name(t->type));
    return GAL_OK;
}

/* A tensor that was checked. */
static gal_err take(gal_w *w, const gal_gguf_tensor *t, gal_diag *diag) {
    w->file = t->file;
    w->data = (void *)(uintptr_t)t->data; /* read-only; gal_w has one pointer for both kinds of memory */
    w->owned = false;
    if (plain(t->type, &w->dtype)) {
        bool fits = (uintptr_t)t->data % gal_dtype_bytes(w->dtype) == 0;
        return fits ? GAL_OK : move(w, w->dtype, diag);
    }
    w->dtype = GAL_BLOCKS;
    w->code = (gal_code){ .block = t->type };
    return gal_w_is_vector(w) ? move(w, GAL_F32, diag) : GAL_OK;
}

/* The tensor of w, or, in *view, its part of a tensor that holds more; NULL: there is none. */
static gal_err find(const gal_gguf_tensor **out, gal_gguf_tensor *view, const gal_model *m, const gal_gguf *g,
                    const gal_w *w, gal_diag *diag) {
    gal__stacked s;
    *out = gal_gguf_find(g, w->name);
    if (*out) return GAL_OK;
    for (size_t i = 0; gal__stacked_form(m, w, &i, &s);) {
        const gal_gguf_tensor *t = gal_gguf_find(g, s.name);
        if (!t) continue;
        gal_err err = gal__check_stacked(&s, t->file, t->ndim, t->dim, diag);
        if (err) return err;
        uint64_t row = t->bytes / (uint64_t)(s.dim[0] * (s.ndim == 3 ? s.dim[1] : 1)); /* rows are whole blocks */
        *view = *t;
        view->ndim = w->ndim;
        memcpy(view->dim, w->dim, sizeof w->dim);
        view->data = t->data + row * (uint64_t)s.row;
        view->bytes = row * (uint64_t)w->dim[0];
        *out = view;
        return GAL_OK;
    }
    return GAL_OK;
}

/* Some weight was read from t. */
static bool is_weight(const gal_model *m, const gal_gguf *g, const gal_gguf_tensor *t) {
    char weight[GAL__PLAIN];
    for (size_t i = 0; gal__stands_for(m, t->name, &i, weight);) {
        const gal_w w = { .name = weight, .ndim = 2 };
        const gal_gguf_tensor *used = gal_gguf_find(g, weight);
        gal__stacked s;
        for (size_t j = 0; !used && gal__stacked_form(m, &w, &j, &s);) used = gal_gguf_find(g, s.name);
        if (used == t) return true;
    }
    return gal_model_weight(m, t->name) != NULL;
}

/* only_check: no weight is given its data. */
static gal_err take_all(gal_model *m, const char *path, const gal_gguf *g, bool only_check, gal_diag *diag) {
    for (size_t i = 0; i < m->n_weights; i++) {
        const gal_gguf_tensor *t = NULL;
        gal_gguf_tensor view;
        gal_err err = find(&t, &view, m, g, &m->weights[i], diag);
        if (err) return err;
        if (!t)
            return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\" is missing; the metadata ask for it", path,
                            m->weights[i].name);
        err = check(&m->weights[i], t, diag);
        if (!err && !only_check) err = take(&m->weights[i], t, diag);
        if (err) return err;
    }
    if (gal_gguf_count(g) == m->n_weights && !m->config.experts) return GAL_OK;
    for (size_t i = 0; i < gal_gguf_count(g); i++) /* some tensor belongs to no weight; rope_freqs is the config's */
        if (!is_weight(m, g, gal_gguf_at(g, i)) && strcmp(gal_gguf_at(g, i)->name, "rope_freqs.weight") != 0)
            return gal_fail(diag, GAL_EINPUT,
                            "%s: tensor \"%s\" belongs to no weight of the model: expected the %zu tensors that the "
                            "metadata ask for",
                            gal_gguf_at(g, i)->file, gal_gguf_at(g, i)->name, m->n_weights);
    return GAL_OK;
}

static gal_err load(gal_model **out, const char *path, bool only_check, gal_diag *diag) {
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
    err = take_all(m, path, g, only_check, diag);
    if (err || only_check)
        gal_model_free(m);
    else
        *out = m;
    return err;
}

gal_err gal__load_gguf(gal_model **out, const char *path, gal_diag *diag) { return load(out, path, false, diag); }
gal_err gal_model_check_gguf(const char *path, gal_diag *diag) { return load(NULL, path, true, diag); }
