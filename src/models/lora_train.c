/* lora_train.c - adapters made for training, and as PEFT's files. SPDX-License-Identifier: Apache-2.0 */
#include "models/lora.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "formats/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *module;
} TARGETS[] = {
    { "q", "self_attn.q_proj" }, { "k", "self_attn.k_proj" }, { "v", "self_attn.v_proj" },
    { "o", "self_attn.o_proj" }, { "gate", "mlp.gate_proj" }, { "up", "mlp.up_proj" },
    { "down", "mlp.down_proj" },
};

const char *gal_lora_target(const char *name) {
    for (size_t i = 0; i < GAL_LEN(TARGETS); i++)
        if (strcmp(name, TARGETS[i].name) == 0) return strchr(TARGETS[i].module, '.') + 1;
    return NULL;
}

/* Whether a weight, by Hugging Face's name, belongs to a module of that last name in some layer. */
static bool is_of(const char *hf_name, const char *target) {
    const char *tail = ".weight";
    size_t n = strlen(hf_name), k = strlen(target), t = strlen(tail);
    return strncmp(hf_name, "model.layers.", 13) == 0 && n > k + t + 1 && strcmp(hf_name + n - t, tail) == 0 &&
           strncmp(hf_name + n - t - k, target, k) == 0 && hf_name[n - t - k - 1] == '.';
}

static bool wanted(const char *hf_name, const gal_lora_config *c) {
    for (size_t i = 0; i < c->n_targets; i++)
        if (is_of(hf_name, c->targets[i])) return true;
    return false;
}

/* A as PEFT draws it: uniform within 1 / sqrt(in), which is Kaiming's bound for a slope of sqrt(5); B is 0, so that
 * the model is what it was. */
static gal_err draw(gal_adapter *a, size_t i, uint64_t seed, gal_diag *diag) {
    for (size_t k = 2 * i; k < 2 * i + 2; k++) {
        gal_w *w = &a->weights[k];
        float *x = gal_alloc(gal_wbytes(w));
        if (!x) return gal_fail(diag, GAL_ENOMEM, "no memory for %s: %zu bytes", w->name, gal_wbytes(w));
        w->data = x;
        w->owned = true;
        double bound = 1.0 / sqrt((double)w->dim[1]);
        for (int64_t j = 0; k == 2 * i && j < gal_wcount(w); j++)
            x[j] = (float)(bound * (2.0 * gal_rng_uniform(seed, i, (uint64_t)j) - 1.0));
    }
    return GAL_OK;
}

gal_err gal_lora_new(gal_model *m, const gal_lora_config *c, uint64_t seed, gal_diag *diag) {
    gal_model *hf = NULL;
    gal_adapter *a = NULL;
    size_t count = 0;
    gal_err err = gal_model_names(&hf, m, GAL_LAYOUT_HF, diag);
    for (size_t k = 0; k < c->n_targets && !err; k++) {
        size_t before = count;
        for (size_t i = 0; i < m->n_weights; i++) count += is_of(hf->weights[i].name, c->targets[k]);
        if (count == before)
            err = gal_fail(diag, GAL_EINPUT, "lora.targets: the model has no %s that can be adapted%s", c->targets[k],
                           m->config.experts ? " (experts are not)" : "");
    }
    if (!err) err = gal__adapter_new(&a, count, diag);
    for (size_t i = 0; i < m->n_weights && !err; i++) {
        if (!wanted(hf->weights[i].name, c)) continue;
        GAL_ASSERT(a->count < count); /* targets are not named twice: gal_train_config_check() */
        err = gal__adapter_add(a, &m->weights[i], hf->weights[i].name, c->rank, diag);
        if (err) break;
        a->lora[a->count - 1].scale = gal_lora_scale(c, a->module[a->count - 1], c->rank);
        err = draw(a, a->count - 1, seed, diag);
    }
    gal_model_free(hf);
    if (err)
        gal_lora_free(a, NULL);
    else
        gal__adapter_attach(m, a);
    return err;
}

void gal_lora_rows(const gal_w *w, gal_layout from, gal_layout to, const float *x, float *out) {
    for (int64_t i = 0; i < w->dim[0]; i++)
        memcpy(out + i * w->dim[1], x + gal_model_row(w, from, to, i) * w->dim[1], (size_t)w->dim[1] * sizeof(float));
}

static gal_err save_tensors(const gal_model *m, const gal_adapter *a, const char *path, gal_diag *diag) {
    static const char *const META[] = { "format", "pt" };
    size_t n = 2 * a->count;
    gal_st_item *items = gal_alloc_array(n, sizeof *items);
    float **x = gal_alloc_array(n, sizeof *x);
    gal_err err = items && x ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    for (size_t i = 0; i < n && !err; i++) {
        const gal_w *w = &a->weights[i];
        GAL_ASSERT(w->dtype == GAL_F32);
        float *raw = gal_alloc(gal_wbytes(w));
        x[i] = gal_alloc(gal_wbytes(w));
        if (!raw || !x[i]) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for %s", path, w->name);
        if (!err && m->dev) err = gal_dev_download(m->dev, raw, w->data, gal_wbytes(w), diag);
        if (!err && !m->dev) memcpy(raw, w->data, gal_wbytes(w));
        if (!err) gal_lora_rows(w, m->config.layout, GAL_LAYOUT_HF, raw, x[i]);
        gal_free(raw);
        items[i] = (gal_st_item){
            .name = w->name, .dtype = GAL_ST_F32, .from = GAL_ST_F32, .ndim = 2, .dim = w->dim, .data = x[i]
        };
    }
    if (!err) err = gal_safetensors_write(path, items, n, META, 1, diag);
    for (size_t i = 0; x && i < n; i++) gal_free(x[i]);
    gal_free(x);
    gal_free(items);
    return err;
}

gal_err gal_lora_save(const gal_model *m, const gal_adapter *a, const gal_lora_config *c, const char *dir,
                      gal_diag *diag) {
    gal_buf path = { 0 };
    gal_err err = gal_path_join(&path, dir, "adapter_model.safetensors")
                      ? save_tensors(m, a, path.data, diag)
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err && !gal_path_join(&path, dir, "adapter_config.json"))
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err) err = gal_lora_config_write(c, path.data, diag);
    gal_buf_free(&path);
    return err;
}
