/* safetensors.c - the mapped reader of one file. Refuses every file that breaks a rule of formats.md 1.
 * Invariant: of an open file every tensor's data lies inside the file and has exactly the bytes of its shape and
 * type. SPDX-License-Identifier: Apache-2.0 */
#include "formats/safetensors.h"

#include "base/file.h"
#include "base/mem.h"
#include "formats/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 100000000 };

static const struct {
    const char *name;
    int bits;
} DTYPES[GAL_ST_DTYPES] = {
    [GAL_ST_BOOL] = { "BOOL", 8 },       [GAL_ST_U8] = { "U8", 8 },           [GAL_ST_I8] = { "I8", 8 },
    [GAL_ST_F8_E5M2] = { "F8_E5M2", 8 }, [GAL_ST_F8_E4M3] = { "F8_E4M3", 8 }, [GAL_ST_F8_E8M0] = { "F8_E8M0", 8 },
    [GAL_ST_I16] = { "I16", 16 },        [GAL_ST_U16] = { "U16", 16 },        [GAL_ST_F16] = { "F16", 16 },
    [GAL_ST_BF16] = { "BF16", 16 },      [GAL_ST_I32] = { "I32", 32 },        [GAL_ST_U32] = { "U32", 32 },
    [GAL_ST_F32] = { "F32", 32 },        [GAL_ST_F64] = { "F64", 64 },        [GAL_ST_I64] = { "I64", 64 },
    [GAL_ST_U64] = { "U64", 64 },        [GAL_ST_C64] = { "C64", 64 },        [GAL_ST_F4] = { "F4", 4 },
    [GAL_ST_F6_E2M3] = { "F6_E2M3", 6 }, [GAL_ST_F6_E3M2] = { "F6_E3M2", 6 },
};

struct gal_safetensors {
    gal_map map;
    const uint8_t *bytes; /* of the whole file */
    size_t size, header;  /* header: N */
    char *path;
    json_t *root; /* owns names and metadata */
    gal_st_tensor *tensors;
    size_t count;
    int64_t *dims; /* shapes of all tensors, one after another */
};

const char *gal_st_dtype_name(gal_st_dtype t) { return DTYPES[t].name; }
int gal_st_dtype_bits(gal_st_dtype t) { return DTYPES[t].bits; }

bool gal_st_dtype_ours(gal_st_dtype t, gal_dtype *out) {
    if (t == GAL_ST_F32)
        *out = GAL_F32;
    else if (t == GAL_ST_BF16)
        *out = GAL_BF16;
    else if (t == GAL_ST_F16)
        *out = GAL_F16;
    else if (t == GAL_ST_F64)
        *out = GAL_F64;
    else
        return false;
    return true;
}

gal_st_dtype gal_st_dtype_of(gal_dtype t) {
    static const gal_st_dtype of[GAL_DTYPES] = { [GAL_F32] = GAL_ST_F32,
                                                 [GAL_BF16] = GAL_ST_BF16,
                                                 [GAL_F16] = GAL_ST_F16,
                                                 [GAL_F64] = GAL_ST_F64,
                                                 [GAL_I32] = GAL_ST_I32 };
    GAL_ASSERT(t < GAL_DTYPES);
    return of[t];
}

/* Where a tensor's entry begins in the file: for messages only, so a name with escapes may fall back to the header's
 * start. */
static size_t entry_offset(const gal_safetensors *s, const char *name) {
    const char *h = (const char *)s->bytes + 8;
    size_t n = strlen(name);
    for (size_t i = 0; n + 2 <= s->header && i <= s->header - n - 2; i++)
        if (h[i] == '"' && h[i + n + 1] == '"' && memcmp(h + i + 1, name, n) == 0) return 8 + i;
    return 8;
}

static gal_err bad(const gal_safetensors *s, const char *name, gal_diag *diag, const char *fmt, ...) GAL_PRINTF(4, 5);
static gal_err bad(const gal_safetensors *s, const char *name, gal_diag *diag, const char *fmt, ...) {
    char what[320], shown[GAL__SHOW];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\" (byte %zu): %s", s->path, gal__show(shown, name),
                    entry_offset(s, name), n < 0 ? "damaged" : what);
}

static gal_err read_dtype(const gal_safetensors *s, gal_st_tensor *t, const json_t *entry, gal_diag *diag) {
    const json_t *v = json_object_get(entry, "dtype");
    if (!json_is_string(v))
        return bad(s, t->name, diag, "expected a string as \"dtype\", found %s", gal__json_kind(v));
    for (int i = 0; i < GAL_ST_DTYPES; i++) {
        if (strcmp(DTYPES[i].name, json_string_value(v)) != 0) continue;
        t->dtype = (gal_st_dtype)i;
        return GAL_OK;
    }
    char shown[GAL__SHOW];
    return bad(s, t->name, diag, "expected a dtype of safetensors (F32, BF16, F16, ...), found \"%s\"",
               gal__show(shown, json_string_value(v)));
}

/* The shape into dim[], the bytes that it asks for into *bytes. */
static gal_err read_shape(const gal_safetensors *s, gal_st_tensor *t, const json_t *entry, int64_t *dim,
                          uint64_t *bytes, gal_diag *diag) {
    const json_t *v = json_object_get(entry, "shape");
    if (!json_is_array(v)) return bad(s, t->name, diag, "expected a list as \"shape\", found %s", gal__json_kind(v));
    uint64_t count = 1;
    size_t n = json_array_size(v);
    for (size_t i = 0; i < n; i++) {
        const json_t *d = json_array_get(v, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return bad(s, t->name, diag, "dimension %zu of the shape: expected an integer >= 0, found %s", i,
                       json_is_integer(d) ? "a negative one" : gal__json_kind(d));
        dim[i] = json_integer_value(d);
        if (dim[i] && count > (uint64_t)INT64_MAX / (uint64_t)dim[i])
            return bad(s, t->name, diag, "the product of the shape overflows 63 bits at dimension %zu (%" PRId64 ")",
                       i, dim[i]);
        count *= (uint64_t)dim[i];
    }
    uint64_t bits = (uint64_t)DTYPES[t->dtype].bits;
    if (count > UINT64_MAX / bits)
        return bad(s, t->name, diag, "%" PRIu64 " elements of %s overflow 64 bits", count, DTYPES[t->dtype].name);
    if (count * bits % 8)
        return bad(s, t->name, diag, "expected whole bytes, found %" PRIu64 " elements of %" PRIu64 " bits", count,
                   bits);
    *bytes = count * bits / 8;
    t->ndim = (int)n;
    t->dim = dim;
    return GAL_OK;
}

static gal_err read_entry(gal_safetensors *s, gal_st_tensor *t, const json_t *entry, int64_t *dim, gal_diag *diag) {
    if (!json_is_object(entry)) return bad(s, t->name, diag, "expected an object, found %s", gal__json_kind(entry));
    uint64_t bytes = 0, data = (uint64_t)(s->size - 8 - s->header);
    gal_err err = read_dtype(s, t, entry, diag);
    if (!err) err = read_shape(s, t, entry, dim, &bytes, diag);
    if (err) return err;
    const json_t *v = json_object_get(entry, "data_offsets");
    const json_t *a = json_array_get(v, 0), *b = json_array_get(v, 1);
    if (json_array_size(v) != 2 || !json_is_integer(a) || !json_is_integer(b) || json_integer_value(a) < 0 ||
        json_integer_value(b) < 0)
        return bad(s, t->name, diag, "expected two integers >= 0 as \"data_offsets\"");
    uint64_t begin = (uint64_t)json_integer_value(a), end = (uint64_t)json_integer_value(b);
    if (end < begin)
        return bad(s, t->name, diag, "data_offsets: expected an end >= %" PRIu64 ", found %" PRIu64, begin, end);
    if (end > data)
        return bad(s, t->name, diag,
                   "data ends at %" PRIu64 ", expected at most %" PRIu64 ", the bytes after the header", end, data);
    if (end - begin != bytes)
        return bad(s, t->name, diag,
                   "expected %" PRIu64 " bytes for this shape of %s, found %" PRIu64 " in data_offsets", bytes,
                   DTYPES[t->dtype].name, end - begin);
    t->bytes = bytes;
    t->offset = 8 + (uint64_t)s->header + begin;
    t->data = s->bytes + t->offset;
    return GAL_OK;
}

static int by_place(const void *a, const void *b) {
    const gal_st_tensor *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* empty tensors first: they may share a place */
}

static int by_name(const void *a, const void *b) {
    const gal_st_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Back to back from the header's end to the file's: no hole, no overlap, no bytes left over. */
static gal_err check_places(const gal_safetensors *s, gal_diag *diag) {
    uint64_t at = 8 + (uint64_t)s->header;
    for (size_t i = 0; i < s->count; i++) {
        const gal_st_tensor *t = &s->tensors[i];
        if (t->offset != at) {
            char shown[GAL__SHOW];
            return gal_fail(diag, GAL_EINPUT,
                            "%s: tensor \"%s\": expected its data at byte %" PRIu64 ", found it at %" PRIu64 " (%s)",
                            s->path, gal__show(shown, t->name), at, t->offset,
                            t->offset > at ? "a hole" : "it overlaps another tensor");
        }
        at += t->bytes;
    }
    if (at != s->size)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: byte %" PRIu64 ": expected the end of the file, found %" PRIu64
                        " bytes after the last tensor",
                        s->path, at, (uint64_t)s->size - at);
    return GAL_OK;
}

static gal_err check_meta(const gal_safetensors *s, json_t *meta, gal_diag *diag) {
    if (!json_is_object(meta))
        return bad(s, "__metadata__", diag, "expected an object, found %s", gal__json_kind(meta));
    const char *key;
    json_t *v;
    char shown[GAL__SHOW];
    json_object_foreach(meta, key, v) {
        if (!json_is_string(v))
            return bad(s, "__metadata__", diag, "expected a string as value of \"%s\", found %s",
                       gal__show(shown, key), gal__json_kind(v));
    }
    return GAL_OK;
}

static gal_err read_entries(gal_safetensors *s, gal_diag *diag) {
    size_t dims = 0;
    const char *key;
    json_t *v;
    json_object_foreach(s->root, key, v) {
        dims += json_array_size(json_object_get(v, "shape"));
        s->count++;
    }
    if (json_object_get(s->root, "__metadata__")) s->count--;
    s->tensors = gal_alloc_array(s->count, sizeof *s->tensors);
    s->dims = gal_alloc_array(dims, sizeof *s->dims);
    if (!s->tensors || !s->dims)
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for the list of %zu tensors", s->path, s->count);
    size_t i = 0;
    int64_t *dim = s->dims;
    json_object_foreach(s->root, key, v) {
        gal_err err;
        if (strcmp(key, "__metadata__") == 0) {
            err = check_meta(s, v, diag);
        } else {
            gal_st_tensor *t = &s->tensors[i++];
            t->name = key;
            t->file = s->path;
            err = read_entry(s, t, v, dim, diag);
            dim += t->ndim;
        }
        if (err) return err;
    }
    if (s->count) qsort(s->tensors, s->count, sizeof *s->tensors, by_place);
    gal_err err = check_places(s, diag);
    if (!err && s->count) qsort(s->tensors, s->count, sizeof *s->tensors, by_name);
    return err;
}

static gal_err parse(gal_safetensors *s, gal_diag *diag) {
    if (s->size < 8)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: byte 0: expected the 8 bytes of a header's length, found a file of %zu bytes", s->path,
                        s->size);
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | s->bytes[i];
    if (n > MAX_HEADER)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: byte 0: expected a header of at most %d bytes, found %" PRIu64
                        " (is this a safetensors file?)",
                        s->path, MAX_HEADER, n);
    if (n > s->size - 8)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: byte 0: the header has %" PRIu64 " bytes, expected at most %zu, the bytes left "
                        "in the file",
                        s->path, n, s->size - 8);
    s->header = (size_t)n;
    if (!n || s->bytes[8] != '{')
        return gal_fail(diag, GAL_EINPUT, "%s: byte 8: expected '{' as the header's first byte", s->path);
    gal_err err = gal__json_parse(&s->root, (const char *)s->bytes + 8, s->header, s->path, 8, diag);
    return err ? err : read_entries(s, diag);
}

static gal_err begin(gal_safetensors **out, const char *path, gal_diag *diag) {
    gal_safetensors *s = gal_alloc(sizeof *s);
    char *copy = gal_strdup(path);
    if (!s || !copy) {
        gal_free(s);
        gal_free(copy);
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    }
    s->path = copy;
    *out = s;
    return GAL_OK;
}

gal_err gal_safetensors_parse(gal_safetensors **out, const void *bytes, size_t n, const char *path, gal_diag *diag) {
    gal_safetensors *s;
    gal_err err = begin(&s, path, diag);
    if (err) return err;
    s->bytes = bytes;
    s->size = n;
    err = parse(s, diag);
    if (err)
        gal_safetensors_close(s);
    else
        *out = s;
    return err;
}

gal_err gal_safetensors_open(gal_safetensors **out, const char *path, gal_diag *diag) {
    gal_safetensors *s;
    gal_err err = begin(&s, path, diag);
    if (err) return err;
    err = gal_map_open(&s->map, path, diag);
    s->bytes = s->map.data;
    s->size = s->map.bytes;
    if (!err) err = parse(s, diag);
    if (err)
        gal_safetensors_close(s);
    else
        *out = s;
    return err;
}

void gal_safetensors_close(gal_safetensors *s) {
    if (!s) return;
    json_decref(s->root);
    gal_map_close(&s->map);
    gal_free(s->tensors);
    gal_free(s->dims);
    gal_free(s->path);
    gal_free(s);
}

uint64_t gal_safetensors_bytes(const gal_safetensors *s) { return s->size; }

gal_err gal_safetensors_bring(gal_safetensors *s, gal_bring *how, gal_diag *diag) {
    return gal_map_bring(&s->map, s->path, how, diag);
}

size_t gal_safetensors_count(const gal_safetensors *s) { return s->count; }

const gal_st_tensor *gal_safetensors_at(const gal_safetensors *s, size_t i) {
    GAL_ASSERT(i < s->count);
    return &s->tensors[i];
}

const gal_st_tensor *gal_safetensors_find(const gal_safetensors *s, const char *name) {
    gal_st_tensor key = { .name = name };
    return s->count ? bsearch(&key, s->tensors, s->count, sizeof key, by_name) : NULL;
}

const char *gal_safetensors_meta(const gal_safetensors *s, const char *key) {
    return json_string_value(json_object_get(json_object_get(s->root, "__metadata__"), key));
}
