/* json.c - see json.h. Owns no state. SPDX-License-Identifier: Apache-2.0 */
#include "formats/json.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *gal__show(char buf[GAL__SHOW], const char *s) {
    size_t n = 0;
    for (; n < GAL__SHOW - 4 && s[n]; n++) buf[n] = (unsigned char)s[n] < 0x20 || s[n] == 0x7F ? '?' : s[n];
    if (s[n]) {
        while (n && ((unsigned char)s[n] & 0xC0) == 0x80) n--; /* never half a character */
        memcpy(buf + n, "...", 3);
        n += 3;
    }
    buf[n] = 0;
    return buf;
}

const char *gal__json_kind(const json_t *v) {
    if (!v) return "nothing";
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    default:
        return "something else";
    }
}

/* A parsed value takes far more memory than its text: an empty object of two bytes some 300, an empty list 130. So
 * the text is counted first, and what holds values more densely than any model's files, or more of them, is refused:
 * a file of n bytes can ask for 40 n at most, and for less than 400 MB. (Depth needs no count: jansson ends it at
 * 2048.) */
enum { MOST_OBJECTS = 1 << 18, MOST_VALUES = 1 << 21 };

static bool too_dense(const char *s, size_t n) {
    size_t objects = 0, values = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        if (quoted && s[i] == '\\')
            i++;
        else if (s[i] == '"')
            quoted = !quoted;
        else if (!quoted && s[i] == '{')
            objects++;
        else if (!quoted && s[i] == ',')
            values++;
    }
    return objects > GAL_MIN(n / 32 + 64, (size_t)MOST_OBJECTS) ||
           values > GAL_MIN(n / 4 + 1024, (size_t)MOST_VALUES);
}

bool gal_json_no_memory(const json_error_t *e, const char *bytes, size_t n) {
    /* Without a text there is no code either: jansson fails before it sets one. */
    if (!e->text[0] || json_error_code(e) == json_error_out_of_memory) return true;
    /* A string for which there was no memory is called a bad token; one that is really bad has a message of its own.
     */
    bool token = strncmp(e->text, "invalid token", 13) == 0 || strncmp(e->text, "string or '}' expected", 22) == 0;
    return token && e->position > 0 && (size_t)e->position <= n && bytes[e->position - 1] == '"';
}

gal_err gal_json_count(const json_t *from, const char *prefix, const char *key, const char *path, int64_t *out,
                       gal_diag *diag) {
    const json_t *v = json_object_get(from, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > (json_int_t)1 << 53)
        return gal_fail(diag, GAL_EINPUT, "%s: %s%s: expected a count", path, prefix, key);
    *out = json_integer_value(v);
    return GAL_OK;
}

/* The path of the first number beyond 64 bits, as "tensor"."shape"[1]; false: none found. */
static bool find_too_big(gal_buf *where, const json_t *v, int depth) {
    const char *key;
    char shown[GAL__SHOW];
    json_t *child;
    size_t i, kept = where->len;
    if (json_is_real(v)) return !(fabs(json_real_value(v)) < 0x1p63);
    if (depth == 0) return false;
    json_object_foreach((json_t *)(uintptr_t)v, key, child) {
        gal_buf_printf(where, "%s\"%s\"", kept ? "." : "", gal__show(shown, key));
        if (find_too_big(where, child, depth - 1)) return true;
        where->len = kept;
    }
    json_array_foreach(v, i, child) {
        gal_buf_printf(where, "[%zu]", i);
        if (find_too_big(where, child, depth - 1)) return true;
        where->len = kept;
    }
    return false;
}

/* jansson stops at such a number and does not say whose it is. */
static bool name_too_big(gal_buf *where, const char *bytes, size_t n) {
    json_t *v = json_loadb(bytes, n, JSON_DECODE_INT_AS_REAL, NULL);
    bool found = v && find_too_big(where, v, 8) && where->data && !where->oom;
    json_decref(v);
    return found;
}

/* "too big integer near '123'": the number. */
static const char *number_in(char text[]) {
    char *number = strpbrk(text, "-0123456789");
    if (!number) return "a larger one";
    number[strspn(number, "-0123456789")] = 0;
    return number;
}

static gal_err parse(json_t **out, const char *bytes, size_t n, size_t flags, const char *path, size_t base,
                     gal_diag *diag) {
    json_error_t e;
    if (too_dense(bytes, n))
        return gal_fail(diag, GAL_EINPUT,
                        "%s: byte %zu: expected the JSON of a model, found far too many values in %zu bytes", path,
                        base, n);
    json_t *v = json_loadb(bytes, n, JSON_REJECT_DUPLICATES | flags, &e);
    if (!v) {
        if (gal_json_no_memory(&e, bytes, n))
            return gal_fail(diag, GAL_ENOMEM, "%s: out of memory while reading JSON", path);
        char shown[GAL__SHOW];
        size_t at = base + (e.position > 0 ? (size_t)e.position : 0);
        gal_buf where = { 0 };
        if (json_error_code(&e) == json_error_numeric_overflow && name_too_big(&where, bytes, n))
            (void)gal_fail(diag, GAL_EINPUT, "%s: byte %zu: %s: expected a number below 2^63, found %s", path, at,
                           where.data, number_in(e.text));
        else
            (void)gal_fail(diag, GAL_EINPUT, "%s: byte %zu (line %d): expected valid JSON, found: %s", path, at,
                           e.line, gal__show(shown, e.text));
        gal_buf_free(&where);
        return GAL_EINPUT;
    }
    if (!json_is_object(v)) {
        const char *kind = gal__json_kind(v);
        json_decref(v);
        return gal_fail(diag, GAL_EINPUT, "%s: byte %zu: expected a JSON object, found %s", path, base, kind);
    }
    *out = v;
    return GAL_OK;
}

gal_err gal__json_parse(json_t **out, const char *bytes, size_t n, const char *path, size_t base, gal_diag *diag) {
    return parse(out, bytes, n, 0, path, base, diag);
}

static gal_err read_as(json_t **out, const char *path, size_t flags, size_t max_bytes, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_err err = gal_read_file(&b, path, max_bytes, diag);
    if (!err) err = parse(out, b.data ? b.data : "", b.len, flags, path, 0, diag);
    gal_buf_free(&b);
    return err;
}

gal_err gal__json_read(json_t **out, const char *path, size_t max_bytes, gal_diag *diag) {
    return read_as(out, path, 0, max_bytes, diag);
}

gal_err gal__json_read_reals(json_t **out, const char *path, size_t max_bytes, gal_diag *diag) {
    return read_as(out, path, JSON_DECODE_INT_AS_REAL, max_bytes, diag);
}

gal_err gal__json_print(const json_t *v, gal_buf *out, const char *path, gal_diag *diag) {
    char *text = v ? json_dumps(v, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    if (text) {
        gal_buf_puts(out, text);
        gal_buf_putc(out, '\n');
    }
    bool oom = !text || out->oom;
    json_malloc_t take;
    json_free_t give;
    json_get_alloc_funcs(&take, &give); /* whoever uses us may have given jansson an allocator */
    if (text) give(text);
    return oom ? gal_fail(diag, GAL_ENOMEM, "%s: out of memory while writing JSON", path) : GAL_OK;
}
