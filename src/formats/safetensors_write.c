/* safetensors_write.c - the writer: header first, then each tensor as a stream. Refuses names that are twice there
 * and anything that the reader would refuse. Invariant: the same items give the same bytes, in whatever order they
 * come. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1024, PIECE = 1 << 20 }; /* numbers converted, bytes read from elsewhere at a time */

typedef struct plan {
    const char *path;
    const gal_st_item **order; /* [count] as they lie in the file */
    size_t count;
    const char *const *meta;
    size_t n_meta;
    gal_buf header;
    uint64_t data_bytes;
} plan;

static int order_of(const void *a, const void *b) {
    const gal_st_item *x = *(const gal_st_item *const *)a, *y = *(const gal_st_item *const *)b;
    int bx = gal_st_dtype_bits(x->dtype), by = gal_st_dtype_bits(y->dtype);
    return bx != by ? (bx > by ? -1 : 1) : strcmp(x->name, y->name);
}

static uint64_t count_of(const gal_st_item *it) {
    uint64_t n = 1;
    for (int i = 0; i < it->ndim; i++) {
        GAL_ASSERT(it->dim[i] >= 0);
        GAL_ASSERT(it->dim[i] == 0 || n <= (uint64_t)INT64_MAX / 8 / (uint64_t)it->dim[i]);
        n *= (uint64_t)it->dim[i];
    }
    return n;
}

uint64_t gal_st_item_bytes(const gal_st_item *it) {
    uint64_t bits = count_of(it) * (uint64_t)gal_st_dtype_bits(it->dtype);
    GAL_ASSERT(bits % 8 == 0);
    return bits / 8;
}

/* About what the header takes: of a model of many experts megabytes. */
static size_t header_bytes(const plan *p) {
    enum { LINE = 80, DIM = 6 }; /* a tensor's words and offsets; a dimension */
    size_t n = 0;
    for (size_t i = 0; i < p->count; i++) n += strlen(p->order[i]->name) + LINE + DIM * (size_t)p->order[i]->ndim;
    return n;
}

static gal_err make_header(plan *p, gal_diag *diag) {
    gal_buf *b = &p->header;
    const char *comma = "";
    gal_buf_room(b, header_bytes(p));
    gal_buf_putc(b, '{');
    if (p->n_meta) {
        gal_buf_puts(b, "\"__metadata__\":{");
        for (size_t i = 0; i < p->n_meta; i++) {
            gal_buf_puts(b, i ? "," : "");
            gal_buf_json(b, p->meta[2 * i], strlen(p->meta[2 * i]));
            gal_buf_putc(b, ':');
            gal_buf_json(b, p->meta[2 * i + 1], strlen(p->meta[2 * i + 1]));
        }
        gal_buf_putc(b, '}');
        comma = ",";
    }
    uint64_t at = 0;
    for (size_t i = 0; i < p->count; i++, comma = ",") {
        const gal_st_item *it = p->order[i];
        uint64_t bytes = gal_st_item_bytes(it);
        gal_buf_puts(b, comma);
        gal_buf_json(b, it->name, strlen(it->name));
        gal_buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", gal_st_dtype_name(it->dtype));
        for (int d = 0; d < it->ndim; d++) gal_buf_printf(b, "%s%" PRId64, d ? "," : "", it->dim[d]);
        gal_buf_printf(b, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at, at + bytes);
        at += bytes;
    }
    p->data_bytes = at;
    gal_buf_putc(b, '}');
    while (!b->oom && b->len % 8) gal_buf_putc(b, ' '); /* 8 + N is a multiple of 8 when N is */
    if (b->oom) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for the header", p->path);
    return GAL_OK;
}

/* n numbers of an item, which lie at data. */
static gal_err write_numbers(gal_sink *s, const gal_st_item *it, const uint8_t *data, uint64_t n) {
    if (it->dtype == it->from) {
        uint64_t bytes = n * (uint64_t)gal_st_dtype_bits(it->dtype) / 8;
        return bytes ? gal_sink_write(s, data, (size_t)bytes) : GAL_OK;
    }
    gal_dtype to = GAL_F32, from = GAL_F32;
    bool known = gal_st_dtype_ours(it->dtype, &to) && gal_st_dtype_ours(it->from, &from);
    GAL_ASSERT(known);
    uint64_t block[BLOCK]; /* room for the widest type */
    for (uint64_t i = 0; i < n; i += BLOCK) {
        size_t m = (size_t)GAL_MIN(n - i, (uint64_t)BLOCK);
        gal_convert(block, to, data + i * gal_dtype_bytes(from), from, (int64_t)m);
        gal_err err = gal_sink_write(s, block, m * gal_dtype_bytes(to));
        if (err) return err;
    }
    return GAL_OK;
}

static gal_err write_item(gal_sink *s, const gal_st_item *it, gal_diag *diag) {
    uint64_t n = count_of(it);
    if (!it->read) return write_numbers(s, it, it->data, n);
    size_t size = (size_t)gal_st_dtype_bits(it->from) / 8;
    uint8_t *piece = gal_alloc(PIECE);
    if (!piece) return GAL_ENOMEM;
    gal_err err = GAL_OK;
    for (uint64_t i = 0; !err && i < n; i += PIECE / size) {
        uint64_t m = GAL_MIN(n - i, (uint64_t)(PIECE / size));
        err = it->read(it->user, piece, (const uint8_t *)it->data + i * size, (size_t)m * size, diag);
        if (!err) err = write_numbers(s, it, piece, m);
    }
    gal_free(piece);
    return err;
}

static gal_err emit(gal_sink *s, void *user, gal_diag *diag) {
    plan *p = user;
    uint8_t n[8];
    for (int i = 0; i < 8; i++) n[i] = (uint8_t)((uint64_t)p->header.len >> (8 * i));
    gal_sink_expect(s, sizeof n + p->header.len + p->data_bytes);
    gal_err err = gal_sink_write(s, n, sizeof n);
    if (!err) err = gal_sink_write(s, p->header.data, p->header.len);
    for (size_t i = 0; !err && i < p->count; i++) err = write_item(s, p->order[i], diag);
    return err ? gal_fail(diag, err, "%s: writing failed", p->path) : GAL_OK;
}

static gal_err refuse_twins(const plan *p, gal_diag *diag) {
    json_t *seen = json_object();
    gal_err err = seen ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "%s: no memory", p->path);
    for (size_t i = 0; !err && i < p->count; i++) {
        char shown[GAL__SHOW];
        const char *name = p->order[i]->name;
        if (json_object_get(seen, name) || strcmp(name, "__metadata__") == 0)
            err = gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\" is there twice", p->path, gal__show(shown, name));
        else if (!gal_utf8_valid(name, strlen(name)))
            err = gal_fail(diag, GAL_EINPUT, "%s: the name \"%s\" is not UTF-8", p->path, gal__show(shown, name));
        else if (json_object_set_new(seen, name, json_true()))
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", p->path);
    }
    json_decref(seen);
    return err;
}

/* Into a file, or appended to `out`. */
static gal_err write_to(gal_buf *out, const char *path, const gal_st_item *items, size_t count,
                        const char *const *meta, size_t n_meta, gal_diag *diag) {
    plan p = { .path = path, .count = count, .meta = meta, .n_meta = n_meta };
    p.order = gal_alloc_array(count, sizeof(void *));
    if (!p.order) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for the list of %zu tensors", path, count);
    for (size_t i = 0; i < count; i++) p.order[i] = &items[i];
    if (count) qsort(p.order, count, sizeof(void *), order_of);
    gal_err err = refuse_twins(&p, diag);
    if (!err) err = make_header(&p, diag);
    if (!err) err = out ? gal_write_memory(out, path, emit, &p, diag) : gal_write_atomic(path, emit, &p, diag);
    gal_buf_free(&p.header);
    gal_free(p.order);
    return err;
}

gal_err gal_safetensors_write(const char *path, const gal_st_item *items, size_t count, const char *const *meta,
                              size_t n_meta, gal_diag *diag) {
    return write_to(NULL, path, items, count, meta, n_meta, diag);
}

gal_err gal_safetensors_print(gal_buf *out, const gal_st_item *items, size_t count, const char *const *meta,
                              size_t n_meta, const char *path, gal_diag *diag) {
    return write_to(out, path, items, count, meta, n_meta, diag);
}
