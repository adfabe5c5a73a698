/* gguf_values.c - metadata as the types that callers want. Refuses a number that does not fit, and a value of another
 * kind, by name. SPDX-License-Identifier: Apache-2.0 */
#include "formats/gguf_internal.h"
#include "formats/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool is_signed(gal_gguf_type t) {
    return t == GAL_GGUF_I8 || t == GAL_GGUF_I16 || t == GAL_GGUF_I32 || t == GAL_GGUF_I64;
}

static bool is_integer(gal_gguf_type t) {
    return is_signed(t) || t == GAL_GGUF_U8 || t == GAL_GGUF_U16 || t == GAL_GGUF_U32 || t == GAL_GGUF_U64;
}

static bool is_float(gal_gguf_type t) { return t == GAL_GGUF_F32 || t == GAL_GGUF_F64; }

/* The bits of integer i, its sign continued to 64 bits. */
static uint64_t integer(const gal_gguf_value *v, uint64_t i) {
    size_t n = gal__gguf_width(v->element);
    uint64_t x = gal__gguf_load(v->data + i * n, n), sign = (uint64_t)1 << (8 * n - 1);
    return is_signed(v->element) && (x & sign) ? x | ~(sign | (sign - 1)) : x;
}

/* Whether integer i has bit 63 set: too large for int64_t where it has no sign, below 0 where it has one. */
static bool high(const gal_gguf_value *v, uint64_t i) { return integer(v, i) >> 63; }

static bool right_type(const gal_gguf_value *v, gal_gguf_want want) {
    switch (want) {
    case GAL_GGUF_UINTS:
    case GAL_GGUF_INTS:
        return is_integer(v->element);
    case GAL_GGUF_FLOATS:
        return is_float(v->element);
    case GAL_GGUF_BOOLS:
        return v->element == GAL_GGUF_BOOL;
    case GAL_GGUF_STRINGS:
        return v->element == GAL_GGUF_STRING;
    }
    return false;
}

/* The first element that is out of the wanted range; count: none. */
static uint64_t first_out(const gal_gguf_value *v, gal_gguf_want want) {
    bool narrow = want == GAL_GGUF_UINTS ? is_signed(v->element) : v->element == GAL_GGUF_U64;
    if ((want != GAL_GGUF_UINTS && want != GAL_GGUF_INTS) || !narrow) return v->count;
    uint64_t i = 0;
    while (i < v->count && !high(v, i)) i++;
    return i;
}

bool gal_gguf_is(const gal_gguf_value *v, gal_gguf_want want) {
    return right_type(v, want) && first_out(v, want) == v->count;
}

uint64_t gal_gguf_uint_at(const gal_gguf_value *v, uint64_t i) {
    GAL_ASSERT(i < v->count && is_integer(v->element));
    return integer(v, i);
}

int64_t gal_gguf_int_at(const gal_gguf_value *v, uint64_t i) {
    GAL_ASSERT(i < v->count && is_integer(v->element));
    return (int64_t)integer(v, i);
}

double gal_gguf_float_at(const gal_gguf_value *v, uint64_t i) {
    GAL_ASSERT(i < v->count && is_float(v->element));
    if (v->element == GAL_GGUF_F32) {
        uint32_t bits = (uint32_t)gal__gguf_load(v->data + 4 * i, 4);
        float f;
        memcpy(&f, &bits, sizeof f);
        return (double)f;
    }
    uint64_t bits = gal__gguf_load(v->data + 8 * i, 8);
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

bool gal_gguf_bool_at(const gal_gguf_value *v, uint64_t i) {
    GAL_ASSERT(i < v->count && v->element == GAL_GGUF_BOOL);
    return v->data[i];
}

const char *gal_gguf_string_at(const gal_gguf_value *v, uint64_t i, size_t *n) {
    GAL_ASSERT(i < v->count && v->element == GAL_GGUF_STRING);
    *n = (size_t)gal__gguf_load(v->string[i], 8);
    return (const char *)v->string[i] + 8;
}

/* ---- by key ------------------------------------------------------------------------------------------------------
 */

static const char *const WANTED[] = { [GAL_GGUF_UINTS] = "an integer >= 0",
                                      [GAL_GGUF_INTS] = "an integer of 64 bits with a sign",
                                      [GAL_GGUF_FLOATS] = "a floating-point number",
                                      [GAL_GGUF_BOOLS] = "a bool",
                                      [GAL_GGUF_STRINGS] = "a string" };
static const char *const WANTED_ARRAY[] = { [GAL_GGUF_UINTS] = "an array of integers >= 0",
                                            [GAL_GGUF_INTS] = "an array of integers of 64 bits with a sign",
                                            [GAL_GGUF_FLOATS] = "an array of floating-point numbers",
                                            [GAL_GGUF_BOOLS] = "an array of bools",
                                            [GAL_GGUF_STRINGS] = "an array of strings" };

/* *out: the value if it is there and as wanted. */
static gal_err get(const gal__gguf_part *p, const char *key, gal_gguf_want want, bool array,
                   const gal_gguf_value **out, bool *found, gal_diag *diag) {
    const gal_gguf_value *v = gal__gguf_part_get(p, key);
    const char *wanted = (array ? WANTED_ARRAY : WANTED)[want];
    char what[96], shown[GAL__SHOW];
    if (found) *found = v != NULL;
    if (!v)
        return found ? GAL_OK
                     : gal_fail(diag, GAL_EINPUT, "%s: key \"%s\": expected %s, but the key is missing", p->path,
                                gal__show(shown, key), wanted);
    uint64_t i = 0;
    if ((v->type == GAL_GGUF_ARRAY) == array && right_type(v, want)) {
        i = first_out(v, want);
        if (i == v->count) {
            *out = v;
            return GAL_OK;
        }
        if (want == GAL_GGUF_INTS)
            (void)snprintf(what, sizeof what, "%" PRIu64, integer(v, i));
        else
            (void)snprintf(what, sizeof what, "%" PRId64, (int64_t)integer(v, i));
    } else if (v->type == GAL_GGUF_ARRAY) {
        (void)snprintf(what, sizeof what, "an array of %s", gal__gguf_value_name(v->element));
    } else {
        (void)snprintf(what, sizeof what, "a value of type %s", gal__gguf_value_name(v->type));
    }
    return gal_fail(diag, GAL_EINPUT, "%s: key \"%s\" (byte %" PRIu64 "): expected %s, found %s", p->path,
                    gal__show(shown, key), (uint64_t)(v->data - p->bytes), wanted, what);
}

gal_err gal__gguf_part_uint(const gal__gguf_part *p, const char *key, uint64_t *out, bool *found, gal_diag *diag) {
    const gal_gguf_value *v = NULL;
    gal_err err = get(p, key, GAL_GGUF_UINTS, false, &v, found, diag);
    if (v) *out = gal_gguf_uint_at(v, 0);
    return err;
}

gal_err gal_gguf_uint(const gal_gguf *g, const char *key, uint64_t *out, bool *found, gal_diag *diag) {
    return gal__gguf_part_uint(g->parts, key, out, found, diag);
}

gal_err gal_gguf_int(const gal_gguf *g, const char *key, int64_t *out, bool *found, gal_diag *diag) {
    const gal_gguf_value *v = NULL;
    gal_err err = get(g->parts, key, GAL_GGUF_INTS, false, &v, found, diag);
    if (v) *out = gal_gguf_int_at(v, 0);
    return err;
}

gal_err gal_gguf_float(const gal_gguf *g, const char *key, double *out, bool *found, gal_diag *diag) {
    const gal_gguf_value *v = NULL;
    gal_err err = get(g->parts, key, GAL_GGUF_FLOATS, false, &v, found, diag);
    if (v) *out = gal_gguf_float_at(v, 0);
    return err;
}

gal_err gal_gguf_bool(const gal_gguf *g, const char *key, bool *out, bool *found, gal_diag *diag) {
    const gal_gguf_value *v = NULL;
    gal_err err = get(g->parts, key, GAL_GGUF_BOOLS, false, &v, found, diag);
    if (v) *out = gal_gguf_bool_at(v, 0);
    return err;
}

gal_err gal_gguf_string(const gal_gguf *g, const char *key, const char **out, size_t *n, bool *found,
                        gal_diag *diag) {
    const gal_gguf_value *v = NULL;
    gal_err err = get(g->parts, key, GAL_GGUF_STRINGS, false, &v, found, diag);
    if (v) *out = gal_gguf_string_at(v, 0, n);
    return err;
}

gal_err gal_gguf_array(const gal_gguf *g, const char *key, gal_gguf_want want, const gal_gguf_value **out,
                       bool *found, gal_diag *diag) {
    return get(g->parts, key, want, true, out, found, diag);
}
