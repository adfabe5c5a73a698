/* source.c - see source.h. Owns the loaded model and a second one without data, which gives the other layout's names;
 * a weight has the same place in both. SPDX-License-Identifier: Apache-2.0 */
#include "convert/source.h"
#include "convert/names.h"

#include "base/maps.h"
#include "base/mem.h"
#include "models/lora.h"

#include <stdio.h>
#include <string.h>

/* A tensor and the weights whose rows it is made of: one, or the experts' matrices of a layer one after the other. */
typedef struct entry {
    gal_source_tensor t;
    char name[GAL_GGUF_NAME + 1]; /* of a tensor of experts */
    const gal_w **parts;          /* [n_parts] */
    int64_t n_parts;
    bool mixed; /* the parts are not all in one format: each is read as f32 */
} entry;

struct gal_source {
    gal_buf path;
    gal_model *m, *names;
    entry *entries;      /* [count] */
    const gal_w **parts; /* [weights] what entries point into */
    size_t count;
};

static uint32_t type_of(const gal_w *w) {
    if (w->dtype == GAL_BLOCKS) return w->code.block;
    return w->dtype == GAL_F32 ? GAL_BLOCK_F32 : w->dtype == GAL_F16 ? GAL_BLOCK_F16 : GAL_BLOCK_BF16;
}

/* In a GGUF file the matrices of a layer's experts lie in one tensor: of "blk.3.ffn_up.5.weight" the name of that
 * one, and the expert. */
static bool stacked(char name[GAL_GGUF_NAME + 1], int64_t *expert, const char *weight) {
    const gal_name n = gal_name_of(weight);
    if (!gal_name_is_expert(&n)) return false;
    gal_name_stacked(name, &n);
    *expert = n.expert;
    return true;
}

static entry *find_entry(const gal_source *s, const char *name) {
    for (size_t i = s->count; i-- > 0;)
        if (strcmp(s->entries[i].t.name, name) == 0) return &s->entries[i];
    return NULL;
}

/* The first of a tensor's weights makes its entry; further experts come to it. */
static void add(gal_source *s, const gal_w *w, const gal_w *n, size_t *used) {
    char name[GAL_GGUF_NAME + 1] = "";
    int64_t expert = 0;
    int64_t experts = s->names->config.layout == GAL_LAYOUT_GGUF ? s->names->config.experts : 0;
    bool many = experts && stacked(name, &expert, n->name) && expert < experts;
    entry *e = many ? find_entry(s, name) : NULL;
    if (!e) {
        e = &s->entries[s->count++];
        *e = (entry){ .t = { .name = n->name, .role = n->role, .ndim = n->ndim, .type = type_of(w) },
                      .parts = s->parts + *used,
                      .n_parts = many ? experts : 1 };
        *used += (size_t)e->n_parts;
        memcpy(e->t.dim, n->dim, sizeof e->t.dim);
        if (many) {
            memcpy(e->name, name, sizeof e->name);
            e->t.name = e->name;
            e->t.ndim = 3;
            e->t.dim[0] = experts;
            e->t.dim[1] = n->dim[0];
            e->t.dim[2] = n->dim[1];
        }
    }
    e->parts[expert] = w;
    e->t.merged = e->t.merged || w->lora;
    e->mixed = e->mixed || type_of(w) != e->t.type;
}

static gal_err fill(gal_source *s, gal_diag *diag) {
    size_t n = s->m->n_weights, used = 0;
    GAL_ASSERT(s->names->n_weights == n);
    s->entries = gal_alloc_array(n, sizeof *s->entries);
    s->parts = gal_alloc_array(n, sizeof(void *));
    if (!s->entries || !s->parts) return gal_fail(diag, GAL_ENOMEM, "no memory for a table of %zu weights", n);
    for (size_t i = 0; i < n; i++) add(s, &s->m->weights[i], &s->names->weights[i], &used);
    for (size_t i = 0; i < s->count; i++)
        if (s->entries[i].mixed) s->entries[i].t.type = GAL_BLOCK_F32;
    return GAL_OK;
}

gal_err gal_source_open(gal_source **out, const char *path, gal_layout from, gal_layout to, gal_diag *diag) {
    gal_source *s = gal_alloc(sizeof *s);
    if (!s) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    gal_buf base = { 0 };
    gal_err err = gal_model_find_as(path, from, &s->path, diag);
    if (!err) err = gal_model_load_as(&s->m, s->path.data, from, diag);
    if (!err) err = gal_lora_base(s->path.data, &base, diag);
    /* Vocabulary and the rest of an adapter's model lie with its base. */
    if (!err && base.len) err = gal_model_find_as(base.data, from, &s->path, diag);
    gal_buf_free(&base);
    if (!err) err = gal_model_names(&s->names, s->m, to, diag);
    if (!err) err = fill(s, diag);
    if (err)
        gal_source_close(s);
    else
        *out = s;
    return err;
}

gal_err gal_source_add_lora(gal_source *s, const char *dir, double strength, gal_diag *diag) {
    gal_err err = gal_lora_load(s->m, dir, strength, diag);
    for (size_t i = 0; i < s->count; i++) s->entries[i].t.merged = s->entries[i].parts[0]->lora != NULL;
    return err;
}

void gal_source_close(gal_source *s) {
    if (!s) return;
    gal_model_free(s->names);
    gal_model_free(s->m);
    gal_free(s->entries);
    gal_free(s->parts);
    gal_buf_free(&s->path);
    gal_free(s);
}

const char *gal_source_path(const gal_source *s) { return s->path.data; }
const gal_model *gal_source_model(const gal_source *s) { return s->m; }
const gal_config *gal_source_config(const gal_source *s) { return &s->names->config; }
size_t gal_source_count(const gal_source *s) { return s->count; }

const gal_source_tensor *gal_source_at(const gal_source *s, size_t i) {
    GAL_ASSERT(i < s->count);
    return &s->entries[i].t;
}

int64_t gal_source_elements(const gal_source_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= t->dim[i];
    return n;
}

static int64_t columns(const gal_source_tensor *t) { return t->dim[t->ndim - 1]; }

/* Row r of the tensor: the weight that it is in, and its place there. */
static const gal_w *source_row(const gal_source *s, const entry *e, int64_t r, int64_t *row) {
    int64_t each = e->n_parts > 1 ? e->t.dim[1] : r + 1;
    const gal_w *w = e->parts[r / each];
    *row = gal_model_row(w, s->m->config.layout, s->names->config.layout, r % each);
    return w;
}

void gal_source_read(const gal_source *s, size_t i, int64_t at, int64_t n, float *out) {
    GAL_ASSERT(i < s->count);
    const entry *e = &s->entries[i];
    int64_t cols = columns(&e->t);
    while (n > 0) {
        int64_t from = at % cols, some = GAL_MIN(cols - from, n), row;
        const gal_w *w = source_row(s, e, at / cols, &row);
        gal_lora_read(w, row, from, some, out);
        at += some;
        n -= some;
        out += some;
    }
}

static size_t bytes_of(uint32_t type, int64_t n) {
    if (type == GAL_BLOCK_F8_E4M3) return (size_t)n;
    const gal_block_info *info = gal_block_info_of(type);
    return (size_t)(n / info->elements) * info->bytes;
}

void gal_source_copy(const gal_source *s, size_t i, int64_t at, int64_t n, void *out) {
    GAL_ASSERT(i < s->count);
    const entry *e = &s->entries[i];
    int64_t cols = columns(&e->t);
    uint8_t *to = out;
    GAL_ASSERT(!e->t.merged);
    if (e->mixed) {
        gal_source_read(s, i, at, n, out);
        return;
    }
    while (n > 0) {
        int64_t from = at % cols, some = GAL_MIN(cols - from, n), row;
        const gal_w *w = source_row(s, e, at / cols, &row);
        size_t bytes = bytes_of(e->t.type, some);
        memcpy(to, (const uint8_t *)w->data + bytes_of(e->t.type, row * cols + from), bytes);
        at += some;
        n -= some;
        to += bytes;
    }
}

gal_err gal_source_done(const gal_source *s, size_t i, gal_diag *diag) {
    GAL_ASSERT(i < s->count);
    const entry *e = &s->entries[i];
    gal_err err = GAL_OK;
    for (int64_t p = 0; !err && p < e->n_parts; p++) {
        const gal_w *w = e->parts[p];
        if (w->owned) continue;
        gal_maps_forget_at(w->data, gal_wbytes(w));
        err = gal_maps_check_at(w->data, diag);
    }
    return err;
}
