/* gguf_test.c - reading GGUF files: bytes written by hand, every rule of formats.md 4.1 broken once, files cut at
 * every byte, noise, split files, and the files that llama.cpp's own writer made. SPDX-License-Identifier: Apache-2.0
 */
#include "base/mem.h"
#include "base/rng.h"
#include "formats/gguf.h"
#include "formats/gguf_make.h"
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- files by hand -----------------------------------------------------------------------------------------------
 */

/* The file that most tests damage. */
static void put_good(gal_buf *b) {
    put_head(b, 3, 7);
    put_number(b, "general.alignment", GAL_GGUF_U32, 4, 32);
    put_key(b, "a.string", GAL_GGUF_STRING);
    put_string(b, "hi");
    put_number(b, "a.flag", GAL_GGUF_BOOL, 1, 1);
    put_key(b, "a.list", GAL_GGUF_ARRAY);
    put(b, 4, GAL_GGUF_U16);
    put(b, 8, 3);
    for (uint64_t i = 1; i <= 3; i++) put(b, 2, i * 1000);
    put_key(b, "a.words", GAL_GGUF_ARRAY);
    put(b, 4, GAL_GGUF_STRING);
    put(b, 8, 2);
    put_string(b, "x");
    put_string(b, "yz");
    put_key(b, "a.flags", GAL_GGUF_ARRAY);
    put(b, 4, GAL_GGUF_BOOL);
    put(b, 8, 2);
    put(b, 2, 0x0100);
    put_number(b, "z.last", GAL_GGUF_I8, 1, 0xff);
    put_tensor(b, "t.blocks", 2, 32, 2, 8, 0);
    put_tensor(b, "t.floats", 1, 3, 0, 0, 96);
    put_tensor(b, "t.scalar", 0, 0, 0, 30, 128);
    pad(b, 32);
    put_data(b, 130);
}

static size_t largest;

static void *watch(void *user, void *ptr, size_t old_bytes, size_t bytes) {
    (void)user, (void)old_bytes;
    largest = GAL_MAX(largest, bytes);
    if (bytes) return realloc(ptr, bytes);
    free(ptr);
    return NULL;
}

/* Parses a copy that ends where its bytes end, so that AddressSanitizer sees a read past the file. */
static gal_err parse(const gal_buf *b, size_t n, gal_diag *diag) {
    uint8_t *copy = gal_alloc(n);
    gal_gguf *g = NULL;
    assert_non_null(copy);
    if (n) memcpy(copy, b->data, n);
    gal_err err = gal_gguf_parse(&g, copy, n, "f.gguf", diag);
    for (size_t i = 0; !err && i < gal_gguf_count(g); i++) {
        const gal_gguf_tensor *t = gal_gguf_at(g, i);
        assert_true(t->data >= copy && t->offset <= n && t->bytes <= n - t->offset);
        assert_ptr_equal(gal_gguf_find(g, t->name), t);
    }
    if (!err) gal_gguf_close(g);
    gal_free(copy);
    return err;
}

static void refused(const char *what, const gal_buf *b, const char *const says[3]) {
    gal_diag diag = { 0 };
    gal_err err = parse(b, b->len, &diag);
    if (err != GAL_EINPUT) fail_msg("%s: not refused", what);
    if (!strstr(diag.text, "f.gguf: ")) fail_msg("%s: no file in: %s", what, diag.text);
    for (size_t i = 0; i < 3 && says[i]; i++)
        if (!strstr(diag.text, says[i])) fail_msg("%s: no \"%s\" in: %s", what, says[i], diag.text);
}

/* ---- good files --------------------------------------------------------------------------------------------------
 */

static void test_golden_bytes(void **state) {
    (void)state;
    static const char bytes[] = "GGUF\3\0\0\0"
                                "\2\0\0\0\0\0\0\0"                  /* two tensors */
                                "\2\0\0\0\0\0\0\0"                  /* two keys */
                                "\1\0\0\0\0\0\0\0k\4\0\0\0\5\0\0\0" /* u32 5 */
                                "\1\0\0\0\0\0\0\0s\10\0\0\0\2\0\0\0\0\0\0\0hi"
                                "\1\0\0\0\0\0\0\0a\2\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                "\2\0\0\0\0\0\0\0bb\0\0\0\0\30\0\0\0\40\0\0\0\0\0\0\0" /* a scalar i8 at 32 */
                                "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                "\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                "\0\0\200\77\0\0\0\100" /* 1.0, 2.0 */
                                "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\7";
    static const float numbers[2] = { 1, 2 };
    gal_gguf *g = NULL;
    for (int version = 2; version <= 3; version++) {
        uint8_t copy[sizeof bytes];
        memcpy(copy, bytes, sizeof bytes);
        copy[4] = (uint8_t)version;
        CHECK_OK(gal_gguf_parse(&g, copy, sizeof bytes - 1, "f", diag));
        assert_int_equal(gal_gguf_version(g), version);
        assert_int_equal(gal_gguf_parts(g), 1);
        assert_int_equal(gal_gguf_bytes(g), sizeof bytes - 1);
        assert_int_equal(gal_gguf_count(g), 2);
        const gal_gguf_tensor *a = gal_gguf_at(g, 0), *b = gal_gguf_find(g, "bb");
        assert_string_equal(a->name, "a");
        assert_string_equal(a->file, "f");
        assert_int_equal(a->type, 0);
        assert_int_equal(a->ndim, 2);
        assert_int_equal(a->dim[0], 1); /* the file says 2, 1 */
        assert_int_equal(a->dim[1], 2);
        assert_int_equal(a->dim[2], 1);
        assert_int_equal(a->bytes, 8);
        assert_int_equal(a->offset, 160);
        assert_memory_equal(a->data, numbers, sizeof numbers);
        assert_ptr_equal(b, gal_gguf_at(g, 1));
        assert_int_equal(b->ndim, 0);
        assert_int_equal(b->bytes, 1);
        assert_int_equal(b->data[0], 7);
        assert_string_equal(gal_gguf_type_name(b->type), "I8");
        assert_null(gal_gguf_find(g, "b"));
        uint64_t k = 0;
        const char *s = NULL;
        size_t n = 0;
        CHECK_OK(gal_gguf_uint(g, "k", &k, NULL, diag));
        CHECK_OK(gal_gguf_string(g, "s", &s, &n, NULL, diag));
        assert_int_equal(k, 5);
        assert_int_equal(n, 2);
        assert_memory_equal(s, "hi", 2);
        assert_int_equal(gal_gguf_keys(g), 2);
        assert_string_equal(gal_gguf_key_at(g, 1)->key, "s");
        assert_null(gal_gguf_get(g, "kk"));
        gal_gguf_close(g);
    }
}

static void test_no_tensors(void **state) {
    (void)state;
    gal_buf b = { 0 };
    gal_diag diag = { 0 };
    put_head(&b, 0, 0);
    assert_int_equal(parse(&b, b.len, &diag), GAL_OK);
    put_head(&b, 0, 1); /* only a vocabulary, say: nobody pads such a file */
    put_number(&b, "k", GAL_GGUF_U8, 1, 3);
    assert_int_equal(parse(&b, b.len, &diag), GAL_OK);
    put_good(&b);
    assert_int_equal(parse(&b, b.len, &diag), GAL_OK);
    pad(&b, 32); /* the last tensor, too, may be padded */
    assert_int_equal(parse(&b, b.len, &diag), GAL_OK);
    gal_buf_free(&b);
}

static void test_alignment(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        size_t width;
        uint64_t align;
    } GOOD[] = { { GAL_GGUF_U32, 4, 8 },
                 { GAL_GGUF_U32, 4, 1 },
                 { GAL_GGUF_U16, 2, 64 },
                 { GAL_GGUF_I64, 8, 4096 },
                 { GAL_GGUF_U8, 1, 128 } };
    gal_buf b = { 0 };
    for (size_t i = 0; i < GAL_LEN(GOOD); i++) {
        uint64_t second = (5 + GOOD[i].align - 1) / GOOD[i].align * GOOD[i].align;
        put_head(&b, 2, 1);
        put_number(&b, "general.alignment", GOOD[i].type, GOOD[i].width, GOOD[i].align);
        put_tensor(&b, "one", 1, 5, 0, 24, 0);
        put_tensor(&b, "two", 1, 2, 0, 24, second);
        pad(&b, (size_t)GOOD[i].align);
        size_t base = b.len;
        put_data(&b, (size_t)second + 2);
        gal_gguf *g = NULL;
        CHECK_OK(gal_gguf_parse(&g, b.data, b.len, "f", diag));
        assert_int_equal(gal_gguf_find(g, "two")->offset, base + second);
        gal_gguf_close(g);
    }
    gal_buf_free(&b);
}

/* ---- typed readers -----------------------------------------------------------------------------------------------
 */

static const struct number {
    const char *key;
    uint32_t type;
    size_t width;
    uint64_t bits;
    bool unsigned_fits, signed_fits; /* integers: in uint64_t, in int64_t */
} NUMBERS[] = {
    { "u8", GAL_GGUF_U8, 1, 255, true, true },
    { "u16", GAL_GGUF_U16, 2, 65535, true, true },
    { "u32", GAL_GGUF_U32, 4, UINT32_MAX, true, true },
    { "u64", GAL_GGUF_U64, 8, INT64_MAX, true, true },
    { "u64.high", GAL_GGUF_U64, 8, (uint64_t)INT64_MAX + 1, true, false },
    { "u64.most", GAL_GGUF_U64, 8, UINT64_MAX, true, false },
    { "i8", GAL_GGUF_I8, 1, 127, true, true },
    { "i8.low", GAL_GGUF_I8, 1, (uint64_t)-128, false, true },
    { "i16", GAL_GGUF_I16, 2, 32767, true, true },
    { "i16.low", GAL_GGUF_I16, 2, (uint64_t)-1, false, true },
    { "i32", GAL_GGUF_I32, 4, INT32_MAX, true, true },
    { "i32.low", GAL_GGUF_I32, 4, (uint64_t)INT32_MIN, false, true },
    { "i64", GAL_GGUF_I64, 8, INT64_MAX, true, true },
    { "i64.low", GAL_GGUF_I64, 8, (uint64_t)INT64_MIN, false, true },
};

static void test_integers(void **state) {
    (void)state;
    gal_buf b = { 0 };
    gal_gguf *g = NULL;
    put_head(&b, 0, GAL_LEN(NUMBERS));
    for (size_t i = 0; i < GAL_LEN(NUMBERS); i++)
        put_number(&b, NUMBERS[i].key, NUMBERS[i].type, NUMBERS[i].width, NUMBERS[i].bits);
    CHECK_OK(gal_gguf_parse(&g, b.data, b.len, "f.gguf", diag));
    for (size_t i = 0; i < GAL_LEN(NUMBERS); i++) {
        const struct number *c = &NUMBERS[i];
        gal_diag diag = { 0 };
        uint64_t u = 77;
        int64_t s = 77;
        double d = 77;
        bool found = false;
        gal_err err = gal_gguf_uint(g, c->key, &u, &found, &diag);
        assert_true(found);
        assert_int_equal(err, c->unsigned_fits ? GAL_OK : GAL_EINPUT);
        assert_true(u == (c->unsigned_fits ? c->bits : 77));
        if (err) assert_non_null(strstr(diag.text, c->key));
        if (err) assert_non_null(strstr(diag.text, "expected an integer >= 0, found -"));
        diag = (gal_diag){ 0 };
        err = gal_gguf_int(g, c->key, &s, NULL, &diag);
        assert_int_equal(err, c->signed_fits ? GAL_OK : GAL_EINPUT);
        assert_true(s == (c->signed_fits ? (int64_t)c->bits : 77));
        if (err) assert_non_null(strstr(diag.text, "with a sign, found "));
        diag = (gal_diag){ 0 };
        assert_int_equal(gal_gguf_float(g, c->key, &d, &found, &diag), GAL_EINPUT);
        assert_non_null(strstr(diag.text, "expected a floating-point number, found a value of type"));
        assert_true(gal_gguf_is(gal_gguf_get(g, c->key), GAL_GGUF_UINTS) == c->unsigned_fits);
    }
    gal_gguf_close(g);
    gal_buf_free(&b);
}

static void test_values(void **state) {
    (void)state;
    gal_buf b = { 0 };
    gal_gguf *g = NULL;
    put_head(&b, 0, 6);
    put_number(&b, "f32", GAL_GGUF_F32, 4, 0x3fc00000);
    put_number(&b, "f64", GAL_GGUF_F64, 8, 0xc004000000000000);
    put_number(&b, "yes", GAL_GGUF_BOOL, 1, 1);
    put_key(&b, "empty", GAL_GGUF_STRING);
    put_string(&b, "");
    put_key(&b, "none", GAL_GGUF_ARRAY);
    put(&b, 4, GAL_GGUF_STRING);
    put(&b, 8, 0);
    put_key(&b, "signs", GAL_GGUF_ARRAY);
    put(&b, 4, GAL_GGUF_I32);
    put(&b, 8, 2);
    put(&b, 8, 0xfffffffb00000004);
    CHECK_OK(gal_gguf_parse(&g, b.data, b.len, "f.gguf", diag));
    double d = 0;
    bool yes = false, found = true;
    const char *s = NULL;
    size_t n = 7;
    uint64_t u = 77;
    const gal_gguf_value *v = NULL;
    CHECK_OK(gal_gguf_float(g, "f32", &d, NULL, diag));
    assert_true(d == 1.5);
    CHECK_OK(gal_gguf_float(g, "f64", &d, NULL, diag));
    assert_true(d == -2.5);
    CHECK_OK(gal_gguf_bool(g, "yes", &yes, NULL, diag));
    assert_true(yes);
    CHECK_OK(gal_gguf_string(g, "empty", &s, &n, &found, diag));
    assert_true(found && n == 0 && s);
    CHECK_OK(gal_gguf_array(g, "none", GAL_GGUF_STRINGS, &v, NULL, diag));
    assert_int_equal(v->count, 0);
    CHECK_OK(gal_gguf_array(g, "signs", GAL_GGUF_INTS, &v, NULL, diag));
    assert_int_equal(v->count, 2);
    assert_int_equal(gal_gguf_int_at(v, 1), -5);
    /* absent */
    CHECK_OK(gal_gguf_uint(g, "no", &u, &found, diag));
    assert_true(!found && u == 77);
    CHECK_OK(gal_gguf_array(g, "no", GAL_GGUF_FLOATS, &v, &found, diag));
    assert_false(found);
    gal_diag diag = { 0 };
    assert_int_equal(gal_gguf_uint(g, "no", &u, NULL, &diag), GAL_EINPUT);
    assert_string_equal(diag.text, "f.gguf: key \"no\": expected an integer >= 0, but the key is missing");
    /* of another type */
    diag = (gal_diag){ 0 };
    assert_int_equal(gal_gguf_bool(g, "f32", &yes, &found, &diag), GAL_EINPUT);
    assert_string_equal(diag.text, "f.gguf: key \"f32\" (byte 39): expected a bool, found a value of type f32");
    diag = (gal_diag){ 0 };
    assert_int_equal(gal_gguf_string(g, "none", &s, &n, &found, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "expected a string, found an array of string"));
    diag = (gal_diag){ 0 };
    assert_int_equal(gal_gguf_array(g, "f32", GAL_GGUF_FLOATS, &v, &found, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "expected an array of floating-point numbers, found a value of type f32"));
    diag = (gal_diag){ 0 };
    assert_int_equal(gal_gguf_array(g, "signs", GAL_GGUF_UINTS, &v, &found, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "expected an array of integers >= 0, found -5"));
    gal_gguf_close(g);
    gal_buf_free(&b);
}

/* As many strings as a vocabulary has: the last one is found as fast as the first. */
static void test_vocabulary(void **state) {
    (void)state;
    enum { WORDS = 131072 };
    gal_buf b = { 0 };
    gal_gguf *g = NULL;
    const gal_gguf_value *v = NULL;
    char text[32];
    put_head(&b, 0, 1);
    put_key(&b, "tokenizer.ggml.tokens", GAL_GGUF_ARRAY);
    put(&b, 4, GAL_GGUF_STRING);
    put(&b, 8, WORDS);
    for (int i = 0; i < WORDS; i++) {
        (void)snprintf(text, sizeof text, "%.*s%d", i % 5, "wwwww", i);
        put_string(&b, text);
    }
    CHECK_OK(gal_gguf_parse(&g, b.data, b.len, "f", diag));
    CHECK_OK(gal_gguf_array(g, "tokenizer.ggml.tokens", GAL_GGUF_STRINGS, &v, NULL, diag));
    assert_int_equal(v->count, WORDS);
    for (int i = WORDS; i-- > 0;) {
        size_t n = 0;
        (void)snprintf(text, sizeof text, "%.*s%d", i % 5, "wwwww", i);
        const char *s = gal_gguf_string_at(v, (uint64_t)i, &n);
        if (n != strlen(text) || memcmp(s, text, n) != 0) fail_msg("word %d", i);
    }
    gal_gguf_close(g);
    gal_buf_free(&b);
}

/* ---- broken rules ------------------------------------------------------------------------------------------------
 */

/* Of the good file, `width` bytes at `delta` from where the text stands are replaced. */
static const struct bad {
    const char *text;
    int delta;
    size_t width;
    uint64_t by;
    const char *says[3];
} BAD[] = {
    { "GGUF", 0, 4, 0x20202020, { "byte 0", "expected \"GGUF\"" } },
    { "GGUF", 4, 4, 0, { "byte 4", "found version 0" } },
    { "GGUF", 4, 4, 1, { "byte 4", "found version 1", "converted again" } },
    { "GGUF", 4, 4, 4, { "byte 4", "found version 4" } },
    { "GGUF", 4, 4, 0x03000000, { "byte 4", "0x03000000", "big-endian" } },
    { "GGUF", 8, 8, 4, { "byte", "tensor 4 of 4" } },
    { "GGUF", 8, 8, 100, { "byte 8", "100 tensors take at least 2500 bytes" } },
    { "GGUF", 8, 8, 0x7fffffff, { "byte 8", "at most 262144 tensors, found 2147483647" } },
    { "GGUF", 8, 8, 0x80000001, { "byte 8", "found 2147483649" } },
    { "GGUF", 8, 8, 0xffffffff, { "byte 8", "found 4294967295" } },
    { "GGUF", 8, 8, 0x100000001, { "byte 8", "found 4294967297" } },
    { "GGUF", 8, 8, INT64_MAX, { "byte 8", "found 9223372036854775807" } },
    { "GGUF", 8, 8, UINT64_MAX, { "byte 8", "found 18446744073709551615" } },
    { "GGUF", 16, 8, 0, { "tensor" } },
    { "GGUF", 16, 8, 6, { "tensor" } },
    { "GGUF", 16, 8, 8, { "tensor 1 of 3", "562949953421312" } },
    { "GGUF", 16, 8, 65536, { "byte 16", "65536 keys take at least 917504 bytes" } },
    { "GGUF", 16, 8, 65537, { "byte 16", "at most 65536 keys, found 65537" } },
    { "GGUF", 16, 8, 0x80000001, { "byte 16", "found 2147483649" } },
    { "GGUF", 16, 8, UINT64_MAX, { "byte 16", "found 18446744073709551615" } },
    { "a.string", -8, 8, 0, { "byte", "key 2 of 7", "is empty" } },
    { "a.string", -8, 8, 1000, { "key 2 of 7", "a string of 1000 bytes", "only" } },
    { "a.string", -8, 8, 0x40000001, { "key 2 of 7", "at most 1073741824 bytes", "1073741825" } },
    { "a.string", -8, 8, UINT64_MAX, { "key 2 of 7", "18446744073709551615" } },
    { "a.string", 0, 1, 0, { "key 2 of 7", "holds a NUL" } },
    { "a.string", 0, 1, 0xff, { "key 2 of 7", "is not UTF-8" } },
    { "a.string", 8, 4, 13, { "key \"a.string\"", "from 0 to 12, found 13" } },
    { "a.string", 8, 4, UINT32_MAX, { "key \"a.string\"", "found 4294967295" } },
    { "a.string", 12, 8, 0x7fffffff, { "key \"a.string\"", "at most 1073741824", "2147483647" } },
    { "a.string", 12, 8, 100000, { "key \"a.string\"", "100000 bytes", "more" } },
    { "a.string", 12, 8, (uint64_t)1 << 63, { "key \"a.string\"", "9223372036854775808" } },
    { "a.flag", 10, 1, 2, { "key \"a.flag\"", "expected a bool of 0 or 1, found 2" } },
    { "a.flags", 24, 1, 255, { "key \"a.flags\"", "expected a bool of 0 or 1, found 255" } },
    { "a.list", 10, 4, 9, { "key \"a.list\"", "numbers or strings, found one of arrays" } },
    { "a.list", 10, 4, 77, { "key \"a.list\"", "element type from 0 to 12, found 77" } },
    { "a.list", 14, 8, 10000, { "key \"a.list\"", "10000 elements of u16 takes at least 20000 bytes" } },
    { "a.list", 14, 8, 0x40000001, { "key \"a.list\"", "at most 1073741824 elements, found 1073741825" } },
    { "a.list", 14, 8, UINT64_MAX, { "key \"a.list\"", "found 18446744073709551615" } },
    { "a.words", 15, 8, 10000, { "key \"a.words\"", "10000 elements of string takes at least 80000 bytes" } },
    { "a.words", 23, 8, 100000, { "key \"a.words\"", "a string of 100000 bytes" } },
    { "a.words", 23, 8, 0x7fffffff, { "key \"a.words\"", "2147483647" } },
    { "z.last", 0, 6, 0x67616c662e61, { "key \"a.flag\"", "the key is there twice" } },
    { "general.alignment", 21, 4, 0, { "general.alignment", "power of two", "found 0" } },
    { "general.alignment", 21, 4, 3, { "general.alignment", "power of two", "found 3" } },
    { "general.alignment", 21, 4, UINT32_MAX, { "general.alignment", "found 4294967295" } },
    { "general.alignment",
      21,
      4,
      0x80000000,
      { "tensor \"t.blocks\" ends at byte 2147483716", "the file has 514", "incomplete" } },
    { "general.alignment", 21, 4, 16, { "tensor \"t.floats\"", "offset 80, found it at 96", "a hole" } },
    { "general.alignment", 17, 4, 6, { "general.alignment", "an integer >= 0", "type f32" } },
    { "t.blocks", -8, 8, 0, { "tensor 1 of 3", "is empty" } },
    { "t.blocks", -8, 8, 64, { "tensor 1 of 3", "1 to 63 bytes", "of 64 that is too long" } },
    { "t.blocks", 3, 1, 0, { "tensor 1 of 3", "holds a NUL" } },
    { "t.blocks", 3, 1, 0xc3, { "tensor 1 of 3", "is not UTF-8" } },
    { "t.floats", 2, 6, 0x736b636f6c62, { "tensor \"t.blocks\" is there twice" } },
    { "t.blocks", 8, 4, 5, { "tensor \"t.blocks\"", "at most 4 dimensions, found 5" } },
    { "t.blocks", 8, 4, UINT32_MAX, { "at most 4 dimensions, found 4294967295" } },
    { "t.blocks", 12, 8, 31, { "tensor \"t.blocks\"", "whole blocks of 32 for Q8_0, found 31" } },
    { "t.blocks", 12, 8, UINT64_MAX, { "tensor \"t.blocks\"", "dimension 0", "found -1" } },
    { "t.blocks", 12, 8, INT64_MAX, { "tensor \"t.blocks\"", "dimension 1", "overflows 63 bits" } },
    { "t.blocks", 20, 8, (uint64_t)1 << 58, { "tensor \"t.blocks\"", "dimension 1", "overflows 63 bits" } },
    { "t.blocks", 20, 8, (uint64_t)1 << 63, { "tensor \"t.blocks\"", "dimension 1", "found -9223372036854775808" } },
    { "t.blocks",
      20,
      8,
      ((uint64_t)1 << 58) - 1,
      { "tensor \"t.blocks\" ends at byte 9799832789158199646", "incomplete" } },
    { "t.floats", 12, 8, (uint64_t)1 << 61, { "tensor \"t.floats\"", "incomplete" } },
    { "t.blocks", 20, 8, 3, { "tensor \"t.floats\"", "offset 128, found it at 96", "overlaps" } },
    { "t.blocks", 28, 4, 4, { "tensor \"t.blocks\"", "found number 4, which is no longer used" } },
    { "t.blocks", 28, 4, 33, { "found number 33, which is no longer used" } },
    { "t.blocks", 28, 4, 36, { "found number 36, which is no longer used" } },
    { "t.blocks", 28, 4, 43, { "expected a known type, found number 43" } },
    { "t.blocks", 28, 4, 255, { "expected a known type, found number 255" } },
    { "t.blocks", 28, 4, UINT32_MAX, { "expected a known type, found number 4294967295" } },
    { "t.blocks", 32, 8, 32, { "tensor \"t.blocks\"", "offset 0, found it at 32", "a hole" } },
    { "t.floats", 24, 8, 97, { "tensor \"t.floats\"", "not aligned" } },
    { "t.floats", 24, 8, 64, { "tensor \"t.floats\"", "overlaps" } },
    { "t.floats", 24, 8, UINT64_MAX - 31, { "tensor \"t.floats\"", "offset 96" } },
    { "t.floats", 12, 8, 11, { "tensor \"t.floats\" ends at byte 524 but the file has 514", "incomplete" } },
};

/* delta may be negative: it wraps, and so does the sum. */
static void change(gal_buf *b, const char *text, size_t delta, size_t width, uint64_t by) {
    size_t at = 0, n = strlen(text);
    while (at + n < b->len && memcmp(b->data + at, text, n) != 0) at++;
    for (size_t k = 0; k < width; k++) b->data[at + delta + k] = (char)(by >> (8 * k));
}

static void test_broken_rules(void **state) {
    (void)state;
    gal_buf b = { 0 };
    for (size_t i = 0; i < GAL_LEN(BAD); i++) {
        put_good(&b);
        change(&b, BAD[i].text, (size_t)BAD[i].delta, BAD[i].width, BAD[i].by);
        refused(BAD[i].says[0], &b, BAD[i].says);
    }
    gal_buf_free(&b);
}

/* Every number of the head and of one tensor at the edges of its type: refused, or a file. */
static void test_edges(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t delta;
    } FIELDS[] = { { "GGUF", 8 },     { "GGUF", 16 },     { "a.string", 12 }, { "a.list", 14 },  { "a.words", 15 },
                   { "a.words", 23 }, { "t.blocks", 12 }, { "t.blocks", 20 }, { "t.floats", 12 } };
    static const uint64_t EDGES[] = { 0,          1,           0x7fffffff,  0x80000000, 0x80000001,
                                      0xffffffff, 0x100000000, 0x100000001, INT64_MAX,  (uint64_t)INT64_MAX + 1,
                                      UINT64_MAX };
    gal_buf b = { 0 };
    largest = 0;
    for (size_t i = 0; i < GAL_LEN(FIELDS); i++)
        for (size_t k = 0; k < GAL_LEN(EDGES); k++) {
            gal_diag diag = { 0 };
            put_good(&b);
            change(&b, FIELDS[i].text, FIELDS[i].delta, 8, EDGES[k]);
            gal_err err = parse(&b, b.len, &diag);
            assert_true(err == GAL_EINPUT || (!err && EDGES[k] < 2));
        }
    assert_in_range(largest, 1, 1 << 16);
    gal_buf_free(&b);
}

/* Padded sizes that sum to 2^64 and a little: none of them is in the file. */
static void test_wrapping_sums(void **state) {
    (void)state;
    gal_buf b = { 0 };
    gal_diag diag = { 0 };
    char name[16];
    put_head(&b, 9, 0);
    for (uint64_t i = 0; i < 9; i++) {
        (void)snprintf(name, sizeof name, "t%d", (int)i);
        put_tensor(&b, name, 1, (uint64_t)1 << 58, 0, 27, i << 61);
    }
    pad(&b, 32);
    put_data(&b, 64);
    assert_int_equal(parse(&b, b.len, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "tensor \"t0\" ends at byte 2305843009213"));
    gal_buf_free(&b);
}

/* The largest numbers that have 63 bits, of the widest type: no sum of them may wrap. */
static void test_widest(void **state) {
    (void)state;
    gal_buf b = { 0 };
    gal_diag diag = { 0 };
    put_head(&b, 1, 0);
    put_tensor(&b, "t", 1, INT64_MAX, 0, 27, 0);
    pad(&b, 32);
    assert_int_equal(parse(&b, b.len, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "overflow 64 bits"));
    put_head(&b, 1, 0);
    put_tensor(&b, "t", 1, ((uint64_t)1 << 61) - 1, 0, 27, 0);
    pad(&b, 32);
    diag = (gal_diag){ 0 };
    assert_int_equal(parse(&b, b.len, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "incomplete"));
    gal_buf_free(&b);
}

static void test_other_files(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *says[3];
    } FILES[] = {
        { "", 0, { "expected the 24 bytes", "a file of 0 bytes" } },
        { "GGU", 3, { "a file of 3 bytes" } },
        { "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 23, { "a file of 23 bytes" } },
        { "lmgg\1\0\0\0", 8, { "byte 0", "GGML", "converted again" } },
        { "fmgg\1\0\0\0", 8, { "GGMF" } },
        { "tjgg\1\0\0\0", 8, { "GGJT" } },
        { "algg\1\0\0\0", 8, { "adapter" } },
        { "FUGG\0\0\0\3", 8, { "bytes swapped" } },
        { "PK\3\4....", 8, { "zip", "PyTorch" } },
        { "\x1f\x8b....", 6, { "gzip" } },
        { "\x28\xb5\x2f\xfd..", 6, { "Zstandard" } },
        { "version https://git-lfs.github.com/spec/v1\n", 43, { "Git LFS" } },
        { "<!DOCTYPE html>", 15, { "a web page" } },
        { "<html>", 6, { "a web page" } },
        { "\2\0\0\0\0\0\0\0{}", 10, { "a safetensors file" } },
        { "\0\0\0\0\0\0\0\0\0", 9, { "not written yet" } },
        { "hello", 5, { "expected \"GGUF\", found something else" } },
    };
    gal_buf b = { 0 };
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        gal_buf_clear(&b);
        gal_buf_add(&b, FILES[i].bytes, FILES[i].n);
        refused(FILES[i].says[0], &b, FILES[i].says);
    }
    gal_buf_free(&b);
}

/* ---- cut short, noise --------------------------------------------------------------------------------------------
 */

static void test_truncation(void **state) {
    (void)state;
    gal_buf b = { 0 };
    put_good(&b);
    for (size_t n = 0; n < b.len; n++) {
        gal_diag diag = { 0 };
        if (parse(&b, n, &diag) != GAL_EINPUT) fail_msg("cut at %zu: not refused", n);
        assert_non_null(strstr(diag.text, "f.gguf: "));
        if (n > 24) assert_true(strstr(diag.text, "incomplete") || strstr(diag.text, "the file has only"));
    }
    gal_buf_free(&b);
    /* more data, 200 places of it */
    put_head(&b, 8, 0);
    for (uint64_t i = 0; i < 8; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "t%d", (int)i);
        put_tensor(&b, name, 1, 4096, 0, 0, i * 4 * 4096);
    }
    pad(&b, 32);
    size_t data = b.len;
    put_data(&b, (size_t)8 * 4 * 4096);
    for (uint64_t i = 0; i < 200; i++) {
        gal_diag diag = { 0 };
        size_t n = data + (size_t)gal_rng_below(3, 1, i, b.len - data);
        assert_int_equal(parse(&b, n, &diag), GAL_EINPUT);
        char want[80];
        (void)snprintf(want, sizeof want, "but the file has %zu: the download is incomplete", n);
        if (!strstr(diag.text, want)) fail_msg("no \"%s\" in: %s", want, diag.text);
    }
    gal_buf_free(&b);
}

/* A few bytes of the good file changed: refused, or a file whose tensors lie inside, and never much memory. */
static void test_noise(void **state) {
    (void)state;
    enum { ROUNDS = 20000 };
    static const uint8_t USUAL[] = { 0, 1, 2, 8, 9, 0x7f, 0x80, 0xff };
    gal_buf good = { 0 }, b = { 0 };
    put_good(&good);
    gal_buf_add(&b, good.data, good.len);
    size_t accepted = 0;
    largest = 0;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        memcpy(b.data, good.data, good.len);
        uint64_t changes = 1 + gal_rng_below(9, 1, i, 4);
        for (uint64_t k = 0; k < changes; k++) {
            size_t at = (size_t)gal_rng_below(9, 2, i * 4 + k, good.len - 130);
            uint64_t x = gal_rng_below(9, 3, i * 4 + k, 256);
            b.data[at] = (char)(x & 1 ? USUAL[x / 2 % GAL_LEN(USUAL)] : x);
        }
        gal_diag diag = { 0 };
        gal_err err = parse(&b, b.len, &diag);
        assert_true(err == GAL_OK || (err == GAL_EINPUT && strstr(diag.text, "f.gguf")));
        accepted += err == GAL_OK;
    }
    assert_true(accepted > 0); /* names, numbers and strings may change */
    print_message("%zu of %d are files all the same; the largest allocation: %zu bytes\n", accepted, ROUNDS, largest);
    assert_in_range(largest, 1, 1 << 16);
    gal_buf_free(&good);
    gal_buf_free(&b);
}

int main(void) {
    gal_set_alloc_hook(watch, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_noise),         cmocka_unit_test(test_golden_bytes), cmocka_unit_test(test_no_tensors),
        cmocka_unit_test(test_alignment),     cmocka_unit_test(test_integers),     cmocka_unit_test(test_values),
        cmocka_unit_test(test_vocabulary),    cmocka_unit_test(test_broken_rules), cmocka_unit_test(test_edges),
        cmocka_unit_test(test_wrapping_sums), cmocka_unit_test(test_widest),       cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_truncation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
