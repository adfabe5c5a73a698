/* gguf_write.c - the writer: metadata and the list of tensors are kept, their data passes through. Refuses anything
 * that the reader would refuse. Invariant: after a first failure (err, why) nothing more is added.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "formats/gguf_internal.h"
#include "formats/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct item {
    char name[GAL_GGUF_NAME + 1];
    uint32_t type;
    int ndim;
    int64_t dim[GAL_GGUF_DIMS];
    uint64_t bytes;
    const void *data;
    gal_err (*emit)(gal_sink *s, void *user, gal_diag *diag);
    void *user;
} item;

struct gal_gguf_writer {
    gal_err err;
    char why[320];
    uint64_t align;
    gal_buf values; /* as they lie in the file */
    char **keys;
    size_t n_keys, cap_keys;
    item *items;
    size_t n_items, cap_items;
};

static void fail(gal_gguf_writer *w, gal_err err, const char *fmt, ...) GAL_PRINTF(3, 4);
static void fail(gal_gguf_writer *w, gal_err err, const char *fmt, ...) {
    if (w->err) return;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(w->why, sizeof w->why, fmt, ap);
    va_end(ap);
    if (n < 0) w->why[0] = 0;
    w->err = err;
}

gal_err gal_gguf_writer_new(gal_gguf_writer **out, gal_diag *diag) {
    gal_gguf_writer *w = gal_alloc(sizeof *w);
    if (!w) return gal_fail(diag, GAL_ENOMEM, "no memory for a GGUF file");
    w->align = GAL__GGUF_ALIGNMENT;
    *out = w;
    return GAL_OK;
}

void gal_gguf_writer_free(gal_gguf_writer *w) {
    if (!w) return;
    for (size_t i = 0; i < w->n_keys; i++) gal_free(w->keys[i]);
    gal_free(w->keys);
    gal_free(w->items);
    gal_buf_free(&w->values);
    gal_free(w);
}

/* ---- metadata ----------------------------------------------------------------------------------------------------
 */

static void add_number(gal_buf *b, size_t n, uint64_t x) {
    uint8_t bytes[8];
    for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)(x >> (8 * i));
    gal_buf_add(b, bytes, n);
}

static void add_string(gal_buf *b, const char *s, size_t n) {
    add_number(b, 8, n);
    gal_buf_add(b, s, n);
}

/* A key and the head of its value; false: nothing may follow. */
static bool begin(gal_gguf_writer *w, const char *key, gal_gguf_type type, gal_gguf_type element, uint64_t count) {
    char shown[GAL__SHOW];
    const char *why = gal__gguf_bad_name(key, strlen(key), GAL__GGUF_KEY_BYTES);
    if (why)
        fail(w, GAL_EINPUT, "key \"%s\": expected a name of 1 to %d bytes of UTF-8, found one that %s",
             gal__show(shown, key), GAL__GGUF_KEY_BYTES, why);
    else if (w->n_keys == GAL__GGUF_KEYS)
        fail(w, GAL_EINPUT, "expected at most %d keys, found more", GAL__GGUF_KEYS);
    else if (count > GAL__GGUF_LONGEST)
        fail(w, GAL_EINPUT, "key \"%s\": expected an array of at most %d elements, found %" PRIu64,
             gal__show(shown, key), GAL__GGUF_LONGEST, count);
    if (w->err) return false;
    void *keys = w->keys;
    char *copy = gal_strdup(key);
    if (!copy || gal_grow(&keys, &w->cap_keys, w->n_keys + 1, sizeof *w->keys)) {
        gal_free(copy);
        fail(w, GAL_ENOMEM, "no memory for a key");
        return false;
    }
    w->keys = keys;
    w->keys[w->n_keys++] = copy;
    add_string(&w->values, key, strlen(key));
    add_number(&w->values, 4, type);
    if (type == GAL_GGUF_ARRAY) add_number(&w->values, 4, element);
    if (type == GAL_GGUF_ARRAY) add_number(&w->values, 8, count);
    return true;
}

/* What lies in the data depends on this key. */
static void take_alignment(gal_gguf_writer *w, const gal_gguf_value *v) {
    if (strcmp(v->key, "general.alignment") != 0) return;
    uint64_t x = v->type != GAL_GGUF_ARRAY && gal_gguf_is(v, GAL_GGUF_UINTS) ? gal_gguf_uint_at(v, 0) : 0;
    if (!x || x > UINT32_MAX || (x & (x - 1)))
        fail(w, GAL_EINPUT, "key \"general.alignment\": expected a power of two below 2^32");
    else
        w->align = x;
}

static void add_numbers(gal_gguf_writer *w, const char *key, gal_gguf_type type, gal_gguf_type element, const void *x,
                        uint64_t count) {
    GAL_ASSERT(element < GAL_GGUF_TYPES && gal__gguf_width(element));
    const gal_gguf_value v = { .key = key, .type = type, .element = element, .count = count, .data = x };
    char shown[GAL__SHOW];
    if (!begin(w, key, type, element, count)) return;
    for (uint64_t i = 0; element == GAL_GGUF_BOOL && i < count; i++)
        if (v.data[i] > 1)
            fail(w, GAL_EINPUT, "key \"%s\": expected bools of 0 or 1, found %d", gal__show(shown, key), v.data[i]);
    take_alignment(w, &v);
    if (count) gal_buf_add(&w->values, x, (size_t)count * gal__gguf_width(element));
}

void gal_gguf_put_number(gal_gguf_writer *w, const char *key, gal_gguf_type type, const void *x) {
    add_numbers(w, key, type, type, x, 1);
}

void gal_gguf_put_numbers(gal_gguf_writer *w, const char *key, gal_gguf_type type, const void *x, size_t count) {
    add_numbers(w, key, GAL_GGUF_ARRAY, type, x, count);
}

void gal_gguf_put_u32(gal_gguf_writer *w, const char *key, uint32_t x) {
    gal_gguf_put_number(w, key, GAL_GGUF_U32, &x);
}

void gal_gguf_put_u64(gal_gguf_writer *w, const char *key, uint64_t x) {
    gal_gguf_put_number(w, key, GAL_GGUF_U64, &x);
}

void gal_gguf_put_i32(gal_gguf_writer *w, const char *key, int32_t x) {
    gal_gguf_put_number(w, key, GAL_GGUF_I32, &x);
}

void gal_gguf_put_f32(gal_gguf_writer *w, const char *key, float x) { gal_gguf_put_number(w, key, GAL_GGUF_F32, &x); }

void gal_gguf_put_bool(gal_gguf_writer *w, const char *key, bool x) {
    uint8_t byte = x;
    gal_gguf_put_number(w, key, GAL_GGUF_BOOL, &byte);
}

static void add_words(gal_gguf_writer *w, const char *key, gal_gguf_type type, const char *const *s, const size_t *n,
                      size_t count) {
    char shown[GAL__SHOW];
    if (!begin(w, key, type, GAL_GGUF_STRING, count)) return;
    for (size_t i = 0; i < count && !w->err; i++) {
        size_t len = n ? n[i] : strlen(s[i]);
        if (len > GAL__GGUF_LONGEST)
            fail(w, GAL_EINPUT, "key \"%s\": expected a string of at most %d bytes, found %zu", gal__show(shown, key),
                 GAL__GGUF_LONGEST, len);
        else
            add_string(&w->values, s[i], len);
    }
    const gal_gguf_value v = { .key = key, .type = type, .element = GAL_GGUF_STRING };
    take_alignment(w, &v);
}

void gal_gguf_put_string(gal_gguf_writer *w, const char *key, const char *s, size_t n) {
    add_words(w, key, GAL_GGUF_STRING, &s, &n, 1);
}

void gal_gguf_put_strings(gal_gguf_writer *w, const char *key, const char *const *s, const size_t *n, size_t count) {
    add_words(w, key, GAL_GGUF_ARRAY, s, n, count);
}

void gal_gguf_put_value(gal_gguf_writer *w, const gal_gguf_value *v) {
    if (v->element != GAL_GGUF_STRING) {
        add_numbers(w, v->key, v->type, v->element, v->data, v->count);
        return;
    }
    if (!begin(w, v->key, v->type, v->element, v->count)) return;
    for (uint64_t i = 0; i < v->count; i++) {
        size_t n;
        const char *s = gal_gguf_string_at(v, i, &n);
        add_string(&w->values, s, n);
    }
    take_alignment(w, v);
}

/* ---- tensors -----------------------------------------------------------------------------------------------------
 */

gal_err gal_gguf_tensor_bytes(uint32_t type, int ndim, const int64_t *dim, uint64_t *bytes, const char *path,
                              const char *name, gal_diag *diag) {
    char why[GAL__GGUF_WHY], shown[GAL__SHOW];
    GAL_ASSERT(ndim >= 0 && ndim <= GAL_GGUF_DIMS);
    if (!gal__gguf_tensor_bytes(type, ndim, dim, bytes, why)) return GAL_OK;
    return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": %s", path, gal__show(shown, name), why);
}

void gal_gguf_put_tensor(gal_gguf_writer *w, const gal_gguf_item *from) {
    char text[GAL__GGUF_WHY], shown[GAL__SHOW];
    item it = { .type = from->type, .ndim = from->ndim, .data = from->data, .emit = from->emit, .user = from->user };
    GAL_ASSERT(it.ndim >= 0 && it.ndim <= GAL_GGUF_DIMS);
    size_t n = strlen(from->name);
    const char *why = gal__gguf_bad_name(from->name, n, GAL_GGUF_NAME);
    if (why)
        fail(w, GAL_EINPUT, "tensor \"%s\": expected a name of 1 to %d bytes of UTF-8, found one that %s",
             gal__show(shown, from->name), GAL_GGUF_NAME, why);
    else if (w->n_items == GAL__GGUF_TENSORS)
        fail(w, GAL_EINPUT, "expected at most %d tensors, found more", GAL__GGUF_TENSORS);
    else if ((why = gal__gguf_tensor_bytes(it.type, it.ndim, from->dim, &it.bytes, text)))
        fail(w, GAL_EINPUT, "tensor \"%s\": %s", gal__show(shown, from->name), why);
    if (w->err) return;
    GAL_ASSERT(it.emit || it.data || !it.bytes);
    memcpy(it.name, from->name, n);
    for (int i = 0; i < it.ndim; i++) it.dim[i] = from->dim[i];
    void *items = w->items;
    if (gal_grow(&items, &w->cap_items, w->n_items + 1, sizeof *w->items)) {
        fail(w, GAL_ENOMEM, "no memory for the list of tensors");
        return;
    }
    w->items = items;
    w->items[w->n_items++] = it;
}

/* ---- the file ----------------------------------------------------------------------------------------------------
 */

typedef struct plan {
    const gal_gguf_writer *w;
    const char *path;
    gal_buf tail; /* the list of tensors */
    uint64_t total;
} plan;

enum { HEAD = 24 };

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Names as they come, sorted here to find the same ones side by side. */
static gal_err refuse_twins(const plan *p, const char *what, const char **names, size_t n, gal_diag *diag) {
    char shown[GAL__SHOW];
    if (n) qsort(names, n, sizeof *names, by_text);
    for (size_t i = 1; i < n; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return gal_fail(diag, GAL_EINPUT, "%s: %s \"%s\" is there twice", p->path, what,
                            gal__show(shown, names[i]));
    return GAL_OK;
}

static gal_err check_names(const plan *p, gal_diag *diag) {
    const gal_gguf_writer *w = p->w;
    const char **names = gal_alloc_array(GAL_MAX(w->n_keys, w->n_items), sizeof *names);
    if (!names) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", p->path);
    for (size_t i = 0; i < w->n_keys; i++) names[i] = w->keys[i];
    gal_err err = refuse_twins(p, "key", names, w->n_keys, diag);
    for (size_t i = 0; i < w->n_items; i++) names[i] = w->items[i].name;
    if (!err) err = refuse_twins(p, "tensor", names, w->n_items, diag);
    gal_free(names);
    return err;
}

static gal_err make_list(plan *p, gal_diag *diag) {
    const gal_gguf_writer *w = p->w;
    uint64_t at = 0;
    bool fits = true;
    for (size_t i = 0; i < w->n_items; i++) {
        const item *it = &w->items[i];
        add_string(&p->tail, it->name, strlen(it->name));
        add_number(&p->tail, 4, (uint64_t)it->ndim);
        for (int d = it->ndim; d-- > 0;) add_number(&p->tail, 8, (uint64_t)it->dim[d]);
        add_number(&p->tail, 4, it->type);
        add_number(&p->tail, 8, at);
        fits = fits && it->bytes <= INT64_MAX - at && gal__gguf_pad(at + it->bytes, w->align, &at) && at <= INT64_MAX;
    }
    if (p->tail.oom) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for the list of tensors", p->path);
    uint64_t head = HEAD + w->values.len + p->tail.len;
    /* No file is that long, and no sum above could have wrapped. */
    if (!fits || (w->n_items && !gal__gguf_pad(head, w->align, &head)) || head > INT64_MAX - at)
        return gal_fail(diag, GAL_EINPUT, "%s: the tensors' bytes overflow 63 bits", p->path);
    p->total = head + at;
    return GAL_OK;
}

static gal_err write_padding(gal_sink *s, uint64_t align) {
    static const uint8_t zeros[4096];
    uint64_t at = gal_sink_offset(s), end = at;
    (void)gal__gguf_pad(at, align, &end);
    gal_err err = GAL_OK;
    while (!err && at < end) {
        size_t n = (size_t)GAL_MIN(end - at, (uint64_t)sizeof zeros);
        err = gal_sink_write(s, zeros, n);
        at += n;
    }
    return err;
}

static gal_err emit(gal_sink *s, void *user, gal_diag *diag) {
    const plan *p = user;
    const gal_gguf_writer *w = p->w;
    uint8_t head[HEAD] = { 'G', 'G', 'U', 'F', 3 };
    for (size_t i = 0; i < 8; i++) {
        head[8 + i] = (uint8_t)((uint64_t)w->n_items >> (8 * i));
        head[16 + i] = (uint8_t)((uint64_t)w->n_keys >> (8 * i));
    }
    gal_sink_expect(s, p->total);
    gal_err err = gal_sink_write(s, head, sizeof head);
    if (!err && w->values.len) err = gal_sink_write(s, w->values.data, w->values.len);
    if (!err && p->tail.len) err = gal_sink_write(s, p->tail.data, p->tail.len);
    if (!err && w->n_items) err = write_padding(s, w->align);
    for (size_t i = 0; !err && i < w->n_items; i++) {
        const item *it = &w->items[i];
        uint64_t begin = gal_sink_offset(s);
        if (it->emit)
            err = it->emit(s, it->user, diag);
        else if (it->bytes)
            err = gal_sink_write(s, it->data, (size_t)it->bytes);
        /* A tensor of another length would move all that follow. */
        GAL_ASSERT(err || gal_sink_offset(s) - begin == it->bytes);
        if (!err) err = write_padding(s, w->align);
    }
    return err ? gal_fail(diag, err, "%s: writing failed", p->path) : GAL_OK;
}

/* Into a file, or appended to out. */
static gal_err write_to(const gal_gguf_writer *w, gal_buf *out, const char *path, gal_diag *diag) {
    if (w->err) return gal_fail(diag, w->err, "%s: %s", path, w->why);
    if (w->values.oom) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for the metadata", path);
    plan p = { .w = w, .path = path };
    gal_err err = check_names(&p, diag);
    if (!err) err = make_list(&p, diag);
    if (!err) err = out ? gal_write_memory(out, path, emit, &p, diag) : gal_write_atomic(path, emit, &p, diag);
    gal_buf_free(&p.tail);
    return err;
}

gal_err gal_gguf_file_bytes(const gal_gguf_writer *w, const char *path, uint64_t *bytes, gal_diag *diag) {
    if (w->err) return gal_fail(diag, w->err, "%s: %s", path, w->why);
    if (w->values.oom) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for the metadata", path);
    plan p = { .w = w, .path = path };
    gal_err err = make_list(&p, diag);
    *bytes = p.total;
    gal_buf_free(&p.tail);
    return err;
}

gal_err gal_gguf_write(const gal_gguf_writer *w, const char *path, gal_diag *diag) {
    return write_to(w, NULL, path, diag);
}

gal_err gal_gguf_print(const gal_gguf_writer *w, gal_buf *out, const char *path, gal_diag *diag) {
    return write_to(w, out, path, diag);
}
