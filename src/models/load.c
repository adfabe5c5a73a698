/* load.c - a model from a folder in Hugging Face or Mistral's own layout (formats.md 2, 3). Refuses folders that lack
 * a weight or hold one of another shape or of a type that we do not compute with. Weights stay in the mapped files,
 * read-only; what lies there unaligned, or in f64, is copied. SPDX-License-Identifier: Apache-2.0 */
#include "models/load.h"
#include "base/file.h"
#include "base/mem.h"
#include "models/lora.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NOTES = 32 };

static void close_set(void *files) { gal_st_set_close(files); }
static gal_err bring_set(void *files, gal_bring *how, gal_diag *diag) { return gal_st_set_bring(files, how, diag); }

const char *gal__shape_text(char buf[GAL__SHAPE_TEXT], int ndim, const int64_t *dim) {
    size_t n = 0;
    buf[n++] = '[';
    for (int i = 0; i < ndim && n < GAL__SHAPE_TEXT - 32; i++)
        n += (size_t)snprintf(buf + n, GAL__SHAPE_TEXT - n, "%s%" PRId64, i ? ", " : "", dim[i]);
    buf[n++] = ']';
    buf[n] = 0;
    return buf;
}

gal_err gal__check_shape(const gal_w *w, const char *file, int ndim, const int64_t *dim, gal_diag *diag) {
    char want[GAL__SHAPE_TEXT], have[GAL__SHAPE_TEXT];
    bool same = ndim == w->ndim;
    for (int i = 0; same && i < w->ndim; i++) same = dim[i] == w->dim[i];
    if (same) return GAL_OK;
    return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": expected shape %s, found %s", file, w->name,
                    gal__shape_text(want, w->ndim, w->dim), gal__shape_text(have, ndim, dim));
}

gal_err gal__check_stacked(const gal__stacked *s, const char *file, int ndim, const int64_t *dim, gal_diag *diag) {
    gal_w as = { .name = (char *)(uintptr_t)s->name, .ndim = s->ndim };
    memcpy(as.dim, s->dim, sizeof as.dim);
    return gal__check_shape(&as, file, ndim, dim, diag);
}

/* Points w at the tensor's place in the mapped file, or copies it where it cannot be used as it lies. */
static gal_err take(gal_w *w, const gal_st_tensor *t, const gal_st_set *set, const gal_config *c, gal_diag *diag) {
    gal_err err = gal__check_shape(w, t->file, t->ndim, t->dim, diag);
    if (err) return err;
    if (t->dtype == GAL_ST_F8_E4M3) return gal__take_fp8(w, t, set, c->fp8_block, diag);
    gal_dtype dtype;
    if (!gal_st_dtype_ours(t->dtype, &dtype))
        return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": expected F32, F16, BF16, F64 or F8_E4M3, found %s",
                        t->file, w->name, gal_st_dtype_name(t->dtype));
    bool wide = dtype == GAL_F64;
    w->file = t->file;
    w->dtype = wide ? GAL_F32 : dtype;
    if (!wide && (uintptr_t)t->data % gal_dtype_bytes(dtype) == 0) {
        w->data = (void *)(uintptr_t)t->data; /* read-only; gal_w has one pointer for both kinds of memory */
        w->owned = false;
        return GAL_OK;
    }
    uint8_t *copy = gal_alloc((size_t)t->bytes);
    if (!copy)
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for tensor \"%s\": %" PRIu64 " bytes", t->file, w->name,
                        t->bytes);
    memcpy(copy, t->data, (size_t)t->bytes);
    w->data = copy;
    w->owned = true;
    if (!wide) return GAL_OK;
    float *narrow = gal_alloc(gal_wbytes(w));
    if (!narrow) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for tensor \"%s\"", t->file, w->name);
    gal_convert(narrow, GAL_F32, copy, GAL_F64, gal_wcount(w));
    w->data = narrow;
    gal_free(copy);
    return GAL_OK;
}

gal_err gal_model_add_note(gal_model *m, const char *file, const char *what, gal_diag *diag) {
    if (m->n_notes == MAX_NOTES) return GAL_OK;
    if (!m->notes) m->notes = gal_alloc_array(MAX_NOTES, sizeof *m->notes);
    gal_buf b = { 0 };
    gal_buf_printf(&b, "%s%s", file, what);
    if (!m->notes || b.oom) {
        gal_buf_free(&b);
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for a note", file);
    }
    m->notes[m->n_notes++] = b.data;
    return GAL_OK;
}

/* Of a tensor as a matrix; its shape was checked. */
static uint64_t rows_of(const gal_st_tensor *t) {
    uint64_t n = 1;
    for (int i = 0; i < t->ndim - 1; i++) n *= (uint64_t)t->dim[i];
    return n;
}

/* The tensor of w, or, in *view, its part of a tensor that holds more; NULL: there is none. */
static gal_err find(const gal_st_tensor **out, gal_st_tensor *view, const gal_model *m, const gal_st_set *set,
                    const gal_w *w, gal_diag *diag) {
    gal__stacked s;
    *out = gal__find_tensor(m, set, w->name);
    if (*out) return GAL_OK;
    for (size_t i = 0; gal__stacked_form(m, w, &i, &s);) {
        const gal_st_tensor *t = gal__find_tensor(m, set, s.name);
        if (!t) continue;
        gal_err err = gal__check_stacked(&s, t->file, t->ndim, t->dim, diag);
        if (err) return err;
        if (t->dtype == GAL_ST_F8_E4M3)
            return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": FP8 experts in one tensor are not supported",
                            t->file, t->name);
        uint64_t row = t->bytes / rows_of(t);
        *view = *t;
        view->ndim = w->ndim;
        view->dim = w->dim;
        view->data = (const uint8_t *)t->data + row * (uint64_t)s.row;
        view->bytes = row * (uint64_t)w->dim[0];
        *out = view;
        return GAL_OK;
    }
    return GAL_OK;
}

static int by_name(const void *a, const void *b) {
    const gal_w *x = *(gal_w *const *)a, *y = *(gal_w *const *)b;
    return strcmp(x->name, y->name);
}

static bool ends_with(const char *s, const char *tail) {
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

static const char *described_by(const gal_model *m) {
    return m->config.layout == GAL_LAYOUT_OWN ? "params.json" : "config.json";
}

/* Some weight was read from t. */
static bool is_weight(const gal_model *m, gal_w *const *sorted, const gal_st_set *set, const gal_st_tensor *t) {
    char plain[GAL__PLAIN], name[GAL__PLAIN], weight[GAL__PLAIN];
    if (strlen(t->name) >= GAL__PLAIN) return false;
    (void)snprintf(name, sizeof name, "%s", gal__plain_name(m, t->name, plain));
    gal_w key = { .name = name }, *p = &key;
    if (gal__find_tensor(m, set, name) != t) return false;
    for (size_t i = 0; gal__stands_for(m, name, &i, weight);) {
        const gal_w w = { .name = weight, .ndim = 2 };
        const gal_st_tensor *used = gal__find_tensor(m, set, weight);
        gal__stacked s;
        for (size_t j = 0; !used && gal__stacked_form(m, &w, &j, &s);) used = gal__find_tensor(m, set, s.name);
        if (used == t) return true;
    }
    return bsearch(&p, sorted, m->n_weights, sizeof(void *), by_name) != NULL;
}

/* A tensor that no weight asked for: left out where it is known what it is, else refused. */
static gal_err refuse_or_leave(gal_model *m, gal__left_out *left, const gal_st_set *set, const gal_st_tensor *t,
                               gal_diag *diag) {
    const char *head = m->config.layout == GAL_LAYOUT_OWN ? "output.weight" : "lm_head.weight";
    char name[GAL__PLAIN], plain[GAL__PLAIN], text[160];
    if (gal__leave_out(m, left, t->name) || ends_with(t->name, ".rotary_emb.inv_freq") ||
        gal__beside_fp8(set, t->name))
        return GAL_OK;
    if (m->config.tied && strcmp(gal__plain_name(m, t->name, plain), head) == 0) {
        (void)snprintf(text, sizeof text, ": tensor \"%s\" is not used: %s ties it to the embedding", head,
                       described_by(m));
        return gal_model_add_note(m, t->file, text, diag);
    }
    (void)snprintf(name, sizeof name, "%.120s", t->name);
    for (char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20) *c = '?';
    return gal_fail(diag, GAL_EINPUT,
                    "%s: tensor \"%s\" belongs to no weight of the model: expected the %zu tensors that %s asks for",
                    t->file, name, m->n_weights, described_by(m));
}

/* Refuses a tensor that no weight asked for: a model without it would be another one (fewer layers than the file has,
 * biases that are left out). Not needed: rotary frequencies of old files, which follow from the config; a head beside
 * a config that ties it to the embedding, which is said; scales that load_fp8.c knows; what is not text, which is
 * said. */
static gal_err refuse_extra(gal_model *m, const char *dir, const gal_st_set *set, gal_diag *diag) {
    gal_err err = GAL_OK;
    gal__left_out left = { 0 };
    for (size_t i = 0; !err && i < gal_st_set_notes(set); i++)
        err = gal_model_add_note(m, gal_st_set_note(set, i), "", diag);
    gal_w **sorted = gal_alloc_array(m->n_weights, sizeof(void *));
    if (!sorted) return gal_fail(diag, GAL_ENOMEM, "no memory for a table of %zu weights", m->n_weights);
    for (size_t i = 0; i < m->n_weights; i++) sorted[i] = &m->weights[i];
    qsort(sorted, m->n_weights, sizeof(void *), by_name);
    for (size_t i = 0; !err && i < gal_st_set_count(set); i++) {
        const gal_st_tensor *t = gal_st_set_at(set, i);
        if (!is_weight(m, sorted, set, t)) err = refuse_or_leave(m, &left, set, t, diag);
    }
    gal_free(sorted);
    return err ? err : gal__note_left_out(m, &left, dir, diag);
}

static gal_err take_all(gal_model *m, const char *dir, const gal_st_set *set, gal_diag *diag) {
    for (size_t i = 0; i < m->n_weights; i++) {
        gal_w *w = &m->weights[i];
        const gal_st_tensor *t = NULL;
        gal_st_tensor view;
        char shape[GAL__SHAPE_TEXT];
        gal_err err = find(&t, &view, m, set, w, diag);
        if (err) return err;
        if (!t)
            return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\" of shape %s is missing; %s asks for it", dir,
                            w->name, gal__shape_text(shape, w->ndim, w->dim), described_by(m));
        err = take(w, t, set, &m->config, diag);
        if (err) return err;
    }
    return refuse_extra(m, dir, set, diag);
}

/* What the file did not say and its readers have to agree on. */
static gal_err note_assumed(gal_model *m, const char *file, gal_diag *diag) {
    char text[96];
    if (!m->config.theta_assumed) return GAL_OK;
    (void)snprintf(text, sizeof text, ": rope_theta is missing; taken as %g", m->config.rope_theta);
    return gal_model_add_note(m, file, text, diag);
}

/* Few enough weights that reading them all at once is not felt. */
static bool small(const gal_model *m) {
    size_t bytes = 0;
    for (size_t i = 0; i < m->n_weights; i++) bytes += gal_wbytes(&m->weights[i]);
    return bytes <= GAL_FINITE_BYTES;
}

/* The baseline of RL-R serves training alone: files that have none of it run as well. Those with a part are damaged.
 */
static bool lacks_baseline(const gal_config *c, const gal_st_set *set) {
    bool some = false;
    for (size_t i = 0; c->router == GAL_ROUTER_RLR && !some && i < gal_st_set_count(set); i++)
        some = strstr(gal_st_set_at(set, i)->name, ".moe.value_") != NULL;
    return c->router == GAL_ROUTER_RLR && !some;
}

/* dir has this layout, as far as one can see from its files' names. */
static gal_err load_folder(gal_model **out, const char *dir, gal_layout layout, gal_diag *diag) {
    bool own = layout == GAL_LAYOUT_OWN;
    gal_buf path = { 0 };
    gal_config config;
    gal_config_defaults(&config);
    gal_model *m = NULL;
    gal_st_set *set = NULL;
    gal_err err = gal_path_join(&path, dir, own ? "params.json" : "config.json")
                      ? GAL_OK
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err) err = own ? gal_own_config_read(&config, path.data, diag) : gal_config_read(&config, path.data, diag);
    if (!err) err = gal_st_set_open(&set, dir, own ? "consolidated" : "model", diag);
    if (!err) config.no_baseline = lacks_baseline(&config, set);
    if (!err) err = gal_model_build(&m, &config, diag);
    if (err) gal_st_set_close(set);
    if (!err) {
        m->files = set;
        m->files_free = close_set;
        m->files_bring = bring_set;
        err = take_all(m, dir, set, diag);
    }
    if (!err) err = note_assumed(m, path.data, diag);
    gal_buf_free(&path);
    gal_config_free(&config);
    if (err)
        gal_model_free(m);
    else
        *out = m;
    return err;
}

/* A folder with an adapter alone: its base, and the adapter on it. */
static gal_err load_adapted(gal_model **out, const char *base, const char *dir, gal_layout layout, gal_diag *diag) {
    gal_buf at = { 0 }, further = { 0 };
    gal_err err = gal_model_find_as(base, layout, &at, diag);
    if (!err) err = gal_lora_base(at.data, &further, diag);
    if (!err && further.len)
        err = gal_fail(diag, GAL_EINPUT, "%s: its model %s is an adapter itself: merge that with galerne convert",
                       dir, base);
    if (!err) err = gal_model_load_as(out, at.data, layout, diag);
    if (!err) err = gal_lora_load(*out, dir, 1.0, diag);
    if (err) {
        gal_model_free(*out);
        *out = NULL;
    }
    gal_buf_free(&at);
    gal_buf_free(&further);
    return err;
}

gal_err gal_model_load_as(gal_model **out, const char *path, gal_layout layout, gal_diag *diag) {
    gal_model *m = NULL;
    gal_buf at = { 0 }, base = { 0 };
    gal_err err = gal_lora_base(path, &base, diag);
    if (!err && base.len) {
        err = load_adapted(&m, base.data, path, layout, diag);
        gal_buf_free(&base);
        if (!err) *out = m;
        return err;
    }
    gal_buf_free(&base);
    if (!err) err = gal__resolve(&at, &layout, path, layout, diag);
    if (!err)
        err = layout == GAL_LAYOUT_GGUF ? gal__load_gguf(&m, at.data, diag) : load_folder(&m, path, layout, diag);
    if (!err && small(m)) err = gal_model_check_finite(m, diag);
    gal_buf_free(&at);
    if (err)
        gal_model_free(m);
    else
        *out = m;
    return err;
}

gal_err gal_model_load(gal_model **out, const char *path, gal_diag *diag) {
    return gal_model_load_as(out, path, GAL_LAYOUT_ANY, diag);
}

uint64_t gal_model_mapped_bytes(const gal_model *m) {
    uint64_t sum = 0;
    if (m->files_read) return 0;
    for (size_t i = 0; i < m->n_weights; i++)
        sum += m->weights[i].owned || (m->weights[i].packed && !m->side.data) ? 0 : gal_wbytes(&m->weights[i]);
    return sum;
}

gal_err gal_model_bring(gal_model *m, gal_bring *how, gal_diag *diag) {
    uint64_t mapped = gal_model_mapped_bytes(m), available = gal_memory_available();
    if (how->read && mapped > available)
        return gal_fail(diag, GAL_ENOMEM,
                        "reading the weights into memory needs %" PRIu64 " bytes, %" PRIu64 " are available; mapped, "
                        "they are read as they are needed",
                        mapped, available);
    gal_err err = m->files ? m->files_bring(m->files, how, diag) : GAL_OK;
    m->files_read = how->read && !err;
    return err;
}
