/* safetensors_test.c - one file: golden bytes, every rule of formats.md 1 broken once, truncation, reading back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "formats/safetensors.h"
#include "support/check.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <string.h>

/* A file of a header and `data` zero bytes. */
static void build(gal_buf *b, const char *header, size_t header_len, size_t data) {
    gal_buf_clear(b);
    for (int i = 0; i < 8; i++) gal_buf_putc(b, (char)((uint64_t)header_len >> (8 * i)));
    gal_buf_add(b, header, header_len);
    for (size_t i = 0; i < data; i++) gal_buf_putc(b, 0);
    assert_false(b->oom);
}

/* Parses a copy that ends where its bytes end, so that AddressSanitizer sees a read past the file. */
static gal_err parse(const char *bytes, size_t n, gal_safetensors **out, gal_diag *diag) {
    uint8_t *copy = gal_alloc(n);
    assert_non_null(copy);
    if (n) memcpy(copy, bytes, n);
    gal_err err = gal_safetensors_parse(out, copy, n, "f.safetensors", diag);
    if (!err) {
        gal_safetensors_close(*out);
        *out = NULL;
    }
    gal_free(copy);
    return err;
}

#define T(name, dtype, shape, from, to)                                                                              \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

static const struct bad {
    const char *header;
    size_t data;
    const char *says[3]; /* all of them in the message */
} BAD[] = {
    { "", 0, { "byte 8", "'{'" } },
    { " {}", 0, { "byte 8", "'{'" } },
    { "[]", 0, { "byte 8", "'{'" } },
    { "{", 0, { "JSON" } },
    { "{}x", 0, { "JSON" } },
    { "{\"a\":1}", 0, { "\"a\"", "expected an object", "an integer" } },
    { "{\"a\":{}}", 0, { "\"a\"", "dtype", "nothing" } },
    { "{\"a\":{\"dtype\":1,\"shape\":[],\"data_offsets\":[0,4]}}", 4, { "\"a\"", "dtype", "an integer" } },
    { "{" T("a", "F31", "[1]", 0, 4) "}", 4, { "\"a\"", "F31", "byte 9" } },
    { "{" T("a", "F32", "4", 0, 4) "}", 4, { "\"a\"", "shape", "an integer" } },
    { "{" T("a", "F32", "[-1]", 0, 4) "}", 4, { "\"a\"", "dimension 0", "negative" } },
    { "{" T("a", "F32", "[1.0]", 0, 4) "}", 4, { "\"a\"", "dimension 0", "a number" } },
    { "{" T("a", "F32", "[\"1\"]", 0, 4) "}", 4, { "\"a\"", "dimension 0", "a string" } },
    { "{" T("a", "F32", "[4294967296,4294967296]", 0, 4) "}", 4, { "\"a\"", "overflow" } },
    { "{" T("a", "F64", "[4611686018427387904]", 0, 4) "}", 4, { "\"a\"", "overflow" } },
    { "{" T("a", "F32", "[99999999999999999999]", 0, 4) "}", 4, { "\"a\"", "\"shape\"[0]", "99999999999999999999" } },
    { "{" T("a", "F4", "[3]", 0, 2) "}", 2, { "\"a\"", "whole bytes" } },
    { "{" T("a", "F32", "[1]", 0, 5) "}", 5, { "\"a\"", "expected 4 bytes", "found 5" } },
    { "{" T("a", "F32", "[1]", 4, 0) "}", 4, { "\"a\"", "end" } },
    { "{" T("a", "F32", "[1]", -4, 0) "}", 4, { "\"a\"", "data_offsets" } },
    { "{" T("a", "F32", "[2]", 0, 8) "}", 4, { "\"a\"", "ends at 8", "at most 4" } },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, { "\"a\"", "data_offsets" } },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 8, { "\"a\"", "data_offsets" } },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.0]}}", 4, { "\"a\"", "data_offsets" } },
    { "{" T("a", "F32", "[1]", 4, 8) "}", 8, { "\"a\"", "a hole" } },
    { "{" T("a", "F32", "[1]", 0, 4) "," T("b", "F32", "[1]", 8, 12) "}", 12, { "\"b\"", "a hole" } },
    { "{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[1]", 4, 8) "}", 8, { "\"b\"", "overlaps" } },
    { "{" T("a", "F32", "[1]", 0, 4) "," T("b", "F32", "[1]", 0, 4) "}", 4, { "\"b\"", "overlaps" } },
    { "{" T("a", "F32", "[1]", 0, 4) "}", 5, { "expected the end of the file", "found 1 bytes" } },
    { "{}", 1, { "byte 10", "expected the end of the file" } },
    { "{" T("a", "F32", "[1]", 0, 4) "," T("a", "F32", "[1]", 4, 8) "}", 8, { "duplicate" } },
    { "{\"__metadata__\":{\"x\":\"1\",\"x\":\"2\"}}", 0, { "duplicate" } },
    { "{\"__metadata__\":{\"x\":1}}", 0, { "__metadata__", "\"x\"", "an integer" } },
    { "{\"__metadata__\":[]}", 0, { "__metadata__", "a list" } },
    { "{\"\xff\":1}", 0, { "JSON", "byte" } },
    { "{\"a\xc3\":1}", 0, { "JSON" } },
    { "{\"a\\u0000\":1}", 0, { "JSON" } },
};

static void test_broken_rules(void **state) {
    (void)state;
    gal_buf b = { 0 };
    for (size_t i = 0; i < GAL_LEN(BAD); i++) {
        gal_diag diag = { 0 };
        gal_safetensors *s = NULL;
        build(&b, BAD[i].header, strlen(BAD[i].header), BAD[i].data);
        if (parse(b.data, b.len, &s, &diag) != GAL_EINPUT) fail_msg("accepted: %s", BAD[i].header);
        assert_null(s);
        assert_non_null(strstr(diag.text, "f.safetensors"));
        for (size_t k = 0; k < GAL_LEN(BAD[i].says) && BAD[i].says[k]; k++)
            if (!strstr(diag.text, BAD[i].says[k]))
                fail_msg("%s: no \"%s\" in: %s", BAD[i].header, BAD[i].says[k], diag.text);
    }
    gal_buf_free(&b);
}

static void test_lengths(void **state) {
    (void)state;
    static const struct {
        uint8_t bytes[10];
        size_t n;
        const char *says;
    } files[] = {
        { { 0 }, 0, "0 bytes" },
        { { 2, 0, 0, 0, 0, 0, 0 }, 7, "7 bytes" },
        { { 3, 0, 0, 0, 0, 0, 0, 0, '{', '}' }, 10, "at most 2" },
        { { 0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0, '{', '}' }, 10, "at most 100000000" },
        { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}' }, 10, "18446744073709551615" },
    };
    for (size_t i = 0; i < GAL_LEN(files); i++) {
        gal_diag diag = { 0 };
        gal_safetensors *s = NULL;
        assert_int_equal(parse((const char *)files[i].bytes, files[i].n, &s, &diag), GAL_EINPUT);
        if (!strstr(diag.text, files[i].says)) fail_msg("no \"%s\" in: %s", files[i].says, diag.text);
    }
}

static void test_deep_nesting(void **state) {
    (void)state;
    enum { DEEP = 100000 };
    gal_buf h = { 0 }, b = { 0 };
    gal_buf_puts(&h, "{\"a\":");
    for (int i = 0; i < DEEP; i++) gal_buf_putc(&h, '[');
    build(&b, h.data, h.len, 0);
    gal_diag diag = { 0 };
    gal_safetensors *s = NULL;
    assert_int_equal(parse(b.data, b.len, &s, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "depth"));
    gal_buf_free(&h);
    gal_buf_free(&b);
}

static void test_good_shapes(void **state) {
    (void)state;
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\",\"e\":\"\"}," T(
        "z", "F32", "[0,7]", 0, 0) "," T("scalar", "I64", "[]", 0,
                                         8) "," T("f8", "F8_E4M3", "[3]", 8,
                                                  11) "," T("f4", "F4", "[2,1]", 11, 12) "," T("y", "BOOL", "[0]", 12,
                                                                                               12) "}   ";
    gal_buf b = { 0 };
    build(&b, header, sizeof header - 1, 12);
    gal_safetensors *s = NULL;
    CHECK_OK(gal_safetensors_parse(&s, b.data, b.len, "f", diag));
    assert_int_equal(gal_safetensors_count(s), 5);
    const gal_st_tensor *t = gal_safetensors_find(s, "scalar");
    assert_non_null(t);
    assert_int_equal(t->ndim, 0);
    assert_int_equal(t->bytes, 8);
    assert_ptr_equal(t->data, b.data + b.len - 12);
    t = gal_safetensors_find(s, "z");
    assert_int_equal(t->dim[1], 7);
    assert_int_equal(t->bytes, 0);
    gal_dtype ours;
    assert_false(gal_st_dtype_ours(gal_safetensors_find(s, "f8")->dtype, &ours));
    assert_string_equal(gal_st_dtype_name(gal_safetensors_find(s, "f8")->dtype), "F8_E4M3");
    assert_null(gal_safetensors_find(s, "scala"));
    assert_null(gal_safetensors_find(s, "__metadata__"));
    assert_string_equal(gal_safetensors_meta(s, "format"), "pt");
    assert_string_equal(gal_safetensors_meta(s, "e"), "");
    assert_null(gal_safetensors_meta(s, "f"));
    for (size_t i = 1; i < gal_safetensors_count(s); i++)
        assert_true(strcmp(gal_safetensors_at(s, i - 1)->name, gal_safetensors_at(s, i)->name) < 0);
    gal_safetensors_close(s);
    gal_buf_free(&b);
}

/* Written by write_golden: name and items, then the bytes expected. */
static void check_written(const gal_st_item *items, size_t n, const char *const *meta, size_t n_meta,
                          const void *want, size_t bytes) {
    char folder[256], path[512];
    make_folder(folder);
    (void)snprintf(path, sizeof path, "%s/m.safetensors", folder);
    CHECK_OK(gal_safetensors_write(path, items, n, meta, n_meta, diag));
    gal_buf b = { 0 };
    CHECK_OK(gal_read_file(&b, path, 1 << 20, diag));
    assert_int_equal(b.len, bytes);
    assert_memory_equal(b.data, want, bytes);
    gal_safetensors *s = NULL;
    CHECK_OK(gal_safetensors_open(&s, path, diag));
    assert_int_equal(gal_safetensors_count(s), n);
    gal_safetensors_close(s);
    gal_buf_free(&b);
    remove_folder(folder);
}

static void test_golden_bytes(void **state) {
    (void)state;
    static const char empty[] = "\x08\0\0\0\0\0\0\0{}      ";
    check_written(NULL, 0, NULL, 0, empty, sizeof empty - 1);

    static const int64_t shape[] = { 1, 1, 2, 3 };
    static const uint8_t zeros[24];
    gal_st_item a = { "attn.0", GAL_ST_F32, GAL_ST_F32, 3, shape + 1, zeros, NULL, NULL };
    static const char header[] =
        "\x40\0\0\0\0\0\0\0{\"attn.0\":{\"dtype\":\"F32\",\"shape\":[1,2,3],\"data_offsets\":[0,24]}}";
    char want[8 + 80 + 24] = { 0 };
    memcpy(want, header, sizeof header - 1);
    check_written(&a, 1, NULL, 0, want, 8 + 64 + 24);

    gal_st_item c = { "attn0", GAL_ST_F32, GAL_ST_F32, 4, shape, zeros, NULL, NULL };
    static const char padded[] =
        "\x48\0\0\0\0\0\0\0{\"attn0\":{\"dtype\":\"F32\",\"shape\":[1,1,2,3],\"data_offsets\":[0,24]}}       ";
    memset(want, 0, sizeof want);
    memcpy(want, padded, sizeof padded - 1);
    check_written(&c, 1, NULL, 0, want, 8 + 72 + 24);

    static const char *const meta[] = { "format", "pt" };
    static const char tagged[] = "\x20\0\0\0\0\0\0\0{\"__metadata__\":{\"format\":\"pt\"}}";
    check_written(NULL, 0, meta, 1, tagged, sizeof tagged - 1);
}

static void test_order_and_conversion(void **state) {
    (void)state;
    char folder[256], path[512];
    make_folder(folder);
    (void)snprintf(path, sizeof path, "%s/m.safetensors", folder);
    enum { N = 3000 };
    static float x[N];
    for (int i = 0; i < N; i++) x[i] = (float)(i - 1500) / 7.0f;
    static const int64_t many[] = { N }, one[] = { 1 };
    static const uint8_t byte = 7;
    static const int64_t step = -5;
    const gal_st_item items[] = {
        { "u", GAL_ST_U8, GAL_ST_U8, 1, one, &byte, NULL, NULL },
        { "b\"\xc3\xa9", GAL_ST_BF16, GAL_ST_F32, 1, many, x, NULL, NULL },
        { "h", GAL_ST_F16, GAL_ST_F32, 1, many, x, NULL, NULL },
        { "f", GAL_ST_F32, GAL_ST_F32, 1, many, x, NULL, NULL },
        { "step", GAL_ST_I64, GAL_ST_I64, 1, one, &step, NULL, NULL },
    };
    CHECK_OK(gal_safetensors_write(path, items, GAL_LEN(items), NULL, 0, diag));
    gal_safetensors *s = NULL;
    CHECK_OK(gal_safetensors_open(&s, path, diag));
    static const char *const order[] = { "step", "f", "b\"\xc3\xa9", "h", "u" };
    uint64_t at = 0;
    for (size_t i = 0; i < GAL_LEN(order); i++) {
        const gal_st_tensor *t = gal_safetensors_find(s, order[i]);
        assert_non_null(t);
        if (i) assert_int_equal(t->offset, at);
        assert_int_equal(t->offset % (uint64_t)(gal_st_dtype_bits(t->dtype) / 8), 0);
        at = t->offset + t->bytes;
    }
    const gal_st_tensor *b = gal_safetensors_find(s, "b\"\xc3\xa9"), *h = gal_safetensors_find(s, "h");
    assert_int_equal(b->bytes, 2 * N);
    for (int i = 0; i < N; i++) {
        uint16_t got;
        memcpy(&got, b->data + 2 * i, 2);
        assert_int_equal(got, gal_f32_to_bf16(x[i]));
        memcpy(&got, h->data + 2 * i, 2);
        assert_int_equal(got, gal_f32_to_f16(x[i]));
    }
    assert_memory_equal(gal_safetensors_find(s, "f")->data, x, sizeof x);
    gal_safetensors_close(s);

    const gal_st_item twins[] = { items[0], items[0] };
    gal_diag diag = { 0 };
    assert_int_equal(gal_safetensors_write(path, twins, 2, NULL, 0, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "twice"));
    remove_folder(folder);
}

/* Every prefix of a good file is refused, and every change of one header byte is either refused or gives tensors
 * inside the file. */
static void test_truncation_and_noise(void **state) {
    (void)state;
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"}," T("a", "F32", "[2]", 0, 8) "," T(
        "b", "BF16", "[2,1]", 8, 12) "}  ";
    gal_buf b = { 0 };
    build(&b, header, sizeof header - 1, 12);
    gal_safetensors *s = NULL;
    for (size_t n = 0; n < b.len; n++) {
        gal_diag diag = { 0 };
        assert_int_equal(parse(b.data, n, &s, &diag), GAL_EINPUT);
        assert_true(diag.text[0] != 0);
    }
    static const uint8_t values[] = { 0, 1, '"', '{', '}', '[', '0', '9', ',', 0x7f, 0x80, 0xff };
    size_t accepted = 0;
    for (size_t i = 0; i < 8 + sizeof header - 1; i++)
        for (size_t k = 0; k < GAL_LEN(values); k++) {
            char keep = b.data[i];
            b.data[i] = (char)values[k];
            gal_diag diag = { 0 };
            gal_err err = gal_safetensors_parse(&s, b.data, b.len, "f", &diag);
            assert_true(err == GAL_OK || err == GAL_EINPUT);
            for (size_t j = 0; !err && j < gal_safetensors_count(s); j++) {
                const gal_st_tensor *t = gal_safetensors_at(s, j);
                assert_true(t->data >= (uint8_t *)b.data && t->offset + t->bytes <= b.len);
            }
            if (!err) {
                gal_safetensors_close(s);
                accepted++;
            }
            b.data[i] = keep;
        }
    assert_true(accepted > 0); /* names may change */
    gal_buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broken_rules),         cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_deep_nesting),         cmocka_unit_test(test_good_shapes),
        cmocka_unit_test(test_golden_bytes),         cmocka_unit_test(test_order_and_conversion),
        cmocka_unit_test(test_truncation_and_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
