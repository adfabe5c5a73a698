/* npy.c - see npy.h. Refuses headers that are not what numpy.save writes: a dict of descr, fortran_order and shape.
 * Invariant: an array that was read has exactly the bytes of its shape and type.
 * SPDX-License-Identifier: Apache-2.0 */
#include "formats/npy.h"

#include "base/file.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

static const struct {
    const char *descr;
    size_t bytes;
} TYPES[] = { [GAL_NPY_F32] = { "<f4", 4 },
              [GAL_NPY_F64] = { "<f8", 8 },
              [GAL_NPY_I32] = { "<i4", 4 },
              [GAL_NPY_I64] = { "<i8", 8 } };

static const uint8_t MAGIC[6] = { 0x93, 'N', 'U', 'M', 'P', 'Y' };

size_t gal_npy_bytes(gal_npy_type type) { return TYPES[type].bytes; }

/* A cursor over the header, a Python literal. */
typedef struct cursor {
    const char *p, *end;
} cursor;

static void spaces(cursor *c) {
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t')) c->p++;
}

static bool peek(cursor *c, char ch) {
    spaces(c);
    return c->p < c->end && *c->p == ch;
}

static bool eat(cursor *c, char ch) {
    if (!peek(c, ch)) return false;
    c->p++;
    return true;
}

static bool eat_word(cursor *c, const char *word) {
    size_t n = strlen(word);
    spaces(c);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0) return false;
    c->p += n;
    return true;
}

/* 'text' or "text" without escapes. */
static bool eat_string(cursor *c, char *out, size_t room) {
    spaces(c);
    if (c->p == c->end || (*c->p != '\'' && *c->p != '"')) return false;
    char quote = *c->p++;
    size_t n = 0;
    while (c->p < c->end && *c->p != quote) {
        if (n + 1 == room || *c->p == '\\' || (unsigned char)*c->p < 0x20) return false;
        out[n++] = *c->p++;
    }
    out[n] = 0;
    return eat(c, quote);
}

static bool eat_shape(cursor *c, gal_npy *a) {
    if (!eat(c, '(')) return false;
    while (!eat(c, ')')) {
        if (a->ndim == GAL_NPY_DIMS) return false;
        spaces(c);
        int64_t v = 0;
        const char *begin = c->p;
        for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++) {
            if (v > (INT64_MAX - 9) / 10) return false;
            v = v * 10 + (*c->p - '0');
        }
        if (c->p == begin) return false;
        a->dim[a->ndim++] = v;
        if (!eat(c, ',')) return eat(c, ')');
    }
    return true;
}

static gal_err parse_header(gal_npy *a, cursor c, const char *path, gal_diag *diag) {
    char key[32], descr[32] = "";
    bool fortran = false, shape = false;
    if (!eat(&c, '{')) return gal_fail(diag, GAL_EINPUT, "%s: expected a header that begins with '{'", path);
    while (!eat(&c, '}')) {
        bool good = eat_string(&c, key, sizeof key) && eat(&c, ':');
        if (good && strcmp(key, "descr") == 0)
            good = eat_string(&c, descr, sizeof descr);
        else if (good && strcmp(key, "fortran_order") == 0)
            good = (fortran = eat_word(&c, "True")) || eat_word(&c, "False");
        else if (good && strcmp(key, "shape") == 0 && !shape)
            good = shape = eat_shape(&c, a);
        else
            good = false;
        good = good && (eat(&c, ',') || peek(&c, '}'));
        if (!good)
            return gal_fail(diag, GAL_EINPUT,
                            "%s: damaged header: expected descr, fortran_order and a shape of at most %d "
                            "dimensions",
                            path, GAL_NPY_DIMS);
    }
    if (fortran) return gal_fail(diag, GAL_EINPUT, "%s: expected C order, found fortran_order True", path);
    if (!shape) return gal_fail(diag, GAL_EINPUT, "%s: the header has no shape", path);
    for (size_t i = 0; i < GAL_LEN(TYPES); i++) {
        if (strcmp(descr, TYPES[i].descr) != 0) continue;
        a->type = (gal_npy_type)i;
        return GAL_OK;
    }
    return gal_fail(diag, GAL_EINPUT, "%s: expected elements of <f4, <f8, <i4 or <i8, found \"%s\"", path, descr);
}

gal_err gal_npy_parse(gal_npy *out, const void *bytes, size_t n, const char *path, gal_diag *diag) {
    const uint8_t *b = bytes;
    if (n < 10 || memcmp(b, MAGIC, sizeof MAGIC) != 0)
        return gal_fail(diag, GAL_EINPUT, "%s: expected a .npy file (\"\\x93NUMPY\"), found something else", path);
    size_t len_bytes = b[6] == 1 ? 2 : 4, header = 0;
    if ((b[6] != 1 && b[6] != 2) || b[7] != 0 || n < 8 + len_bytes)
        return gal_fail(diag, GAL_EINPUT, "%s: expected version 1.0 or 2.0, found %d.%d", path, b[6], b[7]);
    for (size_t i = len_bytes; i--;) header = header << 8 | b[8 + i];
    size_t at = 8 + len_bytes;
    if (header > n - at)
        return gal_fail(diag, GAL_EINPUT, "%s: the header has %zu bytes, the file only %zu more", path, header,
                        n - at);
    gal_npy a = { 0 };
    const char *text = (const char *)b + at;
    gal_err err = parse_header(&a, (cursor){ text, text + header }, path, diag);
    if (err) return err;
    a.count = 1;
    int64_t limit = INT64_MAX / (int64_t)gal_npy_bytes(a.type);
    for (int i = 0; i < a.ndim; i++) {
        if (a.dim[i] && a.count > limit / a.dim[i])
            return gal_fail(diag, GAL_EINPUT, "%s: the product of the shape overflows 63 bits", path);
        a.count *= a.dim[i];
    }
    size_t want = (size_t)a.count * gal_npy_bytes(a.type), have = n - at - header;
    if (want != have)
        return gal_fail(diag, GAL_EINPUT, "%s: byte %zu: expected %zu bytes of data for this shape, found %zu", path,
                        at + header, want, have);
    a.owned = gal_alloc(want); /* a copy, because numbers in a file may lie on odd addresses */
    if (!a.owned) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %zu bytes", path, want);
    if (want) memcpy(a.owned, b + at + header, want);
    a.data = a.owned;
    *out = a;
    return GAL_OK;
}

gal_err gal_npy_read(gal_npy *out, const char *path, gal_diag *diag) {
    gal_map m = { 0 };
    gal_err err = gal_map_open(&m, path, diag);
    if (!err) err = gal_npy_parse(out, m.data, m.bytes, path, diag);
    gal_map_close(&m);
    return err;
}

void gal_npy_free(gal_npy *a) {
    gal_free(a->owned);
    *a = (gal_npy){ 0 };
}

typedef struct output {
    gal_buf header;
    const void *data;
    size_t bytes;
} output;

static gal_err emit(gal_sink *s, void *user, gal_diag *diag) {
    const output *o = user;
    (void)diag; /* the caller says what failed */
    gal_err err = gal_sink_write(s, o->header.data, o->header.len);
    return err || !o->bytes ? err : gal_sink_write(s, o->data, o->bytes);
}

void gal_npy_header(gal_buf *b, gal_npy_type type, int ndim, const int64_t *dim) {
    gal_buf text = { 0 };
    gal_buf_printf(&text, "{'descr': '%s', 'fortran_order': False, 'shape': (", TYPES[type].descr);
    for (int i = 0; i < ndim; i++) {
        gal_buf_printf(&text, "%s%" PRId64 "%s", i ? " " : "", dim[i], i + 1 < ndim || ndim == 1 ? "," : "");
    }
    gal_buf_puts(&text, "), }");
    while (!text.oom && (10 + text.len + 1) % 64) gal_buf_putc(&text, ' '); /* data begins at a multiple of 64 */
    gal_buf_putc(&text, '\n');
    gal_buf_add(b, MAGIC, sizeof MAGIC);
    const uint8_t rest[4] = { 1, 0, (uint8_t)(text.len & 255), (uint8_t)(text.len >> 8) };
    gal_buf_add(b, rest, sizeof rest);
    gal_buf_add(b, text.data ? text.data : "", text.len);
    b->oom |= text.oom;
    gal_buf_free(&text);
}

gal_err gal_npy_write(const char *path, gal_npy_type type, int ndim, const int64_t *dim, const void *data,
                      gal_diag *diag) {
    GAL_ASSERT(ndim >= 0 && ndim <= GAL_NPY_DIMS);
    output o = { .data = data, .bytes = gal_npy_bytes(type) };
    for (int i = 0; i < ndim; i++) {
        GAL_ASSERT(dim[i] >= 0 && (dim[i] == 0 || o.bytes <= (size_t)INT64_MAX / (size_t)dim[i]));
        o.bytes *= (size_t)dim[i];
    }
    gal_npy_header(&o.header, type, ndim, dim);
    gal_err err = o.header.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory for the header", path)
                               : gal_write_atomic(path, emit, &o, diag);
    gal_buf_free(&o.header);
    return err;
}
