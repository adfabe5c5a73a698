/* gguf.c - the mapped reader of one file. Refuses every file that breaks a rule of formats.md 4.1; nothing is
 * allocated on a file's word that is not bounded by the bytes that it has. Invariant: of a part that was parsed, all
 * values and every tensor's data lie inside the file, and keys are unique. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "formats/gguf_internal.h"
#include "formats/json.h"
#include "tensor/blocks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *gal_gguf_type_name(uint32_t type) {
    const gal_block_info *b = gal_block_info_of(type);
    return b ? b->name : "?";
}

static const struct {
    const char *name;
    size_t width;
} VALUES[GAL_GGUF_TYPES] = {
    [GAL_GGUF_U8] = { "u8", 1 },       [GAL_GGUF_I8] = { "i8", 1 },     [GAL_GGUF_U16] = { "u16", 2 },
    [GAL_GGUF_I16] = { "i16", 2 },     [GAL_GGUF_U32] = { "u32", 4 },   [GAL_GGUF_I32] = { "i32", 4 },
    [GAL_GGUF_F32] = { "f32", 4 },     [GAL_GGUF_BOOL] = { "bool", 1 }, [GAL_GGUF_STRING] = { "string", 0 },
    [GAL_GGUF_ARRAY] = { "array", 0 }, [GAL_GGUF_U64] = { "u64", 8 },   [GAL_GGUF_I64] = { "i64", 8 },
    [GAL_GGUF_F64] = { "f64", 8 },
};

const char *gal__gguf_value_name(gal_gguf_type type) { return VALUES[type].name; }
size_t gal__gguf_width(gal_gguf_type type) { return VALUES[type].width; }

uint64_t gal__gguf_load(const uint8_t *p, size_t n) {
    uint64_t x = 0;
    while (n--) x = x << 8 | p[n];
    return x;
}

bool gal__gguf_pad(uint64_t at, uint64_t align, uint64_t *out) {
    if (at > UINT64_MAX - (align - 1)) return false;
    *out = (at + align - 1) & ~(align - 1);
    return true;
}

const char *gal__gguf_bad_name(const char *s, uint64_t n, uint64_t most) {
    if (!n) return "is empty";
    if (n > most) return "is too long";
    if (memchr(s, 0, (size_t)n)) return "holds a NUL";
    return gal_utf8_valid(s, (size_t)n) ? NULL : "is not UTF-8";
}

const char *gal__gguf_tensor_bytes(uint32_t type, int ndim, const int64_t *dim, uint64_t *bytes,
                                   char why[GAL__GGUF_WHY]) {
    const gal_block_info *b = gal_block_info_of(type);
    uint64_t count = 1, row = ndim ? (uint64_t)dim[ndim - 1] : 1;
    if (!b) {
        bool gone = type == 4 || type == 5 || (type >= 31 && type <= 33) || (type >= 36 && type <= 38);
        (void)snprintf(why, GAL__GGUF_WHY, "expected a known type, found number %" PRIu32 "%s", type,
                       gone ? ", which is no longer used: the model has to be converted again" : "");
        return why;
    }
    for (int i = ndim; i-- > 0;) {
        if (dim[i] < 0) {
            (void)snprintf(why, GAL__GGUF_WHY, "dimension %d of the file's: expected at least 0, found %" PRId64,
                           ndim - 1 - i, dim[i]);
            return why;
        }
        if (dim[i] && count > (uint64_t)INT64_MAX / (uint64_t)dim[i]) {
            (void)snprintf(why, GAL__GGUF_WHY,
                           "the product of its dimensions overflows 63 bits at dimension %d of the file's (%" PRId64
                           ")",
                           ndim - 1 - i, dim[i]);
            return why;
        }
        count *= (uint64_t)dim[i];
    }
    if (row % b->elements) {
        (void)snprintf(why, GAL__GGUF_WHY, "expected rows of whole blocks of %" PRIu32 " for %s, found %" PRIu64,
                       b->elements, b->name, row);
        return why;
    }
    if (count / b->elements > UINT64_MAX / b->bytes) {
        (void)snprintf(why, GAL__GGUF_WHY, "%" PRIu64 " elements of %s overflow 64 bits", count, b->name);
        return why;
    }
    *bytes = count / b->elements * b->bytes;
    return NULL;
}

/* ---- reading -----------------------------------------------------------------------------------------------------
 */

/* Where parsing is, and what is being read: for messages. */
typedef struct cursor {
    const gal__gguf_part *p;
    gal_diag *diag;
    uint64_t at;
    const char *what; /* "key", "tensor" */
    uint64_t index, of;
    const char *name; /* NULL until it is known */
} cursor;

/* at: the byte in the file. */
static gal_err bad(const cursor *c, uint64_t at, const char *fmt, ...) GAL_PRINTF(3, 4);
static gal_err bad(const cursor *c, uint64_t at, const char *fmt, ...) {
    char found[320], shown[GAL__SHOW], place[GAL__SHOW + 64];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(found, sizeof found, fmt, ap);
    va_end(ap);
    if (c->name)
        (void)snprintf(place, sizeof place, "%s \"%s\"", c->what, gal__show(shown, c->name));
    else
        (void)snprintf(place, sizeof place, "%s %" PRIu64 " of %" PRIu64, c->what, c->index + 1, c->of);
    return gal_fail(c->diag, GAL_EINPUT, "%s: byte %" PRIu64 ": %s: %s", c->p->path, at, place,
                    n < 0 ? "damaged" : found);
}

static uint64_t left(const cursor *c) { return c->p->size - c->at; }

/* The next n <= 8 bytes as a number. */
static gal_err take(cursor *c, size_t n, uint64_t *out) {
    if (left(c) < n)
        return bad(c, c->at, "expected %zu more bytes, found %" PRIu64 ": the download is incomplete", n, left(c));
    *out = gal__gguf_load(c->p->bytes + c->at, n);
    c->at += n;
    return GAL_OK;
}

static gal_err take_string(cursor *c, const char **s, uint64_t *n) {
    uint64_t at = c->at;
    gal_err err = take(c, 8, n);
    if (err) return err;
    if (*n > GAL__GGUF_LONGEST)
        return bad(c, at, "expected a string of at most %d bytes, found a length of %" PRIu64, GAL__GGUF_LONGEST, *n);
    if (*n > left(c))
        return bad(c, at, "a string of %" PRIu64 " bytes, but the file has only %" PRIu64 " more", *n, left(c));
    *s = (const char *)c->p->bytes + c->at;
    c->at += *n;
    return GAL_OK;
}

/* A name that can be printed, compared and looked for. */
static gal_err take_name(cursor *c, uint64_t most, const char **s, uint64_t *n) {
    uint64_t at = c->at;
    gal_err err = take_string(c, s, n);
    if (err) return err;
    const char *why = gal__gguf_bad_name(*s, *n, most);
    return why ? bad(c, at, "expected a name of 1 to %" PRIu64 " bytes of UTF-8, found one of %" PRIu64 " that %s",
                     most, *n, why)
               : GAL_OK;
}

/* ---- metadata ----------------------------------------------------------------------------------------------------
 */

/* Walks over all strings before room for their places is made: as many as were found are there. */
static gal_err take_strings(cursor *c, gal_gguf_value *v) {
    const char *s;
    uint64_t n, begin = c->at;
    for (uint64_t i = 0; i < v->count; i++) {
        gal_err err = take_string(c, &s, &n);
        if (err) return err;
    }
    v->string = gal_alloc_array((size_t)v->count, sizeof *v->string);
    if (!v->string)
        return gal_fail(c->diag, GAL_ENOMEM, "%s: no memory for the places of %" PRIu64 " strings", c->p->path,
                        v->count);
    c->at = begin;
    for (uint64_t i = 0; i < v->count; i++) {
        v->string[i] = c->p->bytes + c->at;
        gal_err err = take_string(c, &s, &n);
        if (err) return err;
    }
    return GAL_OK;
}

static gal_err take_numbers(cursor *c, gal_gguf_value *v) {
    uint64_t bytes = v->count * VALUES[v->element].width, at = c->at; /* count: at most 2^30 */
    if (bytes > left(c))
        return bad(c, at, "expected %" PRIu64 " more bytes, found %" PRIu64 ": the download is incomplete", bytes,
                   left(c));
    c->at += bytes;
    for (uint64_t i = 0; v->element == GAL_GGUF_BOOL && i < v->count; i++)
        if (v->data[i] > 1) return bad(c, at + i, "expected a bool of 0 or 1, found %d", v->data[i]);
    return GAL_OK;
}

static gal_err take_array(cursor *c, gal_gguf_value *v) {
    uint64_t at = c->at, type = 0;
    gal_err err = take(c, 4, &type);
    if (!err) err = take(c, 8, &v->count);
    if (err) return err;
    if (type >= GAL_GGUF_TYPES)
        return bad(c, at, "expected an element type from 0 to %d, found %" PRIu64, GAL_GGUF_TYPES - 1, type);
    if (type == GAL_GGUF_ARRAY) return bad(c, at, "expected an array of numbers or strings, found one of arrays");
    if (v->count > GAL__GGUF_LONGEST)
        return bad(c, at + 4, "expected an array of at most %d elements, found %" PRIu64, GAL__GGUF_LONGEST,
                   v->count);
    v->element = (gal_gguf_type)type;
    uint64_t least = v->count * (VALUES[type].width ? VALUES[type].width : 8);
    if (least > left(c))
        return bad(c, at + 4,
                   "an array of %" PRIu64 " elements of %s takes at least %" PRIu64
                   " bytes, but the file has only %" PRIu64 " more",
                   v->count, VALUES[type].name, least, left(c));
    return GAL_OK;
}

static gal_err take_value(cursor *c, gal_gguf_value *v) {
    const char *key = NULL;
    uint64_t n = 0, type = 0;
    gal_err err = take_name(c, GAL__GGUF_KEY_BYTES, &key, &n);
    if (err) return err;
    v->key = gal_strndup(key, (size_t)n);
    if (!v->key) return gal_fail(c->diag, GAL_ENOMEM, "%s: no memory for a key", c->p->path);
    c->name = v->key;
    err = take(c, 4, &type);
    if (err) return err;
    if (type >= GAL_GGUF_TYPES)
        return bad(c, c->at - 4, "expected a value type from 0 to %d, found %" PRIu64, GAL_GGUF_TYPES - 1, type);
    v->type = v->element = (gal_gguf_type)type;
    v->count = 1;
    if (v->type == GAL_GGUF_ARRAY) err = take_array(c, v);
    if (err) return err;
    v->data = c->p->bytes + c->at;
    return v->element == GAL_GGUF_STRING ? take_strings(c, v) : take_numbers(c, v);
}

static int by_key(const void *a, const void *b) {
    const gal_gguf_value *x = *(const gal_gguf_value *const *)a, *y = *(const gal_gguf_value *const *)b;
    return strcmp(x->key, y->key);
}

/* n: what the file says. */
static gal_err take_values(cursor *c, gal__gguf_part *p, uint64_t n) {
    p->values = gal_alloc_array((size_t)n, sizeof *p->values);
    p->by_key = gal_alloc_array((size_t)n, sizeof(void *));
    if (!p->values || !p->by_key)
        return gal_fail(c->diag, GAL_ENOMEM, "%s: no memory for %" PRIu64 " keys", p->path, n);
    c->what = "key";
    c->of = n;
    while (p->n_values < n) {
        c->index = p->n_values;
        c->name = NULL;
        p->by_key[p->n_values] = &p->values[p->n_values];
        gal_err err = take_value(c, &p->values[p->n_values++]);
        if (err) return err;
    }
    if (n) qsort(p->by_key, p->n_values, sizeof(void *), by_key);
    for (size_t i = 1; i < p->n_values; i++) {
        const gal_gguf_value *a = p->by_key[i - 1], *b = p->by_key[i];
        if (strcmp(a->key, b->key) != 0) continue;
        c->name = b->key;
        return bad(c, (uint64_t)(GAL_MAX(a->data, b->data) - p->bytes), "the key is there twice");
    }
    return GAL_OK;
}

const gal_gguf_value *gal__gguf_part_get(const gal__gguf_part *p, const char *key) {
    gal_gguf_value wanted = { .key = key }, *w = &wanted;
    gal_gguf_value **found = p->n_values ? bsearch(&w, p->by_key, p->n_values, sizeof w, by_key) : NULL;
    return found ? *found : NULL;
}

/* ---- tensors -----------------------------------------------------------------------------------------------------
 */

/* offset: within the data. */
static gal_err take_tensor(cursor *c, gal__gguf_entry *e, uint64_t *offset) {
    gal_gguf_tensor *t = &e->t;
    const char *name = NULL;
    uint64_t n = 0, dims = 0, type = 0;
    gal_err err = take_name(c, GAL_GGUF_NAME, &name, &n);
    if (err) return err;
    memcpy(e->name, name, (size_t)n);
    t->name = c->name = e->name;
    t->file = c->p->path;
    uint64_t at = c->at;
    err = take(c, 4, &dims);
    if (err) return err;
    if (dims > GAL_GGUF_DIMS)
        return bad(c, at, "expected at most %d dimensions, found %" PRIu64, GAL_GGUF_DIMS, dims);
    t->ndim = (int)dims;
    for (int i = 0; i < GAL_GGUF_DIMS; i++) t->dim[i] = 1;
    for (int i = t->ndim; i-- > 0;) {
        uint64_t d = 0;
        err = take(c, 8, &d);
        if (err) return err;
        t->dim[i] = (int64_t)d; /* beyond 63 bits it is negative, and refused */
    }
    err = take(c, 4, &type);
    if (!err) err = take(c, 8, offset);
    if (err) return err;
    t->type = (uint32_t)type;
    char text[GAL__GGUF_WHY];
    const char *why = gal__gguf_tensor_bytes(t->type, t->ndim, t->dim, &t->bytes, text);
    return why ? bad(c, at, "%s", why) : GAL_OK;
}

/* Back to back with padding, each inside the file. offset: [n_entries] within the data, which begins at base. */
static gal_err place(cursor *c, gal__gguf_part *p, const uint64_t *offset, uint64_t align) {
    uint64_t base = 0, next = 0;
    if (!gal__gguf_pad(c->at, align, &base)) return bad(c, c->at, "the alignment overflows 64 bits");
    for (size_t i = 0; i < p->n_entries; i++) {
        gal_gguf_tensor *t = &p->entries[i].t;
        c->name = t->name;
        if (offset[i] != next)
            return bad(c, c->at, "expected its data at offset %" PRIu64 ", found it at %" PRIu64 " (%s)", next,
                       offset[i],
                       offset[i] % align  ? "not aligned"
                       : offset[i] > next ? "a hole"
                                          : "it overlaps another tensor");
        /* base and next: each at most the file's size, rounded up to at most 2^31 more. */
        if (base + next > p->size || t->bytes > p->size - base - next) {
            uint64_t end = t->bytes > UINT64_MAX - base - next ? UINT64_MAX : base + next + t->bytes;
            return gal_fail(c->diag, GAL_EINPUT,
                            "%s: tensor \"%s\" ends at byte %" PRIu64 " but the file has %" PRIu64
                            ": the download is incomplete",
                            p->path, t->name, end, p->size);
        }
        t->offset = base + next;
        t->data = p->bytes + t->offset;
        if (!gal__gguf_pad(next + t->bytes, align, &next)) return bad(c, c->at, "its end overflows 64 bits");
    }
    return GAL_OK;
}

static gal_err take_tensors(cursor *c, gal__gguf_part *p, uint64_t n) {
    p->entries = gal_alloc_array((size_t)n, sizeof *p->entries);
    uint64_t *offset = gal_alloc_array((size_t)n, sizeof *offset), align = GAL__GGUF_ALIGNMENT;
    gal_err err = GAL_OK;
    bool said;
    if (!p->entries || !offset)
        err = gal_fail(c->diag, GAL_ENOMEM, "%s: no memory for the list of %" PRIu64 " tensors", p->path, n);
    if (!err) err = gal__gguf_part_uint(p, "general.alignment", &align, &said, c->diag);
    if (!err && (!align || align > UINT32_MAX || (align & (align - 1))))
        err = gal_fail(c->diag, GAL_EINPUT,
                       "%s: key \"general.alignment\": expected a power of two below 2^32, found %" PRIu64, p->path,
                       align);
    c->what = "tensor";
    c->of = n;
    while (!err && p->n_entries < n) {
        c->index = p->n_entries;
        c->name = NULL;
        err = take_tensor(c, &p->entries[p->n_entries], &offset[p->n_entries]);
        p->n_entries++;
    }
    if (!err) err = place(c, p, offset, align);
    gal_free(offset);
    return err;
}

/* ---- the file ----------------------------------------------------------------------------------------------------
 */

/* What a file that does not begin as it should seems to be; NULL: no idea. */
static const char *guess(const uint8_t *p, uint64_t n) {
    static const struct {
        const char *begin;
        size_t n;
        const char *what;
    } KNOWN[] = {
        { "lmgg", 4, "a GGML file, which came before GGUF: the model has to be converted again" },
        { "fmgg", 4, "a GGMF file, which came before GGUF: the model has to be converted again" },
        { "tjgg", 4, "a GGJT file, which came before GGUF: the model has to be converted again" },
        { "algg", 4, "an adapter from before GGUF: it has to be converted again" },
        { "FUGG", 4, "a GGUF file with its bytes swapped" },
        { "PK\3\4", 4, "a zip archive, as PyTorch writes them" },
        { "\x1f\x8b", 2, "a gzip archive" },
        { "\x28\xb5\x2f\xfd", 4, "a Zstandard archive" },
        { "version https://git-lfs", 23, "a pointer of Git LFS: the file itself was not downloaded" },
        { "<!DOCTYPE", 9, "a web page: the download went wrong" },
        { "<!doctype", 9, "a web page: the download went wrong" },
        { "<html", 5, "a web page: the download went wrong" },
        { "<HTML", 5, "a web page: the download went wrong" },
        { "\0\0\0\0", 4, "not written yet: the download is incomplete" },
    };
    for (size_t i = 0; i < GAL_LEN(KNOWN); i++)
        if (n >= KNOWN[i].n && memcmp(p, KNOWN[i].begin, KNOWN[i].n) == 0) return KNOWN[i].what;
    if (n > 8 && p[8] == '{' && gal__gguf_load(p, 8) <= n - 8) return "a safetensors file";
    return NULL;
}

static gal_err check_version(const gal__gguf_part *p, gal_diag *diag) {
    if (p->version == 2 || p->version == 3) return GAL_OK;
    if (p->version && !(p->version & 0xffff))
        return gal_fail(diag, GAL_EINPUT,
                        "%s: byte 4: expected version 2 or 3, found 0x%08" PRIx32
                        ": the file is big-endian, and only little-endian files are read",
                        p->path, p->version);
    return gal_fail(diag, GAL_EINPUT, "%s: byte 4: expected version 2 or 3, found version %" PRIu32 "%s", p->path,
                    p->version, p->version == 1 ? ": the model has to be converted again" : "");
}

/* How many entries a file can have: each takes so many bytes at least. */
static gal_err check_count(const cursor *c, uint64_t at, const char *what, uint64_t n, uint64_t most, uint64_t least,
                           uint64_t bytes_left) {
    if (n > most)
        return gal_fail(c->diag, GAL_EINPUT, "%s: byte %" PRIu64 ": expected at most %" PRIu64 " %s, found %" PRIu64,
                        c->p->path, at, most, what, n);
    if (n > bytes_left / least)
        return gal_fail(c->diag, GAL_EINPUT,
                        "%s: byte %" PRIu64 ": %" PRIu64 " %s take at least %" PRIu64
                        " bytes, but the file has only %" PRIu64 " more",
                        c->p->path, at, n, what, n * least, bytes_left);
    return GAL_OK;
}

gal_err gal__gguf_part_parse(gal__gguf_part *p, gal_diag *diag) {
    enum { HEADER = 24, LEAST_KEY = 8 + 1 + 4 + 1, LEAST_TENSOR = 8 + 1 + 4 + 4 + 8 };
    const char *what = guess(p->bytes, p->size);
    if (p->size >= 4 && memcmp(p->bytes, "GGUF", 4) != 0)
        return gal_fail(diag, GAL_EINPUT, "%s: byte 0: expected \"GGUF\", found %s%s", p->path,
                        what ? "what seems to be " : "something else", what ? what : "");
    if (p->size < HEADER)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: byte 0: expected the %d bytes of a GGUF header, found a file of %" PRIu64 " bytes",
                        p->path, HEADER, p->size);
    p->version = (uint32_t)gal__gguf_load(p->bytes + 4, 4);
    gal_err err = check_version(p, diag);
    if (err) return err;
    uint64_t tensors = gal__gguf_load(p->bytes + 8, 8), keys = gal__gguf_load(p->bytes + 16, 8);
    cursor c = { .p = p, .diag = diag, .at = HEADER };
    err = check_count(&c, 8, "tensors", tensors, GAL__GGUF_TENSORS, LEAST_TENSOR, left(&c));
    if (!err) err = check_count(&c, 16, "keys", keys, GAL__GGUF_KEYS, LEAST_KEY, left(&c));
    if (!err) err = take_values(&c, p, keys);
    /* Again, now that the keys are behind: what tensors can take is less. */
    if (!err) err = check_count(&c, 8, "tensors", tensors, GAL__GGUF_TENSORS, LEAST_TENSOR, left(&c));
    return err ? err : take_tensors(&c, p, tensors);
}

gal_err gal__gguf_part_open(gal__gguf_part *p, const char *path, gal_diag *diag) {
    p->path = gal_strdup(path);
    if (!p->path) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    gal_err err = gal_map_open(&p->map, path, diag);
    if (err) return err;
    p->bytes = p->map.data;
    p->size = p->map.bytes;
    return gal__gguf_part_parse(p, diag);
}

void gal__gguf_part_close(gal__gguf_part *p) {
    for (size_t i = 0; i < p->n_values; i++) {
        gal_free((void *)(uintptr_t)p->values[i].key);
        gal_free(p->values[i].string);
    }
    gal_free(p->values);
    gal_free(p->by_key);
    gal_free(p->entries);
    gal_map_close(&p->map);
    gal_free(p->path);
    *p = (gal__gguf_part){ 0 };
}
