/* source.c - see source.h. Owns the loaded model and a second one without data, which gives the other layout's names;
 * a weight has the same place in both. SPDX-License-Identifier: Apache-2.0 */
#include "convert/source.h"

#include "base/maps.h"
#include "base/mem.h"

#include <string.h>

/* Where the rows of a tensor come from. */
typedef enum order {
    AS_THEY_ARE,
    INTO_PAIRS, /* (2j, 2j + 1) out of (j, j + half) */
    INTO_HALVES /* and back */
} order;

typedef struct entry {
    gal_source_tensor t;
    const gal_w *w;
    order order;
} entry;

struct gal_source {
    gal_buf path;
    gal_model *m, *names;
    entry *entries; /* [count] */
    size_t count;
};

static uint32_t type_of(const gal_w *w) {
    if (w->dtype == GAL_BLOCKS) return w->code.block;
    return w->dtype == GAL_F32 ? GAL_BLOCK_F32 : w->dtype == GAL_F16 ? GAL_BLOCK_F16 : GAL_BLOCK_BF16;
}

static order order_of(const gal_w *w, gal_layout from, gal_layout to) {
    bool halves = from == GAL_LAYOUT_HF, wanted = to == GAL_LAYOUT_HF;
    if (!w->rotary || halves == wanted) return AS_THEY_ARE;
    return wanted ? INTO_HALVES : INTO_PAIRS;
}

static gal_err fill(gal_source *s, gal_diag *diag) {
    GAL_ASSERT(s->names->n_weights == s->m->n_weights);
    s->entries = gal_alloc_array(s->m->n_weights, sizeof *s->entries);
    if (!s->entries) return gal_fail(diag, GAL_ENOMEM, "no memory for a table of %zu weights", s->m->n_weights);
    s->count = s->m->n_weights;
    for (size_t i = 0; i < s->count; i++) {
        const gal_w *w = &s->m->weights[i], *n = &s->names->weights[i];
        entry *e = &s->entries[i];
        *e = (entry){ .t = { .name = n->name, .role = n->role, .ndim = n->ndim, .type = type_of(w) },
                      .w = w,
                      .order = order_of(w, s->m->config.layout, s->names->config.layout) };
        memcpy(e->t.dim, n->dim, sizeof e->t.dim);
    }
    return GAL_OK;
}

gal_err gal_source_open(gal_source **out, const char *path, gal_layout from, gal_layout to, gal_diag *diag) {
    gal_source *s = gal_alloc(sizeof *s);
    if (!s) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    gal_config c = { 0 };
    gal_err err = gal_model_find_as(path, from, &s->path, diag);
    if (!err) err = gal_model_load_as(&s->m, s->path.data, from, diag);
    if (!err) err = gal_config_copy(&c, &s->m->config, diag);
    if (!err) {
        c.layout = to;
        err = gal_model_build(&s->names, &c, diag);
    }
    gal_config_free(&c);
    if (!err) err = fill(s, diag);
    if (err)
        gal_source_close(s);
    else
        *out = s;
    return err;
}

void gal_source_close(gal_source *s) {
    if (!s) return;
    gal_model_free(s->names);
    gal_model_free(s->m);
    gal_free(s->entries);
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

/* The row of the model's weight that is row r of the tensor. */
static int64_t source_row(const entry *e, int64_t r) {
    if (e->order == AS_THEY_ARE) return r;
    int64_t size = e->w->rotary, half = size / 2, head = r / size, k = r % size;
    int64_t from = e->order == INTO_PAIRS ? k % 2 * half + k / 2 : k % half * 2 + k / half;
    return head * size + from;
}

/* One stretch of a row at a time. */
static void read_stretch(const gal_w *w, int64_t row, int64_t from, int64_t n, int64_t cols, float *out) {
    if (w->dtype == GAL_BLOCKS) {
        gal_code_read(&w->code, w->data, cols, row, from, n, out);
        return;
    }
    const uint8_t *p = (const uint8_t *)w->data + (size_t)(row * cols + from) * gal_dtype_bytes(w->dtype);
    gal_convert(out, GAL_F32, p, w->dtype, n);
}

void gal_source_read(const gal_source *s, size_t i, int64_t at, int64_t n, float *out) {
    GAL_ASSERT(i < s->count);
    const entry *e = &s->entries[i];
    int64_t cols = columns(&e->t);
    while (n > 0) {
        int64_t from = at % cols, some = GAL_MIN(cols - from, n);
        read_stretch(e->w, source_row(e, at / cols), from, some, cols, out);
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
    while (n > 0) {
        int64_t from = at % cols, some = GAL_MIN(cols - from, n);
        size_t bytes = bytes_of(e->t.type, some);
        memcpy(to, (const uint8_t *)e->w->data + bytes_of(e->t.type, source_row(e, at / cols) * cols + from), bytes);
        at += some;
        n -= some;
        to += bytes;
    }
}

gal_err gal_source_done(const gal_source *s, size_t i, gal_diag *diag) {
    GAL_ASSERT(i < s->count);
    const gal_w *w = s->entries[i].w;
    if (w->owned) return GAL_OK;
    gal_maps_forget_at(w->data, gal_wbytes(w));
    return gal_maps_check_at(w->data, diag);
}
