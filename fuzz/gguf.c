/* gguf.c - one GGUF file: whatever opens lies inside the bytes, every value can be read as every type or is refused,
 * and what is written of it is read again to the same. SPDX-License-Identifier: Apache-2.0 */
#include "formats/gguf.h"

#include "fuzz.h"

static const char NAME[] = "fuzz.gguf";

static bool same_tensor(const gal_gguf_tensor *a, const gal_gguf_tensor *b) {
    if (strcmp(a->name, b->name) != 0 || a->type != b->type || a->ndim != b->ndim || a->bytes != b->bytes)
        return false;
    return memcmp(a->dim, b->dim, sizeof a->dim) == 0 &&
           (!a->bytes || memcmp(a->data, b->data, (size_t)a->bytes) == 0);
}

static bool same_value(const gal_gguf_value *a, const gal_gguf_value *b) {
    if (strcmp(a->key, b->key) != 0 || a->type != b->type || a->element != b->element || a->count != b->count)
        return false;
    for (uint64_t i = 0; i < a->count; i++) {
        size_t n = 0, m = 0;
        if (a->element == GAL_GGUF_STRING) {
            const char *s = gal_gguf_string_at(a, i, &n), *t = gal_gguf_string_at(b, i, &m);
            if (n != m || (n && memcmp(s, t, n) != 0)) return false;
        } else if (gal_gguf_is(a, GAL_GGUF_BOOLS)) {
            if (gal_gguf_bool_at(a, i) != gal_gguf_bool_at(b, i)) return false;
        } else if (gal_gguf_is(a, GAL_GGUF_FLOATS)) {
            double x = gal_gguf_float_at(a, i), y = gal_gguf_float_at(b, i);
            if (x != y && (x == x || y == y)) return false;
        } else if (gal_gguf_uint_at(a, i) != gal_gguf_uint_at(b, i) ||
                   gal_gguf_int_at(a, i) != gal_gguf_int_at(b, i)) {
            return false;
        }
    }
    return true;
}

static void round_trip(const gal_gguf *g) {
    gal_diag diag = { 0 };
    gal_gguf_writer *w = NULL;
    gal_gguf *again = NULL;
    gal_buf out = { 0 };
    gal_err err = gal_gguf_writer_new(&w, &diag);
    GAL_ASSERT(!err);
    for (size_t i = 0; i < gal_gguf_keys(g); i++) gal_gguf_put_value(w, gal_gguf_key_at(g, i));
    for (size_t i = 0; i < gal_gguf_count(g); i++) {
        const gal_gguf_tensor *t = gal_gguf_at(g, i);
        gal_gguf_put_tensor(
            w, &(gal_gguf_item){ .name = t->name, .type = t->type, .ndim = t->ndim, .dim = t->dim, .data = t->data });
    }
    err = gal_gguf_print(w, &out, NAME, &diag);
    if (!err) err = gal_gguf_parse(&again, out.data, out.len, NAME, &diag);
    if (err) gal__abort("written, but not read again: %s", diag.text);
    GAL_ASSERT(gal_gguf_keys(again) == gal_gguf_keys(g) && gal_gguf_count(again) == gal_gguf_count(g));
    for (size_t i = 0; i < gal_gguf_keys(g); i++)
        GAL_ASSERT(same_value(gal_gguf_key_at(g, i), gal_gguf_key_at(again, i)));
    for (size_t i = 0; i < gal_gguf_count(g); i++) GAL_ASSERT(same_tensor(gal_gguf_at(g, i), gal_gguf_at(again, i)));
    gal_gguf_close(again);
    gal_gguf_writer_free(w);
    gal_buf_free(&out);
}

static void check(gal_err err, gal_diag *diag) {
    if (err) FUZZ_REFUSED(err, *diag, NAME);
    *diag = (gal_diag){ 0 };
}

/* A reader of one type gives its value or refuses by name. */
static void read_all(const gal_gguf *g, const char *key) {
    gal_diag diag = { 0 };
    bool found = false, b;
    uint64_t u;
    int64_t i;
    double d;
    size_t n;
    const char *s;
    const gal_gguf_value *v;
    check(gal_gguf_uint(g, key, &u, &found, &diag), &diag);
    check(gal_gguf_int(g, key, &i, NULL, &diag), &diag);
    check(gal_gguf_float(g, key, &d, NULL, &diag), &diag);
    check(gal_gguf_bool(g, key, &b, NULL, &diag), &diag);
    check(gal_gguf_string(g, key, &s, &n, NULL, &diag), &diag);
    for (int want = GAL_GGUF_UINTS; want <= GAL_GGUF_STRINGS; want++)
        check(gal_gguf_array(g, key, (gal_gguf_want)want, &v, NULL, &diag), &diag);
    GAL_ASSERT(found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    gal_diag diag = { 0 };
    gal_gguf *g = NULL;
    gal_err err = gal_gguf_parse(&g, data, n, NAME, &diag);
    if (err) {
        FUZZ_REFUSED(err, diag, NAME);
        return 0;
    }
    for (size_t i = 0; i < gal_gguf_count(g); i++) {
        const gal_gguf_tensor *t = gal_gguf_at(g, i);
        GAL_ASSERT(t->data >= data && t->offset <= n && t->bytes <= n - t->offset);
        GAL_ASSERT(gal_gguf_find(g, t->name) == t);
    }
    for (size_t i = 0; i < gal_gguf_keys(g); i++) {
        const gal_gguf_value *v = gal_gguf_key_at(g, i);
        GAL_ASSERT(v->data >= data && v->data <= data + n && gal_gguf_get(g, v->key) == v);
        read_all(g, v->key);
    }
    round_trip(g);
    gal_gguf_close(g);
    return 0;
}
