/* json_keys.c - see json_keys.h. Owns no state. SPDX-License-Identifier: Apache-2.0 */
#include "formats/json_keys.h"

#include <inttypes.h>
#include <stdio.h>

void gal__key_fail(gal__keys *r, const char *key, const char *fmt, ...) {
    char what[400];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (!r->err)
        r->err = gal_fail(r->diag, GAL_EINPUT, "%s: %s%s: %s", r->path, r->prefix, key, n < 0 ? "bad value" : what);
}

const json_t *gal__key_get(const gal__keys *r, const char *key) {
    const json_t *v = json_object_get(r->obj, key);
    return json_is_null(v) ? NULL : v;
}

int64_t gal__key_whole(gal__keys *r, const char *key, int64_t lo, int64_t hi, int64_t fallback) {
    const json_t *v = gal__key_get(r, key);
    if (!v) {
        if (fallback < lo)
            gal__key_fail(r, key, "expected an integer from %" PRId64 " to %" PRId64 ", the key is missing", lo, hi);
        return fallback;
    }
    if (!json_is_integer(v)) {
        gal__key_fail(r, key, "expected an integer, found %s", gal__json_kind(v));
        return fallback;
    }
    int64_t x = json_integer_value(v);
    if (x < lo || x > hi)
        gal__key_fail(r, key, "expected an integer from %" PRId64 " to %" PRId64 ", found %" PRId64, lo, hi, x);
    return x;
}

double gal__key_real(gal__keys *r, const char *key, double lo, double hi, double fallback) {
    const json_t *v = gal__key_get(r, key);
    if (!v) return fallback;
    if (!json_is_number(v)) {
        gal__key_fail(r, key, "expected a number, found %s", gal__json_kind(v));
        return fallback;
    }
    double x = json_number_value(v);
    if (!(x >= lo && x <= hi)) gal__key_fail(r, key, "expected a number from %g to %g, found %g", lo, hi, x);
    return x;
}

bool gal__key_truth(gal__keys *r, const char *key, bool fallback) {
    const json_t *v = gal__key_get(r, key);
    if (!v) return fallback;
    if (!json_is_boolean(v)) gal__key_fail(r, key, "expected true or false, found %s", gal__json_kind(v));
    return json_is_true(v);
}

const char *gal__key_text(gal__keys *r, const char *key, const char *fallback) {
    const json_t *v = gal__key_get(r, key);
    if (!v) return fallback;
    if (!json_is_string(v)) {
        gal__key_fail(r, key, "expected a string, found %s", gal__json_kind(v));
        return fallback;
    }
    return json_string_value(v);
}

int32_t gal__key_token(gal__keys *r, const char *key, int32_t fallback) {
    if (!json_object_get(r->obj, key)) return fallback;
    return (int32_t)gal__key_whole(r, key, -1, INT32_MAX, -1);
}

int32_t gal__key_token_list(gal__keys *r, const char *key, int32_t ids[GAL_MAX_EOS]) {
    const json_t *v = gal__key_get(r, key);
    if (!json_is_array(v)) {
        ids[0] = v ? gal__key_token(r, key, -1) : -1;
        return ids[0] >= 0;
    }
    if (json_array_size(v) > GAL_MAX_EOS) {
        gal__key_fail(r, key, "expected at most %d token ids, found %zu", GAL_MAX_EOS, json_array_size(v));
        return 0;
    }
    int32_t n = 0;
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *e = json_array_get(v, i);
        if (!json_is_integer(e) || json_integer_value(e) < 0 || json_integer_value(e) > INT32_MAX)
            gal__key_fail(r, key, "expected token ids, found %s at place %zu", gal__json_kind(e), i);
        else
            ids[n++] = (int32_t)json_integer_value(e);
    }
    return n;
}

void gal__key_ids_below(gal__keys *r, const char *key, const int32_t *ids, int32_t n, int64_t vocab) {
    for (int32_t i = 0; i < n; i++)
        if (ids[i] >= vocab)
            gal__key_fail(r, key, "expected ids below the size of the vocabulary, %" PRId64 ", found %" PRId32, vocab,
                          ids[i]);
}
