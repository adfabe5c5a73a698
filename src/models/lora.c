/* lora.c - reading adapters: which tensor belongs to which weight, and refusing what does not fit. Every weight that
 * has one half must have the other; every tensor of the file must be used, but for copies of the model's own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "models/lora.h"

#include "base/file.h"
#include "base/mem.h"
#include "models/load.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "base_model.model." /* PEFT's, before the module's path */

/* ---- sets of adapters -------------------------------------------------------------------------------------------
 */

void gal_lora_free(gal_adapter *a, gal_dev *dev) {
    while (a) {
        gal_adapter *next = a->next;
        for (size_t i = 0; a->weights && i < 2 * a->count; i++) {
            if (a->weights[i].owned) gal_dev_give(dev, a->weights[i].data);
            gal_free(a->weights[i].name);
        }
        for (size_t i = 0; a->module && i < a->count; i++) gal_free(a->module[i]);
        gal_free(a->weights);
        gal_free(a->lora);
        gal_free(a->base);
        gal_free(a->module);
        gal_free(a);
        a = next;
    }
}

int64_t gal_lora_params(const gal_model *m) {
    int64_t n = 0;
    for (const gal_adapter *a = m->adapters; a; a = a->next)
        for (size_t i = 0; i < 2 * a->count; i++) n += gal_wcount(&a->weights[i]);
    return n;
}

gal_err gal__adapter_new(gal_adapter **out, size_t count, gal_diag *diag) {
    gal_adapter *a = gal_alloc(sizeof *a);
    if (a) {
        a->weights = gal_alloc_array(2 * count, sizeof *a->weights);
        a->lora = gal_alloc_array(count, sizeof *a->lora);
        a->base = gal_alloc_array(count, sizeof *a->base);
        a->module = gal_alloc_array(count, sizeof *a->module);
    }
    if (!a || !a->weights || !a->lora || !a->base || !a->module) {
        gal_lora_free(a, NULL);
        return gal_fail(diag, GAL_ENOMEM, "no memory for %zu adapters", count);
    }
    *out = a;
    return GAL_OK;
}

static char *name_of(const char *module, const char *half) {
    gal_buf b = { 0 };
    gal_buf_printf(&b, PREFIX "%s.lora_%s.weight", module, half);
    if (b.oom) gal_buf_free(&b);
    return b.data;
}

gal_err gal__adapter_add(gal_adapter *a, gal_w *base, const char *hf_name, int64_t rank, gal_diag *diag) {
    size_t i = a->count++;
    gal_w *wa = &a->weights[2 * i], *wb = &a->weights[2 * i + 1];
    a->base[i] = base;
    a->module[i] = gal_strndup(hf_name, strlen(hf_name) - strlen(".weight"));
    *wa = (gal_w){ .role = GAL_W_LINEAR, .dtype = GAL_F32, .ndim = 2, .dim = { rank, base->dim[1] } };
    *wb = (gal_w){ .role = GAL_W_LINEAR, .dtype = GAL_F32, .ndim = 2, .dim = { base->dim[0], rank } };
    wb->rotary = base->rotary;
    a->lora[i] = (gal_lora){ .a = wa, .b = wb };
    if (!a->module[i]) return gal_fail(diag, GAL_ENOMEM, "no memory for an adapter of %s", hf_name);
    wa->name = name_of(a->module[i], "A");
    wb->name = name_of(a->module[i], "B");
    return wa->name && wb->name ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for an adapter of %s", hf_name);
}

void gal__adapter_attach(gal_model *m, gal_adapter *a) {
    gal_adapter **end = &m->adapters;
    while (*end) end = &(*end)->next;
    *end = a;
    for (size_t i = 0; i < a->count; i++) {
        const gal_lora **last = &a->base[i]->lora;
        a->lora[i].next = *last;
        *last = &a->lora[i];
    }
}

/* ---- reading ----------------------------------------------------------------------------------------------------
 */

typedef struct half {
    const gal_st_tensor *a, *b;
} half;

typedef struct reading {
    gal_model *m;
    gal_layout layout; /* whose names and order of rows the adapter has */
    gal_model *names;  /* the model's weights under these names, */
    gal_model *hf;     /* and under Hugging Face's */
    gal_st_set *set;
    gal_lora_config config;
    half *of; /* [m->n_weights] */
    const char *dir;
    double strength;
} reading;

/* Kinds of adapters that others write and we do not compute. */
static const struct {
    const char *in, *what;
} UNSUPPORTED[] = {
    { "lora_embedding_", "an adapter of the embedding" },
    { "lora_magnitude_vector", "an adapter with magnitudes (DoRA)" },
    { ".lora_A.bias", "an adapter with a bias" },
    { ".lora_B.bias", "an adapter with a bias" },
    { ".modules_to_save.", "a whole module" },
};

static gal_err refuse(const gal_st_tensor *t, gal_diag *diag) {
    for (size_t i = 0; i < GAL_LEN(UNSUPPORTED); i++)
        if (strstr(t->name, UNSUPPORTED[i].in))
            return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%.120s\": %s is not supported", t->file, t->name,
                            UNSUPPORTED[i].what);
    return gal_fail(diag, GAL_EINPUT,
                    "%s: tensor \"%.120s\": expected the names of adapters, MODULE.lora_A.weight and "
                    "MODULE.lora_B.weight",
                    t->file, t->name);
}

/* The weight of a module's path, of which there may be a longer one, inside a model of more than text, or a shorter
 * one, of a model without a head. Its place in the table; n_weights: none. */
static size_t weight_of(const reading *r, const char *module) {
    char name[2 * GAL__PLAIN], plain[GAL__PLAIN];
    for (int i = 0; i < 2; i++) {
        int n = snprintf(name, sizeof name, "%s%s.weight", i ? "model." : "", module);
        if (n < 0 || (size_t)n >= sizeof name) break;
        const gal_w *w = gal_model_weight(r->names, gal__plain_name(r->names, name, plain));
        if (w) return (size_t)(w - r->names->weights);
    }
    return r->m->n_weights;
}

/* The module of a tensor that is called PREFIX MODULE tail. */
static bool module_of(const reading *r, const gal_st_tensor *t, const char *tail, char module[GAL__PLAIN]) {
    const char *prefix = r->layout == GAL_LAYOUT_HF ? PREFIX : "";
    const size_t head = strlen(prefix), end = strlen(tail), len = strlen(t->name);
    if (len <= head + end || len - head - end >= GAL__PLAIN) return false;
    if (strncmp(t->name, prefix, head) != 0 || strcmp(t->name + len - end, tail) != 0) return false;
    memcpy(module, t->name + head, len - head - end);
    module[len - head - end] = 0;
    return true;
}

static bool has(const reading *r, const char *module, const char *tail) {
    char name[2 * GAL__PLAIN];
    int n = snprintf(name, sizeof name, PREFIX "%s%s", module, tail);
    return n > 0 && (size_t)n < sizeof name && gal_st_set_find(r->set, name);
}

static gal_err no_embedding(const gal_st_tensor *t, gal_diag *diag) {
    return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%.120s\": an adapter of the embedding is not supported", t->file,
                    t->name);
}

/* PEFT saves the weight of an adapted head or embedding beside the halves. *is_copy: it is the model's own, and is
 * passed over. */
static gal_err find_copy(const reading *r, const gal_st_tensor *t, bool *is_copy, gal_diag *diag) {
    char module[GAL__PLAIN], x[GAL__SHAPE_TEXT], y[GAL__SHAPE_TEXT];
    *is_copy = false;
    if (r->layout != GAL_LAYOUT_HF || !module_of(r, t, ".base_layer.weight", module)) return GAL_OK;
    if (has(r, module, ".lora_embedding_A")) return no_embedding(t, diag);
    *is_copy = has(r, module, ".lora_A.weight");
    size_t i = weight_of(r, module);
    if (!*is_copy || i == r->m->n_weights) return GAL_OK; /* of what is adapted in vain the halves tell */
    const gal_w *w = &r->m->weights[i];
    if (t->ndim == w->ndim && memcmp(t->dim, w->dim, (size_t)w->ndim * sizeof *w->dim) == 0) return GAL_OK;
    return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": expected the shape of the model's weight, %s, found %s",
                    t->file, t->name, gal__shape_text(x, w->ndim, w->dim), gal__shape_text(y, t->ndim, t->dim));
}

static bool is_head(const reading *r, const char *module) {
    const char *dot = strrchr(module, '.');
    return strcmp(dot ? dot + 1 : module, r->layout == GAL_LAYOUT_HF ? "lm_head" : "output") == 0;
}

/* Finds the weight of a tensor by its name. */
static gal_err place(reading *r, const gal_st_tensor *t, gal_diag *diag) {
    char module[GAL__PLAIN];
    bool is_a = module_of(r, t, ".lora_A.weight", module);
    if (!is_a && !module_of(r, t, ".lora_B.weight", module)) return refuse(t, diag);
    size_t i = weight_of(r, module);
    const char *hf = i < r->m->n_weights ? r->hf->weights[i].name : "";
    if (i == r->m->n_weights && r->m->config.tied && is_head(r, module))
        return gal_fail(diag, GAL_EINPUT,
                        "%s: tensor \"%s\": output and embedding are one weight in this model, and the output alone "
                        "cannot be adapted",
                        t->file, t->name);
    if (i == r->m->n_weights || r->m->weights[i].ndim != 2)
        return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": the model has no weight \"%s\" that can be adapted",
                        t->file, t->name, module);
    if (r->m->weights[i].role == GAL_W_EMBED) return no_embedding(t, diag);
    if (strstr(hf, ".block_sparse_moe."))
        return gal_fail(diag, GAL_EINPUT,
                        "%s: tensor \"%s\": an adapter of experts or of their router is not supported", t->file,
                        t->name);
    const gal_st_tensor **to = is_a ? &r->of[i].a : &r->of[i].b;
    if (*to)
        return gal_fail(diag, GAL_EINPUT, "%s: tensors \"%s\" and \"%s\" adapt one weight", t->file, (*to)->name,
                        t->name);
    *to = t;
    return GAL_OK;
}

/* The shapes of a pair, against the weight's, the description's rank, and each other's. */
static gal_err check_pair(const reading *r, size_t i, int64_t *rank, gal_diag *diag) {
    const gal_w *w = &r->m->weights[i];
    const gal_st_tensor *a = r->of[i].a, *b = r->of[i].b, *there = a ? a : b;
    char x[GAL__SHAPE_TEXT], y[GAL__SHAPE_TEXT];
    if (!a || !b)
        return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\" is alone: its lora_%s.weight is missing", there->file,
                        there->name, a ? "B" : "A");
    if (a->ndim != 2 || a->dim[1] != w->dim[1] || a->dim[0] < 1 || a->dim[0] > GAL_LORA_MAX_RANK)
        return gal_fail(
            diag, GAL_EINPUT, "%s: tensor \"%s\": expected shape [rank, %" PRId64 "] beside \"%s\" of %s, found %s",
            a->file, a->name, w->dim[1], w->name, gal__shape_text(x, 2, w->dim), gal__shape_text(y, a->ndim, a->dim));
    if (b->ndim != 2 || b->dim[0] != w->dim[0] || b->dim[1] != a->dim[0])
        return gal_fail(diag, GAL_EINPUT,
                        "%s: tensor \"%s\": expected shape [%" PRId64 ", %" PRId64 "] beside \"%s\" of %s, found %s",
                        b->file, b->name, w->dim[0], a->dim[0], a->name, gal__shape_text(x, 2, a->dim),
                        gal__shape_text(y, b->ndim, b->dim));
    char module[GAL__PLAIN];
    const char *name = r->names->weights[i].name;
    const size_t len = GAL_MIN(strlen(name) - strlen(".weight"), sizeof module - 1);
    memcpy(module, name, len);
    module[len] = 0;
    *rank = a->dim[0];
    int64_t said = gal_lora_rank(&r->config, module);
    if (said && said != *rank)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: tensor \"%s\": expected rank %" PRId64 " as %s says, found %" PRId64 " (shape %s)",
                        a->file, a->name, said, r->layout == GAL_LAYOUT_HF ? "adapter_config.json" : "params.json",
                        *rank, gal__shape_text(x, 2, a->dim));
    return GAL_OK;
}

/* Numbers of a tensor into a weight of its own; rows of B come in the order of the model's. */
static gal_err take(const reading *r, gal_w *w, const gal_st_tensor *t, gal_diag *diag) {
    gal_dtype from;
    if (!gal_st_dtype_ours(t->dtype, &from))
        return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": expected F32, F16, BF16 or F64, found %s", t->file,
                        t->name, gal_st_dtype_name(t->dtype));
    w->dtype = from == GAL_F64 ? GAL_F32 : from;
    w->file = NULL;
    w->data = gal_alloc(gal_wbytes(w));
    if (!w->data) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for tensor \"%s\"", t->file, t->name);
    w->owned = true;
    const int64_t cols = w->dim[1];
    const size_t row = (size_t)cols * gal_dtype_bytes(w->dtype), row_from = (size_t)cols * gal_dtype_bytes(from);
    for (int64_t i = 0; i < w->dim[0]; i++) {
        const uint8_t *src = t->data + (size_t)gal_model_row(w, r->layout, r->m->config.layout, i) * row_from;
        uint8_t *dst = (uint8_t *)w->data + (size_t)i * row;
        if (from == w->dtype)
            memcpy(dst, src, row);
        else
            gal_convert(dst, w->dtype, src, from, cols);
    }
    float part[256];
    for (int64_t at = 0, n = gal_wcount(w); at < n; at += (int64_t)GAL_LEN(part)) {
        int64_t some = GAL_MIN(n - at, (int64_t)GAL_LEN(part));
        gal_convert(part, GAL_F32, (uint8_t *)w->data + (size_t)at * gal_dtype_bytes(w->dtype), w->dtype, some);
        if (!gal_all_finite(part, some))
            return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": expected finite numbers, found others", t->file,
                            t->name);
    }
    return GAL_OK;
}

static gal_err make(const reading *r, gal_adapter **out, gal_diag *diag) {
    size_t count = 0;
    for (size_t i = 0; i < r->m->n_weights; i++) count += r->of[i].a || r->of[i].b;
    if (!count) return gal_fail(diag, GAL_EINPUT, "%s: no adapters: the file of tensors is empty", r->dir);
    gal_err err = gal__adapter_new(out, count, diag);
    for (size_t i = 0; !err && i < r->m->n_weights; i++) {
        gal_adapter *a = *out;
        int64_t rank = 0;
        if (!r->of[i].a && !r->of[i].b) continue;
        err = check_pair(r, i, &rank, diag);
        if (!err) err = gal__adapter_add(a, &r->m->weights[i], r->hf->weights[i].name, rank, diag);
        if (err) break;
        size_t k = a->count - 1;
        a->lora[k].scale = r->strength * gal_lora_scale(&r->config, a->module[k], rank);
        err = take(r, &a->weights[2 * k], r->of[i].a, diag);
        if (!err) err = take(r, &a->weights[2 * k + 1], r->of[i].b, diag);
    }
    return err;
}

/* Which of the two kinds the folder holds, and what it says beside the tensors. */
static gal_err describe(reading *r, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_err err = GAL_OK;
    if (!gal_is_dir(r->dir))
        return gal_fail(diag, GAL_EINPUT, "%s: expected the folder of an adapter, found no folder", r->dir);
    bool ok = gal_path_join(&path, r->dir, "adapter_config.json") != NULL;
    if (ok && gal_exists(path.data)) {
        r->layout = GAL_LAYOUT_HF;
        err = gal_lora_config_read(&r->config, path.data, diag);
    } else if (ok && (ok = gal_path_join(&path, r->dir, "lora.safetensors") != NULL) && gal_exists(path.data)) {
        r->layout = GAL_LAYOUT_OWN;
        ok = gal_path_join(&path, r->dir, "params.json") != NULL;
        if (ok) err = gal_lora_params_read(&r->config, gal_exists(path.data) ? path.data : NULL, diag);
    } else if (ok) {
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: not an adapter: looked for adapter_config.json and lora.safetensors in it", r->dir);
    }
    gal_buf_free(&path);
    return ok ? err : gal_fail(diag, GAL_ENOMEM, "%s: no memory", r->dir);
}

static bool holds(const char *dir, const char *name, gal_err *err, gal_diag *diag) {
    gal_buf path = { 0 };
    bool ok = gal_path_join(&path, dir, name) != NULL, there = ok && gal_exists(path.data);
    if (!ok && !*err) *err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    gal_buf_free(&path);
    return there;
}

gal_err gal_lora_base(const char *dir, gal_buf *base, gal_diag *diag) {
    gal_err err = GAL_OK;
    gal_lora_config c = { 0 };
    gal_buf path = { 0 };
    gal_buf_clear(base);
    bool alone = holds(dir, "adapter_config.json", &err, diag) && !holds(dir, "config.json", &err, diag) &&
                 !holds(dir, "params.json", &err, diag);
    if (err || !alone) return err;
    bool ok = gal_path_join(&path, dir, "adapter_config.json") != NULL;
    if (ok) err = gal_lora_config_read(&c, path.data, diag);
    if (ok && !err && c.base && !gal_exists(c.base)) ok = gal_path_join(&path, dir, c.base) != NULL;
    if (ok && !err) gal_buf_puts(base, c.base && gal_exists(c.base) ? c.base : c.base ? path.data : "");
    if (!ok || base->oom) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err && (!base->len || !gal_exists(base->data)))
        err = gal_fail(
            diag, GAL_EINPUT,
            "%s: an adapter whose model \"%.200s\" (base_model_name_or_path) is not here: give the model, and "
            "this folder with --lora",
            dir, c.base ? c.base : "");
    gal_lora_config_free(&c);
    gal_buf_free(&path);
    return err;
}

gal_err gal_lora_load(gal_model *m, const char *dir, double strength, gal_diag *diag) {
    GAL_ASSERT(!m->dev);
    reading r = { .m = m, .dir = dir, .strength = strength };
    gal_adapter *a = NULL;
    gal_err err = describe(&r, diag);
    if (!err) err = gal_model_names(&r.names, m, r.layout, diag);
    if (!err) err = gal_model_names(&r.hf, m, GAL_LAYOUT_HF, diag);
    if (!err) err = gal_st_set_open(&r.set, dir, r.layout == GAL_LAYOUT_HF ? "adapter_model" : "lora", diag);
    if (!err) {
        r.of = gal_alloc_array(m->n_weights, sizeof *r.of);
        if (!r.of) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    }
    for (size_t i = 0; !err && i < gal_st_set_count(r.set); i++) {
        bool is_copy = false;
        err = find_copy(&r, gal_st_set_at(r.set, i), &is_copy, diag);
        if (!err && !is_copy) err = place(&r, gal_st_set_at(r.set, i), diag);
    }
    if (!err) err = make(&r, &a, diag);
    if (err)
        gal_lora_free(a, NULL);
    else
        gal__adapter_attach(m, a);
    gal_st_set_close(r.set);
    gal_lora_config_free(&r.config);
    gal_model_free(r.names);
    gal_model_free(r.hf);
    gal_free(r.of);
    return err;
}
