/* gguf_write_test.c - writing GGUF files: golden bytes, every type of value there and back, data from memory and from
 * callbacks, what is refused, and other programs' files written again to the same bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "formats/gguf.h"
#include "support/check.h"

#include <stdio.h>
#include <string.h>

static gal_gguf_writer *begin(void) {
    gal_gguf_writer *w = NULL;
    CHECK_OK(gal_gguf_writer_new(&w, diag));
    return w;
}

/* Writes into memory and reads that; frees w. The file's bytes stay in b. */
static gal_gguf *there_and_back(gal_gguf_writer *w, gal_buf *b) {
    gal_gguf *g = NULL;
    gal_buf_clear(b);
    CHECK_OK(gal_gguf_print(w, b, "f.gguf", diag));
    CHECK_OK(gal_gguf_parse(&g, b->data, b->len, "f.gguf", diag));
    gal_gguf_writer_free(w);
    return g;
}

static void test_golden_bytes(void **state) {
    (void)state;
    static const char want[] = "GGUF\3\0\0\0"
                               "\2\0\0\0\0\0\0\0"
                               "\2\0\0\0\0\0\0\0"
                               "\1\0\0\0\0\0\0\0k\4\0\0\0\5\0\0\0"
                               "\1\0\0\0\0\0\0\0s\10\0\0\0\2\0\0\0\0\0\0\0hi"
                               "\1\0\0\0\0\0\0\0a\2\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                               "\2\0\0\0\0\0\0\0bb\0\0\0\0\30\0\0\0\40\0\0\0\0\0\0\0"
                               "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                               "\0\0\200\77\0\0\0\100"
                               "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\7"
                               "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    static const float numbers[2] = { 1, 2 };
    static const int64_t dim[2] = { 1, 2 };
    static const uint8_t seven = 7;
    char folder[256], path[300];
    gal_buf b = { 0 };
    make_folder(folder);
    (void)snprintf(path, sizeof path, "%s/m.gguf", folder);
    gal_gguf_writer *w = begin();
    gal_gguf_put_u32(w, "k", 5);
    gal_gguf_put_string(w, "s", "hi", 2);
    gal_gguf_put_tensor(w, &(gal_gguf_item){ .name = "a", .type = 0, .ndim = 2, .dim = dim, .data = numbers });
    gal_gguf_put_tensor(w, &(gal_gguf_item){ .name = "bb", .type = 24, .data = &seven });
    CHECK_OK(gal_gguf_write(w, path, diag));
    CHECK_OK(gal_read_file(&b, path, 1 << 16, diag));
    assert_int_equal(b.len, sizeof want - 1);
    assert_memory_equal(b.data, want, b.len);
    CHECK_OK(gal_gguf_print(w, &b, path, diag)); /* appends */
    assert_int_equal(b.len, 2 * (sizeof want - 1));
    assert_memory_equal(b.data + b.len / 2, want, b.len / 2);
    gal_gguf_writer_free(w);
    gal_gguf *g = there_and_back(begin(), &b);
    assert_int_equal(b.len, 24);
    assert_int_equal(gal_gguf_count(g) + gal_gguf_keys(g), 0);
    gal_gguf_close(g);
    gal_buf_free(&b);
    remove_folder(folder);
}

static const struct number {
    const char *key;
    gal_gguf_type type;
    size_t width;
} NUMBERS[] = {
    { "u8", GAL_GGUF_U8, 1 },     { "i8", GAL_GGUF_I8, 1 },   { "u16", GAL_GGUF_U16, 2 }, { "i16", GAL_GGUF_I16, 2 },
    { "u32", GAL_GGUF_U32, 4 },   { "i32", GAL_GGUF_I32, 4 }, { "f32", GAL_GGUF_F32, 4 }, { "u64", GAL_GGUF_U64, 8 },
    { "bool", GAL_GGUF_BOOL, 1 }, { "i64", GAL_GGUF_I64, 8 }, { "f64", GAL_GGUF_F64, 8 },
};

static void same_value(const gal_gguf_value *a, const gal_gguf_value *b, size_t width) {
    assert_non_null(a);
    assert_non_null(b);
    assert_string_equal(a->key, b->key);
    assert_true(a->type == b->type && a->element == b->element && a->count == b->count);
    if (width && a->count) assert_memory_equal(a->data, b->data, (size_t)a->count * width);
    for (uint64_t i = 0; !width && i < a->count; i++) {
        size_t n = 0, m = 0;
        const char *s = gal_gguf_string_at(a, i, &n), *t = gal_gguf_string_at(b, i, &m);
        assert_int_equal(n, m);
        if (n) assert_memory_equal(s, t, n);
    }
}

static void test_every_type(void **state) {
    (void)state;
    static const uint8_t bits[24] = { 1, 0, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0 };
    static const char *const words[] = { "", "a", "\xff no text", "two words" };
    static const size_t lengths[] = { 0, 1, 3, 4 };
    gal_buf b = { 0 }, again = { 0 };
    gal_gguf_writer *w = begin();
    char key[32];
    for (size_t i = 0; i < GAL_LEN(NUMBERS); i++) {
        const struct number *c = &NUMBERS[i];
        gal_gguf_put_number(w, c->key, c->type, bits);
        (void)snprintf(key, sizeof key, "%s.list", c->key);
        gal_gguf_put_numbers(w, key, c->type, bits, 3);
        (void)snprintf(key, sizeof key, "%s.none", c->key);
        gal_gguf_put_numbers(w, key, c->type, NULL, 0);
    }
    gal_gguf_put_u64(w, "x.u64", UINT64_MAX);
    gal_gguf_put_i32(w, "x.i32", -7);
    gal_gguf_put_f32(w, "x.f32", 0.1f);
    gal_gguf_put_bool(w, "x.bool", true);
    gal_gguf_put_string(w, "string", "a\0b", 3);
    gal_gguf_put_strings(w, "strings", words, NULL, 4);
    gal_gguf_put_strings(w, "strings.cut", words, lengths, 4);
    gal_gguf_put_strings(w, "strings.none", NULL, NULL, 0);
    gal_gguf *g = there_and_back(w, &b);
    assert_int_equal(gal_gguf_keys(g), 3 * GAL_LEN(NUMBERS) + 8);
    for (size_t i = 0; i < GAL_LEN(NUMBERS); i++) {
        const struct number *c = &NUMBERS[i];
        gal_gguf_value want = { .key = c->key, .type = c->type, .element = c->type, .count = 1, .data = bits };
        same_value(gal_gguf_get(g, c->key), &want, c->width);
        want.type = GAL_GGUF_ARRAY;
        want.key = key;
        want.count = 3;
        (void)snprintf(key, sizeof key, "%s.list", c->key);
        same_value(gal_gguf_get(g, key), &want, c->width);
        want.count = 0;
        (void)snprintf(key, sizeof key, "%s.none", c->key);
        same_value(gal_gguf_get(g, key), &want, c->width);
    }
    uint64_t u = 0;
    int64_t s = 0;
    double d = 0;
    bool yes = false;
    size_t n = 0;
    CHECK_OK(gal_gguf_uint(g, "x.u64", &u, NULL, diag));
    CHECK_OK(gal_gguf_int(g, "x.i32", &s, NULL, diag));
    CHECK_OK(gal_gguf_float(g, "x.f32", &d, NULL, diag));
    CHECK_OK(gal_gguf_bool(g, "x.bool", &yes, NULL, diag));
    assert_true(u == UINT64_MAX && s == -7 && d == (double)0.1f && yes);
    assert_memory_equal(gal_gguf_string_at(gal_gguf_get(g, "string"), 0, &n), "a\0b", 3);
    assert_int_equal(n, 3);
    assert_memory_equal(gal_gguf_string_at(gal_gguf_get(g, "strings"), 2, &n), "\xff no text", 9);
    assert_int_equal(n, 9);
    assert_memory_equal(gal_gguf_string_at(gal_gguf_get(g, "strings.cut"), 2, &n), "\xff n", 3);
    assert_int_equal(n, 3);
    /* value by value into another file: the same bytes */
    w = begin();
    for (size_t i = 0; i < gal_gguf_keys(g); i++) gal_gguf_put_value(w, gal_gguf_key_at(g, i));
    gal_gguf *h = there_and_back(w, &again);
    assert_int_equal(again.len, b.len);
    assert_memory_equal(again.data, b.data, b.len);
    gal_gguf_close(h);
    gal_gguf_close(g);
    gal_buf_free(&b);
    gal_buf_free(&again);
}

/* ---- data --------------------------------------------------------------------------------------------------------
 */

typedef struct stream {
    uint64_t bytes;
    int calls;
    gal_err err;
} stream;

/* Byte i is i % 251, in pieces of uneven length. */
static gal_err pour(gal_sink *s, void *user, gal_diag *diag) {
    stream *from = user;
    uint8_t piece[1000];
    from->calls++;
    for (uint64_t at = 0; at < from->bytes;) {
        size_t n = (size_t)GAL_MIN(from->bytes - at, (uint64_t)(1 + at % sizeof piece));
        for (size_t i = 0; i < n; i++) piece[i] = (uint8_t)((at + i) % 251);
        gal_err err = gal_sink_write(s, piece, n);
        if (err) return err;
        at += n;
        if (from->err && at > from->bytes / 2) return gal_fail(diag, from->err, "the source is dry");
    }
    return GAL_OK;
}

static void test_streams(void **state) {
    (void)state;
    static const int64_t dim[4] = { 2, 3, 5, 512 }, none[2] = { 0, 32 };
    char folder[256], path[300];
    gal_buf b = { 0 };
    make_folder(folder);
    (void)snprintf(path, sizeof path, "%s/m.gguf", folder);
    stream from = { 0 };
    CHECK_OK(gal_gguf_tensor_bytes(12, 4, dim, &from.bytes, path, "x", diag));
    assert_int_equal(from.bytes, 2 * 3 * 5 * 2 * 144);
    gal_gguf_writer *w = begin();
    gal_gguf_put_u32(w, "general.alignment", 128);
    gal_gguf_put_tensor(w, &(gal_gguf_item){ .name = "none", .type = 2, .ndim = 2, .dim = none });
    gal_gguf_put_tensor(
        w, &(gal_gguf_item){ .name = "poured", .type = 12, .ndim = 4, .dim = dim, .emit = pour, .user = &from });
    gal_gguf_put_tensor(
        w, &(gal_gguf_item){ .name = "dim", .type = 27, .ndim = 1, .dim = (int64_t[]){ 4 }, .data = dim });
    CHECK_OK(gal_gguf_write(w, path, diag));
    assert_int_equal(from.calls, 1);
    gal_gguf *g = NULL;
    CHECK_OK(gal_gguf_open(&g, path, diag));
    const gal_gguf_tensor *t = gal_gguf_find(g, "poured");
    assert_int_equal(t->offset % 128, 0);
    assert_int_equal(t->bytes, from.bytes);
    for (int i = 0; i < 4; i++) assert_int_equal(t->dim[i], dim[i]);
    for (uint64_t i = 0; i < t->bytes; i++)
        if (t->data[i] != i % 251) fail_msg("byte %d", (int)i);
    t = gal_gguf_find(g, "dim");
    assert_int_equal(t->offset % 128, 0);
    assert_memory_equal(t->data, dim, sizeof dim);
    assert_int_equal(gal_gguf_bytes(g), (t->offset + t->bytes + 127) / 128 * 128);
    gal_gguf_close(g);
    /* a source that fails: its own words, and the old file stays */
    gal_diag why = { 0 };
    CHECK_OK(gal_read_file(&b, path, 1 << 20, diag));
    size_t before = b.len;
    from.err = GAL_EFAIL;
    assert_int_equal(gal_gguf_write(w, path, &why), GAL_EFAIL);
    assert_string_equal(why.text, "the source is dry");
    CHECK_OK(gal_read_file(&b, path, 1 << 20, diag));
    assert_int_equal(b.len, before);
    if (gal_exists("/dev/full")) {
        why = (gal_diag){ 0 };
        assert_int_equal(gal_gguf_write(w, "/dev/full", &why), GAL_EIO);
    }
    gal_gguf_writer_free(w);
    gal_buf_free(&b);
    remove_folder(folder);
}

/* ---- refused -----------------------------------------------------------------------------------------------------
 */

/* Frees w. */
static void refused(gal_gguf_writer *w, const char *says) {
    gal_diag diag = { 0 };
    gal_buf b = { 0 };
    gal_gguf_put_u32(w, "later", 1); /* what is right comes too late */
    if (gal_gguf_print(w, &b, "f.gguf", &diag) != GAL_EINPUT) fail_msg("not refused: %s", says);
    if (!strstr(diag.text, says) || strncmp(diag.text, "f.gguf: ", 8) != 0)
        fail_msg("no \"%s\" in: %s", says, diag.text);
    assert_int_equal(b.len, 0);
    gal_gguf_writer_free(w);
}

static gal_gguf_writer *with_key(const char *key) {
    gal_gguf_writer *w = begin();
    gal_gguf_put_u32(w, key, 3);
    return w;
}

static gal_gguf_writer *with_tensor(const char *name, uint32_t type, int ndim, int64_t a, int64_t b) {
    static const int data[256];
    gal_gguf_writer *w = begin();
    const int64_t dim[2] = { a, b };
    gal_gguf_put_tensor(w, &(gal_gguf_item){ .name = name, .type = type, .ndim = ndim, .dim = dim, .data = data });
    return w;
}

static void test_refused(void **state) {
    (void)state;
    static char long_key[65537];
    memset(long_key, 'k', sizeof long_key - 1);
    refused(with_key(""), "key \"\": expected a name of 1 to 65535 bytes of UTF-8, found one that is empty");
    refused(with_key(long_key), "is too long");
    refused(with_key("\xc3"), "is not UTF-8");
    refused(with_key("general.alignment"), "expected a power of two below 2^32");
    gal_gguf_writer *w = with_key("k");
    gal_gguf_put_bool(w, "k", true);
    refused(w, "key \"k\" is there twice");
    w = begin();
    gal_gguf_put_string(w, "general.alignment", "32", 2);
    refused(w, "expected a power of two");
    w = begin();
    gal_gguf_put_numbers(w, "general.alignment", GAL_GGUF_U8, "\x20", 1);
    refused(w, "expected a power of two");
    w = begin();
    gal_gguf_put_number(w, "general.alignment", GAL_GGUF_I8, "\x80");
    refused(w, "expected a power of two");
    w = begin();
    gal_gguf_put_numbers(w, "flags", GAL_GGUF_BOOL, "\1\2", 2);
    refused(w, "key \"flags\": expected bools of 0 or 1, found 2");
    refused(with_tensor("", 0, 1, 1, 1),
            "tensor \"\": expected a name of 1 to 63 bytes of UTF-8, found one that is empty");
    refused(with_tensor("a123456789012345678901234567890123456789012345678901234567890123", 0, 1, 1, 1), "too long");
    refused(with_tensor("\xff", 0, 1, 1, 1), "is not UTF-8");
    refused(with_tensor("t", 5, 1, 1, 1), "tensor \"t\": expected a known type, found number 5");
    refused(with_tensor("t", 2, 2, 32, 31), "tensor \"t\": expected rows of whole blocks of 32 for Q4_0, found 31");
    refused(with_tensor("t", 2, 0, 1, 1), "found 1");
    refused(with_tensor("t", 0, 2, -1, 1), "found -1");
    refused(with_tensor("t", 0, 2, INT64_MAX, 2), "overflows 63 bits");
    refused(with_tensor("t", 27, 1, INT64_MAX, 2), "overflow 64 bits");
    refused(with_tensor("t", 24, 1, INT64_MAX, 2), "overflow 63 bits");
    w = with_tensor("t", 0, 1, 1, 1);
    gal_gguf_put_tensor(w, &(gal_gguf_item){ .name = "t", .type = 0, .data = "abcd" });
    refused(w, "tensor \"t\" is there twice");
    gal_diag diag = { 0 };
    uint64_t bytes = 0;
    assert_int_equal(gal_gguf_tensor_bytes(8, 1, (int64_t[]){ 33 }, &bytes, "p", "n", &diag), GAL_EINPUT);
    assert_string_equal(diag.text, "p: tensor \"n\": expected rows of whole blocks of 32 for Q8_0, found 33");
}

/* ---- other programs' files ---------------------------------------------------------------------------------------
 */

static void test_written_again(void **state) {
    (void)state;
    static const char *const NAMES[] = { "dense-F16", "dense-Q2_K", "dense-IQ4_XS", "dense-Q8_0", "moe-Q4_K" };
    size_t missing = 0;
    gal_buf want = { 0 }, b = { 0 };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        char path[256];
        (void)snprintf(path, sizeof path, "../shared/fixtures/gguf/%s.gguf", NAMES[i]);
        if (!gal_is_file(path)) {
            print_message("skipped: %s is not here\n", path);
            missing++;
            continue;
        }
        gal_gguf *g = NULL;
        gal_gguf_writer *w = begin();
        CHECK_OK(gal_gguf_open(&g, path, diag));
        for (size_t k = 0; k < gal_gguf_keys(g); k++) gal_gguf_put_value(w, gal_gguf_key_at(g, k));
        for (size_t k = 0; k < gal_gguf_count(g); k++) {
            const gal_gguf_tensor *t = gal_gguf_at(g, k);
            gal_gguf_put_tensor(
                w, &(gal_gguf_item){
                       .name = t->name, .type = t->type, .ndim = t->ndim, .dim = t->dim, .data = t->data });
        }
        gal_buf_clear(&b);
        CHECK_OK(gal_gguf_print(w, &b, path, diag));
        CHECK_OK(gal_read_file(&want, path, 1 << 24, diag));
        assert_int_equal(b.len, want.len);
        assert_memory_equal(b.data, want.data, b.len);
        gal_gguf_writer_free(w);
        gal_gguf_close(g);
    }
    gal_buf_free(&want);
    gal_buf_free(&b);
    /* Files of others, which a clone of this repository alone lacks. */
    if (missing == GAL_LEN(NAMES))
        skip(); /* those of others are not beside this clone; one that is here was checked */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_bytes), cmocka_unit_test(test_every_type),    cmocka_unit_test(test_streams),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_written_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
