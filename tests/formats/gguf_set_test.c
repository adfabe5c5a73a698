/* gguf_set_test.c - GGUF files in folders: split ones, long ones, and those that other programs wrote.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "formats/gguf.h"
#include "formats/gguf_make.h"
#include "support/check.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- split files -------------------------------------------------------------------------------------------------
 */

static char folder[256];

static const char *in(const char *name) {
    static char path[600];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Part no of count with one tensor of its number. */
static void put_part(const char *name, uint64_t no, uint64_t count, uint64_t tensors, const char *tensor) {
    gal_buf b = { 0 };
    put_head(&b, 1, 4);
    put_number(&b, "split.no", GAL_GGUF_U16, 2, no);
    put_number(&b, "split.count", GAL_GGUF_U16, 2, count);
    put_number(&b, "split.tensors.count", GAL_GGUF_I32, 4, tensors);
    put_number(&b, "who", GAL_GGUF_U8, 1, 50 + no);
    put_tensor(&b, tensor, 1, 4 + no, 0, 24, 0);
    pad(&b, 32);
    put_data(&b, 4 + (size_t)no);
    put_file(folder, name, b.data, b.len);
    gal_buf_free(&b);
}

static void put_split(void) {
    make_folder(folder);
    put_part("m-00001-of-00003.gguf", 0, 3, 3, "b");
    put_part("m-00002-of-00003.gguf", 1, 3, 3, "c");
    put_part("m-00003-of-00003.gguf", 2, 3, 3, "a");
}

static void test_split(void **state) {
    (void)state;
    static const char *const NAMES[] = { "m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf" };
    static const char *const ORDER[] = { "b", "c", "a" };
    put_split();
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        gal_gguf *g = NULL;
        gal_bring how = { 0 };
        uint64_t who = 0;
        CHECK_OK(gal_gguf_open(&g, in(NAMES[i]), diag));
        assert_int_equal(gal_gguf_parts(g), 3);
        assert_int_equal(gal_gguf_count(g), 3);
        CHECK_OK(gal_gguf_uint(g, "who", &who, NULL, diag));
        assert_int_equal(who, 50);
        CHECK_OK(gal_pool_new(&how.pool, 2, diag));
        how.read = i == 1;
        CHECK_OK(gal_gguf_bring(g, &how, diag));
        assert_int_equal(how.total, gal_gguf_bytes(g));
        gal_pool_free(how.pool);
        for (size_t k = 0; k < 3; k++) {
            const gal_gguf_tensor *t = gal_gguf_at(g, k);
            assert_string_equal(t->name, ORDER[k]);
            assert_string_equal(t->file, in(NAMES[k]));
            assert_int_equal(t->bytes, 4 + k);
            assert_int_equal(t->data[3], 22);
            assert_ptr_equal(gal_gguf_find(g, ORDER[k]), t);
        }
        gal_gguf_close(g);
    }
    remove_folder(folder);
}

static void split_refused(const char *name, const char *const says[3]) {
    gal_diag diag = { 0 };
    gal_gguf *g = NULL;
    assert_int_equal(gal_gguf_open(&g, in(name), &diag), GAL_EINPUT);
    assert_null(g);
    for (size_t i = 0; i < 3 && says[i]; i++)
        if (!strstr(diag.text, says[i])) fail_msg("no \"%s\" in: %s", says[i], diag.text);
    remove_folder(folder);
}

static void test_broken_splits(void **state) {
    (void)state;
    put_split();
    assert_int_equal(unlink(in("m-00002-of-00003.gguf")), 0);
    split_refused("m-00003-of-00003.gguf", (const char *[3]){ "m-00002-of-00003.gguf: part 2 of 3", "is missing" });
    put_split();
    put_part("m-00002-of-00003.gguf", 2, 3, 3, "c");
    split_refused("m-00001-of-00003.gguf", (const char *[3]){ "m-00002", "split.no", "expected 1, found 2" });
    put_split();
    put_part("m-00002-of-00003.gguf", 1, 4, 3, "c");
    split_refused("m-00001-of-00003.gguf", (const char *[3]){ "m-00002", "split.count", "found 4" });
    put_split();
    put_part("m-00002-of-00003.gguf", 1, 3, 4, "c");
    split_refused("m-00001-of-00003.gguf", (const char *[3]){ "m-00002", "split.tensors.count", "3 tensors" });
    put_split();
    put_part("m-00002-of-00003.gguf", 1, 3, 3, "a");
    split_refused("m-00001-of-00003.gguf", (const char *[3]){ "\"a\" is there twice", "m-00002", "m-00003" });
    put_split();
    put_part("other.gguf", 1, 3, 3, "a");
    split_refused("other.gguf", (const char *[3]){ "other.gguf", "part 2 of 3", "-00002-of-00003.gguf" });
    put_split();
    put_part("-00001-of-00003.gguf", 0, 3, 3, "a");
    split_refused("-00001-of-00003.gguf", (const char *[3]){ "-00002-of-00003.gguf", "missing" });
    put_split();
    put_part("n-00001-of-65535.gguf", 0, 65535, 3, "a");
    split_refused("n-00001-of-65535.gguf", (const char *[3]){ "at most 10000", "65535" });
    put_split();
    put_part("n-00004-of-00003.gguf", 3, 3, 3, "a");
    split_refused("n-00004-of-00003.gguf", (const char *[3]){ "split.no 3 of 3" });
    put_split();
    put_file(folder, "m-00003-of-00003.gguf", "GGUF", 4);
    split_refused("m-00001-of-00003.gguf", (const char *[3]){ "m-00003", "24 bytes" });
    /* one of one is whole */
    make_folder(folder);
    put_part("whole.gguf", 0, 1, 1, "a");
    gal_gguf *g = NULL;
    CHECK_OK(gal_gguf_open(&g, in("whole.gguf"), diag));
    assert_int_equal(gal_gguf_parts(g), 1);
    gal_gguf_close(g);
    remove_folder(folder);
}

/* Cut after it was opened: whoever brings it in, or asks, hears of it. */
static void test_shrunk(void **state) {
    (void)state;
    gal_gguf *g = NULL;
    gal_diag why = { 0 };
    gal_bring how = { .read = true };
    put_split();
    CHECK_OK(gal_pool_new(&how.pool, 2, diag));
    CHECK_OK(gal_gguf_open(&g, in("m-00001-of-00003.gguf"), diag));
    assert_int_equal(truncate(in("m-00002-of-00003.gguf"), 100), 0);
    assert_int_equal(gal_gguf_bring(g, &how, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "m-00002-of-00003.gguf"));
    gal_pool_free(how.pool);
    gal_gguf_close(g);
    remove_folder(folder);
}

/* ---- other people's files ----------------------------------------------------------------------------------------
 */

static const struct fixture {
    const char *name;
    uint32_t type; /* of its matrices */
    size_t tensors, keys;
    uint64_t bytes; /* of the file */
} FIXTURES[] = {
    { "dense-F16", 1, 21, 27, 2650304 },    { "dense-BF16", 30, 21, 27, 2650304 },
    { "dense-Q4_0", 2, 21, 27, 766144 },    { "dense-Q4_1", 3, 21, 27, 848064 },
    { "dense-Q5_0", 6, 21, 27, 929984 },    { "dense-Q5_1", 7, 21, 27, 1011904 },
    { "dense-Q8_0", 8, 21, 27, 1421504 },   { "dense-Q2_K", 10, 21, 27, 458944 },
    { "dense-Q3_K", 11, 21, 27, 592064 },   { "dense-Q4_K", 12, 21, 27, 766144 },
    { "dense-Q5_K", 13, 21, 27, 929984 },   { "dense-Q6_K", 14, 21, 27, 1104064 },
    { "dense-IQ4_NL", 20, 21, 27, 766144 }, { "dense-IQ4_XS", 23, 21, 27, 725184 },
    { "moe-F16", 1, 23, 29, 5018080 },      { "moe-Q8_0", 8, 23, 29, 2683360 },
    { "moe-Q4_K", 12, 23, 29, 1438176 },
};

static void test_fixtures(void **state) {
    (void)state;
    size_t missing = 0;
    for (size_t i = 0; i < GAL_LEN(FIXTURES); i++) {
        const struct fixture *f = &FIXTURES[i];
        char path[256];
        (void)snprintf(path, sizeof path, "../shared/fixtures/gguf/%s.gguf", f->name);
        if (!gal_is_file(path)) {
            print_message("skipped: %s is not here\n", path);
            missing++;
            continue;
        }
        gal_gguf *g = NULL;
        const gal_gguf_value *words = NULL;
        const char *s = NULL;
        size_t n = 0, matrices = 0;
        uint64_t width = 0;
        CHECK_OK(gal_gguf_open(&g, path, diag));
        assert_int_equal(gal_gguf_bytes(g), f->bytes);
        assert_int_equal(gal_gguf_count(g), f->tensors);
        assert_int_equal(gal_gguf_keys(g), f->keys);
        CHECK_OK(gal_gguf_string(g, "general.architecture", &s, &n, NULL, diag));
        assert_int_equal(n, 5);
        assert_memory_equal(s, "llama", 5);
        CHECK_OK(gal_gguf_uint(g, "llama.embedding_length", &width, NULL, diag));
        assert_int_equal(width, 256);
        CHECK_OK(gal_gguf_array(g, "tokenizer.ggml.tokens", GAL_GGUF_STRINGS, &words, NULL, diag));
        const gal_gguf_tensor *t = gal_gguf_find(g, "token_embd.weight");
        assert_non_null(t);
        assert_int_equal(t->ndim, 2);
        assert_int_equal(t->dim[0], words->count);
        assert_int_equal(t->dim[1], width);
        for (size_t k = 0; k < f->tensors; k++) {
            t = gal_gguf_at(g, k);
            if (t->type == f->type)
                matrices++;
            else
                assert_int_equal(t->type, 0);
        }
        assert_int_equal(matrices, 16);
        /* the last one ends where the file does, but for its padding */
        t = gal_gguf_at(g, f->tensors - 1);
        assert_in_range(f->bytes - t->offset - t->bytes, 0, 31);
        gal_gguf_close(g);
    }
    /* Files of others, which a clone of this repository alone lacks. */
    if (missing == GAL_LEN(FIXTURES))
        skip(); /* those of others are not beside this clone; one that is here was checked */
}

/* A name of 2^31 bytes in a file that has them (sparse): refused without a look at the bytes. */
static void test_long_string(void **state) {
    (void)state;
    gal_buf b = { 0 };
    gal_diag diag = { 0 };
    gal_gguf *g = NULL;
    make_folder(folder);
    put_head(&b, 0, 1);
    put_key(&b, "tokenizer.ggml.tokens", GAL_GGUF_ARRAY);
    put(&b, 4, GAL_GGUF_STRING);
    put(&b, 8, 1);
    put(&b, 8, (uint64_t)1 << 31);
    put_file(folder, "long.gguf", b.data, b.len);
    assert_int_equal(truncate(in("long.gguf"), (off_t)((uint64_t)1 << 31) + 4096), 0);
    assert_int_equal(gal_gguf_open(&g, in("long.gguf"), &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "at most 1073741824 bytes"));
    gal_buf_free(&b);
    remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),    cmocka_unit_test(test_broken_splits), cmocka_unit_test(test_shrunk),
        cmocka_unit_test(test_fixtures), cmocka_unit_test(test_long_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
