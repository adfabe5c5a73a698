/* source.c - see source.h. Owns the loaded model and a second one without data, which gives the other layout's names;
 * a weight has the same place in both. SPDX-License-Identifier: Apache-2.0 */
#include "convert/source.h"

#include "base/maps.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* Where the rows of a tensor come from. */
typedef enum order {
    AS_THEY_ARE,
    INTO_PAIRS, /* (2j, 2j + 1) out of (j, j + half) */
    INTO_HALVES /* and back */
} order;

/* A tensor and the weights whose rows it is made of: one, or the experts' matrices of a layer one after the other. */
typedef struct entry {
    gal_source_tensor t;
    char name[GAL_GGUF_NAME + 1]; /* of a tensor of experts */
    const gal_w **parts;          /* [n_parts] */
    int64_t n_parts;
    order order;
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

static order order_of(const gal_w *w, gal_layout from, gal_layout to) {
    bool halves = from == GAL_LAYOUT_HF, wanted = to == GAL_LAYOUT_HF;
    if (!w->rotary || halves == wanted) return AS_THEY_ARE;
    return wanted ? INTO_HALVES : INTO_PAIRS;
}

/* In a GGUF file the matrices of a layer's experts lie in one tensor: of "blk.3.ffn_up.5.weight" the name of that
 * one, and the expert. */
static bool stacked(char name[GAL_GGUF_NAME + 1], int *expert, const char *weight) {
    static const char *const KINDS[] = { "gate", "up", "down" };
    int layer;
    char rest[24], want[24];
    if (sscanf(weight, "blk.%7d.ffn_%20s", &layer, rest) != 2) return false;
    for (size_t i = 0; i < GAL_LEN(KINDS); i++) {
        size_t n = strlen(KINDS[i]);
        if (strncmp(rest, KINDS[i], n) != 0 || sscanf(rest + n, ".%7d.", expert) != 1) continue;
        (void)snprintf(want, sizeof want, "%s.%d.weight", KINDS[i], *expert);
        if (strcmp(rest, want) != 0) continue;
        (void)snprintf(name, GAL_GGUF_NAME + 1, "blk.%d.ffn_%s_exps.weight", layer, KINDS[i]);
        return true;
    }
    return false;
}

static entry *find_entry(const gal_source *s, const char *name) {
    for (size_t i = s->count; i-- > 0;)
        if (strcmp(s->entries[i].t.name, name) == 0) return &s->entries[i];
    return NULL;
}

/* The first of a tensor's weights makes its entry; further experts come to it. */
static void add(gal_source *s, const gal_w *w, const gal_w *n, size_t *used) {
    char name[GAL_GGUF_NAME + 1] = "";
    int expert = 0;
    int64_t experts = s->names->config.layout == GAL_LAYOUT_GGUF ? s->names->config.experts : 0;
    bool many = experts && stacked(name, &expert, n->name) && expert < experts;
    entry *e = many ? find_entry(s, name) : NULL;
    if (!e) {
        e = &s->entries[s->count++];
        *e = (entry){ .t = { .name = n->name, .role = n->role, .ndim = n->ndim, .type = type_of(w) },
                      .parts = s->parts + *used,
                      .n_parts = many ? experts : 1,
                      .order = order_of(w, s->m->config.layout, s->names->config.layout) };
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
static const gal_w *source_row(const entry *e, int64_t r, int64_t *row) {
    int64_t each = e->n_parts > 1 ? e->t.dim[1] : r + 1;
    const gal_w *w = e->parts[r / each];
    *row = r % each;
    if (e->order == AS_THEY_ARE) return w;
    int64_t size = w->rotary, half = size / 2, head = r / size, k = r % size;
    int64_t from = e->order == INTO_PAIRS ? k % 2 * half + k / 2 : k % half * 2 + k / half;
    *row = head * size + from;
    return w;
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
        int64_t from = at % cols, some = GAL_MIN(cols - from, n), row;
        const gal_w *w = source_row(e, at / cols, &row);
        read_stretch(w, row, from, some, cols, out);
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
    if (e->mixed) {
        gal_source_read(s, i, at, n, out);
        return;
    }
    while (n > 0) {
        int64_t from = at % cols, some = GAL_MIN(cols - from, n), row;
        const gal_w *w = source_row(e, at / cols, &row);
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
