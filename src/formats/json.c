/* json.c - see json.h. Owns no state. SPDX-License-Identifier: Apache-2.0 */
#include "formats/json.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

const char *gal__show(char buf[GAL__SHOW], const char *s) {
    size_t n = 0;
    for (; s[n] && n < GAL__SHOW - 4; n++) buf[n] = (unsigned char)s[n] < 0x20 || s[n] == 0x7F ? '?' : s[n];
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

gal_err gal__json_parse(json_t **out, const char *bytes, size_t n, const char *path, size_t base, gal_diag *diag) {
    json_error_t e;
    json_t *v = json_loadb(bytes, n, JSON_REJECT_DUPLICATES, &e);
    if (!v) {
        if (json_error_code(&e) == json_error_out_of_memory)
            return gal_fail(diag, GAL_ENOMEM, "%s: out of memory while reading JSON", path);
        char shown[GAL__SHOW];
        size_t at = base + (e.position > 0 ? (size_t)e.position : 0);
        return gal_fail(diag, GAL_EINPUT, "%s: byte %zu (line %d): expected valid JSON, found: %s", path, at, e.line,
                        gal__show(shown, e.text));
    }
    if (!json_is_object(v)) {
        const char *kind = gal__json_kind(v);
        json_decref(v);
        return gal_fail(diag, GAL_EINPUT, "%s: byte %zu: expected a JSON object, found %s", path, base, kind);
    }
    *out = v;
    return GAL_OK;
}

gal_err gal__json_read(json_t **out, const char *path, size_t max_bytes, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_err err = gal_read_file(&b, path, max_bytes, diag);
    if (!err) err = gal__json_parse(out, b.data ? b.data : "", b.len, path, 0, diag);
    gal_buf_free(&b);
    return err;
}

gal_err gal__json_write(const json_t *v, const char *path, gal_diag *diag) {
    char *text = v ? json_dumps(v, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    gal_buf b = { 0 };
    gal_err err;
    if (text) {
        gal_buf_puts(&b, text);
        gal_buf_putc(&b, '\n');
    }
    if (!text || b.oom)
        err = gal_fail(diag, GAL_ENOMEM, "%s: out of memory while writing JSON", path);
    else
        err = gal_write_file(path, b.data, b.len, diag);
    free(text); /* jansson's own allocation */
    gal_buf_free(&b);
    return err;
}
